"""The table of backbones: where weights come from, under which licence, and what the network looks like.

Imports nothing heavy, so that `hf-fracture backbones` answers at once. May depend on `data` and `errors`.
"""

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from hf_fracture.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from hf_fracture.errors import MissingInputError, UsageError

Library = Literal["transformers", "timm", "hf_fracture"]


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """One row of the table.

    Attributes:
        hub_id: Repository of the ImageNet-1k weights; None for a network that is always trained from random weights.
        revision: Commit of that repository from which weights are taken. None where it could not be pinned: the
            newest is taken then, and a run records which one that was.
        licence: SPDX identifier of the weights, as their authors state it; of the code where there are no weights.
        input_size_px: Side at which the weights were trained, or for which the network was drawn.
        num_parameters: Weights of the whole network under a head of two classes.
        gradcam_layer: Dotted path of the module whose output is the last feature map.
        library: What builds it; `timm` needs the extra of that name.
        model_type: Key under which transformers knows the configuration.
        architecture: Fields of the configuration, from which random weights are drawn.
        image_mean: Per channel, with which the weights expect films to be normalised.
        image_std: Per channel, likewise.
    """

    hub_id: str | None
    licence: str
    input_size_px: int
    num_parameters: int
    gradcam_layer: str
    library: Library = "transformers"
    model_type: str
    revision: str | None = None
    architecture: dict[str, Any] = field(default_factory=dict)
    image_mean: tuple[float, float, float] = IMAGENET_MEAN
    image_std: tuple[float, float, float] = IMAGENET_STD


def _resnet(name: str, num_parameters: int, depths: tuple[int, ...], *, bottleneck: bool) -> Backbone:
    sizes = [256, 512, 1024, 2048] if bottleneck else [64, 128, 256, 512]
    return Backbone(
        hub_id=f"microsoft/{name}",
        licence="Apache-2.0",
        input_size_px=224,
        num_parameters=num_parameters,
        gradcam_layer="resnet.encoder.stages.3",
        model_type="resnet",
        architecture={
            "depths": list(depths),
            "hidden_sizes": sizes,
            "layer_type": "bottleneck" if bottleneck else "basic",
        },
    )


def _convnext(name: str, num_parameters: int, depths: tuple[int, ...], sizes: tuple[int, ...]) -> Backbone:
    # The Hub's cards of ConvNeXt V2 say Apache-2.0; the authors' repository keeps the weights under CC BY-NC 4.0.
    is_second = name.startswith("convnextv2")
    return Backbone(
        hub_id=f"facebook/{name}{'-1k' if is_second else ''}-224",
        licence="CC-BY-NC-4.0" if is_second else "Apache-2.0",
        input_size_px=224,
        num_parameters=num_parameters,
        gradcam_layer=f"{'convnextv2' if is_second else 'convnext'}.encoder.stages.3",
        model_type="convnextv2" if is_second else "convnext",
        architecture={"depths": list(depths), "hidden_sizes": list(sizes)},
    )


BACKBONES: Final[dict[str, Backbone]] = {
    "resnet-18": _resnet("resnet-18", 11_177_538, (2, 2, 2, 2), bottleneck=False),
    "resnet-34": _resnet("resnet-34", 21_285_698, (3, 4, 6, 3), bottleneck=False),
    "resnet-50": _resnet("resnet-50", 23_512_130, (3, 4, 6, 3), bottleneck=True),
    "resnet-101": _resnet("resnet-101", 42_504_258, (3, 4, 23, 3), bottleneck=True),
    "convnext-tiny": _convnext("convnext-tiny", 27_821_666, (3, 3, 9, 3), (96, 192, 384, 768)),
    "convnext-small": _convnext("convnext-small", 49_456_226, (3, 3, 27, 3), (96, 192, 384, 768)),
    "convnextv2-atto": _convnext("convnextv2-atto", 3_388_042, (2, 2, 6, 2), (40, 80, 160, 320)),
    "convnextv2-femto": _convnext("convnextv2-femto", 4_849_010, (2, 2, 6, 2), (48, 96, 192, 384)),
    "convnextv2-pico": _convnext("convnextv2-pico", 8_554_306, (2, 2, 6, 2), (64, 128, 256, 512)),
    "convnextv2-nano": _convnext("convnextv2-nano", 14_984_082, (2, 2, 8, 2), (80, 160, 320, 640)),
    "convnextv2-tiny": _convnext("convnextv2-tiny", 27_868_034, (3, 3, 9, 3), (96, 192, 384, 768)),
    "vgg16": Backbone(
        hub_id="timm/vgg16.tv_in1k",
        revision="3394518cba29aee1ea82a49d971be90d2dd1dab7",
        licence="BSD-3-Clause",
        input_size_px=224,
        num_parameters=134_268_738,
        gradcam_layer="timm_model.features",
        library="timm",
        model_type="timm_wrapper",
        architecture={"architecture": "vgg16"},
    ),
    "inception-v3": Backbone(
        hub_id="timm/inception_v3.tv_in1k",
        licence="Apache-2.0",
        input_size_px=299,
        num_parameters=21_789_666,
        gradcam_layer="timm_model.Mixed_7c",
        library="timm",
        model_type="timm_wrapper",
        architecture={"architecture": "inception_v3"},
        image_mean=(0.5, 0.5, 0.5),
        image_std=(0.5, 0.5, 0.5),
    ),
    "densenet-201": Backbone(
        hub_id="timm/densenet201.tv_in1k",
        licence="Apache-2.0",
        input_size_px=224,
        num_parameters=18_096_770,
        gradcam_layer="timm_model.features",
        library="timm",
        model_type="timm_wrapper",
        architecture={"architecture": "densenet201"},
    ),
    "deepconvnet": Backbone(
        hub_id=None,
        licence="Apache-2.0",
        input_size_px=224,
        num_parameters=2_354_402,
        gradcam_layer="blocks",
        library="hf_fracture",
        model_type="deepconvnet",
    ),
    "plain-cnn": Backbone(
        hub_id=None,
        licence="Apache-2.0",
        input_size_px=96,
        num_parameters=356_226,
        gradcam_layer="features",
        library="hf_fracture",
        model_type="plain_cnn",
    ),
}


def resolve_backbone(backbone: str) -> str:
    """Return the folder or Hub id behind a name of the table, a folder or a Hub id.

    A row without weights of its own stands for itself.

    Raises:
        UsageError: If it is none of these; the nearest names are suggested.
        MissingInputError: If it looks like a folder that does not exist.
    """
    if backbone in BACKBONES:
        return BACKBONES[backbone].hub_id or backbone
    if Path(backbone).is_dir():
        return backbone
    if backbone.startswith((".", "/", "~")):
        raise MissingInputError(f"Expected a folder with pretrained weights at '{backbone}', found none.")
    if backbone.count("/") == 1:
        return backbone
    near = difflib.get_close_matches(backbone.lower(), BACKBONES, n=3)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise UsageError(
        f"Expected a backbone of the table ({', '.join(BACKBONES)}), a folder or a Hub id, got '{backbone}'.{hint}"
    )


def find_row(backbone: str) -> Backbone | None:
    """Return the row of a name or of the Hub id of a row; None for anything else."""
    if backbone in BACKBONES:
        return BACKBONES[backbone]
    return next((row for row in BACKBONES.values() if row.hub_id == backbone), None)
