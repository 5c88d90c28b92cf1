"""Tiny networks of every family, and one that has learned to find the fracture of a phantom."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

PHANTOM_SIDE_PX = 96


def build_tiny(kind: str, num_labels: int = 2) -> Any:
    """Return an untrained network in eval mode; `kind` is a family of the project or `vit`."""
    import torch
    import transformers

    torch.manual_seed(0)
    labels: dict[str, Any] = {"num_labels": num_labels}
    sizes: dict[str, Any] = {"hidden_sizes": [8, 16], "depths": [1, 1], **labels}
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
            transformers.MobileNetV2Config(depth_multiplier=0.1, min_depth=8, **labels)
        ),
        "vit": lambda: transformers.ViTForImageClassification(
            transformers.ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=64, **labels)
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


@pytest.fixture(scope="session")
def phantom_model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a network that learned on close-up phantoms, with evidence supervision, for about ten seconds."""
    import torch
    from sklearn.metrics import roc_auc_score
    from transformers import ResNetConfig, ResNetForImageClassification

    from hf_fracture.config import RecipeConfig
    from hf_fracture.training.arguments import FractureTrainingArguments
    from hf_fracture.training.trainer import train_classifier

    folder = tmp_path_factory.mktemp("phantom_model")
    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic")
    ResNetForImageClassification(config).save_pretrained(folder / "backbone")
    still = dict.fromkeys(("scale_fraction", "contrast_fraction", "noise_fraction", "mask_dilation_fraction"), 0.0)
    recipe = RecipeConfig(
        backbone=str(folder / "backbone"),
        image_size=PHANTOM_SIDE_PX,
        rotation_degrees=5.0,
        translation_fraction=0.05,
        gamma=1.0,
        early_stopping_epochs=0,
        **still,  # type: ignore[arg-type]
    )
    arguments = FractureTrainingArguments(
        output_dir=str(folder / "run"),
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
        num_train_epochs=10,
        per_device_train_batch_size=8,
        learning_rate=3e-3,
        save_strategy="no",
        eval_strategy="no",
        load_best_model_at_end=False,
    )
    splits = build_phantom_splits({"train": (280, 0), "validation": (16, 10_000)})
    return train_classifier(
        splits,
        recipe,
        arguments,
        compute_metrics=lambda prediction: {
            "auroc": float(roc_auc_score(prediction.label_ids, np.diff(prediction.predictions)[:, 0]))
        },
    )


def draw_close_up(seed: int) -> Any:
    """Draw a close-up: every second one is fractured, and every fourth of those at the very edge."""
    from hf_fracture.data.phantoms import draw_phantom

    return draw_phantom(
        seed,
        fractured=seed % 2 == 0,
        size_px=(PHANTOM_SIDE_PX, PHANTOM_SIDE_PX),
        close_up=True,
        fracture_at_edge=seed % 8 == 0,
    )


def build_phantom_splits(sizes: dict[str, tuple[int, int]]) -> Any:
    """Return splits of close-ups from (number, first seed)."""
    from datasets import Dataset, DatasetDict, Features, Image, List, Value

    lists = List(List(Value("float32")))
    text = dict.fromkeys(("body_part", "group_id", "source", "source_path"), Value("string"))
    features = Features({"image": Image(), "label": Value("int64"), "boxes": lists, "polygons": lists, **text})

    def rows(num: int, first_seed: int) -> list[dict[str, Any]]:
        drawn = [(seed, draw_close_up(seed)) for seed in range(first_seed, first_seed + num)]
        return [
            {
                "image": phantom.image,
                "label": phantom.label,
                "boxes": phantom.boxes,
                "polygons": [],
                "body_part": phantom.body_part,
                "group_id": f"phantom-{seed}",
                "source": "phantoms",
                "source_path": f"{seed}.png",
            }
            for seed, phantom in drawn
        ]

    return DatasetDict({name: Dataset.from_list(rows(*size), features=features) for name, size in sizes.items()})
