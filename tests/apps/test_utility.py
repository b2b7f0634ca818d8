"""Usefulness: what must help helps, what must not does not, nobody is seen twice, and the arms are alike."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from stripes import COVARIATES, PlantedRecipe, cohort, pictures, utility

import medgen.apps.utility.classifier as classifier
import medgen.apps.utility.run as run
from medgen.apps.utility import ClassifierSettings, Recipe, Utility
from medgen.apps.utility.classifier import fit_and_score, make_network
from medgen.apps.utility.labelled import LabelledImages, chosen_label, nested_subjects, people_of
from medgen.covariates import Covariates
from medgen.data import Cohort, CohortError

LARGE = (40, 8, 20)


@pytest.fixture(scope="module")
def helped(tmp_path_factory):
    """An experiment with few real pictures and a faithful generator: its folder and figures."""
    folder = tmp_path_factory.mktemp("helped")
    return folder, utility(folder, seeds=4).run()


@pytest.fixture
def scored(monkeypatch):
    """Runs that train nothing, and remember what they were given; ``fail`` names those that do not end."""
    calls = SimpleNamespace(made=[], fail=lambda train, seed: False)

    def score(train, validation, test, classes, settings, seed, augment, device):
        if calls.fail(train, seed):
            raise RuntimeError("the classifier's loss is nan at step 3")
        calls.made.append((train, validation, test, seed, augment))
        random = np.random.default_rng(seed % 2**32)
        said = random.dirichlet(np.ones(classes), len(test.cases()[0]))
        return {"probabilities": said, "validation": np.ones(2), "chosen": np.array(1), "steps": np.array(7)}

    monkeypatch.setattr(run, "fit_and_score", score)
    return calls


def found(metrics, arm, against, size=0):
    return next(d for d in metrics["sizes"][size]["differences"] if (d["arm"], d["against"]) == (arm, against))


def test_synthetic_data_help_where_they_must(helped):
    _, metrics = helped
    for figure in ("auc", "accuracy", "cross_entropy", "brier"):
        assert found(metrics, "real_synthetic", "real")[figure]["verdict"] == "helps"
        assert found(metrics, "real_synthetic", "real_repeated")[figure]["verdict"] == "helps"
        assert found(metrics, "real_synthetic", "real_augmented")[figure]["verdict"] == "helps"
        assert found(metrics, "real_repeated", "real")[figure]["verdict"] != "helps"
    assert (
        metrics["sizes"][0]["arms"]["synthetic"]["auc"]["value"]
        > 0.9
        > metrics["sizes"][0]["arms"]["real"]["auc"]["value"]
    )


def test_synthetic_data_of_a_deaf_generator_do_not_help(tmp_path):
    metrics = utility(tmp_path, PlantedRecipe("deaf", 0.3), (30, 16, 60), 0.3, ratio=2.0).run()
    assert metrics["sizes"][0]["arms"]["real"]["auc"]["value"] > 0.85
    assert found(metrics, "synthetic", "real")["auc"]["verdict"] == "harms"
    assert found(metrics, "real_synthetic", "real")["auc"]["verdict"] != "helps"


def test_a_second_call_trains_nothing_and_finds_the_same(helped, monkeypatch):
    folder, metrics = helped
    monkeypatch.setattr(run, "fit_and_score", lambda *a, **k: pytest.fail("trained again"))
    again = utility(folder, seeds=4).run()
    assert again["sizes"] == metrics["sizes"]


def test_the_synthetic_set_is_class_folders_with_a_manifest_and_can_be_read_as_a_cohort(helped):
    folder, metrics = helped
    place = folder / metrics["sizes"][0]["synthetic"]["folder"]
    rows = (place / "manifest.csv").read_text().splitlines()
    assert rows[0].split(",") == ["file", "subject", "seed", "direction", "model_sha256", "software", "synthetic",
                                  "data_terms", "share"]  # fmt: skip
    files = sorted(path.relative_to(place).as_posix() for path in place.glob("*/*.png"))
    assert sorted(row.split(",")[0] for row in rows[1:]) == files
    assert len(files) == 120
    for row in rows[1:10]:
        name, subject, seed, label = row.split(",")[:4]
        assert name == f"{label}/{subject}_000.png"
        with Image.open(place / name) as picture:
            assert picture.text["Synthetic"] == "YES"
            assert picture.text["seed"] == seed
            assert json.loads(picture.text["covariates"]) == {"direction": label}
    read = Cohort(place, {"diagnosis": ["level", "upright"]})
    assert len(read.subjects) == 120
    table = Cohort(place / "manifest.csv", COVARIATES)
    assert (table.split_unit, table.subjects) == ("subject", read.subjects)
    folder_of = {record["subject"]: record["diagnosis"] for record in read.records}
    assert all(record["direction"] == folder_of[record["subject"]] for record in table.records)


def test_the_set_of_a_real_cohort_is_its_owners_alone_and_says_so(scored, tmp_path):
    experiment = utility(tmp_path, people=LARGE, ratio=0.5)
    experiment.cohort = cohort(simulated=False, data_terms="ask first, then cite")
    folder = tmp_path / experiment.run()["sizes"][0]["synthetic"]["folder"]
    for place in (folder.parent, folder, folder / "level", folder / "upright"):
        assert place.stat().st_mode & 0o777 == 0o700
    files = [*folder.glob("*/*.png"), folder / "manifest.csv"]
    assert len(files) == 21
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    with open(folder / "manifest.csv", newline="") as file:
        assert {(row["data_terms"], row["share"]) for row in csv.DictReader(file)} == {("ask first, then cite", "no")}
    with Image.open(files[0]) as picture:
        assert (picture.text["data_terms"], picture.text["share"]) == ("ask first, then cite", "no")


def test_copies_are_left_out_of_the_folders_and_told_of(scored, tmp_path):
    """A generator that gives back training pictures in two of three cases, moved and mirrored."""
    recipe = PlantedRecipe(noise=0.8)
    experiment = utility(tmp_path, recipe, people=LARGE, ratio=3.0)
    training, honest = experiment.real["train"].images, recipe.train

    def thief(*arguments):
        trained = honest(*arguments)
        draw, calls = trained.sampler, []

        def sampler(*given, **more):
            images = draw(*given, **more).images
            for place in range(len(images)):
                calls.append(place)
                if len(calls) % 3:
                    images[place] = training[len(calls) % 40].float().flip(-1).roll(1, -1)
            return SimpleNamespace(images=images)

        sampler.to_dict = draw.to_dict
        return trained._replace(
            sampler=type("Thief", (), {"__call__": staticmethod(sampler), "to_dict": draw.to_dict})()
        )

    recipe.train = thief
    metrics = experiment.run()
    size = metrics["sizes"][0]["synthetic"]
    assert size["images"] == 120
    assert size["copies"]["found"] == 80
    assert size["copies"]["recall"]["value"] > 0.8
    left = sorted(path.name for path in (tmp_path / size["folder"]).glob("*/*.png"))
    assert left == [f"SYN{index:05d}_000.png" for index in range(120) if (index + 1) % 3 == 0]
    assert len((tmp_path / size["folder"] / "manifest.csv").read_text().splitlines()) == 41
    assert "80 of 120 synthetic images come nearer" in (tmp_path / "utility.html").read_text()
    assert {len(call[0]) for call in scored.made} == {40, 120, 160}  # classifiers had them all
    assert sum(len(images) for images in experiment.shown.values()) <= 40


def test_what_an_error_says_stays_with_its_owner(scored, tmp_path):
    recipe = PlantedRecipe()
    honest = recipe.train

    def train(train, validation, cohort, run_dir, forbidden):
        if len(train.subjects) > 15:
            raise RuntimeError(f"cannot read {run_dir}/checkpoint_100.pt of 003_S_1234")
        return honest(train, validation, cohort, run_dir, forbidden)

    recipe.train = train
    metrics = utility(tmp_path, recipe, LARGE, sizes=[1.0, 0.25], ratio=1.0).run()
    assert metrics["failures"] == [{"size": "40 subjects", "stage": "generator", "error": "RuntimeError"}]
    public = (tmp_path / "utility.json").read_text() + (tmp_path / "utility.html").read_text()
    assert "003_S_1234" not in public
    assert str(tmp_path) not in public
    told = tmp_path / "private" / "failures.json"
    assert "checkpoint_100.pt of 003_S_1234" in told.read_text()
    assert told.stat().st_mode & 0o777 == 0o600


def test_shares_that_leave_as_many_subjects_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"sizes: \[1.0, 0.99\] leave \[8, 8\] subjects"):
        utility(tmp_path, people=(8, 4, 6), sizes=[1.0, 0.99])


def test_the_page_names_nobody_and_shows_generated_pictures_of_simulated_cohorts_only(helped, tmp_path):
    from medgen.apps.report.utility import utility_report

    folder, metrics = helped
    page = (folder / "utility.html").read_text()
    assert "secret" not in page + json.dumps(metrics)
    assert "Adding synthetic images: helps" in page
    assert "SIMULATED DATA" in page
    assert page.count("data:image/png") == 2
    real = utility_report(metrics | {"simulated": False}, {"level": torch.zeros(2, 1, 16, 16)})
    assert real.count("data:image/png") == 1  # the plot
    assert (folder / "private").stat().st_mode & 0o777 == 0o700


def test_every_arm_has_the_same_start_steps_and_batches(helped, tmp_path, monkeypatch):
    seen = []

    class Counting(classifier.BatchLoader):
        def _batch(self, indices, keys):
            seen[-1][1].append(len(indices))
            return super()._batch(indices, keys)

    def start(shape, classes, widths):
        network = make_network(shape, classes, widths)
        seen.append((float(sum(p.detach().double().sum() for p in network.parameters())), []))
        return network

    monkeypatch.setattr(classifier, "BatchLoader", Counting)
    monkeypatch.setattr(classifier, "make_network", start)
    settings = ClassifierSettings(iterations=4, checks=2, batch_size=5, widths=(8, 8))
    utility(tmp_path, people=(6, 4, 6), ratio=1.0, classifier=settings).run()
    assert len(seen) == 10
    assert all(batches == [5] * 4 for _, batches in seen)
    assert len({start for start, _ in seen[:5]}) == len({start for start, _ in seen[5:]}) == 1
    assert seen[0][0] != seen[5][0]
    assert {tuple(arm["steps"]) for arm in helped[1]["sizes"][0]["arms"].values()} == {(50,)}


def test_the_control_has_as_many_images_as_real_and_synthetic_and_all_are_real(scored, tmp_path):
    augment = SimpleNamespace(flip=0.5)
    utility(tmp_path, people=LARGE, ratio=0.5, augmentation=augment).run()
    real, augmented, synthetic, both, repeated = (call[0] for call in scored.made[:5])
    assert [call[4] for call in scored.made[:5]] == [None, augment, None, None, None]
    assert augmented is real
    assert [len(pool) for pool in (real, synthetic, both, repeated)] == [40, 20, 60, 60]
    assert set(repeated.subjects) == set(real.subjects)
    assert torch.equal(both.images[:40], real.images)
    assert torch.equal(both.images[40:], synthetic.images.half())
    assert all(name.startswith("synthetic") for name in synthetic.subjects)
    assert synthetic.target.tolist().count(1) == pytest.approx(10, abs=3)


def test_each_size_has_a_generator_of_its_own_that_saw_these_people_alone(scored, tmp_path):
    recipe = PlantedRecipe()
    metrics = utility(tmp_path, recipe, LARGE, sizes=[0.25, 1.0, 0.5], ratio=1.0).run()
    assert [size["share"] for size in metrics["sizes"]] == [1.0, 0.5, 0.25]
    seen = [training for training, _, _ in recipe.calls]
    assert [len(training) for training in seen] == [40, 20, 10]
    assert seen[2] < seen[1] < seen[0]
    for training, validation, forbidden in recipe.calls:
        assert len(forbidden) == 20
        assert not forbidden & (training | validation)
        assert not training & validation
    pools = [set(call[0].subjects) for call in scored.made if not call[0].subjects[0].startswith("synthetic")]
    assert all(any(name in pool for pool in pools) for name in ("secret-train-000",))
    for train, validation, test, _, _ in scored.made:
        assert not set(train.subjects) & (set(validation.subjects) | set(test.subjects))


def test_each_size_has_as_large_a_share_of_the_subjects_who_choose(scored, tmp_path):
    recipe = PlantedRecipe()
    metrics = utility(tmp_path, recipe, (40, 16, 20), sizes=[1.0, 0.25], ratio=1.0).run()
    assert [size["validation"]["by_label"] for size in metrics["sizes"]] == [
        {"level": 8, "upright": 8},
        {"level": 2, "upright": 2},
    ]
    whole, quarter = (validation for _, validation, _ in recipe.calls)
    assert quarter < whole
    assert [set(call[1].subjects) for call in scored.made] == [whole] * 10 + [quarter] * 10
    parts = json.loads((tmp_path / "private" / "splits.json").read_text())["sizes"]
    assert set(parts["0.25"]) == recipe.calls[1][0] | quarter


def test_subsets_are_nested_and_keep_the_labels_shares():
    people = LabelledImages(
        torch.zeros(90, 1, 2, 2), torch.tensor([0] * 60 + [1] * 30), [f"s{i // 2}" for i in range(90)]
    )
    parts = nested_subjects(people, [0.2, 1, 0.5], seed=3)
    assert [len(part) for part in parts.values()] == [45, 23, 9]
    assert parts[0.2] < parts[0.5] < parts[1.0]
    assert sum(int(name[1:]) >= 30 for name in parts[0.2]) == 3
    assert nested_subjects(people, [0.2], seed=3)[0.2] == parts[0.2]
    with pytest.raises(ValueError, match="a label with fewer than 2 subjects"):
        nested_subjects(people, [0.05])
    with pytest.raises(ValueError, match=r"in \(0, 1\]"):
        nested_subjects(people, [1.5])


@pytest.mark.parametrize(("one", "other"), [(0, 2), (1, 2), (0, 1)])
def test_a_subject_in_two_splits_is_refused(tmp_path, one, other):
    sets = [pictures(split, 8, 0) for split in ("a", "b", "c")]
    sets[other].subjects[3] = sets[one].subjects[5]
    with pytest.raises(CohortError, match="a subject is in two splits"):
        Utility(PlantedRecipe(), cohort(), COVARIATES, *sets, tmp_path)


def test_a_cohort_that_is_split_by_scan_is_refused(tmp_path):
    sets = [pictures(split, 8, 0) for split in ("a", "b", "c")]
    with pytest.raises(ValueError, match="give the subjects of the images by subject_map"):
        Utility(PlantedRecipe(), cohort(split_unit="scan"), COVARIATES, *sets, tmp_path)


def test_weights_that_may_have_seen_the_test_set_are_refused():
    with pytest.raises(ValueError, match="may have learned from the test subjects"):
        Recipe({"pretrained": "model.pt"})
    with pytest.raises(ValueError, match="trained on all training subjects"):
        Recipe({"codec": {"_target_": "medgen.networks.KLCodec"}})
    Recipe({"pretrained": None, "codec": {"_target_": "medgen.networks.IdentityCodec"}})
    with pytest.raises(RuntimeError, match="found no MONAI ConfigWorkflow"):
        Recipe.of_workflow()


def test_the_weights_of_a_generator_do_not_hang_on_how_it_is_sampled():
    config = {"train": {"handlers": ["@sampler"], "lr": "@lr"}, "lr": 1, "steps": 5, "sampler": {"steps": "@steps"}}
    key = Recipe(config).key("data")
    assert (
        Recipe(config | {"steps": 9, "sampler": {"steps": "@steps", "guidance": 3}, "run_dir": "b"}).key("data") == key
    )
    assert len({key, Recipe(config | {"lr": 2}).key("data"), Recipe(config).key("other data")}) == 3


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"seeds": 1}, "seeds: expected an integer of at least 2"),
        ({"ratio": 0}, "ratio: expected a positive number"),
        ({"primary": "f1"}, "primary: expected one of"),
        ({"label": "directon"}, "nearest: 'direction'"),
        ({"labels": ["level"]}, "expected two or more different ones"),
        ({"classifier": {"iterations": 3, "checks": 4}}, "expected 1 <= checks <= iterations"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_trained(tmp_path, arguments, expected):
    with pytest.raises(ValueError, match=expected):
        utility(tmp_path, **arguments)


def test_the_label_is_the_diagnosis_or_the_first_categorical_covariate():
    declared = Covariates(age={"low": 0, "high": 100}, sex=["F", "M"], plane=["axial", "coronal"])
    assert chosen_label(declared, None, None) == ("sex", ["F", "M"])
    assert chosen_label(Covariates(sex=["F", "M"], diagnosis=["NC", "MCI", "AD"]), None, ["NC", "AD"])[0] == "diagnosis"
    with pytest.raises(ValueError, match="found no categorical one"):
        chosen_label(Covariates(age={"low": 0, "high": 100}), None, None)


def test_a_killed_experiment_goes_on_with_the_runs_that_are_missing(scored, tmp_path):
    def kill(train, seed):
        if len(scored.made) == 3:
            raise KeyboardInterrupt
        return False

    scored.fail = kill
    with pytest.raises(KeyboardInterrupt):
        utility(tmp_path, people=LARGE, ratio=1.0).run()
    scored.fail = lambda train, seed: False
    utility(tmp_path, people=LARGE, ratio=1.0).run()
    assert len(scored.made) == 10


def test_a_run_that_fails_is_recorded_and_its_seed_left_out_of_every_arm(scored, tmp_path):
    bad = run.seed_from("utility run", 0, 1)
    scored.fail = lambda train, seed: seed == bad and train.subjects[0].startswith("synthetic")
    metrics = utility(tmp_path, people=LARGE, ratio=1.0, seeds=3).run()
    (failure,) = metrics["failures"]
    assert (failure["arm"], failure["seed"]) == ("synthetic", 1)
    assert {len(arm["by_seed"]["auc"]) for arm in metrics["sizes"][0]["arms"].values()} == {2}
    assert "Failed and left out" in (tmp_path / "utility.html").read_text()
    scored.fail = lambda train, seed: False
    assert utility(tmp_path, people=LARGE, ratio=1.0, seeds=3).run()["failures"] == []


def test_an_arm_that_always_fails_is_left_out_and_the_others_are_compared(scored, tmp_path):
    scored.fail = lambda train, seed: len(train) == 80 and any(name.startswith("synth") for name in train.subjects)
    metrics = utility(tmp_path, people=LARGE, ratio=1.0).run()
    assert {(failure["arm"], failure["seed"]) for failure in metrics["failures"]} == {
        ("real_synthetic", 0),
        ("real_synthetic", 1),
    }
    (size,) = metrics["sizes"]
    assert set(size["arms"]) == {"real", "real_augmented", "synthetic", "real_repeated"}
    assert {d["arm"] for d in size["differences"]} == {"real_augmented", "synthetic", "real_repeated"}
    assert "arm real_synthetic, seed 0" in (tmp_path / "utility.html").read_text()


def test_a_generator_that_fails_leaves_its_size_out_alone(scored, tmp_path):
    class Failing(PlantedRecipe):
        def train(self, train, *others):
            if len(train.subjects) < 40:
                raise RuntimeError("the loss is not finite at iteration 7")
            return super().train(train, *others)

    metrics = utility(tmp_path, Failing(), LARGE, sizes=[1.0, 0.5], ratio=1.0).run()
    assert [size["share"] for size in metrics["sizes"]] == [1.0]
    (failure,) = metrics["failures"]
    assert (failure["size"], failure["stage"]) == ("20 subjects", "generator")
    assert "size 20 subjects, stage generator (RuntimeError)" in (tmp_path / "utility.html").read_text()


def test_a_generator_that_sees_the_test_set_ends_the_experiment(scored, tmp_path):
    class Leaking(PlantedRecipe):
        def train(self, *arguments):
            raise CohortError("a subject is in two splits")

    with pytest.raises(CohortError, match="a subject is in two splits"):
        utility(tmp_path, Leaking(), LARGE, sizes=[1.0, 0.5], ratio=1.0).run()


def test_an_experiment_of_which_nothing_is_left_says_so(scored, tmp_path):
    (tmp_path / "utility.html").write_text("an earlier call: it helps")
    scored.fail = lambda train, seed: True
    with pytest.raises(RuntimeError, match="no size could be finished"):
        utility(tmp_path, people=LARGE, ratio=1.0).run()
    assert not (tmp_path / "utility.html").exists()
    assert len(json.loads((tmp_path / "utility.json").read_text())["failures"]) == 11


def test_what_is_said_of_a_case_does_not_hang_on_the_others_in_the_batch():
    torch.manual_seed(0)
    network = make_network((1, 16, 16), 2, (8, 8))
    assert not [m for m in network.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert make_network((1, 8, 8, 8), 2, (8, 8))(torch.randn(2, 1, 8, 8, 8)).shape == (2, 2)
    one, many = torch.randn(1, 1, 16, 16), 5 + 3 * torch.randn(7, 1, 16, 16)
    network.eval()
    with torch.no_grad():
        torch.testing.assert_close(network(torch.cat([one, many]))[:1], network(one))


def test_volumes_are_classified_by_the_same_code_and_the_seed_decides():
    sets = [
        LabelledImages(torch.randn(6, 1, 8, 8, 8), torch.arange(6) % 2, [f"{name}{i // 2}" for i in range(6)])
        for name in "abc"
    ]
    settings = ClassifierSettings(iterations=2, checks=1, batch_size=2, widths=(8, 8))
    first, again = (fit_and_score(*sets, 2, settings, seed=4) for _ in range(2))
    assert first["probabilities"].shape == (6, 2)  # a subject with two labels is two cases
    np.testing.assert_array_equal(first["probabilities"], again["probabilities"])
    np.testing.assert_allclose(first["probabilities"].sum(1), 1)


def test_the_weights_that_are_tested_are_those_of_the_lowest_validation_loss():
    train, check = (pictures(name, 24, seed, 0.3) for seed, name in enumerate("ab"))
    sets = [LabelledImages(d.images, d.covariates[:, 0].long(), d.subjects) for d in (train, check, check)]
    settings = ClassifierSettings(iterations=12, checks=4, batch_size=8, widths=(8, 8), learning_rate=0.05)
    result = fit_and_score(*sets, 2, settings, seed=1)
    truth = [label for _, label in sets[1].cases()[0]]
    loss = -np.log(result["probabilities"][np.arange(24), truth].clip(1e-7)).mean()
    assert loss == pytest.approx(result["validation"].min(), rel=1e-4)
    assert int(result["chosen"]) == 3 * (1 + int(result["validation"].argmin()))


def test_a_loss_that_is_not_finite_ends_a_run():
    one = LabelledImages(torch.full((4, 1, 8, 8), torch.nan), torch.arange(4) % 2, list("abcd"))
    with pytest.raises(RuntimeError, match="loss is nan at step 1"):
        fit_and_score(one, one, one, 2, ClassifierSettings(iterations=2, checks=1, widths=(8, 8)))


def test_the_part_of_a_data_set_keeps_all_else_it_has():
    whole = pictures("a", 6, 0)
    whole.records = [{"n": i} for i in range(6)]
    part = people_of(whole, {"secret-a-001", "secret-a-004"})
    assert part.subjects == ["secret-a-001", "secret-a-004"]
    assert part.records == [{"n": 1}, {"n": 4}]
    assert torch.equal(part.images, whole.images[[1, 4]])
    assert part.pixel_mm is whole.pixel_mm
    assert len(whole.subjects) == 6
