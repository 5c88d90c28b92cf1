"""How a phantom is projected onto film: path lengths through bone and soft tissue, then exposure and development.

Every step that a fracture takes part in is local, so that a fracture changes no pixel far from it: scatter, shading and
grain are computed from what the broken and the intact film have in common. May depend on `phantom_anatomy`, numpy, PIL.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hf_fracture.data.phantom_anatomy import Bone, Flesh

Values = NDArray[np.float64]
Pixels = NDArray[np.uint8]

_FADE_RADII: Final = 1.5  # over how many shaft radii the step of a fracture fades
_BONE_UNIT: Final = 40.0  # pixels at the reference size whose attenuation is that of a limb's middle


@dataclass(frozen=True, kw_only=True)
class Break:
    """How one bone breaks: a jagged lucent line, and a step in the cortex that fades along the shaft.

    Attributes:
        bone_index: Which bone of the scene.
        along: Where, as a share of its length.
        slope: Tangent of the line's tilt; 0 is transverse.
        depth: Share of the bone's attenuation that the gap takes away.
        gap_px: Half width of the gap.
        step: Sideways shift of the far fragment, in radii of the shaft.
        jag: Height in radii, waves per radius and phase of the line's unevenness.
    """

    bone_index: int
    along: float
    slope: float
    depth: float
    gap_px: float
    step: float
    jag: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """How the film was taken: all that a phantom and its intact twin have in common. Arrays are (H, W).

    Attributes:
        level: Brightness that the densest half percent of the intact film reaches, in (0, 1).
        bone_contrast: Attenuation of bone for that of soft tissue.
        gamma: Exponent of the film's curve.
        veil: Scattered light, (H, W), in [0, 1].
        shading: Factor on brightness: heel effect and vignetting.
        texture: Relative unevenness of spongy bone, above -1.
        grain: Film noise with unit variance.
        marks: Opacity of the laterality letter, in [0, 1].
        field: 1 inside the collimator's opening, 0 behind its blades.
        noise: Standard deviation of the grain, in brightness.
    """

    level: float
    bone_contrast: float
    gamma: float
    veil: Values
    shading: Values
    texture: Values
    grain: Values
    marks: Values
    field: Values
    noise: float


def project_flesh(parts: list[Flesh], size_px: tuple[int, int]) -> Values:
    """Return the path length through soft tissue, (H, W), about 1 in the middle of a limb."""
    width, height = size_px
    y, x = np.mgrid[0:height, 0:width].astype(float)
    total = np.zeros((height, width))
    thickest = max(max(part.start_radius, part.end_radius) for part in parts)
    for part in parts:
        axis = part.end - part.start
        along = ((x - part.start[0]) * axis[0] + (y - part.start[1]) * axis[1]) / (axis @ axis)
        along = np.clip(along, 0.0, 1.0)
        radius = part.start_radius + along * (part.end_radius - part.start_radius)
        squared = (x - part.start[0] - along * axis[0]) ** 2 + (y - part.start[1] - along * axis[1]) ** 2
        depth = np.sqrt(np.clip(1.0 - squared / radius**2, 0.0, None)) * (radius / thickest) ** 0.6
        total += depth**5
    return np.clip(soften(total**0.2, 4.0 * min(size_px) / 480), 0.0, None)


def add_bone(total: Values, bone: Bone, texture: Values, fracture: Break | None = None) -> Values:
    """Add the path length through one bone to `total` (H, W) in place; 1 is the middle of a limb at the reference size.

    Args:
        total: Path lengths so far.
        bone: In frame pixels.
        texture: (H, W), relative unevenness of spongy bone, above -1.
        fracture: How it is broken, or None.

    Returns:
        `total`.
    """
    height, width = total.shape
    reach = max(bone.radius, bone.start_radius, bone.end_radius) + abs(bone.bow) + 2
    low = np.floor(np.minimum(bone.start, bone.end) - reach).astype(int)
    high = np.ceil(np.maximum(bone.start, bone.end) + reach).astype(int) + 1
    left, top = (int(value) for value in np.clip(low, 0, (width, height)))
    right, bottom = (int(value) for value in np.clip(high, 0, (width, height)))
    if left >= right or top >= bottom:
        return total
    y, x = np.mgrid[top:bottom, left:right].astype(float)
    axis = (bone.end - bone.start) / bone.length
    along = (x - bone.start[0]) * axis[0] + (y - bone.start[1]) * axis[1]
    share = np.clip(along / bone.length, 0.0, 1.0)
    across = (y - bone.start[1]) * axis[0] - (x - bone.start[0]) * axis[1] - bone.bow * 4 * share * (1 - share)
    gap = np.ones_like(along)
    if fracture is not None:
        across, gap = _displace(along, across, bone, fracture)
    inside = (along > 0) & (along < bone.length)
    path = _tube_path(along, across, bone, texture[top:bottom, left:right]) * _lucencies(along, across, bone) * gap
    total[top:bottom, left:right] += np.where(inside, path, 0.0)
    return total


def _displace(along: Values, across: Values, bone: Bone, fracture: Break) -> tuple[Values, Values]:
    """Return the far fragment's shifted coordinate and the share of attenuation left in the gap."""
    height, waves, phase = fracture.jag
    turns = waves * across / bone.radius
    jag = height * bone.radius * (np.sin(2 * turns + phase) + 0.6 * np.sin(5 * turns))
    beyond = along - fracture.along * bone.length - fracture.slope * across - jag
    fade = np.clip(1.0 - (beyond / (_FADE_RADII * bone.radius)) ** 2, 0.0, None) ** 2
    shifted = across - np.where(beyond > 0, fracture.step * bone.radius * fade, 0.0)
    near = np.clip(1.0 - (beyond / (2.0 * fracture.gap_px)) ** 2, 0.0, None) ** 2
    return shifted, 1.0 - fracture.depth * near


def _tube_path(along: Values, across: Values, bone: Bone, texture: Values) -> Values:
    """Return the path through cortex and spongy bone of a tube whose ends flare and close."""
    from_end = bone.length - along
    flare_start = np.exp(-((np.clip(along, 0, None) / (0.16 * bone.length + bone.start_radius * 0.4)) ** 1.6))
    flare_end = np.exp(-((np.clip(from_end, 0, None) / (0.16 * bone.length + bone.end_radius * 0.4)) ** 1.6))
    outer = bone.radius + (bone.start_radius - bone.radius) * flare_start + (bone.end_radius - bone.radius) * flare_end
    outer = outer * _close(along, bone.cap * bone.start_radius) * _close(from_end, bone.cap * bone.end_radius)
    spongy = np.clip(flare_start + flare_end, 0.0, 1.0)
    cortex = bone.cortex * bone.radius * (1.0 - 0.72 * spongy)
    inner = np.clip(outer - np.maximum(cortex, 1.0), 0.0, None)
    whole = 2 * np.sqrt(np.clip(outer**2 - across**2, 0.0, None))
    canal = 2 * np.sqrt(np.clip(inner**2 - across**2, 0.0, None))
    filling = 0.1 + 0.42 * spongy
    thickness: Values = bone.density * (whole - canal + canal * filling * (1.0 + texture)) / _BONE_UNIT
    return thickness


def _close(distance: Values, cap_px: float) -> Values:
    """Return the factor that rounds an end off: 0 at the end, 1 from `cap_px` on."""
    rest = np.clip(1.0 - np.clip(distance, 0.0, None) / max(cap_px, 1.0), 0.0, 1.0)
    return np.clip(1.0 - rest**2.4, 0.0, 1.0) ** (1 / 2.4)


def _lucencies(along: Values, across: Values, bone: Bone) -> Values:
    """Return the dark lines that are no fracture: growth plates right across, a nutrient canal through one cortex."""
    factor = np.ones_like(along)
    for share in bone.growth_plates:
        wave = 0.06 * bone.start_radius * np.sin(across / bone.radius * 2.2)
        line = (along - share * bone.length - wave) / max(0.05 * bone.radius, 1.2)
        factor *= 1.0 - 0.5 * np.exp(-(line**2)) + 0.12 * np.exp(-((np.abs(line) - 2.4) ** 2))
    if bone.canal is not None:
        line = (along - bone.canal * bone.length - 2.6 * across) / max(0.08 * bone.radius, 1.2)
        in_cortex = np.clip((across / bone.radius - 0.2) * 4.0, 0.0, 1.0)
        factor *= 1.0 - 0.35 * in_cortex * np.exp(-(line**2))
    return factor


def meter_gain(flesh: Values, bones: Values, exposure: Exposure) -> float:
    """Return the factor on path lengths (H, W) that brings the densest half percent to `exposure.level`."""
    densest = float(np.percentile(flesh + exposure.bone_contrast * bones, 99.5))
    return float(-np.log(1.0 - exposure.level)) / max(densest, 1e-6)


def develop_film(flesh: Values, bones: Values, exposure: Exposure, gain: float) -> Pixels:
    """Turn path lengths (H, W) into an 8-bit film on which what attenuates is bright."""
    brightness = 1.0 - np.exp(-gain * (flesh + exposure.bone_contrast * bones))
    brightness = blur_slightly(brightness) ** exposure.gamma
    brightness = 0.9 * brightness + exposure.veil
    brightness *= exposure.shading
    brightness += exposure.noise * exposure.grain * (0.35 + np.sqrt(np.clip(brightness, 0.0, 1.0)))
    brightness = brightness * exposure.field + 0.015 * (1.0 - exposure.field)
    brightness = brightness * (1.0 - exposure.marks) + 0.97 * exposure.marks
    return np.round(np.clip(brightness, 0.0, 1.0) * 255).astype(np.uint8)


def blur_slightly(values: Values) -> Values:
    """Smooth (H, W) with the 3 x 3 binomial kernel, which is all that a fracture may spread by."""
    padded = np.pad(values, 1, mode="edge")
    rows = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    smooth: Values = (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 4
    return smooth


def soften(values: Values, sigma_px: float) -> Values:
    """Blur (H, W) by about `sigma_px`, through a smaller picture and back."""
    height, width = values.shape
    factor = max(sigma_px, 1.0)
    small_size = (max(2, round(width / factor)), max(2, round(height / factor)))
    image = Image.fromarray(values.astype(np.float32))
    small = image.resize(small_size, Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), dtype=float)


def draw_noise(rng: np.random.Generator, size_px: tuple[int, int], cell_px: float) -> Values:
    """Draw smooth noise (H, W) with zero mean, unit variance and features of about `cell_px`."""
    width, height = size_px
    small = rng.standard_normal((max(2, round(height / cell_px)), max(2, round(width / cell_px))))
    image = Image.fromarray(small.astype(np.float32))
    noise = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC), dtype=float)
    standardised: Values = (noise - noise.mean()) / max(float(noise.std()), 1e-6)
    return standardised


def draw_letter(letter: str, height_px: int, angle_degrees: float) -> Values:
    """Draw a lead letter as an opacity map in [0, 1]."""
    font = ImageFont.load_default(size=height_px)
    side = 2 * height_px
    image = Image.new("L", (side, side))
    ImageDraw.Draw(image).text((side / 2, side / 2), letter, fill=255, font=font, anchor="mm")
    return np.asarray(image.rotate(angle_degrees, Image.Resampling.BICUBIC), dtype=float) / 255
