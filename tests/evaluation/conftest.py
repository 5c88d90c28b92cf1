"""A prepared dataset of drawn films, and tiny models, for the tests of this room."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hf_fracture.config import FractureRecord, OperatingPoint, Triage
from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.data.schema import FEATURES
from hf_fracture.data.transforms import Preprocessing
from hf_fracture.evaluation.predictions import Predictions, build_predictions
from hf_fracture.labels import ID2LABEL, LABEL2ID
from hf_fracture.models.checkpoint import save_model_folder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PREPROCESSING = Preprocessing(size_px=48, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
RECORD = FractureRecord(
    operating_points={
        "screening": OperatingPoint(threshold=0.45, sensitivity=0.95, specificity=0.4),
        "balanced": OperatingPoint(threshold=0.5, sensitivity=0.8, specificity=0.8),
        "rule_in": OperatingPoint(threshold=0.55, sensitivity=0.5, specificity=0.95),
    },
    temperature=1.5,
    triage=Triage(screening=0.45, rule_in=0.55),
    trained_on=["phantoms"],
)


def build_tiny_resnet(*, seed: int = 0, id2label: dict[int, str] | None = None) -> "PreTrainedModel":
    """Build a ResNet of two small stages with random weights."""
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    names = ID2LABEL if id2label is None else id2label
    config = ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16],
        depths=[1, 1],
        layer_type="basic",
        id2label=names,
        label2id=LABEL2ID if id2label is None else {name: index for index, name in names.items()},
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: PreTrainedModel = ResNetForImageClassification(config)
    model.train(False)
    return model


def draw_row(seed: int) -> dict[str, Any]:
    """Draw one film and everything that a prepared dataset says about it."""
    phantom = draw_phantom(seed, fractured=seed % 3 == 0, size_px=(64 + seed % 5, 80))
    known = {
        "image": phantom.image,
        "label": phantom.label,
        "body_part": phantom.body_part,
        "view": "frontal" if seed % 2 else None,
        "group_id": f"group-{seed // 2}",
        "hardware": seed % 7 == 0,
        "age_years": 20.0 + seed if seed % 4 else None,
        "source": "phantoms",
        "source_path": f"films/{seed}.png",
        "boxes": phantom.boxes,
    }
    return {column: known.get(column) for column in FEATURES()} | {"polygons": []}


@pytest.fixture(scope="session")
def dataset_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a prepared dataset with 24 validation and 30 test films; the latter in 15 groups of two."""
    from datasets import Dataset

    folder = tmp_path_factory.mktemp("prepared") / "phantoms"
    for split, seeds in {"train": range(6), "validation": range(100, 124), "test": range(200, 230)}.items():
        path = folder / "data" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        Dataset.from_list([draw_row(seed) for seed in seeds], features=FEATURES()).to_parquet(path)
    return folder


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model folder of this package with random weights."""
    return save_model_folder(
        build_tiny_resnet(),
        tmp_path_factory.mktemp("models") / "tiny",
        preprocessing=PREPROCESSING,
        record=RECORD,
        run={},
    )


@pytest.fixture(scope="session")
def foreign_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return somebody else's model folder: other label names, a centre crop, no record."""
    from transformers import BitImageProcessor

    folder = tmp_path_factory.mktemp("models") / "foreign"
    build_tiny_resnet(seed=1, id2label={0: "broken", 1: "normal"}).save_pretrained(folder)
    BitImageProcessor(size={"shortest_edge": 56}, crop_size={"height": 48, "width": 48}).save_pretrained(folder)
    return folder


def _draw_study(seed: int, *, num_groups: int = 90, prefix: str = "film") -> Predictions:
    """Draw the answers of a fair classifier on groups of one to three films that resemble one another."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(num_groups), rng.integers(1, 4, num_groups))
    y_true = np.where(rng.random(num_groups) < 0.35, 1, 0)[group]
    score = 1.8 * y_true - 1.2 + rng.normal(size=num_groups)[group] + 0.5 * rng.normal(size=len(group))
    return build_predictions(
        ids=[f"{prefix} {k}" for k in range(len(group))],
        group_ids=[f"{prefix} group {k}" for k in group],
        y_true=y_true,
        logit_difference=score,
        subgroups={"body_part": rng.choice(["hand", "leg"], num_groups)[group].tolist()},
    )


@pytest.fixture(scope="session")
def draw_study() -> Callable[..., Predictions]:
    """Return a function that draws about 180 predictions of 90 groups from a seed."""
    return _draw_study


@pytest.fixture(scope="session")
def typed_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset of 24 films, of which every fourth has no type."""
    from datasets import Dataset

    rows = [
        draw_row(seed)
        | {"label": 1, "group_id": f"group {seed}", "fracture_type": ["hairline", "oblique", "spiral", None][seed % 4]}
        for seed in range(24)
    ]
    path = tmp_path_factory.mktemp("typed") / "types" / "data" / "test-00000-of-00001.parquet"
    path.parent.mkdir(parents=True)
    Dataset.from_list(rows, features=FEATURES()).to_parquet(path)
    return path.parent.parent


@pytest.fixture(scope="session")
def types_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return somebody's model of three fracture types under names of its own."""
    from transformers import BitImageProcessor

    folder = tmp_path_factory.mktemp("models") / "types"
    build_tiny_resnet(id2label=dict(enumerate(["Spiral Fracture", "Hairline", "Oblique"]))).save_pretrained(folder)
    BitImageProcessor(size={"shortest_edge": 56}, crop_size={"height": 48, "width": 48}).save_pretrained(folder)
    return folder
