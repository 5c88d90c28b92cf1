"""Build the ledgers that come with the package, from the downloads.

    python scripts/build_ledgers.py --data "$HF_FRACTURE_DATA" kaggle_multi_region fracatlas bone_break

A ledger that exists keeps its splits (see `keep_splits`), so building it again changes nothing unless more copies are
found; `--keep splits.csv` names the table of a prepared dataset instead, whose splits the ledger is to keep.
"""

import argparse
import csv
import sys
from collections import Counter
from pathlib import Path

from hf_fracture.data.films import count_cores
from hf_fracture.data.grouping import assign_splits, group_films
from hf_fracture.data.inspection import inspect_files
from hf_fracture.data.known_films import KnownFilms
from hf_fracture.data.ledger import LedgerEntry, read_ledger, write_ledger
from hf_fracture.data.ledger_entries import EarlierSplit, build_entries, hash_splits, keep_splits
from hf_fracture.data.sources import read_rows

LEDGER_DIR = Path(__file__).parents[1] / "hf_fracture" / "data" / "ledgers"


def main() -> None:
    """Build the named ledgers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="+", metavar="NAME", help="datasets")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the datasets' folders")
    parser.add_argument("--keep", type=Path, default=None, help="splits.csv of a prepared dataset; one NAME only")
    args = parser.parse_args()
    if args.keep is not None and len(args.names) != 1:
        parser.error("--keep goes with one NAME")
    for name in args.names:
        path = LEDGER_DIR / f"{name}.csv.gz"
        entries = keep_splits(look_at(name, args.data / name), read_earlier(path, args.keep))
        LEDGER_DIR.mkdir(exist_ok=True)
        write_ledger(path, entries)
        splits = dict(Counter(entry.split for entry in entries))
        groups = len({entry.group_id for entry in entries})
        print(f"{path.name}: {len(entries):,} films, {groups:,} groups, {splits}, splits {hash_splits(entries)[:12]}")


def look_at(name: str, data_dir: Path) -> list[LedgerEntry]:
    """Group and split the films of a download as if no ledger were there."""
    rows = [row for row in read_rows(name, data_dir) if row.path.is_file() and row.label is not None]
    inspections = inspect_files(rows, num_workers=count_cores())
    pairs = [(row, seen.film) for row, seen in zip(rows, inspections, strict=True) if not seen.film.error]
    kept_rows, films = [row for row, _ in pairs], [film for _, film in pairs]
    for seen in inspections:
        if seen.film.error:
            print(seen.film.error, file=sys.stderr)
    grouping = group_films(name, kept_rows, films, known=KnownFilms(entries=[None] * len(films)))
    return build_entries(kept_rows, films, grouping, assign_splits(kept_rows, films, grouping, rule="clean", seed=0))


def read_earlier(path: Path, table_path: Path | None) -> dict[str, EarlierSplit]:
    """Return the splits to keep, by path: those of a table if one is given, else those of the ledger that exists."""
    if table_path is not None:
        with table_path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        return {row["source_path"]: EarlierSplit(row["split"], row["reason"]) for row in rows}
    if not path.is_file():
        return {}
    return {entry.source_path: EarlierSplit(entry.split, entry.reason) for entry in read_ledger(path)}


if __name__ == "__main__":
    main()
