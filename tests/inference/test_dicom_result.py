"""The Secondary Capture: what DICOM PS3.3 A.8.1 requires, identifiers of its own, and the patient of the film."""

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from pydicom import config, dcmread
from pydicom.dataset import Dataset, FileDataset

from hf_fracture.inference.dicom_result import SECONDARY_CAPTURE, build_secondary_capture, write_dicom_result
from hf_fracture.inference.finding import Finding

TYPE_1 = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "ConversionType"),
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "PixelData", "SpecificCharacterSet"),
)
TYPE_1C_FOR_COLOUR = ("PlanarConfiguration",)
TYPE_2 = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("ReferringPhysicianName", "AccessionNumber", "SeriesNumber", "Laterality", "InstanceNumber"),
    *("PatientOrientation", "ContentDate", "ContentTime", "Manufacturer"),
)
FINDING = Finding(path=None, decision="fracture", probability=0.9, model="m", revision="r", seconds=0.1)
OVERLAY = Image.new("RGB", (33, 21), (1, 2, 3))  # an odd number of bytes


def describe_film(**changes: object) -> Dataset:
    film = Dataset()
    film.SOPClassUID, film.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2.3.4.5"
    film.StudyInstanceUID, film.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    film.SpecificCharacterSet = "ISO_IR 100"
    film.PatientName, film.PatientID, film.PatientSex, film.PatientBirthDate = "Müller^Jane", "PID-471", "F", "19700101"
    film.StudyDate, film.StudyTime, film.StudyID, film.AccessionNumber = "20240102", "101112", "7", "A1"
    film.LossyImageCompression, film.LossyImageCompressionRatio = "01", "12"
    film.Laterality = "L"
    for keyword, value in changes.items():
        setattr(film, keyword, value)
    return film


def save(capture: FileDataset) -> FileDataset:
    """Write it with pydicom's strict checks of every value, and read it back."""
    stream, before = BytesIO(), config.settings.writing_validation_mode
    config.settings.writing_validation_mode = config.RAISE
    try:
        capture.save_as(stream, enforce_file_format=True)
    finally:
        config.settings.writing_validation_mode = before
    stream.seek(0)
    return dcmread(stream)


@pytest.mark.parametrize("source", [None, describe_film()], ids=["a film that is not DICOM", "DICOM"])
def test_every_required_attribute_is_there(source: Dataset | None) -> None:
    capture = save(build_secondary_capture(FINDING, OVERLAY, source))
    for keyword in (*TYPE_1, *TYPE_1C_FOR_COLOUR):
        assert keyword in capture, keyword
        assert capture[keyword].value not in ("", None), keyword
    for keyword in TYPE_2:
        assert keyword in capture, keyword
    assert capture.file_meta.MediaStorageSOPClassUID == capture.SOPClassUID == SECONDARY_CAPTURE
    assert capture.file_meta.MediaStorageSOPInstanceUID == capture.SOPInstanceUID
    assert capture.ImageType[0] == "DERIVED"
    assert len(capture.PixelData) % 2 == 0
    assert (capture.pixel_array == [1, 2, 3]).all()
    assert all(not element.tag.is_private for element in capture)


def test_patient_and_study_are_the_film_s_and_every_identifier_of_its_own_is_new() -> None:
    film = describe_film()
    first, second = (save(build_secondary_capture(FINDING, OVERLAY, film)) for _ in range(2))
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate"):
        assert first[keyword].value == film[keyword].value, keyword
    assert first.LossyImageCompression == "01"
    (reference,) = first.SourceImageSequence
    assert reference.ReferencedSOPClassUID == film.SOPClassUID
    assert reference.ReferencedSOPInstanceUID == film.SOPInstanceUID
    assert reference.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    new = {first.SOPInstanceUID, second.SOPInstanceUID, first.SeriesInstanceUID, second.SeriesInstanceUID}
    assert len(new) == 4
    assert not new & {film.SOPInstanceUID, film.SeriesInstanceUID, film.StudyInstanceUID}


def test_json_beside_it_names_no_patient(tmp_path: Path) -> None:
    film = describe_film()
    path = tmp_path / "film.dcm"
    source = build_secondary_capture(FINDING, OVERLAY, film)  # any DICOM file of that patient
    source.save_as(path, enforce_file_format=True)
    before = path.read_bytes()
    finding = Finding(path=str(path), decision="fracture", probability=0.9, model="m", seconds=0.1)
    write_dicom_result(finding, OVERLAY, tmp_path / "out" / "film")
    text = (tmp_path / "out" / "film.json").read_text()
    for word in ("ller", "PID-471", "19700101", "20240102", "A1"):
        assert word not in text
    assert "not for diagnosis" in text
    assert str(source.SOPInstanceUID) in text
    assert path.read_bytes() == before
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["film.dcm", "film.json"]
