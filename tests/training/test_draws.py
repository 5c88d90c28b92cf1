from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hf_fracture.training.draws import BalancedSampler, NumberedFilms, RepeatableCollator


def draw(items: list[dict[str, Any]]) -> dict[str, Tensor]:
    return {"drawn": torch.rand(len(items))}


ITEMS = [{"index": 3}, {"index": 8}]


def test_draws_depend_on_seed_epoch_and_films_and_on_nothing_else() -> None:
    collate = RepeatableCollator(draw, seed=1)
    first = collate(ITEMS)["drawn"]
    torch.rand(100)
    assert torch.equal(collate(ITEMS)["drawn"], first)
    assert torch.equal(RepeatableCollator(draw, seed=1)(ITEMS)["drawn"], first)
    assert not torch.equal(RepeatableCollator(draw, seed=2)(ITEMS)["drawn"], first)
    assert not torch.equal(collate([{"index": 3}, {"index": 9}])["drawn"], first)
    collate.epoch = 1
    assert not torch.equal(collate(ITEMS)["drawn"], first)


def test_collating_leaves_the_global_generator_as_it_was() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    RepeatableCollator(draw, seed=1)(ITEMS)
    assert torch.equal(torch.rand(3), expected)


def test_failure_in_a_batch_leaves_the_generator_as_it_was() -> None:
    def fail(_: list[dict[str, Any]]) -> dict[str, Tensor]:
        raise KeyError("label")

    before = torch.get_rng_state()
    with pytest.raises(KeyError):
        RepeatableCollator(fail, seed=1)(ITEMS)
    assert torch.equal(torch.get_rng_state(), before)


def test_balanced_sampler_draws_classes_alike_and_another_order_each_epoch() -> None:
    labels = np.array([0] * 900 + [1] * 90 + [2] * 10)
    sampler = BalancedSampler(labels, seed=0)
    first = list(sampler)
    assert len(first) == len(sampler) == 1000
    shares = np.bincount(labels[first]) / 1000
    np.testing.assert_allclose(shares, 1 / 3, atol=0.05)
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first


def test_numbered_film_says_which_it_is() -> None:
    films: Any = [{"label": 0}, {"label": 1}]
    assert NumberedFilms(films)[1] == {"label": 1, "index": 1}
    assert len(NumberedFilms(films)) == 2
