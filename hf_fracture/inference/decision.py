"""From a probability to an answer. May depend on `config`, `labels` and `errors`."""

import re
from collections.abc import Mapping
from typing import Final

from hf_fracture.config import FractureRecord
from hf_fracture.errors import ModelFolderError
from hf_fracture.inference.finding import Decision
from hf_fracture.labels import ID2LABEL

ARGMAX_THRESHOLD: Final = 0.5  # for models without a record: the larger of the two probabilities wins


def decide(probability: float, record: FractureRecord | None) -> tuple[Decision, str | None]:
    """Apply the three-way rule that was fixed on validation.

    Args:
        probability: Calibrated probability of a fracture, in [0, 1].
        record: What the model folder says of its triage limits; None for a foreign model, which is answered by the
            larger of its two probabilities and never with "uncertain".

    Returns:
        The decision, and the name of the operating point whose threshold made it (None without a record).
    """
    if record is None:
        return ("fracture" if probability >= ARGMAX_THRESHOLD else "no fracture"), None
    triage = record.triage
    if triage.screening == triage.rule_in:
        return ("fracture" if probability >= triage.rule_in else "no fracture"), "balanced"
    if probability >= triage.rule_in:
        return "fracture", "rule_in"
    return ("uncertain" if probability >= triage.screening else "no fracture"), "screening"


def find_fractured_index(id2label: Mapping[int | str, str]) -> int:
    """Find which of two labels speaks for a fracture; many published models sort them the other way round.

    Args:
        id2label: Name of each label by its index, as in `config.json`.

    Returns:
        0 or 1.

    Raises:
        ModelFolderError: If there are not exactly two labels, or not exactly one of them names a fracture.

    >>> find_fractured_index({0: "fractured", 1: "not fractured"})
    0
    """
    try:
        names = {int(index): str(name)[:80] for index, name in id2label.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelFolderError(
            f"Expected id2label of config.json to name a label by each index, got {str(id2label)[:80]}. Set it, for "
            f"example to {ID2LABEL}."
        ) from error
    fractured = [index for index, name in names.items() if _names_fracture(name)]
    if sorted(names) != [0, 1] or len(fractured) != 1:
        raise ModelFolderError(
            f"Expected a model with two labels, of which one names a fracture, got {list(names.values())[:5]}. "
            f"Set id2label in its config.json, for example to {ID2LABEL}."
        )
    return fractured[0]


def _names_fracture(name: str) -> bool:
    """Tell whether a label says that there is a fracture, and does not deny it.

    >>> [_names_fracture(name) for name in ("fractured", "Fracture", "not_fractured", "non-fractured", "No Fracture")]
    [True, True, False, False, False]
    """
    words = re.split(r"[^a-z]+", name.lower())
    denied = any(word in ("no", "not", "non", "without", "un", "absent", "negative") for word in words)
    return not denied and any(word.startswith(("fractur", "broken")) for word in words)
