"""Findings as a table on disk: written row by row, continued after an interruption. Standard library only."""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Final, TextIO

from hf_fracture.errors import OutputExistsError, UsageError
from hf_fracture.inference.finding import COLUMNS, Finding, neutralise_formula

PARTIAL_SUFFIX: Final = ".partial"

WriteFinding = Callable[[Finding], None]


def find_partial(path: Path) -> Path:
    """Return where a table is written until all its rows are there."""
    return path.with_name(path.name + PARTIAL_SUFFIX)


def check_table(path: Path, *, overwrite: bool) -> None:
    """Refuse to start a table anew over one that is there, whole or half-written.

    Raises:
        OutputExistsError: If there is one and `overwrite` is False.
    """
    if overwrite:
        return
    if path.exists():
        raise OutputExistsError(
            f"'{path}' exists. Pass --overwrite to replace it, --resume to add what it lacks, or name another output."
        )
    partial = find_partial(path)
    if partial.exists():
        raise OutputExistsError(
            f"'{partial}' was left by an interrupted run. Pass --resume to go on, or --overwrite to start again."
        )


def read_finished(path: Path, *, revision: str | None) -> list[list[str]]:
    """Read the rows of a half-written table, or else of a whole one.

    Args:
        path: Of the whole table.
        revision: Of the model that goes on; its rows must not be mixed with another model's.

    Returns:
        The complete rows, without the header; a row that was cut off is left out. Empty where there is no table.

    Raises:
        UsageError: If the file is no table of findings, or another model wrote it.
    """
    source = next((candidate for candidate in (find_partial(path), path) if candidate.is_file()), None)
    if source is None:
        return []
    text = source.read_bytes().decode("utf-8", errors="replace")
    rows = list(csv.reader(StringIO(text[: text.rfind("\n") + 1], newline="")))
    if text and (not rows or tuple(rows[0]) != COLUMNS):
        raise UsageError(f"Expected '{source}' to be a table of findings with this version's columns. Start another.")
    finished = [row for row in rows[1:] if len(row) == len(COLUMNS)]
    column = COLUMNS.index("revision")
    for row in finished:
        if row[column] != (revision or ""):
            raise UsageError(
                f"Expected rows of model revision '{revision}' in '{source}', got one of '{row[column]}'. Name another "
                "table: answers of two models do not belong together."
            )
    return finished


def name_in_table(path: Path) -> str:
    """Return a film's path as the table holds it.

    >>> name_in_table(Path("=1+1.png"))
    "'=1+1.png"
    """
    return neutralise_formula(encode_name(str(path)))


def encode_name(name: str) -> str:
    r"""Escape what UTF-8 cannot hold, as the table does.

    >>> encode_name("wrist\udcff.png")
    'wrist\\udcff.png'
    """
    return name.encode("utf-8", errors="backslashreplace").decode("utf-8")


@contextmanager
def open_table(path: Path, finished: list[list[str]]) -> Iterator[WriteFinding]:
    """Write rows to `PATH.partial`, each at once; the file gets its own name when all are there.

    An interruption leaves the partial file, from which `read_finished` goes on.

    Args:
        path: Of the whole table.
        finished: Rows of an earlier run to begin with.
    """
    partial = find_partial(path)
    fresh = path.with_name(f".{path.name}.fresh")
    with fresh.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, *finished])
    fresh.replace(partial)
    with partial.open("a", encoding="utf-8", errors="backslashreplace", newline="") as stream:
        yield _build_writer(stream)
    partial.replace(path)


def _build_writer(stream: TextIO) -> WriteFinding:
    writer = csv.writer(stream)

    def write(finding: Finding) -> None:
        writer.writerow(finding.to_csv_row())
        stream.flush()

    return write
