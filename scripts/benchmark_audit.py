"""Measure what an audit costs: comparing hashes and descriptors at growing sizes, reading films, whole datasets.

    python scripts/benchmark_audit.py [--data "$HF_FRACTURE_DATA"] [--sizes 10000 100000 1000000]

Hashes and descriptors are generated, a tenth of them as copies of others, so that what must be found is known. Hashes
are compared in eight orientations, as an audit does; each size runs in a process of its own, whose peak of memory is
given. Where real films are at hand, a profile says what reading one costs and whole datasets are compared: the copies,
leaks, contradictions and shortcuts found go into the result, too. Times are of the processor (one core), which other
work on the machine changes little. Writes scripts/results/audit_benchmark.json.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hf_fracture.data.candidates import find_neighbours, join_hashes
from hf_fracture.data.fingerprints import NUM_ORIENTATIONS, fingerprint_image, hash_orientations
from hf_fracture.data.grouping import group_films
from hf_fracture.data.inspection import inspect_file, inspect_files, measure_appearance
from hf_fracture.data.known_films import KnownFilms
from hf_fracture.data.leaks import count_copies, count_leaks, list_conflicts
from hf_fracture.data.radiographs import decode_radiograph
from hf_fracture.data.shortcuts import measure_shortcuts
from hf_fracture.data.sources import read_rows

RESULT_PATH = Path(__file__).parent / "results" / "audit_benchmark.json"
DATASETS = ("kaggle_multi_region", "fracatlas", "bone_break")
PARTS = ("hashes", "datasets", "neighbours")
NUM_PROFILED = 200
MAX_NEIGHBOUR_FILMS = 100_000  # of generated descriptors: a million take 1.1 GB and an hour


def draw_hashes(num: int) -> tuple[NDArray[np.uint64], int]:
    """Draw hashes in eight orientations (num, 8), and say how many copies the first column holds."""
    generator = np.random.default_rng(0)
    hashes = generator.integers(0, 2**64, (num, NUM_ORIENTATIONS), dtype=np.uint64)
    num_copies = num // 10
    flips = np.uint64(1) << generator.integers(0, 64, (2, num_copies), dtype=np.uint64)
    hashes[-num_copies:, 0] = hashes[:num_copies, 0] ^ flips[0] ^ flips[1]
    return hashes, num_copies


def measure_hashes(num: int) -> dict[str, Any]:
    """Compare the hashes of `num` films in eight orientations."""
    hashes, num_copies = draw_hashes(num)
    started = time.process_time()
    found = 0
    for orientation in range(NUM_ORIENTATIONS):
        for pairs, _ in join_hashes(hashes[:, 0], hashes[:, orientation]):
            found += int((pairs[:, 0] < pairs[:, 1]).sum())
    return {"films": num, "copies_planted": num_copies, "pairs_found": found, **_read_meters(started)}


def measure_neighbours(num: int) -> dict[str, Any]:
    """Find the ten nearest of `num` generated descriptors, a tenth of them copies with noise, in clusters of twenty."""
    generator = np.random.default_rng(0)
    num_copies = num // 10
    centres = generator.normal(size=(-(-num // 20), 272)).astype(np.float32)
    descriptors = np.repeat(centres, 20, axis=0)[:num]
    descriptors += generator.normal(scale=0.6, size=descriptors.shape).astype(np.float32)
    copies = generator.permutation(num - num_copies)[:num_copies]
    noise = generator.normal(scale=0.2, size=(num_copies, 272)).astype(np.float32)
    descriptors[-num_copies:] = descriptors[copies] + noise
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    started = time.process_time()
    pairs, _ = find_neighbours(descriptors, num_neighbours=10)
    meters = _read_meters(started)
    planted = np.stack([copies, np.arange(num - num_copies, num)], axis=1)
    found = np.isin(planted @ np.array([num, 1]), pairs @ np.array([num, 1]))
    return {"films": num, "candidate_pairs": len(pairs), "copies_found_fraction": float(found.mean()), **meters}


def _read_meters(started: float) -> dict[str, float]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"cpu_seconds": round(time.process_time() - started, 2), "peak_memory_mib": round(peak)}


def run_apart(measure: Callable[[int], dict[str, Any]], num: int) -> dict[str, Any]:
    """Run a measurement in a fresh process, so that its peak of memory is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        result = pool.submit(measure, num).result()
    print(f"{measure.__name__}: {result}", flush=True)
    return result


def profile_reading(name: str, data_dir: Path) -> dict[str, Any]:
    """Say how many milliseconds of one core each step of reading a film takes."""
    rows = list(read_rows(name, data_dir))
    chosen = [row for row in rows[:: max(1, len(rows) // NUM_PROFILED)] if row.path.is_file()][:NUM_PROFILED]
    spent: dict[str, float] = defaultdict(float)
    for row in chosen:
        data = row.path.read_bytes()
        radiograph = _time(spent, "decoding", decode_radiograph, data, row.source_path)
        thumbnail = _time(spent, "thumbnail", fingerprint_image, radiograph.image).thumbnail
        _time(spent, "perceptual hash", hash_orientations, thumbnail[None])
        _time(spent, "grey levels, border, highlights", measure_appearance, thumbnail)
        _time(spent, "everything (what an audit does)", inspect_file, row.path, row.source_path)
    return {"films": len(chosen), "milliseconds": {step: round(1000 * t / len(chosen), 2) for step, t in spent.items()}}


def _time(spent: dict[str, float], step: str, call: Callable[..., Any], *args: object) -> Any:
    started = time.process_time()
    result = call(*args)
    spent[step] += time.process_time() - started
    return result


def measure_dataset(name: str, data_dir: Path) -> dict[str, Any]:
    """Read, compare and describe one dataset as an audit does, on one core."""
    rows = [row for row in read_rows(name, data_dir) if row.path.is_file()]
    spent: dict[str, float] = defaultdict(float)
    inspections = _time(spent, "reading", lambda: inspect_files(rows, num_workers=1))
    kept = [index for index, inspection in enumerate(inspections) if inspection.appearance is not None]
    rows, inspections = [rows[index] for index in kept], [inspections[index] for index in kept]
    films = [inspection.film for inspection in inspections]
    unknown = KnownFilms(entries=[None] * len(films))
    grouping = _time(spent, "comparing", lambda: group_films(name, rows, films, known=unknown))
    report = _time(spent, "shortcuts", measure_shortcuts, rows, inspections, grouping.group_ids)
    return {
        "films": len(rows),
        "cpu_seconds": {step: round(seconds, 1) for step, seconds in spent.items()},
        "milliseconds_per_film": {step: round(1000 * seconds / len(rows), 2) for step, seconds in spent.items()},
        "copies": {key: value for key, value in count_copies(films, grouping).items() if key != "groups_by_size"},
        "leaks": count_leaks(rows, films, grouping),
        "conflicts": len(list_conflicts(rows, grouping)),
        "shortcuts": [vars(shortcut) for shortcut in report.shortcuts],
    }


def main() -> None:
    """Run the measurements and write each as soon as it is there; those not run keep their earlier account."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--data", type=Path, default=os.environ.get("HF_FRACTURE_DATA"), help="folder of the datasets")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default: all)")
    args = parser.parse_args()
    account: dict[str, Any] = json.loads(RESULT_PATH.read_text(encoding="utf-8")) if RESULT_PATH.is_file() else {}
    account["machine"] = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    if "hashes" in args.parts:
        _write(account, "hashes", [run_apart(measure_hashes, num) for num in args.sizes])
    if args.data is not None and "datasets" in args.parts:
        for part, measure in (("reading", profile_reading), ("datasets", measure_dataset)):
            measured = {}
            for name in DATASETS:
                measured[name] = measure(name, Path(args.data) / name)
                print(f"{part}, {name}: {measured[name]}", flush=True)
                _write(account, part, measured)
    if "neighbours" in args.parts:
        sizes = [num for num in args.sizes if num <= MAX_NEIGHBOUR_FILMS]
        _write(account, "neighbours", [run_apart(measure_neighbours, num) for num in sizes])


def _write(account: dict[str, Any], part: str, measured: Any) -> None:
    account[part] = measured
    RESULT_PATH.parent.mkdir(exist_ok=True)
    RESULT_PATH.write_text(json.dumps(account, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
