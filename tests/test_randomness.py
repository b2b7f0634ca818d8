from __future__ import annotations

import pytest
import torch

from medgen.randomness import generator, numpy_generator, seed_from


def test_every_element_and_the_order_matter():
    keys = [("a", 0, 1), ("a", 1, 0), ("b", 0, 1), ("a", 0), ("a", 0, 1, 0), ("a", "0", 1)]
    assert len({seed_from(*key) for key in keys}) == len(keys)


def test_the_seed_is_stable_across_processes_and_versions():
    assert seed_from("noise", 0, 7) == 9017471829429644497


def test_generators_repeat():
    assert torch.equal(torch.randn(5, generator=generator("x", 1)), torch.randn(5, generator=generator("x", 1)))
    assert numpy_generator("x", 1).random() == numpy_generator("x", 1).random()


def test_neighbouring_keys_are_uncorrelated():
    draws = torch.stack([torch.randn(200, generator=generator("noise", 0, i)) for i in range(50)])
    correlation = torch.corrcoef(draws) - torch.eye(50)
    assert correlation.abs().max() < 0.35


@pytest.mark.parametrize("element", [1.0, None, True, (1,)])
def test_other_types_are_refused(element):
    with pytest.raises(TypeError, match="random key"):
        seed_from("x", element)
