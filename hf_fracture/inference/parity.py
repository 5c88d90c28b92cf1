"""How far two runtimes of one model differ, measured from the films on. May depend on everything below `classifier`."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from hf_fracture.data.radiographs import Radiograph
from hf_fracture.data.transforms import Preprocessing, letterbox_pixels
from hf_fracture.errors import UsageError
from hf_fracture.evaluation.metrics import auroc
from hf_fracture.inference.classifier import FractureClassifier

MAX_EXACT_DIFFERENCE: Final = 1e-4  # of a probability: what calls itself exact differs by less
MAX_AUROC_DIFFERENCE: Final = 0.003  # either way: what calls itself as good differs by less

Probabilities = NDArray[np.float64]


def compute_probabilities(classifier: FractureClassifier, films: Iterable[Image.Image]) -> Probabilities:
    """Return the probability of a fracture of each grey film (mode L), whatever the gate thinks of it; (N,)."""
    values = []
    for film in films:
        radiograph = Radiograph(image=film, original_size=film.size, original_mode=film.mode, has_colour=False)
        values.append(float(classifier.compute(radiograph).probabilities[0]))
    return np.asarray(values, dtype=np.float64)


def compute_type_probabilities(
    network: Callable[[NDArray[np.float32]], ArrayLike], films: Iterable[Image.Image], preprocessing: Preprocessing
) -> Probabilities:
    """Return the probability of each of C types for each grey film (mode L); (N, C).

    Args:
        network: Gives the logits (1, C) of one film (1, 3, S, S).
        films: N of them.
        preprocessing: How the network reads a film.
    """
    from scipy.special import softmax

    rows = []
    for film in films:
        pixels = letterbox_pixels(film, preprocessing.size_px, preprocessing.mean, preprocessing.std)
        rows.append(np.asarray(network(pixels[None]), dtype=np.float64)[0])
    return np.asarray(softmax(np.stack(rows), axis=1), dtype=np.float64)


def compare_probabilities(exact: ArrayLike, other: ArrayLike, y_true: Sequence[int] | None = None) -> dict[str, Any]:
    """Compare two answers to the same films.

    Args:
        exact: (N,) probabilities in [0, 1] of the reference, or (N, C) of C classes.
        other: The same of the runtime in question.
        y_true: (N,) of {0, 1}, or of the classes 0..C-1, at least two of which occur; None where it is unknown.

    Returns:
        num_films, max_difference, mean_difference and, with `y_true`, auroc_exact, auroc and auroc_difference
        (other minus exact; of C classes the mean over those that occur, each against the rest).

    Raises:
        UsageError: If the shapes differ or nothing is compared.

    >>> compare_probabilities([0.25, 0.5], [0.25, 0.75])
    {'num_films': 2, 'max_difference': 0.25, 'mean_difference': 0.125}
    """
    first, second = np.asarray(exact, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if first.shape != second.shape or first.ndim not in (1, 2) or not first.size:
        raise UsageError(f"Expected as many probabilities from both runtimes, got {first.shape} and {second.shape}.")
    difference = np.abs(first - second)
    compared: dict[str, Any] = {
        "num_films": len(first),
        "max_difference": float(difference.max()),
        "mean_difference": float(difference.mean()),
    }
    if y_true is not None:
        reference, measured = _rank(y_true, first), _rank(y_true, second)
        compared |= {"auroc_exact": reference, "auroc": measured, "auroc_difference": measured - reference}
    return compared


def _rank(y_true: Sequence[int], probabilities: Probabilities) -> float:
    """Return the AUROC of two classes, or the mean over several, each against the rest."""
    if probabilities.ndim == 1:
        return auroc(y_true, probabilities)
    classes = np.asarray(y_true)
    return float(np.mean([auroc((classes == one).astype(int), probabilities[:, one]) for one in np.unique(classes)]))
