"""Render every generated document again: the shipped model's card, model_card.md, and the README's tables.

Called by `make style`; a test renders them too and compares.
"""

from pathlib import Path

from hf_fracture.evaluation.artifacts import write_text
from hf_fracture.hub.card import render_readme, write_card
from hf_fracture.models.checkpoint import DEFAULT_MODEL_DIR, read_json

ROOT = Path(__file__).resolve().parent.parent
README_PATH = ROOT / "README.md"
MODEL_CARD_PATH = ROOT / "model_card.md"
RESULTS_DIR = ROOT / "scripts" / "results"
README_RESULTS = ("inflation", "cross_dataset", "family", "reproduction")


def main() -> None:
    """Render, and say what was written."""
    readme = README_PATH.read_text(encoding="utf-8")
    files = [RESULTS_DIR / f"{name}.json" for name in README_RESULTS]
    contents = [read_json(file) if file.is_file() else None for file in files]
    write_text(README_PATH, render_readme(readme, DEFAULT_MODEL_DIR, *contents))
    print(f"rendered {README_PATH.name}")
    if (DEFAULT_MODEL_DIR / "config.json").is_file():
        card_path = write_card(DEFAULT_MODEL_DIR, overwrite=True)
        write_text(MODEL_CARD_PATH, card_path.read_text(encoding="utf-8"))
        print(f"rendered {card_path.relative_to(ROOT)} and {MODEL_CARD_PATH.name}")


if __name__ == "__main__":
    main()
