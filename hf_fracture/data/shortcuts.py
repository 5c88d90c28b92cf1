"""Shortcuts: what predicts the label of a film without looking at bone.

A small forest sees the size of the film, the file, its border and marks, and nothing else; what it reaches on films it
has not seen is what a network could reach without having learned anything. May depend on `inspection`, `schema`,
`splits` and `errors`; scikit-learn is imported when a forest is grown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hf_fracture.data.inspection import Inspection
from hf_fracture.data.schema import RawRow
from hf_fracture.data.splits import assign_folds
from hf_fracture.errors import MissingPackageError

NOTABLE_AUROC: Final = 0.6
MIN_PER_CLASS: Final = 20
_NUM_FOLDS: Final = 5
_NUM_TREES: Final = 60
_NUM_RESAMPLES: Final = 500

Matrix = NDArray[np.float64]

CLUES: Final[Mapping[str, tuple[str, ...]]] = {
    "size of the film": ("width_px", "height_px", "aspect"),
    "file size": ("num_bytes", "bytes_per_pixel"),
    "colour mode": ("mode",),
    "size, file size and colour mode": ("width_px", "height_px", "num_bytes", "mode"),
    "border": ("border_grey", "border_black_fraction"),
    "brightness": ("mean_grey", "grey_range", "white_fraction"),
    "marks in the outer part": ("outer_highlight_fraction",),
    "highlights in the inner part (metal)": ("inner_highlight_fraction",),
    "truncated file": ("truncated",),
    "hardware, by the table": ("hardware",),
    "cast, by the table": ("cast",),
}


@dataclass(frozen=True, kw_only=True)
class Shortcut:
    """What one clue predicts.

    Attributes:
        clue: What the forest saw.
        auroc: Of out-of-fold predictions, in [0, 1].
        auroc_low: Lower end of its 95 % interval (bootstrap over films).
        auroc_high: Upper end.
    """

    clue: str
    auroc: float
    auroc_low: float
    auroc_high: float


@dataclass(frozen=True, kw_only=True)
class ShortcutReport:
    """Every clue, the strongest first.

    Attributes:
        num_films: Films that were used, one per group.
        num_fractured: Fractured ones among them.
        shortcuts: Empty where there are too few films of either class; then `too_few` is True.
        too_few: Fewer than 20 films of either class.
    """

    num_films: int
    num_fractured: int
    shortcuts: list[Shortcut]
    too_few: bool = False


def measure_shortcuts(
    rows: Sequence[RawRow], inspections: Sequence[Inspection], group_ids: Sequence[str], *, seed: int = 0
) -> ShortcutReport:
    """Measure what each clue predicts, on one film per group.

    Args:
        rows: N rows; films without a label are left out.
        inspections: What reading gave, all readable.
        group_ids: One per film; the first film of each group by path stands for it; groups with both labels are left
            out.
        seed: Seeds folds, forests and resampling.

    Raises:
        MissingPackageError: If scikit-learn is not installed.
    """
    chosen = choose_films(rows, group_ids)
    labels = np.array([rows[index].label for index in chosen], dtype=np.intp)
    num_fractured = int(labels.sum())
    report = ShortcutReport(num_films=len(chosen), num_fractured=num_fractured, shortcuts=[])
    if min(num_fractured, len(chosen) - num_fractured) < MIN_PER_CLASS:
        return ShortcutReport(num_films=len(chosen), num_fractured=num_fractured, shortcuts=[], too_few=True)
    features = [describe_film(rows[index], inspections[index]) for index in chosen]
    folds = np.array(
        assign_folds([group_ids[index] for index in chosen], labels.tolist(), num_folds=_NUM_FOLDS, seed=seed)
    )
    for clue, names in {**CLUES, "all of these": tuple(dict.fromkeys(sum(CLUES.values(), ())))}.items():
        matrix = encode_features(features, names)
        if matrix.shape[1]:
            report.shortcuts.append(_judge_clue(clue, matrix, labels, folds, seed))
    report.shortcuts.sort(key=lambda shortcut: -shortcut.auroc)
    return report


def choose_films(rows: Sequence[RawRow], group_ids: Sequence[str]) -> list[int]:
    """Return one labelled film of each group that does not hold both labels, in the order of paths."""
    labels: dict[str, set[int]] = {}
    first: dict[str, int] = {}
    for index in sorted(range(len(rows)), key=lambda index: rows[index].source_path):
        label = rows[index].label
        if label is not None:
            labels.setdefault(group_ids[index], set()).add(label)
            first.setdefault(group_ids[index], index)
    return [index for group, index in first.items() if len(labels[group]) == 1]


def describe_film(row: RawRow, inspection: Inspection) -> dict[str, Any]:
    """Return what is known of a film without looking at bone; None is unknown."""
    film, look = inspection.film, inspection.appearance
    return {
        "width_px": film.file_width,
        "height_px": film.file_height,
        "aspect": film.file_width / film.file_height,
        "num_bytes": film.num_bytes,
        "bytes_per_pixel": film.num_bytes / (film.file_width * film.file_height),
        "mode": f"{film.file_mode}{' with colours' if film.has_colour else ''}",
        "truncated": "truncated" in (film.read_note or ""),
        "hardware": row.hardware,
        "cast": row.cast,
        **({} if look is None else vars(look)),
    }


def encode_features(features: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Matrix:
    """Turn named features into columns: numbers as they are, words one column each, unknown as -1.

    A feature that is the same for every film gives no column.
    """
    columns: list[NDArray[np.float64]] = []
    for name in names:
        values = [feature.get(name) for feature in features]
        if any(isinstance(value, str) for value in values):
            words = sorted({str(value) for value in values})
            columns += [np.array([value == word for value in values], dtype=np.float64) for word in words]
        else:
            columns.append(np.array([-1.0 if value is None else float(value) for value in values]))
    varying = [column for column in columns if np.ptp(column) > 0]
    return np.stack(varying, axis=1) if varying else np.empty((len(features), 0))


def _judge_clue(clue: str, matrix: Matrix, labels: NDArray[np.intp], folds: NDArray[np.intp], seed: int) -> Shortcut:
    scores = _predict_folds(matrix, labels, folds, seed)
    auroc = rank_auroc(labels, scores)
    generator = np.random.default_rng(seed)
    resampled: list[float] = []
    while len(resampled) < _NUM_RESAMPLES:
        draw = generator.integers(0, len(labels), len(labels))
        if 0 < labels[draw].sum() < len(draw):
            resampled.append(rank_auroc(labels[draw], scores[draw]))
    low, high = np.quantile(resampled, (0.025, 0.975))
    return Shortcut(clue=clue, auroc=round(auroc, 4), auroc_low=round(float(low), 4), auroc_high=round(float(high), 4))


def _predict_folds(matrix: Matrix, labels: NDArray[np.intp], folds: NDArray[np.intp], seed: int) -> Matrix:
    """Return the out-of-fold probability of fracture of each film."""
    try:
        from sklearn.ensemble import RandomForestClassifier
    except ImportError as error:
        raise MissingPackageError(
            "Measuring shortcuts needs scikit-learn, which is not installed. pip install 'hf-fracture[train]'."
        ) from error
    scores = np.empty(len(labels))
    for fold in np.unique(folds):
        held = folds == fold
        forest = RandomForestClassifier(
            _NUM_TREES, min_samples_leaf=5, class_weight="balanced", random_state=seed, n_jobs=1
        )
        forest.fit(matrix[~held], labels[~held])
        scores[held] = forest.predict_proba(matrix[held])[:, 1]
    return scores


def rank_auroc(labels: NDArray[np.intp], scores: Matrix) -> float:
    """Return the probability that a fractured film scores above an intact one, ties counting half.

    >>> rank_auroc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.4, 0.9]))
    0.875
    """
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    num_fractured = int(labels.sum())
    below = ranks[labels == 1].sum() - num_fractured * (num_fractured + 1) / 2
    return float(below / (num_fractured * (len(labels) - num_fractured)))
