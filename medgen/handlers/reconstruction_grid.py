"""Pictures of what an autoencoder makes of images."""

from __future__ import annotations

import os
from typing import Any

import torch

from medgen.engines.run_directory import private_folder
from medgen.handlers.periodic import Periodic
from medgen.io import image_grid, save_png
from medgen.networks.codec import reconstruct

__all__ = ["ReconstructionGrid"]


class ReconstructionGrid(Periodic):
    """Write ``reconstructions/grid_<iteration>.png``: images, their reconstructions, and four times the difference.

    The difference is grey where there is none. Of a volume the middle slice along the last axis is shown. These are
    pictures of people, so they go to the run's private folder, unless the cohort is a simulated one.

    Args:
        dataset: whose images to show, usually the validation set's: with ``images`` ``(N, C, *spatial)``.
        interval: iterations between grids; None = at the end only.
        columns: images, evenly spread over the data set.
        cohort: whose ``simulated`` says whether the images are; None = they are not.
        run_dir: where to write; by default the trainer's ``run_dir``.

    Raises:
        ValueError: when ``columns`` is below 1.
    """

    def __init__(
        self,
        dataset: Any,
        interval: int | None = 1000,
        columns: int = 8,
        cohort: Any = None,
        run_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(interval, run_dir)
        if columns < 1:
            raise ValueError(f"columns: expected 1 or more, found {columns!r}")
        self.dataset, self.columns = dataset, columns
        self.simulated = bool(getattr(cohort, "simulated", False))

    def write(self, engine: Any) -> None:
        """Encode, decode and write one grid."""
        count = len(self.dataset)
        chosen = sorted({round(k * (count - 1) / max(self.columns - 1, 1)) for k in range(self.columns)})
        network = engine.inference_network
        training = network.training
        network.eval()
        with torch.no_grad():
            images = torch.stack([self.dataset[i]["image"] for i in chosen]).float()
            found = [reconstruct(network, image[None].to(engine.state.device))[0].float().cpu() for image in images]
        network.train(training)
        rows = [*images, *found, *(4.0 * (b - a) for a, b in zip(images, found, strict=True))]
        picture = image_grid(
            [_flat(image).clamp(-1, 1) for image in rows],
            columns=len(chosen),
            row_labels=["image", "reconstruction", "difference x 4"],
        )
        folder = (self.folder if self.simulated else private_folder(self.folder)) / "reconstructions"
        facts = {"iteration": engine.state.iteration} | ({"source": "simulated cohort"} if self.simulated else {})
        name = f"grid_{engine.state.iteration:08d}.png"
        save_png(picture, folder / name, facts, self.simulated, None if self.simulated else 0o600)


def _flat(image: torch.Tensor) -> torch.Tensor:
    """Return a picture ``(C, H, W)``; of a volume its middle slice, upright."""
    if image.ndim == 3:
        return image
    return image[..., image.shape[-1] // 2].transpose(1, 2).flip(1)
