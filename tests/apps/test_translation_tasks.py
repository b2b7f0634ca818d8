"""What is asked of an image, whose images are taken, and how what comes of it is shown and kept."""

import functools
import math
import os
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from medgen.apps.translation.changes import Changes
from medgen.apps.translation.people import held_out_images, source_images, trained_field_of_view
from medgen.apps.translation.pictures import difference_map, strip
from medgen.apps.translation.repair import box_mask, read_mask
from medgen.apps.translation.tasks import TranslateImages
from medgen.apps.translation.writing import DerivedImages
from medgen.covariates import Covariates
from medgen.data import Cohort
from medgen.data.volumes import VolumeDataset
from medgen.inferers import Translate
from medgen.metrics.image_error import mean_absolute_error, psnr
from medgen.processes import RectifiedFlow
from medgen.samplers import Sampler

COVARIATES = Covariates(age={"low": 18, "high": 100, "unit": "years"}, sex=["F", "M"], diagnosis=["NC", "AD"])


def row(**values):
    return COVARIATES.encode(values)


def test_conditions_are_all_combinations_and_leave_what_is_not_named():
    changes = Changes(COVARIATES, relative={"age": [5, -10]}, diagnosis=["NC", "AD"])
    assert changes.titles == ["+5 years, NC", "+5 years, AD", "-10 years, NC", "-10 years, AD"]
    asked = changes.targets(torch.stack([row(age=60, sex="M"), row(age=70, diagnosis="AD")]))
    assert asked.shape == (2, 4, 3)
    assert asked[:, :, 0].tolist() == [[65, 65, 50, 50], [75, 75, 60, 60]]
    assert asked[0, :, 1].tolist() == [1] * 4
    assert asked[1, :, 1].isnan().all()
    assert asked[1, :, 2].tolist() == [0, 1, 0, 1]
    for nothing in (None, "none", "None", []):
        assert Changes(COVARIATES, age=80, sex=nothing, relative={"age": nothing}).titles == ["age 80"]


def test_who_can_be_asked():
    older = Changes(COVARIATES, relative={"age": [10, 30]})
    assert [older.possible(row(age=age)) for age in (60, 80, math.nan)] == [True, False, False]
    ill = Changes(COVARIATES, diagnosis="AD")
    assert [ill.possible(row(diagnosis=label)) for label in ("NC", "AD", None)] == [True, False, True]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "nothing to change"),
        ({"relative": {"age": None}, "sex": None}, "nothing to change"),
        ({"relative": {"age": 5}, "age": 80}, "age: found a new value and an amount"),
        ({"relative": {"sex": 1}}, "sex: is a label"),
        ({"relative": {"age": "+5"}}, r"age: expected a number to add, found '\+5'"),
        ({"diagnosis": "MCI"}, "undeclared label 'MCI'"),
        ({"age": 120}, "lies outside 18 to 100"),
    ],
)
def test_changes_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        Changes(COVARIATES, **arguments)


def test_what_cannot_be_asked_is_said():
    older = Changes(COVARIATES, relative={"age": 10})
    with pytest.raises(ValueError, match=r"age: is unknown for an image, so \+10 cannot be added"):
        older.targets(row()[None])
    with pytest.raises(ValueError, match=r"95 \+10 = 105 lies outside the declared 18 to 100 years"):
        older.targets(row(age=95)[None])


def reader(records):
    def dataset(data):
        records.extend(data)
        count = len(data)
        covariates = COVARIATES.encode(data, unknown_keys="ignore")
        names = [record["subject"] for record in data]
        return SimpleNamespace(
            images=torch.zeros(count, 1, 8, 8).half(), covariates=covariates, subjects=names, pixel_mm=2.0
        )

    return dataset


def test_people_are_spread_by_age_among_the_eligible_and_only_they_are_read():
    people = [{"image": "x", "subject": f"s{age}", "scan": "", "age": float(age)} for age in (90, 60, 70, 80, 65)]
    read = []
    taken = held_out_images(reader(read), COVARIATES, people, True, 3, lambda row: float(row[0]) < 85)
    assert [record["subject"] for record in read] == ["s60", "s70", "s80"]
    assert (taken.pixel_mm, taken.simulated, taken.planes) == (2.0, True, [None] * 3)
    with pytest.raises(ValueError, match="found nobody among 5 held-out people"):
        held_out_images(reader([]), COVARIATES, people, True, 2, lambda row: False)


def test_an_image_of_ones_own_needs_to_be_there_and_is_nobody_simulated(tmp_path):
    with pytest.raises(FileNotFoundError, match="image: no such file"):
        source_images(reader([]), COVARIATES, image=tmp_path / "none.nii.gz")
    (tmp_path / "brain.nii.gz").write_bytes(b"")
    read = []
    taken = source_images(
        reader(read), COVARIATES, image=tmp_path / "brain.nii.gz", source={"age": 61, "sex": "female"}
    )
    assert (read[0]["age"], read[0]["sex"], "diagnosis" in read[0], taken.simulated) == (61, "F", False, False)
    with pytest.raises(ValueError, match=r"source: found .* but no image"):
        source_images(reader([]), COVARIATES, source={"age": 60})


def test_the_field_of_view_is_that_of_training():
    assert trained_field_of_view({"pixel_mm": 3.0, "image_size": 64}) == 192.0
    assert trained_field_of_view({"pixel_mm": 3.0, "image_size": [64, 48]}) == 192.0
    assert trained_field_of_view({"field_of_view": 200, "pixel_mm": 3.0, "image_size": 64}) == 200.0
    assert trained_field_of_view({}) is None


def test_a_difference_is_white_for_none_red_for_brighter_blue_for_darker():
    before = torch.zeros(1, 1, 3)
    picture = difference_map(torch.tensor([[[0.0, 0.5, -0.5]]]), before)
    none, brighter, darker = picture[:, 0].T
    assert none.min() > 0.9
    assert brighter[0] > brighter[2]
    assert darker[2] > darker[0]
    assert torch.equal(difference_map(torch.tensor([[[0.0, 3.0, -3.0]]]), before), picture)
    assert difference_map(torch.zeros(1, 4, 5, 6), torch.ones(1, 4, 5, 6)).shape == (3, 5, 4)  # axial
    shown = strip([[torch.zeros(1, 8, 8), torch.zeros(3, 8, 8)]], ["a", "b"], ["somebody"])
    assert shown.ndim == 3


def test_errors_of_images():
    images = torch.zeros(2, 1, 4, 4)
    images[1] += 0.2
    assert mean_absolute_error(images, torch.zeros_like(images)).tolist() == pytest.approx([0.0, 0.2])
    assert psnr(images, torch.zeros_like(images)).tolist() == pytest.approx([math.inf, 20.0])
    with pytest.raises(ValueError, match="images: found"):
        psnr(images, images[:1])


def test_masks(tmp_path):
    assert box_mask((10, 20), [0.5, 0.25], [0.2, 0.1]).sum() == 2 * 2
    assert box_mask((4, 4, 4), [0.5] * 3, [0.5] * 3).sum() == 8
    for centre, size, message in (
        ([0.5], [0.5], "expected 2 fractions"),
        ([0.5, 1.5], [0.5, 0.5], "expected 2 fractions"),
        ([0.0, 0.0], [0.01, 0.01], "holds no pixel"),
    ):
        with pytest.raises(ValueError, match=message):
            box_mask((4, 4), centre, size)
    Image.fromarray(np.eye(4, dtype=np.uint8) * 255).save(tmp_path / "mask.png")
    assert torch.equal(read_mask(tmp_path / "mask.png", (4, 4)), torch.eye(4) > 0)
    with pytest.raises(ValueError, match="expected \\(5, 5\\), the image's own grid"):
        read_mask(tmp_path / "mask.png", (5, 5))
    with pytest.raises(ValueError, match="mask: found the keys"):
        read_mask({"center": [0.5, 0.5]}, (4, 4))


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_mask_drawn_on_a_written_slice_lies_where_it_was_drawn(plane, tmp_path):
    drawn = torch.full((1, 6, 8), -1.0)
    drawn[0, 1, 5:7] = 1.0
    out = DerivedImages(tmp_path, simulated=True, pixel_mm=3.0)
    row = out.image(drawn, 0, "mask", {}, plane)
    for kind in ("nifti", "png"):
        assert torch.equal(read_mask(tmp_path / row[kind], (6, 8)), drawn[0] > 0)
    volume = nibabel.Nifti1Image(np.ones((6, 8, 3), np.float32), np.eye(4))
    nibabel.save(volume, tmp_path / "volume.nii.gz")
    with pytest.raises(ValueError, match="expected one slice"):
        read_mask(tmp_path / "volume.nii.gz", (6, 8))


def test_a_mask_of_volumes_must_lie_where_they_lie(tmp_path):
    drawn = np.zeros((4, 5, 6), np.float32)
    drawn[1, 2, 3] = 1
    affine = np.array([[2.0, 0, 0, -4], [0, 2, 0, -5], [0, 0, 2, -6], [0, 0, 0, 1]])
    path = tmp_path / "mask.nii.gz"
    nibabel.save(nibabel.Nifti1Image(drawn, affine), path)
    assert torch.equal(read_mask(path, (4, 5, 6), affine), torch.from_numpy(drawn) > 0)
    flipped = np.diag([-1.0, 1, 1, 1]) @ affine  # stored from right to left
    nibabel.save(nibabel.Nifti1Image(drawn[::-1], np.array([[-2.0, 0, 0, 2], *affine[1:]])), path)
    assert torch.equal(read_mask(path, (4, 5, 6), affine), torch.from_numpy(drawn) > 0)
    for other in (affine + np.eye(4, k=3) * 2, flipped, affine * [[3, 3, 3, 1]]):
        nibabel.save(nibabel.Nifti1Image(drawn, other), path)
        with pytest.raises(ValueError, match=r"lies elsewhere: its affine is .* draw it on a NIfTI file"):
            read_mask(path, (4, 5, 6), affine)


@pytest.mark.parametrize("simulated", [False, True])
def test_what_is_made_of_real_people_is_never_readable_by_others(simulated, tmp_path, monkeypatch):
    made = []
    opened = os.open

    def watched(path, flags, mode=0o777, **keywords):
        if flags & os.O_CREAT:
            made.append(mode)
        return opened(path, flags, mode, **keywords)

    monkeypatch.setattr(os, "open", watched)
    out = DerivedImages(tmp_path, simulated)
    out.image(torch.zeros(1, 4, 4), 0, "ad", {})
    out.picture(np.zeros((4, 4, 3), np.uint8), "strip.png", {})
    out.film([np.zeros((4, 4, 3), np.uint8)] * 2, "film.gif", {})
    out.finish()
    assert made == [0o666 if simulated else 0o600] * 6  # picture, NIfTI and its sidecar, strip, film, table
    files = [path for path in out.folder.rglob("*") if path.is_file()]
    assert len(files) == 6
    assert simulated or {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_an_earlier_request_is_removed_and_nothing_else(tmp_path):
    def write(kinds):
        out = DerivedImages(tmp_path, simulated=True, nifti=False)
        for kind in kinds:
            out.image(torch.zeros(1, 4, 4), 0, kind, {"age": 70})
        out.finish()

    write(["plus_5_years", "plus_10_years"])
    (tmp_path / "images" / "mine.png").write_bytes(b"x")
    write(["ad"])
    assert {path.name for path in (tmp_path / "images").iterdir()} == {"person_000_ad.png", "mine.png"}


def test_volumes_are_changed_like_slices(tmp_path):
    folder = tmp_path / "cohort"
    for i in range(6):
        (folder / f"sub-{i}" / "anat").mkdir(parents=True)
        volume = np.zeros((20, 24, 20), np.float32)
        volume[3:17, 4 : 18 + i % 2, 3:15] = np.random.default_rng(i).uniform(0.5, 1, (14, 14 + i % 2, 12))
        image = nibabel.Nifti1Image(volume, np.diag([8.0, 8.0, 8.0, 1.0]))
        nibabel.save(image, folder / f"sub-{i}" / "anat" / f"sub-{i}_T1w.nii.gz")
    people = "".join(f"sub-{i}\t{60 + i}\t{'FM'[i % 2]}\n" for i in range(6))
    (folder / "participants.tsv").write_text("participant_id\tage\tsex\n" + people)
    cohort = Cohort(folder, COVARIATES)
    cohort.simulated = True
    split_file = tmp_path / "splits.json"
    cohort.split({"train": 0.5, "validation": 0.17, "test": 0.33}, file=split_file)
    dataset = functools.partial(VolumeDataset, covariates=COVARIATES, spacing_mm=8.0, multiple=8, progress=False)
    changes = Changes(COVARIATES, sex=["F", "M"], relative={"age": -5})
    shares = {"train": 0.5, "validation": 0.17, "test": 0.33}
    people = source_images(
        dataset, COVARIATES, n=2, cohort=cohort, fractions=shares, splits_file=split_file, weights=""
    )
    whole = dataset(data=cohort.split(shares, file=split_file)["train"])
    assert people.images.shape[1:] == whole.images.shape[1:]

    def network(noisy, t, covariates):
        return noisy * 0.1 + covariates[:, :1, None, None, None] * 1e-3

    task = TranslateImages(
        changes, network=network, inferer=Translate(RectifiedFlow(), Sampler("euler", steps=2)), people=people,
        covariates=COVARIATES, output_dir=tmp_path / "out",
    )  # fmt: skip
    out = task.run()
    assert len(out.rows) == 2 * 3
    image = nibabel.load(tmp_path / "out" / out.rows[1]["nifti"])
    assert image.shape == tuple(people.images.shape[2:])
    np.testing.assert_allclose(image.affine, np.asarray(whole.affine), atol=1e-4)
    assert (tmp_path / "out" / "translation.gif").is_file()
