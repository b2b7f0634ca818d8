"""A simulated whole head in a known pose, made once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from monai.data import MetaTensor


@dataclass(frozen=True)
class KnownHead:
    """A head with skull and scalp, and the truth about it."""

    image: MetaTensor
    brain: MetaTensor
    bias: torch.Tensor
    pose: np.ndarray
    to_template: np.ndarray
    landmarks: dict[str, tuple[float, float, float]]


@pytest.fixture(scope="session")
def known_head() -> KnownHead:
    pytest.importorskip("nilearn", reason="nilearn carries the template of the simulated head")
    from medgen.data.simulated_anatomy import Anatomy
    from medgen.data.simulated_head import draw_person, rigid_pose, sagittal_grid, simulate_head

    random = np.random.default_rng(5)
    pose = rigid_pose((14.0, -6.0, 9.0), (10.0, -15.0, 20.0))
    grid = sagittal_grid((2.0, 2.0, 2.0), degrees=(2.0, -3.0, 4.0))
    head = simulate_head(draw_person(random, 0.9, 0.8), Anatomy(40.0, 0.6, 0.9), random, grid, pose)
    affine = torch.from_numpy(head.affine)
    image, brain = (
        MetaTensor(torch.from_numpy(x.astype(np.float32))[None], affine=affine) for x in (head.intensity, head.brain)
    )
    return KnownHead(image, brain, torch.from_numpy(head.bias)[None], head.pose, head.to_template, head.landmarks)
