"""What is done to films before a model sees them again: bad copies of them, and films without what should matter.

Every alteration is a pure function of the film (mode L to mode L): chance comes from the film's own pixels, so that a
measurement can be repeated. May depend on `data`, numpy, Pillow, scipy and `inputs`.
"""

import zlib
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from hf_fracture.data.transforms import recompress
from hf_fracture.evaluation.inputs import Floats

Alteration = Callable[[Image.Image], Image.Image]

_JPEG_QUALITY: Final = 30
_PHONE_JPEG_QUALITY: Final = 70
_CORNER_SHIFT_FRACTION: Final = 0.06
_GLARE_LEVELS: Final = 70.0
_MOIRE_LEVELS: Final = 6.0
_NOISE_LEVELS: Final = 5.0
_MIN_BODY_FRACTION: Final = 0.01
_BODY_LEVEL_FRACTION: Final = 0.08
_MARK_LEVEL_FRACTION: Final = 0.85


def compress(film: Image.Image) -> Image.Image:
    """Save as JPEG of quality 30 and read again."""
    return recompress(film, quality=_JPEG_QUALITY)


def halve_resolution(film: Image.Image) -> Image.Image:
    """Reduce both sides to one half, at least 1 px."""
    return film.resize((max(1, film.width // 2), max(1, film.height // 2)), Image.Resampling.LANCZOS)


def rotate(film: Image.Image, *, degrees: float) -> Image.Image:
    """Turn counter-clockwise on a black ground that grows so that nothing is cut off."""
    return film.rotate(degrees, resample=Image.Resampling.BICUBIC, expand=True, fillcolor=0)


def change_gamma(film: Image.Image, *, gamma: float) -> Image.Image:
    """Raise grey levels, as shares of white, to a power: below 1 brightens, above 1 darkens.

    >>> change_gamma(Image.new("L", (1, 1), 64), gamma=0.5).getpixel((0, 0))
    128
    """
    levels = np.rint(255 * (np.arange(256) / 255) ** gamma)
    return film.point(levels.astype(int).tolist())


def photograph(film: Image.Image) -> Image.Image:
    """Simulate a phone's photograph of a light box: perspective, glare, moiré, blur, noise and JPEG."""
    rng = np.random.default_rng(zlib.crc32(film.tobytes()))
    warped = _warp(film, rng).filter(ImageFilter.GaussianBlur(0.6))
    levels = np.asarray(warped, dtype=np.float64)
    rows, columns = np.mgrid[: levels.shape[0], : levels.shape[1]]
    long_side = max(levels.shape)
    centre = rng.uniform(0.2, 0.8, size=2) * levels.shape
    spread = rng.uniform(0.1, 0.2) * long_side
    distance = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2
    levels += _GLARE_LEVELS * np.exp(-distance / (2 * spread**2))
    levels += _draw_moire(rows, columns, rng)
    levels += rng.normal(scale=_NOISE_LEVELS, size=levels.shape)
    return recompress(_as_image(levels), quality=_PHONE_JPEG_QUALITY)


def blank_body(film: Image.Image) -> Image.Image:
    """Fill the body with the grey of what surrounds it, and leave borders, marks and the film's shape.

    The ground is the commonest grey among the darker class of a blurred copy (Otsu's threshold). The body is what lies
    above it by 8 % of the film's range, in pieces of at least 1 % of the film, widened by 2 % of the long side. A model
    that still ranks such films has learned something else than fractures.
    """
    from scipy import ndimage

    levels = np.asarray(film, dtype=np.float64)
    long_side = max(levels.shape)
    blurred = ndimage.gaussian_filter(levels, long_side / 100)
    ground = _find_commonest_level(blurred[blurred <= find_otsu_threshold(blurred)])
    limit = ground + _BODY_LEVEL_FRACTION * (float(np.percentile(blurred, 99.9)) - ground)
    pieces, num_pieces = ndimage.label(blurred > limit)
    sizes = np.bincount(pieces.ravel(), minlength=num_pieces + 1)
    is_body = sizes >= _MIN_BODY_FRACTION * levels.size
    is_body[0] = False
    body = ndimage.binary_dilation(is_body[pieces], iterations=max(1, round(0.02 * long_side)))
    return _as_image(np.where(body, ground, levels))


def mask_marks(film: Image.Image) -> Image.Image:
    """Paint over the brightest sharp things, which are side markers, letters and metal, with their surroundings.

    A pixel is painted over if it lies within 15 % of the white of the film's inner part and stands out against its
    neighbourhood of 5 % of the long side; the paint is the mean of the unmasked pixels near it. Metal that is no
    brighter than bone stays: the film alone does not tell it.
    """
    from scipy import ndimage

    levels = np.asarray(film, dtype=np.float64)
    reach = max(2.0, 0.05 * max(levels.shape))
    margins = tuple(slice(round(0.05 * size), size - round(0.05 * size)) for size in levels.shape)
    white = max(1.0, float(np.percentile(levels[margins], 99.9)))
    stands_out = levels - ndimage.gaussian_filter(levels, reach) > 0.15 * white
    marks = ndimage.binary_dilation((levels >= _MARK_LEVEL_FRACTION * white) & stands_out, iterations=3)
    if marks.all() or not marks.any():
        return film
    near = ndimage.gaussian_filter((~marks).astype(np.float64), reach / 3)
    paint = ndimage.gaussian_filter(np.where(marks, 0.0, levels), reach / 3) / np.maximum(near, 1e-6)
    return _as_image(np.where(marks, paint, levels))


def find_otsu_threshold(levels: Floats) -> float:
    """Find the grey level that divides an image into the two most different classes.

    Source: Otsu, A threshold selection method from gray-level histograms, 1979.

    Args:
        levels: Grey levels in [0, 255], of any shape.

    Returns:
        Pixels above it are the brighter class; for an image of one level, that level.

    >>> 50.0 <= find_otsu_threshold(np.array([50.0] * 30 + [200.0] * 10)) < 200.0
    True
    """
    counts, edges = np.histogram(levels, bins=256, range=(0.0, 256.0))
    weight = np.cumsum(counts)
    total = np.cumsum(counts * edges[:-1])
    below, above = weight[:-1], weight[-1] - weight[:-1]
    possible = (below > 0) & (above > 0)
    if not possible.any():
        return float(levels.flat[0])
    mean_gap = total[:-1] / np.maximum(below, 1) - (total[-1] - total[:-1]) / np.maximum(above, 1)
    between = np.where(possible, below * above * mean_gap**2, 0.0)
    best = np.flatnonzero(between == between.max())
    return float(edges[1:-1][best].mean())


DEGRADATIONS: Final[dict[str, Alteration]] = {
    "JPEG quality 30": compress,
    "phone photograph": photograph,
    "rotated by 20 degrees": lambda film: rotate(film, degrees=20),
    "rotated by -20 degrees": lambda film: rotate(film, degrees=-20),
    "gamma 0.6": lambda film: change_gamma(film, gamma=0.6),
    "gamma 1.6": lambda film: change_gamma(film, gamma=1.6),
    "half resolution": halve_resolution,
}
"""What films suffer on their way to a model, by the name under which it is reported."""


REMOVALS: Final[dict[str, Alteration]] = {"body painted over": blank_body, "marks painted over": mask_marks}
"""What is taken out of films to see whether a model looked at it; in the order of `report.Probes`."""


def _find_commonest_level(levels: Floats) -> float:
    return float(np.bincount(np.rint(levels).astype(np.intp)).argmax())


def _warp(film: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Map the film's corners inwards, as if it were photographed at a slant."""
    width, height = film.size
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float64)
    inwards = np.sign([width / 2, height / 2] - corners)
    moved = corners + inwards * rng.uniform(0, _CORNER_SHIFT_FRACTION, size=(4, 2)) * [width, height]
    coefficients = _solve_perspective(moved, corners)
    return film.transform(
        film.size, Image.Transform.PERSPECTIVE, coefficients, resample=Image.Resampling.BICUBIC, fillcolor=20
    )


def _solve_perspective(targets: Floats, sources: Floats) -> list[float]:
    """Return the eight numbers with which Pillow maps an output pixel at a target to the source."""
    rows = []
    for (x, y), (u, v) in zip(targets, sources, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
    solution: list[float] = np.linalg.solve(np.array(rows), sources.ravel()).tolist()
    return solution


def _draw_moire(rows: NDArray[np.intp], columns: NDArray[np.intp], rng: np.random.Generator) -> Floats:
    angle, period_px = rng.uniform(0, np.pi), rng.uniform(3.0, 5.0)
    along = (np.cos(angle) * columns + np.sin(angle) * rows) * 2 * np.pi / period_px
    beat = (np.cos(angle) * columns - np.sin(angle) * rows) * 2 * np.pi / (12 * period_px)
    return np.asarray(_MOIRE_LEVELS * np.sin(along) * np.sin(beat), dtype=np.float64)


def _as_image(levels: Floats) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(levels), 0, 255).astype(np.uint8))
