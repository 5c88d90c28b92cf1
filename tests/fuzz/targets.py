"""What is fuzzed: seeds from our own generators, mutations of their bytes, and what must hold of every answer.

A target takes files and gives the name of an outcome (`read`, or how and where it was refused). It breaks a promise by
raising anything else: an exception that is no sentence of ours is one, an answer that cannot be true another. Used by
the tests (a short run, driven by hypothesis) and by `scripts/fuzz.py` (minutes for each target).
"""

import io
import json
import math
import random
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from hf_fracture.data.orientation import ORIENTATION_TAG
from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.data.radiographs import MAX_PIXELS, decode_radiograph
from hf_fracture.data.schema import RawRow
from hf_fracture.data.sources import read_rows
from hf_fracture.errors import FractureError, UnreadableRadiograph

Files = Mapping[str, bytes]
"""Content by path relative to the folder that holds them."""

MAX_SECONDS: Final = 2.0
MAX_MEGABYTES: Final = 500
MAX_SENTENCE: Final = 600
_NASTY_CELLS: Final = (
    *(
        "",
        " ",
        "-1",
        "nan",
        "inf",
        "-inf",
        "1e999",
        "1e-999",
        "NULL",
        "0x10",
        "１",
        "../../../etc/passwd",
        "/etc/passwd",
    ),
    *("a\x00b", "=1+1", "\ufeff", "\u202e", "x" * 5000, "[" * 3000, '{"a":1}', "[[1,2,3]]", "[[NaN,1,2,3]]"),
    *("[[1e400,1,1,1]]", "[[-5,-5,-5,-5]]", "true", "True", "2", "1.0", "fractured", "not fractured", '"', ",", "\n"),
)


@dataclass(frozen=True, kw_only=True)
class Target:
    """One reader under test.

    Attributes:
        name: As the result calls it.
        build_seeds: Makes the files that are mutated, by kind.
        mutate: Changes one set of files at random.
        run: Reads a set of files, written below a folder, and names the outcome.
    """

    name: str
    build_seeds: Callable[[], dict[str, Files]]
    mutate: Callable[[Files, random.Random], Files]
    run: Callable[[Files, Path], str]


class BrokenPromise(AssertionError):
    """What came back cannot be right."""


def mutate_bytes(data: bytes, source: random.Random) -> bytes:
    """Flip, cut, repeat, insert and overwrite bytes; numbers at their limits come up often."""
    changed = bytearray(data)
    for _ in range(source.choice((1, 1, 1, 2, 4, 16))):
        place = source.randrange(len(changed) + 1)
        kind = source.randrange(7)
        if kind == 0 and place < len(changed):
            changed[place] ^= 1 << source.randrange(8)
        elif kind == 1 and place < len(changed):
            changed[place] = source.choice((0, 1, 0x7F, 0x80, 0xFF, source.randrange(256)))
        elif kind == 2:
            number = source.choice((0, 1, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF))
            width = source.choice((2, 4))
            order = source.choice(("little", "big"))
            changed[place : place + width] = (number & (256**width - 1)).to_bytes(width, order)
        elif kind == 3:
            del changed[place : place + source.choice((1, 2, 8, 64))]
        elif kind == 4:
            changed[place:place] = changed[place : place + source.choice((1, 4, 32))]
        elif kind == 5:
            changed[place:place] = source.randbytes(source.choice((1, 2, 8)))
        elif source.random() < 0.3:
            del changed[place:]
    return bytes(changed)


def mutate_header(data: bytes, source: random.Random) -> bytes:
    """Mutate the first bytes three times out of four, where the structure of an image file is."""
    size = source.choice((64, 256, 1024, len(data)))
    return mutate_bytes(data[:size], source) + data[size:]


def mutate_one_file(files: Files, source: random.Random) -> Files:
    """Mutate one of the files as an image."""
    name = source.choice(sorted(files))
    return {**files, name: mutate_header(files[name], source)}


def mutate_tables(files: Files, source: random.Random) -> Files:
    """Put a nasty value into a cell or a number of a text file, or mutate its bytes; now and then lose a file."""
    texts = sorted(name for name in files if not name.endswith((".png", ".jpg")))
    name = source.choice(texts)
    if source.random() < 0.03:
        return {other: data for other, data in files.items() if other != name}
    data = files[name]
    if source.random() < 0.4:
        return {**files, name: mutate_bytes(data, source)}
    text = data.decode("utf-8", "surrogateescape")
    marks = [place for place, letter in enumerate(text) if letter in ",: \n<>[]"]
    begin = source.choice(marks) if marks else 0
    end = next((place for place in marks if place > begin), len(text))
    nasty = source.choice(_NASTY_CELLS)
    if source.random() < 0.3:
        nasty = '"' + nasty.replace('"', '""') + '"'
    return {**files, name: (text[: begin + 1] + nasty + text[end:]).encode("utf-8", "surrogateescape")}


def build_images() -> dict[str, Files]:
    """Draw one film and save it in every format that is read."""
    film = draw_phantom(3, fractured=True, size_px=(64, 80)).image
    wide = Image.fromarray(np.asarray(film).astype(np.uint16) * 200)
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 6
    kinds: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
        "png": (film, "PNG", {}),
        "png 16 bit": (wide, "PNG", {}),
        "png palette": (film.convert("P"), "PNG", {}),
        "png alpha": (film.convert("RGBA"), "PNG", {}),
        "png 1 bit": (film.convert("1"), "PNG", {}),
        "jpeg": (film, "JPEG", {"quality": 90}),
        "jpeg colour": (film.convert("RGB"), "JPEG", {"quality": 80, "exif": exif}),
        "jpeg progressive": (film, "JPEG", {"progressive": True}),
        "jpeg cmyk": (film.convert("CMYK"), "JPEG", {}),
        "tiff": (film, "TIFF", {}),
        "tiff lzw": (film, "TIFF", {"compression": "tiff_lzw"}),
        "tiff jpeg": (film, "TIFF", {"compression": "jpeg"}),
        "tiff 16 bit": (wide, "TIFF", {"compression": "tiff_deflate"}),
        "tiff float": (film.convert("F"), "TIFF", {}),
        "gif": (film, "GIF", {"save_all": True, "append_images": [film.rotate(9)]}),
        "webp": (film.convert("RGB"), "WEBP", {}),
        "bmp": (film, "BMP", {}),
        "jpeg 2000": (film, "JPEG2000", {}),
        "ppm": (film, "PPM", {}),
    }
    seeds: dict[str, Files] = {}
    for kind, (image, file_format, options) in kinds.items():
        buffer = io.BytesIO()
        image.save(buffer, format=file_format, **options)
        seeds[kind] = {"film": buffer.getvalue()}
    return seeds


def build_dicom() -> dict[str, Files]:
    """Save one drawn film as DICOM files that differ in what a file may say of its pixels."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

    grey = np.asarray(draw_phantom(3, fractured=True, size_px=(64, 80)).image)
    deep = grey.astype(np.uint16) * 16

    def write(pixels: Any, syntax: Any = ExplicitVRLittleEndian, **elements: Any) -> bytes:
        header = Dataset()
        header.SOPClassUID, header.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2.3.4"
        header.Modality, header.PatientID, header.BodyPartExamined = "DX", "MRN-1", "WRIST"
        header.PatientAge, header.PatientSex, header.ViewPosition = "045Y", "F", "PA"
        header.Rows, header.Columns = pixels.shape[:2]
        bits = 8 * pixels.dtype.itemsize
        header.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
        header.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
        header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = bits, bits, bits - 1, 0
        if pixels.ndim == 3:
            header.PlanarConfiguration = 0
        header.PixelData = pixels.tobytes()
        for keyword, value in elements.items():
            setattr(header, keyword, value)
        header.file_meta = FileMetaDataset()
        header.file_meta.TransferSyntaxUID = syntax if syntax != RLELossless else ExplicitVRLittleEndian
        if syntax == RLELossless:
            header.compress(RLELossless)
        buffer = io.BytesIO()
        header.save_as(buffer, enforce_file_format=True)
        return buffer.getvalue()

    kinds = {
        "plain": write(deep),
        "eight bit": write(grey),
        "window": write(deep, WindowCenter=[2000, 1000], WindowWidth=[3000, 10]),
        "sigmoid": write(deep, WindowCenter=2000, WindowWidth=3000, VOILUTFunction="SIGMOID"),
        "inverted, padded": write(deep, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=0),
        "signed, rescaled": write(deep.astype(np.int16), PixelRepresentation=1, RescaleSlope=2, RescaleIntercept=-1024),
        "ct": write(deep, Modality="CT", RescaleSlope=1, RescaleIntercept=-1024),
        "implicit": write(deep, ImplicitVRLittleEndian),
        "deflated": write(deep, DeflatedExplicitVRLittleEndian),
        "run length": write(deep, RLELossless),
        "colour": write(np.repeat(grey[:, :, None], 3, axis=2)),
        "frames": write(deep, NumberOfFrames=1),
    }
    return {kind: {"film": data} for kind, data in kinds.items()}


def run_reader(files: Files, folder: Path) -> str:
    """Decode the film; a picture must be one, a refusal one short sentence with the file's name."""
    try:
        radiograph = decode_radiograph(files["film"], "the-film")
    except UnreadableRadiograph as error:
        _check_sentence(str(error))
        if "MRN-1" in str(error):
            raise BrokenPromise(f"the message quotes the patient: {error}") from error
        return error.code + name_place(error)
    image = radiograph.image
    if image.mode != "L" or not 0 < image.width * image.height <= MAX_PIXELS:
        raise BrokenPromise(f"a film of mode {image.mode} and size {image.size}")
    if sorted(image.size) != sorted(radiograph.original_size):
        raise BrokenPromise(f"a film of {image.size} from a file of {radiograph.original_size}")
    if "MRN-1" in repr(radiograph).upper():
        raise BrokenPromise(f"what is kept of the film names the patient: {radiograph!r}")
    if radiograph.age_years is not None and not 0 <= radiograph.age_years <= 1000:
        raise BrokenPromise(f"age {radiograph.age_years}")
    np.asarray(image)
    return "read"


def name_place(error: BaseException) -> str:
    """Return `@file:line` of where an error was raised, so that a refusal at a new place counts as new."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"@{Path(frame.filename).name}:{frame.lineno}"


def _check_sentence(message: str) -> None:
    if "\n" in message or len(message) > MAX_SENTENCE or "Traceback" in message:
        raise BrokenPromise(f"no sentence: {message[:200]!r}")


def _save(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def build_metadata() -> dict[str, Files]:
    """Write a folder with a `metadata.csv` that uses every column."""
    film = _save(draw_phantom(1, fractured=True, size_px=(64, 80)).image)
    table = (
        "file_name,label,patient_id,study_id,body_part,view,laterality,sex,age_years,hardware,cast,split,boxes,polygons\n"
        'a.png,fractured,p1,s1,wrist,frontal,L,F,9.5,0,1,train,"[[1, 2, 10, 12]]","[[1, 1, 5, 1, 5, 5]]"\n'
        "deep/b.png,not fractured,p2,s2,wrist,lateral,R,M,40,1,,test,,\n"
        "c.png,0,,,,,,,,,,validation,[],[]\n"
    )
    return {"metadata.csv": {"metadata.csv": table.encode(), "a.png": film, "deep/b.png": film, "c.png": film}}


def build_fracatlas() -> dict[str, Files]:
    """Write FracAtlas in miniature: table, COCO masks, published split."""
    film = draw_phantom(1, fractured=True, size_px=(64, 80)).image
    columns = "image_id,hand,leg,hip,shoulder,mixed,hardware,multiscan,fractured,fracture_count,frontal,lateral,oblique"
    rows = ("IMG0000000.jpg,1,0,0,0,0,0,0,1,1,1,0,0", "IMG0000001.jpg,0,1,0,0,0,1,0,0,0,0,1,0")
    coco = {
        "images": [{"id": 0, "width": 64, "height": 80, "file_name": "IMG0000000.jpg"}],
        "annotations": [{"id": 0, "image_id": 0, "bbox": [1, 2, 10, 12], "segmentation": [[1, 1, 5, 1, 5, 5]]}],
        "categories": [{"id": 0, "name": "fractured"}],
    }
    return {
        "COCO": {
            "dataset.csv": "\n".join((columns, *rows, "")).encode(),
            "Annotations/COCO JSON/COCO_fracture_masks.json": json.dumps(coco).encode(),
            "Utilities/Fracture Split/train.csv": b"image_id\nIMG0000000.jpg\n",
            "images/Fractured/IMG0000000.jpg": _save(film),
            "images/Non_fractured/IMG0000001.jpg": _save(film.rotate(20)),
        }
    }


def build_graz() -> dict[str, Files]:
    """Write GRAZPEDWRI-DX in miniature, with YOLO and with Pascal VOC boxes."""
    film = _save(draw_phantom(1, fractured=True, size_px=(64, 80)).image)
    columns = (
        "filestem,patient_id,study_number,timehash,gender,age,laterality,projection,initial_exam,ao_classification,cast,"
        "diagnosis_uncertain,osteopenia,fracture_visible,metal,pixel_spacing,device_manufacturer"
    )
    rows = (
        "0001_1_01_WRI-L1_M014,1,1,1,M,14.1,L,1,1,23r-M/2.1,,,,1,,0.144,Siemens",
        "0002_1_01_WRI-R2_F009,2,1,2,F,9,R,2,1,,1,1,,,1,0.144,Siemens",
    )
    common = {
        "dataset.csv": "\n".join(("\ufeff" + columns, *rows, "")).encode(),
        "images/0001_1_01_WRI-L1_M014.png": film,
        "images/0002_1_01_WRI-R2_F009.png": film,
    }
    voc = (
        b"<annotation><object><name>fracture</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>11</xmax><ymax>14</ymax>"
        b"</bndbox></object><object><name>text</name><bndbox><xmin>0</xmin><ymin>0</ymin><xmax>1</xmax><ymax>1</ymax>"
        b"</bndbox></object></annotation>"
    )
    yolo = b"3 0.5 0.5 0.2 0.3\n8 0.9 0.1 0.1 0.1\n"
    return {
        "YOLO": {**common, "labels/0001_1_01_WRI-L1_M014.txt": yolo},
        "VOC": {**common, "annotations/0001_1_01_WRI-L1_M014.xml": voc},
    }


def build_class_folders() -> dict[str, Files]:
    """Write class folders, with a published split and without."""
    film = _save(draw_phantom(1, fractured=True, size_px=(64, 80)).image)
    return {
        "classes": {"fractured/a.png": film, "not fractured/b.png": film},
        "splits": {"train/fractured/1-rotated1.png": film, "test/normal/b.png": film, "val/broken/c.png": film},
        "types": {"Spiral Fracture/Train/a.png": film, "Greenstick fracture/Test/b.png": film},
    }


def mutate_names(files: Files, source: random.Random) -> Files:
    """Rename a folder or a film, or move it up or down, as unpackers, people and malice do."""
    name = source.choice(sorted(files))
    parts = name.split("/")
    place = source.randrange(len(parts))
    word = source.choice(
        ("", "fractured", "FRACTURED ", "non-fractured", "-1", "0", "train", "validation-cropped", "x" * 200, "ä\u202e")
    )
    renamed = "/".join(part for part in (*parts[:place], word + source.choice(("", parts[place])), *parts[place + 1 :]))
    renamed = "/".join(part for part in renamed.split("/") if part.strip(". "))[:240] or "a.png"
    rest = {other: data for other, data in files.items() if other != name}
    clash = any(other.startswith(renamed + "/") or renamed.startswith(other + "/") for other in rest)
    return files if clash else {**rest, renamed: files[name]}


def read_source(*names: str) -> Callable[[Files, Path], str]:
    """Return a run that writes the files, reads them with each source and checks every row."""

    def run(files: Files, folder: Path) -> str:
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        outcomes = []
        for source in names:
            try:
                for row in read_rows(source, folder):
                    check_row(row, folder)
                outcomes.append("read")
            except FractureError as error:
                _check_sentence(str(error))
                outcomes.append(type(error).__name__ + name_place(error))
        return ", ".join(outcomes)

    return run


def check_row(row: RawRow, folder: Path) -> None:
    """Refuse a row that no dataset can hold."""
    if row.label not in (0, 1, None):
        raise BrokenPromise(f"label {row.label!r}")
    if not row.path.resolve().is_relative_to(folder.resolve()) or ".." in Path(row.source_path).parts:
        raise BrokenPromise(f"a path outside: {row.path}")
    if row.age_years is not None and not 0 <= row.age_years <= 130:
        raise BrokenPromise(f"age {row.age_years}")
    _check_marks(row.boxes, exact=4)
    _check_marks(row.polygons, exact=None)
    if any(box[2] < 0 or box[3] < 0 for box in row.boxes):
        raise BrokenPromise(f"a box of negative extent: {row.boxes}")
    if row.source_split not in ("train", "validation", "test", None):
        raise BrokenPromise(f"split {row.source_split!r}")


def _check_marks(marks: Sequence[Sequence[float]], *, exact: int | None) -> None:
    for mark in marks:
        wrong = len(mark) != exact if exact is not None else len(mark) < 6 or len(mark) % 2
        if wrong or not all(isinstance(value, float) and math.isfinite(value) for value in mark):
            raise BrokenPromise(f"a mark of {list(mark)[:8]}")


TARGETS: Final = {
    target.name: target
    for target in (
        Target(name="images", build_seeds=build_images, mutate=mutate_one_file, run=run_reader),
        Target(name="dicom", build_seeds=build_dicom, mutate=mutate_one_file, run=run_reader),
        Target(name="metadata.csv", build_seeds=build_metadata, mutate=mutate_tables, run=read_source("image_folder")),
        Target(name="fracatlas", build_seeds=build_fracatlas, mutate=mutate_tables, run=read_source("fracatlas")),
        Target(name="grazpedwri_dx", build_seeds=build_graz, mutate=mutate_tables, run=read_source("grazpedwri_dx")),
        Target(
            name="class folders",
            build_seeds=build_class_folders,
            mutate=mutate_names,
            run=read_source("image_folder", "wrist", "kaggle_multi_region", "bone_break"),
        ),
    )
}
