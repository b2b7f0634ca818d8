"""What may be compared, and who is nearest."""

import tracemalloc

import numpy as np
import pytest

from medgen.metrics import IntensityRange, OneColourError, check_same_scale, nearest_neighbours
from medgen.metrics.checks import check_finite


def _brains(random, count=20):
    """Images in [-1, 1], background -1 on half of the pixels."""
    images = np.full((count, 1, 16, 16), -1.0)
    images[:, :, 4:12, 2:14] = random.uniform(-0.6, 1, (count, 1, 8, 12))
    return images


def test_refuses_sides_scaled_differently():
    random = np.random.default_rng(0)
    real, generated = _brains(random), _brains(random)
    assert check_same_scale(real, generated) == []
    with pytest.raises(ValueError, match="scaled differently: generated lies"):
        check_same_scale((generated + 1) / 2, real, ("generated", "real"))
    with pytest.raises(ValueError, match="scaled differently"):
        check_same_scale(real, (generated + 1) * 127.5)
    with pytest.raises(ValueError, match="1 of 5120 values"):
        check_same_scale(real, np.where(np.arange(5120).reshape(20, 1, 16, 16) == 7, np.nan, generated))


@pytest.mark.parametrize("colour", [-1.0, 0.0, 0.3])
def test_images_of_one_colour_are_refused_as_what_they_are(colour):
    flat, real = np.full((20, 1, 16, 16), colour), _brains(np.random.default_rng(0))
    flat[0, 0, 0, 0] = 1  # one pixel of 5,120 is no picture
    with pytest.raises(OneColourError, match=f"generated: nearly all pixels are of one colour, {colour:.3g}"):
        check_same_scale(flat, real, ("generated", "real"))


def test_a_poor_generator_on_the_right_scale_is_noticed_not_refused():
    random = np.random.default_rng(1)
    notices = check_same_scale(random.normal(0, 0.8, (20, 1, 16, 16)), _brains(random), ("generated", "real"))
    assert len(notices) == 1
    assert "generated lies in" in notices[0]


def test_finds_planted_copies():
    random = np.random.default_rng(2)
    references = random.standard_normal((30, 1, 8, 8))
    queries = 0.5 * references[[4, 17, 9]] + 3 + 0.01 * random.standard_normal((3, 1, 8, 8))
    found = nearest_neighbours(queries, references, k=2)
    assert found.rows[:, 0].tolist() == [4, 17, 9]
    assert (found.scores[:, 0] > 0.99).all()
    expected = [np.corrcoef(queries[0].ravel(), r.ravel())[0, 1] for r in references]
    assert found.scores[0, 0] == pytest.approx(max(expected))
    assert found.scores[0, 1] == pytest.approx(sorted(expected)[-2])


def test_euclidean_neighbours_agree_with_a_loop():
    random = np.random.default_rng(3)
    queries, references = random.standard_normal((40, 5)), random.standard_normal((25, 5))
    distances = np.linalg.norm(queries[:, None] - references, axis=2)
    found = nearest_neighbours(queries, references, k=3, kind="euclidean", block=7)
    np.testing.assert_allclose(found.scores, np.sort(distances, 1)[:, :3], atol=1e-9)
    np.testing.assert_array_equal(found.rows, np.argsort(distances, 1)[:, :3])


def test_each_subject_is_listed_once():
    random = np.random.default_rng(4)
    references = random.standard_normal((12, 5))
    references[1:4] = references[0] + 0.01 * random.standard_normal((3, 5))  # four slices of one brain
    subjects = ["a"] * 4 + [f"s{i // 2}" for i in range(8)]
    found = nearest_neighbours(references[:1], references, k=3, kind="euclidean", subjects=subjects)
    assert found.rows[0, 0] == 0
    assert len({subjects[i] for i in found.rows[0]}) == 3
    with pytest.raises(ValueError, match="expected 1 to 5"):
        nearest_neighbours(references[:1], references, k=6, subjects=subjects)


def test_refuses_unknown_kind():
    with pytest.raises(ValueError, match="'cosine'"):
        nearest_neighbours(np.ones((2, 3)), np.ones((2, 3)), kind="cosine")


def test_finite_values_are_checked_without_a_copy():
    images = np.zeros((40, 1, 64, 64), np.float16)
    tracemalloc.start()
    check_finite(images, "images")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < images.nbytes / 4
    images[3, 0, 1, 2] = np.inf
    with pytest.raises(ValueError, match="images: 1 of 163840 values are NaN or infinite"):
        check_finite(images, "images")


def test_a_range_stands_for_its_images():
    random = np.random.default_rng(0)
    a, b = random.uniform(-1, 1, (2, 5, 1, 8, 8))
    assert check_same_scale(a, IntensityRange.of(b)) == check_same_scale(a, b) == []
    with pytest.raises(ValueError, match="scaled differently"):
        check_same_scale(100 * a, IntensityRange.of(b))
