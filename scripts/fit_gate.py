"""Fit the input gate of a model folder on its dataset, and measure how many held-out films it refuses wrongly.

    python scripts/fit_gate.py MODEL_DIR DATASET

Writes MODEL_DIR/gate.safetensors and MODEL_DIR/gate.json. The limit comes from validation; test films are only counted.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from hf_fracture.evaluation.films import load_splits, select_split
from hf_fracture.inference.gate_fitting import add_refusals, fit_model_gate

SEED = 0


def read_films(rows: Any, name: str) -> Iterator[Image.Image]:
    """Yield the grey films of a split with a progress bar on stderr."""
    for row in tqdm(rows, desc=name, unit="film"):
        yield row["image"].convert("L")


def main(model_dir: Path, dataset: str) -> None:
    """Fit on training films, limit on validation films, count on test films."""
    splits = load_splits(dataset)
    train = select_split(splits, "train").shuffle(seed=SEED)
    fit_model_gate(
        model_dir,
        train_films=read_films(train, "train"),
        validation_films=read_films(select_split(splits, "validation"), "validation"),
    )
    counts = add_refusals(model_dir, "test", read_films(select_split(splits, "test"), "test"))
    print(f"{counts.num_refused} of {counts.num_films} test films refused: {counts.by_code}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
