"""A small prepared dataset of phantoms and a backbone of random weights, so that training can be tried offline."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SIDE_PX = 96


def phantom_rows(num: int, *, first_seed: int) -> list[dict[str, Any]]:
    """Half of the phantoms are fractured; each is a group of its own."""
    from hf_fracture.data.phantoms import draw_phantom

    rows = []
    for seed in range(first_seed, first_seed + num):
        phantom = draw_phantom(seed, fractured=seed % 2 == 0, size_px=(SIDE_PX, SIDE_PX))
        rows.append(
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
        )
    return rows


def build_phantom_splits(sizes: dict[str, int]) -> Any:
    from datasets import Dataset, DatasetDict, Features, Image, List, Value

    text = Value("string")
    features = Features(
        {
            "image": Image(),
            "label": Value("int64"),
            "boxes": List(List(Value("float32"))),
            "polygons": List(List(Value("float32"))),
            **dict.fromkeys(("body_part", "group_id", "source", "source_path"), text),
        }
    )
    starts = dict(zip(sizes, range(0, 10_000 * len(sizes), 10_000), strict=True))
    return DatasetDict(
        {
            name: Dataset.from_list(phantom_rows(num, first_seed=starts[name]), features=features)
            for name, num in sizes.items()
        }
    )


@pytest.fixture(scope="session")
def phantom_splits() -> Any:
    return build_phantom_splits({"train": 24, "validation": 12})


@pytest.fixture(scope="session")
def tiny_backbone_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic")
    path = tmp_path_factory.mktemp("backbones") / "tiny"
    ResNetForImageClassification(config).save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def tiny_convnext_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backbone without BatchNorm: what it answers for a film does not depend on the rest of the batch."""
    import torch
    from transformers import ConvNextConfig, ConvNextForImageClassification

    torch.manual_seed(0)
    config = ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2)
    path = tmp_path_factory.mktemp("backbones") / "tiny-convnext"
    ConvNextForImageClassification(config).save_pretrained(path)
    return path


@pytest.fixture
def train(phantom_splits: Any, tiny_backbone_dir: Path) -> Callable[..., Any]:
    """Train on the phantoms; keyword arguments are the Trainer's."""
    from hf_fracture.config import RecipeConfig
    from hf_fracture.training.arguments import FractureTrainingArguments
    from hf_fracture.training.trainer import train_classifier

    def run(out_dir: Path, recipe: dict[str, Any] | None = None, *, splits: Any = None, **arguments: Any) -> Any:
        settings = {"backbone": str(tiny_backbone_dir), "image_size": 64, "early_stopping_epochs": 0, **(recipe or {})}
        quiet = {"num_train_epochs": 2, "per_device_train_batch_size": 8, "bf16": False, "disable_tqdm": True}
        return train_classifier(
            splits or phantom_splits,
            RecipeConfig(**settings),
            FractureTrainingArguments(output_dir=str(out_dir), use_cpu=True, **{**quiet, **arguments}),
            compute_metrics=measure_auroc,
        )

    return run


def measure_auroc(prediction: Any) -> dict[str, float]:
    from sklearn.metrics import roc_auc_score

    logits: Any = prediction.predictions
    return {"auroc": float(roc_auc_score(prediction.label_ids, logits[:, 1] - logits[:, 0]))}


@pytest.fixture(scope="session")
def prepared_phantoms_dir(phantom_splits: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantoms as a prepared dataset on disk."""
    folder = tmp_path_factory.mktemp("prepared") / "phantoms"
    (folder / "data").mkdir(parents=True)
    for name, films in phantom_splits.items():
        films.to_parquet(folder / "data" / f"{name}-00000-of-00001.parquet")
    return folder
