"""Latents of a data set, encoded once."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from medgen.files import atomic_write, key_of
from medgen.progress import progress_bar

__all__ = ["MOMENTS", "LatentDataset"]

logger = logging.getLogger(__name__)

# the key of a batch, and of an item, that holds moments in place of an image
MOMENTS = "moments"


class LatentDataset(Dataset):
    """Posterior mean and standard deviation of every image's latent, in memory and in a private file.

    A trainer draws a latent from them anew whenever it meets one, so what it learns from is as random as without the
    cache. What changes pixels does not commute with a cache: instead of drawing a new change each time,
    ``copies`` - 1 changed versions of every image are encoded beside the image itself, and an epoch goes through all of
    them. Nothing here is of 2D or 3D.

    The file is named after a hash of images, codec and changes, so it is found again when the run is resumed, and never
    taken for that of other data. It is derived from participants' images: mode 0600. With several processes the first
    one encodes.

    Args:
        dataset: with ``images`` ``(N, C, *spatial)``, ``covariates``, ``subjects`` and ``records``, such as
            :class:`medgen.data.SliceDataset`; its other attributes are this one's too.
        codec: with trained weights; it encodes on the device that it is on.
        copies: versions of each image, the unchanged one included.
        augmentation: makes the others; see :class:`medgen.data.BatchAugmentation`.
        folder: where the file is kept, for example a run's private folder; None = in memory only.
        batch_size: images that are encoded together.
        progress: show a progress bar.

    Attributes:
        images: ``(N * copies, 2 C', *latent)`` float16: means, then standard deviations; standardised.
        covariates: ``(N * copies, K)``.
        subjects: N * copies names.
        records: N * copies records.

    Raises:
        ValueError: when an argument is out of range, or copies are wanted without an augmentation.
    """

    key = MOMENTS

    def __init__(
        self,
        dataset: Any,
        codec: Any,
        copies: int = 1,
        augmentation: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
        folder: str | os.PathLike[str] | None = None,
        batch_size: int = 32,
        progress: bool = True,
    ) -> None:
        if copies < 1 or batch_size < 1:
            raise ValueError(f"expected copies >= 1 and batch_size >= 1, found {copies!r} and {batch_size!r}")
        if copies > 1 and augmentation is None:
            raise ValueError(f"copies: found {copies}, but no augmentation that would make them differ")
        self.dataset, self.codec, self.copies, self.augmentation = dataset, codec, copies, augmentation
        self.batch_size, self.progress = batch_size, progress
        self.images = self._cached(None if folder is None else Path(folder))
        self.covariates = dataset.covariates.repeat(copies, 1)
        self.subjects = list(dataset.subjects) * copies
        self.records = list(getattr(dataset, "records", ())) * copies

    def __len__(self) -> int:
        return len(self.subjects)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {
            MOMENTS: self.images[index].float(),
            "covariates": self.covariates[index],
            "subject": self.subjects[index],
            "index": index,
        }

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "dataset" not in self.__dict__:  # while it is copied or unpickled
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def _cached(self, folder: Path | None) -> torch.Tensor:
        if folder is None:
            return self._encode()
        path = folder / f"latents_{self._hash()}.pt"
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        first = not distributed or torch.distributed.get_rank() == 0
        if first and not path.is_file():
            moments = self._encode()
            with atomic_write(path, permissions=0o600) as temporary:
                torch.save(moments, temporary)
            logger.info("wrote the latents of %d images to %s", len(moments), path)
        if distributed:
            torch.distributed.barrier()
        # a machine that does not see the first process's disk encodes for itself
        return torch.load(path, map_location="cpu", weights_only=True) if path.is_file() else self._encode()

    def _hash(self) -> str:
        """Return what the moments depend on, in 16 digits."""
        pixels = hashlib.sha256(_bytes(self.dataset.images))
        weights = hashlib.sha256()
        for value in self.codec.state_dict().values():
            weights.update(_bytes(value.cpu()))
        changes = None if self.copies == 1 else sorted((k, repr(v)) for k, v in vars(self.augmentation).items())
        shape = list(self.dataset.images.shape)
        return key_of(shape, pixels.hexdigest(), weights.hexdigest(), self.copies, changes)

    def _encode(self) -> torch.Tensor:
        device = self.codec.shift.device
        count = len(self.dataset.images)
        places = [(copy, first) for copy in range(self.copies) for first in range(0, count, self.batch_size)]
        parts = []
        for copy, first in progress_bar(places, self.progress, desc="encoding", unit=" batches"):
            index = torch.arange(first, min(first + self.batch_size, count))
            images = self.dataset.images[index].float()
            if copy and self.augmentation is not None:
                keys = torch.stack([torch.full_like(index, copy), index, torch.zeros_like(index)], dim=1)
                images = self.augmentation(images, keys)
            parts.append(torch.cat(self.codec.moments(images.to(device)), dim=1).half().cpu())
        return torch.cat(parts)


def _bytes(tensor: torch.Tensor) -> memoryview:
    return tensor.detach().contiguous().reshape(-1).numpy().view(np.uint8).data
