"""The evaluation of a trained generator, stage by stage."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medgen import __version__
from medgen.apps.evaluation.anatomy import KnownEffect, VentricleModel, known_volumes
from medgen.apps.evaluation.cache import StageCache
from medgen.apps.evaluation.figures import Likeness, figure_of, label_fidelity, originality, ratio_of, real_label_scores
from medgen.apps.evaluation.generated import GeneratedImages, Generator
from medgen.apps.evaluation.provenance import covariate_notices, model_facts, provenance
from medgen.apps.evaluation.real import RealImages, adjustment_columns, check_splits, draw_profiles, evaluated_labels
from medgen.covariates import Covariates
from medgen.files import key_of
from medgen.metrics import FeatureClassifier, SubjectResampler, check_same_scale, ventricle_area

__all__ = ["Evaluation", "Evidence"]

logger = logging.getLogger("medgen.evaluation")


@dataclasses.dataclass
class Evidence:
    """Everything a report is written from.

    Attributes:
        metrics: the content of ``metrics.json``.
        covariates: their declaration.
        generated: images by guidance, in [-1, 1].
        train: training images; private unless simulated.
        test: held-out images; private unless simulated.
        flagged: which images of each guidance are near copies of a training image.
        neighbours: rows of ``train`` nearest to each image of the main guidance, and their scores.
        areas: ventricle areas at equal covariates, by name of the group, for plots.
        scores: log odds of the classifier, real and generated, by label, for plots.
    """

    metrics: dict[str, Any]
    covariates: Covariates
    generated: dict[float, GeneratedImages]
    train: RealImages
    test: RealImages
    flagged: dict[float, Any]
    neighbours: dict[str, Any]
    areas: dict[str, Any]
    scores: dict[str, Any]


class Evaluation:
    """Asks a trained generator whether its images look real, carry the label by the right amount, and are its own.

    Everything real comes from the splits of the training run; the generator and the feature classifier never saw the
    held-out subjects. Profiles (age, sex, slice position and whatever else is declared) are drawn from held-out images,
    and every profile is generated with either label and the same noise, so that the labels are compared at equal age
    and slice. Results of stages are kept under ``output_dir/private``; an evaluation that was interrupted goes on, and
    one of other weights, data or settings starts anew by itself.

    Args:
        network: with its trained weights, on ``device``.
        process: the process it was trained with.
        sampler: solver and steps.
        covariates: as declared in training.
        cohort: the :class:`medgen.data.Cohort`.
        train: training split as :class:`medgen.data.SliceDataset`.
        validation: validation split.
        test: held-out split.
        output_dir: where ``report.html``, ``report_private.html`` and ``metrics.json`` go.
        weights: the file the weights are from, for its hash and manifest; None hashes the network.
        label: the categorical covariate that is judged.
        labels: two of its labels, reference first; None where it has two.
        guidance: the main guidance scale; None takes the sampler's.
        guidances: the scales of the sweep.
        n_per_class: images of each label at the main guidance.
        n_sweep: images of each label at the other scales.
        codec: decodes latents; None for pixel models.
        classifier: judges label and likeness; None makes one on ``device``.
        ventricles: measure ventricle areas; for axial T1 slices without skull.
        replicates: of the bootstrap over subjects.
        seed: of profiles, noise, classifier and bootstrap.
        device: of the classifier.
        name: of the model, in the report.

    Raises:
        ValueError: when a subject is in two splits, splits differ in pixel size, the label is not declared, a held-out
            label has fewer than two subjects, or the weights were trained on another cohort.
    """

    def __init__(
        self,
        network: Any,
        process: Any,
        sampler: Any,
        covariates: Covariates,
        cohort: Any,
        train: Any,
        validation: Any,
        test: Any,
        output_dir: str | os.PathLike[str],
        weights: str | os.PathLike[str] | None = None,
        label: str = "diagnosis",
        labels: Sequence[str] | None = None,
        guidance: float | None = None,
        guidances: Sequence[float] = (1.0, 1.5, 2.0, 3.0),
        n_per_class: int = 128,
        n_sweep: int = 64,
        codec: Any = None,
        classifier: FeatureClassifier | None = None,
        ventricles: bool = True,
        replicates: int = 1000,
        seed: int = 0,
        device: str | torch.device = "cpu",
        name: str = "",
    ) -> None:
        if not 4 <= n_sweep <= n_per_class:
            raise ValueError(f"expected 4 <= n_sweep <= n_per_class, found {n_sweep} and {n_per_class}")
        main = guidance if guidance is not None else getattr(sampler, "guidance", 1.0)
        if isinstance(main, bool) or not isinstance(main, (int, float)):
            raise ValueError(f"guidance: expected one scale, found {main!r}")
        self.network, self.process, self.sampler, self.codec = network, process, sampler, codec
        self.covariates, self.cohort, self.label = covariates, cohort, label
        self.labels = evaluated_labels(covariates, label, labels)
        self.output_dir, self.name, self.seed, self.replicates = Path(output_dir), name, seed, replicates
        self.guidance, self.guidances = float(main), sorted({float(main), *(float(g) for g in guidances)})
        self.n_per_class, self.n_sweep = n_per_class, n_sweep
        self.classifier = classifier or FeatureClassifier(seed=seed, device=device)
        self.model = model_facts(network, weights, cohort)
        datasets = {"train": train, "validation": validation, "test": test}
        self.real = {
            split: RealImages.of(dataset, covariates, label, self.labels, split) for split, dataset in datasets.items()
        }
        self.pixel_mm = check_splits(self.real, datasets)
        self.ventricles = ventricles
        self.cache = StageCache(self.output_dir / "private")

    def run(self) -> dict[str, Any]:
        """Evaluate and write the reports.

        Returns:
            The content of ``metrics.json``.
        """
        from medgen.apps.report import write_reports

        evidence = self.evidence()
        paths = write_reports(evidence, self.output_dir)
        logger.info("report: %s", paths["report"])
        return evidence.metrics

    def evidence(self) -> Evidence:
        """Run all stages: classifier, generation at every guidance, figures."""
        train, test = self.real["train"], self.real["test"]
        classifier = self._trained_classifier()
        generated = self._generated()
        notices = covariate_notices(self.cohort, self.covariates, self.label, self.labels, test)
        for images in generated.values():
            named = (f"generated at guidance {images.guidance:g}", "held-out real")
            notices += check_same_scale(images.images.numpy(), test.images.numpy(), named)
        generated = {g: dataclasses.replace(i, images=i.images.clamp(-1, 1)) for g, i in generated.items()}

        resampler = self._resampler()
        columns = {split: self._columns(real.covariates) for split, real in self.real.items()}
        features = {split: classifier.features(self.real[split].images) for split in ("train", "test")}
        test_scores = classifier.scores(test.images)
        ceiling = real_label_scores(test_scores, test, columns["test"], resampler)
        likeness = Likeness(features["test"], test.subjects, features["train"], train.subjects, resampler, self.seed)
        rows, scores = [], {}
        for scale, images in generated.items():
            logger.info("figures at guidance %g", scale)
            scores[scale] = classifier.scores(images.images)
            alike = classifier.features(images.images[torch.from_numpy(images.factual)])
            names = [s for s, f in zip(images.subjects, images.factual, strict=True) if f]
            rows.append(
                {
                    "guidance": scale,
                    "main": scale == self.guidance,
                    "per_class": images.profiles,
                    "label": label_fidelity(
                        scores[scale], images, self._columns(images.covariates), ceiling, resampler
                    ),
                    "likeness": likeness.figures(alike, names),
                    "evaluations_per_image": images.evaluations,
                    "seconds_per_image": images.seconds,
                }
            )  # fmt: skip
        anatomy, areas = self._anatomy(generated, rows, resampler, columns) if self.ventricles else (None, {})
        main, near = generated[self.guidance], {}
        for row, (scale, images) in zip(rows, generated.items(), strict=True):
            found = originality(images.images.numpy(), test.images.numpy(), train.images.numpy(), train.subjects)
            near[scale] = {key: found.pop(key) for key in ("flagged", "rows", "scores")}
            row["originality"] = found
        metrics = provenance(self, notices) | {
            "classifier": {"features": features["test"].shape[1], "epochs": len(classifier.history)},
            "real": {
                "auc": figure_of(ceiling.by_slice),
                "auc_subject": figure_of(ceiling.by_subject),
                "auc_adjusted": figure_of(ceiling.adjusted),
                "ventricles": anatomy,
            },
            "generated": rows,
        }
        by_label = {"real": (test_scores, test.positive), "generated": (scores[self.guidance], main.positive)}
        flagged = {scale: found["flagged"] for scale, found in near.items()}
        return Evidence(metrics, self.covariates, generated, train, test, flagged, near[self.guidance], areas, by_label)

    def _trained_classifier(self) -> FeatureClassifier:
        """The classifier, read where it was trained on the same images with the same settings."""
        train, validation, classifier = self.real["train"], self.real["validation"], self.classifier
        settings = {k: v for k, v in vars(classifier).items() if isinstance(v, (int, float, str)) and k[0] != "_"}
        key = key_of(__version__, train.digest(), validation.digest(), settings)
        path = self.cache.path("classifier", key, ".pt")
        if path.is_file():
            logger.info("classifier: found %s", path.name)
            return classifier.load(path, key)
        logger.info("classifier: training on %d images", len(train.subjects))
        columns = list(self._columns(train.covariates).values())
        others = torch.from_numpy(np.stack(columns, axis=1)).float() if columns else None
        classifier.fit(
            train.images, train.positive, train.subjects,
            validation.images, validation.positive, validation.subjects, others,
        )  # fmt: skip
        classifier.save(path, key)
        return classifier

    def _generated(self) -> dict[float, GeneratedImages]:
        """Images at every guidance; those of a smaller number are of the first profiles of a larger one."""
        test = self.real["test"]
        generator = Generator(
            self.network, self.process, self.sampler, self.cache, self.model["sha256"], self.codec, self.seed
        )
        profiles = test.subset(draw_profiles(test.subjects, self.n_per_class, self.seed))
        declared = self.covariates[self.label]
        codes = (float(declared.index(self.labels[0])), float(declared.index(self.labels[1])))  # type: ignore[union-attr]
        column = self.covariates.index(self.label)
        few = profiles.subset(np.arange(self.n_sweep))
        return {
            scale: generator(profiles if scale == self.guidance else few, column, codes, scale)
            for scale in self.guidances
        }

    def _resampler(self) -> SubjectResampler:
        """One set of draws for all figures, within split and label."""
        subjects, strata = [], []
        for split, real in self.real.items():
            label = dict(zip(real.subjects, real.positive, strict=True))
            subjects += list(label)
            strata += [f"{split}/{label[s]:g}" for s in label]
        return SubjectResampler(subjects, self.replicates, self.seed, strata)

    def _columns(self, covariates: torch.Tensor) -> dict[str, Any]:
        return adjustment_columns(self.covariates, covariates, self.label)

    def _anatomy(
        self,
        generated: dict[float, GeneratedImages],
        rows: list[dict[str, Any]],
        resampler: SubjectResampler,
        columns: dict[str, dict[str, Any]],
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Ventricle figures of the whole cohort, and of each guidance beside them, put into its row."""
        pixel = self.pixel_mm or 1.0
        splits = list(self.real.values())
        subjects = [s for real in splits for s in real.subjects]
        positive = np.concatenate([real.positive for real in splits])
        merged = {name: np.concatenate([columns[split][name] for split in self.real]) for name in columns["test"]}
        areas = np.concatenate([ventricle_area(real.images.numpy(), pixel) for real in splits])
        cohort = VentricleModel(areas, positive, merged, subjects, resampler)
        result = {"unit": "mm²" if self.pixel_mm else "pixels"} | cohort.figures() | {"known": None}
        volumes, known = known_volumes(self.cohort, subjects), None
        effect_ml = (getattr(self.cohort, "ground_truth", None) or {}).get("direct_diagnosis_effect_ml")
        if volumes is not None and effect_ml:
            known = KnownEffect(areas, volumes, merged, subjects, float(effect_ml), resampler)
            result["known"] = known.figures()
        plotted = {"cohort": (cohort.model.adjusted(), cohort.model.group)}
        for row, (scale, images) in zip(rows, generated.items(), strict=True):
            measured = ventricle_area(images.images.numpy(), pixel)
            model = VentricleModel(
                measured, images.positive, self._columns(images.covariates), images.subjects, resampler
            )
            row["ventricles"] = model.figures() | {
                "effect_ratio": ratio_of(model.values["effect"], cohort.values["effect"]),
                "spread_ratio": ratio_of(model.values["spread"], cohort.values["spread"]),
                "known_ratio": ratio_of(model.values["effect"], known.values) if known else None,
            }
            if scale == self.guidance:
                plotted["generated"] = (model.model.adjusted(), model.model.group)
        return result, plotted
