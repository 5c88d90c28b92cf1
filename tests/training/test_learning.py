"""Small networks learn phantoms: from random weights to an AUROC above 0.9, within a minute each on two cores.

Both films of a seed are in the training split, so that nothing but the break tells the classes apart; a network that
reads anything else stays at 0.5. ConvNeXts are not among them: their first layer divides films into patches of 4 x 4
pixels, and from random weights they do not find a break of two pixels in that time.
"""

from pathlib import Path
from typing import Any

import pytest

from hf_fracture.config import RecipeConfig
from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.training.arguments import FractureTrainingArguments
from hf_fracture.training.trainer import train_classifier
from tests.training.conftest import measure_auroc

pytestmark = pytest.mark.slow

SIDE_PX = 64
NUM_TRAINING_SEEDS, NUM_VALIDATION = 1000, 200


@pytest.fixture(scope="module")
def close_ups() -> Any:
    from datasets import Dataset, DatasetDict, Features, Image, List, Value

    boxes = List(List(Value("float32")))
    features = Features({"image": Image(), "label": Value("int64"), "boxes": boxes, "polygons": boxes})

    def row(seed: int, *, fractured: bool) -> dict[str, Any]:
        film = draw_phantom(seed, fractured=fractured, size_px=(SIDE_PX, SIDE_PX), close_up=True)
        return {"image": film.image, "label": film.label, "boxes": film.boxes, "polygons": []}

    twins = [row(seed, fractured=broken) for seed in range(NUM_TRAINING_SEEDS) for broken in (False, True)]
    others = [row(seed, fractured=seed % 2 == 0) for seed in range(10_000, 10_000 + NUM_VALIDATION)]
    return DatasetDict(
        train=Dataset.from_list(twins, features=features), validation=Dataset.from_list(others, features=features)
    )


@pytest.mark.parametrize(
    ("backbone", "num_stages", "num_epochs", "learning_rate"),
    [("resnet-18", 1, 8, 2e-3), ("deepconvnet", None, 3, 1e-3), ("plain-cnn", None, 10, 4e-4)],
)
def test_small_network_learns_phantoms(
    close_ups: Any, tmp_path: Path, backbone: str, num_stages: int | None, num_epochs: int, learning_rate: float
) -> None:
    recipe = RecipeConfig(
        backbone=backbone,
        pretrained=False,
        num_stages=num_stages,
        image_size=SIDE_PX,
        evidence_weight=0,
        rotation_degrees=0,
        scale_fraction=0,
        translation_fraction=0,
        gamma=1,
        contrast_fraction=0,
        noise_fraction=0,
        early_stopping_epochs=0,
    )
    arguments = FractureTrainingArguments(
        output_dir=str(tmp_path),
        use_cpu=True,
        num_train_epochs=num_epochs,
        learning_rate=learning_rate,
        lr_scheduler_type="constant_with_warmup",  # when a network finds the break varies from run to run
        per_device_train_batch_size=32,
        save_strategy="no",
        load_best_model_at_end=False,
        disable_tqdm=True,
    )
    result = train_classifier(close_ups, recipe, arguments, compute_metrics=measure_auroc)
    found = [entry["eval_auroc"] for entry in result.history if "eval_auroc" in entry]
    assert max(found) > 0.9, "of the epoch that validation chooses, as in every training"
