"""`hf-fracture evaluate`: measure a model on a split, and write every figure with its interval."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_fracture.errors import OutputExistsError, UsageError
from hf_fracture.outputs import holding

if TYPE_CHECKING:
    from datasets import DatasetDict

    from hf_fracture.evaluation.alterations import Alteration
    from hf_fracture.evaluation.figures import Resampling
    from hf_fracture.evaluation.measured_model import FilmReader, MeasuredModel
    from hf_fracture.evaluation.predictions import Predictions
    from hf_fracture.evaluation.report import EvaluationReport, Probes
    from hf_fracture.evaluation.robustness import AlterationEffect

PREDICTIONS_NAME = "predictions.parquet"
PAGE_NAME = "report.html"


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "evaluate",
        help="Measure a model on a split and write evaluation.json",
        description="Measure a model on one split of a dataset. Writes OUT/evaluation.json, OUT/predictions.parquet, "
        "OUT/report.html and pictures as PNG and SVG; prints a short table.",
    )
    parser.add_argument(
        "model", metavar="MODEL", help="model folder or Hub id, of this package or any image classifier"
    )
    parser.add_argument("dataset", metavar="DATASET", help="prepared folder or Hub id")
    parser.add_argument("--split", default="test", help="split that is measured (default: test)")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for what is written")
    parser.add_argument("--overwrite", action="store_true", help="replace what an earlier evaluation left in OUT")
    parser.add_argument(
        "--record",
        action="store_true",
        help="also keep evaluation.json in the model folder, from which its card is rendered",
    )
    parser.add_argument(
        "--label-map",
        metavar="PAIRS",
        help="what foreign classes mean, such as 'normal=not fractured,broken=fractured', or with --target "
        "fracture_type 'Spiral Fracture=spiral,...'; every class must be named",
    )
    parser.add_argument(
        "--target",
        choices=("fracture", "fracture_type"),
        help="what the classes are (default: what the model's record says, else fracture); types are measured on the "
        "films whose type is known",
    )
    parser.add_argument(
        "--validation-split",
        default="validation",
        metavar="NAME",
        help="split on which thresholds and temperature of a foreign model are chosen (default: validation)",
    )
    parser.add_argument(
        "--shortcuts", action="store_true", help="also probe whether films are told apart without looking at a bone"
    )
    parser.add_argument(
        "--robustness",
        action="store_true",
        help="also answer seven worse copies of each film; takes eight times as long",
    )
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="films per forward pass (default: 32)")
    parser.add_argument("--resamples", type=int, default=2000, metavar="N", help="bootstrap resamples (default: 2000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the resamples (default: 0)")
    parser.add_argument("--revision", metavar="R", help="branch, tag or commit of a Hub model")
    parser.add_argument("--dataset-revision", metavar="R", help="branch, tag or commit of a Hub dataset")
    parser.add_argument("--trust-remote-code", action="store_true", help="run modelling code that the model brings")


def run(args: argparse.Namespace) -> int:
    """Measure, write and print.

    Raises:
        OutputExistsError: If an output exists and `--overwrite` was not given.
        UsageError: If `--record` is given for a model that is no folder.
        EvaluationError: If the answers cannot be measured.
    """
    from hf_fracture.evaluation.ranks import is_main_process, join_processes

    join_processes()
    if not is_main_process():
        return _measure(args)
    with holding(args.out) as was_interrupted:
        _check_outputs(args, was_interrupted=was_interrupted)
        return _measure(args)


def _measure(args: argparse.Namespace) -> int:
    from hf_fracture.evaluation.class_map import parse_label_map
    from hf_fracture.evaluation.films import load_splits, select_split
    from hf_fracture.evaluation.measured_model import load_measured_model
    from hf_fracture.evaluation.ranks import is_main_process

    has_types = args.target == "fracture_type"
    label_map = None if args.label_map is None or has_types else parse_label_map(args.label_map)
    splits = load_splits(args.dataset, revision=args.dataset_revision)
    select_split(splits, args.split)
    model = load_measured_model(
        args.model,
        revision=args.revision,
        label_map=label_map,
        target=args.target,
        trust_remote_code=args.trust_remote_code,
    )
    if model.target == "fracture_type":
        return run_types(model, splits, args)
    answers = collect_answers(model, splits, args)
    if not is_main_process():
        return 0
    report = measure(model, splits, answers, args)
    _write(report, args)
    sys.stdout.write(render_summary(report))
    hint = f"Next: hf-fracture card {args.model}" if args.record else f"Read {args.out / PAGE_NAME} in a browser."
    sys.stderr.write(f"{hint}\n")
    return 0


def run_types(model: "MeasuredModel", splits: "DatasetDict", args: argparse.Namespace) -> int:
    """Measure a classifier of fracture types, write and print.

    Raises:
        UsageError: If a probe is asked for that only a classifier of fractures has.
        EvaluationError: If the answers cannot be measured.
    """
    from hf_fracture.evaluation.figures import Resampling
    from hf_fracture.evaluation.films import select_split
    from hf_fracture.evaluation.ranks import is_main_process
    from hf_fracture.evaluation.report import FILE_NAME, Provenance
    from hf_fracture.evaluation.type_report import (
        collect_type_predictions,
        map_types,
        measure_types,
        parse_type_map,
        render_type_summary,
        write_type_report,
    )
    from hf_fracture.models.checkpoint import write_json

    if args.shortcuts or args.robustness:
        raise UsageError("--shortcuts and --robustness measure classifiers of fractures, got one of types. Drop them.")
    films = select_split(splits, args.split)
    types = sorted({kind for kind in films["fracture_type"] if kind}) if "fracture_type" in films.column_names else []
    stated = None if args.label_map is None else parse_type_map(args.label_map)
    labels = map_types(model.network.config.id2label, types, stated)
    answers = gather_answers(model, splits, args.split, batch_size=args.batch_size)
    if not is_main_process():
        return 0
    predictions = collect_type_predictions(answers, labels)
    content = measure_types(
        predictions,
        provenance=Provenance(model=describe_model(model), dataset=describe_dataset(splits, args, [model])),
        resampling=Resampling(num_resamples=args.resamples, seed=args.seed),
    )
    if args.record:
        write_json(Path(args.model) / FILE_NAME, content)
    write_type_report(content, predictions, args.out)
    sys.stdout.write(render_type_summary(content))
    sys.stderr.write(f"Read {args.out / PAGE_NAME} in a browser.\n")
    return 0


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What the network said; all that several processes share.

    Attributes:
        validation: On the films on which a foreign model is tuned; None for ours.
        test: On the films that are measured.
        altered: On the same films, by what was done to them.
    """

    validation: "Predictions | None"
    test: "Predictions"
    altered: "dict[str, Predictions]"


def collect_answers(model: "MeasuredModel", splits: "DatasetDict", args: argparse.Namespace) -> Answers:
    """Answer the films, in every form that the arguments ask for."""
    from hf_fracture.evaluation.alterations import DEGRADATIONS, REMOVALS

    tunable = None if model.record else args.validation_split
    wanted = {**(REMOVALS if args.shortcuts else {}), **(DEGRADATIONS if args.robustness else {})}
    return Answers(
        validation=None if tunable is None else predict_split(model, splits, tunable, batch_size=args.batch_size),
        test=predict_split(model, splits, args.split, batch_size=args.batch_size),
        altered={
            name: predict_split(model, splits, args.split, batch_size=args.batch_size, alter=alter)
            for name, alter in wanted.items()
        },
    )


def measure(
    model: "MeasuredModel", splits: "DatasetDict", answers: Answers, args: argparse.Namespace
) -> "EvaluationReport":
    """Measure the answers."""
    from hf_fracture.evaluation.figures import Resampling
    from hf_fracture.evaluation.report import Provenance, choose_decisions, evaluate_predictions
    from hf_fracture.evaluation.robustness import measure_alterations

    resampling = Resampling(num_resamples=args.resamples, seed=args.seed)
    threshold = choose_decisions(answers.validation, model.record).points["balanced"].threshold
    effects = measure_alterations(answers.test, answers.altered, threshold=threshold, resampling=resampling)
    return evaluate_predictions(
        answers.validation,
        answers.test,
        record=model.record,
        provenance=Provenance(model=describe_model(model), dataset=describe_dataset(splits, args, [model])),
        resampling=resampling,
        probes=collect_probes(effects, splits, args, resampling),
    )


def collect_probes(
    effects: "list[AlterationEffect]", splits: "DatasetDict", args: argparse.Namespace, resampling: "Resampling"
) -> "Probes":
    """Sort the effects into the sections of the report, and let a forest look at the films' frames."""
    from hf_fracture.evaluation.alterations import DEGRADATIONS, REMOVALS
    from hf_fracture.evaluation.report import Probes
    from hf_fracture.evaluation.shortcuts import probe_frames

    by_name = {effect.name: effect for effect in effects}
    blanked, masked = (by_name.get(name) for name in REMOVALS)
    can_probe = args.shortcuts and "train" in splits and args.split != "train"
    return Probes(
        robustness=[by_name[name] for name in DEGRADATIONS] if args.robustness else None,
        frame=probe_frames(splits["train"], splits[args.split], resampling=resampling) if can_probe else None,
        blanked_body=blanked,
        masked_marks=masked,
    )


def describe_model(model: "MeasuredModel") -> dict[str, Any]:
    """Return the section `model` of evaluation.json."""
    trained_on = model.record.trained_on if model.record else None
    return {"name": model.name, "sha256": model.sha256, "trained_on": trained_on}


def describe_dataset(
    splits: "DatasetDict", args: argparse.Namespace, models: Sequence["MeasuredModel"]
) -> dict[str, Any]:
    """Return the section `dataset` of evaluation.json, and warn where its figures may be too good."""
    from hf_fracture.evaluation.films import count_leaked_films, hash_assignment, hash_films, was_developed_on
    from hf_fracture.evaluation.report import warn_of_optimism

    trained_on = {source for model in models if model.record for source in model.record.trained_on}
    dataset = {
        "name": Path(args.dataset).resolve().name if Path(args.dataset).is_dir() else args.dataset,
        "revision": args.dataset_revision,
        "split": args.split,
        "content_sha256": hash_films(splits),
        "split_sha256": hash_assignment(splits),
        "num_leaked_films": count_leaked_films(splits, args.split),
        "used_in_development": was_developed_on(splits[args.split], args.split, trained_on),
    }
    for sentence in warn_of_optimism(dataset):
        sys.stderr.write(f"Warning: {sentence}\n")
    return dataset


def render_summary(report: "EvaluationReport") -> str:
    """Render the figures that a reader wants first, as plain text."""
    from hf_fracture.evaluation.plots import describe

    content, figures = report.to_dict(), report.figures
    cohort = content["cohort"]
    lines = [
        f"{content['model']['name']} on {content['dataset']['name']}, split {content['dataset']['split']}: "
        f"{cohort['num_films']} films in {cohort['num_groups']} groups, {cohort['num_fractured']} fractured",
        *(
            f"{title:<20}{describe(figures[name])}"
            for name, title in {
                "auroc": "AUROC",
                "average_precision": "average precision",
                "brier_score": "Brier score",
            }.items()
        ),
        f"{'ECE':<20}{_describe_ece(report)}",
        *_describe_frames(report),
        "",
        f"{'operating point':<18}{'threshold':<11}{'sensitivity':<25}specificity",
        *(
            f"{name:<18}{point.threshold:<11.4f}{describe(figures[f'{name}/sensitivity']):<25}"
            f"{describe(figures[f'{name}/specificity'])}"
            for name, point in report.decisions.points.items()
        ),
        f"chosen on {report.decisions.chosen_on}",
        "",
        f"three-way rule: decided {describe(figures['selective/coverage'])}, wrong among them "
        f"{describe(figures['selective/error_among_decided'])}",
    ]
    return "\n".join(lines) + "\n"


def _describe_frames(report: "EvaluationReport") -> list[str]:
    from hf_fracture.evaluation.plots import describe

    frame = report.probes.frame
    if frame is None or not frame.is_above_limit:
        return []
    return [f"{'AUROC of frames':<20}{describe(frame.auroc)}: what size, borders and compression alone tell"]


def _describe_ece(report: "EvaluationReport") -> str:
    before = f"{report.before.expected_calibration_error:.3f}"
    if report.after is None or report.temperature is None:
        return before
    return (
        f"{before} before, {report.after.expected_calibration_error:.3f} after calibration (temperature "
        f"{report.temperature:.3f}, shift {report.shift:.3f})"
    )


def predict_split(
    model: "MeasuredModel",
    splits: "DatasetDict",
    split: str,
    *,
    batch_size: int,
    alter: "Alteration | None" = None,
) -> "Predictions":
    """Answer every film of a split and put the probabilities of fracture into a table."""
    from hf_fracture.evaluation.predictions import collect_predictions

    answers = gather_answers(model, splits, split, batch_size=batch_size, alter=alter)
    return collect_predictions(answers, model.class_meanings)


def gather_answers(
    model: "MeasuredModel",
    splits: "DatasetDict",
    split: str,
    *,
    batch_size: int,
    alter: "Alteration | None" = None,
) -> list[dict[str, Any]]:
    """Answer every film of a split, on the GPU if there is one, shared among the processes of a launcher."""
    import torch

    from hf_fracture.evaluation.films import select_split
    from hf_fracture.evaluation.predictions import answer_films
    from hf_fracture.evaluation.ranks import gather_in_order, is_main_process, list_own
    from hf_fracture.models.device_errors import naming_device_failures

    network: torch.nn.Module = model.network
    with naming_device_failures():
        network.to("cuda" if torch.cuda.is_available() else "cpu")
    films = select_split(splits, split)
    answers = answer_films(
        model.network,
        model.read_film if alter is None else read_altered(model.read_film, alter),
        films.select(list_own(len(films))),
        batch_size=batch_size,
        show_progress=is_main_process(),
    )
    return gather_in_order(answers)


def read_altered(read_film: "FilmReader", alter: "Alteration") -> "FilmReader":
    """Return a reader that alters each film first."""
    return lambda film: read_film(alter(film))


def _check_outputs(args: argparse.Namespace, *, was_interrupted: bool) -> None:
    """Refuse to replace what is there, except what a killed evaluation left, which lacks its report."""
    from hf_fracture.evaluation.report import FILE_NAME

    if args.record and not Path(args.model).is_dir():
        raise UsageError(f"--record needs a model folder to write to, got '{args.model}'. Download it first.")
    targets = [args.out / name for name in (FILE_NAME, PREDICTIONS_NAME, PAGE_NAME)]
    targets += [Path(args.model) / FILE_NAME] if args.record else []
    existing = [path for path in targets if path.exists()]
    is_unfinished = was_interrupted and not (args.out / FILE_NAME).exists()
    if existing and not args.overwrite and not is_unfinished:
        raise OutputExistsError(f"'{existing[0]}' exists. Choose another --out, or pass --overwrite to replace it.")


def _write(report: "EvaluationReport", args: argparse.Namespace) -> None:
    from hf_fracture.evaluation.artifacts import write_text
    from hf_fracture.evaluation.page import render_page
    from hf_fracture.evaluation.plots import write_plots
    from hf_fracture.evaluation.predictions import write_predictions
    from hf_fracture.evaluation.report import FILE_NAME, write_evaluation

    (args.out / FILE_NAME).unlink(missing_ok=True)  # written last: where it lies, everything is of one run
    write_predictions(report.predictions, args.out / PREDICTIONS_NAME)
    write_plots(report, args.out)
    write_text(args.out / PAGE_NAME, render_page(report))
    if args.record:
        write_evaluation(report, Path(args.model) / FILE_NAME)
    write_evaluation(report, args.out / FILE_NAME)
