"""Build a classifier from a backbone: a name of the table, a folder or a Hub id, pretrained or random.

Torch is imported inside the functions. May depend on `data`, `config`, `labels` and `errors`.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from hf_fracture.config import FractureRecord, RecipeConfig, split_enhancement
from hf_fracture.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from hf_fracture.errors import MissingInputError, MissingPackageError, UsageError
from hf_fracture.labels import LABEL_NAMES
from hf_fracture.models.backbone_table import BACKBONES, Backbone, find_row, resolve_backbone
from hf_fracture.models.checkpoint import read_json
from hf_fracture.models.folder_check import check_configuration, check_size, read_shapes

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel, ResNetForImageClassification

__all__ = [
    "BACKBONES",
    "Backbone",
    "build_classifier",
    "build_evidence_classifier",
    "build_recipe_model",
    "find_row",
    "group_layers",
    "read_start",
    "read_statistics",
    "resolve_backbone",
]

STAGED_TYPES: Final = ("resnet", "convnext", "convnextv2")

Statistics = tuple[tuple[float, float, float], tuple[float, float, float]]


def build_classifier(
    backbone: str,
    *,
    label_names: Sequence[str] = LABEL_NAMES,
    pretrained: bool = True,
    num_stages: int | None = None,
    revision: str | None = None,
) -> "PreTrainedModel":
    """Put a head over a backbone, in float32: a fresh one, unless the backbone was trained for as many classes.

    Loaded weights of a model trained with evidence supervision start without the layer that its evidence was folded
    into, and with a fresh head: see `drop_folded_evidence`.

    Args:
        backbone: Row of the table, folder or Hub id.
        label_names: Names of the classes, in order.
        pretrained: Load its weights; False draws them at random.
        num_stages: Stages of a ResNet or ConvNeXt to keep; None for all.
        revision: Commit of a Hub repository; None for the table's, else the newest.

    Raises:
        UsageError: If the name is unknown, or the network has no stages to cut.
        MissingInputError: If the weights cannot be had, or belong to another network.
        MissingPackageError: If the backbone needs timm.
    """
    from hf_fracture.models.evidence import drop_folded_evidence, holds_folded_evidence
    from hf_fracture.models.registration import register_models

    register_models()
    source = resolve_backbone(backbone)
    row = find_row(backbone)
    _check_library(row, backbone)
    has_weights = pretrained and (row is None or row.hub_id is not None)
    revision = revision or (row.revision if row else None)
    config = _read_config(source, row, revision=revision, from_hub=has_weights)
    _name_labels(config, label_names)
    if num_stages is not None:
        _cut_stages(config, num_stages, backbone)
    if has_weights:
        model = _load_pretrained(source, config, revision)
        if holds_folded_evidence(model):
            drop_folded_evidence(cast("ResNetForImageClassification", model))
        return model
    return _build_random(config)


def read_start(recipe: RecipeConfig) -> FractureRecord | None:
    """Return the record of the model that a recipe starts from; None for a plain backbone or random weights.

    Raises:
        UsageError: As `build_classifier`.
        MissingInputError: If the configuration cannot be had.
        ModelFolderError: If the record is not whole.
    """
    if not recipe.pretrained or find_row(recipe.backbone) is not None:
        return None
    source = resolve_backbone(recipe.backbone)
    config = _read_config(source, None, revision=recipe.backbone_revision, from_hub=True)
    record = getattr(config, "fracture", None)
    return None if record is None else FractureRecord.from_dict(record)


def build_recipe_model(recipe: RecipeConfig, *, label_names: Sequence[str] = LABEL_NAMES) -> "PreTrainedModel":
    """Build the classifier that a recipe names, with its enhancement and head; see `build_classifier`."""
    model = build_classifier(
        recipe.backbone,
        label_names=label_names,
        pretrained=recipe.pretrained,
        num_stages=recipe.num_stages,
        revision=recipe.backbone_revision,
    )
    if model.config.model_type == "timm_wrapper":
        _describe_letterbox(model.config, recipe.image_size)
    steps = split_enhancement(recipe.enhancement)
    if not steps and not recipe.head_units and not recipe.head_dropout:
        return model
    mean, std = read_statistics(model)
    return _wrap(
        model,
        enhancement=list(steps),
        image_mean=list(mean),
        image_std=list(std),
        head_units=recipe.head_units,
        head_dropout=recipe.head_dropout,
    )


def _describe_letterbox(config: "PreTrainedConfig", image_size: int) -> None:
    """Make timm's own preprocessing, which `pipeline()` builds from the configuration, a letterbox too.

    It centres the film, where this package's lies at the top left: the pipeline's answers differ a little.
    """
    letterbox = {"input_size": (3, image_size, image_size), "crop_mode": "border", "crop_pct": 1.0}
    cast(Any, config).pretrained_cfg.update(letterbox, interpolation="bicubic")


def build_evidence_classifier(
    backbone: str,
    *,
    image_size: int,
    prior_logit: float,
    pretrained: bool = True,
    num_stages: int | None = None,
    revision: str | None = None,
) -> "nn.Module":
    """Put a fresh evidence head over a ResNet.

    Args:
        backbone: Row of the table, folder or Hub id of a ResNet.
        image_size: Side of the training input in pixels.
        prior_logit: Logit of the share of fractured films in training.
        pretrained: As for `build_classifier`.
        num_stages: As for `build_classifier`.
        revision: As for `build_classifier`.

    Raises:
        UsageError: If the backbone is not a ResNet of transformers.
    """
    from transformers import ResNetForImageClassification

    from hf_fracture.models.evidence import EvidenceClassifier

    model = build_classifier(backbone, pretrained=pretrained, num_stages=num_stages, revision=revision)
    if not isinstance(model, ResNetForImageClassification):
        raise UsageError(
            f"Evidence supervision needs a ResNet, whose head it can be folded into, got {type(model).__name__}. "
            "Pass --evidence_weight 0 to train without it."
        )
    stride = 2 ** (1 + len(model.config.depths or ()))
    return EvidenceClassifier(model.resnet, num_positions=(image_size // stride) ** 2, prior_logit=prior_logit)


def read_statistics(model: "PreTrainedModel") -> Statistics:
    """Return mean and standard deviation, one value per channel, with which the network expects normalised films.

    timm's configurations name them; every other backbone here has ImageNet's.
    """
    known = getattr(model.config, "pretrained_cfg", None) or {}
    mean, std = known.get("mean", IMAGENET_MEAN), known.get("std", IMAGENET_STD)
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


def group_layers(model: "nn.Module") -> list[list[str]]:
    """Divide a model's parameters by depth, for a learning rate that falls towards the input, and for freezing.

    Args:
        model: A classifier of `build_recipe_model`, or the evidence classifier.

    Returns:
        Names of the parameters from the input on; the last group is the head. Together they hold every parameter once.
    """
    names = [name for name, _ in model.named_parameters()]
    keys = [_layer_key(name) for name in names]
    head = [name for name, key in zip(names, keys, strict=True) if key is None]
    body = [(key, name) for key, name in zip(keys, names, strict=True) if key is not None]
    groups = [[name for _, name in group] for _, group in groupby(body, key=lambda pair: pair[0])]
    return [*groups, head]


def _layer_key(name: str) -> str | None:
    """Return what the parameters of one layer share, or None for the head."""
    parts = name.split(".")
    for index, part in enumerate(parts[:-1]):
        if part in ("stages", "blocks", "features") and index + 1 < len(parts):
            return ".".join(parts[: index + 2])
        if part in ("embedder", "embeddings", "stem", "pre_logits"):
            return ".".join(parts[: index + 1])
        if part.startswith(("Conv2d_", "Mixed_")):  # Inception's layers have names of their own
            return ".".join(parts[: index + 1])
    return None


def _check_library(row: Backbone | None, backbone: str) -> None:
    if row is None or row.library != "timm":
        return
    from importlib.util import find_spec

    if find_spec("timm") is None or find_spec("torchvision") is None:
        raise MissingPackageError(f"'{backbone}' needs timm. Install it: pip install 'hf-fracture[timm]'.")


def _read_config(source: str, row: Backbone | None, *, revision: str | None, from_hub: bool) -> "PreTrainedConfig":
    """Read the configuration beside the weights, or build that of the table where no weights are wanted."""
    from transformers import AutoConfig

    if row is not None and not from_hub:
        return _table_config(row)
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise MissingInputError(_describe_missing(source, error)) from error
    _check_kind(config, source)
    return config


def _table_config(row: Backbone) -> "PreTrainedConfig":
    from transformers import CONFIG_MAPPING

    if row.library != "timm":
        return CONFIG_MAPPING[row.model_type](**row.architecture)
    import timm

    pretrained = timm.get_pretrained_cfg(cast(str, row.hub_id).removeprefix("timm/")).to_dict()
    pretrained.update(mean=row.image_mean, std=row.image_std)
    settings = {**row.architecture, "do_pooling": True, "pretrained_cfg": pretrained}
    return CONFIG_MAPPING[row.model_type](**settings)


def _check_kind(config: "PreTrainedConfig", source: str) -> None:
    """Refuse a network that does not classify images."""
    from transformers import AutoModelForImageClassification

    if type(config) not in AutoModelForImageClassification._model_mapping:
        raise MissingInputError(
            f"Expected an image classifier at '{source}', got the architecture '{config.model_type}', which classifies "
            "no images. Name a row of hf-fracture backbones, or a folder or Hub id of an image classifier."
        )


def _name_labels(config: "PreTrainedConfig", label_names: Sequence[str]) -> None:
    config.id2label = dict(enumerate(label_names))
    config.label2id = {name: index for index, name in enumerate(label_names)}


def _cut_stages(config: "PreTrainedConfig", num_stages: int, backbone: str) -> None:
    settings = cast(Any, config)
    if config.model_type not in STAGED_TYPES:
        raise UsageError(
            f"num_stages cuts ResNets and ConvNeXts, got '{backbone}' ({config.model_type}). Leave --num_stages out."
        )
    if num_stages > len(settings.depths):
        raise UsageError(f"'{backbone}' has {len(settings.depths)} stages, got num_stages {num_stages}. Ask for fewer.")
    keep = {"depths": list(settings.depths)[:num_stages], "hidden_sizes": list(settings.hidden_sizes)[:num_stages]}
    if config.model_type != "resnet":
        keep["num_stages"] = num_stages  # type: ignore[assignment]
    names = ["stem", *(f"stage{index}" for index in range(1, num_stages + 1))]
    for name, value in {**keep, "stage_names": names, "out_features": names[-1:], "out_indices": [num_stages]}.items():
        with contextlib.suppress(AttributeError):
            setattr(config, name, value)


def _load_pretrained(source: str, config: "PreTrainedConfig", revision: str | None) -> "PreTrainedModel":
    import torch
    from transformers import AutoModelForImageClassification

    if any(Path(source).glob("model*.safetensors")):
        check_configuration(read_json(Path(source) / "config.json"), Path(source))
        check_size(config, read_shapes(Path(source)))
    try:
        with _silent_loading():
            model, loading = AutoModelForImageClassification.from_pretrained(
                source,
                config=config,
                revision=revision,
                ignore_mismatched_sizes=True,
                use_safetensors=True,
                dtype=torch.float32,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except (OSError, ValueError) as error:
        raise MissingInputError(_describe_missing(source, error)) from error
    _check_loaded(cast("PreTrainedModel", model), loading, source)
    return cast("PreTrainedModel", model)


@contextlib.contextmanager
def _silent_loading() -> Iterator[None]:
    """Keep transformers from reporting a fresh head and cut stages, which are meant; `_check_loaded` looks itself."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _check_loaded(model: "PreTrainedModel", loading: dict[str, Any], source: str) -> None:
    """Refuse weights of another network: transformers would draw what is missing at random and go on."""
    body = {name for group in group_layers(model)[:-1] for name in group}
    absent = {*loading["missing_keys"], *(key[0] for key in loading["mismatched_keys"])} & body
    if absent:
        raise MissingInputError(
            f"Expected weights of a {type(model).__name__} at '{source}', but {len(absent)} of its {len(body)} tensors "
            "are absent or of another shape: they belong to another architecture. Name the folder's own architecture "
            "in its config.json, or pass --pretrained false."
        )


def _describe_missing(source: str, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0]
    return (
        f"Expected pretrained weights at '{source}', could not load them: {reason} Check the name and the network, "
        "pass a local folder, or --pretrained false."
    )


def _build_random(config: "PreTrainedConfig") -> "PreTrainedModel":
    import torch
    from transformers import AutoModelForImageClassification

    model = AutoModelForImageClassification.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    return cast("PreTrainedModel", model)


def _wrap(model: "PreTrainedModel", **settings: Any) -> "PreTrainedModel":
    """Put a loaded network inside an `EnhancedForImageClassification`, keeping its weights."""
    from hf_fracture.models.enhanced import EnhancedConfig, EnhancedForImageClassification, find_output_layer

    if "canny" in settings["enhancement"]:
        _widen_first_convolution(model)
    network = json.loads(model.config.to_json_string(use_diff=False))
    # A path tells others nothing, and a record is that of the model the training starts from.
    for name in ("_name_or_path", "id2label", "label2id", "label_names", "num_classes", "fracture"):
        network.pop(name, None)
    config = EnhancedConfig(network=network, **settings)
    config.id2label, config.label2id = model.config.id2label, model.config.label2id
    config._commit_hash = getattr(model.config, "_commit_hash", None)
    wrapped = EnhancedForImageClassification(config)
    state = model.state_dict()
    if settings["head_units"] or settings["head_dropout"]:
        head, _ = find_output_layer(model)
        state = {name: tensor for name, tensor in state.items() if not name.startswith(f"{head}.")}
    wrapped.network.load_state_dict(state, strict=False)
    return wrapped


def _widen_first_convolution(model: "PreTrainedModel") -> None:
    """Give the first convolution one more input channel, of weight 0: the network starts as it was without it."""
    import torch
    from torch import nn

    name, old = next((name, part) for name, part in model.named_modules() if isinstance(part, nn.Conv2d))
    new = nn.Conv2d(
        old.in_channels + 1,
        old.out_channels,
        cast(tuple[int, int], old.kernel_size),
        stride=cast(tuple[int, int], old.stride),
        padding=cast(tuple[int, int], old.padding),
        bias=old.bias is not None,
    )
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:, : old.in_channels] = old.weight
        if old.bias is not None and new.bias is not None:
            new.bias.copy_(old.bias)
    model.set_submodule(name, new)
    config = cast(Any, model.config)
    if config.model_type == "timm_wrapper":
        config.model_args = {**(config.model_args or {}), "in_chans": new.in_channels}
    else:
        config.num_channels = new.in_channels
        # The embeddings compare the input's channels with their own count.
        for part in cast(Iterator[Any], model.modules()):
            if hasattr(part, "num_channels"):
                part.num_channels = new.in_channels
