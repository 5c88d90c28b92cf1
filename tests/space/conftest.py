"""A page to test: the modules of `space/`, a tiny model with measurements, drawn films, and a served page."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.inference.classifier import FractureClassifier

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

REPOSITORY_DIR = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY_DIR / "space"))

QUIET = [  # Chromium's own traffic would hide the page's
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-default-apps", "--no-first-run", "--disable-domain-reliability"),
]
ANSWERED = "#answer .answer:not(.waiting)"
AXE = "axe-core@4.14.1"
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
        command = [sys.executable, "-m", "hf_fracture", "demo", "--model", str(model_dir), "--port", str(self.port)]
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


class Visit:
    """One browser tab, and what went wrong in it."""

    def __init__(self, page: "Page", url: str) -> None:
        self.page = page
        self.requested: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requested.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        page.goto(url)
        page.wait_for_selector("#film input[type=file]", state="attached", timeout=60_000)

    def upload(self, path: Path) -> str:
        """Upload a file and return the heading of the answer."""
        self.page.set_input_files("#film input[type=file]", str(path))
        return self.read_answer()

    def read_answer(self) -> str:
        self.page.wait_for_selector(ANSWERED, timeout=60_000)
        return self.page.inner_text("#answer .word")

    def open_tab(self, name: str) -> None:
        """Open a tab, through the menu of those that do not fit where there is one."""
        tab = self.page.get_by_role("tab", name=name, exact=True).first
        if not tab.is_visible():
            self.page.locator(".overflow-menu > button").first.click()
            tab = self.page.locator(".overflow-dropdown button", has_text=name).first
        tab.click()

    def width_beyond_screen(self) -> int:
        script = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return int(self.page.evaluate(script))


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert path is not None
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path, args=QUIET)


@pytest.fixture
def visit(browser: "Browser", served_page: ServedPage) -> Iterator[Callable[..., Visit]]:
    """Open the page in a new context; at the end no tab may have complained or asked another server for anything."""
    visits: list[Visit] = []

    def open_page(*, width: int = 1280, height: int = 900, dark: bool = False, touch: bool = False) -> Visit:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            has_touch=touch,
            is_mobile=touch,
        )
        visits.append(Visit(context.new_page(), served_page.url))
        return visits[-1]

    yield open_page
    for one in visits:
        one.page.context.close()
        assert one.complaints == []
        assert [url for url in one.requested if not url.startswith((served_page.url, "data:", "blob:"))] == []


@pytest.fixture(scope="session")
def axe_source() -> str:
    """Return axe-core, which tests accessibility; it comes from the npm registry once and stays in a cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "hf-fracture-tests"
    path = cache / f"{AXE.replace('@', '-')}.min.js"
    if not path.is_file():
        if shutil.which("npm") is None:
            pytest.skip("npm is not installed; it brings axe-core for this test.")
        cache.mkdir(parents=True, exist_ok=True)
        fetched = subprocess.run(
            ["npm", "pack", AXE, "--silent"], cwd=cache, capture_output=True, text=True, timeout=120, check=False
        )
        if fetched.returncode != 0:
            pytest.skip("axe-core cannot be fetched: the npm registry is out of reach.")
        archive = cache / fetched.stdout.split()[-1]
        with tarfile.open(archive) as package:
            source = package.extractfile("package/axe.min.js")
            assert source is not None
            path.write_bytes(source.read())
        archive.unlink()
    return path.read_text(encoding="utf-8")
