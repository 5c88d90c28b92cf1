"""Every method on every family of networks, for two classes and for more; what cannot be explained is refused."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hf_fracture.data.transforms import fit_letterbox
from hf_fracture.errors import ModelFolderError, UsageError
from hf_fracture.explain.attribution import METHODS, Method, attribute, compute_input_map
from hf_fracture.explain.layers import find_map_layer, trace_forward
from hf_fracture.models.checkpoint import gradcam_layer
from tests.explain.conftest import build_tiny, shake_parameters

LETTERBOX = fit_letterbox(64, 64, 64)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_explains_every_family(
    any_network: Any, method: Method, noise_pixels: NDArray[np.float32]
) -> None:
    attribution = attribute(any_network, noise_pixels, LETTERBOX, method=method)
    assert attribution.values.shape == (64, 64)
    assert np.isfinite(attribution.values).all()
    if method != "guided_grad_cam":  # rectified: may be empty
        assert np.ptp(attribution.values) > 0


@pytest.mark.parametrize("method", ["grad_cam", "averaged_grad_cam", "integrated_gradients", "occlusion", "saliency"])
def test_class_of_many_is_explained_by_its_log_odds(method: Method, noise_pixels: NDArray[np.float32]) -> None:
    import torch

    model = build_tiny("resnet", num_labels=4)
    shake_parameters(model)
    maps = [compute_input_map(model, noise_pixels, method=method, target=target)[0] for target in range(4)]
    for first, second in pairwise(maps):
        assert not np.allclose(first, second, atol=0.05 * np.abs(first).max())
    with torch.no_grad():  # the same for every class: no probability moves
        model.classifier[-1].weight += 3.0
    after = compute_input_map(model, noise_pixels, method=method, target=2)[0]
    np.testing.assert_allclose(after, maps[2], atol=5e-3 * np.abs(maps[2]).max())


def test_target_of_many_classes_is_named(noise_pixels: NDArray[np.float32]) -> None:
    model = build_tiny("resnet", num_labels=3)
    attribution = attribute(model, noise_pixels, LETTERBOX, target=2)
    assert attribution.target == "log-odds of LABEL_2 against the other 2 classes"


@pytest.mark.parametrize("target", [-1, 2])
def test_class_just_outside_the_range_is_refused(target: int, noise_pixels: NDArray[np.float32]) -> None:
    with pytest.raises(UsageError, match="target must be the index"):
        attribute(build_tiny("resnet"), noise_pixels, LETTERBOX, target=target)


def test_network_that_the_folder_does_not_know_is_traced_to_its_last_map(noise_pixels: NDArray[np.float32]) -> None:
    import torch

    model = build_tiny("mobilenet")
    with pytest.raises(ModelFolderError):
        gradcam_layer(model)
    assert find_map_layer(model, torch.from_numpy(noise_pixels)[None]) is model.mobilenet_v2.conv_1x1


def test_traced_map_is_the_one_that_the_folder_knows(noise_pixels: NDArray[np.float32]) -> None:
    import torch

    inputs, seen = torch.from_numpy(noise_pixels)[None], list[Any]()
    for kind in ("resnet", "convnext"):
        model = build_tiny(kind)
        seen.clear()
        for layer in (gradcam_layer(model), trace_forward(model, inputs).map_layer):
            assert layer is not None
            layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
        with torch.no_grad():
            model(pixel_values=inputs)
        assert torch.equal(seen[0], seen[1])


def test_grad_cam_of_a_network_of_tokens_is_refused_and_occlusion_is_not(noise_pixels: NDArray[np.float32]) -> None:
    model = build_tiny("vit")
    with pytest.raises(UsageError, match="occlusion or integrated_gradients"):
        attribute(model, noise_pixels, LETTERBOX)
    shake_parameters(model)
    assert attribute(model, noise_pixels, LETTERBOX, method="occlusion").values.any()


def test_trace_knows_the_head_and_the_memory_of_a_film(noise_pixels: NDArray[np.float32]) -> None:
    import torch

    model = build_tiny("resnet")
    one = trace_forward(model, torch.from_numpy(noise_pixels)[None])
    assert one.leaves[-1] is model.classifier[-1]
    assert one.num_after_map == 1
    two = trace_forward(model, torch.from_numpy(np.stack([noise_pixels] * 2)))
    assert one.bytes_per_film == two.bytes_per_film
    assert one.bytes_per_film > 4 * (8 * 32 * 32 * 2 + 8 * 16 * 16), "at least the outputs of the first layers"


def test_mirrored_film_has_the_mirrored_averaged_map(noise_pixels: NDArray[np.float32]) -> None:
    model = build_tiny("resnet")
    shake_parameters(model)
    found = compute_input_map(model, noise_pixels, method="averaged_grad_cam")[0]
    mirrored = compute_input_map(model, noise_pixels[..., ::-1].copy(), method="averaged_grad_cam")[0]
    assert found.shape == (16, 16), "twice as fine as the network's own 8 x 8"
    np.testing.assert_allclose(mirrored[:, ::-1], found, atol=1e-4 * np.abs(found).max())


def test_guided_grad_cam_leaves_no_warning_and_restores_what_it_switched(noise_pixels: NDArray[np.float32]) -> None:
    import warnings

    import torch

    model = build_tiny("resnet")
    shake_parameters(model)
    rectifiers: list[Any] = [module for module in model.modules() if isinstance(module, torch.nn.ReLU)]
    for module in rectifiers:
        module.inplace = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attribution = attribute(model, noise_pixels, LETTERBOX, method="guided_grad_cam")
    assert all(module.inplace for module in rectifiers)
    assert attribution.warning is not None
    assert "not as evidence" in attribution.warning
