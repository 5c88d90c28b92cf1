"""Take pictures of the page: the one in the README, or every width and theme for looking at.

    python scripts/take_screenshots.py                       # docs/images/page.png
    python scripts/take_screenshots.py --every-look DIR      # every tab: desktop and phone, light and dark

Needs Chromium on PATH. The films are the page's own drawings, so a picture never shows a patient.
"""

import argparse
import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

REPOSITORY_DIR = Path(__file__).resolve().parent.parent
MAX_WIDTH_PX = 860
WAIT_MS = 180_000
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


class Look(NamedTuple):
    """A screen: its name, size in px and theme."""

    name: str
    width: int
    height: int
    theme: str


README_LOOK = Look("page", 1280, 900, "light")
README_HEIGHT_PX = 1340  # down to the end of the film
LOOKS = (
    Look("desktop_light", 1280, 900, "light"),
    Look("desktop_dark", 1280, 900, "dark"),
    Look("phone_light", 390, 844, "light"),
    Look("phone_dark", 360, 740, "dark"),
)


def main() -> None:
    """Serve the page, take the pictures, end the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", help="model folder (default: the shipped model)")
    parser.add_argument("--drawing", type=int, default=0, help="which of the page's drawings to show (default: 0)")
    parser.add_argument("--out", type=Path, default=REPOSITORY_DIR / "docs" / "images" / "page.png")
    parser.add_argument("--every-look", type=Path, metavar="DIR", help="write all widths and themes there instead")
    args = parser.parse_args()
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("Expected Chromium on PATH, found none. Install it: apt-get install chromium.")
    with serve_page(args.model) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        if args.every_look is None:
            save_small(take_picture(browser, url, README_LOOK, args.drawing), args.out)
            return
        for look in LOOKS:
            for name, picture in take_tabs(browser, url, look, args.drawing):
                save_small(picture, args.every_look / f"{look.name}_{name}.png")


@contextlib.contextmanager
def serve_page(model: str | None) -> Iterator[str]:
    """Run `hf-fracture demo` in a process of its own and yield its address."""
    command = [sys.executable, "-m", "hf_fracture", "demo", *(["--model", model] if model else [])]
    process = subprocess.Popen(command, cwd=REPOSITORY_DIR, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("The page is at "):
                yield line.split()[4]
                return
        sys.exit(f"The page did not start: {''.join(said)}")
    finally:
        process.terminate()
        process.wait()


def take_picture(browser: "Browser", url: str, look: Look, drawing: int) -> bytes:
    """Choose a drawing, wait for the answer and return a PNG of the page's upper part."""
    page = open_page(browser, url, look, drawing)
    part = {"x": 0.0, "y": 0.0, "width": float(look.width), "height": float(README_HEIGHT_PX)}
    picture = page.screenshot(full_page=True, clip=part)  # type: ignore[arg-type]
    page.context.close()
    return picture


def take_tabs(browser: "Browser", url: str, look: Look, drawing: int) -> Iterator[tuple[str, bytes]]:
    """Yield the name and a PNG of every tab, filled with the page's drawings where it takes films."""
    page = open_page(browser, url, look, None)
    yield "empty", page.screenshot(full_page=True)
    choose_drawing(page, drawing)
    yield "one_film", page.screenshot(full_page=True)
    with tempfile.TemporaryDirectory() as folder:
        films = draw_films(Path(folder))
        for name, path in draw_refusals(Path(folder)):
            page.set_input_files("#film input[type=file]", path)
            page.wait_for_selector("#answer .answer.refused", timeout=WAIT_MS)
            time.sleep(1.0)
            yield name, page.screenshot(full_page=True)
            choose_drawing(page, drawing)
        open_tab(page, "Several")
        page.set_input_files("#films input[type=file]", films)
        page.wait_for_selector("#films .file-preview", timeout=WAIT_MS)
        page.locator("#start").click()
        page.wait_for_selector("button[data-download='findings.zip']", timeout=WAIT_MS)
        yield "several_films", page.screenshot(full_page=True)
        open_tab(page, "Compare")
        page.set_input_files("#compared input[type=file]", films[0])
        page.wait_for_selector("#side-1 .viewer img.film", timeout=WAIT_MS)
        yield "compare", page.screenshot(full_page=True)
    for name in ("Evidence", "API"):
        open_tab(page, name)
        yield name.lower(), page.screenshot(full_page=True)
    page.context.close()


def open_page(browser: "Browser", url: str, look: Look, drawing: int | None) -> "Page":
    """Open the page in a screen of that kind, with the answer to a drawing unless it is to be empty."""
    is_phone = look.width < 500
    context = browser.new_context(
        viewport={"width": look.width, "height": look.height},
        color_scheme="dark" if look.theme == "dark" else "light",
        reduced_motion="reduce",
        has_touch=is_phone,
        is_mobile=is_phone,
    )
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("#film input[type=file]", state="attached", timeout=WAIT_MS)
    if drawing is not None:
        choose_drawing(page, 0 if drawing else 1)  # the first answer waits for the network to be loaded, and says so
        choose_drawing(page, drawing)
    return page


def choose_drawing(page: "Page", drawing: int) -> None:
    """Have one of the page's drawings answered, and go back to the top."""
    button = page.locator(".strip button").nth(drawing)
    file_name = button.inner_text().lower().replace(", ", "_").replace(" ", "_")
    button.click(timeout=WAIT_MS)
    page.wait_for_function(
        "(name) => document.querySelector('#viewer .name')?.innerText.startsWith(name)", arg=file_name, timeout=WAIT_MS
    )
    page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
    time.sleep(1.0)  # the progress veil fades


def open_tab(page: "Page", name: str) -> None:
    """Open a tab, through the menu of those that do not fit where there is one."""
    tab = page.get_by_role("tab", name=name, exact=True).first
    if not tab.is_visible():
        page.locator(".overflow-menu > button").first.click()
        tab = page.locator(".overflow-dropdown button", has_text=name).first
    tab.click()
    time.sleep(1.0)


def draw_films(folder: Path) -> list[str]:
    """Draw a few films into a folder, and put a file among them that is none."""
    from hf_fracture.data.phantoms import draw_phantom

    paths = []
    for seed in (1, 2, 4, 27):
        paths.append(str(folder / f"drawn_film_{seed}.png"))
        draw_phantom(seed, fractured=seed % 2 == 1).image.save(paths[-1])
    (folder / "letter.png").write_text("No film.\n", encoding="utf-8")
    return [*paths, str(folder / "letter.png")]


def draw_refusals(folder: Path) -> list[tuple[str, str]]:
    """Write a coloured picture and a file that is no picture; return what each is called and where it is."""
    import numpy as np

    down, across = np.mgrid[0:480, 0:640] / 640
    colours = np.dstack([across, 0.5 + 0.4 * np.sin(9 * down), 0.8 - down])
    Image.fromarray((255 * colours.clip(0, 1)).astype(np.uint8)).save(folder / "sunset.png")
    (folder / "report.png").write_text("No film.\n", encoding="utf-8")
    return [("refused", str(folder / "sunset.png")), ("unreadable", str(folder / "report.png"))]


def save_small(picture: bytes, path: Path) -> None:
    """Write a PNG of at most `MAX_WIDTH_PX`: true colour, as the map's colours would band in a palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(BytesIO(picture)) as image:
        small = image.convert("RGB")
        small.thumbnail((MAX_WIDTH_PX, 10 * MAX_WIDTH_PX), Image.Resampling.LANCZOS)
        small.save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
