"""Everything that is written, checked by David Clunie's dciodvfy (Debian: dicom3tools)."""

import re
import shutil
import subprocess

import numpy as np
import pytest
from invented_patient import AFFINE, KEY, full_header, instances

from medgen.dicom.deidentify import deidentify
from medgen.dicom.derived import write_derived
from medgen.dicom.instances import write_instances
from medgen.dicom.segmentation import write_segmentation
from medgen.dicom.synthetic import synthetic_instances, write_synthetic

pytestmark = pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="dciodvfy is not installed: apt-get install dicom3tools"
)
# Debian 12's dicom3tools is of June 2022, before Synthetic Data (0008,001C) came into the standard
_NEWER = re.compile(
    r"Error - Attribute with an even group number is not a recognized standard attribute - \(0x0008,0x001c\)"
)
IMAGE = np.linspace(-1, 1, 96 * 80 * 3).reshape(96, 80, 3)


def errors(path):
    """Return the lines in which dciodvfy finds fault with a file."""
    report = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, timeout=60)
    lines = (report.stdout + report.stderr).splitlines()
    assert lines, "dciodvfy says at least what kind of object it is"
    return [line for line in lines if re.match(r"(Error|Abort)", line) and not _NEWER.match(line)]


def test_it_finds_what_is_wrong(tmp_path):
    dataset = instances(1)[0]
    del dataset.PixelSpacing
    dataset.ImageType = "ORIGINAL"
    (path,) = write_instances([dataset], tmp_path)
    assert len(errors(path)) >= 2


@pytest.mark.parametrize("slice_axis", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("burned_in", [True, False])
def test_synthetic_images(tmp_path, slice_axis, burned_in):
    made = {"covariates": {"diagnosis": "AD", "age": 73, "sex": "F"}, "model_sha256": "ab" * 32}
    image = np.zeros((64, 64, 64)) if slice_axis != "axial" else IMAGE
    for path in write_synthetic(image, AFFINE, tmp_path, slice_axis=slice_axis, burned_in=burned_in, **made)[:3]:
        assert errors(path) == []


@pytest.mark.parametrize("body_part", ["BRAIN", "KNEE"])
def test_without_covariates_and_of_another_part(tmp_path, body_part):
    assert errors(write_synthetic(IMAGE, np.eye(4), tmp_path, body_part=body_part)[0]) == []


@pytest.mark.parametrize("generated", [True, False])
@pytest.mark.parametrize("deidentified", [True, False])
def test_derived_images(tmp_path, generated, deidentified):
    options = {"generated": generated, "deidentified": deidentified, "key": KEY}
    for path in write_derived(IMAGE, AFFINE, instances(), tmp_path, **options):
        assert errors(path) == []


def test_plain_and_deidentified_instances(tmp_path):
    plain = instances(1)
    assert errors(write_instances(plain, tmp_path / "plain")[0]) == []
    assert errors(write_instances([deidentify(plain[0], KEY)], tmp_path / "without")[0]) == []
    mixed = deidentify(full_header(), KEY)
    del mixed.AnatomicRegionSequence  # its made-up content is no valid one to begin with
    mixed.pop("UID", None)
    assert errors(write_instances([mixed], tmp_path / "mixed")[0]) == []


def test_segmentations(tmp_path):
    pytest.importorskip("highdicom")
    mask = np.random.default_rng(0).integers(0, 3, IMAGE.shape)
    segments = {1: "Lateral ventricles", 2: "Hippocampus"}
    synthetic = synthetic_instances(IMAGE, AFFINE)
    assert errors(write_segmentation(mask, AFFINE, synthetic, segments, tmp_path / "one.dcm")) == []
    patient = write_segmentation(mask[:20, :24], AFFINE, instances(3), segments, tmp_path / "two.dcm", key=KEY)
    assert errors(patient) == []
