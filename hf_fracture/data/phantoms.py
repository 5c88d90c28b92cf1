"""Draw radiograph-like pictures with or without a fracture whose place is known to the pixel.

A phantom is a drawing: it tests code, fills example galleries and README pictures, and proves nothing about real films.
Bones are tubes (cortex around a canal) and flesh is a set of tapered capsules; the film brightens with what the rays
pass, so bright cortices, overlaps and soft edges come out of the geometry. May depend on `errors`, `labels`,
`phantom_anatomy`, `phantom_film`, numpy and PIL.
"""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from hf_fracture.data.phantom_anatomy import (
    BODY_PARTS,
    REFERENCE_SIZE_PX,
    Bone,
    Point,
    Scene,
    build_scene,
    pose_scene,
    transform_scene,
)
from hf_fracture.data.phantom_film import (
    Break,
    Exposure,
    Pixels,
    Values,
    add_bone,
    develop_film,
    draw_letter,
    draw_noise,
    meter_gain,
    project_flesh,
    soften,
)
from hf_fracture.errors import OutputExistsError, UsageError
from hf_fracture.labels import FRACTURED, LABEL_NAMES, NOT_FRACTURED

MIN_SIDE_PX: Final = 64


@dataclass(frozen=True, kw_only=True)
class Phantom:
    """One drawing and its truth.

    Attributes:
        image: Mode "L".
        label: `FRACTURED` or `NOT_FRACTURED`.
        boxes: [x, y, width, height] in pixels of `image`, around all pixels that the fracture changed; empty if intact.
        body_part: One of `BODY_PARTS`.
    """

    image: Image.Image
    label: int
    boxes: list[list[float]]
    body_part: str


def draw_phantom(
    seed: int,
    *,
    fractured: bool,
    size_px: tuple[int, int] = REFERENCE_SIZE_PX,
    fracture_at_edge: bool = False,
    close_up: bool = False,
) -> Phantom:
    """Draw one film; equal arguments give equal bytes (within one version of numpy and Pillow).

    Args:
        seed: 0 or more. Chooses anatomy, pose, exposure, distractors and where the bone breaks, whether it does or not.
        fractured: Whether it does. The two films of a seed differ inside the box only.
        size_px: (width, height), each at least `MIN_SIDE_PX`.
        fracture_at_edge: Move the scene so that the fracture's box touches the edge of the frame.
        close_up: Cone down on the place of the break until the shaft fills about a third of the short side. A small
            network learns close-ups in seconds; whole limbs need finer films, more of them, or the boxes.

    Raises:
        UsageError: If `seed` is negative or a side is too short.
    """
    _check_request(seed, size_px)
    rng = np.random.default_rng(seed)
    scale = min(max(size_px) / max(REFERENCE_SIZE_PX), min(size_px) / min(REFERENCE_SIZE_PX))
    body_part = BODY_PARTS[int(rng.integers(len(BODY_PARTS)))]
    scene = pose_scene(build_scene(body_part, rng), size_px, scale, rng)
    bone_index, share = _choose_place(scene, rng)
    zoom = _choose_zoom(scene.bones[bone_index], size_px, rng) if close_up else 1.0
    scene = transform_scene(scene, zoom * np.eye(2), np.zeros(2), zoom)
    fracture = _choose_break(bone_index, share, scale * zoom, rng)
    border_px = _choose_border(size_px, rng)
    scene = _place_break(scene, fracture, size_px, border_px, at_edge=fracture_at_edge)
    flesh = project_flesh(scene.flesh, size_px) * (1.0 + 0.05 * draw_noise(rng, size_px, 45 * scale))
    exposure = _choose_exposure(flesh, 0.0 if fracture_at_edge else border_px, scale, zoom, rng)
    intact, broken = _expose_twins(scene, fracture, flesh, exposure)
    if not fractured:
        return Phantom(image=Image.fromarray(intact), label=NOT_FRACTURED, boxes=[], body_part=body_part)
    boxes = [_bound_difference(intact, broken)]
    return Phantom(image=Image.fromarray(broken), label=FRACTURED, boxes=boxes, body_part=body_part)


def write_phantom_dataset(
    out_dir: Path,
    *,
    num: int,
    seed: int,
    size_px: tuple[int, int] = REFERENCE_SIZE_PX,
    close_up: bool = False,
) -> None:
    """Write films into class folders with a `metadata.csv`, the layout that the source `image_folder` reads.

    Every second film is fractured; of those, every eighth at the edge of the frame. No two films share a seed, so an
    intact film is never the twin of a fractured one.

    Args:
        out_dir: Folder to create. `metadata.csv` has the columns file_name, label, boxes (JSON), body_part.
        num: Number of films, at least 2.
        seed: Chooses the films; other seeds give other films.
        size_px: (width, height) of every film.
        close_up: Draw close-ups, as in `draw_phantom`.

    Raises:
        UsageError: If `num` is below 2.
        OutputExistsError: If `out_dir` holds anything.
    """
    if num < 2:
        raise UsageError(f"num must be at least 2 (one film of each class), got {num}. Ask for more films.")
    if out_dir.exists() and any(out_dir.iterdir()):
        raise OutputExistsError(f"{out_dir} is not empty. Name a new folder or empty this one.")
    for name in LABEL_NAMES:
        (out_dir / name).mkdir(parents=True, exist_ok=True)
    film_seeds = np.random.SeedSequence(seed).generate_state(num, np.uint64)
    with (out_dir / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["file_name", "label", "boxes", "body_part"])
        for index, film_seed in enumerate(film_seeds):
            film = draw_phantom(
                int(film_seed),
                fractured=index % 2 == 1,
                size_px=size_px,
                fracture_at_edge=index % 16 == 15,
                close_up=close_up,
            )
            file_name = f"{LABEL_NAMES[film.label]}/phantom_{index:05d}.png"
            film.image.save(out_dir / file_name)
            rows.writerow([file_name, LABEL_NAMES[film.label], json.dumps(film.boxes), film.body_part])


def _check_request(seed: int, size_px: tuple[int, int]) -> None:
    if seed < 0:
        raise UsageError(f"seed must be 0 or more, got {seed}. Choose another one.")
    width, height = size_px
    if min(size_px) < MIN_SIDE_PX:
        raise UsageError(f"size_px must be at least {MIN_SIDE_PX} px a side, got {width} x {height}. Ask for more.")


def _choose_place(scene: Scene, rng: np.random.Generator) -> tuple[int, float]:
    """Return which bone breaks and where, as a share of its length; long bones break more often."""
    breakable = [index for index, bone in enumerate(scene.bones) if bone.breakable]
    lengths = np.array([scene.bones[index].length for index in breakable])
    bone_index = int(rng.choice(breakable, p=lengths / lengths.sum()))
    low, high = scene.bones[bone_index].breakable or (0.0, 1.0)
    return bone_index, float(rng.uniform(low, high))


def _choose_zoom(bone: Bone, size_px: tuple[int, int], rng: np.random.Generator) -> float:
    return float(rng.uniform(0.13, 0.19)) * min(size_px) / bone.radius


def _choose_break(bone_index: int, share: float, scale: float, rng: np.random.Generator) -> Break:
    return Break(
        bone_index=bone_index,
        along=share,
        slope=float(rng.choice([-1.0, 1.0]) * rng.uniform(0.0, 0.9)),
        depth=float(rng.uniform(0.65, 0.95)),
        gap_px=max(1.0, float(rng.uniform(1.3, 2.5)) * scale),
        step=float(rng.choice([-1.0, 1.0]) * rng.uniform(0.15, 0.42)),
        jag=(float(rng.uniform(0.03, 0.12)), float(rng.uniform(0.8, 1.6)), float(rng.uniform(0, 2 * np.pi))),
    )


def _choose_border(size_px: tuple[int, int], rng: np.random.Generator) -> float:
    """Return the width of the collimation border in pixels, 0 (no border) in two of three films."""
    border_px = float(rng.uniform(0.02, 0.07)) * min(size_px)
    return border_px if rng.random() < 1 / 3 else 0.0


def _place_break(scene: Scene, fracture: Break, size_px: tuple[int, int], border_px: float, *, at_edge: bool) -> Scene:
    """Move the scene so that the place of the break lies well inside the frame, or at its edge."""
    bone = scene.bones[fracture.bone_index]
    share = fracture.along
    axis = (bone.end - bone.start) / bone.length
    normal = np.array([-axis[1], axis[0]])
    place = bone.start + share * (bone.end - bone.start) + normal * bone.bow * 4 * share * (1 - share)
    size = np.array(size_px, dtype=float)
    inset = border_px + 1.8 * bone.radius + 0.03 * size
    goal = np.clip(place, inset, np.maximum(size - inset, size / 2))
    if at_edge:
        goal = _move_to_edge(goal, axis, size, 0.3 * bone.radius)
    return transform_scene(scene, np.eye(2), goal - place)


def _move_to_edge(place: Point, axis: Point, size: Point, inset_px: float) -> Point:
    """Move a point to the nearer of the two edges that the bone runs out of."""
    edge = place.copy()
    dimension = int(np.argmax(np.abs(axis)))
    is_low = place[dimension] < size[dimension] / 2
    edge[dimension] = inset_px if is_low else size[dimension] - 1 - inset_px
    return edge


def _choose_exposure(flesh: Values, border_px: float, scale: float, zoom: float, rng: np.random.Generator) -> Exposure:
    height, width = flesh.shape
    size_px = (width, height)
    texture = 0.13 * draw_noise(rng, size_px, max(1.5, 2.2 * scale)) + 0.08 * draw_noise(rng, size_px, 7 * scale)
    grain = 0.7 * rng.standard_normal((height, width)) + 0.7 * draw_noise(rng, size_px, 1.7)
    veil = float(rng.uniform(0.01, 0.05)) + float(rng.uniform(0.03, 0.09)) * soften(flesh, 40 * scale)
    return Exposure(
        level=float(rng.uniform(0.74, 0.9)),
        bone_contrast=float(rng.uniform(1.0, 1.6)) / (scale * zoom),
        gamma=float(rng.uniform(0.85, 1.2)),
        veil=veil,
        shading=_draw_shading(size_px, rng),
        texture=texture,
        grain=grain,
        noise=float(rng.uniform(0.006, 0.02)),
        marks=_draw_marks(flesh, border_px, scale, rng),
        field=_draw_field(size_px, border_px, rng),
    )


def _draw_shading(size_px: tuple[int, int], rng: np.random.Generator) -> Values:
    width, height = size_px
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    tilt_x, tilt_y = rng.uniform(-0.08, 0.08, size=2)
    vignette = float(rng.uniform(0.0, 0.12))
    shading: Values = 1.0 + tilt_x * x + tilt_y * y - vignette * (x**2 + y**2) / 2
    return shading


def _draw_field(size_px: tuple[int, int], border_px: float, rng: np.random.Generator) -> Values:
    """Draw the collimator's opening: four straight blades, each a little off, with a soft edge."""
    width, height = size_px
    blades = border_px * rng.uniform(0.4, 1.0, size=4)
    tilts = rng.uniform(-0.012, 0.012, size=2)
    if border_px == 0.0:
        return np.ones((height, width))
    y, x = np.mgrid[0:height, 0:width].astype(float)
    x, y = x + tilts[0] * (y - height / 2), y + tilts[1] * (x - width / 2)
    inside = np.minimum.reduce([x - blades[0], width - 1 - blades[1] - x, y - blades[2], height - 1 - blades[3] - y])
    field: Values = np.clip(inside / 2.0 + 0.5, 0.0, 1.0)
    return field


def _draw_marks(flesh: Values, border_px: float, scale: float, rng: np.random.Generator) -> Values:
    """Draw a laterality letter in the emptiest corner of two films in three."""
    marks = np.zeros_like(flesh)
    letter, angle, opacity = str(rng.choice(["L", "R"])), float(rng.normal(0, 6)), float(rng.uniform(0.75, 1.0))
    is_drawn = rng.random() < 2 / 3
    stamp = draw_letter(letter, max(10, round(34 * scale)), angle) * opacity
    side, inset = stamp.shape[0], round(border_px)
    rows, columns = (inset, flesh.shape[0] - side - inset), (inset, flesh.shape[1] - side - inset)
    corners = [(top, left) for top in rows for left in columns]
    top, left = min(corners, key=lambda c: float(flesh[c[0] : c[0] + side, c[1] : c[1] + side].sum()))
    if is_drawn:
        marks[top : top + side, left : left + side] = stamp
    return marks


def _expose_twins(scene: Scene, fracture: Break, flesh: Values, exposure: Exposure) -> tuple[Pixels, Pixels]:
    """Return the intact and the broken film of one scene."""
    others = np.zeros_like(flesh)
    for index, bone in enumerate(scene.bones):
        if index != fracture.bone_index:
            add_bone(others, bone, exposure.texture)
    target = scene.bones[fracture.bone_index]
    intact = add_bone(others.copy(), target, exposure.texture)
    broken = add_bone(others.copy(), target, exposure.texture, fracture)
    gain = meter_gain(flesh, intact, exposure)
    return develop_film(flesh, intact, exposure, gain), develop_film(flesh, broken, exposure, gain)


def _bound_difference(intact: Pixels, broken: Pixels) -> list[float]:
    rows, columns = np.nonzero(intact != broken)
    left, top = int(columns.min()), int(rows.min())
    return [float(left), float(top), float(columns.max() - left + 1), float(rows.max() - top + 1)]
