from pathlib import Path

import pytest
import torch
from torch import nn

from hf_fracture.training.weight_average import WeightAverage


def network(value: float) -> nn.Module:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, value)
    return layer


def step_to(layer: nn.Module, value: float) -> None:
    with torch.no_grad():
        next(layer.parameters()).fill_(value)


def test_mean_of_two_steps_by_hand() -> None:
    layer = network(0.0)
    average = WeightAverage(layer, decay=0.9)
    for value in (1.0, 2.0):
        step_to(layer, value)
        average.update()
    # The decay is min(0.9, (1 + t) / (10 + t)): 2/11, then 3/12.
    after_first = (1 - 2 / 11) * 1.0
    by_hand = 0.25 * after_first + 0.75 * 2.0
    with average.in_place():
        assert next(layer.parameters()).item() == pytest.approx(by_hand)
    assert next(layer.parameters()).item() == 2.0, "training goes on with its own weights"


def test_own_weights_come_back_after_a_failure() -> None:
    layer = network(0.0)
    average = WeightAverage(layer, decay=0.5)
    step_to(layer, 4.0)
    with pytest.raises(RuntimeError), average.in_place():
        raise RuntimeError
    assert next(layer.parameters()).item() == 4.0


def test_statistics_of_batchnorm_are_averaged_and_counters_are_not() -> None:
    layer = nn.BatchNorm1d(2)
    average = WeightAverage(layer, decay=0.9)
    layer(torch.full((4, 2), 5.0) + torch.arange(4).view(4, 1))
    average.update()
    tracked = layer.num_batches_tracked
    average.copy_to_network()
    assert layer.running_mean is not None
    assert 0 < layer.running_mean[0].item() < 0.65
    assert tracked == layer.num_batches_tracked == 1


def test_saved_mean_goes_on_where_it_was(tmp_path: Path) -> None:
    layer = network(0.0)
    average = WeightAverage(layer, decay=0.9)
    step_to(layer, 1.0)
    average.update()
    average.save(tmp_path)
    again = WeightAverage(network(7.0), decay=0.9)
    again.load(tmp_path)
    assert again.num_updates == 1
    assert again._mean["weight"].item() == average._mean["weight"].item()
