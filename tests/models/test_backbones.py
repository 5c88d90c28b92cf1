import dataclasses
import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import ConvNextConfig, ConvNextForImageClassification, ResNetConfig, ResNetForImageClassification

from hf_fracture.config import RecipeConfig
from hf_fracture.errors import MissingInputError, ModelFolderError, UsageError
from hf_fracture.models.backbones import (
    BACKBONES,
    build_classifier,
    build_evidence_classifier,
    build_recipe_model,
    group_layers,
    read_start,
    read_statistics,
    resolve_backbone,
)
from hf_fracture.models.checkpoint import DEFAULT_MODEL_DIR, gradcam_layer
from hf_fracture.models.enhanced import EnhancedForImageClassification
from hf_fracture.models.evidence import EvidenceClassifier

WITHOUT_TIMM = [name for name, row in BACKBONES.items() if row.library != "timm"]


@pytest.fixture
def tiny_backbone_dir(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic")
    config.num_labels = 7
    ResNetForImageClassification(config).save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def build_tiny(backbone_dir: Path, **fields: Any) -> Any:
    torch.manual_seed(1)
    model: Any = build_recipe_model(RecipeConfig(backbone=str(backbone_dir), evidence_weight=0.0, **fields))
    return model.eval()


@pytest.mark.parametrize("name", list(BACKBONES))
def test_name_of_the_table_leads_to_its_hub_id(name: str) -> None:
    assert resolve_backbone(name) == (BACKBONES[name].hub_id or name)


def test_folder_and_hub_id_stand_for_themselves(tmp_path: Path) -> None:
    assert resolve_backbone(str(tmp_path)) == str(tmp_path)
    assert resolve_backbone("owner/name") == "owner/name"


@pytest.mark.parametrize(
    ("typed", "meant"), [("resnet50", "resnet-50"), ("VGG-16", "vgg16"), ("densenet201", "densenet-201")]
)
def test_misspelt_name_gets_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"Did you mean {meant}"):
        resolve_backbone(typed)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="found none"):
        resolve_backbone(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("name", WITHOUT_TIMM)
def test_row_tells_the_truth_about_size_and_map(name: str) -> None:
    row = BACKBONES[name]
    with torch.device("meta"):
        model = build_classifier(name, pretrained=False)
    assert sum(parameter.numel() for parameter in model.parameters()) == row.num_parameters
    assert gradcam_layer(model) is model.get_submodule(row.gradcam_layer)
    assert model.config.id2label == {0: "not fractured", 1: "fractured"}


@pytest.mark.parametrize("name", WITHOUT_TIMM)
def test_layers_hold_every_parameter_once_and_end_with_the_head(name: str) -> None:
    with torch.device("meta"):
        model = build_classifier(name, pretrained=False)
    groups = group_layers(model)
    assert sorted(name for group in groups for name in group) == sorted(name for name, _ in model.named_parameters())
    assert len(groups) > 3
    assert all(group for group in groups)
    assert any("classifier" in name for name in groups[-1])
    assert not any("classifier" in name for group in groups[:-1] for name in group)


def test_classifier_gets_a_fresh_head_of_the_named_classes(tiny_backbone_dir: Path) -> None:
    model = build_classifier(str(tiny_backbone_dir), label_names=("Avulsion", "Greenstick", "Spiral"))
    assert model.config.id2label == {0: "Avulsion", 1: "Greenstick", 2: "Spiral"}
    assert cast(Any, model).classifier[-1].out_features == 3


def test_pretrained_weights_are_kept_and_random_ones_are_not(tiny_backbone_dir: Path) -> None:
    stored = ResNetForImageClassification.from_pretrained(tiny_backbone_dir).resnet.state_dict()
    for pretrained in (True, False):
        model = cast(Any, build_classifier(str(tiny_backbone_dir), pretrained=pretrained))
        same = torch.equal(
            model.resnet.embedder.embedder.convolution.weight, stored["embedder.embedder.convolution.weight"]
        )
        assert same == pretrained


def test_cut_network_computes_what_its_first_stages_did(tiny_backbone_dir: Path) -> None:
    whole = cast(Any, build_classifier(str(tiny_backbone_dir))).eval()
    cut = cast(Any, build_classifier(str(tiny_backbone_dir), num_stages=1)).eval()
    films = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = whole.resnet(films, output_hidden_states=True).hidden_states[1]
        torch.testing.assert_close(cut.resnet(films).last_hidden_state, expected)
    assert cut.classifier[-1].in_features == 16


@pytest.mark.parametrize("name", ["resnet-18", "resnet-50", "convnext-tiny", "convnextv2-atto"])
def test_row_of_the_table_can_be_cut(name: str, tmp_path: Path) -> None:
    with torch.device("meta"):
        whole = build_classifier(name, pretrained=False)
        cut = build_classifier(name, pretrained=False, num_stages=3)
    assert 1 < len(group_layers(cut)) == len(group_layers(whole)) - 1


@pytest.mark.parametrize(
    ("name", "stages", "said"),
    [("plain-cnn", 2, "cuts ResNets"), ("resnet-18", 5, "must lie in"), (None, 3, "has 2 stages")],
)
def test_stages_that_are_not_there_are_refused(
    name: str | None, stages: int, said: str, tiny_backbone_dir: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        build_recipe_model(
            RecipeConfig(
                backbone=name or str(tiny_backbone_dir), num_stages=stages, evidence_weight=0.0, pretrained=name is None
            )
        )


def test_folder_without_weights_is_explained(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="Expected pretrained weights"):
        build_classifier(str(tmp_path))


def test_weights_that_lack_a_single_tensor_of_the_backbone_are_refused(tiny_backbone_dir: Path) -> None:
    path = tiny_backbone_dir / "model.safetensors"
    tensors = load_file(path)
    del tensors[next(name for name in tensors if name.endswith("convolution.weight"))]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(MissingInputError, match=r"1 of its .* tensors are absent"):
        build_classifier(str(tiny_backbone_dir))


def test_weights_of_another_architecture_are_refused_in_one_sentence(tiny_backbone_dir: Path) -> None:
    config = ConvNextConfig(num_stages=2, hidden_sizes=[4, 8], depths=[1, 1])
    config.save_pretrained(tiny_backbone_dir)
    with pytest.raises(MissingInputError, match="belong to another architecture"):
        build_classifier(str(tiny_backbone_dir))


def test_network_that_classifies_no_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(MissingInputError, match="'gpt2', which classifies no images"):
        build_classifier(str(tmp_path))


def test_unreachable_hub_names_the_ways_out() -> None:
    with pytest.raises(MissingInputError, match=r"microsoft/resnet-18.*--pretrained false"):
        build_classifier("resnet-18")


def test_edge_channel_starts_without_a_say(tiny_backbone_dir: Path) -> None:
    films = torch.full((2, 3, 64, 64), -2.0)
    films[..., 16:48, 20:40] = 1.0
    with torch.no_grad():
        plain = build_tiny(tiny_backbone_dir)(films).logits
        edged = build_tiny(tiny_backbone_dir, enhancement="canny")
        torch.testing.assert_close(edged.enhance(films)[:, :3], films, atol=1e-5, rtol=0)
        features = edged.network.resnet(edged.enhance(films)).last_hidden_state
        plain_model = build_tiny(tiny_backbone_dir)
        torch.testing.assert_close(features, plain_model.resnet(films).last_hidden_state, atol=1e-4, rtol=1e-4)
    assert plain.shape == edged(films).logits.shape
    convolution = edged.network.resnet.embedder.embedder.convolution
    assert convolution.in_channels == 4
    edged(films).logits.sum().backward()
    assert convolution.weight.grad[:, 3].abs().sum() > 0, "the new channel can learn"


def test_enhanced_model_survives_saving_with_its_code(tiny_backbone_dir: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForImageClassification

    model = build_tiny(tiny_backbone_dir, enhancement="noise_floor+clahe+canny", head_units=8, head_dropout=0.5)
    assert isinstance(model, EnhancedForImageClassification)
    model.save_pretrained(tmp_path / "saved")
    assert str(tmp_path) not in (tmp_path / "saved" / "config.json").read_text()
    assert {path.suffix for path in (tmp_path / "saved").iterdir()} == {".py", ".json", ".safetensors"}
    again = AutoModelForImageClassification.from_pretrained(tmp_path / "saved").eval()
    films = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(again(films).logits, model(films).logits)
    assert again.config.id2label == {0: "not fractured", 1: "fractured"}


def test_dense_head_is_the_last_layer_group(tiny_backbone_dir: Path) -> None:
    model = build_tiny(tiny_backbone_dir, head_units=8, head_dropout=0.5)
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(32, 8), (8, 2)]
    assert len(group_layers(model)[-1]) == 4


def test_backbone_of_the_enhanced_model_is_the_pretrained_one(tiny_backbone_dir: Path) -> None:
    plain, enhanced = build_tiny(tiny_backbone_dir), build_tiny(tiny_backbone_dir, head_units=8)
    for name, tensor in plain.resnet.state_dict().items():
        assert torch.equal(enhanced.network.resnet.state_dict()[name], tensor), name


def test_shipped_model_starts_a_training_without_the_layer_its_evidence_was_folded_into() -> None:
    shipped = cast(Any, ResNetForImageClassification.from_pretrained(DEFAULT_MODEL_DIR)).eval()
    start = cast(Any, build_classifier(str(DEFAULT_MODEL_DIR))).eval()
    *before, last = shipped.config.depths
    assert start.config.depths == [*before, last - 1]
    assert [len(stage.layers) for stage in start.resnet.encoder.stages] == start.config.depths
    films = torch.rand(1, 3, 64, 64)
    stage = shipped.resnet.encoder.stages[-1]
    stage.layers = stage.layers[:-1]
    with torch.no_grad():
        torch.testing.assert_close(start.resnet(films).last_hidden_state, shipped.resnet(films).last_hidden_state)
    assert start.classifier[-1].weight.all(), "the shipped head reads nothing but the evidence"


def test_record_of_the_model_that_training_starts_from_is_read_and_not_kept(tiny_backbone_dir: Path) -> None:
    recipe = RecipeConfig(backbone=str(DEFAULT_MODEL_DIR), evidence_weight=0.0, enhancement="clahe")
    record = read_start(recipe)
    assert record is not None
    assert record.trained_on == ["fracatlas"]
    assert "fracture" not in cast(Any, build_recipe_model(recipe).config).network
    assert read_start(dataclasses.replace(recipe, pretrained=False)) is None
    assert read_start(dataclasses.replace(recipe, backbone=str(tiny_backbone_dir))) is None
    assert read_start(dataclasses.replace(recipe, backbone="resnet-18")) is None


@pytest.mark.parametrize("record", [True, {"trained_on": "fracatlas"}])
def test_record_that_is_none_is_refused_before_training(record: object, tiny_backbone_dir: Path) -> None:
    path = tiny_backbone_dir / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "fracture": record}))
    with pytest.raises(ModelFolderError, match="complete key 'fracture'"):
        read_start(RecipeConfig(backbone=str(tiny_backbone_dir)))


def test_statistics_are_imagenet_s_unless_the_weights_say_otherwise(tiny_backbone_dir: Path) -> None:
    model = build_classifier(str(tiny_backbone_dir))
    assert read_statistics(model)[0] == (0.485, 0.456, 0.406)
    cast(Any, model.config).pretrained_cfg = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    assert read_statistics(model) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_evidence_positions_follow_the_stride(tiny_backbone_dir: Path) -> None:
    model = build_evidence_classifier(str(tiny_backbone_dir), image_size=64, prior_logit=0.0)
    assert isinstance(model, EvidenceClassifier)
    assert model.pooling.num_positions == 8 * 8
    cut = build_evidence_classifier(str(tiny_backbone_dir), image_size=64, prior_logit=0.0, num_stages=1)
    assert cast(EvidenceClassifier, cut).pooling.num_positions == 16 * 16
    assert [name for name in group_layers(cut)[-1] if not name.startswith(("head.", "pooling."))] == []


def test_evidence_on_another_architecture_is_refused_with_the_way_out(tmp_path: Path) -> None:
    config = ConvNextConfig(num_stages=2, hidden_sizes=[4, 8], depths=[1, 1])
    ConvNextForImageClassification(config).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="--evidence_weight 0"):
        build_evidence_classifier(str(tmp_path), image_size=64, prior_logit=0.0)
