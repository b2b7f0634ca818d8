import numpy as np
import pydicom
import pytest
from invented_patient import AFFINE, KEY, forbidden, instances

from medgen.dicom.deidentify import mapped_uid
from medgen.dicom.derived import derived_instances
from medgen.dicom.instances import write_instances
from medgen.dicom.segmentation import Segment, segmentation_instance, write_segmentation
from medgen.dicom.synthetic import synthetic_instances

hd_seg = pytest.importorskip("highdicom.seg")
SEGMENTS = {1: "Lateral ventricles", 3: Segment("Hippocampus", algorithm=None)}


def labels(shape):
    return np.random.default_rng(0).choice([0, 1, 3], size=shape)


def test_another_library_reads_the_labels_on_the_sources_slices(tmp_path):
    image, affine = np.zeros((64, 48, 5)), np.diag([2.0, 1.5, 4.0, 1.0])
    sources = synthetic_instances(image, affine, burned_in=False)
    mask = labels(image.shape)
    path = write_segmentation(mask, affine, sources, SEGMENTS, tmp_path / "mask.dcm")
    read = hd_seg.segread(path)
    assert [read.get_segment_description(number).segment_label for number in (1, 2)] == [
        "Lateral ventricles",
        "Hippocampus",
    ]
    found = read.get_pixels_by_source_instance([dataset.SOPInstanceUID for dataset in sources])
    wanted = mask[::-1, ::-1].transpose(2, 1, 0)  # slices, rows to the back, columns to the left
    np.testing.assert_array_equal(found[..., 0], wanted == 1)
    np.testing.assert_array_equal(found[..., 1], wanted == 3)
    assert read.SyntheticData == "YES"
    assert read.SeriesDescription.startswith("SYNTHETIC")
    assert read.PatientID == sources[0].PatientID


def test_a_mask_stored_in_another_direction_ends_up_in_the_same_place():
    sources = instances()
    mask = labels((20, 24, 4))
    flip = np.array([[-1.0, 0, 0, 19], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    plain = segmentation_instance(mask, AFFINE, sources, SEGMENTS, key=KEY)
    turned = segmentation_instance(mask[::-1].transpose(0, 2, 1), AFFINE @ flip, sources, SEGMENTS, key=KEY)
    assert plain.PixelData == turned.PixelData


def test_of_a_patient_it_has_no_identity_and_fits_the_derived_images(tmp_path):
    write_instances(instances(), tmp_path / "source")
    path = write_segmentation(labels((20, 24, 4)), AFFINE, tmp_path / "source", SEGMENTS, tmp_path / "a.dcm", key=KEY)
    content = path.read_bytes().lower()
    assert [word for word in forbidden() if word in content] == []
    found = pydicom.dcmread(path)
    assert found.PatientIdentityRemoved == "YES"
    assert "SyntheticData" not in found
    assert found.StudyInstanceUID == mapped_uid(instances()[0].StudyInstanceUID, KEY)
    kept = segmentation_instance(labels((20, 24, 4)), AFFINE, instances(), SEGMENTS, deidentified=False)
    assert kept.PatientID == instances()[0].PatientID


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"mask": np.full((20, 24, 4), 2)},
            r"mask: found the labels \[2\], expected 0 and those of segments, \[1, 3\]",
        ),
        ({"mask": np.full((20, 24, 4), 0.5)}, "mask: found values that are no whole numbers"),
        ({"mask": np.zeros((20, 24, 3))}, "mask: its voxels are not those of the source images"),
        ({"affine": np.eye(4)}, "mask: its voxels are not those of the source images"),
        ({"segments": {}}, "segments: found the labels"),
    ],
)
def test_what_cannot_be_written_is_named(change, message):
    arguments = {"mask": np.zeros((20, 24, 4)), "affine": AFFINE, "source": instances(), "segments": SEGMENTS} | change
    with pytest.raises(ValueError, match=message):
        segmentation_instance(**arguments, key=KEY)


def test_of_an_image_that_was_generated_from_a_patient_it_has_no_identity_either(tmp_path):
    volume = np.zeros((96, 80, 4))
    for deidentified, uid in ((False, True), (True, False)):
        sources = derived_instances(volume, AFFINE, instances(), deidentified=deidentified, key=KEY)
        write_instances(sources, tmp_path / str(deidentified))
        mask = segmentation_instance(labels(volume.shape), AFFINE, tmp_path / str(deidentified), SEGMENTS, key=KEY)
        content = str(mask).lower().encode()
        assert [word for word in forbidden() if word in content] == []
        assert mask.SyntheticData == "YES"
        own = sources[0].StudyInstanceUID
        assert mask.StudyInstanceUID == (mapped_uid(own, KEY) if uid else own)


def test_labels_beyond_the_source_images_are_not_lost_in_silence():
    mask = np.zeros((20, 24, 4), dtype=int)
    mask[3, 4, 3] = 1
    with pytest.raises(ValueError, match="1 of its labelled voxels lie in none of the 2 source images"):
        segmentation_instance(mask, AFFINE, instances()[:2], SEGMENTS, key=KEY)


def test_sources_without_a_place_are_named():
    sources = instances()
    del sources[1].ImagePositionPatient
    with pytest.raises(ValueError, match="found an image without ImagePositionPatient, expected one slice each"):
        segmentation_instance(labels((20, 24, 4)), AFFINE, sources, SEGMENTS, key=KEY)


@pytest.mark.parametrize(("segments", "description"), [({1: "Head of Janette"}, ""), ({1: "Head"}, "HOSP-0099471")])
def test_text_that_names_the_patient_is_refused(segments, description):
    with pytest.raises(ValueError, match="repeats part of the patient's identity"):
        segmentation_instance(np.ones((20, 24, 4)), AFFINE, instances(), segments, key=KEY, description=description)
