"""Who comes to the simulated study, when, and with which disease: people whose severity grows from visit to visit.

A person's severity of disease rises linearly. It sets the diagnosis at each visit and, through the same
:class:`~medgen.data.simulated_people.VentricleModel` as in the simulated cohort, the volume of the ventricles.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from medgen.data.simulated_anatomy import Anatomy
from medgen.data.simulated_people import AGES, VentricleModel, draw_subjects
from medgen.randomness import numpy_generator

__all__ = ["SITES", "Participant", "Visit", "draw_participants"]

SITES = ("991", "992", "993")  # no site of the study has these numbers
FIRST_RID = 9001
ENROLMENT_AGES = (55.0, 90.0)  # years
MCI_FROM, DEMENTIA_FROM = 0.2, 0.85  # severity
YEAR = 365.25  # days
FIRST_DAY = {"ADNI1": date(2006, 3, 1), "ADNI2": date(2011, 9, 1), "ADNI3": date(2017, 3, 1)}


@dataclass(frozen=True)
class Role:
    """One course of the study.

    Args:
        group: at enrolment: CN, SMC, EMCI, LMCI or AD.
        phase: ADNI1 (1.5 T, MP-RAGE twice), ADNI2 (3 T, plain and accelerated) or ADNI3 (3 T, accelerated only).
        severity: at baseline; 0 is healthy, 1 dementia.
        per_year: growth of the severity.
        months: visits with a scan.
        undiagnosed: visit whose diagnosis is missing, in months.
    """

    group: str
    phase: str
    severity: float
    per_year: float
    months: tuple[int, ...]
    undiagnosed: int | None = None


# people drawn as NC and as AD take these in turn
ROLES: dict[str, tuple[Role, ...]] = {
    "NC": (
        Role("CN", "ADNI1", 0.0, 0.03, (0, 12, 24), undiagnosed=24),
        Role("SMC", "ADNI2", 0.05, 0.04, (0, 12)),
        Role("EMCI", "ADNI2", 0.3, 0.08, (0, 12, 24)),
        Role("CN", "ADNI3", 0.12, 0.1, (0, 12, 24)),  # to MCI at month 12
        Role("CN", "ADNI2", 0.0, 0.03, (0, 24)),
        Role("CN", "ADNI1", 0.0, 0.02, (0,)),
    ),
    "AD": (
        Role("AD", "ADNI2", 1.0, 0.2, (0, 12)),
        Role("LMCI", "ADNI1", 0.6, 0.3, (0, 12, 24)),  # to dementia at month 12
        Role("AD", "ADNI1", 1.0, 0.15, (0, 12, 24)),
        Role("LMCI", "ADNI2", 0.45, 0.1, (0, 24)),
        Role("LMCI", "ADNI2", 0.6, 0.15, (0, 12, 24)),  # to dementia at month 24
        Role("AD", "ADNI3", 1.0, 0.2, (0,)),
    ),
}


@dataclass(frozen=True)
class Visit:
    """One visit of one person.

    Attributes:
        months: since baseline.
        exam_date: of the clinical examination.
        scan_date: of the MRI; None where there was none.
        age: at the examination, in years.
        severity: of the disease.
        diagnosis: CN, MCI or Dementia; None where nobody wrote it down.
        anatomy: what the brain looks like.
    """

    months: int
    exam_date: date
    scan_date: date | None
    age: float
    severity: float
    diagnosis: str | None
    anatomy: Anatomy


@dataclass(frozen=True)
class Participant:
    """One person who does not exist.

    Attributes:
        index: position among the participants.
        rid: roster number.
        site: three digits.
        sex: F or M.
        group: at enrolment: CN, SMC, EMCI, LMCI or AD.
        phase: of the study in which the person enrolled.
        visits: in the order of time.
    """

    index: int
    rid: int
    site: str
    sex: str
    group: str
    phase: str
    visits: tuple[Visit, ...]

    @property
    def ptid(self) -> str:
        """The subject as the archive writes it, for example 991_S_9001."""
        return f"{self.site}_S_{self.rid:04d}"


def diagnosis_of(severity: float) -> str:
    """Return CN, MCI or Dementia."""
    return "Dementia" if severity >= DEMENTIA_FROM else "MCI" if severity >= MCI_FROM else "CN"


def draw_participants(subjects: int, seed: int = 0, model: VentricleModel | None = None) -> list[Participant]:
    """Draw the people of :func:`medgen.data.simulated_people.draw_subjects` and send each through one course.

    Args:
        subjects: how many, at least 2; every twelve have all courses once.
        seed: of people, dates and rates.
        model: of the ventricle volume; a severity of 1 adds its ``diagnosis``.
    """
    model = model or VentricleModel()
    taken = dict.fromkeys(ROLES, 0)
    participants = []
    for index, person in enumerate(draw_subjects(subjects, seed, model=model)):
        roles = ROLES[person.diagnosis]
        role = roles[taken[person.diagnosis] % len(roles)]
        taken[person.diagnosis] += 1
        random = numpy_generator("simulated download", seed, "course", index)
        (low, high), (youngest, oldest) = ENROLMENT_AGES, AGES[person.diagnosis]
        age = round(low + (person.age - youngest) * (high - low) / (oldest - youngest), 1)
        expected = model.volume(person.age, person.diagnosis, person.sex, 0.0)
        residual = (person.anatomy.ventricle_ml - expected) / model.spread
        rate = role.per_year * (1.0 + 0.15 * float(random.uniform(-1.0, 1.0)))
        start = FIRST_DAY[role.phase] + timedelta(days=int(random.integers(0, 500)))
        between = {6} if len(role.months) > 1 and role.phase != "ADNI3" else set()  # an examination without a scan
        visits = []
        for months in sorted({*role.months, *between}):
            late = 0 if months == 0 else int(random.integers(-20, 21))
            exam = start + timedelta(days=round(months * YEAR / 12) + late)
            wait = -int(random.integers(5, 30)) if months == 0 else int(random.integers(-10, 15))
            years = (exam - start).days / YEAR
            severity = role.severity + rate * years
            sick = float(person.diagnosis == "AD")
            thinning = person.anatomy.thinning + 0.015 * (age + years - person.age) + 0.25 * (severity - sick)
            volume = model.volume(age + years, "NC", person.sex, residual) + model.diagnosis * severity
            visits.append(
                Visit(
                    months=months,
                    exam_date=exam,
                    scan_date=exam + timedelta(days=wait) if months in role.months else None,
                    age=age + years,
                    severity=severity,
                    diagnosis=None if months == role.undiagnosed else diagnosis_of(severity),
                    anatomy=Anatomy(volume, float(np.clip(thinning, 0.0, 1.4)), person.anatomy.head_scale),
                )
            )
        participants.append(
            Participant(
                index=index,
                rid=FIRST_RID + index,
                site=SITES[index % len(SITES)],
                sex=person.sex,
                group=role.group,
                phase=role.phase,
                visits=tuple(visits),
            )
        )
    return participants
