"""A label: do generated images of two labels differ as real ones do?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medgen.apps.evaluation.adjustment import complete_rows, shared_columns
from medgen.apps.evaluation.anatomy import KnownEffect, VentricleModel
from medgen.apps.evaluation.figures import Columns, figure_of, ratio_of
from medgen.apps.evaluation.question import Anatomy, Question, Reference
from medgen.apps.evaluation.real import RealImages
from medgen.covariates import Covariates
from medgen.metrics import FeatureClassifier, GroupModel, SubjectResampler, subject_means
from medgen.metrics.feature_model import FeatureModel
from medgen.metrics.roc import roc_auc_replicates
from medgen.spelling import nearest

__all__ = ["LabelContrast", "evaluated_labels"]

Array = NDArray[np.float64]


class LabelContrast(Question):
    """Two labels of a categorical covariate, judged by a classifier; targets are 0 (reference) and 1.

    Every profile is generated as either label with the same noise.

    Args:
        covariates: as declared in training.
        name: of the covariate.
        labels: two of its labels, reference first; None where it has two.
        judge: None makes a classifier.
        settings: of the classifier that is made.

    Raises:
        ValueError: when ``name`` is no categorical covariate, or ``labels`` are not two of its labels.
    """

    variants = 2

    def __init__(
        self,
        covariates: Covariates,
        name: str,
        labels: Sequence[str] | None = None,
        judge: FeatureModel | None = None,
        **settings: Any,
    ) -> None:
        self.labels = evaluated_labels(covariates, name, labels)
        super().__init__(covariates, name, judge or FeatureClassifier(**settings))
        declared = list(covariates[name])  # type: ignore[arg-type]
        self.codes = [float(declared.index(value)) for value in self.labels]

    def settings(self) -> dict[str, Any]:
        """The covariate and its two labels."""
        return {"label": self.name, "labels": list(self.labels)}

    def target(self, codes: Tensor) -> tuple[Tensor, Array]:
        """Images with one of the two labels: 1 for the second."""
        kept = torch.isin(codes, torch.tensor(self.codes))
        return kept, (codes[kept] == self.codes[1]).double().numpy()

    def check(self, split: str, target: Array, subjects: list[str]) -> None:
        """Expect two subjects of each label."""
        for value, which in zip(self.labels, (0.0, 1.0), strict=True):
            count = len({s for s, t in zip(subjects, target, strict=True) if t == which})
            if count < 2:
                raise ValueError(f"{split}: {count} subjects with {self.name} = {value!r}; expected two or more")

    def requests(self, profiles: RealImages) -> tuple[Tensor, Array]:
        """All profiles with the reference label, then all with the other."""
        halves = []
        for code in self.codes:
            half = profiles.covariates.clone()
            half[:, self.column] = code
            halves.append(half)
        return torch.cat(halves), np.repeat([0.0, 1.0], len(profiles.subjects))

    def stratum(self, target: float) -> str:
        """The label."""
        return f"{target:g}"

    def notices(self, real: dict[str, RealImages]) -> list[str]:
        """What is not adjusted for, whether age is mixed with the label, and what was left out."""
        test, notices = real["test"], []
        columns = self.columns(test.covariates)
        unknown = [name for name in ("age", "sex") if name not in columns or not np.isfinite(columns[name]).any()]
        if unknown:
            notices.append(
                f"{self.labels[1]} against {self.labels[0]}, unadjusted for {' and '.join(unknown)}: the cohort does "
                f"not hold {'it' if len(unknown) == 1 else 'them'}."
            )
        if _confounded(columns.get("age"), test.target):
            notices.append(
                f"Held-out {self.labels[1]} and {self.labels[0]} differ in age. Figures at equal covariates are the "
                "ones to read; unadjusted ones mix age with disease."
            )
        if test.left_out:
            notices.append(f"{test.left_out} held-out images without one of the two labels were left out.")
        return notices

    def reference(self, scores: Array, test: RealImages, train: RealImages, resampler: SubjectResampler) -> Reference:
        """AUC on held-out images."""
        return LabelReference(self, scores, test, resampler)

    def anatomy(
        self,
        areas: Array,
        real: RealImages,
        resampler: SubjectResampler,
        unit: str,
        volumes: Array | None,
        truth: dict[str, Any],
        adjusted_for: Sequence[str],
    ) -> Anatomy:
        """Difference between the labels, and spread within them."""
        known = self.name == "diagnosis" and self.labels == ("NC", "AD")  # what the simulation was given
        effect = truth.get("direct_diagnosis_effect_ml") if known else None
        return LabelAnatomy(self, areas, real, resampler, unit, volumes, effect, adjusted_for)


class LabelReference(Reference):
    """AUC of the classifier on held-out images: of slices, of subjects, and of slices at equal covariates."""

    def __init__(self, question: LabelContrast, scores: Array, real: RealImages, resampler: SubjectResampler) -> None:
        self.question, self.resampler, self.scores, self.real = question, resampler, scores, real
        names, means = subject_means(scores, real.subjects)
        truth = subject_means(real.target, real.subjects)[1] > 0.5
        self.by_slice = _auc(scores, real.target, real.subjects, resampler)
        self.by_subject = _auc(means, truth, names, resampler)
        columns = question.columns(real.covariates)
        self.adjusted_for = shared_columns(columns, targets=[real.target])
        self.adjusted = self._adjusted(scores, real, self.adjusted_for)
        self.ages_differ = _confounded(columns.get("age"), real.target)

    def _adjusted(self, scores: Array, images: Any, names: list[str]) -> Array:
        """AUC at equal covariates of these names."""
        columns = self.question.columns(images.covariates)
        chosen = {name: columns[name] for name in names}
        return _adjusted_auc(scores, images.target, chosen, images.subjects, self.resampler)

    def figures(self) -> dict[str, Any]:
        """ "auc" of slices, "auc_subject", and "auc_adjusted" at equal other covariates, which is the one to read where
        "ages_differ" between the labels."""
        values = {"auc": self.by_slice, "auc_subject": self.by_subject, "auc_adjusted": self.adjusted}
        return {name: figure_of(value) for name, value in values.items()} | {"ages_differ": self.ages_differ}

    def compare(self, scores: Array, generated: Any) -> dict[str, Any]:
        """ "auc", "auc_adjusted", and "ratio", "ratio_adjusted" of (AUC - 0.5) generated to real.

        Generated images follow the subject of their profile when subjects are resampled.
        """
        sides = [self.question.columns(images.covariates) for images in (self.real, generated)]
        names = shared_columns(*sides, targets=[self.real.target, generated.target])
        same = names == self.adjusted_for
        reached = self.adjusted if same else self._adjusted(self.scores, self.real, names)
        plain = _auc(scores, generated.target, generated.subjects, self.resampler)
        adjusted = self._adjusted(scores, generated, names)
        return {
            "auc": figure_of(plain),
            "auc_adjusted": figure_of(adjusted),
            "ratio": ratio_of(plain - 0.5, self.by_slice - 0.5),
            "ratio_adjusted": ratio_of(adjusted - 0.5, reached - 0.5),
        }


class LabelAnatomy(Anatomy):
    """Ventricle area by label at equal covariates, against the truth too where it is known."""

    def __init__(
        self,
        question: LabelContrast,
        areas: Array,
        real: RealImages,
        resampler: SubjectResampler,
        unit: str,
        volumes: Array | None,
        effect_ml: float | None,
        adjusted_for: Sequence[str],
    ) -> None:
        self.question, self.resampler, self.unit, self.adjusted_for = question, resampler, unit, adjusted_for
        columns = question.columns(real.covariates)
        self.cohort = self._model(areas, real)
        self.known = None
        if volumes is not None and effect_ml:
            self.known = KnownEffect(areas, volumes, columns, real.subjects, float(effect_ml), resampler)

    def figures(self) -> dict[str, Any]:
        """Effect, spread and slope of the cohort, and the known effect."""
        known = self.known.figures() if self.known else None
        return {"unit": self.unit} | self.cohort.figures() | {"known": known}

    def _model(self, areas: Array, images: Any) -> VentricleModel:
        every = self.question.columns(images.covariates)
        columns = {name: every[name] for name in self.adjusted_for}
        try:
            return VentricleModel(areas, images.target, columns, images.subjects, self.resampler)
        except ValueError as error:
            where = f"guidance {images.guidance:g}" if hasattr(images, "guidance") else "the cohort"
            known = int(complete_rows(columns, list(columns), len(areas)).sum())
            equal = f", {known} of them with known {', '.join(columns)}" if known < len(areas) else ""
            raise ValueError(
                f"{where}: found {len(areas)} images of which ventricles are measured{equal}, too few to compare the "
                f"labels at equal covariates ({error}); ask for more by n_per_class and n_sweep, or leave ventricles "
                "out"
            ) from error

    def compare(self, areas: Array, generated: Any) -> dict[str, Any]:
        """The same of generated images, with ratios."""
        model = self._model(areas, generated)
        return model.figures() | {
            "effect_ratio": ratio_of(model.values["effect"], self.cohort.values["effect"]),
            "spread_ratio": ratio_of(model.values["spread"], self.cohort.values["spread"]),
            "known_ratio": ratio_of(model.values["effect"], self.known.values) if self.known else None,
        }

    def plotted(self, areas: Array, generated: Any) -> dict[str, Any]:
        """Areas at equal covariates, and labels, of cohort and generated images."""
        models = {"cohort": self.cohort.model, "generated": self._model(areas, generated).model}
        return {name: (model.adjusted(), model.group) for name, model in models.items()}


def evaluated_labels(covariates: Covariates, label: str, labels: Sequence[str] | None) -> tuple[str, str]:
    """The two labels that are compared, reference first.

    Raises:
        ValueError: when ``label`` is no categorical covariate, or ``labels`` are not two of its labels. A name that is
            not declared at all is told beside all that are, since numbers can be judged as well.
    """
    if label not in covariates or not covariates.is_categorical(label):
        names = covariates.categorical if label in covariates else covariates.names
        kind = "categorical covariates" if label in covariates else "covariates"
        raise ValueError(f"label: expected one of the {kind} {names}, found {label!r}{nearest(label, names)}")
    declared = tuple(covariates[label])  # type: ignore[arg-type]
    chosen = declared if labels is None else tuple(labels)
    if len(chosen) != 2 or len(set(chosen)) != 2 or not set(chosen) <= set(declared):
        raise ValueError(f"labels: expected two of {list(declared)}, reference first, found {list(chosen)}")
    return chosen[0], chosen[1]


def _auc(scores: Array, positive: Array | NDArray[np.bool_], subjects: list[str], resampler: SubjectResampler) -> Array:
    weights = np.concatenate([np.ones((1, len(scores))), resampler.weights(subjects)])
    return roc_auc_replicates(np.asarray(positive, np.float64) > 0.5, scores, weights)


def _adjusted_auc(
    scores: Array, positive: Array, columns: Columns, subjects: list[str], resampler: SubjectResampler
) -> Array:
    """AUC of scores moved to equal covariates; the move itself is not resampled."""
    model = GroupModel(scores, positive, columns, subjects, squared=[n for n in columns if n == "slice"])
    return _auc(model.adjusted(), model.group, model.subjects, resampler)


def _confounded(age: np.ndarray | None, positive: np.ndarray) -> bool:
    """Whether the two labels' ages differ by more than half of a standard deviation."""
    if age is None or not np.isfinite(age).any():
        return False
    groups = [age[(positive == value) & np.isfinite(age)] for value in (0.0, 1.0)]
    if min(len(group) for group in groups) < 2:
        return False
    spread = np.sqrt((groups[0].var() + groups[1].var()) / 2)
    return bool(abs(groups[1].mean() - groups[0].mean()) > 0.5 * max(spread, 1e-9))
