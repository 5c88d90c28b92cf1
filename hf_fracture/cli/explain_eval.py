"""`hf-fracture explain-eval`: the scorecard of a model's heatmaps, against marked fractures and two baselines.

What it writes, `attribution.json` (an *estimate* is `{"value", "lower", "upper", "method"}`, as in `evaluation.json`;
"detected" are the films that the model calls fractured at its balanced operating point):

* `dataset`, `split`, `scale_split`, `model_sha256`; `num_films` (fractured films with boxes), `num_detected`,
  `detection_threshold`, `region_fraction` (mean share of a film that is marked: what a map without knowledge gets).
* `methods` {name: row} and `baselines` {`centre`, `edges`: row}. A row holds estimates on all films and, with the
  suffix `_if_detected`, on the detected ones: `peak_in_region` (pointing game), `mass_in_region` (share of the positive
  map that lies in a region), `iou` (of the map cut at `iou_threshold_fraction` of its peak). Thresholds and
  `full_scale` (the value drawn in full colour) are chosen on `scale_split`. A method's row also has `beats_baselines`
  (its peak hits more often than either baseline's, if detected, by intervals that do not overlap), `sentence` (for the
  page), and `candidate`: `is_supported` (equal to `beats_baselines`), `threshold_fraction`, and on the detected films
  the estimates `iou` (of the box with the best marked one), `centre_in_region`, `touches_region`.
* `groups`: list of {`column` (`body_part`, `box_size`), `value`, `num_films`, `num_detected`, `methods` {name:
  estimates as above on all films} or null where there are fewer than 10 films}.
* `checks` {method: row}, on `num_films` of the detected films: `randomisation`, a list of {`layers`, `similarity`
  (estimate of |Spearman| with the trained network's map, mean of three shuffles; it has to fall)}; `repeatability`
  {`similarity_over_seeds`, `similarity_over_shifts`, `peak_moved_fraction` of the film's long side}; `deletion` and
  `insertion`, each {`area` (under the probability while tiles are blurred, or shown again, strongest first),
  `area_random`, `difference`: estimates; `curve`, `curve_random`: means at equal steps}; `infidelity` {`value`,
  `of_no_map`: estimates in squared logits}; `max_sensitivity` (estimate); `completeness_gap_logits` (estimate or
  null); `seconds_per_map`.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_fracture.cli.explain_figures import (
    CANDIDATE_FIGURES,
    FIGURES,
    MIN_FILMS_PER_GROUP,
    Film,
    Mapper,
    choose_thresholds,
    estimate_means,
    is_beaten,
    list_groups,
    score_film,
    write_sentence,
)
from hf_fracture.errors import EvaluationError, OutputExistsError, UsageError
from hf_fracture.outputs import holding

if TYPE_CHECKING:
    from PIL import Image

    from hf_fracture.explain.methods import Method
    from hf_fracture.inference.classifier import FractureClassifier

ATTRIBUTION_NAME = "attribution.json"
NUM_CHECKED_FILMS = 24
DETECTED = "if_detected"


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "explain-eval",
        help="Score a model's heatmaps against marked fractures",
        description="Score a model's heatmaps on the fractured films of one split that carry boxes: where they point, "
        "whether they depend on what the network learned, and whether its answer depends on what they mark. Writes "
        "OUT/attribution.json and plots (PNG, SVG); prints a table. About five minutes for grad_cam on two cores.",
    )
    parser.add_argument("model", metavar="MODEL", help="model folder or Hub id")
    parser.add_argument("dataset", metavar="DATASET", help="prepared folder or Hub id")
    parser.add_argument("--method", default="grad_cam", metavar="M[,M...]", help="methods (default: grad_cam)")
    parser.add_argument("--split", default="test", help="split that is measured (default: test)")
    parser.add_argument(
        "--scale-split",
        default="validation",
        metavar="NAME",
        help="split from which the colour scale and the maps' thresholds are taken (default: validation)",
    )
    parser.add_argument(
        "--num_films",
        "--num-films",
        type=int,
        default=NUM_CHECKED_FILMS,
        metavar="N",
        help="detected films for the costly checks, each worth about 100 passes of the network; 0 leaves them out "
        f"(default: {NUM_CHECKED_FILMS})",
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for attribution.json and plots")
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
    with holding(args.out):
        return _score(args)


def _score(args: argparse.Namespace) -> int:
    from hf_fracture.evaluation.films import load_splits, select_split
    from hf_fracture.explain.attribution import check_method
    from hf_fracture.inference.classifier import FractureClassifier
    from hf_fracture.models.checkpoint import write_json

    path = args.out / ATTRIBUTION_NAME
    if path.exists() and not args.overwrite:
        raise OutputExistsError(f"'{path}' exists. Choose another --out, or pass --overwrite.")
    if args.record and not Path(args.model).is_dir():
        raise UsageError(f"--record needs a model folder to write to, got '{args.model}'.")
    if args.num_films < 0:
        raise UsageError(f"--num_films must be 0 or more, got {args.num_films}. 0 leaves the costly checks out.")
    methods: list[Any] = [name.strip() for name in args.method.split(",")]
    for method in methods:
        check_method(method)
    splits = load_splits(args.dataset)
    films = marked_films(select_split(splits, args.split))
    scale_films = marked_films(select_split(splits, args.scale_split))
    classifier = FractureClassifier.from_pretrained(args.model, revision=args.revision)
    where = {"dataset": Path(args.dataset).resolve().name, "split": args.split, "scale_split": args.scale_split}
    figures = measure_maps(classifier, films, scale_films=scale_films, methods=methods, where=where)
    content = {
        **where,
        "model_sha256": _hash_model(args.model, args.revision),
        **figures,
        "checks": _check_maps(classifier, films, methods, args.num_films) if args.num_films else {},
    }
    args.out.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # written last: where it lies, everything is of one run
    _write_plots(content, args.out)
    for folder in (*([Path(args.model)] if args.record else []), args.out):
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
    known = [name for name in ("image", "boxes", "group_id", "body_part") if name in rows.column_names]
    return list(rows.select(kept).select_columns(known))


def measure_maps(
    classifier: "FractureClassifier",
    films: Sequence[Film],
    *,
    scale_films: Sequence[Film],
    methods: "Sequence[Method]",
    where: Mapping[str, str],
) -> dict[str, Any]:
    """Measure where each method and both baselines point.

    Args:
        classifier: Model whose maps are scored; its balanced operating point says what counts as detected.
        films: Rows with `image`, `boxes` and `group_id`; the figures come from these.
        scale_films: Rows of another split; thresholds and colour scale come from its detected films.
        methods: Names of attribution methods.
        where: `dataset` and `split`, for the sentence.

    Returns:
        The keys of `attribution.json` from `num_films` to `groups`; see the top of this module.
    """
    from hf_fracture.explain.localization import centre_map, edge_map

    threshold = _detection_threshold(classifier)
    detected = np.array([_probability(classifier, row) >= threshold for row in films])
    scale_detected = [row for row in scale_films if _probability(classifier, row) >= threshold]
    mappers: dict[str, Mapper] = {method: _explain_with(classifier, method) for method in methods}
    mappers |= {"centre": lambda film: centre_map(*film.size), "edges": edge_map}
    scores: dict[str, list[dict[str, float]]] = {}
    rows: dict[str, dict[str, Any]] = {}
    for name, mapper in mappers.items():
        cuts = choose_thresholds(mapper, _with_progress(scale_detected, f"{name}, scale"))
        scores[name] = [score_film(mapper(row["image"]), row, cuts) for row in _with_progress(films, name)]
        rows[name] = {"iou_threshold_fraction": cuts.iou, **_summarise(scores[name], films, detected)}
        if name in methods:
            rows[name]["full_scale"] = cuts.full_scale
            rows[name]["candidate"] = {"threshold_fraction": cuts.candidate}
    baselines = {name: row for name, row in rows.items() if name not in methods}
    cohort = f"{int(detected.sum())} detected {where['split']} fractures of {where['dataset']}"
    for method in methods:
        row = rows[method]
        row["beats_baselines"] = is_beaten(row, baselines)
        row["sentence"] = write_sentence(row, baselines, cohort)
        row["candidate"] |= {
            "is_supported": row["beats_baselines"],
            **_summarise_candidate(scores[method], films, detected),
        }
    return {
        "num_films": len(films),
        "num_detected": int(detected.sum()),
        "detection_threshold": threshold,
        "region_fraction": float(np.mean([score["region_fraction"] for score in scores["centre"]])),
        "methods": {method: rows[method] for method in methods},
        "baselines": baselines,
        "groups": _summarise_groups({method: scores[method] for method in methods}, films, detected),
    }


def render_table(content: Mapping[str, Any]) -> str:
    """Return the figures as lines of text."""
    lines = [f"{content['num_films']} marked fractures of {content['dataset']} {content['split']}\n"]
    lines += [
        f"  {name:22} peak in region {_interval(row['peak_in_region'])}, of the {content['num_detected']} detected "
        f"{_interval(row['peak_in_region_if_detected'])}, mass in region {_interval(row['mass_in_region'])}\n"
        for name, row in {**content["methods"], **content["baselines"]}.items()
    ]
    for method, row in content.get("checks", {}).items():
        lines.append(
            f"  {method:22} on {row['num_films']} detected films: similarity after randomising the head "
            f"{_interval(row['randomisation'][0]['similarity'])}, after a shift "
            f"{_interval(row['repeatability']['similarity_over_shifts'])}; against random order deletion "
            f"{_interval(row['deletion']['difference'])}, insertion {_interval(row['insertion']['difference'])}\n"
        )
    return "".join(lines)


def _explain_with(classifier: "FractureClassifier", method: "Method") -> Mapper:
    def explain(film: "Image.Image") -> Any:
        return classifier.explain(film, method=method).values

    return explain


def _summarise(scores: Sequence[Mapping[str, float]], films: Sequence[Film], detected: Any) -> dict[str, Any]:
    """Return every figure's mean, on all films and on the detected ones."""
    kept = np.flatnonzero(detected).tolist()
    groups = [row["group_id"] for row in films]
    return {
        **estimate_means(scores, FIGURES, groups),
        **_rename(estimate_means([scores[i] for i in kept], FIGURES, [groups[i] for i in kept]), DETECTED),
    }


def _summarise_candidate(scores: Sequence[Mapping[str, float]], films: Sequence[Film], detected: Any) -> dict[str, Any]:
    kept = np.flatnonzero(detected).tolist()
    found = estimate_means([scores[i] for i in kept], CANDIDATE_FIGURES, [films[i]["group_id"] for i in kept])
    return {name.removeprefix("candidate_"): value for name, value in found.items()}


def _summarise_groups(
    scores: Mapping[str, Sequence[Mapping[str, float]]], films: Sequence[Film], detected: Any
) -> list[dict[str, Any]]:
    return [
        {
            "column": column,
            "value": value,
            "num_films": len(places),
            "num_detected": int(detected[places].sum()),
            "methods": None
            if len(places) < MIN_FILMS_PER_GROUP
            else {
                method: estimate_means([rows[i] for i in places], FIGURES, [films[i]["group_id"] for i in places])
                for method, rows in scores.items()
            },
        }
        for column, value, places in list_groups(films)
    ]


def _check_maps(
    classifier: "FractureClassifier", films: Sequence[Film], methods: "Sequence[Method]", num_films: int
) -> dict[str, Any]:
    """Run the costly checks on some of the detected films; nothing where none was detected."""
    from hf_fracture.cli.explain_checks import choose_films, measure_checks
    from hf_fracture.inference.decision import find_fractured_index
    from hf_fracture.models.checkpoint import load_model, read_json, read_preprocessing

    threshold = _detection_threshold(classifier)
    chosen = choose_films([row for row in films if _probability(classifier, row) >= threshold], num_films)
    if not chosen:
        return {}
    folder = classifier.model_dir
    model, preprocessing = load_model(folder), read_preprocessing(folder)
    target = find_fractured_index(read_json(folder / "config.json")["id2label"])
    return {method: measure_checks(model, preprocessing, chosen, method=method, target=target) for method in methods}


def _write_plots(content: Mapping[str, Any], out_dir: Path) -> None:
    """Write each plot as PNG and SVG."""
    from hf_fracture.evaluation.artifacts import replacing
    from hf_fracture.explain.plots import draw_plots

    for name, figure in draw_plots(content):
        for suffix in (".png", ".svg"):
            with replacing(out_dir / f"{name}{suffix}") as partial:
                figure.savefig(partial, bbox_inches="tight", metadata={"Date": None} if suffix == ".svg" else None)


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


def _rename(figures: Mapping[str, Any], suffix: str) -> dict[str, Any]:
    return {f"{name}_{suffix}": value for name, value in figures.items()}


def _with_progress(films: Sequence[Film], name: str) -> Any:
    from tqdm import tqdm

    return tqdm(films, desc=name, unit="film", file=sys.stderr)


def _hash_model(model: str, revision: str | None) -> str:
    from hf_fracture.evaluation.measured_model import hash_weights
    from hf_fracture.models.checkpoint import resolve_model_dir

    return hash_weights(resolve_model_dir(model, revision=revision))
