"""What is fuzzed: seeds from our own generators, mutations of their bytes, and what must hold of every answer.

A target takes files and gives the name of an outcome (`read`, or how and where it was refused). It breaks a promise by
raising anything else: an exception that is no sentence of ours is one, an answer that cannot be true another. Used by
the tests (a short run, driven by hypothesis) and by `scripts/fuzz.py` (minutes for each target).
"""

import argparse
import io
import json
import logging
import math
import random
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

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
    if not texts:
        return files
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
        write_files(files, folder)
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


NASTY_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 1000, 2**31, 2**63, 10**30, 0.0, -0.5, 0.5, 1e-300, 1e300, math.nan),
    *(math.inf, "", "x", "0", "1", "true", "../..", "/etc/passwd", "a\x00b", "\udcff", "=1+1", "<script>", "x" * 5000),
    *("1e-4", "None", [], {}, [0], [1, 2, 3], [[]], [None], [1e9] * 3, ["x"], {"a": 1}, {"0": "a"}, list(range(999))),
)


def mutate_value(content: Any, source: random.Random) -> Any:
    """Replace, remove, copy or rename one value somewhere in a JSON or YAML content."""
    if not isinstance(content, dict | list) or not content or source.random() < 0.15:
        return source.choice(NASTY_VALUES)
    keys = list(content) if isinstance(content, dict) else range(len(content))
    key = source.choice(keys)
    kind = source.random()
    if kind < 0.1:
        return {k: v for k, v in content.items() if k != key} if isinstance(content, dict) else content[:key]
    if kind < 0.15 and isinstance(content, dict):
        return {**content, source.choice(("x", "auto_map", "attn_implementation", *map(str, content))): content[key]}
    changed = dict(content) if isinstance(content, dict) else list(content)
    changed[key] = mutate_value(content[key], source)
    return changed


def mutate_settings(files: Files, source: random.Random) -> Files:
    """Change values in a JSON or YAML file, bytes in the head of another, or lose a file."""
    import yaml

    name = source.choice(sorted(files))
    if source.random() < 0.03 and len(files) > 1:
        return {other: data for other, data in files.items() if other != name}
    if name.endswith((".json", ".yaml")) and source.random() < 0.85:
        read, write = (json.loads, json.dumps) if name.endswith(".json") else (yaml.safe_load, yaml.safe_dump)
        try:
            content = read(files[name].decode())
        except (ValueError, RecursionError, yaml.YAMLError):
            return {**files, name: mutate_bytes(files[name], source)}
        for _ in range(source.choice((1, 1, 1, 2, 3))):
            content = mutate_value(content, source)
        return {**files, name: write(content).encode("utf-8", "surrogateescape")}
    return {**files, name: mutate_header(files[name], source)}


@cache
def build_model_folders() -> dict[str, Files]:
    """Save a tiny network as a model folder: with weights in one file, in two, as an export, and without a record."""
    import tempfile

    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    from hf_fracture.config import FractureRecord, Triage
    from hf_fracture.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
    from hf_fracture.inference.gate import fit_gate, save_gate
    from hf_fracture.labels import ID2LABEL, LABEL2ID
    from hf_fracture.models.checkpoint import read_json, save_model_folder

    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic")
    config.id2label, config.label2id = dict(ID2LABEL), dict(LABEL2ID)
    network = ResNetForImageClassification(config)
    record = FractureRecord(operating_points={}, temperature=1.0, triage=Triage(screening=0.3, rule_in=0.7))
    chosen = Preprocessing(size_px=32, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    features = np.random.default_rng(0).normal(0, 100, (40, 8)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        whole = save_model_folder(network, Path(folder) / "whole", preprocessing=chosen, record=record, run={})
        save_gate(fit_gate(features, features), whole)
        files = {path.name: path.read_bytes() for path in whole.iterdir()}
        network.save_pretrained(Path(folder) / "shards", max_shard_size="4KB")
        shards = {path.name: path.read_bytes() for path in (Path(folder) / "shards").glob("model*")}
        stated = read_json(whole / "config.json")
    described = {name: files[name] for name in ("config.json", "preprocessor_config.json")}
    export = build_export(chosen, stated["fracture"])
    foreign = {**stated, "fracture": None}
    return {
        "weights": files,
        "shards": {**described, **shards},
        "export": {**described, "onnx/model.onnx": export},
        "foreign": {**files, "config.json": json.dumps(foreign).encode()},
    }


def build_export(chosen: Any, record: Any) -> bytes:
    """Write a convolution and a linear layer as an export of this package."""
    from onnx import TensorProto, helper, numpy_helper

    from hf_fracture.export.metadata import INPUT_NAME, LOGITS_NAME, MAP_NAME, OnnxMetadata

    source = np.random.default_rng(0)
    weights = {"w": source.normal(0, 0.1, (8, 3, 4, 4)), "v": source.normal(0, 1, (8, 2)), "b": np.zeros(2)}
    nodes = [
        helper.make_node("Conv", [INPUT_NAME, "w"], [MAP_NAME], strides=[4, 4]),
        helper.make_node("GlobalAveragePool", [MAP_NAME], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "v", "b"], [LOGITS_NAME]),
    ]
    shapes: dict[str, list[str | int | None]] = {
        INPUT_NAME: ["batch", 3, 32, 32],
        LOGITS_NAME: ["batch", 2],
        MAP_NAME: ["batch", 8, 8, 8],
    }
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    initial = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", [values.pop(INPUT_NAME)], list(values.values()), initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    metadata = OnnxMetadata(
        preprocessing=chosen,
        labels=["not fractured", "fractured"],
        fractured_index=1,
        cam_weights=(weights["v"][:, 1] - weights["v"][:, 0]).tolist(),
        cam_layer_norm=None,
        record=record,
        model_sha256="0" * 64,
    )
    helper.set_model_props(model, metadata.to_properties())
    return bytes(model.SerializeToString())


def run_model_folder(files: Files, folder: Path) -> str:
    """Load a model folder and judge a film; whatever comes is a finding that can be written, or one sentence."""
    from transformers.utils import logging as transformers_logging

    from hf_fracture.inference.classifier import FractureClassifier

    transformers_logging.set_verbosity(logging.CRITICAL)
    write_files(files, folder)
    film = draw_phantom(3, fractured=True, size_px=(64, 80)).image
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            classifier = FractureClassifier.from_pretrained(folder)
            examination = classifier.examine(film)
    except FractureError as error:
        _check_sentence(str(error))
        return type(error).__name__ + name_place(error)
    finding = examination.finding
    json.dumps(finding.to_dict(), allow_nan=False)
    if finding.gate_score is None or math.isnan(finding.gate_score):
        raise BrokenPromise(f"a gate score of {finding.gate_score}")
    return f"read, {finding.decision}"


def write_files(files: Files, folder: Path) -> None:
    """Write files below a folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def build_configuration() -> dict[str, Files]:
    """Take the recipes that come with the package, and one that names every field of the recipe's own."""
    import yaml

    from hf_fracture.config import RecipeConfig, find_recipe, list_recipes

    fields = {**asdict(RecipeConfig(backbone="x")), "learning_rate": 1e-4, "num_train_epochs": 2, "seed": 3}
    every = {**fields, "lr_scheduler_type": "linear", "warmup_steps": 0.1, "per_device_train_batch_size": 4}
    named = {name: find_recipe(name).read_bytes() for name in list_recipes()}
    return {
        **{
            name: {"recipe.yaml": recipe if b"\nbackbone:" in recipe else recipe + b"backbone: x\n"}
            for name, recipe in named.items()
        },
        "every field": {"recipe.yaml": yaml.safe_dump(every).encode()},
    }


def run_configuration(files: Files, folder: Path) -> str:
    """Read a recipe as `train --config` does; what is accepted has the kinds and ranges that the fields say."""
    from hf_fracture.cli.train import read_fields

    write_files(files, folder)
    path = folder / "recipe.yaml"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            recipe, arguments = read_fields(argparse.Namespace(config=str(path)), output_dir=folder / "out")
    except FractureError as error:
        _check_sentence(str(error))
        return type(error).__name__ + name_place(error)
    hints = {**get_type_hints(type(recipe)), "learning_rate": float, "num_train_epochs": float, "seed": int}
    for name, hint in hints.items():
        value = getattr(recipe, name, None) if name in recipe.__dataclass_fields__ else getattr(arguments, name)
        _check_kind(name, value, hint)
    if arguments.push_to_hub or arguments.hub_token:
        raise BrokenPromise("a recipe that sends something")
    return "read"


def _check_kind(name: str, value: Any, hint: Any) -> None:
    """Refuse a value of another kind than its annotation says; an integer passes for a float, a bool for neither."""
    if get_origin(hint) is Literal:
        fits = value in get_args(hint)
    else:
        kinds = get_args(hint) or (hint,)
        kinds = (*kinds, int) if float in kinds else kinds
        fits = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
    if not fits or (isinstance(value, float) and not math.isfinite(value)):
        raise BrokenPromise(f"{name} = {value!r}")


TARGETS: Final = {
    target.name: target
    for target in (
        Target(name="model folder", build_seeds=build_model_folders, mutate=mutate_settings, run=run_model_folder),
        Target(name="configuration", build_seeds=build_configuration, mutate=mutate_settings, run=run_configuration),
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
