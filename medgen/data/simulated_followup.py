"""The simulated people seen again: the same person some years older, with nothing else changed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from medgen.data.simulated_anatomy import Anatomy
from medgen.data.simulated_people import AGES, CONFOUNDED_AGES, Subject, VentricleModel

__all__ = ["THINNING_PER_YEAR", "Seen", "check_visits", "seen_again", "younger_people"]

THINNING_PER_YEAR = 0.015


@dataclass(frozen=True)
class Seen:
    """One visit of one person.

    Attributes:
        subject: BIDS name of the person.
        session: BIDS name of the visit, "" where there is only one.
        age: in years.
        anatomy: what the brain looks like then.
    """

    subject: str
    session: str
    age: float
    anatomy: Anatomy

    @property
    def stem(self) -> str:
        """Beginning of its files' names."""
        return f"{self.subject}_{self.session}" if self.session else self.subject

    @property
    def folder(self) -> str:
        """Where it lies, relative to the data set."""
        return f"{self.subject}/{self.session}" if self.session else self.subject


def check_visits(visits: int, years: float) -> None:
    """Refuse visits that are none, or that would need people older than the oldest.

    Raises:
        ValueError: unless there is at least one visit, and positive years that span 35 at most.
    """
    if isinstance(visits, bool) or not isinstance(visits, int) or visits < 1:
        raise ValueError(f"visits: expected a whole number of at least 1, found {visits!r}")
    if visits > 1 and not 0 < years * (visits - 1) <= 35:
        raise ValueError(f"years: expected 0-35 years from the first to the last visit, found {years!r} x {visits - 1}")


def younger_people(
    people: list[Subject], span: float, confounded: bool = False, model: VentricleModel | None = None
) -> list[Subject]:
    """Make people young enough to be seen for ``span`` years: ages are pressed together towards the lowest.

    What sets a person apart at equal age stays: the residual of the ventricle volume, that of the cortex, the head.
    They are named ``sub-SIML...`` (longitudinal), so that nobody takes them for people of a cohort of single visits.

    Args:
        people: of :func:`medgen.data.simulated_people.draw_subjects`.
        span: years between first and last visit.
        confounded: as they were drawn.
        model: of the ventricle volume, as they were drawn.
    """
    model = model or VentricleModel()
    result = []
    for person in people:
        low, high = (CONFOUNDED_AGES if confounded else AGES)[person.diagnosis]
        age = round(low + (person.age - low) * (high - span - low) / (high - low), 1)
        anatomy = _older(person.anatomy, age - person.age, model)
        name = person.participant_id.replace("sub-SIM", "sub-SIML")
        result.append(replace(person, participant_id=name, age=age, anatomy=anatomy))
    return result


def seen_again(person: Subject, visits: int, years: float, model: VentricleModel | None = None) -> list[Seen]:
    """Return a person's visits, ``years`` apart: the ventricles grow and the cortex thins as age says, nothing else.

    Args:
        person: as at the first visit.
        visits: how many; one has no session.
        years: between two visits.
        model: of the ventricle volume.
    """
    model = model or VentricleModel()
    seen = []
    for number in range(visits):
        later = number * years
        session = f"ses-{number + 1:02d}" if visits > 1 else ""
        anatomy = _older(person.anatomy, later, model) if later else person.anatomy
        seen.append(Seen(person.participant_id, session, round(person.age + later, 1), anatomy))
    return seen


def _older(anatomy: Anatomy, years: float, model: VentricleModel) -> Anatomy:
    thinning = float(np.clip(anatomy.thinning + THINNING_PER_YEAR * years, 0.0, 1.4))
    return replace(anatomy, ventricle_ml=anatomy.ventricle_ml + model.age_slope * years, thinning=thinning)
