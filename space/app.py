"""The Gradio page: layout, events and server settings. What it shows comes from `reader`, `panels` and `evidence`.

Run as it is (`python app.py`), it serves the shipped model; `hf-fracture demo` brings other models and examples.
"""

import os

# Read when torch and gradio are imported: idle OpenMP threads that spin slow a shared machine 30 times.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gradio as gr
from PIL import Image

import evidence
import panels
import texts
from hf_fracture.explain.attribution import METHODS, Method
from hf_fracture.inference.classifier import DEFAULT_MODEL_NAME, FractureClassifier
from reader import FilmReader

HERE: Final = Path(__file__).resolve().parent
MAX_FILE_SIZE_MB: Final = 64
CLEANING_SECONDS: Final = 60  # how often uploads are looked at
KEEP_SECONDS: Final = 15 * 60  # how old they may get
MAX_WAITING: Final = 40  # visitors in the queue; the next is asked to come back
NUM_AT_ONCE: Final = 2  # films read at the same time; the network itself takes one after the other

_PRIVATE: Final[dict[str, Any]] = {"api_visibility": "private"}
_ON_NETWORK: Final[dict[str, Any]] = {"concurrency_limit": NUM_AT_ONCE, "concurrency_id": "network"}

_SEND_INDEX: Final = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-index]');
  if (button) trigger('click', { index: Number(button.dataset.index) });
});
"""
_SET_OPACITY: Final = """(percent) => {
  document.querySelector('.gradio-container').style.setProperty('--evidence', percent / 100);
}"""
_SHOW_ANSWER: Final = """() => {
  const answer = document.querySelector('#answer .answer');
  if (answer && window.innerWidth < 900) answer.scrollIntoView({ behavior: 'smooth', block: 'start' });
}"""


_ANNOUNCE: Final = "() => { document.querySelector('#answer').setAttribute('aria-live', 'polite'); }"


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
class _Desk:
    """The components that an answer is written to, and those that it depends on."""

    current: gr.State  # path of the film on screen
    answer: gr.HTML
    viewer: gr.HTML
    worth: gr.HTML
    model: gr.Dropdown
    method: gr.Radio

    @property
    def shown(self) -> list[gr.HTML]:
        return [self.answer, self.viewer, self.worth]

    @property
    def busy(self) -> dict[str, Any]:
        return {
            **_PRIVATE,
            **_ON_NETWORK,
            "show_progress_on": [self.answer, self.viewer],
            "trigger_mode": "always_last",  # of films dropped one after the other, the last is answered
        }


def build_page(classifiers: Mapping[str, FractureClassifier], example_sets: Sequence[ExampleSet] = ()) -> gr.Blocks:
    """Lay out the page.

    Args:
        classifiers: The models that a visitor may choose from, by the name shown; at least one. The first is preset.
        example_sets: Films to try, in the order in which they are shown.

    Returns:
        The page; `launch_page` serves it.
    """
    reader = FilmReader(classifiers)
    preset = classifiers[reader.names[0]]
    page = gr.Blocks(title=texts.TITLE, delete_cache=(CLEANING_SECONDS, KEEP_SECONDS))
    with page:
        gr.HTML(texts.NOTICE, elem_id="notice")
        gr.HTML(f"<h1>{texts.TITLE}</h1><p>{texts.TAGLINE}</p>", elem_id="masthead")
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=300):
                film = _add_drop_zone()
                strips = [_add_examples(example_set) for example_set in example_sets]
            with gr.Column(scale=8, min_width=300):
                desk = _add_desk(reader.names)
        measurements = gr.HTML(evidence.render_evidence(preset), elem_id="evidence")
        use = gr.HTML(evidence.render_use(preset), elem_id="use")
        program = gr.HTML(elem_id="program")
        _connect_desk(reader, desk, film, [measurements, use])
        for strip, example_set in zip(strips, example_sets, strict=True):
            _connect_examples(reader, desk, strip, example_set)
        _add_endpoint(reader)
        page.load(None, js=_ANNOUNCE)
        page.load(_render_program, None, program, queue=False, **_PRIVATE)
    return page


def launch_page(page: gr.Blocks, *, port: int | None = None, share: bool = False) -> str:
    """Serve the page in threads of this process.

    Args:
        page: What `build_page` returned.
        port: Port to listen on; None takes the first free one from 7860.
        share: Open a public tunnel through Gradio's servers.

    Returns:
        The page's address.

    Raises:
        OSError: If the port is taken.
    """
    page.queue(max_size=MAX_WAITING)
    _, local_url, share_url = page.launch(
        server_port=port,
        share=share,
        prevent_thread_lock=True,
        quiet=True,
        show_error=False,
        max_file_size=f"{MAX_FILE_SIZE_MB}mb",
        ssr_mode=False,
        enable_monitoring=False,
        footer_links=["api", "settings"],
        theme=build_theme(),
        css_paths=[HERE / "page.css"],
        i18n=gr.I18n(en=texts.DROP_WORDS),
        head=f"<script>{(HERE / 'page.js').read_text(encoding='utf-8')}</script>",
    )
    return share_url or local_url


def build_theme() -> gr.themes.Base:
    """Return a quiet theme: teal on slate, in the fonts of the visitor's own system."""
    sans, mono = ["system-ui", "Segoe UI", "Roboto", "sans-serif"], ["ui-monospace", "Menlo", "Consolas", "monospace"]
    theme = gr.themes.Base(primary_hue="teal", neutral_hue="slate", radius_size="lg", font=sans, font_mono=mono)
    return theme.set(
        body_background_fill="#f3f6f7",
        body_background_fill_dark="#0d1316",
        body_text_color="#15242b",
        body_text_color_dark="#e6eef1",
        block_background_fill="#ffffff",
        block_background_fill_dark="#141c21",
        block_border_color="#d5dee2",
        block_border_color_dark="#2c3a42",
        block_label_text_color="#4b5d67",
        block_label_text_color_dark="#a9b9c2",
        block_info_text_color="#4b5d67",
        block_info_text_color_dark="#a9b9c2",
        color_accent="#0f766e",
        slider_color="#0f766e",
        slider_color_dark="#5fd3c2",
    )


def read_drawings(examples_dir: Path) -> ExampleSet | None:
    """Return the drawings (PNG, JPEG) in a folder, captioned by their file names; None if there are none."""
    examples = []
    for path in sorted(examples_dir.glob("*")):
        if path.suffix.lower() in (".png", ".jpg"):
            with Image.open(path) as image:
                examples.append(Example(path, path.stem.replace("_", " "), image.convert("L")))
    return ExampleSet(texts.DRAWINGS_TITLE, texts.DRAWINGS_NOTE, examples) if examples else None


def main() -> None:
    """Serve the shipped model with the drawings beside this file, as a Space does."""
    classifiers = {DEFAULT_MODEL_NAME: FractureClassifier.from_pretrained()}
    FilmReader(classifiers).warm_up()
    drawings = read_drawings(HERE / "examples")
    page = build_page(classifiers, [drawings] if drawings else [])
    launch_page(page)
    page.block_thread()


def _add_drop_zone() -> gr.File:
    minutes = (KEEP_SECONDS + CLEANING_SECONDS) // 60
    hint = texts.DROP_HINT.format(max_size=f"{MAX_FILE_SIZE_MB} MB", minutes=minutes)
    with gr.Column(elem_classes="sheet"):
        gr.HTML(f"<h2>{texts.DROP_TITLE}</h2>")
        film = gr.File(label=texts.DROP_TITLE, show_label=False, elem_id="film", height=170)
        gr.HTML(f"<p class='soft'>{hint}</p>")
    return film


def _add_examples(example_set: ExampleSet) -> gr.HTML:
    thumbnails = [(example.thumbnail, example.caption) for example in example_set.examples]
    strip = panels.render_examples(example_set.title, example_set.note, thumbnails)
    return gr.HTML(strip, js_on_load=_SEND_INDEX, elem_classes="examples")


def _add_desk(names: Sequence[str]) -> _Desk:
    """Add what the answer is written to, and below it the film, its map and the map's controls."""
    current = gr.State(None)
    answer = gr.HTML(panels.render_waiting(), elem_id="answer")
    with gr.Column(elem_classes="sheet"):
        viewer = gr.HTML(panels.render_viewer(None), elem_id="viewer")
        opacity = gr.Slider(0, 100, value=60, step=1, label=texts.OPACITY_LABEL, elem_id="opacity", buttons=[])
        opacity.input(None, opacity, js=_SET_OPACITY)
        methods = [(texts.METHOD_NAMES[name], name) for name in METHODS]
        method = gr.Radio(methods, value=METHODS[0], label=texts.METHOD_LABEL, info=texts.METHOD_INFO, elem_id="method")
        worth = gr.HTML("", elem_id="worth")
        model = gr.Dropdown(
            list(names), value=names[0], label=texts.MODEL_LABEL, visible=len(names) > 1, elem_id="model"
        )
    return _Desk(current, answer, viewer, worth, model, method)


def _connect_desk(reader: FilmReader, desk: _Desk, film: gr.File, panes: list[gr.HTML]) -> None:
    """Answer an upload and every change of a control; `panes` are the measurements and uses of a model."""
    controls = [desk.model, desk.method]
    uploaded = film.upload(reader.take, [film, *controls], [desk.current, film, *desk.shown], **desk.busy)
    uploaded.then(None, js=_SHOW_ANSWER)
    desk.method.input(reader.examine, [desk.current, *controls], desk.shown, **desk.busy)
    desk.model.input(reader.change_model, [desk.current, *controls], [*desk.shown, *panes], **desk.busy)


def _connect_examples(reader: FilmReader, desk: _Desk, strip: gr.HTML, example_set: ExampleSet) -> None:
    paths = [str(example.path) for example in example_set.examples]

    def examine_example(model: str, method: Method, event: gr.EventData) -> tuple[str, str, str, str]:
        """Examine the example whose button was pressed; only its number comes from the browser."""
        path = paths[int(event.index)]
        return path, *reader.examine(path, model, method)

    chosen = strip.click(examine_example, [desk.model, desk.method], [desk.current, *desk.shown], **desk.busy)
    chosen.then(None, js=_SHOW_ANSWER)


def _add_endpoint(reader: FilmReader) -> None:
    """Give programs the endpoint `/predict`: a file in, one finding out."""
    film, finding, button = (
        gr.File(label="Film", visible=False),
        gr.JSON(label="Finding", visible=False),
        gr.Button(visible=False),
    )
    button.click(reader.predict, film, finding, api_name="predict", **_ON_NETWORK)


def _render_program(request: gr.Request) -> str:
    """Return the panel for programs, with the address under which the visitor sees the page."""
    address = request.request.base_url if request.request else "http://127.0.0.1:7860"
    return evidence.render_program(str(address).rstrip("/"))


if __name__ == "__main__":
    main()
