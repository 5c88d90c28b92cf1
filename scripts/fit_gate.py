"""Fit the input gate of a model folder on its dataset, and measure whom it refuses.

    python scripts/fit_gate.py MODEL_DIR DATASET [NAME=OTHER_DATASET ...]

Writes MODEL_DIR/gate.safetensors and MODEL_DIR/gate.json. Limits come from validation films and from half of the kinds
of `not_radiographs.py`; test films, the films of other datasets and the other half of the kinds are only counted.
The published counts were made with Chromium and `pip install -c constraints.txt scikit-image`; kinds that lack what
draws them are left out, and named.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from not_radiographs import KINDS, list_pictures  # type: ignore[import-not-found]
from PIL import Image
from tqdm import tqdm

from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.evaluation.films import load_splits, select_split
from hf_fracture.inference.classifier import FractureClassifier
from hf_fracture.inference.gate_fitting import (
    GATE_REPORT_FILE,
    add_refusals,
    count_refusals,
    fit_model_gate,
    sum_refusals,
    write_refusals,
)
from hf_fracture.models.checkpoint import read_json, write_json

SEED = 0
MAX_OTHER_FILMS = 250
NUM_PHANTOMS = 50


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
    report(model_dir, "phantoms", (draw_phantom(seed, fractured=seed % 2 == 0).image for seed in range(NUM_PHANTOMS)))
    kinds = {}
    for half, words in (("fit", "kinds it was fitted on"), ("held_out", "kinds it has not seen")):
        chosen = [row for row in pictures if row[1] == half]
        kinds[words] = list(dict.fromkeys(kind for kind, _, _ in chosen))
        report_kinds(model_dir, f"no radiographs, {words}", chosen)
    if left_out := sorted({kind.name for kind in KINDS} - {kind for kind, _, _ in pictures}):
        kinds["kinds left out, since what draws them was not installed"] = left_out
    path = model_dir / GATE_REPORT_FILE
    write_json(path, {**read_json(path), "pictures": kinds})


def report_kinds(model_dir: Path, name: str, pictures: Sequence[tuple[str, str, Image.Image]]) -> None:
    """Count refusals kind by kind, and add their sum, and the kinds that were missed in part, to gate.json."""
    classifier = FractureClassifier(model_dir, model=model_dir.name)
    by_kind = {
        f"no radiographs: {kind}": count_refusals(
            classifier, (picture for each, _, picture in pictures if each == kind)
        )
        for kind in dict.fromkeys(kind for kind, _, _ in pictures)
    }
    total = sum_refusals(by_kind.values())
    missed = {kind: counts for kind, counts in by_kind.items() if counts.num_refused < counts.num_films}
    write_refusals(model_dir, {name: total, **missed})
    told = {kind: f"{counts.num_refused} of {counts.num_films}" for kind, counts in missed.items()}
    print(f"{name}: {total.num_refused} of {total.num_films} refused {total.by_code}; not all of {told}", flush=True)


def report(model_dir: Path, name: str, pictures: Iterator[Image.Image]) -> None:
    """Count refusals, add them to gate.json, and print them."""
    counts = add_refusals(model_dir, name, pictures)
    print(f"{name}: {counts.num_refused} of {counts.num_films} refused {counts.by_code}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], dict(other.split("=", 1) for other in sys.argv[3:]))
