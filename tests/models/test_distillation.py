from collections.abc import Callable
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
from hf_fracture.models.deepconvnet import DeepConvNetConfig, DeepConvNetForImageClassification
from hf_fracture.models.distillation import DistilledClassifier, add_teacher, check_teacher, name_model


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
    return DistilledClassifier(build_student(), build_teacher(), teacher_size_px=64)


def test_logits_are_the_student_s_and_each_film_has_its_own_distance(pair: DistilledClassifier) -> None:
    films = torch.randn(3, 3, 64, 64)
    pair.standardization.eval()  # else each film's distance would depend on the others
    answer = pair(films)
    assert answer.distillation_losses.shape == (3,)
    torch.testing.assert_close(answer.distillation_losses[1:2], pair(films[1:2]).distillation_losses)
    pair.eval()
    torch.testing.assert_close(pair(films).logits, pair.student(films).logits)
    assert pair(films).distillation_losses is None, "validation asks no teacher"


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


def build_vit() -> ViTForImageClassification:
    return ViTForImageClassification(
        ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, image_size=32)
    )


def build_deepconvnet() -> DeepConvNetForImageClassification:
    return DeepConvNetForImageClassification(DeepConvNetConfig())


@pytest.mark.parametrize("build", [build_vit, build_deepconvnet])
def test_network_without_such_a_map_is_refused(build: Callable[[], PreTrainedModel]) -> None:
    other = build()
    for pair in ((build_student(), other), (other, build_teacher())):
        with pytest.raises(UsageError, match=f"between ResNets and ConvNeXts, got '{other.config.model_type}'"):
            DistilledClassifier(*pair, teacher_size_px=64)


def test_teacher_must_say_that_it_knows_the_split(tmp_path: Path) -> None:
    folder = tmp_path / "teacher"
    teacher: PreTrainedModel = build_teacher()
    teacher.save_pretrained(folder)
    with pytest.raises(UsageError, match="may have seen films of validation and test"):
        check_teacher(str(folder), "abc")
    (folder / "run.json").write_text('{"data": {"split_sha256": "abc"}}')
    check_teacher(str(folder), "abc")
    with pytest.raises(UsageError, match="may have seen films of validation and test"):
        check_teacher(str(folder), "abd")


def test_teacher_is_named_without_its_path_and_a_missing_one_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "good teacher"
    teacher: PreTrainedModel = build_teacher()
    teacher.save_pretrained(folder)
    assert name_model(str(folder)).startswith("good teacher, weights ")
    with pytest.raises(UsageError, match="found none at"):
        add_teacher(build_student(), str(tmp_path / "absent"), teacher_size_px=64)


def test_teacher_sees_the_film_at_its_own_side() -> None:
    sizes: list[int] = []
    teacher = build_teacher()
    teacher.register_forward_pre_hook(
        lambda _module, _args, inputs: sizes.append(inputs["pixel_values"].shape[-1]), with_kwargs=True
    )
    answer = DistilledClassifier(build_student(), teacher, teacher_size_px=96)(torch.randn(2, 3, 64, 64))
    assert sizes == [96]
    assert answer.distillation_losses.shape == (2,)
