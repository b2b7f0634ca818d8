"""Generators that are broken on purpose: each is exposed by the figures and named in the report's box of warnings."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from example_metrics import changed, example_metrics, figure
from planted_world import (
    COVARIATES,
    EFFECT,
    PIXEL_MM,
    PlantedSampler,
    World,
    draw_brain,
    evaluation,
    ventricle_mm2,
)

from medgen.apps.evaluation.contrast import LabelContrast
from medgen.apps.report import of_fidelity, verdict, words
from medgen.metrics import FeatureClassifier, ScaleError, SubjectResampler, frechet_distance, ventricle_area


class BrokenSampler(PlantedSampler):
    """ "noise"; "one class" only; "swapped" classes; each class's "mean brain"; "black"; "half range"; "guidance 6"."""

    def __call__(self, network, process, shape, seeds, covariates=None, codec=None):
        images = []
        for seed, row in zip(seeds, covariates.tolist(), strict=True):
            random = np.random.default_rng(seed % 2**32)
            diagnosis, age, sex, place = row
            if self.kind == "noise":
                images.append(np.tanh(random.standard_normal(tuple(shape))))
                continue
            if self.kind == "black":
                images.append(np.full(tuple(shape), -1.0))
                continue
            if self.kind == "mean brain":
                images.append(self.means()[int(diagnosis)])
                continue
            residual, effect = np.clip(random.normal(), -2, 2), EFFECT
            if self.kind == "one class":
                diagnosis = 1
            if self.kind == "swapped":
                diagnosis = 1 - diagnosis
            if self.kind == "guidance 6":  # clearer than life, and everybody alike
                residual, effect = 0.3 * residual, 4 * EFFECT
            image = draw_brain(ventricle_mm2(diagnosis, age, sex, place, residual, effect), random)
            images.append(image / 2 if self.kind == "half range" else image)
        tensor = torch.tensor(np.stack(images), dtype=torch.float32)
        return SimpleNamespace(images=tensor, seconds=0.01 * len(seeds), evaluations=20)

    def means(self):
        images, label = self.training.images.float().numpy(), self.training.covariates[:, 0].numpy()
        return [images[label == value].mean(0) for value in (0, 1)]


@pytest.fixture(scope="module")
def world():
    return World(subjects=(60, 20, 40))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder for all generators, so that the classifier is trained once."""
    return tmp_path_factory.mktemp("broken")


def _evaluation(world, folder, kind, sampler=BrokenSampler):
    made = sampler(kind, world.sets["train"])
    return evaluation(world, made, folder, n_per_class=64, n_sweep=64, guidances=[], replicates=200)


def _exposed(world, folder, kind, sampler=BrokenSampler):
    """The figures, and the box of warnings."""
    metrics = _evaluation(world, folder, kind, sampler).evidence().metrics
    return metrics["generated"][0], "".join(verdict.box(metrics))


def test_a_faithful_generator_has_no_warning(world, folder):
    row, box = _exposed(world, folder, "faithful", PlantedSampler)
    assert box == ""
    found = row["fidelity"]
    for name in ("precision", "recall", "coverage"):
        assert found[name]["value"] > 0.8 * found[f"real_{name}"]["value"]
    assert found["variety_ratio"]["value"] == pytest.approx(1, abs=0.35)
    assert row["tissues"]["measures"]["brain"]["percent"]["value"] == pytest.approx(0, abs=4)
    assert row["tissues"]["measures"]["fluid"]["spread_ratio"]["value"] == pytest.approx(1, abs=0.3)


def test_noise(world, folder):
    row, box = _exposed(world, folder, "noise")
    assert row["fidelity"]["precision"]["value"] < 0.05
    assert row["fidelity"]["coverage"]["value"] < 0.05
    assert words.over_floor(row["likeness"])["value"] > 20
    assert "Most images resemble no real one" in box
    assert "Anatomy is off" in box or "No brain is found" in box


def test_one_class_only(world, folder):
    row, box = _exposed(world, folder, "one class")
    assert abs(row["label"]["auc"]["value"] - 0.5) < 0.1
    assert "The diagnosis is not shown: images of AD and NC look the same" in box


def test_swapped_classes(world, folder):
    row, box = _exposed(world, folder, "swapped")
    assert row["label"]["auc"]["high"] < 0.5
    assert "The diagnosis is reversed: images asked for as AD look like NC to a classifier (AUC 0." in box
    assert "the difference in the ventricles is the opposite of the cohort" in box
    assert "look the same" not in box
    _evaluation(world, folder, "swapped").run()
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Reversed: images asked for as AD look like NC, and the other way round." in page
    assert "Reversed: the effect is the opposite of the cohort" in page
    assert not {"Too weak", "Too small"} & set(page.split(":"))


def test_the_mean_brain_of_each_class(world, folder):
    row, box = _exposed(world, folder, "mean brain")
    assert row["fidelity"]["ms_ssim"]["value"] > row["fidelity"]["real_ms_ssim"]["value"] + 0.05
    assert row["fidelity"]["recall"]["value"] < 0.1
    assert row["ventricles"]["spread_ratio"]["value"] < 0.3
    assert "Too alike: people differ" in box
    assert "Large parts of the real variety are missing" in box
    _evaluation(world, folder, "mean brain").run()
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert box in page
    assert page.index(box) < page.index('<div class="cards">')
    for said in ("Fidelity and diversity", "the floor", "Brain size and tissues", "in_domain, 112 numbers an image"):
        assert said in page


def test_another_intensity_range(world, folder):
    row, box = _exposed(world, folder, "half range")
    assert row["intensity"]["low"] > row["intensity"]["real_low"] + 0.3
    assert words.over_floor(row["likeness"])["value"] > 4
    assert "Wrong intensity range: generated images lie in [-0.50" in box


def test_another_convention_of_intensities_is_refused_and_the_report_says_so(world, folder):
    for stale in ("metrics.json", "report_private.html"):
        (folder / stale).write_text("of an earlier evaluation")
    with pytest.raises(ScaleError, match="scaled differently"):
        _evaluation(world, folder, "off scale", PlantedSampler).run()
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "Wrong intensity range. No figure was computed: the two sides are scaled differently" in text
    assert not (folder / "metrics.json").exists()
    assert not (folder / "report_private.html").exists()


def test_images_of_one_colour_are_refused_as_what_they_are(world, folder):
    with pytest.raises(ScaleError, match="nearly all pixels are of one colour, -1"):
        _evaluation(world, folder, "black").run()
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "Images of one colour. No figure was computed: generated at guidance 1: nearly all pixels" in text
    assert "scaled" not in text


def test_guidance_that_exaggerates(world, folder):
    row, box = _exposed(world, folder, "guidance 6")
    assert row["ventricles"]["effect_ratio"]["low"] > 1.35
    assert row["label"]["ratio"]["value"] > 1.2
    assert "The diagnosis is exaggerated: the difference in ventricle area is" in box
    assert "times as clearly as in real images" in box


def test_another_extractor_gives_the_distances_and_is_named(world, tmp_path):
    made = evaluation(world, PlantedSampler("faithful"), tmp_path, n_per_class=16, n_sweep=8, guidances=[2.0],
                      replicates=100, extractor="pixels", judge=FeatureClassifier(epochs=1, amp=False))  # fmt: skip
    metrics = made.evidence().metrics
    assert metrics["extractor"] == {
        "name": "pixels", "sha256": None, "distance": "Fréchet distance of pixels", "width": 48 * 48,
    }  # fmt: skip
    assert metrics["classifier"]["features"] == 112
    held_out, shown = world.sets["test"].images.flatten(1).double(), made.evidence().generated[1.0]
    rows = shown.factual
    expected = frechet_distance(shown.images.numpy()[rows].reshape(rows.sum(), -1), held_out.numpy())
    assert metrics["generated"][0]["likeness"]["frechet"]["value"] == pytest.approx(expected, rel=1e-6)
    main, other = metrics["generated"]
    assert (main["fidelity"]["n"], main["fidelity_sweep"]["n"], other["fidelity"]["n"]) == (16, 8, 8)
    assert other["fidelity_sweep"] == other["fidelity"]
    assert main["likeness_sweep"]["n"] == other["likeness"]["n"] < main["likeness"]["n"]
    assert other["likeness_sweep"] == other["likeness"]


def _figure(value, low=None, high=None):
    return {"value": value, "low": value if low is None else low, "high": value if high is None else high}


@pytest.mark.parametrize("part", ["ventricles", "brain"])
def test_people_of_too_alike_a_size_are_a_warning_where_the_interval_says_so(part):
    def told(spread):
        place = "ventricles" if part == "ventricles" else "tissues__measures__brain"
        metrics = changed(example_metrics(), **{f"row__{place}__spread_ratio": spread})
        (rule,) = [rule for rule in verdict.RULES if rule.__name__ == "alike"]
        return rule(metrics, metrics["generated"][0])

    said = {"ventricles": "Spread of ventricle area: 0.50", "brain": "Spread of brain size: 0.50"}[part]
    assert said in told(figure(0.5, 0.4, 0.7))
    assert told(figure(0.5, 0.2, 1.1)) is told(figure(0.7, 0.6, 0.8)) is None  # may be chance; little


def test_a_label_without_an_effect_in_the_cohort_is_not_called_exaggerated():
    effect = figure(80.0, -20.0, 160.0)
    told = changed(
        example_metrics(), row__ventricles__effect_ratio=figure(4.0, 1.5, 9.0), row__ventricles__effect=effect
    )
    assert "The diagnosis is exaggerated" in " ".join(verdict.warnings(told))
    nothing = changed(told, real__ventricles__effect=figure(20.0, -10.0, 50.0))
    assert "exaggerated" not in " ".join(verdict.warnings(nothing))
    said, mark = words.size_words(figure(4.0), effect, cohort=nothing["real"]["ventricles"]["effect"])
    assert (said[:18], mark) == ("Even in the cohort", "warn")


def test_the_effect_known_of_a_simulation_is_that_of_the_diagnosis_alone(world):
    truth = {"direct_diagnosis_effect_ml": 11.0}
    for name, is_known in (("diagnosis", True), ("sex", False)):
        question = LabelContrast(COVARIATES, name, judge=FeatureClassifier(epochs=1))
        taken = question.take(world.sets["test"], "test")
        areas = ventricle_area(taken.images.numpy(), PIXEL_MM)
        resampler = SubjectResampler(taken.subjects, 50)
        found = question.anatomy(areas, taken, resampler, "mm²", areas / 30, truth, ["age"]).figures()
        assert (found["known"] is not None) == is_known


def test_words_say_what_figures_mean():
    assert of_fidelity.short_of(_figure(0.3), _figure(0.9), 0.5).beyond
    assert not of_fidelity.short_of(_figure(0.3, 0.1, 0.95), _figure(0.9), 0.5).certain  # may be chance
    unknown = {"value": None, "low": None, "high": None}
    assert of_fidelity.short_of(unknown, _figure(0.9), 0.5).place == "unknown"
    assert of_fidelity.variety_words(_figure(0.5))[0].startswith("Too alike")
    assert of_fidelity.variety_words(_figure(1.6))[0].startswith("Too varied")
    assert of_fidelity.variety_words(_figure(0.5, 0.2, 1.2))[1] == "warn"
    found = {"percent": _figure(-14), "spread_ratio": _figure(1.0)}
    assert of_fidelity.tissue_words("brain", found) == ("Brain size differs by -14 %, more than 10 %.", "bad")
    assert of_fidelity.tissue_words("grey", found)[1] == "good"
    assert of_fidelity.tissue_words("grey", found | {"spread_ratio": _figure(0.3)})[1] == "warn"
    assert of_fidelity.tissue_words("white", {"percent": unknown, "spread_ratio": unknown})[1] == "bad"
