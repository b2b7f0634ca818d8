import itertools

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import torch
from pydicom.uid import UID
from scipy.spatial.transform import Rotation

from medgen.data.images import plane_view
from medgen.dicom.instances import age_string, mr_instances, sex_code, write_instances
from medgen.dicom.read import read_series
from medgen.dicom.slicing import centred_affine, cut
from medgen.dicom.uids import hashed_uid, keyed_uid, new_uid

PATIENT = {"PatientName": "SIMULATED^0001", "PatientID": "941_S_9001"}


def oblique(order, signs):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [9, -6, 4], degrees=True).as_matrix() @ (np.eye(3)[list(order)] * signs)
    affine[:3, :3] = affine[:3, :3] @ np.diag([1.1, 0.9, 1.3])
    affine[:3, 3] = [-90, -120.5, -60]
    return affine


def itk_read(paths):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(path) for path in paths])
    return reader.Execute()


@pytest.mark.parametrize("slice_axis", ["axial", "coronal", "sagittal", 0, 1, 2])
def test_another_reader_finds_every_voxel_where_the_affine_says(tmp_path, slice_axis):
    volume = np.random.default_rng(0).integers(0, 1000, (5, 6, 7))
    signs_of = [[1, 1, 1], [-1, 1, 1], [1, -1, 1], [1, 1, -1], [-1, -1, 1], [-1, -1, -1]]
    for case, (order, signs) in enumerate(zip(itertools.permutations(range(3)), signs_of, strict=True)):
        affine = oblique(order, signs)
        image = itk_read(
            write_instances(mr_instances(volume, affine, patient=PATIENT, slice_axis=slice_axis), tmp_path / str(case))
        )
        found = sitk.GetArrayFromImage(image)
        for index in [(0, 0, 0), (4, 5, 6), (2, 0, 5), (1, 4, 3)]:
            world = (affine @ [*index, 1])[:3] * [-1, -1, 1]
            place = np.array(image.TransformPhysicalPointToContinuousIndex(world.tolist()))
            assert np.abs(place - np.rint(place)).max() < 1e-4
            x, y, z = np.rint(place).astype(int)
            assert found[z, y, x] == volume[index]


def test_medgen_reads_back_what_it_wrote(tmp_path):
    volume = np.random.default_rng(1).integers(-500, 3000, (8, 9, 5)).astype(np.int16)
    affine = oblique((0, 1, 2), [1, 1, 1])
    write_instances(mr_instances(volume, affine, patient=PATIENT), tmp_path)
    read = read_series(tmp_path)
    np.testing.assert_allclose(read.affine.numpy(), affine, atol=1e-4)
    np.testing.assert_array_equal(read.numpy()[0], volume)


@pytest.mark.parametrize(
    ("plane", "row", "column"),
    [
        ("axial", [1, 0, 0], [0, 1, 0]),
        ("coronal", [1, 0, 0], [0, 0, -1]),
        ("sagittal", [0, 1, 0], [0, 0, -1]),
    ],
)
def test_planes_are_turned_as_they_are_displayed(plane, row, column):
    stack = cut(np.zeros((3, 4, 5)), np.diag([-1, 1, 1, 1]), plane)
    assert stack.orientation == [*row, *column]
    assert stack.slice_spacing == 1
    steps = np.diff(stack.positions, axis=0)
    np.testing.assert_allclose(steps, np.broadcast_to(stack.normal, steps.shape))


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_picture_lies_as_it_lay_in_its_volume(plane):
    volume = torch.arange(3 * 4 * 5.0).reshape(1, 3, 4, 5)
    picture = plane_view(volume, plane)[1, 0].numpy()
    of_picture = cut(picture[..., None], centred_affine(picture.shape, plane), 2)
    of_volume = cut(volume[0].numpy(), np.eye(4), plane)
    wanted = np.rint(of_volume.pixels).tolist()
    assert np.rint(of_picture.pixels[0]).tolist() in wanted
    assert of_picture.orientation == of_volume.orientation


def test_instances_belong_together_and_differ():
    one, two = mr_instances(np.ones((4, 4, 2)), np.eye(4), patient=PATIENT)
    assert one.StudyInstanceUID == two.StudyInstanceUID
    assert one.SOPInstanceUID != two.SOPInstanceUID
    assert [one.InstanceNumber, two.InstanceNumber] == [1, 2]
    one.PatientName = "another"
    assert str(two.PatientName) == "SIMULATED^0001"
    (again, _) = mr_instances(
        np.ones((4, 4, 2)), np.eye(4), patient=PATIENT, series={"SeriesInstanceUID": one.SeriesInstanceUID}
    )
    assert again.SOPInstanceUID == one.SOPInstanceUID


def test_files_have_an_empty_preamble_and_say_who_wrote_them(tmp_path):
    (path,) = write_instances(mr_instances(np.ones((3, 3, 1)), np.eye(4), patient=PATIENT), tmp_path)
    assert path.read_bytes()[:132] == bytes(128) + b"DICM"
    assert pydicom.dcmread(path).file_meta.ImplementationVersionName.startswith("MEDGEN")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patient": {"PatientNam": "x"}}, "patient: 'PatientNam' is not among .*nearest: 'PatientName'"),
        ({"study": {"StudyDate": "1 May"}}, "study: StudyDate is '1 May'"),
        ({"series": {"SeriesDescription": "x" * 65}}, "series: SeriesDescription"),
        ({"volume": np.full((2, 2, 2), 70000)}, "volume: found intensities 70000 to 70000"),
        ({"volume": np.full((2, 2, 2), np.nan)}, "volume: found intensities nan"),
        ({"volume": np.zeros((2, 2))}, r"volume: found shape \(2, 2\)"),
        ({"volume": np.zeros((2, 0, 2))}, "volume: found no voxel"),
        ({"affine": np.zeros((4, 4))}, "affine: expected a finite, invertible"),
        ({"affine": np.eye(4) + np.eye(4, k=1) * 0.1}, "affine: its axes are not at right angles"),
        ({"slice_axis": "axal"}, "slice_axis is 'axal'.*nearest: 'axial'"),
        ({"slice_axis": 3}, "slice_axis is 3"),
    ],
)
def test_what_cannot_be_written_is_named(change, message):
    arguments = {"volume": np.zeros((2, 2, 2)), "affine": np.eye(4), "patient": PATIENT} | change
    with pytest.raises(ValueError, match=message):
        mr_instances(arguments.pop("volume"), arguments.pop("affine"), **arguments)


def test_uids_are_valid_and_mapped_consistently():
    for uid in (new_uid(), hashed_uid("a", 1), keyed_uid("1.2.3", bytes(16))):
        assert UID(uid).is_valid
    assert new_uid() != new_uid()
    assert keyed_uid("1.2.3", bytes(16)) != keyed_uid("1.2.4", bytes(16))
    with pytest.raises(ValueError, match="key: found 3 bytes, expected 16 or more"):
        keyed_uid("1.2.3", b"key")


def test_ages_and_sexes_in_dicoms_form():
    assert [age_string(years) for years in (0, 1.5, 2, 89.9, float("nan"))] == ["000D", "018M", "002Y", "089Y", None]
    assert [age_string(days / 365.25) for days in (0, 14, 30, 31)] == ["000D", "014D", "030D", "001M"]
    assert [sex_code(sex) for sex in ("f", "Male", "other", "unknown", 3)] == ["F", "M", "O", "", ""]
    assert [sex_code(word) for word in ("Mother", "father", "missing", "FALSE", "woman")] == ["", "", "", "", "F"]
    with pytest.raises(ValueError, match="years: found -1"):
        age_string(-1)
