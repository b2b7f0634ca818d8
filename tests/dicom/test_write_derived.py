import numpy as np
import pydicom
import pytest
from invented_patient import AFFINE, IDENTITY, KEY, SERIES, forbidden, instances

from medgen.dicom.deidentify import deidentify, mapped_uid
from medgen.dicom.derived import derived_instances, write_derived
from medgen.dicom.instances import write_instances
from medgen.dicom.verify import MarkError, check_derived

pytest.importorskip("dicomanonymizer")
IMAGE = np.linspace(-1, 1, 96 * 80 * 3).reshape(96, 80, 3)


def test_generated_from_a_patient_it_bears_the_marks_and_not_the_patient(tmp_path):
    write_instances(instances(), tmp_path / "source")
    paths = write_derived(
        IMAGE, AFFINE, tmp_path / "source", tmp_path / "out", key=KEY, generation={"seed": 3}, model_sha256="cd" * 32
    )
    sources = {mapped_uid(dataset.SOPInstanceUID, KEY) for dataset in instances()}
    for path in paths:
        content = path.read_bytes().lower()
        assert [word for word in forbidden() if word in content] == []
        assert not any(dataset.SOPInstanceUID.encode() in content for dataset in instances())
        dataset = pydicom.dcmread(path)
        check_derived(dataset)
        assert dataset.SyntheticData == "YES"
        assert {item.ReferencedSOPInstanceUID for item in dataset.SourceImageSequence} == sources
        assert dataset.StudyInstanceUID == mapped_uid(IDENTITY["StudyInstanceUID"], KEY)
        assert dataset.FrameOfReferenceUID == mapped_uid(SERIES["FrameOfReferenceUID"], KEY)
        assert dataset.SeriesInstanceUID != mapped_uid(SERIES["SeriesInstanceUID"], KEY)
        assert dataset.PatientID == deidentify(instances(1)[0], KEY).PatientID
        assert dataset.BurnedInAnnotation == "YES"
        assert "cd" * 32 in dataset.DerivationDescription
        assert "PatientAge" not in dataset
        assert dataset.PatientSex == dataset.StudyDate == ""


def test_a_head_is_said_to_be_recognizable():
    kept = derived_instances(IMAGE, AFFINE, instances(), key=KEY, deidentified=False)[0]
    for found in (kept, deidentify(kept, KEY), derived_instances(IMAGE, AFFINE, instances(), key=KEY)[0]):
        assert found.RecognizableVisualFeatures == "YES"
    knee = instances()
    for dataset in knee:
        dataset.BodyPartExamined = "KNEE"
    assert "RecognizableVisualFeatures" not in derived_instances(IMAGE, AFFINE, knee, key=KEY)[0]


def test_without_a_key_the_users_own_is_used(monkeypatch):
    monkeypatch.setenv("MEDGEN_PATIENT_KEY", KEY.decode())
    kept = derived_instances(IMAGE, AFFINE, instances())[0]
    assert kept.PatientID == derived_instances(IMAGE, AFFINE, instances(), key=KEY)[0].PatientID


def test_processed_and_not_generated_it_says_no():
    found = derived_instances(IMAGE, AFFINE, instances(), generated=False, key=KEY, same_space=False)[0]
    assert found.SyntheticData == "NO"
    assert found.BurnedInAnnotation == "NO"
    assert found.SeriesDescription == "DERIVED"
    assert "ContributingEquipmentSequence" not in found
    assert found.FrameOfReferenceUID != mapped_uid(SERIES["FrameOfReferenceUID"], KEY)


def test_the_identity_stays_only_on_request():
    found = derived_instances(IMAGE, AFFINE, instances(), deidentified=False)[0]
    assert str(found.PatientName) == IDENTITY["PatientName"]
    assert found.StudyInstanceUID == IDENTITY["StudyInstanceUID"]
    assert found.SourceImageSequence[0].ReferencedSOPInstanceUID == instances()[0].SOPInstanceUID
    assert found.SyntheticData == "YES"
    assert "PatientIdentityRemoved" not in found


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (lambda d: d.pop("SourceImageSequence"), "Source Image Sequence must be one item or more"),
        (lambda d: setattr(d, "PatientIdentityRemoved", "NO"), "PatientIdentityRemoved must be YES"),
        (lambda d: d.pop("DeidentificationMethodCodeSequence"), "must be 113100"),
        (lambda d: d.pop("SyntheticData"), "Synthetic Data .* must be YES"),
    ],
)
def test_a_missing_mark_is_found(tamper, message):
    found = derived_instances(IMAGE, AFFINE, instances(), key=KEY)[0]
    tamper(found)
    with pytest.raises(MarkError, match=message):
        check_derived(found)


def test_sources_of_two_patients_or_with_burned_in_text_are_refused():
    two = instances()
    two[0].PatientID = "another"
    with pytest.raises(ValueError, match="source: its 4 images have 2 different PatientID"):
        derived_instances(IMAGE, AFFINE, two, key=KEY)
    burned = instances()
    burned[1].BurnedInAnnotation = "YES"
    with pytest.raises(ValueError, match="source: text is burned into its pixels"):
        derived_instances(IMAGE, AFFINE, burned, key=KEY)
    with pytest.raises(ValueError, match="source: found no image"):
        derived_instances(IMAGE, AFFINE, [], key=KEY)


def test_what_is_known_of_the_patient_is_no_parameter():
    with pytest.raises(ValueError, match=r"generation: found \['age'\]"):
        derived_instances(IMAGE, AFFINE, instances(), key=KEY, generation={"age": 91})
    with pytest.raises(ValueError, match="burned_in is True, and generated is False"):
        derived_instances(IMAGE, AFFINE, instances(), key=KEY, generated=False, burned_in=True)


@pytest.mark.real_data
def test_nothing_of_a_real_patient_survives(real_data, tmp_path):
    folder = real_data / "dicom_t1"
    paths = write_derived(IMAGE, np.eye(4), folder, tmp_path, key=KEY)
    known = set()
    for file in sorted(folder.iterdir()):
        original = pydicom.dcmread(file, stop_before_pixels=True)
        keywords = ("PatientName", "PatientID", "PatientBirthDate", "StudyDate", "StudyTime", "InstitutionName")
        uids = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
        known |= {str(original.get(keyword, "")).encode() for keyword in (*keywords, *uids)}
    known = {word for word in known if len(word) >= 4}
    assert len(known) > 170
    for path in paths:
        content = path.read_bytes()
        assert sum(word in content for word in known) == 0


def loose(**values):
    sources = instances()
    for dataset in sources:
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
    return sources


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_a_series_description_of_a_wrong_form_is_corrected_and_the_source_left_alone():
    sources = loose(BodyPartExamined="Brain", PatientPosition="on the back!")
    for deidentified in (True, False):
        found = derived_instances(IMAGE, AFFINE, sources, key=KEY, deidentified=deidentified)[0]
        assert (found.BodyPartExamined, found.PatientPosition) == ("BRAIN", "")
        assert sources[0].BodyPartExamined == "Brain"


def test_a_patients_value_of_a_wrong_form_is_named_and_not_quoted(recwarn, caplog):
    sources = loose(StudyDate="11 June 2019")
    recwarn.clear()
    caplog.clear()
    with pytest.raises(ValueError, match="source: its Study Date is not of the form") as error:
        derived_instances(IMAGE, AFFINE, sources, deidentified=False)
    told = f"{error.value}{error.value.__cause__}{caplog.text}" + "".join(str(w.message) for w in recwarn)
    assert "June" not in told


def test_how_the_patient_lay_is_not_invented():
    sources = instances()
    for dataset in sources:
        del dataset.PatientPosition
    assert derived_instances(IMAGE, AFFINE, sources, key=KEY)[0].PatientPosition == ""


@pytest.mark.parametrize("given", [{"description": "of janette"}, {"generation": {"network": "HOSP-0099471"}}])
def test_text_that_names_the_patient_is_refused_and_not_repeated(given):
    with pytest.raises(ValueError, match=f"{next(iter(given))}: repeats part of the patient's identity, which"):
        derived_instances(IMAGE, AFFINE, instances(), key=KEY, **given)
    assert derived_instances(IMAGE, AFFINE, instances(), deidentified=False, **given)
