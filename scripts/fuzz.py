"""Throw mutated files at every reader for some minutes of the processor each, and write what came of it.

    python scripts/fuzz.py [--minutes 5] [--targets images dicom] [--keep DIR]

The targets, their seeds and what must hold of every answer are in tests/fuzz/targets.py. A mutated file that leads to
an outcome not seen before, or to a refusal at another line of the code, joins the seeds. A finding is an exception that
is no sentence of ours, an answer that cannot be true, more than 2 seconds of the processor, or more than 500 MB of
memory; its files are kept in `--keep`, and the exit status is 1. Each target runs in a process of its own; its files
are written in memory where the machine has a file system for that. Linux only; allocator settings that keep freed
memory (MALLOC_*) would hide what a case takes. Writes scripts/results/fuzz.json, in which targets
that were not named keep their earlier account.
"""

import argparse
import hashlib
import json
import multiprocessing
import random
import re
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULT_PATH = ROOT / "scripts" / "results" / "fuzz.json"
HANG_SECONDS = 20.0
MAX_FINDINGS = 20
MEMORY_DIR = Path("/dev/shm")
CLEAR_REFS = Path("/proc/self/clear_refs")


def fuzz(name: str, seconds: float, seed: int, keep_dir: Path | None) -> dict[str, Any]:
    """Run one target for some seconds of the processor and return the account."""
    sys.path.insert(0, str(ROOT))
    from tests.fuzz.targets import TARGETS

    warnings.simplefilter("ignore")
    target, source = TARGETS[name], random.Random(seed)
    corpus = [(kind, files) for kind, files in target.build_seeds().items()]
    signal.signal(signal.SIGPROF, _stop_hanging)
    outcomes: Counter[str] = Counter()
    findings: list[str] = []
    seen: set[tuple[str, str]] = set()
    for _, files in corpus:
        _try(target, files)  # imports count for none of the cases
    started_cpu, slowest, highest, cases = time.process_time(), 0.0, 0.0, 0
    while time.process_time() - started_cpu < seconds and len(findings) < MAX_FINDINGS:
        kind, files = source.choice(corpus)
        files = target.mutate(files, source)
        before = _reset_peak()
        outcome, spent = _try(target, files)
        megabytes = _read_megabytes("VmHWM") - before
        cases += 1
        outcomes["finding" if outcome.startswith("finding") else re.sub(r"@[^,]*", "", outcome)] += 1
        slowest, highest = max(slowest, spent), max(highest, megabytes)
        problem = _judge(outcome, spent, megabytes)
        if problem is not None:
            findings.append(f"{kind}: {problem[:160]} (files {_keep(files, keep_dir)})")
        elif (kind, outcome) not in seen:
            seen.add((kind, outcome))
            corpus.append((kind, files))
    return {
        "cases": cases,
        "cpu_minutes": round((time.process_time() - started_cpu) / 60, 2),
        "seeds": len(target.build_seeds()),
        "seeds_grown_to": len(corpus),
        "outcomes": ", ".join(f"{name} {number:,}" for name, number in sorted(outcomes.items())),
        "slowest_cpu_seconds": round(slowest, 3),
        "megabytes_of_the_largest": round(highest),
        "findings": findings,
    }


def _try(target: Any, files: Any) -> tuple[str, float]:
    """Run one case; anything raised is a finding."""
    started = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, HANG_SECONDS)
    try:
        with tempfile.TemporaryDirectory(dir=MEMORY_DIR if MEMORY_DIR.is_dir() else None) as folder:
            outcome = target.run(files, Path(folder))
    except Exception as error:  # noqa: BLE001 (whatever it is, it is what we look for)
        place = traceback.extract_tb(error.__traceback__)[-1]
        outcome = f"finding: {type(error).__name__}: {str(error)[:300]} ({Path(place.filename).name}:{place.lineno})"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return outcome, time.process_time() - started


def _judge(outcome: str, spent: float, megabytes: float) -> str | None:
    from tests.fuzz.targets import MAX_MEGABYTES, MAX_SECONDS

    if outcome.startswith("finding"):
        return outcome
    if spent > MAX_SECONDS:
        return f"{spent:.1f} s of the processor"
    return f"{megabytes:.0f} MB" if megabytes > MAX_MEGABYTES else None


def _stop_hanging(_signal: int, _frame: FrameType | None) -> None:
    raise TimeoutError(f"no end after {HANG_SECONDS:g} s of the processor")


def _reset_peak() -> float:
    """Set the process's memory peak to what it holds now, and return that in MB."""
    CLEAR_REFS.write_text("5")
    return _read_megabytes("VmRSS")


def _read_megabytes(name: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def _keep(files: Any, keep_dir: Path | None) -> str:
    """Write the files of a finding and return the name of their folder."""
    digest = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:12]
    if keep_dir is not None:
        for name, data in files.items():
            path = keep_dir / digest / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return digest


def main() -> int:
    """Fuzz the targets one after the other and write the account; 1 if anything was found."""
    sys.path.insert(0, str(ROOT))
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0, help="of the processor, for each target (default: 5)")
    parser.add_argument("--targets", nargs="+", choices=tuple(TARGETS), default=list(TARGETS), help="default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=None, metavar="DIR", help="folder for the files of findings")
    args = parser.parse_args()
    found = 0
    for name in args.targets:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            result = pool.submit(fuzz, name, 60 * args.minutes, args.seed, args.keep).result()
        found += len(result["findings"])
        print(f"{name}: {json.dumps(result)}", flush=True)
        command = f"python scripts/fuzz.py --minutes {args.minutes:g} --seed {args.seed} --targets '{name}'"
        write_account({name: {**result, "command": command}})
    return 1 if found else 0


def write_account(results: dict[str, Any]) -> None:
    """Write the account of some targets beside the earlier one of the others."""
    earlier = json.loads(RESULT_PATH.read_text(encoding="utf-8"))["targets"] if RESULT_PATH.is_file() else {}
    targets = {**earlier, **results}
    account = {
        "cases": sum(result["cases"] for result in targets.values()),
        "hours_of_the_processor": round(sum(result["cpu_minutes"] for result in targets.values()) / 60, 2),
        "findings": sum(len(result["findings"]) for result in targets.values()),
        "targets": targets,
    }
    RESULT_PATH.parent.mkdir(exist_ok=True)
    RESULT_PATH.write_text(json.dumps(account, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
