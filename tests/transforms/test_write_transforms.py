import json
import pickle

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from invented_patient import AFFINE, KEY, forbidden, instances
from monai.data import MetaTensor, decollate_batch, list_data_collate
from monai.transforms import ScaleIntensityRange

from medgen.dicom.derived import write_derived
from medgen.dicom.instances import write_instances
from medgen.dicom.read import read_series
from medgen.dicom.verify import check_derived, check_synthetic
from medgen.io import check_nifti
from medgen.transforms import (
    LoadDicomSeries,
    SaveDerivedDicom,
    SaveDerivedDicomd,
    SaveSegmentationDicom,
    SaveSegmentationDicomd,
    SaveSyntheticDicom,
    SaveSyntheticDicomd,
    SaveSyntheticNifti,
    SaveSyntheticNiftid,
)

VOLUME = torch.linspace(-1, 1, 80 * 72 * 3).reshape(1, 80, 72, 3)


def volume():
    return MetaTensor(VOLUME.clone(), affine=torch.from_numpy(AFFINE))


def test_a_volume_comes_back_with_its_affine(tmp_path):
    image = volume()
    result = SaveSyntheticDicom(tmp_path, burned_in=False)(image, "first", {"age": 73, "sex": "F"}, {"seed": 3})
    assert result is image
    assert image.meta["saved_to"] == str(tmp_path / "first")
    read = read_series(tmp_path / "first")
    to_ras = np.array([[-1.0, 0, 0, 79], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])  # the reader turns what it reads
    np.testing.assert_allclose(read.affine.numpy(), AFFINE @ to_ras, atol=1e-4)
    assert np.abs(read.numpy()[:, ::-1] / 4095 * 2 - 1 - VOLUME.numpy()).max() <= 1 / 4095 + 1e-6
    for path in (tmp_path / "first").iterdir():
        check_synthetic(pydicom.dcmread(path))


@pytest.mark.parametrize(
    "image", [torch.zeros(1, 64, 72), np.zeros((1, 64, 72), np.float32), MetaTensor(torch.zeros(1, 64, 72))]
)
def test_a_picture_without_an_affine_is_placed_in_its_plane(tmp_path, image):
    SaveSyntheticDicom(tmp_path, plane="coronal", voxel_mm=1.5)(image, "one")
    (path,) = (tmp_path / "one").iterdir()
    dataset = pydicom.dcmread(path)
    assert (dataset.Rows, dataset.Columns, list(dataset.PixelSpacing)) == (64, 72, [1.5, 1.5])
    assert list(dataset.ImageOrientationPatient) == [1, 0, 0, 0, 0, -1]
    assert dataset.BurnedInAnnotation == "YES"


def test_names_are_random_or_checked_and_folders_are_not_mixed(tmp_path):
    save = SaveSyntheticDicom(tmp_path)
    save(volume())
    save(volume())
    assert len(list(tmp_path.iterdir())) == 2
    save(volume(), "one")
    with pytest.raises(FileExistsError, match="one: holds files already"):
        save(volume(), "one")
    with pytest.raises(ValueError, match=r"name is '\.\./one'"):
        save(volume(), "../one")
    with pytest.raises(ValueError, match=r"image: found shape \(3, 8, 8\)"):
        save(torch.zeros(3, 8, 8))


@pytest.mark.parametrize("shape", [(1, 6, 7), (2, 6, 7, 3)])
def test_nifti_says_so_thrice(tmp_path, shape):
    image = MetaTensor(torch.rand(shape), affine=torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0])))
    SaveSyntheticNifti(tmp_path, model_sha256="ab")(image, "one", {"diagnosis": "AD", "Synthetic": False}, {"seed": 3})
    path = tmp_path / "one.nii.gz"
    check_nifti(path)
    assert nib.load(path).header.get_zooms()[:3] == (2, 2, 3)
    sidecar = json.loads((tmp_path / "one.json").read_text())
    assert sidecar["Synthetic"] is True
    assert (sidecar["model_sha256"], sidecar["seed"], sidecar["covariates"]["diagnosis"]) == ("ab", 3, "AD")
    assert image.meta["saved_to"] == str(path)


def test_a_nifti_that_lost_its_marks_is_found(tmp_path):
    SaveSyntheticNifti(tmp_path)(torch.zeros(1, 4, 4, 4), "one")
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4)), tmp_path / "one.nii.gz")
    with pytest.raises(ValueError, match=r"one.nii.gz: does not say .* in its description, extension"):
        check_nifti(tmp_path / "one.nii.gz")


def test_what_was_read_of_a_patient_is_not_written_as_of_nobody(tmp_path):
    patient, made = tmp_path / "patient", tmp_path / "made"
    write_instances(instances(), patient)
    write_derived(VOLUME[0], AFFINE, instances(), made, key=KEY, burned_in=False)
    for folder in (patient, made):  # the second says Synthetic Data YES, and what it was made of
        read = ScaleIntensityRange(0, 900, -1, 1)(LoadDicomSeries()(folder))
        (read,) = decollate_batch(list_data_collate([read]))  # as a translation that went through a loader
        for save in (SaveSyntheticDicom(tmp_path / "out"), SaveSyntheticNifti(tmp_path / "out")):
            with pytest.raises(ValueError, match=r"does not say that it is synthetic .*SaveDerivedDicom"):
                save(read)
    assert not (tmp_path / "out").exists()
    SaveSyntheticDicom(tmp_path, burned_in=False)(volume(), "first")
    (read,) = decollate_batch(list_data_collate([LoadDicomSeries()(tmp_path / "first")]))
    SaveSyntheticDicom(tmp_path, value_range=(0, 4095))(read, "second")
    SaveSyntheticNifti(tmp_path)(read, "third")


def test_an_image_without_a_channel_has_its_shape_named(tmp_path):
    with pytest.raises(ValueError, match=r"image: found shape \(8, 9\), expected \(C, H, W\) or \(C, X, Y, Z\)"):
        SaveSyntheticNifti(tmp_path)(torch.zeros(8, 9))


def test_derived_images_and_masks(tmp_path):
    source = instances()
    SaveDerivedDicom(tmp_path / "derived", key=KEY.decode())(volume(), source, "one")
    mask = MetaTensor(torch.ones(1, 20, 24, 4), affine=torch.from_numpy(AFFINE))
    segments = {"1": {"label": "Brain", "kind": ["12738006", "SCT", "Brain"]}}
    SaveSegmentationDicom(tmp_path / "masks", segments, key=KEY)(mask, source, "one")
    files = [*(tmp_path / "derived" / "one").iterdir(), tmp_path / "masks" / "one.dcm"]
    for path in files:
        content = path.read_bytes().lower()
        assert [word for word in forbidden() if word in content] == []
    datasets = [pydicom.dcmread(path) for path in files]
    assert len({dataset.StudyInstanceUID for dataset in datasets}) == 1
    for dataset in datasets[:-1]:
        check_derived(dataset)
    assert datasets[-1].SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Brain"
    with pytest.raises(ValueError, match="image: found a Tensor without an affine"):
        SaveDerivedDicom(tmp_path)(VOLUME, source)


def test_dictionary_forms(tmp_path):
    mask = MetaTensor(torch.ones(1, 20, 24, 4), affine=torch.from_numpy(AFFINE))
    data = {"pred": volume(), "other": volume(), "mask": mask, "id": "case-1", "source": instances()}
    data |= {"age": 73.0, "sex": "F", "diagnosis": "AD", "made": {"seed": 5}}
    generated = {"name_key": "id", "generation_key": "made"}
    for transform in (
        SaveSyntheticDicomd(["pred", "other"], tmp_path / "dicom", **generated, description="test"),
        SaveSyntheticNiftid("pred", tmp_path / "nifti", **generated),
        SaveDerivedDicomd("pred", tmp_path / "derived", name_key="id", key=KEY),
        SaveSegmentationDicomd("mask", tmp_path / "masks", {1: "Brain"}, key=KEY),
    ):
        result = pickle.loads(pickle.dumps(transform))(data)
        assert result.keys() == data.keys()
    assert sorted(path.name for path in (tmp_path / "dicom").iterdir()) == ["case-1_other", "case-1_pred"]
    dataset = pydicom.dcmread(tmp_path / "dicom" / "case-1_pred" / "image_0001.dcm")
    assert (dataset.PatientAge, dataset.PatientSex, dataset.SeriesDescription) == ("073Y", "F", "SYNTHETIC test")
    assert json.loads(dataset.DerivationDescription.partition(": ")[2])["seed"] == 5
    assert (tmp_path / "nifti" / "case-1.nii.gz").is_file()
    assert (tmp_path / "derived" / "case-1" / "image_0003.dcm").is_file()
    assert len(list((tmp_path / "masks").iterdir())) == 1
    missing = SaveSyntheticDicomd("absent", tmp_path / "none", allow_missing_keys=True)
    assert missing({"id": 1}) == {"id": 1}
