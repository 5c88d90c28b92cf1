"""The vocabulary: class names, body parts, views. May depend on nothing."""

from typing import Final

NOT_FRACTURED: Final = 0
FRACTURED: Final = 1
LABEL_NAMES: Final[tuple[str, str]] = ("not fractured", "fractured")
ID2LABEL: Final[dict[int, str]] = dict(enumerate(LABEL_NAMES))
LABEL2ID: Final[dict[str, int]] = {name: index for index, name in ID2LABEL.items()}

MODALITIES: Final[tuple[str, ...]] = ("XR", "CT", "MR")
OPERATING_POINT_NAMES: Final[tuple[str, ...]] = ("screening", "balanced", "rule_in")
DECISIONS: Final[tuple[str, ...]] = ("fracture", "no fracture", "uncertain", "refused", "error")
