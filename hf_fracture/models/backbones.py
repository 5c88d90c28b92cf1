"""The table of backbones, and building a classifier from one for fine-tuning.

May depend on `data`, `config`, `labels` and `errors`.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hf_fracture.errors import MissingInputError, UsageError
from hf_fracture.labels import ID2LABEL, LABEL2ID

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """One row of the table.

    Attributes:
        hub_id: Repository of the ImageNet weights.
        licence: SPDX identifier of the weights.
        input_size_px: Side at which the weights were trained.
        parameters_millions: Size with a two-class head, all stages.
    """

    hub_id: str
    licence: str
    input_size_px: int
    parameters_millions: float


BACKBONES: dict[str, Backbone] = {
    "resnet-18": Backbone(
        hub_id="microsoft/resnet-18", licence="Apache-2.0", input_size_px=224, parameters_millions=11.2
    ),
    "resnet-34": Backbone(
        hub_id="microsoft/resnet-34", licence="Apache-2.0", input_size_px=224, parameters_millions=21.3
    ),
    "resnet-50": Backbone(
        hub_id="microsoft/resnet-50", licence="Apache-2.0", input_size_px=224, parameters_millions=23.5
    ),
    "resnet-101": Backbone(
        hub_id="microsoft/resnet-101", licence="Apache-2.0", input_size_px=224, parameters_millions=42.5
    ),
    "convnext-tiny": Backbone(
        hub_id="facebook/convnext-tiny-224", licence="Apache-2.0", input_size_px=224, parameters_millions=27.8
    ),
    "convnext-small": Backbone(
        hub_id="facebook/convnext-small-224", licence="Apache-2.0", input_size_px=224, parameters_millions=49.5
    ),
}


def resolve_backbone(backbone: str) -> str:
    """Return the folder or Hub id behind a name of the table, a folder or a Hub id.

    Raises:
        UsageError: If it is none of these; the nearest names are suggested.
        MissingInputError: If it looks like a folder that does not exist.
    """
    if backbone in BACKBONES:
        return BACKBONES[backbone].hub_id
    if Path(backbone).is_dir():
        return backbone
    if backbone.startswith((".", "/", "~")):
        raise MissingInputError(f"Expected a folder with pretrained weights at '{backbone}', found none.")
    if backbone.count("/") == 1:
        return backbone
    near = difflib.get_close_matches(backbone, BACKBONES, n=3)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise UsageError(
        f"Expected a backbone of the table ({', '.join(BACKBONES)}), a folder or a Hub id, got '{backbone}'.{hint}"
    )


def build_classifier(backbone: str) -> "PreTrainedModel":
    """Load pretrained weights under a fresh two-class head, in float32.

    Raises:
        MissingInputError: If the weights cannot be had.
    """
    import torch
    from transformers import AutoModelForImageClassification

    source = resolve_backbone(backbone)
    try:
        model: PreTrainedModel = AutoModelForImageClassification.from_pretrained(
            source,
            num_labels=2,
            id2label=ID2LABEL,
            label2id=LABEL2ID,
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            dtype=torch.float32,
        )
    except (OSError, ValueError) as error:
        raise MissingInputError(
            f"Expected pretrained weights at '{source}', could not load them: {str(error).strip().splitlines()[0]} "
            "Check the name and the network, or pass a local folder."
        ) from error
    return model


def build_evidence_classifier(backbone: str, *, image_size: int, prior_logit: float) -> "nn.Module":
    """Load a pretrained ResNet under a fresh evidence head.

    Args:
        backbone: Name, folder or Hub id of a ResNet.
        image_size: Side of the training input in pixels.
        prior_logit: Logit of the share of fractured films in training.

    Raises:
        UsageError: If the backbone is not a ResNet of transformers.
    """
    from transformers import ResNetForImageClassification

    from hf_fracture.models.evidence import EvidenceClassifier

    model = build_classifier(backbone)
    if not isinstance(model, ResNetForImageClassification):
        raise UsageError(
            f"Evidence supervision needs a ResNet, whose head it can be folded into, got {type(model).__name__}. "
            "Pass --evidence_weight 0 to train without it."
        )
    stride = 2 ** (1 + len(model.config.depths or ()))
    return EvidenceClassifier(model.resnet, num_positions=(image_size // stride) ** 2, prior_logit=prior_logit)
