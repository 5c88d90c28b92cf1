"""Ledgers: hashes and names of the films of known datasets, with their groups and clean splits, and no image.

Whoever has a download of their own gets our groups and splits from the ledger, by content or, for a file that was
encoded again, by name and appearance. May depend on `errors` only.
"""

import csv
import gzip
import io
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final

from hf_fracture.data.spreadsheets import neutralise_formula, restore_formula
from hf_fracture.errors import DatasetError, MissingInputError

LEFT_OUT: Final = "left out"
MAX_REENCODED_BITS: Final = 10  # of 64; files that were reduced and encoded again differ in 0 to 7
_SUFFIX: Final = ".csv.gz"
_COMPRESSION_LEVEL: Final = 9


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """One file of a known dataset.

    Attributes:
        source_path: Path relative to the dataset's folder, with forward slashes.
        sha256: Of the file, 64 hexadecimal digits.
        perceptual_hash: 64 bits in 16 hexadecimal digits, see `perceptual_hash`.
        detail_hash: 256 bits in 64 hexadecimal digits, see `hash_detail`.
        group_id: Films that must not be split apart share it.
        split: `train`, `validation`, `test` or `left out`.
        relation: How the film is tied to its group: `byte identical`, `near duplicate`, `file name`, `patient`, or
            empty for a film that is alone or that the others are tied to.
        reason: Why it is left out; else empty.
    """

    source_path: str
    sha256: str
    perceptual_hash: str
    detail_hash: str
    group_id: str
    split: str
    relation: str
    reason: str


COLUMNS: Final = tuple(item.name for item in fields(LedgerEntry))


def list_ledgers() -> tuple[str, ...]:
    """Return the names of the datasets whose ledgers come with the package."""
    folder = resources.files("hf_fracture.data") / "ledgers"
    if not folder.is_dir():
        return ()
    return tuple(sorted(item.name.removesuffix(_SUFFIX) for item in folder.iterdir() if item.name.endswith(_SUFFIX)))


@cache
def load_ledger(name: str) -> tuple[LedgerEntry, ...]:
    """Load a ledger that comes with the package.

    Raises:
        MissingInputError: If there is none for this dataset.
    """
    if name not in list_ledgers():
        raise MissingInputError(f"Expected one of the ledgers {', '.join(list_ledgers()) or 'none'}, got '{name}'.")
    data = (resources.files("hf_fracture.data") / "ledgers" / f"{name}{_SUFFIX}").read_bytes()
    return tuple(parse_ledger(gzip.decompress(data).decode("utf-8"), where=f"the ledger of {name}"))


def read_ledger(path: Path) -> list[LedgerEntry]:
    """Read a ledger from a file, compressed or not.

    Raises:
        MissingInputError: If there is no such file.
        DatasetError: If it is not a ledger.
    """
    if not path.is_file():
        raise MissingInputError(f"Expected a ledger (CSV, or CSV compressed with gzip) at {path}, found none.")
    data = path.read_bytes()
    try:
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} must be a ledger in UTF-8, got {error}. Write it again.") from error
    return parse_ledger(text, where=str(path))


def parse_ledger(text: str, *, where: str) -> list[LedgerEntry]:
    """Parse the text of a ledger.

    Args:
        text: CSV with the columns of `LedgerEntry`.
        where: What messages call it.

    Raises:
        DatasetError: If a column is missing.
    """
    reader = csv.DictReader(io.StringIO(text))
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or [])]
    if missing:
        raise DatasetError(
            f"{where} must have the columns {', '.join(COLUMNS)}; {', '.join(missing)} is missing. Write it again with "
            "hf-fracture data audit."
        )
    return [LedgerEntry(**{column: restore_formula(row[column] or "") for column in COLUMNS}) for row in reader]


def write_ledger(path: Path, entries: Iterable[LedgerEntry]) -> None:
    """Write a ledger, sorted by path; compressed if the name ends in .gz, and then with equal bytes each time."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entry in sorted(entries, key=lambda entry: entry.source_path):
        writer.writerow([neutralise_formula(cell) for cell in astuple(entry)])
    data = stream.getvalue().encode("utf-8")
    if path.suffix == ".gz":
        data = gzip.compress(data, _COMPRESSION_LEVEL, mtime=0)
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class LedgerIndex:
    """Finds the entry of a file that someone has."""

    def __init__(self, entries: Sequence[LedgerEntry]) -> None:
        """Index entries by content and by path."""
        self._by_path = {entry.source_path: entry for entry in entries}
        self._by_content: dict[str, LedgerEntry] = {}
        for entry in entries:
            self._by_content.setdefault(entry.sha256, entry)

    def find(self, source_path: str, sha256: str, perceptual_hash: str) -> LedgerEntry | None:
        """Return the entry of a file, or None if it is unknown.

        A file is known by its content, whatever it is called (the entry of its own path is preferred among equals), or
        by its path if it still looks the same: a file that was reduced or encoded again keeps its name and most bits of
        its perceptual hash.
        """
        at_path = self._by_path.get(source_path)
        if at_path is not None and (at_path.sha256 == sha256 or _looks_same(at_path, perceptual_hash)):
            return at_path
        return self._by_content.get(sha256)


def _looks_same(entry: LedgerEntry, perceptual_hash: str) -> bool:
    bits = (int(entry.perceptual_hash, 16) ^ int(perceptual_hash, 16)).bit_count()
    return bits <= MAX_REENCODED_BITS
