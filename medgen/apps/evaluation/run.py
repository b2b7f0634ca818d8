"""The evaluation of a trained generator, stage by stage."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medgen.apps.evaluation.asked import guidance_scales, question_of
from medgen.apps.evaluation.cache import StageCache
from medgen.apps.evaluation.cost import cost_of
from medgen.apps.evaluation.efficiency import ProfileDistance, solver_rows, solver_settings
from medgen.apps.evaluation.evidence import Evidence
from medgen.apps.evaluation.fidelity import Fidelity, checked_scale, clamped
from medgen.apps.evaluation.generated import GeneratedImages, Generator
from medgen.apps.evaluation.judge import trained_judge
from medgen.apps.evaluation.originality import originality
from medgen.apps.evaluation.provenance import at_other_sites, cohort_notices, model_facts, provenance
from medgen.apps.evaluation.real import check_splits, draw_profiles
from medgen.apps.evaluation.traits import Trait, find_traits, trait_figures
from medgen.apps.evaluation.ventricles import ventricle_figures
from medgen.covariates import Covariates
from medgen.metrics import FeatureRegressor, ScaleError, SubjectResampler, feature_extractor
from medgen.metrics.feature_model import FeatureModel

__all__ = ["Evaluation", "Evidence"]

logger = logging.getLogger("medgen.evaluation")


class Evaluation:
    """Asks a trained generator whether its images look real, heed one covariate by the right amount, and are its own.

    Everything real comes from the splits of the training run; the generator and the judge never saw the held-out
    subjects. Profiles (age, sex, slice position and whatever else is declared) are drawn from held-out images. When a
    label is judged, every profile is generated with either label and the same noise, so that the labels are compared at
    equal age and slice; when a number is, every profile is generated as it is. Results of stages are kept under
    ``output_dir/private``; an evaluation that was interrupted goes on, and one of other weights, data or settings
    starts anew by itself.

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
        label: the covariate that is judged: a label by a classifier, a number by a regressor.
        labels: two of its labels, reference first; None where it has two, and for a number.
        guidance: the main guidance scale; None takes the sampler's.
        guidances: the scales of the sweep, or one.
        n_per_class: images of each label at the main guidance; of a number, which has no classes, all images.
        n_sweep: the same at the other scales.
        codec: decodes latents; None for pixel models.
        judge: a classifier or regressor, for label and likeness; None makes one on ``device``.
        judge_epochs: of the judge that is made, and of the traits' regressors; a small cohort wants more.
        ventricles: measure T1 images without skull: brain size and tissues, and the ventricles, the volume of volumes
            and the area of axial slices.
        extractor: whose features likeness is measured in: "in_domain" (the judge), "inception", "radimagenet",
            "medicalnet" or "pixels", see :func:`medgen.metrics.feature_extractor`.
        extractor_weights: the file of its weights, where it has any.
        traits: numeric columns of the cohort's table, other than covariates, that are followed along a number, see
            :class:`medgen.apps.evaluation.traits.TraitTrend`; None takes nWBV where the table has it.
        solvers: pairs of a solver and its steps, ``[["euler", 10], ["euler", 50]]``, whose distances are compared at
            the main guidance; None for no comparison.
        solver_seeds: sets of noise for that.
        memorisation: look for copies of training images; without it the report says that nobody looked, and of a real
            cohort it shows no generated picture.
        n_planted: copies of training images of each kind, exact and altered, that are planted among the generated ones
            to measure how many the search for copies finds.
        redraw: plant copies that the model drew again, too, which have its own faults.
        membership: test whether the model's loss tells training from held-out images.
        n_membership: images of each side in that test.
        replicates: of the bootstrap over subjects.
        seed: of profiles, noise, judge and bootstrap.
        device: of the judge.
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
        guidances: Sequence[float] | float = (1.0, 1.5, 2.0, 3.0),
        n_per_class: int = 128,
        n_sweep: int = 64,
        codec: Any = None,
        judge: FeatureModel | None = None,
        judge_epochs: int = 30,
        ventricles: bool = True,
        extractor: str = "in_domain",
        extractor_weights: str | os.PathLike[str] | None = None,
        traits: Sequence[str] | None = None,
        solvers: Sequence[Sequence[Any]] | None = None,
        solver_seeds: int = 3,
        memorisation: bool = True,
        n_planted: int = 48,
        redraw: bool = True,
        membership: bool = True,
        n_membership: int = 128,
        replicates: int = 1000,
        seed: int = 0,
        device: str | torch.device = "cpu",
        name: str = "",
    ) -> None:
        for name_of, count in (("n_planted", n_planted), ("n_membership", n_membership)):
            if count < 8:
                raise ValueError(f"{name_of}: expected 8 or more, found {count}")
        if not 4 <= n_sweep <= n_per_class:
            raise ValueError(f"expected 4 <= n_sweep <= n_per_class, found {n_sweep} and {n_per_class}")
        main = guidance if guidance is not None else getattr(sampler, "guidance", 1.0)
        if isinstance(main, bool) or not isinstance(main, (int, float)):
            raise ValueError(f"guidance: expected one scale, found {main!r}")
        self.network, self.process, self.sampler, self.codec = network, process, sampler, codec
        self.covariates, self.cohort = covariates, cohort
        settings = {"epochs": judge_epochs, "patience": max(10, judge_epochs // 3), "seed": seed, "device": device}
        self.question = question_of(covariates, label, labels, judge, **settings)
        self.output_dir, self.name, self.seed, self.replicates = Path(output_dir), name, seed, replicates
        self.guidance, self.guidances = float(main), sorted({float(main), *guidance_scales(guidances)})
        self.n_per_class, self.n_sweep = n_per_class, n_sweep
        self.solvers, self.solver_seeds = solver_settings(solvers, solver_seeds), solver_seeds
        self.model = model_facts(network, weights, cohort)
        datasets = {"train": train, "validation": validation, "test": test}
        self.real = {split: self.question.take(dataset, split) for split, dataset in datasets.items()}
        self.other_sites = at_other_sites(self.model["config"], train, test)
        self.pixel_mm = check_splits(self.real, datasets, network)
        self.ventricles = ventricles
        self.extractor = feature_extractor(extractor, extractor_weights, device)
        self.memorisation, self.n_planted, self.redraw = memorisation, n_planted, redraw
        self.membership, self.n_membership = membership, n_membership
        self.traits = find_traits(traits, cohort, datasets, self.question)
        self.cache = StageCache(self.output_dir / "private")

    def run(self) -> dict[str, Any]:
        """Evaluate and write the reports.

        Returns:
            The content of ``metrics.json``.

        Raises:
            ScaleError: when generated images are scaled differently from real ones, or are all of one colour;
                ``report.html`` then says so alone.
        """
        from medgen.apps.report import write_refusal, write_reports

        try:
            evidence = self.evidence()
        except ScaleError as error:
            write_refusal(self.name, error, self.output_dir)
            raise
        paths = write_reports(evidence, self.output_dir)
        logger.info("report: %s", paths["report"])
        return evidence.metrics

    def evidence(self) -> Evidence:
        """Run all stages: judge, generation at every guidance, figures."""
        train, test, question = self.real["train"], self.real["test"], self.question
        judge = self._trained_judge()
        generated = self._generated()
        notices = cohort_notices(self.cohort, self.codec, self.model["config"], self.other_sites)
        notices += question.notices(self.real) + checked_scale(generated, test)
        generated = clamped(generated)

        resampler = self._resampler()
        test_scores = judge.scores(test.images)
        reference = question.reference(test_scores, test, train, resampler)
        looks = Fidelity(
            self.covariates, self.real, judge, self.extractor, resampler, self.pixel_mm, self.ventricles, self.seed,
            self.n_sweep,
        )  # fmt: skip
        rows: list[dict[str, Any]] = []
        scores = {}
        for scale, images in generated.items():
            logger.info("figures at guidance %g", scale)
            scores[scale] = judge.scores(images.images)
            rows.append(
                {
                    "guidance": scale,
                    "main": scale == self.guidance,
                    "per_class": images.profiles,
                    "label": reference.compare(scores[scale], images),
                    **looks.figures(images),
                    "evaluations_per_image": images.evaluations,
                    "seconds_per_image": images.seconds,
                }
            )
        anatomy, areas = None, dict[str, Any]()
        if self.ventricles:
            cohort, real = self.cohort, self.real
            anatomy, areas = ventricle_figures(question, cohort, real, generated, rows, self.pixel_mm, resampler)
        of_traits, made_traits, trait_values = trait_figures(
            self.traits, question, self._trait_model, generated, resampler, self.guidance
        )
        main = generated[self.guidance]
        for row in rows:
            row["traits"] = made_traits[row["guidance"]]
        memory, flagged, near = originality(self, judge, generated, rows, resampler)
        metrics = provenance(self, notices) | {
            question.judged_by: {"features": judge.features(test.images[:1]).shape[1], "epochs": len(judge.history)},
            "extractor": looks.described,
            "real": reference.figures() | {"ventricles": anatomy, "traits": of_traits},
            "memorisation": memory,
            "generated": rows,
            "cost": cost_of(self.network, self.codec, main),
            "solvers": self._solvers(judge),
        }
        by_target = {"real": (test_scores, test.target), "generated": (scores[self.guidance], main.target)}
        return Evidence(
            metrics,
            self.covariates,
            generated,
            train,
            test,
            flagged,
            near,
            areas,
            by_target,
            trait_values,
        )

    def _trained_judge(self) -> FeatureModel:
        train, question = self.real["train"], self.question
        columns = question.columns(train.covariates)
        return trained_judge(question.judge, question.judged_by, train, self.real["validation"], columns, self.cache)

    def _trait_model(self, trait: Trait) -> FeatureModel:
        """The regressor of a trait, with the settings of the judge."""
        settings = {
            name: getattr(self.question.judge, name) for name in ("epochs", "patience", "seed", "device", "amp")
        }
        train, model = trait.learned("train"), FeatureRegressor(**settings)
        columns = self.question.columns(train.covariates)
        return trained_judge(model, "trait", train, trait.learned("validation"), columns, self.cache)

    def _generated(self) -> dict[float, GeneratedImages]:
        """Images at every guidance; those of a smaller number are of the first profiles of a larger one."""
        test = self.real["test"]
        generator = Generator(
            self.network, self.process, self.sampler, self.cache, self.model["sha256"], self.codec, self.seed
        )
        profiles = test.subset(draw_profiles(test.subjects, self.n_per_class, self.seed))
        few = profiles.subset(np.arange(self.n_sweep))
        return {
            scale: generator(profiles if scale == self.guidance else few, self.question, scale)
            for scale in self.guidances
        }

    def distance(self, judge: FeatureModel | None = None) -> ProfileDistance:
        """The distance of the main profiles, to compare samplers or weights by; the judge is trained if need be."""
        test = self.real["test"]
        profiles = test.subset(draw_profiles(test.subjects, self.n_per_class, self.seed))
        judge = judge or self._trained_judge()
        return ProfileDistance(self.question, judge, profiles, test, self.cache, self.codec)

    def _solvers(self, judge: FeatureModel) -> list[dict[str, Any]]:
        if not self.solvers:
            return []
        sampler, measure, digest = copy.copy(self.sampler), self.distance(judge), self.model["sha256"]
        sampler.guidance = self.guidance
        return solver_rows(measure, self.network, self.process, sampler, digest, self.solvers, self.solver_seeds)

    def _resampler(self) -> SubjectResampler:
        """One set of draws for all figures, within split and label (of numbers, within split)."""
        subjects, strata = [], []
        for split, real in self.real.items():
            target = dict(zip(real.subjects, real.target, strict=True))
            subjects += list(target)
            strata += [f"{split}/{self.question.stratum(value)}" for value in target.values()]
        return SubjectResampler(subjects, self.replicates, self.seed, strata)
