"""The evidence of translation, of planted translators: a perfect one, one that is deaf, one that swaps people."""

import base64
import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from PIL import Image
from planted_world import COVARIATES, PIXEL_MM, World, draw_brain, ventricle_mm2

from medgen.apps.translation.evidence import TranslationEvidence
from medgen.apps.translation.figures import Resampled, identity_rate, left_out_means, overlap, rim
from medgen.apps.translation.questions import RAW, brain_of, where
from medgen.apps.translation.visits import Visits, read_visits
from medgen.apps.translation.writing import DERIVED, DERIVED_SIMULATED
from medgen.inferers import Translate
from medgen.metrics import FeatureRegressor
from medgen.processes import RectifiedFlow
from medgen.samplers import Sampler

REPOSITORY = Path(__file__).resolve().parents[2]
AGE, SLOPE, YEARS = 1, 30.0, 10.0  # column; mm² a year; between visits


class People:
    """People with two visits, and what they look like at any age."""

    def __init__(self, count=10, simulated=True):
        random = np.random.default_rng(5)
        self.rows = torch.tensor(
            [[i % 2, a, (i // 2) % 2, 0.5] for i, a in enumerate(random.uniform(60, 80, count))], dtype=torch.float32
        )
        self.residuals = random.normal(size=count).clip(-1, 1)
        images = torch.stack([self.draw(i, 0.0) for i in range(count)])
        later = torch.stack([self.draw(i, YEARS) for i in range(count)])
        truth = [torch.stack([self.draw(i, y)[0] < 0 for i in range(count)]) for y in (0.0, YEARS)]
        inside = torch.stack([self.draw(i, -30.0)[0] > -0.9 for i in range(count)])
        self.visits = Visits(
            images, self.rows, [f"sub-{i}" for i in range(count)], [0] * count, later, np.full(count, YEARS),
            truth[0] & inside, truth[1] & inside, PIXEL_MM, simulated,
        )  # fmt: skip

    def draw(self, i, years):
        diagnosis, age, sex, place = self.rows[i].tolist()
        area = ventricle_mm2(diagnosis, age, sex, place, self.residuals[i], age_slope=0.0) + SLOPE * (age - 70 + years)
        image = torch.tensor(draw_brain(area, np.random.default_rng(100 + i)), dtype=torch.float32)
        own = torch.randn(image.shape, generator=torch.Generator().manual_seed(i))
        return torch.where(image > 0, (image + 0.1 * own).clamp(0.05, 1), image)


class Planted(Translate):
    """Knows the people: "faithful" shows them at any age, "deaf" leaves them, "swapping" shows somebody else."""

    def __init__(self, people, kind="faithful"):
        super().__init__(RectifiedFlow(), Sampler("euler", steps=2, max_batch=4))
        self.people, self.kind = people, kind
        self.known = torch.cat([people.visits.images, people.visits.later]).flatten(1)

    def __call__(self, inputs, network, source, target, strength=None, **_):
        result = []
        for image, old, rows in zip(inputs, source, target, strict=True):
            i = int((self.known - image.flatten()).square().sum(1).argmin()) % len(self.people.rows)
            base = float(old[AGE]) - float(self.people.rows[i, AGE])
            i = (i + 1) % len(self.people.rows) if self.kind == "swapping" else i
            years = [0.0 if self.kind == "deaf" else float(row[AGE] - old[AGE]) for row in rows]
            share = 1.0 if strength is None else strength
            result.append(torch.stack([self.people.draw(i, base + share * year) for year in years]))
        return torch.stack(result)


@pytest.fixture(scope="module")
def world():
    return World(subjects=(12, 6, 4), slices=1, age_slope=SLOPE)


def evidence(world, people, kind, folder, **arguments):
    settings = {"control": 3, "strengths": [0.5, 1.0], "years": [5], "replicates": 100}
    settings["regressor"] = FeatureRegressor(epochs=2, amp=False)
    network = torch.nn.Linear(1, 1)
    torch.nn.init.zeros_(network.weight), torch.nn.init.zeros_(network.bias)
    return TranslationEvidence(
        network, Planted(people, kind), COVARIATES, world.cohort, world.sets["train"],
        world.sets["validation"], people.visits, folder, name="planted", **(settings | arguments),
    )  # fmt: skip


def inlined_pngs(page):
    """What the pictures inside a page say of themselves."""
    found = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", page)
    return [Image.open(io.BytesIO(base64.b64decode(text))).text for text in found]


def test_a_perfect_translator_gets_perfect_figures_and_its_pages(world, tmp_path):
    people = People()
    metrics = evidence(world, people, "faithful", tmp_path).run()
    assert metrics["no_change"]["mean_absolute_error"]["value"] == pytest.approx(0, abs=1e-3)
    assert metrics["cycle"]["mean_absolute_error"]["value"] == pytest.approx(0, abs=1e-3)
    assert metrics["cycle"]["years"] == YEARS
    assert all(rate["value"] == 1 for rate in metrics["identity"]["rates"].values())
    assert metrics["identity"]["chance"] == pytest.approx(0.1)
    assert metrics["area"]["ratio_to_visits"]["value"] == pytest.approx(1, abs=0.1)
    half, whole = (row["change_per_year"]["value"] for row in metrics["area"]["by_strength"])
    assert half == pytest.approx(whole / 2, rel=0.2)
    assert metrics["where"]["translated"]["auc"]["value"] > 0.95
    assert metrics["where"]["translated"]["auc"]["value"] == pytest.approx(
        metrics["where"]["seen at the second visit"]["auc"]["value"], abs=0.01
    )
    two = metrics["two_visits"]
    assert two["area_error"]["translation"]["value"] < 0.05 * two["area_error"]["no change"]["value"]
    assert two["area_error_less_than"]["no change"]["high"] < 0
    assert two["image_error"]["translation"]["value"] == pytest.approx(0, abs=2e-3)
    assert json.loads((tmp_path / "translation.json").read_text()) == json.loads(json.dumps(metrics))
    page = (tmp_path / "translation.html").read_text()
    assert "no prognosis" in page
    assert "SIMULATED" in page
    assert page.count("<img") == 2
    for said in inlined_pngs(page):
        assert (said["Synthetic"], said["Derived"]) == ("YES", DERIVED_SIMULATED)
    private = tmp_path / "translation_private.html"
    assert private.stat().st_mode & 0o777 == 0o600
    assert "sub-" not in page + private.read_text()


def test_a_deaf_translator_is_found_out_and_its_work_is_kept(world, tmp_path):
    people = People()
    metrics = evidence(world, people, "deaf", tmp_path).run()
    assert metrics["area"]["change_per_year"]["value"] == pytest.approx(0, abs=0.5)
    assert metrics["age"]["change_per_year"]["value"] == pytest.approx(0, abs=0.01)
    two = metrics["two_visits"]
    assert two["area_error"]["translation"]["value"] == pytest.approx(two["area_error"]["no change"]["value"], rel=0.02)
    assert two["area_error_less_than"]["mean of the others"]["low"] > 0
    assert "LARGER than that of mean of the others" in (tmp_path / "translation.html").read_text()
    again = evidence(world, people, "deaf", tmp_path)
    again.inferer.known = None  # whoever asks it again fails
    assert again.run()["area"] == metrics["area"]


def test_the_error_of_the_way_there_and_back_is_taken_off_and_the_raw_one_stands_beside_it(world, tmp_path):
    people = People()

    class Lossy(Planted):  # faithful, and everything comes back a little darker
        def __call__(self, *arguments, **keywords):
            made = super().__call__(*arguments, **keywords)
            return torch.where(made > 0, made - 0.1, made)

    made = evidence(world, people, "faithful", tmp_path)
    made.inferer = Lossy(people)
    two = made.run()["two_visits"]
    brain = float((people.visits.later > 0).float().mean())
    assert two["image_error"]["translation"]["value"] == pytest.approx(0, abs=5e-3)
    assert two["image_error"][RAW]["value"] == pytest.approx(0.1 * brain, rel=0.05)
    assert set(two["image_error_less_than"]) == {"no change", "mean of the others"}
    page = (tmp_path / "translation.html").read_text()
    assert "the error of the way to the noise and back, which is in both, is taken out" in page
    assert page.count(RAW) == 2  # said, and a row of the table


def test_fluid_as_dark_as_the_background_counts_with_the_brain():
    y, x = np.mgrid[:32, :32] - 15.5
    radius = np.hypot(x, y)
    brain, before, after = (torch.from_numpy(radius < r) for r in (12, 4, 5))
    image = torch.where(brain & ~before, 0.5, -1.0)[None, None]
    later = torch.where(brain & ~after, 0.5, -1.0)[None, None]
    image, later, masks, later_masks = (torch.cat([part] * 2) for part in (image, later, before[None], after[None]))
    rows, years = torch.tensor([[0.0, 70, 0, 0.5]] * 2), np.full(2, YEARS)
    visits = Visits(image, rows, ["a", "b"], [0, 0], later, years, masks, later_masks, 1.0, True)
    assert (brain_of(image[0, 0]) == brain.numpy()).all()
    middle = torch.from_numpy(radius < 2)
    resampled = Resampled(visits.subjects, replicates=2)
    right = where(visits, image, later, YEARS, resampled)["translated"]["auc"]["value"]
    wrong = where(visits, image, later + 2 * middle, YEARS, resampled)["translated"]["auc"]["value"]
    assert wrong < right - 0.01  # a change inside the black ventricles is a mistake that is seen


def test_swapped_people_are_found_out(world, tmp_path):
    metrics = evidence(world, People(), "swapping", tmp_path).evidence().metrics
    rates = metrics["identity"]["rates"]
    assert rates["+10 years"]["value"] == 0
    assert rates["second visit, real"]["value"] == 1
    assert metrics["no_change"]["mean_absolute_error"]["value"] > 0.05


def test_pictures_of_real_people_are_on_the_private_page_alone(world, tmp_path):
    people = People(simulated=False)
    evidence(world, people, "faithful", tmp_path).run()
    assert "<img" not in (tmp_path / "translation.html").read_text()
    private = (tmp_path / "translation_private.html").read_text()
    assert private.count("<img") == 2
    assert "PRIVATE" in private
    assert [said["Derived"] for said in inlined_pngs(private)] == [DERIVED] * 2


def test_everybody_is_compared_after_the_own_time(world, tmp_path):
    people = People()
    own = np.linspace(2.0, 11.0, len(people.rows)).round()
    later = torch.stack([people.draw(i, years) for i, years in enumerate(own.tolist())])
    people.visits = replace(people.visits, later=later, years=own)
    found = evidence(world, people, "faithful", tmp_path).evidence()
    two = found.metrics["two_visits"]
    assert two["years"] == found.interval == np.round(np.median(own))
    assert two["image_error"]["translation"]["value"] == pytest.approx(0, abs=2e-3)
    # without noise of their own, the others' change by the year would be everybody's
    assert two["area_error"]["mean of the others"]["value"] < 0.2 * two["area_error"]["no change"]["value"]


def test_visits_of_some_months_are_an_interval_too(world, tmp_path):
    people = People()
    people.visits = replace(people.visits, years=np.full(len(people.rows), 0.4))
    made = evidence(world, people, "faithful", tmp_path)
    assert made.interval == 1.0
    assert made.evidence().metrics["two_visits"]["years"] == 1.0


def test_strength_0_is_not_taken_for_the_translators_own(world, tmp_path):
    made = evidence(world, People(), "faithful", tmp_path, strengths=[1.0, 0.0])
    whole, none = (row["change_per_year"]["value"] for row in made.evidence().metrics["area"]["by_strength"])
    assert whole > 20
    assert none == pytest.approx(0, abs=1e-6)


def test_ages_outside_training_are_told(world, tmp_path):
    notices = evidence(world, People(), "faithful", tmp_path, years=[5, 60]).evidence().metrics["notices"]
    assert "+60 years: 10 of 10 ages lie outside the training range: extrapolated." in notices


def test_nobody_is_judged_whom_the_model_learned_from(world, tmp_path):
    people = People()
    people.visits.subjects[0] = world.sets["train"].subjects[0]
    with pytest.raises(ValueError, match="1 of the people are in the training or validation split"):
        evidence(world, people, "faithful", tmp_path)


def test_volumes_and_other_planes_are_refused_before_anything_is_read(world, tmp_path):
    bundle = REPOSITORY / "bundles" / "mri_age_flow" / "configs" / "evaluate_translation.json"
    volume = str(REPOSITORY / "configs" / "volume.json")

    def refusal(*overlays, **overrides):
        settings = {
            "dataset_dir": "nowhere",
            "ckpt_dir": str(tmp_path),
            "workflow_type": "infer",
            "logging_file": False,
        }
        with pytest.raises(RuntimeError) as caught:
            ConfigWorkflow([str(bundle), *overlays], **settings, **overrides).initialize()
        return str(caught.value.__cause__)

    assert "measures ventricles in axial slices; found images of 3 dimensions" in refusal(volume)
    assert "found coronal slices" in refusal(plane="coronal")
    people = People(count=2)
    sets, thick = world.sets, replace(people.visits, images=people.visits.images[..., None])
    with pytest.raises(ValueError, match="found images of 3 dimensions"):
        TranslationEvidence(
            None, Planted(people), COVARIATES, world.cohort, sets["train"], sets["validation"], thick, tmp_path
        )


def test_resampled_averages_slopes_and_correlations():
    resampled = Resampled(["a", "a", "b", "c", "d"], replicates=200)
    x = np.array([1.0, 2.0, 3.0, 4.0, math.nan])
    assert resampled.mean(x)["value"] == pytest.approx(2.5)
    assert resampled.slope(x, 3 * x + 1)["value"] == pytest.approx(3)
    assert resampled.slope(x, 3 * x, through_zero=True)["low"] == pytest.approx(3)
    both = np.stack([x, 2 * x], axis=1)
    assert resampled.slope(both, 5 * both, through_zero=True)["value"] == pytest.approx(5)
    assert resampled.correlation(x, -2 * x)["value"] == pytest.approx(-1)
    assert resampled.mean(np.full(5, math.nan)) == {"value": None, "low": None, "high": None}


def test_identity_compares_within_a_place():
    images = torch.eye(4).reshape(4, 1, 2, 2)
    hit, chance = identity_rate(images[[0, 1, 2, 2]], images, ["a", "b", "a", "b"], [0, 0, 1, 1])
    assert (hit.tolist(), chance) == ([1, 1, 1, 0], 0.5)


def test_the_others_say_nothing_where_there_are_none():
    found = left_out_means(np.array([[1.0], [2.0], [6.0]]), ["a", "b", "a"], [0, 0, 1])
    assert found[:2].tolist() == [[2.0], [1.0]]
    assert np.isnan(found[2])


def test_overlap_of_a_change_with_where_the_truth_changed():
    before, after = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
    before[3:5, 3:5], after[2:6, 2:6] = True, True
    assert rim(before, after, reach=0).sum() == 12
    assert rim(before, after).sum() > 12
    region, inside = rim(before, after, reach=0), np.ones((8, 8), bool)
    perfect = overlap(region.astype(float), region, inside)
    assert (perfect["auc"], perfect["dice"], perfect["share"]) == (1.0, 1.0, pytest.approx(64 / 12))
    even = overlap(np.ones((8, 8)), region, inside)
    assert (even["auc"], even["share"]) == (0.5, pytest.approx(1))
    assert math.isnan(overlap(np.ones((8, 8)), np.zeros((8, 8), bool), inside)["auc"])


def test_first_and_last_visits_are_read_in_pairs():
    records = [
        {"image": f"x{n}", "subject": s, "age": a} for n, (s, a) in enumerate([("b", 75.0), ("a", 60.0), ("b", 65.0)])
    ]

    def dataset(data):
        rows = torch.tensor([[0, r["age"], 0, p] for r in data for p in (0.4, 0.6)], dtype=torch.float32)
        images = rows[:, 1].reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2) / 100
        return SimpleNamespace(
            images=images, covariates=rows, subjects=[r["subject"] for r in data for _ in "12"], pixel_mm=1.0
        )

    visits = read_visits(dataset, COVARIATES, records, simulated=False)
    assert (visits.subjects, visits.places) == (["a", "a", "b", "b"], [0, 1, 0, 1])
    assert visits.paired.tolist() == [2, 3]
    assert visits.years[2:].tolist() == [10, 10]
    assert visits.images[2:, 0, 0, 0].tolist() == pytest.approx([0.65, 0.65])
    assert visits.later[2:, 0, 0, 0].tolist() == pytest.approx([0.75, 0.75])
    assert visits.later[:2].isnan().all()
    assert read_visits(dataset, COVARIATES, records, False, people=1).subjects == ["a", "a"]
    twice = [*records, {"image": "x3", "subject": "a", "age": 60.0}]  # scanned again on the same day
    assert read_visits(dataset, COVARIATES, twice, False, people=1).places == [0, 1]
    with pytest.raises(ValueError, match="1 visit"):
        read_visits(dataset, COVARIATES, [*records, {"image": "x4", "subject": "a"}], simulated=False)
