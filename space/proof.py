"""The evidence tab: every measured figure of a model as a plot with words, the leaks of a quoted split, the limits.

Every figure comes from the model folder's own files (`evaluation.json`, `attribution.json`, `gate.json`,
`export.json`) or from `figures.json` beside this module, which `scripts/build_page_figures.py` writes. May depend on
`plots`, `panels`, `texts` and `hf_fracture.inference`.
"""

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any, Final

import texts
from hf_fracture.inference.classifier import FractureClassifier
from panels import MIXED, format_share, name_method
from plots import Strip, render_reliability, render_shares, render_strips

FIGURES_PATH: Final = Path(__file__).resolve().parent / "figures.json"
AUROC_AXIS: Final = (0.5, 1.0)
SHARE_AXIS: Final = (0.0, 1.0)


def render_proof(classifier: FractureClassifier) -> str:
    """Return the tab's panels about one model; a model without measurements gets one sentence instead."""
    evaluation = classifier.evaluation
    if evaluation is None:
        return _sheet(texts.PROOF_TITLE, f"<p>{texts.EVIDENCE_NONE}</p>")
    panels = (
        (texts.PROOF_TITLE, _render_headline(evaluation)),
        (texts.CALIBRATION_TITLE, _render_calibration(evaluation)),
        (texts.GROUPS_TITLE, _render_groups(evaluation)),
        (texts.COPIES_TITLE, _render_copies(evaluation)),
        (texts.SHORTCUTS_TITLE, _render_shortcuts(evaluation)),
        (texts.MAPS_TITLE, _render_maps(classifier.attribution_scores)),
        (texts.GATE_TITLE, _render_gate(_read(classifier, "gate.json"))),
        (texts.EXPORT_TITLE, _render_export(_read(classifier, "export.json"))),
    )
    return "".join(_sheet(title, content) for title, content in panels if content)


def render_leaks() -> str:
    """Return the picture of the leaks: the published split of a quoted dataset beside a clean one."""
    figures = _read_figures()
    if not figures:
        return ""
    bars, strips = [], []
    for row in figures["leaks"]["rows"]:
        words = texts.LEAK_WORDS.format(num_copied=row["num_copied"], num_films=row["num_films"])
        label = texts.LEAK_LABELS.get(row["protocol"], row["protocol"])
        bars.append(render_shares(label, row["num_copied"] / row["num_films"], words))
        strips.append(Strip(label, row["auroc"]))
    note = texts.LEAK_NOTE.format(dataset=escape(str(figures["leaks"]["dataset"])))
    plot = render_strips(strips, axis=AUROC_AXIS, too_few=texts.EVIDENCE_TOO_FEW)
    return _sheet(
        texts.LEAK_TITLE, f"<p>{note}</p>{''.join(bars)}<h3>{texts.LEAK_AUROC}</h3>{plot}<p>{texts.LEAK_MORAL}</p>"
    )


def render_limits() -> str:
    """Return the panel of limits."""
    return _sheet(texts.LIMITS_TITLE, f"<ul>{''.join(f'<li>{line}</li>' for line in texts.LIMITS)}</ul>")


def _sheet(title: str, content: str) -> str:
    return f"<section class='sheet'><h2>{title}</h2>{content}</section>"


def _render_headline(evaluation: Mapping[str, Any]) -> str:
    cohort = evaluation["cohort"]
    note = texts.PROOF_NOTE.format(
        num_films=f"{cohort['num_films']:,}",
        num_fractured=cohort["num_fractured"],
        dataset=escape(str(evaluation["dataset"]["name"])),
        split=escape(str(evaluation["dataset"]["split"])),
        num_leaked=evaluation["dataset"]["num_leaked_films"],
        resamples=f"{evaluation['bootstrap']['num_resamples']:,}",
    )
    rows = [Strip(texts.METRIC_NAMES[name], evaluation["metrics"].get(name)) for name in texts.METRIC_NAMES]
    rows += [
        Strip(f"{texts.POINT_NAMES.get(name, name)}: {texts.RATE_NAMES[rate]}", point["metrics"][rate])
        for name, point in evaluation["operating_points"]["points"].items()
        for rate in texts.RATE_NAMES
    ]
    return f"<p>{note}</p>{render_strips(rows, axis=SHARE_AXIS, too_few=texts.EVIDENCE_TOO_FEW)}"


def _render_calibration(evaluation: Mapping[str, Any]) -> str:
    calibration = (evaluation.get("calibration") or {}).get("after")
    if not calibration:
        return ""
    slope, error = calibration["slope"], calibration["expected_calibration_error"]
    figures = {"slope": slope["value"], "lower": slope["lower"], "upper": slope["upper"]}
    if None in figures.values():
        return ""
    words = texts.CALIBRATION_NOTE.format(
        error=f"{error:.3f}", **{name: f"{value:.2f}" for name, value in figures.items()}
    )
    plot = render_reliability(calibration["bins"], title=words, axes=texts.CALIBRATION_AXES)
    return (
        f"<div class='two'><div>{plot}</div><div><p>{words}</p><p class='soft'>{texts.CALIBRATION_HOW}</p></div></div>"
    )


def _render_groups(evaluation: Mapping[str, Any]) -> str:
    rows = (evaluation.get("subgroups") or {}).get("rows", [])
    parts = []
    for column in dict.fromkeys(row["column"] for row in rows):
        strips = [
            Strip(
                texts.MIXED_NAME if row["value"] == MIXED else str(row["value"]),
                row["auroc"],
                texts.GROUP_COUNT.format(num_films=row["num_films"], num_fractured=row["num_fractured"]),
            )
            for row in rows
            if row["column"] == column
        ]
        title = texts.COLUMN_NAMES.get(column, column.replace("_", " "))
        plot = render_strips(strips, axis=AUROC_AXIS, too_few=texts.EVIDENCE_TOO_FEW)
        parts.append(f"<h3>{escape(title)}</h3>{plot}")
    return f"<p>{texts.GROUPS_NOTE}</p>{''.join(parts)}" if parts else ""


def _render_copies(evaluation: Mapping[str, Any]) -> str:
    rows = evaluation.get("robustness") or []
    strips = [
        Strip(row["name"], row["auroc"], texts.FLIPPED.format(share=format_share(row["flipped_fraction"]["value"])))
        for row in rows
        if row["flipped_fraction"]["value"] is not None
    ]
    original = Strip(texts.AS_IT_IS, evaluation["metrics"]["auroc"])
    plot = render_strips([original, *strips], axis=AUROC_AXIS, too_few=texts.EVIDENCE_TOO_FEW)
    return f"<p>{texts.COPIES_NOTE}</p>{plot}" if rows else ""


def _render_shortcuts(evaluation: Mapping[str, Any]) -> str:
    shortcuts = evaluation.get("shortcuts")
    if not shortcuts:
        return ""
    strips = [Strip(texts.AS_IT_IS, evaluation["metrics"]["auroc"])]
    for name, label in texts.SHORTCUT_NAMES.items():
        if shortcuts.get(name):
            strips.append(Strip(label, shortcuts[name]["auroc"]))
    return f"<p>{texts.SHORTCUTS_NOTE}</p>{render_strips(strips, axis=AUROC_AXIS, too_few=texts.EVIDENCE_TOO_FEW)}"


def _render_maps(scores: Mapping[str, Any] | None) -> str:
    methods = (scores or {}).get("methods") or {}
    if not scores or not methods:
        return ""
    named = [(name_method(name), values) for name, values in methods.items()]
    named += [
        (texts.BASELINE_NAMES.get(name, name), values) for name, values in (scores.get("baselines") or {}).items()
    ]
    strips = [Strip(label, values.get("peak_in_region")) for label, values in named if isinstance(values, Mapping)]
    note = texts.MAPS_NOTE.format(
        num_films=scores["num_films"], region=format_share(scores.get("region_fraction") or 0.0)
    )
    return f"<p>{note}</p>{render_strips(strips, axis=SHARE_AXIS, too_few=texts.EVIDENCE_TOO_FEW, decimals=2)}"


def _render_gate(gate: Mapping[str, Any] | None) -> str:
    refusals = (gate or {}).get("refusals") or {}
    items = [
        texts.GATE_LINE.format(
            films=escape(texts.GATE_SETS.get(name, name.replace("_", " "))),
            num_refused=counts["num_refused"],
            num_films=counts["num_films"],
            share=format_share(counts["num_refused"] / max(counts["num_films"], 1)),
        )
        for name, counts in refusals.items()
        if isinstance(counts, Mapping) and "num_refused" in counts and "num_films" in counts
    ]
    return f"<p>{texts.GATE_NOTE}</p><ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>" if items else ""


def _render_export(export: Mapping[str, Any] | None) -> str:
    """Return the parity of the exported forms as measured, whatever figures the file holds."""
    lines = [
        f"<li>{escape(name.replace('_', ' '))}: <b>{value:.3g}</b></li>"
        for name, value in _flatten(export or {})
        if any(word in name for word in ("difference", "auroc"))
    ]
    return f"<p>{texts.EXPORT_NOTE}</p><ul>{''.join(lines)}</ul>" if lines else ""


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, float]]:
    """Yield every number of a nested dictionary with its path in words."""
    for name, value in tree.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{path}, ")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield path, float(value)


def _read(classifier: FractureClassifier, name: str) -> dict[str, Any] | None:
    path = classifier.model_dir / name
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


@lru_cache(maxsize=1)
def _read_figures() -> dict[str, Any]:
    if not FIGURES_PATH.is_file():
        return {}
    content: dict[str, Any] = json.loads(FIGURES_PATH.read_text(encoding="utf-8"))
    return content
