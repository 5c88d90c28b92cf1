"""Findings as a table or JSON lines: written row by row, continued after an interruption. Standard library only."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any, Final, Literal

from hf_fracture.data.spreadsheets import neutralise_formula
from hf_fracture.errors import OutputExistsError, UsageError
from hf_fracture.inference.finding import COLUMNS, Finding

PARTIAL_SUFFIX: Final = ".partial"
_FIRST_WORDS: Final = {"csv": COLUMNS[0], "jsonl": f'{{"{COLUMNS[0]}"'}

Form = Literal["csv", "jsonl"]
Row = dict[str, Any]
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


def read_finished(path: Path, *, form: Form, revision: str | None) -> list[Row]:
    """Read the rows of a half-written table, or else of a whole one.

    Args:
        path: Of the whole table.
        form: How it is written.
        revision: Of the model that goes on; its rows must not be mixed with another model's.

    Returns:
        The complete rows; one that was cut off is left out. Empty where there is no table.

    Raises:
        UsageError: If the file is no table of findings, or another model wrote it.
    """
    source = next((candidate for candidate in (find_partial(path), path) if candidate.is_file()), None)
    if source is None:
        return []
    text = source.read_bytes().decode("utf-8", errors="replace")
    rows = (_parse_csv if form == "csv" else _parse_lines)(text[: text.rfind("\n") + 1])
    if rows is None or (text and not text.startswith(_FIRST_WORDS[form])):
        raise UsageError(f"Expected '{source}' to be a table of findings with this version's columns. Start another.")
    for row in rows:
        if (row["revision"] or None) != revision:
            raise UsageError(
                f"Expected rows of model revision '{revision}' in '{source}', got one of '{row['revision']}'. Name "
                "another table: answers of two models do not belong together."
            )
    return rows


def _parse_csv(text: str) -> list[Row] | None:
    """Return the rows of a table; None where its columns are others."""
    rows = list(csv.reader(StringIO(text, newline="")))
    if rows and tuple(rows[0]) != COLUMNS:
        return None
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows[1:] if len(row) == len(COLUMNS)]


def _parse_lines(text: str) -> list[Row] | None:
    """Return the rows of JSON lines; None where one of them is no finding."""
    rows = []
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            return None
        if not isinstance(row, dict) or tuple(row) != COLUMNS:
            return None
        rows.append(row)
    return rows


def name_in_table(path: Path, *, form: Form = "csv") -> str:
    """Return a film's path as the table holds it.

    >>> name_in_table(Path("=1+1.png"))
    "'=1+1.png"
    """
    return neutralise_formula(encode_name(str(path))) if form == "csv" else str(path)


def encode_name(name: str) -> str:
    r"""Escape what UTF-8 cannot hold, as the table does.

    >>> encode_name("wrist\udcff.png")
    'wrist\\udcff.png'
    """
    return name.encode("utf-8", errors="backslashreplace").decode("utf-8")


@contextmanager
def open_table(path: Path, finished: list[Row], *, form: Form) -> Iterator[WriteFinding]:
    """Write rows to `PATH.partial`, each at once; the file gets its own name when all are there.

    An interruption leaves the partial file, from which `read_finished` goes on.

    Args:
        path: Of the whole table.
        finished: Rows of an earlier run to begin with.
        form: How it is written.
    """
    partial = find_partial(path)
    fresh = path.with_name(f".{path.name}.fresh")
    with fresh.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
        if form == "csv":
            stream.write(_format_csv(COLUMNS))
        stream.writelines(_format_csv(row.values()) if form == "csv" else format_line(row) for row in finished)
    fresh.replace(partial)
    with partial.open("a", encoding="utf-8", errors="backslashreplace", newline="") as stream:

        def write(finding: Finding) -> None:
            stream.write(_format_csv(finding.to_csv_row()) if form == "csv" else format_line(finding.to_dict()))
            stream.flush()

        yield write
    partial.replace(path)


def format_line(row: Row) -> str:
    """Return a row as JSON with a line feed; all ASCII, whatever a file is called."""
    return json.dumps(row, allow_nan=False) + "\n"


def _format_csv(cells: Iterable[str]) -> str:
    line = StringIO(newline="")
    csv.writer(line).writerow(cells)
    return line.getvalue()
