"""The feature classifier learns what is there, nothing where nothing is, and the same thing twice."""

import numpy as np
import pytest
import torch

from medgen.metrics import FeatureClassifier, FeatureRegressor, agreement, frechet_distance, roc_auc


def _spots(subjects, per_subject=3, seed=0, effect=5.0):
    """Images (N, 1, 32, 32) of a disc on background; class 1 has a larger dark spot, subjects differ."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32] - 15.5
    images, labels, names = [], [], []
    for i in range(subjects):
        label = i % 2
        radius = 5 + effect * label / 2 + random.normal(0, 0.8)
        for _ in range(per_subject):
            spot = np.hypot(y - random.normal(), x - random.normal()) < radius
            image = np.where(np.hypot(y, x) < 14, 0.6, -1.0)
            images.append(np.where(spot, -0.6, image) + random.normal(0, 0.05, (32, 32)))
            labels.append(label)
            names.append(f"{seed}-{i}")
    return torch.tensor(np.stack(images)[:, None], dtype=torch.float32).clamp(-1, 1), np.array(labels), names


def _fitted(labels_seed=None, **arguments):
    train, validation = _spots(48, seed=1), _spots(16, seed=2)
    if labels_seed is not None:
        shuffled = np.random.default_rng(labels_seed).permutation(np.arange(48) % 2)
        train = (train[0], np.repeat(shuffled, 3), train[2])
    classifier = FeatureClassifier(**({"epochs": 8, "batch_size": 32, "amp": False} | arguments))
    return classifier.fit(*train, *validation, others=torch.tensor(train[1] * 3.0)[:, None].float())


@pytest.fixture(scope="module")
def classifier():
    return _fitted()


def test_learns_a_planted_difference_that_holds_in_other_subjects(classifier):
    images, labels, _ = _spots(40, seed=3)
    assert roc_auc(labels, classifier.scores(images)) > 0.9
    probabilities = classifier.probabilities(images)
    assert ((probabilities > 0) & (probabilities < 1)).all()
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-classifier.scores(images))))


def test_is_at_chance_in_other_subjects_when_labels_mean_nothing():
    images, _, _ = _spots(40, seed=3, effect=0.0)
    labels = np.repeat(np.random.default_rng(5).permutation(np.arange(40) % 2), 3)
    assert abs(roc_auc(labels, _fitted(labels_seed=4, epochs=3).scores(images)) - 0.5) < 0.2


def test_features_are_standardised_and_see_blur_grain_and_contrast(classifier):
    images, other = _spots(48, seed=1)[0], _spots(40, seed=3)[0]
    features = classifier.features(images)
    assert features.dtype == np.float64
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-4)
    assert features.std(0).max() < 1.05
    floor = frechet_distance(classifier.features(other), features)
    grain = other + 0.25 * torch.randn(other.shape, generator=torch.Generator().manual_seed(0))
    for spoilt in (torch.nn.functional.avg_pool2d(other, 5, 1, 2), grain, 0.7 * (other + 1) - 1):
        assert frechet_distance(classifier.features(spoilt), features) > 2 * floor


def test_is_a_function_of_its_seed_and_leaves_global_randomness_alone(classifier):
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    again = _fitted()
    assert torch.equal(torch.random.get_rng_state(), before)
    images = _spots(6, seed=3)[0]
    np.testing.assert_array_equal(again.scores(images), classifier.scores(images))
    assert not np.allclose(_fitted(seed=1, epochs=2).scores(images), _fitted(seed=0, epochs=2).scores(images))


def test_scores_do_not_depend_on_the_company(classifier):
    images = _spots(20, seed=3)[0]
    np.testing.assert_allclose(classifier.scores(images)[:3], classifier.scores(images[:3]), atol=1e-5)


def test_saves_and_loads(classifier, tmp_path):
    path, images = tmp_path / "classifier.pt", _spots(6, seed=3)[0]
    classifier.save(path, "abc")
    assert path.stat().st_mode & 0o777 == 0o600
    assert "weights" in torch.load(path, weights_only=True)
    loaded = FeatureClassifier().load(path, "abc")
    np.testing.assert_array_equal(loaded.features(images), classifier.features(images))
    np.testing.assert_array_equal(loaded.scores(images), classifier.scores(images))
    with pytest.raises(ValueError, match="trained on abc, expected other"):
        FeatureClassifier().load(path, "other")


def test_refuses(classifier):
    images, labels, names = _spots(8)
    with pytest.raises(ValueError, match="call fit or load first"):
        FeatureClassifier().scores(images)
    with pytest.raises(ValueError, match=r"expected \(N, 1, 32, 32\), found \(24, 1, 32, 16\)"):
        classifier.scores(images[..., :16])
    with pytest.raises(ValueError, match="8 subjects are in both"):
        FeatureClassifier().fit(images, labels, names, images, labels, names)
    with pytest.raises(ValueError, match="training labels: expected both 0 and 1"):
        FeatureClassifier().fit(images, np.zeros(24), names, images, labels, names)


def test_says_why_nothing_can_be_learned():
    images, labels, names = _spots(8)
    others = [f"other {name}" for name in names]
    with pytest.raises(ValueError, match="training images: all 24 are the same; a feature classifier learns from what"):
        FeatureClassifier(epochs=1).fit(torch.zeros_like(images), labels, names, images, labels, others)
    numbers = np.linspace(60, 90, 24)
    with pytest.raises(ValueError, match=r"feature regressor diverged in epoch 1 .*learning rate .*found 1e\+30"):
        FeatureRegressor(epochs=3, learning_rate=1e30, amp=False).fit(images, numbers, names, images, numbers, others)


def _sized(subjects, seed):
    """Spots as above whose radius is the number to learn: 40 years at 5 pixels, 8 years a pixel."""
    images, _, names = _spots(subjects, seed=seed, effect=0.0)
    radii = (images[:, 0] < 0).float().mean((1, 2)) - (images[:, 0] < -0.8).float().mean((1, 2))
    return images, 40 + 8 * (np.sqrt(radii.numpy() * 1024 / np.pi) - 5), names


def test_the_regressor_learns_a_number_in_its_unit(tmp_path):
    train, validation, other = _sized(48, 1), _sized(16, 2), _sized(40, 3)
    settings = {"epochs": 12, "batch_size": 32, "amp": False}
    regressor = FeatureRegressor(**settings).fit(*train, *validation)
    predicted = regressor.scores(other[0])
    found = agreement(other[1], predicted, np.ones((1, len(predicted))))
    assert found["correlation"][0] > 0.8
    assert 0.4 < found["slope"][0] < 1.2
    assert abs(found["bias"][0]) < 3
    regressor.save(tmp_path / "regressor.pt", "abc")
    np.testing.assert_array_equal(FeatureRegressor().load(tmp_path / "regressor.pt", "abc").scores(other[0]), predicted)
    with pytest.raises(ValueError, match="training labels: expected two or more finite values"):
        FeatureRegressor().fit(train[0], np.full(len(train[0]), 70.0), train[2], *validation)
