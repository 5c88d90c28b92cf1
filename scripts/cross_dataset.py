"""Train on one dataset, test on another: the cross-dataset matrix, and the same tests of a finished model.

    python scripts/cross_dataset.py train FRACATLAS_DIR KAGGLE_DIR --backbone FOLDER --work DIR
    python scripts/cross_dataset.py frames FRACATLAS_DIR KAGGLE_DIR
    python scripts/cross_dataset.py model MODEL_DIR FRACATLAS_DIR KAGGLE_DIR

Both datasets are prepared folders (`hf-fracture data prepare`, the clean split). `train` fine-tunes the same backbone
with the same number of steps, batch and seed on FracAtlas, on clean Kaggle (one film of each group), and on both.
FracAtlas is tested on its test split. Kaggle is too small for that: it is divided into three folds of groups, and every
model that trains on Kaggle is trained three times, so that each group is answered by a model that has not seen it; on
FracAtlas the model of the first fold answers. Films that both datasets hold are left out of both tests, for every
model. Nothing is chosen on measured films: the last step counts. Each training leaves its answers in the work folder;
an interrupted run goes on behind the last one. Writes scripts/results/cross_dataset.json and the heat map
docs/results/cross_dataset.png and .svg.

`frames` measures again, in the file of an earlier `train`, what a forest makes of the films' frames.

`model` answers the same films with a finished model folder that was trained on FracAtlas, and writes
MODEL_DIR/cross_dataset.json (with the matrix), from which the card is rendered.

Compute: about ten minutes on two cores for `train`, two minutes for `model`.
"""

import argparse
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, concatenate_datasets

from hf_fracture.data.splits import assign_folds
from hf_fracture.evaluation.artifacts import write_text
from hf_fracture.evaluation.cross_dataset import (
    FILE_NAME,
    SCHEMA_VERSION,
    choose_stand_ins,
    find_shared_groups,
    leave_out,
    measure_frames,
    measure_ranking,
    pool_predictions,
)
from hf_fracture.evaluation.figures import Resampling
from hf_fracture.evaluation.films import hash_assignment, hash_films, load_splits
from hf_fracture.evaluation.measured_model import load_measured_model
from hf_fracture.evaluation.predictions import Predictions, predict_dataset, read_predictions, write_predictions
from hf_fracture.models.checkpoint import read_json, write_json

ROOT = Path(__file__).resolve().parent.parent
RESULT_PATH = ROOT / "scripts" / "results" / FILE_NAME
PLOT_DIR = ROOT / "docs" / "results"
FRACATLAS, KAGGLE = "fracatlas", "kaggle_multi_region"
TRAINING_COLUMNS = ["image", "label", "boxes", "polygons"]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What every training gets."""

    image_size: int = 96
    batch_size: int = 32
    num_steps: int = 240
    learning_rate: float = 1.5e-4
    num_folds: int = 3
    seed: int = 42


@dataclass(frozen=True, kw_only=True)
class Films:
    """The films of both datasets.

    Attributes:
        train: FracAtlas films that train.
        test: FracAtlas films that are tested.
        folds: Kaggle films, one of each group, by fold.
        shared: By dataset, the groups that the other holds too.
        described: By dataset, its hashes.
    """

    train: Dataset
    test: Dataset
    folds: list[Dataset]
    shared: Mapping[str, set[str]]
    described: Mapping[str, Mapping[str, Any]]


def load_films(fracatlas_dir: Path, kaggle_dir: Path, budget: Budget, work_dir: Path) -> Films:
    """Load both datasets and find what they share; the latter is kept in the work folder."""
    fracatlas, kaggle = load_splits(fracatlas_dir), load_splits(kaggle_dir)
    described = {
        name: {"content_sha256": hash_films(splits), "split_sha256": hash_assignment(splits)}
        for name, splits in ((FRACATLAS, fracatlas), (KAGGLE, kaggle))
    }
    everything = {
        name: concatenate_datasets(list(s.values())) for name, s in ((FRACATLAS, fracatlas), (KAGGLE, kaggle))
    }
    measured = concatenate_datasets([kaggle[name] for name in ("train", "validation", "test")])
    chosen = measured.select(choose_stand_ins(measured))
    fold_of = assign_folds(chosen["group_id"], chosen["label"], num_folds=budget.num_folds, seed=budget.seed)
    path = work_dir / "shared.json"
    if not path.is_file() or read_json(path)["described"] != described:
        found = dict(zip(everything, map(sorted, find_shared_groups(*everything.values())), strict=True))
        write_json(path, {"described": described, "groups": found})
    return Films(
        train=fracatlas["train"],
        test=fracatlas["test"],
        folds=[
            chosen.select([index for index, fold in enumerate(fold_of) if fold == wanted])
            for wanted in range(budget.num_folds)
        ],
        shared={name: set(groups) for name, groups in read_json(path)["groups"].items()},
        described=described,
    )


def train_and_answer(
    train_films: Dataset, tests: Mapping[str, Dataset], *, backbone: str, budget: Budget, out_dir: Path
) -> dict[str, Predictions]:
    """Fine-tune once, and answer the tests; what lies in `out_dir` already is taken from there."""
    if not all((out_dir / f"{name}.parquet").is_file() for name in tests):
        from hf_fracture.config import RecipeConfig
        from hf_fracture.training.arguments import FractureTrainingArguments
        from hf_fracture.training.trainer import train_classifier

        recipe = RecipeConfig(
            backbone=backbone, image_size=budget.image_size, evidence_weight=0.0, early_stopping_epochs=0
        )
        arguments = FractureTrainingArguments(
            output_dir=str(out_dir / "checkpoints"),
            max_steps=budget.num_steps,
            per_device_train_batch_size=budget.batch_size,
            learning_rate=budget.learning_rate,
            seed=budget.seed,
            eval_strategy="no",
            save_strategy="no",
            load_best_model_at_end=False,
            logging_strategy="steps",
            logging_steps=50,
        )
        splits = DatasetDict(train=train_films, validation=train_films)  # the latter is never read
        result = train_classifier(splits, recipe, arguments, compute_metrics=lambda _: {})
        for name, films in tests.items():
            answers = predict_dataset(result.model, result.preprocessing, films, show_progress=True)
            write_predictions(answers, out_dir / f"{name}.parquet")
        shutil.rmtree(out_dir / "checkpoints", ignore_errors=True)
    return {name: read_predictions(out_dir / f"{name}.parquet") for name in tests}


def shrink_films(films: Dataset, size_px: int) -> Dataset:
    """Store the films at the size of the input, so that every pass decodes little; `datasets` caches the result."""
    from PIL import Image

    from hf_fracture.data.transforms import fit_letterbox

    def shrink(row: dict[str, Any]) -> dict[str, Any]:
        image = row["image"].convert("L")
        size = fit_letterbox(image.width, image.height, size_px).scaled_size
        return {"image": image.resize(size, Image.Resampling.BICUBIC), "boxes": [], "polygons": []}

    return films.select_columns(TRAINING_COLUMNS).map(shrink, desc="shrink")


def run_matrix(films: Films, *, backbone: str, budget: Budget, work_dir: Path) -> dict[str, Any]:
    """Train every model and return the content of `cross_dataset.json`."""
    folds = range(budget.num_folds)
    tests = {FRACATLAS: films.test, **{f"fold{fold}": films.folds[fold] for fold in folds}}
    rows = []
    for sources in ([FRACATLAS], [KAGGLE], [FRACATLAS, KAGGLE]):
        answers, num_train = [], []
        for fold in folds if KAGGLE in sources else [None]:
            parts = [films.train] if FRACATLAS in sources else []
            parts += [films.folds[other] for other in folds if other != fold] if KAGGLE in sources else []
            wanted = tests if fold is None else {name: tests[name] for name in (FRACATLAS, f"fold{fold}")}
            num_train.append(sum(map(len, parts)))
            answers.append(
                train_and_answer(
                    concatenate_datasets([shrink_films(part, budget.image_size) for part in parts]),
                    wanted,
                    backbone=backbone,
                    budget=budget,
                    out_dir=work_dir / ("-".join(sources) + ("" if fold is None else f"-{fold}")),
                )
            )
        of_kaggle = [found for part in answers for name, found in part.items() if name.startswith("fold")]
        pooled = pool_predictions(of_kaggle, one_model=len(answers) == 1)
        for name, found in ((FRACATLAS, answers[0][FRACATLAS]), (KAGGLE, pooled)):
            measured = measure_ranking(leave_out(found, films.shared[name]))
            rows.append(
                {"trained_on": sources, "tested_on": name, "num_train_films": round(sum(num_train) / len(num_train))}
                | measured
            )
    return describe_matrix(films, budget, backbone) | {"rows": rows}


def describe_matrix(films: Films, budget: Budget, backbone: str) -> dict[str, Any]:
    """Return everything of the file but its rows."""
    tested = {
        FRACATLAS: (films.test, "test split"),
        KAGGLE: (
            concatenate_datasets(films.folds),
            f"one film of each group; out of fold over {budget.num_folds} folds where Kaggle trained",
        ),
    }
    frames = measure_film_frames(films)
    return {
        "schema_version": SCHEMA_VERSION,
        "recipe": {"backbone": Path(backbone).name, **asdict(budget)},
        "bootstrap": {**asdict(Resampling()), "unit": "group_id"},
        "datasets": {
            name: {
                **films.described[name],
                "protocol": protocol,
                "num_films": len(tested_films),
                "num_shared": sum(group in films.shared[name] for group in tested_films["group_id"]),
                "frames": frames[name],
            }
            for name, (tested_films, protocol) in tested.items()
        },
    }


def measure_film_frames(films: Films) -> dict[str, dict[str, Any]]:
    """Return, by dataset, what a forest makes of the frames of the films that are tested."""
    folds = [
        (concatenate_datasets([other for other in films.folds if other is not fold]), fold) for fold in films.folds
    ]
    pairs = {FRACATLAS: [(films.train, films.test)], KAGGLE: folds}
    return {name: measure_frames(parts, films.shared[name]) for name, parts in pairs.items()}


def measure_model(model_dir: Path, films: Films) -> dict[str, Any]:
    """Answer the films of both tests with a finished model, and return its rows beside the matrix."""
    model = load_measured_model(model_dir)
    trained_on = sorted(model.record.trained_on) if model.record else []
    if trained_on != [FRACATLAS]:
        raise SystemExit(f"Expected a model that was trained on {FRACATLAS} alone, got {trained_on}.")
    rows = []
    for name, tested in ((FRACATLAS, films.test), (KAGGLE, concatenate_datasets(films.folds))):
        answers = predict_dataset(
            model.network, model.read_film, tested, class_meanings=model.class_meanings, show_progress=True
        )
        measured = measure_ranking(leave_out(answers, films.shared[name]))
        rows.append({"trained_on": trained_on, "tested_on": name} | measured)
    matrix = read_json(RESULT_PATH) if RESULT_PATH.is_file() else {}
    return {"model_sha256": model.sha256, "model_rows": rows} | matrix


def write_plots(content: Mapping[str, Any]) -> None:
    """Draw the heat map."""
    from hf_fracture.evaluation.plots import draw_transfer, render_figure

    PLOT_DIR.mkdir(parents=True, exist_ok=True)
    figure = draw_transfer(content)
    (PLOT_DIR / "cross_dataset.png").write_bytes(render_figure(figure, "png"))
    write_text(PLOT_DIR / "cross_dataset.svg", render_figure(figure, "svg").decode())


def main() -> None:
    """Run one of the two verbs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    train, frames, model = (verbs.add_parser(name) for name in ("train", "frames", "model"))
    model.add_argument("model_dir", type=Path)
    for verb in (train, frames, model):
        verb.add_argument("fracatlas_dir", type=Path)
        verb.add_argument("kaggle_dir", type=Path)
        verb.add_argument("--work", type=Path, default=Path("build/cross_dataset"), help="folder of unfinished work")
    train.add_argument("--backbone", required=True, help="folder or Hub id of pretrained weights")
    train.add_argument("--steps", type=int, default=Budget.num_steps)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    budget = Budget(num_steps=args.steps) if args.verb == "train" else Budget()
    films = load_films(args.fracatlas_dir, args.kaggle_dir, budget, args.work)
    if args.verb == "train":
        content = run_matrix(films, backbone=args.backbone, budget=budget, work_dir=args.work)
        write_json(RESULT_PATH, content)
        write_plots(content)
        print(RESULT_PATH)
    elif args.verb == "frames":
        content = read_json(RESULT_PATH)
        for name, measured in measure_film_frames(films).items():
            content["datasets"][name]["frames"] = measured
        write_json(RESULT_PATH, content)
        print(RESULT_PATH)
    else:
        path = args.model_dir / FILE_NAME
        write_json(path, measure_model(args.model_dir, films))
        print(path)


if __name__ == "__main__":
    main()
