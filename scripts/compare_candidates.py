"""Put whole trainings beside each other on the validation split: what a candidate must show before it is shipped.

    python scripts/compare_candidates.py DATASET NAME=MODEL [NAME=MODEL ...]

Reads the validation split only. For each model: ranking with intervals over groups; how often the peak of its map lies
in the marked region of a fracture that it calls at its balanced threshold, for Grad-CAM drawn by the two kernels of
`Letterbox.map_to_film` and for averaged Grad-CAM; what worse copies of the same films do to ranking and calls, since a
map that gains by losing there is no gain; and paired differences from the first model named, of the AUROC and of the
share of all marked films, called or not, whose peak lies in the region.
The epoch that a training kept, its temperature and its thresholds were chosen on the same films, for all models alike.
Writes scripts/results/candidates.json, where models that are not named keep their rows. Compute: six minutes a model.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hf_fracture.cli.evaluate import read_altered
from hf_fracture.cli.explain_eval import marked_films
from hf_fracture.cli.explain_figures import estimate_mean
from hf_fracture.data.transforms import Kernel, letterbox_image, letterbox_pixels
from hf_fracture.evaluation.alterations import DEGRADATIONS
from hf_fracture.evaluation.comparison import measure_differences
from hf_fracture.evaluation.figures import Resampling, measure_figures
from hf_fracture.evaluation.films import load_splits, select_split
from hf_fracture.evaluation.measured_model import build_film_reader
from hf_fracture.evaluation.predictions import Predictions, predict_dataset
from hf_fracture.evaluation.report import choose_decisions
from hf_fracture.evaluation.robustness import measure_alterations
from hf_fracture.explain.closed_form import PooledHead, closed_form_grad_cam, read_pooled_head
from hf_fracture.explain.localization import score_map
from hf_fracture.inference.classifier import FractureClassifier
from hf_fracture.inference.engine import TorchEngine
from hf_fracture.models.checkpoint import (
    hash_weights,
    load_model,
    read_json,
    read_preprocessing,
    read_record,
    write_json,
)

RESULT_PATH: Final = Path(__file__).resolve().parent / "results" / "candidates.json"
WORSE_COPIES: Final = ("JPEG quality 30", "phone photograph")
"""The alterations of `DEGRADATIONS` that told two candidates apart on the test split."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What paired differences of a model are made from.

    Attributes:
        name: Of the model.
        answers: Of all films.
        peaks_inside: (M,) of each marked film, whether the peak of the map drawn by splines lies in a region.
    """

    name: str
    answers: Predictions
    peaks_inside: NDArray[np.bool_]


def measure_candidate(
    name: str, model_dir: Path, films: Any, reference: Measured | None
) -> tuple[dict[str, Any], Measured]:
    """Return a model's row and what later ones are compared with.

    Raises:
        SystemExit: If the model has no operating points, or no map in closed form.
    """
    record, preprocessing, model = read_record(model_dir), read_preprocessing(model_dir), load_model(model_dir)
    head = read_pooled_head(model)
    if record is None or head is None:
        raise SystemExit(f"Expected a ResNet or ConvNeXt trained here, got '{model_dir}'. Pass a model folder of ours.")
    read_film = build_film_reader(preprocessing)
    answers = predict_dataset(model, read_film, films, show_progress=True)
    figures = measure_figures(answers, choose_decisions(None, record))
    threshold = record.operating_points["balanced"].threshold
    altered = {
        name: predict_dataset(model, read_altered(read_film, DEGRADATIONS[name]), films, show_progress=True)
        for name in WORSE_COPIES
    }
    effects = measure_alterations(answers, altered, threshold=threshold)
    run = read_json(model_dir / "run.json")
    marked = marked_films(films)
    groups = [row["group_id"] for row in marked]
    called, inside = find_peaks(model_dir, head, marked, threshold)
    called_groups = [group for group, is_called in zip(groups, called, strict=True) if is_called]
    peaks = {
        f"peak in region, {name}": estimate_mean(hits[called].astype(float).tolist(), called_groups, is_share=True)
        for name, hits in inside.items()
    }
    measured = Measured(name=name, answers=answers, peaks_inside=inside["spline"])
    row = {
        "AUROC": figures["auroc"].to_dict(),
        **compare(measured, reference, groups),
        "peak in region, spline": peaks["peak in region, spline"],
        **{f"AUROC, {effect.name}": effect.auroc.to_dict() for effect in effects},
        **{f"calls that change, {effect.name}": effect.flipped_fraction.to_dict() for effect in effects},
        "average precision": figures["average_precision"].to_dict(),
        "training minutes": round(run["seconds"] / 60),
        "detected of marked": f"{len(called_groups)} of {len(marked)}",
        **peaks,
        "seed": run["training_arguments"]["seed"],
        "specificity at screening": figures["screening/specificity"].to_dict(),
        "recipe": {**run["recipe"], **run["training_arguments"]},
        "weights": hash_weights(model_dir)[:12],
    }
    return row, measured


def compare(measured: Measured, reference: Measured | None, groups: list[str]) -> dict[str, Any]:
    """Return the paired differences from the reference, and its name; empty for the reference itself.

    Args:
        measured: Of the model.
        reference: Of the first model.
        groups: (M,) of the marked films.
    """
    if reference is None:
        return {"beside": "", "difference": "", "difference of peak": ""}
    moved = measured.peaks_inside.astype(float) - reference.peaks_inside
    return {
        "beside": reference.name,
        "difference": measure_differences(measured.answers, reference.answers, Resampling())["auroc"].to_dict(),
        "difference of peak": estimate_mean(moved.tolist(), groups),
    }


def find_peaks(
    model_dir: Path, head: PooledHead, films: list[dict[str, Any]], threshold: float
) -> tuple[NDArray[np.bool_], dict[str, NDArray[np.bool_]]]:
    """Return of each marked film whether its probability reaches `threshold`, and whether the peak of each map hits."""
    preprocessing = read_preprocessing(model_dir)
    engine = TorchEngine(model_dir, fractured_index=1)
    classifier = FractureClassifier.from_pretrained(model_dir, backend="torch")
    called = []
    inside: dict[str, list[bool]] = {name: [] for name in (*get_args(Kernel), "averaged")}
    for row in tqdm(films, desc=model_dir.name, unit="film"):
        film = row["image"].convert("L")
        pixels = letterbox_pixels(film, preprocessing.size_px, preprocessing.mean, preprocessing.std)
        activations = engine.compute(pixels[None])
        if activations.feature_maps is None:
            raise SystemExit(f"Expected feature maps of '{model_dir}', got none. Pass a ResNet or ConvNeXt.")
        called.append(activations.probabilities[0] >= threshold)
        cells = closed_form_grad_cam(activations.feature_maps[0], head)
        _, letterbox = letterbox_image(film, preprocessing.size_px)
        drawn = {kernel: letterbox.map_to_film(cells, kernel=kernel) for kernel in get_args(Kernel)}
        drawn["averaged"] = classifier.explain(film, "averaged_grad_cam").values
        for name, values in drawn.items():
            inside[name].append(score_map(values, row["boxes"]).peak_in_region > 0)
    return np.array(called, bool), {name: np.array(hits) for name, hits in inside.items()}


def main() -> None:
    """Measure the models that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", metavar="DATASET", help="prepared folder")
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL")
    args = parser.parse_args()
    films = select_split(load_splits(args.dataset), "validation")
    models = {name: Path(folder) for name, _, folder in (named.partition("=") for named in args.models)}
    published = read_json(RESULT_PATH) if RESULT_PATH.is_file() else {}
    rows: dict[str, Any] = {}
    reference: Measured | None = None
    for name, folder in models.items():
        rows[name], measured = measure_candidate(name, folder, films, reference)
        reference = reference or measured
        write_json(RESULT_PATH, {**rows, **{other: row for other, row in published.items() if other not in rows}})


if __name__ == "__main__":
    main()
