"""Train every recipe of the field, and every technique switched on or off, at a small budget on clean splits.

    python scripts/run_recipes.py recipes  FRACATLAS KAGGLE WEIGHTS WORK_DIR [NAME…]
    python scripts/run_recipes.py ablation FRACATLAS KAGGLE WEIGHTS WORK_DIR [NAME…]

FRACATLAS, KAGGLE: prepared folders (`hf-fracture data prepare`). WEIGHTS: a folder with `resnet-18-c4-imagenet` and
`resnet-50-c4-imagenet`, ImageNet-1k weights of torchvision's ResNets without their fourth stage; other backbones start
random. NAME: only these trials. Finished trials are kept and not run again. Writes scripts/results/recipes.json or
ablation.json after each trial. Trials of VGG16, InceptionV3 and DenseNet201 need the extra [timm].

The budget is a fraction of what the recipes ask for: the table says what a recipe reaches in minutes on two CPU cores,
not what it can reach. Nothing is chosen on the test split.
"""

import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml
from datasets import DatasetDict
from PIL import Image

from hf_fracture.cli.train import measure_ranking
from hf_fracture.config import RecipeConfig, find_recipe
from hf_fracture.evaluation.bootstrap import bootstrap, count_rarer_groups, estimate
from hf_fracture.evaluation.comparison import measure_differences
from hf_fracture.evaluation.curves import RankedFilms
from hf_fracture.evaluation.figures import Resampling
from hf_fracture.evaluation.films import hash_assignment, load_splits
from hf_fracture.evaluation.predictions import Predictions, predict_dataset, read_predictions, write_predictions
from hf_fracture.models.checkpoint import read_json, write_json
from hf_fracture.training.arguments import FractureTrainingArguments
from hf_fracture.training.trainer import train_classifier

RESULTS_DIR: Final = Path(__file__).resolve().parent / "results"
MAX_FILMS_OF_A_GROUP: Final = 2
"""On Kaggle's set one film has up to 96 rotations in training; augmentation rotates films too."""
NUM_PART_FILMS: Final = 1000
LONG_SIDE_PX: Final = 160

# What a trial at this budget shares: no checkpoints, no choice of an epoch.
QUICK: Final[dict[str, Any]] = {
    "eval_strategy": "no",
    "save_strategy": "no",
    "load_best_model_at_end": False,
    "early_stopping_epochs": 0,
}
RESNET_18: Final = "resnet-18-c4-imagenet"
RESNET_50: Final = "resnet-50-c4-imagenet"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training.

    Attributes:
        recipe: Name of a recipe of the package; None starts from the defaults.
        films: `FracAtlas`, `FracAtlas hands`, `FracAtlas part` or `Kaggle`.
        weights: Folder of pretrained weights; None starts random.
        fields: Fields that differ from the recipe.
        note: What a reader must know.
        reference: Trial whose validation answers are subtracted, in the ablation.
    """

    recipe: str | None
    films: str
    weights: str | None
    fields: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    reference: str | None = None


def _recipe_trials() -> dict[str, Trial]:
    whole = {**QUICK, "image_size": 96, "num_train_epochs": 2}
    small = {**QUICK, "image_size": 96, "num_train_epochs": 3}
    wrist = {"image_size": 128, "num_train_epochs": 20}
    frozen = "no wrist set at hand: FracAtlas' hand films"
    random = "no weights at hand: starts random, nothing to freeze"
    untrained = {**wrist, "num_train_epochs": 4, "freeze_epochs": 0}
    plain = {**whole, "evidence_weight": 0}
    edges = {**small, "num_train_epochs": 2}
    return {
        "main line": Trial(recipe="main-line", films="FracAtlas part", weights=RESNET_18, fields=whole),
        "reference: plain fine-tune": Trial(
            recipe="main-line", films="FracAtlas part", weights=RESNET_18, fields=plain
        ),
        "reference: plain fine-tune, Kaggle": Trial(
            recipe="main-line", films="Kaggle", weights=RESNET_18, fields={**small, "evidence_weight": 0}
        ),
        "wrist, ResNet-50": Trial(
            recipe="wrist", films="FracAtlas hands", weights=RESNET_50, fields=wrist, note=f"{frozen}; three stages"
        ),
        "wrist, InceptionV3": Trial(
            recipe="wrist",
            films="FracAtlas hands",
            weights=None,
            fields={**untrained, "backbone": "inception-v3"},
            note=f"{frozen}; {random}",
        ),
        "wrist, DenseNet201": Trial(
            recipe="wrist",
            films="FracAtlas hands",
            weights=None,
            fields={**untrained, "backbone": "densenet-201"},
            note=f"{frozen}; {random}",
        ),
        "edges, ResNet-50": Trial(
            recipe="edges-resnet-50", films="Kaggle", weights=RESNET_50, fields=edges, note="three stages"
        ),
        "edges, ResNet-50 without edges": Trial(
            recipe="edges-resnet-50",
            films="Kaggle",
            weights=RESNET_50,
            fields={**edges, "enhancement": "none"},
            note="three stages",
        ),
        "edges, DeepConvNet": Trial(recipe="edges-deepconvnet", films="Kaggle", weights=None, fields=small),
        "edges, DeepConvNet without edges": Trial(
            recipe="edges-deepconvnet", films="Kaggle", weights=None, fields={**small, "enhancement": "none"}
        ),
        "comparison, VGG16": Trial(
            recipe="comparison-vgg16",
            films="Kaggle",
            weights=None,
            fields={**QUICK, "image_size": 64, "num_train_epochs": 1, "freeze_epochs": 0},
            note="no weights at hand: starts random, nothing to freeze",
        ),
        "comparison, ResNet-50": Trial(
            recipe="comparison-resnet-50",
            films="Kaggle",
            weights=RESNET_50,
            fields={**edges, "freeze_epochs": 1},
            note="three stages",
        ),
        "comparison, own CNN": Trial(
            recipe="comparison-cnn", films="Kaggle", weights=None, fields={**small, "num_train_epochs": 6}
        ),
        "Global Health CNN": Trial(
            recipe="global-health",
            films="Kaggle",
            weights=None,
            fields={**small, "num_train_epochs": 6},
            note="for its cross-validation see hf-fracture crossval",
        ),
    }


def _ablation_trials() -> dict[str, Trial]:
    base = {**QUICK, "image_size": 96, "num_train_epochs": 2, "num_stages": 3}
    still = {"rotation_degrees": 0, "scale_fraction": 0, "translation_fraction": 0}
    changes: dict[str, dict[str, Any]] = {
        "no evidence supervision": {"evidence_weight": 0},
        "no class weights": {"class_weights": "none"},
        "balanced sampling instead": {"class_weights": "none", "sampling": "balanced"},
        "focal loss": {"focal_gamma": 2.0},
        "label smoothing": {"label_smoothing": 0.1},
        "head alone for an epoch": {"freeze_epochs": 1},
        "layer-wise rates": {"layer_decay": 0.6},
        "mean of weights": {"ema_decay": 0.98},
        "constant rate": {"lr_scheduler_type": "constant"},
        "mixup": {"mixup_alpha": 0.2},
        "random erasing": {"erasing_probability": 0.5},
        "no mirroring": {"horizontal_flip": False},
        "no rotation, scale, shift": still,
        "no gamma, contrast, noise": {"gamma": 1, "contrast_fraction": 0, "noise_fraction": 0},
        "smaller letterbox": {"image_size": 64},
        "random start": {"pretrained": False},
    }
    enhancements = {
        "equalisation": "equalize",
        "CLAHE": "clahe",
        "Canny channel": "canny",
        "marker inpainting, noise floor": "inpaint_markers+noise_floor",
    }
    shared: dict[str, Any] = {"recipe": None, "films": "FracAtlas part", "weights": RESNET_18}
    trials = {"main line": Trial(**shared, fields=base)}
    for name, change in changes.items():
        trials[name] = Trial(**shared, fields={**base, **change}, reference="main line")
    for name, enhancement in enhancements.items():
        fields = {**base, "evidence_weight": 0, "enhancement": enhancement}
        trials[name] = Trial(**shared, fields=fields, reference="no evidence supervision")
    return trials


TABLES: Final = {"recipes": _recipe_trials, "ablation": _ablation_trials}


def shrink_film(row: dict[str, Any]) -> dict[str, Any]:
    """Reduce a film and its regions to `LONG_SIDE_PX`, so that an epoch does not spend its time decoding."""
    film = row["image"].convert("L")
    scale = LONG_SIDE_PX / max(film.size)
    if scale >= 1:
        return {"image": film}
    size = (max(1, round(film.width * scale)), max(1, round(film.height * scale)))
    sx, sy = size[0] / film.width, size[1] / film.height
    boxes = [[x * sx, y * sy, width * sx, height * sy] for x, y, width, height in row["boxes"] or []]
    polygons = [
        [value * (sx, sy)[index % 2] for index, value in enumerate(polygon)] for polygon in row["polygons"] or []
    ]
    return {"image": film.resize(size, Image.Resampling.LANCZOS), "boxes": boxes, "polygons": polygons}


def load_films(name: str, folders: Mapping[str, Path]) -> DatasetDict:
    """Load the clean split of a dataset, reduced as its name in `Trial.films` says, with small films."""
    return DatasetDict({part: films.map(shrink_film) for part, films in choose_films(name, folders).items()})


def choose_films(name: str, folders: Mapping[str, Path]) -> DatasetDict:
    """Choose the films of a trial from the clean split."""
    splits = load_splits(folders[name.split()[0]])
    kept = DatasetDict({part: splits[part] for part in ("train", "validation", "test")})
    if name == "FracAtlas hands":
        for part, films in kept.items():
            kept[part] = films.select([i for i, region in enumerate(films["body_part"]) if region == "hand"])
    elif name == "FracAtlas part":
        order = np.random.default_rng(0).permutation(len(kept["train"]))[:NUM_PART_FILMS]
        kept["train"] = kept["train"].select(sorted(order.tolist()))
    elif name == "Kaggle":
        seen: Counter[str] = Counter()
        chosen = []
        for index, group in enumerate(kept["train"]["group_id"]):
            seen[group] += 1
            if seen[group] <= MAX_FILMS_OF_A_GROUP:
                chosen.append(index)
        kept["train"] = kept["train"].select(chosen)
    return kept


def configure(trial: Trial, weights_dir: Path, work_dir: Path) -> tuple[RecipeConfig, FractureTrainingArguments]:
    """Merge the recipe and the trial's fields."""
    fields: dict[str, Any] = {}
    if trial.recipe is not None:
        fields |= yaml.safe_load(find_recipe(trial.recipe).read_text(encoding="utf-8"))
    fields |= dict(trial.fields)
    if trial.weights is None:
        fields["pretrained"] = False
    else:
        fields["backbone"] = str(weights_dir / trial.weights)
    names = set(RecipeConfig.__dataclass_fields__)
    recipe = RecipeConfig(**{name: value for name, value in fields.items() if name in names})
    arguments = {name: value for name, value in fields.items() if name not in names}
    return recipe, FractureTrainingArguments(output_dir=str(work_dir / "checkpoints"), **arguments)


def run_trial(trial: Trial, splits: DatasetDict, weights_dir: Path, out_dir: Path, *, parts: tuple[str, ...]) -> None:
    """Train, and write the answers on `parts` and what the trial was."""
    out_dir.mkdir(parents=True, exist_ok=True)
    recipe, arguments = configure(trial, weights_dir, out_dir)
    split_sha256 = hash_assignment(splits)
    started = time.monotonic()
    result = train_classifier(splits, recipe, arguments, compute_metrics=measure_ranking)
    minutes = (time.monotonic() - started) / 60
    for part in parts:
        answers = predict_dataset(result.model, result.preprocessing, splits[part])
        write_predictions(answers, out_dir / f"{part}.csv")
    epochs = max((entry.get("epoch", 0.0) for entry in result.history), default=0.0)
    row = {
        "backbone": describe_backbone(recipe, trial),
        "films": {part: len(splits[part]) for part in ("train", *parts)},
        "px": recipe.image_size,
        "epochs": round(epochs, 1),
        "minutes": round(minutes, 2),
        "recipe": {**asdict(recipe), "backbone": Path(recipe.backbone).name},
        "learning_rate": arguments.learning_rate,
        "seed": arguments.seed,
        "split_sha256": split_sha256,
    }
    write_json(out_dir / "row.json", row)


def describe_backbone(recipe: RecipeConfig, trial: Trial) -> str:
    """Say what was trained and from where, as in "resnet-50, ImageNet"."""
    name = (trial.weights or recipe.backbone).removesuffix("-c4-imagenet")
    return f"{name}, {'ImageNet' if trial.weights and recipe.pretrained else 'random'}"


def measure(answers: Predictions) -> dict[str, Any]:
    """Return AUROC and average precision with intervals over groups."""
    ranked = RankedFilms(answers.y_true, answers.y_prob)

    def statistic(weights: Any) -> dict[str, Any]:
        counts = ranked.count_calls(weights)
        return {"auroc": counts.auroc(), "average_precision": counts.average_precision()}

    values = statistic(np.ones((1, len(answers))))
    resampled = bootstrap(statistic, answers.group_ids)
    num_groups = count_rarer_groups(answers.group_ids, answers.y_true)
    return {
        name: estimate(float(value[0]), resampled[name], num_groups=num_groups).to_dict()
        for name, value in values.items()
    }


def describe_recipe(name: str, trial: Trial, folder: Path) -> dict[str, Any]:
    """Return a row of the table of recipes."""
    row = read_json(folder / "row.json")
    found = {part: measure(read_predictions(folder / f"{part}.csv")) for part in ("validation", "test")}
    films = row["films"]
    return {
        "trial": name,
        "backbone, start": row["backbone"],
        "films (train, validation, test)": f"{trial.films}: {films['train']}, {films['validation']}, {films['test']}",
        "px, epochs, minutes": f"{row['px']}, {row['epochs']:g}, {row['minutes']:.1f}",
        "validation AUROC": found["validation"]["auroc"],
        "test AUROC": found["test"]["auroc"],
        "test average precision": found["test"]["average_precision"],
        "note": trial.note,
        "validation average precision": found["validation"]["average_precision"],
        **{key: row[key] for key in ("learning_rate", "seed", "split_sha256", "recipe")},
    }


def describe_ablation(name: str, trial: Trial, folder: Path) -> dict[str, Any]:
    """Return a row of the ablation; the difference is trial minus reference, on the same resamples."""
    row = read_json(folder / "row.json")
    answers = read_predictions(folder / "validation.csv")
    found = measure(answers)
    difference: Any = ""
    reference = folder.parent / slug(trial.reference or "") / "validation.csv"
    if trial.reference and reference.is_file():
        difference = measure_differences(answers, read_predictions(reference), Resampling())["auroc"].to_dict()
    return {
        "change": name,
        "against": trial.reference or "",
        "validation AUROC": found["auroc"],
        "difference of AUROC": difference,
        "validation average precision": found["average_precision"],
        "minutes": row["minutes"],
        **{key: row[key] for key in ("films", "px", "epochs", "learning_rate", "seed", "split_sha256", "recipe")},
    }


def slug(name: str) -> str:
    """Return a folder's name for a trial."""
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower())


def write_table(table: str, trials: Mapping[str, Trial], work_dir: Path) -> None:
    """Write the results of all finished trials."""
    describe = describe_recipe if table == "recipes" else describe_ablation
    done = {name: work_dir / table / slug(name) for name in trials}
    rows = [describe(name, trials[name], folder) for name, folder in done.items() if (folder / "row.json").is_file()]
    minutes = sum(
        read_json(folder / "row.json")["minutes"] for folder in done.values() if (folder / "row.json").is_file()
    )
    budget = {
        "training minutes in all": round(minutes, 1),
        "machine": "two CPU cores, shared with other work while this ran",
        "intervals": "95 %, bootstrap over groups, 2,000 resamples",
        "splits": "clean: no copy of a film crosses a split; the last epoch is taken, nothing is chosen on test",
    }
    RESULTS_DIR.mkdir(exist_ok=True)
    write_json(RESULTS_DIR / f"{table}.json", {"budget": budget, "rows": rows})


def main(table: str, folders: Mapping[str, Path], weights_dir: Path, work_dir: Path, names: list[str]) -> None:
    """Run what is not done yet, and write the table after each; what is done is described again."""
    trials = TABLES[table]()
    parts = ("validation", "test") if table == "recipes" else ("validation",)
    missing = [name for name in names or trials if not (work_dir / table / slug(name) / "row.json").is_file()]
    write_table(table, trials, work_dir)
    for name in missing:
        print(f"{table}: {name}", file=sys.stderr, flush=True)
        out_dir = work_dir / table / slug(name)
        run_trial(trials[name], load_films(trials[name].films, folders), weights_dir, out_dir, parts=parts)
        write_table(table, trials, work_dir)


if __name__ == "__main__":
    _, chosen, fracatlas, kaggle, weights, work, *wanted = sys.argv
    main(chosen, {"FracAtlas": Path(fracatlas), "Kaggle": Path(kaggle)}, Path(weights), Path(work), wanted)
