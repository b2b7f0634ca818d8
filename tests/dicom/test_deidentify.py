import io
import logging
import random

import numpy as np
import pydicom
import pytest
from invented_patient import IDENTITY, KEY, forbidden, full_header, instances
from pydicom.uid import UID_dictionary

from medgen.dicom.deidentify import deidentify, mapped_uid
from medgen.dicom.files import dicom_files
from medgen.dicom.instances import write_instances
from medgen.dicom.synthetic import synthetic_instances
from medgen.dicom.verify import check_generated, elements

pytest.importorskip("dicomanonymizer")


def encoded(dataset):
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


def test_nothing_of_the_identity_survives_at_any_depth(tmp_path):
    original = full_header()
    before = encoded(original).lower()
    assert [word for word in forbidden() if word not in before] == []  # the fixture holds what is looked for
    (path,) = write_instances([deidentify(original, KEY)], tmp_path)
    after = path.read_bytes().lower()
    assert [word for word in forbidden() if word in after] == []


def test_the_original_is_left_alone_and_the_rest_is_kept():
    original = full_header()
    before = encoded(original)
    found = deidentify(original, KEY)
    assert encoded(original) == before
    assert found.PixelData == original.PixelData
    assert found.ImagePositionPatient == original.ImagePositionPatient
    assert found.Manufacturer == "Invented Scanners"
    assert str(found.AnatomicRegionSequence[0].ConceptNameCodeSequence[0].OperatorsName) == "ANONYMIZED"
    assert not any(element.tag.is_private for element in elements(found))


def test_it_says_how_it_was_done():
    found = deidentify(full_header(), KEY)
    assert found.PatientIdentityRemoved == "YES"
    assert found.LongitudinalTemporalInformationModified == "REMOVED"
    (method,) = found.DeidentificationMethodCodeSequence
    assert (method.CodeValue, method.CodingSchemeDesignator) == ("113100", "DCM")
    assert any("dicom-anonymizer" in line for line in found.DeidentificationMethod)
    assert found.PatientID.startswith("patient-")
    assert found.StudyDate == found.PatientBirthDate == found.AccessionNumber == ""
    assert "PatientAge" not in found


def test_uids_are_mapped_alike_everywhere_and_the_standards_own_stay():
    first, second = (deidentify(dataset, KEY) for dataset in instances(2))
    assert first.StudyInstanceUID == second.StudyInstanceUID == mapped_uid(IDENTITY["StudyInstanceUID"], KEY)
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.PatientID == second.PatientID
    assert first.SOPClassUID in UID_dictionary
    other = deidentify(instances(1)[0], b"another secret of tests")
    assert other.StudyInstanceUID != first.StudyInstanceUID
    assert other.PatientID != first.PatientID


def test_synthetic_marks_survive():
    image = np.zeros((96, 96, 1))
    marked = synthetic_instances(image, np.eye(4), model_sha256="ab" * 32)[0]
    found = deidentify(marked, KEY)
    check_generated(found)
    assert str(found.PatientName).startswith("SYNTHETIC^")
    assert "ab" * 32 in found.ContributingEquipmentSequence[0].ContributionDescription
    assert found.PatientIdentityRemoved == "YES"


def test_repeated_names_are_told_without_telling_them(caplog):
    original = full_header()
    with caplog.at_level(logging.WARNING, logger="medgen.dicom"):
        found = deidentify(original, KEY)
    assert found.ManufacturerModelName == ""
    assert "repeated part of the patient's identity" in caplog.text
    assert "Janette" not in caplog.text
    assert "0099471" not in caplog.text


def test_identity_hidden_in_any_attribute_of_the_dictionary_is_found():
    """Every attribute of the data dictionary that holds text, a date or a UID, at the top and nested."""
    from pydicom.datadict import DicomDictionary

    generator = random.Random(0)
    values = {"DA": "20190610", "DT": "20190610101112", "UI": "1.2.840.99999.8.8", "PN": "Wolverton^Ada", "AS": "078Y"}
    values |= dict.fromkeys(("LO", "LT", "SH", "ST", "UC", "UT"), "Janette")
    entries = [(tag, entry[0]) for tag, entry in DicomDictionary.items() if entry[0] in values and tag >> 16 > 0x0004]
    dataset = instances(1)[0]
    for tag, vr in generator.sample(entries, 900):
        if tag not in dataset:
            dataset.add_new(tag, vr, values[vr])
    nested = pydicom.Dataset()
    nested.update({tag: element for tag, element in dataset.items() if element.tag.group not in (0x7FE0, 0x0028)})
    dataset.AnatomicRegionSequence = [nested]
    found = deidentify(dataset, KEY)
    assert len(found.AnatomicRegionSequence[0]) > 100
    after = encoded(found).lower()
    assert [word for word in forbidden() if word in after] == []


def test_a_short_key_is_refused():
    with pytest.raises(ValueError, match="expected 16 or more"):
        deidentify(full_header(), b"short")


@pytest.mark.real_data
def test_nothing_of_a_real_header_survives(real_data, tmp_path):
    files = dicom_files(real_data / "dicom_t1")[::60] + dicom_files(real_data / "dicom_siemens_epi")[::40]
    for number, file in enumerate(files):
        original = pydicom.dcmread(file)
        original.remove_private_tags()
        known = set()
        for element in elements(original):
            if element.VR == "UI":
                known |= {uid for uid in str(element.value).split("\\") if uid not in UID_dictionary}
            elif element.VR in ("DA", "DT", "PN"):
                known.add(str(element.value))
        known |= {str(original.get(keyword, "")) for keyword in ("PatientID", "InstitutionName", "DeviceSerialNumber")}
        known = {word.encode() for word in known if len(word) >= 4}
        assert known
        (path,) = write_instances([deidentify(pydicom.dcmread(file), KEY)], tmp_path / str(number))
        header = path.read_bytes()
        assert sum(word in header for word in known) == 0


@pytest.mark.parametrize(
    ("vr", "tag"), [("LO", 0x00181020), ("SH", 0x00180024), ("LO", 0x60020022), ("UR", 0x00081190)]
)
@pytest.mark.parametrize("name", ["Quixote^Dulcinea", "Doe^Quixote"])
def test_a_part_of_the_name_in_other_text_is_enough(vr, tag, name):
    original = instances(1)[0]
    original.PatientName = name
    original.add_new(tag, vr, "seen-by-QUIXOTE")
    assert b"quixote" not in encoded(deidentify(original, KEY)).lower()


def test_values_of_a_wrong_form_are_not_quoted_in_warnings(recwarn, caplog):
    original = instances(1)[0]
    original.PatientBirthDate, original.FrameOfReferenceUID = "17 March 1941", "1.2.HOSP-0099471"
    content = encoded(original)
    recwarn.clear()
    caplog.clear()
    deidentify(pydicom.dcmread(io.BytesIO(content), force=True), KEY)
    told = caplog.text + "".join(str(warning.message) for warning in recwarn)
    assert "March" not in told
    assert "0099471" not in told


def test_a_mark_that_repeats_the_identity_is_emptied():
    original = instances(1)[0]
    original.add_new(0x0008001C, "CS", "YES")
    original.ContributingEquipmentSequence = synthetic_instances(np.zeros((96, 96, 1)), np.eye(4))[
        0
    ].ContributingEquipmentSequence
    original.ContributingEquipmentSequence[0].ContributionDescription = "model for Janette, HOSP-0099471"
    after = encoded(deidentify(original, KEY)).lower()
    assert b"janette" not in after
    assert b"0099471" not in after
