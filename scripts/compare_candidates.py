"""Put whole trainings beside each other on the validation split: what a candidate must show before it is shipped.

    python scripts/compare_candidates.py DATASET NAME=MODEL [NAME=MODEL ...]

Reads the validation split only. For each model: ranking with intervals over groups, the paired difference of its AUROC
from the first model named, and how often the peak of its map lies in the marked region of a fracture that it calls at
its balanced threshold: for Grad-CAM drawn by the two kernels of `Letterbox.map_to_film`, and for averaged Grad-CAM; and
what worse copies of the same films do to ranking and calls, since a map that gains by losing there is no gain.
The epoch that a training kept, its temperature and its thresholds were chosen on the same films, for all models alike.
Writes scripts/results/candidates.json. Compute: six minutes a model.
"""

import argparse
from pathlib import Path
from typing import Any, Final, get_args

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


def measure_candidate(model_dir: Path, films: Any, reference: Predictions | None) -> tuple[dict[str, Any], Predictions]:
    """Return a model's row and its answers.

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
    peaks = measure_peaks(model_dir, head, marked_films(films), threshold)
    row = {
        "AUROC": figures["auroc"].to_dict(),
        "difference": measure_differences(answers, reference, Resampling())["auroc"].to_dict() if reference else "",
        "average precision": figures["average_precision"].to_dict(),
        "peak in region, spline": peaks["peak in region, spline"],
        **{f"AUROC, {effect.name}": effect.auroc.to_dict() for effect in effects},
        **{f"calls that change, {effect.name}": effect.flipped_fraction.to_dict() for effect in effects},
        "training minutes": round(run["seconds"] / 60),
        **peaks,
        "seed": run["training_arguments"]["seed"],
        "specificity at screening": figures["screening/specificity"].to_dict(),
        "recipe": {**run["recipe"], **run["training_arguments"]},
        "weights": hash_weights(model_dir)[:12],
    }
    return row, answers


def measure_peaks(model_dir: Path, head: PooledHead, films: list[dict[str, Any]], threshold: float) -> dict[str, Any]:
    """Return how often the peak of each map hits, on the marked fractures whose probability reaches `threshold`."""
    preprocessing = read_preprocessing(model_dir)
    engine = TorchEngine(model_dir, fractured_index=1)
    classifier = FractureClassifier.from_pretrained(model_dir, backend="torch")
    hits: dict[str, list[float]] = {name: [] for name in (*get_args(Kernel), "averaged")}
    groups = []
    for row in tqdm(films, desc=model_dir.name, unit="film"):
        film = row["image"].convert("L")
        pixels = letterbox_pixels(film, preprocessing.size_px, preprocessing.mean, preprocessing.std)
        activations = engine.compute(pixels[None])
        if activations.probabilities[0] < threshold or activations.feature_maps is None:
            continue
        cells = closed_form_grad_cam(activations.feature_maps[0], head)
        _, letterbox = letterbox_image(film, preprocessing.size_px)
        drawn = {kernel: letterbox.map_to_film(cells, kernel=kernel) for kernel in get_args(Kernel)}
        drawn["averaged"] = classifier.explain(film, "averaged_grad_cam").values
        groups.append(row["group_id"])
        for name, values in drawn.items():
            hits[name].append(score_map(values, row["boxes"]).peak_in_region)
    shares = {f"peak in region, {name}": estimate_mean(found, groups, is_share=True) for name, found in hits.items()}
    return {"detected of marked": f"{len(groups)} of {len(films)}", **shares}


def main() -> None:
    """Measure the models that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", metavar="DATASET", help="prepared folder")
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL")
    args = parser.parse_args()
    films = select_split(load_splits(args.dataset), "validation")
    rows: dict[str, Any] = {}
    reference = None
    for named in args.models:
        name, _, folder = named.partition("=")
        rows[name], answers = measure_candidate(Path(folder), films, reference)
        reference = reference or answers
        write_json(RESULT_PATH, rows)


if __name__ == "__main__":
    main()
