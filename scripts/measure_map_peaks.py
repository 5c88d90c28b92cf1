"""How often does the peak of a model's map lie in a marked fracture, by the way the coarse map is drawn on the film?

    python scripts/measure_map_peaks.py DATASET NAME=MODEL [NAME=MODEL ...]

Reads the validation split only: models and ways are compared there. Adds to scripts/results/map_peaks.json, for each
model and way, the share with its interval on those marked fractures that the model calls at its balanced threshold.
"""

import argparse
from pathlib import Path
from typing import Any, get_args

import numpy as np
from tqdm import tqdm

from hf_fracture.cli.explain_eval import marked_films
from hf_fracture.data.transforms import Kernel, letterbox_image, letterbox_pixels
from hf_fracture.evaluation.bootstrap import bootstrap, estimate
from hf_fracture.evaluation.films import load_splits, select_split
from hf_fracture.explain.closed_form import closed_form_grad_cam, read_pooled_head
from hf_fracture.explain.localization import score_map
from hf_fracture.inference.engine import TorchEngine
from hf_fracture.models.checkpoint import load_model, read_json, read_preprocessing, read_record, write_json

RESULTS = Path(__file__).parent / "results" / "map_peaks.json"


def measure_peaks(model_dir: Path, films: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row for each way of drawing the model's Grad-CAM.

    Raises:
        SystemExit: If the model has no operating points, or no map in closed form.
    """
    record, preprocessing = read_record(model_dir), read_preprocessing(model_dir)
    head = read_pooled_head(load_model(model_dir))
    if record is None or head is None:
        raise SystemExit(f"Expected a ResNet or ConvNeXt trained here, got '{model_dir}'. Pass a model folder of ours.")
    engine = TorchEngine(model_dir, fractured_index=1)
    threshold = record.operating_points["balanced"].threshold
    hits: dict[str, list[float]] = {kernel: [] for kernel in get_args(Kernel)}
    groups = []
    for row in tqdm(films, desc=model_dir.name, unit="film"):
        film = row["image"].convert("L")
        pixels = letterbox_pixels(film, preprocessing.size_px, preprocessing.mean, preprocessing.std)
        activations = engine.compute(pixels[None])
        if activations.probabilities[0] < threshold or activations.feature_maps is None:
            continue
        cells = closed_form_grad_cam(activations.feature_maps[0], head)
        _, letterbox = letterbox_image(film, preprocessing.size_px)
        groups.append(row["group_id"])
        for kernel, found in hits.items():
            drawn = letterbox.map_to_film(cells, kernel=kernel)  # type: ignore[arg-type]
            found.append(score_map(drawn, row["boxes"]).peak_in_region)
    rows = []
    for kernel, found in hits.items():
        values = np.array(found)
        resampled = bootstrap(lambda w, v=values: {"mean": (w @ v) / w.sum(axis=-1)}, np.array(groups))["mean"]  # type: ignore[misc]
        peak = estimate(float(values.mean()), resampled, num_groups=len(set(groups)), is_share=True).to_dict()
        drawing = f"{preprocessing.size_px} px, map drawn by a {kernel} kernel"
        rows.append({"drawing": drawing, "detected": len(groups), "marked": len(films), "peak_in_region": peak})
    return rows


def main() -> None:
    """Measure the models that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", metavar="DATASET", help="prepared folder")
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL")
    args = parser.parse_args()
    films = marked_films(select_split(load_splits(args.dataset), "validation"))
    results = read_json(RESULTS) if RESULTS.is_file() else {}
    for named in args.models:
        name, _, folder = named.partition("=")
        for row in measure_peaks(Path(folder), films):
            results[f"{name}, {row.pop('drawing')}"] = row
    RESULTS.parent.mkdir(exist_ok=True)
    write_json(RESULTS, results)


if __name__ == "__main__":
    main()
