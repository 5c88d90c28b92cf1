"""Render docs/tutorial.ipynb, which opens in Colab, from docs/tutorials/use.md: prose and code in the page's order.

    python scripts/render_notebook.py

Called after the page changes; a test compares, and runs the code cells.
"""

import json
import re
from pathlib import Path
from typing import Any, Final

from hf_fracture.evaluation.artifacts import write_text

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "tutorials" / "use.md"
NOTEBOOK: Final = ROOT / "docs" / "tutorial.ipynb"
INSTALL: Final = '%pip install -q "hf-fracture[torch]"'
_FENCE: Final = re.compile(r"^```(python|shell)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def main() -> None:
    """Write the notebook, and say so."""
    write_text(NOTEBOOK, render_notebook(PAGE.read_text(encoding="utf-8")))
    print(f"rendered {NOTEBOOK.relative_to(ROOT)}")


def render_notebook(page: str) -> str:
    """Turn a page into a notebook of format 4; shell lines become `!` lines."""
    cells, position = [_build_cell("code", INSTALL)], 0
    for match in _FENCE.finditer(page):
        cells.append(_build_cell("markdown", page[position : match.start()]))
        code = match[2] if match[1] == "python" else re.sub(r"^(?=\S)", "!", match[2], flags=re.MULTILINE)
        cells.append(_build_cell("code", code))
        position = match.end()
    cells.append(_build_cell("markdown", page[position:]))
    kept = [cell for cell in cells if cell["source"]]
    for number, cell in enumerate(kept):
        cell["id"] = f"cell-{number}"
    metadata = {
        "colab": {"provenance": []},
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return json.dumps({"cells": kept, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}, indent=1) + "\n"


def _build_cell(kind: str, text: str) -> dict[str, Any]:
    lines = re.sub(r"\]\((?!https?://)[^)]*\)", "]", text.strip()) if kind == "markdown" else text.strip()
    cell: dict[str, Any] = {"cell_type": kind, "metadata": {}, "source": lines.splitlines(keepends=True)}
    return {**cell, "execution_count": None, "outputs": []} if kind == "code" else cell


if __name__ == "__main__":
    main()
