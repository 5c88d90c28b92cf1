"""Model folders from strangers: refused before anything of their size is allocated or any of their code runs."""

import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.errors import ModelFolderError
from hf_fracture.inference.classifier import FractureClassifier
from hf_fracture.models.checkpoint import load_model, read_preprocessing, read_record
from tests.models.conftest import change_json

MARK = "strangers-code-ran"


CONFIGURATIONS: dict[str, tuple[dict[str, Any], str]] = {
    "a network too large for the memory": ({"hidden_sizes": [8, 20_000]}, "describes the weights beside it"),
    "a network too deep for the clock": ({"depths": [1, 900_000]}, "describes the weights beside it"),
    "another architecture": ({"model_type": "vit"}, "describes the weights beside it"),
    "a size beyond any image": ({"image_size": 10**9}, "numbers up to 1,000,000"),
    "kernels from the Hub": ({"attn_implementation": "owner/kernel"}, "no code on the Hub"),
    "a pickle for timm": ({"model_type": "timm_wrapper", "model_args": {"checkpoint_path": "x.pth"}}, "no other file"),
    "an architecture from the Hub": ({"architecture": "hf-hub:owner/name"}, "name of an architecture"),
    "weights of a neighbour": ({"transformers_weights": "../other/model.safetensors"}, "inside the model directory"),
    "a type that is none": ({"dtype": "os.system"}, "Cannot load an image classifier"),
    "a layer that is none": ({"depths": None}, "Cannot load an image classifier"),
    "labels without end": ({"id2label": {str(i): str(i) for i in range(9)}}, "Cannot load an image classifier"),
    "deep nesting": ({"x": json.loads("[" * 50 + "]" * 50)}, "at most 20 levels"),
}


@pytest.mark.parametrize("case", CONFIGURATIONS)
def test_configuration_that_asks_for_too_much_is_one_sentence(case: str, model_dir: Path) -> None:
    change, words = CONFIGURATIONS[case]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    change_json(model_dir / "config.json", lambda config: config.update(change))
    with pytest.raises(ModelFolderError, match=words) as caught:
        load_model(model_dir)
    assert "\n" not in str(caught.value)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 500


def test_absent_weights_are_refused_and_not_drawn_at_random(model_dir: Path) -> None:
    path = model_dir / "model.safetensors"
    weights = load_file(path)
    del weights["classifier.1.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelFolderError, match=r"none for 1 of its tensors, e.g. classifier.1.weight"):
        load_model(model_dir)


def test_weights_of_another_shape_are_refused(model_dir: Path) -> None:
    path = model_dir / "model.safetensors"
    weights = load_file(path)
    weights["classifier.1.weight"] = np.zeros((2, 17), np.float16)
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelFolderError, match="Cannot load"):
        load_model(model_dir)


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "weights.bin", "model-1.safetensors/x", 3])
def test_index_that_leads_out_of_its_folder_is_refused(name: object, model_dir: Path) -> None:
    (model_dir / "model.safetensors").rename(model_dir.parent / "other.safetensors")
    index = {"weight_map": {"classifier.1.weight": name}}
    (model_dir / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelFolderError, match="safetensors files beside it"):
        load_model(model_dir)


def test_adapter_of_another_model_is_refused(model_dir: Path) -> None:
    (model_dir / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/name"}')
    with pytest.raises(ModelFolderError, match="adapter"):
        load_model(model_dir)


def test_code_of_the_folder_runs_only_when_asked(model_dir: Path, tmp_path: Path) -> None:
    mark = tmp_path / MARK
    (model_dir / "configuration_x.py").write_text(
        f"from pathlib import Path\nfrom transformers import ResNetConfig\nPath({str(mark)!r}).touch()\n"
        "class XConfig(ResNetConfig):\n    model_type = 'x-resnet'\n"
    )
    code = {"AutoConfig": "configuration_x.XConfig", "AutoModelForImageClassification": "configuration_x.XModel"}
    change_json(model_dir / "config.json", lambda config: config.update(model_type="x-resnet", auto_map=code))
    with pytest.raises(ModelFolderError):
        load_model(model_dir)
    assert not mark.exists()
    with pytest.raises(ModelFolderError):  # its network is not there; its configuration has been run
        load_model(model_dir, trust_remote_code=True)
    assert mark.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": {"max_height": 100_000, "max_width": 100_000}}, "16 to 4096 px"),
        ({"size": {"max_height": 15, "max_width": 15}}, "16 to 4096 px"),
        ({"size": {"max_height": 64.0, "max_width": 64.0}}, "16 to 4096 px"),
        ({"size": ["max_height"]}, "describe a letterbox"),
        ({"image_mean": [float("nan"), 0.0, 0.0]}, "three numbers"),
        ({"image_mean": [1e30, 0.0, 0.0]}, "three numbers"),
        ({"image_std": [1.0, 1.0, 0.0]}, "positive"),
        ({"image_std": [True, 1.0, 1.0]}, "three numbers"),
    ],
)
def test_letterbox_out_of_range_is_refused(change: dict[str, Any], words: str, model_dir: Path) -> None:
    change_json(model_dir / "preprocessor_config.json", lambda config: config.update(change))
    with pytest.raises(ModelFolderError, match=words):
        read_preprocessing(model_dir)


@pytest.mark.parametrize(
    ("name", "value"),
    [("body_parts", "hand"), ("views", [1]), ("modality", ["XR"]), ("label_kind", "other"), ("pipeline_safe", "yes")],
)
def test_record_of_other_kinds_is_refused(name: str, value: object, model_dir: Path) -> None:
    change_json(model_dir / "config.json", lambda config: config["fracture"].update({name: value}))
    with pytest.raises(ModelFolderError, match=name):
        read_record(model_dir)


def test_foreign_image_processor_of_gigapixels_is_refused(model_dir: Path) -> None:
    change_json(model_dir / "config.json", lambda config: config.pop("fracture"))
    huge = {"image_processor_type": "ViTImageProcessor", "size": {"height": 90_000, "width": 90_000}}
    (model_dir / "preprocessor_config.json").write_text(json.dumps(huge))
    with pytest.raises(ModelFolderError, match="sizes up to 4096 px"):
        FractureClassifier.from_pretrained(model_dir, backend="torch")


def test_weights_that_are_no_numbers_give_no_answer(model_dir: Path) -> None:
    path = model_dir / "model.safetensors"
    weights = load_file(path)
    weights["classifier.1.weight"][:] = np.nan
    save_file(weights, path, metadata={"format": "pt"})
    classifier = FractureClassifier.from_pretrained(model_dir)
    with pytest.raises(ModelFolderError, match="its weights are damaged"):
        classifier.predict(draw_phantom(1, fractured=True).image)


def test_gate_of_no_numbers_does_not_let_everything_pass(model_dir: Path) -> None:
    from hf_fracture.inference.gate import fit_gate, load_gate, save_gate

    features = np.random.default_rng(0).normal(0, 1, (20, 16)).astype(np.float32)
    path = save_gate(fit_gate(features, features), model_dir)
    assert load_gate(model_dir) is not None
    for name, value in (("mean", np.nan), ("limit", np.inf), ("variances", -1.0), ("limit", 0.0)):
        tensors = load_file(path)
        damaged = {**tensors, name: np.full_like(tensors[name], value)}
        (model_dir / "copy").mkdir(exist_ok=True)
        save_file(damaged, model_dir / "copy" / path.name)
        with pytest.raises(ModelFolderError, match="finite numbers"):
            load_gate(model_dir / "copy")


@pytest.mark.parametrize(
    "new", [b"GlobalAveragePoo\x80", b"G" * 17, b"\x0a\x7f" * 8 + b"x", b"../../../../passwd"[:17]]
)
def test_damaged_export_is_one_short_sentence_and_prints_nothing(
    new: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from tests.fuzz.targets import MAX_SENTENCE, build_model_folders, write_files

    files = build_model_folders()["export"]
    export = files["onnx/model.onnx"]
    assert export.count(b"GlobalAveragePool") == 1
    write_files({**files, "onnx/model.onnx": export.replace(b"GlobalAveragePool", new)}, tmp_path)
    capfd.readouterr()
    with pytest.raises(ModelFolderError, match="ONNX") as caught:
        FractureClassifier.from_pretrained(tmp_path)
    assert len(str(caught.value)) < MAX_SENTENCE
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("place", ["../secret", "/etc/hostname"])
def test_export_whose_weights_lie_outside_its_folder_is_refused(place: str, tmp_path: Path) -> None:
    import onnx

    from tests.fuzz.targets import build_model_folders, write_files

    files = build_model_folders()["export"]
    model = onnx.load_from_string(files["onnx/model.onnx"])
    tensor = model.graph.initializer[0]
    (tmp_path / "secret").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", place
    folder = tmp_path / "model"
    write_files({**files, "onnx/model.onnx": model.SerializeToString()}, folder)
    with pytest.raises(ModelFolderError, match="External data path"):
        FractureClassifier.from_pretrained(folder)


def test_export_that_names_its_answers_the_other_way_round_is_refused(tmp_path: Path) -> None:
    from tests.fuzz.targets import build_model_folders, write_files

    files = build_model_folders()["export"]
    config = json.loads(files["config.json"])
    config["id2label"] = {"0": "fractured", "1": "not fractured"}
    write_files({**files, "config.json": json.dumps(config).encode()}, tmp_path)
    with pytest.raises(ModelFolderError, match="name its answers"):
        FractureClassifier.from_pretrained(tmp_path)


def test_backbone_that_asks_for_too_much_is_refused(model_dir: Path) -> None:
    from hf_fracture.config import RecipeConfig
    from hf_fracture.models.backbones import build_recipe_model

    change_json(model_dir / "config.json", lambda config: config.update({"hidden_sizes": [8, 20_000]}))
    with pytest.raises(ModelFolderError, match="describes the weights beside it"):
        build_recipe_model(RecipeConfig(backbone=str(model_dir), evidence_weight=0))
