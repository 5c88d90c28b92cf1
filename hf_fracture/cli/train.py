"""`hf-fracture train`: fine-tune, calibrate on validation, and write the model folder."""

import argparse
import contextlib
import dataclasses
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hf_fracture.errors import MissingInputError, OutputExistsError, UsageError

if TYPE_CHECKING:
    from datasets import DatasetDict
    from transformers import HfArgumentParser
    from transformers.trainer_utils import EvalPrediction

    from hf_fracture.config import RecipeConfig
    from hf_fracture.evaluation.predictions import Predictions
    from hf_fracture.training.arguments import FractureTrainingArguments
    from hf_fracture.training.trainer import TrainingResult

PACKAGES = ("torch", "transformers", "accelerate", "datasets", "numpy", "pillow", "scikit-learn", "hf-fracture")


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command; its flags are the fields of the recipe and of the Trainer's arguments."""
    parser = subparsers.add_parser(
        "train",
        help="Fine-tune a backbone on a prepared dataset",
        description="Fine-tune a backbone on a prepared dataset. Writes OUT/model (the model folder), OUT/log.json, "
        "OUT/curves.png and OUT/checkpoints. An interrupted run goes on where it was.",
        parents=[_field_parser()],
    )
    parser.add_argument("dataset", metavar="DATASET", help="prepared folder or Hub id")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of the run")
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file of fields; flags win over it")
    parser.add_argument("--overwrite", action="store_true", help="remove what an earlier run left in OUT")


def run(args: argparse.Namespace) -> int:
    """Train and write the run's folder."""
    from hf_fracture.evaluation.films import load_splits
    from hf_fracture.models.backbones import resolve_backbone
    from hf_fracture.training.trainer import train_classifier

    recipe, arguments = _read_fields(args)
    resolve_backbone(recipe.backbone)
    splits = load_splits(args.dataset)
    _prepare_run_folder(args.out, recipe, arguments, overwrite=args.overwrite)
    with contextlib.redirect_stdout(sys.stderr):  # the Trainer prints its log, and stdout is for results
        result = train_classifier(splits, recipe, arguments, compute_metrics=measure_ranking)
    if arguments.process_index != 0:
        return 0
    validation = save_result(result, splits, recipe, arguments, out_dir=args.out)
    from hf_fracture.evaluation.metrics import auroc

    score = auroc(validation.y_true, validation.y_prob)
    sys.stdout.write(f"validation AUROC {score:.3f} on {len(validation)} films\n{args.out / 'model'}\n")
    sys.stderr.write(
        f"Next: hf-fracture evaluate {args.out / 'model'} {args.dataset} --out {args.out / 'evaluation'}\n"
    )
    return 0


def measure_ranking(prediction: "EvalPrediction") -> dict[str, float]:
    """Return AUROC and average precision of the logit difference, for the Trainer."""
    from hf_fracture.evaluation.calibration import probability_of
    from hf_fracture.evaluation.metrics import auroc, average_precision

    logits = cast(Any, prediction.predictions)
    probability = probability_of((logits[:, 1] - logits[:, 0]).astype("float64"))
    labels = cast(Any, prediction.label_ids)
    return {"auroc": auroc(labels, probability), "average_precision": average_precision(labels, probability)}


def save_result(
    result: "TrainingResult",
    splits: "DatasetDict",
    recipe: "RecipeConfig",
    arguments: "FractureTrainingArguments",
    *,
    out_dir: Path,
) -> "Predictions":
    """Calibrate on validation, choose the operating points there, and write the model folder and the log.

    Returns:
        The calibrated predictions on validation.
    """
    from hf_fracture.config import FractureRecord
    from hf_fracture.evaluation.films import hash_assignment, hash_films
    from hf_fracture.evaluation.predictions import predict_dataset
    from hf_fracture.evaluation.thresholds import choose_operating_points, choose_triage
    from hf_fracture.models.checkpoint import read_json, save_model_folder, write_json
    from hf_fracture.models.evidence import adjust_head
    from hf_fracture.training.curves import write_curves
    from hf_fracture.training.trainer import describe_run

    log_path = out_dir / "log.json"
    # A finished run that is only calibrated again keeps the time that its training took.
    seconds = result.seconds + (float(read_json(log_path)["seconds"]) if log_path.is_file() else 0.0)
    write_json(log_path, {"history": result.history, "seconds": seconds})
    write_curves(result.history, out_dir / "curves.png")
    raw = predict_dataset(result.model, result.preprocessing, splits["validation"], show_progress=True)
    temperature = _fit_temperature(raw)
    adjust_head(result.model, temperature=temperature)
    validation = predict_dataset(result.model, result.preprocessing, splits["validation"], show_progress=True)
    points = choose_operating_points(validation.y_true, validation.y_prob)
    record = FractureRecord(
        operating_points=points,
        temperature=temperature,
        triage=choose_triage(points),
        trained_on=_known_values(splits, "source"),
        modality=(_known_values(splits, "modality") or ["XR"])[0],
        body_parts=_known_values(splits, "body_part"),
        views=_known_values(splits, "view"),
    )
    used = {name: splits[name] for name in ("train", "validation")}
    facts = {
        **describe_run(recipe, arguments),
        "data": {
            "films": {name: len(films) for name, films in used.items()},
            "fractured": {name: sum(films["label"]) for name, films in used.items()},
            "films_sha256": hash_films(used),
            "split_sha256": hash_assignment(splits),
        },
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}},
        "epochs": result.history,
        "seconds": round(seconds, 1),
    }
    save_model_folder(result.model, out_dir / "model", preprocessing=result.preprocessing, record=record, run=facts)
    return validation


def _fit_temperature(validation: "Predictions") -> float:
    """Fit the temperature; a network that none can calibrate keeps its logits, with a warning, and its run."""
    from hf_fracture.errors import NoTemperatureError
    from hf_fracture.evaluation.calibration import fit_temperature

    try:
        return fit_temperature(validation.logit_difference, validation.y_true)
    except NoTemperatureError as error:
        sys.stderr.write(f"Warning: {error} The model is saved with temperature 1; do not trust its probabilities.\n")
        return 1.0


def _known_values(splits: "DatasetDict", column: str) -> list[str]:
    """Distinct values of a column of the training split, sorted; empty where it is not known."""
    films = splits["train"]
    values = set(films[column]) if column in films.column_names else set()
    return sorted(value for value in values if value)


def _field_parser() -> "HfArgumentParser":
    """Parser of all fields, in which a flag that was not given leaves no trace, so that `--config` can fill it."""
    from transformers import HfArgumentParser

    from hf_fracture.config import RecipeConfig
    from hf_fracture.training.arguments import FractureTrainingArguments

    parser = HfArgumentParser([RecipeConfig, FractureTrainingArguments], add_help=False)  # type: ignore[list-item]
    for action in parser._actions:
        action.required = False
        action.default = argparse.SUPPRESS
    return parser


def _read_fields(args: argparse.Namespace) -> tuple["RecipeConfig", "FractureTrainingArguments"]:
    """Merge the configuration file and the flags.

    Raises:
        UsageError: If a field is unknown, missing or out of range.
    """
    from transformers import HfArgumentParser

    from hf_fracture.config import RecipeConfig
    from hf_fracture.training.arguments import FractureTrainingArguments

    names = {field.name for kind in (RecipeConfig, FractureTrainingArguments) for field in dataclasses.fields(kind)}
    flags = {name: value for name, value in vars(args).items() if name in names - {"output_dir", "debug"}}
    fields = {**(_read_config(args.config) if args.config else {}), **flags}
    if not fields.get("backbone"):
        raise UsageError("Expected --backbone (a row of hf-fracture backbones, a folder or a Hub id), got none.")
    parser = HfArgumentParser([RecipeConfig, FractureTrainingArguments])  # type: ignore[list-item]
    try:
        recipe, arguments = parser.parse_dict({**fields, "output_dir": str(args.out / "checkpoints")})
    except (ValueError, TypeError) as error:
        raise UsageError(f"A field of the configuration cannot be used: {error}") from error
    return recipe, arguments


def _read_config(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingInputError(f"Expected the configuration file '{path}', found none.") from error
    except yaml.YAMLError as error:
        raise UsageError(f"Expected '{path}' to be YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UsageError(f"Expected '{path}' to map fields to values, got {type(content).__name__}.")
    return content


def _prepare_run_folder(
    out_dir: Path, recipe: "RecipeConfig", arguments: "FractureTrainingArguments", *, overwrite: bool
) -> None:
    """Make the run's folder, or make sure that what lies there is the same run, interrupted.

    Raises:
        OutputExistsError: If a finished run or a run of another configuration lies there.
    """
    from hf_fracture.models.checkpoint import read_json, write_json
    from hf_fracture.training.trainer import describe_run

    if overwrite:
        shutil.rmtree(out_dir, ignore_errors=True)
    if (out_dir / "model").exists():
        raise OutputExistsError(f"A finished run lies in '{out_dir}'. Choose another --out, or pass --overwrite.")
    described = describe_run(recipe, arguments)
    configuration_path = out_dir / "configuration.json"
    if configuration_path.is_file() and read_json(configuration_path) != described:
        raise OutputExistsError(
            f"An interrupted run of another configuration lies in '{out_dir}' (see configuration.json). Choose another "
            "--out, or pass --overwrite to start anew."
        )
    out_dir.mkdir(parents=True, exist_ok=True)
    write_json(configuration_path, described)
