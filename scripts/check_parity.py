"""Ask every runtime the same films, and hold their answers together.

    python scripts/check_parity.py MODEL DATASET [--films 200] [--out scripts/results/parity.json]

Runtimes: torch (the reference), onnxruntime in float32, onnxruntime in 8 bit, and `transformers.pipeline`. The page's
endpoint and the browser's page have the same check beside them in `tests/space`. Films are those of the validation
split, each the same upright grey picture for every runtime.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from hf_fracture.evaluation.films import load_splits, select_split
from hf_fracture.export.layout import INT8_FILE, ONNX_DIR, ONNX_FILE
from hf_fracture.inference.classifier import FractureClassifier
from hf_fracture.inference.parity import (
    MAX_AUROC_DIFFERENCE,
    MAX_EXACT_DIFFERENCE,
    compare_probabilities,
    compute_probabilities,
)
from hf_fracture.models.checkpoint import resolve_model_dir

Answer = Callable[[Sequence[Image.Image]], np.ndarray[Any, Any]]


def ask_classifier(model_dir: Path, **options: Any) -> Answer:
    """Return what asks a `FractureClassifier`."""
    classifier = FractureClassifier(model_dir, model=model_dir.name, **options)

    def answer(films: Sequence[Image.Image]) -> np.ndarray[Any, Any]:
        return compute_probabilities(classifier, tqdm(films, disable=not sys.stderr.isatty()))

    return answer


def ask_pipeline(model_dir: Path) -> Answer:
    """Return what asks `transformers.pipeline`."""
    from transformers import pipeline

    reference = pipeline("image-classification", model=str(model_dir))

    def answer(films: Sequence[Image.Image]) -> np.ndarray[Any, Any]:
        scores = [{row["label"]: row["score"] for row in reference(film)} for film in films]
        return np.asarray([row["fractured"] for row in scores])

    return answer


def is_within(name: str, figures: dict[str, Any]) -> bool:
    """Tell whether a runtime keeps its promise: equal, or for int8 as good."""
    if name == "int8":
        return bool(abs(figures.get("auroc_difference", 0.0)) <= MAX_AUROC_DIFFERENCE)
    return bool(figures["max_difference"] <= MAX_EXACT_DIFFERENCE)


def main() -> int:
    """Compare, print one line per runtime, write the figures; 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description="Hold the answers of every runtime together.")
    parser.add_argument("model")
    parser.add_argument("dataset")
    parser.add_argument("--films", type=int, default=200)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    model_dir = resolve_model_dir(args.model)
    rows = select_split(load_splits(args.dataset), "validation").shuffle(seed=0)
    rows = rows.select(range(min(args.films, len(rows))))
    films, labels = [row["image"].convert("L") for row in rows], [int(label) for label in rows["label"]]
    runtimes: dict[str, Callable[[], Answer]] = {"pipeline": lambda: ask_pipeline(model_dir)}
    if (model_dir / ONNX_DIR / ONNX_FILE).is_file():
        runtimes["onnx"] = lambda: ask_classifier(model_dir, backend="onnx")
    if (model_dir / ONNX_DIR / INT8_FILE).is_file():
        runtimes["int8"] = lambda: ask_classifier(model_dir, fast=True)
    exact = ask_classifier(model_dir, backend="torch")(films)
    report = {name: compare_probabilities(exact, build()(films), labels) for name, build in runtimes.items()}
    for name, figures in report.items():
        figures["is_within"] = is_within(name, figures)
        print(name, json.dumps(figures))
    if args.out:
        args.out.write_text(json.dumps({"reference": "torch", "runtimes": report}, indent=2) + "\n", encoding="utf-8")
    return 0 if all(figures["is_within"] for figures in report.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
