"""What may be published and what may not, and that the pages say what they must."""

import base64
import io
import json
import os
import re

import numpy as np
import pytest
import torch
from PIL import Image
from planted_world import COVARIATES, PlantedSampler, World, evaluation
from scipy import ndimage

from medgen.apps.report import page, pictures, words
from medgen.apps.report.schema import METRICS_SCHEMA


def _pictures(path):
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', path.read_text(encoding="utf-8"))
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


def _shows_real(picture):
    """Whether a grid of images says that it holds real ones, or holds the white square that marks them."""
    if picture.text.get("Synthetic") == "NO":
        return True
    white = ndimage.minimum_filter(np.asarray(picture.convert("L")) == 255, size=15)
    return "Synthetic" in picture.text and bool(white.any())


@pytest.fixture(scope="module", params=["real", "simulated"])
def reports(request, tmp_path_factory):
    """The three files of a cohort whose real images carry a white mark."""
    os.umask(0o022)
    world = World(subjects=(30, 12, 16), simulated=request.param == "simulated", marked=True)
    world.cohort.notices = ["<b>Split</b> by hand."]
    for data in world.sets.values():
        data.covariates[::4, 1] = 93.5
    folder = tmp_path_factory.mktemp(request.param)
    arguments = {"n_per_class": 16, "n_sweep": 8, "guidances": [2.0], "replicates": 200}
    evaluation(world, PlantedSampler("faithful"), folder, **arguments).run()
    return world, folder


def test_the_public_report_shows_no_participant(reports):
    world, folder = reports
    shown = [_shows_real(picture) for picture in _pictures(folder / "report.html")]
    assert len(shown) >= 5
    # simulated people do not exist, and may be shown
    assert any(shown) == world.cohort.simulated
    assert any(_shows_real(picture) for picture in _pictures(folder / "report_private.html"))


def test_what_is_published_names_nobody_and_no_age_above_89(reports):
    _, folder = reports
    for name in ("report.html", "metrics.json"):
        text = (folder / name).read_text(encoding="utf-8")
        assert "secret-" not in text
        assert "93.5" not in text
        assert str(folder) not in text
    profiles = torch.tensor([[0, 93.5, 1, 0.5], [1, 89.0, float("nan"), 0.5], [0, 72.9, 0, 0.5]])
    assert pictures.profile_titles(COVARIATES, profiles, "diagnosis", True) == ["90+ y, M", "89 y", "72 y, F"]
    assert pictures.profile_titles(COVARIATES, profiles, "diagnosis", False) == [
        "90+ y, M", "85 to 89 y", "70 to 74 y, F",
    ]  # fmt: skip
    assert [words.shown_age(age) for age in (89.0, 89.1, 95.0, 72.9)] == ["89", "90+", "90+", "72"]


def test_pages_are_whole_and_ask_for_nothing(reports):
    _, folder = reports
    for name in ("report.html", "report_private.html"):
        text = (folder / name).read_text(encoding="utf-8")
        assert text.startswith("<!DOCTYPE html>")
        assert not re.findall(r"https?://|<script|<link|@import|url\(", text)
        assert all(source.startswith("data:image/png") for source in re.findall(r'src="([^"]+)"', text))
        assert "default-src 'none'" in text
        assert text.count("<section>") == text.count("</section>") > 0
        assert "$" not in re.sub(r"base64,[^\"]+", "", text)
    assert "report_private" not in (folder / "report.html").read_text(encoding="utf-8")


def test_the_private_report_is_its_owners(reports):
    _, folder = reports
    assert (folder / "report_private.html").stat().st_mode & 0o777 == 0o600
    assert (folder / "private").stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in (folder / "private").iterdir())
    assert "PRIVATE. This page shows images of participants" in (folder / "report_private.html").read_text()


def test_pages_say_what_they_must(reports):
    world, folder = reports
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert ("SIMULATED DATA" in text) == world.cohort.simulated
    assert "&lt;b&gt;Split&lt;/b&gt; by hand." in text
    for said in (
        "SYNTHETIC",
        "the floor",
        "the ceiling",
        "95 %",
        "0123456789abcdef",
        world.cohort.data_terms,
        "Limits",
        "Network evaluations an image",
        "Peak memory",
        "pytorch-ignite",
    ):
        assert said in text
    marked = [picture.text.get("Synthetic") for picture in _pictures(folder / "report.html") if picture.text]
    assert "YES" in marked
    private = [picture.text.get("Synthetic") for picture in _pictures(folder / "report_private.html")]
    assert private == [("YES" if world.cohort.simulated else "NO")] * 2


def test_metrics_follow_the_schema(reports):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    _, folder = reports
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    jsonschema.Draft202012Validator.check_schema(METRICS_SCHEMA)
    jsonschema.validate(metrics, METRICS_SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(metrics | {"surprise": 1}, METRICS_SCHEMA)


def _figure(value, low=None, high=None):
    return {"value": value, "low": value - 0.1 if low is None else low, "high": value + 0.1 if high is None else high}


@pytest.mark.parametrize(
    ("ratio", "beginning", "mark"),
    [
        (1.0, "Faithful", "good"),
        (1.21, "Exaggerated", "bad"),
        (0.79, "Too weak", "bad"),
        (None, "Not determined", "warn"),
    ],
)
def test_label_words(ratio, beginning, mark):
    figure = {"value": ratio, "low": ratio, "high": ratio}
    assert words.label_words(figure, _figure(0.8), "diagnosis")[0].startswith(beginning)
    assert words.label_words(figure, _figure(0.8), "diagnosis")[1] == mark
    assert "beyond chance" in words.label_words(figure, _figure(0.55, 0.45), "diagnosis")[0]


def test_a_finding_whose_interval_includes_one_may_be_chance():
    said, mark = words.label_words(_figure(1.5, 0.9, 6.0), _figure(0.7, 0.55), "diagnosis")
    assert said.startswith("Exaggerated")
    assert "may be chance" in said
    assert mark == "warn"


def test_words_of_effect_and_spread():
    assert words.size_words(_figure(1.0), _figure(300, 200, 400))[1] == "good"
    assert words.size_words(_figure(1.0), _figure(300, -10, 610))[0].startswith("No effect can be told from none")
    assert words.size_words(_figure(1.4), _figure(300, 200, 400))[0].startswith("Exaggerated")
    assert words.size_words(_figure(0.6), _figure(300, 200, 400))[0].startswith("Too small")
    assert words.spread_words(_figure(0.6))[0].startswith("Too alike")


def test_numbers():
    assert [words.number(v) for v in (0.8132, 12.34, 376.2, -0.05, 0.0, None, float("nan"), 0.0004)] == [
        "0.81", "12.3", "376", "-0.05", "0.00", "—", "—", "0.0004",
    ]  # fmt: skip
    assert words.with_interval(_figure(0.81, 0.7, 0.9)) == "0.81 (0.70 to 0.90)"
    assert words.with_interval({"value": 0.81, "low": None, "high": None}) == "0.81"


def test_everything_is_escaped():
    evil = '<script>"&'
    made = [
        page.document(evil, []), page.section(evil), page.paragraph(evil), page.notice(evil), page.badge(evil),
        page.card(evil, evil, evil, evil, "good"), page.table([evil], [[evil]], ["good"]), page.figure(b"", evil),
    ]  # fmt: skip
    for text in made:
        assert "<script" not in text
        assert "&lt;script&gt;" in text


def test_near_copies_are_not_published(tmp_path):
    world = World(subjects=(30, 12, 16), simulated=False)
    sampler = PlantedSampler("copying", world.sets["train"])
    evaluation(world, sampler, tmp_path, n_per_class=8, n_sweep=8, guidances=[], replicates=100).run()
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "None is shown: all are near copies of training images." in text
    assert "16 of 16 images are near copies" in text
    assert not any(picture.text.get("Synthetic") for picture in _pictures(tmp_path / "report.html"))
