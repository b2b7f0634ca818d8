"""Generators that repeat their training images are exposed, in figures and in words; original ones are not."""

import json
import math
import re
from types import SimpleNamespace

import jsonschema
import numpy as np
import pytest
import torch
from planted_world import COVARIATES, SIZE, PlantedSampler, World, evaluation
from torch import nn

from medgen.apps.evaluation.cache import StageCache
from medgen.apps.evaluation.membership import denoising_losses
from medgen.apps.evaluation.memorisation import Memorisation
from medgen.apps.evaluation.real import RealImages
from medgen.apps.evaluation.redrawn import NOISE, Redrawn
from medgen.apps.report import background, originality, verdict
from medgen.apps.report.schema import METRICS_SCHEMA
from medgen.engines.draws import fixed_noise, fixed_times
from medgen.metrics import FeatureClassifier, SubjectResampler, altered
from medgen.processes import RectifiedFlow
from medgen.samplers import Sampler

SMALL = {"n_per_class": 8, "n_sweep": 8, "guidances": [], "replicates": 100}


class CopyMachine(PlantedSampler):
    """Gives back training images, altered as said."""

    def __init__(self, training, kind):
        super().__init__("copying", training)
        self.alteration = kind

    def __call__(self, *args, **kwargs):
        made = super().__call__(*args, **kwargs)
        made.images = altered(made.images, self.alteration)
        return made


def _smooth(count, dims, seed, side=18):
    random = torch.Generator().manual_seed(seed)
    rough = torch.randn(count, 1, *(6,) * dims, generator=random)
    mode = "bilinear" if dims == 2 else "trilinear"
    return torch.tanh(torch.nn.functional.interpolate(rough, size=(side,) * dims, mode=mode))


def _heads(count, seed):
    axes = torch.linspace(-1, 1, SIZE)
    inside = torch.sigmoid(20 * (0.75 - torch.hypot(axes[:, None], axes[None])))
    return inside * (1 + 0.7 * _smooth(count, 2, seed, SIZE)) - 1


def textured(subjects, slices=1, simulated=True):
    """A world of round heads, each with a texture of its own, instead of drawn brains, which are all alike."""
    world = World(subjects=subjects, slices=slices, simulated=simulated)
    for seed, split in enumerate(world.sets.values()):
        split.images = _heads(len(split.images), seed).half()
    return world


@pytest.mark.parametrize(("kind", "least"), [("exact", 16), ("turned", 14)])
def test_a_copy_machine_is_exposed_in_figures_and_words(tmp_path, kind, least):
    world = textured((30, 12, 16))
    judge = FeatureClassifier(epochs=1, amp=False)
    settings = SMALL | {"judge": judge, "ventricles": False}
    metrics = evaluation(world, CopyMachine(world.sets["train"], kind), tmp_path, **settings).run()
    found, memory = metrics["generated"][0]["originality"], metrics["memorisation"]
    assert found["near_copies"] >= least
    assert found["fraction"]["low"] > 0.5
    assert 5 <= found["copied_subjects"] <= 16
    assert found["by_chance"] < 0.001
    assert found["near"]["pixels"]["excess"]["low"] > 0.5
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"{found['near_copies']} of 16 images are near copies of a training image, of" in text
    assert originality.originality_words(found, memory)[1] == "bad"
    assert not re.findall(
        r"\b(private|safe)\b", re.sub(r"base64,[^\"]+|<style>.*?</style>", "", text, flags=re.DOTALL).lower()
    )


def _alike(count, seed, side=32):
    """People who share a head and a coarse texture, and have a fine one each."""
    axes = torch.linspace(-1, 1, side)
    inside = torch.sigmoid(20 * (0.75 - torch.hypot(axes[:, None], axes[None])))
    rough = torch.randn(count, 1, 14, 14, generator=torch.Generator().manual_seed(seed))
    fine = torch.tanh(torch.nn.functional.interpolate(rough, size=(side, side), mode="bilinear"))
    return inside * (0.9 + 0.45 * _smooth(1, 2, 999, side) + 0.27 * fine) - 1


def _real(images, name):
    known = torch.tensor([[0.0, 70.0, 1.0, math.nan]] * len(images))
    return RealImages(images, known, [f"{name}-{i:02d}" for i in range(len(images))], np.zeros(len(images)), 0)


def test_copies_drawn_less_finely_than_scans_are_found_by_their_lead_and_new_people_so_drawn_are_not(tmp_path):
    train, test = _real(_alike(40, 1), "train"), _real(_alike(40, 2), "test")
    pooled = nn.AvgPool2d(8)
    memory = Memorisation(
        COVARIATES, {"train": train, "test": test}, lambda x: pooled(x).flatten(1).double().numpy(),
        SubjectResampler(train.subjects + test.subjects, 20), StageCache(tmp_path), 8,
    )  # fmt: skip
    grain = 0.2 * torch.randn(24, 1, 32, 32, generator=torch.Generator().manual_seed(5)) * (train.images[:1] > -0.9)
    drawn = {name: memory.nearness(images + grain, train.covariates[:24])
             for name, images in (("copies", train.images[:24]), ("new", _alike(24, 3)))}  # fmt: skip
    copies = {name: {by: int(hit.sum()) for by, hit in memory.copies(one).items()} for name, one in drawn.items()}
    assert copies["copies"]["lead"] >= 22 > 6 >= copies["copies"]["pixels"]
    assert copies["new"]["either"] == 0


def test_where_nobody_looked_the_report_says_so_and_shows_nothing(tmp_path):
    world = textured((30, 12, 16), simulated=False)
    settings = SMALL | {"judge": FeatureClassifier(epochs=1, amp=False), "ventricles": False, "memorisation": False}
    metrics = evaluation(world, PlantedSampler("copying", world.sets["train"]), tmp_path, **settings).run()
    assert metrics["memorisation"] is None
    assert metrics["generated"][0]["originality"] is None
    (box,) = verdict.box(metrics)
    assert "Nobody looked for copies of training images" in box
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert box in text
    assert "None is shown: nobody looked for copies of training images" in text
    assert text.count("Nobody looked for copies") >= 4  # box, card, summary, section, limits
    assert "SYNTHETIC." not in text
    assert "Nobody looked for copies" in (tmp_path / "report_private.html").read_text(encoding="utf-8")
    jsonschema.validate(metrics, METRICS_SCHEMA)
    assert "not planted" not in background.limits(metrics)


def test_an_original_generator_is_not_accused_and_the_recall_stands_beside(tmp_path):
    world = World(subjects=(30, 12, 16))
    judge = FeatureClassifier(epochs=1, amp=False)
    metrics = evaluation(world, PlantedSampler("faithful"), tmp_path, judge=judge, **SMALL).run()
    found, memory = metrics["generated"][0]["originality"], metrics["memorisation"]
    assert found["near_copies"] == found["copied_subjects"] == 0
    assert found["fraction"]["low"] == 0 < found["fraction"]["high"] < 0.4  # 16 people asked for, none copied
    assert found["copied_fraction"] == {
        "value": 0.0,
        "low": None,
        "high": None,
    }  # of whom was not seen, nothing is known
    assert found["by_chance"] == 1.0
    assert memory["false_alarms"]["images"] == 48
    kinds = {kind["kind"]: kind for kind in memory["kinds"]}
    assert kinds["exact"]["recall"]["value"] == kinds["mirrored"]["recall"]["value"] == 1.0
    assert kinds["exact"]["false_alarms"] is None
    assert all(kind["false_alarms"]["value"] <= 0.2 for name, kind in kinds.items() if name != "exact")
    assert memory["recall"]["value"] == pytest.approx(np.mean([kind["recall"]["value"] for kind in memory["kinds"]]))
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "No copies found among 16 images by a detector of recall" in text
    assert "Planted copies" in text
    assert f"{memory['false_alarms']['alarms']} of 48 held-out images as they are were called copies" in text
    assert "Subjects are those seen copied among so many images" in text
    assert memory["membership"] is None


def _figure(value, low=None, high=None):
    return {"value": value, "low": low, "high": high}


def _memory(recall, least, own_hand=0.9, weakest="blurred"):
    kinds = [{"kind": "exact", "recall": _figure(1.0)}, {"kind": weakest, "recall": _figure(least)}]
    return {"recall": _figure(recall), "redrawn": own_hand and {"recall": _figure(own_hand)}, "kinds": kinds}


def _found(copies=0, pixels=(0.0, -0.02, 0.02), lead=(-0.01, -0.03, 0.01)):
    return {"images": 384, "near_copies": copies, "copied_subjects": 3, "training_subjects": 129,
            "near": {"pixels": {"excess": _figure(*pixels)}, "lead": {"excess": _figure(*lead)}}}  # fmt: skip


def test_words_say_no_more_than_the_recall_allows():
    said, mark = originality.originality_words(_found(), _memory(0.93, 0.81))
    assert said == "No copies found among 384 images by a detector of recall 93 % (least, 81 %: blurred)."
    assert mark == "good"
    assert "too low to say much" in originality.originality_words(_found(), _memory(0.4, 0.1))[0]
    for near in ({"pixels": (0.12, 0.05, 0.2)}, {"lead": (0.12, 0.05, 0.2)}):
        more = originality.originality_words(_found(**near), _memory(0.93, 0.81))
        assert more[1] == "warn"
        assert "12 % more of them than of held-out people" in more[0]
    own = originality.originality_words(_found(), _memory(0.93, 0.3, 0.4, "redrawn 0.5"))
    assert "least, 30 %: in the generator's own hand: drawn again by it from under noise of 0.5" in own[0]
    assert own[0].endswith("Of copies in the generator's own hand it finds 40 %: most would be missed.")
    assert own[1] == "warn"
    without = originality.originality_words(_found(), _memory(0.93, 1.0, None))
    assert without[0].endswith("recall 93 %. Copies in the generator's own hand were not planted.")
    copied = originality.originality_words(_found(copies=5), _memory(1.0, 1.0))
    assert copied == ("5 of 384 images are near copies of a training image, of 3 of 129 training subjects.", "bad")
    alarms = {"false_alarms": {"alarms": 2, "images": 325}}
    said, mark = originality.originality_words(_found(copies=2) | {"by_chance": 0.6}, _memory(1.0, 1.0) | alarms)
    assert said.startswith("2 of 384 images may be copies: they are nearer to a training image, of 3 of 129 training")
    assert "So are 2 of 325 held-out images" in said
    assert "look at the private report" in said
    assert mark == "warn"
    assert "generate more" not in said
    for few in ({"near_copies": 2}, {"near_copies": 5}):
        found = _found() | {"by_chance": 0.46, "beyond_doubt": 2} | few
        said, mark = originality.originality_words(found, _memory(1.0, 1.0) | alarms)
        assert said.startswith("2 of 384 images are copies of a training image beyond doubt")
        assert said.endswith("3 more may be copies, or false alarms.") == (few["near_copies"] == 5)
        assert mark == "bad"
    nobody = {"false_alarms": {"alarms": 0, "images": 0}}
    assert originality.originality_words(_found(copies=2) | {"by_chance": 1.0}, _memory(1.0, 1.0) | nobody)[1] == "bad"
    sure = originality.originality_words(_found(copies=9) | {"by_chance": 0.02}, _memory(1.0, 1.0) | alarms)
    assert sure[1] == "bad"


@pytest.mark.parametrize(("copies", "by_chance", "warned"), [(2, 0.6, True), (9, 0.01, True), (0, 1.0, False)])
def test_doubtful_copies_stand_among_the_warnings(copies, by_chance, warned):
    memory = _memory(0.4, 0.1) | {"false_alarms": {"alarms": 2, "images": 325}}
    row = {"originality": _found(copies=copies) | {"by_chance": by_chance}}
    assert (verdict.copies({"memorisation": memory}, row) is not None) == warned


def test_five_in_a_hundred_exact_copies_are_beyond_doubt_and_people_are_counted_not_images(tmp_path):
    train, test = _real(_smooth(60, 2, 1), "train"), _real(_smooth(24, 2, 2), "test")
    pooled = nn.AvgPool2d(3)
    memory = Memorisation(
        COVARIATES, {"train": train, "test": test}, lambda x: pooled(x).flatten(1).double().numpy(),
        SubjectResampler(train.subjects + test.subjects, 20), StageCache(tmp_path), 8,
    )  # fmt: skip
    images = torch.cat([train.images[:2], _smooth(38, 2, 3)])
    asked = [f"test-{i // 2:02d}" for i in range(40)]  # pairs: both copies are of one profile
    found = memory.figures(memory.nearness(images, train.covariates[:40]), asked)
    assert found["beyond_doubt"] == 2 <= found["near_copies"]
    assert found["near_copies"] == 2
    assert memory.alarms == {"alarms": 0, "images": 24, "accused": 0, "people": 24}
    assert found["by_chance"] == pytest.approx(20 / 44)  # 1 of 20 profiles against none of 24 people
    said, mark = originality.originality_words(found, {"false_alarms": memory.alarms})
    assert "2 of 40 images are copies of a training image beyond doubt" in said
    assert mark == "bad"
    new = memory.figures(memory.nearness(_smooth(40, 2, 4), train.covariates[:40]), asked)
    assert new["beyond_doubt"] == 0
    far = memory.nearness(_smooth(40, 2, 4), train.covariates[:40])
    far.z["lead"][:] = 100.0
    by_lead = memory.figures(far, asked)
    assert (by_lead["near_copies"], by_lead["beyond_doubt"]) == (40, 0)


@pytest.mark.parametrize(("parameters", "said"), [(0, "whole range of intensities"), (5, "the codec's latents")])
def test_noise_is_explained_in_what_it_is_added_to(parameters, said):
    assert said in originality._own_hand({"cost": {"codec_parameters": parameters}})


def test_words_of_membership():
    assert originality.membership_words({"auc_subject": _figure(0.53, 0.45, 0.61)})[1] == "good"
    said, mark = originality.membership_words({"auc_subject": _figure(0.68, 0.49, 0.85)})
    assert said.startswith("This test does not show that the model knows its training people")
    assert "up to 0.85 is not excluded: hold out more subjects" in said
    assert mark == "warn"
    assert originality.membership_words({"auc_subject": _figure(None)})[1] == "warn"
    said, mark = originality.membership_words({"same_sites": False, "auc_subject": _figure(0.74, 0.68, 0.8)})
    assert said.startswith("Not judged: held-out people were scanned at other sites")
    assert mark == "warn"
    assert originality.membership_words({"auc_subject": _figure(0.6, 0.55, 0.65)})[1] == "warn"
    said, mark = originality.membership_words({"auc_subject": _figure(0.9, 0.8, 0.95)})
    assert said.endswith("can be guessed.")
    assert mark == "bad"


class BestDenoiser(nn.Module):
    """What a network that learned its training images by heart computes: the mean of the images given the noisy one.

    For rectified flow, noisy = (1 - t) clean + t noise, so that the posterior over the training images is a softmax of
    -|noisy - (1 - t) image|² / 2 t² (Karras et al., arXiv 2206.00364, eq. 57), and the target is noise - clean.
    """

    covariates = COVARIATES

    def __init__(self, images):
        super().__init__()
        self.register_buffer("images", images)

    def forward(self, noisy, t, covariates=None, context=None, image=None):
        t = torch.as_tensor(t / 1000, dtype=torch.float32).expand(len(noisy))[:, None]
        flat, known = noisy.float().flatten(1), self.images.flatten(1)
        distance = torch.cdist(flat, torch.zeros(1, flat.shape[1])) ** 2
        distance = distance - 2 * (1 - t) * (flat @ known.T) + (1 - t) ** 2 * (known**2).sum(1)
        clean = (torch.softmax(-distance / (2 * t**2).clamp(min=1e-9), dim=1) @ known).reshape(noisy.shape)
        return (noisy - clean) / t.reshape(-1, *[1] * (noisy.ndim - 1)).clamp(min=1e-3)


class SmallNetwork(nn.Module):
    """A perceptron that predicts the clean image from the noisy one and its time."""

    covariates = COVARIATES

    def __init__(self, pixels, width=256):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(pixels + 2, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, pixels)
        )

    def forward(self, noisy, t, covariates=None, context=None, image=None):
        t = torch.as_tensor(t / 1000, dtype=torch.float32).expand(len(noisy))[:, None]
        clean = self.layers(torch.cat([noisy.flatten(1), t, torch.log(t.clamp(min=1e-3))], dim=1)).reshape(noisy.shape)
        return (noisy - clean) / t.reshape(-1, *[1] * (noisy.ndim - 1)).clamp(min=0.02)


def _overfitted(world, folder, network):
    judge = FeatureClassifier(epochs=1, amp=False)
    sampler = Sampler(solver="euler", steps=20, max_batch=32)
    settings = SMALL | {
        "membership": True,
        "redraw": True,
        "n_membership": 16,
        "n_planted": 16,
        "n_per_class": 16,
        "ventricles": False,
    }
    made = evaluation(world, sampler, folder, network=network, judge=judge, **settings)
    made.process = RectifiedFlow()
    return made.run()


@pytest.fixture(scope="module")
def sixteen():
    return textured((16, 8, 16))


def _caught(metrics, folder, least):
    found, memory = metrics["generated"][0]["originality"], metrics["memorisation"]
    assert found["near_copies"] >= least
    assert found["training_subjects"] == 16
    assert memory["membership"]["auc"]["low"] > 0.9
    assert memory["membership"]["loss_ratio"]["high"] < 0.9
    text = (folder / "report.html").read_text(encoding="utf-8")
    (box,) = verdict.box(metrics)
    assert box in text
    assert "who took part can be guessed" in box
    assert f"{found['near_copies']} of 32 images are near copies" in box
    assert memory["redrawn"]["noise"] == list(NOISE)
    assert memory["redrawn"]["recall"]["value"] > 0.5
    assert "in the generator&#x27;s own hand" in text or "in the generator's own hand" in text


def test_a_model_that_knows_sixteen_images_by_heart_is_caught(sixteen, tmp_path):
    _caught(_overfitted(sixteen, tmp_path, BestDenoiser(sixteen.sets["train"].images.float())), tmp_path, 30)


@pytest.mark.slow
def test_a_network_trained_until_it_overfits_sixteen_images_is_caught(sixteen, tmp_path):
    images, process = sixteen.sets["train"].images.float(), RectifiedFlow()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = SmallNetwork(images[0].numel())
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    random = torch.Generator().manual_seed(0)
    for _ in range(300):
        clean = images[torch.randint(16, (48,), generator=random)]
        noise = torch.randn(clean.shape, generator=random)
        t = 0.02 + 0.98 * torch.rand(48, generator=random)
        loss = ((network(process.corrupt(clean, noise, t), 1000 * t) - (noise - clean)) ** 2).flatten(1).mean(1)
        optimizer.zero_grad()
        (loss * t**2).mean().backward()
        optimizer.step()
    _caught(_overfitted(sixteen, tmp_path, network.eval()), tmp_path, 16)


def test_losses_are_those_of_fixed_times_and_noise():
    class Half(nn.Module):
        def forward(self, noisy, t, covariates=None):
            return 0.5 * noisy

    process, images = RectifiedFlow(), torch.rand(3, 1, 8, 8) * 2 - 1
    found = denoising_losses(Half(), process, images, torch.zeros(3, 4), draws=5, seed=7, batch_size=2)
    times, noise = fixed_times(process, range(5), 7), fixed_noise((1, 8, 8), range(5), 7)
    for draw, t in enumerate(times.tolist()):
        noisy = (1 - t) * images + t * noise[draw]
        expected = ((noise[draw] - images - 0.5 * noisy) ** 2).mean((1, 2, 3))
        np.testing.assert_allclose(found[:, draw], expected, rtol=1e-4)


class Coarse(nn.Module):
    """A codec whose latent has half the resolution."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def latent_shape(self, shape):
        return (shape[0], *(side // 2 for side in shape[1:]))

    def encode(self, image):
        pool = nn.functional.avg_pool2d if image.ndim == 4 else nn.functional.avg_pool3d
        return pool(image, 2)

    def decode(self, latent):
        return nn.functional.interpolate(latent, scale_factor=2).detach()


@pytest.mark.parametrize("dims", [2, 3])
def test_volumes_and_latent_models_have_their_controls(tmp_path, dims):
    splits = {"train": _real(_smooth(24, dims, 1), "train"), "test": _real(_smooth(20, dims, 2), "test")}
    everyone = splits["train"].subjects + splits["test"].subjects
    cache = StageCache(tmp_path)
    codec, sampler = Coarse(), Sampler(solver="euler", steps=10)
    drawn = Redrawn(BestDenoiser(codec.encode(splits["test"].images)), RectifiedFlow(), sampler, cache, "a", 1.0, codec)
    memory = Memorisation(
        COVARIATES, splits, lambda x: x.flatten(1).double().numpy(), SubjectResampler(everyone, 50), cache, 8,
        codec=codec, redrawn=drawn,
    )  # fmt: skip
    controls, planted = memory.controls()
    recall = {kind["kind"]: kind["recall"]["value"] for kind in controls["kinds"]}
    assert "decoded" in recall
    # a model that knows held-out people alone turns everybody into one of them: no copy of a training image is left
    own_hand = {f"redrawn {sd:g}": recall.pop(f"redrawn {sd:g}") for sd in NOISE}
    assert set(own_hand.values()) == {0.0}
    assert controls["redrawn"]["recall"]["value"] == 0.0
    assert {kind: value for kind, value in recall.items() if value < 1} == {}
    assert len(planted["planted copies"]["pixels"]) == 8 * len(recall)
    assert len(planted["redrawn copies"]["lead"]) == 8 * len(NOISE)
    test = splits["test"]
    new = memory.nearness(_smooth(20, dims, 3), test.covariates)
    assert memory.figures(new, test.subjects)["near_copies"] == 0
    half = torch.cat([splits["train"].images[:10], _smooth(10, dims, 4)])
    found = memory.figures(memory.nearness(half, test.covariates), test.subjects)
    assert (found["near_copies"], found["copied_subjects"]) == (10, 10)
    assert found["fraction"]["value"] == 0.5
    assert found["fraction"]["low"] < 0.5 < found["fraction"]["high"]
    files = len(list(tmp_path.iterdir()))
    again = Memorisation(
        COVARIATES, splits, lambda x: x.flatten(1).double().numpy(), SubjectResampler(everyone, 50), cache, 8
    )
    assert json.dumps(again.figures(again.nearness(half, test.covariates), test.subjects)) == json.dumps(found)
    assert len(list(tmp_path.iterdir())) == files  # everything was read, nothing made anew


def test_too_few_to_say_anything_is_refused(tmp_path):
    world = SimpleNamespace(cohort=None, sets={"train": None, "validation": None, "test": None})
    for name in ("n_planted", "n_membership"):
        with pytest.raises(ValueError, match=f"{name}: expected 8 or more, found 3"):
            evaluation(world, PlantedSampler(), tmp_path, **{name: 3})
