"""Which of a model's classes mean fractured: taken from our own label names, or stated by the user; never guessed.

May depend on `inputs`, `labels` and `errors`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hf_fracture.errors import EvaluationError, UsageError
from hf_fracture.evaluation.inputs import Floats, Labels
from hf_fracture.labels import FRACTURED, LABEL2ID, LABEL_NAMES, NOT_FRACTURED


def parse_label_map(text: str) -> dict[str, int]:
    """Read `--label-map`.

    Args:
        text: Pairs such as `normal=not fractured,hairline=fractured,spiral=fractured`.

    Returns:
        0 or 1 by the model's class name.

    Raises:
        UsageError: If a pair is not of that form, a class occurs twice, or the meaning is not one of ours.

    >>> parse_label_map("normal=not fractured, broken = fractured")
    {'normal': 0, 'broken': 1}
    """
    mapping: dict[str, int] = {}
    for pair in text.split(","):
        name, equals, meaning = (part.strip() for part in pair.rpartition("="))
        if not equals or not name or meaning not in LABEL2ID:
            raise UsageError(
                f"--label-map expects pairs 'class={LABEL_NAMES[0]}' or 'class={LABEL_NAMES[1]}' separated by commas, "
                f"got '{pair.strip()}'."
            )
        if name in mapping:
            raise UsageError(f"--label-map names the class '{name}' twice. Give each class one meaning.")
        mapping[name] = LABEL2ID[meaning]
    return mapping


def map_classes(class_names: Mapping[Any, Any] | None, label_map: Mapping[str, int] | None = None) -> Labels:
    """State for each class of a model whether it means fractured.

    Args:
        class_names: The model's `config.id2label`, ids 0..C-1.
        label_map: 0 or 1 by class name; None takes the names of this package.

    Returns:
        (C,) of {0, 1}, both present.

    Raises:
        EvaluationError: If a class has no stated meaning, a stated class does not exist, or one meaning has no class.

    >>> map_classes({0: "not fractured", 1: "fractured"})
    array([0, 1])
    """
    names = [str(name) for _, name in sorted((class_names or {}).items(), key=lambda item: int(item[0]))]
    known = LABEL2ID if label_map is None else label_map
    unmapped = [name for name in names if name not in known]
    unknown = [] if label_map is None else [name for name in label_map if name not in names]
    if unmapped or unknown:
        example = ",".join(f"{name}=fractured" for name in names[:2])
        raise EvaluationError(
            f"Every class of the model must be said to mean fractured or not. The model has {_quote(names)}; without a "
            f"meaning: {_quote(unmapped)}; not a class: {_quote(unknown)}. Pass all of them, such as --label-map "
            f"'{example}', or --target fracture_type where the classes are types."
        )
    meanings = np.array([known[name] for name in names], dtype=np.int64)
    if not {NOT_FRACTURED, FRACTURED} <= set(meanings.tolist()):
        raise EvaluationError(
            f"At least one class must mean fractured and one not fractured, got only '{LABEL_NAMES[meanings[0]]}' for "
            f"{_quote(names)}. A model that knows only one of them cannot be measured."
        )
    return meanings


def logit_difference_of(logits: ArrayLike, meanings: Labels) -> Floats:
    """Reduce class logits to one number per film: the log odds that softmax gives to fractured.

    Args:
        logits: (N, C) finite class logits.
        meanings: (C,) of {0, 1}, from `map_classes`.

    Returns:
        (N,) log of the summed probability of fractured classes minus that of the others; for two classes exactly the
        difference of the two logits.

    Raises:
        EvaluationError: If the number of classes differs.

    >>> logit_difference_of([[1.0, 3.0]], np.array([0, 1]))
    array([2.])
    """
    from scipy.special import logsumexp

    values = np.asarray(logits, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(meanings):
        raise EvaluationError(f"logits must have shape (N, {len(meanings)}), got {values.shape}. Use the model's own.")
    difference = logsumexp(values[:, meanings == FRACTURED], axis=1) - logsumexp(
        values[:, meanings == NOT_FRACTURED], axis=1
    )
    return np.asarray(difference, dtype=np.float64)


def _quote(names: list[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
