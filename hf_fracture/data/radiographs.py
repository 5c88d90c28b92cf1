"""One function that reads any radiograph file to an upright 8-bit grey image, or says why it cannot.

May depend on `grayscale`, `orientation`, `dicom` (only when the file is DICOM) and `errors`.
"""

import os
import stat
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from PIL import Image, UnidentifiedImageError

from hf_fracture.data.grayscale import convert_to_grey
from hf_fracture.data.orientation import UPRIGHT, read_orientation, turn_image, turn_size
from hf_fracture.errors import UnreadableRadiograph

MAX_PIXELS: Final = 100_000_000
MAX_FILE_BYTES: Final = 200 << 20
RASTER_FORMATS: Final = ("PNG", "JPEG", "TIFF", "GIF", "WEBP", "BMP", "JPEG2000", "PPM")
RASTER_SUFFIXES: Final = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".tif", ".tiff", ".gif", ".webp", ".bmp", ".jp2", ".j2k"),
    *(".pgm", ".ppm", ".pnm"),
)

_EXPECTED: Final = "expected a PNG, JPEG, TIFF, GIF, WebP, BMP, JPEG 2000 or DICOM image"
_FIRST_GROUPS: Final = (b"\x02\x00", b"\x08\x00")  # a DICOM file without preamble begins with one of these tags
_END_OF_JPEG: Final = b"\xff\xd9"
_SMALL_LOSS_FRACTION: Final = 0.05
_MIN_KEPT_FRACTION: Final = 0.25
_PROBE_TAIL: Final = bytes(1 + (37 * index) % 251 for index in range(512))  # entropy-coded filler without a marker
_DECODE_ERRORS: Final = (
    *(OSError, SyntaxError, ValueError, TypeError, EOFError, IndexError, KeyError, OverflowError, MemoryError),
    *(struct.error, zlib.error, RuntimeError, Image.DecompressionBombError),
)


@dataclass(frozen=True, kw_only=True)
class Radiograph:
    """A film as everything downstream sees it, and what the file says about it.

    Attributes:
        image: Mode L, upright, 8 bit.
        read_note: What had to be done to read the file ("truncated", "truncated, lower 54% missing", "rotated by EXIF",
            "scaled from 16 bit", joined with "; "), or None. Missing rows are black.
        modality: `XR`, `CT` or `MR`; None where unknown (raster files).
        body_part: From a DICOM header, in lower case, or None.
        view: From a DICOM header: `frontal`, `lateral`, `oblique`, or None.
        laterality: `L` or `R`, or None.
        patient_id: Salted hash of the patient in a DICOM header, or None.
        study_id: Salted hash of the study in a DICOM header, or None.
        age_years: From a DICOM header, or None.
        sex: `F` or `M` from a DICOM header, or None.
        original_size: (width, height) of the file in px, before it was turned upright.
        original_mode: PIL mode of the file, or the DICOM photometric interpretation.
        has_colour: True if the channels differ visibly: a colour photograph, not a grey film stored as RGB.
    """

    image: Image.Image
    read_note: str | None = None
    modality: str | None = None
    body_part: str | None = None
    view: str | None = None
    laterality: str | None = None
    patient_id: str | None = None
    study_id: str | None = None
    age_years: float | None = None
    sex: str | None = None
    original_size: tuple[int, int]
    original_mode: str
    has_colour: bool


def read_radiograph(
    source: str | os.PathLike[str] | bytes | BinaryIO | Image.Image, *, fast_size_px: int | None = None
) -> Radiograph:
    """Read a film.

    Args:
        source: A path, the bytes of a file, an open binary file, or an image that is already decoded.
        fast_size_px: Decode JPEGs at a reduced size whose long side is still at least this, in px. Faster, and not
            exact: grey levels move. None decodes every pixel.

    Returns:
        The film. A grey file gives exactly its own grey levels.

    Raises:
        UnreadableRadiograph: With a sentence and a code: `not_found`, `empty`, `unreadable`, `truncated`, `too_large`;
            for DICOM also `no_pixels`, `multi_frame`, `unsupported_modality`, `unsupported_compression`.
    """
    if isinstance(source, Image.Image):
        return _decode(source, "The image", fast_size_px=None)
    data, name = _read_bytes(source)
    return decode_radiograph(data, name, fast_size_px=fast_size_px)


def decode_radiograph(data: bytes, name: str, *, fast_size_px: int | None = None) -> Radiograph:
    """Read a film from the bytes of its file.

    Args:
        data: The whole file.
        name: What messages call it.
        fast_size_px: As in `read_radiograph`.

    Raises:
        UnreadableRadiograph: As in `read_radiograph`.
    """
    if not data:
        raise UnreadableRadiograph(f"{name}: {_EXPECTED}, got an empty file. Copy it again.", code="empty")
    _check_bytes(len(data), name)
    if looks_like_dicom(data, name):
        from hf_fracture.data.dicom import read_dicom

        return read_dicom(data, name)
    opened = _open(data, name)
    _check_size(opened, name)
    try:
        return _decode(opened, name, fast_size_px=fast_size_px)
    except UnreadableRadiograph as error:
        if error.code != "truncated" or opened.format not in ("JPEG", "MPO"):
            raise
    completed, num_rows = _complete_jpeg(data, name)
    return _decode(completed, name, fast_size_px=fast_size_px, num_rows=num_rows)


def looks_like_dicom(data: bytes, name: str = "") -> bool:
    """Tell whether bytes are a DICOM file: by the mark after its preamble, or, without one, by the name.

    >>> looks_like_dicom(bytes(128) + b"DICM")
    True
    """
    has_mark = data[128:132] == b"DICM"
    return has_mark or (name.lower().endswith((".dcm", ".dicom")) and data[:2] in _FIRST_GROUPS and data[3:4] == b"\0")


def _read_bytes(source: str | os.PathLike[str] | bytes | BinaryIO) -> tuple[bytes, str]:
    """Return the whole file and a name for messages."""
    if isinstance(source, bytes):
        data, name = source, "The file"
    elif isinstance(source, str | os.PathLike):
        data, name = _read_file(Path(source)), str(source)
    else:
        data, name = source.read(MAX_FILE_BYTES + 1), Path(str(getattr(source, "name", "The file"))).name
    return data, name


def _read_file(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise UnreadableRadiograph(
                f"{path}: {_EXPECTED}, got a device or a pipe, which may never end. Copy it to a file."
            )
        _check_bytes(status.st_size, str(path))
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UnreadableRadiograph(
            f"{path}: {_EXPECTED}, found no file there. Check the path.", code="not_found"
        ) from error
    except IsADirectoryError as error:
        raise UnreadableRadiograph(f"{path}: {_EXPECTED}, got a folder. Name a file in it.") from error
    except OSError as error:
        raise UnreadableRadiograph(f"{path}: the file cannot be opened ({error.strerror}). Check the path.") from error


def _check_bytes(num_bytes: int, name: str) -> None:
    if num_bytes > MAX_FILE_BYTES:
        raise UnreadableRadiograph(
            f"{name}: expected a file of at most {MAX_FILE_BYTES >> 20} MiB, got {num_bytes >> 20}. Reduce the image.",
            code="too_large",
        )


def _open(data: bytes, name: str) -> Image.Image:
    """Read the header only."""
    try:
        return Image.open(BytesIO(data), formats=RASTER_FORMATS)
    except UnidentifiedImageError as error:
        raise UnreadableRadiograph(f"{name}: {_EXPECTED}, got {_describe(data)}. Export the film again.") from error
    except Image.DecompressionBombError as error:
        raise _too_large(name, "far more") from error
    except _DECODE_ERRORS as error:
        raise UnreadableRadiograph(f"{name}: {_EXPECTED}, got one with a damaged header. Copy it again.") from error


def _describe(data: bytes) -> str:
    start = data[:64]
    is_text = all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start)
    return (
        f"a text that begins with '{start.split()[0][:20].decode()}'" if is_text and start.split() else "something else"
    )


def _check_size(image: Image.Image, name: str) -> None:
    """Refuse before decoding what would unpack to gigabytes."""
    width, height = image.size
    max_pixels = MAX_PIXELS // _count_copies(image)
    if width * height > max_pixels:
        raise _too_large(name, f"{width} x {height}", max_pixels)
    if width * height == 0:
        raise UnreadableRadiograph(f"{name}: {_EXPECTED}, got one without pixels. Export the film again.")


def _count_copies(image: Image.Image) -> int:
    """Return how many times the memory of a plain grey film it takes to bring this one into that form."""
    if image.mode in ("L", "1") and not image.has_transparency_data:
        return 1
    return 4 if image.has_transparency_data or image.mode == "P" else 2


def _too_large(name: str, size: str, max_pixels: int = MAX_PIXELS) -> UnreadableRadiograph:
    return UnreadableRadiograph(
        f"{name}: expected at most {max_pixels // 10**6} megapixels in a file of this kind, got {size}. Reduce the "
        "image.",
        code="too_large",
    )


def _decode(image: Image.Image, name: str, *, fast_size_px: int | None, num_rows: int | None = None) -> Radiograph:
    """Decode the first frame and bring it into the one form; of a truncated file `num_rows` rows are there."""
    size, mode = image.size, image.mode
    _check_size(image, name)
    try:
        orientation = read_orientation(image)
        num_frames = getattr(image, "n_frames", 1) if image.format != "MPO" else 1
        if num_frames > 1:
            image.seek(0)
        if fast_size_px is not None:
            image.draft(image.mode, (_reduce(size[0], size, fast_size_px), _reduce(size[1], size, fast_size_px)))
        image.load()
        to_turn = read_orientation(image)  # PIL turns a TIFF itself and states the size it will have (Pillow 12.3)
        grey, has_colour, scale_note = convert_to_grey(image)
    except UnreadableRadiograph:
        raise
    except _DECODE_ERRORS as error:
        raise _describe_decode_error(error, name) from error
    if num_rows is not None:
        grey = _blacken_below(grey, num_rows * grey.height // size[1])
    notes = [
        _describe_loss(num_rows, size[1]),
        f"first of {num_frames} frames" if num_frames > 1 else None,
        scale_note,
        "rotated by EXIF" if orientation != UPRIGHT else None,
    ]
    upright = turn_image(grey, to_turn)
    film = upright.copy() if upright is image else upright
    film.info = {}  # comments and EXIF may name the patient, and PIL writes some of them into every picture made of it
    return Radiograph(
        image=film,
        read_note="; ".join(part for part in notes if part) or None,
        original_size=turn_size(size, orientation) if image.format == "TIFF" else size,
        original_mode=mode,
        has_colour=has_colour,
    )


def _reduce(side: int, size: tuple[int, int], long_side_px: int) -> int:
    return max(1, side * long_side_px // max(size))


def _describe_loss(num_rows: int | None, height: int) -> str | None:
    if num_rows is None:
        return None
    lost_fraction = 1 - num_rows / height
    return "truncated" if lost_fraction < _SMALL_LOSS_FRACTION else f"truncated, lower {lost_fraction:.0%} missing"


def _blacken_below(grey: Image.Image, num_rows: int) -> Image.Image:
    """Return the image with every row from `num_rows` on black, as the empty part of a film is.

    libjpeg would leave them mid-grey, a mark that a network learns at once: in FracAtlas every truncated film is of one
    class.
    """
    whole = Image.new("L", grey.size, 0)
    whole.paste(grey.crop((0, 0, grey.width, num_rows)), (0, 0))
    return whole


def _describe_decode_error(error: BaseException, name: str) -> UnreadableRadiograph:
    if isinstance(error, MemoryError):
        return UnreadableRadiograph(
            f"{name}: there is not enough memory to decode it. Reduce the image.", code="too_large"
        )
    if isinstance(error, EOFError) or "truncated" in str(error).lower():
        return UnreadableRadiograph(
            f"{name}: expected a complete image, got one whose end is missing. Copy it again.", code="truncated"
        )
    return UnreadableRadiograph(f"{name}: {_EXPECTED}, got one whose pixels are damaged. Copy it again.")


def _complete_jpeg(data: bytes, name: str) -> tuple[Image.Image, int]:
    """Reopen a JPEG whose end is missing, with an end put to it, and count the rows that are there.

    PIL's own switch for this is global to the process, and does not tell how much it made up. Where the data really
    ends is found by decoding twice with different ends: the first row that differs is the first that is lost.

    Raises:
        UnreadableRadiograph: If more than three quarters of the rows are lost, or the file is damaged otherwise.
    """
    try:
        completed = Image.open(BytesIO(data + _END_OF_JPEG), formats=("JPEG",))
        plain = np.asarray(completed.convert("L"))
        probed = Image.open(BytesIO(data + _PROBE_TAIL + _END_OF_JPEG), formats=("JPEG",))
        differs = (plain != np.asarray(probed.convert("L"))).any(axis=1)
    except _DECODE_ERRORS as error:
        raise _describe_decode_error(error, name) from error
    num_rows = int(np.argmax(differs)) if differs.any() else len(differs)
    if num_rows < _MIN_KEPT_FRACTION * len(differs):
        raise UnreadableRadiograph(
            f"{name}: expected a complete image, got one whose lower {1 - num_rows / len(differs):.0%} is missing. "
            "Copy it again.",
            code="truncated",
        )
    return Image.open(BytesIO(data + _END_OF_JPEG), formats=("JPEG",)), num_rows
