from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from hf_fracture.models.backbones import build_classifier, group_layers
from hf_fracture.training.arguments import FractureTrainingArguments
from hf_fracture.training.film_trainer import FreezeBackbone, group_parameters


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
    freeze = FreezeBackbone(model, head=group_layers(model)[-1], num_epochs=2)
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
