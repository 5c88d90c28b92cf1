"""Folders and tables as the sources find them: listed in a fixed order, checked with one sentence.

May depend on `radiographs` (for the names of image files) and `errors`.
"""

import csv
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from hf_fracture.data.radiographs import RASTER_SUFFIXES
from hf_fracture.errors import DatasetError, MissingInputError

DICOM_SUFFIXES: Final = (".dcm", ".dicom")
TRUE_WORDS: Final = ("1", "1.0", "true", "yes")
FALSE_WORDS: Final = ("0", "0.0", "false", "no")
MAX_AGE_YEARS: Final = 130
_MAX_NAME_BYTES: Final = 255
_MAX_PATH_LENGTH: Final = 1000
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
            reader = (row for row in csv.reader(stream, strict=True) if row)  # blank lines are none
            names = [name.strip() for name in next(reader, [])]
            missing = [column for column in columns if column not in names]
            if missing:
                raise DatasetError(
                    f"{path.name} must have the columns {', '.join(columns)}; {', '.join(missing)} is missing among "
                    f"{quote(', '.join(names) or 'none', 200)}. Download the table again, or rename its columns."
                )
            _check_names(path, names)
            rows = [dict(zip(names, _read_cells(path, names, row), strict=True)) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} must be a CSV table in UTF-8, got {quote(error)}. Download it again.") from error
    if not rows:
        raise DatasetError(f"{path} must hold one row per image, got none. Download it again.")
    return rows


def _check_names(path: Path, names: Sequence[str]) -> None:
    """Refuse two columns of one name, of which one would hide the other."""
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise DatasetError(f"{path.name} must have each column once, got {quote(', '.join(twice))} twice. Remove one.")


def _read_cells(path: Path, names: Sequence[str], cells: Sequence[str]) -> list[str]:
    """Return the cells of a row, stripped; blank ones beyond the last column, as spreadsheets write, are left out.

    A row that was cut short is refused: its missing cells would read as blank, and blank can mean "not fractured".
    """
    while len(cells) > len(names) and not cells[-1].strip():
        cells = cells[:-1]
    if len(cells) != len(names):
        raise DatasetError(
            f"{path.name} must have {len(names)} cells in every row, got {len(cells)} in the row that begins with "
            f"'{quote(cells[0])}'. Download it again, or quote cells that hold a comma."
        )
    return [cell.strip() for cell in cells]


def quote(text: object, limit: int = 80) -> str:
    """Return what a file says, on one line and short enough for a message.

    >>> quote("a" * 100, limit=5)
    'aaaa…'
    """
    line = "".join(letter if letter.isprintable() else " " for letter in str(text)).strip()
    return line if len(line) <= limit else line[: limit - 1] + "…"


def check_file_name(name: str, *, where: str, folders_allowed: bool = False) -> None:
    """Refuse a name from a table that no file of the dataset can have, or that leads out of its folder.

    Raises:
        DatasetError: If it is blank, too long, holds a character that no name holds, or leads elsewhere.
    """
    parts = Path(name).parts
    leads_out = Path(name).is_absolute() or ".." in parts or (len(parts) != 1 and not folders_allowed)
    too_long = any(len(part.encode("utf-8", "surrogatepass")) > _MAX_NAME_BYTES for part in parts)
    too_long |= len(name) > _MAX_PATH_LENGTH
    has_control = any(letter < " " or letter == "\x7f" or "\ud800" <= letter <= "\udfff" for letter in name)
    if not parts or leads_out or too_long or has_control:
        raise DatasetError(f"{where} must name files inside its folder, got '{quote(name)}'. Correct the table.")


def read_number(text: str, *, where: str, low: float, high: float) -> float | None:
    """Read a number within bounds from a table; blank is None.

    Raises:
        DatasetError: If it is no number, or outside the bounds.

    >>> read_number("9.5", where="age", low=0, high=130), read_number("", where="age", low=0, high=130)
    (9.5, None)
    """
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise DatasetError(
            f"{where} must be a number from {low:g} to {high:g}, got '{quote(text)}'. Correct the table."
        )
    return value


def check_box(box: Sequence[float], *, where: str) -> list[float]:
    """Return a box [x, y, width, height] if it is one.

    Raises:
        DatasetError: If it is not made of four finite numbers, or its extent is negative.
    """
    if len(box) != 4 or not all(map(math.isfinite, box)) or min(box[2:]) < 0:
        raise DatasetError(
            f"{where} must hold boxes of four finite numbers, width and height not negative, got {list(box)[:8]}. "
            "Correct it, or download it again."
        )
    return list(box)


def check_polygon(polygon: Sequence[float], *, where: str) -> list[float]:
    """Return a polygon [x0, y0, x1, y1, …] if it is one.

    Raises:
        DatasetError: If it is not made of at least three points of finite numbers.
    """
    if len(polygon) < 6 or len(polygon) % 2 or not all(map(math.isfinite, polygon)):
        raise DatasetError(
            f"{where} must hold polygons [x0, y0, x1, y1, x2, y2, …] of finite numbers, got {list(polygon)[:8]}. "
            "Correct it, or download it again."
        )
    return list(polygon)


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
        raise DatasetError(f"{where} must be 0, 1 or blank, got '{quote(value)}'. Correct the table.")
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
