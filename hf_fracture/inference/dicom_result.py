"""The answer to a film as DICOM: a Secondary Capture of the heatmap over it, and the finding as JSON beside it.

The new objects go to a series of their own in the film's study, so that an archive files them with it; for that they
carry the patient and study attributes of the file. The file itself is only read. May depend on `finding` and `errors`;
pydicom is imported when something is written.
"""

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

from hf_fracture.data.radiographs import looks_like_dicom
from hf_fracture.inference.finding import Finding
from hf_fracture.outputs import replacing

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
NOT_FOR_DIAGNOSIS: Final = "Research use only, not for diagnosis"
_TAKEN_OVER: Final = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber"),
    *("ReferringPhysicianName", "BodyPartExamined", "Laterality", "ImageLaterality", "ViewPosition"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "LossyImageCompression", "LossyImageCompressionRatio"),
    *("LossyImageCompressionMethod", "SpecificCharacterSet"),
)
_EMPTY_IF_UNKNOWN: Final = (  # type 2 of DICOM PS3.3 A.8.1: present in every Secondary Capture
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("AccessionNumber", "ReferringPhysicianName", "Laterality"),
)
_HEAD_BYTES: Final = 132


def write_dicom_result(finding: Finding, overlay: Image.Image, target: Path) -> None:
    """Write `TARGET.dcm` and `TARGET.json`, each to a temporary name first.

    Args:
        finding: The answer; the film at its `path` gives patient and study, if it is DICOM.
        overlay: The film with its heatmap, RGB.
        target: Path without its ending.
    """
    source = _read_header(finding.path)
    capture = build_secondary_capture(finding, overlay, source)
    target.parent.mkdir(parents=True, exist_ok=True)
    _write(target.with_name(target.name + ".dcm"), lambda path: capture.save_as(path, enforce_file_format=True))
    facts = {
        **finding.to_dict(),
        "notice": NOT_FOR_DIAGNOSIS,
        "overlay": target.name + ".dcm",
        "overlay_sop_instance_uid": str(capture.SOPInstanceUID),
        "film_sop_instance_uid": str(source.get("SOPInstanceUID")) if source and "SOPInstanceUID" in source else None,
    }
    text = json.dumps(facts, indent=2, allow_nan=False)
    _write(target.with_name(target.name + ".json"), lambda path: path.write_text(text + "\n", encoding="utf-8"))


def build_secondary_capture(finding: Finding, overlay: Image.Image, source: "Dataset | None") -> "FileDataset":
    """Build the Secondary Capture.

    Args:
        finding: Goes to the series and derivation descriptions.
        overlay: RGB.
        source: Header of the film, whose patient and study are taken over; None for a film that is not DICOM, which
            gets a study of its own and no patient.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(SECONDARY_CAPTURE)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    capture = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    for keyword in _TAKEN_OVER:
        if source is not None and keyword in source:
            setattr(capture, keyword, source[keyword].value)
    for keyword in _EMPTY_IF_UNKNOWN:
        if keyword not in capture:
            setattr(capture, keyword, "")
    if "StudyInstanceUID" not in capture:
        capture.StudyInstanceUID = generate_uid()
    if "SpecificCharacterSet" not in capture:
        capture.SpecificCharacterSet = "ISO_IR 192"
    _describe(capture, finding, source)
    _add_pixels(capture, overlay)
    return capture


def _describe(capture: "FileDataset", finding: Finding, source: "Dataset | None") -> None:
    from importlib.metadata import version

    from pydicom.dataset import Dataset
    from pydicom.uid import generate_uid

    now = datetime.now().astimezone()  # local, as the study's own date and time are
    capture.SOPClassUID = SECONDARY_CAPTURE
    capture.SOPInstanceUID = capture.file_meta.MediaStorageSOPInstanceUID
    capture.SeriesInstanceUID = generate_uid()
    capture.Modality = "OT"
    capture.ConversionType = "WSD"
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.SeriesNumber, capture.InstanceNumber = 9900, 1
    capture.SeriesDescription = "hf-fracture: evidence for a fracture"
    capture.InstanceCreationDate = capture.ContentDate = capture.DateOfSecondaryCapture = now.strftime("%Y%m%d")
    capture.InstanceCreationTime = capture.ContentTime = capture.TimeOfSecondaryCapture = now.strftime("%H%M%S")
    capture.SecondaryCaptureDeviceManufacturer = capture.Manufacturer = "hf-fracture"
    capture.SecondaryCaptureDeviceSoftwareVersions = capture.SoftwareVersions = version("hf-fracture")
    capture.PatientOrientation = ""  # a projection's, unknown to this program
    capture.BurnedInAnnotation = "NO" if source is None else source.get("BurnedInAnnotation") or "NO"
    probability = "none" if finding.probability is None else f"{finding.probability:.3f}"
    capture.DerivationDescription = (
        f"{finding.decision}, probability {probability}; heatmap of {finding.model} {finding.revision or ''} laid over "
        f"the film. {NOT_FOR_DIAGNOSIS}."
    )
    capture.ImageComments = NOT_FOR_DIAGNOSIS
    if source is not None and "SOPClassUID" in source and "SOPInstanceUID" in source:
        purpose, reference = Dataset(), Dataset()
        purpose.CodeValue, purpose.CodingSchemeDesignator = "121322", "DCM"
        purpose.CodeMeaning = "Source image for image processing operation"
        reference.ReferencedSOPClassUID = source.SOPClassUID
        reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
        reference.PurposeOfReferenceCodeSequence = [purpose]
        capture.SourceImageSequence = [reference]


def _add_pixels(capture: "FileDataset", overlay: Image.Image) -> None:
    pixels = np.asarray(overlay.convert("RGB"))
    capture.Rows, capture.Columns = pixels.shape[:2]
    capture.SamplesPerPixel, capture.PlanarConfiguration = 3, 0
    capture.PhotometricInterpretation = "RGB"
    capture.BitsAllocated = capture.BitsStored = 8
    capture.HighBit, capture.PixelRepresentation = 7, 0
    data = pixels.tobytes()
    capture.PixelData = data + bytes(len(data) % 2)


def _read_header(path: str | None) -> "Dataset | None":
    """Return the header of a DICOM file without its pixels; None for anything else."""
    if path is None:
        return None
    with Path(path).open("rb") as stream:
        if not looks_like_dicom(stream.read(_HEAD_BYTES), path):
            return None
    from pydicom import dcmread

    return dcmread(path, stop_before_pixels=True, force=True)


def _write(path: Path, save: Any) -> None:
    with replacing(path) as partial:
        save(partial)
