from pathlib import Path

import pytest
from transformers import ConvNextConfig, ConvNextForImageClassification, ResNetConfig, ResNetForImageClassification

from hf_fracture.errors import MissingInputError, UsageError
from hf_fracture.models.backbones import BACKBONES, build_classifier, build_evidence_classifier, resolve_backbone
from hf_fracture.models.evidence import EvidenceClassifier


@pytest.fixture
def tiny_backbone_dir(tmp_path: Path) -> Path:
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    config.num_labels = 7
    ResNetForImageClassification(config).save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.mark.parametrize("name", list(BACKBONES))
def test_name_of_the_table_leads_to_its_hub_id(name: str) -> None:
    assert resolve_backbone(name) == (BACKBONES[name].hub_id or name)


def test_folder_and_hub_id_stand_for_themselves(tmp_path: Path) -> None:
    assert resolve_backbone(str(tmp_path)) == str(tmp_path)
    assert resolve_backbone("owner/name") == "owner/name"


def test_misspelt_name_gets_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean resnet-50"):
        resolve_backbone("resnet50")


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="found none"):
        resolve_backbone(str(tmp_path / "nowhere"))


def test_classifier_gets_a_fresh_head_of_two_named_classes(tiny_backbone_dir: Path) -> None:
    model = build_classifier(str(tiny_backbone_dir))
    assert model.config.id2label == {0: "not fractured", 1: "fractured"}
    assert model.classifier[-1].out_features == 2  # type: ignore[index, union-attr]


def test_folder_without_weights_is_explained(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="Expected pretrained weights"):
        build_classifier(str(tmp_path))


def test_evidence_positions_follow_the_stride(tiny_backbone_dir: Path) -> None:
    model = build_evidence_classifier(str(tiny_backbone_dir), image_size=64, prior_logit=0.0)
    assert isinstance(model, EvidenceClassifier)
    assert model.pooling.num_positions == 8 * 8


def test_evidence_on_another_architecture_is_refused_with_the_way_out(tmp_path: Path) -> None:
    config = ConvNextConfig(num_stages=2, hidden_sizes=[4, 8], depths=[1, 1])
    ConvNextForImageClassification(config).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="--evidence_weight 0"):
        build_evidence_classifier(str(tmp_path), image_size=64, prior_logit=0.0)
