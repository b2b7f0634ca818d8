import json

import numpy as np
import pydicom
import pytest

from medgen.dicom import verify
from medgen.dicom.instances import write_instances
from medgen.dicom.synthetic import synthetic_instances, write_synthetic

IMAGE = np.linspace(-1.2, 1.2, 96 * 80 * 3).reshape(96, 80, 3)
MADE = {
    "covariates": {"diagnosis": "AD", "age": 73.4, "sex": "F"},
    "generation": {"seed": 7, "solver": "ddim", "steps": np.int64(50), "guidance": 1.5},
    "model_sha256": "ab" * 32,
}


def test_every_instance_says_what_it_is(tmp_path):
    paths = write_synthetic(IMAGE, np.diag([1, 1, 3, 1]), tmp_path, subject="0001", description="axial", **MADE)
    assert [path.name for path in paths] == ["image_0001.dcm", "image_0002.dcm", "image_0003.dcm"]
    for path in paths:
        dataset = pydicom.dcmread(path)
        assert dataset.SyntheticData == "YES"
        assert list(dataset.ImageType) == ["DERIVED", "SECONDARY", "OTHER"]
        (equipment,) = dataset.ContributingEquipmentSequence
        (purpose,) = equipment.PurposeOfReferenceCodeSequence
        assert (purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning) == verify.SYNTHESIZING
        assert "ab" * 32 in equipment.ContributionDescription
        assert dataset.Manufacturer == equipment.Manufacturer == "medgen"
        assert dataset.SoftwareVersions == equipment.SoftwareVersions
        assert (str(dataset.PatientName), dataset.PatientID) == ("SYNTHETIC^0001", "SYN-0001")
        assert (dataset.PatientAge, dataset.PatientSex) == ("073Y", "F")
        assert dataset.PatientBirthDate == dataset.AccessionNumber == dataset.ReferringPhysicianName == ""
        assert dataset.SeriesDescription == "SYNTHETIC axial"
        assert dataset.BurnedInAnnotation == "YES"
        assert dataset.preamble == bytes(128)
        record = json.loads(dataset.DerivationDescription.partition(": ")[2])
        assert record == {
            "model_sha256": "ab" * 32,
            "covariates": MADE["covariates"],
            "seed": 7,
            "solver": "ddim",
            "steps": 50,
            "guidance": 1.5,
        }


def test_uids_are_new_each_time():
    uids = [
        dataset[keyword].value
        for _ in range(2)
        for dataset in synthetic_instances(IMAGE, np.eye(4))[:1]
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
    ]
    assert len(set(uids)) == 8
    assert all(uid.startswith("2.25.") for uid in uids)


def test_the_notice_is_in_the_pixels_and_nowhere_else():
    marked = synthetic_instances(IMAGE, np.eye(4))
    plain = synthetic_instances(IMAGE, np.eye(4), burned_in=False)
    assert {dataset.BurnedInAnnotation for dataset in plain} == {"NO"}
    for one, other in zip(marked, plain, strict=True):
        rows = np.flatnonzero(
            (np.frombuffer(one.PixelData, "<u2") != np.frombuffer(other.PixelData, "<u2")).reshape(80, 96).any(1)
        )
        assert rows.min() > 50
        assert rows.max() == 79


def test_intensities_are_kept_to_half_a_step_and_cut_off_at_the_ends():
    found = np.stack(
        [np.frombuffer(d.PixelData, "<u2") for d in synthetic_instances(IMAGE, np.eye(4), burned_in=False)]
    )
    found = found.reshape(3, 80, 96)[:, ::-1, ::-1].transpose(2, 1, 0) / 4095 * 2 - 1
    assert np.abs(found - IMAGE.clip(-1, 1)).max() <= 1 / 4095 + 1e-9


@pytest.mark.parametrize("size", [40, 64, 100, 256, 600])
def test_the_notice_fits_slices_of_any_size(size):
    found = synthetic_instances(np.full((size, size, 1), -1.0), np.eye(4))[0]
    letters = np.frombuffer(found.PixelData, "<u2").reshape(size, size)
    assert letters.max() > 3000
    assert not letters[: size // 2].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros((8, 8, 1))}, "image: slices of 8 x 8 pixels are too small .* burned_in=False"),
        ({"image": np.zeros((3, 8, 8, 8))}, "expected .* one channel"),
        ({"image": np.full((64, 64, 1), np.nan)}, "4096 values that are not finite"),
        ({"subject": "Doe^Jane"}, "subject is 'Doe\\^Jane'"),
        ({"value_range": (1, 1)}, "value_range: expected low < high"),
        ({"description": "x" * 60}, "description: makes a text of 70 characters, of which 64"),
        ({"generation": {"note": "x" * 1200}}, "generation: makes a text of"),
        ({"covariates": {"age": -5}}, "years: found -5"),
    ],
)
def test_what_cannot_be_written_is_named(change, message):
    arguments = {"image": IMAGE} | change
    with pytest.raises(ValueError, match=message):
        synthetic_instances(arguments.pop("image"), np.eye(4), **arguments)


@pytest.mark.parametrize(
    "parameter",
    ["SyntheticData", "ImageType", "Manufacturer", "PatientName", "SeriesDescription", "BurnedInAnnotation"],
)
def test_parameters_cannot_unsay_a_mark(parameter):
    found = synthetic_instances(IMAGE, np.eye(4), generation={parameter: "NO"}, covariates={parameter: "ORIGINAL"})[0]
    verify.check_synthetic(found)


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (lambda d: d.pop("SyntheticData"), "Synthetic Data .* must be YES, found nothing"),
        (lambda d: setattr(d, "SyntheticData", "NO"), "must be YES"),
        (lambda d: setattr(d, "ImageType", ["ORIGINAL", "PRIMARY"]), "Image Type must be DERIVED"),
        (lambda d: setattr(d, "PatientName", "Doe^Jane"), "PatientName must be SYNTHETIC"),
        (lambda d: setattr(d, "PatientID", "12345"), "PatientID must be SYN-"),
        (lambda d: setattr(d, "PatientBirthDate", "19500101"), "PatientBirthDate must be nothing"),
        (lambda d: setattr(d, "AccessionNumber", "1"), "AccessionNumber must be nothing"),
        (lambda d: setattr(d, "SeriesDescription", "MPRAGE"), "SeriesDescription must be SYNTHETIC"),
        (lambda d: setattr(d, "Manufacturer", "Other"), "Manufacturer must be medgen"),
        (lambda d: d.pop("ContributingEquipmentSequence"), "Contributing Equipment Sequence must be"),
        (lambda d: d.pop("BurnedInAnnotation"), "Burned In Annotation must be YES or NO"),
    ],
)
def test_a_missing_mark_is_found_and_the_file_removed(tmp_path, tamper, message):
    instances = synthetic_instances(IMAGE, np.eye(4))[:1]
    tamper(instances[0])
    paths = write_instances(instances, tmp_path)
    with pytest.raises(verify.MarkError, match=message):
        verify.check_written(paths, instances, verify.check_synthetic)
    assert not paths[0].exists()


def test_a_file_that_is_not_what_was_written_is_found(tmp_path):
    instances = synthetic_instances(IMAGE, np.eye(4))[:1]
    (path,) = write_instances(instances, tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(verify.MarkError, match="content must be what was written"):
        verify.check_written([path], instances, verify.check_synthetic)
    (path,) = write_instances(instances, tmp_path)
    path.write_bytes(b"II*\0" + content[4:])
    with pytest.raises(verify.MarkError, match="preamble must be 128 zero bytes"):
        verify.check_written([path], instances, verify.check_synthetic)
