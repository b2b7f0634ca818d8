"""Runs are compared where they may be, called different only beyond their intervals, and refused with a reason."""

import json
import random
import re
import statistics

import pytest
from example_metrics import changed, example_metrics, figure

from medgen.apps.report.compare import main, tables
from medgen.apps.report.compare.figures import FIGURES, Compared, Reading
from medgen.apps.report.compare.runs import named_paths
from medgen.apps.report.compare.validation import problems
from medgen.apps.report.compare.verdicts import verdict
from medgen.apps.report.schema import METRICS_SCHEMA


@pytest.fixture(autouse=True)
def _few_plots(request, monkeypatch):
    """Plots take most of the time, and one test looks at them."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(tables, "comparison_plot", lambda *_: None)


@pytest.fixture
def drawn():
    """Asks for plots."""


def write(folder, name, metrics):
    place = folder / name / "eval"
    place.mkdir(parents=True)
    text = metrics if isinstance(metrics, str) else json.dumps(metrics)
    (place / "metrics.json").write_text(text, encoding="utf-8")
    return str(place)


def compare(folder, runs, code=0):
    """The page and the JSON of a comparison of ``runs``, metrics by name."""
    words = [write(folder, name, metrics) for name, metrics in runs.items()]
    page = folder / "comparison.html"
    assert main([*words, "--output", str(page)]) == code
    return page.read_text(encoding="utf-8"), json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))


def of(found, name):
    return next(one for one in found["figures"] if one["figure"] == name)


def test_alike_runs_are_compared_in_every_figure_and_nothing_is_ranked_within_the_intervals(tmp_path):
    a = example_metrics()
    b = changed(
        a, row__label__ratio=figure(1.15, 1.05, 1.25), row__likeness__frechet=figure(3.0), model__sha256="c" * 64
    )
    page, found = compare(tmp_path, {"a": a, "b": b})
    assert all(one["comparable_within"] == [["a", "b"]] for one in found["figures"])
    assert of(found, "label ratio")["words"] == "No difference seen."
    assert of(found, "label ratio")["pairs"] == [{"first": "a", "second": "b", "verdict": "no difference seen"}]
    assert of(found, "distance")["words"] == "a is nearer to real images than b."
    assert "not alike" not in page
    assert len(found["figures"]) > 12


@pytest.mark.parametrize(
    ("change", "words", "still"),
    [
        ({"data__fingerprint": "f00d"}, "another cohort", set()),
        ({"data__split": "f00d"}, "another split", set()),
        ({"data__image_size": [128, 128]}, "other image size", set()),
        ({"settings__label": "sex"}, "another label", {"variety ratio", "brain size"}),
        ({"settings__seed": 7}, "another judge", {"effect ratio", "spread ratio", "variety ratio", "membership"}),
        ({"extractor__name": "pixels"}, "other features", {"label ratio", "effect ratio", "copies", "brain size"}),
        ({"row__likeness__n": 64}, "another number of images", {"label ratio", "effect ratio", "variety ratio"}),
    ],
)
def test_what_makes_runs_unlike_is_said_loudly_and_the_figures_that_still_compare_are_marked(
    change, words, still, tmp_path
):
    a = example_metrics()
    page, found = compare(tmp_path, {"a": a, "b": changed(a, **change)})
    assert '<div class="notice warnings" role="alert"><b>These runs are not alike' in page
    assert any(notice.startswith(f"Not all alike: {words}") for notice in found["notices"])
    together = {one["figure"] for one in found["figures"] if len(one["comparable_within"]) == 1}
    assert still <= together
    assert "distance" not in together  # needs them all
    assert bool(together) == bool(still)
    assert ("No figure may be compared" in page) == (not still)


def test_another_guidance_is_told_and_compared(tmp_path):
    a = example_metrics()
    page, found = compare(tmp_path, {"a": a, "b": changed(a, settings__guidance=2.0, model__sha256="c" * 64)})
    assert found["notices"] == ["Guidance differs: a: 1; b: 2. Differences may come from guidance alone."]
    assert "not alike" not in page
    assert len(of(found, "distance")["pairs"]) == 1


def test_another_medgen_is_told(tmp_path):
    a = example_metrics()
    other = changed(a, software__commit="f00d", model__sha256="c" * 64)
    _, found = compare(tmp_path, {"a": a, "b": other})
    (notice,) = found["notices"]
    assert notice.startswith(
        "Evaluated by different versions of medgen: a: 0.1.0, commit unknown; b: 0.1.0, commit f00d."
    )


def test_a_label_and_a_number_are_compared_by_what_both_have(tmp_path):
    a, b = example_metrics(), example_metrics(of_label=False)
    page, found = compare(tmp_path, {"a": a, "b": b})
    assert list(of(found, "label ratio")["values"]) == ["a"]
    assert list(of(found, "slope ratio")["values"]) == ["b"]
    assert of(found, "brain size")["comparable_within"] == [["a", "b"]]
    assert of(found, "spread ratio")["comparable_within"] == [["a"], ["b"]]  # spread within a class, and around a line
    assert "only one run has it" in page


def test_of_three_runs_the_two_that_are_alike_are_compared(tmp_path):
    a = example_metrics()
    runs = {"a": a, "b": changed(a, model__sha256="c" * 64), "c": changed(a, data__fingerprint="f00d", simulated=False)}
    page, found = compare(tmp_path, runs)
    assert of(found, "distance")["comparable_within"] == [["a", "b"], ["c"]]
    assert "only within a and b: another cohort" in page
    assert "a and b: SIMULATED data; the others are not." in page
    assert 'class="badge">SIMULATED DATA' in page


TWO_SIDED, LOW = (Compared("x", "?", lambda run: None, (), one_sided=side) for side in ("", "low"))


@pytest.mark.parametrize(
    ("one", "other", "kind", "ideal", "said"),
    [
        (figure(1.0), figure(1.15), TWO_SIDED, 1.0, "no difference seen"),
        (figure(1.0), figure(1.3), TWO_SIDED, 1.0, "first"),
        (figure(1.6), figure(1.3), TWO_SIDED, 1.0, "second"),
        (figure(0.8), figure(1.2), TWO_SIDED, 1.0, "differ"),  # on either side, as far
        (figure(0.3, 0.2, 0.4), figure(1.2), TWO_SIDED, 1.0, "second"),
        (figure(0.45, 0.44, 0.46), figure(0.6, 0.58, 0.62), LOW, 0.5, "first"),  # below chance is no fault
        (figure(2.0), figure(1.0), LOW, 0.0, "second"),
        ({"value": 1.0, "low": None, "high": None}, figure(3.0), TWO_SIDED, 1.0, "not determined"),
    ],
)
def test_verdicts(one, other, kind, ideal, said):
    assert verdict(Reading(one, None, ideal), Reading(other, None, ideal), kind) == said
    mirrored = {"first": "second", "second": "first"}.get(said, said)
    assert verdict(Reading(other, None, ideal), Reading(one, None, ideal), kind) == mirrored


def test_copies_found_with_unlike_recall_are_not_compared():
    few, many = figure(0.0, 0.0, 0.01), figure(0.2, 0.15, 0.25)

    def said(recall, other):
        return verdict(Reading(few, None, 0.0, "", recall), Reading(many, None, 0.0, "", other), LOW)

    assert said(figure(0.9, 0.85, 0.95), figure(0.88, 0.8, 0.93)) == "first"
    assert said(figure(0.3, 0.2, 0.4), figure(0.9, 0.85, 0.95)) == "found with unlike recall"
    assert said(figure(0.9, 0.85, 0.95), figure(0.3, 0.2, 0.4)) == "found with unlike recall"
    assert said(None, figure(0.3, 0.2, 0.4)) == "first"


def test_several_seeds_of_the_same_settings_are_summarised(tmp_path):
    a = example_metrics()
    values = [0.9, 1.0, 1.3]
    runs = {
        f"seed{seed}": changed(
            a, model__config__seed=seed, model__sha256=f"{seed}" * 64, row__label__ratio=figure(value)
        )
        for seed, value in enumerate(values)
    }
    runs["other"] = changed(a, model__config__learning_rate=0.1, model__config__seed=5)
    page, found = compare(tmp_path, runs)
    (summary,) = found["over_seeds"]
    assert summary["runs"] == ["seed0", "seed1", "seed2"]
    ratio = summary["figures"]["label ratio"]
    assert ratio["mean"] == pytest.approx(statistics.fmean(values))
    assert ratio["sd"] == pytest.approx(statistics.stdev(values))
    assert (ratio["low"], ratio["high"], ratio["n"]) == (0.9, 1.3, 3)
    assert "Trained with seeds 0, 1, 2" in summary["words"]
    assert "Over seeds: seed0, seed1 and seed2" in page
    assert "learning_rate" in page  # of the settings that differ


def test_the_same_weights_evaluated_twice_are_no_seeds_of_training(tmp_path):
    a = example_metrics()
    _, found = compare(tmp_path, {"a": a, "b": changed(a, settings__seed=1)})
    assert "the spread is of evaluation alone" in found["over_seeds"][0]["words"]
    _, found = compare(tmp_path / "again", {"c": a, "d": a})
    assert "c and d are one and the same evaluation." in found["notices"]
    assert found["over_seeds"] == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "found no metrics.json; evaluate the run first"),
        ("", "found an empty file"),
        (json.dumps(example_metrics())[:5000], "found no whole JSON"),
        (
            '{"schema": "medgen.utility/1"}',
            "found 'medgen.utility/1', an experiment on usefulness, expected 'medgen.ev",
        ),
        ('{"schema": "medgen.evaluation/9"}', "found 'medgen.evaluation/9', expected 'medgen.evaluation/2'"),
        ('{"schema": "medgen.evaluation/1"}', "expected 'medgen.evaluation/2'; evaluate again"),
        ("[1]", "found a JSON list"),
        ("{}", "found JSON without a schema"),
        ('{"schema": NaN}', "found NaN, which is no number of JSON"),
        (changed(example_metrics(), data={}), "data lacks"),
        (changed(example_metrics(), row__likeness__frechet={"value": "x", "low": 0, "high": 1}), "expected number"),
        (changed(example_metrics(), row__main=False), "expected one row of the main guidance, found 0"),
        (changed(example_metrics(), settings__labels=None), "expected the figures of a number"),
        (changed(example_metrics(), model__config="x"), "model.config: expected object or null, found 'x'"),
        (changed(example_metrics(), real__auc=None), "real.auc: expected object, found None"),
        (changed(example_metrics(), row__tissues__found=None), "tissues.found: expected number, found None"),
        (changed(example_metrics(), row__ventricles__effect_ratio=0), "effect_ratio: expected object, found 0"),
        (changed(example_metrics(), row__ventricles__effect_ratio=[]), "effect_ratio: expected object, found []"),
    ],
)
def test_a_run_that_cannot_be_read_is_named_with_the_reason_and_the_others_are_compared(
    content, said, tmp_path, capsys
):
    a = example_metrics()
    runs = {"a": a, "b": changed(a, settings__guidance=2.0)}
    if content is not None:
        runs["bad"] = content
    else:
        (tmp_path / "bad").mkdir()
    words = [write(tmp_path, name, metrics) for name, metrics in runs.items()]
    words += [] if content is not None else [str(tmp_path / "bad")]
    page = tmp_path / "comparison.html"
    assert main([*words, "--output", str(page)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("left out: bad: ")
    assert said in error
    found = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    assert [one["name"] for one in found["left_out"]] == ["bad"]
    assert [one["name"] for one in found["runs"]] == ["a", "b"]
    assert "<b>Left out</b>" in page.read_text(encoding="utf-8")


def test_a_run_whose_figures_fail_in_a_way_that_no_schema_tells_is_left_out_and_the_others_are_compared(
    tmp_path, monkeypatch, capsys
):
    warnings = tables.verdict.warnings

    def fails(metrics):
        return warnings(metrics) if metrics["name"] != "bad" else 1 / 0

    monkeypatch.setattr(tables.verdict, "warnings", fails)
    a = example_metrics()
    _, found = compare(tmp_path, {"a": a, "bad": a | {"name": "bad"}, "b": changed(a, settings__guidance=2.0)}, code=1)
    assert [one["name"] for one in found["left_out"]] == ["bad"]
    assert [one["name"] for one in found["runs"]] == ["a", "b"]
    assert "left out: bad: metrics.json: its figures cannot be shown (ZeroDivisionError" in capsys.readouterr().err


def test_what_cannot_be_compared_at_all_is_an_error_and_nothing_is_written(tmp_path, capsys):
    place = write(tmp_path, "a", example_metrics())
    page = tmp_path / "comparison.html"
    assert main([place, str(tmp_path / "nowhere"), "--output", str(page)]) == 2
    assert (
        "expected two evaluations or more, found 1 that can be read\n  nowhere: found neither"
        in capsys.readouterr().err
    )
    assert main([f"x={place}", f"x={place}", "--output", str(page)]) == 2
    assert "found 'x' more than once" in capsys.readouterr().err
    assert main([place, place, "--output", f"{place}/metrics.html"]) == 2
    assert "metrics.html or metrics.json is there and is no comparison" in capsys.readouterr().err
    assert main([place, place, "--output", str(tmp_path / "page.txt")]) == 2
    assert not page.exists()


def test_an_evaluation_that_did_not_record_everything_yet_is_compared_in_the_rest(tmp_path):
    a = example_metrics()
    old = changed(a, model__sha256="c" * 64)
    del old["cost"], old["data"]["split"], old["model"]["training"], old["model"]["software"]
    del old["generated"][0]["fidelity"]["recall"], old["generated"][0]["intensity"]
    page, found = compare(tmp_path, {"a": a, "old": old})
    assert list(of(found, "recall")["values"]) == ["a"]
    assert "not recorded" in page
    assert any("another split" in notice for notice in found["notices"])


def test_where_nobody_looked_for_copies_the_rest_is_compared_and_the_page_says_so(tmp_path):
    a = example_metrics()
    blind = changed(a, model__sha256="c" * 64, memorisation=None, row__originality=None)
    page, found = compare(tmp_path, {"a": a, "blind": blind})
    assert "Nobody looked for copies of training images" in page
    shown = {name for one in found["figures"] if "a" in one["values"] and "blind" not in one["values"]
             for name in [one["figure"]]}  # fmt: skip
    assert shown == {"copies", "membership"}


def test_the_page_names_nobody_no_place_and_asks_for_nothing(tmp_path, drawn):
    evil = '<script>alert("&")'
    a = example_metrics(name=evil)
    a["model"]["config"]["observed"] = {"age": [55.2, 93.5]}
    a["model"]["config"]["note"] = evil
    b = changed(a, model__config__note="plain", model__config__observed={"age": [50, 94.5]})
    words = [f"{evil}={write(tmp_path, 'a', a)}", write(tmp_path, "b", b)]
    page = tmp_path / "comparison.html"
    assert main([*words, "--output", str(page)]) == 0
    for path in (page, page.with_suffix(".json")):
        text = path.read_text(encoding="utf-8")
        assert str(tmp_path) not in text
        assert "93.5" not in text
        assert "94.5" not in text
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r"https?://|<script|<link|@import|url\(", text)
    assert all(source.startswith("data:image/png") for source in re.findall(r'src="([^"]+)"', text))
    assert text.count("data:image/png") == 1
    assert text.count("<section>") == text.count("</section>") > 5
    assert "default-src 'none'" in text


def test_names_come_from_folders_as_far_as_they_tell_runs_apart(tmp_path):
    words = ["x/adni_ddim/eval", "y/adni_ddim/eval/metrics.json", "z/other", "best = z/other"]
    assert [name for name, _ in named_paths(words)] == ["x/adni_ddim", "y/adni_ddim", "other", "best"]
    assert [name for name, _ in named_paths(["a/eval", "a/eval/"])] == ["a", "a (2)"]
    assert [name for name, _ in named_paths(["one/g1.json", "one/g2.json"])] == ["g1", "g2"]


def test_every_figure_is_read_from_what_the_schema_describes():
    from medgen.apps.report.compare.runs import Run

    runs = [Run("a", example_metrics()), Run("b", example_metrics(of_label=False))]
    for compared in FIGURES:
        assert any(compared.of(run) is not None for run in runs), compared.name


def test_validation_agrees_with_jsonschema_on_damaged_figures():
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    validator, draw = jsonschema.Draft202012Validator(METRICS_SCHEMA), random.Random(0)
    for of_label in (True, False):
        assert problems(example_metrics(of_label), METRICS_SCHEMA) == []
    refused = 0
    for _ in range(150):
        metrics = example_metrics(draw.random() < 0.5)
        part = metrics
        while True:  # walk to a random place, and damage it
            key = draw.choice(list(part) if isinstance(part, dict) else range(len(part)))
            if not isinstance(part[key], (dict, list)) or not part[key] or draw.random() < 0.15:
                break
            part = part[key]
        if draw.random() < 0.4:
            del part[key]
        else:
            part[key] = draw.choice([None, "text", True, -1, 0.5, [], {}])
        expected = validator.is_valid(metrics)
        refused += not expected
        assert (problems(metrics, METRICS_SCHEMA) == []) == expected, (key, list(validator.iter_errors(metrics)))
    assert refused > 50
