"""`hf-fracture explain-eval`: how often a map's peak lies in a marked fracture, beside two baselines."""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hf_fracture.errors import EvaluationError, OutputExistsError, UsageError

if TYPE_CHECKING:
    from PIL import Image

    from hf_fracture.explain.localization import LocalizationScore
    from hf_fracture.inference.classifier import FractureClassifier

ATTRIBUTION_NAME = "attribution.json"
FIGURES = ("peak_in_region", "mass_in_region")


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "explain-eval",
        help="Score a model's heatmaps against marked fractures",
        description="Score a model's heatmaps on the fractured films of one split that carry boxes. Writes "
        "OUT/attribution.json; prints a table.",
    )
    parser.add_argument("model", metavar="MODEL", help="model folder or Hub id")
    parser.add_argument("dataset", metavar="DATASET", help="prepared folder or Hub id")
    parser.add_argument("--method", default="grad_cam", metavar="M[,M...]", help="methods (default: grad_cam)")
    parser.add_argument("--split", default="test", help="split that is measured (default: test)")
    parser.add_argument(
        "--scale-split", default="validation", metavar="NAME", help="split from which the colour scale is taken"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for attribution.json")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier attribution.json in OUT")
    parser.add_argument("--record", action="store_true", help="also keep attribution.json in the model folder")
    parser.add_argument("--revision", metavar="R", help="branch, tag or commit of a Hub model")


def run(args: argparse.Namespace) -> int:
    """Score, write and print.

    Raises:
        OutputExistsError: If OUT/attribution.json exists and `--overwrite` was not given.
        UsageError: If a method is unknown, or `--record` is given for a model that is no folder.
        EvaluationError: If no fractured film carries a box.
    """
    from hf_fracture.evaluation.films import load_splits, select_split
    from hf_fracture.explain.attribution import check_method
    from hf_fracture.inference.classifier import FractureClassifier
    from hf_fracture.models.checkpoint import write_json

    path = args.out / ATTRIBUTION_NAME
    if path.exists() and not args.overwrite:
        raise OutputExistsError(f"'{path}' exists. Choose another --out, or pass --overwrite.")
    if args.record and not Path(args.model).is_dir():
        raise UsageError(f"--record needs a model folder to write to, got '{args.model}'.")
    methods = [name.strip() for name in args.method.split(",")]
    for method in methods:
        check_method(method)
    splits = load_splits(args.dataset)
    classifier = FractureClassifier.from_pretrained(args.model, revision=args.revision)
    content = {
        "dataset": Path(args.dataset).resolve().name,
        "split": args.split,
        "model_sha256": _hash_model(args.model, args.revision),
        **measure_maps(
            classifier,
            marked_films(select_split(splits, args.split)),
            scale_films=marked_films(select_split(splits, args.scale_split)),
            methods=methods,
        ),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    for folder in (args.out, *([Path(args.model)] if args.record else [])):
        write_json(folder / ATTRIBUTION_NAME, content)
    sys.stdout.write(render_table(content))
    return 0


def marked_films(rows: Any) -> list[dict[str, Any]]:
    """Return the fractured films of a split that carry boxes.

    Raises:
        EvaluationError: If there is none.
    """
    from hf_fracture.labels import FRACTURED

    table = rows.select_columns(["label", "boxes"])
    kept = [index for index, row in enumerate(table) if row["label"] == FRACTURED and row["boxes"]]
    if not kept:
        raise EvaluationError("Expected fractured films with boxes to score maps on, found none in this split.")
    return list(rows.select(kept).select_columns(["image", "boxes", "group_id"]))


def measure_maps(
    classifier: "FractureClassifier",
    films: Sequence[Mapping[str, Any]],
    *,
    scale_films: Sequence[Mapping[str, Any]],
    methods: Sequence[str],
) -> dict[str, Any]:
    """Score each method and both baselines.

    Args:
        classifier: Model whose maps are scored; its balanced operating point says what counts as detected.
        films: Rows with `image`, `boxes` and `group_id`; the figures come from these.
        scale_films: Rows of another split; the colour scale of each method is the median peak of the maps of its
            detected fractures.
        methods: Names of attribution methods.

    Returns:
        `num_films`, `num_detected`, `region_fraction`, `methods` and `baselines`; each figure with its interval, on
        all films and, under `…_if_detected`, on those that the model calls fractured.
    """
    from hf_fracture.explain.localization import centre_map, edge_map, score_map

    threshold = _detection_threshold(classifier)
    groups = np.array([row["group_id"] for row in films])
    detected = np.array([_probability(classifier, row) >= threshold for row in films])
    scale_detected = [row for row in scale_films if _probability(classifier, row) >= threshold]

    def summarize(maps: Callable[["Image.Image"], NDArray[np.floating]], name: str) -> dict[str, Any]:
        scores = [score_map(maps(row["image"]), row["boxes"]) for row in _with_progress(films, name)]
        return {**_estimate(scores, groups), **_rename(_estimate(scores, groups, detected), "if_detected")}

    measured = {}
    for method in methods:
        peaks = [
            float(classifier.explain(row["image"], method=method).values.max())  # type: ignore[arg-type]
            for row in _with_progress(scale_detected, f"{method}, scale")
        ]
        measured[method] = {
            "full_scale": float(np.median(peaks)) if peaks else 0.0,
            **summarize(lambda film, m=method: classifier.explain(film, method=m).values, method),  # type: ignore[misc]
        }
    baselines = {
        "centre": summarize(lambda film: centre_map(*film.size), "centre"),
        "edges": summarize(edge_map, "edges"),
    }
    areas = [score_map(centre_map(*row["image"].size), row["boxes"]).region_fraction for row in films]
    return {
        "num_films": len(films),
        "num_detected": int(detected.sum()),
        "detection_threshold": threshold,
        "region_fraction": float(np.mean(areas)),
        "methods": measured,
        "baselines": baselines,
    }


def render_table(content: Mapping[str, Any]) -> str:
    """Return the figures as lines of text."""
    lines = [f"{content['num_films']} marked fractures of {content['dataset']} {content['split']}\n"]
    lines += [
        f"  {name:22} peak in region {_interval(row['peak_in_region'])}, of the {content['num_detected']} detected "
        f"{_interval(row['peak_in_region_if_detected'])}, mass in region {_interval(row['mass_in_region'])}\n"
        for name, row in {**content["methods"], **content["baselines"]}.items()
    ]
    return "".join(lines)


def _interval(figure: Mapping[str, Any]) -> str:
    if figure["value"] is None:
        return "unknown"
    if figure["lower"] is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} [{figure['lower']:.3f}, {figure['upper']:.3f}]"


def _detection_threshold(classifier: "FractureClassifier") -> float:
    return classifier.record.operating_points["balanced"].threshold if classifier.record else 0.5


def _probability(classifier: "FractureClassifier", row: Mapping[str, Any]) -> float:
    finding = classifier.predict(row["image"])
    return finding.probability if finding.probability is not None else 0.0


def _estimate(
    scores: Sequence["LocalizationScore"], groups: NDArray[np.str_], kept: NDArray[np.bool_] | None = None
) -> dict[str, Any]:
    """Return each figure's mean with its interval over groups."""
    from hf_fracture.evaluation.bootstrap import bootstrap, estimate

    chosen = np.ones(len(scores), dtype=np.bool_) if kept is None else kept
    result: dict[str, dict[str, float | str | None]] = {}
    for name in FIGURES:
        values = np.array([getattr(score, name) for score in scores])[chosen]
        if not len(values):
            result[name] = {"value": None, "lower": None, "upper": None, "method": "none"}
            continue
        resampled = bootstrap(
            lambda weights, v=values: {"mean": (weights @ v) / weights.sum(axis=-1)},  # type: ignore[misc]
            groups[chosen],
        )["mean"]
        num_groups = len(np.unique(groups[chosen])) if name == "peak_in_region" else None
        result[name] = estimate(float(values.mean()), resampled, num_exact_groups=num_groups).to_dict()
    return result


def _rename(figures: Mapping[str, Any], suffix: str) -> dict[str, Any]:
    return {f"{name}_{suffix}": value for name, value in figures.items()}


def _with_progress(films: Sequence[Mapping[str, Any]], name: str) -> Iterator[Mapping[str, Any]]:
    from tqdm import tqdm

    yield from tqdm(films, desc=name, unit="film", file=sys.stderr)


def _hash_model(model: str, revision: str | None) -> str:
    from hf_fracture.evaluation.measured_model import hash_weights
    from hf_fracture.models.checkpoint import resolve_model_dir

    return hash_weights(resolve_model_dir(model, revision=revision))
