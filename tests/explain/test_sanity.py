"""Similarity of maps, randomised networks, seeds and shifts: hand-computed cases and what must change or stay."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hf_fracture.data.transforms import Letterbox, fit_letterbox
from hf_fracture.errors import UsageError
from hf_fracture.explain.sanity import (
    Explainer,
    average_blocks,
    compare_maps,
    measure_seeds,
    measure_shifts,
    randomise_cascading,
    shrink_map,
)
from tests.explain.conftest import build_tiny, shake_parameters

WHOLE = fit_letterbox(64, 64, 64)


@pytest.fixture
def model() -> Any:
    model = build_tiny("resnet")
    shake_parameters(model)
    return model


def test_similarity_is_the_rank_correlation_without_its_sign() -> None:
    first = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert compare_maps(first, first**3) == pytest.approx(1.0)
    assert compare_maps(first, -first) == pytest.approx(1.0)
    assert compare_maps(first, np.array([[2.0, 1.0], [4.0, 3.0]])) == pytest.approx(0.6)  # 1 - 6 * 4 / (4 * 15)
    assert compare_maps(first, np.array([[3.0, 1.0], [4.0, 2.0]])) == pytest.approx(0.0, abs=1e-12)


def test_similarity_does_not_hang_on_scale_or_offset() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 9, 7))
    assert compare_maps(5 * first - 2, second) == pytest.approx(compare_maps(first, second))


def test_map_that_is_the_same_everywhere_resembles_nothing() -> None:
    assert compare_maps(np.ones((3, 3)), np.ones((3, 3))) == 0.0


def test_maps_of_two_shapes_are_refused() -> None:
    with pytest.raises(UsageError, match="one shape"):
        compare_maps(np.ones((2, 2)), np.ones((2, 3)))


@pytest.mark.parametrize("shape", [(96, 96), (100, 37), (7, 300), (5, 5)])
def test_block_means_keep_the_mean_of_what_they_cover(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(0).normal(size=shape)
    blocks = average_blocks(values, 48)
    assert max(blocks.shape) <= 48
    if shape == (96, 96):
        np.testing.assert_allclose(blocks, values.reshape(48, 2, 48, 2).mean(axis=(1, 3)), atol=1e-6)
    np.testing.assert_allclose(average_blocks(np.full(shape, 3.0), 48), 3.0)


@pytest.mark.parametrize("side", [8, 384])
def test_shrunk_map_leaves_the_padding_behind(side: int) -> None:
    letterbox = Letterbox((400, 200), 384, (384, 192))
    input_map = np.zeros((side, side), dtype=np.float32)
    input_map[side // 2 + side // 4 :] = 100.0  # padding, more than two cells away from the film
    input_map[: side // 4] = 1.0
    small = shrink_map(input_map, letterbox)
    assert small.shape == (24, 48)
    assert small.max() == pytest.approx(1.0)
    assert small[:6].mean() > 0.9


def test_randomising_changes_the_copy_only_and_from_the_head_downwards(
    model: Any, noise_pixels: NDArray[np.float32]
) -> None:
    import torch

    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    changed: list[set[str]] = []
    for _, randomised in randomise_cascading(model, noise_pixels):
        state = randomised.state_dict()
        changed.append({name for name in before if not torch.equal(state[name], before[name])})
        for name, tensor in state.items():
            torch.testing.assert_close(tensor.flatten().sort()[0], before[name].flatten().sort()[0])
    assert changed[0] == {name for name in before if name.startswith("classifier") and "weight" in name} | {
        name for name in changed[0] if name.endswith("bias")
    }
    assert all(first < second for first, second in pairwise(changed))
    assert any("embedder" in name for name in changed[-1])
    assert not any("embedder" in name for name in changed[2])
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_methods_without_chance_repeat_exactly_and_others_nearly(model: Any, noise_pixels: NDArray[np.float32]) -> None:
    assert measure_seeds(Explainer(model=model, method="grad_cam"), noise_pixels, WHOLE) == 1.0
    sampled = measure_seeds(Explainer(model=model, method="saliency"), noise_pixels, WHOLE)
    assert 0.5 < sampled < 1.0


class MovingSpot(Explainer):
    """An explainer that marks the brightest pixel: the perfect companion of a moved film."""

    def __call__(self, pixel_values: NDArray[np.float32], *, seed: int = 0) -> NDArray[np.float32]:
        brightness: NDArray[np.float32] = pixel_values[0]
        return brightness


class StuckSpot(Explainer):
    """An explainer that marks the same place whatever the film."""

    def __call__(self, pixel_values: NDArray[np.float32], *, seed: int = 0) -> NDArray[np.float32]:
        values = np.zeros(pixel_values.shape[1:], dtype=np.float32)
        values[20, 30] = 1.0
        return values


def test_map_that_moves_with_the_film_has_not_moved_on_it() -> None:
    film = np.zeros((3, 128, 128), dtype=np.float32)
    film[:, :64, :] = np.random.default_rng(0).uniform(size=(64, 128))
    film[:, 40, 50] = 9.0
    letterbox = Letterbox((128, 64), 128, (128, 64))
    moving = measure_shifts(MovingSpot(model=None, method="grad_cam"), film, letterbox)  # type: ignore[arg-type]
    assert moving.peak_moved_fraction == 0.0
    assert moving.similarity == pytest.approx(1.0)
    stuck = measure_shifts(StuckSpot(model=None, method="grad_cam"), film, letterbox)  # type: ignore[arg-type]
    assert stuck.peak_moved_fraction == pytest.approx((2 + 2 + np.hypot(2, 2)) / 3 / 128)
