"""Write the figures that the page shows of no model in particular: the leaks of a published split.

    python scripts/build_page_figures.py        # space/figures.json from scripts/results/inflation.json

The page carries its own copy because an installed wheel, and a Space, have no `scripts/`. A test compares the two.
"""

import json
import sys
from pathlib import Path
from typing import Any

REPOSITORY_DIR = Path(__file__).resolve().parent.parent
SOURCE_PATH = REPOSITORY_DIR / "scripts" / "results" / "inflation.json"
FIGURES_PATH = REPOSITORY_DIR / "space" / "figures.json"
ROW_FIELDS = ("protocol", "num_train_films", "num_films", "num_fractured", "num_copied", "auroc", "accuracy")


def build_figures() -> dict[str, Any]:
    """Return what the page shows, from the committed measurements."""
    inflation = json.loads(SOURCE_PATH.read_text(encoding="utf-8"))
    rows = [{name: row[name] for name in ROW_FIELDS if name in row} for row in inflation["rows"]]
    return {"leaks": {"dataset": inflation["dataset"], "rows": rows}}


def main() -> None:
    """Write the file, to a temporary name first."""
    partial = FIGURES_PATH.with_name(f".{FIGURES_PATH.name}.partial")
    partial.write_text(json.dumps(build_figures(), indent=2) + "\n", encoding="utf-8")
    partial.replace(FIGURES_PATH)
    sys.stderr.write(f"{FIGURES_PATH.relative_to(REPOSITORY_DIR)}\n")


if __name__ == "__main__":
    main()
