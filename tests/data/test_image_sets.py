"""CIFAR-10's binary layout: pixels where they belong, its own test split, and what is refused."""

import numpy as np
import pytest
import torch
from cifar_files import write_cifar

from medgen.covariates import Covariates
from medgen.data import Cifar10, CohortError, PictureDataset

CLASSES = Covariates(**{"class": ["automobile", "truck"]})


def test_pixels_are_those_of_the_file_red_green_blue_row_by_row(tmp_path):
    row = np.zeros((2, 3073), dtype=np.uint8)
    row[:, 0] = 1, 9
    row[0, 1 + 1024 + 32 * 5 + 7] = 255  # green, row 5, column 7
    for name in ("data_batch_1.bin", "test_batch.bin"):
        (tmp_path / name).write_bytes(row.tobytes())
    cohort = Cifar10(tmp_path, CLASSES)
    images = PictureDataset([r for r in cohort.records if r["fold"] == "test"], CLASSES).images
    expected = -torch.ones(2, 3, 32, 32)
    expected[0, 1, 5, 7] = 1
    assert torch.equal(images.float(), expected)


def test_the_test_batch_is_the_test_split_and_only_declared_classes_are_taken(tmp_path):
    cohort = Cifar10(write_cifar(tmp_path, 60, 30, classes=(1, 9, 3)), CLASSES)
    splits = cohort.split({"train": 0.6, "validation": 0.2, "test": 0.2}, seed=0)
    assert [len(splits[name]) for name in ("train", "validation", "test")] == [30, 10, 20]
    assert {record["subject"].split("/")[0] for record in splits["test"]} == {"test_batch"}
    assert {record["class"] for record in cohort.records} == {"automobile", "truck"}
    train, test = (PictureDataset(splits[name], CLASSES) for name in ("train", "test"))
    assert not set(train.subjects) & set(test.subjects)
    assert train.covariates.unique().tolist() == [0, 1]
    assert train.settings == {"pixel_mm": None, "unobserved": [], "observed": {"class": ["automobile", "truck"]}}
    blue = train.images.float().mean((2, 3))[:, 0]  # a truck's code is 9, so red is bright; an automobile's is 1: green
    assert (blue[train.covariates[:, 0] == 1] > blue[train.covariates[:, 0] == 0].max()).all()


def test_other_covariates_are_unknown_and_said_so(tmp_path):
    declared = Covariates(**{"class": ["automobile", "truck"], "sex": ["F", "M"], "age": {"low": 0, "high": 100}})
    cohort = Cifar10(write_cifar(tmp_path), declared)
    assert [notice.split()[0] for notice in cohort.notices] == ["sex", "age"]
    dataset = PictureDataset(cohort.split()["train"], declared)
    assert dataset.unobserved == ["sex", "age"]
    assert cohort.fingerprint() == Cifar10(tmp_path, declared).fingerprint() != Cifar10(tmp_path, CLASSES).fingerprint()
    assert cohort.summary()["covariates"]["class"] == {"automobile": 30, "truck": 30, "n/a": 0}


def test_what_is_not_cifar_is_refused_with_what_was_expected(tmp_path):
    with pytest.raises(CohortError, match=r"expected data_batch_1\.bin"):
        Cifar10(tmp_path, CLASSES)
    with pytest.raises(ValueError, match="has no class 'lorry'"):
        Cifar10(tmp_path, {"class": ["automobile", "lorry"]})
    with pytest.raises(ValueError, match='expected a categorical "class"'):
        Cifar10(tmp_path, {"diagnosis": ["NC", "AD"]})
    folder = write_cifar(tmp_path)
    with pytest.raises(CohortError, match="found no picture"):
        Cifar10(folder, {"class": ["ship", "frog"]})
    bad = folder / "cifar-10-batches-bin" / "test_batch.bin"
    bad.write_bytes(bytes(3073 - 1))
    with pytest.raises(CohortError, match="expected rows of 3073 bytes, found 3072"):
        Cifar10(folder, CLASSES)
    bad.write_bytes(b"\xff" + bytes(3072))
    with pytest.raises(CohortError, match="row 0 has no class"):
        Cifar10(folder, CLASSES)


def test_the_real_files_are_read(real_data):
    folder = real_data / "cifar10"
    if not folder.is_dir():
        pytest.skip("no cifar10 among the real data")
    cohort = Cifar10(folder, CLASSES)
    test = PictureDataset(cohort.split()["test"], CLASSES)
    assert len(cohort) == 12_000
    assert test.images.shape == (2000, 3, 32, 32)
    assert -0.3 < float(test.images.float().mean()) < 0.2
