"""The evaluation as one HTML file that needs nothing else: words first, then tables and pictures.

May depend on `report` and `plots`.
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final

from hf_fracture.evaluation.bootstrap import Estimate
from hf_fracture.evaluation.calibration import NUM_BINS
from hf_fracture.evaluation.figures import SUBGROUP_POINT, prevalence_key
from hf_fracture.evaluation.guarantees import describe_guarantee
from hf_fracture.evaluation.metrics import PREVALENCES
from hf_fracture.evaluation.plots import PLOTS, describe, render_figure
from hf_fracture.evaluation.report import POINT_FIGURES, EvaluationReport, warn_of_optimism
from hf_fracture.evaluation.robustness import AlterationEffect
from hf_fracture.evaluation.shortcuts import REPORTING_LIMIT, FrameProbe
from hf_fracture.evaluation.subgroups import MIN_FILMS_PER_CLASS, Subgroup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE_NAMES: Final[dict[str, str]] = {
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "Positive predictive value",
    "npv": "Negative predictive value",
    "f1": "F1",
    "balanced_accuracy": "Balanced accuracy",
    "mcc": "Matthews correlation",
    "kappa": "Cohen's kappa",
    "accuracy": "Accuracy",
}
CAPTIONS: Final[dict[str, str]] = {
    "roc": "Sensitivity against false positive rate, with the operating points.",
    "precision_recall": "How many of the called films are fractured, against how many fractures are found.",
    "reliability": "Observed share of fractures against the stated probability, in bins of equally many films.",
    "confusion": "Films by truth and call at each operating point; percentages are of the true class.",
    "risk_coverage": "The error that remains when only the surest films are decided.",
}

_INTERVAL: Final = re.compile(r"\(-?[\d.]+ to -?[\d.]+\)")

_STYLE: Final = """
body{font:16px/1.5 system-ui,sans-serif;color:#111;background:#fff;margin:2rem auto;max-width:62rem;padding:0 1rem}
h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.2rem;margin-top:2.2rem}
table{border-collapse:collapse;width:100%;font-size:.92rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:#444;padding:.3rem 0}.scroll{overflow-x:auto}.scroll+.scroll{margin-top:1rem}
th,td{border-bottom:1px solid #ccc;padding:.3rem .5rem;text-align:left;vertical-align:top}
thead th{border-bottom:2px solid #111}figure{margin:0}figcaption{font-size:.88rem;color:#444}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:1.2rem}.wide{grid-column:1/-1}
.plots img{width:100%;height:auto}td span{white-space:nowrap}
.short{border-left:4px solid #111;padding:.2rem 0 .2rem 1rem}.wide{overflow-x:auto}.wide img{min-width:34rem}
code{overflow-wrap:anywhere;font-size:.85em}
@media print{body{margin:0;max-width:none}h2{break-after:avoid}figure,tr{break-inside:avoid}}
"""


def render_page(report: EvaluationReport) -> str:
    """Render a report as a self-contained HTML document.

    Args:
        report: What was measured.

    Returns:
        HTML that loads nothing from elsewhere and holds no script.
    """
    model, dataset = report.provenance.model, report.provenance.dataset
    title = f"{model.get('name')} on {dataset.get('name')}, split {dataset.get('split')}"
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="short">{escape(_say_in_short(report))}</p>',
        *(f"<p>{escape(sentence)}</p>" for sentence in _summarise(report)),
        "<h2>Pictures</h2>",
        f'<div class="plots">{"".join(_render_plots(report))}</div>',
        "<h2>Operating points</h2>",
        _render_points(report),
        _render_predictive_values(report),
        "<h2>Calibration</h2>",
        _render_calibration(report),
        "<h2>When the model may say uncertain</h2>",
        _render_selective(report),
        "<h2>Subgroups</h2>",
        _render_subgroups(report),
        *_render_probes(report),
    ]
    return render_document(title, body, report.to_dict())


def render_document(title: str, body: Sequence[str], content: Mapping[str, Any]) -> str:
    """Render a self-contained HTML document that ends with what was measured on what.

    Args:
        title: Plain text.
        body: HTML of the sections.
        content: Of `evaluation.json`.
    """
    sections = [*body, "<h2>What was measured on what</h2>", _render_provenance(content)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(sections)
        + "\n</body></html>\n"
    )


def _say_in_short(report: EvaluationReport) -> str:
    """Say what a reader without statistics wants to know: found, called in vain, decided."""
    figures = report.figures
    found, spared = figures[f"{SUBGROUP_POINT}/sensitivity"], figures[f"{SUBGROUP_POINT}/specificity"]
    decided, missed = figures["selective/coverage"], figures["selective/missed_among_cleared"]
    return (
        f"In short: at the {SUBGROUP_POINT} threshold it finds {_in_percent(found)} of the fractures and leaves "
        f"{_in_percent(spared)} of the films without one alone. Allowed to say uncertain, it decides "
        f"{_in_percent(decided)} of the films; of those that it then calls no fracture, {_in_percent(missed)} are "
        "fractured after all."
    )


def _in_percent(figure: Estimate) -> str:
    if figure.value is None:
        return "an unknown share"
    interval = "" if figure.lower is None or figure.upper is None else f" ({figure.lower:.0%} to {figure.upper:.0%})"
    return f"{figure.value:.0%}{interval}"


def _summarise(report: EvaluationReport) -> list[str]:
    content = report.to_dict()
    cohort, figures = content["cohort"], report.figures
    level = f"{report.resampling.confidence_level:.0%}"
    return [
        f"{cohort['num_films']} films in {cohort['num_groups']} independent groups, {cohort['num_fractured']} of them "
        f"fractured ({cohort['prevalence']:.1%}). A fractured film scores above one that is not with a probability of "
        f"{describe(figures['auroc'])} (AUROC); average precision {describe(figures['average_precision'])}; log loss "
        f"{describe(figures['log_loss'])}; Brier score {describe(figures['brier_score'])}.",
        f"Numbers in brackets are {level} intervals from {report.resampling.num_resamples} resamples of whole groups: "
        "Wilson's for shares of films, expanded percentiles for the rest. "
        f"Operating points were chosen on {report.decisions.chosen_on}.",
        *_name_shortcut(report.probes.frame),
        *warn_of_optimism(report.provenance.dataset),
    ]


def _name_shortcut(frame: FrameProbe | None) -> list[str]:
    """Name the probe of the frames beside the headline where it is above the limit."""
    if frame is None or not frame.is_above_limit:
        return []
    return [
        f"A forest that sees only size, borders and compression of these films reaches an AUROC of "
        f"{describe(frame.auroc)}: part of the figures may be due to how films were made."
    ]


def _render_plots(report: EvaluationReport) -> list[str]:
    return [render_picture(draw(report), CAPTIONS[name], wide=name == "confusion") for name, draw in PLOTS.items()]


def render_picture(figure: "Figure", caption: str, *, wide: bool = False) -> str:
    """Render a picture inside the document, with its caption; `wide` gives it a row of its own."""
    encoded = base64.b64encode(render_figure(figure, "svg")).decode()
    text, place = escape(caption), ' class="wide"' if wide else ""
    return (
        f'<figure{place}><img alt="{text}" '
        f'src="data:image/svg+xml;base64,{encoded}"><figcaption>{text}</figcaption></figure>'
    )


def _render_points(report: EvaluationReport) -> str:
    points = report.decisions.points
    rows: list[Sequence[str]] = [
        ("Threshold", *(f"{point.threshold:.4f}" for point in points.values())),
        (
            "Sensitivity and specificity where it was chosen",
            *(f"{point.sensitivity:.3f} and {point.specificity:.3f}" for point in points.values()),
        ),
    ]
    rows += [
        (FIGURE_NAMES[figure], *(describe(report.figures[f"{name}/{figure}"]) for name in points))
        for figure in POINT_FIGURES
    ]
    return render_table(("Figure", *map(_in_words, points)), rows, "All figures of a column are at its one threshold.")


def _render_predictive_values(report: EvaluationReport) -> str:
    points = report.decisions.points
    rows = [
        (
            f"{prevalence:.0%}: {title}",
            *(describe(report.figures[f"{name}/{prevalence_key(figure, prevalence)}"]) for name in points),
        )
        for prevalence in PREVALENCES
        for figure, title in (("ppv", "positive"), ("npv", "negative"))
    ]
    caption = "Positive and negative predictive value where the share of fractured films is another."
    return render_table(("Prevalence", *map(_in_words, points)), rows, caption)


def _render_calibration(report: EvaluationReport) -> str:
    states = [state for state in (report.before, report.after) if state is not None]
    rows = [
        ("Brier score (0 is best)", *(f"{state.brier_score:.4f}" for state in states)),
        ("Log loss (0 is best)", *(f"{state.log_loss:.4f}" for state in states)),
        (f"ECE, {NUM_BINS} bins of equal mass (0 is best)", *(f"{s.expected_calibration_error:.4f}" for s in states)),
        ("Slope (1 is right; below 1 overconfident)", *(describe(state.slope) for state in states)),
        ("Intercept (0 is right; below 0 states too many)", *(describe(state.intercept) for state in states)),
    ]
    if report.temperature is None:
        return render_table(("Figure", "As it is"), rows, "Nothing calibrates the validation films.")
    used = "after" if report.calibration_in_model else "before"
    caption = (
        f"Logit difference -> (difference {report.shift:+.3f}) / {report.temperature:.3f}, fitted on validation; the "
        f"model's own probabilities are those {used} it."
    )
    return render_table(("Figure", "Before calibration", "After it"), rows, caption)


def _render_selective(report: EvaluationReport) -> str:
    names = {
        "coverage": "Films decided",
        "error_among_decided": "Wrong among the decided",
        "missed_among_cleared": "Fractured among those called no fracture",
        "false_alarms_among_called": "Not fractured among those called fracture",
        "missed_fraction": "Fractured films called no fracture, among all fractured",
        "false_alarm_fraction": "Films without fracture called fracture, among all without",
        "sensitivity_among_decided": "Sensitivity among the decided",
        "specificity_among_decided": "Specificity among the decided",
    }
    triage, figures = report.decisions.triage, report.figures.section("selective")
    caption = (
        f"No fracture below {triage.screening:.4f}, fracture at or above {triage.rule_in:.4f}, uncertain between."
        if triage.screening < triage.rule_in
        else f"Every film is decided, at {triage.rule_in:.4f}."
    )
    rows = [(text, describe(figures[name])) for name, text in names.items()]
    promise = "".join(f"<p>{escape(sentence)}</p>" for sentence in describe_guarantee(report.guarantee))
    return render_table(("Share", "Value"), rows, caption) + promise


def _render_subgroups(report: EvaluationReport) -> str:
    if not report.subgroups:
        return "<p>The dataset says nothing about its films by which they could be divided.</p>"
    caption = (
        f"Sensitivity and specificity at the {SUBGROUP_POINT} point. Too few: below {MIN_FILMS_PER_CLASS} films of "
        "either class. These parts were not chosen beforehand; many comparisons are made here."
    )
    header = ("Column", "Value", "Films", "Fractured", "AUROC", "Sensitivity", "Specificity")
    return render_table(header, [_describe_subgroup(report, subgroup) for subgroup in report.subgroups], caption)


def _describe_subgroup(report: EvaluationReport, subgroup: Subgroup) -> Sequence[str]:
    counts = (_in_words(subgroup.column), subgroup.value, str(len(subgroup.indices)), str(subgroup.num_fractured))
    if subgroup.is_too_few:
        return (*counts, "too few", "too few", "too few")
    figures = (report.figures[f"{subgroup.name}/{name}"] for name in ("auroc", "sensitivity", "specificity"))
    return (*counts, *map(_describe_short, figures))


def _describe_short(figure: Estimate) -> str:
    return describe(figure, decimals=2)


def _render_probes(report: EvaluationReport) -> list[str]:
    probes = report.probes
    sections = []
    if probes.frame is not None:
        text = (
            f"A forest that sees only the films' size, borders and compression reaches an AUROC of "
            f"{describe(probes.frame.auroc)}; 0.5 is chance, and above {REPORTING_LIMIT} the headline number may owe "
            "something to it."
        )
        sections += ["<h2>Shortcuts</h2>", f"<p>{escape(text)}</p>"]
    rows = [effect for effect in (probes.blanked_body, probes.masked_marks) if effect is not None]
    if rows:
        sections.append(_render_effects(rows, "With the body painted over, an AUROC of 0.5 is right."))
    if probes.robustness is not None:
        caption = f"The same films altered; calls compared at the {SUBGROUP_POINT} point."
        sections += ["<h2>Robustness</h2>", _render_effects(probes.robustness, caption)]
    return sections


def _render_effects(effects: list[AlterationEffect], caption: str) -> str:
    rows = [
        (effect.name, describe(effect.auroc), describe(effect.auroc_change), describe(effect.flipped_fraction))
        for effect in effects
    ]
    return render_table(("Alteration", "AUROC", "Change", "Calls that change"), rows, caption)


def _render_provenance(content: Mapping[str, Any]) -> str:
    rows = [
        (f"{_in_words(section)}: {name.replace('_', ' ')}", _in_one_line(value))
        for section in ("model", "dataset", "bootstrap", "software")
        for name, value in content[section].items()
    ]
    return render_table(("What", "Value"), rows, "Enough to repeat the measurement.")


def render_table(header: Sequence[str], rows: Iterable[Sequence[str]], caption: str) -> str:
    """Render a table of plain text; the first cell of each row is its header."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        f"{''.join(f'<td>{_keep_together(cell)}</td>' for cell in row[1:])}</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0"><table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _keep_together(cell: str) -> str:
    """Escape a cell, and let no line break fall inside an interval."""
    return _INTERVAL.sub(r"<span>\g<0></span>", escape(cell))


def _in_one_line(value: Any) -> str:
    if value is None:
        return "not recorded"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _in_words(name: str) -> str:
    return name.replace("rule_in", "rule-in").replace("_", " ").capitalize()
