"""Every sentence is one that its interval supports: what is uncertain is not called good, nor claimed to be bad."""

import math

import pytest
from example_metrics import changed, example_metrics

from medgen.apps.report import of_fidelity, verdict, words
from medgen.apps.report.standing import Sayings, relative_to, said, standing

NONE = {"value": None, "low": None, "high": None}
REAL = {"value": 0.8, "low": 0.7, "high": 0.9}  # AUC: real images show the label
EFFECT = {"value": 300.0, "low": 200.0, "high": 400.0}


def figure(value, low=None, high=None):
    return {"value": value, "low": low, "high": high}


def label(*ratio):
    return words.label_words(figure(*ratio), REAL, "diagnosis", ["NC", "AD"])


@pytest.mark.parametrize(
    ("found", "place", "certain", "beyond"),
    [
        (figure(1.0, 0.9, 1.1), "inside", True, False),
        (figure(1.0, 0.6, 1.5), "inside", False, False),  # wider than the band
        (figure(1.0), "inside", False, False),
        (figure(1.4, 0.9, 2.0), "above", False, False),  # may be the ideal
        (figure(1.4, 1.1, 2.0), "above", True, False),  # more, but not certainly by so much
        (figure(1.4, 1.3, 1.5), "above", True, True),
        (figure(0.5, 0.4, 0.7), "below", True, True),
        (figure(0.5, 0.4, 0.9), "below", True, False),
        (figure(0.5), "below", False, False),
        (NONE, "unknown", False, False),
        (figure(math.nan, 0.0, 1.0), "unknown", False, False),
    ],
)
def test_where_a_figure_stands(found, place, certain, beyond):
    made = standing(found, (0.8, 1.2))
    assert (made.place, made.certain, made.beyond) == (place, certain, beyond)


def test_only_what_is_inside_and_narrow_is_good_and_only_what_is_certain_is_bad():
    sayings = Sayings("as it should be", "what should be", "too small", "too large", " by a fifth")
    for value in (0.3, 0.75, 0.9, 1.0, 1.1, 1.3, 2.0):
        for width in (0.05, 0.15, 0.3, 2.0):
            found = figure(value, value - width, value + width)
            text, mark = said(standing(found, (0.8, 1.2)), sayings)
            inside = 0.8 <= value <= 1.2
            assert (mark == "good") == (inside and 2 * width <= 0.4)
            assert (mark == "bad") == (not inside and not value - width <= 1 <= value + width)
            assert ("by a fifth" in text) == (value - width > 1.2 or value + width < 0.8)
            assert mark != "warn" or "hold out more subjects" in text


@pytest.mark.parametrize(
    ("words_of", "begins", "mark"),
    [
        (lambda: label(1.0, 0.1, 4.0), "Consistent with the diagnosis showing as clearly as in real images, but",
         "warn"),
        (lambda: label(1.0, 0.85, 1.15), "Faithful", "good"),
        (lambda: label(0.81, 0.62, 1.01), "Faithful within 20 % as far as the interval tells", "good"),
        (lambda: label(-0.8, -1.6, -0.6), "Reversed: images asked for as AD look like NC", "bad"),
        (lambda: label(-0.2, -0.6, 0.3), "Too weak: the diagnosis shows less than in real images by more", "bad"),
        (lambda: words.slope_words(figure(0.93, 0.05, 3.9)), "Consistent with a change of the right size, but", "warn"),
        (lambda: words.slope_words(figure(1.25, 1.02, 1.5)), "Exaggerated: the change is larger than in real images.",
         "bad"),
        (lambda: words.slope_words(figure(1.4, 1.25, 1.5)), "Exaggerated: the change is larger than in real images by",
         "bad"),
        (lambda: words.slope_words(figure(-0.9, -1.2, -0.5)), "Reversed", "bad"),
        (lambda: words.size_words(figure(1.4, 1.01, 1.9), EFFECT), "Exaggerated: larger than the cohort's.", "bad"),
        (lambda: words.size_words(figure(1.6, 1.4, 1.9), EFFECT), "Exaggerated: larger than the cohort's by more",
         "bad"),
        (lambda: words.size_words(figure(-0.8, -1.0, -0.6), EFFECT), "Reversed: the effect is the opposite", "bad"),
        (lambda: words.size_words(figure(1.0, -0.1, 2.1), figure(300, -10, 610)),
         "No effect can be told from none with",
         "warn"),
        (lambda: words.size_words(figure(0.1, -0.2, 0.4), figure(30, -60, 120)), "No effect can be told from none, and",
         "bad"),
        (lambda: words.spread_words(figure(0.6, 0.2, 1.6)),
         "Too alike: generated people differ less than real ones. The",
         "warn"),
        (lambda: words.spread_words(figure(0.4, 0.3, 0.5)), "Too alike: generated people differ less than real ones by",
         "bad"),
        (lambda: words.agreement_words(figure(-0.9, -1.2, -0.5), REAL, "age"), "Reversed: images asked for at a higher",
         "bad"),
        (lambda: of_fidelity.variety_words(figure(0.5, 0.2, 1.2)), "Too alike: people differ 0.50 times", "warn"),
        (lambda: of_fidelity.variety_words(figure(1.0, 0.2, 2.2)), "Consistent with people who differ as much", "warn"),
        (lambda: _tissue("brain", figure(-30, -62, 3)), "Brain size differs by -30 %. The interval includes 0", "warn"),
        (lambda: _tissue("brain", figure(-14, -22, -6)), "Brain size differs by -14 %.", "bad"),
        (lambda: _tissue("brain", figure(-14, -16, -12)), "Brain size differs by -14 %, more than 10 %.", "bad"),
        (lambda: _tissue("grey", figure(0, -40, 40)), "Consistent with grey matter as in real images, but", "warn"),
        (lambda: _tissue("grey", figure(0, -4, 4), figure(1.0, 0.2, 2.9)), "Within 25 % of real images. How much",
         "warn"),
        (lambda: _short("precision", figure(0.3, 0.0, 0.95)), "Fewer look real than of other people's real images. The",
         "warn"),
        (lambda: _short("recall", figure(0.05, 0.0, 0.95)), "Part of the real variety is out of their reach. The",
         "warn"),
        (lambda: _short("coverage", figure(0.4, 0.35, 0.7)), "Part of the real variety is missing.", "bad"),
        (lambda: _short("coverage", figure(0.2, 0.15, 0.25)), "Part of the real variety is missing, less than half",
         "bad"),
        (lambda: _short("coverage", figure(0.6, 0.55, 0.65)), "Part of the real variety is missing.", "warn"),
        (lambda: _short("precision", figure(0.88, 0.1, 0.98)), "Consistent with as many looking real", "warn"),
        (lambda: _short("precision", figure(0.88, 0.8, 0.95)), "About as many look real", "good"),
    ],
)  # fmt: skip
def test_sentences_say_what_their_intervals_support(words_of, begins, mark):
    text, found = words_of()
    assert text.startswith(begins)
    assert found == mark
    assert text.endswith(".")
    assert ".." not in text


def _tissue(name, percent, spread=None):
    return of_fidelity.tissue_words(name, {"percent": percent, "spread_ratio": spread or figure(1.0, 0.8, 1.2)})


def _short(name, found):
    return of_fidelity._words(name, found, figure(0.9, 0.85, 0.95))


def _likeness(times, kernel=(0.0, -0.1, 0.1), own=(2.0, 1.0, 3.0)):
    distances = {"frechet": figure(*own), "floor_frechet": figure(1.0, 0.0, 2.6)}
    return {
        "frechet_over_floor": times,
        "kernel": figure(*kernel),
        "floor_kernel": figure(0.0, -0.05, 0.05),
    } | distances


@pytest.mark.parametrize(
    ("likeness", "begins", "mark"),
    [
        (_likeness(figure(1.1, 0.7, 1.6)), "Not told apart from real images", "good"),
        (_likeness(figure(1.1, 0.4, 9.0)), "Consistent with images as near as training images are", "warn"),
        (_likeness(figure(1.1, 0.7, 1.6), (0.5, 0.3, 0.7)), "Farther than real images: 1.1 times", "warn"),
        (_likeness(figure(2.5, 1.4, 4.0)), "Farther than real images: 2.5 times", "warn"),
        (_likeness(figure(5.0, 0.8, 14.0)), "Farther than real images: 5.0 times", "warn"),
        (_likeness(figure(5.0, 2.0, 14.0)), "Farther than real images: 5.0 times", "bad"),
        (_likeness(figure(9.0, 5.0, 14.0)), "Far from real images: 9.0 times", "bad"),
        (_likeness(NONE), "Not told apart for certain: a distance of 2.00 against 1.00 of training images", "warn"),
        (_likeness(NONE, own=(3.1, 2.1, 4.1)), "Farther than real images: a distance of 3.10 against 1.00", "warn"),
        (_likeness(NONE, (0.5, 0.3, 0.7)), "Farther than real images: a distance of 2.00 against 1.00", "warn"),
        (_likeness(NONE, own=(None, None, None)), "Not determined", "warn"),
        (_likeness({"value": 5.0, "low": None, "high": None}), "Farther than real images: 5.0 times", "warn"),
        (_likeness(figure(5.0), (0.5, 0.3, 0.7)), "Farther than real images: 5.0 times", "bad"),
    ],
)
def test_words_of_distances(likeness, begins, mark):
    text, found = words.likeness_words(likeness)
    assert text.startswith(begins)
    assert found == mark
    assert "isib" not in text  # nobody looked
    assert words.times_floor(_likeness(figure(4.4, 2.1, 9.0))) == "4.4 (2.1 to 9.0) ×"


def test_the_ratio_of_two_figures_has_the_interval_of_both():
    made = relative_to(figure(0.4, 0.3, 0.5), figure(0.8, 0.7, 0.9))
    half = math.hypot(0.1 / 0.8, 0.4 * 0.1 / 0.8**2)
    assert made == pytest.approx({"value": 0.5, "low": 0.5 - half, "high": 0.5 + half})
    assert relative_to(figure(0.4, 0.3, 0.5), figure(0.0, 0.0, 0.1)) == NONE
    assert relative_to(figure(0.4), figure(0.8, 0.7, 0.9)) == figure(0.5)


def _warned(**parts):
    metrics = changed(example_metrics(), real__auc=REAL, real__ages_differ=False, **parts)
    return " ".join(verdict.warnings(metrics))


def test_warnings_say_how_much_is_shown_and_that_nothing_is_only_at_chance():
    ratio, auc = figure(0.28, 0.20, 0.36), figure(0.60, 0.57, 0.63)
    weak = _warned(row__label__ratio=ratio, row__label__auc=auc)
    assert "The diagnosis shows too weakly: 0.28 (0.20 to 0.36) of what real images show." in weak
    assert "look the same" not in weak
    deaf = _warned(row__label__ratio=figure(0.05, -0.2, 0.3), row__label__auc=figure(0.51, 0.45, 0.58))
    assert "look the same to a classifier (AUC 0.51 (0.45 to 0.58))" in deaf
    swapped = _warned(row__label__ratio=figure(-0.8, -1.6, -0.6), row__label__auc=figure(0.25, 0.2, 0.3))
    assert "The label is reversed" not in swapped
    assert "The diagnosis is reversed: images asked for as AD look like NC to a classifier (AUC 0.25" in swapped
    assert "too weakly" not in swapped
    assert "the same" not in swapped
    uncertain = _warned(row__label__ratio=figure(0.1, -2.0, 2.5), row__label__auc=figure(0.52, 0.2, 0.8))
    assert "diagnosis" not in uncertain


def test_the_headline_is_a_flag_not_a_notice():
    metrics = example_metrics()
    assert words.headline(changed(metrics, real__ages_differ=True)) == "_adjusted"
    assert words.headline(changed(metrics, real__ages_differ=False, notices=["They differ in age."])) == ""
