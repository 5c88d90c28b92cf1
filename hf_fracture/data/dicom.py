"""DICOM files: projection radiographs, CT slices in a bone window, MR slices.

Imported only when a file is DICOM, because pydicom takes a moment. May depend on `grayscale`, `identity`, `radiographs`
and `errors`.
"""

import re
import struct
import threading
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import config, dcmread
from pydicom.dataset import FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi

from hf_fracture.data.grayscale import convert_to_grey, split_rows
from hf_fracture.data.identity import hash_identity
from hf_fracture.data.radiographs import MAX_PIXELS, Radiograph
from hf_fracture.errors import UnreadableRadiograph

BONE_WINDOW: Final = (400.0, 1800.0)  # centre and width in Hounsfield units
_PROJECTIONS: Final = ("CR", "DX", "DR", "RG", "RF", "XA", "MG", "IO", "PX")
_MODALITY_OF: Final = {**dict.fromkeys(_PROJECTIONS, "XR"), "CT": "CT", "MR": "MR"}
_UNSTATED: Final = ("", "OT", "SC")
_VIEW_OF: Final = {
    **dict.fromkeys(("AP", "PA", "AXIAL_AP"), "frontal"),
    **dict.fromkeys(("LL", "RL", "LAT", "LATERAL", "LLD", "RLD", "ML", "LM"), "lateral"),
    **dict.fromkeys(("RAO", "LAO", "RPO", "LPO", "RLO", "LLO", "OBL", "OBLIQUE"), "oblique"),
}
_FACTS: Final = (
    *("Modality", "BodyPartExamined", "ViewPosition", "ImageLaterality", "Laterality", "PatientID"),
    *("IssuerOfPatientID", "StudyInstanceUID", "PatientAge", "PatientSex"),
)
_PIXEL_KEYWORDS: Final = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_PYDICOM_SETTINGS: Final = threading.Lock()
_MAX_UID_LENGTH: Final = 64
MAX_INFLATED_BYTES: Final = 256 << 20
_INFLATED_BLOCK: Final = 8 << 20
_MAX_DECODED_BYTES: Final = 400_000_000  # file, stored pixels and film together
_NUM_COPIES: Final = 3  # of the stored pixels: in the file, in the header, as an array
_FILM_BYTES: Final = 3  # per pixel, besides
_COLOUR_BYTES: Final = 14
_CODE: Final = re.compile(r"[A-Z0-9_ ]{1,16}")
_PALETTE: Final = "PALETTE COLOR"
_DEFLATED: Final = b"1.2.840.10008.1.2.1.99"
_META_LENGTH_OFFSET: Final = 140  # preamble 128, mark 4, tag 4, kind 2, length 2
_ERRORS: Final = (
    *(
        InvalidDicomError,
        BytesLengthException,
        OSError,
        EOFError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        IndexError,
    ),
    *(NotImplementedError, RuntimeError, OverflowError, MemoryError, struct.error, zlib.error),
)

Grey = NDArray[np.float32]
ToLevels = Callable[[NDArray[Any]], Grey]


def read_dicom(data: bytes, name: str) -> Radiograph:
    """Read a DICOM file of one image.

    Projection films and MR slices are shown through the window or look-up table in their file, stretched from darkest
    to brightest where there is none; CT slices through a bone window, whatever their file says. Padding is black, and
    MONOCHROME1 is inverted.

    Args:
        data: The whole file.
        name: What messages call it.

    Raises:
        UnreadableRadiograph: With a sentence and a code: `unreadable`, `truncated`, `no_pixels`, `multi_frame`,
            `unsupported_modality`, `unsupported_compression`, `too_large`.
    """
    _check_inflated_size(data, name)
    try:
        header = _read_header(data)
        _check_header(header, name)
        modality = _find_modality(header, name)
    except UnreadableRadiograph:
        raise
    except _ERRORS as error:
        raise UnreadableRadiograph(
            f"{name}: expected a DICOM image, got one whose header is damaged. Export it again."
        ) from error
    try:
        grey, has_colour, note = _render(header, modality, name)
    except UnreadableRadiograph:
        raise
    except _ERRORS as error:
        raise _describe_pixel_error(error, header, name) from error
    return Radiograph(
        image=grey,
        read_note=note,
        modality=modality,
        body_part=_read_code(header, "BodyPartExamined").lower().replace("_", " ") or None,
        view=_VIEW_OF.get(_read_code(header, "ViewPosition")),
        laterality=_read_laterality(header),
        patient_id=hash_identity(_read_text(header, "PatientID"), _read_text(header, "IssuerOfPatientID")),
        study_id=hash_identity(_read_text(header, "StudyInstanceUID")),
        age_years=_read_age(header),
        sex=sex if (sex := _read_text(header, "PatientSex").upper()) in ("F", "M") else None,
        original_size=(int(header.Columns), int(header.Rows)),
        original_mode=_read_code(header, "PhotometricInterpretation"),
        has_colour=has_colour,
    )


def _read_header(data: bytes) -> FileDataset:
    """Parse a file, and every element that is used, without pydicom's warnings: they quote the header, names included.

    pydicom's switch for this is global, hence the lock; it is put back.
    """
    with _PYDICOM_SETTINGS:
        before = config.settings.reading_validation_mode
        config.settings.reading_validation_mode = config.IGNORE
        try:
            header = dcmread(BytesIO(data), force=data[128:132] != b"DICM")
            for element in header.group_dataset(0x0028):
                _ = element.value
            for keyword in _FACTS:
                header.get(keyword)
            _check_transfer_syntax(header)
        finally:
            config.settings.reading_validation_mode = before
    return header


def _check_transfer_syntax(header: FileDataset) -> None:
    """Refuse a damaged transfer syntax; pydicom would quote it, and what follows it, while decoding."""
    syntax = str(header.file_meta.get("TransferSyntaxUID") or "1.2.840.10008.1.2")
    if len(syntax) > _MAX_UID_LENGTH or not syntax.replace(".", "").isdigit():
        raise InvalidDicomError


def _check_inflated_size(data: bytes, name: str) -> None:
    """Refuse a deflated file that would unpack to gigabytes; pydicom would unpack it whole."""
    if _DEFLATED not in data[:2048]:
        return
    (length,) = struct.unpack_from("<I", data, _META_LENGTH_OFFSET)
    inflater, packed, num_bytes = zlib.decompressobj(-zlib.MAX_WBITS), data[_META_LENGTH_OFFSET + 4 + length :], 0
    try:
        while packed and not inflater.eof:
            num_bytes += len(inflater.decompress(packed, _INFLATED_BLOCK))
            packed = inflater.unconsumed_tail
            if num_bytes > MAX_INFLATED_BYTES:
                raise UnreadableRadiograph(
                    f"{name}: expected a file that unpacks to at most {MAX_INFLATED_BYTES >> 20} MiB, got more. Reduce "
                    "the image.",
                    code="too_large",
                )
    except zlib.error:
        return  # reading it will say that it is damaged


def _check_header(header: FileDataset, name: str) -> None:
    """Refuse what holds no image, several, or too large a one, before its pixels are decoded."""
    if not any(keyword in header for keyword in _PIXEL_KEYWORDS):
        what = _read_code(header, "Modality") or "no stated modality"
        raise UnreadableRadiograph(
            f"{name}: expected a DICOM image, got a DICOM file without pixels ({what}). Export the image itself.",
            code="no_pixels",
        )
    num_frames = int(header.get("NumberOfFrames") or 1)
    if num_frames > 1:
        raise UnreadableRadiograph(
            f"{name}: expected a DICOM file of one image, got one of {num_frames} frames. Export the one that matters.",
            code="multi_frame",
        )
    width, height = int(header.Columns), int(header.Rows)
    max_pixels = _count_max_pixels(header)
    if width * height > max_pixels:
        raise UnreadableRadiograph(
            f"{name}: expected at most {max_pixels // 10**6} megapixels in a file of this kind, got {width} x {height}."
            " Reduce the image.",
            code="too_large",
        )
    if width * height == 0:
        raise UnreadableRadiograph(
            f"{name}: expected a DICOM image, got one of 0 pixels. Export it again.", code="no_pixels"
        )


def _count_max_pixels(header: FileDataset) -> int:
    """Return how large an image of this depth may be, so that reading it takes no more memory than a server has."""
    num_bytes = max(1, int(header.get("BitsAllocated") or 16) // 8) * int(header.get("SamplesPerPixel") or 1)
    is_colour = int(header.get("SamplesPerPixel") or 1) > 1 or header.get("PhotometricInterpretation") == _PALETTE
    return min(
        MAX_PIXELS, _MAX_DECODED_BYTES // (_NUM_COPIES * num_bytes + (_COLOUR_BYTES if is_colour else _FILM_BYTES))
    )


def _find_modality(header: FileDataset, name: str) -> str | None:
    """Return XR, CT or MR; None where the file does not say.

    Raises:
        UnreadableRadiograph: For ultrasound, nuclear medicine and whatever else shows no bone as these do.
    """
    stated = _read_code(header, "Modality")
    if stated not in _MODALITY_OF and stated not in _UNSTATED:
        raise UnreadableRadiograph(
            f"{name}: expected a radiograph, CT or MR slice, got modality {stated}. Choose another series.",
            code="unsupported_modality",
        )
    return _MODALITY_OF.get(stated)


def _render(header: FileDataset, modality: str | None, name: str) -> tuple[Image.Image, bool, str | None]:
    """Return mode L, whether it is coloured, and a note; some rows at a time, since a large film is there thrice."""
    pixels = header.pixel_array
    if pixels.shape[:2] != (header.Rows, header.Columns):  # pydicom takes pixels beyond the image for further frames
        raise UnreadableRadiograph(
            f"{name}: expected pixels for {header.Rows} rows of {header.Columns}, as its header says, got "
            f"{' x '.join(map(str, pixels.shape))}. Export it again."
        )
    for keyword in _PIXEL_KEYWORDS:
        if keyword in header:
            delattr(header, keyword)
    if _read_code(header, "PhotometricInterpretation") == _PALETTE or pixels.ndim == 3:
        return convert_to_grey(Image.fromarray(_render_colour(pixels, header)))
    to_levels, note = _choose_window(pixels, header, modality)
    is_inverted = _read_code(header, "PhotometricInterpretation") == "MONOCHROME1"
    film = np.empty(pixels.shape, dtype=np.uint8)
    for rows, target in zip(split_rows(pixels), split_rows(film), strict=True):
        stored = _drop_overlay_bits(rows, header)
        levels = to_levels(apply_modality_lut(stored, header))
        if is_inverted:
            levels = 255.0 - levels
        levels[_find_padding(stored, header)] = 0.0
        target[:] = np.rint(levels)
    return Image.fromarray(film), False, note


def _render_colour(pixels: NDArray[Any], header: FileDataset) -> NDArray[np.uint8]:
    colour = np.empty((*pixels.shape[:2], 3), dtype=np.uint8)
    num_done = 0
    for target in split_rows(colour):
        rows = pixels[num_done : num_done + len(target)]
        num_done += len(target)
        shown = apply_color_lut(rows, header) if rows.ndim == 2 else rows
        target[:] = shown[..., :3] >> 8 * (shown.dtype.itemsize - 1)
    return colour


def _drop_overlay_bits(pixels: NDArray[Any], header: FileDataset) -> NDArray[Any]:
    """Clear what older devices keep in the unused high bits: drawings over the film."""
    bits_stored, bits_allocated = int(header.get("BitsStored", 16)), int(header.get("BitsAllocated", 16))
    is_unsigned = np.issubdtype(pixels.dtype, np.unsignedinteger)
    if is_unsigned and bits_stored < bits_allocated:
        return np.asarray(pixels & pixels.dtype.type((1 << bits_stored) - 1))
    return pixels


def _find_padding(stored: NDArray[Any], header: FileDataset) -> NDArray[np.bool_]:
    """Mark the pixels outside the exposed field, as the file defines them."""
    padding = header.get("PixelPaddingValue")
    if padding is None:
        return np.zeros(stored.shape, dtype=np.bool_)
    limit = header.get("PixelPaddingRangeLimit", padding)
    low, high = sorted((int(padding), int(limit)))
    return np.asarray((stored >= low) & (stored <= high))


def _choose_window(pixels: NDArray[Any], header: FileDataset, modality: str | None) -> tuple[ToLevels, str | None]:
    """Return what maps rescaled values to 0..255, and a note."""
    if modality == "CT":
        return lambda values: _apply_window(values.astype(np.float32), *BONE_WINDOW, "LINEAR"), "bone window"
    if header.get("VOILUTSequence"):
        top = 2.0 ** int(header.VOILUTSequence[0].LUTDescriptor[2]) - 1

        def look_up(values: NDArray[Any]) -> Grey:
            whole = values if np.issubdtype(values.dtype, np.integer) else np.rint(values).astype(int)
            return np.asarray(np.clip(apply_voi(whole, header).astype(np.float32) * (255.0 / top), 0, 255))

        return look_up, None
    centre, width = _read_first(header, "WindowCenter"), _read_first(header, "WindowWidth")
    if centre is not None and width is not None and width > 0:
        function = _read_text(header, "VOILUTFunction").upper() or "LINEAR"
        return lambda values: _apply_window(values.astype(np.float32), centre, width, function), None
    low, high = _find_extremes(pixels, header)

    def stretch(values: NDArray[Any]) -> Grey:
        return np.asarray(np.clip((values.astype(np.float32) - low) * (255.0 / max(high - low, 1e-6)), 0, 255))

    return stretch, "stretched, the file has no window"


def _find_extremes(pixels: NDArray[Any], header: FileDataset) -> tuple[float, float]:
    """Return the smallest and largest rescaled value outside the padding, or of all where all is padding."""
    found: dict[bool, list[float]] = {False: [], True: []}
    for rows in split_rows(pixels):
        stored = _drop_overlay_bits(rows, header)
        shown = ~_find_padding(stored, header)
        values = apply_modality_lut(stored, header).astype(np.float32)
        found[False] += [float(values.min()), float(values.max())]
        if shown.any():
            found[True] += [float(values[shown].min()), float(values[shown].max())]
    extremes = found[True] or found[False]
    return min(extremes), max(extremes)


def _apply_window(values: Grey, centre: float, width: float, function: str) -> Grey:
    """Apply a window as DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3 define it."""
    if function == "SIGMOID":
        return np.asarray(255.0 / (1.0 + np.exp(-4.0 * (values - centre) / width)), dtype=np.float32)
    if function == "LINEAR_EXACT":
        return np.asarray(np.clip(((values - centre) / width + 0.5) * 255.0, 0, 255))
    return np.asarray(np.clip(((values - (centre - 0.5)) / max(width - 1.0, 1e-6) + 0.5) * 255.0, 0, 255))


def _read_first(header: FileDataset, keyword: str) -> float | None:
    """Return the first of possibly several numbers."""
    value = header.get(keyword)
    if value is None or value == "":
        return None
    return float(value) if not hasattr(value, "__len__") or isinstance(value, str) else float(value[0])


def _read_text(header: FileDataset, keyword: str) -> str:
    value = header.get(keyword)
    return "" if value is None else str(value).strip()


def _read_code(header: FileDataset, keyword: str) -> str:
    """Return a code string (DICOM PS3.5, CS) in capitals; blank if it is none.

    In a damaged file a text can run on into the elements behind it, the patient's among them; those must get neither
    into a message nor into a dataset.
    """
    text = _read_text(header, keyword).upper()
    return text if _CODE.fullmatch(text) else ""


def _read_laterality(header: FileDataset) -> str | None:
    stated = _read_text(header, "ImageLaterality") or _read_text(header, "Laterality")
    return stated.upper() if stated.upper() in ("L", "R") else None


def _read_age(header: FileDataset) -> float | None:
    """Return the age in years: DICOM writes 045Y, 018M, 003W or 010D."""
    stated = _read_text(header, "PatientAge").upper()
    per_year = {"Y": 1.0, "M": 12.0, "W": 52.1775, "D": 365.2425}
    if len(stated) < 2 or stated[-1] not in per_year or not stated[:-1].isdigit():
        return None
    return round(int(stated[:-1]) / per_year[stated[-1]], 2)


def _describe_pixel_error(error: BaseException, header: FileDataset, name: str) -> UnreadableRadiograph:
    syntax = header.file_meta.get("TransferSyntaxUID") if "file_meta" in header.__dict__ else None
    how = getattr(syntax, "name", "unknown")
    text = str(error).lower()
    if "missing dependencies" in text or "does not support" in text:
        return UnreadableRadiograph(
            f"{name}: its pixels are compressed ({how}) in a way that no decoder here reads. Install one "
            "(pip install python-gdcm), or export the film uncompressed.",
            code="unsupported_compression",
        )
    if isinstance(error, MemoryError):
        return UnreadableRadiograph(
            f"{name}: there is not enough memory to decode it. Reduce the image.", code="too_large"
        )
    if "less than expected" in text or "truncat" in text or "unexpected end" in text:
        return UnreadableRadiograph(
            f"{name}: expected a complete image, got one whose end is missing. Copy it again.", code="truncated"
        )
    return UnreadableRadiograph(
        f"{name}: expected a DICOM image, got one whose pixels are damaged ({how}). Export it again."
    )
