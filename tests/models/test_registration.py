"""Models of our own load where this package was never imported, and without the flag where it was."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ResNetConfig

from hf_fracture import register_models
from hf_fracture.config import FractureRecord, Triage
from hf_fracture.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, letterbox_pixels
from hf_fracture.errors import ModelFolderError
from hf_fracture.labels import ID2LABEL, LABEL2ID
from hf_fracture.models.checkpoint import gradcam_layer, load_model, save_model_folder
from hf_fracture.models.deepconvnet import DeepConvNetConfig, DeepConvNetForImageClassification
from hf_fracture.models.enhanced import EnhancedConfig, EnhancedForImageClassification, find_output_layer
from hf_fracture.models.plain_cnn import PlainCnnConfig, PlainCnnForImageClassification

NAMES = ("deepconvnet", "plain_cnn", "canny_resnet", "clahe_deepconvnet")
LABELS: dict[str, Any] = {"id2label": ID2LABEL, "label2id": LABEL2ID}
FRESH_PROCESS = """
import json, sys
from transformers import pipeline
answers = {}
for folder in sys.argv[2:]:
    classify = pipeline("image-classification", model=folder, trust_remote_code=True)
    answers[folder] = {answer["label"]: answer["score"] for answer in classify(sys.argv[1])}
assert not any(name.startswith("hf_fracture") for name in sys.modules), "this package must not be needed"
print("answers:" + json.dumps(answers))
"""


def build(name: str) -> Any:
    torch.manual_seed(0)
    if name == "deepconvnet":
        return DeepConvNetForImageClassification(DeepConvNetConfig(hidden_sizes=[4, 8], **LABELS))
    if name == "plain_cnn":
        return PlainCnnForImageClassification(PlainCnnConfig(hidden_sizes=[4, 8], dense_units=8, **LABELS))
    if name == "canny_resnet":
        backbone: Any = ResNetConfig(
            num_channels=4, embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
        )
        network = backbone.to_dict()
        steps = ["inpaint_markers", "noise_floor", "equalize", "canny"]
        config = EnhancedConfig(network=network, enhancement=steps, head_units=4, head_dropout=0.5, **LABELS)
    else:
        network = DeepConvNetConfig(hidden_sizes=[4, 8]).to_dict()
        config = EnhancedConfig(network=network, enhancement=["clahe"], **LABELS)
    return EnhancedForImageClassification(config)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    register_models()
    record = FractureRecord(operating_points={}, temperature=1.0, triage=Triage(screening=0.0, rule_in=1.0))
    preprocessing = Preprocessing(size_px=64, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    parent = tmp_path_factory.mktemp("own")
    return {
        name: save_model_folder(build(name), parent / name, preprocessing=preprocessing, record=record, run={})
        for name in NAMES
    }


@pytest.fixture(scope="module")
def film_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films") / "film.png"
    grey = np.tile(np.linspace(0, 255, 60, dtype=np.uint8), (90, 1))
    grey[30:50, 20:40] = 255
    Image.fromarray(grey).save(path)
    return path


def probability(folder: Path, film_path: Path) -> float:
    with Image.open(film_path) as film:
        pixels = torch.from_numpy(letterbox_pixels(film, 64, IMAGENET_MEAN, IMAGENET_STD))[None]
    with torch.no_grad():
        return float(torch.softmax(load_model(folder)(pixel_values=pixels).logits, dim=1)[0, 1])


@pytest.mark.slow
def test_fresh_process_loads_them_with_the_code_beside_the_weights(folders: dict[str, Path], film_path: Path) -> None:
    command = [sys.executable, "-c", FRESH_PROCESS, str(film_path), *map(str, folders.values())]
    process = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert process.returncode == 0, process.stderr
    answers = json.loads(process.stdout.rpartition("answers:")[2])
    for folder in folders.values():
        assert answers[str(folder)]["fractured"] == pytest.approx(probability(folder, film_path), abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_pipeline_needs_no_flag_once_they_are_registered(name: str, folders: dict[str, Path], film_path: Path) -> None:
    from transformers import pipeline

    answers = {
        answer["label"]: answer["score"]
        for answer in pipeline("image-classification", model=str(folders[name]))(str(film_path))
    }
    assert answers["fractured"] == pytest.approx(probability(folders[name], film_path), abs=1e-4)


def test_unregistered_process_asks_for_the_flag(folders: dict[str, Path]) -> None:
    assert "auto_map" in json.loads((folders["deepconvnet"] / "config.json").read_text())
    code = {path.name for path in folders["canny_resnet"].glob("*.py")}
    assert code == {"enhanced.py", "enhancement.py", "deepconvnet.py", "plain_cnn.py"}
    assert {path.name for path in folders["plain_cnn"].glob("*.py")} == {"plain_cnn.py"}


@pytest.mark.parametrize("name", NAMES)
def test_map_layer_gives_a_spatial_map_from_which_the_logits_follow(name: str, folders: dict[str, Path]) -> None:
    model = load_model(folders[name])
    seen: list[torch.Tensor] = []
    handle = gradcam_layer(model).register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    films = torch.rand(2, 3, 64, 64)
    logits = model(pixel_values=films).logits
    handle.remove()
    assert seen[0].ndim == 4
    (gradient,) = torch.autograd.grad(logits.sum(), seen[0])
    assert gradient.abs().sum() > 0


def test_calibration_folds_into_the_last_layer_of_each(folders: dict[str, Path]) -> None:
    from hf_fracture.models.evidence import adjust_head

    films = torch.rand(2, 3, 64, 64)
    for folder in folders.values():
        model = load_model(folder)
        with torch.no_grad():
            before = model(pixel_values=films).logits.diff(dim=1)
            adjust_head(model, temperature=2.0, shift=0.5)
            torch.testing.assert_close(model(pixel_values=films).logits.diff(dim=1), (before + 0.5) / 2)


def test_network_that_ends_otherwise_has_no_output_layer() -> None:
    model = build("plain_cnn")
    model.classifier = torch.nn.Identity()
    with pytest.raises(ValueError, match="2 outputs"):
        find_output_layer(model)


def test_map_of_an_unknown_network_is_refused_with_a_way_out() -> None:
    model = build("plain_cnn")
    type(model).feature_map_name, kept = None, type(model).feature_map_name
    try:
        with pytest.raises(ModelFolderError, match="occlusion"):
            gradcam_layer(model)
    finally:
        type(model).feature_map_name = kept
