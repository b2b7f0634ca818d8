"""Brain masks: the template's brought to a head, and supplied ones brought to the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from phantom import phantom

from medgen.transforms import BrainMask, BrainMaskd, RegisterToTemplate, RegisterToTemplated


def dice(one: Any, other: Any) -> float:
    a, b = (torch.as_tensor(np.asarray(x)) > 0.5 for x in (one, other))
    return float(2.0 * (a & b).sum() / (a.sum() + b.sum()))


def test_template_mask_covers_a_simulated_brain(known_head: Any) -> None:
    registered = RegisterToTemplate(resample=False)(known_head.image)
    native = BrainMask()(registered)
    assert native.shape == known_head.image.shape
    assert dice(native, known_head.brain) > 0.92
    assert torch.equal(native, BrainMask()(known_head.image))  # registers what is not registered


@pytest.mark.parametrize("mode", ["affine", "rigid"])
def test_template_mask_in_template_space(known_head: Any, mode: str) -> None:
    register = RegisterToTemplated(["image", "brain"], spacing=2.0, mode=mode, interpolation=["linear", "nearest"])
    done = BrainMaskd("image")(register({"image": known_head.image, "brain": known_head.brain}))
    assert dice(done["brain_mask"], done["brain"]) > 0.92
    back = register.transform.inverse(done["image"])
    assert dice(BrainMask()(back), known_head.brain) > 0.92


def test_supplied_file_on_another_grid_is_carried_along(tmp_path: Path) -> None:
    """As FreeSurfer's brainmask.mgz: intensities in the brain, another orientation and spacing, native space."""
    image, other = phantom(3), phantom(3, spacing=4.0)
    brain = other.numpy()[0]
    turned = nibabel.Nifti1Image(brain, np.asarray(other.affine)).as_reoriented(
        np.array([[0.0, -1.0], [2.0, 1.0], [1.0, 1.0]])
    )
    nibabel.save(nibabel.MGHImage(turned.get_fdata(dtype=np.float32), turned.affine), tmp_path / "brainmask.mgz")
    mask = BrainMask(tmp_path / "brainmask.mgz")
    assert dice(mask(image), image > 0) > 0.97
    registered = RegisterToTemplate(phantom(3), spacing=4.0, interpolation="linear")(image)
    assert dice(mask(registered), registered > 30.0) > 0.95
    done = BrainMaskd("image", source_key="path")({"image": registered, "path": str(tmp_path / "brainmask.mgz")})
    assert dice(done["brain_mask"], registered > 30.0) > 0.95


def test_spaces_are_told_apart() -> None:
    image = phantom(3)
    with pytest.raises(ValueError, match="in template space, but the image has not been registered"):
        BrainMask(image, space="template")(image)
    far = image.clone()
    far.affine[:3, 3] += 1000.0
    with pytest.raises(ValueError, match="does not meet the image"):
        BrainMask(far)(image)
    with pytest.raises(ValueError, match="2 spatial dimensions, expected the image's 3"):
        BrainMask(phantom(2))(image)
    with pytest.raises(ValueError, match=r"expected one image for the mask 'brain_mask'"):
        BrainMaskd(["a", "b"])
    with pytest.raises(ValueError, match="space is 'mni'"):
        BrainMask(space="mni")
