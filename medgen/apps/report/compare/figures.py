"""The figures that runs are compared by: where they stand, what is ideal, and what must be equal to compare them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from medgen.apps.report.compare.runs import Run
from medgen.apps.report.words import headline

__all__ = ["FIGURES", "Compared", "Figure", "Reading"]

Figure = Mapping[str, float | None]
DATA = ("cohort", "split", "images")
JUDGED = (*DATA, "label", "judge")
LIKE = (*DATA, "features", "count")


@dataclass(frozen=True)
class Reading:
    """A figure of one run.

    Attributes:
        figure: "value", "low", "high".
        reference: the same of real images, the ceiling or floor; None where 1 or 0 says it all.
        ideal: what a perfect generator would have.
        note: what else must be known, in words.
        recall: of the search that found it; runs whose recalls' intervals do not overlap have no verdict.
    """

    figure: Figure
    reference: Figure | None
    ideal: float
    note: str = ""
    recall: Figure | None = None


@dataclass(frozen=True)
class Compared:
    """A figure that runs are compared by.

    Attributes:
        name: short, for plots and JSON.
        question: in words a clinician reads.
        read: takes it from a run; None, or a KeyError, where the run does not have it.
        needs: facts that must be equal, see :mod:`medgen.apps.report.compare.facts`.
        real: what the reference is called.
        better: how a run that is nearer to the ideal is called.
        one_sided: "" where the ideal is approached from both sides, "low" where less is always better.
        plotted: whether the plot shows it.
    """

    name: str
    question: str
    read: Callable[[Run], Reading | None]
    needs: tuple[str, ...]
    real: str = ""
    better: str = "is nearer to real images than"
    one_sided: str = ""
    plotted: bool = False

    def of(self, run: Run) -> Reading | None:
        """The reading of a run; None where it was not asked for, or its medgen did not know the figure yet."""
        try:
            return self.read(run)
        except KeyError:
            return None


def _of_label(run: Run) -> bool:
    return run.metrics["settings"]["labels"] is not None


def _label(suffix: str) -> Callable[[Run], Reading | None]:
    """The label ratio, each image by itself or at equal covariates; the headline says which is like for like."""

    def read(run: Run) -> Reading | None:
        if not _of_label(run):
            return None
        note = "the one to read: the labels differ in age" if suffix and headline(run.metrics) == suffix else ""
        return Reading(run.row["label"][f"ratio{suffix}"], run.metrics["real"][f"auc{suffix}"], 1.0, note)

    return read


def _number(name: str) -> Callable[[Run], Reading | None]:
    def read(run: Run) -> Reading | None:
        if _of_label(run):
            return None
        return Reading(run.row["label"][f"{name}_ratio"], run.metrics["real"]["agreement"][name], 1.0)

    return read


def _ventricles(name: str) -> Callable[[Run], Reading | None]:
    def read(run: Run) -> Reading | None:
        found = run.row.get("ventricles") or {}
        return Reading(found[name], None, 1.0) if found.get(name) else None

    return read


def _likeness(run: Run) -> Reading:
    found = run.row["likeness"]
    return Reading(found["frechet"], found["floor_frechet"], 0.0, f"{found['n']} against {found['n_real']} images")


def _fidelity(name: str) -> Callable[[Run], Reading]:
    def read(run: Run) -> Reading:
        found = run.row["fidelity"]
        reference = found[f"real_{name}"]
        ideal = reference["value"] if reference["value"] is not None else 1.0
        return Reading(found[name], reference, ideal)

    return read


def _variety(run: Run) -> Reading:
    return Reading(run.row["fidelity"]["variety_ratio"], None, 1.0)


def _tissue(name: str) -> Callable[[Run], Reading | None]:
    def read(run: Run) -> Reading | None:
        found = run.row.get("tissues")
        return Reading(found["measures"][name]["percent"], None, 0.0) if found else None

    return read


def _copies(run: Run) -> Reading | None:
    found, memory = run.row["originality"], run.metrics["memorisation"]
    if not found or not memory:  # nobody looked; the run's warnings say so
        return None
    recall = memory["recall"]["value"]
    told = "" if recall is None else f", recall {100 * recall:.0f} %"
    return Reading(found["fraction"], None, 0.0, f"{found['near_copies']} of {found['images']}{told}", memory["recall"])


def _membership(run: Run) -> Reading | None:
    found = (run.metrics["memorisation"] or {}).get("membership")
    return Reading(found["auc_subject"], None, 0.5) if found and found.get("same_sites", True) else None


FIGURES: tuple[Compared, ...] = (
    Compared(
        "label ratio", "Do the images carry the label? Over real images: 1 is as clearly, above is exaggerated",
        _label(""), JUDGED, "real AUC, the ceiling", plotted=True,
    ),
    Compared(
        "label ratio, adjusted", "The same at equal age, sex and slice, as far as known",
        _label("_adjusted"), JUDGED, "real AUC, the ceiling",
    ),
    Compared(
        "correlation ratio", "Do the images show the number asked for? Over real images: 1 is as clearly",
        _number("correlation"), JUDGED, "real correlation, the ceiling", plotted=True,
    ),
    Compared(
        "slope ratio", "By the right amount? Change with the number, over that of real images",
        _number("slope"), JUDGED, "real slope", plotted=True,
    ),
    Compared(
        "effect ratio", "Is the effect on the ventricles of the right size? Over the cohort's, at equal covariates",
        _ventricles("effect_ratio"), (*DATA, "label"), better="is nearer to the cohort than", plotted=True,
    ),
    Compared(
        "ventricle slope ratio", "Do the ventricles widen with the number by the right amount? Over the cohort's",
        _ventricles("slope_ratio"), (*DATA, "label"), better="is nearer to the cohort than", plotted=True,
    ),
    Compared(
        "spread ratio", "Do people differ enough? Spread of the ventricles, over the cohort's",
        _ventricles("spread_ratio"), (*DATA, "label"), better="is nearer to the cohort than", plotted=True,
    ),
    Compared(
        "distance", "Do they look like real images? Fréchet distance in the features named below; 0 is alike",
        _likeness, LIKE, "floor, training to held-out images", one_sided="low", plotted=True,
    ),
    Compared(
        "precision", "Images that lie within reach of a real one", _fidelity("precision"), LIKE, "real images",
        plotted=True,
    ),
    Compared("density", "Whether that is where real images are common", _fidelity("density"), LIKE, "real images"),
    Compared(
        "recall", "Real images that lie within reach of a generated one", _fidelity("recall"), LIKE, "real images",
    ),
    Compared(
        "coverage", "Real variety that is filled", _fidelity("coverage"), LIKE, "real images", plotted=True,
    ),
    Compared(
        "variety ratio", "Do pictures of different people differ enough? By MS-SSIM, over real people", _variety, DATA,
    ),
    Compared("brain size", "Brain size, difference from real images in %", _tissue("brain"), DATA),
    Compared("fluid", "Fluid, difference in %", _tissue("fluid"), DATA),
    Compared("grey matter", "Grey matter, difference in %", _tissue("grey"), DATA),
    Compared("white matter", "White matter, difference in %", _tissue("white"), DATA),
    Compared(
        "copies", "Copies of training images found, as a fraction of the images", _copies,
        (*DATA, "label", "judge", "count"), better="repeats fewer training images than", one_sided="low",
    ),
    Compared(
        "membership", "Does the model's loss tell whom it was trained on? AUC, 0.5 is chance", _membership,
        (*DATA, "label"), better="tells less of who was in training than", one_sided="low", plotted=True,
    ),
)  # fmt: skip
