"""Cheap tests that a picture can be a radiograph at all: no network, a few milliseconds. NumPy and Pillow only.

Every test places the picture on a line on which 0 is an ordinary film and 1 the limit; above 1 it is refused. Ordinary
values and limits were read off the films of FracAtlas and the Kaggle multi-region set, none of which lies beyond a
limit, and off rendered pages, plots, drawings and noise, most of which do.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hf_fracture.data.radiographs import Radiograph
from hf_fracture.inference.finding import Reason

MEASURED_SIDE_PX: Final = 640  # larger films are reduced first; no film is enlarged
MAX_SCORE: Final = 10.0

_BLACK: Final = 5  # at or below: empty part of a film, or rows that a truncated file lost
_WHITE: Final = 250


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One test: 0 where a measure has its ordinary value, 1 at the limit, linear through both."""

    code: str
    measure: str
    ordinary: float
    limit: float
    sentence: str  # with the measured {value} and the {limit}

    def score(self, value: float) -> float:
        """Return how far `value` lies on the way to the limit, in [0, MAX_SCORE]."""
        return float(np.clip((value - self.ordinary) / (self.limit - self.ordinary), 0.0, MAX_SCORE))


RULES: Final = (
    Rule(
        code="too_small",
        measure="short_side_px",
        ordinary=373,
        limit=48,
        sentence="The short side has {value:.0f} pixels; below {limit:.0f} no fracture can be seen.",
    ),
    Rule(
        code="extreme_aspect",
        measure="aspect_ratio",
        ordinary=1.2,
        limit=8.0,
        sentence="The picture is {value:.0f} times as long as wide; films are at most {limit:.0f} times.",
    ),
    Rule(
        code="blank",
        measure="grey_range",
        ordinary=187,
        limit=12,
        sentence="The picture is blank: its grey levels span {value:.0f} of 255.",
    ),
    Rule(
        code="low_contrast",
        measure="grey_range",
        ordinary=187,
        limit=32,
        sentence="The contrast is too low: grey levels span {value:.0f} of 255, films at least {limit:.0f}.",
    ),
    Rule(
        code="saturated",
        measure="white_fraction",
        ordinary=0.0,
        limit=0.70,
        sentence="{value:.0%} of the picture is pure white: an overexposed film, a page, or inverted grey levels.",
    ),
    Rule(
        code="drawing",
        measure="flat_fraction",
        ordinary=0.46,
        limit=0.84,
        sentence="{value:.0%} of the picture is perfectly even, as in drawings, plots and screenshots.",
    ),
    Rule(
        code="document",
        measure="neighbour_correlation",
        ordinary=0.98,
        limit=0.70,
        sentence="Neighbouring pixels agree too little ({value:.2f}, films above {limit:.2f}), as in text and noise.",
    ),
)

_COLOUR_REASON: Final = Reason(
    code="colour_image",
    sentence="The picture is coloured; a radiograph is grey. Upload the film itself, not a photograph.",
)


@dataclass(frozen=True)
class Verdict:
    """What the gate says about one picture.

    Attributes:
        score: At least 0; 0 for an ordinary film, refused above 1.
        reasons: Why it is refused; empty if it passes.
    """

    score: float
    reasons: tuple[Reason, ...] = ()

    @property
    def is_refused(self) -> bool:
        """Whether the picture must not be answered."""
        return bool(self.reasons)


def judge_appearance(radiograph: Radiograph) -> Verdict:
    """Refuse pictures that cannot be films by size, colour, grey levels or texture.

    Args:
        radiograph: What `read_radiograph` returned.

    Returns:
        The largest score of all tests, and a reason for each that is above 1 (the one of a stricter test of the same
        measure takes the place of the milder one).
    """
    measures = measure_appearance(radiograph.image, radiograph.original_size)
    score = 0.0
    reasons: dict[str, Reason] = {}
    for rule in RULES:
        value = measures[rule.measure]
        rule_score = rule.score(value)
        score = max(score, rule_score)
        if rule_score > 1.0:
            sentence = rule.sentence.format(value=value, limit=rule.limit)
            reasons.setdefault(rule.measure, Reason(code=rule.code, sentence=sentence))
    if radiograph.has_colour:
        return Verdict(MAX_SCORE, (_COLOUR_REASON, *reasons.values()))
    return Verdict(score, tuple(reasons.values()))


def measure_appearance(image: Image.Image, original_size: tuple[int, int] | None = None) -> dict[str, float]:
    """Measure what the rules look at.

    Args:
        image: Mode L.
        original_size: Of the file, where it was decoded at a reduced size; None for the image's own.

    Returns:
        short_side_px and aspect_ratio of the whole picture. grey_range: 99th minus 1st percentile. The rest refers to
        what is not black: white_fraction (at 250 or above), flat_fraction (equal to the right and the lower
        neighbour). neighbour_correlation: of each pixel with the next one, along the worse axis.
    """
    short, long = sorted(original_size or image.size)
    factor = max(image.size) // MEASURED_SIDE_PX + (max(image.size) % MEASURED_SIDE_PX > 0)
    grey = np.asarray(image.reduce(factor) if factor > 1 else image)
    counts = np.bincount(grey.ravel(), minlength=256)
    centred = grey.astype(np.float32) - np.float32(grey.mean())
    return {
        "short_side_px": float(short),
        "aspect_ratio": long / short,
        "grey_range": _percentile(counts, 0.99) - _percentile(counts, 0.01),
        "white_fraction": int(counts[_WHITE:].sum()) / max(1, int(counts[_BLACK + 1 :].sum())),
        "flat_fraction": _flat_fraction(grey, grey > _BLACK),
        "neighbour_correlation": min(
            _correlation(centred[:, :-1], centred[:, 1:]), _correlation(centred[:-1], centred[1:])
        ),
    }


def _percentile(counts: NDArray[np.integer], share: float) -> float:
    """Return what `numpy.percentile` says of the levels that were counted, without sorting them."""
    up_to = np.cumsum(counts)
    position = share * (int(up_to[-1]) - 1)
    low, high = np.searchsorted(up_to, (np.floor(position), np.ceil(position)), side="right")
    return float(low + (high - low) * (position % 1))


def _flat_fraction(grey: NDArray[np.uint8], lit: NDArray[np.bool_]) -> float:
    """Share of the lit pixels that equal their right and lower neighbours."""
    if min(grey.shape) < 2:
        return 0.0
    inner = grey[:-1, :-1]
    even = (inner == grey[:-1, 1:]) & (inner == grey[1:, :-1]) & lit[:-1, :-1]
    return float(even.sum()) / max(1, int(lit[:-1, :-1].sum()))


def _correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Correlation of two arrays of one shape, about centred; 1 where there is nothing to correlate."""
    if not first.size:
        return 1.0
    means = first.mean(dtype=np.float64), second.mean(dtype=np.float64)

    def covary(left: NDArray[np.float32], right: NDArray[np.float32], product_of_means: float) -> float:
        return float(np.einsum("ij,ij->", left, right)) / left.size - product_of_means

    spread = covary(first, first, means[0] ** 2) * covary(second, second, means[1] ** 2)
    return covary(first, second, means[0] * means[1]) / spread**0.5 if spread > 0 else 1.0
