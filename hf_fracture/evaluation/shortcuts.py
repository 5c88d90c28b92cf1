"""Could the films be told apart without looking at a bone: the probe of everything but the anatomy.

May depend on `figures`, `films`, `bootstrap`, `curves` and `inputs`; scikit-learn is imported inside functions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

from hf_fracture.evaluation.bootstrap import SEED, Estimate, bootstrap, count_rarer_groups, estimate
from hf_fracture.evaluation.curves import RankedFilms
from hf_fracture.evaluation.figures import Resampling
from hf_fracture.evaluation.films import read_stored_images
from hf_fracture.evaluation.inputs import Floats, check_labels

if TYPE_CHECKING:
    from datasets import Dataset

FRAME_FEATURES: Final[tuple[str, ...]] = (
    *("width_px", "height_px", "aspect_ratio", "stored_bytes", "bytes_per_pixel"),
    *("top_mean", "bottom_mean", "left_mean", "right_mean", "border_spread", "black_fraction", "white_fraction"),
)
"""What the probe sees of a film: its size, how well it compresses, its outermost 2 %, and how much is pure black or
white. Colour and the size of the original file are gone after preparing."""

REPORTING_LIMIT: Final = 0.6
"""A probe above this AUROC belongs beside the headline number."""

_BORDER_FRACTION: Final = 0.02
_NUM_TREES: Final = 300
_MIN_LEAF_FILMS: Final = 5


@dataclass(frozen=True, kw_only=True)
class FrameProbe:
    """What a forest makes of the frames of the films.

    Attributes:
        auroc: On the measured films.
        trained_on: Number of films it learned from.
        importances: Share of each of `FRAME_FEATURES` in the forest's decisions; they sum to 1.
    """

    auroc: Estimate
    trained_on: int
    importances: Mapping[str, float]

    @property
    def is_above_limit(self) -> bool:
        """True if the probe belongs beside the headline number."""
        return self.auroc.value is not None and self.auroc.value > REPORTING_LIMIT

    def to_dict(self) -> dict[str, Any]:
        """Return the section of `evaluation.json`."""
        return {
            "auroc": self.auroc.to_dict(),
            "num_training_films": self.trained_on,
            "above_limit": self.is_above_limit,
            "importances": dict(self.importances),
        }


def probe_frames(train: "Dataset", measured: "Dataset", *, resampling: Resampling | None = None) -> FrameProbe:
    """Teach a random forest the labels of one split from its films' frames, and measure it on another.

    Args:
        train: Prepared films to learn from.
        measured: Prepared films of other groups.
        resampling: How the interval is obtained; None takes the defaults. Its seed also grows the forest.

    Raises:
        EvaluationError: If either split lacks a class.
    """
    resampling = resampling or Resampling()
    scores, importances = score_frames(train, measured, seed=resampling.seed)
    ranked = RankedFilms(check_labels(measured["label"]), scores)
    resampled = bootstrap(
        lambda weights: {"auroc": ranked.count_calls(weights).auroc()},
        np.asarray(measured["group_id"]),
        num_resamples=resampling.num_resamples,
        seed=resampling.seed,
    )
    value = float(ranked.count_calls().auroc()[0])
    return FrameProbe(
        auroc=estimate(
            value,
            resampled["auroc"],
            num_groups=count_rarer_groups(measured["group_id"], measured["label"]),
            confidence_level=resampling.confidence_level,
        ),
        trained_on=len(train),
        importances=importances,
    )


def score_frames(train: "Dataset", measured: "Dataset", *, seed: int = SEED) -> tuple[Floats, dict[str, float]]:
    """Teach a random forest the labels of some films from their frames, and let it answer others.

    Args:
        train: Prepared films to learn from, of both classes.
        measured: Prepared films.
        seed: Grows the forest.

    Returns:
        (N,) the share of trees that call each measured film fractured, and the importances of `FrameProbe`.

    Raises:
        EvaluationError: If the films to learn from lack a class.
    """
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(
        n_estimators=_NUM_TREES,
        min_samples_leaf=_MIN_LEAF_FILMS,
        class_weight="balanced_subsample",
        random_state=seed,
    )
    forest.fit(describe_frames(train), check_labels(train["label"]))
    scores = np.asarray(forest.predict_proba(describe_frames(measured))[:, 1], dtype=np.float64)
    return scores, dict(zip(FRAME_FEATURES, forest.feature_importances_.tolist(), strict=True))


def describe_frames(films: "Dataset") -> Floats:
    """Return what the probe sees of each film, (N, number of `FRAME_FEATURES`)."""
    return np.stack([describe_frame(content) for content in read_stored_images(films)])


def describe_frame(content: bytes) -> Floats:
    """Return what the probe sees of one film.

    Args:
        content: The stored image file.

    Returns:
        One number for each of `FRAME_FEATURES`; grey levels as shares of white.
    """
    with Image.open(BytesIO(content)) as image:
        levels = np.asarray(image.convert("L"), dtype=np.float64) / 255
    height, width = levels.shape
    rows, columns = max(1, round(_BORDER_FRACTION * height)), max(1, round(_BORDER_FRACTION * width))
    sides = [levels[:rows], levels[-rows:], levels[:, :columns], levels[:, -columns:]]
    return np.array(
        [
            *(width, height, width / height, len(content), len(content) / levels.size),
            *(side.mean() for side in sides),
            np.std(np.concatenate([side.ravel() for side in sides])),
            *((levels == 0).mean(), (levels >= 250 / 255).mean()),
        ]
    )
