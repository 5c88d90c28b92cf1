import functools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from transformers import ResNetForImageClassification

from hf_fracture.errors import UsageError
from hf_fracture.models.backbones import build_classifier, group_layers
from hf_fracture.training.arguments import FractureTrainingArguments
from hf_fracture.training.film_trainer import FreezeLayers, group_parameters


def test_each_layer_learns_at_a_share_of_the_next_one_s_rate(tiny_backbone_dir: Path) -> None:
    model = build_classifier(str(tiny_backbone_dir))
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = group_parameters(
        model, layer_decay=0.5, learning_rate=1.0, decayed={"classifier.1.weight"}, weight_decay=0.1
    )
    rates = {names[parameter]: group["lr"] for group in groups for parameter in group["params"]}
    assert set(rates) == set(names.values()), "every parameter is in one group"
    assert sum(len(group["params"]) for group in groups) == len(rates)
    assert rates["classifier.1.weight"] == 1.0
    depth = len(group_layers(model))
    assert rates["resnet.embedder.embedder.convolution.weight"] == 0.5 ** (depth - 1)
    decays = {names[parameter]: group["weight_decay"] for group in groups for parameter in group["params"]}
    assert {name for name, decay in decays.items() if decay > 0} == {"classifier.1.weight"}
    assert groups[0]["lr"] == 1.0, "the rate that is logged is the recipe's"


def test_backbone_rests_until_its_epoch_and_then_trains(tiny_backbone_dir: Path) -> None:
    model: Any = build_classifier(str(tiny_backbone_dir))
    freeze = FreezeLayers(model, group_layers(model)[:-1], num_epochs=2)
    pixels = torch.randn(4, 3, 32, 32)
    statistics = model.resnet.embedder.embedder.normalization.running_mean
    for epoch, is_frozen in ((0.0, True), (1.0, True), (1.9999999, False), (2.0, False)):
        before = statistics.clone()
        freeze.on_epoch_begin(None, SimpleNamespace(epoch=epoch), None)
        model.train()
        model(pixel_values=pixels)
        assert torch.equal(statistics, before) is is_frozen
        trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        assert (trained == set(group_layers(model)[-1])) is is_frozen
    freeze.on_train_end(None, SimpleNamespace(epoch=2.0), None)


def test_first_layers_rest_for_the_whole_run_and_the_others_learn(
    train: Callable[..., Any], tiny_backbone_dir: Path, tmp_path: Path
) -> None:
    result = train(tmp_path, {"frozen_layers": 2, "evidence_weight": 0.0})
    before = ResNetForImageClassification.from_pretrained(tiny_backbone_dir).state_dict()
    after = result.model.state_dict()
    kept = {name for name, value in before.items() if torch.equal(value, after[name].to(value.dtype))}
    resting = {name for name in before if "embedder" in name or "stages.0" in name}
    assert len(resting) > 5
    assert kept == resting, "weights and statistics of the first two layers stay as they came, and no others"


def test_more_frozen_layers_than_there_are_is_refused(train: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="frozen_layers is 9, but this backbone has 3 layers"):
        train(tmp_path, {"frozen_layers": 9, "evidence_weight": 0.0})


def test_first_epochs_see_smaller_films_and_validation_never_does(train: Callable[..., Any], tmp_path: Path) -> None:
    sides: list[tuple[bool, int]] = []
    forward = ResNetForImageClassification.forward

    @functools.wraps(forward)  # the Trainer reads its signature
    def watch(self: Any, pixel_values: Any, **settings: Any) -> Any:
        sides.append((self.training, pixel_values.shape[-1]))
        return forward(self, pixel_values, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResNetForImageClassification, "forward", watch)
        recipe = {"first_image_size": 32, "first_size_epochs": 1, "evidence_weight": 0.0}
        train(tmp_path, recipe, save_strategy="no", load_best_model_at_end=False)
    training = [side for is_training, side in sides if is_training]
    assert training == [32] * 3 + [64] * 3, "24 films in batches of 8, two epochs"
    assert {side for is_training, side in sides if not is_training} == {64}


def test_plateau_schedule_lowers_the_rate_only_while_the_auroc_does_not_rise(tmp_path: Path) -> None:
    from transformers.optimization import get_scheduler

    arguments = FractureTrainingArguments(
        output_dir=str(tmp_path),
        use_cpu=True,
        lr_scheduler_type="reduce_lr_on_plateau",
        lr_scheduler_kwargs={"patience": 0, "factor": 0.5},
    )
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule: Any = get_scheduler(
        arguments.lr_scheduler_type,
        optimizer,
        scheduler_specific_kwargs=cast(dict[str, Any], arguments.lr_scheduler_kwargs),
    )
    rates = []
    for auroc in (0.6, 0.7, 0.7, 0.8):
        schedule.step(auroc)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [1.0, 1.0, 0.5, 0.5]


@pytest.mark.slow
def test_report_is_written_where_it_was_asked_for(train: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    train(tmp_path, num_train_epochs=1, report_to="tensorboard")
    assert list(tmp_path.rglob("events.out.tfevents*"))
