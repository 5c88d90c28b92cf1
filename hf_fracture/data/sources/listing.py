"""Folders and tables as the sources find them: listed in a fixed order, checked with one sentence.

May depend on `radiographs` (for the names of image files) and `errors`.
"""

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from hf_fracture.data.radiographs import RASTER_SUFFIXES
from hf_fracture.errors import DatasetError, MissingInputError

DICOM_SUFFIXES: Final = (".dcm", ".dicom")
TRUE_WORDS: Final = ("1", "1.0", "true", "yes")
FALSE_WORDS: Final = ("0", "0.0", "false", "no")
_JUNK: Final = ("thumbs.db", "desktop.ini", "__macosx")


def check_folder(folder: Path, *, expected: str) -> None:
    """Refuse a folder that does not exist.

    Raises:
        MissingInputError: Naming it and what was expected in it.
    """
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise MissingInputError(f"Expected {expected} in the folder {folder}, found {found} there. Check --source.")


def find_table_folder(data_dir: Path, table_name: str) -> Path:
    """Return the folder that holds a table: this one, or else the only folder in it, as archives unpack."""
    if (data_dir / table_name).is_file():
        return data_dir
    below = [folder for folder in list_subfolders(data_dir) if (folder / table_name).is_file()]
    return below[0] if len(below) == 1 else data_dir


def list_images(folder: Path, *, suffixes: Sequence[str] = RASTER_SUFFIXES) -> list[Path]:
    """List the image files below a folder, at any depth, sorted by path; hidden files and system litter left out.

    Args:
        folder: It need not exist.
        suffixes: In lower case, with the dot.
    """
    return sorted(
        (path for path in _walk(folder) if path.suffix.lower() in suffixes),
        key=lambda path: path.relative_to(folder).as_posix(),
    )


def list_files(folder: Path) -> list[Path]:
    """List every file below a folder, sorted by path; hidden files and system litter left out."""
    return sorted(_walk(folder), key=lambda path: path.relative_to(folder).as_posix())


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not _is_litter(name)]
        yield from (Path(parent, name) for name in files if not _is_litter(name))


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name.lower() in _JUNK


def list_subfolders(folder: Path) -> list[Path]:
    """List the visible folders directly below a folder, sorted by name."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not _is_litter(path.name))


def read_table(path: Path, *, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read a CSV file that must have certain columns (a byte order mark is skipped, values are stripped).

    Raises:
        MissingInputError: If the file does not exist.
        DatasetError: If it is not a table in UTF-8, lacks a column, or holds no row.
    """
    if not path.is_file():
        raise MissingInputError(
            f"Expected the table {path.name} at {path}, found no file there. Point --source at the dataset's folder."
        )
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            names = [name.strip() for name in reader.fieldnames or []]
            missing = [column for column in columns if column not in names]
            if missing:
                raise DatasetError(
                    f"{path.name} must have the columns {', '.join(columns)}; {', '.join(missing)} is missing among "
                    f"{', '.join(names) or 'none'}. Download the table again, or rename its columns."
                )
            rows = [
                dict(zip(names, (_strip(row.get(raw)) for raw in reader.fieldnames or []), strict=True))
                for row in reader
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} must be a CSV table in UTF-8, got {error}. Download it again.") from error
    if not rows:
        raise DatasetError(f"{path} must hold one row per image, got none. Download it again.")
    return rows


def _strip(value: str | None) -> str:
    return "" if value is None else value.strip()


def read_flag(value: str, *, where: str) -> bool | None:
    """Read a truth value from a table; blank is None.

    Raises:
        DatasetError: If it is neither true, false nor blank.

    >>> read_flag("1", where="hand"), read_flag("", where="hand")
    (True, None)
    """
    word = value.lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    if word:
        raise DatasetError(f"{where} must be 0, 1 or blank, got '{value}'. Correct the table.")
    return None


def index_by_name(paths: Sequence[Path], *, root: Path) -> dict[str, Path]:
    """Index files by their name.

    Raises:
        DatasetError: If two have one name.
    """
    index: dict[str, Path] = {}
    for path in paths:
        if path.name in index:
            raise DatasetError(
                f"Expected each file name once, got {path.name} as {index[path.name].relative_to(root).as_posix()} and "
                f"as {path.relative_to(root).as_posix()}. Remove the one that is wrong."
            )
        index[path.name] = path
    return index
