from pathlib import Path
from typing import Any

import pytest
import torch

from hf_fracture.config import FractureRecord
from hf_fracture.errors import MissingInputError, ModelFolderError
from hf_fracture.models.checkpoint import (
    gradcam_layer,
    load_model,
    read_json,
    read_preprocessing,
    read_record,
    resolve_model_dir,
    save_model_folder,
)
from tests.models.conftest import change_json


def test_saved_folder_loads_with_the_record_it_was_given(model_dir: Path) -> None:
    record = read_record(model_dir)
    assert record is not None
    assert record.operating_points["rule_in"].threshold == 0.7
    assert FractureRecord.from_dict(record.to_dict()) == record
    assert read_preprocessing(model_dir).size_px == 64


def test_folder_holds_safetensors_and_no_pickle(model_dir: Path) -> None:
    assert {path.name for path in model_dir.iterdir()} == {
        *("config.json", "model.safetensors", "preprocessor_config.json", "run.json")
    }


def test_weights_stored_in_half_precision_load_in_single(model_dir: Path) -> None:
    from safetensors import safe_open

    with safe_open(model_dir / "model.safetensors", "pt") as stored:
        kinds = {name: stored.get_tensor(name).dtype for name in stored.keys()}  # noqa: SIM118 - not a dict
    assert all(kind == torch.float32 for name, kind in kinds.items() if "running_" in name)
    assert all(kind == torch.float16 for name, kind in kinds.items() if name.endswith("convolution.weight"))
    model = load_model(model_dir)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert not model.training


def test_weights_beyond_half_precision_are_not_stored_as_infinity(model_dir: Path) -> None:
    model: Any = load_model(model_dir)
    record = read_record(model_dir)
    assert record is not None
    with torch.no_grad():
        for parameter in model.classifier.parameters():
            parameter.mul_(1e6)
    save_model_folder(model, model_dir, preprocessing=read_preprocessing(model_dir), record=record, run={})
    again: Any = load_model(model_dir)
    assert all(torch.isfinite(parameter).all() for parameter in again.parameters())
    assert torch.equal(again.classifier[1].weight, model.classifier[1].weight)


def test_pipeline_computes_in_single_precision_too(model_dir: Path) -> None:
    from transformers import pipeline

    assert pipeline("image-classification", model=str(model_dir)).model.dtype == torch.float32


def test_last_feature_map_is_what_the_named_layer_returns(model_dir: Path) -> None:
    model = load_model(model_dir)
    seen: list[torch.Tensor] = []
    handle = gradcam_layer(model).register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    with torch.no_grad():
        expected = model.resnet(torch.zeros(1, 3, 64, 64)).last_hidden_state  # type: ignore[operator]
    handle.remove()
    assert torch.equal(seen[0], expected)


def test_foreign_model_has_no_record(model_dir: Path) -> None:
    change_json(model_dir / "config.json", lambda config: config.pop("fracture"))
    assert read_record(model_dir) is None


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="found no folder"):
        resolve_model_dir(tmp_path / "nowhere")


def test_hub_id_without_network_says_what_to_do() -> None:
    with pytest.raises(MissingInputError, match=r"owner/name.*local folder"):
        resolve_model_dir("owner/name")


def test_folder_without_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match=r"config\.json"):
        resolve_model_dir(tmp_path)


def test_folder_with_pickled_weights_only_is_refused(model_dir: Path) -> None:
    (model_dir / "model.safetensors").rename(model_dir / "pytorch_model.bin")
    with pytest.raises(ModelFolderError, match="Pickled weights are not loaded"):
        load_model(model_dir)


def test_truncated_weights_are_refused_in_one_sentence(model_dir: Path) -> None:
    weights = model_dir / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelFolderError, match="Cannot load"):
        load_model(model_dir)


def test_centre_crop_is_refused_rather_than_replaced(model_dir: Path) -> None:
    change_json(model_dir / "preprocessor_config.json", lambda config: config.update(do_center_crop=True))
    with pytest.raises(ModelFolderError, match="letterbox"):
        read_preprocessing(model_dir)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_damaged_json_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(ModelFolderError, match=r"config\.json"):
        read_json(path)


def test_threshold_outside_the_unit_interval_is_refused(model_dir: Path) -> None:
    change_json(
        model_dir / "config.json",
        lambda config: config["fracture"]["operating_points"]["balanced"].update(threshold=1.01),
    )
    with pytest.raises(ModelFolderError, match="threshold must lie in"):
        read_record(model_dir)


def test_failed_save_leaves_the_earlier_folder_and_nothing_else(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, record = load_model(model_dir), read_record(model_dir)
    assert record is not None
    before = {path.name: path.read_bytes() for path in model_dir.iterdir()}
    monkeypatch.setattr(model, "save_pretrained", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_model_folder(model, model_dir, preprocessing=read_preprocessing(model_dir), record=record, run={})
    assert {path.name: path.read_bytes() for path in model_dir.iterdir()} == before
    assert [path.name for path in model_dir.parent.iterdir()] == ["model"]
