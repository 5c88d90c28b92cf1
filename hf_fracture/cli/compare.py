"""`hf-fracture compare`: measure two models on the same films, and say whether they differ."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_fracture.cli.evaluate import describe_dataset, describe_model, predict_split
from hf_fracture.errors import OutputExistsError, UsageError
from hf_fracture.labels import OPERATING_POINT_NAMES

if TYPE_CHECKING:
    from datasets import DatasetDict

    from hf_fracture.evaluation.comparison import Comparison
    from hf_fracture.evaluation.measured_model import MeasuredModel

SCHEMA_VERSION = 1


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "compare",
        help="Measure two models on the same films",
        description="Measure two models on the same split: paired DeLong test, bootstrap differences, McNemar's test "
        "at an operating point, calibration side by side. Writes OUT/comparison.json, prints a short table.",
    )
    parser.add_argument("model_a", metavar="MODEL_A", help="model folder or Hub id")
    parser.add_argument("model_b", metavar="MODEL_B", help="model folder or Hub id; differences are A minus B")
    parser.add_argument("dataset", metavar="DATASET", help="prepared folder or Hub id")
    parser.add_argument("--split", default="test", help="split that is measured (default: test)")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for what is written")
    parser.add_argument("--overwrite", action="store_true", help="replace what an earlier comparison left in OUT")
    parser.add_argument(
        "--point", choices=OPERATING_POINT_NAMES, default="balanced", help="operating point (default: balanced)"
    )
    parser.add_argument("--label-map-a", metavar="PAIRS", help="what foreign classes of A mean, as in evaluate")
    parser.add_argument("--label-map-b", metavar="PAIRS", help="what foreign classes of B mean, as in evaluate")
    parser.add_argument(
        "--validation-split",
        default="validation",
        metavar="NAME",
        help="split on which the threshold of a foreign model is chosen (default: validation)",
    )
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="films per forward pass (default: 32)")
    parser.add_argument("--resamples", type=int, default=2000, metavar="N", help="bootstrap resamples (default: 2000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the resamples (default: 0)")
    parser.add_argument("--dataset-revision", metavar="R", help="branch, tag or commit of a Hub dataset")
    parser.add_argument("--trust-remote-code", action="store_true", help="run modelling code that the models bring")


def run(args: argparse.Namespace) -> int:
    """Measure, write and print.

    Raises:
        OutputExistsError: If OUT holds a comparison and `--overwrite` was not given.
        EvaluationError: If the answers cannot be measured.
    """
    from dataclasses import asdict

    from hf_fracture.evaluation.comparison import FILE_NAME, compare_predictions
    from hf_fracture.evaluation.figures import Resampling
    from hf_fracture.evaluation.films import load_splits, select_split
    from hf_fracture.evaluation.ranks import is_main_process, join_processes
    from hf_fracture.evaluation.report import describe_cohort, read_versions
    from hf_fracture.models.checkpoint import write_json

    join_processes()
    path = args.out / FILE_NAME
    if path.exists() and not args.overwrite:
        raise OutputExistsError(f"'{path}' exists. Choose another --out, or pass --overwrite to replace it.")
    splits = load_splits(args.dataset, revision=args.dataset_revision)
    select_split(splits, args.split)
    models = (_load(args.model_a, args.label_map_a, args), _load(args.model_b, args.label_map_b, args))
    thresholds = (_find_threshold(models[0], splits, args), _find_threshold(models[1], splits, args))
    first, second = (predict_split(model, splits, args.split, batch_size=args.batch_size) for model in models)
    if not is_main_process():
        return 0
    resampling = Resampling(num_resamples=args.resamples, seed=args.seed)
    comparison = compare_predictions(first, second, thresholds=thresholds, resampling=resampling)
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(
        path,
        {
            "schema_version": SCHEMA_VERSION,
            "model_a": describe_model(models[0]),
            "model_b": describe_model(models[1]),
            "dataset": describe_dataset(splits, args, models),
            "software": read_versions(),
            "bootstrap": {**asdict(resampling), "unit": "group_id"},
            "cohort": describe_cohort(first),
            **comparison.to_dict(point_name=args.point),
        },
    )
    sys.stdout.write(render_summary(comparison, models[0].name, models[1].name, point_name=args.point))
    sys.stderr.write(f"Read {path} for the calibration of both.\n")
    return 0


def render_summary(comparison: "Comparison", name_a: str, name_b: str, *, point_name: str) -> str:
    """Render the differences as plain text."""
    from hf_fracture.evaluation.plots import describe

    auroc = comparison.auroc
    lines = [
        f"A: {name_a}",
        f"B: {name_b}",
        f"{'figure':<22}A minus B",
        *(f"{name.replace('_', ' '):<22}{describe(figure)}" for name, figure in comparison.differences.items()),
        f"AUROC {auroc.auroc_a:.3f} and {auroc.auroc_b:.3f}, DeLong p = {auroc.p_value:.3g}",
        f"{point_name}: fractured films that only A finds {comparison.fractured.only_a_right}, only B "
        f"{comparison.fractured.only_b_right} (McNemar p = {comparison.fractured.p_value:.3g}); others that only A "
        f"clears {comparison.intact.only_a_right}, only B {comparison.intact.only_b_right} (p = "
        f"{comparison.intact.p_value:.3g})",
    ]
    return "\n".join(lines) + "\n"


def _load(model: str, label_map: str | None, args: argparse.Namespace) -> "MeasuredModel":
    from hf_fracture.evaluation.class_map import parse_label_map
    from hf_fracture.evaluation.measured_model import load_measured_model

    meanings = None if label_map is None else parse_label_map(label_map)
    loaded = load_measured_model(model, label_map=meanings, trust_remote_code=args.trust_remote_code)
    if loaded.target != "fracture":
        raise UsageError(
            f"compare measures classifiers of fractures, got '{model}', which tells types apart. Measure each of them "
            "with hf-fracture evaluate."
        )
    return loaded


def _find_threshold(model: "MeasuredModel", splits: "DatasetDict", args: argparse.Namespace) -> float:
    """Take the threshold that the model carries, or choose it on the validation split."""
    from hf_fracture.evaluation.report import choose_decisions

    validation = (
        None if model.record else predict_split(model, splits, args.validation_split, batch_size=args.batch_size)
    )
    return choose_decisions(validation, model.record).points[args.point].threshold
