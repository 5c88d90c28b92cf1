"""Is an `evaluation.json` whole: every key there, every figure a number inside its interval.

The keys are those that `report` describes. May depend on `errors`, `labels`, `metrics`, `report`,
`selective` and `shortcuts`.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from hf_fracture.errors import ModelFolderError
from hf_fracture.evaluation.metrics import PREVALENCES
from hf_fracture.evaluation.report import COVERAGES, POINT_FIGURES, SCHEMA_VERSION
from hf_fracture.evaluation.selective import SELECTIVE_FIGURES
from hf_fracture.evaluation.shortcuts import FRAME_FEATURES
from hf_fracture.labels import OPERATING_POINT_NAMES

METHODS: Final = ("expanded_percentile", "percentile", "wilson", "exact", "wald", "none")
"""Those of `bootstrap.Estimate`, and `percentile`: not widened, of films that were answered before that was done."""

_Spec = Any  # a type, a tuple of types, "estimate", [spec of each item], {key: spec}, or (None, spec): null or spec
_NUMBER: Final = (int, float)
_FIGURE: Final = "estimate"


def _figures(*names: str) -> dict[str, _Spec]:
    return dict.fromkeys(names, _FIGURE)


_CALIBRATION: Final[dict[str, _Spec]] = {
    **dict.fromkeys(("brier_score", "log_loss", "expected_calibration_error"), _NUMBER),
    **_figures("slope", "intercept"),
    "bins": [dict.fromkeys(("num_films", "mean_probability", "fractured_fraction"), _NUMBER)],
}
_EFFECT: Final[dict[str, _Spec]] = {
    "name": str,
    **_figures("auroc", "auroc_change", "flipped_fraction"),
    "mean_probability_shift": _NUMBER,
}
_POINT: Final[dict[str, _Spec]] = {
    **dict.fromkeys(("threshold", "chosen_sensitivity", "chosen_specificity"), _NUMBER),
    "confusion": dict.fromkeys(("true_positives", "false_positives", "false_negatives", "true_negatives"), int),
    "metrics": _figures(*POINT_FIGURES),
    "predictive_values": [{"prevalence": _NUMBER, **_figures("ppv", "npv")}],
}
_RATE: Final[dict[str, _Spec]] = {"num_groups": int, "num_beyond": int, "bound": _NUMBER}
_SPEC: Final[dict[str, _Spec]] = {
    "schema_version": int,
    "kind": str,
    "model": {"name": str, "sha256": str, "trained_on": (None, [str])},
    "dataset": {
        **dict.fromkeys(("name", "split", "content_sha256", "split_sha256"), str),
        "revision": (None, str),
        "num_leaked_films": int,
        "used_in_development": bool,
    },
    "software": dict,
    "bootstrap": {"num_resamples": int, "seed": int, "confidence_level": _NUMBER, "unit": str},
    "cohort": {"num_films": int, "num_groups": int, "num_fractured": int, "prevalence": _NUMBER},
    "metrics": _figures("auroc", "average_precision", "log_loss", "brier_score"),
    "operating_points": {
        "chosen_on": str,
        "points": dict.fromkeys(OPERATING_POINT_NAMES, _POINT),
    },
    "calibration": {
        "temperature": (None, _NUMBER),
        "shift": (None, _NUMBER),
        "in_model": bool,
        "num_bins": int,
        "before": _CALIBRATION,
        "after": (None, _CALIBRATION),
    },
    "selective": {
        "screening": _NUMBER,
        "rule_in": _NUMBER,
        "guarantee": (
            None,
            {
                "confidence_level": _NUMBER,
                "missed": _RATE,
                "false_alarms": _RATE,
                "controlled": [
                    {"max_fraction": _NUMBER, "screening": (None, _NUMBER), "rule_in": (None, _NUMBER)},
                ],
                "warnings": [str],
            },
        ),
        "metrics": _figures(*SELECTIVE_FIGURES),
        "risk_coverage_area": _NUMBER,
        "risk_at_coverage": [{"coverage": _NUMBER, "risk": _NUMBER}],
    },
    "subgroups": {
        "operating_point": str,
        "min_films_per_class": int,
        "rows": [
            {
                "column": str,
                "value": str,
                **dict.fromkeys(("num_films", "num_groups", "num_fractured"), int),
                "too_few": bool,
                **dict.fromkeys(("auroc", "sensitivity", "specificity"), (None, _FIGURE)),
            }
        ],
    },
    "shortcuts": (
        None,
        {
            "frame": (
                None,
                {
                    "auroc": _FIGURE,
                    "num_training_films": int,
                    "above_limit": bool,
                    "importances": dict.fromkeys(FRAME_FEATURES, _NUMBER),
                },
            ),
            "blanked_body": (None, _EFFECT),
            "masked_marks": (None, _EFFECT),
        },
    ),
    "robustness": (None, [_EFFECT]),
}


def check_evaluation(content: Mapping[str, Any]) -> None:
    """Refuse an `evaluation.json` of a classifier of fractures that is not whole.

    Args:
        content: Of the file.

    Raises:
        ModelFolderError: Naming the first key that is missing or holds something else than the schema says.
    """
    version = content.get("schema_version")
    if version != SCHEMA_VERSION:
        raise ModelFolderError(
            f"Expected evaluation.json of schema {SCHEMA_VERSION}, got {version}. Run hf-fracture evaluate again."
        )
    problem = _find_problem(content, _SPEC, "") or _find_missing_row(content)
    if problem is not None:
        raise ModelFolderError(
            f"Expected evaluation.json to follow schema {SCHEMA_VERSION}, but {problem}. Run hf-fracture evaluate "
            "again."
        )


def _find_problem(value: Any, spec: _Spec, path: str) -> str | None:
    """Return what is wrong at or below a path, or None."""
    if isinstance(spec, tuple) and spec[0] is None:
        return None if value is None else _find_problem(value, spec[1], path)
    if isinstance(spec, dict):
        return _find_in_object(value, spec, path)
    if isinstance(spec, list):
        if not isinstance(value, list):
            return f"{path} is no list"
        found = (_find_problem(item, spec[0], f"{path}[{i}]") for i, item in enumerate(value))
        return next((problem for problem in found if problem), None)
    if spec == _FIGURE:
        return _find_in_figure(value, path)
    return _find_in_leaf(value, spec, path)


def _find_missing_row(content: Mapping[str, Any]) -> str | None:
    """Return which list has another number of rows than it should, or None."""
    calibration, num_films = content["calibration"], content["cohort"]["num_films"]
    wanted = {"/selective/risk_at_coverage": (content["selective"]["risk_at_coverage"], len(COVERAGES))}
    for state in ("before", "after"):
        if calibration[state] is not None:
            wanted[f"/calibration/{state}/bins"] = calibration[state]["bins"], min(calibration["num_bins"], num_films)
    for name, point in content["operating_points"]["points"].items():
        wanted[f"/operating_points/points/{name}/predictive_values"] = point["predictive_values"], len(PREVALENCES)
    found = (f"{path} has {len(rows)} rows in place of {n}" for path, (rows, n) in wanted.items() if len(rows) != n)
    return next(found, None)


def _find_in_object(value: Any, spec: Mapping[str, _Spec], path: str) -> str | None:
    if not isinstance(value, Mapping):
        return f"{path or 'the file'} is no object"
    for key, part in spec.items():
        where = f"{path}/{key}"
        if key not in value:
            return f"{where} is missing"
        problem = _find_problem(value[key], part, where)
        if problem:
            return problem
    return None


def _find_in_figure(value: Any, path: str) -> str | None:
    if not isinstance(value, Mapping) or set(value) != {"value", "lower", "upper", "method"}:
        return f"{path} is no figure with value, lower, upper and method"
    numbers = [value[key] for key in ("lower", "value", "upper")]
    known = [number for number in numbers if number is not None]
    if value["method"] not in METHODS or any(_find_in_leaf(number, _NUMBER, path) for number in known):
        return f"{path} holds something else than numbers and a known method"
    if (value["value"] is None and known) or known != sorted(known):
        return f"{path} lies outside its interval"
    return None


def _find_in_leaf(value: Any, spec: _Spec, path: str) -> str | None:
    if not isinstance(value, spec) or (isinstance(value, bool) and spec is not bool):
        return f"{path} holds {value!r}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{path} is not finite"
    return None
