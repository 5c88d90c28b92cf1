"""A frozen backbone sees the same film alike in every epoch: run it once, and train the head on what it said.

May depend on `models`, `config` and numpy.
"""

import sys
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from hf_fracture.config import RecipeConfig
from hf_fracture.models.backbones import group_layers
from hf_fracture.models.enhanced import find_output_layer
from hf_fracture.training.draws import Collator

STILL_FIELDS = {
    "rotation_degrees": 0,
    "scale_fraction": 0,
    "translation_fraction": 0,
    "horizontal_flip": False,
    "gamma": 1,
    "contrast_fraction": 0,
    "noise_fraction": 0,
    "erasing_probability": 0,
    "recompression_probability": 0,
    "mixup_alpha": 0,
    "first_image_size": 0,
    "first_size_epochs": 0,
}
"""The fields of a recipe that change films, at the values that leave them as they are."""


def can_cache_features(recipe: RecipeConfig) -> bool:
    """Return whether nothing before the head changes from epoch to epoch.

    >>> can_cache_features(RecipeConfig(backbone="resnet-18", freeze_epochs=-1, evidence_weight=0, **STILL_FIELDS))
    True
    >>> can_cache_features(RecipeConfig(backbone="resnet-18", freeze_epochs=-1, evidence_weight=0))
    False
    """
    is_still = all(getattr(recipe, name) == value for name, value in STILL_FIELDS.items())
    return recipe.freeze_epochs < 0 and recipe.evidence_weight == 0 and is_still


class CachedFeatures(Dataset[dict[str, Any]]):
    """What reaches the head, film by film: float32 tensors in memory, with labels."""

    def __init__(self, features: Tensor, labels: Any) -> None:
        """Keep (N, …) features and (N,) labels."""
        self.features = features
        self.labels = labels

    def __len__(self) -> int:
        """Return the number of films."""
        return len(self.features)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return `features` and `label` of one film."""
        return {"features": self.features[index], "label": int(self.labels[index])}


def collate_features(items: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Make a batch of `CachedFeatures`."""
    return {
        "features": torch.stack([item["features"] for item in items]),
        "labels": torch.tensor([item["label"] for item in items]),
    }


class HeadClassifier(nn.Module):
    """The head of a classifier on its own; its weights are the classifier's."""

    def __init__(self, head: nn.Module) -> None:
        """Share the head."""
        super().__init__()
        self.head = head

    def forward(self, features: Tensor, labels: Tensor | None = None) -> ModelOutput:  # noqa: ARG002 - its name tells the Trainer that batches hold labels
        """Return the logits (N, C) of features (N, …)."""
        return ModelOutput(logits=self.head(features))  # type: ignore[no-untyped-call]


def find_head(network: nn.Module) -> nn.Module:
    """Return the outermost module that holds the output layer and none but the head's weights, dropout included."""
    head, (path, _) = set(group_layers(network)[-1]), find_output_layer(cast(PreTrainedModel, network))
    parts = path.split(".")
    for length in range(1, len(parts) + 1):
        prefix = ".".join(parts[:length])
        module = network.get_submodule(prefix)
        if {f"{prefix}.{name}" for name, _ in module.named_parameters()} <= head:
            return module
    return network.get_submodule(path)


@torch.no_grad()
def cache_features(
    network: nn.Module, films: Dataset[dict[str, Any]], collate: Collator, *, batch_size: int, bf16: bool
) -> Tensor:
    """Run the frozen layers once over a split.

    Args:
        network: Classifier whose head `find_head` finds; put into eval mode.
        films: Items that `collate` takes.
        collate: Makes a batch without altering films.
        batch_size: Films per forward pass.
        bf16: Run under bfloat16 autocast, as the training would.

    Returns:
        (N, …) float32 on the CPU, the input of the head.
    """
    from tqdm import tqdm

    network.train(False)
    device = next(network.parameters()).device
    kept: list[Tensor] = []
    hook = find_head(network).register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0].float().cpu()))
    loader = DataLoader(films, batch_size=batch_size, collate_fn=collate)
    try:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            for batch in tqdm(loader, desc="features of the frozen backbone", unit="batch", file=sys.stderr):
                network(pixel_values=batch["pixel_values"].to(device))
    finally:
        hook.remove()
    return torch.cat(kept)
