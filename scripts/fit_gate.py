"""Fit the input gate of a model folder on its dataset, and measure whom it refuses.

    python scripts/fit_gate.py MODEL_DIR DATASET [NAME=OTHER_DATASET ...]

Writes MODEL_DIR/gate.safetensors and MODEL_DIR/gate.json. Limits come from validation films and from half of the kinds
of `not_radiographs.py`; test films, the films of other datasets and the other half of the kinds are only counted.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from not_radiographs import list_pictures  # type: ignore[import-not-found]
from PIL import Image
from tqdm import tqdm

from hf_fracture.evaluation.films import load_splits, select_split
from hf_fracture.inference.gate_fitting import add_refusals, fit_model_gate

SEED = 0
MAX_OTHER_FILMS = 250


def read_films(rows: Any, name: str) -> Iterator[Image.Image]:
    """Yield the grey films of a split with a progress bar on stderr."""
    for row in tqdm(rows, desc=name, unit="film", disable=not sys.stderr.isatty()):
        yield row["image"].convert("L")


def main(model_dir: Path, dataset: str, others: dict[str, str]) -> None:
    """Fit on training films, limits on validation films, count on the rest."""
    splits = load_splits(dataset)
    train = select_split(splits, "train").shuffle(seed=SEED)
    pictures = list(list_pictures())
    fit_model_gate(
        model_dir,
        train_films=read_films(train, "train"),
        validation_films=read_films(select_split(splits, "validation"), "validation"),
        pictures=(picture for _, half, picture in pictures if half == "fit"),
    )
    report(model_dir, "test", read_films(select_split(splits, "test"), "test"))
    for name, folder in others.items():
        rows = select_split(load_splits(folder), "test").shuffle(seed=SEED)
        report(model_dir, name, read_films(rows.select(range(min(MAX_OTHER_FILMS, len(rows)))), name))
    for half, kinds in (("fit", "kinds it was fitted on"), ("held_out", "kinds it has not seen")):
        report(model_dir, f"no radiographs, {kinds}", (picture for _, each, picture in pictures if each == half))
    for kind in dict.fromkeys(kind for kind, half, _ in pictures if half == "held_out"):
        report(model_dir, f"no radiographs: {kind}", (picture for each, _, picture in pictures if each == kind))


def report(model_dir: Path, name: str, pictures: Iterator[Image.Image]) -> None:
    """Count refusals, add them to gate.json, and print them."""
    counts = add_refusals(model_dir, name, pictures)
    print(f"{name}: {counts.num_refused} of {counts.num_films} refused {counts.by_code}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], dict(other.split("=", 1) for other in sys.argv[3:]))
