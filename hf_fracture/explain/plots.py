"""The pictures of a scorecard, from the content of `attribution.json`; legible in black and white.

Touches no global state of matplotlib, which is imported inside functions. May depend on nothing of this package.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINES: Final = ("-", "--", "-.", ":")
_DOTS_PER_INCH: Final = 200


def draw_plots(content: Mapping[str, Any]) -> "Iterator[tuple[str, Figure]]":
    """Yield each plot's file name without suffix and the figure; plots of checks only where these were measured.

    Args:
        content: Of `attribution.json`; the schema is in `cli.explain_eval`.
    """
    yield "peak_in_region", draw_localisation(content)
    if content["checks"]:
        yield "randomisation", draw_randomisation(content["checks"])
        yield "deletion_insertion", draw_curves(content["checks"])


def draw_localisation(content: Mapping[str, Any]) -> "Figure":
    """Draw how often each map's peak lies in a marked region, beside the baselines."""
    rows = {**content["methods"], **content["baselines"]}
    figure, axes = _new_figure(6.0, 1.0 + 0.45 * len(rows))
    for place, row in enumerate(rows.values()):
        shift = 0.0
        for key, marker, face in (("peak_in_region_if_detected", "o", "black"), ("peak_in_region", "o", "white")):
            estimate = row[key]
            if estimate["value"] is None:
                continue
            if estimate["lower"] is not None:
                axes.plot([estimate["lower"], estimate["upper"]], [place + shift] * 2, color="0.4", linewidth=1.2)
            text = {"peak_in_region": "all", "peak_in_region_if_detected": "detected"}[key] if place == 0 else None
            style = {"markerfacecolor": face, "markeredgecolor": "black", "linestyle": "none", "label": text}
            axes.plot([estimate["value"]], [place + shift], marker=marker, **style)
            shift += 0.25
    axes.set_yticks(range(len(rows)), [name.replace("_", " ") for name in rows])
    axes.set_ylim(len(rows) - 0.4, -0.4)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("Share of films whose peak lies in a marked region (95 % interval)")
    axes.legend(title="marked fractures", frameon=False, loc="lower right")
    return figure


def draw_randomisation(checks: Mapping[str, Any]) -> "Figure":
    """Draw how the maps change while the network forgets from its head downwards."""
    figure, axes = _new_figure(6.0, 3.4)
    for line, (method, row) in zip(_cycle_lines(), checks.items(), strict=False):
        values = [1.0, *(step["similarity"]["value"] for step in row["randomisation"])]
        axes.plot(range(len(values)), values, line, color="black", marker="o", markersize=4, label=_in_words(method))
    steps = [step["layers"] for step in next(iter(checks.values()))["randomisation"]]
    shares = [name.removeprefix("head and the last ").split()[0] for name in steps]
    axes.set_xticks(range(len(steps) + 1), ["trained", "head", *(f"+ {share}" for share in shares[1:])])
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("What was randomised: the head, then layers below it, from the top down")
    axes.set_ylabel("Similarity to the trained map\n(|Spearman|)")
    axes.legend(frameon=False)
    return figure


def draw_curves(checks: Mapping[str, Any]) -> "Figure":
    """Draw the mean deletion and insertion curves, in the order of each map and in random order."""
    figure, first = _new_figure(8.0, 3.4, columns=2)
    for axes, kind in zip(figure.axes, ("deletion", "insertion"), strict=True):
        for line, (method, row) in zip(_cycle_lines(), checks.items(), strict=False):
            for key, colour, text in (("curve", "black", _in_words(method)), ("curve_random", "0.6", "random order")):
                curve = row[kind][key]
                places = [step / (len(curve) - 1) for step in range(len(curve))]
                axes.plot(places, curve, line, color=colour, label=text)
        axes.set_title(f"{kind.capitalize()}: {'lower' if kind == 'deletion' else 'higher'} is better", fontsize=10)
        axes.set_xlabel(f"Share of the film {'blurred' if kind == 'deletion' else 'shown'}")
    first.set_ylabel("Mean probability of fracture")
    first.legend(frameon=False)
    return figure


def _new_figure(width_inches: float, height_inches: float, *, columns: int = 1) -> "tuple[Figure, Any]":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_inches, height_inches), layout="constrained", dpi=_DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(1, columns, place + 1) for place in range(columns)]
    for one in axes:
        one.grid(visible=True, color="0.9", linewidth=0.6)
        one.set_axisbelow(True)
    return figure, axes[0]


def _cycle_lines() -> Iterator[str]:
    while True:
        yield from _LINES


def _in_words(name: str) -> str:
    return name.replace("_", " ")
