"""What travels with a model: its operating points and the record kept in `config.json["fracture"]`.

May depend on `errors` and `labels` only.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from hf_fracture.errors import ModelFolderError


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """A decision rule and what it achieved where it was chosen (the validation split).

    Attributes:
        threshold: Call "fracture" when probability >= threshold; in [0, 1].
        sensitivity: Share of fractured films called so, in [0, 1].
        specificity: Share of films without fracture not called so, in [0, 1].
    """

    threshold: float
    sensitivity: float
    specificity: float

    def __post_init__(self) -> None:
        """Refuse values outside [0, 1]."""
        for name, value in asdict(self).items():
            if not 0.0 <= value <= 1.0:
                raise ModelFolderError(f"{name} must lie in [0, 1], got {value!r}. Choose the operating points again.")


@dataclass(frozen=True, kw_only=True)
class Triage:
    """Limits of the three-way rule, as probabilities in [0, 1]; screening <= rule_in.

    Below `screening`: no fracture. At or above `rule_in`: fracture. Between: uncertain.
    """

    screening: float
    rule_in: float

    def __post_init__(self) -> None:
        """Refuse limits that cross or leave [0, 1]."""
        if not 0.0 <= self.screening <= self.rule_in <= 1.0:
            raise ModelFolderError(
                f"triage limits must satisfy 0 <= screening <= rule_in <= 1, got {self.screening!r} and {self.rule_in!r}."
            )


@dataclass(frozen=True, kw_only=True)
class FractureRecord:
    """The key `fracture` of a model's `config.json`.

    Attributes:
        operating_points: `screening`, `balanced` and `rule_in`, chosen on validation.
        temperature: Positive number by which the logits were divided; already folded into the head. Multiply the
            head by it to get the uncalibrated network back.
        triage: Limits of the three-way rule.
        trained_on: Dataset names.
        modality: `XR`, `CT` or `MR`.
        body_parts: Body parts in the training data.
        views: Views in the training data.
        enhancement: Name of the enhancement applied before the network, or None.
        pipeline_safe: True if `transformers.pipeline` on this folder gives the same probabilities.
    """

    operating_points: dict[str, OperatingPoint]
    temperature: float
    triage: Triage
    trained_on: list[str] = field(default_factory=list)
    modality: str = "XR"
    body_parts: list[str] = field(default_factory=list)
    views: list[str] = field(default_factory=list)
    enhancement: str | None = None
    pipeline_safe: bool = True

    def __post_init__(self) -> None:
        """Refuse a temperature that is not positive."""
        if not self.temperature > 0:
            raise ModelFolderError(f"temperature must be positive, got {self.temperature!r}. Fit it again.")

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dictionary for `config.json`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "FractureRecord":
        """Read the dictionary of a `config.json`.

        Raises:
            ModelFolderError: If a key is missing or a value leaves its range.
        """
        try:
            points = {name: OperatingPoint(**point) for name, point in record["operating_points"].items()}
            known = {name: record[name] for name in cls.__dataclass_fields__ if name in record}
            return cls(**{**known, "operating_points": points, "triage": Triage(**record["triage"])})
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelFolderError(
                f"config.json must hold a complete key 'fracture' (operating_points, temperature, triage), got a record "
                f"in which {error} is wrong or missing. Save the model again with hf-fracture train."
            ) from error
