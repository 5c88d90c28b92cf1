"""Attribution: film coordinates, emptiness, determinism, hooks, and the target it explains."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hf_fracture.data.transforms import Letterbox, fit_letterbox
from hf_fracture.errors import UsageError
from hf_fracture.explain.attribution import METHODS, Method, attribute, build_attribution, build_score_function
from tests.explain.conftest import count_hooks

SIZE_PX = 64


@pytest.fixture
def model() -> Any:
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    model: Any = ResNetForImageClassification(config)
    with torch.no_grad():  # channels that speak for a fracture and channels that speak against it, the former louder
        model.classifier[-1].weight[1] = torch.linspace(-0.5, 1.0, 16)
    return model.eval()


@pytest.fixture
def letterbox() -> Letterbox:
    return fit_letterbox(51, 33, SIZE_PX)


@pytest.fixture
def pixel_values(letterbox: Letterbox) -> NDArray[np.float32]:
    values = np.zeros((3, SIZE_PX, SIZE_PX), dtype=np.float32)
    width, height = letterbox.scaled_size
    values[:, :height, :width] = np.random.default_rng(0).normal(size=(height, width))
    return values


@pytest.mark.parametrize("method", METHODS)
def test_map_has_the_shape_of_the_film(
    method: Method, model: Any, pixel_values: NDArray[np.float32], letterbox: Letterbox
) -> None:
    attribution = attribute(model, pixel_values, letterbox, method=method)
    assert attribution.values.shape == (33, 51)
    assert attribution.values.dtype == np.float32
    assert attribution.heatmap.min() >= 0.0
    assert attribution.heatmap.max() == pytest.approx(1.0)
    assert attribution.method == method
    assert attribution.seconds > 0.0


@pytest.mark.parametrize("method", METHODS)
def test_same_film_gives_the_same_map_and_the_random_generators_stay(
    method: Method, model: Any, pixel_values: NDArray[np.float32], letterbox: Letterbox
) -> None:
    import torch

    torch_state, numpy_state = torch.random.get_rng_state(), np.random.get_state(legacy=False)  # noqa: NPY002
    first = attribute(model, pixel_values, letterbox, method=method)
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    np.testing.assert_equal(np.random.get_state(legacy=False), numpy_state)  # noqa: NPY002
    torch.rand(3)
    np.random.uniform()  # noqa: NPY002
    second = attribute(model, pixel_values, letterbox, method=method)
    np.testing.assert_array_equal(first.values, second.values)


@pytest.mark.parametrize("method", METHODS)
def test_hooks_are_gone_after_success(
    method: Method, model: Any, pixel_values: NDArray[np.float32], letterbox: Letterbox
) -> None:
    attribute(model, pixel_values, letterbox, method=method)
    assert count_hooks(model) == 0


@pytest.mark.parametrize("method", METHODS)
def test_hooks_are_gone_after_an_exception_and_foreign_hooks_stay(
    method: Method, model: Any, pixel_values: NDArray[np.float32], letterbox: Letterbox
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("broken head")

    model.classifier.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="broken head"):
        attribute(model, pixel_values, letterbox, method=method)
    assert count_hooks(model) == 1


def test_hook_that_a_failing_method_leaves_behind_is_removed(
    model: Any,
    pixel_values: NDArray[np.float32],
    letterbox: Letterbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from hf_fracture.explain.captum_methods import FUNCTIONS

    def leave_hook(*_: object) -> None:
        model.classifier.register_forward_hook(lambda *_: None)
        raise RuntimeError("interrupted")

    monkeypatch.setitem(FUNCTIONS, "saliency", leave_hook)
    with pytest.raises(RuntimeError, match="interrupted"):
        attribute(model, pixel_values, letterbox, method="saliency")
    assert count_hooks(model) == 0


@pytest.mark.parametrize("method", METHODS)
def test_model_whose_logits_never_differ_gets_an_empty_map(
    method: Method, model: Any, pixel_values: NDArray[np.float32], letterbox: Letterbox
) -> None:
    import torch

    with torch.no_grad():
        model.classifier[-1].weight[1] = model.classifier[-1].weight[0]
    attribution = attribute(model, pixel_values, letterbox, method=method)
    assert attribution.is_empty
    assert not attribution.heatmap.any()


@pytest.mark.parametrize("method", METHODS)
def test_map_explains_the_logit_difference_and_not_one_logit(
    method: Method, model: Any, pixel_values: NDArray[np.float32], letterbox: Letterbox
) -> None:
    import torch

    before = attribute(model, pixel_values, letterbox, method=method).values
    with torch.no_grad():  # adds the same to both logits: the probability does not move
        model.classifier[-1].weight += 3.0
    after = attribute(model, pixel_values, letterbox, method=method).values
    np.testing.assert_allclose(after, before, atol=2e-3 * np.abs(before).max())


@pytest.mark.parametrize("method", ["grad_cam", "integrated_gradients", "occlusion"])
def test_explaining_the_other_label_turns_the_sign(
    method: Method, model: Any, pixel_values: NDArray[np.float32], letterbox: Letterbox
) -> None:
    fractured = attribute(model, pixel_values, letterbox, method=method)
    other = attribute(model, pixel_values, letterbox, method=method, target=0)
    np.testing.assert_allclose(other.values, -fractured.values, atol=1e-6)


def test_integrated_gradients_sum_to_the_score_difference(model: Any, pixel_values: NDArray[np.float32]) -> None:
    import torch

    whole = fit_letterbox(SIZE_PX, SIZE_PX, SIZE_PX)  # nothing is cut or resampled, so the map keeps its sum
    attribution = attribute(model, pixel_values, whole, method="integrated_gradients")
    score = build_score_function(model, 1)
    inputs = torch.from_numpy(pixel_values)[None]
    with torch.no_grad():
        difference = float(score(inputs) - score(torch.zeros_like(inputs)))
    assert attribution.completeness_gap is not None
    assert attribution.completeness_gap < 0.05 * abs(difference)
    assert abs(attribution.values.sum() - difference) == pytest.approx(attribution.completeness_gap, abs=1e-4)


def test_no_evidence_of_integrated_gradients_falls_on_the_padding(
    model: Any, pixel_values: NDArray[np.float32], letterbox: Letterbox
) -> None:
    whole = fit_letterbox(SIZE_PX, SIZE_PX, SIZE_PX)
    values = attribute(model, pixel_values, whole, method="integrated_gradients").values
    width, height = letterbox.scaled_size
    assert not values[height:].any()
    assert not values[:, width:].any()


@pytest.mark.parametrize("method", METHODS)
def test_frozen_model_inside_no_grad_is_explained_all_the_same(
    method: Method, model: Any, pixel_values: NDArray[np.float32], letterbox: Letterbox
) -> None:
    import torch

    expected = attribute(model, pixel_values, letterbox, method=method).values
    model.requires_grad_(False)
    with torch.no_grad():
        found = attribute(model, pixel_values, letterbox, method=method).values
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_model_in_training_mode_is_refused(model: Any, pixel_values: NDArray[np.float32], letterbox: Letterbox) -> None:
    with pytest.raises(UsageError, match=r"model\.eval\(\)"):
        attribute(model.train(), pixel_values, letterbox)


def test_unknown_method_is_refused_with_the_choices(
    model: Any, pixel_values: NDArray[np.float32], letterbox: Letterbox
) -> None:
    with pytest.raises(UsageError, match="grad_cam, integrated_gradients"):
        attribute(model, pixel_values, letterbox, method="deep_lift")  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 64, 63), (1, 3, 64, 64)])
def test_input_of_another_shape_is_refused(shape: tuple[int, ...], model: Any, letterbox: Letterbox) -> None:
    with pytest.raises(UsageError, match=r"\(3, S, S\)"):
        attribute(model, np.zeros(shape, dtype=np.float32), letterbox)


def test_negative_evidence_is_kept_in_values_and_left_out_of_the_heatmap() -> None:
    input_map = np.array([[2.0, -4.0], [1.0, 0.0]], dtype=np.float32)
    attribution = build_attribution(input_map, fit_letterbox(2, 2, 2), method="grad_cam")
    np.testing.assert_allclose(attribution.values, input_map)
    np.testing.assert_allclose(attribution.heatmap, [[1.0, 0.0], [0.5, 0.0]])


def test_weak_evidence_is_drawn_weakly_where_the_full_scale_is_known() -> None:
    input_map = np.array([[0.5, 0.0], [0.0, 0.0]], dtype=np.float32)
    attribution = build_attribution(input_map, fit_letterbox(2, 2, 2), method="grad_cam", full_scale=2.0)
    np.testing.assert_allclose(attribution.heatmap, [[0.25, 0.0], [0.0, 0.0]])
    strong = build_attribution(8 * input_map, fit_letterbox(2, 2, 2), method="grad_cam", full_scale=2.0)
    assert strong.heatmap.max() == 1.0


@pytest.mark.parametrize("level", [0.0, -1.0, 1e-6, np.finfo(np.float32).tiny])
def test_map_without_evidence_is_empty_instead_of_noise_in_full_colour(level: float) -> None:
    noise = level * np.random.default_rng(0).uniform(size=(8, 8)).astype(np.float32)
    attribution = build_attribution(noise, fit_letterbox(8, 8, 8), method="grad_cam")
    assert attribution.is_empty
    assert not attribution.heatmap.any()
