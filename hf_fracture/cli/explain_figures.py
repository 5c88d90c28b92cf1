"""Where maps point: peak, mass and overlap against marked regions, per film and with intervals over groups."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

FIGURES: Final[tuple[str, ...]] = ("peak_in_region", "mass_in_region", "iou")
CANDIDATE_FIGURES: Final[tuple[str, ...]] = ("candidate_iou", "candidate_centre_in_region", "candidate_touches_region")
SHARES: Final = ("peak_in_region", "candidate_centre_in_region", "candidate_touches_region")  # 0 or 1 for each film
THRESHOLD_FRACTIONS: Final[tuple[float, ...]] = tuple(round(step / 20, 2) for step in range(2, 19))
BOX_SIZE_LIMITS: Final[tuple[float, ...]] = (0.003, 0.01)  # share of the film; thirds of FracAtlas, roughly
MIN_FILMS_PER_GROUP: Final = 10

Mapper = Callable[["Image.Image"], NDArray[np.floating]]
Film = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Shares of a map's peak, chosen on other films than those that are measured.

    Attributes:
        iou: At which the map's marked part overlaps best with the regions.
        candidate: At which the candidate box does.
        full_scale: Median peak, drawn in full colour.
    """

    iou: float
    candidate: float
    full_scale: float


def choose_thresholds(mapper: Mapper, films: Sequence[Film]) -> Thresholds:
    """Choose where to cut a map by the mean overlap on films that are not measured; half the peak where there are none.

    Args:
        mapper: Film to (H, W) map.
        films: Rows with `image` and `boxes`.
    """
    from hf_fracture.explain.localization import measure_overlap

    if not films:
        return Thresholds(iou=0.5, candidate=0.5, full_scale=0.0)
    peaks, overlaps, boxes = [], [], []
    for row in films:
        values = mapper(row["image"])
        peaks.append(float(values.max()))
        overlaps.append([measure_overlap(values, row["boxes"], threshold_fraction=t) for t in THRESHOLD_FRACTIONS])
        boxes.append([_score_candidate(values, row["boxes"], t)["candidate_iou"] for t in THRESHOLD_FRACTIONS])
    return Thresholds(
        iou=THRESHOLD_FRACTIONS[int(np.mean(overlaps, axis=0).argmax())],
        candidate=THRESHOLD_FRACTIONS[int(np.mean(boxes, axis=0).argmax())],
        full_scale=float(np.median(peaks)),
    )


def score_film(values: NDArray[np.floating], row: Film, thresholds: Thresholds) -> dict[str, float]:
    """Return every figure of one map of one film."""
    from hf_fracture.explain.localization import measure_overlap, score_map

    score = score_map(values, row["boxes"])
    return {
        "peak_in_region": score.peak_in_region,
        "mass_in_region": score.mass_in_region,
        "region_fraction": score.region_fraction,
        "iou": measure_overlap(values, row["boxes"], threshold_fraction=thresholds.iou),
        **_score_candidate(values, row["boxes"], thresholds.candidate),
    }


def estimate_means(
    scores: Sequence[Mapping[str, float]], names: Sequence[str], group_ids: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return the mean of each figure with its interval over groups; without a value where there is no film.

    Args:
        scores: One mapping per film.
        names: Of the figures.
        group_ids: One per film.
    """
    return {
        name: estimate_mean([score[name] for score in scores], group_ids, is_share=name in SHARES) for name in names
    }


def estimate_mean(values: Sequence[float], group_ids: Sequence[str], *, is_share: bool = False) -> dict[str, Any]:
    """Return a mean over films with its interval over groups.

    Args:
        values: (N,), finite.
        group_ids: (N,).
        is_share: Whether every value is 0 or 1.
    """
    from hf_fracture.evaluation.bootstrap import bootstrap, estimate

    if not len(values):
        return {"value": None, "lower": None, "upper": None, "method": "none"}
    figures = np.asarray(values, dtype=np.float64)
    resampled = bootstrap(lambda weights: {"mean": (weights @ figures) / weights.sum(axis=-1)}, np.array(group_ids))
    num_groups = len(set(group_ids))
    return estimate(float(figures.mean()), resampled["mean"], num_groups=num_groups, is_share=is_share).to_dict()


def list_groups(films: Sequence[Film]) -> list[tuple[str, str, NDArray[np.intp]]]:
    """Divide films by body part and by the size of their largest region: column, value, positions."""
    columns = {
        "body_part": [row.get("body_part") or "not recorded" for row in films],
        "box_size": [name_box_size(row) for row in films],
    }
    return [
        (column, value, np.flatnonzero(np.array(values) == value))
        for column, values in columns.items()
        for value in sorted(set(values), key=lambda value, values=values: (-values.count(value), value))  # type: ignore[misc]
    ]


def name_box_size(row: Film) -> str:
    """Return the size class of a film's largest region, as a share of the film.

    >>> from PIL import Image
    >>> name_box_size({"image": Image.new("L", (100, 100)), "boxes": [[0, 0, 10, 5]]})
    '0.3 to 1 % of the film'
    """
    area = max(box[2] * box[3] for box in row["boxes"]) / (row["image"].width * row["image"].height)
    low, high = BOX_SIZE_LIMITS
    if area < low:
        return f"under {low:.1%} of the film".replace("%", " %")
    if area < high:
        return f"{100 * low:g} to {100 * high:g} % of the film"
    return f"{100 * high:g} % of the film and over"


def is_beaten(method: Mapping[str, Any], baselines: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether a method's peak hits more often than every baseline's, by intervals that do not overlap."""
    name = "peak_in_region_if_detected"
    lower, uppers = method[name]["lower"], [row[name]["upper"] for row in baselines.values()]
    return lower is not None and all(upper is not None and upper < lower for upper in uppers)


def write_sentence(method: Mapping[str, Any], baselines: Mapping[str, Mapping[str, Any]], where: str) -> str:
    """Say beside a picture how often such a map was right.

    Args:
        method: Figures of the method.
        baselines: Figures of the baselines.
        where: Such as `68 detected test fractures of fracatlas`.
    """
    name = "peak_in_region_if_detected"
    if method[name]["value"] is None:
        return "How often the peak of this map lies in the fracture has not been measured: no fracture was detected."
    guesses = ", ".join(
        f"{text} {_percent(baselines[key][name]['value'])}"
        for key, text in (("centre", "a guess at the centre"), ("edges", "the strongest edge"))
    )
    interval = (
        ""
        if method[name]["lower"] is None
        else (f" ({100 * method[name]['lower']:.0f} to {_percent(method[name]['upper'])})")
    )
    verdict = "" if method["beats_baselines"] else " Not clearly better: do not take it for the fracture's place."
    return (
        f"On {where} the peak of this map lies in the marked region in {_percent(method[name]['value'])}{interval}; "
        f"{guesses}.{verdict}"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _score_candidate(
    values: NDArray[np.floating], boxes: Sequence[Sequence[float]], threshold_fraction: float
) -> dict[str, float]:
    from hf_fracture.explain.candidate import find_candidate, measure_box_overlap

    box = find_candidate(values, threshold_fraction=threshold_fraction)
    if box is None:
        return dict.fromkeys(CANDIDATE_FIGURES, 0.0)
    overlaps = [measure_box_overlap(box, marked) for marked in boxes]
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    centred = any(left <= x <= left + width and top <= y <= top + height for left, top, width, height in boxes)
    return {
        "candidate_iou": max(overlaps),
        "candidate_centre_in_region": float(centred),
        "candidate_touches_region": float(max(overlaps) > 0),
    }
