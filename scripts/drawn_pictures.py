"""Pictures that are no radiographs, drawn: objects, scenes, textures, slices and fields of other instruments.

`not_radiographs.py` makes kinds of these functions; each takes a random generator and returns one grey picture, another
one at every call.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIZE_PX = (640, 480)

Random = np.random.Generator
Levels = NDArray[np.float64]
Draw = Callable[[Random], Image.Image]


def to_picture(values: NDArray[np.floating]) -> Image.Image:
    """Round grey levels to a picture."""
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def draw_smooth(rng: Random, size: tuple[int, int], cells: int) -> Levels:
    """Return random smooth grey levels (H, W) in [0, 1]."""
    small = Image.fromarray(rng.uniform(0, 255, (cells, cells)).astype(np.uint8))
    values = np.asarray(small.resize(size, Image.Resampling.BICUBIC), dtype=np.float64)
    levels: Levels = (values - values.min()) / max(float(np.ptp(values)), 1.0)
    return levels


def draw_turbulence(rng: Random, size: tuple[int, int] = SIZE_PX, *, cells: int = 4, gain: float = 0.5) -> Levels:
    """Return a sum of smooth levels at six scales (H, W) in [0, 1]."""
    total = np.zeros(size[::-1])
    for octave in range(6):
        total += draw_smooth(rng, size, cells * 2**octave) * gain**octave
    levels: Levels = (total - total.min()) / max(float(np.ptp(total)), 1e-9)
    return levels


def light_relief(height: Levels, rng: Random, *, grey: float | Levels = 140.0, strength: float = 60.0) -> Levels:
    """Light a relief from the side, as a camera sees it."""
    angle = rng.uniform(0, 2 * np.pi)
    down, right = np.gradient(height)
    slope = right * np.cos(angle) + down * np.sin(angle)
    lit: Levels = grey + strength * slope / max(float(np.abs(slope).max()) * 0.5, 1e-9)
    return lit


def photograph(picture: Image.Image | Levels, rng: Random, *, blur: float = 1.2, noise: float = 4.0) -> Image.Image:
    """Give a drawing what a camera adds: uneven light, a soft focus, grain."""
    values = np.asarray(picture, dtype=np.float64)
    size = (values.shape[1], values.shape[0])
    values = values * (1 - rng.uniform(0.1, 0.5) * draw_smooth(rng, size, 3)) + rng.uniform(-10, 20)
    soft = np.asarray(to_picture(values).filter(ImageFilter.GaussianBlur(rng.uniform(0.3, blur))), dtype=np.float64)
    return to_picture(soft + rng.normal(0, rng.uniform(0.5, noise), soft.shape))


def mesh(size: tuple[int, int] = SIZE_PX) -> tuple[Levels, Levels]:
    """Return x and y of every pixel."""
    y, x = np.mgrid[0.0 : size[1], 0.0 : size[0]]
    return x, y


def disc(x: Levels, y: Levels, centre: tuple[float, float], radii: tuple[float, float], angle: float = 0.0) -> Levels:
    """Return the distance from the centre of an ellipse; 1 on its edge."""
    dx, dy = x - centre[0], y - centre[1]
    along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
    distance: Levels = np.hypot(along / radii[0], across / radii[1])
    return distance


def draw_ground(rng: Random, size: tuple[int, int] = SIZE_PX) -> Levels:
    """A table, a wall or a floor out of focus."""
    level = rng.uniform(30, 220)
    return level + rng.uniform(5, 50) * (draw_turbulence(rng, size, cells=int(rng.integers(2, 9))) - 0.5)


def _pick(rng: Random, low: float, high: float) -> int:
    return int(rng.uniform(low, high))


def _blank(rng: Random, size: tuple[int, int] = SIZE_PX) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    picture = to_picture(draw_ground(rng, size))
    return picture, ImageDraw.Draw(picture)


# --- slices and fields of other instruments --------------------------------------------------------------------------


def _draw_abdomen_slice(rng: Random) -> Image.Image:
    size = (_pick(rng, 420, 640), _pick(rng, 360, 480))
    x, y = mesh(size)
    cx, cy, wide, high = size[0] / 2, size[1] / 2, size[0] * 0.44, size[1] * 0.42
    body = disc(x, y, (cx, cy), (wide, high))
    values = np.where(body < 1, rng.uniform(50, 90), 3.0)
    values = np.where(disc(x, y, (cx, cy), (wide * 0.88, high * 0.86)) < 1, rng.uniform(95, 135), values)
    for _ in range(_pick(rng, 5, 10)):
        spot = cx + rng.uniform(-0.6, 0.6) * wide, cy + rng.uniform(-0.6, 0.4) * high
        organ = disc(x, y, spot, (rng.uniform(18, 90), rng.uniform(18, 60)), rng.uniform(0, 3))
        values = np.where((organ < 1) & (body < 0.85), rng.uniform(20, 185), values)
    values = np.where(disc(x, y, (cx, cy + 0.6 * high), (34, 28)) < 1, rng.uniform(200, 250), values)
    soft = np.asarray(to_picture(values).filter(ImageFilter.GaussianBlur(1.6)), dtype=np.float64)
    return to_picture(soft + rng.normal(0, rng.uniform(3, 9), soft.shape) * (soft > 10))


def _draw_chest_slice(rng: Random) -> Image.Image:
    size = (_pick(rng, 460, 640), _pick(rng, 340, 460))
    x, y = mesh(size)
    cx, cy, wide, high = size[0] / 2, size[1] / 2, size[0] * 0.45, size[1] * 0.43
    values = np.where(disc(x, y, (cx, cy), (wide, high)) < 1, rng.uniform(100, 150), 2.0)
    for side in (-1, 1):
        lung = disc(x, y, (cx + side * wide * 0.47, cy), (wide * 0.34, high * 0.66), side * 0.2)
        values = np.where(lung < 1, 18 + 60 * (draw_turbulence(rng, size, cells=20) > 0.72), values)
        for rib in range(6):
            angle = rib / 5 * np.pi - np.pi / 2
            spot = cx + side * wide * 0.85 * np.cos(angle), cy + high * 0.85 * np.sin(angle)
            values = np.where(disc(x, y, spot, (20, 8), angle * side) < 1, rng.uniform(200, 250), values)
    values = np.where(disc(x, y, (cx, cy + 0.62 * high), (32, 27)) < 1, rng.uniform(190, 250), values)
    soft = np.asarray(to_picture(values).filter(ImageFilter.GaussianBlur(1.3)), dtype=np.float64)
    return to_picture(soft + rng.normal(0, rng.uniform(2, 7), soft.shape))


def _draw_knee_slice(rng: Random) -> Image.Image:
    size = (_pick(rng, 360, 460), _pick(rng, 460, 560))
    x, y = mesh(size)
    cx = size[0] / 2 + rng.uniform(-20, 20)
    values = np.where(np.abs(x - cx) < size[0] * 0.42 + 14 * np.sin(y / 60), rng.uniform(60, 110), 4.0)
    marrow = rng.uniform(140, 220)
    for top, bottom in ((0.0, 0.46), (0.52, 1.0)):
        middle, half = size[1] * (top + bottom) / 2, size[1] * (bottom - top) / 2
        bone = ((np.abs(x - cx) / (size[0] * 0.2)) ** 4 + (np.abs(y - middle) / half) ** 6) ** 0.25
        values = np.where(bone < 1.06, 15.0, values)
        values = np.where(bone < 1.0, marrow + 30 * (draw_turbulence(rng, size, cells=18) - 0.5), values)
    for _ in range(5):
        spot = cx + rng.choice([-1, 1]) * size[0] * 0.31, rng.uniform(40, size[1] - 40)
        values = np.where(disc(x, y, spot, (18, 70)) < 1, rng.uniform(30, 190), values)
    soft = np.asarray(to_picture(values).filter(ImageFilter.GaussianBlur(1.8)), dtype=np.float64)
    return to_picture(soft + rng.normal(0, rng.uniform(3, 8), soft.shape))


def _draw_spine_slice(rng: Random) -> Image.Image:
    size = (_pick(rng, 340, 460), _pick(rng, 480, 620))
    x, y = mesh(size)
    values = 40 + 70 * draw_turbulence(rng, size, cells=7)
    bend = rng.uniform(20, 70) * np.sin(y / size[1] * rng.uniform(2, 4))
    middle = size[0] * 0.45 + bend
    for top in range(10, size[1], _pick(rng, 52, 70)):
        values = np.where((np.abs(x - middle) < 42) & (y > top) & (y < top + 42), rng.uniform(110, 170), values)
    values = np.where(np.abs(x - middle - 70) < 16, rng.uniform(180, 240), values)
    values = np.where(np.abs(x - middle - 70) < 8, rng.uniform(90, 130), values)
    soft = np.asarray(to_picture(values).filter(ImageFilter.GaussianBlur(2.2)), dtype=np.float64)
    return to_picture(soft + rng.normal(0, 5, soft.shape))


def _draw_nuclear_scan(rng: Random) -> Image.Image:
    x, y = mesh((360, 520))
    values = np.zeros(x.shape)
    for _ in range(_pick(rng, 18, 40)):
        spot = 180 + rng.normal(0, 55), rng.uniform(30, 490)
        values += rng.uniform(15, 120) * np.exp(-((disc(x, y, spot, (rng.uniform(8, 30), rng.uniform(8, 45)))) ** 2))
    counts = rng.poisson(np.clip(values / 12, 0, 30)) * 12.0
    soft = np.asarray(to_picture(counts).filter(ImageFilter.GaussianBlur(1.8)), dtype=np.float64)
    return to_picture(255 - soft if rng.random() < 0.5 else soft)


def _draw_endoscopy(rng: Random) -> Image.Image:
    x, y = mesh((520, 480))
    cx, cy = 260 + rng.uniform(-40, 40), 240 + rng.uniform(-40, 40)
    distance = disc(x, y, (cx, cy), (240, 220))
    folds = 30 * np.sin(distance * rng.uniform(10, 26) + 6 * draw_smooth(rng, (520, 480), 5))
    values = 210 * np.clip(distance, 0.1, 1) ** rng.uniform(0.5, 1.2) + folds
    values += 90 * (draw_turbulence(rng, (520, 480), cells=9) > 0.78)
    return photograph(np.where(disc(x, y, (260, 240), (235, 228)) < 1, values, 4.0), rng)


def _draw_fundus(rng: Random) -> Image.Image:
    picture = to_picture(110 + 50 * draw_turbulence(rng, (520, 520), cells=3))
    pen = ImageDraw.Draw(picture)
    ox, oy = _pick(rng, 130, 390), _pick(rng, 200, 320)
    pen.ellipse((ox - 34, oy - 38, ox + 34, oy + 38), fill=230)
    for _ in range(26):
        angle, px, py = rng.uniform(0, 2 * np.pi), float(ox), float(oy)
        for step in range(60):
            angle += rng.normal(0, 0.16)
            qx, qy = px + 7 * np.cos(angle), py + 7 * np.sin(angle)
            pen.line((px, py, qx, qy), fill=60, width=max(1, 6 - step // 10))
            px, py = qx, qy
    x, y = mesh((520, 520))
    return photograph(np.where(np.hypot(x - 260, y - 260) < 246, np.asarray(picture, dtype=np.float64), 3.0), rng)


def _draw_linear_ultrasound(rng: Random) -> Image.Image:
    size = (_pick(rng, 420, 640), _pick(rng, 380, 480))
    _, y = mesh(size)
    layers = np.interp(y + 30 * draw_smooth(rng, size, 4), np.linspace(0, 500, 9), rng.uniform(15, 150, 9))
    values = layers * rng.rayleigh(0.9, layers.shape) * (1 - 0.6 * y / size[1])
    return to_picture(values).filter(ImageFilter.BoxBlur(rng.uniform(0.6, 1.6)))


def _draw_retina_layers(rng: Random) -> Image.Image:
    size = (640, 360)
    _, y = mesh(size)
    surface = 120 + 60 * draw_smooth(rng, size, 4)[0]
    values = np.full(y.shape, 14.0)
    for depth, thickness, level in zip(
        np.cumsum(rng.uniform(10, 26, 7)), rng.uniform(6, 22, 7), rng.uniform(50, 220, 7), strict=True
    ):
        values = np.where(np.abs(y - surface - depth) < thickness / 2, level, values)
    return to_picture(values * rng.rayleigh(0.8, values.shape) + 8).filter(ImageFilter.GaussianBlur(0.9))


def _draw_tissue(rng: Random) -> Image.Image:
    values = 190 - 70 * draw_turbulence(rng, cells=10)
    picture = to_picture(values)
    pen = ImageDraw.Draw(picture)
    for _ in range(_pick(rng, 300, 900)):
        px, py = rng.uniform(0, 640), rng.uniform(0, 480)
        a, b = rng.uniform(3, 8), rng.uniform(3, 8)
        pen.ellipse((px - a, py - b, px + a, py + b), fill=_pick(rng, 40, 110))
    return photograph(picture, rng, blur=1.0)


def _draw_mole_on_skin(rng: Random) -> Image.Image:
    x, y = mesh()
    values = rng.uniform(140, 210) + 25 * (draw_turbulence(rng, cells=24, gain=0.8) - 0.5)
    edge = disc(x, y, (rng.uniform(220, 420), rng.uniform(160, 320)), (rng.uniform(60, 150), rng.uniform(50, 120)))
    edge = edge + 0.5 * (draw_turbulence(rng, cells=6) - 0.5)
    values -= rng.uniform(50, 120) / (1 + np.exp((edge - 1) * 14)) * (0.6 + 0.8 * draw_turbulence(rng, cells=12))
    picture = to_picture(values)
    pen = ImageDraw.Draw(picture)
    for _ in range(_pick(rng, 0, 14)):
        px, py = rng.uniform(0, 640), rng.uniform(0, 480)
        pen.arc((px, py, px + rng.uniform(60, 240), py + rng.uniform(60, 240)), 20, 150, fill=40, width=2)
    return photograph(picture, rng)


def _draw_ecg_strip(rng: Random) -> Image.Image:
    picture = Image.new("L", SIZE_PX, _pick(rng, 215, 250))
    pen = ImageDraw.Draw(picture)
    for step in range(0, 640, 10):
        tone = 150 if step % 50 == 0 else 195
        pen.line((step, 0, step, 480), fill=tone)
        pen.line((0, step, 640, step), fill=tone)
    beat = _pick(rng, 70, 130)
    for row in (90, 240, 390):
        t = np.arange(640) % beat / beat
        wave = 12 * np.exp(-(((t - 0.2) / 0.04) ** 2)) + 70 * np.exp(-(((t - 0.4) / 0.015) ** 2))
        wave += 18 * np.exp(-(((t - 0.65) / 0.06) ** 2)) - 16 * np.exp(-(((t - 0.44) / 0.015) ** 2))
        pen.line([(float(i), row - float(v)) for i, v in enumerate(wave)], fill=20, width=2)
    return photograph(picture, rng, blur=0.8)


# --- living things ---------------------------------------------------------------------------------------------------


def _draw_face(rng: Random) -> Image.Image:
    size = (480, 600)
    x, y = mesh(size)
    picture = draw_ground(rng, size)
    tone, cx, cy = rng.uniform(90, 215), 240 + rng.uniform(-30, 30), 300 + rng.uniform(-40, 40)
    head = disc(x, y, (cx, cy), (rng.uniform(120, 165), rng.uniform(170, 215)))
    hair = disc(x, y, (cx, cy - 60), (rng.uniform(150, 190), rng.uniform(170, 220)))
    picture = np.where(hair < 1, rng.uniform(20, 120) + 50 * (draw_turbulence(rng, size, cells=30) - 0.5), picture)
    shade = np.sqrt(np.clip(1 - head**2, 0, 1))
    picture = np.where(head < 1, tone * (0.55 + 0.45 * shade) - 0.08 * (x - cx), picture)
    for side in (-1, 1):
        eye = disc(x, y, (cx + side * 58, cy - 30), (27, 12))
        picture = np.where(eye < 1, 235, picture)
        picture = np.where(disc(x, y, (cx + side * 58, cy - 30), (10, 11)) < 1, 25, picture)
        picture = np.where(disc(x, y, (cx + side * 58, cy - 62), (38, 6), side * 0.1) < 1, 50, picture)
    picture = np.where(disc(x, y, (cx, cy + 40), (20, 10)) < 1, tone * 0.55, picture)
    picture = np.where(disc(x, y, (cx, cy + 95), (rng.uniform(34, 60), rng.uniform(8, 20))) < 1, tone * 0.5, picture)
    return photograph(picture, rng, blur=3.0)


def _draw_cat_face(rng: Random) -> Image.Image:
    x, y = mesh()
    picture, tone = draw_ground(rng), rng.uniform(60, 190)
    fur = 60 * (draw_turbulence(rng, cells=40, gain=0.9) - 0.5)
    for side in (-1, 1):
        ear = (np.abs(x - 320 - side * 105) < (y - 40) * 0.55) & (y > 40) & (y < 190)
        picture = np.where(ear, tone * 0.8 + fur, picture)
    head = disc(x, y, (320, 260), (190, 160))
    picture = np.where(head < 1, tone * (0.7 + 0.3 * np.sqrt(np.clip(1 - head**2, 0, 1))) + fur, picture)
    for side in (-1, 1):
        picture = np.where(disc(x, y, (320 + side * 75, 230), (34, 26)) < 1, 210, picture)
        picture = np.where(disc(x, y, (320 + side * 75, 230), (8, 24)) < 1, 15, picture)
    picture = np.where(disc(x, y, (320, 300), (22, 14)) < 1, 60, picture)
    drawn = to_picture(picture)
    pen = ImageDraw.Draw(drawn)
    for side in (-1, 1):
        for row in range(3):
            pen.line((320 + side * 40, 315 + 8 * row, 320 + side * 230, 285 + 34 * row), fill=235, width=2)
    return photograph(drawn, rng)


def _draw_fish(rng: Random) -> Image.Image:
    x, y = mesh()
    picture = draw_ground(rng)
    for _ in range(_pick(rng, 1, 4)):
        cx, cy, long = rng.uniform(200, 440), rng.uniform(120, 360), rng.uniform(110, 200)
        high, tone = long * rng.uniform(0.3, 0.5), rng.uniform(60, 210)
        body = disc(x, y, (cx, cy), (long, high))
        scales = 18 * np.sin((x + y) / 7) * np.sin((x - y) / 7)
        picture = np.where(body < 1, tone * (0.6 + 0.4 * np.sqrt(np.clip(1 - body**2, 0, 1))) + scales, picture)
        tail = (x > cx + long * 0.9) & (x < cx + long * 1.4) & (np.abs(y - cy) < (x - cx - long * 0.8) * 0.8)
        picture = np.where(tail, tone * 0.8 + 15 * np.sin(y / 4), picture)
        picture = np.where(disc(x, y, (cx - long * 0.72, cy - high * 0.2), (11, 11)) < 1, 20, picture)
    return photograph(picture, rng)


def _draw_feathers(rng: Random) -> Image.Image:
    x, y = mesh()
    picture = draw_ground(rng)
    for _ in range(_pick(rng, 6, 18)):
        cx, cy, angle, long = rng.uniform(0, 640), rng.uniform(0, 480), rng.uniform(0, 3.1), rng.uniform(80, 220)
        shape = disc(x, y, (cx, cy), (long, long * 0.2), angle)
        along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        across = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        barbs = rng.uniform(70, 210) + 25 * np.sin((along - 1.5 * np.abs(across)) / 2.5)
        picture = np.where(shape < 1, np.where(np.abs(across) < 2, 235, barbs), picture)
    return photograph(picture, rng)


def _draw_fur(rng: Random) -> Image.Image:
    picture = to_picture(rng.uniform(60, 170) + 60 * (draw_turbulence(rng, cells=4) - 0.5))
    pen = ImageDraw.Draw(picture)
    flow = 2 * np.pi * draw_smooth(rng, SIZE_PX, 3)
    for _ in range(6000):
        px, py = _pick(rng, 0, 639), _pick(rng, 0, 479)
        angle, long = flow[py, px] + rng.normal(0, 0.2), rng.uniform(8, 28)
        end = px + long * np.cos(angle), py + long * np.sin(angle)
        pen.line((px, py, *end), fill=_pick(rng, 20, 235))
    return photograph(picture, rng, blur=0.9)


def _draw_tree(rng: Random) -> Image.Image:
    picture = to_picture(rng.uniform(130, 240) + 50 * (draw_turbulence(rng, cells=3) - 0.5))
    pen = ImageDraw.Draw(picture)
    branches = [(320.0, 480.0, -np.pi / 2, rng.uniform(90, 130), 22.0)]
    while branches:
        px, py, angle, long, width = branches.pop()
        qx, qy = px + long * np.cos(angle), py + long * np.sin(angle)
        pen.line((px, py, qx, qy), fill=_pick(rng, 10, 80), width=max(1, int(width)))
        if width > 1.2:
            turns = rng.uniform(0.2, 0.7, 2) * (-1, 1)
            branches += [(qx, qy, angle + turn, long * rng.uniform(0.65, 0.85), width * 0.62) for turn in turns]
    return photograph(picture, rng)


def _draw_bark(rng: Random) -> Image.Image:
    size = SIZE_PX
    stretched = np.asarray(
        to_picture(255 * draw_turbulence(rng, (640, 120), cells=12, gain=0.7)).resize((640, 1400)), dtype=np.float64
    )[:480]
    grey = rng.uniform(70, 150) + 60 * (draw_turbulence(rng, size, cells=20) - 0.5)
    return photograph(light_relief(stretched, rng, grey=grey, strength=70), rng)


def _draw_forest(rng: Random) -> Image.Image:
    picture = np.linspace(rng.uniform(150, 240), rng.uniform(30, 110), 480)[:, None] + 0 * draw_smooth(rng, SIZE_PX, 3)
    picture += 60 * (draw_turbulence(rng, cells=24, gain=0.8) - 0.5)
    for depth in np.linspace(0, 1, 22):
        left, wide = rng.uniform(0, 640), 4 + 34 * depth**2
        tone = 150 - 110 * depth + 30 * draw_turbulence(rng, (640, 480), cells=30)
        x, _ = mesh()
        picture = np.where(np.abs(x - left) < wide / 2, tone, picture)
    return photograph(picture, rng)


# --- objects ---------------------------------------------------------------------------------------------------------


def _draw_bottles(rng: Random) -> Image.Image:
    x, y = mesh()
    picture = draw_ground(rng)
    for cx in np.arange(80, 600, rng.uniform(110, 190)):
        half, top, tone = rng.uniform(28, 55), rng.uniform(60, 200), rng.uniform(40, 220)
        neck = half * 0.35
        width = np.interp(y, [top, top + 60, top + 110], [neck, neck, half])
        across = (x - cx) / width
        inside = (np.abs(across) < 1) & (y > top) & (y < 440)
        glass = tone * (0.5 + 0.5 * np.sqrt(np.clip(1 - across**2, 0, 1))) + 90 * np.exp(-(((across + 0.5) / 0.1) ** 2))
        picture = np.where(inside, glass, picture)
    return photograph(picture, rng)


def _draw_chair(rng: Random) -> Image.Image:
    picture, pen = _blank(rng)
    left, top, wide, tone = _pick(rng, 140, 260), _pick(rng, 50, 110), _pick(rng, 150, 240), _pick(rng, 15, 230)
    for leg in (left, left + wide):
        pen.line((leg, top, leg, 450), fill=tone, width=_pick(rng, 10, 22))
    for bar in range(3):
        pen.rectangle((left, top + 50 * bar, left + wide, top + 50 * bar + 20), fill=tone)
    pen.polygon([(left, 270), (left + wide, 270), (left + wide + 60, 320), (left - 50, 320)], fill=max(0, tone - 30))
    for leg in (left - 45, left + wide + 55):
        pen.line((leg, 320, leg, 470), fill=tone, width=14)
    return photograph(picture, rng)


def _draw_coins(rng: Random) -> Image.Image:
    x, y = mesh()
    picture = draw_ground(rng)
    for _ in range(_pick(rng, 5, 22)):
        spot, radius, tone = (rng.uniform(40, 600), rng.uniform(40, 440)), rng.uniform(28, 62), rng.uniform(90, 220)
        distance = disc(x, y, spot, (radius, radius))
        relief = light_relief(draw_turbulence(rng, cells=20), rng, grey=tone, strength=40)
        picture = np.where(distance < 1, np.where(distance > 0.88, tone * 0.7, relief), picture)
    return photograph(picture, rng)


def _draw_cup(rng: Random) -> Image.Image:
    x, y = mesh()
    picture, cx, half, tone = draw_ground(rng), rng.uniform(250, 390), rng.uniform(80, 130), rng.uniform(70, 240)
    handle = disc(x, y, (cx + half, 260), (70, 80))
    picture = np.where((handle < 1) & (handle > 0.65), tone * 0.8, picture)
    across = (x - cx) / half
    side = (np.abs(across) < 1) & (y > 150) & (y < 380 + 20 * np.sqrt(np.clip(1 - across**2, 0, 1)))
    picture = np.where(side, tone * (0.45 + 0.55 * np.sqrt(np.clip(1 - (across + 0.25) ** 2, 0, 1))), picture)
    picture = np.where(disc(x, y, (cx, 150), (half, 26)) < 1, tone * 0.9, picture)
    picture = np.where(disc(x, y, (cx, 152), (half * 0.9, 20)) < 1, rng.uniform(20, 70), picture)
    return photograph(picture, rng, blur=2)


def _draw_eggs(rng: Random) -> Image.Image:
    x, y = mesh()
    picture = draw_ground(rng)
    for _ in range(_pick(rng, 3, 12)):
        spot, radius, tone = (rng.uniform(60, 580), rng.uniform(60, 420)), rng.uniform(40, 85), rng.uniform(110, 250)
        shape = disc(x, y, spot, (radius, radius * 0.76), rng.uniform(0, 3))
        lit = disc(x, y, (spot[0] - radius * 0.3, spot[1] - radius * 0.3), (radius * 1.5, radius * 1.5))
        picture = np.where(shape < 1, tone * np.clip(1.1 - 0.6 * lit, 0.2, 1), picture)
    return photograph(picture, rng, blur=2)


def _draw_cutlery(rng: Random) -> Image.Image:
    picture, pen = _blank(rng)
    tone = _pick(rng, 120, 250)
    for index, left in enumerate(range(140, 560, 140)):
        pen.line((left, 200, left, 450), fill=tone, width=_pick(rng, 14, 24))
        if index % 3 == 0:
            for prong in range(4):
                pen.line((left - 27 + 18 * prong, 50, left - 27 + 18 * prong, 150), fill=tone, width=9)
            pen.rectangle((left - 32, 140, left + 32, 205), fill=tone)
        elif index % 3 == 1:
            pen.ellipse((left - 38, 50, left + 38, 210), fill=tone)
            pen.ellipse((left - 24, 75, left + 14, 170), fill=max(0, tone - 70))
        else:
            pen.polygon([(left - 12, 210), (left + 16, 210), (left + 16, 50), (left - 6, 70)], fill=tone)
    return photograph(picture.rotate(rng.uniform(-40, 40), fillcolor=_pick(rng, 30, 200)), rng)


def _draw_gears(rng: Random) -> Image.Image:
    x, y = mesh()
    picture = draw_ground(rng)
    for _ in range(_pick(rng, 2, 6)):
        cx, cy, radius, teeth = rng.uniform(80, 560), rng.uniform(80, 400), rng.uniform(50, 130), _pick(rng, 9, 26)
        angle = np.arctan2(y - cy, x - cx)
        edge = radius * (1 + 0.08 * np.sign(np.sin(angle * teeth)))
        distance = np.hypot(x - cx, y - cy)
        face = rng.uniform(70, 210) + 20 * np.sin(distance / 3) + 25 * np.cos(2 * angle)
        picture = np.where((distance < edge) & (distance > radius * 0.25), face, picture)
    return photograph(picture, rng)


def _draw_keyboard(rng: Random) -> Image.Image:
    picture, pen = _blank(rng)
    cell, dark = _pick(rng, 36, 60), rng.random() < 0.5
    font = ImageFont.load_default(size=cell // 2)
    for row in range(480 // cell):
        for column in range(-1, 640 // cell + 1):
            left, top = column * cell + (row % 3) * cell // 3, row * cell
            pen.rounded_rectangle((left + 3, top + 3, left + cell - 4, top + cell - 5), 6, fill=40 if dark else 215)
            letter = chr(65 + _pick(rng, 0, 26))
            pen.text((left + cell // 4, top + cell // 6), letter, fill=230 if dark else 30, font=font)
    return photograph(picture.rotate(rng.uniform(-20, 20), fillcolor=90), rng)


def _draw_keys(rng: Random) -> Image.Image:
    picture, _ = _blank(rng)
    for _ in range(_pick(rng, 1, 5)):
        mask = Image.new("L", SIZE_PX, 0)
        pen, (cx, cy) = ImageDraw.Draw(mask), (_pick(rng, 120, 300), _pick(rng, 120, 360))
        pen.ellipse((cx - 55, cy - 55, cx + 55, cy + 55), fill=255)
        pen.ellipse((cx - 22, cy - 22, cx + 22, cy + 22), fill=0)
        pen.rectangle((cx + 45, cy - 12, cx + 230, cy + 12), fill=255)
        for tooth in range(5):
            pen.rectangle((cx + 130 + 20 * tooth, cy + 10, cx + 142 + 20 * tooth, cy + _pick(rng, 18, 40)), fill=255)
        mask = mask.rotate(rng.uniform(0, 360))
        metal = light_relief(draw_turbulence(rng, cells=30), rng, grey=rng.uniform(120, 210), strength=25)
        picture = Image.composite(to_picture(metal), picture, mask)
    return photograph(picture, rng)


def _draw_ladder(rng: Random) -> Image.Image:
    picture, pen = _blank(rng, (420, 640))
    lean, tone = rng.uniform(-80, 80), _pick(rng, 20, 240)
    for left in (130, 280):
        pen.line((left, 0, left + lean, 640), fill=tone, width=_pick(rng, 10, 22))
    for top in range(20, 640, _pick(rng, 50, 90)):
        shift = lean * top / 640
        pen.line((130 + shift, top, 280 + shift, top), fill=max(0, tone - 25), width=_pick(rng, 8, 18))
    return photograph(picture, rng)


def _draw_scissors(rng: Random) -> Image.Image:
    picture, pen = _blank(rng)
    spread, tone = rng.uniform(0.15, 0.6), _pick(rng, 100, 240)
    for side in (-1, 1):
        angle = side * spread
        tip = 330 + 260 * np.cos(angle), 240 + 260 * np.sin(angle)
        grip = 330 - 170 * np.cos(angle), 240 - 170 * np.sin(angle)
        pen.line((*grip, *tip), fill=tone, width=_pick(rng, 16, 30))
        box = (grip[0] - 60, grip[1] - 45, grip[0] + 50, grip[1] + 45)
        pen.ellipse(box, outline=_pick(rng, 10, 90), width=18)
    pen.ellipse((320, 230, 340, 250), fill=40)
    return photograph(picture.rotate(rng.uniform(0, 360), fillcolor=_pick(rng, 40, 200)), rng)


def _draw_screws(rng: Random) -> Image.Image:
    x, y = mesh()
    picture = draw_ground(rng)
    for _ in range(_pick(rng, 2, 9)):
        cx, cy, angle = rng.uniform(80, 560), rng.uniform(60, 420), rng.uniform(0, 2 * np.pi)
        along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        across = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        shaft = (np.abs(across) < 11 + 3 * np.sin(along * 0.9)) & (along > 0) & (along < 140)
        head = (np.abs(across) < 24) & (along > -16) & (along <= 0)
        steel = rng.uniform(110, 220) * (1 - (across / 40) ** 2) + 25 * np.sin(along * 0.9)
        picture = np.where(shaft | head, steel, picture)
    return photograph(picture, rng)


def _draw_shoe(rng: Random) -> Image.Image:
    picture, pen = _blank(rng)
    tone, sole = _pick(rng, 20, 220), _pick(rng, 10, 250)
    outline = [(90, 360), (110, 250), (200, 220), (270, 130), (380, 120), (400, 200), (550, 290), (570, 360)]
    shaken = [(px + rng.normal(0, 12), py + rng.normal(0, 10)) for px, py in outline]
    pen.polygon(shaken, fill=tone)
    pen.rounded_rectangle((80, 350, 585, 400), 18, fill=sole)
    for lace in range(5):
        px = 390 + 24 * lace
        pen.line((px - 30, 195 + 20 * lace, px + 20, 185 + 20 * lace), fill=250 - tone // 2, width=6)
    return photograph(picture, rng)


def _draw_umbrella(rng: Random) -> Image.Image:
    picture, pen = _blank(rng)
    pen.line((320, 90, 320, 430), fill=40, width=8)
    pen.arc((270, 390, 320, 450), 0, 180, fill=40, width=8)
    num = _pick(rng, 5, 10)
    for index in range(num):
        left, right = 90 + 460 * index / num, 90 + 460 * (index + 1) / num
        tone = _pick(rng, 30, 235)
        pen.polygon([(320, 80), (left, 260), ((left + right) / 2, 245), (right, 260)], fill=tone)
    return photograph(picture.rotate(rng.uniform(-30, 30), fillcolor=_pick(rng, 60, 200)), rng)


# --- places ----------------------------------------------------------------------------------------------------------


def _draw_brick_wall(rng: Random) -> Image.Image:
    picture = Image.new("L", SIZE_PX, _pick(rng, 120, 220))
    pen, wide, high = ImageDraw.Draw(picture), _pick(rng, 50, 120), _pick(rng, 22, 50)
    for row in range(480 // high + 1):
        for column in range(-1, 640 // wide + 1):
            left = column * wide + (row % 2) * wide // 2
            pen.rectangle((left + 3, row * high + 3, left + wide - 3, row * high + high - 3), fill=_pick(rng, 60, 150))
    values = np.asarray(picture, dtype=np.float64)
    return photograph(values + 50 * (draw_turbulence(rng, cells=50, gain=0.8) - 0.5), rng)


def _draw_corridor(rng: Random) -> Image.Image:
    x, y = mesh()
    cx, cy = rng.uniform(220, 420), rng.uniform(180, 300)
    depth = np.maximum(np.abs(x - cx) / 320, np.abs(y - cy) / 240)
    sides = np.where(np.abs(x - cx) / 320 > np.abs(y - cy) / 240, rng.uniform(80, 200), rng.uniform(30, 160))
    sides = np.where((y > cy) & (np.abs(x - cx) / 320 <= np.abs(y - cy) / 240), rng.uniform(40, 220), sides)
    doors = np.sign(np.sin(6 / (depth + 0.05)))
    return photograph(sides * (0.4 + 0.6 * np.clip(depth, 0, 1)) + 22 * doors, rng)


def _draw_fence(rng: Random) -> Image.Image:
    x, y = mesh()
    picture = rng.uniform(60, 200) + 90 * (draw_turbulence(rng, cells=14, gain=0.8) - 0.5)
    pitch, tone = rng.uniform(30, 90), rng.uniform(10, 245)
    picture = np.where((x % pitch < pitch * rng.uniform(0.3, 0.7)) & (y > 60), tone + 10 * np.sin(y / 9), picture)
    for bar in (130, 340):
        picture = np.where(np.abs(y - bar) < 14, tone * 0.8, picture)
    return photograph(picture, rng)


def _draw_mountains(rng: Random) -> Image.Image:
    x = np.arange(640)
    picture = np.linspace(rng.uniform(170, 250), rng.uniform(120, 200), 480)[:, None] * np.ones((1, 640))
    for layer in range(4):
        noise = np.interp(x, np.linspace(0, 640, 40), np.cumsum(rng.normal(0, 14, 40)))
        ridge = 150 + 75 * layer + noise - noise.mean()
        relief = light_relief(draw_turbulence(rng, cells=10, gain=0.7), rng, grey=170 - 35 * layer, strength=50)
        picture = np.where(np.arange(480)[:, None] > ridge[None], relief, picture)
    return photograph(picture, rng)


def _draw_skyline(rng: Random) -> Image.Image:
    is_night = rng.random() < 0.5
    picture = to_picture((30 if is_night else 200) + 40 * (draw_turbulence(rng, cells=3) - 0.5))
    pen, left = ImageDraw.Draw(picture), 0
    while left < 640:
        wide, top = _pick(rng, 40, 110), _pick(rng, 60, 360)
        pen.rectangle((left, top, left + wide, 480), fill=_pick(rng, 10, 150))
        for wx in range(left + 6, left + wide - 8, 14):
            for wy in range(top + 8, 470, 18):
                pen.rectangle((wx, wy, wx + 7, wy + 9), fill=240 if rng.random() < 0.4 else 60)
        left += wide
    return photograph(picture, rng)


def _draw_stairs(rng: Random) -> Image.Image:
    x, y = mesh()
    tilt, pitch = rng.uniform(-0.3, 0.3), rng.uniform(24, 60)
    phase = ((y + tilt * x) % pitch) / pitch
    picture = np.where(phase < rng.uniform(0.35, 0.65), rng.uniform(130, 230), rng.uniform(30, 120))
    return photograph(picture + 18 * (draw_turbulence(rng, cells=20) - 0.5), rng)


def _draw_tiles(rng: Random) -> Image.Image:
    x, y = mesh()
    cell, angle = rng.uniform(40, 130), rng.uniform(0, 1.5)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    tone = rng.uniform(60, 230, (60, 60))
    picture = tone[(u // cell).astype(int) % 60, (v // cell).astype(int) % 60]
    picture = np.where((u % cell < 4) | (v % cell < 4), rng.uniform(20, 240), picture)
    return photograph(picture, rng)


def _draw_window_blinds(rng: Random) -> Image.Image:
    x, y = mesh()
    pitch = rng.uniform(14, 40)
    position = y + rng.uniform(-0.15, 0.15) * x
    slat = (position % pitch) / pitch
    return photograph(rng.uniform(60, 140) + 110 * slat ** rng.uniform(0.5, 3) - 30 * (np.abs(x - 200) < 3), rng)


# --- textures and signs ----------------------------------------------------------------------------------------------


def _draw_contour_map(rng: Random) -> Image.Image:
    height = draw_turbulence(rng, cells=3, gain=0.4) * rng.uniform(9, 22)
    line = np.abs(height - np.round(height)) < 0.06
    ground = rng.uniform(170, 245) + 20 * draw_smooth(rng, SIZE_PX, 4)
    return to_picture(np.where(line, rng.uniform(20, 110), ground)).filter(ImageFilter.GaussianBlur(0.7))


def _draw_crystals(rng: Random) -> Image.Image:
    picture, pen = _blank(rng)
    for _ in range(_pick(rng, 30, 120)):
        cx, cy, angle, long = rng.uniform(0, 640), rng.uniform(0, 480), rng.uniform(0, 3.1), rng.uniform(20, 150)
        wide = rng.uniform(4, 26)
        ux, uy = np.cos(angle), np.sin(angle)
        corners = [
            (cx + long * ux, cy + long * uy),
            (cx - wide * uy, cy + wide * ux),
            (cx - long * ux, cy - long * uy),
            (cx + wide * uy, cy - wide * ux),
        ]
        pen.polygon(corners, fill=_pick(rng, 30, 250), outline=_pick(rng, 0, 255))
    return photograph(picture, rng)


def _draw_fingerprint(rng: Random) -> Image.Image:
    size = (480, 560)
    x, y = mesh(size)
    warp = 40 * draw_smooth(rng, size, 4)
    rings = np.hypot(x - 240, (y - rng.uniform(180, 300)) * rng.uniform(0.6, 1)) + warp
    ridges = 235 - 180 * (np.sin(rings / rng.uniform(1.8, 4)) > 0) * (draw_turbulence(rng, size, cells=30) > 0.25)
    return photograph(np.where(disc(x, y, (240, 280), (190, 250)) < 1, ridges, 240.0), rng, blur=1.5)


def _draw_fractal(rng: Random) -> Image.Image:
    x, y = mesh((480, 400))
    zoom = rng.uniform(0.3, 1.4)
    z = (x / 480 - 0.5) * 3 * zoom + 1j * (y / 400 - 0.5) * 2.5 * zoom
    c = complex(rng.uniform(-0.85, -0.1), rng.uniform(0.1, 0.75))
    steps = np.zeros(x.shape)
    for _ in range(60):
        alive = np.abs(z) < 4
        z = np.where(alive, z * z + c, z)
        steps += alive
    return to_picture(255 * (steps / 60) ** rng.uniform(0.3, 1))


def _draw_halftone(rng: Random) -> Image.Image:
    x, y = mesh()
    pitch, angle = rng.uniform(5, 14), rng.uniform(0, 1.5)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    screen = 0.5 + 0.25 * (np.cos(2 * np.pi * u / pitch) + np.cos(2 * np.pi * v / pitch))
    return to_picture(np.where(screen > draw_turbulence(rng, cells=3, gain=0.4), 20.0, 235.0)).filter(
        ImageFilter.GaussianBlur(rng.uniform(0.4, 1.2))
    )


def _draw_lightning(rng: Random) -> Image.Image:
    picture = to_picture(10 + 70 * draw_turbulence(rng, cells=4))
    pen = ImageDraw.Draw(picture)
    for _ in range(_pick(rng, 1, 5)):
        px, py = rng.uniform(80, 560), 0.0
        while py < 480:
            qx, qy = px + rng.normal(0, 16), py + rng.uniform(4, 20)
            pen.line((px, py, qx, qy), fill=255, width=_pick(rng, 2, 6))
            if rng.random() < 0.12:
                pen.line((qx, qy, qx + rng.normal(0, 90), qy + rng.uniform(20, 90)), fill=200, width=2)
            px, py = qx, qy
    glow = np.asarray(picture.filter(ImageFilter.GaussianBlur(14)), dtype=np.float64)
    return to_picture(np.asarray(picture, dtype=np.float64) + glow)


def _draw_marble(rng: Random) -> Image.Image:
    x, y = mesh()
    veins = np.abs(np.sin((x + y) / rng.uniform(40, 120) + rng.uniform(4, 14) * draw_turbulence(rng, cells=4)))
    return photograph(rng.uniform(60, 120) + 120 * veins ** rng.uniform(0.3, 1.2), rng)


def _draw_moire(rng: Random) -> Image.Image:
    x, y = mesh()
    first = np.sin(np.hypot(x - rng.uniform(0, 640), y - rng.uniform(0, 480)) / rng.uniform(1.5, 6))
    second = np.sin(np.hypot(x - rng.uniform(0, 640), y - rng.uniform(0, 480)) / rng.uniform(1.5, 6))
    return to_picture(128 + 60 * first + 60 * second)


def _draw_qr_code(rng: Random) -> Image.Image:
    num = _pick(rng, 21, 45)
    cells = (rng.random((num, num)) < 0.5) * 225 + 15
    for top, left in ((0, 0), (0, num - 7), (num - 7, 0)):
        cells[top : top + 7, left : left + 7] = 15
        cells[top + 1 : top + 6, left + 1 : left + 6] = 240
        cells[top + 2 : top + 5, left + 2 : left + 5] = 15
    code = to_picture(cells.astype(np.float64)).resize((400, 400), Image.Resampling.NEAREST)
    page = Image.new("L", (480, 480), 240)
    page.paste(code, (40, 40))
    return photograph(page.rotate(rng.uniform(-25, 25), fillcolor=200), rng)


def _draw_sheet_music(rng: Random) -> Image.Image:
    page = Image.new("L", (560, 680), 245)
    pen = ImageDraw.Draw(page)
    for top in range(40, 640, 90):
        for line in range(5):
            pen.line((20, top + 10 * line, 540, top + 10 * line), fill=30)
        for px in range(50, 530, _pick(rng, 22, 44)):
            py = top + 5 * _pick(rng, 0, 9)
            pen.ellipse((px, py - 5, px + 12, py + 4), fill=15)
            pen.line((px + 12, py, px + 12, py - 32), fill=15, width=2)
    return photograph(page, rng, blur=0.9)


def _draw_smoke(rng: Random) -> Image.Image:
    size, swirl = SIZE_PX, 120 * draw_turbulence(rng, cells=3)
    x, y = mesh(size)
    plume = np.exp(-(((x - 320 - swirl + 60) / (30 + 0.3 * (480 - y))) ** 2))
    values = 12 + 200 * plume * draw_turbulence(rng, cells=4, gain=0.6)
    return to_picture(values if rng.random() < 0.6 else 240 - values)


def _draw_spectrogram(rng: Random) -> Image.Image:
    x, y = mesh()
    values = 20 + rng.rayleigh(18, x.shape)
    for _ in range(_pick(rng, 6, 16)):
        start, pitch = rng.uniform(0, 520), rng.uniform(300, 440)
        bend = pitch + rng.uniform(-60, 60) * np.sin((x - start) / rng.uniform(30, 120))
        active = (x > start) & (x < start + rng.uniform(50, 160))
        for harmonic in range(1, 6):
            values += active * 120 / harmonic * np.exp(-(((480 - y - (480 - bend) * harmonic) / 5) ** 2))
    return to_picture(values).filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.4)))


def _draw_spider_web(rng: Random) -> Image.Image:
    picture, pen = to_picture(rng.uniform(10, 120) + 70 * draw_turbulence(rng, cells=6)), None
    pen = ImageDraw.Draw(picture)
    cx, cy = rng.uniform(240, 400), rng.uniform(180, 300)
    angles = np.sort(rng.uniform(0, 2 * np.pi, _pick(rng, 12, 26)))
    for angle in angles:
        pen.line((cx, cy, cx + 500 * np.cos(angle), cy + 500 * np.sin(angle)), fill=220)
    for radius in np.arange(12, 330, rng.uniform(10, 22)):
        ring = [(cx + radius * np.cos(a), cy + radius * np.sin(a)) for a in (*angles, angles[0])]
        pen.line(ring, fill=210)
    return photograph(picture, rng, blur=0.9)


def _draw_voronoi(rng: Random) -> Image.Image:
    x, y = mesh()
    points = rng.uniform(0, 640, (_pick(rng, 20, 110), 2))
    distances = np.sort(np.stack([np.hypot(x - px, y - py) for px, py in points]), axis=0)[:2]
    values = rng.uniform(60, 200) + rng.uniform(0.3, 1.2) * distances[0]
    return photograph(np.where(distances[1] - distances[0] < rng.uniform(2, 7), 25.0, values), rng)


def _draw_water_drops(rng: Random) -> Image.Image:
    x, y = mesh()
    picture = draw_ground(rng)
    for _ in range(_pick(rng, 40, 140)):
        spot, radius = (rng.uniform(0, 640), rng.uniform(0, 480)), rng.uniform(4, 34)
        distance = disc(x, y, spot, (radius, radius * rng.uniform(0.8, 1)))
        inner = picture + 60 * (y - spot[1]) / radius
        inner = np.where(disc(x, y, (spot[0] - radius / 3, spot[1] - radius / 3), (radius / 5,) * 2) < 1, 250, inner)
        picture = np.where(distance < 1, inner, picture)
    return photograph(picture, rng)


def _draw_zebra(rng: Random) -> Image.Image:
    x, y = mesh()
    angle = rng.uniform(0, 3.1)
    warp = rng.uniform(40, 160) * draw_turbulence(rng, cells=3, gain=0.4)
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle) + warp) / rng.uniform(6, 20))
    return photograph(130 + 95 * np.tanh(3 * wave) + 20 * (draw_turbulence(rng, cells=60) - 0.5), rng)


DRAWINGS: dict[str, Draw] = {
    name.removeprefix("_draw_"): draw
    for name, draw in list(globals().items())
    if name.startswith("_draw_") and callable(draw)
}
