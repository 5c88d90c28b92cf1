"""Put a model that was trained again beside the shipped one, in scripts/results/reproduction.json.

    python scripts/compare_release.py MODEL_DIR [--smoke FILE]

Called by scripts/reproduce_release.sh. Each call adds the column of one seed (of `run.json`) and computes the spread
again: mean and standard deviation of all runs, and with two seeds or more the interval in which one further run falls
in 95 % of cases, by Student's t around the mean of the seeds trained again. `--smoke` writes to FILE what came out of a
run that is not the release's recipe.
"""

import argparse
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields as fields_of
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Final

from hf_fracture.config import RecipeConfig
from hf_fracture.evaluation.artifacts import write_text
from hf_fracture.models.checkpoint import DEFAULT_MODEL_DIR, read_json

RESULT: Final = Path(__file__).resolve().parent / "results" / "reproduction.json"
METRICS: Final = {"auroc": "AUROC", "average_precision": "average precision", "brier_score": "Brier score"}
START: Final = ("backbone", "backbone_revision", "num_stages")  # the same three stages come from several places
SMOKE_NOTE: Final = "A smoke run shows that the chain works. It is not the release's recipe, nor are these its figures."


def main() -> None:
    """Compare, keep and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL_DIR")
    parser.add_argument("--smoke", type=Path, metavar="FILE", help="the run is none of the release; write to FILE")
    args = parser.parse_args()
    check_comparable(args.model, smoke=args.smoke is not None)
    out = args.smoke or RESULT
    kept = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
    content = add_run(kept, args.model)
    text = json.dumps({"note": SMOKE_NOTE, **content} if args.smoke else content, indent=1) + "\n"
    write_text(out, text)
    print(text, end="")


def check_comparable(model: Path, *, smoke: bool) -> None:
    """Refuse figures of other films, and unless it is a smoke run, of another recipe."""
    shipped, again = (read_json(folder / "evaluation.json") for folder in (DEFAULT_MODEL_DIR, model))
    if shipped["dataset"] != again["dataset"]:
        raise SystemExit(f"Expected both to be measured on the same films, got {again['dataset']}. Prepare them again.")
    differences = sorted(set(list_settings(DEFAULT_MODEL_DIR)) ^ set(list_settings(model)))
    if differences and not smoke:
        raise SystemExit(f"Expected the recipe of the shipped model, got another: {differences}. Train it again.")


def list_settings(model: Path) -> list[str]:
    """Return what must agree between runs: every field but the seed and the place of the same weights.

    A field that did not exist yet when a model was trained has its default.
    """
    run = read_json(model / "run.json")
    defaults = {field.name: field.default for field in fields_of(RecipeConfig)}
    fields = {**defaults, **run["recipe"], **run["training_arguments"]}
    return [f"{name} {value}" for name, value in fields.items() if name not in (*START, "seed")]


def add_run(kept: Mapping[str, Any], model: Path) -> dict[str, Any]:
    """Return facts and figures of the shipped model and the runs beside it, those of one more run among them.

    Args:
        kept: What the runs before left; forgotten if it belongs to another shipped model.
        model: Folder of the new run.
    """
    shipped, again = describe_run(DEFAULT_MODEL_DIR), describe_run(model)
    if kept.get("runs", {}).get("shipped") != shipped:
        kept = {"runs": {}, "figures": []}
    name = f"seed {again['seed']}"
    before = {row["figure"]: row for row in kept["figures"]}
    measured, rows = read_figures(model), []
    for figure, estimate in read_figures(DEFAULT_MODEL_DIR).items():
        columns = {key: value for key, value in before.get(figure, {}).items() if key.startswith("seed ")}
        columns[name] = measured[figure]
        rows.append({"figure": figure, "shipped": estimate, **columns, **describe_spread(estimate, columns.values())})
    return {"runs": {**kept["runs"], "shipped": shipped, name: again}, "figures": rows}


def describe_run(model: Path) -> dict[str, Any]:
    """Return the facts of one run."""
    run = read_json(model / "run.json")
    return {
        "seed": run["training_arguments"]["seed"],
        "weights": str(read_json(model / "evaluation.json")["model"]["sha256"])[:12],
        "start": run["recipe"]["backbone"],
        "training_minutes": round(run["seconds"] / 60, 1),
        "torch": run["versions"]["torch"],
    }


def read_figures(model: Path) -> dict[str, dict[str, float]]:
    """Return the figures on the test split that the card of a model leads with."""
    evaluation, attribution = (read_json(model / f"{name}.json") for name in ("evaluation", "attribution"))
    figures = {title: evaluation["metrics"][name] for name, title in METRICS.items()}
    for name, point in evaluation["operating_points"]["points"].items():
        for rate in ("sensitivity", "specificity"):
            figures[f"{rate}, {name.replace('_', '-')}"] = point["metrics"][rate]
    figures["map: peak in region"] = attribution["methods"]["grad_cam"]["peak_in_region"]
    return figures


def describe_spread(shipped: Mapping[str, float], again: Iterable[Mapping[str, float]]) -> dict[str, Any]:
    """Say where the shipped figure lies among those of the seeds trained again.

    >>> describe_spread({"value": 0.92}, [{"value": 0.90}, {"value": 0.92}, {"value": 0.94}])["within the spread"]
    True
    >>> describe_spread({"value": 0.92}, [{"value": 0.90}])["within the spread"]
    'needs two seeds'
    """
    from scipy.stats import t

    values = [estimate["value"] for estimate in again]
    every = [shipped["value"], *values]
    row: dict[str, Any] = {
        "mean of all": round(fmean(every), 4),
        "standard deviation of all": round(stdev(every), 4),
        "shipped minus mean of the others": round(shipped["value"] - fmean(values), 4),
    }
    if len(values) < 2:
        return {**row, "within the spread": "needs two seeds"}
    half = float(t.ppf(0.975, len(values) - 1)) * stdev(values) * sqrt(1 + 1 / len(values))
    within = abs(shipped["value"] - fmean(values)) <= half
    return {**row, "a further run, 95 %, +-": round(half, 4), "within the spread": within}


if __name__ == "__main__":
    main()
