"""The experiment: sizes, generators, arms, runs, figures."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from medgen import __version__
from medgen.apps.evaluation.cache import StageCache
from medgen.apps.evaluation.real import draw_profiles
from medgen.apps.utility.classifier import ClassifierSettings, fit_and_score
from medgen.apps.utility.comparison import compared
from medgen.apps.utility.figures import FIGURES
from medgen.apps.utility.labelled import (
    LabelledImages,
    chosen_label,
    labelled,
    labelled_rows,
    nested_subjects,
    people_of,
    refuse_leaks,
)
from medgen.apps.utility.provenance import provenance, settings_of
from medgen.apps.utility.recipe import Recipe, Trained
from medgen.apps.utility.screening import search_copies
from medgen.apps.utility.synthetic import generate, save_set
from medgen.covariates import Covariates
from medgen.data.augmentation import BatchAugmentation
from medgen.data.splits import write_splits
from medgen.data.tables import CohortError
from medgen.files import key_of, write_json, write_text
from medgen.metrics import check_same_scale
from medgen.progress import progress_bar
from medgen.randomness import seed_from

__all__ = ["Utility"]

logger = logging.getLogger("medgen.utility")


class Utility:
    """Asks whether synthetic images help a classifier that is tested on real ones.

    At each size (a share of the training subjects) a generator is trained on these subjects alone, and the classifier
    on five sets: ``real``; ``real_augmented``, the same with classic augmentation; ``synthetic``; ``real_synthetic``,
    both together; and ``real_repeated``, the control, as many images as ``real_synthetic`` with real ones in place of
    the synthetic. All have the same network, start, number of steps and batch size for each seed, and are judged on
    the same test subjects, whom neither generator nor classifier has seen. Validation subjects, others again and the
    same share of them, choose among the weights of both, and nobody trains on them.

    Finished parts are kept under ``output_dir/private``; what was interrupted goes on, what failed is recorded and is
    tried again by the next call.

    Args:
        recipe: trains the generators.
        cohort: the cohort, for its terms and notices.
        covariates: their declaration.
        train: the whole training split, in memory.
        validation: validation split.
        test: test split.
        output_dir: where ``utility.html``, ``utility.json`` and ``synthetic/`` go.
        label: the categorical covariate that is classified; None takes the diagnosis, or the first one declared.
        labels: two or more of its labels; None takes all.
        sizes: shares of the training subjects, in (0, 1].
        seeds: classifier runs of each arm.
        ratio: synthetic images for each real one.
        classifier: its settings.
        augmentation: classic augmentation; None takes :class:`medgen.data.BatchAugmentation` as it is.
        primary: the figure that decides: "accuracy", "auc", "cross_entropy" or "brier".
        replicates: of the bootstrap.
        seed: of everything.
        device: where classifiers train.
        name: of the model, in the report.

    Raises:
        medgen.data.CohortError: when a subject is in two splits.
        ValueError: when the cohort is split by scan, an argument is out of range, or a split lacks a label.
    """

    def __init__(
        self,
        recipe: Recipe,
        cohort: Any,
        covariates: Covariates,
        train: Any,
        validation: Any,
        test: Any,
        output_dir: str | os.PathLike[str],
        label: str | None = None,
        labels: Sequence[str] | None = None,
        sizes: Sequence[float] = (1.0, 0.5, 0.25),
        seeds: int = 5,
        ratio: float = 1.0,
        classifier: ClassifierSettings | Mapping[str, Any] | None = None,
        augmentation: Any = None,
        primary: str = "auc",
        replicates: int = 2000,
        seed: int = 0,
        device: str | torch.device = "cpu",
        name: str = "",
    ) -> None:
        if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 2:
            raise ValueError(f"seeds: expected an integer of at least 2, found {seeds!r}")
        if not ratio > 0:
            raise ValueError(f"ratio: expected a positive number, found {ratio!r}")
        if primary not in FIGURES:
            raise ValueError(f"primary: expected one of {list(FIGURES)}, found {primary!r}")
        refuse_leaks({"train": train, "validation": validation, "test": test}, getattr(cohort, "split_unit", "subject"))
        self.recipe, self.cohort, self.covariates = recipe, cohort, covariates
        self.datasets = {"train": train, "validation": validation, "test": test}
        self.label, self.labels = chosen_label(covariates, label, labels)
        self.real = {
            split: labelled(data, covariates, self.label, self.labels) for split, data in self.datasets.items()
        }
        for split, least in (("train", 2), ("validation", 1), ("test", 2)):
            found = self.real[split].counts(self.labels)["by_label"]
            if min(found.values()) < least:
                raise ValueError(f"{split}: {self.label} has {found} subjects, expected {least} or more of each label")
        self.people = nested_subjects(self.real["train"], sizes, seed)
        counts = [len(subjects) for subjects in self.people.values()]
        if len(set(counts)) < len(counts):
            raise ValueError(f"sizes: {list(self.people)} leave {counts} subjects; give shares that differ in these")
        self.choosing = nested_subjects(self.real["validation"], sizes, seed, least=1)
        settings = dict(classifier) if isinstance(classifier, Mapping) else classifier
        self.classifier = (
            ClassifierSettings(**settings) if isinstance(settings, dict) else settings or ClassifierSettings()
        )
        self.output_dir, self.ratio, self.primary, self.name = Path(output_dir), float(ratio), primary, name
        self.seeds, self.replicates, self.seed, self.device = seeds, replicates, seed, device
        self.augmentation = BatchAugmentation() if augmentation is None else augmentation
        self.cache = StageCache(self.output_dir / "private")
        members = {split: sorted({str(s) for s in data.subjects}) for split, data in self.datasets.items()}
        both = {share: subjects | self.choosing[share] for share, subjects in self.people.items()}
        parts = {f"{share:g}": sorted(subjects) for share, subjects in both.items()}
        write_splits(self.cache.folder / "splits.json", members, "subject", seed=seed, sizes=parts)
        self.failures: list[dict[str, Any]] = []
        self._told: list[dict[str, Any]] = []  # the same with what the errors say, which may name people and folders
        self.shown: dict[str, Tensor] = {}  # generated images of the largest size, label by label

    def run(self) -> dict[str, Any]:
        """Run the experiment and write ``utility.json`` and ``utility.html``.

        Returns:
            The content of ``utility.json``.

        Raises:
            RuntimeError: when no size could be finished; what failed is in ``utility.json``.
        """
        from medgen.apps.report.utility import utility_report

        rows = [row for share in self.people if (row := self._size(share)) is not None]
        metrics = provenance(self) | {"sizes": rows, "failures": self.failures}
        write_json(self.output_dir / "utility.json", metrics)
        write_json(self.cache.folder / "failures.json", self._told, permissions=0o600)
        if not rows:
            (self.output_dir / "utility.html").unlink(missing_ok=True)  # of an earlier call: it would contradict
            raise RuntimeError(f"no size could be finished; see the failures in {self.output_dir / 'utility.json'}")
        path = write_text(self.output_dir / "utility.html", utility_report(metrics, self.shown))
        logger.info("report: %s", path)
        return metrics

    def _size(self, share: float) -> dict[str, Any] | None:
        """Generator, synthetic set, runs and figures of one size; None where they cannot be had."""
        subjects = self.people[share]
        # people without one of the labels are no part of a size, nor are their images
        part = people_of(self.datasets["train"], subjects)
        choosing = people_of(self.datasets["validation"], self.choosing[share])
        real, validation = (labelled(one, self.covariates, self.label, self.labels) for one in (part, choosing))
        size = f"{len(subjects)} subjects"
        logger.info("%s (%g of the training split): generator", size, share)
        stage = "generator"
        try:
            trained = self._generator(part, choosing)
            set_seed = seed_from("utility set", self.seed, f"{share:g}")
            synthetic, rows = self._synthetic(trained, part, real, set_seed)
            notices = check_same_scale(synthetic.images.numpy(), real.images.float().numpy(), ("synthetic", "real"))
            stage = "search for copies"
            test = self.datasets["test"]
            screened = search_copies(synthetic.images, rows, part, test, self.covariates, self.cache, self.seed)
        except CohortError:  # somebody of the test set: no mishap of one size
            raise
        except (RuntimeError, ValueError) as error:
            self._failed(error, size=size, stage=stage)
            return None
        folder = self.output_dir / "synthetic" / f"{len(subjects)}_subjects"
        affine = getattr(part, "affine", None)
        save_set(
            folder, synthetic.images, rows, self.covariates, self.label, trained, set_seed, affine, self.cohort,
            screened.copies,
        )  # fmt: skip
        if not self.shown:
            own = torch.from_numpy(~screened.copies)
            self.shown = {
                label: synthetic.images[own & (synthetic.target == place)][:16]
                for place, label in enumerate(self.labels)
            }
        runs = self._runs(self._arms(real, synthetic), validation, size)
        if runs is None:
            return None
        return {
            "share": share,
            "real": real.counts(self.labels),
            "validation": validation.counts(self.labels),
            "synthetic": {
                "images": len(synthetic),
                "folder": folder.relative_to(self.output_dir).as_posix(),
                "copies": screened.facts,
            },
            "generator": {"sha256": trained.sha256, **trained.facts, "sampler": trained.sampler.to_dict()},
            "notices": notices,
            **compared(runs, self.real["test"].cases()[0], self.replicates, self.seed),
        }

    def _generator(self, part: Any, validation: Any) -> Trained:
        """Train on these people alone, in a folder named by all that decides the weights."""
        digests = [
            LabelledImages(d.images, _codes(d.covariates), list(d.subjects)).digest() for d in (part, validation)
        ]
        run_dir = self.cache.folder / f"generator-{self.recipe.key(*digests)}"
        run_dir.mkdir(exist_ok=True)
        forbidden = {str(subject) for subject in self.datasets["test"].subjects}
        return self.recipe.train(part, validation, self.cohort, run_dir, forbidden)

    def _synthetic(self, trained: Trained, part: Any, real: LabelledImages, seed: int) -> tuple[LabelledImages, Tensor]:
        """Images with the covariates of real ones of this size, so that labels are as frequent; and the covariates."""
        rows = labelled_rows(part, self.covariates, self.label, self.labels)
        asked = draw_profiles(real.subjects, self._count(real), seed_from("utility profiles", self.seed))
        covariates = part.covariates[torch.from_numpy(rows[asked])]
        shape = tuple(part.images.shape[1:])
        images = generate(trained, covariates, shape, self.cache, seed).clamp(-1, 1)
        names = [f"synthetic {i}" for i in range(len(asked))]
        return LabelledImages(images, real.target[torch.from_numpy(asked)], names), covariates

    def _count(self, real: LabelledImages) -> int:
        """How many synthetic images there are beside some real ones."""
        return max(2, round(self.ratio * len(real)))

    def _arms(self, real: LabelledImages, synthetic: LabelledImages) -> dict[str, tuple[LabelledImages, Any]]:
        """What each arm trains on, and how it is augmented."""
        again = draw_profiles(real.subjects, len(synthetic), seed_from("utility repeats", self.seed))
        return {
            "real": (real, None),
            "real_augmented": (real, self.augmentation),
            "synthetic": (synthetic, None),
            "real_synthetic": (real + synthetic, None),
            "real_repeated": (real + real.take(again), None),
        }

    def _runs(
        self, arms: Mapping[str, tuple[LabelledImages, Any]], validation: LabelledImages, size: str
    ) -> dict[str, list[dict[str, NDArray[Any]]]] | None:
        """The runs of every arm.

        An arm of which fewer than two seeds finished is left out; a seed that failed in another is left out of all, so
        that arms stay paired.
        """
        sets = {name: pool.digest() for name, (pool, _) in arms.items()}
        held = [validation.digest(), self.real["test"].digest()]
        found: dict[str, dict[int, dict[str, NDArray[Any]]]] = {arm: {} for arm in arms}
        todo = [(number, arm) for number in range(self.seeds) for arm in arms]
        for number, arm in progress_bar(todo, desc=f"classifiers, {size}", unit=" runs"):
            pool, augment = arms[arm]
            seed = seed_from("utility run", self.seed, number)
            about = None if augment is None else settings_of(augment)
            key = key_of(__version__, sets[arm], held, self.classifier.to_dict(), about, seed, self.labels)

            def make(pool: LabelledImages = pool, augment: Any = augment, seed: int = seed) -> dict[str, NDArray[Any]]:
                sets = (pool, validation, self.real["test"])
                return fit_and_score(*sets, len(self.labels), self.classifier, seed, augment, self.device)

            try:
                found[arm][number] = self.cache.arrays("classifier", key, make)
            except RuntimeError as error:
                self._failed(error, size=size, stage="classifier", arm=arm, seed=number)
        usable = {arm: runs for arm, runs in found.items() if len(runs) >= 2}
        whole = [number for number in range(self.seeds) if all(number in runs for runs in usable.values())]
        if "real" not in usable or len(usable) < 2 or len(whole) < 2:
            told = ", ".join(f"{len(runs)} of {arm}" for arm, runs in found.items())
            self._failed(RuntimeError(f"expected two seeds that finished, found {told}"), size=size, stage="figures")
            return None
        return {arm: [runs[number] for number in whole] for arm, runs in usable.items()}

    def _failed(self, error: Exception, **where: Any) -> None:
        logger.error("failed: %s", where, exc_info=error)
        self.failures.append({**where, "error": type(error).__name__})
        self._told.append({**where, "error": f"{type(error).__name__}: {error}"})


def _codes(covariates: Tensor) -> Tensor:
    """Covariates for a digest, whole numbers of a thousandth; unknown ones are the least there is."""
    return (torch.nan_to_num(covariates.double(), nan=-1e9) * 1000).round().long()
