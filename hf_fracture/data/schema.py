"""The row of a prepared dataset, and the row that a source yields before its film is read.

May depend on `labels` only; `datasets` is imported when the features are asked for.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hf_fracture.labels import LABEL_NAMES

SPLITS: Final = ("train", "validation", "test")
HELD_OUT: Final = "held_out"
"""The Parquet split of films that neither train nor measure; `splits.csv` calls them `left out` and says why."""

ROW_COLUMNS: Final[tuple[str, ...]] = (
    *("image", "label", "fracture_type", "modality", "body_part", "view", "laterality", "patient_id", "study_id"),
    *("group_id", "boxes", "polygons", "hardware", "cast", "age_years", "sex", "label_doubt", "read_note", "source"),
    *("source_path", "source_split", "sha256", "perceptual_hash"),
)


@dataclass(frozen=True, kw_only=True)
class RawRow:
    """What a source knows of one film. Unknown is None, never a guess.

    Attributes:
        path: The file; it may be absent, which preparing finds out.
        source_path: The same relative to the dataset's folder, with forward slashes.
        label: 0 not fractured, 1 fractured; None where an image is in the folder but not in the dataset's table.
        fracture_type: Such as `spiral`.
        modality: `XR`, `CT` or `MR`.
        body_part: In lower case; `mixed` where a film shows several.
        view: `frontal`, `lateral`, `oblique`; `mixed` where a film shows several.
        laterality: `L` or `R`.
        patient_id: Films of one patient never part.
        study_id: Films of one examination.
        family: Films whose names say that they are altered copies of one film share it.
        num_alterations: How many alterations the name admits to; 0 is the original.
        boxes: [x, y, width, height] of each fracture in px of the upright original.
        polygons: [x0, y0, x1, y1, …] of each fracture in px of the upright original.
        hardware: True if metal is visible.
        cast: True if a cast is visible.
        age_years: Age of the patient.
        sex: `F` or `M`.
        label_doubt: Why the label may be wrong.
        source_split: `train`, `validation` or `test` as published.
    """

    path: Path
    source_path: str
    label: int | None
    fracture_type: str | None = None
    modality: str | None = None
    body_part: str | None = None
    view: str | None = None
    laterality: str | None = None
    patient_id: str | None = None
    study_id: str | None = None
    family: str | None = None
    num_alterations: int = 0
    boxes: list[list[float]] = field(default_factory=list)
    polygons: list[list[float]] = field(default_factory=list)
    hardware: bool | None = None
    cast: bool | None = None
    age_years: float | None = None
    sex: str | None = None
    label_doubt: str | None = None
    source_split: str | None = None


def FEATURES() -> Any:  # noqa: N802 (a constant in all but its import)
    """Return the `datasets.Features` of a prepared row."""
    from datasets import ClassLabel, Features, Image, List, Value

    text = Value("string")
    kinds = {
        "image": Image(),
        "label": ClassLabel(names=list(LABEL_NAMES)),
        "boxes": List(List(Value("float32"), length=4)),
        "polygons": List(List(Value("float32"))),
        "hardware": Value("bool"),
        "cast": Value("bool"),
        "age_years": Value("float32"),
    }
    return Features({column: kinds.get(column, text) for column in ROW_COLUMNS})
