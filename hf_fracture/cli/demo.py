"""`hf-fracture demo`: open the page in a browser.

The page lives in `space/`, beside the package in a checkout and inside it in an installed wheel. Gradio, torch and the
page are imported by `run`, not before.
"""

import argparse
import os
import signal
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from hf_fracture.errors import MissingInputError, UnreadableRadiograph, UsageError

if TYPE_CHECKING:
    from hf_fracture.inference.classifier import FractureClassifier

EXIT_DONE: Final = 0
NUM_FILMS: Final = 9  # real films shown as examples, spread evenly over the folder

# Seed, whether fractured and caption of the drawings beside the drop zone.
DRAWINGS: Final = (
    (1, True, "Drawn leg, broken"),
    (4, False, "Drawn arm, intact"),
    (27, True, "Drawn forearm, broken"),
    (2, False, "Drawn hand, intact"),
    (11, True, "Drawn forearm, broken low"),
    (6, False, "Drawn leg, intact"),
)


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser(
        "demo",
        help="Open the page in a browser",
        description="Serve the page on this machine. Ctrl-C ends it and deletes what was uploaded.",
    )
    parser.add_argument("--port", type=int, metavar="P", help="port to listen on (default: a free one from 7860)")
    parser.add_argument("--share", action="store_true", help="open a public address through Gradio's servers")
    parser.add_argument(
        "--model",
        metavar="M[,M...]",
        help="model folders or Hub ids that a visitor may choose from (default: the shipped model)",
    )
    parser.add_argument(
        "--examples",
        type=Path,
        metavar="DIR",
        help="folder of films, or a prepared dataset: some of them are shown as examples beside the drawings",
    )


def run(args: argparse.Namespace) -> int:
    """Serve the page until interrupted; what was uploaded is deleted at the end."""
    check_port(args.port)
    films = None if args.examples is None else list_examples(args.examples)
    signal.signal(signal.SIGTERM, _leave)
    with tempfile.TemporaryDirectory(prefix="hf-fracture-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder, "uploads"))
        app = import_page()
        classifiers = load_classifiers(args.model)
        drawn = list(draw_examples(Path(folder, "drawings")))
        example_sets = [build_example_set(app, app.texts.DRAWINGS_TITLE, app.texts.DRAWINGS_NOTE, drawn)]
        if films is not None:
            stored = store_examples(films, Path(folder, "films"))
            title = app.texts.FILMS_TITLE.format(name=args.examples.resolve().name)
            example_sets.append(build_example_set(app, title, app.texts.FILMS_NOTE, stored))
        page = app.build_page(classifiers, example_sets)
        url = app.launch_page(page, port=args.port, share=args.share)
        app.warm_up_aside(classifiers)
        sys.stderr.write(f"The page is at {url} - Ctrl-C ends it.\n")
        if has_desktop():
            webbrowser.open(url)
        try:
            threading.Event().wait()
        finally:
            page.close(verbose=False)
    return EXIT_DONE


def check_port(port: int | None) -> None:
    """Refuse a port that does not exist or that somebody else listens on.

    Raises:
        UsageError: Saying which, and what to do.
    """
    import socket

    remedy = "Leave it out for the first free one from 7860."
    if port is None:
        return
    if not 1 <= port <= 65535:
        raise UsageError(f"--port must lie between 1 and 65535, got {port}. {remedy}")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UsageError(f"--port must be a free port, got {port} ({error.strerror}). {remedy}") from error


def find_page_dir() -> Path:
    """Return the folder of the page's files: in the wheel inside the package, in a checkout beside it.

    Raises:
        MissingInputError: If it is in neither place.
    """
    package_dir = Path(__file__).resolve().parent.parent
    for folder in (package_dir / "space", package_dir.parent / "space"):
        if (folder / "app.py").is_file():
            return folder
    raise MissingInputError(
        f"Expected the page in {package_dir / 'space'} or {package_dir.parent / 'space'}, found app.py in neither. "
        "Install hf-fracture again."
    )


def import_page() -> ModuleType:
    """Import `app` from the page's folder, whose modules import each other as they do in a Space."""
    import importlib

    folder = str(find_page_dir())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module("app")


def load_classifiers(models: str | None) -> dict[str, "FractureClassifier"]:
    """Load the models of `--model`, by the name that the page shows.

    Args:
        models: Folders and Hub ids, separated by commas; None for the shipped model.

    Raises:
        UsageError: If there is no name between two commas.
    """
    from hf_fracture.inference.classifier import FractureClassifier

    if models is None:
        classifier = FractureClassifier.from_pretrained()
        return {classifier.model: classifier}
    names = [name.strip() for name in models.split(",")]
    if not all(names):
        raise UsageError(f"--model must name models separated by single commas, got '{models}'. Write --model A,B.")
    classifiers: dict[str, FractureClassifier] = {}
    for name in names:
        classifier = FractureClassifier.from_pretrained(name)
        classifiers[name if classifier.model in classifiers else classifier.model] = classifier
    return classifiers


def draw_examples(out_dir: Path) -> Iterator[tuple[Path, str]]:
    """Draw the phantoms of `DRAWINGS` into a new folder; yield path and caption of each."""
    from hf_fracture.data.phantoms import draw_phantom

    out_dir.mkdir(parents=True)
    for seed, fractured, caption in DRAWINGS:
        path = out_dir / f"{caption.lower().replace(', ', '_').replace(' ', '_')}.png"
        draw_phantom(seed, fractured=fractured).image.save(path)
        yield path, caption


def list_examples(folder: Path) -> list[tuple[Path | bytes, str]]:
    """Choose films from a folder of images, or from the test split of a prepared dataset.

    Args:
        folder: Images are looked for at any depth, or else shards `data/test-*.parquet`.

    Returns:
        At most `NUM_FILMS` files (a path, or the bytes of one) with their captions.

    Raises:
        MissingInputError: If there is no such folder, or no film in it.
    """
    from hf_fracture.data.radiographs import RASTER_SUFFIXES
    from hf_fracture.data.sources.listing import DICOM_SUFFIXES, list_images

    if not folder.is_dir():
        raise MissingInputError(f"--examples must name a folder of films, found none at {folder}. Check the path.")
    shards = sorted(folder.glob("data/test-*.parquet"))
    if shards:
        return _read_shard(shards[0])
    paths = list_images(folder, suffixes=(*RASTER_SUFFIXES, *DICOM_SUFFIXES))
    if not paths:
        raise MissingInputError(
            f"--examples must name a folder with films in it, found none in {folder}. Name another."
        )
    num = min(NUM_FILMS, len(paths))
    return [(path, path.name) for path in (paths[index * len(paths) // num] for index in range(num))]


def store_examples(films: list[tuple[Path | bytes, str]], out_dir: Path) -> Iterator[tuple[Path, str]]:
    """Write films that are only bytes into a new folder; yield path and caption of each film."""
    out_dir.mkdir(parents=True)
    for index, (film, caption) in enumerate(films):
        path = film if isinstance(film, Path) else out_dir / f"film_{index + 1:02d}.jpg"
        if isinstance(film, bytes):
            path.write_bytes(film)
        yield path, caption


def build_example_set(app: ModuleType, title: str, note: str, films: Iterable[tuple[Path, str]]) -> Any:
    """Build the page's `ExampleSet`; a file that cannot be read is named on stderr and left out."""
    from hf_fracture.data.radiographs import read_radiograph

    examples = []
    for path, caption in films:
        try:
            film = read_radiograph(path, fast_size_px=app.panels.MAX_THUMBNAIL_PX).image
        except UnreadableRadiograph as error:
            sys.stderr.write(f"Left out of the examples: {error}\n")
            continue
        examples.append(app.Example(path, caption, app.panels.fit_image(film, app.panels.MAX_THUMBNAIL_PX)))
    return app.ExampleSet(title, note, examples)


def has_desktop() -> bool:
    """Tell whether opening a browser can work: a person at a terminal, and a screen."""
    has_screen = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    return (has_screen or sys.platform in ("darwin", "win32")) and sys.stderr.isatty()


def _read_shard(path: Path) -> list[tuple[Path | bytes, str]]:
    """Take the first films of each class from a shard of a prepared dataset, the classes in turn."""
    from pyarrow import parquet

    from hf_fracture.labels import FRACTURED, LABEL_NAMES, NOT_FRACTURED

    table = parquet.read_table(path, columns=["image", "label"])
    labels = table["label"].to_pylist()
    by_class = [[i for i, label in enumerate(labels) if label == wanted] for wanted in (FRACTURED, NOT_FRACTURED)]
    rows = [row for pair in zip_longest(*by_class) for row in pair if row is not None][:NUM_FILMS]
    return [(table["image"][row].as_py()["bytes"], f"labelled {LABEL_NAMES[labels[row]]}") for row in rows]


def _leave(*_: object) -> None:
    """End as Ctrl-C does, so that a terminated server deletes its uploads too."""
    raise KeyboardInterrupt
