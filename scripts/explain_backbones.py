r"""Where the maps of other backbones point: on phantoms for every family, on real films for models that were trained.

    python scripts/explain_backbones.py phantoms WORK_DIR
    python scripts/explain_backbones.py films DATASET NAME=MODEL_DIR [NAME=MODEL_DIR ...]

`phantoms` trains each family briefly on close-ups of 96 px from random weights (ResNets and ConvNeXts with
their first two stages, the others whole), then measures how often the peak of each fast method's map lies in the
fracture, on the detected ones; ResNets also with evidence supervision. It also compares the closed form of Grad-CAM
with Captum's for every ResNet and ConvNeXt of the table as it is. Backbones of timm are left out where timm is not
installed, and the file says so. `films` measures trained model folders on the marked fractures of the test split, as
`hf-fracture explain-eval` does. Both write their part of scripts/results/explanations.json as they go, and leave the
rest of it. Compute: about fifteen minutes on two cores, and one minute per model.

An ordinary ConvNeXt and ResNet for `films`, small and short (six minutes in all on two quiet cores), the first from
random weights:

    hf-fracture train DATASET --backbone convnextv2-atto --pretrained false --image_size 160 --evidence_weight 0 \
        --num_train_epochs 4 --learning_rate 1e-3 --early_stopping_epochs 0 --out WORK_DIR/atto
    hf-fracture train DATASET --backbone RESNET_50_C4 --image_size 128 --evidence_weight 0 \
        --num_train_epochs 2 --learning_rate 2e-4 --early_stopping_epochs 0 --out WORK_DIR/resnet-50
"""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from hf_fracture.cli.explain_eval import marked_films, measure_maps
from hf_fracture.cli.explain_figures import estimate_mean
from hf_fracture.config import RecipeConfig
from hf_fracture.data.phantoms import Phantom, draw_phantom
from hf_fracture.data.transforms import Preprocessing, fit_letterbox, letterbox_pixels
from hf_fracture.errors import MissingPackageError
from hf_fracture.evaluation.films import load_splits
from hf_fracture.explain.attribution import Method, attribute, build_score_function, compute_input_map
from hf_fracture.explain.closed_form import closed_form_grad_cam, read_pooled_head
from hf_fracture.explain.localization import centre_map, edge_map, score_map
from hf_fracture.inference.classifier import FractureClassifier
from hf_fracture.models.backbones import BACKBONES, build_classifier
from hf_fracture.models.checkpoint import read_json, write_json
from hf_fracture.training.arguments import FractureTrainingArguments
from hf_fracture.training.trainer import train_classifier

RESULT_PATH = Path(__file__).resolve().parent / "results" / "explanations.json"
SIDE_PX = 96
NUM_TRAINING_SEEDS, NUM_EPOCHS = 250, 8
LEARNING_RATES = {"resnet": 3e-3, "plain_cnn": 3e-4, "vgg16": 1e-4}  # by type or name; 1e-3 for the others
NUM_MEASURED = 120
MEASURED_SEED = 20_000
FAMILIES = (
    *("resnet-18", "resnet-50", "convnext-tiny", "convnextv2-atto", "deepconvnet", "plain-cnn"),
    *("vgg16", "inception-v3", "densenet-201"),
)
METHODS: tuple[Method, ...] = ("grad_cam", "averaged_grad_cam", "integrated_gradients")


def draw_close_up(seed: int, *, fractured: bool | None = None) -> Phantom:
    """Unless said otherwise, every second film is fractured; of four such seeds, one at the very edge."""
    return draw_phantom(
        seed,
        fractured=seed % 2 == 0 if fractured is None else fractured,
        size_px=(SIDE_PX, SIDE_PX),
        close_up=True,
        fracture_at_edge=seed % 8 == 0,
    )


def build_splits() -> Any:
    """Return close-ups: to train on, both films of each seed, so that nothing but the break tells them apart."""
    from datasets import Dataset, DatasetDict, Features, Image, List, Value

    boxes = List(List(Value("float32")))
    text = dict.fromkeys(("body_part", "group_id", "source", "source_path"), Value("string"))
    features = Features({"image": Image(), "label": Value("int64"), "boxes": boxes, "polygons": boxes, **text})

    def row(seed: int, *, fractured: bool | None = None) -> dict[str, Any]:
        film = draw_close_up(seed, fractured=fractured)
        known = {"image": film.image, "label": film.label, "boxes": film.boxes, "body_part": film.body_part}
        return {**known, "polygons": [], "group_id": str(seed), "source": "phantoms", "source_path": f"{seed}.png"}

    twins = [row(seed, fractured=broken) for seed in range(NUM_TRAINING_SEEDS) for broken in (False, True)]
    others = [row(seed) for seed in range(10_000, 10_024)]
    return DatasetDict(
        train=Dataset.from_list(twins, features=features), validation=Dataset.from_list(others, features=features)
    )


def train_on_phantoms(name: str, splits: Any, work_dir: Path, *, evidence_weight: float) -> tuple[Any, Preprocessing]:
    """Train a family from random weights; returns the model and its preprocessing."""
    model_type = BACKBONES[name].model_type
    is_staged = model_type in ("resnet", "convnext", "convnextv2")
    recipe = RecipeConfig(
        backbone=name,
        pretrained=False,
        num_stages=2 if is_staged else None,
        image_size=SIDE_PX,
        evidence_weight=evidence_weight,
        rotation_degrees=5.0,
        scale_fraction=0.0,
        translation_fraction=0.05,
        gamma=1.0,
        contrast_fraction=0.0,
        noise_fraction=0.0,
        mask_dilation_fraction=0.0,
        early_stopping_epochs=0,
    )
    run_dir = work_dir / f"{name}-{evidence_weight:g}"
    shutil.rmtree(run_dir, ignore_errors=True)
    arguments = FractureTrainingArguments(
        output_dir=str(run_dir),
        num_train_epochs=NUM_EPOCHS,
        per_device_train_batch_size=32,
        learning_rate=LEARNING_RATES.get(name, LEARNING_RATES.get(model_type, 1e-3)),
        save_strategy="no",
        load_best_model_at_end=False,
        disable_tqdm=True,
    )
    result = train_classifier(splits, recipe, arguments, compute_metrics=measure_ranking)
    return result.model, result.preprocessing


def measure_ranking(prediction: Any) -> dict[str, float]:
    """Return the AUROC of the logit difference."""
    logits = cast("NDArray[np.float64]", prediction.predictions)
    return {"auroc": float(roc_auc_score(prediction.label_ids, logits[:, 1] - logits[:, 0]))}


def measure_on_phantoms(model: Any, preprocessing: Preprocessing) -> dict[str, Any]:
    """Return how well the network tells phantoms apart, and how often each map's peak lies in the fracture."""
    films = [draw_close_up(seed) for seed in range(MEASURED_SEED, MEASURED_SEED + NUM_MEASURED)]
    pixels = [letterbox_pixels(film.image, SIDE_PX, preprocessing.mean, preprocessing.std) for film in films]
    with torch.no_grad():
        score = build_score_function(model, 1)
        scores = np.concatenate([score(torch.from_numpy(one[None])).numpy() for one in pixels])
    labels = np.array([film.label for film in films])
    detected = np.flatnonzero((labels == 1) & (scores > 0))
    letterbox = fit_letterbox(SIDE_PX, SIDE_PX, SIDE_PX)
    maps: dict[str, list[NDArray[Any]]] = {
        method: [attribute(model, pixels[i], letterbox, method=method).values for i in detected] for method in METHODS
    }
    maps |= {
        "centre": [centre_map(SIDE_PX, SIDE_PX)] * len(detected),
        "edges": [edge_map(films[i].image) for i in detected],
    }
    return {
        "auroc": float(roc_auc_score(labels, scores)),
        "num_fractured": int(labels.sum()),
        "num_detected": len(detected),
        "peak_in_region_if_detected": {
            name: estimate_mean(
                [score_map(values, films[i].boxes).peak_in_region for values, i in zip(found, detected, strict=True)],
                [str(i) for i in detected],
                is_share=True,
            )
            for name, found in maps.items()
        },
    }


def compare_closed_form(name: str) -> dict[str, Any] | None:
    """Return the largest difference of the closed form from Captum's map, as a share of the map's largest value.

    For the table's network as it is, under shaken random weights, in float32; None where there is no closed form.
    """
    torch.manual_seed(0)
    side = BACKBONES[name].input_size_px
    model = build_classifier(name, pretrained=False).eval()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter) * (parameter.std() if parameter.numel() > 1 else 1.0))
    head = read_pooled_head(model)
    if head is None:
        return None
    pixels = np.random.default_rng(0).normal(size=(3, side, side)).astype(np.float32)
    with torch.no_grad():
        states = model(torch.from_numpy(pixels)[None], output_hidden_states=True).hidden_states
    closed = closed_form_grad_cam(states[-1][0].numpy(), head)
    captum, _ = compute_input_map(model, pixels)
    return {"largest_difference_fraction": float(np.abs(closed - captum).max() / np.abs(captum).max())}


def run_phantoms(work_dir: Path) -> None:
    """Fill the parts `phantoms` and `closed_form`."""
    for name, row in BACKBONES.items():
        if row.library == "transformers":
            save("closed_form", name, compare_closed_form(name))
    splits = build_splits()
    for name in FAMILIES:
        kinds = {"ordinary": 0.0, **({"evidence": 0.5} if name.startswith("resnet") else {})}
        for kind, weight in kinds.items():
            try:
                model, preprocessing = train_on_phantoms(name, splits, work_dir, evidence_weight=weight)
            except MissingPackageError as error:
                save("phantoms", f"{name}, {kind}", {"not_measured": str(error)})
                continue
            save("phantoms", f"{name}, {kind}", measure_on_phantoms(model, preprocessing))


def run_films(dataset: str, models: dict[str, Path]) -> None:
    """Fill the part `films`: each model once on the marked fractures of the test split."""
    splits = load_splits(dataset)
    films, scale_films = (marked_films(splits[split]) for split in ("test", "validation"))
    where = {"dataset": Path(dataset).resolve().name, "split": "test"}
    for name, folder in models.items():
        classifier = FractureClassifier.from_pretrained(folder, backend="torch")
        found = measure_maps(classifier, films, scale_films=scale_films, methods=["grad_cam"], where=where)
        recipe = read_json(folder / "run.json").get("recipe", {})
        backbone = Path(str(recipe.get("backbone"))).name  # the name of a folder, wherever it lay
        known = {**where, "backbone": backbone, "image_size": recipe.get("image_size"), "model": classifier.revision}
        save("films", name, {**known, **found})


def save(part: str, name: str, found: dict[str, Any] | None) -> None:
    """Put one result into the file, and leave the others."""
    content = read_json(RESULT_PATH) if RESULT_PATH.is_file() else {}
    content.setdefault(part, {})[name] = found
    write_json(RESULT_PATH, content)
    print(part, name, found if part != "films" or found is None else found["methods"]["grad_cam"]["sentence"])


def main() -> int:
    """Measure what the arguments name."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("phantoms").add_argument("work_dir", type=Path)
    films = commands.add_parser("films")
    films.add_argument("dataset")
    films.add_argument("models", nargs="+", metavar="NAME=MODEL_DIR")
    args = parser.parse_args()
    if args.command == "phantoms":
        run_phantoms(args.work_dir)
    else:
        run_films(args.dataset, {name: Path(folder) for name, folder in (pair.split("=", 1) for pair in args.models)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
