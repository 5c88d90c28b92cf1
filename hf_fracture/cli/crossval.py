"""`hf-fracture crossval`: train and measure on k folds, and pool what the networks say of films they never saw.

`OUT/crossval.json` holds `dataset`, `recipe`, `training_arguments`, `num_folds`, `fold_seed`, `train_share`, `folds` (a
row each), `summary` (mean, standard deviation, minimum and maximum over the folds), `pooled` (figures of all
out-of-fold answers together, with intervals over groups), `bootstrap`, `software` and `seconds`.
"""

import argparse
import csv
import dataclasses
import io
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hf_fracture.cli.train import (
    MODEL_NAME,
    OTHER_FIELDS,
    add_run_arguments,
    build_field_parser,
    build_help_parser,
    fit,
    going_on,
    hide_progress,
    load_target,
    read_fields,
    train_model,
    wait_for_all,
)
from hf_fracture.errors import MissingInputError, UsageError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

    from hf_fracture.config import RecipeConfig
    from hf_fracture.evaluation.predictions import Predictions
    from hf_fracture.training.arguments import FractureTrainingArguments
    from hf_fracture.training.crossval import Fold

RESULT_NAME: Final = "crossval.json"
PREDICTIONS_NAME: Final = "predictions.parquet"
FOLDS_NAME: Final = "folds.csv"
DIVISION: Final = ("num_folds", "fold_seed", "train_share")
FIGURES: Final = ("auroc", "average_precision", "log_loss", "brier_score")


def add_parser(
    subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]", fields: argparse.ArgumentParser | None = None
) -> None:
    """Add the command; it takes every field that `train` takes."""
    parser = subparsers.add_parser(
        "crossval",
        help="Train and measure on k folds that share no group",
        description="Train on k folds that share no group, each as hf-fracture train does, and measure each film by "
        "the one network that never saw its group. Writes OUT/crossval.json, OUT/predictions.parquet, OUT/folds.csv "
        "and OUT/fold-1 to OUT/fold-k. An interrupted run goes on where it was, within a fold too. The test split is "
        "left alone unless --pool names it.",
        parents=[fields or build_field_parser()],
        epilog=OTHER_FIELDS,
    )
    add_run_arguments(parser)
    parser.add_argument("--folds", type=int, default=5, metavar="K", help="number of folds (default: 5)")
    parser.add_argument(
        "--pool",
        default="train,validation",
        metavar="SPLITS",
        help="splits whose films are divided into folds (default: train,validation)",
    )
    parser.add_argument(
        "--fold-seed", type=int, metavar="N", help="seed of the division into folds (default: that of --seed)"
    )
    parser.add_argument(
        "--train-share",
        type=float,
        default=1.0,
        metavar="X",
        help="share of each fold's training groups that train, for a learning curve (default: 1)",
    )
    parser.add_argument("--resamples", type=int, default=2000, metavar="N", help="bootstrap resamples (default: 2000)")


def add_help(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command for its `--help` alone, without loading torch."""
    add_parser(subparsers, build_help_parser())


def run(args: argparse.Namespace) -> int:
    """Train the folds that are not there yet, measure, pool and write."""
    from hf_fracture.models.backbones import resolve_backbone
    from hf_fracture.training.run_folder import claim_run_folder, holding_run_folder
    from hf_fracture.training.trainer import describe_run

    recipe, arguments = read_fields(args, output_dir=args.out / "checkpoints")
    if recipe.target != "fracture":
        raise UsageError(
            "crossval pools answers to fracture or not, got --target fracture_type. Use hf-fracture train."
        )
    if recipe.teacher is not None:
        raise UsageError(
            "crossval measures films that nothing trained on, and a teacher may have seen films of every fold, got "
            f"--teacher '{recipe.teacher}'. Use hf-fracture train."
        )
    resolve_backbone(recipe.backbone)
    if arguments.process_index != 0:
        _follow(args, recipe)
        return 0
    with going_on(args.out), holding_run_folder(args.out):
        pool, folds = plan(args, recipe, arguments)
        described = {**describe_run(recipe, arguments), **describe_division(args, arguments)}
        claim_run_folder(args.out, described, finished=RESULT_NAME, overwrite=args.overwrite)
        _write_folds(pool, folds, args.out / FOLDS_NAME)
        wait_for_all()
        for number, fold in enumerate(folds, start=1):
            _run_fold(args, pool, fold, number)
        pooled = pool_folds(args.out, len(folds))
        result = describe_result(args, pool, pooled, described)
        _write_result(result, pooled, args.out)
    sys.stdout.write(render_summary(result))
    return 0


def plan(
    args: argparse.Namespace, recipe: "RecipeConfig", arguments: "FractureTrainingArguments"
) -> tuple["Dataset", list["Fold"]]:
    """Return the pooled films and the folds, which depend on group ids and the division only.

    Raises:
        MissingInputError: If a split that is to be pooled does not exist.
    """
    from datasets import concatenate_datasets

    from hf_fracture.training.crossval import PLAN_COLUMNS, plan_folds

    splits, _ = load_target(args.dataset, recipe, has_folds=True)
    names = [name.strip() for name in args.pool.split(",")]
    for name in names:
        if name not in splits:
            raise MissingInputError(f"Expected the split '{name}' of --pool, found {', '.join(map(repr, splits))}.")
    pool = concatenate_datasets([splits[name] for name in names])
    columns = {name: pool[name][:] for name in (*PLAN_COLUMNS, "source_path") if name in pool.column_names}
    division = describe_division(args, arguments)
    return pool, plan_folds(
        columns, num_folds=args.folds, seed=division["fold_seed"], train_share=division["train_share"]
    )


def describe_division(args: argparse.Namespace, arguments: "FractureTrainingArguments") -> dict[str, Any]:
    """Return what the folds depend on, beside the films."""
    fold_seed = arguments.seed if args.fold_seed is None else args.fold_seed
    return {"num_folds": args.folds, "pool": args.pool, "fold_seed": fold_seed, "train_share": args.train_share}


def select_fold(pool: "Dataset", fold: "Fold") -> "DatasetDict":
    """Return a fold as the splits that `train` takes."""
    from datasets import DatasetDict

    return DatasetDict({name: pool.select(indices) for name, indices in vars(fold).items()})


def _run_fold(args: argparse.Namespace, pool: "Dataset", fold: "Fold", number: int) -> None:
    """Train a fold unless its model is there, and answer its films unless the answers are there."""
    from hf_fracture.evaluation.predictions import predict_dataset, write_predictions
    from hf_fracture.labels import LABEL_NAMES
    from hf_fracture.models.checkpoint import load_model, read_preprocessing

    fold_dir = _fold_dir(args.out, number)
    if (fold_dir / PREDICTIONS_NAME).is_file():
        sys.stderr.write(f"Fold {number} of {args.folds} is done.\n")
        return
    sys.stderr.write(
        f"Fold {number} of {args.folds}: {len(fold.train)} films to train on, {len(fold.test)} to answer\n"
    )
    splits = select_fold(pool, fold)
    if not (fold_dir / MODEL_NAME).is_dir():
        recipe, arguments = read_fields(args, output_dir=fold_dir / "checkpoints")
        fold_dir.mkdir(exist_ok=True)
        train_model(splits, LABEL_NAMES, recipe, arguments, out_dir=fold_dir)
    model_dir = fold_dir / MODEL_NAME
    answers = predict_dataset(
        load_model(model_dir, trust_remote_code=True), read_preprocessing(model_dir), splits["test"], show_progress=True
    )
    write_predictions(answers, fold_dir / PREDICTIONS_NAME)
    shutil.rmtree(fold_dir / "checkpoints", ignore_errors=True)  # what a finished fold no longer needs


def _follow(args: argparse.Namespace, recipe: "RecipeConfig") -> None:
    """Train the folds as one of several processes that write nothing and say nothing."""
    from hf_fracture.labels import LABEL_NAMES

    hide_progress()
    _, arguments = read_fields(args, output_dir=args.out / "checkpoints")
    pool, folds = plan(args, recipe, arguments)
    wait_for_all()
    for number, fold in enumerate(folds, start=1):
        fold_dir = _fold_dir(args.out, number)
        if not (fold_dir / PREDICTIONS_NAME).is_file() and not (fold_dir / MODEL_NAME).is_dir():
            _, arguments = read_fields(args, output_dir=fold_dir / "checkpoints")
            fit(select_fold(pool, fold), LABEL_NAMES, recipe, arguments)


def _fold_dir(out_dir: Path, number: int) -> Path:
    return out_dir / f"fold-{number}"


def pool_folds(out_dir: Path, num_folds: int) -> "Predictions":
    """Put the folds' answers into one table, with the fold of each film as a column."""
    import numpy as np

    from hf_fracture.evaluation.predictions import Predictions, read_predictions

    parts = [read_predictions(_fold_dir(out_dir, number) / PREDICTIONS_NAME) for number in range(1, num_folds + 1)]
    columns = sorted({name for part in parts for name in part.subgroups})
    empty = [np.full(len(part), None, dtype=np.object_) for part in parts]
    subgroups = {
        name: np.concatenate([part.subgroups.get(name, none) for part, none in zip(parts, empty, strict=True)])
        for name in columns
    }
    numbers = [np.full(len(part), str(number), dtype=np.object_) for number, part in enumerate(parts, start=1)]
    fields = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("ids", "group_ids", "y_true", "logit_difference", "y_prob")
    }
    return Predictions(**fields, subgroups={**subgroups, "fold": np.concatenate(numbers)})


def describe_result(
    args: argparse.Namespace, pool: "Dataset", pooled: "Predictions", described: dict[str, Any]
) -> dict[str, Any]:
    """Return the content of crossval.json."""
    from hf_fracture.evaluation.films import hash_films
    from hf_fracture.evaluation.report import read_versions

    rows = [_describe_fold(args.out, number, pooled) for number in range(1, args.folds + 1)]
    return {
        "schema_version": 1,
        "dataset": {
            "name": Path(args.dataset).resolve().name if Path(args.dataset).is_dir() else args.dataset,
            "pool": args.pool.split(","),
            "num_films": len(pool),
            "num_measured_films": len(pooled),
            "films_sha256": hash_films({"pool": pool}),
        },
        **{name: described[name] for name in ("recipe", "training_arguments", *DIVISION)},
        "folds": rows,
        "summary": {name: summarize([row[name] for row in rows]) for name in FIGURES},
        "pooled": measure_pooled(pooled, _call_films(args.out, pooled), num_resamples=args.resamples),
        "bootstrap": {"num_resamples": args.resamples, "seed": 0, "confidence_level": 0.95, "unit": "group_id"},
        "software": read_versions(),
        "seconds": round(sum(row["seconds"] for row in rows), 1),
    }


def summarize(values: Sequence[float]) -> dict[str, float]:
    """Return mean, standard deviation (of a sample), minimum and maximum of a figure over the folds.

    >>> summarize([0.8, 0.9])["mean"]
    0.85
    """
    import numpy as np

    return {
        "mean": round(float(np.mean(values)), 12),
        "standard_deviation": float(np.std(values, ddof=1)),
        "minimum": float(min(values)),
        "maximum": float(max(values)),
    }


def _describe_fold(out_dir: Path, number: int, pooled: "Predictions") -> dict[str, Any]:
    """Measure one fold on its own films, and say what its network was trained on and how."""
    from hf_fracture.evaluation.metrics import auroc, average_precision, brier_score, log_loss
    from hf_fracture.models.checkpoint import read_json

    part = pooled.take(pooled.subgroups["fold"] == str(number))
    model_dir = _fold_dir(out_dir, number) / MODEL_NAME
    facts, record = read_json(model_dir / "run.json"), read_json(model_dir / "config.json")["fracture"]
    measures = dict(zip(FIGURES, (auroc, average_precision, log_loss, brier_score), strict=True))
    return {
        "fold": number,
        "num_train_films": facts["data"]["films"]["train"],
        "num_validation_films": facts["data"]["films"]["validation"],
        "num_films": len(part),
        "num_fractured": int(part.y_true.sum()),
        **{name: measure(part.y_true, part.y_prob) for name, measure in measures.items()},
        "temperature": record["temperature"],
        "shift": record["shift"],
        "thresholds": {name: point["threshold"] for name, point in record["operating_points"].items()},
        "seconds": facts["seconds"],
    }


def _call_films(out_dir: Path, pooled: "Predictions") -> dict[str, Any]:
    """Call each film at its own fold's thresholds, which that fold's validation films chose."""
    import numpy as np

    from hf_fracture.models.checkpoint import read_json

    calls: dict[str, Any] = {}
    for number in sorted({int(fold) for fold in pooled.subgroups["fold"]}):
        points = read_json(_fold_dir(out_dir, number) / MODEL_NAME / "config.json")["fracture"]["operating_points"]
        own = pooled.subgroups["fold"] == str(number)
        for name, point in points.items():
            calls.setdefault(name, np.zeros(len(pooled), dtype=bool))[own] = pooled.y_prob[own] >= point["threshold"]
    return calls


def measure_pooled(pooled: "Predictions", calls: dict[str, Any], *, num_resamples: int) -> dict[str, Any]:
    """Measure all out-of-fold answers together, with intervals from a bootstrap over groups.

    Args:
        pooled: Every film once.
        calls: (N,) of bool by operating point: whether the film was called fractured.
        num_resamples: At least 2.

    Returns:
        Counts, `metrics`, and `operating_points` with sensitivity and specificity.
    """
    import numpy as np

    from hf_fracture.evaluation.bootstrap import bootstrap, count_rarer_groups, estimate, index_groups
    from hf_fracture.evaluation.curves import RankedFilms
    from hf_fracture.evaluation.metrics import film_log_losses

    true = pooled.y_true
    ranked = RankedFilms(true, pooled.y_prob)
    losses = np.stack([film_log_losses(true, pooled.y_prob), (pooled.y_prob - true) ** 2], axis=1)
    rates = {
        f"{name}/{rate}": (right.astype(float), among.astype(float))
        for name, called in calls.items()
        for rate, right, among in (
            ("sensitivity", called & (true == 1), true == 1),
            ("specificity", ~called & (true == 0), true == 0),
        )
    }

    def measure(weights: Any) -> dict[str, Any]:
        counts, means = ranked.count_calls(weights), weights @ losses / weights.sum(axis=1, keepdims=True)
        ranking = (counts.auroc(), counts.average_precision(), means[:, 0], means[:, 1])
        with np.errstate(invalid="ignore"):
            shares = {name: weights @ right / (weights @ among) for name, (right, among) in rates.items()}
        return {**dict(zip(FIGURES, ranking, strict=True)), **shares}

    values = measure(np.ones((1, len(true))))
    resampled = bootstrap(measure, pooled.group_ids, num_resamples=num_resamples)
    rarer = count_rarer_groups(pooled.group_ids, true)
    among = {name: len(np.unique(pooled.group_ids[films > 0])) for name, (_, films) in rates.items()}
    figures = {
        name: estimate(
            float(value[0]), resampled[name], num_groups=among.get(name, rarer), is_share=name in among
        ).to_dict()
        for name, value in values.items()
    }
    return {
        "num_films": len(true),
        "num_groups": index_groups(pooled.group_ids)[0],
        "num_fractured": int(true.sum()),
        "metrics": {name: figures[name] for name in FIGURES},
        "operating_points": {
            name: {rate: figures[f"{name}/{rate}"] for rate in ("sensitivity", "specificity")} for name in calls
        },
    }


def render_summary(result: dict[str, Any]) -> str:
    """Render what a reader wants first, as plain text."""
    pooled, lines = result["pooled"], []
    for name, title in (("auroc", "AUROC"), ("average_precision", "average precision")):
        spread, figure = result["summary"][name], pooled["metrics"][name]
        lines.append(
            f"{title:<19}mean {spread['mean']:.3f}, standard deviation {spread['standard_deviation']:.3f} over "
            f"{result['num_folds']} folds; pooled {_describe(figure)}"
        )
    lines += [
        f"{name:<19}sensitivity {_describe(point['sensitivity'])}, specificity {_describe(point['specificity'])}"
        for name, point in pooled["operating_points"].items()
    ]
    lines.append(f"{pooled['num_films']} films in {pooled['num_groups']} groups, {pooled['num_fractured']} fractured")
    return "\n".join(lines) + "\n"


def _describe(figure: dict[str, Any]) -> str:
    if figure["lower"] is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} ({figure['lower']:.3f} to {figure['upper']:.3f})"


def _write_folds(pool: "Dataset", folds: Sequence["Fold"], path: Path) -> None:
    """Write which film is used for what in which fold."""
    from hf_fracture.data.spreadsheets import neutralise_formula
    from hf_fracture.evaluation.artifacts import write_text

    names = pool["source_path"][:] if "source_path" in pool.column_names else [str(row) for row in range(len(pool))]
    groups = pool["group_id"][:]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("source_path", "group_id", "fold", "use"))
    for number, fold in enumerate(folds, start=1):
        for use in (field.name for field in dataclasses.fields(fold)):
            writer.writerows(
                (neutralise_formula(names[index]), neutralise_formula(groups[index]), number, use)
                for index in getattr(fold, use)
            )
    write_text(path, stream.getvalue())


def _write_result(result: dict[str, Any], pooled: "Predictions", out_dir: Path) -> None:
    """Write the table, then the result, whose presence says that the run is finished."""
    from hf_fracture.evaluation.predictions import write_predictions
    from hf_fracture.models.checkpoint import write_json

    write_predictions(pooled, out_dir / PREDICTIONS_NAME)
    write_json(out_dir / RESULT_NAME, result)
