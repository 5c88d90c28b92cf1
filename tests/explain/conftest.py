"""Tiny networks of every family, and one that has learned to find the fracture of a phantom."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray


def build_tiny(kind: str, num_labels: int = 2) -> Any:
    """Return an untrained network in eval mode; `kind` is a family of the project or `vit`."""
    import torch
    import transformers

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_sizes": [8, 16], "depths": [1, 1], "num_labels": num_labels}
    build: dict[str, Any] = {
        "resnet": lambda: transformers.ResNetForImageClassification(
            transformers.ResNetConfig(embedding_size=8, layer_type="basic", **sizes)
        ),
        "convnext": lambda: transformers.ConvNextForImageClassification(
            transformers.ConvNextConfig(num_stages=2, **sizes)
        ),
        "convnextv2": lambda: transformers.ConvNextV2ForImageClassification(
            transformers.ConvNextV2Config(num_stages=2, **sizes)
        ),
        "mobilenet": lambda: transformers.MobileNetV2ForImageClassification(
            transformers.MobileNetV2Config(depth_multiplier=0.1, min_depth=8, num_labels=num_labels)
        ),
        "vit": lambda: transformers.ViTForImageClassification(
            transformers.ViTConfig(
                hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=64, num_labels=num_labels
            )
        ),
    }
    return build[kind]().eval()


def shake_parameters(model: Any) -> None:
    """Move every parameter off its initial value, so that no scale is 1 and no shift 0 by accident."""
    import torch

    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))


def count_hooks(model: Any) -> int:
    tables = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, table)) for module in model.modules() for table in tables)


@pytest.fixture
def noise_pixels() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(3, 64, 64)).astype(np.float32)


@pytest.fixture(params=["resnet", "convnext", "convnextv2", "mobilenet"])
def any_network(request: pytest.FixtureRequest) -> Iterator[Any]:
    model = build_tiny(request.param)
    shake_parameters(model)
    yield model
    assert count_hooks(model) == 0, "every explanation takes its hooks with it"
