"""Deletion, insertion, infidelity and sensitivity on a network whose answer is known to the pixel."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hf_fracture.data.transforms import Letterbox, fit_letterbox
from hf_fracture.explain.perturbation import (
    NUM_STEPS,
    TILES_PER_SIDE,
    measure_curves,
    measure_infidelity,
    measure_sensitivity,
    rank_tiles,
    shuffle_tiles,
)
from hf_fracture.explain.sanity import Explainer
from tests.explain.conftest import build_tiny, shake_parameters

SIDE_PX = 96
LETTERBOX = Letterbox((96, 48), SIDE_PX, (96, 48))
SPOT = np.s_[8:16, 40:48]  # the network looks here and nowhere else: four tiles


def look_at(spot: Any) -> Any:
    """Return a network whose logit difference is the sum of the grey values in one place, less 16."""
    import torch

    class LooksAtOneSpot(torch.nn.Module):
        device = torch.device("cpu")

        def forward(self, pixel_values: torch.Tensor) -> SimpleNamespace:
            logit = pixel_values[(slice(None), 0, *spot)].sum(dim=(1, 2)) - 16.0
            return SimpleNamespace(logits=torch.stack([-logit / 2, logit / 2], dim=1))

    return LooksAtOneSpot().eval()


@pytest.fixture
def linear_model() -> Any:
    return look_at(SPOT)


@pytest.fixture
def film() -> NDArray[np.float32]:
    values = np.zeros((3, SIDE_PX, SIDE_PX), dtype=np.float32)
    values[(slice(None), *SPOT)] = 0.5  # 64 pixels: a logit of 16
    return values


@pytest.fixture
def true_map(film: NDArray[np.float32]) -> NDArray[np.float32]:
    marked = np.zeros((SIDE_PX, SIDE_PX), dtype=np.float32)
    marked[SPOT] = film[0][SPOT]
    return marked


def test_tiles_are_ranked_by_the_map_and_those_of_the_padding_left_out(true_map: NDArray[np.float32]) -> None:
    order = rank_tiles(true_map, LETTERBOX)
    assert len(order) == TILES_PER_SIDE * TILES_PER_SIDE // 2
    assert sorted(order) == sorted(shuffle_tiles(LETTERBOX, seed=0))
    assert set(order[:4]) == {row * TILES_PER_SIDE + column for row in (2, 3) for column in (10, 11)}


def test_right_map_deletes_at_once_and_inserts_at_once(
    linear_model: Any, film: NDArray[np.float32], true_map: NDArray[np.float32]
) -> None:
    explainer = Explainer(model=linear_model, method="grad_cam")
    right = measure_curves(explainer, film, rank_tiles(true_map, LETTERBOX), LETTERBOX)
    wrong = measure_curves(explainer, film, rank_tiles(-true_map, LETTERBOX), LETTERBOX)
    assert len(right.deletion) == len(right.insertion) == NUM_STEPS + 1
    assert right.deletion[0] == right.insertion[-1] == pytest.approx(1.0, abs=1e-4)
    assert right.deletion[1] < 0.05, "the first step holds all four tiles"
    assert right.deletion_area < 0.05
    assert right.insertion_area > 0.95
    assert wrong.deletion_area > 0.9
    assert wrong.insertion_area < 0.1
    np.testing.assert_allclose(wrong.deletion[:-1], 1.0, atol=1e-4)


def test_padding_is_neither_deleted_nor_blurred(film: NDArray[np.float32]) -> None:
    import torch

    seen: list[Any] = []

    class Listens(torch.nn.Module):
        device = torch.device("cpu")

        def forward(self, pixel_values: torch.Tensor) -> SimpleNamespace:
            seen.append(pixel_values)
            return SimpleNamespace(logits=torch.zeros(len(pixel_values), 2))

    model: Any = Listens()
    measure_curves(Explainer(model=model, method="grad_cam"), film, shuffle_tiles(LETTERBOX, seed=1), LETTERBOX)
    assert all(not batch[:, :, 48:].any() for batch in seen)


def test_right_map_has_no_infidelity_and_an_empty_one_has_all() -> None:
    spot = np.s_[0:48, 20:80]
    film = np.random.default_rng(0).uniform(size=(1, SIDE_PX, SIDE_PX)).repeat(3, axis=0).astype(np.float32)
    true_map = np.zeros((SIDE_PX, SIDE_PX), dtype=np.float32)
    true_map[spot] = film[0][spot]
    explainer = Explainer(model=look_at(spot), method="grad_cam")
    right = measure_infidelity(explainer, film, true_map)
    assert right.of_no_map > 100.0, "a square holds about 128 logits"
    assert right.value < 1e-6 * right.of_no_map
    assert measure_infidelity(explainer, film, 0 * true_map).value == pytest.approx(right.of_no_map, rel=1e-5)
    assert measure_infidelity(explainer, film, true_map[:, ::-1].copy()).value < 0.2 * right.of_no_map
    assert measure_infidelity(explainer, film, true_map[::-1].copy()).value > 0.5 * right.of_no_map


def test_infidelity_does_not_hang_on_the_scale_of_the_map(
    film: NDArray[np.float32], true_map: NDArray[np.float32]
) -> None:
    film = film + np.float32(0.1)
    explainer = Explainer(model=look_at(np.s_[0:48, 0:96]), method="grad_cam")
    values = np.random.default_rng(0).normal(size=true_map.shape).astype(np.float32)
    once, twice = (measure_infidelity(explainer, film, scale * values).value for scale in (1.0, 2.0))
    assert once == pytest.approx(twice, rel=1e-4)


class Constant(Explainer):
    def __call__(self, pixel_values: NDArray[np.float32], *, seed: int = 0) -> NDArray[np.float32]:
        return np.ones((8, 8), dtype=np.float32)


def test_sensitivity_is_zero_for_a_map_that_ignores_the_film_and_not_for_a_real_one(
    noise_pixels: NDArray[np.float32],
) -> None:
    model = build_tiny("resnet")
    shake_parameters(model)
    assert measure_sensitivity(Constant(model=model, method="grad_cam"), noise_pixels) == 0.0
    first = measure_sensitivity(Explainer(model=model, method="grad_cam"), noise_pixels)
    assert 0.0 < first < 1.0
    assert first == measure_sensitivity(Explainer(model=model, method="grad_cam"), noise_pixels), (
        "noise of its own seed"
    )


def test_coarse_map_ranks_tiles_as_its_enlargement_does() -> None:
    coarse = np.zeros((6, 6), dtype=np.float32)
    coarse[1, 4] = 1.0
    letterbox = fit_letterbox(96, 96, SIDE_PX)
    row, column = divmod(int(rank_tiles(coarse, letterbox)[0]), TILES_PER_SIDE)
    assert 4 <= row < 8
    assert 16 <= column < 20
