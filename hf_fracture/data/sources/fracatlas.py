"""FracAtlas: hand, leg, hip and shoulder films with fracture boxes and masks.

Layout: `images/Fractured`, `images/Non_fractured`, `dataset.csv`, `Annotations/COCO JSON/COCO_fracture_masks.json`,
`Utilities/Fracture Split/{train,valid,test}.csv` (fractured films only). There is no patient id.

The folder decides the label; where table or masks disagree, the row says so. Boxes and masks are drawn on the film as
EXIF turns it upright, although the COCO file states the size of the stored pixels: on the two marked films that EXIF
turns (IMG0002588, IMG0002628) only so do the masks lie on the fractures.
May depend on `listing`, `orientation`, `schema`, `errors`.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from PIL import Image

from hf_fracture.data.orientation import read_orientation, turn_size
from hf_fracture.data.schema import RawRow
from hf_fracture.data.sources.info import Download, SourceInfo
from hf_fracture.data.sources.listing import (
    check_box,
    check_file_name,
    check_folder,
    check_polygon,
    find_table_folder,
    index_by_name,
    list_images,
    quote,
    read_flag,
    read_table,
)
from hf_fracture.errors import DatasetError, MissingInputError
from hf_fracture.labels import FRACTURED, NOT_FRACTURED

INFO: Final = SourceInfo(
    name="fracatlas",
    title="FracAtlas",
    licence="CC-BY-4.0",
    citation=(
        "Abedeen, I., Rahman, M.A., Prottyasha, F.Z. et al. FracAtlas: A Dataset for Fracture Classification, "
        "Localization and Segmentation of Musculoskeletal Radiographs. Scientific Data 10, 521 (2023). "
        "https://doi.org/10.1038/s41597-023-02432-4"
    ),
    homepage="https://doi.org/10.6084/m9.figshare.22363012",
    download=Download(host="figshare", handle="22363012"),
    redistributable=True,
    modalities=("XR",),
    summary="4,083 films of hand, leg, hip and shoulder, 717 fractured, with fracture boxes and masks.",
)

BODY_PARTS: Final = ("hand", "leg", "hip", "shoulder")
VIEWS: Final = ("frontal", "lateral", "oblique")
_COLUMNS: Final = ("image_id", *BODY_PARTS, "mixed", "hardware", "fractured", *VIEWS)
_LABEL_OF_FOLDER: Final = {"Fractured": FRACTURED, "Non_fractured": NOT_FRACTURED}
_MASKS_PATH: Final = Path("Annotations", "COCO JSON", "COCO_fracture_masks.json")
_SPLIT_FILES: Final = {"train": "train.csv", "validation": "valid.csv", "test": "test.csv"}


@dataclass(frozen=True)
class _Marks:
    """Fractures drawn on one film; `size` is the (width, height) in px that the COCO file states for it."""

    size: tuple[int, int]
    boxes: list[list[float]] = field(default_factory=list)
    polygons: list[list[float]] = field(default_factory=list)


def read_rows(data_dir: Path) -> Iterator[RawRow]:
    """Yield one row per film of the table, then one without a label per film that the table does not name.

    Raises:
        MissingInputError: If the folder, the table or the masks are missing.
        DatasetError: If they do not hold what they promise.
    """
    check_folder(data_dir, expected="FracAtlas (images, dataset.csv, Annotations)")
    data_dir = find_table_folder(data_dir, "dataset.csv")
    table = read_table(data_dir / "dataset.csv", columns=_COLUMNS)
    marks = _read_marks(data_dir / _MASKS_PATH)
    splits = _read_splits(data_dir / "Utilities" / "Fracture Split")
    images_dir = data_dir / "images"
    check_folder(images_dir, expected="FracAtlas' folders Fractured and Non_fractured")
    files = index_by_name(list_images(images_dir), root=data_dir)
    for record in table:
        name = record["image_id"]
        check_file_name(name, where="dataset.csv")
        path = files.pop(name, None)
        if path is None:
            label = FRACTURED if record["fractured"] == "1" else NOT_FRACTURED
            path = images_dir / next(folder for folder, value in _LABEL_OF_FOLDER.items() if value == label) / name
        yield _build_row(data_dir, path, record, marks.get(name), splits.get(name))
    for path in files.values():
        yield RawRow(path=path, source_path=path.relative_to(data_dir).as_posix(), label=None)


def _build_row(
    data_dir: Path, path: Path, record: Mapping[str, str], marks: _Marks | None, source_split: str | None
) -> RawRow:
    folder = path.parent.name
    if folder not in _LABEL_OF_FOLDER:
        raise DatasetError(
            f"Expected the films of FracAtlas in images/Fractured or images/Non_fractured, got {path.name} in {folder}."
            " Move it, or unpack the download again."
        )
    flags = {name: read_flag(record[name], where=f"{name} of {path.name}") for name in _COLUMNS[1:]}
    marks = _scale_marks(marks, path) if marks is not None and path.is_file() else marks
    return RawRow(
        path=path,
        source_path=path.relative_to(data_dir).as_posix(),
        label=_LABEL_OF_FOLDER[folder],
        modality="XR",
        body_part="mixed" if flags["mixed"] else _name_one_of(flags, BODY_PARTS),
        view=_name_one_of(flags, VIEWS),
        boxes=marks.boxes if marks else [],
        polygons=marks.polygons if marks else [],
        hardware=flags["hardware"],
        label_doubt=_find_doubt(_LABEL_OF_FOLDER[folder], flags["fractured"], len(marks.boxes) if marks else 0),
        source_split=source_split,
    )


def _name_one_of(flags: Mapping[str, bool | None], names: tuple[str, ...]) -> str | None:
    """Return the name whose flag is set, `mixed` if several are, None if none is."""
    chosen = [name for name in names if flags[name]]
    return "mixed" if len(chosen) > 1 else next(iter(chosen), None)


def _find_doubt(label: int, table_says: bool | None, num_boxes: int) -> str | None:
    """Return what contradicts the folder's label, or None."""
    doubts = []
    if table_says is not None and table_says != (label == FRACTURED):
        doubts.append(f"dataset.csv says {'fractured' if table_says else 'not fractured'}")
    if label == NOT_FRACTURED and num_boxes:
        doubts.append(f"{num_boxes} fracture(s) are marked on it")
    if label == FRACTURED and not num_boxes:
        doubts.append("no fracture is marked on it")
    return (
        f"filed under {'Fractured' if label == FRACTURED else 'Non_fractured'}, but " + " and ".join(doubts)
        if doubts
        else None
    )


def _read_marks(path: Path) -> dict[str, _Marks]:
    """Read boxes and polygons by file name from the COCO file."""
    if not path.is_file():
        raise MissingInputError(
            f"Expected the fracture masks at {path}, found no file there. Unpack Annotations.zip of the download too."
        )
    try:
        coco: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        images = {image["id"]: image for image in coco["images"]}
        marks = {image["file_name"]: _Marks((int(image["width"]), int(image["height"]))) for image in images.values()}
        for annotation in coco["annotations"]:
            found = marks[images[annotation["image_id"]]["file_name"]]
            found.boxes.append(check_box([float(value) for value in annotation["bbox"]], where=path.name))
            polygons = ([float(value) for value in polygon] for polygon in annotation["segmentation"])
            found.polygons.extend(check_polygon(polygon, where=path.name) for polygon in polygons)
    except DatasetError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DatasetError(
            f"{path.name} must be a COCO file with images, annotations, bbox and segmentation; reading it failed at "
            f"{quote(repr(error))}. Download it again."
        ) from error
    return marks


def _scale_marks(marks: _Marks, path: Path) -> _Marks:
    """Scale marks where the film was resized after marking."""
    try:
        with Image.open(path) as image:
            stored_size, orientation = image.size, read_orientation(image)
    except OSError:
        return marks  # preparing names the unreadable film
    if marks.size in (stored_size, turn_size(stored_size, orientation)):
        return marks
    scale = stored_size[0] / max(marks.size[0], 1)
    if min(marks.size) < 1 or abs(marks.size[1] * scale - stored_size[1]) > 1 + scale:
        raise DatasetError(
            f"Expected marks drawn on the {stored_size[0]} x {stored_size[1]} px of {path.name}, got marks for "
            f"{marks.size[0]} x {marks.size[1]} px. Unpack the images and annotations of one release."
        )
    return _Marks(
        size=stored_size,
        boxes=[[scale * value for value in box] for box in marks.boxes],
        polygons=[[scale * value for value in polygon] for polygon in marks.polygons],
    )


def _read_splits(folder: Path) -> dict[str, str]:
    """Read the published split by file name; empty if the folder is not there."""
    found: dict[str, str] = {}
    for split, file_name in _SPLIT_FILES.items():
        path = folder / file_name
        if path.is_file():
            found.update({row["image_id"]: split for row in read_table(path, columns=("image_id",))})
    return found
