"""The audit as one page to read: counts, tables and bars in a single HTML file that loads nothing.

With films it also shows thumbnails, and says that it is for the reader's own machine. May depend on `films` and
`fingerprints` (for the size of a thumbnail).
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from io import BytesIO
from typing import Any, Final

from PIL import Image

from hf_fracture.data.films import Film
from hf_fracture.data.fingerprints import THUMBNAIL_PX

Account = Mapping[str, Any]
Films = Mapping[str, Film]

_MAX_ROWS: Final = 25
_MAX_PICTURES: Final = 6
_PICTURE_QUALITY: Final = 80
_NOTABLE_AUROC: Final = 0.6

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --bar: #3b6ea5; --warn: #b3541e; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid var(--line); }
table { border-collapse: collapse; width: 100%; font-size: .92rem; } td, th { padding: .25rem .6rem; text-align: left;
  border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; } th { font-weight: 600; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.bar { background: var(--bar); height: .8rem; min-width: 1px; border-radius: 2px; }
.warn .bar { background: var(--warn); }
.bars { width: 40%; } .facts { display: flex; flex-wrap: wrap; gap: 1rem; padding: 0; list-style: none; }
.facts li { border: 1px solid var(--line); border-radius: 6px; padding: .5rem 1rem; } .facts b { display: block;
  font-size: 1.35rem; font-variant-numeric: tabular-nums; } .note { opacity: .75; font-size: .9rem; }
.pictures { display: flex; flex-wrap: wrap; gap: .5rem; margin: .4rem 0 1.2rem; } figure { margin: 0; width: 8.2rem; }
figure img { max-width: 100%; max-height: 8.2rem; } figcaption { font-size: .68rem; overflow-wrap: anywhere; }
.private { border: 2px solid var(--warn); padding: .4rem 1rem; border-radius: 6px; }
"""
_ISSUE_TITLES: Final = {
    "unreadable": "Cannot be read",
    "truncated": "Cut short (read as far as they go)",
    "blank": "Blank",
    "low_contrast": "Hardly any contrast",
    "not_a_radiograph": "Does not look like a radiograph",
}


def render_audit_page(account: Account, *, films: Films | None = None) -> str:
    """Render the page.

    Args:
        account: The content of `audit.json`.
        films: By path, to show thumbnails; None for a page without an image, which may be published.
    """
    parts = [
        _render_summary(account, private=films is not None),
        _render_issues(account, films),
        _render_copies(account, films),
        _render_conflicts(account, films),
        _render_leaks(account),
        _render_shared(account, films),
        _render_shortcuts(account),
        _render_splits(account),
    ]
    title = f"Audit of {escape(account['folder'])}"
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    body = "\n".join(part for part in parts if part)
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<style>{_STYLE}</style></head>\n'
        f"<body><h1>{title}</h1>\n{body}\n</body></html>\n"
    )


def _render_summary(account: Account, *, private: bool) -> str:
    files, copies = account["files"], account["copies"]
    facts = [
        (f"{files['found']:,}", "files"),
        (f"{files['readable']:,}", "can be read"),
        (f"{copies['distinct_files']:,}", "different files"),
        (f"{copies['groups']:,}", "groups that must not be split"),
        (f"{files['fractured']:,} / {files['not_fractured']:,}", "fractured / not fractured"),
    ]
    if files["unlabelled"]:
        facts.append((f"{files['unlabelled']:,}", "without a label"))
    items = "".join(f"<li><b>{value}</b>{label}</li>" for value, label in facts)
    words = "This page holds thumbnails of the films. It is for your own machine; publish audit.html."
    warning = f'<p class="private">{words}</p>'
    read_as = f'<p class="note">Read as {escape(account["read_as"])}.</p>'
    return f'{warning if private else ""}<ul class="facts">{items}</ul>{read_as}'


def _render_issues(account: Account, films: Films | None) -> str:
    issues = account["issues"]
    rows = [(_ISSUE_TITLES[issue], f"{len(found):,}") for issue, found in issues.items()]
    rows.append(("Listed in a table, not in the folder", f"{len(account['absent']):,}"))
    parts = ["<h2>Files</h2>", _render_table(("what", "files"), rows)]
    for issue, found in issues.items():
        if found:
            parts.append(f"<h3>{_ISSUE_TITLES[issue]}</h3>")
            parts.append(_render_pictures([entry["source_path"] for entry in found], films))
            parts.append(_render_table(("file", "why"), [(entry["source_path"], entry["detail"]) for entry in found]))
    return "\n".join(parts)


def _render_copies(account: Account, films: Films | None) -> str:
    copies, families = account["copies"], account["families"]
    rows = [
        ("Different files (SHA-256)", f"{copies['distinct_files']:,}"),
        ("Files of which a byte-identical copy is there", f"{copies['files_with_a_byte_identical_copy']:,}"),
        ("Sets of films that look the same", f"{copies['sets_that_look_the_same']:,}"),
        ("Groups (appearance, file names, patients)", f"{copies['groups']:,}"),
    ]
    parts = ["<h2>Copies</h2>", _render_table(("what", "number"), rows)]
    if families:
        parts.append(
            f"<p>File names prove {families['families']:,} families of {families['files']:,} files, "
            f"{families['distinct_films']:,} different films in all. By appearance alone "
            f"{families['recall']:.1%} of these files end up with their family.</p>"
        )
    sizes = {int(size): count for size, count in copies["groups_by_size"].items()}
    bins = (
        ("1", 1, 1),
        ("2", 2, 2),
        ("3 to 4", 3, 4),
        ("5 to 9", 5, 9),
        ("10 to 49", 10, 49),
        ("50 or more", 50, max(50, *sizes)),
    )
    bars = []
    for name, low, high in bins:
        count = sum(number for size, number in sizes.items() if low <= size <= high)
        bars.append((name, count, f"{count:,}"))
    parts += ["<h3>Groups by number of files</h3>", _render_bars(bars)]
    if films is not None:
        parts += _render_groups(account, films)
    return "\n".join(parts)


def _render_groups(account: Account, films: Films) -> list[str]:
    """Show the confirmed pairs that agree least: the place to look for a mistake."""
    links = sorted((link for link in account["links"] if "agreement" in link), key=lambda link: link["agreement"])
    parts = ["<h3>Confirmed copies that agree least</h3>"]
    for link in links[: 2 * _MAX_PICTURES]:
        parts.append(f'<p class="note">agreement {link["agreement"]:.3f}</p>')
        parts.append(_render_pictures([link["first"], link["second"]], films))
    return parts if links else []


def _render_conflicts(account: Account, films: Films | None) -> str:
    conflicts = account["conflicts"]
    parts = [
        "<h2>Copies that disagree</h2>",
        f"<p>{len(conflicts):,} sets of films that look the same carry different labels or types.</p>",
    ]
    rows = []
    for number, conflict in enumerate(conflicts, start=1):
        rows += [(str(number), conflict["kind"], path, label) for path, label in conflict["films"].items()]
        if films is not None and number <= 2 * _MAX_PICTURES:
            parts.append(_render_pictures(list(conflict["films"]), films, captions=conflict["films"]))
    return "\n".join([*parts, _render_table(("set", "differs in", "file", "says"), rows) if rows else ""])


def _render_leaks(account: Account) -> str:
    leaks = account["published_split_leaks"]
    if not leaks:
        return "<h2>Published split</h2><p>The folder has no published split.</p>"
    columns = ("of", "into", "films", "byte identical", "look the same", "with names and patients", "", "contradicted")
    rows = []
    for leak in leaks:
        share = leak["related"] / leak["films"] if leak["films"] else 0.0
        counts = [f"{leak[kind]:,}" for kind in ("films", "byte_identical", "look_the_same", "related")]
        rows.append((leak["of"], leak["into"], *counts, f"{share:.1%}", f"{leak['contradicted']:,}"))
    text = (
        "<p>Each line counts the films of one split that have a relative in another one. A model that remembers the "
        "second split answers them from memory; the last column counts those that look the same and carry another "
        "label or type there.</p>"
    )
    bars = [
        (f"{leak['of']} into {leak['into']}", leak["related"] / max(1, leak["films"]), row[-2])
        for leak, row in zip(leaks, rows, strict=True)
    ]
    return f"<h2>Leaks of the published split</h2>{text}{_render_table(columns, rows)}{_render_bars(bars, limit=1.0)}"


def _render_shared(account: Account, films: Films | None) -> str:
    parts = []
    for name, shared in account["shared"].items():
        equal = sum(film["how"] == "byte identical" for film in shared)
        parts.append(f"<h3>{escape(name)}</h3><p>{len(shared):,} films are also there, {equal:,} byte by byte.</p>")
        if shared:
            parts.append(_render_pictures([film["source_path"] for film in shared], films))
            rows = [(film["source_path"], film["other_path"], film["how"]) for film in shared]
            parts.append(_render_table(("here", "there", "how"), rows))
    return "\n".join(["<h2>Shared with other datasets</h2>", *parts]) if parts else ""


def _render_shortcuts(account: Account) -> str:
    report = account["shortcuts"]
    if report is None:
        return ""
    text = (
        "<p>How well a small forest tells the labels apart that sees no bone: AUROC of predictions on films it was not "
        f"grown on, one film per group ({report['num_films']:,} films, {report['num_fractured']:,} fractured), with "
        "95 % intervals. 0.5 is guessing; what is above 0.6 a network can learn instead of fractures.</p>"
    )
    if report["too_few"]:
        return f"<h2>Shortcuts</h2>{text}<p>Too few films of one class to measure.</p>"
    bars = [
        (
            entry["clue"],
            max(0.0, entry["auroc"] - 0.5),
            f"{entry['auroc']:.3f} ({entry['auroc_low']:.3f} to {entry['auroc_high']:.3f})",
        )
        for entry in report["shortcuts"]
    ]
    return f"<h2>Shortcuts</h2>{text}{_render_bars(bars, limit=0.5, notable=_NOTABLE_AUROC - 0.5)}"


def _render_splits(account: Account) -> str:
    rows = [(name, f"{count:,}") for name, count in account["clean_splits"].items()]
    steps = ", ".join(f"{escape(step)} {seconds:.1f} s" for step, seconds in account["seconds"].items())
    return (
        "<h2>Clean split</h2><p>No group crosses it; validation and test hold one film per group. It is written in "
        f'ledger.csv.</p>{_render_table(("split", "films"), rows)}<p class="note">{steps}</p>'
    )


def _render_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Render a table, its first rows only; numbers go to the right."""

    def cell(tag: str, value: str) -> str:
        is_number = bool(value) and value[0].isdigit() and value.replace(",", "").replace(".", "").strip("%").isdigit()
        return f"<{tag}{' class=n' if is_number else ''}>{escape(value)}</{tag}>"

    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    lines = ["<tr>" + "".join(cell("td", value) for value in row) + "</tr>" for row in rows[:_MAX_ROWS]]
    rest = len(rows) - _MAX_ROWS
    more = f'<p class="note">and {rest:,} more, see audit.json</p>' if rest > 0 else ""
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>{more}"


def _render_bars(
    bars: Iterable[tuple[str, float, str]], *, limit: float | None = None, notable: float | None = None
) -> str:
    """Render horizontal bars of (name, length, text); `limit` is the length of a full bar, the longest without it."""
    listed = list(bars)
    full = limit or max((length for _, length, _ in listed), default=0.0) or 1.0
    lines = []
    for name, length, text in listed:
        mark = ' class="warn"' if notable is not None and length >= notable else ""
        bar = f'<div class="bar" style="width:{100 * min(1.0, length / full):.1f}%"></div>'
        lines.append(
            f'<tr{mark}><td>{escape(name)}</td><td class="bars">{bar}</td><td class=n>{escape(text)}</td></tr>'
        )
    return f"<table>{''.join(lines)}</table>"


def _render_pictures(paths: Sequence[str], films: Films | None, *, captions: Mapping[str, str] | None = None) -> str:
    """Show the first thumbnails of a list, in their films' proportions; nothing where no films are given."""
    if films is None:
        return ""
    figures = []
    for path in [path for path in paths if path in films][:_MAX_PICTURES]:
        caption = escape(path) + (f"<br><b>{escape(captions[path])}</b>" if captions else "")
        figures.append(f'<figure><img alt="" src="{_encode(films[path])}"><figcaption>{caption}</figcaption></figure>')
    return f'<div class="pictures">{"".join(figures)}</div>'


def _encode(film: Film) -> str:
    """Return a thumbnail, stretched back to the proportions of its film, as a data URL."""
    square = Image.frombytes("L", (THUMBNAIL_PX, THUMBNAIL_PX), film.thumbnail)
    scale = THUMBNAIL_PX / max(film.width, film.height)
    size = (max(1, round(film.width * scale)), max(1, round(film.height * scale)))
    buffer = BytesIO()
    square.resize(size).save(buffer, format="JPEG", quality=_PICTURE_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
