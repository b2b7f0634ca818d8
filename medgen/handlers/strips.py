"""The forward and the reverse process in pictures."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from medgen.engines.draws import fixed_noise
from medgen.engines.run_directory import private_folder
from medgen.handlers.periodic import Periodic
from medgen.io import image_grid, save_gif, save_png
from medgen.randomness import seed_from
from medgen.samplers import Sampler

__all__ = ["DenoisingStrip", "NoisingStrip"]

_GIF_FRAMES = 25


class _Strip(Periodic):
    def __init__(
        self,
        sampler: Sampler,
        interval: int | None = None,
        frames: int = 9,
        values: Mapping[str, Any] | None = None,
        shape: Sequence[int] | None = None,
        seed: int = 0,
        run_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(interval, run_dir)
        if frames < 2:
            raise ValueError(f"frames: expected 2 or more, found {frames!r}")
        self.sampler = sampler
        self.frames = frames
        self.values = values
        self.shape = shape
        self.seed = seed

    def _generate(self, engine: Any, record: int = 0) -> Any:
        covariates = engine.covariates
        return self.sampler(
            engine.inference_network,
            engine.process,
            tuple(self.shape or engine.image_shape),
            [seed_from("strip", self.seed)],
            covariates=covariates.encode([dict(self.values or {})]) if covariates else None,
            codec=engine.codec,
            device=engine.state.device,
            record=record,
        )

    def _facts(self, engine: Any) -> dict[str, Any]:
        return {"iteration": engine.state.iteration, "seed": self.seed, "sampler": self.sampler.to_dict()}


class NoisingStrip(_Strip):
    """Write ``noising.png`` and ``noising.gif``: one image from clean to noise.

    The image is a generated one, or a training image with ``source="data"``. That of a participant goes to the run's
    ``private`` folder and is marked as such.

    Args:
        sampler: makes the image.
        interval: iterations between strips; None = at the end only.
        frames: images of the PNG; the GIF has 25.
        values: covariates of the generated image; those not given are unknown.
        shape: ``(C, *spatial)``; by default that of the training images.
        seed: of image and noise.
        source: "generated" or "data".
        simulated: whether the training images are simulated, so that one may be shown.
        run_dir: where to write; by default the trainer's ``run_dir``.

    Raises:
        ValueError: when ``source`` is neither of the two.
    """

    def __init__(
        self,
        sampler: Sampler,
        interval: int | None = None,
        frames: int = 9,
        values: Mapping[str, Any] | None = None,
        shape: Sequence[int] | None = None,
        seed: int = 0,
        source: str = "generated",
        simulated: bool = False,
        run_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(sampler, interval, frames, values, shape, seed, run_dir)
        if source not in ("generated", "data"):
            raise ValueError(f'source: expected "generated" or "data", found {source!r}')
        self.source = source
        self.simulated = simulated

    def write(self, engine: Any) -> None:
        """Write both files."""
        if self.source == "generated" and not (self.shape or engine.image_shape):
            return
        if self.source == "data" and engine.state.output is None:
            return
        private = self.source == "data" and not self.simulated
        folder: Path = private_folder(self.folder) if private else self.folder / "samples"
        codec = engine.codec
        if self.source == "data":
            clean = engine.state.output["image"][:1].float()
        else:
            image = self._generate(engine).images.to(engine.state.device)
            clean = image if codec is None else codec.encode(image)
        noise = fixed_noise(clean.shape[1:], [0], self.seed).to(clean)

        def at(t: float) -> torch.Tensor:
            noisy = engine.process.corrupt(clean, noise, t)
            return _shown(engine.process, (noisy if codec is None else codec.decode(noisy))[0].float(), t)

        with torch.no_grad():
            times = [k / (self.frames - 1) for k in range(self.frames)]
            labels = [f"t = {t:.2g}" for t in times]
            picture = image_grid([at(t) for t in times], columns=self.frames, column_labels=labels)
            film = [image_grid([at(k / (_GIF_FRAMES - 1))], columns=1) for k in range(_GIF_FRAMES)]
        facts = self._facts(engine) | ({"source": "simulated cohort"} if self.source == "data" and not private else {})
        marked: dict[str, Any] = {"synthetic": not private, "permissions": 0o600 if private else None}
        save_png(picture, folder / "noising.png", facts, **marked)
        save_gif(film, folder / "noising.gif", facts, **marked)


class DenoisingStrip(_Strip):
    """Write ``denoising.png`` and ``denoising.gif``: noise becoming an image, with the estimate of the clean one below.

    Args:
        sampler: solver, steps and guidance.
        interval: iterations between strips; None = at the end only.
        frames: columns of the PNG, at most the sampler's steps; the GIF has up to 25.
        values: covariates of the image; those not given are unknown.
        shape: ``(C, *spatial)``; by default that of the training images.
        seed: of the image.
        run_dir: where to write; by default the trainer's ``run_dir``.
    """

    def write(self, engine: Any) -> None:
        """Write both files."""
        if not (self.shape or engine.image_shape):
            return
        steps = self._generate(engine, record=max(self.frames, _GIF_FRAMES)).steps
        chosen = [steps[i] for i in _spread(len(steps), self.frames)]
        picture = image_grid(
            [_shown(engine.process, step.noisy[0], step.t) for step in chosen] + [step.clean[0] for step in chosen],
            columns=len(chosen),
            row_labels=["noisy", "estimate"],
            column_labels=[f"t = {step.t:.2g}" for step in chosen],
        )
        film = [image_grid([_shown(engine.process, step.noisy[0], step.t), step.clean[0]], columns=2) for step in steps]
        save_png(picture, self.folder / "samples" / "denoising.png", self._facts(engine))
        save_gif(film, self.folder / "samples" / "denoising.gif", self._facts(engine))


def _shown(process: Any, noisy: torch.Tensor, t: float) -> torch.Tensor:
    """Bring noise of more than unit variance (EDM's) back to it, for display."""
    return noisy / max(1.0, math.hypot(float(process.alpha(t)), float(process.sigma(t))))


def _spread(count: int, wanted: int) -> list[int]:
    """Return up to ``wanted`` different indices below ``count``, evenly spread, first and last among them."""
    if count <= wanted:
        return list(range(count))
    return sorted({round(k * (count - 1) / (wanted - 1)) for k in range(wanted)})
