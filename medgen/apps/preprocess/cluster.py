"""Many jobs on Dask: processes of this machine, or a cluster that is there already."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

from monai.utils import optional_import

from medgen import __version__

__all__ = ["available_workers", "dask_setup", "run_jobs"]

logger = logging.getLogger("medgen.preprocess")
Job = TypeVar("Job")

_MISSING = 'processes need Dask: pip install "medgen[preprocess]", or --workers 0 ({})'
CONNECT_SECONDS = 20
WORKER_GIB = 2.5  # what one worker may need: the pipeline stays below 2 GiB
# A worker never pauses: nothing that it could forget or write to disk would free memory, so it would wait for ever.
_LOCAL = {
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.no-workers-timeout": "2 minutes",
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
}


def run_jobs(
    function: Callable[[Job], dict[str, Any]],
    jobs: Sequence[Job],
    workers: int | None = None,
    scheduler: str | None = None,
    memory_limit: str | float = "auto",
    output_dir: str | os.PathLike[str] | None = None,
) -> Generator[tuple[Job, dict[str, Any]], None, None]:
    """Yield each job and what ``function`` returned for it, in the order in which they finish.

    A worker has one job at a time. Jobs whose worker was killed are tried once more at the end, one by one, and the one
    that kills a worker again has failed. Closing the iterator early stops the workers.

    Args:
        function: a function of a module that workers can import.
        jobs: its arguments.
        workers: processes on this machine, on 127.0.0.1 alone and without a dashboard; 0 works in this very process,
            None is :func:`available_workers`.
        scheduler: address of a Dask scheduler (``tcp://host:8786``), instead of ``workers``. Dask's connections carry
            code: use one that you trust, ``tls://`` where the network is shared.
        memory_limit: of each local worker, for example "3GiB"; one above it is killed. "auto" is an even share.
        output_dir: a folder that the workers of a scheduler must see.

    Yields:
        The job, and the result, or ``{"error": text}`` when no worker survived it.

    Raises:
        ConnectionError: when the scheduler cannot be reached, or is lost.
        ValueError: when ``workers`` is negative, or workers see no ``output_dir`` or have another medgen.
        OptionalImportError: when Dask is not installed.
    """
    if scheduler is None and workers is not None and (isinstance(workers, bool) or workers < 0):
        raise ValueError(f"workers: expected a whole number of at least 0, found {workers!r}")
    if scheduler is None and workers == 0:
        yield from ((job, function(job)) for job in jobs)
        return
    if not jobs:
        return
    distributed, _ = optional_import("distributed", descriptor=_MISSING)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_quiet())
        if scheduler is None:
            count = min(workers or available_workers(), len(jobs))
            client = stack.enter_context(_local(distributed, count, memory_limit))
            logger.info("%d process(es) on this machine", count)
        else:
            client = stack.enter_context(_external(distributed, scheduler, output_dir))
        yield from _results(client, distributed, function, jobs)


def available_workers() -> int:
    """Return how many workers fit this machine: its processors, and its memory at 2.5 GiB each."""
    system, _ = optional_import("distributed.system", descriptor=_MISSING)
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(processors, int(system.MEMORY_LIMIT / 2**30 / WORKER_GIB)))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask from telling how its connections open and close."""
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "distributed"]
    levels = {name: logging.getLogger(name).level for name in ("distributed", *names)}
    for name in levels:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextlib.contextmanager
def _local(distributed: Any, count: int, memory_limit: str | float) -> Iterator[Any]:
    import dask

    with dask.config.set(_LOCAL):
        cluster = distributed.LocalCluster(
            security=_security(distributed),
            n_workers=count, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None,
            memory_limit=memory_limit, silence_logs=logging.CRITICAL, preload=[__name__],
        )  # fmt: skip
        client = distributed.Client(cluster, set_as_default=False)
        try:
            yield client
        finally:
            client.close(timeout=2)
            _close(cluster)


def _close(cluster: Any) -> None:
    """Close a local cluster; workers that are only starting, after one died, do not listen yet and are killed."""
    nannies = list(cluster.workers.values())
    try:
        cluster.close(timeout=10)
    except TimeoutError:
        for pid in {nanny.pid for nanny in nannies} - {None}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _security(distributed: Any) -> Any:
    """Return keys for this run alone: without them, any user of this machine could hand code to the workers."""
    try:
        return distributed.Security.temporary()
    except ImportError:
        logger.warning("workers are open to other users of this machine; to close them: pip install cryptography")
        return None


@contextlib.contextmanager
def _external(distributed: Any, scheduler: str, output_dir: str | os.PathLike[str] | None) -> Iterator[Any]:
    try:
        client = distributed.Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConnectionError(f"scheduler: no Dask scheduler answers at {scheduler} ({error})") from error
    try:
        found = client.run(_looks, None if output_dir is None else os.fspath(output_dir))
        logger.info("%s has %d worker(s)", scheduler, len(found))
        for address, (version, sees) in found.items():
            if version != __version__:
                raise ValueError(f"scheduler: worker {address} has medgen {version}, expected {__version__} as here")
            if not sees:
                raise ValueError(f"scheduler: worker {address} sees no folder {output_dir}; all must share it")
        yield client
    except OSError as error:
        raise ConnectionError(f"scheduler: lost {scheduler} ({error}); the same command goes on") from error
    finally:
        client.close()


def _looks(folder: str | None) -> tuple[str, bool]:
    """Answer, on a worker, which medgen it has and whether it sees a folder."""
    return __version__, folder is None or os.path.isdir(folder)


def _results(
    client: Any, distributed: Any, function: Callable[[Job], dict[str, Any]], jobs: Sequence[Job]
) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Yield jobs and results; jobs whose worker died are tried once more at the end, each alone: one of them did it."""
    suspects = []
    for job, result in _parallel(client, distributed, function, jobs):
        if result is None:
            suspects.append(job)
        else:
            yield job, result
    for job in suspects:
        for _, result in _parallel(client, distributed, function, [job]):
            yield job, result or {"error": "its process was killed twice, most likely for want of memory"}


def _parallel(
    client: Any, distributed: Any, function: Callable[[Job], dict[str, Any]], jobs: Sequence[Job]
) -> Iterator[tuple[Job, dict[str, Any] | None]]:
    """Yield jobs and results, None for a job whose worker died; a worker has no second job to take along."""
    waiting = iter(jobs)
    running: dict[str, Job] = {}
    finished = distributed.as_completed(loop=client.loop)

    def hand_out() -> None:
        room = max(1, sum(client.nthreads().values())) - len(running)
        for job in itertools.islice(waiting, max(0, room)):
            future = client.submit(function, job, pure=False)
            running[future.key] = job
            finished.add(future)

    hand_out()
    for future in finished:
        if future.status == "pending":  # its worker died with the result before that was fetched
            finished.add(future)
            continue
        job = running.pop(future.key)
        if future.status == "finished":
            result = future.result()
        elif future.status == "error":
            result = _failure(future.exception(), distributed)
        else:
            raise ConnectionError(f"a scan was {future.status}")
        future.release()  # else it is computed again when its worker dies later
        yield job, result
        hand_out()


def _failure(error: BaseException, distributed: Any) -> dict[str, Any] | None:
    if isinstance(error, distributed.KilledWorker):
        return None
    if type(error).__name__ == "NoValidWorkerError":
        raise ConnectionError("no worker is left, and none comes back; the same command goes on")
    return {"error": f"{type(error).__name__}: {error}"}


def dask_setup(worker: Any) -> None:
    """Prepare a local worker: one thread for its arithmetic, and Ctrl-C left to the process that started it."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
