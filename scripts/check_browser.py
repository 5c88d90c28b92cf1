"""Measure how far the page in the browser is from Python, from the file on, and write `scripts/results/browser.json`.

    python scripts/check_browser.py --model MODEL --page build/browser [--films DIR] [--num 50]

Phantoms, and films from DIR (the same number, spread evenly), go as files through the built page in Chromium and
through `FractureClassifier` with torch; the model must be the one that the page was built from.
"""

import argparse
import base64
import contextlib
import functools
import http.server
import io
import json
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

REPOSITORY_DIR = Path(__file__).resolve().parent.parent
RESULTS_PATH = REPOSITORY_DIR / "scripts" / "results" / "browser.json"
TOLERANCE = 5e-3
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
ASK = """async (data) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const finding = await window.examineFilm(new Blob([bytes]));
  delete finding.map;
  return finding;
}"""


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """A static server that says nothing."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the library's
        """Say nothing."""


def main() -> None:
    """Compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=REPOSITORY_DIR / "hf_fracture" / "default_model")
    parser.add_argument("--page", type=Path, default=REPOSITORY_DIR / "build" / "browser")
    parser.add_argument("--films", type=Path, help="folder of real films")
    parser.add_argument("--num", type=int, default=50)
    parser.add_argument("--out", type=Path, default=RESULTS_PATH)
    args = parser.parse_args()
    sets = {"phantoms": draw_films(args.num)}
    if args.films is not None:
        sets[args.films.name] = choose_films(args.films, args.num)
    report: dict[str, Any] = {"tolerance": TOLERANCE}
    with open_page(args.page) as page:
        report["browser"] = page.evaluate("navigator.userAgent").split()[-2]
        for name, films in sets.items():
            report[name] = compare(args.model, page, films)
            print(name, report[name])
    partial = args.out.with_name(f".{args.out.name}.partial")
    partial.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    partial.replace(args.out)
    if max(report[name]["max_difference"] for name in sets) > TOLERANCE:
        sys.exit(f"The browser is more than {TOLERANCE} from Python.")


def compare(model_dir: Path, page: "Page", films: Sequence[bytes]) -> dict[str, Any]:
    """Return how far the answers of the browser and of Python are apart."""
    from hf_fracture.inference.classifier import FractureClassifier

    classifier = FractureClassifier.from_pretrained(model_dir, backend="torch")
    differences, num_decisions = [], 0
    for film, finding in zip(films, classifier.predict_many(films), strict=True):
        answer = page.evaluate(ASK, base64.b64encode(film).decode("ascii"))
        num_decisions += answer["decision"] == finding.decision
        if finding.probability is not None and answer.get("probability") is not None:
            differences.append(abs(answer["probability"] - finding.probability))
    return {
        "num_films": len(films),
        "num_answered_by_both": len(differences),
        "num_same_decision": num_decisions,
        "max_difference": max(differences, default=1.0),
    }


def draw_films(num: int) -> list[bytes]:
    """Draw phantoms, as the bytes of PNG files."""
    from hf_fracture.data.phantoms import draw_phantom

    films = []
    for seed in range(num):
        buffer = io.BytesIO()
        draw_phantom(seed, fractured=seed % 2 == 0).image.save(buffer, "PNG")
        films.append(buffer.getvalue())
    return films


def choose_films(folder: Path, num: int) -> list[bytes]:
    """Read films spread evenly over a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    num = min(num, len(paths))
    return [paths[index * len(paths) // num].read_bytes() for index in range(num)]


@contextlib.contextmanager
def serve_folder(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine and yield its address."""
    handler = functools.partial(QuietHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def open_page(folder: Path) -> Iterator["Page"]:
    """Open the built page in Chromium and wait until it is ready."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("Expected Chromium on PATH, found none. Install it: apt-get install chromium.")
    with serve_folder(folder) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        page = browser.new_page()
        page.goto(url)
        page.wait_for_selector("body[data-ready=yes]", timeout=180_000)
        yield page
        browser.close()


if __name__ == "__main__":
    main()
