"""Several films as HTML: the table, the studies, the progress, and what can be saved.

Pure functions from examinations to text and bytes. Files to save travel inside the page, so that none is written on the
server. May depend on `panels`, `texts`, `hf_fracture.inference` and `hf_fracture.explain`.
"""

import base64
import csv
import io
import json
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Final

from PIL import Image

import evidence
import panels
import texts
from hf_fracture.inference.classifier import Examination, FractureClassifier
from hf_fracture.inference.finding import COLUMNS, Finding
from hf_fracture.inference.study import answer_studies

MAX_SAVED_PX: Final = 640  # longest side of a picture in the ZIP file
MAX_CELL_PX: Final = 96
_RANK: Final = {"fracture": 0, "uncertain": 1, "no fracture": 2, "refused": 3, "error": 4}
_WORDS: Final = {
    "fracture": texts.FRACTURE,
    "uncertain": texts.UNCERTAIN,
    "no fracture": texts.NO_FRACTURE,
    "refused": texts.NO_ANSWER,
    "error": texts.UNREADABLE,
}


@dataclass(frozen=True)
class BatchRow:
    """One film of several.

    Attributes:
        finding: The answer; its path is the file's own name.
        cell: Small picture with its map as a data URI; empty without one.
        picture: The same larger, as the bytes of a JPEG for the ZIP file; empty without one.
    """

    finding: Finding
    cell: str
    picture: bytes


def build_row(examination: Examination, name: str) -> BatchRow:
    """Keep of an examined film what the table and the files need; the film itself is let go."""
    finding = replace(examination.finding, path=name)
    if examination.film is None:
        return BatchRow(finding, "", b"")
    film = panels.fit_image(examination.film, MAX_SAVED_PX)
    if examination.attribution is not None:
        overlay = panels.render_map(examination.attribution).resize(film.size)
        film = Image.composite(overlay.convert("RGB"), film.convert("RGB"), overlay.getchannel("A").point(_dim))
    buffer = io.BytesIO()
    film.save(buffer, "JPEG", quality=85)
    cell = panels.encode_image(panels.fit_image(film, MAX_CELL_PX), "JPEG")
    return BatchRow(finding, cell, buffer.getvalue())


def render_progress(num_done: int, num_films: int, note: str = "") -> str:
    """Return a progress bar with its count in words."""
    words = note or texts.PROGRESS.format(done=num_done, all=num_films)
    label = escape(texts.PROGRESS_LABEL)
    bar = f"<progress max='{max(num_films, 1)}' value='{num_done}' aria-label='{label}'></progress>"
    return f"<div class='progress' role='status'>{bar}<span>{escape(words)}</span></div>"


def render_table(rows: Sequence[BatchRow]) -> str:
    """Return the films as a table whose columns the visitor can sort by."""
    if not rows:
        return ""
    heads = "".join(_render_head(title, sort) for title, sort in zip(texts.TABLE_COLUMNS, _SORTS, strict=True))
    body = "".join(_render_row(index, row) for index, row in enumerate(rows))
    return f"<table class='films'><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def render_studies(rows: Sequence[BatchRow], classifier: FractureClassifier) -> str:
    """Return the answers per study as a table; empty where no header names a study."""
    studies = answer_studies((row.finding for row in rows), classifier.record)
    if not studies:
        return ""
    cells = [
        [
            f"<code>{escape(study.study_id[:8])}</code>",
            f"{study.num_answered} / {study.num_films}",
            f"<b class='tone {panels.CLASS_OF_DECISION[study.decision]}'>{_WORDS[study.decision]}</b>",
            "" if study.probability is None else panels.format_probability(study.probability),
            escape(study.film or ""),
        ]
        for study in studies
    ]
    table = evidence.render_table(texts.STUDY_COLUMNS, cells, wide=(2, 4))
    return f"<h2>{texts.STUDIES_TITLE}</h2><p class='soft'>{texts.STUDIES_NOTE}</p>{table}"


def render_downloads(rows: Sequence[BatchRow], *, with_pictures: bool) -> str:
    """Return buttons that save the findings as CSV and, at the end, everything as ZIP."""
    if not rows:
        return ""
    buttons = _render_download(texts.SAVE_CSV, "findings.csv", "text/csv", write_csv(rows).encode("utf-8-sig"))
    if with_pictures:
        buttons += _render_download(texts.SAVE_ZIP, "findings.zip", "application/zip", write_zip(rows))
    return f"<div class='downloads'>{buttons}</div>"


def write_csv(rows: Sequence[BatchRow]) -> str:
    """Return the findings as `hf-fracture predict --csv` writes them."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(row.finding.to_csv_row() for row in rows)
    return buffer.getvalue()


def write_zip(rows: Sequence[BatchRow]) -> bytes:
    """Return a ZIP file of findings.csv, findings.jsonl and one picture per answered film."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("findings.csv", write_csv(rows))
        archive.writestr("findings.jsonl", "".join(json.dumps(row.finding.to_dict()) + "\n" for row in rows))
        for index, row in enumerate(rows):
            if row.picture:
                archive.writestr(f"pictures/{index + 1:03d}_{_clean_name(row.finding.path or '')}.jpg", row.picture)
    return buffer.getvalue()


def _dim(level: int) -> float:
    """Draw the map at six tenths of its strength, as the page does at first."""
    return 0.6 * level


_SORTS: Final = ("", "name", "answer", "probability")


def _render_head(title: str, sort: str) -> str:
    if not sort:
        return f"<th scope='col'>{title}</th>"
    return f"<th scope='col' aria-sort='none'><button type='button' data-sort='{sort}'>{title}</button></th>"


def _render_row(index: int, row: BatchRow) -> str:
    finding = row.finding
    name = escape(finding.path or "")
    picture = f"<img src='{row.cell}' alt=''>" if row.cell else ""
    word = _WORDS[finding.decision]
    probability = "" if finding.probability is None else panels.format_probability(finding.probability)
    reasons = " ".join(panels.strip_subject(reason.sentence) for reason in finding.reasons)
    why = f"<small>{escape(reasons)}</small>" if reasons else ""
    tone = panels.CLASS_OF_DECISION[finding.decision]
    keys = (
        f"data-index='{index}' data-name='{name.casefold()}' data-answer='{_RANK[finding.decision]}' "
        f"data-probability='{-1.0 if finding.probability is None else finding.probability:.6f}'"
    )
    return (
        f"<tr {keys}><td class='picture'>{picture}</td><th scope='row'>{name}</th>"
        f"<td><b class='tone {tone}'>{word}</b>{why}</td><td class='figure'>{probability}</td></tr>"
    )


def _render_download(title: str, name: str, media_type: str, content: bytes) -> str:
    """Return a button whose file the page's script hands to the browser."""
    data = base64.b64encode(content).decode("ascii")
    return (
        f"<button type='button' class='save' data-download='{name}' data-type='{media_type}' data-content='{data}'>"
        f"{title}</button>"
    )


def _clean_name(name: str) -> str:
    """Keep of a visitor's file name what is safe inside an archive.

    >>> _clean_name("../../etc/wrist left.png")
    'wrist_left'
    """
    return re.sub(r"[^A-Za-z0-9_-]+", "_", Path(name).stem).strip("_")[:60] or "film"
