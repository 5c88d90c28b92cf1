"""Measure what an audit costs: comparing hashes at three sizes, and reading films.

    python scripts/benchmark_audit.py [--films DIR] [--sizes 10000 100000 1000000]

Hashes are generated, a tenth of them as copies of others with two bits flipped, so that what must be found is known.
They are compared in eight orientations, as an audit does. Times are of the processor, which other work on the machine
changes little; memory is the peak of the process.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hf_fracture.data.audit import list_rows
from hf_fracture.data.candidates import join_hashes
from hf_fracture.data.fingerprints import NUM_ORIENTATIONS
from hf_fracture.data.inspection import inspect_file

NUM_READ = 500


def draw_hashes(num: int) -> tuple[NDArray[np.uint64], int]:
    """Draw hashes in eight orientations (num, 8), and say how many copies the first column holds."""
    generator = np.random.default_rng(0)
    hashes = generator.integers(0, 2**64, (num, NUM_ORIENTATIONS), dtype=np.uint64)
    num_copies = num // 10
    flips = np.uint64(1) << generator.integers(0, 64, (2, num_copies), dtype=np.uint64)
    hashes[-num_copies:, 0] = hashes[:num_copies, 0] ^ flips[0] ^ flips[1]
    return hashes, num_copies


def measure_comparison(num: int) -> None:
    """Print what comparing `num` films takes."""
    hashes, num_copies = draw_hashes(num)
    started = time.process_time()
    found = 0
    for orientation in range(NUM_ORIENTATIONS):
        for pairs, _ in join_hashes(hashes[:, 0], hashes[:, orientation]):
            found += int((pairs[:, 0] < pairs[:, 1]).sum())
    seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{num:>9,} films: {seconds:8.2f} s of the processor, {1e6 * seconds / num:7.1f} us a film, "
        f"{found:,} pairs found ({num_copies:,} copies planted), peak {peak:,.0f} MiB",
        flush=True,
    )


def measure_reading(folder: Path) -> None:
    """Print what reading and measuring a film takes on one core."""
    rows = [row for row in list_rows(folder)[1] if row.path.is_file()]
    chosen = rows[:: max(1, len(rows) // NUM_READ)][:NUM_READ]
    started = time.process_time()
    for row in chosen:
        inspect_file(row.path, row.source_path)
    milliseconds = 1000 * (time.process_time() - started) / len(chosen)
    print(f"{folder.name}: {milliseconds:.1f} ms of one core a film (reading, hashing, measuring; {len(chosen)} films)")


def main() -> None:
    """Run the measurements."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--films", type=Path, nargs="*", default=[], help="folders of films to read")
    args = parser.parse_args()
    for folder in args.films:
        measure_reading(folder)
    for num in args.sizes:
        measure_comparison(num)


if __name__ == "__main__":
    main()
