"""The answer to one film, as a row that reads the same in Python, CSV and JSON lines.

May depend on `data`, `labels` and `errors`.
"""

from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal

from hf_fracture.data.spreadsheets import neutralise_formula
from hf_fracture.errors import UsageError
from hf_fracture.labels import DECISIONS

Decision = Literal["fracture", "no fracture", "uncertain", "refused", "error"]


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why a film was refused or could not be read, or what to keep in mind about its answer.

    Attributes:
        code: Stable name in snake_case, such as `unreadable`, `blank` or `untested_body_part`.
        sentence: The same for a person, with the measured value where there is one.
    """

    code: str
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the model says about one film. The fields, in this order, are the columns of `hf-fracture predict`.

    Attributes:
        path: Where the film came from; None for bytes and images in memory.
        decision: `fracture`, `no fracture` or `uncertain`; `refused` where the gate or the modality forbids an answer;
            `error` where the file could not be read.
        probability: Calibrated probability of a fracture in [0, 1]; None when refused or not read.
        operating_point: Name of the operating point whose threshold decided: `rule_in` reached (fracture), `screening`
            not reached (no fracture) or reached (uncertain), `balanced` where one threshold divides both answers. None
            where the model carries no operating points or there is no answer.
        reasons: Empty for an ordinary answer.
        body_part: As the file's header says; None if unknown.
        view: As the file's header says; None if unknown.
        laterality: `L` or `R` as the file's header says; None if unknown.
        study_id: Salted hash from the file's header; None if unknown.
        gate_score: How far the film is from those of the training set, at least 0; refused above 1. None if not read.
        read_note: What reading had to mend: truncated, rotated by EXIF, scaled from 16 bit; None if nothing.
        model: Hub id or folder name of the model.
        revision: Commit on the Hub, or hash of the weights of a local folder.
        seconds: Wall time for this film, reading included.
    """

    path: str | None
    decision: Decision
    probability: float | None
    operating_point: str | None = None
    reasons: list[Reason] = field(default_factory=list)
    body_part: str | None = None
    view: str | None = None
    laterality: str | None = None
    study_id: str | None = None
    gate_score: float | None = None
    read_note: str | None = None
    model: str
    revision: str | None = None
    seconds: float

    def __post_init__(self) -> None:
        """Refuse an answer without a probability and a probability without an answer."""
        if self.decision not in DECISIONS:
            raise UsageError(f"decision must be one of {', '.join(DECISIONS)}, got {self.decision!r}.")
        if (self.probability is None) != (self.decision in ("refused", "error")):
            raise UsageError(
                f"probability must be None for 'refused' and 'error' and a number otherwise, got {self.probability!r} "
                f"for {self.decision!r}."
            )
        if self.probability is not None and not 0.0 <= self.probability <= 1.0:
            raise UsageError(f"probability must lie in [0, 1], got {self.probability!r}. Apply softmax first.")

    @property
    def is_answer(self) -> bool:
        """Whether the film was read and judged."""
        return self.probability is not None

    def to_dict(self) -> dict[str, Any]:
        """Return the columns in order, ready for `json.dumps`; reasons as a list of code and sentence."""
        row = {name: getattr(self, name) for name in COLUMNS}
        row["reasons"] = [{"code": reason.code, "sentence": reason.sentence} for reason in self.reasons]
        return row

    def to_csv_row(self) -> list[str]:
        """Return the columns in order as text: unknown is empty, and no cell can be taken for a formula.

        Probability and gate score have six decimals, seconds three; reasons are `code: sentence`, joined by ` | `.
        """
        row = dict(self.to_dict())
        row["reasons"] = " | ".join(f"{reason.code}: {reason.sentence}" for reason in self.reasons)
        for name, decimals in (("probability", 6), ("gate_score", 6), ("seconds", 3)):
            row[name] = None if row[name] is None else f"{row[name]:.{decimals}f}"
        return ["" if value is None else neutralise_formula(str(value)) for value in row.values()]


COLUMNS: Final[tuple[str, ...]] = tuple(column.name for column in fields(Finding))
