"""The evidence of covariate translation: does the same brain come back, does it change by what was asked, and where?"""

from __future__ import annotations

import copy
import dataclasses
import datetime
import hashlib
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medgen import __version__
from medgen.apps.evaluation.cache import StageCache
from medgen.apps.evaluation.provenance import cohort_notices, model_facts
from medgen.apps.translation.figures import Resampled
from medgen.apps.translation.questions import area_of, identity, predicted_age, second_visits, ventricles, where
from medgen.apps.translation.visits import Visits, check_axial, extrapolated_notices, own_years
from medgen.covariates import Covariates
from medgen.files import key_of
from medgen.inferers import Translate
from medgen.metrics import FeatureRegressor
from medgen.metrics.image_error import mean_absolute_error, psnr

__all__ = ["SCHEMA", "TranslationEvidence", "Translated"]

logger = logging.getLogger("medgen.translation")
SCHEMA = "medgen.translation/1"
Array = NDArray[np.float64]


@dataclasses.dataclass
class Translated:
    """Everything a report is written from.

    Attributes:
        metrics: the content of ``translation.json``.
        visits: the people.
        same: (N, C, *spatial) there and back with the same covariates.
        aged: years asked for to images.
        interval: years asked for that the second visits are compared with; None without second visits.
        age_column: of the covariates.
    """

    metrics: dict[str, Any]
    visits: Visits
    same: Tensor
    aged: dict[float, Tensor]
    interval: float | None
    age_column: int


class TranslationEvidence:
    """Measures covariate translation by age on held-out people and writes ``translation.json`` and two pages.

    Five questions, each beside what it must be compared with: what the way there and back alone does (no-change
    control, at several strengths and settings of the solver), whether the way can be gone back (cycle), whether it is
    still the same brain (identity), whether the age changed by what was asked (a regressor trained on real images, and
    ventricle area), and where the image changed (the true masks of a simulated cohort). Of people with two visits the
    change predicted is compared with the one observed, beside "no change" and the mean change of the others.

    Args:
        network: with its trained weights, on ``device``.
        inferer: :class:`medgen.inferers.Translate`.
        covariates: the model's declaration, with "age".
        cohort: the one the model was trained on.
        train: its training split, axial slices; the regressor learns from it.
        validation: its validation split.
        visits: held-out people, see :func:`medgen.apps.translation.visits.read_visits`.
        output_dir: where the results go.
        weights: of the model, for its hash and manifest.
        years: that are asked for; those between two visits, in whole years, are added where there are second visits.
        strengths: of the no-change control and of the area's change.
        settings: of the no-change control: mappings with "solver", "steps" and "refinements".
        control: images of the control and of the strengths.
        regressor: a :class:`medgen.metrics.FeatureRegressor`; None makes one.
        replicates: of the bootstrap over people.
        seed: of regressor and bootstrap.
        device: of the regressor.
        name: of the model.

    Raises:
        ValueError: without an age, for volumes, or when a person of ``visits`` is in the training or validation split.
    """

    def __init__(
        self,
        network: Any,
        inferer: Translate,
        covariates: Covariates,
        cohort: Any,
        train: Any,
        validation: Any,
        visits: Visits,
        output_dir: str | os.PathLike[str],
        weights: str | os.PathLike[str] | None = None,
        years: Sequence[float] = (5, 10, 15),
        strengths: Sequence[float] = (0.3, 0.6, 1.0),
        settings: Sequence[Mapping[str, Any]] = (),
        control: int = 16,
        regressor: FeatureRegressor | None = None,
        replicates: int = 1000,
        seed: int = 0,
        device: str | torch.device = "cpu",
        name: str = "",
    ) -> None:
        check_axial(visits.images.ndim - 2)
        if "age" not in covariates:
            raise ValueError(f"covariates: expected an age to change, found {list(covariates.names)}")
        learned = {*train.subjects, *validation.subjects}
        if shared := learned & set(visits.subjects):
            raise ValueError(f"visits: {len(shared)} of the people are in the training or validation split")
        self.network, self.inferer, self.covariates, self.cohort = network, inferer, covariates, cohort
        self.train, self.validation, self.visits = train, validation, visits
        self.output_dir, self.name, self.seed = Path(output_dir), name, seed
        self.model = model_facts(network, weights, cohort)
        between = visits.years[visits.paired]
        self.interval = max(float(np.round(np.median(between))), 1.0) if len(between) else None
        asked = {float(y) for y in years} | ({self.interval} if self.interval else set())
        self.years, self.strengths, self.settings = sorted(asked), [float(s) for s in strengths], list(settings)
        self.regressor = FeatureRegressor(seed=seed, device=device) if regressor is None else regressor
        self.cache = StageCache(self.output_dir / "private")
        self.resampled = Resampled(visits.subjects, replicates, seed)
        self.replicates = replicates
        count = len(visits.subjects)
        self.few = np.unique(np.linspace(0, count - 1, min(control, count)).round().astype(int))
        self.column = covariates.index("age")

    def run(self) -> dict[str, Any]:
        """Measure and write; returns the content of ``translation.json``."""
        from medgen.apps.translation.report import write_translation_report

        found = self.evidence()
        paths = write_translation_report(found, self.output_dir)
        logger.info("report: %s", paths["report"])
        return found.metrics

    def evidence(self) -> Translated:
        """Run all stages."""
        visits = self.visits
        asked = [self._aged(visits.covariates, year) for year in (0.0, *self.years)]
        if (own := own_years(visits, self.interval)) is not None:
            asked.append(self._aged(visits.covariates, own))
        made = self._translated("main", visits.images, visits.covariates, torch.stack(asked, dim=1)).clamp(-1, 1)
        same, aged = made[:, 0], dict(zip(self.years, made[:, 1:].unbind(1), strict=False))
        then = made[:, -1] if own is not None else None if self.interval is None else aged[self.interval]
        farthest = self.interval or self.years[-1]
        old = self._aged(visits.covariates, farthest)
        back = self._translated("back", aged[farthest], old, visits.covariates[:, None]).clamp(-1, 1)[:, 0]
        logger.info("figures")
        metrics = self._head() | {
            "control": self._control(),
            "no_change": self._errors(same),
            "cycle": {"years": farthest} | self._errors(back),
            "identity": identity(visits, same, aged, self.resampled),
            "age": predicted_age(visits, same, aged, self._trained_regressor(), self.column, self.resampled),
            "area": ventricles(visits, same, aged, self.column, self.resampled)
            | {"by_strength": self._area_by_strength()},
            "where": where(visits, same, then, self.interval, self.resampled),
            "two_visits": second_visits(visits, same, then, self.interval, self.replicates, self.seed),
        }
        return Translated(metrics, visits, same, aged, self.interval, self.column)

    def _aged(self, rows: Tensor, years: float | Tensor) -> Tensor:
        older = rows.clone()
        older[:, self.column] += years
        return older

    def _translated(
        self, stage: str, images: Tensor, source: Tensor, asked: Tensor, inferer: Translate | None = None,
        strength: float | None = None,
    ) -> Tensor:  # fmt: skip
        """Translate in chunks that are kept, so that an interrupted run goes on."""
        inferer = inferer or self.inferer
        parts, size = [], inferer.sampler.max_batch
        reached = inferer.strength if strength is None else strength
        about = [inferer.process.to_dict(), inferer.sampler.to_dict(), inferer.refinements, reached]
        for first in range(0, len(images), size):
            chunk = [part[first : first + size] for part in (images, source, asked)]
            key = key_of(__version__, self.model["sha256"], about, [hash_of(part) for part in chunk])

            def make(chunk: list[Tensor] = chunk) -> dict[str, Any]:
                began = time.perf_counter()
                result = inferer(chunk[0], self.network, chunk[1], chunk[2], strength=strength)
                return {"images": result.numpy().astype(np.float16), "seconds": np.array(time.perf_counter() - began)}

            parts.append(torch.from_numpy(self.cache.arrays(stage, key, make)["images"]).float())
            logger.info("%s: %d of %d images", stage, first + len(chunk[0]), len(images))
        return torch.cat(parts)

    def _control(self) -> list[dict[str, Any]]:
        """Error of the way there and back alone, by strength and setting."""
        few = self.visits.subset(self.few)
        resampled = Resampled(few.subjects, self.replicates, self.seed)
        rows, own = [], self.inferer
        plain = {"solver": own.sampler.solver, "steps": own.sampler.steps, "refinements": own.refinements}
        for setting in [plain, *self.settings]:
            sampler = copy.copy(self.inferer.sampler)
            sampler.solver, sampler.steps = setting["solver"], int(setting["steps"])
            refinements = int(setting.get("refinements", 0))
            inferer = copy.copy(self.inferer)
            inferer.sampler, inferer.refinements = sampler, refinements
            for strength in self.strengths:
                asked = few.covariates[:, None]
                same = self._translated("control", few.images, few.covariates, asked, inferer, strength)[:, 0]
                same = same.clamp(-1, 1)
                evaluations = (2 if sampler.solver in ("heun", "midpoint") else 1) * sampler.steps * (2 + refinements)
                given = {"solver": sampler.solver, "steps": sampler.steps, "refinements": refinements}
                rows.append(
                    {
                        **given,
                        "strength": strength,
                        "evaluations": evaluations,
                        "mean_absolute_error": resampled.mean(mean_absolute_error(same, few.images)),
                        "psnr_db": resampled.mean(psnr(same, few.images)),
                        "images": len(few.subjects),
                    }
                )
        return rows

    def _errors(self, images: Tensor) -> dict[str, Any]:
        return {
            "mean_absolute_error": self.resampled.mean(mean_absolute_error(images, self.visits.images)),
            "psnr_db": self.resampled.mean(psnr(images, self.visits.images)),
        }

    def _trained_regressor(self) -> FeatureRegressor:
        model, age = self.regressor, self.column
        train, validation = (_known(data, age) for data in (self.train, self.validation))
        settings = {k: v for k, v in vars(model).items() if isinstance(v, (int, float, str)) and k[0] != "_"}
        key = key_of(__version__, [hash_of(part) for part in (*train[:2], *validation[:2])], settings)
        path = self.cache.path("regressor", key, ".pt")
        if path.is_file():
            loaded: FeatureRegressor = model.load(path, key)
            return loaded
        logger.info("regressor: training on %d images", len(train[0]))
        model.fit(*train, *validation)
        model.save(path, key)
        return model

    def _area_by_strength(self) -> list[dict[str, Any]]:
        few = self.visits.subset(self.few)
        resampled = Resampled(few.subjects, self.replicates, self.seed)
        year = self.interval or self.years[-1]
        asked = torch.stack([few.covariates, self._aged(few.covariates, year)], dim=1)
        rows = []
        for strength in self.strengths:
            made = self._translated("strength", few.images, few.covariates, asked, strength=strength).clamp(-1, 1)
            change = (area_of(made[:, 1], few.pixel_mm) - area_of(made[:, 0], few.pixel_mm)) / year
            rows.append({"strength": strength, "change_per_year": resampled.mean(change), "images": len(few.subjects)})
        return rows

    def _head(self) -> dict[str, Any]:
        inferer, visits = self.inferer, self.visits
        return {
            "schema": SCHEMA,
            "name": self.name,
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "simulated": visits.simulated,
            "notices": cohort_notices(self.cohort, inferer.codec, self.model["config"])
            + extrapolated_notices(visits.covariates, self.train.covariates, self.column, self.years),
            "model": {key: self.model[key] for key in ("sha256", "parameters", "iteration")},
            "data": {
                "people": len(set(visits.subjects)),
                "images": len(visits.subjects),
                "with_two_visits": len({visits.subjects[row] for row in visits.paired}),
                "pixel_mm": visits.pixel_mm,
                "image_size": list(visits.images.shape[2:]),
            },
            "settings": {
                "process": inferer.process.to_dict(),
                "sampler": inferer.sampler.to_dict(),
                "strength": inferer.strength,
                "refinements": inferer.refinements,
                "years": self.years,
                "replicates": self.replicates,
                "level": 0.95,
                "seed": self.seed,
            },
            "software": {"medgen": __version__, "torch": str(torch.__version__)},
        }


def hash_of(part: Tensor) -> str:
    """Return a hash of a tensor's values."""
    return hashlib.sha256(part.detach().float().contiguous().numpy().tobytes()).hexdigest()


def _known(data: Any, age: int) -> tuple[Tensor, Tensor, list[str]]:
    """Images, ages and people of a split, of those whose age is known."""
    rows = torch.isfinite(data.covariates[:, age]).nonzero()[:, 0].tolist()
    return data.images[rows].float(), data.covariates[rows, age], [data.subjects[row] for row in rows]
