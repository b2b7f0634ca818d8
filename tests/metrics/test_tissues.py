"""Brain size and tissue fractions against drawings of known size."""

import numpy as np
import pytest

from medgen.metrics.tissues import tissue_measures


def _ball(shape, radius, tissues=(0.3, 0.7, 1.0), gain=0.8):
    """A ball whose core is fluid, then grey, then white, of equal thickness; and its true fractions."""
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    distance = np.sqrt(sum((axis - (n - 1) / 2) ** 2 for axis, n in zip(axes, shape, strict=True)))
    place = np.clip((distance / radius * 3).astype(int), 0, 2)
    image = np.where(distance < radius, gain * np.array(tissues)[place], 0)
    inside = distance < radius
    return (2 * image - 1)[None, None], inside.sum(), [float((place[inside] == i).mean()) for i in range(3)]


@pytest.mark.parametrize("shape", [(64, 60), (32, 30, 34)])
@pytest.mark.parametrize("gain", [0.5, 0.95])
def test_size_and_fractions_of_a_drawn_brain(shape, gain):
    image, count, fractions = _ball(shape, 0.42 * min(shape), gain=gain)
    found = tissue_measures(image, 2.0)
    assert found["brain"][0] == pytest.approx(count * 2.0 ** len(shape), rel=0.06)
    for name, fraction in zip(("fluid", "grey", "white"), fractions, strict=True):
        assert found[name][0] == pytest.approx(fraction, abs=0.04)
    assert found["fluid"] + found["grey"] + found["white"] == pytest.approx(1)


def test_without_a_brain_there_is_nothing_to_measure():
    found = tissue_measures(np.full((2, 1, 32, 32), -1.0))
    assert found["brain"].tolist() == [0, 0]
    assert np.isnan(found["grey"]).all()
    with pytest.raises(ValueError, match=r"expected .N, C, H, W. or .N, C, X, Y, Z., found"):
        tissue_measures(np.zeros((4, 4)))
    with pytest.raises(ValueError, match="pixel_mm: expected a positive size"):
        tissue_measures(np.zeros((1, 1, 8, 8)), 0)
