"""Your own films: in class folders, or listed in a `metadata.csv`; raster files or DICOM, CT and MR slices included.

`metadata.csv` has the columns `file_name` (relative to the table) and `label` (0, 1 or a class name), and any of the
columns of a prepared row that a table can hold; blank is unknown. `boxes` and `polygons` are JSON, in pixels of the
upright film. The table stands in the folder itself or in each of its split folders.
May depend on `class_folders`, `listing`, `schema`, `radiographs` and `errors`.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from hf_fracture.data.radiographs import RASTER_SUFFIXES, looks_like_dicom
from hf_fracture.data.schema import RawRow
from hf_fracture.data.sources.class_folders import read_class_folders, read_class_name, read_split_name
from hf_fracture.data.sources.info import Download, SourceInfo
from hf_fracture.data.sources.listing import (
    DICOM_SUFFIXES,
    MAX_AGE_YEARS,
    check_box,
    check_file_name,
    check_folder,
    check_polygon,
    list_files,
    list_subfolders,
    quote,
    read_flag,
    read_number,
    read_table,
)
from hf_fracture.errors import DatasetError

INFO: Final = SourceInfo(
    name="image_folder",
    title="A folder of films",
    licence="unknown",
    citation="Your own films.",
    homepage="https://huggingface.co/docs/datasets/image_dataset",
    download=Download(host="none"),
    redistributable=False,
    modalities=("XR", "CT", "MR"),
    summary="Any films in class folders or with a metadata.csv; PNG, JPEG, TIFF, DICOM and more.",
)

TABLE_NAME: Final = "metadata.csv"
_TEXT_COLUMNS: Final = (
    *("fracture_type", "modality", "body_part", "view", "laterality", "patient_id", "study_id", "sex", "label_doubt"),
)
_FLAG_COLUMNS: Final = ("hardware", "cast")
_JSON_COLUMNS: Final = ("boxes", "polygons")
_NUM_DICOM_START: Final = 132


def read_rows(data_dir: Path) -> Iterator[RawRow]:
    """Yield one row per film; a film that no table names, or outside the class folders, has no label.

    Raises:
        MissingInputError: If the folder is missing.
        DatasetError: If it is empty, or holds neither class folders nor a usable table.
    """
    check_folder(data_dir, expected="films in class folders or with a metadata.csv")
    if not list_films(data_dir):
        raise DatasetError(
            f"Expected films (PNG, JPEG, TIFF, GIF, WebP, BMP or DICOM) in {data_dir}, found none. Check --source."
        )
    tables = find_tables(data_dir)
    if not tables:
        yield from read_class_folders(data_dir, list_files=list_films)
        return
    named: set[Path] = set()
    for table_path, split in tables:
        for row in _read_table_rows(data_dir, table_path, split):
            named.add(row.path)
            yield row
    for path in list_films(data_dir):
        if path not in named:
            yield RawRow(path=path, source_path=path.relative_to(data_dir).as_posix(), label=None)


def list_films(folder: Path) -> list[Path]:
    """List raster and DICOM files; a file without a suffix is looked into, as scanners write DICOM that way."""
    return [path for path in list_files(folder) if _is_film(path)]


def _is_film(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in RASTER_SUFFIXES or suffix in DICOM_SUFFIXES:
        return True
    if suffix not in ("", ".ima") and not suffix[1:].isdigit():
        return False
    with path.open("rb") as stream:
        return looks_like_dicom(stream.read(_NUM_DICOM_START))


def find_tables(data_dir: Path) -> list[tuple[Path, str | None]]:
    """Return each table and the split it stands for: the folder's own table, else those of its split folders."""
    own = data_dir / TABLE_NAME
    if own.is_file():
        return [(own, None)]
    folders = ((folder, read_split_name(folder.name)) for folder in list_subfolders(data_dir))
    return [(folder / TABLE_NAME, split) for folder, split in folders if split and (folder / TABLE_NAME).is_file()]


def _read_table_rows(data_dir: Path, table_path: Path, split: str | None) -> Iterator[RawRow]:
    seen: set[str] = set()
    for record in read_table(table_path, columns=("file_name", "label")):
        name = record["file_name"]
        if name in seen:
            raise DatasetError(f"{table_path.name} must name each film once, got {quote(name)} twice. Remove one row.")
        seen.add(name)
        yield _build_row(data_dir, table_path.parent / name, record, split)


def _build_row(data_dir: Path, path: Path, record: Mapping[str, str], split: str | None) -> RawRow:
    name = record["file_name"]
    check_file_name(name, where=TABLE_NAME, folders_allowed=True)
    if not path.resolve().is_relative_to(data_dir.resolve()):
        raise DatasetError(f"{TABLE_NAME} must name films inside its folder, got {name}. Move the film there.")
    label = read_class_name(record["label"])
    if label is None:
        raise DatasetError(
            f"label of {quote(name)} must be 0, 1, 'not fractured' or 'fractured', got '{quote(record['label'])}'. "
            "Correct the table."
        )
    values: dict[str, Any] = {column: record.get(column) or None for column in _TEXT_COLUMNS}
    values |= {column: read_flag(record.get(column, ""), where=f"{column} of {name}") for column in _FLAG_COLUMNS}
    values |= {column: _read_marks(record.get(column, ""), column, name) for column in _JSON_COLUMNS}
    return RawRow(
        path=path,
        source_path=path.relative_to(data_dir).as_posix(),
        label=label,
        age_years=read_number(record.get("age_years", ""), where=f"age_years of {name}", low=0, high=MAX_AGE_YEARS),
        source_split=split or _read_split(record.get("split", ""), name),
        **values,
    )


def _read_split(text: str, name: str) -> str | None:
    split = read_split_name(text)
    if text and split is None:
        raise DatasetError(
            f"split of {name} must be train, validation or test, got '{quote(text)}'. Correct the table."
        )
    return split


def _read_marks(text: str, column: str, name: str) -> list[list[float]]:
    """Read a JSON list of boxes of four numbers, or of polygons of at least three points."""
    try:
        marks = [[float(value) for value in mark] for mark in json.loads(text or "[]")]
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise DatasetError(
            f"{column} of {name} must be a JSON list of lists of numbers, got '{quote(text)}'. Correct the table."
        ) from error
    check = check_box if column == "boxes" else check_polygon
    return [check(mark, where=f"{column} of {name}") for mark in marks]
