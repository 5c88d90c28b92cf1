"""A prepared dataset of phantoms and a tiny backbone, for the commands that train."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def prepared_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared dataset of phantoms as plain Parquet, which `load_dataset` reads without code of ours."""
    from datasets import Dataset, Features, Image, List, Value

    from hf_fracture.data.phantoms import draw_phantom

    text = Value("string")
    features = Features(
        {
            "image": Image(),
            "label": Value("int64"),
            "boxes": List(List(Value("float32"))),
            "polygons": List(List(Value("float32"))),
            **dict.fromkeys(
                ("body_part", "view", "modality", "group_id", "source", "source_path", "fracture_type"), text
            ),
        }
    )
    folder = tmp_path_factory.mktemp("prepared") / "phantoms"
    (folder / "data").mkdir(parents=True)
    for name, first in (("train", 0), ("validation", 100), ("test", 200)):
        rows = []
        for seed in range(first, first + 16):
            phantom = draw_phantom(seed, fractured=seed % 2 == 0, size_px=(96, 96))
            known = {"body_part": phantom.body_part, "view": "frontal", "modality": "XR", "source": "phantoms"}
            place = {"group_id": f"g{seed}", "source_path": f"{seed}.png", "boxes": phantom.boxes, "polygons": []}
            kind = {"fracture_type": ("hairline", "oblique", "spiral")[seed % 3]}
            rows.append({"image": phantom.image, "label": phantom.label, **known, **place, **kind})
        dataset = Dataset.from_list(rows, features=features)
        dataset.to_parquet(folder / "data" / f"{name}-00000-of-00001.parquet")
    return folder


@pytest.fixture(scope="session")
def backbone_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic")
    folder = tmp_path_factory.mktemp("backbones") / "tiny"
    ResNetForImageClassification(config).save_pretrained(folder)
    return folder
