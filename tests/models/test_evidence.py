from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import ResNetConfig, ResNetForImageClassification, ResNetModel

from hf_fracture.errors import ModelFolderError
from hf_fracture.models.evidence import (
    KNOTS,
    EvidenceClassifier,
    adjust_head,
    drop_folded_evidence,
    evidence_losses,
    evidence_targets,
    fold_evidence,
    holds_folded_evidence,
)


def trained_looking(layer_type: str) -> EvidenceClassifier:
    """An evidence classifier none of whose parameters or statistics has its starting value."""
    torch.manual_seed(1)
    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[16, 64] if layer_type == "bottleneck" else [8, 16], depths=[1, 1],
        layer_type=layer_type,
    )  # fmt: skip
    model = EvidenceClassifier(ResNetModel(config), num_positions=64, prior_logit=-1.0)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "running_var" in name:
                tensor.uniform_(0.5, 2.0)
            elif tensor.is_floating_point() and ("running_mean" in name or tensor.ndim <= 1):
                tensor.add_(0.3 * torch.randn_like(tensor))
        model.head.score.weight.normal_(std=1.0)
    return model.eval()


@pytest.mark.parametrize("layer_type", ["basic", "bottleneck"])
@torch.no_grad()
def test_folded_network_computes_the_same_logits(layer_type: str) -> None:
    model = trained_looking(layer_type)
    films = torch.randn(4, 3, 64, 64)
    expected = model(films)
    assert expected.evidence.max() > KNOTS[0], "the case must reach past the first knot, or nothing is tested"
    folded = fold_evidence(model)
    torch.testing.assert_close(folded(films).logits, expected.logits, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_folded_network_is_a_plain_resnet_with_one_more_layer() -> None:
    folded = fold_evidence(trained_looking("basic"))
    assert type(folded) is ResNetForImageClassification
    assert folded.config.depths == [1, 2]
    assert folded.config.id2label == {0: "not fractured", 1: "fractured"}
    assert not folded.training


@pytest.mark.parametrize("layer_type", ["basic", "bottleneck"])
@torch.no_grad()
def test_folded_layer_is_found_and_dropped_again(layer_type: str) -> None:
    model = trained_looking(layer_type)
    films = torch.randn(2, 3, 64, 64)
    folded: Any = fold_evidence(model)
    adjust_head(folded, temperature=2.0, shift=0.3)  # a calibration changes nothing about it
    assert holds_folded_evidence(folded)
    drop_folded_evidence(folded)
    assert folded.config.depths == [1, 1]
    torch.testing.assert_close(folded.resnet(films).last_hidden_state, model.backbone(films).last_hidden_state)
    assert folded.classifier[-1].weight.all(), "the old head reads nothing but the evidence"
    assert not holds_folded_evidence(folded)


@pytest.mark.parametrize(("layer_type", "width"), [("basic", 4), ("bottleneck", 28)])
def test_network_too_narrow_for_evidence_holds_none(layer_type: str, width: int) -> None:
    config = ResNetConfig(embedding_size=4, hidden_sizes=[width], depths=[1], layer_type=layer_type)
    assert not holds_folded_evidence(ResNetForImageClassification(config))


@torch.no_grad()
def test_grad_cam_of_the_fold_is_the_pooled_evidence() -> None:
    model = trained_looking("basic")
    films = torch.randn(2, 3, 64, 64)
    evidence = model(films).evidence  # (2, h, w)
    rectified = torch.relu(evidence.unsqueeze(-1) - torch.tensor(KNOTS))
    expected = rectified @ model.pooling.weights
    folded = fold_evidence(model)
    features = folded.resnet(films).last_hidden_state
    weight = folded.classifier[-1].weight
    head = weight[1] - weight[0]  # type: ignore[index]
    torch.testing.assert_close(torch.einsum("nchw,c->nhw", features, head), expected, rtol=1e-3, atol=1e-3)


def test_more_evidence_anywhere_never_lowers_the_logit() -> None:
    pooling = trained_looking("basic").pooling
    evidence = torch.linspace(-6, 8, 50).view(-1, 1, 1, 1).repeat(1, 1, 4, 4)
    logits = pooling(evidence)
    assert (logits.diff() >= 0).all()
    assert logits[-1] > logits[0]


def test_evidence_losses_match_the_hand_computed_case() -> None:
    evidence = torch.tensor([[[[0.0, 2.0], [-2.0, 0.0]]]])
    masks = torch.zeros(1, 1, 4, 4)
    masks[0, 0, 0, 3] = 1.0  # falls into the upper right position
    p = torch.sigmoid(torch.tensor(2.0)).item()
    by_hand = 2 * 0.25 * 0.6931472 - 2 * (1 - p) ** 2 * torch.log(torch.tensor(p)).item()
    assert evidence_losses(evidence, masks).item() == pytest.approx(by_hand, rel=1e-5)


def test_fracture_smaller_than_a_position_is_a_full_target_where_it_lies() -> None:
    masks = torch.zeros(1, 1, 64, 64)
    masks[0, 0, 18:21, 35:37] = 1.0
    target = evidence_targets(masks, (4, 4))[0, 0]
    expected = torch.zeros(4, 4)
    expected[1, 2] = 1.0
    torch.testing.assert_close(target, expected)


def test_position_that_a_fracture_merely_touches_is_a_partial_target() -> None:
    masks = torch.zeros(1, 1, 64, 64)
    masks[0, 0, 16:32, 16:36] = 1.0  # all of one position, a quarter of its neighbour
    target = evidence_targets(masks, (4, 4))[0, 0]
    assert target[1, 1] == pytest.approx(1.0)
    assert target[1, 2] == pytest.approx(0.25)
    assert target.sum() == pytest.approx(1.25)


def test_small_fracture_far_from_a_large_one_is_a_full_target_too() -> None:
    masks = torch.zeros(1, 1, 128, 128)
    masks[0, 0, :32, :32] = 1.0
    masks[0, 0, 100:103, 100:103] = 1.0
    target = evidence_targets(masks, (8, 8))[0, 0]
    assert target[:2, :2].tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert target[6, 6] == pytest.approx(1.0)


def test_film_without_fracture_has_no_target() -> None:
    assert not evidence_targets(torch.zeros(2, 1, 64, 64), (4, 4)).any()


def test_film_whose_place_nobody_marked_has_no_evidence_loss() -> None:
    model = trained_looking("basic")
    films, masks = torch.randn(2, 3, 64, 64), torch.zeros(2, 1, 64, 64)
    losses = model(films, masks=masks, mask_known=torch.tensor([True, False])).evidence_losses
    assert losses[0] > 0
    assert losses[1] == 0


@torch.no_grad()
def test_calibration_folded_into_the_head_divides_and_shifts_the_logit_difference() -> None:
    folded = fold_evidence(trained_looking("basic"))
    films = torch.randn(3, 3, 64, 64)

    def difference(model: Callable[..., object]) -> torch.Tensor:
        logits: torch.Tensor = model(films).logits  # type: ignore[attr-defined]
        return logits[:, 1] - logits[:, 0]

    before = difference(folded)
    adjust_head(folded, temperature=2.0, shift=0.5)
    torch.testing.assert_close(difference(folded), (before + 0.5) / 2.0)


def test_backbone_with_fewer_channels_than_knots_is_refused() -> None:
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic")
    with pytest.raises(ModelFolderError, match="more than 8 channels, got 8"):
        EvidenceClassifier(ResNetModel(config), num_positions=64, prior_logit=0.0)
