"""Write the figures that the page shows of no model in particular: leaks of a published split, films from elsewhere.

    python scripts/build_page_figures.py        # space/figures.json from scripts/results/{inflation,cross_dataset}.json

The page carries its own copy because an installed wheel, and a Space, have no `scripts/`. A test compares the two.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPOSITORY_DIR = Path(__file__).resolve().parent.parent
RESULTS_DIR = REPOSITORY_DIR / "scripts" / "results"
FIGURES_PATH = REPOSITORY_DIR / "space" / "figures.json"
ROW_FIELDS = ("protocol", "num_train_films", "num_films", "num_fractured", "num_copied", "auroc", "accuracy")
ELSEWHERE_FIELDS = ("trained_on", "tested_on", "num_films", "num_fractured", "auroc")


def build_figures() -> dict[str, Any]:
    """Return what the page shows, from the committed measurements."""
    inflation, elsewhere = (read_results(name) for name in ("inflation", "cross_dataset"))
    rows = [{name: row[name] for name in ROW_FIELDS if name in row} for row in inflation["rows"]]
    return {
        "leaks": {"dataset": inflation["dataset"], "rows": rows},
        "elsewhere": {"rows": [row for row in map(shorten_row, elsewhere["rows"]) if row is not None]},
    }


def read_results(name: str) -> dict[str, Any]:
    """Return a committed measurement."""
    content: dict[str, Any] = json.loads((RESULTS_DIR / f"{name}.json").read_text(encoding="utf-8"))
    return content


def shorten_row(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the page shows of a network trained on one collection; None for one trained on several."""
    trained_on = row["trained_on"]
    if not isinstance(trained_on, str):
        if len(trained_on) != 1:
            return None
        (trained_on,) = trained_on
    return {**{name: row[name] for name in ELSEWHERE_FIELDS}, "trained_on": trained_on}


def main() -> None:
    """Write the file, to a temporary name first."""
    partial = FIGURES_PATH.with_name(f".{FIGURES_PATH.name}.partial")
    partial.write_text(json.dumps(build_figures(), indent=2) + "\n", encoding="utf-8")
    partial.replace(FIGURES_PATH)
    sys.stderr.write(f"{FIGURES_PATH.relative_to(REPOSITORY_DIR)}\n")


if __name__ == "__main__":
    main()
