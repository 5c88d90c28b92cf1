"""`hf-fracture train`: fine-tune, calibrate on validation, and write the model folder."""

import argparse
import contextlib
import dataclasses
import difflib
import platform
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args, get_origin

from hf_fracture.errors import FractureError, MissingInputError, MissingPackageError, UsageError

if TYPE_CHECKING:
    from datasets import DatasetDict
    from transformers import HfArgumentParser
    from transformers.trainer_utils import EvalPrediction

    from hf_fracture.config import FractureRecord, RecipeConfig
    from hf_fracture.evaluation.predictions import Predictions
    from hf_fracture.training.arguments import FractureTrainingArguments
    from hf_fracture.training.trainer import ComputeMetrics, TrainingResult

PACKAGES = ("torch", "transformers", "accelerate", "datasets", "numpy", "pillow", "scikit-learn", "hf-fracture")
MODEL_NAME = "model"
OTHER_FIELDS = (
    "Every other field of transformers.TrainingArguments is an option as well, such as --max_steps, --seed and "
    "--gradient_accumulation_steps: https://huggingface.co/docs/transformers/main_classes/trainer"
)


def add_parser(
    subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]", fields: argparse.ArgumentParser | None = None
) -> None:
    """Add the command; its flags are the fields of the recipe and of the Trainer's arguments."""
    parser = subparsers.add_parser(
        "train",
        help="Fine-tune a backbone on a prepared dataset",
        description="Fine-tune a backbone on a prepared dataset. Writes OUT/model (the model folder), OUT/log.json, "
        "OUT/curves.png and OUT/checkpoints. An interrupted run goes on where it was.",
        parents=[fields or build_field_parser()],
        epilog=OTHER_FIELDS,
    )
    add_run_arguments(parser)


def add_help(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command for its `--help` alone, without loading torch."""
    add_parser(subparsers, build_help_parser())


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every command that trains takes beside the fields."""
    parser.add_argument("dataset", metavar="DATASET", help="prepared folder or Hub id")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of the run")
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="recipe of the package by its name, or a YAML file of fields; flags win over it",
    )
    parser.add_argument("--overwrite", action="store_true", help="remove what an earlier run left in OUT")


def run(args: argparse.Namespace) -> int:
    """Train and write the run's folder."""
    from hf_fracture.models.backbones import resolve_backbone
    from hf_fracture.training.run_folder import claim_run_folder, holding_run_folder
    from hf_fracture.training.trainer import describe_run

    recipe, arguments = read_fields(args, output_dir=args.out / "checkpoints")
    resolve_backbone(recipe.backbone)
    described = describe_run(recipe, arguments)
    if arguments.process_index != 0:
        _follow(args, recipe, arguments)
        return 0
    with going_on(args.out), holding_run_folder(args.out):
        splits, label_names = load_target(args.dataset, recipe)
        claim_run_folder(args.out, described, finished=MODEL_NAME, overwrite=args.overwrite)
        wait_for_all()
        summary = train_model(splits, label_names, recipe, arguments, out_dir=args.out)
    sys.stdout.write(f"{summary}\n{args.out / MODEL_NAME}\n")
    sys.stderr.write(
        f"Next: hf-fracture evaluate {args.out / MODEL_NAME} {args.dataset} --out {args.out / 'evaluation'}\n"
    )
    return 0


def _follow(args: argparse.Namespace, recipe: "RecipeConfig", arguments: "FractureTrainingArguments") -> None:
    """Train as one of several processes that write nothing and say nothing."""
    hide_progress()
    splits, label_names = load_target(args.dataset, recipe)
    wait_for_all()
    fit(splits, label_names, recipe, arguments)


def hide_progress() -> None:
    """Leave progress to the first of several processes."""
    import datasets
    from transformers.utils import logging

    datasets.disable_progress_bars()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def wait_for_all() -> None:
    """Wait until every process of a launcher is here: the first one claims, and may empty, the folder before."""
    from accelerate import PartialState

    PartialState().wait_for_everyone()


@contextlib.contextmanager
def going_on(out_dir: Path) -> Iterator[None]:
    """Say how to go on where the run was interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(f"\nGive the same command again to go on from the last checkpoint in '{out_dir}'.\n")
        raise


def load_target(
    dataset: str, recipe: "RecipeConfig", *, has_folds: bool = False
) -> tuple["DatasetDict", tuple[str, ...]]:
    """Load a dataset with what the recipe tells apart in the column `label`; also return the classes' names.

    Args:
        dataset: Prepared folder.
        recipe: What is to be trained.
        has_folds: Whether every film is measured in turn.

    Raises:
        MissingInputError: If there is no such dataset; the nearest name is suggested.
        UsageError: If a teacher, or the model to start from, may have seen its films of validation and test.
    """
    from hf_fracture.evaluation.films import hash_assignment, load_splits
    from hf_fracture.models.distillation import check_teacher
    from hf_fracture.training.fracture_types import choose_target

    try:
        splits = load_splits(dataset)
    except MissingInputError as error:
        raise MissingInputError(f"{error}{_suggest_dataset(Path(dataset))}") from error
    if recipe.teacher is not None:
        check_teacher(recipe.teacher, hash_assignment(splits))
    check_start(recipe, splits, has_folds=has_folds)
    return choose_target(splits, recipe.target)


def check_start(recipe: "RecipeConfig", splits: "DatasetDict", *, has_folds: bool = False) -> None:
    """Refuse to start from a model that was trained on films by which the new one would be measured.

    Args:
        recipe: Names the model to start from, if any.
        splits: The prepared dataset.
        has_folds: Whether every film of the dataset is measured in turn.

    Raises:
        UsageError: If it learned from the same source, and not (or, with folds, also) from the same split of it.
    """
    from accelerate import PartialState

    from hf_fracture.data.sources import OWN_FILMS
    from hf_fracture.evaluation.films import hash_assignment
    from hf_fracture.models.backbones import read_start
    from hf_fracture.models.checkpoint import read_json

    start = read_start(recipe)
    sources = {name for films in splits.values() if "source" in films.column_names for name in films.unique("source")}
    shared = sorted(sources.intersection(start.trained_on)) if start else []
    if not shared:
        return
    path = Path(recipe.backbone) / "run.json"
    assigned = read_json(path).get("data", {}).get("split_sha256") if path.is_file() else None
    is_same = assigned == hash_assignment(splits)
    if is_same and not has_folds:
        return
    if is_same or shared != [OWN_FILMS]:
        names = ", ".join(shared)
        wanted = f"nothing of {names}" if has_folds else f"the same split of {names} or on nothing of it"
        raise UsageError(
            f"Expected a backbone that was trained on {wanted}, got '{recipe.backbone}', which may have "
            "seen films that the new model is measured on. Name another backbone."
        )
    if PartialState().is_main_process:
        sys.stderr.write(
            f"Warning: '{recipe.backbone}' was trained on films of one's own too. If they are among these, figures on "
            "validation and test flatter.\n"
        )


def _suggest_dataset(dataset: Path) -> str:
    """Return a sentence on the dataset that was probably meant, or nothing."""
    from hf_fracture.data.sources import SOURCES

    beside = [path.name for path in dataset.parent.iterdir() if path.is_dir()] if dataset.parent.is_dir() else []
    near = difflib.get_close_matches(dataset.name, [*beside, *SOURCES], n=1)
    if not near:
        return ""
    if near[0] in beside:
        return f" Did you mean '{dataset.with_name(near[0])}'?"
    return f" To get {near[0]}: hf-fracture data prepare {near[0]} --source DIR --out {near[0]}."


def train_model(
    splits: "DatasetDict",
    label_names: Sequence[str],
    recipe: "RecipeConfig",
    arguments: "FractureTrainingArguments",
    *,
    out_dir: Path,
) -> str:
    """Train, calibrate, write the model folder and the log, and return one line on what was reached on validation."""
    result = fit(splits, label_names, recipe, arguments)
    write_log(result, out_dir)
    save = save_fracture_model if recipe.target == "fracture" else save_type_model
    return save(result, splits, recipe, arguments, out_dir=out_dir)


def fit(
    splits: "DatasetDict",
    label_names: Sequence[str],
    recipe: "RecipeConfig",
    arguments: "FractureTrainingArguments",
) -> "TrainingResult":
    """Train on this process's share of the films.

    Raises:
        MissingPackageError: If `--report_to` names a package that is not installed.
    """
    from hf_fracture.training.trainer import train_classifier

    measure: ComputeMetrics = measure_ranking if recipe.target == "fracture" else measure_types
    with contextlib.redirect_stdout(sys.stderr):  # the Trainer prints its log, and stdout is for results
        try:
            return train_classifier(splits, recipe, arguments, compute_metrics=measure, label_names=label_names)
        except (RuntimeError, ImportError) as error:
            if "Callback requires" in str(error):
                wanted = ", ".join(cast(list[str], arguments.report_to))
                raise MissingPackageError(
                    f"--report_to {wanted} needs a package that is not installed. Install it: pip install {wanted}."
                ) from error
            raise


def measure_ranking(prediction: "EvalPrediction") -> dict[str, float]:
    """Return AUROC and average precision of the logit difference, for the Trainer."""
    from hf_fracture.evaluation.calibration import probability_of
    from hf_fracture.evaluation.metrics import auroc, average_precision

    logits = cast(Any, prediction.predictions)
    probability = probability_of((logits[:, 1] - logits[:, 0]).astype("float64"))
    labels = cast(Any, prediction.label_ids)
    return {"auroc": auroc(labels, probability), "average_precision": average_precision(labels, probability)}


def measure_types(prediction: "EvalPrediction") -> dict[str, float]:
    """Return the mean over the types of one-versus-rest AUROC and average precision, for the Trainer."""
    import numpy as np
    from scipy.special import softmax

    from hf_fracture.evaluation.metrics import auroc, average_precision

    probability = softmax(np.asarray(prediction.predictions, dtype=np.float64), axis=1)
    is_type = np.asarray(prediction.label_ids)[:, None] == np.arange(probability.shape[1])  # (N, C)
    pairs = [(is_type[:, index].astype(int), probability[:, index]) for index in range(probability.shape[1])]
    return {
        "auroc": float(np.mean([auroc(*pair) for pair in pairs])),
        "average_precision": float(np.mean([average_precision(*pair) for pair in pairs])),
    }


def write_log(result: "TrainingResult", out_dir: Path) -> None:
    """Write what the Trainer logged, as JSON and as curves."""
    from hf_fracture.models.checkpoint import write_json
    from hf_fracture.training.curves import write_curves

    write_json(out_dir / "log.json", {"history": result.history, "seconds": result.seconds})
    write_curves(result.history, out_dir / "curves.png")


def save_fracture_model(
    result: "TrainingResult",
    splits: "DatasetDict",
    recipe: "RecipeConfig",
    arguments: "FractureTrainingArguments",
    *,
    out_dir: Path,
) -> str:
    """Calibrate on validation, choose the operating points there, and write the model folder.

    Returns:
        One line on what was reached on validation.
    """
    from hf_fracture.config import FractureRecord
    from hf_fracture.evaluation.guarantees import measure_guarantee
    from hf_fracture.evaluation.metrics import auroc
    from hf_fracture.evaluation.predictions import predict_dataset
    from hf_fracture.evaluation.thresholds import choose_operating_points, choose_triage
    from hf_fracture.models.evidence import adjust_head

    raw = predict_dataset(result.model, result.preprocessing, splits["validation"], show_progress=True)
    temperature, shift = _fit_calibration(raw)
    adjust_head(result.model, temperature=temperature, shift=shift)
    validation = predict_dataset(result.model, result.preprocessing, splits["validation"], show_progress=True)
    points = choose_operating_points(validation.y_true, validation.y_prob)
    triage = choose_triage(points)
    guarantee = measure_guarantee(validation.y_true, validation.y_prob, validation.group_ids, triage)
    for sentence in guarantee.warnings:
        sys.stderr.write(f"Warning: {sentence}\n")
    record = FractureRecord(
        operating_points=points,
        temperature=temperature,
        shift=shift,
        triage=triage,
        triage_guarantee=guarantee.to_dict(),
        **describe_training_films(splits, recipe),
    )
    _save(result, record, splits, recipe, arguments, out_dir)
    score = auroc(validation.y_true, validation.y_prob)
    return f"validation AUROC {score:.3f} on {len(validation)} films"


def save_type_model(
    result: "TrainingResult",
    splits: "DatasetDict",
    recipe: "RecipeConfig",
    arguments: "FractureTrainingArguments",
    *,
    out_dir: Path,
) -> str:
    """Calibrate a classifier of types by a temperature, and write the model folder; see `save_fracture_model`."""
    import numpy as np
    from transformers.trainer_utils import EvalPrediction

    from hf_fracture.config import FractureRecord, Triage
    from hf_fracture.evaluation.measured_model import build_film_reader
    from hf_fracture.evaluation.predictions import answer_films
    from hf_fracture.training.fracture_types import adjust_class_head, fit_class_temperature

    films = splits["validation"]
    reader = build_film_reader(result.preprocessing)
    answers = answer_films(result.model, reader, films, batch_size=32, show_progress=True)
    logits = np.array([answer["logits"] for answer in answers])
    temperature = fit_class_temperature(logits, films["label"])
    adjust_class_head(result.model, temperature=temperature, shifts=[0.0] * logits.shape[1])
    record = FractureRecord(
        operating_points={},
        temperature=temperature,
        triage=Triage(screening=0.0, rule_in=1.0),
        label_kind="fracture_type",
        **describe_training_films(splits, recipe),
    )
    _save(result, record, splits, recipe, arguments, out_dir)
    reached = measure_types(EvalPrediction(predictions=logits, label_ids=np.asarray(films["label"])))
    return f"validation AUROC {reached['auroc']:.3f}, mean over {logits.shape[1]} types, on {len(films)} films"


def _save(
    result: "TrainingResult",
    record: "FractureRecord",
    splits: "DatasetDict",
    recipe: "RecipeConfig",
    arguments: "FractureTrainingArguments",
    out_dir: Path,
) -> None:
    """Write the model folder with the facts of the run."""
    from hf_fracture.evaluation.films import hash_assignment, hash_films
    from hf_fracture.models.checkpoint import read_json, save_model_folder
    from hf_fracture.training.trainer import describe_run

    used = {name: splits[name] for name in ("train", "validation")}
    is_binary = record.label_kind == "fracture"
    facts = {
        **describe_run(recipe, arguments),
        "data": {
            "films": {name: len(films) for name, films in used.items()},
            **({"fractured": {name: sum(films["label"]) for name, films in used.items()}} if is_binary else {}),
            "films_sha256": hash_films(used),
            "split_sha256": hash_assignment(splits),
        },
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}},
        "machine": describe_machine(arguments),
        "epochs": result.history,
        "seconds": round(float(read_json(out_dir / "log.json")["seconds"]), 1),
    }
    save_model_folder(result.model, out_dir / MODEL_NAME, preprocessing=result.preprocessing, record=record, run=facts)


def describe_machine(arguments: "FractureTrainingArguments") -> str:
    """Return what computes in this call: the accelerator's name, or the threads on the processor, of each process."""
    import torch

    device = arguments.device
    threads = torch.get_num_threads()
    own = f"{threads} CPU thread{'s' if threads > 1 else ''}"
    if device.type != "cpu":
        own = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return own if arguments.world_size == 1 else f"{arguments.world_size} processes, each {own}"


def _fit_calibration(validation: "Predictions") -> tuple[float, float]:
    """Fit temperature and shift; a network that none can calibrate keeps its logits, with a warning, and its run."""
    from hf_fracture.errors import NoTemperatureError
    from hf_fracture.evaluation.calibration import fit_temperature_and_shift

    try:
        return fit_temperature_and_shift(validation.y_true, validation.logit_difference)
    except NoTemperatureError as error:
        sys.stderr.write(f"Warning: {error} The model is saved uncalibrated; do not trust its probabilities.\n")
        return 1.0, 0.0


def describe_training_films(splits: "DatasetDict", recipe: "RecipeConfig") -> dict[str, Any]:
    """Return what the record says of the films a model was trained on.

    The films of the model that training started from, and of its teacher, count too.
    """
    from hf_fracture.models.backbones import read_start
    from hf_fracture.models.checkpoint import read_record

    teacher = read_record(Path(recipe.teacher)) if recipe.teacher else None
    seen_before = [name for record in (read_start(recipe), teacher) if record for name in record.trained_on]
    modalities = _known_values(splits, "modality") or ["XR"]
    if len(modalities) > 1:
        sys.stderr.write(
            f"Warning: the training films are of several modalities ({', '.join(modalities)}); the model is recorded "
            f"as one of {modalities[0]}. Train one model for each.\n"
        )
    return {
        "trained_on": sorted({*_known_values(splits, "source"), *seen_before}),
        "modality": modalities[0],
        "body_parts": _known_values(splits, "body_part"),
        "views": _known_values(splits, "view"),
        "enhancement": None if recipe.enhancement == "none" else recipe.enhancement,
    }


def _known_values(splits: "DatasetDict", column: str) -> list[str]:
    """Distinct values of a column of the training split, sorted; empty where it is not known."""
    films = splits["train"]
    values = set(films[column]) if column in films.column_names else set()
    return sorted(value for value in values if value)


def build_field_parser() -> "HfArgumentParser":
    """Parser of all fields, in which a flag that was not given leaves no trace, so that `--config` can fill it."""
    from transformers import HfArgumentParser

    from hf_fracture.config import RecipeConfig
    from hf_fracture.training.arguments import FractureTrainingArguments

    parser = HfArgumentParser([RecipeConfig, FractureTrainingArguments], add_help=False)  # type: ignore[list-item]
    for action in parser._actions:
        action.required = False
        action.default = argparse.SUPPRESS
    return parser


def build_help_parser() -> argparse.ArgumentParser:
    """Parser that only describes: the fields of the recipe, and of the Trainer those with another default here."""
    from hf_fracture.config import RecipeConfig
    from hf_fracture.training.defaults import TrainingDefaults

    parser = argparse.ArgumentParser(add_help=False)
    for field in (*dataclasses.fields(RecipeConfig), *dataclasses.fields(TrainingDefaults)):
        words = str(field.metadata["help"]).replace("%", "%%")
        default = "" if field.default is dataclasses.MISSING else f" (default: {field.default})"
        choices = get_args(field.type) if get_origin(field.type) is Literal else None
        metavar = None if choices else field.name.upper()
        parser.add_argument(f"--{field.name}", choices=choices, metavar=metavar, help=words + default)
    return parser


def read_fields(args: argparse.Namespace, *, output_dir: Path) -> tuple["RecipeConfig", "FractureTrainingArguments"]:
    """Merge the configuration file and the flags.

    Args:
        args: Flags that were given, and `config`.
        output_dir: Where the Trainer keeps its checkpoints.

    Raises:
        UsageError: If a field is unknown, missing or out of range.
    """
    from transformers import HfArgumentParser

    from hf_fracture.config import RecipeConfig
    from hf_fracture.training.arguments import FractureTrainingArguments
    from hf_fracture.training.recipe_file import check_field_kinds

    names = {field.name for kind in (RecipeConfig, FractureTrainingArguments) for field in dataclasses.fields(kind)}
    flags = {name: value for name, value in vars(args).items() if name in names - {"output_dir", "debug"}}
    content = _read_config(args.config) if args.config else {}
    _check_names(content, names - {"output_dir"}, str(args.config))
    fields = {**check_field_kinds(content, str(args.config)), **flags}
    if not fields.get("backbone"):
        raise UsageError("Expected --backbone (a row of hf-fracture backbones, a folder or a Hub id), got none.")
    parser = HfArgumentParser([RecipeConfig, FractureTrainingArguments])  # type: ignore[list-item]
    try:
        recipe, arguments = parser.parse_dict({**fields, "output_dir": str(output_dir)})
    except FractureError:
        raise
    except Exception as error:  # a hundred fields of upstream's, each with checks of its own
        words = " ".join(str(error).split())[:300]
        raise UsageError(f"A field of the configuration cannot be used: {words}") from error
    if recipe.early_stopping_epochs and arguments.eval_strategy == "no":
        raise UsageError(
            f"early_stopping_epochs is {recipe.early_stopping_epochs}, which needs validation while the network "
            "trains, got --eval_strategy no. Pass --early_stopping_epochs 0 as well."
        )
    return recipe, arguments


def _check_names(content: dict[str, Any], known: set[str], where: str) -> None:
    """Refuse a field that does not exist, and suggest the nearest that does."""
    for name in content:
        if name not in known:
            near = difflib.get_close_matches(str(name), sorted(known), n=2)
            hint = f" Did you mean {' or '.join(near)}?" if near else " See hf-fracture train --help."
            raise UsageError(
                f"Expected fields of a recipe in '{where}', found '{str(name)[:80]}', which is none.{hint}"
            )


def _read_config(name: str) -> dict[str, Any]:
    import yaml

    from hf_fracture.config import find_recipe

    path = find_recipe(name)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MissingInputError(f"Expected the configuration file '{path}', cannot read it: {error}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"Expected '{path}' to be YAML: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(content, dict):
        raise UsageError(f"Expected '{path}' to map fields to values, got {type(content).__name__}.")
    return content
