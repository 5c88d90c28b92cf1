from pathlib import Path
from typing import cast

import pytest
import torch
from transformers import (
    ConvNextV2Config,
    ConvNextV2ForImageClassification,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from hf_fracture.errors import UsageError
from hf_fracture.models.backbones import group_layers
from hf_fracture.models.distillation import DistilledClassifier, load_teacher, name_teacher


def build_teacher() -> ResNetForImageClassification:
    torch.manual_seed(0)
    return ResNetForImageClassification(
        ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    )


def build_student() -> ConvNextV2ForImageClassification:
    torch.manual_seed(1)
    return ConvNextV2ForImageClassification(ConvNextV2Config(hidden_sizes=[8, 12, 16], depths=[1, 1, 1], num_stages=3))


@pytest.fixture
def pair() -> DistilledClassifier:
    return DistilledClassifier(build_student(), build_teacher())


def test_logits_are_the_student_s_and_each_film_has_its_own_distance(pair: DistilledClassifier) -> None:
    pair.eval()
    films = torch.randn(3, 3, 64, 64)
    answer = pair(films)
    torch.testing.assert_close(answer.logits, pair.student(films).logits)
    assert answer.distillation_losses.shape == (3,)
    torch.testing.assert_close(answer.distillation_losses[1:2], pair(films[1:2]).distillation_losses)


def test_student_comes_nearer_to_the_teacher_which_stays_as_it_is(pair: DistilledClassifier) -> None:
    teacher = build_teacher()
    films = torch.randn(8, 3, 64, 64)
    optimizer = torch.optim.AdamW(pair.parameters(), lr=3e-3)
    pair.train()
    distances = []
    for _ in range(30):
        distance = pair(films).distillation_losses.mean()
        optimizer.zero_grad()
        distance.backward()
        optimizer.step()
        distances.append(distance.item())
    assert distances[-1] < 0.8 * distances[0]
    state = cast(PreTrainedModel, pair._teacher).state_dict()
    for name, tensor in teacher.state_dict().items():
        torch.testing.assert_close(state[name], tensor, rtol=0, atol=0, msg=name)


def test_teacher_is_no_part_of_the_checkpoint(pair: DistilledClassifier) -> None:
    names = set(pair.state_dict())
    assert {name.split(".")[0] for name in names} == {"student", "projection", "standardization"}
    groups = group_layers(pair)
    assert [name for group in groups for name in group if name.startswith("projection")] == [
        name for name in groups[-1] if name.startswith("projection")
    ]
    assert len(groups) == 5, "stem, three stages and the head"


def test_network_without_a_map_is_refused() -> None:
    vit = ViTForImageClassification(
        ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, image_size=32)
    )
    for pair in ((build_student(), vit), (vit, build_teacher())):
        with pytest.raises(UsageError, match="between ResNets and ConvNeXts, got ViT"):
            DistilledClassifier(*pair)


def test_teacher_is_named_without_its_path_and_a_missing_one_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "good teacher"
    teacher: PreTrainedModel = build_teacher()
    teacher.save_pretrained(folder)
    assert name_teacher(str(folder)).startswith("good teacher, weights ")
    assert not load_teacher(str(folder)).training
    with pytest.raises(UsageError, match="found none at"):
        load_teacher(str(tmp_path / "absent"))
