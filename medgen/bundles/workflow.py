"""Who is calling: the MONAI workflow on the call stack, and its command line."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai.bundle import ConfigWorkflow

__all__ = [
    "calling_workflow",
    "check_processes",
    "command_line_keys",
    "end_with_the_cause",
    "on_command_line",
    "user_error",
]


def on_command_line() -> bool:
    """Whether this process is ``python -m monai.bundle ...``."""
    main = getattr(sys.modules.get("__main__"), "__spec__", None)
    return main is not None and main.name == "monai.bundle.__main__"


def user_error(error: Exception) -> BaseException:
    """Return what to raise: ``error``, or on MONAI's command line an exit with its text instead of a traceback."""
    return SystemExit(f"error: {error}") if on_command_line() else error


def end_with_the_cause(kind: Any, error: BaseException, traceback: Any) -> None:
    """Show an uncaught exception, and its first cause once more at the end.

    MONAI wraps whatever a component or an expression raises in an exception that names the expression alone, and a
    terminal shows that one last.
    """
    sys.__excepthook__(kind, error, traceback)
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if cause is not error:
        print(f"\nerror: {cause}", file=sys.stderr)


def check_processes(config: Mapping[str, Any]) -> None:
    """Refuse several processes of ``torchrun`` that would all do the same work and write the same files.

    Training shares its batches, and so does generation by an ``evaluator`` with ``share_batches``, where ``device`` is
    made by :func:`medgen.engines.setup_distributed`.

    Raises:
        ValueError: for several processes of anything else.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count < 2 or "LOCAL_RANK" not in os.environ:
        return
    evaluator = config.get("evaluator")
    shares = "train" in config or (isinstance(evaluator, Mapping) and evaluator.get("share_batches") is True)
    if not shares:
        raise ValueError(
            f"found {count} processes of torchrun, expected one: each would do all of the work and write the same files"
        )
    if "setup_distributed" not in str(config.get("device")):
        raise ValueError(
            f"device: found {config.get('device')!r}, by which {count} processes of torchrun would not know of each "
            "other; lay configs/multi_gpu.json over the configuration, or give $medgen.engines.setup_distributed('cpu')"
        )


def calling_workflow() -> ConfigWorkflow | None:
    """Return the nearest ``ConfigWorkflow`` among the callers."""
    if "monai.bundle.workflows" not in sys.modules:
        return None
    from monai.bundle import ConfigWorkflow

    for frame in _frames():
        found = frame.f_locals.get("self")
        if isinstance(found, ConfigWorkflow):
            return found
    return None


def command_line_keys() -> set[str]:
    """Return the top-level keys that ``monai.bundle run`` was given beside its files, if it is among the callers."""
    for frame in _frames():
        if frame.f_code.co_name == "create_workflow" and "_args" in frame.f_locals:
            return {str(key).replace("#", "::").split("::")[0] for key in frame.f_locals["_args"]}
    return set()


def _frames() -> Iterator[FrameType]:
    """Yield the callers' frames, the nearest first."""
    frame = inspect.currentframe()
    while frame is not None:
        yield frame
        frame = frame.f_back
