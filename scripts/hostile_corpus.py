"""Write files that no reader likes, and run each through a classifier: an answer or one clear refusal, soon and small.

    python scripts/hostile_corpus.py OUT_DIR [--model MODEL] [--out scripts/results/hostile_corpus.json]

It prints one line per file, and what broke a limit.

Every film in it is a drawn phantom. Each kind says what must come of it: `read` (an answer, or a refusal by the gate),
`error` (one sentence), `refused` (by modality), or `either` where both are right.
"""

import argparse
import ctypes
import gc
import io
import json
import os
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from hf_fracture.data.phantoms import draw_phantom

MAX_SECONDS: Final = 2.0  # of processor time, which a busy neighbour does not lengthen
MAX_MEGABYTES: Final = 500
NUM_SHOWN: Final = 5
SIZE_PX: Final = (240, 320)

Outcome = Literal["read", "error", "refused", "either"]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One file of the corpus.

    Attributes:
        kind: What is odd about it.
        path: Where it lies.
        outcome: What must come of it.
    """

    kind: str
    path: Path
    outcome: Outcome


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of one file.

    Attributes:
        kind: As in the sample.
        name: Of the file.
        decision: As in `Finding`, or `raised TYPE` for what must never happen.
        sentence: Of the refusal, or empty.
        seconds: Processor time.
        megabytes: Largest growth of the process while it was judged; None where the system does not tell.
        is_right: Whether outcome and limits hold.
    """

    kind: str
    name: str
    decision: str
    sentence: str
    seconds: float
    megabytes: float | None
    is_right: bool


class Corpus:
    """Collects files in a folder."""

    def __init__(self, folder: Path) -> None:
        """Make the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.samples: list[Sample] = []

    def add(self, kind: str, data: bytes, suffix: str, outcome: Outcome) -> None:
        """Write one file."""
        path = self.folder / f"{len(self.samples):03d}_{kind}{suffix}"
        path.write_bytes(data)
        self.note(kind, path, outcome)

    def note(self, kind: str, path: Path, outcome: Outcome) -> None:
        """Take up a path that was made otherwise."""
        self.samples.append(Sample(kind=kind, path=path, outcome=outcome))


def write_corpus(folder: Path) -> list[Sample]:
    """Write every file; those that the system cannot make (a pipe on Windows) are left out."""
    corpus = Corpus(folder)
    film = draw_phantom(0, fractured=True, size_px=SIZE_PX).image
    for add in (_add_rasters, _add_wide, _add_animated, _add_truncated, _add_bombs, _add_foreign, _add_damaged):
        add(corpus, film)
    _add_places(corpus)
    for add in (_add_dicom, _add_odd_dicom, _add_large_dicom, _add_bad_dicom):
        add(corpus, film)
    return corpus.samples


def encode(image: Image.Image, form: str, **options: Any) -> bytes:
    """Return an image as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, format=form, **options)
    return buffer.getvalue()


def _add_rasters(corpus: Corpus, film: Image.Image) -> None:
    colour = film.convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind, data, suffix in (
        ("grey_jpeg", encode(film, "JPEG"), ".jpg"),
        ("progressive_jpeg", encode(colour, "JPEG", progressive=True), ".jpg"),
        ("cmyk_jpeg", encode(colour.convert("CMYK"), "JPEG"), ".jpg"),
        ("exif_rotated_jpeg", encode(film, "JPEG", exif=exif), ".jpg"),
        ("jpeg_with_bytes_behind", encode(film, "JPEG") + b"garbage" * 100, ".jpg"),
        ("jpeg_with_broken_exif", encode(film, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"), ".jpg"),
        ("palette_png", encode(colour.quantize(64), "PNG"), ".png"),
        ("palette_png_with_transparency", encode(colour.quantize(64), "PNG", transparency=0), ".png"),
        ("grey_alpha_png", encode(film.convert("LA"), "PNG"), ".png"),
        ("colour_alpha_png", encode(colour.convert("RGBA"), "PNG"), ".png"),
        ("interlaced_bmp", encode(film, "BMP"), ".bmp"),
        ("one_bit_tiff", encode(film.convert("1"), "TIFF"), ".tif"),
        ("lab_tiff", encode(Image.merge("LAB", (film, *[Image.new("L", film.size, 128)] * 2)), "TIFF"), ".tif"),
        ("lzw_tiff", encode(film, "TIFF", compression="tiff_lzw"), ".tif"),
        ("gif", encode(film, "GIF"), ".gif"),
        ("lossless_webp", encode(colour, "WEBP", lossless=True), ".webp"),
        ("jpeg_2000", encode(film, "JPEG2000"), ".jp2"),
        ("pgm", encode(film, "PPM"), ".pgm"),
        ("png_named_jpg", encode(film, "PNG"), ".jpg"),
        ("jpeg_named_dcm", encode(film, "JPEG"), ".dcm"),
        ("png_without_suffix", encode(film, "PNG"), ""),
        ("two_pixels", encode(film.resize((2, 1)), "PNG"), ".png"),
        ("one_pixel", encode(film.resize((1, 1)), "PNG"), ".png"),
        ("one_column", encode(film.resize((1, 20_000)), "PNG"), ".png"),
        ("one_row", encode(film.resize((20_000, 1)), "PNG"), ".png"),
        ("black", encode(Image.new("L", SIZE_PX, 0), "PNG"), ".png"),
        ("white", encode(Image.new("L", SIZE_PX, 255), "PNG"), ".png"),
    ):
        corpus.add(kind, data, suffix, "read")


def _add_wide(corpus: Corpus, film: Image.Image) -> None:
    grey = np.asarray(film)
    floats = grey.astype(np.float32) / 255
    holes = floats.copy()
    holes[:50] = np.nan
    for kind, values, form in (
        ("png_of_16_bit", grey.astype(np.uint16) * 257, "PNG"),
        ("png_of_12_bit", grey.astype(np.uint16) * 16, "PNG"),
        ("tiff_of_16_bit", grey.astype(np.uint16) * 257, "TIFF"),
        ("tiff_of_32_bit", grey.astype(np.int32) * 4000 - 9000, "TIFF"),
        ("tiff_of_floats", floats, "TIFF"),
        ("tiff_of_large_floats", (floats * 1e30).astype(np.float32), "TIFF"),
        ("tiff_with_nan", holes, "TIFF"),
    ):
        corpus.add(kind, encode(Image.fromarray(values), form), f".{form.lower()}", "read")
    nothing = np.full_like(floats, np.nan)
    corpus.add("tiff_of_nan_alone", encode(Image.fromarray(nothing), "TIFF"), ".tif", "error")
    white_zero = encode(film, "TIFF", tiffinfo={262: 0})
    corpus.add("tiff_where_white_is_zero", white_zero, ".tif", "read")


def _add_animated(corpus: Corpus, film: Image.Image) -> None:
    frames = [film.rotate(angle) for angle in (90, 180, 270)]
    for kind, form, suffix in (("animated_gif", "GIF", ".gif"), ("animated_png", "PNG", ".png")):
        corpus.add(kind, encode(film, form, save_all=True, append_images=frames), suffix, "read")
    colour = [frame.convert("RGB") for frame in frames]
    animated = encode(film.convert("RGB"), "WEBP", save_all=True, append_images=colour)
    corpus.add("animated_webp", animated, ".webp", "read")
    corpus.add("tiff_of_pages", encode(film, "TIFF", save_all=True, append_images=frames), ".tif", "read")
    corpus.add("mpo", encode(film.convert("RGB"), "MPO", save_all=True, append_images=colour), ".mpo", "read")


def _add_truncated(corpus: Corpus, film: Image.Image) -> None:
    colour = film.convert("RGB")
    for form, suffix, fractions in (
        ("JPEG", ".jpg", (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)),
        ("PNG", ".png", (0.001, 0.05, 0.5, 0.9, 0.999)),
        ("TIFF", ".tif", (0.001, 0.1, 0.5, 0.99)),
        ("GIF", ".gif", (0.01, 0.5, 0.99)),
        ("WEBP", ".webp", (0.01, 0.5, 0.99)),
        ("BMP", ".bmp", (0.001, 0.5)),
        ("JPEG2000", ".jp2", (0.02, 0.5, 0.95)),
    ):
        data = encode(colour, form)
        for fraction in fractions:
            corpus.add(f"truncated_{form.lower()}", data[: int(len(data) * fraction)], suffix, "either")


def png_of(width: int, height: int, *, bits: int, colour: int, packed: bytes) -> bytes:
    """Build a PNG from its header and its packed rows; bits a sample, colour type as the format counts them."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def deflate_zeros(num_bytes: int) -> bytes:
    """Deflate so many zeros without holding them."""
    packer, block = zlib.compressobj(9), bytes(1 << 20)
    parts = [packer.compress(block) for _ in range(num_bytes >> 20)]
    return b"".join([*parts, packer.compress(bytes(num_bytes & ((1 << 20) - 1))), packer.flush()])


def _add_bombs(corpus: Corpus, film: Image.Image) -> None:
    corpus.add("png_of_60000_squared", png_of(60_000, 60_000, bits=8, colour=0, packed=b""), ".png", "error")
    corpus.add(
        "png_of_99_megapixels",
        png_of(9_900, 10_000, bits=8, colour=0, packed=deflate_zeros(9_901 * 10_000)),
        ".png",
        "either",
    )
    corpus.add(
        "colour_png_of_90_megapixels",
        png_of(9_000, 10_000, bits=8, colour=2, packed=deflate_zeros(27_001 * 10_000)),
        ".png",
        "either",
    )
    corpus.add(
        "png_of_16_bit_and_90_megapixels",
        png_of(9_000, 10_000, bits=16, colour=0, packed=deflate_zeros(18_001 * 10_000)),
        ".png",
        "either",
    )
    gif = bytearray(encode(film, "GIF"))
    gif[6:10] = struct.pack("<HH", 65_535, 65_535)
    corpus.add("gif_of_65535_squared", bytes(gif), ".gif", "error")
    bmp = bytearray(encode(film, "BMP"))
    bmp[18:26] = struct.pack("<ii", 60_000, 60_000)
    corpus.add("bmp_of_60000_squared", bytes(bmp), ".bmp", "error")
    note = PngImagePlugin.PngInfo()
    note.add_text("comment", "\0" * (40 << 20), zip=True)
    corpus.add("png_with_a_text_bomb", encode(film, "PNG", pnginfo=note), ".png", "either")
    large = Image.new("L", (8_000, 8_000), 40)
    corpus.add("jpeg_of_64_megapixels", encode(large, "JPEG"), ".jpg", "either")
    corpus.add("tiff_of_64_megapixels", encode(large, "TIFF", compression="tiff_deflate"), ".tif", "either")


def _add_foreign(corpus: Corpus, film: Image.Image) -> None:
    del film
    rng = np.random.default_rng(0)
    for kind, data, suffix in (
        ("empty", b"", ".png"),
        ("one_byte", b"\x89", ".png"),
        ("text", b"This is a text.\n", ".png"),
        ("html", b"<!doctype html><script>alert(1)</script>", ".jpg"),
        ("svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", ".svg"),
        ("pdf", b"%PDF-1.7\n1 0 obj<<>>endobj\n%%EOF", ".png"),
        ("zip", b"PK\x03\x04" + bytes(200), ".png"),
        ("pickle", b"\x80\x04\x95\x1a\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.", ".dcm"),
        ("eps_which_would_start_ghostscript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", ".png"),
        ("nifti", struct.pack("<i", 348) + bytes(344), ".dcm"),
        ("random_bytes", rng.bytes(4096), ".jpg"),
        ("zeros", bytes(100_000), ".dcm"),
    ):
        corpus.add(kind, data, suffix, "error")


def _add_damaged(corpus: Corpus, film: Image.Image) -> None:
    rng = np.random.default_rng(1)
    for form, suffix in (("PNG", ".png"), ("JPEG", ".jpg"), ("TIFF", ".tif"), ("WEBP", ".webp"), ("JPEG2000", ".jp2")):
        data = encode(film.convert("RGB"), form)
        for _ in range(3):
            spoiled = bytearray(data)
            for position in rng.integers(8, len(data), 40):
                spoiled[position] ^= int(rng.integers(1, 256))
            corpus.add(f"{form.lower()}_with_flipped_bytes", bytes(spoiled), suffix, "either")
    corpus.add("png_signature_and_noise", b"\x89PNG\r\n\x1a\n" + rng.bytes(500), ".png", "error")
    corpus.add("jpeg_signature_and_noise", b"\xff\xd8\xff\xe0" + rng.bytes(500), ".jpg", "error")
    corpus.add("tiff_whose_directory_points_to_itself", b"II*\0\x08\0\0\0" + bytes(2) + b"\x08\0\0\0", ".tif", "error")


def _add_places(corpus: Corpus) -> None:
    folder = corpus.folder / "a_folder.png"
    folder.mkdir()
    corpus.note("folder", folder, "error")
    corpus.note("missing", corpus.folder / "nothing_here.png", "error")
    loop = corpus.folder / "loop.png"
    try:
        loop.symlink_to(loop)
        corpus.note("link_to_itself", loop, "error")
        pipe = corpus.folder / "pipe.png"
        os.mkfifo(pipe)
        corpus.note("pipe", pipe, "error")
    except (OSError, AttributeError):
        return
    if Path("/dev/zero").exists():
        corpus.note("endless_device", Path("/dev/zero"), "error")


# --- DICOM -----------------------------------------------------------------------------------------------------------


def build_dicom(pixels: NDArray[Any] | None, **attributes: Any) -> Any:
    """Build a DX image; `attributes` are set last, and those that are None are removed."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.1.1")
    meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    film.SOPClassUID, film.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    film.PatientName, film.PatientID, film.Modality, film.StudyInstanceUID = "Doe^Jane", "1", "DX", "1.2.3"
    if pixels is not None:
        bits = pixels.dtype.itemsize * 8
        film.Rows, film.Columns = pixels.shape[:2]
        film.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
        film.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
        if pixels.ndim == 3:
            film.PlanarConfiguration = 0
        film.BitsAllocated = film.BitsStored = bits
        film.HighBit, film.PixelRepresentation = bits - 1, int(pixels.dtype.kind == "i")
        film.PixelData = pixels.tobytes()
        film["PixelData"].VR = "OB" if bits == 8 else "OW"
    for name, value in attributes.items():
        if value is None:
            delattr(film, name)
        else:
            setattr(film, name, value)
    return film


def to_bytes(film: Any, **options: Any) -> bytes:
    """Return a DICOM dataset as the bytes of a file."""
    buffer = io.BytesIO()
    film.save_as(buffer, **{"enforce_file_format": True, **options})
    return buffer.getvalue()


def with_syntax(film: Any, syntax: str, pixels: bytes | None = None) -> Any:
    """Set a transfer syntax and, for compressed ones, one encapsulated frame."""
    from pydicom.encaps import encapsulate

    film.file_meta.TransferSyntaxUID = syntax
    if pixels is not None:
        film.PixelData = encapsulate([pixels])
        film["PixelData"].VR = "OB"
        film["PixelData"].is_undefined_length = True
    return film


def _add_dicom(corpus: Corpus, film: Image.Image) -> None:
    from pydicom.uid import RLELossless

    grey = np.asarray(film)
    deep = grey.astype(np.uint16) * 16
    rle = build_dicom(grey)
    rle.compress(RLELossless)
    jpeg = with_syntax(build_dicom(grey), "1.2.840.10008.1.2.4.50", encode(film, "JPEG"))
    stream = encode(film, "JPEG2000", no_jp2=True)
    jpeg_2000 = with_syntax(build_dicom(grey), "1.2.840.10008.1.2.4.90", stream)
    palette = build_dicom(grey, PhotometricInterpretation="PALETTE COLOR")
    for name in ("Red", "Green", "Blue"):
        setattr(palette, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(palette, f"{name}PaletteColorLookupTableData", (np.arange(256, dtype="<u2") * 257).tobytes())
    for kind, data in (
        ("dicom", to_bytes(build_dicom(grey))),
        ("dicom_implicit", to_bytes(with_syntax(build_dicom(grey), "1.2.840.10008.1.2"))),
        ("dicom_deflated", to_bytes(with_syntax(build_dicom(grey), "1.2.840.10008.1.2.1.99"))),
        ("dicom_rle", to_bytes(rle)),
        ("dicom_jpeg", to_bytes(jpeg)),
        ("dicom_jpeg_2000", to_bytes(jpeg_2000)),
        ("dicom_monochrome1", to_bytes(build_dicom(255 - grey, PhotometricInterpretation="MONOCHROME1"))),
        ("dicom_of_12_bit", to_bytes(build_dicom(deep, BitsStored=12, HighBit=11))),
        ("dicom_with_a_sign", to_bytes(build_dicom(deep.astype(np.int16) - 2000))),
        ("dicom_with_a_window", to_bytes(build_dicom(deep, WindowCenter=2000, WindowWidth=3000))),
        ("dicom_in_colour", to_bytes(build_dicom(np.stack([grey] * 3, axis=-1)))),
        ("dicom_with_a_palette", to_bytes(palette)),
        ("dicom_secondary_capture", to_bytes(build_dicom(grey, Modality="OT"))),
    ):
        corpus.add(kind, data, ".dcm", "read")
    corpus.add("dicom_named_png", to_bytes(build_dicom(grey)), ".png", "read")
    corpus.add("dicom_without_preamble", to_bytes(build_dicom(grey))[132:], ".dcm", "read")


def _add_odd_dicom(corpus: Corpus, film: Image.Image) -> None:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    grey = np.asarray(film)
    deep = grey.astype(np.uint16) * 16
    broken_lut = Dataset()
    broken_lut.LUTDescriptor, broken_lut.LUTData = [4096, 0, 16], b"\0\0\1\0"
    nested = Dataset()
    for _ in range(200):
        outer = Dataset()
        outer.ReferencedStudySequence = Sequence([nested])
        nested = outer
    for kind, changes in (
        ("dicom_with_window_of_no_width", {"WindowCenter": 10, "WindowWidth": 0}),
        ("dicom_with_negative_window", {"WindowCenter": 10, "WindowWidth": -5}),
        ("dicom_with_many_windows", {"WindowCenter": [2000, 1], "WindowWidth": [3000, 1]}),
        ("dicom_with_slope_0", {"RescaleSlope": 0, "RescaleIntercept": 0}),
        ("dicom_with_huge_slope", {"RescaleSlope": "1e30", "RescaleIntercept": "-1e30"}),
        ("dicom_with_broken_lut", {"VOILUTSequence": Sequence([broken_lut])}),
        ("dicom_that_is_all_padding", {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 65535}),
        ("dicom_with_deep_sequences", {"ReferencedStudySequence": Sequence([nested])}),
        ("dicom_with_0_frames", {"NumberOfFrames": 0}),
        ("dicom_with_odd_bits", {"BitsStored": 13, "HighBit": 15}),
        ("dicom_without_photometric", {"PhotometricInterpretation": None}),
        ("dicom_with_a_long_name", {"PatientName": "A" * 5000}),
    ):
        corpus.add(kind, to_bytes(build_dicom(deep, **changes)), ".dcm", "either")
    longer = build_dicom(grey)
    longer.PixelData += bytes(1000)
    corpus.add("dicom_with_more_bytes_than_pixels", to_bytes(longer), ".dcm", "either")
    corpus.add("dicom_of_32_bit", to_bytes(build_dicom(grey.astype(np.uint32) * 1000)), ".dcm", "either")
    floats = build_dicom(None, Rows=grey.shape[0], Columns=grey.shape[1], SamplesPerPixel=1, BitsAllocated=32)
    floats.PhotometricInterpretation = "MONOCHROME2"
    floats.FloatPixelData = (grey.astype("<f4") / 255).tobytes()
    corpus.add("dicom_of_floats", to_bytes(floats), ".dcm", "either")


def _add_large_dicom(corpus: Corpus, film: Image.Image) -> None:
    row = np.asarray(film.resize((65_535, 1)), dtype=np.uint16) * 16
    square = np.asarray(film.resize((6_600, 6_600)), dtype=np.uint16) * 16
    for kind, pixels, outcome in (
        ("dicom_65535_wide", np.repeat(row, 600, axis=0), "either"),
        ("dicom_of_44_megapixels", square, "either"),
        ("dicom_of_100_megapixels", np.zeros((10_000, 10_000), dtype=np.uint8), "error"),
    ):
        corpus.add(kind, to_bytes(build_dicom(pixels)), ".dcm", outcome)  # type: ignore[arg-type]


def _add_bad_dicom(corpus: Corpus, film: Image.Image) -> None:
    grey = np.asarray(film)
    whole = to_bytes(build_dicom(grey))
    pdf = {"EncapsulatedDocument": b"%PDF-1.7", "MIMETypeOfEncapsulatedDocument": "application/pdf"}
    for kind, built in (
        ("dicom_without_pixels", build_dicom(None)),
        ("dicom_report", build_dicom(None, Modality="SR")),
        (
            "dicom_with_a_pdf",
            build_dicom(None, Modality="DOC", **pdf),
        ),
        ("dicom_of_frames", build_dicom(np.concatenate([grey, grey]), Rows=grey.shape[0], NumberOfFrames=2)),
        ("dicom_of_65535_squared", build_dicom(grey, Rows=65_535, Columns=65_535)),
        ("dicom_with_fewer_bytes_than_pixels", build_dicom(grey, Rows=2 * grey.shape[0])),
        ("dicom_of_0_rows", build_dicom(grey, Rows=0)),
        ("dicom_without_rows", build_dicom(grey, Rows=None)),
        ("dicom_with_bits_of_no_kind", build_dicom(grey, BitsAllocated=7)),
        ("dicom_of_a_private_syntax", with_syntax(build_dicom(grey), "1.2.840.113619.5.2.9", b"private")),
        ("dicom_of_a_video", with_syntax(build_dicom(grey), "1.2.840.10008.1.2.4.102", b"\0\0\1\xb3" + bytes(99))),
        ("dicom_of_damaged_jpeg_ls", with_syntax(build_dicom(grey), "1.2.840.10008.1.2.4.80", b"\xff\xd8\xff\xf7no")),
        ("dicom_of_damaged_jpeg_2000", with_syntax(build_dicom(grey), "1.2.840.10008.1.2.4.90", b"\xff\x4f\xff\x51no")),
    ):
        corpus.add(kind, to_bytes(built), ".dcm", "error")
    for kind, modality in (("dicom_ct", "CT"), ("dicom_mr", "MR"), ("dicom_ultrasound", "US")):
        corpus.add(kind, to_bytes(build_dicom(grey.astype(np.int16), Modality=modality)), ".dcm", "refused")
    for fraction in (0.0001, 0.002, 0.003, 0.005, 0.5, 0.999):
        corpus.add("truncated_dicom", whole[: max(133, int(len(whole) * fraction))], ".dcm", "error")
    corpus.add("dicom_preamble_alone", whole[:132], ".dcm", "error")
    bomb = whole[:132] + _meta_of_deflated() + _raw_deflate(400 << 20)
    corpus.add("dicom_deflate_bomb", bomb, ".dcm", "error")
    rng = np.random.default_rng(2)
    for _ in range(6):
        spoiled = bytearray(whole)
        for position in rng.integers(132, 900, 12):
            spoiled[position] ^= int(rng.integers(1, 256))
        corpus.add("dicom_with_flipped_bytes", bytes(spoiled), ".dcm", "either")


def _meta_of_deflated() -> bytes:
    syntax = b"1.2.840.10008.1.2.1.99"
    element = struct.pack("<HH", 2, 0x10) + b"UI" + struct.pack("<H", len(syntax)) + syntax
    return struct.pack("<HH", 2, 0) + b"UL" + struct.pack("<HI", 4, len(element)) + element


def _raw_deflate(num_bytes: int) -> bytes:
    packer, block = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS), bytes(1 << 20)
    return b"".join([*(packer.compress(block) for _ in range((num_bytes >> 20) + 1)), packer.flush()])


# --- running it ------------------------------------------------------------------------------------------------------


def judge_corpus(predict: Callable[[Path], Any], samples: list[Sample]) -> Iterator[Result]:
    """Run each file through a classifier's `predict`, and hold outcome, time and memory to what they must be."""
    from hf_fracture.errors import UnreadableRadiograph

    for sample in samples:
        before = _reset_peak()
        start = time.process_time()
        try:
            finding = predict(sample.path)
            decision, sentence = finding.decision, " ".join(reason.sentence for reason in finding.reasons)
        except UnreadableRadiograph as error:
            decision, sentence = "error", str(error)
        except Exception as error:  # noqa: BLE001 - this is what the corpus looks for
            decision, sentence = f"raised {type(error).__name__}", str(error)
        seconds, peak = time.process_time() - start, _read_peak()
        megabytes = None if before is None or peak is None else max(0.0, peak - before)
        is_right = (
            _matches(decision, sample.outcome)
            and (decision != "error" or _is_one_sentence(sentence))
            and seconds <= MAX_SECONDS
            and (megabytes or 0.0) <= MAX_MEGABYTES
        )
        yield Result(
            kind=sample.kind,
            name=sample.path.name,
            decision=decision,
            sentence=sentence,
            seconds=round(seconds, 3),
            megabytes=None if megabytes is None else round(megabytes, 1),
            is_right=is_right,
        )


def _matches(decision: str, outcome: Outcome) -> bool:
    if decision.startswith("raised"):
        return False
    return {"read": decision != "error", "error": decision == "error", "refused": decision == "refused"}.get(
        outcome, True
    )


def _is_one_sentence(text: str) -> bool:
    """Tell whether a refusal is short, of one line, and quotes no name from a header."""
    return bool(text) and "\n" not in text and len(text) < 500 and "Doe" not in text and "Traceback" not in text


def _reset_peak() -> float | None:
    """Set the process's memory peak to what it holds now, and return that in MB; Linux only.

    Freed memory that the allocator keeps is given back first: a file that fills it again would seem to need nothing.
    """
    if sys.platform != "linux":
        return None
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it
    if trim is not None:
        trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _read_peak()


def _read_peak() -> float | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def summarise(results: list[Result]) -> dict[str, Any]:
    """Return what `docs/benchmark.md` shows: counts, and the files that took most."""
    slowest = sorted(results, key=lambda result: -result.seconds)[:NUM_SHOWN]
    largest = sorted(results, key=lambda result: -(result.megabytes or 0.0))[:NUM_SHOWN]
    return {
        "files": len(results),
        "kinds": len({result.kind for result in results}),
        "right": sum(result.is_right for result in results),
        "limit of processor seconds": MAX_SECONDS,
        "limit of megabytes": MAX_MEGABYTES,
        "outcomes": dict(sorted(Counter(result.decision for result in results).items())),
        "slowest": [_show(result) for result in slowest],
        "largest": [_show(result) for result in largest],
    }


def _show(result: Result) -> dict[str, Any]:
    names = ("kind", "decision", "seconds", "megabytes")
    return {name: value for name, value in asdict(result).items() if name in names}


def main() -> int:
    """Write the corpus, judge it, print what came of it as JSON lines; 1 if anything broke a limit."""
    from hf_fracture.inference.classifier import FractureClassifier
    from hf_fracture.models.checkpoint import write_json

    parser = argparse.ArgumentParser(description="Run files that no reader likes through a classifier.")
    parser.add_argument("folder", type=Path, help="where the files are written")
    parser.add_argument("--model", help="model folder; default: the shipped one")
    parser.add_argument("--out", type=Path, help="JSON with the figures")
    args = parser.parse_args()
    samples = write_corpus(args.folder)
    classifier = FractureClassifier.from_pretrained(args.model)
    classifier.predict(draw_phantom(0, fractured=True).image)  # what is loaded once belongs to no file
    results = []
    for result in judge_corpus(classifier.predict, samples):
        results.append(result)
        print(json.dumps(asdict(result)), flush=True)
    figures = summarise(results)
    wrong = [result for result in results if not result.is_right]
    sys.stderr.write(
        f"{figures['files']} files of {figures['kinds']} kinds: {figures['right']} right; slowest "
        f"{figures['slowest'][0]['seconds']:.2f} s, largest {figures['largest'][0]['megabytes'] or 0:.0f} MB.\n"
        + "".join(f"WRONG {result}\n" for result in wrong)
    )
    if args.out:
        command = "python scripts/hostile_corpus.py OUT_DIR"
        write_json(args.out, {"command": command, "model": classifier.model, **figures})
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
