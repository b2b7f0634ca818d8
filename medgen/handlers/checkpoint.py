"""Checkpoints for an exact resume, and weights to publish."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Events

from medgen.engines.checkpoint import non_finite_names, write_checkpoint
from medgen.engines.distributed import is_first_rank
from medgen.engines.run_directory import checkpoints
from medgen.files import file_sha256, plain
from medgen.handlers.manifest import copy_model, manifest_path, write_model
from medgen.machine import device_name

__all__ = ["CheckpointHandler"]

logger = logging.getLogger(__name__)


class CheckpointHandler:
    """Write what a run needs to go on, and what others need to generate.

    ``checkpoint_<iteration>.pt`` holds everything for an exact resume. ``model.pt`` holds the averaged weights alone,
    by the names of ``network_def``, with ``manifest.json`` beside it. All are written whole or not at all, by the
    first process, and never with a weight that is not finite.

    ``publish="best"`` takes as ``model.pt`` the weights with the best key metric of ``validator`` and keeps the newest
    as ``model_last.pt``; ``publish="last"`` takes the newest and keeps the best as ``model_best.pt``. Best is the
    default: the validation loss of a generative model on fixed times and noise is steady enough to compare moments of
    one run, it falls as long as the model learns the distribution, and where it rises the model has begun to learn
    its training images by heart, which must not happen with images of people.

    The chosen weights and manifest are copied to ``publish_dir`` when training is complete, and before that whenever
    what lies there is of the same run (or nothing does), so that a new run replaces a finished one only when it is
    finished itself.

    Args:
        interval: iterations between checkpoints.
        keep: newest checkpoints to keep.
        publish_dir: folder for ``model.pt`` and ``manifest.json`` (a bundle's ``models``); None = the run's own only.
        validator: the :class:`medgen.engines.GenerativeEvaluator` whose key metric selects; None = the newest is best.
        publish: "best" or "last".
        run_dir: where to write; by default the trainer's ``run_dir``.
        config: the configuration of the run, for the manifest.
        cohort: whose ``data_terms``, ``simulated`` and ``fingerprint`` the manifest states.
        data_terms: terms of use of the training data; by default the cohort's.
        share: whether the weights may be passed on; None = only where the training data are simulated.
        name: of the weight files, in place of "model": "autoencoder" gives ``autoencoder.pt`` and ``autoencoder.json``.

    Raises:
        ValueError: when an argument is out of range.
    """

    def __init__(
        self,
        interval: int = 1000,
        keep: int = 2,
        publish_dir: str | os.PathLike[str] | None = None,
        validator: Any = None,
        publish: str = "best",
        run_dir: str | os.PathLike[str] | None = None,
        config: Mapping[str, Any] | None = None,
        cohort: Any = None,
        data_terms: str | None = None,
        share: bool | None = None,
        name: str = "model",
    ) -> None:
        if interval < 1 or keep < 1:
            raise ValueError(f"expected interval >= 1 and keep >= 1, found interval={interval!r}, keep={keep!r}")
        if publish not in ("best", "last"):
            raise ValueError(f'publish: expected "best" or "last", found {publish!r}')
        if share is not None and not isinstance(share, bool):
            raise ValueError(f"share: expected true, false or null, found {share!r}")
        self.interval = interval
        self.keep = keep
        self.publish_dir = None if publish_dir is None else Path(publish_dir)
        self.validator = validator
        self.publish = publish
        self.run_dir = None if run_dir is None else Path(run_dir)
        self.config = config
        self.cohort = cohort
        self.data_terms = data_terms
        self.share = share
        self.name = name
        self.best: dict[str, Any] | None = None
        self.newest: dict[str, Any] | None = None
        self._saved_at = -1
        self._earlier, self._since = 0.0, math.inf  # seconds before this start, and its moment

    def attach(self, engine: Any) -> None:
        """Attach to a :class:`medgen.engines.GenerativeTrainer`.

        Raises:
            ValueError: when neither this handler nor the trainer has a ``run_dir``.
        """
        if self.run_dir is None:
            self.run_dir = getattr(engine, "run_dir", None)
        if self.run_dir is None:
            raise ValueError("run_dir: expected a folder to write to, here or in the trainer, found none")
        engine.stateful["checkpoint"] = self
        engine.add_event_handler(Events.STARTED, self._started)
        # When the next batch is fetched, all handlers of the iteration before it, validation included, are done.
        engine.add_event_handler(Events.GET_BATCH_STARTED, self._between_iterations)
        engine.add_event_handler(Events.COMPLETED, self._completed)
        if self.validator is not None:
            self.validator.add_event_handler(Events.COMPLETED, self._validated, engine)

    def state_dict(self) -> dict[str, Any]:
        """The best and the newest metric, and the seconds that training took so far."""
        state: dict[str, Any] = {"best": self.best, "newest": self.newest, "seconds": self.seconds}
        if self.validator is not None:
            inner = self.validator.state
            state |= {"best_metric": inner.best_metric, "best_metric_epoch": inner.best_metric_epoch}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self.best, self.newest = state["best"], state["newest"]
        self._earlier = state.get("seconds", 0.0)
        if self.validator is not None and "best_metric" in state:
            self.validator.state.best_metric = state["best_metric"]
            self.validator.state.best_metric_epoch = state["best_metric_epoch"]

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of training, validation and pictures included, those before a resume too."""
        return self._earlier + max(0.0, time.perf_counter() - self._since)

    def _started(self, engine: Any) -> None:
        self._since = time.perf_counter()
        self._saved_at = engine.state.iteration

    def _between_iterations(self, engine: Any) -> None:
        iteration = engine.state.iteration
        if iteration % self.interval == 0 and iteration != self._saved_at:
            self._save(engine)

    def _completed(self, engine: Any) -> None:
        if engine.state.iteration != self._saved_at:
            self._save(engine)
        self._earlier, self._since = self.seconds, math.inf
        chosen = self._folder / f"{self.name}.pt"
        if is_first_rank() and self.publish_dir is not None and chosen.is_file():
            if not self._may_replace():
                logger.warning(
                    "the weights of another run in %s are replaced; that run keeps its own", self.publish_dir
                )
            self._copy_codec(engine, self.publish_dir)
            logger.info("published %s", copy_model(chosen, self.publish_dir))

    @property
    def _folder(self) -> Path:
        return Path(self.run_dir or ".")

    def _save(self, engine: Any) -> None:
        self._saved_at = engine.state.iteration
        if not is_first_rank() or not self._finite(engine, engine.unwrapped_network, engine.inference_network):
            return
        write_checkpoint(engine, self._folder)
        for path in checkpoints(self._folder)[: -self.keep]:
            path.unlink()
        if self.publish == "last" or self.validator is None:
            self._write(engine, f"{self.name}.pt", "last")
        else:
            self._write(engine, f"{self.name}_last.pt", "last")
            if self.best is None:  # nothing was validated yet
                self._write(engine, f"{self.name}.pt", "last")

    def _validated(self, validator: Any, engine: Any) -> None:
        name = validator.state.key_metric_name
        value = validator.state.metrics.get(name)
        if value is None or not is_first_rank():
            return
        value = float(value)
        self.newest = {"name": name, "value": value, "iteration": engine.state.iteration}
        if not math.isfinite(value) or not self._finite(engine, engine.inference_network):
            return
        if self.best is not None and not validator.metric_cmp_fn(value, self.best["value"]):
            return
        self.best = self.newest
        self._write(engine, f"{self.name}.pt" if self.publish == "best" else f"{self.name}_best.pt", "best")

    def _finite(self, engine: Any, *networks: Any) -> bool:
        wrong = [name for network in networks for name in non_finite_names(network)]
        if wrong:
            logger.error(
                "iteration %d: %d weights are not finite (%s, ...); nothing is written",
                engine.state.iteration, len(wrong), wrong[0],
            )  # fmt: skip
        return not wrong

    def _write(self, engine: Any, name: str, selected: str) -> None:
        self._copy_codec(engine, self._folder)
        path = write_model(engine.inference_network.state_dict(), self._folder / name, self._facts(engine, selected))
        if name == f"{self.name}.pt" and self.publish_dir is not None and self._may_replace():
            self._copy_codec(engine, self.publish_dir)
            copy_model(path, self.publish_dir)

    def _copy_codec(self, engine: Any, folder: Path) -> None:
        """Put the codec that the weights were trained behind beside them."""
        source = getattr(engine.codec, "source", None)
        if source is None:
            return
        there = folder / source.name
        if not there.is_file() or file_sha256(there) != engine.codec.sha256:
            copy_model(source, folder)

    def _may_replace(self) -> bool:
        """Whether ``publish_dir`` holds nothing, or weights of this very run."""
        assert self.publish_dir is not None
        there = self.publish_dir / f"{self.name}.pt"
        if not there.exists():
            return True
        try:
            manifest = json.loads(manifest_path(there).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return manifest.get("run") == self._run_name

    @property
    def _run_name(self) -> str:
        return "/".join(self._folder.resolve().parts[-2:])

    def _facts(self, engine: Any, selected: str) -> dict[str, Any]:
        simulated = bool(getattr(self.cohort, "simulated", False))
        share = simulated if self.share is None else self.share
        terms = self.data_terms if self.data_terms is not None else getattr(self.cohort, "data_terms", None)
        fingerprint = getattr(self.cohort, "fingerprint", None)
        return {
            "weights": "average" if engine.ema is not None else "network",
            "selected": selected,
            "iteration": engine.state.iteration,
            "optimizer_steps": engine.state.optimizer_steps,
            "metric": _plain(self.best if selected == "best" else self.newest),
            "run": self._run_name,
            "covariates": None if engine.covariates is None else engine.covariates.to_dict(),
            "process": None if engine.process is None else engine.process.to_dict(),
            "codec_sha256": getattr(engine.codec, "sha256", None),
            "network": type(engine.unwrapped_network).__name__,
            "data_terms": terms or "not stated",
            "data_simulated": simulated,
            "data_fingerprint": fingerprint() if callable(fingerprint) else fingerprint,
            "share": "yes" if share else "no",
            "training": {
                "seconds": round(self.seconds, 1),
                "images": engine.state.iteration * (engine.batch_size or 0) * engine.step.world_size,
                "processes": engine.step.world_size,
                "device": device_name(engine.state.device),
            },
            "config": _plain(self.config),
        }


def _plain(value: Any) -> Any:
    """Return ``value`` as strict JSON knows it; numbers that are not finite become text."""
    return json.loads(json.dumps(value, default=plain), parse_constant=str)
