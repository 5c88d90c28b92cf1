"""Measure how well copies of one film are found, against the two truths there are.

    python scripts/measure_duplicates.py --data "$HF_FRACTURE_DATA"

1. Recall, on Kaggle multi-region: the file names say which files are turned copies of one film. They are hidden from
   the search; a family counts as found as far as its largest part ends up in one group.
2. Precision, on pairs judged by eye (`judged_pairs.csv`, next to this script): the pairs of the lowest agreement of
   each dataset and a random sample of the rest, laid side by side. `same` is one exposure; `repeat` is another exposure
   of the same bone of the same patient, seconds apart, which must not be split either; `different` is anything else.
   Pairs that are no longer confirmed are named.

The sample is stratified: the low end, where mistakes are, was judged nearly whole, the rest as one in thirty. So the
precision of all confirmed pairs of different files is the mean of the strata's, weighted by how many confirmed pairs
each holds. Its lower bound puts both strata at the lower end of their exact 95 % intervals (Clopper and Pearson). The
share of the sample itself, in which the low end counts far too much, is printed beside it. Writes
scripts/results/duplicates.json.
"""

import argparse
import csv
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hf_fracture.data.duplicates import DuplicatePair, Fingerprint, find_duplicate_pairs
from hf_fracture.data.films import count_cores
from hf_fracture.data.fingerprints import THUMBNAIL_PX
from hf_fracture.data.inspection import Inspection, inspect_files
from hf_fracture.data.schema import RawRow
from hf_fracture.data.sources import read_rows
from hf_fracture.data.splits import group_images

JUDGED_PATH = Path(__file__).with_name("judged_pairs.csv")
RESULT_PATH = Path(__file__).parent / "results" / "duplicates.json"


@dataclass(frozen=True)
class Search:
    """One dataset, searched with its file names hidden."""

    rows: Sequence[RawRow]
    pairs: Sequence[DuplicatePair]
    groups: Sequence[int]


def search_dataset(name: str, data_dir: Path) -> Search:
    """Find the copies of a dataset by appearance alone; of byte-identical files only the first is looked at."""
    rows = list(read_rows(name, data_dir))
    inspections = inspect_files(rows, num_workers=count_cores())
    readable = [index for index, inspection in enumerate(inspections) if inspection.appearance is not None]
    kept = [rows[index] for index in readable]
    films = [inspections[index] for index in readable]
    first_of: dict[str, int] = {}
    equal = [(first_of.setdefault(film.film.sha256, index), index) for index, film in enumerate(films)]
    distinct = sorted(first_of.values())
    found = find_duplicate_pairs([build_fingerprint(films[index]) for index in distinct])
    pairs = [replace(pair, first=distinct[pair.first], second=distinct[pair.second]) for pair in found]
    return Search(kept, pairs, group_images(len(kept), [*equal, *((pair.first, pair.second) for pair in pairs)]))


def build_fingerprint(inspection: Inspection) -> Fingerprint:
    """Return the fingerprint of an inspected film."""
    film = inspection.film
    thumbnail = np.frombuffer(film.thumbnail, dtype=np.uint8).reshape(THUMBNAIL_PX, THUMBNAIL_PX)
    return Fingerprint(thumbnail=thumbnail, width=film.width, height=film.height)


def measure_recall(search: Search) -> dict[str, float]:
    """Return how much of each family that the names prove is found without them."""
    families: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(search.rows):
        if row.family:
            families[row.family].append(index)
    parts = {family: Counter(search.groups[index] for index in members) for family, members in families.items()}
    files = sum(len(members) for members in families.values())
    found = sum(max(part.values()) for part in parts.values())
    pairs = sum(size * (size - 1) // 2 for part in parts.values() for size in part.values())
    all_pairs = sum(len(members) * (len(members) - 1) // 2 for members in families.values())
    return {
        "families": len(families),
        "files": files,
        "recall_of_family_membership": found / files,
        "recall_of_pairs_inside_families": pairs / all_pairs,
        "families_found_whole": sum(len(part) == 1 for part in parts.values()),
        "groups_by_appearance": len(set(search.groups)),
    }


def judge_search(name: str, search: Search) -> dict[str, dict[str, Any]]:
    """Return, for each stratum of one dataset, how many pairs are confirmed and what the eye said of those judged."""
    place = {row.source_path: index for index, row in enumerate(search.rows)}
    judged = read_judged(name)
    cut = max(float(record["agreement"]) for record in judged if record["stratum"] == "lowest")
    low = sum(pair.agreement <= cut for pair in search.pairs)
    strata: dict[str, dict[str, Any]] = {
        "lowest": {"confirmed": low, "verdicts": Counter()},
        "random": {"confirmed": len(search.pairs) - low, "verdicts": Counter()},
    }
    for record in judged:
        first, second = place.get(record["first"]), place.get(record["second"])
        if first is None or second is None or search.groups[first] != search.groups[second]:
            print(f"  no longer confirmed: {record['first']} / {record['second']} ({record['verdict']})")
            continue
        strata[record["stratum"]]["verdicts"][record["verdict"]] += 1
    return strata


def weigh_precision(strata: Sequence[dict[str, Any]], right: Sequence[str]) -> dict[str, float]:
    """Estimate the precision of all confirmed pairs from a stratified sample.

    Args:
        strata: Each with the number of `confirmed` pairs and the `verdicts` on those judged.
        right: Verdicts that count as right.
    """
    from scipy.stats import beta

    total = sum(stratum["confirmed"] for stratum in strata)
    estimate, lower = 0.0, 0.0
    for stratum in strata:
        judged = stratum["verdicts"].total()
        good = sum(stratum["verdicts"][verdict] for verdict in right)
        weight = stratum["confirmed"] / total
        estimate += weight * good / judged
        lower += weight * float(beta.ppf(0.025, good, judged - good + 1))
    judged = sum(stratum["verdicts"].total() for stratum in strata)
    in_sample = sum(stratum["verdicts"][verdict] for stratum in strata for verdict in right) / judged
    return {"precision": estimate, "lower_bound": lower, "share_of_the_sample": in_sample}


def read_judged(name: str) -> list[dict[str, str]]:
    """Return the judged pairs of a dataset."""
    with JUDGED_PATH.open(encoding="utf-8", newline="") as stream:
        return [record for record in csv.DictReader(stream) if record["dataset"] == name]


def measure_datasets(data_dir: Path) -> dict[str, Any]:
    """Search the three datasets and return both measures."""
    strata: dict[str, dict[str, Any]] = {
        stratum: {"confirmed": 0, "verdicts": Counter()} for stratum in ("lowest", "random")
    }
    account: dict[str, Any] = {"datasets": {}}
    for name in ("kaggle_multi_region", "fracatlas", "bone_break"):
        search = search_dataset(name, data_dir / name)
        found = judge_search(name, search)
        account["datasets"][name] = {"films": len(search.rows), "confirmed_pairs": len(search.pairs), "strata": found}
        if name == "kaggle_multi_region":
            account["recall"] = measure_recall(search)
        for stratum, counts in found.items():
            strata[stratum]["confirmed"] += counts["confirmed"]
            strata[stratum]["verdicts"] += counts["verdicts"]
        print(f"{name}: {account['datasets'][name]}")
    account["strata"] = strata
    account["judged_pairs"] = sum(stratum["verdicts"].total() for stratum in strata.values())
    both = list(strata.values())
    account["precision_one_film"] = weigh_precision(both, ("same",))
    account["precision_one_film_or_a_repeated_exposure"] = weigh_precision(both, ("same", "repeat"))
    return account


def main() -> None:
    """Print both measures and write them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the datasets' folders")
    account = measure_datasets(parser.parse_args().data)
    RESULT_PATH.parent.mkdir(exist_ok=True)
    RESULT_PATH.write_text(json.dumps(account, indent=2) + "\n", encoding="utf-8")
    for key in ("recall", "judged_pairs", "precision_one_film", "precision_one_film_or_a_repeated_exposure"):
        print(f"{key}: {account[key]}")


if __name__ == "__main__":
    main()
