"""What travels with a model (its operating points and the record in `config.json["fracture"]`), and the recipe.

May depend on `errors` and `labels` only.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from hf_fracture.errors import ModelFolderError, UsageError


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
                "triage limits must satisfy 0 <= screening <= rule_in <= 1, got "
                f"{self.screening!r} and {self.rule_in!r}. Choose them again."
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
        label_kind: What the classes are. A model of fracture types has no operating point, and limits of 0 and 1: it
            never decides whether there is a fracture.
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
    label_kind: Literal["fracture", "fracture_type"] = "fracture"

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
                "config.json must hold a complete key 'fracture' (operating_points, temperature, triage), got one in "
                f"which {error} is wrong or missing. Save the model again with hf-fracture train."
            ) from error


@dataclass(frozen=True, kw_only=True)
class RecipeConfig:
    """What is trained on what, beside the fields of `FractureTrainingArguments`; flags or YAML.

    No default for dataset or backbone: name what you train.
    """

    backbone: str = field(metadata={"help": "Row of hf-fracture backbones, a folder, or a Hub id with weights."})
    target: Literal["fracture", "fracture_type"] = field(
        default="fracture",
        metadata={
            "help": "What is told apart: films with and without fracture, or the types of fractures (column "
            "fracture_type; films without a type are refused)."
        },
    )
    image_size: int = field(default=384, metadata={"help": "Side of the letterboxed input, in pixels."})
    evidence_weight: float = field(
        default=0.5,
        metadata={
            "help": "Weight of the positions' loss against masks or boxes, beside the film's own loss of weight 1. "
            "0 trains an ordinary classifier."
        },
    )
    mask_dilation_fraction: float = field(
        default=0.01, metadata={"help": "Margin by which a marked region grows, as a fraction of image_size."}
    )
    class_weights: Literal["none", "balanced"] = field(
        default="balanced",
        metadata={
            "help": "Weigh films by the inverse frequency of their class. The shift that this gives the logit is taken "
            "out of the head after training, so that probabilities refer to the data's own prevalence."
        },
    )
    label_smoothing: float = field(default=0.0, metadata={"help": "Share of certainty taken off labels, in [0, 0.5)."})
    rotation_degrees: float = field(default=20.0, metadata={"help": "Largest rotation in training, either way."})
    scale_fraction: float = field(default=0.2, metadata={"help": "Largest change of scale in training, in [0, 1)."})
    translation_fraction: float = field(
        default=0.08, metadata={"help": "Largest shift in training, as a fraction of the input's side."}
    )
    horizontal_flip: bool = field(
        default=True,
        metadata={
            "help": "Mirror half of the films. Laterality letters get mirrored too; left and right bones break alike."
        },
    )
    gamma: float = field(default=1.5, metadata={"help": "Grey values are raised to a power in [1/gamma, gamma]."})
    contrast_fraction: float = field(default=0.2, metadata={"help": "Largest change of contrast, in [0, 1)."})
    noise_fraction: float = field(
        default=0.02, metadata={"help": "Largest standard deviation of added noise, as a fraction of white."}
    )
    early_stopping_epochs: int = field(
        default=4, metadata={"help": "Stop after so many epochs without a better validation AUROC. 0 never stops."}
    )

    def __post_init__(self) -> None:
        """Refuse values out of range, each with its remedy."""
        if self.target == "fracture_type" and self.evidence_weight > 0:
            raise UsageError(
                "Evidence supervision tells fractured from intact positions, not types, got --evidence_weight "
                f"{self.evidence_weight:g}. Pass --evidence_weight 0 with --target fracture_type."
            )
        _check_range("image_size", self.image_size, 32, 2048)
        _check_range("evidence_weight", self.evidence_weight, 0, 100)
        _check_range("mask_dilation_fraction", self.mask_dilation_fraction, 0, 0.2)
        _check_range("label_smoothing", self.label_smoothing, 0, 0.49)
        _check_range("rotation_degrees", self.rotation_degrees, 0, 180)
        _check_range("scale_fraction", self.scale_fraction, 0, 0.9)
        _check_range("translation_fraction", self.translation_fraction, 0, 0.5)
        _check_range("gamma", self.gamma, 1, 5)
        _check_range("contrast_fraction", self.contrast_fraction, 0, 0.9)
        _check_range("noise_fraction", self.noise_fraction, 0, 0.5)
        _check_range("early_stopping_epochs", self.early_stopping_epochs, 0, 10_000)


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UsageError(f"{name} must lie in [{low}, {high}], got {value!r}.")
