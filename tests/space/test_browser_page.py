"""The page that needs no server: its pixels are Pillow's, its answers Python's, and it asks no other server."""

import base64
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from hf_fracture.data.grayscale import is_coloured
from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.data.transforms import fit_letterbox
from hf_fracture.explain.closed_form import closed_form_grad_cam
from hf_fracture.inference.appearance import measure_appearance
from hf_fracture.inference.classifier import FractureClassifier

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NUM_PHANTOMS = 50
SIZES = ((480, 640, 64), (33, 500, 64), (500, 21, 224), (1, 300, 64), (100, 100, 320), (1000, 700, 321))
RESIZE = """async ([data, width, height, size]) => {
  const { fitLetterbox, resizeGrey } = await import("./letterbox.js");
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const fitted = fitLetterbox(width, height, size);
  const scaled = resizeGrey({ data: bytes, width, height }, fitted.width, fitted.height);
  return [fitted.width, fitted.height, [...scaled.data]];
}"""
MEASURE = """async ([data, width, height]) => {
  const { measureAppearance } = await import("./gate.js");
  return measureAppearance({ data: Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0)), width, height });
}"""
SPREAD = """async ([map, grid, fitted, size, width, height]) => {
  const { mapToFilm } = await import("./letterbox.js");
  return [...mapToFilm(map, grid, fitted, size, width, height)];
}"""

pytestmark = [pytest.mark.slow, pytest.mark.browser]


def load_script(repository_dir: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, repository_dir / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def source_page(browser: "Browser", repository_dir: Path) -> Iterator["Page"]:
    """Open the page's own files, without a model."""
    with load_script(repository_dir, "check_browser").serve_folder(repository_dir / "space" / "browser") as url:
        page = browser.new_page()
        page.goto(f"{url}browser.css")
        yield page
        page.close()


def to_base64(film: Image.Image) -> str:
    return base64.b64encode(film.tobytes()).decode("ascii")


@pytest.mark.parametrize(("width", "height", "size"), SIZES)
def test_resized_film_equals_pillow_s_to_the_bit(source_page: "Page", width: int, height: int, size: int) -> None:
    levels = np.random.default_rng(width).integers(0, 256, size=(height, width), dtype=np.uint8)
    film = Image.fromarray(levels)
    fitted = fit_letterbox(width, height, size).scaled_size
    found = source_page.evaluate(RESIZE, [to_base64(film), width, height, size])
    assert tuple(found[:2]) == fitted
    expected = np.asarray(film.resize(fitted, Image.Resampling.BICUBIC)).ravel()
    assert np.array_equal(np.asarray(found[2]), expected)


@pytest.mark.parametrize("kind", ["film", "noise", "page"])
def test_appearance_is_measured_as_in_python(source_page: "Page", kind: str) -> None:
    if kind == "film":
        film = draw_phantom(3, fractured=True).image.resize((1000, 1300))
    else:
        levels = np.random.default_rng(0).integers(0, 256, size=(300, 400), dtype=np.uint8)
        film = Image.fromarray(levels if kind == "noise" else np.where(levels > 250, levels // 4, 255).astype(np.uint8))
    found = source_page.evaluate(MEASURE, [to_base64(film), *film.size])
    expected = measure_appearance(film)
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=5e-3), name


@pytest.mark.parametrize("kind", ["grey", "tinted", "colourful", "arrow"])
def test_colour_is_judged_as_in_python(source_page: "Page", kind: str) -> None:
    levels = np.asarray(draw_phantom(4, fractured=False).image).astype(np.float64)
    colour = np.stack([levels] * 3, axis=-1)
    if kind == "tinted":
        colour *= (0.75, 0.9, 1.0)
    elif kind == "colourful":
        colour *= np.random.default_rng(0).uniform(0.2, 1.0, size=(levels.shape[0], 1, 3))
    elif kind == "arrow":
        colour[20:40, 20:60] = (255, 0, 0)
    picture = Image.fromarray(colour.astype(np.uint8))
    script = """async ([data, width, height]) => {
      const { isColoured } = await import("./film.js");
      return isColoured(Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0)), width, height);
    }"""
    rgba = base64.b64encode(picture.convert("RGBA").tobytes()).decode("ascii")
    assert source_page.evaluate(script, [rgba, *picture.size]) == is_coloured(picture)
    assert is_coloured(picture) == (kind == "colourful")


def test_map_lies_on_the_film_as_in_python(source_page: "Page") -> None:
    letterbox = fit_letterbox(90, 120, 64)
    grid = np.random.default_rng(1).normal(size=(8, 8)).astype(np.float32)
    fitted = {"width": letterbox.scaled_size[0], "height": letterbox.scaled_size[1]}
    found = source_page.evaluate(SPREAD, [grid.ravel().tolist(), 8, fitted, 64, 90, 120])
    expected = letterbox.map_to_film(grid, kernel="spline")
    assert np.abs(np.asarray(found).reshape(120, 90) - expected).max() < 1e-5


def test_page_names_no_other_server(repository_dir: Path) -> None:
    for path in (repository_dir / "space" / "browser").iterdir():
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z]", text) == [], path.name


@pytest.fixture(scope="module")
def built(tiny_model_dir: Path, repository_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the exported tiny model and the page built from it; onnxruntime-web comes once and stays in a cache."""
    from hf_fracture.cli.main import main

    folder = tmp_path_factory.mktemp("browser")
    assert main(["export", str(tiny_model_dir), "--out", str(folder / "model")]) == 0
    builder = load_script(repository_dir, "build_browser")
    builder.build_page(folder / "model", folder / "page", runtime=find_runtime(builder.RUNTIME))
    return folder


def find_runtime(package: str) -> Path:
    """Return the archive of onnxruntime-web from the cache, or from the npm registry."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "hf-fracture-tests"
    archive = cache / f"{package.replace('@', '-')}.tgz"
    if not archive.is_file():
        if shutil.which("npm") is None:
            pytest.skip("npm is not installed; it brings onnxruntime-web for this test.")
        cache.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", package, "--silent"]
        if subprocess.run(command, cwd=cache, capture_output=True, timeout=300, check=False).returncode != 0:
            pytest.skip("onnxruntime-web cannot be fetched: the npm registry is out of reach.")
    return archive


@pytest.fixture(scope="module")
def offline_page(browser: "Browser", built: Path, repository_dir: Path) -> Iterator["Page"]:
    """Open the built page, wait until it is kept, and cut the network; nothing may have been asked elsewhere."""
    asked: list[str] = []
    with load_script(repository_dir, "check_browser").serve_folder(built / "page") as url:
        context = browser.new_context(viewport={"width": 360, "height": 740})
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(url)
        page.wait_for_selector("body[data-ready=yes]", timeout=120_000)
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        context.set_offline(True)
        page.reload()
        page.wait_for_selector("body[data-ready=yes]", timeout=120_000)
        yield page
        context.close()
    assert [address for address in asked if not address.startswith((url, "blob:", "data:"))] == []


def encode_png(film: Image.Image) -> bytes:
    buffer = io.BytesIO()
    film.save(buffer, "PNG")
    return buffer.getvalue()


def test_phantoms_are_answered_as_in_python_without_a_network(
    offline_page: "Page", tiny_model_dir: Path, repository_dir: Path
) -> None:
    ask = load_script(repository_dir, "check_browser").ASK
    classifier = FractureClassifier.from_pretrained(tiny_model_dir, backend="torch")
    films = [encode_png(draw_phantom(seed, fractured=seed % 2 == 0).image) for seed in range(NUM_PHANTOMS)]
    for film, finding in zip(films, classifier.predict_many(films), strict=True):
        answer = offline_page.evaluate(ask, base64.b64encode(film).decode("ascii"))
        assert answer["decision"] == finding.decision
        assert answer["probability"] == pytest.approx(finding.probability, abs=5e-3)


def test_map_is_the_closed_form_of_grad_cam(offline_page: "Page", tiny_model_dir: Path) -> None:
    film = draw_phantom(5, fractured=True).image
    classifier = FractureClassifier.from_pretrained(tiny_model_dir, backend="torch")
    engine: Any = classifier._engine
    maps = engine.compute(classifier._films.to_pixels(_read(film).image)[None]).feature_maps[0]
    expected = closed_form_grad_cam(maps, engine.head)
    script = """async (data) => {
      const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
      const { map } = await window.examineFilm(new Blob([bytes]));
      return map.isEmpty ? null : [...map.cam];
    }"""
    found = offline_page.evaluate(script, base64.b64encode(encode_png(film)).decode("ascii"))
    if found is not None:
        assert np.abs(np.asarray(found).reshape(expected.shape) - expected).max() < 1e-4


@pytest.mark.parametrize("kind", ["text", "deep", "colour", "dicom"])
def test_what_it_cannot_read_gets_a_sentence(offline_page: "Page", built: Path, tmp_path: Path, kind: str) -> None:
    texts = json.loads((built / "page" / "model.json").read_text())["texts"]
    path, expected = tmp_path / "film.png", {"text": "unreadable", "colour": "colour_image", "dicom": "format"}
    if kind == "text":
        path.write_text("No fracture seen.")
    elif kind == "deep":
        Image.fromarray(np.full((80, 80), 4000, dtype=np.uint16)).save(path)
    elif kind == "dicom":
        path.write_bytes(bytes(128) + b"DICM")
    else:
        Image.new("RGB", (200, 200), (200, 40, 40)).save(path)
    before = offline_page.inner_text("#answer")
    offline_page.set_input_files("#film", str(path))
    sentence = texts[expected.get(kind, kind)]
    offline_page.wait_for_function(
        "(sentence) => document.querySelector('#answer').innerText.includes(sentence)", arg=sentence, timeout=30_000
    )
    assert offline_page.inner_text("#answer") != before
    width = offline_page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert width == 0


def _read(film: Image.Image) -> Any:
    from hf_fracture.data.radiographs import read_radiograph

    return read_radiograph(film)
