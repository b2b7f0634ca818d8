"""Correlation at the best shift agrees with a loop, and copies are found however they were moved."""

import itertools

import numpy as np
import pytest
import torch

from medgen.metrics import ALTERATIONS, AlignedSearch, Places, altered, shifted_correlation
from medgen.metrics.poses import poses, transformed


def heads(count, side, dims, seed=0):
    """Smooth blobs (N, 1, *spatial) in [-1, 1] with background around them, each of its own texture."""
    random = torch.Generator().manual_seed(seed)
    rough = torch.randn(count, 1, *(side // 3,) * dims, generator=random)
    mode = "bicubic" if dims == 2 else "trilinear"
    texture = torch.nn.functional.interpolate(rough, size=(side,) * dims, mode=mode, align_corners=False)
    axes = torch.linspace(-1, 1, side)
    radius = sum(grid**2 for grid in torch.meshgrid(*(axes,) * dims, indexing="ij")) ** 0.5
    inside = torch.sigmoid(20 * (0.75 - radius))
    return (inside * (1 + 0.35 * texture) - 1).clamp(-1, 1)


def _overlap(shift, shape):
    one = tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(shift, shape, strict=True))
    other = tuple(slice(max(0, s), n - max(0, -s)) for s, n in zip(shift, shape, strict=True))
    return (..., *one), (..., *other)


@pytest.mark.parametrize(("shape", "reach"), [((2, 13, 10), (3, 2)), ((1, 7, 8, 6), (2, 1, 1))])
def test_correlation_at_the_best_shift_is_that_of_a_loop_over_overlaps(shape, reach):
    random = torch.Generator().manual_seed(0)
    a, b = torch.rand(3, *shape, generator=random) + 5, torch.rand(2, *shape, generator=random)
    expected = np.full((3, 2), -1.0)
    for shift in itertools.product(*(range(-r, r + 1) for r in reach)):
        one, other = _overlap(shift, shape[1:])
        for i, j in itertools.product(range(3), range(2)):
            r = np.corrcoef(a[i][one].flatten().numpy(), b[j][other].flatten().numpy())[0, 1]
            expected[i, j] = max(expected[i, j], r)
    np.testing.assert_allclose(shifted_correlation(a, b, reach).numpy(), expected, atol=1e-5)


def test_an_image_of_one_colour_correlates_with_none():
    images = heads(2, 16, 2)
    assert shifted_correlation(torch.zeros(1, 1, 16, 16), images, (1, 1)).tolist() == [[0.0, 0.0]]
    with pytest.raises(ValueError, match="less than half of 16 pixels, found 9"):
        shifted_correlation(images, images, (9, 0))


@pytest.mark.parametrize("dims", [2, 3])
def test_poses_hold_the_image_and_its_mirror(dims):
    images = heads(2, 18, dims)
    made = poses(images, (-5.0, 5.0))
    assert made.shape[:2] == (2, 2 * (1 + 2 * (1 if dims == 2 else 3)))
    assert torch.equal(made[:, 0], images)
    left_right = -1 if dims == 2 else 2
    torch.testing.assert_close(made[:, made.shape[1] // 2], images.flip(left_right), atol=1e-5, rtol=0)
    turned = transformed(images, torch.tensor([[180.0] * 1 if dims == 2 else [180.0, 0.0, 0.0]] * 2))
    torch.testing.assert_close(turned, images.flip((-1, -2)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", [kind for kind in ALTERATIONS if kind != "all"])
def test_every_planted_copy_is_found_and_is_nearer_than_any_other_person(dims, kind):
    side, people = (32, 40) if dims == 2 else (18, 16)
    training, others = heads(people, side, dims), heads(12, side, dims, seed=1)
    search = AlignedSearch(training.numpy(), [f"p{i:02d}" for i in range(people)])
    found = search.nearest(altered(training[::4], kind, seed=3).numpy(), k=2)
    assert found.rows[:, 0].tolist() == list(range(0, people, 4))
    strangers = search.nearest(others.numpy()).scores[:, 0]
    assert found.scores[:, 0].min() > strangers.max()
    assert (found.scores[:, 0] > found.scores[:, 1]).all()


def test_all_candidates_compared_agrees_with_comparing_everything():
    training, queries = heads(12, 24, 2), heads(5, 24, 2, seed=4)
    search = AlignedSearch(training.numpy(), [f"p{i}" for i in range(12)], candidates=12, degrees=(4.0,))
    found = search.nearest(queries.numpy(), k=3)
    turned = poses(queries, (4.0,))
    everything = shifted_correlation(turned.flatten(0, 1), training, search.reach).reshape(5, -1, 12).amax(1).numpy()
    np.testing.assert_allclose(found.scores, -np.sort(-everything, 1)[:, :3], atol=1e-6)
    np.testing.assert_array_equal(found.rows, np.argsort(-everything, 1)[:, :3])


def test_neighbours_are_of_the_place_but_a_copy_of_another_place_is_found():
    training = heads(24, 24, 2)
    where = np.stack([np.arange(24) % 2, np.linspace(0, 1, 24)], axis=1)
    places = Places(where, (0, 0.1))
    search = AlignedSearch(training.numpy(), [f"p{i:02d}" for i in range(24)], places, candidates=3, anywhere=0)
    queries = heads(6, 24, 2, seed=5)
    at = np.array([[0, 0.2], [1, 0.5], [0, 0.9], [1, np.nan], [np.nan, 0.3], [0, 5.0]])
    rows = search.nearest(queries.numpy(), at).rows[:, 0]
    assert [bool(places.near(at[i : i + 1])[0, row]) for i, row in enumerate(rows)] == [True] * 6
    assert places.near(at[5:]).sum() == 12  # no slice is near: all of the plane are compared
    with_anywhere = AlignedSearch(training.numpy(), [f"p{i:02d}" for i in range(24)], places, candidates=3)
    assert with_anywhere.nearest(training[:1].numpy(), np.array([[1, 0.9]])).rows[0, 0] == 0
    with pytest.raises(ValueError, match="places: expected those of the queries"):
        search.nearest(queries.numpy())


def test_subjects_are_listed_once_and_bad_input_is_named():
    training = heads(12, 24, 2)
    search = AlignedSearch(training.numpy(), [f"p{i // 4}" for i in range(12)])
    found = search.nearest(training[:2].numpy(), k=3)
    assert [sorted({row // 4 for row in rows}) for rows in found.rows.tolist()] == [[0, 1, 2]] * 2
    with pytest.raises(ValueError, match="subjects: expected one for each of 12"):
        AlignedSearch(training.numpy(), ["a"])
    with pytest.raises(ValueError, match="k: expected 1 to 3, found 4"):
        search.nearest(training[:2].numpy(), k=4)
    with pytest.raises(ValueError, match=r"queries: expected \(1, 24, 24\)"):
        search.nearest(heads(1, 20, 2).numpy())
    with pytest.raises(ValueError, match="kind: expected one of exact"):
        altered(training, "melted")
