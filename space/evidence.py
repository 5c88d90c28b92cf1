"""The page's second half as HTML: how often the model is wrong, and what it is for.

Every figure comes from the model folder's own `evaluation.json` and `cross_dataset.json`. May depend on `texts` and
`panels`.
"""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import texts
from hf_fracture.inference.classifier import FractureClassifier
from panels import MIXED, format_interval, format_probability, format_share


def render_summary(classifier: FractureClassifier) -> str:
    """Return the panel of measurements: cohort, AUROC, operating points, the three answers, body parts."""
    evaluation = classifier.evaluation
    title = f"<h2>{texts.EVIDENCE_TITLE}</h2>"
    if evaluation is None:
        return f"<section class='sheet'>{title}<p>{texts.EVIDENCE_NONE}</p></section>"
    cohort = texts.EVIDENCE_COHORT.format(
        num_films=f"{evaluation['cohort']['num_films']:,}",
        num_fractured=f"{evaluation['cohort']['num_fractured']:,}",
        dataset=escape(name_dataset(str(evaluation["dataset"]["name"]))),
        split=escape(str(evaluation["dataset"]["split"])),
        chosen_on=escape(str(evaluation["operating_points"]["chosen_on"])),
    )
    auroc = evaluation["metrics"]["auroc"]
    area = texts.EVIDENCE_AUROC.format(value=f"{auroc['value']:.3f}", interval=_format_area(auroc))
    return (
        f"<section class='sheet'>{title}<p>{cohort}</p><p>{area}</p>"
        f"{_render_elsewhere(classifier)}{_render_points(evaluation)}"
        f"{_render_triage(evaluation)}{_render_parts(evaluation)}</section>"
    )


def read_measurement(classifier: FractureClassifier, name: str) -> dict[str, Any] | None:
    """Return a file of measurements of a model's folder; None if there is none."""
    path = classifier.model_dir / name
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def read_elsewhere(classifier: FractureClassifier) -> list[dict[str, Any]]:
    """Return how the model does at home and on other collections of films; empty if that was not measured."""
    measured = read_measurement(classifier, "cross_dataset.json") or {}
    weights = ((classifier.evaluation or {}).get("model") or {}).get("sha256")
    rows: list[dict[str, Any]] = measured.get("model_rows") or []
    return rows if weights is not None and measured.get("model_sha256") == weights else []


def _render_elsewhere(classifier: FractureClassifier) -> str:
    """Say in a sentence each how the model does on collections that it was not trained on."""
    return "".join(
        "<p>"
        + texts.EVIDENCE_ELSEWHERE.format(
            num_films=row["num_films"],
            dataset=escape(name_dataset(row["tested_on"])),
            value=f"{row['auroc']['value']:.3f}",
            interval=_format_area(row["auroc"]),
        )
        + "</p>"
        for row in read_elsewhere(classifier)
        if row["tested_on"] not in row["trained_on"]
    )


def name_dataset(name: str) -> str:
    """Return a dataset's name for people."""
    return texts.DATASET_NAMES.get(name, name)


def render_use(classifier: FractureClassifier) -> str:
    """Return the panel of what the model is for and what it is not for."""
    measured, unmeasured = _divide_body_parts(classifier)
    modality = classifier.record.modality if classifier.record else "XR"
    for_lines = list(texts.FOR)
    if measured:
        for_lines.append(texts.FOR_PARTS.format(body_parts=escape(_join(measured))))
    not_for_lines = [line.format(modality=texts.MODALITY_NAMES[modality]) for line in texts.NOT_FOR]
    if unmeasured:
        not_for_lines.append(texts.NOT_FOR_PARTS.format(body_parts=escape(_join(unmeasured))))
    columns = ((texts.FOR_TITLE, for_lines), (texts.NOT_FOR_TITLE, not_for_lines))
    lists = "".join(
        f"<div><h3>{name}</h3><ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul></div>" for name, lines in columns
    )
    return f"<section class='sheet'><h2>{texts.USE_TITLE}</h2><div class='two'>{lists}</div></section>"


def describe_model(classifier: FractureClassifier, names: Sequence[str]) -> dict[str, Any]:
    """Return for programs what the panels say: origin, measurements, uses.

    Args:
        classifier: The model.
        names: All models of this page.
    """
    record, evaluation = classifier.record, classifier.evaluation
    measured, unmeasured = _divide_body_parts(classifier)
    modality = record.modality if record else "XR"
    return {
        "model": classifier.model,
        "revision": classifier.revision,
        "models": list(names),
        "trained_on": list(record.trained_on) if record else [],
        "modality": modality,
        "body_parts": list(record.body_parts) if record else [],
        "body_parts_measured": measured,
        "views": list(record.views) if record else [],
        "evaluation": None if evaluation is None else _summarise(evaluation),
        "elsewhere": read_elsewhere(classifier),
        "use": list(texts.FOR),
        "not_for": [
            *(line.format(modality=texts.MODALITY_NAMES[modality]) for line in texts.NOT_FOR),
            *([texts.NOT_FOR_PARTS.format(body_parts=_join(unmeasured))] if unmeasured else []),
        ],
    }


def _summarise(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    points = evaluation["operating_points"]["points"]
    return {
        "dataset": evaluation["dataset"]["name"],
        "split": evaluation["dataset"]["split"],
        "cohort": evaluation["cohort"],
        "auroc": evaluation["metrics"]["auroc"],
        "operating_points": {
            name: {
                "threshold": point["threshold"],
                **{rate: point["metrics"][rate] for rate in ("sensitivity", "specificity")},
            }
            for name, point in points.items()
        },
    }


def _render_points(evaluation: Mapping[str, Any]) -> str:
    rows = []
    for name, point in evaluation["operating_points"]["points"].items():
        sensitivity, specificity = point["metrics"]["sensitivity"], point["metrics"]["specificity"]
        counts = texts.EVIDENCE_COUNTS.format(
            missed=round(100 * (1 - sensitivity["value"])), alarms=round(100 * (1 - specificity["value"]))
        )
        cells = [
            f"<b>{texts.POINT_NAMES.get(name, escape(name))}</b>",
            format_probability(point["threshold"]),
            _render_estimate(sensitivity),
            _render_estimate(specificity),
            counts,
        ]
        rows.append(cells)
    return render_table(texts.EVIDENCE_COLUMNS, rows, wide=(4,))


def _render_triage(evaluation: Mapping[str, Any]) -> str:
    metrics = evaluation["selective"]["metrics"]
    coverage, error = metrics["coverage"], metrics["error_among_decided"]
    if coverage["value"] is None or error["value"] is None:
        return ""
    sentence = texts.EVIDENCE_TRIAGE.format(
        coverage=format_share(coverage["value"]),
        coverage_interval=format_interval(coverage),
        error=format_share(error["value"]),
        error_interval=format_interval(error),
    )
    return f"<p>{sentence}</p>"


def _render_parts(evaluation: Mapping[str, Any]) -> str:
    parts = _list_parts(evaluation)
    if not parts:
        return ""
    rows = [
        [
            f"<b>{texts.MIXED_NAME if row['value'] == MIXED else escape(str(row['value']))}</b>",
            f"{row['num_films']} <small>{row['num_fractured']} fractured</small>",
            *(_render_estimate(row[name]) for name in ("sensitivity", "specificity")),
        ]
        for row in parts
    ]
    return f"<h3>{texts.EVIDENCE_PARTS}</h3>{render_table(texts.EVIDENCE_PART_COLUMNS, rows)}"


def _divide_body_parts(classifier: FractureClassifier) -> tuple[list[str], list[str]]:
    """Return the body parts that were measured, and those trained on without enough test films to measure."""
    rows = [row for row in _list_parts(classifier.evaluation or {}) if row["value"] != MIXED]
    measured = [str(row["value"]) for row in rows if not row["too_few"]]
    trained = classifier.record.body_parts if classifier.record else []
    return measured, [part for part in trained if part not in (*measured, MIXED)]


def _list_parts(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = evaluation.get("subgroups", {}).get("rows", [])
    return [row for row in rows if row["column"] == "body_part"]


def _render_estimate(estimate: Mapping[str, Any] | None) -> str:
    if estimate is None or estimate["value"] is None:
        return f"<small>{texts.EVIDENCE_TOO_FEW}</small>"
    return f"<b>{format_share(estimate['value'])}</b> <small>{format_interval(estimate)}</small>"


def render_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, wide: tuple[int, ...] = ()) -> str:
    """Return a table that becomes a list of cards on a narrow screen; `wide` cells get a line of their own there."""
    head = "".join(f"<th scope='col'>{column}</th>" for column in columns)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td data-label='{column}'{' class=wide' if index in wide else ''}>{cell}</td>"
            for index, (column, cell) in enumerate(zip(columns, row, strict=True))
        )
        + "</tr>"
        for row in rows
    )
    return f"<table class='points-table'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _format_area(estimate: Mapping[str, Any]) -> str:
    if estimate.get("lower") is None:
        return "no interval can be given"
    return f"{estimate['lower']:.3f} to {estimate['upper']:.3f}"


def _join(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
