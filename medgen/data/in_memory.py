"""What data sets of whole cohorts in memory share: reading in threads, covariates, what is known of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from monai.data import MetaTensor
from torch.utils.data import Dataset

from medgen.covariates import Covariates
from medgen.data.images import is_picture, normalise, read_image
from medgen.data.tables import CohortError
from medgen.progress import progress_bar

__all__ = ["ImagesInMemory", "Record", "first_file"]

Record = Mapping[str, Any]
Loaded = TypeVar("Loaded")


class ImagesInMemory(Dataset):
    """Base of :class:`medgen.data.SliceDataset` and :class:`medgen.data.VolumeDataset`.

    A subclass reads with :meth:`load_all` and :meth:`prepare`, and ends with :meth:`fill`.

    Args:
        data: records of a :class:`medgen.data.Cohort`, of pictures or of volumes.
        transform: MONAI dictionary transform, called with each record whose "image" is loaded, before normalisation.
        covariates: the declared covariates.
        channels: expected number, None for what the files give.
        intensity: "percentile" (see :func:`medgen.data.images.normalise`) or "none" when ``transform`` sees to it.
        workers: threads that read, None for one per processor, at most 8.
        progress: show a progress bar.

    Attributes:
        images: (N, C, *spatial) float16 in [-1, 1].
        covariates: (N, K) float32, NaN unknown.
        subjects: N names.
        records: the N records the images come from.
        declared: the declared covariates.
        pixel_mm: side of a pixel or voxel in mm, None where it is not known.
        pictures: whether the files are pictures.

    Raises:
        CohortError: when pictures and volumes are mixed.
        ValueError: when an argument is out of range.
    """

    images: torch.Tensor
    covariates: torch.Tensor
    subjects: list[str]
    records: list[Record]
    pixel_mm: float | None

    def __init__(
        self,
        data: Sequence[Record],
        transform: Callable[[Any], Any] | None,
        covariates: Covariates | Mapping[str, Any] | None,
        channels: int | None,
        intensity: str,
        workers: int | None,
        progress: bool,
    ) -> None:
        if intensity not in ("percentile", "none"):
            raise ValueError(f'intensity: found {intensity!r}, expected "percentile" or "none"')
        if not data:
            raise ValueError("data: expected at least one record, found none")
        kinds = {is_picture(first_file(record)) for record in data}
        if len(kinds) > 1:
            raise CohortError("data: found pictures and volumes, expected one kind")
        self.pictures = kinds.pop()
        self.transform, self.channels, self.intensity = transform, channels, intensity
        self.workers, self.progress = workers, progress
        self.declared = (
            Covariates.from_dict(covariates) if isinstance(covariates, Mapping) else covariates or Covariates()
        )

    def __len__(self) -> int:
        return len(self.subjects)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {
            "image": self.images[index].float(),
            "covariates": self.covariates[index],
            "subject": self.subjects[index],
            "index": index,
        }

    @property
    def unobserved(self) -> list[str]:
        """Names of the covariates that are unknown for every image: nothing can be learned about them."""
        unknown = self.covariates.isnan().all(dim=0).tolist()
        return [name for name, missing in zip(self.declared.names, unknown, strict=True) if missing]

    @property
    def observed(self) -> dict[str, list[Any]]:
        """What each known covariate was seen to be: labels in declared order, or the lowest and the highest number.

        What lies outside was extrapolated. Ages above 90 are given as 90: this is kept beside weights.
        """
        seen: dict[str, list[Any]] = {}
        for name, column in zip(self.declared.names, self.covariates.unbind(1), strict=True):
            known, labels = column[~column.isnan()], self.declared[name]
            if len(known) == 0:
                continue
            if isinstance(labels, tuple):
                seen[name] = [label for code, label in enumerate(labels) if (known == code).any()]
            else:
                low, high = float(known.min()), float(known.max())
                seen[name] = [min(low, 90.0), min(high, 90.0)] if name == "age" else [low, high]
        return seen

    @property
    def settings(self) -> dict[str, Any]:
        """What is kept beside weights that learn from these images: ``pixel_mm``, ``unobserved``, ``observed``."""
        return {"pixel_mm": self.pixel_mm, "unobserved": self.unobserved, "observed": self.observed}

    def load_all(
        self, items: Sequence[Any], load: Callable[[Any], Loaded], said: str = "reading images"
    ) -> list[Loaded]:
        """Return ``load`` of every item, in threads.

        Args:
            items: what to load.
            load: may raise :class:`CohortError`, naming its file.
            said: beside the progress bar.

        Raises:
            CohortError: naming what was wrong with every item, so that one run finds them all.
        """

        def attempt(item: Any) -> Loaded | CohortError:
            try:
                return load(item)
            except CohortError as error:
                return error

        threads = max(1, min(self.workers or len(_processors()), 8, len(items)))
        with ThreadPoolExecutor(threads, thread_name_prefix="images") as pool:
            jobs = pool.map(attempt, items)
            loaded = list(progress_bar(jobs, self.progress, total=len(items), desc=said, unit=" images"))
        if problems := [str(item) for item in loaded if isinstance(item, CohortError)]:
            shown = "\n  ".join(problems[:20]) + (f"\n  and {len(problems) - 20} more" if len(problems) > 20 else "")
            raise CohortError(f"{len(problems)} of {len(items)} image(s) cannot be used:\n  {shown}")
        return loaded  # type: ignore[return-value]

    def prepare(self, record: Record) -> tuple[torch.Tensor, MetaTensor | None]:
        """Read one image and transform it; returns (C, *spatial), and the image with its affine if it still has one."""
        image: Any = read_image(record["image"], self.channels)
        if self.transform is not None:
            image = self.transform({**record, "image": image})["image"]
        if isinstance(image, MetaTensor):
            return image.as_tensor().float(), image
        return torch.as_tensor(image).float(), None

    def normalised(self, image: torch.Tensor) -> torch.Tensor:
        """Map (C, *spatial) to [-1, 1] where ``intensity`` says so."""
        return normalise(image) if self.intensity == "percentile" else image

    def fill(
        self, images: Sequence[torch.Tensor], records: Sequence[Record], found: Mapping[str, Sequence[Any]]
    ) -> None:
        """Set ``images``, ``records``, ``subjects`` and ``covariates``.

        Args:
            images: (N, C, *spatial) in parts.
            records: N.
            found: covariates that the images give, N values each, in place of the records'.

        Raises:
            CohortError: when images differ in channels, or a value does not fit the declaration.
        """
        if len({image.shape[1] for image in images}) > 1:
            raise CohortError(f"the images have {sorted({i.shape[1] for i in images})} channels, expected one number")
        self.images = torch.cat(list(images))
        self.records = list(records)
        self.subjects = [str(record["subject"]) for record in self.records]
        filled = {name: values for name, values in found.items() if name in self.declared}
        self.covariates = torch.stack(
            [
                self.declared.encode(
                    {**record, **{name: values[i] for name, values in filled.items()}},
                    where=first_file(record),
                    unknown_keys="ignore",
                )
                for i, record in enumerate(self.records)
            ]
        )


def first_file(record: Record) -> str:
    """The file of a record's image, or of its first channel."""
    return record["image"] if isinstance(record["image"], str) else record["image"][0]


def _processors() -> Sequence[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
