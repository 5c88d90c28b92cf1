"""The first tab: one film, its answer, its map and the controls of how it is looked at.

May depend on `reader`, `panels`, `texts`, `sessions` and gradio.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gradio as gr
from PIL import Image

import panels
import texts
from hf_fracture.explain.attribution import METHODS, Method
from hf_fracture.inference.classifier import FractureClassifier
from reader import QUICK_METHOD, FilmReader
from sessions import SessionFilms

PRIVATE: Final[dict[str, Any]] = {"api_visibility": "private"}
QUICK: Final[dict[str, Any]] = {"concurrency_limit": 2, "concurrency_id": "quick"}  # a film and its Grad-CAM
SLOW: Final[dict[str, Any]] = {"concurrency_limit": 1, "concurrency_id": "slow"}  # what takes seconds waits by itself

_SEND_INDEX: Final = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-index]');
  if (button) trigger('click', { index: Number(button.dataset.index) });
});
"""
_SHOW_ANSWER: Final = """() => {
  const answer = document.querySelector('#answer .answer');
  if (answer && window.innerWidth < 900) answer.scrollIntoView({ behavior: 'smooth', block: 'start' });
}"""


@dataclass(frozen=True)
class Example:
    """A film that a visitor may try.

    Attributes:
        path: The file, given to the model as it is.
        caption: A few words.
        thumbnail: What the visitor chooses by; 8 bit.
    """

    path: Path
    caption: str
    thumbnail: Image.Image


@dataclass(frozen=True)
class ExampleSet:
    """Examples of one kind.

    Attributes:
        title: Heading.
        note: What must be said about them, as HTML.
        examples: The films, in order.
    """

    title: str
    note: str
    examples: Sequence[Example]


@dataclass(frozen=True)
class Desk:
    """The components that an answer is written to, and those that it depends on."""

    current: gr.State  # path of the film on screen
    answer: gr.HTML
    viewer: gr.HTML
    worth: gr.HTML
    model: gr.Dropdown
    method: gr.Radio
    part: gr.Dropdown

    @property
    def shown(self) -> list[gr.HTML]:
        """What every answer fills."""
        return [self.answer, self.viewer, self.worth]

    @property
    def controls(self) -> list[Any]:
        """What an answer depends on, in the order of `FilmReader.examine`."""
        return [self.current, self.model, self.method, self.part]

    @property
    def busy(self) -> dict[str, Any]:
        """How every answer is asked for: of films dropped one after the other, the last is answered."""
        return {**PRIVATE, "show_progress_on": [self.answer, self.viewer], "trigger_mode": "always_last"}


def add_desk(
    reader: FilmReader, sessions: SessionFilms, example_sets: Sequence[ExampleSet], *, hint: str
) -> tuple[Desk, Callable[[list[gr.HTML]], None]]:
    """Lay out the tab and connect it.

    Args:
        reader: Answers.
        sessions: Notes whose film is whose.
        example_sets: Films to try, in the order in which they are shown.
        hint: What is taken and what becomes of it, as HTML.

    Returns:
        The desk, and a function that connects the choice of a model to the panels of measurements and uses.
    """
    preset = reader.classifiers[reader.names[0]]
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=300):
            film = _add_drop_zone(preset, hint)
            strips = [_add_examples(example_set) for example_set in example_sets]
        with gr.Column(scale=8, min_width=300):
            desk = _add_answer(reader)
    _connect_uploads(reader, sessions, desk, film)
    for strip, example_set in zip(strips, example_sets, strict=True):
        _connect_examples(reader, desk, strip, example_set)

    def connect_model(panes: list[gr.HTML]) -> None:
        filled = [desk.method, *desk.shown, *panes]
        desk.model.input(reader.change_model, [desk.current, desk.model, desk.part], filled, **desk.busy, **QUICK)

    return desk, connect_model


def _add_drop_zone(preset: FractureClassifier, hint: str) -> gr.File:
    note = panels.render_photograph_note(preset.evaluation)
    with gr.Column(elem_classes="sheet"):
        gr.HTML(f"<h2>{texts.DROP_TITLE}</h2>")
        film = gr.File(label=texts.DROP_TITLE, show_label=False, elem_id="film", elem_classes="drop", height=170)
        camera = f"<button type='button' class='camera' data-camera='#film'>{texts.CAMERA_BUTTON}</button>"
        gr.HTML(f"{camera}<p class='soft'>{hint}</p><p class='soft'>{note}</p>")
    return film


def _add_examples(example_set: ExampleSet) -> gr.HTML:
    thumbnails = [(example.thumbnail, example.caption) for example in example_set.examples]
    strip = panels.render_examples(example_set.title, example_set.note, thumbnails)
    return gr.HTML(strip, js_on_load=_SEND_INDEX, elem_classes="examples")


def _add_answer(reader: FilmReader) -> Desk:
    """Add what the answer is written to, and below it the film, its map and the controls."""
    current = gr.State(None)
    answer = gr.HTML(panels.render_waiting(), elem_id="answer")
    with gr.Column(elem_classes="sheet"):
        parts = [(texts.PART_FROM_FILE, ""), *((part, part) for part in reader.body_parts)]
        part = gr.Dropdown(
            [*parts, (texts.PART_OTHER_CHOICE, panels.OTHER_PART)],
            value="",
            label=texts.PART_LABEL,
            info=texts.PART_INFO,
            elem_id="part",
        )
        viewer = gr.HTML(panels.render_viewer(None), elem_id="viewer")
        _add_view_controls()
        methods = [(panels.name_method(name), name) for name in METHODS]
        method = gr.Radio(methods, value=METHODS[0], label=texts.METHOD_LABEL, info=texts.METHOD_INFO, elem_id="method")
        worth = gr.HTML("", elem_id="worth")
        names = reader.names
        model = gr.Dropdown(
            list(names), value=names[0], label=texts.MODEL_LABEL, visible=len(names) > 1, elem_id="model"
        )
    return Desk(current, answer, viewer, worth, model, method, part)


def _add_view_controls() -> None:
    """Add what changes the picture in the browser alone; no request is made."""
    views = [(name, key) for key, name in texts.VIEW_NAMES.items()]
    view = gr.Radio(views, value="overlay", label=texts.VIEW_LABEL, elem_id="view")
    view.input(None, view, js="(kind) => window.filmViewer.show(kind)")
    opacity = gr.Slider(0, 100, value=60, step=1, label=texts.OPACITY_LABEL, elem_id="opacity", buttons=[])
    opacity.input(None, opacity, js="(percent) => window.filmViewer.set('--evidence', percent / 100)")
    zoom = gr.Slider(100, 500, value=100, step=10, label=texts.ZOOM_LABEL, elem_id="zoom", buttons=[])
    zoom.input(None, zoom, js="(percent) => window.filmViewer.set('--zoom', percent / 100)")
    with gr.Accordion(texts.WINDOW_TITLE, open=False, elem_id="window"):
        gr.HTML(f"<p class='soft'>{texts.WINDOW_NOTE}</p>")
        centre = gr.Slider(0, 100, value=50, step=1, label=texts.CENTRE_LABEL, elem_id="centre", buttons=[])
        width = gr.Slider(2, 100, value=100, step=1, label=texts.WIDTH_LABEL, elem_id="width", buttons=[])
        reset = gr.Button(texts.RESET_LABEL, size="sm")
    change = "(centre, width) => window.filmViewer.setWindow(centre / 100, width / 100)"
    for slider in (centre, width):
        slider.input(None, [centre, width], js=change)
    undo = "() => { window.filmViewer.setWindow(0.5, 1); return [50, 100]; }"
    reset.click(None, None, [centre, width], js=undo, **PRIVATE)


def _connect_uploads(reader: FilmReader, sessions: SessionFilms, desk: Desk, film: gr.File) -> None:
    """Answer an upload and every change of a control."""

    def take(
        path: str | None, before: str | None, model: str, request: gr.Request
    ) -> tuple[str | None, None, Method, str, str, str, str]:
        """Examine a film that was just uploaded; the drop zone is emptied for the next one, the one before deleted."""
        sessions.hold(request.session_hash, [path] if path else [])
        sessions.release(request.session_hash, [before] if before and before != path else [])
        return path, None, QUICK_METHOD, "", *reader.examine(path, model, QUICK_METHOD)

    filled = [desk.current, film, desk.method, desk.part, *desk.shown]
    uploaded = film.upload(take, [film, desk.current, desk.model], filled, **desk.busy, **QUICK)
    uploaded.then(None, js=_SHOW_ANSWER)
    desk.method.input(reader.examine, desk.controls, desk.shown, **desk.busy, **SLOW)
    desk.part.input(reader.judge, [desk.current, desk.model, desk.part], desk.answer, **desk.busy, **QUICK)


def _connect_examples(reader: FilmReader, desk: Desk, strip: gr.HTML, example_set: ExampleSet) -> None:
    paths = [str(example.path) for example in example_set.examples]

    def examine_example(model: str, event: gr.EventData) -> tuple[str, Method, str, str, str, str]:
        """Examine the example whose button was pressed; only its number comes from the browser."""
        path = paths[int(event.index)]
        return path, QUICK_METHOD, "", *reader.examine(path, model, QUICK_METHOD)

    filled = [desk.current, desk.method, desk.part, *desk.shown]
    chosen = strip.click(examine_example, [desk.model], filled, **desk.busy, **QUICK)
    chosen.then(None, js=_SHOW_ANSWER)
