"""GRAZPEDWRI-DX: 20,327 wrist films of 6,091 children.

Layout: `dataset.csv` (begins with a byte order mark), 16-bit PNGs `<filestem>.png` in `images/` or in the folders of
the four archives, boxes as YOLO text files or Pascal VOC files of the same stem, anywhere below the folder.

The table writes 1 or leaves blank, and blank means no: `fracture_visible` blank is not fractured, `cast` and `metal`
blank are not there. Rows whose diagnosis is marked uncertain, whose AO code names a fracture that the column does not,
or whose boxes contradict it, have a doubtful label. May depend on `listing`, `schema`, `labels` and `errors`.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from PIL import Image

from hf_fracture.data.schema import RawRow
from hf_fracture.data.sources.info import Download, SourceInfo
from hf_fracture.data.sources.listing import (
    MAX_AGE_YEARS,
    check_box,
    check_file_name,
    check_folder,
    find_table_folder,
    list_files,
    quote,
    read_flag,
    read_number,
    read_table,
)
from hf_fracture.errors import DatasetError
from hf_fracture.labels import FRACTURED, NOT_FRACTURED

INFO: Final = SourceInfo(
    name="grazpedwri_dx",
    title="GRAZPEDWRI-DX",
    licence="CC-BY-4.0",
    citation=(
        "Nagy, E., Janisch, M., Hrzic, F. et al. A pediatric wrist trauma X-ray dataset (GRAZPEDWRI-DX) for machine "
        "learning. Scientific Data 9, 222 (2022). https://doi.org/10.1038/s41597-022-01328-z"
    ),
    homepage="https://doi.org/10.6084/m9.figshare.14825193",
    download=Download(host="figshare", handle="14825193"),
    redistributable=True,
    modalities=("XR",),
    summary="20,327 wrist films of 6,091 children, with boxes, patient, study, view, side, age and sex.",
)

BOX_CLASSES: Final = (
    *("boneanomaly", "bonelesion", "foreignbody", "fracture", "metal", "periostealreaction", "pronatorsign"),
    *("softtissue", "text"),
)
_FRACTURE_CLASS: Final = BOX_CLASSES.index("fracture")
_COLUMNS: Final = (
    *("filestem", "patient_id", "study_number", "gender", "age", "laterality", "projection", "ao_classification"),
    *("cast", "diagnosis_uncertain", "fracture_visible", "metal"),
)
_ROUNDING: Final = 0.01  # shares are written with few digits
_VIEWS: Final = {"1": "frontal", "2": "lateral", "3": "oblique"}


def read_rows(data_dir: Path) -> Iterator[RawRow]:
    """Yield one row per row of the table, then one without a label per image that the table does not name.

    Raises:
        MissingInputError: If the folder or the table is missing.
        DatasetError: If they do not hold what they promise.
    """
    check_folder(data_dir, expected="GRAZPEDWRI-DX (dataset.csv, images, labels)")
    data_dir = find_table_folder(data_dir, "dataset.csv")
    table = read_table(data_dir / "dataset.csv", columns=_COLUMNS)
    files = list_files(data_dir)
    images = _index_by_stem(data_dir, files, ".png")
    yolo, voc = _index_by_stem(data_dir, files, ".txt"), _index_by_stem(data_dir, files, ".xml")
    for record in table:
        stem = record["filestem"]
        check_file_name(stem, where="dataset.csv")
        path = images.pop(stem, data_dir / "images" / f"{stem}.png")
        boxes = _read_boxes(path, yolo.get(stem), voc.get(stem))
        yield _build_row(data_dir, path, record, boxes)
    for path in images.values():
        yield RawRow(path=path, source_path=path.relative_to(data_dir).as_posix(), label=None)


def _index_by_stem(data_dir: Path, files: Sequence[Path], suffix: str) -> dict[str, Path]:
    """Index files of one kind by their stem.

    Raises:
        DatasetError: If two have one stem.
    """
    index: dict[str, Path] = {}
    for path in files:
        if path.suffix.lower() != suffix:
            continue
        if path.stem in index:
            raise DatasetError(
                f"Expected each film once, got {path.name} as {index[path.stem].relative_to(data_dir).as_posix()} and "
                f"as {path.relative_to(data_dir).as_posix()}. Remove one."
            )
        index[path.stem] = path
    return index


def _build_row(data_dir: Path, path: Path, record: Mapping[str, str], boxes: list[list[float]] | None) -> RawRow:
    stem, patient = record["filestem"], record["patient_id"]
    flags = {
        name: bool(read_flag(record[name], where=f"{name} of {stem}"))
        for name in ("fracture_visible", "diagnosis_uncertain", "cast", "metal")
    }
    return RawRow(
        path=path,
        source_path=path.relative_to(data_dir).as_posix(),
        label=FRACTURED if flags["fracture_visible"] else NOT_FRACTURED,
        modality="XR",
        body_part="wrist",
        view=_VIEWS.get(record["projection"]),
        laterality=record["laterality"] if record["laterality"] in ("L", "R") else None,
        patient_id=patient or None,
        study_id=f"{patient}-{record['study_number']}" if patient and record["study_number"] else None,
        boxes=boxes or [],
        hardware=flags["metal"],
        cast=flags["cast"],
        age_years=read_number(record["age"], where=f"age of {stem}", low=0, high=MAX_AGE_YEARS),
        sex=record["gender"] if record["gender"] in ("F", "M") else None,
        label_doubt=_find_doubt(flags, record["ao_classification"], boxes),
    )


def _find_doubt(flags: Mapping[str, bool], ao_code: str, boxes: list[list[float]] | None) -> str | None:
    """Return what speaks against the label, or None; `boxes` is None where the film has no box file."""
    is_fractured = flags["fracture_visible"]
    doubts = {
        "the diagnosis is marked uncertain": flags["diagnosis_uncertain"],
        f"no visible fracture, but the AO code {ao_code}": bool(ao_code) and not is_fractured,
        "no visible fracture, but a fracture box": bool(boxes) and not is_fractured,
        "a visible fracture, but no fracture box": boxes == [] and is_fractured,
    }
    return "; ".join(doubt for doubt, is_raised in doubts.items() if is_raised) or None


def _read_boxes(path: Path, yolo_path: Path | None, voc_path: Path | None) -> list[list[float]] | None:
    """Return the fracture boxes in px; None where there is no box file."""
    if yolo_path is not None:
        return _read_yolo(yolo_path, path)
    return None if voc_path is None else _read_voc(voc_path)


def _read_yolo(yolo_path: Path, image_path: Path) -> list[list[float]]:
    """Read lines of class, centre x, centre y, width, height, the last four as shares of the film."""
    try:
        lines = [line.split() for line in yolo_path.read_text(encoding="utf-8").splitlines() if line.strip()]
        shares = [[float(value) for value in line[1:5]] for line in lines if int(line[0]) == _FRACTURE_CLASS]
        if any(len(box) != 4 for box in shares):
            raise ValueError("a line of fewer than five numbers")
        if not all(-_ROUNDING <= share <= 1 + _ROUNDING for box in shares for share in box):
            raise ValueError("a share outside 0 to 1")
    except (ValueError, IndexError) as error:
        raise DatasetError(
            f"{yolo_path.name} must hold lines of class, centre x, centre y, width and height, got {quote(error)}. "
            "Unpack the labels again."
        ) from error
    if not shares or not image_path.is_file():
        return shares  # without the film there are no pixels to count in; preparing will not get as far
    try:
        with Image.open(image_path) as image:
            width, height = image.size
    except OSError:
        return shares  # preparing names the unreadable film
    boxes = ([(x - w / 2) * width, (y - h / 2) * height, w * width, h * height] for x, y, w, h in shares)
    return [check_box(box, where=yolo_path.name) for box in boxes]


def _read_voc(voc_path: Path) -> list[list[float]]:
    """Read a Pascal VOC file: the corners of each object."""
    try:
        root = ElementTree.parse(voc_path).getroot()
        corners = [
            [float(item.findtext(f"bndbox/{side}") or "") for side in ("xmin", "ymin", "xmax", "ymax")]
            for item in root.iter("object")
            if (item.findtext("name") or "").strip() == "fracture"
        ]
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DatasetError(
            f"{voc_path.name} must be a Pascal VOC file, got {quote(error)}. Unpack the annotations again."
        ) from error
    boxes = ([left, top, right - left, bottom - top] for left, top, right, bottom in corners)
    return [check_box(box, where=voc_path.name) for box in boxes]
