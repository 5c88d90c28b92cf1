"""The pictures of an evaluation: readable in black and white, legible at the size of a model card.

Each `draw_` function returns a matplotlib figure and touches no global state. May depend on `report` and what it uses.
"""

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from hf_fracture.evaluation.artifacts import replacing
from hf_fracture.evaluation.bootstrap import Estimate
from hf_fracture.evaluation.calibration import CalibrationBin
from hf_fracture.evaluation.curves import GRID, CallCounts, RankedFilms
from hf_fracture.evaluation.figures import SUBGROUP_POINT
from hf_fracture.evaluation.inputs import Floats
from hf_fracture.evaluation.metrics import count_confusion
from hf_fracture.evaluation.report import CalibrationFigures, EvaluationReport
from hf_fracture.evaluation.selective import risk_coverage_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINT_MARKERS: Final[dict[str, str]] = {"screening": "o", "balanced": "s", "rule_in": "^"}

FORMATS: Final[tuple[Literal["png", "svg"], ...]] = ("png", "svg")

_SIDE_INCHES: Final = 4.2
_DOTS_PER_INCH: Final = 200
_MAX_CURVE_POINTS: Final = 1000
_BAND_GREY: Final = "0.82"
_GUIDE_GREY: Final = "0.45"
_DARK_AUROC: Final = 0.78  # cells above it are dark enough for white letters


def draw_roc(report: EvaluationReport) -> "Figure":
    """Draw the ROC curve with its pointwise band and the operating points."""
    figure, axes = _new_square()
    fpr, tpr = (curve[0] for curve in _count_calls(report).roc())
    _fill_band(axes, report, "roc")
    axes.plot(*_thin(fpr, tpr), color="black", linewidth=1.6, label=f"AUROC {describe(report.figures['auroc'])}")
    axes.plot([0, 1], [0, 1], color=_GUIDE_GREY, linewidth=1, linestyle=":", label="Chance")
    for name, marker in POINT_MARKERS.items():
        sensitivity = _value(report.figures[f"{name}/sensitivity"])
        specificity = _value(report.figures[f"{name}/specificity"])
        text = f"{_in_words(name)}, threshold {report.decisions.points[name].threshold:.2f}"
        _mark(axes, 1 - specificity, sensitivity, marker, text)
    _label(axes, "1 - specificity (false positive rate)", "Sensitivity", legend="lower right")
    return figure


def draw_precision_recall(report: EvaluationReport) -> "Figure":
    """Draw the precision-recall curve with its pointwise band, the operating points and the prevalence."""
    figure, axes = _new_square(extra_inches=0.5)
    recall, precision = (curve[0] for curve in _count_calls(report).precision_recall())
    _fill_band(axes, report, "precision")
    text = f"Average precision {describe(report.figures['average_precision'])}"
    axes.step(*_thin(recall, precision), where="pre", color="black", linewidth=1.6, label=text)
    prevalence = float(report.predictions.y_true.mean())
    axes.axhline(prevalence, color=_GUIDE_GREY, linewidth=1, linestyle=":", label=f"Prevalence {prevalence:.2f}")
    for name, marker in POINT_MARKERS.items():
        ppv = report.figures[f"{name}/ppv"].value
        if ppv is not None:
            _mark(axes, _value(report.figures[f"{name}/sensitivity"]), ppv, marker, _in_words(name))
    _label(axes, "Sensitivity (recall)", "Positive predictive value (precision)", legend="above")
    return figure


def draw_reliability(report: EvaluationReport) -> "Figure":
    """Draw observed against stated probability, before and after calibration, and where the probabilities lie."""
    figure = _new_figure(_SIDE_INCHES, _SIDE_INCHES * 1.3)
    grid = figure.add_gridspec(2, 1, height_ratios=[4, 1], hspace=0.08)
    axes, counts = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    axes.plot([0, 1], [0, 1], color=_GUIDE_GREY, linewidth=1, linestyle=":")
    for calibration, text, line, face, colour in _list_calibrations(report):
        figures = f"ECE {calibration.expected_calibration_error:.3f}, Brier {calibration.brier_score:.3f}"
        stated, observed = _bin_points(calibration.bins)
        axes.plot(stated, observed, linestyle=line, color=colour, linewidth=1.3, marker="o", markersize=4.5)
        axes.lines[-1].set(markerfacecolor=face, label=f"{text}: {figures}")
    axes.tick_params(labelbottom=False)
    _label(axes, "", "Observed share of fractures", legend="above")
    edges = np.linspace(0, 1, 21).tolist()
    counts.hist(report.predictions.y_prob, bins=edges, color="0.6", edgecolor="black", linewidth=0.5)
    counts.set_xlim(-0.02, 1.02)
    counts.set_xlabel("Stated probability of fracture", fontsize=10)
    counts.set_ylabel("Films", fontsize=10)
    counts.tick_params(labelsize=9)
    return figure


def draw_confusion(report: EvaluationReport) -> "Figure":
    """Draw the four counts at each operating point, shaded by their share of the true class."""
    names = list(POINT_MARKERS)
    figure = _new_figure(2.6 * len(names), 2.9)
    for place, name in enumerate(names, start=1):
        threshold = report.decisions.points[name].threshold
        axes = figure.add_subplot(1, len(names), place)
        counts = count_confusion(report.predictions.y_true, report.predictions.y_prob, threshold=threshold).to_dict()
        cells = np.array(
            [
                [counts["true_negatives"], counts["false_positives"]],
                [counts["false_negatives"], counts["true_positives"]],
            ]
        )
        _draw_cells(axes, cells)
        axes.set_title(f"{_in_words(name)}\nthreshold {threshold:.3f}", fontsize=10)
        axes.set_xticks([0, 1], ["no fracture", "fracture"], fontsize=9)
        axes.set_yticks([0, 1], ["no", "yes"] if place == 1 else ["", ""], fontsize=9)
        axes.set_xlabel("Called", fontsize=10)
        if place == 1:
            axes.set_ylabel("Fractured", fontsize=10)
    return figure


def draw_risk_coverage(report: EvaluationReport) -> "Figure":
    """Draw the error that remains when only the surest films are decided, and the three-way rule."""
    figure, axes = _new_square()
    threshold = report.decisions.points[SUBGROUP_POINT].threshold
    curve = risk_coverage_curve(report.predictions.y_true, report.predictions.y_prob, threshold=threshold)
    axes.plot(*_thin(curve.coverage, curve.risk), color="black", linewidth=1.6, label="Surest films first")
    total = float(curve.risk[-1])
    axes.axhline(total, color=_GUIDE_GREY, linewidth=1, linestyle=":", label=f"All films decided: {total:.3f}")
    rule = report.figures.section("selective")
    error = rule["error_among_decided"].value
    if error is not None:
        text = f"Three-way rule: {error:.3f} at {_value(rule['coverage']):.0%}"
        _mark(axes, _value(rule["coverage"]), error, "D", text)
    _label(axes, "Coverage (share of films decided)", "Error among decided films", legend="upper left")
    axes.set_ylim(0, max(0.05, 1.6 * float(np.max([total, error or 0.0, *curve.risk[len(curve.risk) // 20 :]]))))
    axes.set_aspect("auto")
    return figure


def draw_transfer(content: Mapping[str, Any]) -> "Figure":
    """Draw the AUROC of each training on each test of `cross_dataset.json`, with its interval, as a heat map.

    Args:
        content: Content of the file; see `cross_dataset`.
    """
    rows = content["rows"]
    trained = list(dict.fromkeys(_name_sources(row["trained_on"]) for row in rows))
    tested = list(dict.fromkeys(row["tested_on"] for row in rows))
    figure = _new_figure(2.6 * len(tested) + 1.2, 0.95 * len(trained) + 1.1)
    axes = figure.add_subplot()
    values = np.full((len(trained), len(tested)), np.nan)
    for row in rows:
        place = (trained.index(_name_sources(row["trained_on"])), tested.index(row["tested_on"]))
        values[place] = value = row["auroc"]["value"]
        text = describe(Estimate(**row["auroc"]), decimals=2).replace(" (", "\n(") + f"\n{row['num_films']} films"
        colour = "white" if value > _DARK_AUROC else "black"
        axes.text(place[1], place[0], text, ha="center", va="center", fontsize=10, color=colour)
    axes.imshow(values, cmap="Greys", vmin=0.4, vmax=1.05, aspect="auto")
    axes.set_xticks(range(len(tested)), [name.replace("_", " ") for name in tested], fontsize=10)
    axes.set_yticks(range(len(trained)), trained, fontsize=10)
    axes.set_xlabel("Tested on (films of both datasets left out)", fontsize=10)
    axes.set_ylabel("Trained on", fontsize=10)
    axes.set_title("AUROC with 95 % interval", fontsize=10)
    return figure


def draw_cost(members: Mapping[str, tuple[float, Mapping[str, Any]]]) -> "Figure":
    """Draw what models reach against what an answer costs.

    Args:
        members: Milliseconds of a film, and the AUROC as an estimate of `evaluation.json`, by name.
    """
    figure = _new_figure(1.5 * _SIDE_INCHES, _SIDE_INCHES)
    axes = figure.add_subplot()
    ranked = sorted(members.items(), key=lambda member: -member[1][1]["value"])
    for (name, (milliseconds, auroc)), marker in zip(ranked, cycle("osD^vPX*"), strict=False):
        value, lower, upper = (auroc[bound] for bound in ("value", "lower", "upper"))
        label = f"{name}: {value:.3f}, {milliseconds:.0f} ms"
        axes.errorbar(
            milliseconds,
            value,
            [[value - lower], [upper - value]],
            fmt=marker,
            color="black",
            ecolor="0.55",
            capsize=3,
            label=label,
        )
    lowest = min(auroc["lower"] for _, auroc in members.values())
    axes.set_xlim(0, 1.1 * max(milliseconds for milliseconds, _ in members.values()))
    axes.set_ylim(min(0.5, lowest - 0.02), 1)
    axes.legend(fontsize=8, framealpha=0.92, edgecolor="0.8", loc="lower right")
    axes.set_xlabel("Milliseconds of a film", fontsize=10)
    axes.set_ylabel("AUROC with 95 % interval", fontsize=10)
    axes.tick_params(labelsize=9)
    axes.grid(visible=True, color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure


def draw_counts(counts: Sequence[Sequence[int]], names: Sequence[str]) -> "Figure":
    """Draw a confusion matrix of several classes, shaded by the share of the true class.

    Args:
        counts: (C, C) films, row by true class, column by called class.
        names: C names.
    """
    cells = np.asarray(counts, dtype=np.float64)
    side = 0.62 * len(names) + 1.6
    figure = _new_figure(side, side)
    axes = figure.add_subplot()
    with np.errstate(invalid="ignore"):
        shares = np.nan_to_num(cells / cells.sum(axis=1, keepdims=True))
    axes.imshow(shares, cmap="Greys", vmin=0, vmax=1.2)
    for (row, column), count in np.ndenumerate(cells):
        share = shares[row, column]
        text = f"{int(count)}\n{share:.0%}" if count else "0"
        colour = "white" if share > 0.7 else "black" if count else _GUIDE_GREY
        axes.text(column, row, text, ha="center", va="center", fontsize=9, color=colour)
    axes.set_xticks(range(len(names)), list(names), fontsize=9, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), list(names), fontsize=9)
    axes.set_xlabel("Called", fontsize=10)
    axes.set_ylabel("True type", fontsize=10)
    return figure


PLOTS: Final[dict[str, Callable[[EvaluationReport], "Figure"]]] = {
    "roc": draw_roc,
    "precision_recall": draw_precision_recall,
    "reliability": draw_reliability,
    "risk_coverage": draw_risk_coverage,
    "confusion": draw_confusion,
}


def write_plots(report: EvaluationReport, out_dir: Path) -> list[Path]:
    """Write every picture as PNG and SVG.

    Args:
        report: What was measured.
        out_dir: Folder for `roc.png`, `roc.svg`, ...; made if need be.

    Returns:
        The paths written.
    """
    paths = []
    for name, draw in PLOTS.items():
        figure = draw(report)
        for file_format in FORMATS:
            paths.append(out_dir / f"{name}.{file_format}")
            with replacing(paths[-1]) as partial_path:
                partial_path.write_bytes(render_figure(figure, file_format))
    return paths


def render_figure(figure: "Figure", file_format: Literal["png", "svg"]) -> bytes:
    """Return a figure as a file's bytes; equal figures give equal bytes."""
    import matplotlib as mpl

    stream = BytesIO()
    stamp = {"Date": None} if file_format == "svg" else {"Software": None}
    with mpl.rc_context({"svg.hashsalt": "hf-fracture"}):
        figure.savefig(stream, format=file_format, dpi=_DOTS_PER_INCH, bbox_inches="tight", metadata=stamp)
    return stream.getvalue()


def describe(figure: Estimate, *, decimals: int = 3) -> str:
    """Write a figure with its interval in words that fit a legend or a table cell.

    >>> describe(Estimate(value=0.91234, lower=0.88, upper=0.94, method="expanded_percentile"))
    '0.912 (0.880 to 0.940)'
    >>> describe(Estimate(value=None, lower=None, upper=None, method="none"))
    'not defined'
    >>> describe(Estimate(value=-0.0004, lower=-0.02, upper=0.019, method="expanded_percentile"))
    '0.000 (-0.020 to 0.019)'
    """
    if figure.value is None:
        return "not defined"
    if figure.lower is None or figure.upper is None:
        return f"{figure.value:z.{decimals}f}"
    return f"{figure.value:z.{decimals}f} ({figure.lower:z.{decimals}f} to {figure.upper:z.{decimals}f})"


def _name_sources(names: Sequence[str]) -> str:
    return "\nand ".join(name.replace("_", " ") for name in names)


def _count_calls(report: EvaluationReport) -> CallCounts:
    return RankedFilms(report.predictions.y_true, report.predictions.y_prob).count_calls()


def _new_figure(width_inches: float, height_inches: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _new_square(*, extra_inches: float = 0.0) -> tuple["Figure", "Axes"]:
    figure = _new_figure(_SIDE_INCHES, _SIDE_INCHES + extra_inches)
    axes = figure.add_subplot()
    axes.set_aspect("equal")
    return figure, axes


def _fill_band(axes: "Axes", report: EvaluationReport, curve: str) -> None:
    lower, upper = report.figures.band(curve)
    level = report.resampling.confidence_level
    axes.fill_between(
        GRID, lower, upper, color=_BAND_GREY, linewidth=0, label=f"{level:.0%} band, {curve_unit(report)}"
    )


def curve_unit(report: EvaluationReport) -> str:
    """Return what was resampled, in words."""
    return f"{len(np.unique(report.predictions.group_ids))} groups"


def _draw_cells(axes: "Axes", cells: Floats) -> None:
    shares = cells / cells.sum(axis=1, keepdims=True)
    axes.imshow(shares, cmap="Greys", vmin=0, vmax=1.2)
    for (row, column), count in np.ndenumerate(cells):
        share = shares[row, column]
        text = f"{int(count)}\n{share:.1%}"
        axes.text(column, row, text, ha="center", va="center", fontsize=11, color="white" if share > 0.7 else "black")


def _mark(axes: "Axes", x: float, y: float, marker: str, label: str) -> None:
    axes.plot(
        [x],
        [y],
        marker=marker,
        markersize=8,
        markerfacecolor="white",
        markeredgecolor="black",
        markeredgewidth=1.4,
        linestyle="none",
        label=label,
        zorder=5,
    )


def _label(axes: "Axes", x_label: str, y_label: str, *, legend: Literal["upper left", "lower right", "above"]) -> None:
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel(x_label, fontsize=10)
    axes.set_ylabel(y_label, fontsize=10)
    axes.tick_params(labelsize=9)
    axes.grid(visible=True, color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    if legend == "above":
        columns = 2 if len(axes.get_legend_handles_labels()[0]) > 3 else 1
        axes.legend(loc="lower left", bbox_to_anchor=(-0.2, 1.0), fontsize=8.5, frameon=False, ncols=columns)
    else:
        axes.legend(loc=legend, fontsize=8.5, framealpha=0.92, edgecolor="0.8")


def _list_calibrations(report: EvaluationReport) -> list[tuple[CalibrationFigures, str, str, str, str]]:
    """Return what a reliability diagram shows: figures, name, line, marker face and colour."""
    if report.after is None:
        return [(report.before, "As it is", "-", "black", "black")]
    return [
        (report.before, "Before calibration", "--", "white", "0.4"),
        (report.after, "After calibration", "-", "black", "black"),
    ]


def _bin_points(bins: Sequence[CalibrationBin]) -> tuple[list[float], list[float]]:
    return [part.mean_probability for part in bins], [part.fractured_fraction for part in bins]


def _thin(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    if len(x) <= _MAX_CURVE_POINTS:
        return x, y
    kept = np.unique(np.linspace(0, len(x) - 1, _MAX_CURVE_POINTS).round().astype(np.intp))
    return x[kept], y[kept]


def _value(figure: Estimate) -> float:
    return float("nan") if figure.value is None else figure.value


def _in_words(name: str) -> str:
    return name.replace("_", "-").capitalize()
