"""Measure how well copies of one film are found, against the two truths there are.

    python scripts/measure_duplicates.py --data "$HF_FRACTURE_DATA"

1. Recall, on Kaggle multi-region: the file names say which files are turned copies of one film. They are hidden from
   the search; a family counts as found as far as its largest part ends up in one group.
2. Precision, on pairs judged by eye (`judged_pairs.csv`, next to this script): the pairs of the lowest agreement of
   each dataset and a random sample of the rest, laid side by side. `same` is one exposure; `repeat` is another exposure
   of the same bone of the same patient, seconds apart, which must not be split either; `different` is anything else.
   Pairs that are no longer confirmed are named.
"""

import argparse
import csv
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hf_fracture.data.duplicates import DuplicatePair, Fingerprint, find_duplicate_pairs
from hf_fracture.data.films import count_cores
from hf_fracture.data.fingerprints import THUMBNAIL_PX
from hf_fracture.data.inspection import Inspection, inspect_files
from hf_fracture.data.schema import RawRow
from hf_fracture.data.sources import read_rows
from hf_fracture.data.splits import group_images

JUDGED_PATH = Path(__file__).with_name("judged_pairs.csv")


@dataclass(frozen=True)
class Search:
    """One dataset, searched with its file names hidden."""

    rows: Sequence[RawRow]
    pairs: Sequence[DuplicatePair]
    groups: Sequence[int]


def search_dataset(name: str, data_dir: Path) -> Search:
    """Find the copies of a dataset by appearance alone."""
    rows = list(read_rows(name, data_dir))
    inspections = inspect_files(rows, num_workers=count_cores())
    readable = [index for index, inspection in enumerate(inspections) if inspection.appearance is not None]
    pairs = find_duplicate_pairs([build_fingerprint(inspections[index]) for index in readable])
    kept = [rows[index] for index in readable]
    return Search(kept, pairs, group_images(len(kept), [(pair.first, pair.second) for pair in pairs]))


def build_fingerprint(inspection: Inspection) -> Fingerprint:
    """Return the fingerprint of an inspected film."""
    film = inspection.film
    thumbnail = np.frombuffer(film.thumbnail, dtype=np.uint8).reshape(THUMBNAIL_PX, THUMBNAIL_PX)
    return Fingerprint(thumbnail=thumbnail, width=film.width, height=film.height)


def measure_recall(search: Search) -> None:
    """Print how much of each family that the names prove is found without them."""
    families: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(search.rows):
        if row.family:
            families[row.family].append(index)
    parts = {family: Counter(search.groups[index] for index in members) for family, members in families.items()}
    files = sum(len(members) for members in families.values())
    found = sum(max(part.values()) for part in parts.values())
    pairs = sum(size * (size - 1) // 2 for part in parts.values() for size in part.values())
    all_pairs = sum(len(members) * (len(members) - 1) // 2 for members in families.values())
    print(f"families that the names prove: {len(families)} of {files:,} files")
    print(f"recall of family membership, names hidden: {found / files:.4f} ({found:,} of {files:,} files)")
    print(f"recall of pairs inside families: {pairs / all_pairs:.4f}")
    print(f"families found whole: {sum(len(part) == 1 for part in parts.values())} of {len(families)}")
    print(f"groups by appearance: {len(set(search.groups)):,} of {len(search.rows):,} files")


def measure_precision(name: str, search: Search) -> dict[str, Counter[str]]:
    """Print what the eye said of the confirmed pairs of one dataset, and return the verdicts by stratum."""
    place = {row.source_path: index for index, row in enumerate(search.rows)}
    by_stratum: dict[str, Counter[str]] = defaultdict(Counter)
    for record in read_judged(name):
        first, second = place.get(record["first"]), place.get(record["second"])
        if first is None or second is None or search.groups[first] != search.groups[second]:
            print(f"  no longer confirmed: {record['first']} / {record['second']} ({record['verdict']})")
            continue
        by_stratum[record["stratum"]][record["verdict"]] += 1
    for stratum, verdicts in sorted(by_stratum.items()):
        print(f"  {name}, {stratum} agreement: {dict(verdicts)}")
    return by_stratum


def print_precision(title: str, verdicts: Counter[str]) -> None:
    """Print the share of right pairs, with repeated exposures and without."""
    judged = verdicts.total()
    print(f"{title}: {judged} confirmed pairs judged by eye: {dict(verdicts)}")
    print(f"  precision (one film, or a repeated exposure of it): {(judged - verdicts['different']) / judged:.4f}")
    print(f"  precision (one film, strictly): {verdicts['same'] / judged:.4f}")


def read_judged(name: str) -> list[dict[str, str]]:
    """Return the judged pairs of a dataset."""
    with JUDGED_PATH.open(encoding="utf-8", newline="") as stream:
        return [record for record in csv.DictReader(stream) if record["dataset"] == name]


def main() -> None:
    """Search the three datasets and print both measures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the datasets' folders")
    args = parser.parse_args()
    verdicts: dict[str, Counter[str]] = defaultdict(Counter)
    for name in ("kaggle_multi_region", "fracatlas", "bone_break"):
        search = search_dataset(name, args.data / name)
        print(f"{name}: {len(search.rows):,} films, {len(search.pairs):,} confirmed pairs")
        if name == "kaggle_multi_region":
            measure_recall(search)
        for stratum, counts in measure_precision(name, search).items():
            verdicts[stratum] += counts
    print_precision("random sample", verdicts["random"])
    print_precision("pairs of the lowest agreement", verdicts["lowest"])
    print_precision("all", verdicts["random"] + verdicts["lowest"])


if __name__ == "__main__":
    main()
