"""Held-out people with what is known of them: their images, later ones where they came again, true ventricle masks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medgen.bundles.workflow import user_error
from medgen.covariates import Covariates
from medgen.data.cohort import Cohort

__all__ = ["Visits", "check_axial", "extrapolated_notices", "held_out_visits", "own_years", "read_visits"]


@dataclass(frozen=True)
class Visits:
    """Images of people at their first visit, and at their last where there is another.

    Attributes:
        images: (N, C, *spatial) float32 in [-1, 1], of the first visits.
        covariates: (N, K).
        subjects: N names.
        places: N numbers: which of a person's slices it is.
        later: (N, C, *spatial) of the last visits; rows without one hold NaN.
        years: (N,) between the two, NaN without a second.
        masks: (N, *spatial) bool, true ventricles at the first visit; None where they are not known.
        later_masks: at the last.
        pixel_mm: side of a pixel in mm, None where it is not known.
        simulated: whether these people do not exist.
    """

    images: Tensor
    covariates: Tensor
    subjects: list[str]
    places: list[int]
    later: Tensor
    years: NDArray[np.float64]
    masks: Tensor | None
    later_masks: Tensor | None
    pixel_mm: float | None
    simulated: bool

    @property
    def paired(self) -> NDArray[np.intp]:
        """Rows with a second visit."""
        return np.flatnonzero(np.isfinite(self.years))

    def subset(self, rows: NDArray[np.intp]) -> Visits:
        """Take some rows."""
        taken = rows.tolist()

        def of(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[taken]

        return Visits(
            self.images[taken],
            self.covariates[taken],
            [self.subjects[row] for row in taken],
            [self.places[row] for row in taken],
            self.later[taken],
            self.years[rows],
            of(self.masks),
            of(self.later_masks),
            self.pixel_mm,
            self.simulated,
        )


def check_axial(spatial_dims: int, plane: str = "axial") -> None:
    """Refuse what the evidence cannot judge, before anything is read: its measures are of axial slices.

    Args:
        spatial_dims: of the model's images.
        plane: of its slices.

    Raises:
        ValueError: for volumes, or another plane.
    """
    if spatial_dims != 2 or plane != "axial":
        found = f"{plane} slices" if spatial_dims == 2 else f"images of {spatial_dims} dimensions"
        raise user_error(
            ValueError(
                f"the evidence of translation measures ventricles in axial slices; found {found}. "
                "inference_translate.json translates them, with pictures and no figures"
            )
        )


def read_visits(
    dataset: Callable[..., Any],
    covariates: Covariates,
    records: Sequence[dict[str, Any]],
    simulated: bool,
    people: int | None = None,
    folder: str | Path | None = None,
) -> Visits:
    """Read the first and the last visit of people.

    Args:
        dataset: ``dataset(data=records)`` reads slices as the model was trained on them; its choice of slices must not
            depend on the scan (``seed`` None), so that those of two visits lie at the same place.
        covariates: the model's declaration, with "age".
        records: of the people.
        simulated: whether they do not exist.
        people: the first so many of them, by name; None takes all.
        folder: of a simulated cohort, whose true masks are read.

    Raises:
        ValueError: when the age of a visit is unknown, or two visits give different numbers of slices.
    """
    visits: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        visits[record["subject"]].append(dict(record))
    chosen = sorted(visits)[:people]
    scans: list[dict[str, Any]] = []
    for name in chosen:
        ages = [float(record.get("age", np.nan)) for record in visits[name]]
        if unknown := int((~np.isfinite(ages)).sum()):
            raise ValueError(f"records: the age of {unknown} visit(s) of a person is unknown; expected it for each")
        first_visit, last_visit = int(np.argmin(ages)), int(np.argmax(ages))  # two scans of one age are no two visits
        scans += [visits[name][n] for n in sorted({first_visit, last_visit}, key=ages.__getitem__)]
    masks = _with_masks(scans, folder) if simulated and folder is not None else None
    data = dataset(data=masks or scans)
    images = data.images.float()
    truth = images[:, -1] > 0 if masks else None
    images = images[:, :-1] if masks else images
    rows: dict[str, dict[float, list[int]]] = defaultdict(lambda: defaultdict(list))
    age = covariates.index("age")
    for row, name in enumerate(data.subjects):
        rows[name][float(data.covariates[row, age])].append(row)
    first: list[int] = []
    last: list[int] = []
    places: list[int] = []
    for by_age in rows.values():
        early, late = by_age[min(by_age)], by_age[max(by_age)]
        if len(early) != len(late):
            raise ValueError(
                f"dataset: two visits of a person have {len(early)} and {len(late)} slices; expected as many"
            )
        first += early
        last += late
        places += range(len(early))
    again = torch.tensor([a != b for a, b in zip(first, last, strict=True)])
    later = torch.where(again.reshape(-1, *(1,) * (images.ndim - 1)), images[last], torch.nan)
    years = (data.covariates[last, age] - data.covariates[first, age]).double().numpy()
    return Visits(
        images=images[first],
        covariates=data.covariates[first],
        subjects=[data.subjects[row] for row in first],
        places=places,
        later=later,
        years=np.where(again.numpy(), years, np.nan),
        masks=None if truth is None else truth[first],
        later_masks=None if truth is None else truth[last],
        pixel_mm=data.pixel_mm,
        simulated=bool(simulated),
    )


def held_out_visits(
    dataset: Callable[..., Any],
    covariates: Covariates,
    records: Sequence[dict[str, Any]],
    again: str | Path | None = None,
    people: int | None = None,
) -> Visits:
    """Read the people of a model's test split, or, where its cohort is simulated, others who were seen twice.

    Args:
        dataset: see :func:`read_visits`.
        covariates: the model's declaration.
        records: of the test split.
        again: folder of a simulated cohort with several visits, whose people the model never saw; None takes the test
            split, with its own second visits where there are any.
        people: how many.
    """
    if again is None:
        return read_visits(dataset, covariates, records, simulated=False, people=people)
    cohort = Cohort(again, covariates)
    return read_visits(dataset, covariates, cohort.records, cohort.simulated, people, folder=again)


def own_years(visits: Visits, interval: float | None) -> Tensor | None:
    """Each person's years between two visits; None where ``interval`` is that of all, or nobody was seen twice.

    Args:
        visits: the people; those without a second visit get the interval.
        interval: that is asked for anyway.
    """
    between = visits.years[visits.paired]
    if interval is None or bool((np.abs(between - interval) < 0.01).all()):
        return None
    return torch.from_numpy(np.where(np.isfinite(visits.years), visits.years, interval)).float()


def extrapolated_notices(asked: Tensor, trained: Tensor, column: int, years: Sequence[float]) -> list[str]:
    """Say how many of the ages asked for lie outside those of the training images.

    Args:
        asked: (N, K) covariates of the people.
        trained: (M, K) of the training images.
        column: of the age.
        years: that are added.
    """
    own, seen = (rows[:, column][rows[:, column].isfinite()] for rows in (asked, trained))
    notices = []
    for year in years:
        if count := int(((own + year < seen.min()) | (own + year > seen.max())).sum()):
            notices.append(f"{year:+g} years: {count} of {len(own)} ages lie outside the training range: extrapolated.")
    return notices


def _with_masks(scans: list[dict[str, Any]], folder: str | Path) -> list[dict[str, Any]] | None:
    """Give each record the true mask as a second channel; None where a mask is not there."""
    root = Path(folder)
    found = []
    for record in scans:
        image = Path(record["image"])
        name = image.name.replace("_T1w.nii.gz", "_label-ventricles_mask.nii.gz")
        mask = root / "derivatives" / "ventricles" / image.parent.relative_to(root) / name
        if not mask.is_file():
            return None
        found.append({**record, "image": [str(image), str(mask)]})
    return found
