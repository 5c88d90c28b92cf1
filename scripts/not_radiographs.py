"""Pictures that are no radiographs, of many kinds, with which the gate is fitted and measured; nothing is downloaded.

    python scripts/not_radiographs.py OUT_DIR      # writes them, to look at

Pages are rendered with Chromium where it is installed; photographs come from packages that happen to be installed
(scikit-learn, scipy, scikit-image, matplotlib). Every kind belongs to one half: the gate is fitted on the kinds of the
one and measured on those of the other, so that its figure speaks of kinds that it has not seen.
"""

import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

PER_KIND = 8
SIZE_PX = (640, 480)
WORDS = (
    *("patient", "hospital", "report", "fracture", "image", "result", "value", "method", "table", "figure", "model"),
    *("page", "number", "the", "of", "and", "with", "in", "from"),
)

Pictures = Iterator[Image.Image]
Random = np.random.Generator


@dataclass(frozen=True)
class Kind:
    """One kind of pictures.

    Attributes:
        name: In snake_case.
        half: `fit` or `held_out`.
        draw: Yields pictures; none where what it needs is not installed.
    """

    name: str
    half: str
    draw: Callable[[Random], Pictures]


def list_pictures() -> Iterator[tuple[str, str, Image.Image]]:
    """Yield (kind, half, picture) of every kind, the same ones in every run."""
    for index, kind in enumerate(KINDS):
        for picture in kind.draw(np.random.default_rng(index)):
            yield kind.name, kind.half, picture


def _from_array(values: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _repeat(draw_one: Callable[[Random], Image.Image]) -> Callable[[Random], Pictures]:
    def draw(rng: Random) -> Pictures:
        for _ in range(PER_KIND):
            yield draw_one(rng)

    return draw


def _smooth(rng: Random, size: tuple[int, int], cells: int) -> NDArray[np.float64]:
    """Return random smooth grey levels (H, W) in [0, 1]."""
    small = Image.fromarray(rng.uniform(0, 255, (cells, cells)).astype(np.uint8))
    values = np.asarray(small.resize(size, Image.Resampling.BICUBIC), dtype=np.float64)
    return (values - values.min()) / max(float(np.ptp(values)), 1.0)


# --- without content ---------------------------------------------------------------------------------------------


def _draw_blank(rng: Random) -> Image.Image:
    return Image.new("L", SIZE_PX, int(rng.integers(0, 256)))


def _draw_gradient(rng: Random) -> Image.Image:
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0 : SIZE_PX[1], 0 : SIZE_PX[0]]
    ramp = x * np.cos(angle) + y * np.sin(angle)
    ramp = (ramp - ramp.min()) / np.ptp(ramp)
    return _from_array(255 * (np.sin(ramp * np.pi * rng.integers(1, 3)) if rng.random() < 0.5 else ramp))


def _draw_white_noise(rng: Random) -> Image.Image:
    return _from_array(rng.normal(128, rng.uniform(15, 80), SIZE_PX[::-1]))


def _draw_cloud(rng: Random) -> Image.Image:
    levels = sum(_smooth(rng, SIZE_PX, 2 ** (octave + 2)) / 2**octave for octave in range(5))
    return _from_array(255 * np.asarray(levels) / 2)


def _draw_salt(rng: Random) -> Image.Image:
    picture = np.full(SIZE_PX[::-1], rng.integers(20, 235), dtype=np.float64)
    picture[rng.random(picture.shape) < rng.uniform(0.02, 0.3)] = 255
    picture[rng.random(picture.shape) < rng.uniform(0.02, 0.3)] = 0
    return _from_array(picture)


# --- pages, plots, screens -----------------------------------------------------------------------------------------


def _draw_text(rng: Random) -> Image.Image:
    picture = Image.new("L", (620, 800), int(rng.integers(230, 256)))
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=int(rng.integers(12, 30)))
    for y in range(20, 770, int(rng.integers(18, 44))):
        pen.text((20, y), " ".join(rng.choice(WORDS, size=14)), fill=int(rng.integers(0, 60)), font=font)
    return picture


def _draw_scanned_text(rng: Random) -> Image.Image:
    page = _draw_text(rng).rotate(rng.uniform(-4, 4), fillcolor=225, resample=Image.Resampling.BICUBIC)
    values = np.asarray(page.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 2.5))), dtype=np.float64)
    light = 0.6 + 0.4 * _smooth(rng, page.size, 3)
    return _from_array(values * light + rng.normal(0, 4, values.shape))


def _draw_dark_screen(rng: Random) -> Image.Image:
    return ImageOps.invert(_draw_text(rng))


def _draw_plots(rng: Random) -> Pictures:
    """Yield charts of matplotlib, where it is installed."""
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib.figure import Figure
    except ImportError:
        return
    for index in range(PER_KIND):
        figure = Figure(figsize=(6, 4.5), dpi=110)
        axes = figure.subplots()
        x = np.linspace(0, 10, 80)
        if index % 4 == 0:
            axes.plot(x, np.cumsum(rng.normal(size=(80, 4)), axis=0))
        elif index % 4 == 1:
            axes.bar(range(8), rng.uniform(1, 9, 8))
        elif index % 4 == 2:
            axes.imshow(rng.uniform(size=(12, 12)), cmap="gray")
        else:
            axes.hist(rng.normal(size=500), bins=30)
        axes.set_title("Accuracy of the model")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        yield Image.open(buffer).convert("L")


def _draw_shapes(rng: Random) -> Image.Image:
    picture = Image.new("L", SIZE_PX, int(rng.integers(0, 256)))
    pen = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(4, 20))):
        x, y = rng.integers(0, 500), rng.integers(0, 380)
        box = (int(x), int(y), int(x + rng.integers(20, 260)), int(y + rng.integers(20, 200)))
        (pen.ellipse if rng.random() < 0.5 else pen.rectangle)(box, fill=int(rng.integers(0, 256)))
    return picture


def _draw_board(rng: Random) -> Image.Image:
    cell = int(rng.integers(12, 90))
    y, x = np.mgrid[0 : SIZE_PX[1], 0 : SIZE_PX[0]]
    low, high = sorted(rng.uniform(0, 255, 2))
    return _from_array(np.where((x // cell + y // cell) % 2 == 0, low, high) + rng.normal(0, 6, x.shape))


def _draw_barcode(rng: Random) -> Image.Image:
    picture = np.full(SIZE_PX[::-1], 245.0)
    widths = rng.integers(2, 12, 90)
    edges = np.cumsum(widths)
    for left, width in zip(edges[::2], widths[::2], strict=False):
        picture[60:420, left : left + width] = 15
    return _from_array(picture + rng.normal(0, 3, picture.shape))


PAGES = (
    "<h1>Invoice 4711</h1><table border=1>" + "<tr><td>Item<td>12.50<td>EUR</tr>" * 14 + "</table>",
    "<body style='background:#222;color:#ddd;font:16px monospace'><pre>"
    + "def predict(x):\n    return model(x)\n\n" * 14
    + "</pre>",
    "<h2>Chat</h2>"
    + "".join(
        f"<p style='margin:8px;padding:12px;border-radius:14px;width:60%;background:#{c}'>Hello, how are you today?</p>"
        for c in ("bbb", "eee", "999", "ddd", "aaa")
    ),
    "<div style='display:grid;grid-template-columns:repeat(4,1fr);gap:12px'>"
    + "<div style='background:linear-gradient(135deg,#333,#ccc);height:150px'></div>" * 12
    + "</div>",
    "<body style='background:radial-gradient(circle,#fff,#000)'><h1 style='color:#888;padding:150px'>Welcome</h1>",
    "<form>" + "<label>Name <input value='x'></label><br><br>" * 8 + "<button>Send</button></form>",
    "<svg width=600 height=440>"
    + "".join(f"<circle cx={60 * i} cy={40 * i} r={20 + 9 * i} fill='#{i}{i}{i}' />" for i in range(1, 10))
    + "</svg>",
    "<body style='columns:3;font:11px serif'>" + " ".join(WORDS * 40),
)


def _draw_web_pages(_rng: Random) -> Pictures:
    """Yield screenshots of pages, where Chromium is installed."""
    browser = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if browser is None:
        return
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars")
    with tempfile.TemporaryDirectory() as folder:
        for index, page in enumerate(PAGES):
            source, target = Path(folder) / f"{index}.html", Path(folder) / f"{index}.png"
            source.write_text(f"<!doctype html><meta charset=utf-8>{page}", encoding="utf-8")
            command = [browser, *flags, f"--user-data-dir={folder}/profile", "--window-size=640,480"]
            subprocess.run(
                [*command, f"--screenshot={target}", source.as_uri()], capture_output=True, check=False, timeout=60
            )
            if target.is_file():
                yield Image.open(io.BytesIO(target.read_bytes())).convert("L")


# --- photographs ---------------------------------------------------------------------------------------------------


def _vary(photograph: Image.Image, rng: Random, num: int) -> Pictures:
    """Yield a photograph and random windows of it, in grey."""
    grey = photograph.convert("L")
    yield grey
    for _ in range(num - 1):
        width = int(grey.width * rng.uniform(0.45, 0.9))
        height = int(grey.height * rng.uniform(0.45, 0.9))
        left, top = int(rng.integers(0, grey.width - width + 1)), int(rng.integers(0, grey.height - height + 1))
        window = grey.crop((left, top, left + width, top + height))
        yield ImageOps.mirror(window) if rng.random() < 0.5 else window


def _draw_sklearn_photographs(rng: Random) -> Pictures:
    """Yield the two photographs of scikit-learn (a temple and a flower) in grey."""
    try:
        from sklearn.datasets import load_sample_images
    except ImportError:
        return
    for image in load_sample_images().images:
        yield from _vary(Image.fromarray(image), rng, PER_KIND)


def _draw_matplotlib_photographs(rng: Random) -> Pictures:
    """Yield the photographs that matplotlib carries (a portrait and others) in grey."""
    try:
        from matplotlib import get_data_path
    except ImportError:
        return
    folder = Path(get_data_path()) / "sample_data"
    for path in sorted([*folder.glob("*.jpg"), *folder.glob("*.png")]):
        if min((photograph := Image.open(path)).size) >= 128:
            yield from _vary(photograph, rng, PER_KIND)


def _draw_skimage_photographs(rng: Random) -> Pictures:
    """Yield the photographs that scikit-image carries, where it is installed."""
    try:
        import skimage
    except ImportError:
        return
    for path in sorted((Path(skimage.__file__).parent / "data").glob("*.[jp][pn]g")):
        yield from _vary(Image.open(path), rng, 3)


def _draw_scene(rng: Random) -> Image.Image:
    """A landscape: sky, hills of texture, a lit disc, houses with windows."""
    width, height = SIZE_PX
    picture = np.linspace(rng.uniform(120, 250), rng.uniform(90, 200), height)[:, None] * np.ones((1, width))
    picture += 40 * (_smooth(rng, SIZE_PX, 8) - 0.5)
    x = np.arange(width)
    for layer in range(3):
        ridge = height * (0.45 + 0.17 * layer) + 50 * np.interp(x, np.linspace(0, width, 9), rng.normal(size=9))
        below = np.arange(height)[:, None] > ridge[None]
        texture = rng.uniform(20, 150) + 70 * (_smooth(rng, SIZE_PX, 60) - 0.5) + rng.normal(0, 9, picture.shape)
        picture = np.where(below, texture, picture)
    scene = _from_array(picture)
    pen = ImageDraw.Draw(scene)
    for _ in range(int(rng.integers(0, 5))):
        left, top = int(rng.integers(0, 540)), int(rng.integers(200, 360))
        pen.rectangle((left, top, left + 90, top + 110), fill=int(rng.integers(60, 220)))
        for row in range(3):
            for column in range(3):
                corner = left + 12 + column * 26, top + 12 + row * 32
                pen.rectangle((*corner, corner[0] + 12, corner[1] + 16), fill=int(rng.integers(0, 255)))
    return scene.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))


def _draw_portrait(rng: Random) -> Image.Image:
    """A head before a background, softly lit."""
    width, height = 480, 600
    picture = _from_array(255 * _smooth(rng, (width, height), 5))
    pen = ImageDraw.Draw(picture)
    skin, hair = int(rng.integers(110, 230)), int(rng.integers(10, 120))
    pen.ellipse((90, 420, 390, 780), fill=int(rng.integers(20, 240)))
    pen.ellipse((120, 80, 360, 400), fill=hair)
    pen.ellipse((145, 130, 335, 410), fill=skin)
    for x in (200, 280):
        pen.ellipse((x - 18, 230, x + 18, 250), fill=245)
        pen.ellipse((x - 8, 232, x + 8, 248), fill=20)
    pen.arc((205, 300, 275, 350), 10, 170, fill=60, width=6)
    values = np.asarray(picture.filter(ImageFilter.GaussianBlur(rng.uniform(2, 6))), dtype=np.float64)
    light = 0.55 + 0.45 * _smooth(rng, (width, height), 3)
    return _from_array(values * light + rng.normal(0, 3, values.shape))


def _draw_weave(rng: Random) -> Image.Image:
    """Cloth or brickwork: a texture that repeats."""
    y, x = np.mgrid[0 : SIZE_PX[1], 0 : SIZE_PX[0]]
    period = rng.uniform(8, 40)
    pattern = np.sin(2 * np.pi * x / period) * np.sin(2 * np.pi * y / (period * rng.uniform(0.4, 2)))
    return _from_array(128 + 70 * pattern + 50 * (_smooth(rng, SIZE_PX, 6) - 0.5) + rng.normal(0, 6, x.shape))


def _draw_pebbles(rng: Random) -> Image.Image:
    """Stones, coins or cells: many round things, shaded."""
    picture = Image.new("L", SIZE_PX, int(rng.integers(20, 120)))
    pen = ImageDraw.Draw(picture)
    for _ in range(160):
        x, y, radius = rng.integers(0, SIZE_PX[0]), rng.integers(0, SIZE_PX[1]), int(rng.integers(10, 45))
        for step in range(radius, 0, -3):
            grey = int(80 + 140 * (1 - step / radius) * rng.uniform(0.7, 1.0))
            pen.ellipse((int(x) - step, int(y) - step, int(x) + step, int(y) + step), fill=grey)
    return picture.filter(ImageFilter.GaussianBlur(1))


def _draw_starry(rng: Random) -> Image.Image:
    """A night sky or a microscope field: bright points before black."""
    picture = np.abs(rng.normal(0, 4, SIZE_PX[::-1]))
    for _ in range(300):
        x, y = int(rng.integers(2, SIZE_PX[0] - 2)), int(rng.integers(2, SIZE_PX[1] - 2))
        picture[y - 1 : y + 2, x - 1 : x + 2] += rng.uniform(60, 255)
    return _from_array(picture).filter(ImageFilter.GaussianBlur(1.2))


def _draw_ultrasound(rng: Random) -> Image.Image:
    """A fan of speckle, as ultrasound shows; no radiograph, though medical."""
    y, x = np.mgrid[0:480, 0:640]
    radius, angle = np.hypot(x - 320, y + 40), np.arctan2(x - 320, y + 40)
    inside = (radius > 90) & (radius < 480) & (np.abs(angle) < 0.62)
    speckle = rng.rayleigh(38, (480, 640)) * (0.4 + 1.2 * _smooth(rng, (640, 480), 7))
    return _from_array(np.where(inside, speckle, 0)).filter(ImageFilter.GaussianBlur(rng.uniform(0.8, 1.6)))


def _draw_brain_slice(rng: Random) -> Image.Image:
    """An axial slice as MR shows a head: bright rim, grey folds, dark chambers."""
    picture = Image.new("L", (480, 560), 4)
    pen = ImageDraw.Draw(picture)
    pen.ellipse((50, 40, 430, 520), fill=int(rng.integers(150, 230)))
    pen.ellipse((66, 58, 414, 502), fill=25)
    pen.ellipse((82, 74, 398, 486), fill=int(rng.integers(90, 150)))
    for side in (-1, 1):
        pen.ellipse((240 + side * 45 - 22, 200, 240 + side * 45 + 22, 330), fill=30)
    values = np.asarray(picture.filter(ImageFilter.GaussianBlur(3)), dtype=np.float64)
    folds = 45 * (_smooth(rng, (480, 560), 34) - 0.5)
    return _from_array(values + folds * (values > 60) + rng.normal(0, 5, values.shape))


KINDS = (
    Kind("blank", "fit", _repeat(_draw_blank)),
    Kind("gradient", "held_out", _repeat(_draw_gradient)),
    Kind("white_noise", "fit", _repeat(_draw_white_noise)),
    Kind("cloud", "held_out", _repeat(_draw_cloud)),
    Kind("salt_and_pepper", "held_out", _repeat(_draw_salt)),
    Kind("text_page", "fit", _repeat(_draw_text)),
    Kind("scanned_text", "held_out", _repeat(_draw_scanned_text)),
    Kind("dark_screen", "held_out", _repeat(_draw_dark_screen)),
    Kind("plot", "fit", _draw_plots),
    Kind("web_page", "held_out", _draw_web_pages),
    Kind("shapes", "fit", _repeat(_draw_shapes)),
    Kind("chess_board", "held_out", _repeat(_draw_board)),
    Kind("barcode", "fit", _repeat(_draw_barcode)),
    Kind("photographs_of_scikit_learn", "held_out", _draw_sklearn_photographs),
    Kind("photographs_of_matplotlib", "fit", _draw_matplotlib_photographs),
    Kind("photographs_of_scikit_image", "held_out", _draw_skimage_photographs),
    Kind("landscape", "fit", _repeat(_draw_scene)),
    Kind("portrait", "held_out", _repeat(_draw_portrait)),
    Kind("weave", "fit", _repeat(_draw_weave)),
    Kind("pebbles", "held_out", _repeat(_draw_pebbles)),
    Kind("starry_sky", "fit", _repeat(_draw_starry)),
    Kind("ultrasound", "held_out", _repeat(_draw_ultrasound)),
    Kind("head_slice", "fit", _repeat(_draw_brain_slice)),
)


def main(out_dir: Path) -> None:
    """Write every picture to a folder per kind."""
    for index, (kind, half, picture) in enumerate(list_pictures()):
        path = out_dir / half / kind / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
