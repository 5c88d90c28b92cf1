"""Ask every runtime the same films, from the file on, and hold their answers together.

    python scripts/check_parity.py MODEL DATASET [--films N] [--page build/browser] [--out FILE]

Runtimes: torch (the reference), onnxruntime in float32 and in 8 bit, `transformers.pipeline`, the endpoint of the page
(`hf-fracture demo`, which is started for it), and the page without a server (built from the same model by
`build_browser.py`, in Chromium). Films are files of the validation split. The two pages give no probability of a film
that they refuse; those are counted, and must be the films that Python refuses.
"""

import argparse
import base64
import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import check_browser  # type: ignore[import-not-found]  # beside this file
from PIL import Image
from tqdm import tqdm

from hf_fracture.evaluation.films import load_splits, select_split
from hf_fracture.export.layout import INT8_FILE, ONNX_DIR, ONNX_FILE
from hf_fracture.inference.classifier import FractureClassifier
from hf_fracture.inference.parity import MAX_AUROC_DIFFERENCE, MAX_EXACT_DIFFERENCE, compare_probabilities
from hf_fracture.models.checkpoint import resolve_model_dir, write_json

MAX_BROWSER_DIFFERENCE = 5e-3
START_SECONDS = 600
FILMS_PER_REQUEST = 20

Probabilities = list[float | None]
Answer = Callable[[Sequence[Path]], Probabilities]


def ask_network(model_dir: Path, **options: Any) -> Answer:
    """Return what asks the network of a `FractureClassifier`, whatever its gate thinks of a film."""
    classifier = FractureClassifier(model_dir, model=model_dir.name, **options)

    def answer(paths: Sequence[Path]) -> Probabilities:
        films = (classifier.read(path) for path in tqdm(paths, disable=not sys.stderr.isatty()))
        return [float(classifier.compute(film).probabilities[0]) for film in films]

    return answer


def ask_pipeline(model_dir: Path) -> Answer:
    """Return what asks `transformers.pipeline`."""
    from transformers import pipeline

    reference = pipeline("image-classification", model=str(model_dir))

    def answer(paths: Sequence[Path]) -> Probabilities:
        rows = [{row["label"]: float(row["score"]) for row in reference(Image.open(path))} for path in paths]
        return [row["fractured"] for row in rows]

    return answer


def ask_page(model_dir: Path) -> Answer:
    """Return what asks the endpoint of a page that is served meanwhile."""

    def answer(paths: Sequence[Path]) -> Probabilities:
        from gradio_client import Client, handle_file

        found: Probabilities = []
        with serve_page(model_dir) as url:
            client = Client(url, verbose=False)
            for start in range(0, len(paths), FILMS_PER_REQUEST):
                films = [handle_file(path) for path in paths[start : start + FILMS_PER_REQUEST]]
                found += [row["probability"] for row in client.predict(films=films, api_name="/predict_many")]
        return found

    return answer


@contextlib.contextmanager
def serve_page(model_dir: Path) -> Iterator[str]:
    """Run `hf-fracture demo` and yield its address once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "hf_fracture", "demo", "--model", str(model_dir), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/"
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _is_served(url):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"Expected the page at {url}, got none. See why: {' '.join(command)}")
            time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=60)


def _is_served(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (URLError, OSError):
        return False


def ask_browser(page_dir: Path) -> Answer:
    """Return what asks the page without a server."""

    def answer(paths: Sequence[Path]) -> Probabilities:
        with check_browser.open_page(page_dir) as page:
            films = (base64.b64encode(path.read_bytes()).decode("ascii") for path in paths)
            return [page.evaluate(check_browser.ASK, film).get("probability") for film in films]

    return answer


def write_films(dataset: str, folder: Path, num: int) -> tuple[list[Path], list[int]]:
    """Write films of the validation split as the files that they are; return them and their labels."""
    import datasets

    rows = select_split(load_splits(dataset), "validation").shuffle(seed=0)
    rows = rows.select(range(min(num, len(rows)))).cast_column("image", datasets.Image(decode=False))
    paths = []
    for index, row in enumerate(rows):
        path = folder / f"{index:04d}{Path(row['image']['path'] or '.jpg').suffix}"
        path.write_bytes(row["image"]["bytes"])
        paths.append(path)
    return paths, [int(label) for label in rows["label"]]


def list_refused(model_dir: Path, paths: Sequence[Path]) -> list[bool]:
    """Tell which films Python refuses."""
    classifier = FractureClassifier(model_dir, model=model_dir.name)
    return [not finding.is_answer for finding in classifier.predict_many(paths)]


def compare(exact: Probabilities, found: Probabilities, labels: list[int], refused: list[bool]) -> dict[str, Any]:
    """Compare answers; those that a page does not give must be those that Python refuses."""
    answered = [index for index, value in enumerate(found) if value is not None]
    figures = compare_probabilities(
        [exact[index] or 0.0 for index in answered],
        [found[index] or 0.0 for index in answered],
        [labels[index] for index in answered],
    )
    if len(answered) == len(found):
        return {**figures, "num_refused": 0, "refuses_as_python": True}
    as_python = all((value is None) == each for value, each in zip(found, refused, strict=True))
    return {**figures, "num_refused": len(found) - len(answered), "refuses_as_python": as_python}


def is_within(name: str, figures: dict[str, Any]) -> bool:
    """Tell whether a runtime keeps its promise: equal, or for int8 as good."""
    if name == "int8":
        return bool(abs(figures["auroc_difference"]) <= MAX_AUROC_DIFFERENCE)
    limit = MAX_BROWSER_DIFFERENCE if name == "browser" else MAX_EXACT_DIFFERENCE
    return bool(figures["max_difference"] <= limit and figures["refuses_as_python"])


def main() -> int:
    """Compare, print one line per runtime, write the figures; 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description="Hold the answers of every runtime together.")
    parser.add_argument("model")
    parser.add_argument("dataset")
    parser.add_argument("--films", type=int, default=200)
    parser.add_argument("--page", type=Path, help="what build_browser.py made of the same model")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    model_dir = resolve_model_dir(args.model)
    runtimes: dict[str, Callable[[], Answer]] = {"pipeline": lambda: ask_pipeline(model_dir)}
    if (model_dir / ONNX_DIR / ONNX_FILE).is_file():
        runtimes["onnx"] = lambda: ask_network(model_dir, backend="onnx")
    if (model_dir / ONNX_DIR / INT8_FILE).is_file():
        runtimes["int8"] = lambda: ask_network(model_dir, fast=True)
    runtimes["page"] = lambda: ask_page(model_dir)
    if args.page:
        runtimes["browser"] = lambda: ask_browser(args.page)
    with tempfile.TemporaryDirectory() as folder:
        paths, labels = write_films(args.dataset, Path(folder), args.films)
        exact, refused = ask_network(model_dir, backend="torch")(paths), list_refused(model_dir, paths)
        report = {}
        for name, build in runtimes.items():
            figures = compare(exact, build()(paths), labels, refused)
            report[name] = {**figures, "is_within": is_within(name, figures)}
            print(name, json.dumps(report[name]), flush=True)
    if args.out:
        tolerances = {"equal": MAX_EXACT_DIFFERENCE, "browser": MAX_BROWSER_DIFFERENCE, "AUROC": MAX_AUROC_DIFFERENCE}
        films = f"{len(paths)} of the validation split of {Path(args.dataset).name}, from the file on"
        write_json(args.out, {"reference": "torch", "films": films, "tolerances": tolerances, "runtimes": report})
    return 0 if all(figures["is_within"] for figures in report.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
