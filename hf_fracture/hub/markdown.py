"""Figures and tables as Markdown, and sections between markers in a document. May depend on `errors` only."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from hf_fracture.errors import UsageError

NO_FIGURE: Final = "does not exist"
_ESTIMATE_KEYS: Final = {"value", "lower", "upper"}


def format_number(value: float | None, *, decimals: int = 3) -> str:
    """Write a figure with a fixed number of decimals.

    >>> format_number(0.9364), format_number(-0.0001), format_number(None)
    ('0.936', '0.000', 'does not exist')
    """
    if value is None:
        return NO_FIGURE
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def format_estimate(estimate: Mapping[str, Any], *, decimals: int = 3) -> str:
    """Write a figure with its interval, as in `evaluation.json`.

    Args:
        estimate: `value`, `lower` and `upper`, each a number or None.
        decimals: Digits after the point.

    >>> format_estimate({"value": 0.9364, "lower": 0.91, "upper": 0.955})
    '0.936 (0.910 to 0.955)'
    >>> format_estimate({"value": 0.5, "lower": None, "upper": None})
    '0.500 (no interval)'
    """
    value, lower, upper = (estimate[key] for key in ("value", "lower", "upper"))
    if value is None:
        return NO_FIGURE
    if lower is None or upper is None:
        return f"{format_number(value, decimals=decimals)} (no interval)"
    limits = f"{format_number(lower, decimals=decimals)} to {format_number(upper, decimals=decimals)}"
    return f"{format_number(value, decimals=decimals)} ({limits})"


def is_estimate(value: object) -> bool:
    """Return whether a value of a JSON file is a figure with an interval."""
    return isinstance(value, Mapping) and value.keys() >= _ESTIMATE_KEYS


def format_value(value: object) -> str:
    """Write whatever a measurement file holds: a figure with interval, a number, a list or a word."""
    if isinstance(value, Mapping) and is_estimate(value):
        return format_estimate(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(format_value(item) for item in value) or "none"
    return "none" if value is None else str(value)


def render_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Render a table; vertical bars and line breaks inside cells are made harmless.

    Raises:
        UsageError: If a row has another number of cells than the header.
    """
    lines = [header, ["---"] * len(header), *rows]
    for line in lines:
        if len(line) != len(header):
            raise UsageError(f"Expected {len(header)} cells in each row, got {len(line)}: {list(line)}.")
    return "\n".join("| " + " | ".join(_clean_cell(cell) for cell in line) + " |" for line in lines)


def flatten(content: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return every leaf of a measurement file as (path in words, value in words), in the file's order.

    >>> flatten({"int8": {"auroc_loss": 0.001}, "num_films": 5})
    [('int8: auroc loss', '0.001'), ('num films', '5')]
    """
    leaves: list[tuple[str, str]] = []
    for key, value in content.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, Mapping) and not is_estimate(value):
            leaves += flatten(value, prefix=f"{name}: ")
        else:
            leaves.append((name, format_value(value)))
    return leaves


def replace_section(document: str, name: str, content: str) -> str:
    r"""Put `content` between `<!-- name:begin -->` and `<!-- name:end -->`.

    Args:
        document: Markdown with exactly one such pair.
        name: Of the section.
        content: Markdown without the markers.

    Raises:
        UsageError: If the pair is not there exactly once.

    >>> replace_section("a <!-- x:begin -->old<!-- x:end --> b", "x", "new")
    'a <!-- x:begin -->\nnew\n<!-- x:end --> b'
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if document.count(begin) != 1 or document.count(end) != 1 or document.index(begin) > document.index(end):
        raise UsageError(
            f"Expected '{begin}' and then '{end}' exactly once in the document. Put them where it belongs."
        )
    before, rest = document.split(begin)
    after = rest.split(end)[1]
    return f"{before}{begin}\n{content.strip()}\n{end}{after}"


def _clean_cell(cell: str) -> str:
    return " ".join(cell.replace("|", "\\|").split())
