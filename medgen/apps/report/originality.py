"""What a report says of copies: how many were found, how many would be, and whether the model knows its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medgen.apps.evaluation.evidence import Evidence
from medgen.apps.report import page
from medgen.apps.report.nearness_plot import nearness_plot
from medgen.apps.report.standing import MORE
from medgen.apps.report.words import main_row, number, with_interval

__all__ = ["membership_words", "originality_card", "originality_row", "originality_section", "originality_words"]

Metrics = Mapping[str, Any]
Words = tuple[str, str]
MUCH = 0.7  # AUC of membership
LITTLE = 0.65  # what must be excluded to say that a model does not know its own
ENOUGH = 0.8  # mean recall of planted copies from which a search that found none says much
CHANCE = 0.05  # how likely false alarms may be for copies to be called so
HALF = 0.5  # recall of copies in the generator's own hand
KINDS = {
    "exact": "as they are",
    "shifted": "shifted, up to 4 % of the side",
    "mirrored": "mirrored, left to right",
    "turned": "turned, up to 5 degrees",
    "intensity": "other brightness and contrast, up to 15 %",
    "noisy": "with noise",
    "blurred": "blurred",
    "all": "turned, shifted, other contrast, noisy",
    "decoded": "encoded and decoded by the model's codec",
}
OWN_HAND = "in the generator's own hand"
NOBODY = "Nobody looked for copies of training images: the evaluation was run with memorisation false"


def kind_words(kind: str) -> str:
    """A kind of planted copies in words."""
    if not kind.startswith("redrawn"):
        return KINDS[kind]
    return f"{OWN_HAND}: drawn again by it from under noise of {kind.split()[1]}"


def originality_words(found: Metrics | None, memory: Metrics | None) -> Words:
    """Are training images repeated? None where nobody looked."""
    if found is None or memory is None:
        return f"{NOBODY}. Whether images are copies is unknown.", "bad"
    images = found["images"]
    if found["near_copies"]:
        of = f"of {found['copied_subjects']} of {found['training_subjects']} training subjects"
        chance, alarms = found.get("by_chance"), memory.get("false_alarms")
        if chance is None or not alarms or not alarms["images"] or chance < CHANCE:
            return f"{found['near_copies']} of {images} images are near copies of a training image, {of}.", "bad"
        if sure := found.get("beyond_doubt", 0):
            said = (
                f"{sure} of {images} images are copies of a training image beyond doubt: by more than twice the "
                "spreads that tell a copy from held-out people"
            )
            more = found["near_copies"] - sure
            return f"{said}. {more} more may be copies, or false alarms." if more else f"{said}.", "bad"
        return (
            f"{found['near_copies']} of {images} images may be copies: they are nearer to a training image, {of}, than "
            f"any held-out person is. So are {alarms['alarms']} of {alarms['images']} held-out images by the measure "
            f"of other people, so these may also be false alarms: look at the private report, {MORE}.",
            "warn",
        )
    said = f"No copies found among {images} images by a detector of recall {_percent(memory['recall']['value'])}"
    weakest = min(memory["kinds"], key=lambda kind: kind["recall"]["value"])
    if weakest["recall"]["value"] < 1:
        said += f" (least, {_percent(weakest['recall']['value'])}: {kind_words(weakest['kind'])})"
    redrawn = memory.get("redrawn")  # figures of an earlier medgen have none
    if memory["recall"]["value"] < ENOUGH:
        return f"{said}. That is too low to say much.", "warn"
    if redrawn and redrawn["recall"]["value"] < HALF:
        few = _percent(redrawn["recall"]["value"])
        return f"{said}. Of copies {OWN_HAND} it finds {few}: most would be missed.", "warn"
    more = [near["excess"]["value"] for near in found["near"].values() if (near["excess"]["low"] or 0) > 0]
    if more:
        return f"{said}, but {_percent(max(more))} more of them than of held-out people come very near one.", "warn"
    return f"{said}." if redrawn else f"{said}. Copies {OWN_HAND} were not planted.", "good"


def membership_words(tested: Metrics) -> Words:
    """Does the model's loss tell whom it was trained on?"""
    auc = tested["auc_subject"]
    if not tested.get("same_sites", True):
        return "Not judged: held-out people were scanned at other sites, which by itself changes the loss.", "warn"
    if auc["low"] is None:
        return "Not determined.", "warn"
    if auc["low"] <= 0.5:
        shown = "This test does not show that the model knows its training people; 0.5 is chance"
        if auc["high"] < LITTLE:
            return f"{shown}, and more than {number(auc['high'])} is excluded.", "good"
        return f"{shown}, but up to {number(auc['high'])} is not excluded: {MORE}.", "warn"
    known = "The model denoises people it was trained on better than others: who took part can be guessed"
    if auc["value"] < MUCH:
        return f"{known} a little better than by chance.", "warn"
    return f"{known}.", "bad"


def originality_card(metrics: Metrics) -> str:
    """The headline: copies found."""
    found, memory = main_row(metrics)["originality"], metrics["memorisation"]
    words, mark = originality_words(found, memory)
    if found is None:
        return page.card("Are they new?", "—", "nobody looked", words, mark)
    value = f"{found['near_copies']} / {found['images']}"
    return page.card("Are they new?", value, f"copies found; recall {_percent(memory['recall']['value'])}", words, mark)


def originality_row(metrics: Metrics) -> tuple[str, str, str, Words]:
    """The row of the summary."""
    found = main_row(metrics)["originality"]
    words = originality_words(found, metrics["memorisation"])
    if found is None:
        return "Copies of training images", "—", "—", words
    real = f"{number(found['held_out'], 3)} for held-out images"
    return "Correlation with the nearest training image (median)", number(found["generated"], 3), real, words


_OWN_HAND = (
    " Some copies are in the generator's own hand: training images were partly noised, and drawn again by the model "
    "with their own covariates, as a person it knew by heart would be drawn (SDEdit). {noise}, "
    "and much of the person is then drawn anew. They count in the recall of all kinds."
)
_NOISE = "Noise of 1 is as large as half of the whole range of intensities"
_NOISE_OF_LATENTS = "Noise of 1 is as large as the spread of the codec's latents, to which it is added"


def originality_section(evidence: Evidence) -> str:
    """Copies found, the excess of near images, planted copies and membership."""
    metrics = evidence.metrics
    found, memory = main_row(metrics)["originality"], metrics["memorisation"]
    if memory is None:
        return page.section("Are the images new?", page.paragraph(originality_words(found, memory)[0]))
    parts = [
        page.paragraph(originality_words(found, memory)[0]),
        page.paragraph(
            "Every image was compared with the training images, most of all with those of its plane and slice "
            "position, by correlation of pixels after small shifts, rotations and mirroring, and by distance in the "
            "judge's features. How near two different people come is known from held-out people. An image is called a "
            "copy when it is nearer than any held-out image, and by four spreads nearer than their median; and so is "
            "one whose nearest person leads the next two by five spreads more than held-out images' do, since a "
            "generator may draw a person it learned less finely than a scan shows them."
        ),
        page.figure(
            nearness_plot(evidence.neighbours["z"], memory["thresholds"]),
            "How near images come to their nearest training image, in spreads of held-out images (0: their median). "
            "Right of the line is a copy. What lies further out is in the last bar.",
        ),
        _found(metrics),
        page.paragraph(
            "Controls: copies of training images were planted, as they are and altered, and looked for in the same "
            "way. False alarms are held-out images, altered likewise, that were called copies."
            + _alarms_words(memory)
            + (
                _own_hand(metrics)
                if memory["redrawn"]
                else f" Copies {OWN_HAND}, with its own faults, were not planted."
            )
        ),
        _planted(memory),
    ]
    if memory["membership"]:
        parts += _membership(memory["membership"])
    parts.append(
        page.paragraph(
            "That none was found means: no copies found by this detector at this recall, among this many images. It "
            "does not mean that the model holds nothing of the people it was trained on."
        )
    )
    return page.section("Are the images new?", *parts)


def _own_hand(metrics: Metrics) -> str:
    """How copies in the generator's own hand are planted; a latent model's are noised as latents, not as images."""
    latent = bool((metrics.get("cost") or {}).get("codec_parameters"))
    return _OWN_HAND.format(noise=_NOISE_OF_LATENTS if latent else _NOISE)


def _alarms_words(memory: Metrics) -> str:
    """How often a new person is taken for a copy."""
    found = memory.get("false_alarms")
    if not found or not found["images"]:
        return ""
    return (
        f" Judged by the other half of held-out people, {found['alarms']} of {found['images']} held-out images as they "
        "are were called copies; new people would be about as often, or less. Copies are called so where more "
        "people asked for have one than such alarms among held-out people explain, and where they are beyond doubt: "
        "by more than twice the spreads."
    )


def _found(metrics: Metrics) -> str:
    rows = []
    for row in metrics["generated"]:
        found = row["originality"]
        near = found["near"]
        rows.append(
            [
                f"{row['guidance']:g}{' (main)' if row['main'] else ''}",
                f"{found['near_copies']} of {found['images']}",
                _percents(found["fraction"]),
                f"{found['copied_subjects']} of {found['training_subjects']}",
                _percents(near["pixels"]["excess"], signed=True),
                _percents(near["features"]["excess"], signed=True),
                _percents(near["lead"]["excess"], signed=True),
            ]
        )
    head = ["Guidance", "Copies", "Fraction of images", "Training subjects seen copied",
            "Excess of near images, pixels", "features", "lead over the next nearest"]  # fmt: skip
    note = page.paragraph(
        "Subjects are those seen copied among so many images; more images may show more of them. "
        "Excess: images nearer to a training image than 95 % of held-out images are, less the 5 % that this holds for "
        "by itself; 0 is expected of new people, and below 0 the images are farther from all training images."
    )
    return page.table(head, rows) + note


def _planted(memory: Metrics) -> str:
    rows = []
    for kind in memory["kinds"]:
        by, alarms = kind["by_detector"], kind["false_alarms"]
        rows.append(
            [
                kind_words(kind["kind"]),
                str(kind["planted"]),
                _percents(kind["recall"]),
                f"{_percent(by['pixels'])}, {_percent(by['features'])}, {_percent(by['lead'])}",
                _percent(kind["right_subject"]),
                "—" if alarms is None else _percents(alarms),
            ]
        )
    if memory["redrawn"]:
        rows.append([f"all {OWN_HAND}", "", _percents(memory["redrawn"]["recall"]), "", "", ""])
    rows.append(["all kinds", "", _percents(memory["recall"]), "", "", ""])
    head = [
        "Planted copies",
        "Number",
        "Recall",
        "By pixels, by features, by lead",
        "Right person found",
        "False alarms",
    ]
    return page.table(head, rows)


def _membership(tested: Metrics) -> list[str]:
    images, people = tested["images"], tested["subjects"]
    words, mark = membership_words(tested)
    text = (
        f"Membership: the model denoised {images['train']} training images of {people['train']} subjects and "
        f"{images['held_out']} held-out images of {people['held_out']}, with the same noise at the same levels."
    )
    row = [
        "How well its loss tells the two apart (AUC)",
        with_interval(tested["auc"]),
        with_interval(tested["auc_subject"]),
        with_interval(tested["loss_ratio"]),
        words,
    ]
    head = ["", "Single images", "Subjects", "Loss, training / held-out", "In words"]
    return [page.paragraph(text), page.table(head, [row], [mark])]


def _percent(value: float) -> str:
    return f"{number(100 * value, 1) if 0 < value < 0.1 else round(100 * value)} %"


def _percents(figure: Metrics, signed: bool = False) -> str:
    """A fraction with its interval in percent."""
    if figure["value"] is None:
        return "—"
    shown = [f"{100 * v:+.1f}" if signed else f"{100 * v:.1f}" for v in figure.values() if v is not None]
    return f"{shown[0]} %" + (f" ({shown[1]} to {shown[2]})" if len(shown) == 3 else "")
