"""What a trained model gains if it is asked differently: nothing is trained, and the validation split alone is read.

    python scripts/answer_variants.py DATASET [--model DIR]

DATASET: prepared FracAtlas. Variants: the mean over a film and its mirror image, other sides of the input, the mean
over three sides, and statistics of the BatchNorm layers measured again on the training films as they are, which
training saw altered only. For each: ranking, the paired difference from the model as it is, and what an answer costs,
as multiples of one forward pass. Writes scripts/results/answer_variants.json. Compute: ten minutes on two cores.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import nn

from hf_fracture.data.transforms import Preprocessing
from hf_fracture.evaluation.calibration import probability_of
from hf_fracture.evaluation.comparison import measure_differences
from hf_fracture.evaluation.figures import Resampling
from hf_fracture.evaluation.films import load_splits
from hf_fracture.evaluation.measured_model import FilmReader, build_film_reader
from hf_fracture.evaluation.metrics import auroc, average_precision
from hf_fracture.evaluation.predictions import Predictions, answer_films, predict_dataset
from hf_fracture.models.checkpoint import DEFAULT_MODEL_DIR, load_model, read_json, read_preprocessing, write_json

if TYPE_CHECKING:
    from datasets import Dataset

RESULT_PATH: Final = Path(__file__).resolve().parent / "results" / "answer_variants.json"
OTHER_SIDES: Final = (0.75, 1.25)
"""Of the input, as multiples of the model's own."""

Ask = Callable[[FilmReader], Predictions]


def resize(preprocessing: Preprocessing, factor: float) -> FilmReader:
    """Return the reader for another side of the input, a multiple of 32."""
    side = 32 * round(preprocessing.size_px * factor / 32)
    return build_film_reader(Preprocessing(size_px=side, mean=preprocessing.mean, std=preprocessing.std))


def mirror(read_film: FilmReader) -> FilmReader:
    """Return the reader of mirror images."""
    return lambda film: np.ascontiguousarray(read_film(film)[..., ::-1])


def average(parts: list[Predictions]) -> Predictions:
    """Return the answers whose logit is the mean of the parts' logits."""
    mean = np.mean([part.logit_difference for part in parts], axis=0)
    first = parts[0]
    return Predictions(
        ids=first.ids,
        group_ids=first.group_ids,
        y_true=first.y_true,
        logit_difference=mean,
        y_prob=probability_of(mean),
        subgroups=first.subgroups,
    )


def measure_statistics_again(model: Any, read_film: FilmReader, films: "Dataset") -> None:
    """Replace the statistics of all BatchNorm layers by those of the films, each batch weighing the same."""
    layers = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean over batches
    keep_in_training = model.train
    model.train = lambda _=True: keep_in_training(True)  # answer_films puts it into eval mode
    try:
        with torch.no_grad():
            answer_films(model, read_film, films, batch_size=32, show_progress=True)
    finally:
        del model.train
    model.eval()


def describe(answers: Predictions, reference: Predictions, cost: float) -> dict[str, Any]:
    """Return the row of a variant."""
    differences = measure_differences(answers, reference, Resampling())
    return {
        "AUROC": round(auroc(answers.y_true, answers.y_prob), 4),
        "difference": differences["auroc"].to_dict(),
        "average precision": round(average_precision(answers.y_true, answers.y_prob), 4),
        "difference of average precision": differences["average_precision"].to_dict(),
        "forward passes": round(cost, 2),
    }


def main() -> None:
    """Ask in every way, compare and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL_DIR, metavar="DIR", help="default: the shipped one")
    args = parser.parse_args()
    splits, model = load_splits(args.dataset), load_model(args.model)
    preprocessing = read_preprocessing(args.model)
    own = build_film_reader(preprocessing)

    def ask(read_film: FilmReader) -> Predictions:
        return predict_dataset(model, read_film, splits["validation"], show_progress=True)

    plain, mirrored = ask(own), ask(mirror(own))
    sides = {factor: ask(resize(preprocessing, factor)) for factor in OTHER_SIDES}
    variants = {
        "as it is": (plain, 1.0),
        "mean with the mirror image": (average([plain, mirrored]), 2.0),
        **{f"side times {factor:g}": (answers, factor**2) for factor, answers in sides.items()},
        "mean over three sides": (average([plain, *sides.values()]), 1 + sum(factor**2 for factor in sides)),
    }
    measure_statistics_again(model, own, splits["train"])
    variants["BatchNorm measured again"] = (ask(own), 1.0)
    rows = {name: describe(answers, plain, cost) for name, (answers, cost) in variants.items()}
    weights = read_json(args.model / "evaluation.json")["model"]["sha256"][:12]
    write_json(RESULT_PATH, {"table": rows, "note": f"Weights {weights}, validation split, {len(plain)} films."})
    print(RESULT_PATH.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
