"""A page to test: the modules of `space/`, a tiny model with measurements, drawn films, and a served page."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.inference.classifier import FractureClassifier

REPOSITORY_DIR = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY_DIR / "space"))

START_SECONDS = 600  # torch, transformers and gradio are imported: seconds, or minutes on a machine that trains


@pytest.fixture(scope="session")
def measured_model_dir(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the tiny model with measurements beside it, as `evaluate` writes them."""
    model_dir = tmp_path_factory.mktemp("page") / "measured"
    shutil.copytree(tiny_model_dir, model_dir)
    for name in ("evaluation.json", "attribution.json"):
        shutil.copy(REPOSITORY_DIR / "tests" / "hub" / "model_folder" / name, model_dir)
    return model_dir


@pytest.fixture(scope="session")
def measured(measured_model_dir: Path) -> FractureClassifier:
    return FractureClassifier.from_pretrained(measured_model_dir)


@pytest.fixture(scope="session")
def unmeasured(tiny_model_dir: Path) -> FractureClassifier:
    return FractureClassifier.from_pretrained(tiny_model_dir)


@pytest.fixture(scope="session")
def film() -> Image.Image:
    return draw_phantom(11, fractured=True).image


@pytest.fixture
def film_path(film: Image.Image, tmp_path: Path) -> Path:
    film.save(tmp_path / "forearm.png")
    return tmp_path / "forearm.png"


@pytest.fixture
def no_film_path(tmp_path: Path) -> Path:
    """Return a text that claims to be a picture."""
    path = tmp_path / "report.png"
    path.write_text("No fracture seen. Signed, nobody.\n")
    return path


class ServedPage:
    """`hf-fracture demo` in a process of its own."""

    def __init__(self, model_dir: Path, log_path: Path, temporary_dir: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}/"
        self.log_path = log_path
        self.temporary_dir = temporary_dir
        command = [sys.executable, "-m", "hf_fracture.cli", "demo", "--model", str(model_dir), "--port", str(self.port)]
        with log_path.open("w") as log:
            self.process = subprocess.Popen(
                command,
                cwd=REPOSITORY_DIR,
                env={**os.environ, "TMPDIR": str(temporary_dir)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait()
        except AssertionError:
            self.process.kill()
            raise

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def _wait(self) -> None:
        end = time.monotonic() + START_SECONDS
        while self.url not in self.log:
            assert self.process.poll() is None, f"The page did not start: {self.log}"
            assert time.monotonic() < end, f"The page was not there after {START_SECONDS} s: {self.log}"
            time.sleep(0.2)

    def stop(self) -> int:
        """End the server as a process manager does, and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], ServedPage]]:
    pages: list[ServedPage] = []

    def start(model_dir: Path) -> ServedPage:
        folder = tmp_path_factory.mktemp("served")
        (folder / "tmp").mkdir()
        pages.append(ServedPage(model_dir, folder / "log.txt", folder / "tmp"))
        return pages[-1]

    yield start
    for page in pages:
        if page.process.poll() is None:
            page.stop()


@pytest.fixture(scope="session")
def served_page(serve: Callable[[Path], ServedPage], measured_model_dir: Path) -> ServedPage:
    return serve(measured_model_dir)
