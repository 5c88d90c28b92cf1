"""Try one idea after the other on group-disjoint folds of FracAtlas, and log what each was worth.

    python scripts/campaign.py DATASET WEIGHTS_DIR WORK_DIR [--folds K] [--only NAME ...]

DATASET: prepared FracAtlas. WEIGHTS_DIR: holds `resnet-18-c4-imagenet` (and `resnet-50-c4-imagenet` for its row).
Train and validation are pooled and divided into folds; the test split is not read. Each experiment is one
`hf-fracture crossval` under WORK_DIR, so that an interrupted one goes on with the fold where it was; after each the log
is written to scripts/results/campaign.json: figures of all out-of-fold answers; the paired difference from the
experiment it changes, within folds; the share of detected fractures in whose marked region the map's peak lies; the
same difference on JPEG of quality 30 where an idea may matter there; and verdicts that follow from the intervals and
from what another seed makes. All experiments see the same folds, and take their last epoch. Compute: a quarter of an
hour of one core for most, ResNet-50 four times as much. On several cores, run `--only base` first, then one process of
one thread (OMP_NUM_THREADS=1) for each part of the names, and once more without `--only` to collect the log.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml
from datasets import concatenate_datasets
from numpy.typing import NDArray
from tqdm import tqdm

from hf_fracture.cli.crossval import PREDICTIONS_NAME, RESULT_NAME
from hf_fracture.cli.evaluate import read_altered
from hf_fracture.cli.main import main as run_command
from hf_fracture.cli.train import MODEL_NAME
from hf_fracture.evaluation.alterations import DEGRADATIONS
from hf_fracture.evaluation.bootstrap import Estimate, bootstrap, count_rarer_groups, estimate
from hf_fracture.evaluation.calibration import probability_of
from hf_fracture.evaluation.comparison import judge_difference
from hf_fracture.evaluation.curves import RankedFilms
from hf_fracture.evaluation.films import load_splits, name_film
from hf_fracture.evaluation.measured_model import build_film_reader
from hf_fracture.evaluation.predictions import Predictions, predict_dataset, read_predictions, write_predictions
from hf_fracture.evaluation.robustness import measure_alterations
from hf_fracture.explain.localization import score_map
from hf_fracture.inference.classifier import FractureClassifier
from hf_fracture.labels import FRACTURED
from hf_fracture.models.checkpoint import load_model, read_json, read_preprocessing, write_json

RESULT_PATH: Final = Path(__file__).resolve().parent / "results" / "campaign.json"
POOL: Final = ("train", "validation")
RESNET_18: Final = "resnet-18-c4-imagenet"
FOLD_SEED: Final = 42
SEEDS: Final = (43, 44)
"""Of the trainings that say what the seed alone does; the others have 42."""
ANOTHER_SEED: Final = "another seed"
BASE: Final[Mapping[str, Any]] = {
    "image_size": 192,
    "frozen_layers": 2,
    "mask_dilation_fraction": 0,
    "num_train_epochs": 4,
    "learning_rate": 2e-4,
    "early_stopping_epochs": 0,
}
BALANCED: Final[Mapping[str, Any]] = {"class_weights": "none", "sampling": "balanced"}
LAST_EPOCH: Final = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
"""Nothing is chosen while an experiment trains: more epochs are no more chances."""
WORSE_COPY: Final = "JPEG quality 30"
"""The alteration of `DEGRADATIONS` that a candidate was rejected for."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One idea.

    Attributes:
        hypothesis: What it should do, and why.
        fields: Fields of the recipe or the training arguments that differ from those of `against`.
        against: The experiment it changes; "" for the base.
        weights: Folder under WEIGHTS_DIR to start from.
        train_share: Share of each fold's training groups that train.
        asks_worse_copies: Whether its films are answered as worse copies too.
    """

    hypothesis: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    against: str = "base"
    weights: str = RESNET_18
    train_share: float = 1.0
    asks_worse_copies: bool = False


EXPERIMENTS: Final[Mapping[str, Experiment]] = {
    "base": Experiment(
        hypothesis="The recipe of the second shipped model at 192 px and 4 epochs with its first layers frozen, to "
        "compare with",
        against="",
        asks_worse_copies=True,
    ),
    "no evidence": Experiment(
        hypothesis="Without boxes and masks the map leaves the fracture, and ranking does not gain",
        fields={"evidence_weight": 0},
    ),
    "evidence weight 1": Experiment(
        hypothesis="Positions learn more per film than the film's label does: twice the weight helps",
        fields={"evidence_weight": 1},
    ),
    "288 px": Experiment(
        hypothesis="A fracture covers 1 % of a film: finer input shows more of them", fields={"image_size": 288}
    ),
    "8 epochs": Experiment(
        hypothesis="The ranking still rises in the last epoch: twice the epochs help", fields={"num_train_epochs": 8}
    ),
    "mean of weights": Experiment(
        hypothesis="An exponential mean of the weights generalises better than the last ones",
        fields={"ema_decay": 0.99},
    ),
    "random erasing": Experiment(
        hypothesis="Erased patches keep the network from leaning on one sign", fields={"erasing_probability": 0.5}
    ),
    "less rotation, scale, shift": Experiment(
        hypothesis="At a short schedule weaker augmentation is learned faster",
        fields={"rotation_degrees": 5, "scale_fraction": 0.05, "translation_fraction": 0.02},
    ),
    "all layers trained": Experiment(
        hypothesis="Stem and first stage need no training: trained too, a step takes half as long again for nothing",
        fields={"frozen_layers": 0},
        asks_worse_copies=True,
    ),
    "small films first": Experiment(
        hypothesis="Two of the four epochs at 128 px cost less than half of theirs, at equal ranking",
        fields={"first_image_size": 128, "first_size_epochs": 2},
        asks_worse_copies=True,
    ),
    "films compressed again": Experiment(
        hypothesis="Half of the training films saved as JPEG of 30 to 95 make worse copies cost less",
        fields={"recompression_probability": 0.5},
        asks_worse_copies=True,
    ),
    "balanced sampling": Experiment(
        hypothesis="Fractured films drawn as often as others give positions more to learn from than class weights do",
        fields=BALANCED,
    ),
    **{
        f"{ANOTHER_SEED}, {seed}": Experiment(
            hypothesis="Order and augmentation of the films alone: what a difference must exceed", fields={"seed": seed}
        )
        for seed in SEEDS
    },
    **{
        f"balanced sampling, seed {seed}": Experiment(
            hypothesis="What balanced sampling gave with one seed, it gives with others",
            fields=BALANCED,
            against=f"{ANOTHER_SEED}, {seed}",
        )
        for seed in SEEDS
    },
    "balanced sampling, evidence weight 1": Experiment(
        hypothesis="Two gains add up", fields={"evidence_weight": 1}, against="balanced sampling"
    ),
    "half of the films": Experiment(
        hypothesis="Learning curve: half of the training films, twice the epochs, so as many steps",
        fields={"num_train_epochs": 8},
        train_share=0.5,
    ),
    "a quarter of the films": Experiment(
        hypothesis="Learning curve: a quarter of the training films, four times the epochs, so as many steps",
        fields={"num_train_epochs": 16},
        train_share=0.25,
    ),
    "ResNet-50": Experiment(
        hypothesis="A deeper network of the same three stages ranks better, at four times the cost",
        fields={"learning_rate": 1e-4},
        weights="resnet-50-c4-imagenet",
    ),
}


def collect_fields(name: str) -> dict[str, Any]:
    """Return the recipe of an experiment: the base's fields, changed along the chain of `against`."""
    experiment = EXPERIMENTS[name]
    before = collect_fields(experiment.against) if experiment.against else dict(BASE)
    return {**before, **experiment.fields}


def check_finished(folder: Path, wanted: Mapping[str, Any]) -> None:
    """Refuse a finished cross-validation of another recipe or other folds."""
    result = read_json(folder / RESULT_NAME)
    found = {**result, **result["recipe"], **result["training_arguments"]}
    others = sorted(field for field, value in wanted.items() if found.get(field) != value)
    if others:
        raise SystemExit(
            f"Expected the experiment as it is now in '{folder}', found other {others}. Remove the folder."
        )


def run_experiment(name: str, args: argparse.Namespace) -> Path:
    """Train and answer all folds that are not there yet; return the folder."""
    folder: Path = args.work_dir / "".join(letter if letter.isalnum() else "-" for letter in name.lower())
    wanted = {"fold_seed": FOLD_SEED, "num_folds": args.folds, "train_share": EXPERIMENTS[name].train_share}
    if not (folder / RESULT_NAME).is_file():
        args.work_dir.mkdir(parents=True, exist_ok=True)
        config = folder.with_suffix(".yaml")
        backbone = str(args.weights_dir / EXPERIMENTS[name].weights)
        config.write_text(
            yaml.safe_dump({"backbone": backbone, **LAST_EPOCH, **collect_fields(name)}), encoding="utf-8"
        )
        division = ["--folds", args.folds, "--fold-seed", FOLD_SEED, "--train-share", EXPERIMENTS[name].train_share]
        command = ["crossval", args.dataset, "--config", config, *division, "--out", folder]
        if status := run_command([str(word) for word in command]):
            raise SystemExit(status)
    check_finished(folder, {**wanted, **collect_fields(name)})
    return folder


def list_marked(splits: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the pool's fractured films that carry boxes."""
    films = []
    for part in POOL:
        table = splits[part].select_columns(["label", "boxes"])
        marked = [index for index, row in enumerate(table) if row["label"] == FRACTURED and row["boxes"]]
        films += splits[part].select(marked).select_columns(["image", "boxes", "group_id", "source", "source_path"])
    return films


def find_peaks(folder: Path, answers: Predictions, films: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Measure, on the marked fractures that each fold's own network detects, how often its map's peak hits.

    Args:
        folder: Of the finished cross-validation.
        answers: All out-of-fold answers, with the column `fold`.
        films: Marked fractures of the pool.
    """
    thresholds = {str(row["fold"]): row["thresholds"]["balanced"] for row in read_json(folder / RESULT_NAME)["folds"]}
    found = zip(answers.ids.tolist(), answers.subgroups["fold"].tolist(), answers.y_prob.tolist(), strict=True)
    fold_and_probability = {name: (fold, probability) for name, fold, probability in found}
    measured = [film for film in films if name_film(film, 0) in fold_and_probability]
    hits, groups = [], []
    for fold, threshold in thresholds.items():
        classifier = FractureClassifier.from_pretrained(folder / f"fold-{fold}" / MODEL_NAME, backend="torch")
        for film in tqdm(measured, desc=f"maps of fold {fold}", unit="film"):
            own, probability = fold_and_probability[name_film(film, 0)]
            if own == fold and probability >= threshold:
                hits.append(score_map(classifier.explain(film["image"]).values, film["boxes"]).peak_in_region)
                groups.append(film["group_id"])
    return {"marked": len(measured), "detected": len(hits), "peak_in_region": estimate_share(hits, groups).to_dict()}


def answer_worse_copies(folder: Path, answers: Predictions, splits: Mapping[str, Any]) -> Predictions:
    """Let each fold's own network answer its films as worse copies.

    Args:
        folder: Of the finished cross-validation; keeps the answers.
        answers: All out-of-fold answers, with the column `fold`.
        splits: The dataset, whose pool holds the films.

    Returns:
        One entry per film, in the order of `answers`.
    """
    kept = folder / "worse_copies.parquet"
    if kept.is_file():
        return read_predictions(kept)
    pool = concatenate_datasets([splits[part] for part in POOL])
    names = pool.select_columns(["source", "source_path"])
    position = {name_film(row, 0): index for index, row in enumerate(names)}
    differences = np.full(len(answers), np.nan)
    for fold in sorted(set(answers.subgroups["fold"])):
        own = np.flatnonzero(answers.subgroups["fold"] == fold)
        model_dir = folder / f"fold-{fold}" / MODEL_NAME
        read_film = read_altered(build_film_reader(read_preprocessing(model_dir)), DEGRADATIONS[WORSE_COPY])
        films = pool.select([position[answers.ids[index]] for index in own])
        found = predict_dataset(load_model(model_dir), read_film, films, show_progress=True)
        differences[own] = found.logit_difference
    worse = replace(answers, logit_difference=differences, y_prob=probability_of(differences))
    write_predictions(worse, kept)
    return worse


def estimate_share(hits: Sequence[float], groups: Sequence[str]) -> Estimate:
    """Return the mean of `hits` with its interval over groups."""
    values = np.asarray(hits, dtype=np.float64)
    resampled = bootstrap(lambda weights: {"mean": (weights @ values) / weights.sum(axis=-1)}, np.asarray(groups))
    return estimate(float(values.mean()), resampled["mean"], num_groups=len(set(groups)), is_share=True)


def measure_difference(answers: Predictions, others: Predictions) -> Estimate:
    """Return the difference of AUROC, the mean of that in each fold, with its interval over groups.

    Films of different folds are not ranked against each other: their scores come from networks whose scales differ by
    chance, which neither experiment is to blame for.
    """
    folds = [np.flatnonzero(answers.subgroups["fold"] == fold) for fold in np.unique(answers.subgroups["fold"])]
    ranked = [[RankedFilms(found.y_true[fold], found.y_prob[fold]) for fold in folds] for found in (answers, others)]

    def measure(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        first, second = (
            np.mean([films.count_calls(weights[:, fold]).auroc() for films, fold in zip(found, folds, strict=True)], 0)
            for found in ranked
        )
        return {"auroc": first - second}

    value = float(measure(np.ones((1, len(answers))))["auroc"][0])
    num_groups = count_rarer_groups(answers.group_ids, answers.y_true)
    return estimate(value, bootstrap(measure, answers.group_ids)["auroc"], num_groups=num_groups)


def describe(
    name: str, folder: Path, reference: Path | None, films: Sequence[Mapping[str, Any]], splits: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the log's row of a finished experiment, and keep what its maps and worse copies say beside it."""
    result, answers = read_json(folder / RESULT_NAME), read_predictions(folder / PREDICTIONS_NAME)
    kept = folder / "peaks.json"
    if not kept.is_file():
        write_json(kept, find_peaks(folder, answers, films))
    worse = answer_worse_copies(folder, answers, splits) if EXPERIMENTS[name].asks_worse_copies else None
    worse_auroc: Any = ""
    difference = worse_difference = None
    if worse is not None:
        worse_auroc = measure_alterations(answers, {WORSE_COPY: worse}, threshold=0.5)[0].auroc.to_dict()
    if reference is not None:
        other = read_predictions(reference / PREDICTIONS_NAME)
        if not np.array_equal(answers.ids, other.ids):
            raise SystemExit(f"'{folder}' and '{reference}' answer other films. Remove one and run it again.")
        difference = measure_difference(answers, other)
        if worse is not None:
            other = answer_worse_copies(reference, other, splits)
            worse_difference = measure_difference(worse, other)
    experiment, peaks = EXPERIMENTS[name], read_json(kept)
    return {
        "hypothesis": experiment.hypothesis,
        "change": ", ".join(f"{key} {value}" for key, value in experiment.fields.items()),
        "against": experiment.against,
        "AUROC": result["pooled"]["metrics"]["auroc"],
        "mean AUROC of the folds": round(result["summary"]["auroc"]["mean"], 4),
        "difference": difference.to_dict() if difference else "",
        "verdict": judge_difference(difference) if difference else "",
        "average precision": result["pooled"]["metrics"]["average_precision"],
        "peak in region, of detected": peaks["peak_in_region"],
        f"AUROC, {WORSE_COPY}": worse_auroc,
        "its difference": worse_difference.to_dict() if worse_difference else "",
        "its verdict": judge_difference(worse_difference) if worse_difference else "",
        "minutes": round(result["seconds"] / 60, 1),
        "AUROC of the folds": result["summary"]["auroc"],
        "specificity at screening": result["pooled"]["operating_points"]["screening"]["specificity"],
        "marked and detected": [peaks["marked"], peaks["detected"]],
        "recipe": collect_fields(name),
        "backbone": experiment.weights,
        "share of the training groups": experiment.train_share,
    }


def weigh_against_seeds(rows: Mapping[str, dict[str, Any]]) -> None:
    """Take back verdicts on differences that another seed makes as well, in place.

    The interval of a difference is that of other films; what another order and augmentation of the films would change
    is not in it.

    >>> rows = {"a": {"difference": {"value": 0.01}, "verdict": "better"}, "b": {"difference": "", "verdict": ""}}
    >>> weigh_against_seeds(rows | {"another seed, 43": {"difference": {"value": -0.02}, "verdict": "worse"}})
    >>> rows["a"]["verdict"]
    'no more than another seed makes'
    """
    seeds = [name for name in rows if name.startswith(ANOTHER_SEED)]
    spread = max((abs(rows[name]["difference"]["value"]) for name in seeds), default=0.0)
    for name, row in rows.items():
        if name in seeds:
            row["verdict"] = "what others must exceed"
        elif row["verdict"] in ("better", "worse") and abs(row["difference"]["value"]) <= spread:
            row["verdict"] = "no more than another seed makes"


def main() -> int:
    """Run what is not done yet, in order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("weights_dir", metavar="WEIGHTS_DIR", type=Path)
    parser.add_argument("work_dir", metavar="WORK_DIR", type=Path)
    parser.add_argument("--folds", type=int, default=3, metavar="K", help="number of folds (default: 3)")
    parser.add_argument(
        "--only", nargs="+", choices=list(EXPERIMENTS), metavar="NAME", help="only these, and what they change"
    )
    args = parser.parse_args()
    splits = load_splits(args.dataset)
    films = list_marked(splits)
    wanted = {"base", *(args.only or ()), *(EXPERIMENTS[name].against for name in args.only or ())}
    rows: dict[str, Any] = {}
    folders: dict[str, Path] = {}
    for name, experiment in EXPERIMENTS.items():
        if args.only and name not in wanted:
            continue
        print(f"campaign: {name}", file=sys.stderr, flush=True)
        folders[name] = run_experiment(name, args)
        reference = folders[experiment.against] if experiment.against else None
        rows[name] = describe(name, folders[name], reference, films, splits)
        weigh_against_seeds(rows)
        described = {"dataset": Path(args.dataset).resolve().name, "pool": ", ".join(POOL), "folds": args.folds}
        write_json(RESULT_PATH, {"protocol": described, "experiments": rows})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
