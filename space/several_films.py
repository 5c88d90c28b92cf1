"""The second tab: several films at once, as a table that can be sorted, saved and stopped.

May depend on `batch_panels`, `reader`, `texts`, `sessions`, `one_film` (for its queues) and gradio.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import gradio as gr

import batch_panels
import texts
from one_film import PRIVATE
from reader import FilmReader
from sessions import SessionFilms

MAX_FILMS: Final = 60  # at once; a folder of thousands is for `hf-fracture predict`
SECONDS_BETWEEN: Final = 0.7  # the table is sent again at most this often
MANY: Final[dict[str, Any]] = {"concurrency_limit": 1, "concurrency_id": "many"}  # one folder after the other

Shown = tuple[str, str, str]


def add_batch(reader: FilmReader, sessions: SessionFilms) -> None:
    """Lay out the tab and connect it."""
    with gr.Column(elem_classes="sheet"):
        gr.HTML(f"<h2>{texts.SEVERAL_TITLE}</h2><p class='soft'>{texts.SEVERAL_NOTE.format(max_films=MAX_FILMS)}</p>")
        films = gr.File(
            label=texts.SEVERAL_TITLE,
            show_label=False,
            file_count="multiple",
            elem_id="films",
            elem_classes="drop",
            height=190,
        )
        names = reader.names
        model = gr.Dropdown(list(names), value=names[0], label=texts.MODEL_LABEL, visible=len(names) > 1)
        with gr.Row():
            start = gr.Button(texts.START_LABEL, variant="primary", elem_id="start")
            stop = gr.Button(texts.STOP_LABEL, elem_id="stop")
    with gr.Column(elem_classes="sheet"):
        progress = gr.HTML(f"<p class='soft'>{texts.SEVERAL_EMPTY}</p>", elem_id="progress")
        downloads = gr.HTML("", elem_id="downloads")
        table = gr.HTML("", elem_id="table")

    def read(paths: list[str] | None, model: str, request: gr.Request) -> Iterator[Shown]:
        """Read the films one after the other, and delete them at the end or when the visitor stops."""
        sessions.hold(request.session_hash, paths or [])
        try:
            yield from read_films(reader, paths or [], model)
        finally:
            sessions.release(request.session_hash, paths or [])

    running = start.click(
        read, [films, model], [progress, downloads, table], show_progress="minimal", **PRIVATE, **MANY
    )
    running.success(lambda: None, None, films, **PRIVATE)
    stop.click(
        lambda: (None, f"<div class='progress' role='status'>{texts.STOPPED}</div>"),
        None,
        [films, progress],
        cancels=[running],
        queue=False,
        **PRIVATE,
    )


def read_films(reader: FilmReader, paths: list[str], model: str) -> Iterator[Shown]:
    """Examine films, and show what there is so far now and then.

    Args:
        reader: Answers.
        paths: Uploads; all but the first `MAX_FILMS` are left out, and that is said.
        model: One of the reader's names.

    Yields:
        HTML of the progress, of the buttons that save, and of the table.
    """
    if not paths:
        yield f"<p class='soft'>{texts.SEVERAL_EMPTY}</p>", "", ""
        return
    chosen = paths[:MAX_FILMS]
    rows: list[batch_panels.BatchRow] = []
    shown = time.monotonic()
    yield batch_panels.render_progress(0, len(chosen)), "", ""
    for path, examination in zip(chosen, reader.look_at_many(chosen, model), strict=True):
        rows.append(batch_panels.build_row(examination, Path(path).name))
        if time.monotonic() - shown > SECONDS_BETWEEN:
            shown = time.monotonic()
            yield (
                batch_panels.render_progress(len(rows), len(chosen)),
                batch_panels.render_downloads(rows, with_pictures=False),
                batch_panels.render_table(rows),
            )
    left_out = (
        texts.LEFT_OUT.format(num=len(paths) - len(chosen), max_films=MAX_FILMS) if len(paths) > MAX_FILMS else ""
    )
    done = texts.DONE.format(
        num_films=len(rows), num_failed=sum(not row.finding.is_answer for row in rows), left_out=left_out
    )
    yield (
        batch_panels.render_progress(len(rows), len(chosen), done),
        batch_panels.render_downloads(rows, with_pictures=True),
        batch_panels.render_studies(rows, reader.classifiers[model]) + batch_panels.render_table(rows),
    )
