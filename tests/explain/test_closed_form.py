"""The closed form of Grad-CAM against hand-computed cases and against Captum."""

import numpy as np
import pytest

from hf_fracture.data.transforms import fit_letterbox
from hf_fracture.errors import UsageError
from hf_fracture.explain.attribution import attribute, build_attribution
from hf_fracture.explain.closed_form import PooledHead, closed_form_grad_cam, read_pooled_head
from tests.explain.conftest import build_tiny, shake_parameters


@pytest.mark.parametrize("kind", ["resnet", "convnext", "convnextv2"])
@pytest.mark.parametrize("fractured_index", [0, 1])
def test_closed_form_equals_captum(kind: str, fractured_index: int) -> None:
    import torch

    model = build_tiny(kind)
    shake_parameters(model)
    pixel_values = np.random.default_rng(0).normal(size=(3, 64, 64)).astype(np.float32)
    with torch.no_grad():
        states = model(torch.from_numpy(pixel_values)[None], output_hidden_states=True).hidden_states
    head = read_pooled_head(model, fractured_index=fractured_index)
    assert head is not None
    letterbox = fit_letterbox(64, 64, 64)
    input_map = closed_form_grad_cam(states[-1][0].numpy(), head)
    closed = build_attribution(input_map, letterbox, method="grad_cam").values
    captum = attribute(model, pixel_values, letterbox, target=fractured_index).values
    assert np.abs(captum).max() > 1e-3
    assert np.abs(closed - captum).max() <= 1e-5 * np.abs(captum).max()


def test_map_of_a_plain_head_sums_to_the_logit_difference_less_the_bias() -> None:
    import torch

    model = build_tiny("resnet")
    shake_parameters(model)
    with torch.no_grad():
        output = model(torch.randn(1, 3, 48, 48), output_hidden_states=True)
    head = read_pooled_head(model)
    assert head is not None
    bias = model.classifier[-1].bias.detach()
    expected = float(output.logits[0, 1] - output.logits[0, 0] - (bias[1] - bias[0]))
    assert closed_form_grad_cam(output.hidden_states[-1][0].numpy(), head).sum() == pytest.approx(expected, rel=1e-4)


def test_head_of_another_form_is_left_to_captum() -> None:
    assert read_pooled_head(build_tiny("vit")) is None


@pytest.mark.parametrize("shape", [(2, 3, 3), (4, 3), (1, 3, 3, 3)])
def test_feature_map_of_another_network_is_refused(shape: tuple[int, ...]) -> None:
    head = PooledHead(weight=np.ones(3, dtype=np.float32))
    with pytest.raises(UsageError, match=r"\(3, h, w\)"):
        closed_form_grad_cam(np.zeros(shape, dtype=np.float32), head)
