"""Plots as HTML and SVG, drawn from measured figures: no library, no picture file, every value also in words.

May depend on `panels` (for how figures are written).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

_SIZE: Final = 260  # side of a square plot, in its own units
_MARGIN: Final = 34


@dataclass(frozen=True)
class Strip:
    """One row of a strip plot.

    Attributes:
        label: What was measured.
        estimate: `value`, and `lower` and `upper` where there is an interval; None where there were too few films.
        note: What to add behind the figure.
    """

    label: str
    estimate: Mapping[str, Any] | None
    note: str = ""


def render_strips(strips: Sequence[Strip], *, axis: tuple[float, float], too_few: str, decimals: int = 3) -> str:
    """Draw intervals on one axis, one row each, with the figure in words beside it.

    Args:
        strips: The rows.
        axis: Smallest and largest value of the axis; a value outside stands at its end.
        too_few: What stands where there is no figure.
        decimals: Decimals of the figures.
    """
    rows = "".join(_render_strip(strip, axis, too_few, decimals) for strip in strips)
    ends = "".join(f"<span>{value:g}</span>" for value in axis)
    foot = f"<tr class='axis' aria-hidden='true'><th></th><td><div class='ends'>{ends}</div></td><td></td></tr>"
    return f"<table class='strips'><tbody>{rows}{foot}</tbody></table>"


def render_shares(label: str, share: float, words: str, *, tone: str = "bad") -> str:
    """Draw one share in [0, 1] as a filled bar with its meaning in words; `quiet` where much is not bad."""
    return (
        f"<div class='share {tone}'><b>{escape(label)}</b><div class='bar' aria-hidden='true'>"
        f"<i style='width:{share:.2%}'></i></div><span>{escape(words)}</span></div>"
    )


def render_reliability(bins: Sequence[Mapping[str, Any]], *, title: str, axes: tuple[str, str]) -> str:
    """Draw a reliability diagram: what was promised against what happened, in groups of equally many films.

    Args:
        bins: Each with `mean_probability` and `fractured_fraction` in [0, 1], and `num_films`.
        title: The plot in one sentence, for those who do not see it.
        axes: Titles of the horizontal and the vertical axis.
    """
    points = [(float(group["mean_probability"]), float(group["fractured_fraction"])) for group in bins]
    line = " ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y in points)
    dots = "".join(f"<circle cx='{_x(x):.1f}' cy='{_y(y):.1f}' r='4'/>" for x, y in points)
    ticks = "".join(
        f"<text x='{_x(t):.1f}' y='{_SIZE - _MARGIN + 14}' text-anchor='middle'>{t:g}</text>"
        f"<text x='{_MARGIN - 6}' y='{_y(t) + 4:.1f}' text-anchor='end'>{t:g}</text>"
        for t in (0.0, 0.5, 1.0)
    )
    frame = (
        f"<path class='axes' d='M{_x(0)} {_y(1)}V{_y(0)}H{_x(1)}'/>"
        f"<path class='ideal' d='M{_x(0)} {_y(0)}L{_x(1)} {_y(1)}'/>"
    )
    names = (
        f"<text x='{_x(0.5)}' y='{_SIZE - 4}' text-anchor='middle'>{escape(axes[0])}</text>"
        f"<text transform='translate(9 {_y(0.5)}) rotate(-90)' text-anchor='middle'>{escape(axes[1])}</text>"
    )
    return (
        f"<svg class='plot' viewBox='0 0 {_SIZE} {_SIZE}' role='img' aria-label='{escape(title, quote=True)}'>"
        f"{frame}<polyline points='{line}'/>{dots}{ticks}{names}</svg>"
    )


def place(value: float, axis: tuple[float, float]) -> float:
    """Return where a value stands on an axis, in [0, 1].

    >>> [place(value, (0.5, 1.0)) for value in (0.4, 0.75, 1.0)]
    [0.0, 0.5, 1.0]
    """
    low, high = axis
    return min(max((value - low) / (high - low), 0.0), 1.0)


def _render_strip(strip: Strip, axis: tuple[float, float], too_few: str, decimals: int) -> str:
    label = f"<th scope='row'>{escape(strip.label)}</th>"
    note = f" <small>\u00b7 {escape(strip.note)}</small>" if strip.note else ""
    if strip.estimate is None or strip.estimate.get("value") is None:
        return f"<tr>{label}<td></td><td><small>{too_few}</small>{note}</td></tr>"
    value, lower, upper = (strip.estimate.get(name) for name in ("value", "lower", "upper"))
    span, words = "", f"{value:.{decimals}f}"
    if lower is not None and upper is not None:
        left, right = place(lower, axis), place(upper, axis)
        span = f"<i style='left:{left:.2%};width:{right - left:.2%}'></i>"
        words = f"{words}</b> <small>{lower:.{decimals}f} to {upper:.{decimals}f}</small><b>"
    dot = f"<u style='left:{place(float(value or 0.0), axis):.2%}'></u>"
    return (
        f"<tr>{label}<td><div class='range' aria-hidden='true'>{span}{dot}</div></td><td><b>{words}</b>{note}</td></tr>"
    )


def _x(share: float) -> float:
    return _MARGIN + share * (_SIZE - _MARGIN - 8)


def _y(share: float) -> float:
    return _SIZE - _MARGIN - share * (_SIZE - _MARGIN - 8)
