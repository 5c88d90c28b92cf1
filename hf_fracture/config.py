"""What travels with a model (its operating points and the record in `config.json["fracture"]`), and the recipe.

May depend on `errors` and `labels` only.
"""

import difflib
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Final, Literal

from hf_fracture.errors import MissingInputError, ModelFolderError, UsageError

ENHANCEMENTS: Final = ("inpaint_markers", "noise_floor", "equalize", "clahe", "canny")
RECIPES_DIR: Final = Path(__file__).resolve().parent / "recipes"


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
        temperature: Positive number by which the shifted logit difference was divided; already folded into the head.
        shift: Added to the logit difference before the division; folded in too. The uncalibrated difference is
            `temperature * difference - shift`.
        triage: Limits of the three-way rule.
        trained_on: Dataset names.
        modality: `XR`, `CT` or `MR`.
        body_parts: Body parts in the training data.
        views: Views in the training data.
        enhancement: Name of the enhancement applied before the network, or None.
        pipeline_safe: True if `transformers.pipeline` on this folder gives the same probabilities.
        label_kind: What the classes are. A model of fracture types has no operating point, and limits of 0 and 1: it
            never decides whether there is a fracture.
        triage_guarantee: What the limits promise about films of the same kind, as `TriageGuarantee.to_dict` of
            `evaluation.guarantees` writes it; None where it was not computed.
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
    shift: float = 0.0
    triage_guarantee: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Refuse a temperature that is not positive and finite, and a shift that is not finite."""
        if not (self.temperature > 0 and isfinite(self.temperature)):
            raise ModelFolderError(f"temperature must be positive and finite, got {self.temperature!r}. Fit it again.")
        if not isfinite(self.shift):
            raise ModelFolderError(f"shift must be finite, got {self.shift!r}. Fit it again.")

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
            _check_kinds(known)
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
    backbone_revision: str | None = field(
        default=None,
        metadata={"help": "Commit of the backbone's Hub repository. None takes the table's pin, else the newest."},
    )
    pretrained: bool = field(
        default=True,
        metadata={"help": "False starts the backbone from random weights."},
    )
    num_stages: int | None = field(
        default=None,
        metadata={
            "help": "Keep only so many stages of a ResNet or ConvNeXt. Three leave a map twice as fine at a quarter of "
            "the weights; small fractures need the finer map."
        },
    )
    enhancement: str = field(
        default="none",
        metadata={
            "help": "What the network's own graph does to a film first, joined by '+' in this order: inpaint_markers, "
            "noise_floor, equalize or clahe, canny (edges as a fourth channel). Films come to the network "
            "unchanged, so every way of running the model sees the same. Needs evidence_weight 0."
        },
    )
    head_units: int = field(
        default=0,
        metadata={
            "help": "Units of a dense layer before the outputs, as the wrist project has on its frozen backbones; 0 is "
            "the plain linear head. Needs evidence_weight 0."
        },
    )
    head_dropout: float = field(
        default=0.0,
        metadata={
            "help": "Share of the head's inputs dropped in training, in [0, 1) (Srivastava et al. 2014). Needs "
            "evidence_weight 0."
        },
    )
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
    teacher: str | None = field(
        default=None,
        metadata={
            "help": "Folder of a trained ResNet or ConvNeXt whose last feature map the network also learns to predict "
            "(Romero et al. 2015): for a ResNet or ConvNeXt without pretrained weights. It must have been trained on "
            "the same split. Needs evidence_weight 0."
        },
    )
    teacher_weight: float = field(
        default=1.0,
        metadata={"help": "Weight of the distance from the teacher's features, beside the film's own loss."},
    )
    teacher_image_size: int = field(
        default=0,
        metadata={
            "help": "Side to which the teacher's input is resized, so that bones have the size that it knows; 0 is the "
            "side of its training. Less costs less."
        },
    )
    class_weights: Literal["none", "balanced"] = field(
        default="balanced",
        metadata={
            "help": "Weigh films by the inverse frequency of their class. The shift that this gives the logit is taken "
            "out of the head after training, so that probabilities refer to the data's own prevalence."
        },
    )
    sampling: Literal["shuffled", "balanced"] = field(
        default="shuffled",
        metadata={
            "help": "balanced draws films with replacement so that classes come up alike; an alternative to "
            "class_weights. The shift that this gives the logit is taken out of the head after training."
        },
    )
    focal_gamma: float = field(
        default=0.0,
        metadata={
            "help": "Weigh each film by (1 - probability of its label) to this power, so that easy films count less "
            "(Lin et al. 2017, who use 2). 0 is cross-entropy."
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
    erasing_probability: float = field(
        default=0.0,
        metadata={
            "help": "Share of training films of which a random rectangle is blanked (Zhong et al. 2020), so that no "
            "single mark decides. May hide the fracture itself, hence off."
        },
    )
    recompression_probability: float = field(
        default=0.0,
        metadata={
            "help": "Share of training films that are saved as JPEG of a random quality from 30 to 95 and read again "
            "(Dodge and Karam 2016; Hendrycks and Dietterich 2019 measure what compression costs), so that the "
            "answer does not hang on a copy's quality. 0 is off."
        },
    )
    mixup_alpha: float = field(
        default=0.0,
        metadata={
            "help": "Blend pairs of films with a weight from Beta(alpha, alpha) (Zhang et al. 2018). 0 is off: a "
            "blended fracture is a fainter one."
        },
    )
    freeze_epochs: int = field(
        default=0,
        metadata={
            "help": "Train the head alone for so many epochs, so that its random start does not disturb pretrained "
            "features, then everything; -1 freezes the backbone for the whole run (a linear probe)."
        },
    )
    frozen_layers: int = field(
        default=0,
        metadata={
            "help": "Keep so many of the first layers (1 the stem, 2 the first stage too, and so on) as pretrained for "
            "the whole run. They hold edges and textures that films share with photographs, on the largest maps: with "
            "2 a step of a ResNet-18 takes two thirds of the time."
        },
    )
    first_image_size: int = field(
        default=0,
        metadata={
            "help": "Side of the input for the first first_size_epochs epochs, smaller than image_size (progressive "
            "resizing, Howard 2018; Tan and Le 2021): most epochs at a fraction of the cost. 0 is off."
        },
    )
    first_size_epochs: int = field(default=0, metadata={"help": "Epochs at first_image_size; 0 is off."})
    layer_decay: float = field(
        default=1.0,
        metadata={
            "help": "Learning rate of each stage as a multiple of the next one's, in (0, 1] (Clark et al. 2020): early "
            "features change least. 1 is one rate for all."
        },
    )
    ema_decay: float = field(
        default=0.0,
        metadata={
            "help": "Measure and keep a running mean of the weights, of which each step keeps this share (Polyak and "
            "Juditsky 1992). 0 is off; 0.99 suits runs of some hundred steps."
        },
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
        _check_range("teacher_weight", self.teacher_weight, 0, 1000)
        if self.teacher_image_size:
            _check_range("teacher_image_size", self.teacher_image_size, 32, 2048)
        _check_range("label_smoothing", self.label_smoothing, 0, 0.49)
        _check_range("rotation_degrees", self.rotation_degrees, 0, 180)
        _check_range("scale_fraction", self.scale_fraction, 0, 0.9)
        _check_range("translation_fraction", self.translation_fraction, 0, 0.5)
        _check_range("gamma", self.gamma, 1, 5)
        _check_range("contrast_fraction", self.contrast_fraction, 0, 0.9)
        _check_range("noise_fraction", self.noise_fraction, 0, 0.5)
        _check_range("early_stopping_epochs", self.early_stopping_epochs, 0, 10_000)
        _check_range("num_stages", 4 if self.num_stages is None else self.num_stages, 1, 4)
        _check_range("head_units", self.head_units, 0, 8192)
        _check_range("head_dropout", self.head_dropout, 0, 0.99)
        _check_range("focal_gamma", self.focal_gamma, 0, 10)
        _check_range("erasing_probability", self.erasing_probability, 0, 1)
        _check_range("recompression_probability", self.recompression_probability, 0, 1)
        _check_range("mixup_alpha", self.mixup_alpha, 0, 10)
        _check_range("freeze_epochs", self.freeze_epochs, -1, 10_000)
        _check_range("frozen_layers", self.frozen_layers, 0, 1000)
        _check_range("first_size_epochs", self.first_size_epochs, 0, 10_000)
        _check_range("layer_decay", self.layer_decay, 0.01, 1)
        _check_range("ema_decay", self.ema_decay, 0, 0.9999)
        split_enhancement(self.enhancement)
        self._check_combinations()

    def _check_combinations(self) -> None:
        """Refuse fields that cannot hold together."""
        if self.sampling == "balanced" and self.class_weights == "balanced":
            raise UsageError(
                "sampling and class_weights are both 'balanced', which would correct for rare fractures twice. Pass "
                "--class_weights none, or --sampling shuffled."
            )
        if self.frozen_layers and not self.pretrained:
            raise UsageError(
                f"frozen_layers would keep random weights as they are, got {self.frozen_layers} with pretrained False. "
                "Pass --frozen_layers 0."
            )
        if self.teacher is not None:
            self._check_teacher()
        if self.first_image_size or self.first_size_epochs:
            _check_range("first_image_size", self.first_image_size, 32, self.image_size)
            _check_range("first_size_epochs", self.first_size_epochs, 1, 10_000)
        own_graph = self.enhancement != "none" or self.head_units > 0 or self.head_dropout > 0
        if own_graph and self.evidence_weight > 0:
            raise UsageError(
                "enhancement, head_units and head_dropout need a head of their own, got evidence_weight "
                f"{self.evidence_weight!r}, whose head is folded into a plain ResNet. Pass --evidence_weight 0."
            )

    def _check_teacher(self) -> None:
        """Refuse what leaves a teacher nothing to teach."""
        if self.evidence_weight > 0:
            raise UsageError(
                "A teacher hands on where fractures lie, and evidence supervision learns it from masks: only one at a "
                f"time, got both, evidence_weight {self.evidence_weight:g}. Pass --evidence_weight 0."
            )
        own_graph = self.enhancement != "none" or self.head_units > 0 or self.head_dropout > 0
        if own_graph or self.freeze_epochs < 0 or self.teacher_weight == 0:
            raise UsageError(
                "A teacher trains the backbone of a plain ResNet or ConvNeXt: enhancement, head_units, head_dropout, "
                "freeze_epochs -1 and teacher_weight 0 do not go with it. Leave these, or --teacher, out."
            )


def _check_kinds(record: dict[str, Any]) -> None:
    """Refuse fields of a record that are of another kind than their annotation says.

    Raises:
        TypeError: Naming the field.
    """
    kinds: dict[str, Any] = {
        **dict.fromkeys(("trained_on", "body_parts", "views"), list),
        "modality": str,
        "enhancement": str | None,
        "pipeline_safe": bool,
        "triage_guarantee": dict | None,
    }
    for name, value in record.items():
        is_text = not isinstance(value, list) or all(isinstance(item, str) for item in value)
        if name in kinds and not (isinstance(value, kinds[name]) and is_text):
            raise TypeError(f"{name!r}")
    if record.get("label_kind", "fracture") not in ("fracture", "fracture_type"):
        raise TypeError("'label_kind'")


def split_enhancement(enhancement: str) -> tuple[str, ...]:
    """Return the steps of an enhancement; empty for "none".

    Raises:
        UsageError: If a step is unknown, out of order, or excludes another.

    >>> split_enhancement("noise_floor+equalize")
    ('noise_floor', 'equalize')
    """
    if enhancement == "none":
        return ()
    steps = tuple(enhancement.split("+"))
    known = [step for step in ENHANCEMENTS if step in steps]
    if list(steps) != known or {"equalize", "clahe"} <= set(steps):
        near = [difflib.get_close_matches(step, ENHANCEMENTS, n=1) for step in steps if step not in ENHANCEMENTS]
        hint = f" Did you mean {near[0][0]}?" if near and near[0] else ""
        raise UsageError(
            f"enhancement must be none, or of {', '.join(ENHANCEMENTS)} in this order and joined by '+', equalize or "
            f"clahe but not both, got '{enhancement[:60]}'.{hint}"
        )
    return steps


def list_recipes() -> list[str]:
    """Return the names of the recipes that come with the package."""
    return sorted(path.stem for path in RECIPES_DIR.glob("*.yaml"))


def find_recipe(name: str | Path) -> Path:
    """Return the file behind the name of a recipe of the package, or behind a path.

    Args:
        name: One of `list_recipes()`, or a YAML file.

    Raises:
        MissingInputError: If it is neither; the nearest names are suggested.
    """
    path = Path(name)
    if path.is_file():
        return path
    recipes = list_recipes()
    if str(name) in recipes:
        return RECIPES_DIR / f"{name}.yaml"
    near = difflib.get_close_matches(str(name), recipes, n=3)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise MissingInputError(f"Expected a recipe ({', '.join(recipes)}) or a YAML file, found no '{name}'.{hint}")


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UsageError(f"{name} must lie in [{low}, {high}], got {value!r}.")
