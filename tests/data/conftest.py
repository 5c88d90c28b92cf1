"""Miniatures of the published datasets, in their exact layouts, made of drawn films."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from hf_fracture.data.orientation import ORIENTATION_TAG
from hf_fracture.data.phantoms import draw_phantom

FRACATLAS_COLUMNS = (
    *("image_id", "hand", "leg", "hip", "shoulder", "mixed", "hardware", "multiscan", "fractured", "fracture_count"),
    *("frontal", "lateral", "oblique"),
)
GRAZ_COLUMNS = (
    *("filestem", "patient_id", "study_number", "timehash", "gender", "age", "laterality", "projection"),
    *("initial_exam", "ao_classification", "cast", "diagnosis_uncertain", "osteopenia", "fracture_visible", "metal"),
    *("pixel_spacing", "device_manufacturer"),
)


def draw(seed: int, *, fractured: bool = False, size_px: tuple[int, int] = (96, 120)) -> Image.Image:
    """Draw a small film; every seed gives another one."""
    return draw_phantom(seed, fractured=fractured, size_px=size_px).image


def save(image: Image.Image, path: Path, file_format: str | None = None, **options: Any) -> Path:
    """Save an image, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, format=file_format, **options)
    return path


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], encoding: str = "utf-8") -> None:
    """Write a table; a column that a row lacks is blank."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding=encoding, newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def write_fracatlas(root: Path, *, num_each: int = 6) -> Path:
    """Write FracAtlas: films 0.. fractured with masks, then as many without; one turned by EXIF, one truncated."""
    rows: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(2 * num_each):
        fractured = index < num_each
        name = f"IMG{index:07d}.jpg"
        folder = root / "images" / ("Fractured" if fractured else "Non_fractured")
        phantom = draw_phantom(index, fractured=fractured, size_px=(96, 120))
        if index == 0:  # stored lying on its side, with the mark drawn on the upright film
            exif = Image.Exif()
            exif[ORIENTATION_TAG] = 6
            save(phantom.image.transpose(Image.Transpose.ROTATE_90), folder / name, quality=95, exif=exif)
        else:
            save(phantom.image, folder / name, quality=95)
        if index == num_each:
            whole = (folder / name).read_bytes()
            (folder / name).write_bytes(whole[:-12])
        stored = Image.open(folder / name).size
        images.append({"id": index, "width": stored[0], "height": stored[1], "file_name": name})
        for x, y, width, height in phantom.boxes:
            polygon = [x, y, x + width, y, x + width, y + height, x, y + height]
            annotations.append(
                {"id": len(annotations), "image_id": index, "bbox": [x, y, width, height], "segmentation": [polygon]}
            )
        rows.append(
            dict.fromkeys(FRACATLAS_COLUMNS, 0)
            | {"image_id": name, "hand": 1, "frontal": 1, "fractured": int(fractured), "hardware": index % 2}
            | ({"leg": 1, "mixed": 1, "lateral": 1} if index == 1 else {})
        )
    write_csv(root / "dataset.csv", FRACATLAS_COLUMNS, rows)
    masks_path = root / "Annotations" / "COCO JSON" / "COCO_fracture_masks.json"
    masks_path.parent.mkdir(parents=True, exist_ok=True)
    masks_path.write_text(json.dumps({"images": images[:num_each], "annotations": annotations, "categories": []}))
    for split, names in {"train": ["IMG0000000.jpg"], "valid": ["IMG0000001.jpg"], "test": ["IMG0000002.jpg"]}.items():
        write_csv(
            root / "Utilities" / "Fracture Split" / f"{split}.csv", ["image_id"], [{"image_id": n} for n in names]
        )
    return root


def write_kaggle(root: Path, *, classes: Sequence[str] = ("fractured", "not fractured"), val: str = "val") -> Path:
    """Write the Kaggle set: families of turned copies over all splits, GIF, palette and RGBA files."""
    for label, class_name in enumerate(classes):
        fractured = label == 0
        for number in range(3):
            film = draw(10 * number + label, fractured=fractured, size_px=(100, 100))
            names = {
                "train": (f"{number}-rotated1.jpg", f"{number}-rotated1-rotated2 (1).jpg"),
                val: (f"{number}-rotated2 - Copy (2).jpg",),
                "test": (f"{number}-rotated3.jpg",),
            }
            for split, split_names in names.items():
                for turns, name in enumerate(split_names):
                    save(film.rotate(90 * turns), root / split / class_name / name, quality=95)
        train = root / "train" / class_name
        save(draw(40 + label, fractured=fractured).convert("P"), train / "palette.png")
        save(draw(42 + label, fractured=fractured), train / "drawn.jpg", "GIF")
        save(draw(44 + label, fractured=fractured).convert("RGBA"), train / "layered.jpg", "PNG")
    return root


def write_bone_break(root: Path) -> Path:
    """Write the bone break set: ten types, each with films for train and test."""
    types = (
        *("Avulsion fracture", "Comminuted fracture", "Fracture Dislocation", "Greenstick fracture"),
        *("Hairline Fracture", "Impacted fracture", "Longitudinal fracture", "Oblique fracture"),
        *("Pathological fracture", "Spiral Fracture"),
    )
    for index, folder in enumerate(types):
        for split in ("Train", "Test"):
            film = draw(2 * index + (split == "Test"), fractured=True)
            save(film, root / folder / split / f"image{index}_jpg.rf.{index:032x}.jpg", quality=95)
    return root


def write_graz(root: Path, *, boxes: str = "yolo", num_patients: int = 6) -> Path:
    """Write GRAZPEDWRI-DX: two 16-bit films a patient, odd patients fractured, boxes as YOLO or VOC files."""
    rows = []
    for patient in range(num_patients):
        for view in (1, 2):
            fractured = patient % 2 == 1
            stem = f"{patient:04d}_012345678{view}_01_WRI-L{view}_M014"
            phantom = draw_phantom(10 * patient + view, fractured=fractured, size_px=(96, 120))
            wide = Image.fromarray(np.asarray(phantom.image).astype(np.uint16) * 257)
            save(wide, root / "images" / f"{stem}.png")
            write_boxes(root, stem, phantom.boxes, wide.size, boxes)
            rows.append(
                {
                    "filestem": stem,
                    "patient_id": patient,
                    "study_number": 1,
                    "gender": "M",
                    "age": 9.5,
                    "laterality": "L",
                    "projection": view,
                    "fracture_visible": 1 if fractured else "",
                    "ao_classification": "23r-M/2.1" if fractured else "",
                    "cast": 1 if view == 2 else "",
                }
            )
    rows[0]["ao_classification"] = "23u-E/7"
    rows[2]["diagnosis_uncertain"] = 1
    write_csv(root / "dataset.csv", GRAZ_COLUMNS, rows, encoding="utf-8-sig")
    return root


def write_boxes(root: Path, stem: str, boxes: Sequence[Sequence[float]], size: tuple[int, int], kind: str) -> None:
    """Write fracture boxes, and one of another class, as a YOLO or a Pascal VOC file."""
    width, height = size
    if kind == "yolo":
        lines = ["8 0.9 0.1 0.1 0.1"]
        lines += [
            f"3 {(x + w / 2) / width:.8f} {(y + h / 2) / height:.8f} {w / width:.8f} {h / height:.8f}"
            for x, y, w, h in boxes
        ]
        path = root / "labels" / f"{stem}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
        return
    objects = [("text", 1.0, 1.0, 9.0, 9.0), *(("fracture", x, y, x + w, y + h) for x, y, w, h in boxes)]
    described = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{left}</xmin><ymin>{top}</ymin><xmax>{right}</xmax>"
        f"<ymax>{bottom}</ymax></bndbox></object>"
        for name, left, top, right, bottom in objects
    )
    path = root / "annotations" / f"{stem}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation>{described}</annotation>")


def save_dicom(values: NDArray[np.uint16], path: Path, **elements: Any) -> Path:
    """Save (H, W) values as an uncompressed DICOM file; elements by keyword."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", generate_uid()
    header.Rows, header.Columns = values.shape
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 0
    header.PixelData = values.tobytes()
    for keyword, value in elements.items():
        setattr(header, keyword, value)
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    header.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def save_dicom_film() -> Callable[..., Path]:
    """Save a DICOM file."""
    return save_dicom


LAYOUTS: dict[str, Callable[..., Path]] = {
    "fracatlas": write_fracatlas,
    "kaggle_multi_region": write_kaggle,
    "bone_break": write_bone_break,
    "grazpedwri_dx": write_graz,
}


@pytest.fixture
def write_layout(tmp_path: Path) -> Callable[..., Path]:
    """Write a dataset's miniature below `tmp_path` and return its folder."""

    def write(name: str, **options: Any) -> Path:
        return LAYOUTS[name](tmp_path / name, **options)

    return write


@pytest.fixture
def draw_film() -> Callable[..., Image.Image]:
    """Draw a small film."""
    return draw


@pytest.fixture
def save_film() -> Callable[..., Path]:
    """Save a film, making its folder."""
    return save
