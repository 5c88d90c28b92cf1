"""The evidence tab: every measured figure of a model as a plot with words, the leaks of a quoted split, the limits.

Every figure comes from the model folder's own files (`evaluation.json`, `attribution.json`, `gate.json`,
`export.json`) or from `figures.json` beside this module, which `scripts/build_page_figures.py` writes. May depend on
`plots`, `panels`, `evidence`, `texts` and `hf_fracture.inference`.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any, Final

import texts
from evidence import name_dataset, read_elsewhere, read_measurement, render_table
from hf_fracture.inference.classifier import FractureClassifier
from panels import MIXED, format_share, name_method
from plots import Strip, render_reliability, render_shares, render_strips

FIGURES_PATH: Final = Path(__file__).resolve().parent / "figures.json"
AUROC_AXIS: Final = (0.5, 1.0)
SHARE_AXIS: Final = (0.0, 1.0)
NO_FILMS: Final = "no radiographs"  # how gate.json begins the names of what is to be refused


def render_proof(classifier: FractureClassifier) -> str:
    """Return the tab's panels about one model; a model without measurements gets one sentence instead."""
    evaluation = classifier.evaluation
    if evaluation is None:
        return _sheet(texts.PROOF_TITLE, f"<p>{texts.EVIDENCE_NONE}</p>")
    panels = (
        (texts.PROOF_TITLE, _render_headline(evaluation)),
        (texts.CALIBRATION_TITLE, _render_calibration(evaluation)),
        (texts.GROUPS_TITLE, _render_groups(evaluation)),
        (texts.ELSEWHERE_TITLE, _render_elsewhere(read_elsewhere(classifier))),
        (texts.COPIES_TITLE, _render_copies(evaluation)),
        (texts.SHORTCUTS_TITLE, _render_shortcuts(evaluation)),
        (texts.MAPS_TITLE, _render_maps(classifier.attribution_scores)),
        (texts.GATE_TITLE, _render_gate(read_measurement(classifier, "gate.json"))),
        (texts.EXPORT_TITLE, _render_export(read_measurement(classifier, "export.json"))),
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
    note = texts.LEAK_NOTE.format(dataset=escape(name_dataset(str(figures["leaks"]["dataset"]))))
    plot = render_strips(strips, axis=AUROC_AXIS, too_few=texts.EVIDENCE_TOO_FEW)
    return _sheet(
        texts.LEAK_TITLE, f"<p>{note}</p>{''.join(bars)}<h3>{texts.LEAK_AUROC}</h3>{plot}<p>{texts.LEAK_MORAL}</p>"
    )


def render_limits() -> str:
    """Return the panel of limits."""
    return _sheet(texts.LIMITS_TITLE, f"<ul>{''.join(f'<li>{line}</li>' for line in texts.LIMITS)}</ul>")


def _render_elsewhere(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return how the model does at home and on other collections of films."""
    strips = [
        Strip(
            name_dataset(row["tested_on"]),
            row["auroc"],
            texts.GROUP_COUNT.format(num_films=row["num_films"], num_fractured=row["num_fractured"]),
        )
        for row in rows
    ]
    plot = render_strips(strips, axis=AUROC_AXIS, too_few=texts.EVIDENCE_TOO_FEW)
    return f"<p>{texts.ELSEWHERE_NOTE}</p>{plot}" if rows else ""


def _sheet(title: str, content: str) -> str:
    return f"<section class='sheet'><h2>{title}</h2>{content}</section>"


def _render_headline(evaluation: Mapping[str, Any]) -> str:
    cohort = evaluation["cohort"]
    note = texts.PROOF_NOTE.format(
        num_films=f"{cohort['num_films']:,}",
        num_fractured=cohort["num_fractured"],
        dataset=escape(name_dataset(str(evaluation["dataset"]["name"]))),
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
    """Return how many pictures of each kind are refused: films first, where few should be, then what is no film."""
    refusals = (gate or {}).get("refusals") or {}
    bars: dict[bool, list[str]] = {True: [], False: []}
    for name, counts in refusals.items():
        if isinstance(counts, Mapping) and counts.get("num_films"):
            kind, colon, rest = name.partition(": ")
            label = texts.GATE_SETS.get(name, (rest if colon else kind).replace("_", " "))
            words = texts.GATE_WORDS.format(num_refused=counts["num_refused"], num_films=counts["num_films"])
            share = counts["num_refused"] / counts["num_films"]
            bars[not name.startswith(NO_FILMS)].append(render_shares(label, share, words, tone="quiet"))
    if not any(bars.values()):
        return ""
    films, others = (f"<h3>{title}</h3>{''.join(bars[is_film])}" for is_film, title in texts.GATE_TITLES.items())
    return f"<p>{texts.GATE_NOTE}</p>{films}{others}"


def _render_export(export: Mapping[str, Any] | None) -> str:
    """Return how far each exported form of the network is from the original, as a table."""
    forms = {**((export or {}).get("files") or {}), "fast": (export or {}).get("fast")}
    rows = [
        [
            f"<b>{escape(texts.EXPORT_NAMES.get(name, name))}</b>",
            _format_difference(form["max_difference"]),
            _format_difference(form.get("mean_difference")),
            f"{form['auroc']:.3f} <small>{texts.EXPORT_EXACT} {form['auroc_exact']:.3f}</small>",
        ]
        for name, form in forms.items()
        if form and {"max_difference", "auroc", "auroc_exact"} <= set(form)
    ]
    if not rows:
        return ""
    note = texts.EXPORT_NOTE.format(films=escape(str((export or {}).get("films", ""))))
    return f"<p>{note}</p>{render_table(texts.EXPORT_COLUMNS, rows, wide=(0,))}"


def _format_difference(difference: float | None) -> str:
    """Write a difference of two probabilities in percentage points.

    >>> [_format_difference(value) for value in (0.3328, 0.0089, 2.7e-6, None)]
    ['33 points', '0.9 points', 'below 0.1 points', 'not measured']
    """
    if difference is None:
        return texts.EXPORT_UNMEASURED
    points = 100 * abs(difference)
    return "below 0.1 points" if points < 0.1 else f"{points:.0f} points" if points >= 9.5 else f"{points:.1f} points"


@lru_cache(maxsize=1)
def _read_figures() -> dict[str, Any]:
    if not FIGURES_PATH.is_file():
        return {}
    content: dict[str, Any] = json.loads(FIGURES_PATH.read_text(encoding="utf-8"))
    return content
