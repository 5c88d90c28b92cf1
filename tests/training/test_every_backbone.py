"""Every backbone of the table is trained, saved, loaded by `pipeline()` and explained.

Backbones of timm need its environment, in which `scripts/test_timm_backbones.sh` runs this file; elsewhere they are
skipped. A torchvision built for CUDA cannot be imported beside a CPU torch until two of its operators are declared.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

HAS_TIMM = find_spec("timm") is not None and find_spec("torchvision") is not None
if HAS_TIMM and not torch.cuda.is_available():
    _OPERATORS: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    _OPERATORS.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _OPERATORS.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from hf_fracture.config import FractureRecord, RecipeConfig, Triage  # noqa: E402 - the operators come first
from hf_fracture.data.phantoms import draw_phantom  # noqa: E402
from hf_fracture.data.transforms import fit_letterbox, letterbox_pixels  # noqa: E402
from hf_fracture.explain.attribution import attribute  # noqa: E402
from hf_fracture.models.backbones import BACKBONES  # noqa: E402
from hf_fracture.models.checkpoint import load_model, read_preprocessing, save_model_folder  # noqa: E402
from hf_fracture.training.arguments import FractureTrainingArguments  # noqa: E402
from hf_fracture.training.trainer import TrainingResult, train_classifier  # noqa: E402

SIDE_PX = 96  # InceptionV3 needs 75
RECORD = FractureRecord(operating_points={}, temperature=1.0, triage=Triage(screening=0.0, rule_in=1.0))


def measure(prediction: Any) -> dict[str, float]:
    from sklearn.metrics import roc_auc_score

    logits = prediction.predictions
    return {"auroc": float(roc_auc_score(prediction.label_ids, logits[:, 1] - logits[:, 0]))}


def build_splits(sizes: dict[str, int]) -> Any:
    """Close-ups of broken and intact bones."""
    from datasets import Dataset, DatasetDict, Features, Image, List, Value

    features = Features(
        {
            "image": Image(),
            "label": Value("int64"),
            "boxes": List(List(Value("float32"))),
            "polygons": List(List(Value("float32"))),
        }
    )
    splits, seed = {}, 0
    for name, num in sizes.items():
        rows = []
        for seed in range(seed, seed + num):  # noqa: B020 - the next split goes on where this one ends
            phantom = draw_phantom(seed, fractured=seed % 2 == 0, size_px=(SIDE_PX, SIDE_PX), close_up=True)
            rows.append({"image": phantom.image, "label": phantom.label, "boxes": phantom.boxes, "polygons": []})
        splits[name] = Dataset.from_list(rows, features=features)
        seed += 1
    return DatasetDict(splits)


@pytest.fixture(scope="module")
def few_films() -> Any:
    return build_splits({"train": 8, "validation": 4})


def train(splits: Any, out_dir: Path, recipe: dict[str, Any], **arguments: Any) -> TrainingResult:
    quick = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False, "disable_tqdm": True}
    settings = {
        "image_size": SIDE_PX,
        "evidence_weight": 0.0,
        "early_stopping_epochs": 0,
        "pretrained": False,
        **recipe,
    }
    return train_classifier(
        splits,
        RecipeConfig(**settings),
        FractureTrainingArguments(output_dir=str(out_dir / "run"), use_cpu=True, **{**quick, **arguments}),
        compute_metrics=measure,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", list(BACKBONES))
def test_backbone_is_trained_saved_loaded_and_explained(name: str, few_films: Any, tmp_path: Path) -> None:
    from transformers import pipeline

    if BACKBONES[name].library == "timm" and not HAS_TIMM:
        pytest.skip("timm is not installed; scripts/test_timm_backbones.sh makes an environment for it.")
    result = train(few_films, tmp_path, {"backbone": name}, max_steps=2, per_device_train_batch_size=4)
    folder = save_model_folder(
        result.model,
        tmp_path / "model",
        preprocessing=result.preprocessing,
        record=RECORD,
        run={},
        half_precision=False,
    )
    film = few_films["validation"][0]["image"]
    preprocessing = read_preprocessing(folder)
    pixels = letterbox_pixels(film, SIDE_PX, preprocessing.mean, preprocessing.std)
    model = load_model(folder)
    with torch.no_grad():
        expected = torch.softmax(model(pixel_values=torch.from_numpy(pixels)[None]).logits, dim=1)[0, 1].item()
        trained = result.model(pixel_values=torch.from_numpy(pixels)[None]).logits
    assert torch.softmax(trained, dim=1)[0, 1].item() == pytest.approx(expected, abs=1e-5)
    answers = {answer["label"]: answer["score"] for answer in pipeline("image-classification", model=str(folder))(film)}
    # The film is square, so that timm's own letterbox, which pads on both sides, has nothing to pad.
    tolerance = 0.02 if BACKBONES[name].library == "timm" else 1e-4
    assert answers["fractured"] == pytest.approx(expected, abs=tolerance)
    letterbox = fit_letterbox(film.width, film.height, SIDE_PX)
    explained = attribute(model, pixels, letterbox, method="grad_cam")
    assert explained.values.shape == (film.height, film.width)
    assert np.isfinite(explained.values).all()
