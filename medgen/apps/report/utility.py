"""``utility.html``: does synthetic data help? Figures, pictures of simulated cohorts only; no real image, no name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

import torch
from torch import Tensor

from medgen.apps.evaluation.provenance import SIMULATED_NOTICE
from medgen.apps.report import page
from medgen.apps.report.pictures import grid
from medgen.apps.report.plots import OTHER, REFERENCE, SOFT, difference_plot
from medgen.apps.report.words import listed, number, with_interval

__all__ = ["utility_report", "utility_words"]

ARM_NAMES = {
    "real": "Real",
    "real_augmented": "Real, classic augmentation",
    "synthetic": "Synthetic alone",
    "real_synthetic": "Real + synthetic",
    "real_repeated": "Real + repeated real (control)",
}
FIGURE_NAMES = {
    "accuracy": "Accuracy",
    "auc": "AUC",
    "cross_entropy": "Risk: cross entropy (lower is better)",
    "brier": "Risk: Brier score (lower is better)",
}
MISSING = {"value": None, "low": None, "high": None}
COLOURS = {
    "real_augmented": SOFT,
    "synthetic": OTHER,
    "real_synthetic": REFERENCE,
    "real_repeated": "#9aa7ae",
}


def utility_words(difference: Mapping[str, Any], what: str) -> tuple[str, str]:
    """A difference in words, and its mark: "good", "warn" or "bad".

    Args:
        difference: "value", "low", "high", "detectable" and "verdict".
        what: the arm and what it is compared with, as a sentence begins.
    """
    if difference["verdict"] == "cannot be judged":
        return f"{what}: cannot be judged. Neither subjects nor seeds make the difference vary.", "warn"
    limit = number(difference["detectable"], 3)
    if difference["verdict"] == "helps":
        return f"{what}: helps. The whole interval lies on the better side.", "good"
    if difference["verdict"] == "harms":
        return f"{what}: harms. The whole interval lies on the worse side.", "bad"
    return f"{what}: no difference seen. One smaller than {limit} would often have gone unnoticed.", "warn"


def utility_report(metrics: Mapping[str, Any], shown: Mapping[str, Tensor] | None = None) -> str:
    """The page as HTML text.

    Args:
        metrics: the content of ``utility.json``.
        shown: generated images by label; drawn where the cohort is simulated.
    """
    settings, data = metrics["settings"], metrics["data"]
    mark = page.badge("SIMULATED DATA") if metrics["simulated"] else ""
    title = f"{metrics['name'] or 'Generator'}: does synthetic data help?"
    test = data["splits"]["test"]
    opening = (
        f"A classifier of {settings['label']} ({listed(settings['labels'])}), tested on {test['subjects']} "
        f"held-out subjects ({test['images']} images) whom neither it nor any generator has seen."
    )
    parts = [f"<header><h1>{escape(title)}{mark}</h1><p>{escape(opening)}</p></header>"]
    if metrics["simulated"]:
        parts.append(page.notice(SIMULATED_NOTICE, "loud"))
    notices = [*metrics["notices"], *(text for size in metrics["sizes"] for text in [*size["notices"], *_copies(size)])]
    parts += [page.notice(text) for text in dict.fromkeys(notices) if text != SIMULATED_NOTICE]
    parts += [page.notice(_failure(failure), "loud") for failure in metrics["failures"]]
    parts.append(_cards(metrics))
    if metrics["simulated"] and shown:
        parts.append(_pictures(shown))
    parts.append(_differences(metrics))
    parts += [_size(metrics, size) for size in metrics["sizes"]]
    parts += [_reading(metrics), _provenance(metrics)]
    return page.document(title, parts)


def _failure(failure: Mapping[str, Any]) -> str:
    where = ", ".join(f"{key} {value}" for key, value in failure.items() if key != "error")
    return f"Failed and left out: {where} ({failure['error']}); the log says why."


def _copies(size: Mapping[str, Any]) -> list[str]:
    found, images = size["synthetic"]["copies"]["found"], size["synthetic"]["images"]
    if not found:
        return []
    return [
        f"{_people(size)}: {found} of {images} synthetic images come nearer to one that the generator was trained on "
        "than any held-out image does, and are taken for copies. They are left out of the class folders, but not of "
        "what classifiers were trained on."
    ]


def _between(size: Mapping[str, Any], arm: str, figure: str) -> Mapping[str, Any] | None:
    """The difference of an arm and real; None where either was left out."""
    return next((d[figure] for d in size["differences"] if (d["arm"], d["against"]) == (arm, "real")), None)


def _short(figure: str) -> str:
    return FIGURE_NAMES[figure].split(" (")[0]


def _people(size: Mapping[str, Any]) -> str:
    return f"{size['real']['subjects']} training subjects"


def _cards(metrics: Mapping[str, Any]) -> str:
    primary, cards = metrics["settings"]["primary"], []
    for size in metrics["sizes"]:
        found = _between(size, "real_synthetic", primary)
        if found is None:
            continue
        words, mark = utility_words(found, "Adding synthetic images")
        interval = f"95 % interval {_ends(found)}" if found["low"] is not None else "no interval"
        question = f"{_people(size)}: {_short(primary)} with synthetic images less without"
        cards.append(page.card(question, _signed(found["value"]), interval, words, mark))
    return f'<div class="cards">{"".join(cards)}</div>' if cards else ""


def _signed(value: float) -> str:
    text = number(abs(value), 3)
    return ("−" if value < 0 else "+") + text


def _ends(found: Mapping[str, Any]) -> str:
    return f"{_signed(found['low'])} to {_signed(found['high'])}"


def _differences(metrics: Mapping[str, Any]) -> str:
    primary = metrics["settings"]["primary"]
    rows, marks = [], []
    for size in metrics["sizes"]:
        for found in size["differences"]:
            one = found[primary]
            against = ARM_NAMES[found["against"]].lower()
            words, mark = utility_words(one, ARM_NAMES[found["arm"]])
            interval = _signed(one["value"]) + (f" ({_ends(one)})" if one["low"] is not None else "")
            names = [str(size["real"]["subjects"]), ARM_NAMES[found["arm"]], against]
            rows.append([*names, interval, number(one["detectable"], 3), words])
            marks.append(mark)
    head = ["Subjects", "Arm", "against", "Difference (95 % interval)", "Smallest detectable", "In words"]
    text = (
        f"{FIGURE_NAMES[primary]}, chosen before the run, decides. Every difference is paired: the same test subjects, "
        "seeds, start and number of steps. Smallest detectable: the true difference that such an experiment finds in "
        "8 of 10 cases."
    )
    arms = {
        ARM_NAMES[arm]: (colour, [_between(size, arm, primary) or MISSING for size in metrics["sizes"]])
        for arm, colour in COLOURS.items()
    }
    drawn = difference_plot([_people(size) for size in metrics["sizes"]], arms, f"{_short(primary)}, less that of real")
    plot = page.figure(drawn, f"{FIGURE_NAMES[primary]}: arm less real, with 95 % intervals.")
    return page.section("Differences", page.paragraph(text), plot, page.table(head, rows, marks))


def _size(metrics: Mapping[str, Any], size: Mapping[str, Any]) -> str:
    generator, real = size["generator"], size["real"]
    images = {"real": real["images"], "real_augmented": real["images"], "synthetic": size["synthetic"]["images"]}
    both = real["images"] + size["synthetic"]["images"]
    rows = [
        [ARM_NAMES[arm], str(images.get(arm, both)), *(with_interval(found[figure], 3) for figure in FIGURE_NAMES)]
        for arm, found in size["arms"].items()
    ]
    by_label = ", ".join(f"{count} {label}" for label, count in real["by_label"].items())
    text = (
        f"{_people(size)} ({by_label}), {real['images']} images; {size['validation']['subjects']} more choose among "
        "weights. The generator was trained on these subjects alone: "
        f"{generator['iterations']} iterations, {generator['parameters']:,} parameters, weights of iteration "
        f"{generator['iteration']}. Mean of {len(size['arms']['real']['by_seed']['auc'])} seeds."
    )
    steps = sorted({step for found in size["arms"].values() for step in found["steps"]})
    copies = size["synthetic"]["copies"]
    budget = f"Every classifier made {listed([str(step) for step in steps])} steps."
    search = (
        f"A search for copies of training images found {copies['found']} among the synthetic ones, and "
        f"{round(copies['planted'] * copies['recall']['value'])} of {copies['planted']} that were planted."
    )
    head = ["Trained on", "Images", *FIGURE_NAMES.values()]
    return page.section(_people(size), page.paragraph(f"{text} {budget} {search}"), page.table(head, rows))


def _pictures(shown: Mapping[str, Tensor]) -> str:
    rows = {label: images[:8] for label, images in shown.items() if len(images)}
    flat = {label: images if images.ndim == 4 else images[..., images.shape[-1] // 2] for label, images in rows.items()}
    tiles = [
        torch.cat([images, images.new_full((8 - len(images), *images.shape[1:]), -1.0)]) for images in flat.values()
    ]
    picture = grid(torch.cat(tiles), 8, list(flat), None)
    return page.section("Generated images", page.figure(picture, "SYNTHETIC. Of the largest size, by label."))


def _reading(metrics: Mapping[str, Any]) -> str:
    settings = metrics["settings"]
    items = [
        "Accuracy, AUC and risk are of the same weights: those of the check with the lowest validation loss. A "
        "subject's images count as one case, by their mean probability.",
        "AUC: the chance that a subject with the label is ranked above one without; 0.5 is guessing. Cross entropy and "
        "Brier score: how wrong the stated probabilities are; 0 is perfect.",
        "The control repeats real images until there are as many as with synthetic ones; steps are the same. With one "
        "synthetic image for each real one it is real again, in another order: what it gains or loses is chance.",
        "Generators may be trained with augmentation, which their images carry along: see what synthetic images give "
        "beyond classic augmentation, too.",
        f"Intervals: {100 * settings['level']:.0f} %, of the mean over seeds, by Student's t. The error has two parts: "
        "test subjects, drawn with replacement, the same for all arms; and the spread between seeds. They do not cover "
        "another choice of training subjects, nor training the generator again.",
        f"{settings['seeds']} seeds are few: the spread of training is known roughly, and intervals are wider for it.",
        "Several arms, sizes and figures are looked at: one of twenty intervals misses its truth by chance, so among "
        "that many differences expect one that is none.",
        "For research. Nothing here shows that the classifier is fit for use. Copies that the search misses may be "
        "among the synthetic images; the evaluation of a generator looks for them in more ways.",
    ]
    return page.section("How to read this", "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>")


def _provenance(metrics: Mapping[str, Any]) -> str:
    data, settings = metrics["data"], metrics["settings"]
    splits = "; ".join(
        f"{name}: {one['subjects']} subjects, {one['images']} images" for name, one in data["splits"].items()
    )
    rows = [
        ["Data", f"fingerprint {data['fingerprint']}; terms: {data['terms']}"],
        ["Splits", splits],
        ["Images", " × ".join(map(str, data["image_shape"]))],
        [
            "Generators",
            "; ".join(f"{_people(size)}: SHA-256 {size['generator']['sha256']}" for size in metrics["sizes"]),
        ],
        ["Seed", f"{settings['seed']}; {settings['replicates']} bootstrap replicates"],
        ["Software", ", ".join(f"{k} {v}" for k, v in metrics["software"].items())],
        ["Made", metrics["created"]],
    ]
    sampling = [size["generator"]["sampler"] for size in metrics["sizes"]][:1]
    detail = json.dumps({**settings, "sampler": sampling}, indent=2)
    more = f"<details><summary>Settings</summary><pre>{escape(detail)}</pre></details>"
    return page.section("Provenance", page.table(["", ""], rows), more)
