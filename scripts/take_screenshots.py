"""Take pictures of the page: the one in the README, or every width and theme for looking at.

    python scripts/take_screenshots.py                       # docs/images/page.png
    python scripts/take_screenshots.py --every-look DIR      # desktop and phone, light and dark, whole pages

Needs Chromium on PATH. The films are the page's own drawings, so a picture never shows a patient.
"""

import argparse
import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser

REPOSITORY_DIR = Path(__file__).resolve().parent.parent
MAX_WIDTH_PX = 860
ANSWERED = "#answer .answer:not(.waiting)"
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


class Look(NamedTuple):
    """A screen: its name, size in px and theme."""

    name: str
    width: int
    height: int
    theme: str


README_LOOK = Look("page", 1280, 1120, "light")
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
            picture = take_picture(browser, url, look, args.drawing, whole_page=True)
            save_small(picture, args.every_look / f"{look.name}.png")


@contextlib.contextmanager
def serve_page(model: str | None) -> Iterator[str]:
    """Run `hf-fracture demo` in a process of its own and yield its address."""
    command = [sys.executable, "-m", "hf_fracture.cli", "demo", *(["--model", model] if model else [])]
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


def take_picture(browser: "Browser", url: str, look: Look, drawing: int, *, whole_page: bool = False) -> bytes:
    """Choose a drawing, wait for the answer and return a PNG of the screen."""
    context = browser.new_context(
        viewport={"width": look.width, "height": look.height},
        color_scheme="dark" if look.theme == "dark" else "light",
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(url)
    page.locator(".strip button").nth(drawing).click(timeout=60_000)
    page.wait_for_selector(ANSWERED, timeout=60_000)
    page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
    time.sleep(1.0)  # the progress veil fades
    picture = page.screenshot(full_page=whole_page)
    context.close()
    return picture


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
