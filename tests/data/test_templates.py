"""Templates: grids, masks, files."""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.utils import OptionalImportError

from medgen.data.templates import mni152, open_template


def test_mni152_is_a_brain_on_an_empty_background() -> None:
    pytest.importorskip("nilearn", reason="nilearn carries the MNI152 template")
    template = mni152()
    assert template.image.shape == template.mask.shape == (1, 197, 233, 189)
    assert float(template.mask.sum()) / 1000.0 == pytest.approx(1886.5, abs=1.0)  # ml
    assert torch.equal(template.image > 0, (template.mask > 0) & (template.image > 0))
    coarse = mni152(3.0)
    assert torch.allclose(coarse.image.pixdim, torch.full((3,), 3.0, dtype=torch.float64))
    assert float(coarse.mask.sum()) * 27.0 / 1000.0 == pytest.approx(1886.5, rel=0.01)
    corner = np.asarray(template.image.affine) @ [-0.5, -0.5, -0.5, 1.0]
    assert np.asarray(coarse.image.affine) @ [-0.5, -0.5, -0.5, 1.0] == pytest.approx(corner)
    assert mni152(3.0) is coarse


def test_a_file_is_a_template(tmp_path: Path) -> None:
    brain = np.zeros((20, 20, 20), dtype=np.float32)
    brain[5:15, 5:15, 5:15] = 1.0
    brain[9, 9, 9] = 0.0  # a hole is brain too
    nibabel.save(nibabel.Nifti1Image(brain, np.eye(4)), tmp_path / "brain.nii.gz")
    template = open_template(tmp_path / "brain.nii.gz")
    assert (template.name, float(template.mask.sum())) == ("brain.nii.gz", 1000.0)
    assert open_template(template) is template
    assert open_template(template, 2.0).image.shape == (1, 10, 10, 10)


def test_what_is_no_template_is_refused() -> None:
    with pytest.raises(ValueError, match="100% of it is above 0, expected a brain without skull"):
        open_template(MetaTensor(torch.ones(1, 8, 8, 8)))
    with pytest.raises(ValueError, match=r"shape \(2, 8, 8\), expected \(1, X, Y\)"):
        open_template(torch.ones(2, 8, 8))
    with pytest.raises(ValueError, match="spacing is 0"):
        open_template(MetaTensor(torch.nn.functional.pad(torch.ones(1, 4, 4), (2, 2, 2, 2))), 0.0)


def test_says_what_to_install_without_nilearn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nilearn.datasets", None)
    mni152.cache_clear()
    with pytest.raises(OptionalImportError, match=r'MNI152 template needs nilearn: pip install "medgen\[preprocess\]"'):
        open_template("mni152")
