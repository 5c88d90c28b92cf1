"""Keep what a finished candidate reached on the test split although it is not shipped, beside the shipped model.

    python scripts/describe_rejected.py MODEL_DIR

MODEL_DIR: measured as `reproduce_release.sh` does it, up to its card. Its test films were read, so what they said is
published, whatever it was. Writes scripts/results/rejected.json.
"""

import argparse
from pathlib import Path
from typing import Any, Final

from hf_fracture.models.checkpoint import DEFAULT_MODEL_DIR, read_json, write_json

RESULT_PATH: Final = Path(__file__).resolve().parent / "results" / "rejected.json"


def describe(model_dir: Path) -> dict[str, Any]:
    """Return the column of one model."""
    evaluation, attribution, gate, transfer = (
        read_json(model_dir / f"{name}.json") for name in ("evaluation", "attribution", "gate", "cross_dataset")
    )
    other = next(row for row in transfer["model_rows"] if row["tested_on"] not in row["trained_on"])
    refused = {
        f"gate refuses, {name}": f"{counts['num_refused']} of {counts['num_films']}"
        for name, counts in gate["refusals"].items()
        if not name.startswith("no radiographs: ")
    }
    return {
        "weights": evaluation["model"]["sha256"][:12],
        "AUROC": evaluation["metrics"]["auroc"],
        "average precision": evaluation["metrics"]["average_precision"],
        "peak in region if detected": attribution["methods"]["grad_cam"]["peak_in_region_if_detected"],
        f"AUROC, {other['tested_on']}": other["auroc"],
        **{f"AUROC, {row['name']}": row["auroc"] for row in evaluation["robustness"]},
        **{f"calls that change, {row['name']}": row["flipped_fraction"] for row in evaluation["robustness"]},
        **refused,
    }


def main() -> None:
    """Put both models side by side, one row a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", type=Path, metavar="MODEL_DIR")
    args = parser.parse_args()
    shipped, rejected = describe(DEFAULT_MODEL_DIR), describe(args.model_dir)
    rows = {name: {"shipped then": value, "not shipped": rejected.get(name, "")} for name, value in shipped.items()}
    write_json(RESULT_PATH, rows)
    print(RESULT_PATH)


if __name__ == "__main__":
    main()
