"""The handler that shows what one number changes: the same noise at several of its values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.utils import CommonKeys

from medgen.data.images import middle_planes
from medgen.data.requests import GenerationRequests
from medgen.engines.distributed import is_first_rank
from medgen.handlers.save_samples import batch_column
from medgen.io import image_grid, save_gif, save_png

__all__ = ["SaveSweep"]


class SaveSweep:
    """Write ``sweep_<covariate>.png`` and ``.gif`` when a number was asked for at several values.

    A column of the picture is a value, a row one noise (and one choice of the other covariates), so that along a row
    nothing changes but the number; of volumes the middle axial, coronal and sagittal slices are rows. The animation
    goes through the values. With fewer than two values nothing is written, and what an earlier sweep left is removed.

    Args:
        requests: what is generated.
        output_dir: folder to write to.
        covariate: the number.
        rows: noises shown of each choice of the other covariates, at most.
        manifest: the model's manifest; its ``sha256`` is recorded.
        milliseconds: how long a value is shown.

    Raises:
        ValueError: when ``covariate`` is not declared, or no number.
    """

    def __init__(
        self,
        requests: GenerationRequests,
        output_dir: str | Path,
        covariate: str = "age",
        rows: int = 4,
        manifest: Mapping[str, Any] | None = None,
        milliseconds: int = 400,
    ) -> None:
        if requests.covariates.is_categorical(covariate):
            raise ValueError(f"covariate: {covariate!r} is a label, expected a number")
        self.requests, self.output_dir, self.covariate = requests, Path(output_dir), covariate
        self.rows = min(rows, requests.n)
        self.milliseconds = milliseconds
        self.model = str((manifest or {}).get("sha256", "unknown"))
        self.values = sorted({c[covariate] for c in requests.conditions if c.get(covariate) is not None})
        self._images: dict[int, list[torch.Tensor]] = {}

    def attach(self, engine: Engine) -> None:
        """Follow an evaluator whose batches carry ``index`` and whose output carries the images."""
        if not is_first_rank():
            return
        engine.add_event_handler(Events.STARTED, self._start)
        if len(self.values) > 1:
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._keep)
            engine.add_event_handler(Events.COMPLETED, self._write)

    def _path(self, suffix: str) -> Path:
        return self.output_dir / f"sweep_{self.covariate}.{suffix}"

    def _start(self, engine: Engine) -> None:
        self._images.clear()
        for suffix in ("png", "gif"):
            self._path(suffix).unlink(missing_ok=True)

    def _keep(self, engine: Engine) -> None:
        indices = [int(item) for item in batch_column(engine.state.batch, "index")]
        for index, image in zip(indices, batch_column(engine.state.output, CommonKeys.PRED), strict=True):
            if index % self.requests.n < self.rows:
                self._images[index] = middle_planes(torch.as_tensor(image).detach().float().cpu().clamp(-1, 1))

    def _write(self, engine: Engine) -> None:
        strips: dict[tuple[Any, ...], dict[float, list[torch.Tensor]]] = {}
        for number, condition in enumerate(self.requests.conditions):
            if condition.get(self.covariate) is None:
                continue
            others = tuple(sorted((k, v) for k, v in condition.items() if k != self.covariate))
            first = number * self.requests.n
            tiles = [tile for row in range(self.rows) for tile in self._images[first + row]]
            strips.setdefault(others, {})[condition[self.covariate]] = tiles
        whole = [strip for strip in strips.values() if len(strip) == len(self.values)]
        rows = len(next(iter(self._images.values()))) * self.rows
        along = [strip[value][row] for strip in whole for row in range(rows) for value in self.values]
        titles = [f"{value:g}" for value in self.values]
        record: dict[str, Any] = {"covariate": self.covariate, "values": self.values, "model_sha256": self.model}
        record["seed"] = self.requests.seeds[0]
        save_png(image_grid(along, columns=len(titles), column_labels=titles), self._path("png"), record)
        frames = [
            image_grid(
                [tile for strip in whole for tile in strip[value]],
                columns=rows,
                row_labels=[f"{self.covariate} {value:g}".ljust(12), *[""] * (len(whole) - 1)],
            )
            for value in self.values
        ]
        width = min(frame.shape[1] for frame in frames)  # titles differ in width; the images must not move
        save_gif([frame[:, -width:] for frame in frames], self._path("gif"), record, milliseconds=self.milliseconds)
