"""Heatmaps drawn over the film: colours, colour bar, candidate box. NumPy and Pillow only."""

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hf_fracture.errors import UsageError
from hf_fracture.explain.candidate import BoxStyle, choose_box_style

if TYPE_CHECKING:
    from hf_fracture.explain.attribution import Attribution

DEFAULT_OPACITY: Final = 0.6
BAR_CAPTION: Final = "evidence for a fracture, 1 = strongest drawn"

# Source: 17 points of "plasma" by Nathaniel Smith and Stefan van der Walt (CC0). Its lightness rises evenly, also for
# colour-blind eyes, and no colour of it is near the greys of a film.
_PLASMA: Final = (
    (13, 8, 135), (49, 5, 151), (76, 2, 161), (102, 0, 167), (126, 3, 168), (149, 17, 161), (170, 35, 149),
    (188, 53, 135), (204, 71, 120), (218, 90, 106), (230, 108, 92), (240, 128, 78), (248, 149, 64), (253, 172, 51),
    (253, 197, 39), (248, 223, 37), (240, 249, 33),
)  # fmt: skip
_MIN_LEGEND_WIDTH_PX: Final = 280
_MID_GREY: Final = 110


@lru_cache(maxsize=1)
def colour_table() -> NDArray[np.uint8]:
    """Return the colour map as (256, 3) RGB, from weakest to strongest; do not write into it."""
    anchors = np.asarray(_PLASMA, dtype=np.float64)
    positions = np.linspace(0.0, 1.0, len(anchors))
    steps = np.linspace(0.0, 1.0, 256)
    table = np.stack([np.interp(steps, positions, anchors[:, channel]) for channel in range(3)], axis=1)
    table_8bit: NDArray[np.uint8] = np.round(table).astype(np.uint8)
    table_8bit.flags.writeable = False
    return table_8bit


def render_overlay(film: Image.Image, heatmap: NDArray[np.float32], *, opacity: float = DEFAULT_OPACITY) -> Image.Image:
    """Lay a heatmap over a film.

    The opacity of every pixel follows the strength of the evidence there, so a film without evidence is shown as it is.

    Args:
        film: The radiograph, W x H pixels, of any mode.
        heatmap: (H, W) in [0, 1].
        opacity: Opacity where the heatmap is 1, in [0, 1].

    Returns:
        RGB image of the film's size.

    Raises:
        UsageError: If the sizes differ or a value leaves its range.
    """
    if heatmap.shape != (film.height, film.width):
        raise UsageError(
            f"heatmap must have the film's shape ({film.height}, {film.width}), got {heatmap.shape}. "
            "Take the attribution of this film, in film coordinates."
        )
    if not (heatmap.min() >= 0.0 and heatmap.max() <= 1.0):  # written so that NaN is refused too
        raise UsageError(
            f"heatmap must lie in [0, 1], got [{heatmap.min():g}, {heatmap.max():g}]. Pass Attribution.heatmap."
        )
    _check_opacity(opacity)
    return Image.fromarray(_blend(np.asarray(film.convert("L")), heatmap, opacity))


def add_colour_bar(overlay: Image.Image, *, opacity: float = DEFAULT_OPACITY) -> Image.Image:
    """Set a colour bar with its scale below an overlay, whose pixels keep their place.

    Args:
        overlay: What `render_overlay` returned.
        opacity: The opacity it was drawn with, in [0, 1], so that the bar shows the colours of the picture.

    Returns:
        RGB image at least as wide as a legible legend; the overlay stands in its top left corner.

    Raises:
        UsageError: If the opacity leaves its range.
    """
    _check_opacity(opacity)
    width = max(overlay.width, _MIN_LEGEND_WIDTH_PX)
    font_px = int(np.clip(width // 40, 11, 36))
    font = ImageFont.load_default(size=font_px)
    margin, bar_height = font_px, font_px
    canvas = Image.new("RGB", (width, overlay.height + bar_height + 4 * font_px + margin), "black")
    canvas.paste(overlay, (0, 0))
    ramp = np.tile(np.linspace(0.0, 1.0, width - 2 * margin, dtype=np.float32), (bar_height, 1))
    bar_top = overlay.height + margin
    canvas.paste(
        Image.fromarray(_blend(np.full(ramp.shape, _MID_GREY, dtype=np.uint8), ramp, opacity)), (margin, bar_top)
    )
    draw = ImageDraw.Draw(canvas)
    text_top = bar_top + bar_height + font_px // 4
    for value, anchor in ((0.0, "la"), (0.5, "ma"), (1.0, "ra")):
        x = margin + value * (width - 2 * margin - 1)
        draw.text((x, text_top), f"{value:g}", fill="white", font=font, anchor=anchor)
    draw.text((width / 2, text_top + 1.4 * font_px), BAR_CAPTION, fill="white", font=font, anchor="ma")
    return canvas


def draw_candidate(image: Image.Image, attribution: "Attribution", decision: str) -> Image.Image:
    """Draw the region that an attribution points at, where its measurements support one and the decision calls for it.

    Args:
        image: The film or its overlay, of any scale; its top left corner is the film's.
        attribution: Of this film; says whether there is a region (`Attribution.candidate`).
        decision: Of the film's `Finding`: dotted for `uncertain`, solid for `fracture`, nothing for any other.

    Returns:
        RGB image of the same size.
    """
    style, box = choose_box_style(decision), attribution.candidate
    if style is None or box is None:
        return image.convert("RGB")
    scale = image.width / attribution.values.shape[1]
    x, y, width, height = (scale * side for side in box)
    return draw_candidate_box(image, (x, y, width, height), style=style)


def draw_candidate_box(image: Image.Image, box: tuple[float, float, float, float], *, style: BoxStyle) -> Image.Image:
    """Draw the outline of a candidate region: dotted at the screening point, solid at the rule-in point.

    Args:
        image: Film or overlay; it is not changed.
        box: x, y, width, height in pixels of `image`; what lies outside it is cut off.
        style: How sure the region is.

    Returns:
        RGB image of the same size.

    Raises:
        UsageError: If the box has no area or the style is unknown.
    """
    x, y, width, height = box
    if not (width > 0 and height > 0):
        raise UsageError(f"box must have a width and height above 0, got {width:g} x {height:g}. Leave it out instead.")
    if style not in ("dotted", "solid"):
        raise UsageError(f"style must be 'dotted' or 'solid', got {style!r}.")
    left, top = max(x, 0.0), max(y, 0.0)
    right, bottom = min(x + width, image.width) - 1, min(y + height, image.height) - 1
    drawn = image.convert("RGB")
    if right < left or bottom < top:
        return drawn
    line_px = max(1, round(max(image.size) / 320))
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    draw = ImageDraw.Draw(drawn)
    parts = list(pairwise(corners))
    if style == "dotted":
        parts = [dash for start, end in parts for dash in _split_line(start, end, dash_px=4 * line_px)]
    for colour, width_px in (("black", line_px + 2), ("white", line_px)):  # legible on bone and on air
        for part in parts:
            draw.line(part, fill=colour, width=width_px)
    return drawn


def _blend(grey: NDArray[np.uint8], heatmap: NDArray[np.float32], opacity: float) -> NDArray[np.uint8]:
    """Mix (H, W) grey levels with the colours of the heatmap; (H, W, 3).

    Both the colour and its weight hang on one of 256 strengths, so they are looked up instead of computed per pixel.
    """
    strengths = np.linspace(0.0, 1.0, 256, dtype=np.float32)
    film_weights = 1.0 - opacity * strengths  # (256,)
    tints = colour_table() * (1.0 - film_weights)[:, None] + 0.5  # (256, 3); the half rounds
    levels = (heatmap * 255.0 + 0.5).astype(np.uint8)  # (H, W)
    dimmed = grey * film_weights[levels]
    blended = np.empty((*grey.shape, 3), dtype=np.uint8)
    for channel in range(3):
        blended[..., channel] = dimmed + tints[:, channel].astype(np.float32)[levels]
    return blended


def _split_line(
    start: tuple[float, float], end: tuple[float, float], *, dash_px: int
) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Cut a horizontal or vertical line into dashes as long as the gaps between them."""
    length = abs(end[0] - start[0]) + abs(end[1] - start[1])
    if length == 0:
        return [(start, end)]
    step_x, step_y = (end[0] - start[0]) / length, (end[1] - start[1]) / length
    dashes = []
    for offset in np.arange(0.0, length, 2 * dash_px):
        stop = min(offset + dash_px, length)
        dashes.append(
            (
                (start[0] + offset * step_x, start[1] + offset * step_y),
                (start[0] + stop * step_x, start[1] + stop * step_y),
            )
        )
    return dashes


def _check_opacity(opacity: float) -> None:
    """Refuse an opacity outside [0, 1]."""
    if not 0.0 <= opacity <= 1.0:
        raise UsageError(f"opacity must lie in [0, 1], got {opacity!r}. Write 0.6 for 60 %.")
