"""Who is in the simulated cohort: ages, sexes, diagnoses, and the ventricle volume that follows from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from medgen.data.simulated_anatomy import Anatomy
from medgen.randomness import numpy_generator

__all__ = ["Subject", "VentricleModel", "draw_subjects"]

AGES = {"NC": (55.0, 95.0), "AD": (55.0, 95.0)}  # years
CONFOUNDED_AGES = {"NC": (55.0, 85.0), "AD": (65.0, 95.0)}  # years


@dataclass(frozen=True)
class VentricleModel:
    """``ml = intercept + age_slope * (age - 75) + diagnosis * [AD] + sex * ([M] - 0.5) + spread * residual``.

    The residual is a standard normal cut at two, so that its standard deviation is 0.88.

    Args:
        intercept: mean volume of a healthy person of 75 years, in ml.
        age_slope: direct effect of age, in ml per year.
        diagnosis: direct effect of AD at fixed age and sex, in ml.
        sex: direct effect of male against female sex, in ml.
        spread: scale of the residual, in ml.
    """

    intercept: float = 32.0
    age_slope: float = 0.45
    diagnosis: float = 12.0
    sex: float = 2.0
    spread: float = 6.5

    def volume(self, age: float, diagnosis: str, sex: str, residual: float) -> float:
        """Return the volume of both lateral ventricles in ml."""
        direct = self.diagnosis * (diagnosis == "AD") + self.sex * ((sex == "M") - 0.5)
        return self.intercept + self.age_slope * (age - 75.0) + direct + self.spread * residual


@dataclass(frozen=True)
class Subject:
    """One row of the table, with the anatomy that makes its image. ``age`` in years."""

    participant_id: str
    age: float
    sex: str
    diagnosis: str
    anatomy: Anatomy


def _stratified(count: int, random: np.random.Generator) -> np.ndarray:
    """Draw ``count`` uniforms in (0, 1), one in each of ``count`` equal intervals, in random order."""
    return (random.permutation(count) + random.random(count)) / count


def _balanced_draw(count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw uniforms for age and residual and a coin for sex, the least correlated of 64 draws.

    In a small cohort chance correlations would otherwise move its effects away from the known ones.
    """

    def draw() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return _stratified(count, random), _stratified(count, random), random.permutation(np.arange(count) % 2)

    def correlation(columns: tuple[np.ndarray, np.ndarray, np.ndarray]) -> float:
        centred = [c - c.mean() for c in columns]
        pairs = ((0, 1), (0, 2), (1, 2))
        return max(
            abs(float((centred[i] * centred[j]).mean())) / (centred[i].std() * centred[j].std() + 1e-9)
            for i, j in pairs
        )

    return min((draw() for _ in range(64)), key=correlation)


def draw_subjects(
    subjects: int, seed: int = 0, confounded: bool = False, model: VentricleModel | None = None
) -> list[Subject]:
    """Draw the people: half of them AD, half of each group women, ages and residuals stratified in each group.

    Args:
        subjects: how many, at least 2.
        seed: of the cohort.
        confounded: NC are 55-85 and AD 65-95 years old (ten years apart); otherwise both are 55-95.
        model: of the ventricle volume.

    Returns:
        The subjects in the order of their identifiers, which says nothing about their group.
    """
    model = model or VentricleModel()
    random = numpy_generator("simulated cohort", seed, "people")
    people: list[tuple[float, str, str, Anatomy]] = []
    cut = ndtr(-2.0)
    for diagnosis, count in (("NC", subjects - subjects // 2), ("AD", subjects // 2)):
        low, high = (CONFOUNDED_AGES if confounded else AGES)[diagnosis]
        ages, residuals, sexes = _balanced_draw(count, random)
        ages = np.round(low + (high - low) * ages, 1)
        residuals = ndtri(cut + (1 - 2 * cut) * residuals)
        for age, residual, male in zip(ages.tolist(), residuals.tolist(), sexes.tolist(), strict=True):
            sex = "M" if male else "F"
            thinning = 0.5 + 0.015 * (age - 75.0) + 0.25 * (diagnosis == "AD") + 0.15 * random.standard_normal()
            anatomy = Anatomy(
                ventricle_ml=model.volume(age, diagnosis, sex, residual),
                thinning=float(np.clip(thinning, 0.0, 1.4)),
                head_scale=float((0.98 if male else 0.94) * np.exp(0.012 * np.clip(random.standard_normal(), -2, 2))),
            )
            people.append((age, sex, diagnosis, anatomy))
    order = random.permutation(len(people)).tolist()
    width = max(3, len(str(subjects)))
    return [Subject(f"sub-SIM{i + 1:0{width}d}", *people[j]) for i, j in enumerate(order)]
