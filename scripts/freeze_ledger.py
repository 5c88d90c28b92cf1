"""Write a dataset's ledger so that the clean split of an earlier preparation stays what it was.

    python scripts/freeze_ledger.py NAME SOURCE SPLITS_CSV OUT.csv.gz

A model was trained on the films that SPLITS_CSV (of a prepared dataset) calls `train`. Copies that are found later must
not move a film into or out of training. So every film keeps its split, but for films of validation and test that have a
copy elsewhere: those are left out. Groups and relations are those found today.
"""

import csv
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np

from hf_fracture.data.films import Film, FilmStore, count_cores
from hf_fracture.data.fingerprints import hash_detail
from hf_fracture.data.grouping import ANOTHER_STANDS, OPPOSITE_LABELS, Grouping, choose_stand_ins, group_films
from hf_fracture.data.known_films import KnownFilms
from hf_fracture.data.ledger import LEFT_OUT, LedgerEntry, write_ledger
from hf_fracture.data.schema import RawRow
from hf_fracture.data.sources import read_rows

IN_TRAINING = "a copy of it trains"


def main(name: str, source_dir: Path, splits_path: Path, out_path: Path) -> None:
    """Read, link and write."""
    rows = list(read_rows(name, source_dir))
    with splits_path.open(encoding="utf-8", newline="") as stream:
        earlier = {row["source_path"]: row["split"] for row in csv.DictReader(stream)}
    with tempfile.TemporaryDirectory() as work_dir:
        store = FilmStore(Path(work_dir) / "films", rows, long_side_px=512)
        store.read_missing(num_workers=count_cores())
        films = list(store.load(with_pixels=False))
    grouping = group_films(name, rows, films, known=KnownFilms(entries=[None] * len(rows)))
    places = [earlier[row.source_path] for row in rows]
    entries = freeze(rows, films, grouping, places)
    write_ledger(out_path, entries)
    changed = sum(entry.split != place for entry, place in zip(entries, places, strict=True))
    print(f"{len(rows)} films, {len(set(grouping.group_ids))} groups, {changed} moved to '{LEFT_OUT}'")


def freeze(rows: list[RawRow], films: list[Film], grouping: Grouping, places: list[str]) -> list[LedgerEntry]:
    """Return one entry per film; `places` are the earlier splits."""
    splits_of: dict[str, set[str]] = defaultdict(set)
    for group, place in zip(grouping.group_ids, places, strict=True):
        splits_of[group].add(place)
    stand_ins = choose_stand_ins(rows, films, grouping)
    relation_of: dict[int, str] = {}
    for link in grouping.links:
        relation_of.setdefault(link.second, link.relation)
    entries = []
    for index, (row, film, place) in enumerate(zip(rows, films, places, strict=True)):
        split, reason = _decide(index, place, splits_of[grouping.group_ids[index]], grouping, stand_ins)
        side = int(np.sqrt(len(film.thumbnail)))
        thumbnail = np.frombuffer(film.thumbnail, dtype=np.uint8).reshape(1, side, side)
        entries.append(
            LedgerEntry(
                source_path=row.source_path,
                sha256=film.sha256,
                perceptual_hash=film.perceptual_hash,
                detail_hash=hash_detail(thumbnail)[0, 0].tobytes().hex(),
                group_id=grouping.group_ids[index],
                split=split,
                relation=relation_of.get(index, ""),
                reason=reason,
            )
        )
    return entries


def _decide(index: int, place: str, splits: set[str], grouping: Grouping, stand_ins: set[int]) -> tuple[str, str]:
    """Return a film's split, and why it is left out."""
    if place == "train":
        return place, ""
    if grouping.contradicted[index]:
        return LEFT_OUT, OPPOSITE_LABELS
    if "train" in splits:
        return LEFT_OUT, IN_TRAINING
    is_doubled = index not in stand_ins or (place == "test" and "validation" in splits)
    if place == LEFT_OUT or is_doubled or grouping.doubts[index] is not None:
        return LEFT_OUT, ANOTHER_STANDS if grouping.doubts[
            index
        ] is None else f"doubtful label: {grouping.doubts[index]}"
    return place, ""


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
