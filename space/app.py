"""The Gradio page: which tabs there are and how the server runs. What they show comes from the modules beside it.

Run as it is (`python app.py`), it serves the shipped model, or those that a file `model.txt` beside it names;
`hf-fracture demo` brings other models and examples.
"""

import contextlib
import os
import sys
import tempfile
import threading

# Read when torch and gradio are imported: idle OpenMP threads that spin slow a shared machine 30 times.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# Gradio notes who asked for what, and computes statistics of all notes with pandas after every single answer.
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", str(10**9))
# Uploads lie in a folder of this page alone: everything in it that is old is deleted.
if "GRADIO_TEMP_DIR" not in os.environ:
    os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="hf-fracture-uploads-")

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import gradio as gr
from PIL import Image
from starlette.middleware import Middleware

import evidence
import forgetful
import panels
import program
import proof
import texts
from comparison import add_comparison
from endpoints import add_endpoints
from hf_fracture.inference.classifier import DEFAULT_MODEL_NAME, FractureClassifier
from one_film import PRIVATE, Example, ExampleSet, add_desk
from reader import FilmReader
from sessions import SessionFilms, keep_clean
from several_films import MAX_FILMS, add_batch
from shield import Shield
from theme import build_theme

__all__ = ["Example", "ExampleSet", "FilmReader", "build_page", "build_theme", "launch_page", "panels", "texts"]

HERE: Final = Path(__file__).resolve().parent
MODELS_FILE: Final = "model.txt"
MAX_FILE_SIZE_MB: Final = 64
CLEANING_SECONDS: Final = 60  # how often uploads are looked at
KEEP_SECONDS: Final = int(os.environ.get("HF_FRACTURE_KEEP_SECONDS", 15 * 60))  # how old they may get
MAX_WAITING: Final = 40  # visitors in the queue; the next is asked to come back

# The filter by which the page's window sliders act; the film itself stays as it is.
_WINDOW_FILTER: Final = (
    "<svg width='0' height='0' aria-hidden='true' focusable='false' style='position:absolute'><filter id='film-window' "
    "color-interpolation-filters='sRGB'><feComponentTransfer>"
    + "".join(f"<feFunc{channel} type='linear' slope='1' intercept='0'/>" for channel in "RGB")
    + "</feComponentTransfer></filter></svg>"
)
_ON_LOAD: Final = "() => { document.querySelector('#answer').setAttribute('aria-live', 'polite'); }"


def build_page(classifiers: Mapping[str, FractureClassifier], example_sets: Sequence[ExampleSet] = ()) -> gr.Blocks:
    """Lay out the page.

    Args:
        classifiers: The models that a visitor may choose from, by the name shown; at least one. The first is preset.
        example_sets: Films to try, in the order in which they are shown.

    Returns:
        The page; `launch_page` serves it.
    """
    reader, sessions = FilmReader(classifiers), SessionFilms()
    preset = classifiers[reader.names[0]]
    page = gr.Blocks(title=texts.TITLE, delete_cache=(CLEANING_SECONDS, KEEP_SECONDS))
    with page:
        gr.HTML(texts.NOTICE, elem_id="notice")
        gr.HTML(f"<h1>{texts.TITLE}</h1><p>{texts.TAGLINE}</p>{_WINDOW_FILTER}", elem_id="masthead")
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab(texts.TAB_ONE, id="one"):
                desk, connect_model = add_desk(reader, sessions, example_sets, hint=_write_hint())
                summary = gr.HTML(evidence.render_summary(preset), elem_id="evidence")
                use = gr.HTML(evidence.render_use(preset), elem_id="use")
                connect_model([summary, use])
            with gr.Tab(texts.TAB_SEVERAL, id="several"):
                add_batch(reader, sessions)
            with gr.Tab(texts.TAB_COMPARE, id="compare"):
                add_comparison(reader, sessions, desk.current)
            with gr.Tab(texts.TAB_EVIDENCE, id="proof"):
                proofs = gr.HTML(proof.render_proof(preset), elem_id="proof")
                gr.HTML(proof.render_leaks() + proof.render_limits(), elem_id="leaks")
                desk.model.change(
                    lambda name: proof.render_proof(classifiers[name]), desk.model, proofs, queue=False, **PRIVATE
                )
            with gr.Tab(texts.TAB_PROGRAM, id="program"):
                shown = gr.HTML(elem_id="program")
        add_endpoints(reader)
        page.load(None, js=_ON_LOAD)
        page.load(_render_program, None, shown, queue=False, **PRIVATE)
        page.unload(_build_farewell(page, sessions))
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
    _settle_matplotlib()
    page.queue(max_size=MAX_WAITING)
    with contextlib.redirect_stdout(sys.stderr):  # Gradio announces its MCP server on stdout, quiet or not
        _, local_url, share_url = _launch(page, port=port, share=share)
    forgetful.make_forgetful(page)
    uploads_dir = Path(os.environ["GRADIO_TEMP_DIR"])
    keep_clean(uploads_dir, max_age_seconds=KEEP_SECONDS, every_seconds=CLEANING_SECONDS)
    return share_url or local_url


def _launch(page: gr.Blocks, *, port: int | None, share: bool) -> tuple[Any, str, str | None]:
    launched: tuple[Any, str, str | None] = page.launch(
        server_port=port,
        share=share,
        prevent_thread_lock=True,
        quiet=True,
        show_error=False,
        max_file_size=f"{MAX_FILE_SIZE_MB}mb",
        ssr_mode=False,
        enable_monitoring=False,
        run_history=False,  # Gradio would keep every film and answer in the visitor's browser
        pwa=True,
        mcp_server=has_tools(),
        favicon_path=HERE / "icon.svg",
        footer_links=["api", "settings"],
        theme=build_theme(),
        css_paths=[HERE / "page.css"],
        i18n=gr.I18n(en=texts.DROP_WORDS),
        head=f"<script>{(HERE / 'page.js').read_text(encoding='utf-8')}</script>",
        app_kwargs={"middleware": [Middleware(Shield, uploads=page.upload_file_set)]},
    )
    return launched


def _settle_matplotlib() -> None:
    """Import matplotlib whole: gradio reaches into it at every request, and fails while another thread imports it."""
    if find_spec("matplotlib") is not None:
        import_module("matplotlib.pyplot")


def warm_up_aside(classifiers: Mapping[str, FractureClassifier]) -> None:
    """Load what the first film and the first map need while the visitor looks for one: the page is there already."""
    threading.Thread(target=FilmReader(classifiers).warm_up, name="warm-up", daemon=True).start()


def has_tools() -> bool:
    """Tell whether the page can offer MCP tools: the package `mcp` is optional."""
    return find_spec("mcp") is not None


def read_drawings(examples_dir: Path) -> ExampleSet | None:
    """Return the drawings (PNG, JPEG) in a folder, captioned by their file names; None if there are none."""
    examples = []
    for path in sorted(examples_dir.glob("*")):
        if path.suffix.lower() in (".png", ".jpg"):
            with Image.open(path) as image:
                examples.append(Example(path, path.stem.replace("_", " "), image.convert("L")))
    return ExampleSet(texts.DRAWINGS_TITLE, texts.DRAWINGS_NOTE, examples) if examples else None


def read_models(folder: Path) -> list[str | None]:
    """Return the models that a folder's `model.txt` names, one Hub id or folder per line; [None] without it."""
    path = folder / MODELS_FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [line.strip() for line in lines if line.strip()] or [None]


def main() -> None:
    """Serve the shipped model with the drawings beside this file, as a Space does."""
    classifiers: dict[str, Any] = {
        name or DEFAULT_MODEL_NAME: FractureClassifier.from_pretrained(name) for name in read_models(HERE)
    }
    drawings = read_drawings(HERE / "examples")
    page = build_page(classifiers, [drawings] if drawings else [])
    launch_page(page)
    warm_up_aside(classifiers)
    page.block_thread()


def _build_farewell(page: gr.Blocks, sessions: SessionFilms) -> Callable[[gr.Request], None]:
    def leave(request: gr.Request) -> None:
        """Delete the films of a visitor who has closed the page, and what Gradio knows of them."""
        sessions.release(request.session_hash)
        forgetful.forget(page, request.session_hash)

    return leave


def _write_hint() -> str:
    minutes = -(-(KEEP_SECONDS + CLEANING_SECONDS) // 60)
    return texts.DROP_HINT.format(max_size=f"{MAX_FILE_SIZE_MB} MB", minutes=minutes)


def _render_program(request: gr.Request) -> str:
    """Return the panel for programs, with the address under which the visitor sees the page."""
    address = request.request.base_url if request.request else "http://127.0.0.1:7860"
    limits = texts.PROGRAM_LIMITS.format(
        max_size=f"{MAX_FILE_SIZE_MB} MB", max_films=MAX_FILMS, max_waiting=MAX_WAITING
    )
    return program.render_program(str(address).rstrip("/"), limits=limits, has_tools=has_tools())


if __name__ == "__main__":
    main()
