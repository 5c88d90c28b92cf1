"""Compare a model that was trained again with the shipped one, in a row of scripts/results/reproduction.json.

    python scripts/compare_release.py MODEL_DIR [--seed WORDS]

Called by scripts/reproduce_release.sh. A figure counts as reproduced if it lies in the shipped figure's 95 % interval.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from hf_fracture.evaluation.artifacts import write_text
from hf_fracture.models.checkpoint import DEFAULT_MODEL_DIR, read_json

RESULT: Final = Path(__file__).resolve().parent / "results" / "reproduction.json"
METRICS: Final = ("auroc", "average_precision", "brier")


def main() -> None:
    """Compare, keep and print the row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL_DIR")
    parser.add_argument("--seed", default="as shipped", help="name of the row")
    args = parser.parse_args()
    shipped, again = (read_json(folder / "evaluation.json") for folder in (DEFAULT_MODEL_DIR, args.model))
    if shipped["dataset"] != again["dataset"]:
        raise SystemExit(f"Expected both to be measured on the same films, got {again['dataset']}. Prepare them again.")
    rows = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else {}
    rows["shipped"] = {"weights": str(shipped["model"]["sha256"])[:12], **describe(shipped, shipped)}
    rows[f"seed {args.seed}"] = {"weights": str(again["model"]["sha256"])[:12], **describe(again, shipped)}
    write_text(RESULT, json.dumps(rows, indent=1) + "\n")
    print(json.dumps(rows, indent=1))


def describe(measured: Mapping[str, Any], shipped: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of one model, and whether each lies in the shipped interval."""
    found = {name: measured["metrics"][name] for name in METRICS if name in measured["metrics"]}
    inside = all(
        shipped["metrics"][name]["lower"] <= figure["value"] <= shipped["metrics"][name]["upper"]
        for name, figure in found.items()
    )
    return {**found, "within the shipped intervals": inside}


if __name__ == "__main__":
    main()
