import pytest
import torch
from torch import Tensor
from torch.nn import functional

from hf_fracture.errors import TrainingError
from hf_fracture.training.losses import balanced_class_weights, build_film_loss, soft_cross_entropies

LOGITS = torch.tensor([[0.2, -0.4], [1.0, 2.0], [-0.5, 0.1], [0.0, 0.3]], dtype=torch.float32)
LABELS = torch.tensor([0, 1, 0, 1])


def outputs(logits: Tensor, evidence: Tensor | None = None) -> dict[str, Tensor]:
    return {"logits": logits} if evidence is None else {"logits": logits, "evidence_losses": evidence}


def test_unweighted_loss_is_torch_s_mean_cross_entropy() -> None:
    loss = build_film_loss(class_weights=(1.0, 1.0))(outputs(LOGITS), LABELS, None)
    torch.testing.assert_close(loss, functional.cross_entropy(LOGITS, LABELS))


def test_weights_multiply_each_film_s_loss() -> None:
    single = functional.cross_entropy(LOGITS, LABELS, reduction="none")
    by_hand = (single * torch.tensor([0.5, 3.0, 0.5, 3.0])).sum() / 4
    torch.testing.assert_close(build_film_loss(class_weights=(0.5, 3.0))(outputs(LOGITS), LABELS, 4), by_hand)


@pytest.mark.parametrize("parts", [(4,), (1, 3), (2, 2), (1, 1, 1, 1)])
def test_sum_over_accumulation_steps_equals_the_whole_batch(parts: tuple[int, ...]) -> None:
    loss = build_film_loss(class_weights=(0.7, 2.0), label_smoothing=0.1, evidence_weight=0.5, cells_per_fracture=3.0)
    evidence = torch.tensor([0.3, 5.0, 0.0, 2.0])
    whole = loss(outputs(LOGITS, evidence), LABELS, torch.tensor(4))
    start, total = 0, torch.zeros(())
    for size in parts:
        part = slice(start, start + size)
        total = total + loss(outputs(LOGITS[part], evidence[part]), LABELS[part], torch.tensor(4))
        start += size
    torch.testing.assert_close(total, whole)


def test_evidence_is_divided_by_the_cells_of_a_fracture() -> None:
    plain = build_film_loss(class_weights=(1.0, 1.0))(outputs(LOGITS), LABELS, 4)
    loss = build_film_loss(class_weights=(1.0, 1.0), evidence_weight=0.5, cells_per_fracture=2.0)
    with_evidence = loss(outputs(LOGITS, torch.tensor([0.0, 8.0, 0.0, 0.0])), LABELS, 4)
    torch.testing.assert_close(with_evidence - plain, torch.tensor(0.5 * 8.0 / 2.0 / 4))


def test_balanced_weights_make_classes_count_alike() -> None:
    negative, positive = balanced_class_weights([0] * 30 + [1] * 10)
    assert 30 * negative == pytest.approx(10 * positive)
    assert 30 * negative + 10 * positive == pytest.approx(40)


@pytest.mark.parametrize("labels", [[0, 0], [1, 1], [0, 1, 2]])
def test_weights_need_both_classes_and_no_other(labels: list[int]) -> None:
    with pytest.raises(TrainingError, match="both classes"):
        balanced_class_weights(labels)


def test_smoothed_and_weighted_loss_is_torch_s() -> None:
    weights = torch.tensor([0.5, 3.0])
    ours = build_film_loss(class_weights=(0.5, 3.0), label_smoothing=0.2)(outputs(LOGITS), LABELS, 4)
    theirs = functional.cross_entropy(LOGITS, LABELS, weight=weights, label_smoothing=0.2, reduction="sum") / 4
    torch.testing.assert_close(ours, theirs)


def test_focal_loss_weighs_each_film_by_what_it_missed() -> None:
    probability = torch.softmax(LOGITS, dim=1)[torch.arange(4), LABELS]
    by_hand = ((1 - probability) ** 2 * -torch.log(probability)).sum() / 4
    ours = build_film_loss(class_weights=(1.0, 1.0), focal_gamma=2.0)(outputs(LOGITS), LABELS, 4)
    torch.testing.assert_close(ours, by_hand)


def test_focal_loss_of_a_sure_answer_has_a_finite_gradient() -> None:
    logits = torch.tensor([[60.0, -60.0], [-60.0, 60.0]], requires_grad=True)
    soft_cross_entropies(logits, torch.eye(2), gamma=2.0).sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_label_that_is_all_one_class_equals_the_class() -> None:
    loss = build_film_loss(class_weights=(0.5, 3.0), label_smoothing=0.1, focal_gamma=2.0)
    shares = functional.one_hot(LABELS, 2).float()
    # The Trainer counts every element of (N, C) labels.
    torch.testing.assert_close(loss(outputs(LOGITS), shares, 8), loss(outputs(LOGITS), LABELS, 4))


@pytest.mark.parametrize("parts", [(4,), (1, 3), (1, 1, 1, 1)])
def test_blended_films_sum_over_accumulation_steps_too(parts: tuple[int, ...]) -> None:
    loss = build_film_loss(class_weights=(0.7, 2.0), focal_gamma=1.5)
    shares = torch.tensor([[0.9, 0.1], [0.4, 0.6], [1.0, 0.0], [0.25, 0.75]])
    start, total = 0, torch.zeros(())
    for size in parts:
        part = slice(start, start + size)
        total = total + loss(outputs(LOGITS[part]), shares[part], torch.tensor(8))
        start += size
    torch.testing.assert_close(total, loss(outputs(LOGITS), shares, None))


def test_weights_of_many_classes_have_mean_one_over_films() -> None:
    labels = [0] * 10 + [1] * 5 + [2] * 1
    weights = balanced_class_weights(labels, num_classes=3)
    assert sum(weights[label] for label in labels) == pytest.approx(len(labels))
    assert 10 * weights[0] == pytest.approx(1 * weights[2])
    with pytest.raises(TrainingError, match="all 4 classes"):
        balanced_class_weights(labels, num_classes=4)
