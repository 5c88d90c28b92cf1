"""What a phantom shows: bones and soft tissue of four body parts, and how they lie on the cassette.

Lengths are pixels of a 480 x 640 frame with (0, 0) in its middle and y downwards, until `pose_scene` moves them into
the frame that is drawn. May depend on numpy only.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

REFERENCE_SIZE_PX: Final = (480, 640)

Point = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Bone:
    """A tube from `start` to `end`, in pixels.

    Attributes:
        radius: Half width of the shaft; `start_radius` and `end_radius` are those of the ends.
        bow: Sideways deviation of the axis at mid-length.
        cortex: Thickness of the cortex at mid-shaft, as a share of `radius`.
        cap: Length of the rounded end, as a share of the end's radius; small is flat.
        density: Factor on the attenuation; a flat bone such as the scapula is thin.
        breakable: Range of the length, as shares of it, in which a fracture is drawn; None where none is.
        growth_plates: Shares of the length at which an unfused growth plate crosses the bone.
        canal: Share of the length at which a nutrient canal enters the cortex, or None.
    """

    start: Point
    end: Point
    radius: float
    start_radius: float
    end_radius: float
    bow: float = 0.0
    cortex: float = 0.4
    cap: float = 0.55
    density: float = 1.0
    breakable: tuple[float, float] | None = None
    growth_plates: tuple[float, ...] = ()
    canal: float | None = None

    @property
    def length(self) -> float:
        """Distance between the ends, in pixels."""
        return float(np.hypot(*(self.end - self.start)))


@dataclass(frozen=True, kw_only=True)
class Flesh:
    """A tapered capsule of soft tissue, in pixels."""

    start: Point
    end: Point
    start_radius: float
    end_radius: float


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything that lies on the cassette."""

    bones: list[Bone]
    flesh: list[Flesh]


def build_scene(body_part: str, rng: np.random.Generator) -> Scene:
    """Lay out one body part with a random build, age and set of nutrient canals.

    Raises:
        KeyError: If `body_part` is none of `BODY_PARTS`.
    """
    scene = _BUILDERS[body_part](rng)
    is_child = rng.random() < 0.35
    cortex = float(rng.uniform(0.3, 0.46))
    bones = [_vary_bone(bone, cortex, is_child, rng) for bone in scene.bones]
    return Scene(bones=bones, flesh=scene.flesh)


def pose_scene(scene: Scene, size_px: tuple[int, int], scale: float, rng: np.random.Generator) -> Scene:
    """Mirror, turn, enlarge and move a scene into a frame of `size_px` (width, height)."""
    angle = np.deg2rad(rng.normal(0.0, 9.0)) + (np.pi / 2 if size_px[0] > size_px[1] else 0.0)
    angle += np.pi if rng.random() < 0.2 else 0.0
    factor = scale * float(rng.uniform(0.95, 1.25))
    cosine, sine = factor * np.cos(angle), factor * np.sin(angle)
    matrix = np.array([[cosine, -sine], [sine, cosine]]) @ np.diag([rng.choice([-1.0, 1.0]), 1.0])
    offset = np.array(size_px) * (0.5 + rng.uniform(-0.05, 0.05, size=2))
    return transform_scene(scene, matrix, offset, factor)


def transform_scene(scene: Scene, matrix: NDArray[np.float64], offset: Point, factor: float = 1.0) -> Scene:
    """Map every point by `matrix` (2, 2) and `offset` (2,), and every length by `factor`."""
    turn = float(np.sign(np.linalg.det(matrix)))
    bones = [
        replace(
            bone,
            start=matrix @ bone.start + offset,
            end=matrix @ bone.end + offset,
            radius=bone.radius * factor,
            start_radius=bone.start_radius * factor,
            end_radius=bone.end_radius * factor,
            bow=bone.bow * factor * turn,
        )
        for bone in scene.bones
    ]
    flesh = [
        Flesh(
            start=matrix @ part.start + offset,
            end=matrix @ part.end + offset,
            start_radius=part.start_radius * factor,
            end_radius=part.end_radius * factor,
        )
        for part in scene.flesh
    ]
    return Scene(bones=bones, flesh=flesh)


def _vary_bone(bone: Bone, cortex: float, is_child: bool, rng: np.random.Generator) -> Bone:
    near_start, near_end = sorted(rng.uniform(0.05, 0.09, size=2))
    plates = (float(near_start), float(1.0 - near_end)) if is_child and bone.breakable else ()
    has_canal = rng.random() < 0.5 and bone.breakable is not None
    girth = float(rng.uniform(0.92, 1.08))
    return replace(
        bone,
        radius=bone.radius * girth,
        start_radius=bone.start_radius * girth,
        end_radius=bone.end_radius * girth,
        cortex=bone.cortex * cortex / 0.4,
        growth_plates=plates,
        canal=float(rng.uniform(0.35, 0.6)) if has_canal else None,
    )


def _point(x: float, y: float) -> Point:
    return np.array([x, y], dtype=float)


def _long_bone(
    start: tuple[float, float],
    end: tuple[float, float],
    radii: tuple[float, float, float],
    *,
    bow: float = 0.0,
    cap: float = 0.55,
    breakable: tuple[float, float] | None = None,
) -> Bone:
    """Build a bone from the radii of its start, shaft and end."""
    return Bone(
        start=_point(*start),
        end=_point(*end),
        start_radius=radii[0],
        radius=radii[1],
        end_radius=radii[2],
        bow=bow,
        cap=cap,
        breakable=breakable,
    )


def _short_bone(centre: tuple[float, float], length: float, width: float, angle_degrees: float = 90.0) -> Bone:
    """Build a bone without a shaft: a carpal, the talus, a condyle."""
    along = _point(np.cos(np.deg2rad(angle_degrees)), np.sin(np.deg2rad(angle_degrees))) * length / 2
    middle, radius = _point(*centre), width / 2
    return Bone(
        start=middle - along,
        end=middle + along,
        radius=radius,
        start_radius=radius * 0.94,
        end_radius=radius * 0.94,
        cortex=0.1,
        cap=0.8 * length / width,
    )


def _limb(*parts: tuple[float, float, float, float, float, float]) -> list[Flesh]:
    """Build soft tissue from rows of x, y, radius at the start and x, y, radius at the end."""
    return [
        Flesh(start=_point(row[0], row[1]), start_radius=row[2], end=_point(row[3], row[4]), end_radius=row[5])
        for row in parts
    ]


def _build_forearm(rng: np.random.Generator) -> Scene:
    lift = float(rng.uniform(-20, 90))  # how much of the hand is on the film
    bones = [
        _long_bone((-22, -620), (-34, 128 - lift), (26, 21, 43), bow=16, cap=0.4, breakable=(0.42, 0.95)),
        _long_bone((30, -640), (43, 122 - lift), (36, 17, 19), bow=-6, breakable=(0.45, 0.93)),
    ]
    carpals = [(-56, 0, 40, 48), (-22, -6, 40, 40), (12, 4, 38, 36), (34, 10, 30, 30)]
    carpals += [(-64, 44, 36, 34), (-34, 42, 34, 36), (-2, 46, 50, 40), (32, 46, 42, 38)]
    bones += [_short_bone((x, y + 158 - lift), tall, wide, 70 + 5 * i) for i, (x, y, tall, wide) in enumerate(carpals)]
    for base_x, tip_x, radius in ((-84, -170, 15), (-46, -74, 13), (-14, -22, 13), (14, 26, 12), (40, 72, 12)):
        length = 110 if radius == 15 else 190
        top = 218 - lift
        bones.append(_long_bone((base_x, top), (tip_x, top + length), (radius * 1.35, radius, radius * 1.4), cap=0.7))
    flesh = _limb(
        (0, -640, 132, 2, 60 - lift, 92),
        (2, 60 - lift, 92, -4, 170 - lift, 94),
        (-8, 170 - lift, 92, -10, 420 - lift, 122),
        (-70, 220 - lift, 46, -190, 350 - lift, 36),
    )
    return Scene(bones=bones, flesh=flesh)


def _build_leg(rng: np.random.Generator) -> Scene:
    lift = float(rng.uniform(-70, 70))
    knee, ankle = -232 + lift, 246 + lift
    bones = [
        _long_bone((-16, knee), (-12, ankle), (66, 30, 40), bow=5, cap=0.24, breakable=(0.2, 0.9)),
        _long_bone((62, knee + 38), (44, ankle + 34), (18, 11, 19), bow=-7, breakable=(0.15, 0.92)),
        _long_bone((4, knee - 560), (-14, knee - 14), (36, 36, 70), cap=0.5),
        _short_bone((-8, ankle + 44), 66, 84, 90),
        _short_bone((-4, ankle + 118), 90, 78, 90),
    ]
    for x, radius in ((-52, 15), (-24, 11), (2, 10), (26, 10), (50, 11)):
        bones.append(_long_bone((0.7 * x, ankle + 166), (1.15 * x, ankle + 300), (radius * 1.5, radius, radius * 1.4)))
    flesh = _limb(
        (0, knee - 420, 150, -4, knee - 20, 112),
        (-4, knee - 20, 112, 12, knee + 150, 126),
        (12, knee + 150, 126, 8, ankle - 40, 74),
        (8, ankle - 40, 74, 6, ankle + 180, 82),
        (6, ankle + 180, 82, 0, ankle + 420, 96),
    )
    return Scene(bones=bones, flesh=flesh)


def _build_humerus(rng: np.random.Generator) -> Scene:
    lift = float(rng.uniform(-60, 60))
    shoulder, elbow = -214 + lift, 222 + lift
    bones = [
        _long_bone((6, shoulder), (0, elbow), (50, 25, 56), bow=6, cap=0.85, breakable=(0.2, 0.88)),
        replace(_long_bone((-46, shoulder - 60), (-250, shoulder + 240), (34, 60, 20), cap=0.4), density=0.3),
        _long_bone((-260, shoulder - 86), (-20, shoulder - 76), (14, 12, 20), bow=8),
        _long_bone((-20, elbow - 26), (-28, elbow + 420), (38, 20, 20), bow=6, cap=0.5),
        _long_bone((30, elbow + 8), (36, elbow + 420), (24, 15, 22), bow=-8, cap=0.3),
    ]
    flesh = _limb(
        (-300, shoulder + 120, 260, -90, shoulder + 40, 150),
        (-40, shoulder + 10, 120, 0, shoulder + 180, 104),
        (0, shoulder + 180, 104, 2, elbow, 92),
        (2, elbow, 92, 0, elbow + 420, 84),
    )
    return Scene(bones=bones, flesh=flesh)


_RAYS: Final = (  # angle in degrees, distance of the base, then the lengths from metacarpal to tip; the thumb is last
    (15.0, 84, (148, 98, 58, 42), 13.5),
    (3.5, 88, (146, 106, 66, 44), 13.5),
    (-8.0, 84, (134, 98, 62, 44), 12.5),
    (-19.0, 78, (122, 78, 46, 38), 11.5),
    (50.0, 52, (104, 74, 52), 14.5),
)


def _build_hand(rng: np.random.Generator) -> Scene:
    wrist_y = 196 + float(rng.uniform(-14, 20))
    spread = float(rng.uniform(0.85, 1.2))
    bones = [
        _long_bone((30, 700), (26, wrist_y + 22), (26, 22, 42), cap=0.4),
        _long_bone((-34, 700), (-42, wrist_y + 26), (22, 16, 20)),
    ]
    carpals = [(42, -8, 40, 44), (8, -14, 38, 38), (-24, -8, 36, 34), (-46, -6, 28, 28)]
    carpals += [(52, -48, 34, 34), (24, -54, 34, 34), (-6, -56, 46, 36), (-38, -50, 40, 36)]
    bones += [_short_bone((x, wrist_y + y), tall, wide, 110 - 5 * i) for i, (x, y, tall, wide) in enumerate(carpals)]
    flesh = _limb((0, 700, 96, 2, wrist_y, 80), (2, wrist_y + 10, 78, 4, wrist_y - 96, 92))
    for angle, base, lengths, radius in _RAYS:
        ray_bones, ray_flesh = _build_ray(np.deg2rad(angle * spread), base, lengths, radius, _point(4, wrist_y), rng)
        bones += ray_bones
        flesh += ray_flesh
    return Scene(bones=bones, flesh=flesh)


def _build_ray(
    angle: float, base: float, lengths: tuple[int, ...], radius: float, wrist: Point, rng: np.random.Generator
) -> tuple[list[Bone], list[Flesh]]:
    """Build a finger from its metacarpal to the tip, slightly bent at each joint."""
    bones: list[Bone] = []
    flesh: list[Flesh] = []
    here = wrist + base * _point(np.sin(angle), -np.cos(angle))
    for order, length in enumerate(lengths):
        direction = _point(np.sin(angle), -np.cos(angle))
        tip = here + length * direction
        width = radius * (1.0, 0.9, 0.78, 0.62)[order + (len(lengths) == 3 and order > 0)]
        knob = 1.45 if order < len(lengths) - 1 else 0.95
        bones.append(
            Bone(
                start=here,
                end=tip,
                radius=width,
                start_radius=width * 1.5,
                end_radius=width * knob,
                bow=float(rng.uniform(-2, 2)),
                cap=0.75,
                breakable=(0.25, 0.8) if order < 2 else None,
            )
        )
        sheath = (44.0, 29.0, 25.0, 21.0)[order + (len(lengths) == 3 and order > 0)]
        pulp = 0.92 * min(sheath, 27.0)
        flesh.append(Flesh(start=here, start_radius=sheath, end=tip + 6 * direction, end_radius=pulp))
        here = tip + 5 * direction
        angle += float(np.deg2rad(rng.normal(0.0, 3.0)))
    return bones, flesh


_BUILDERS: Final[dict[str, Callable[[np.random.Generator], Scene]]] = {
    "forearm": _build_forearm,
    "leg": _build_leg,
    "humerus": _build_humerus,
    "hand": _build_hand,
}
BODY_PARTS: Final = tuple(_BUILDERS)
