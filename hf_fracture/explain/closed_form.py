"""Grad-CAM without a backward pass, for networks that average their last feature map.

Where the head is a mean over positions (then, for ConvNeXt, a LayerNorm) and a Linear layer, the gradient of a logit
at the last feature map is the same at every position and has a closed form. So the exact map follows from the feature
map of the forward pass that gave the logits. NumPy only: it serves runtimes without torch as well.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hf_fracture.errors import UsageError
from hf_fracture.labels import FRACTURED

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_PLAIN_HEADS = frozenset({"resnet"})
_LAYER_NORM_HEADS = frozenset({"convnext", "convnextv2"})


@dataclass(frozen=True, kw_only=True)
class LayerNorm:
    """A LayerNorm over C channels, `scale * (x - mean) / sqrt(variance + epsilon)`; its shift has no gradient."""

    scale: NDArray[np.float32]  # (C,)
    epsilon: float


@dataclass(frozen=True, kw_only=True)
class PooledHead:
    """What turns the mean of the last feature map into the logit difference fractured minus not fractured.

    Attributes:
        weight: (C,) weights of the fractured logit minus those of the other.
        layer_norm: Normalisation between mean and weights, or None.
    """

    weight: NDArray[np.float32]
    layer_norm: LayerNorm | None = None


def read_pooled_head(model: "PreTrainedModel", *, fractured_index: int = FRACTURED) -> PooledHead | None:
    """Read the head of a two-class ResNet or ConvNeXt.

    Args:
        model: Image classifier with two labels.
        fractured_index: Which of its two logits speaks for a fracture.

    Returns:
        The head, or None where the model has no head of this form; use Captum there.
    """
    import torch

    model_type = model.config.model_type
    if model_type not in _PLAIN_HEADS | _LAYER_NORM_HEADS:
        return None
    linear = model.classifier[-1] if isinstance(model.classifier, torch.nn.Sequential) else model.classifier
    if not isinstance(linear, torch.nn.Linear) or linear.out_features != 2:
        return None
    rows = _to_array(linear.weight)
    weight = rows[fractured_index] - rows[1 - fractured_index]
    if model_type in _PLAIN_HEADS:
        return PooledHead(weight=weight)
    norm = model.base_model.get_submodule("layernorm")
    if not isinstance(norm, torch.nn.LayerNorm):
        return None
    return PooledHead(weight=weight, layer_norm=LayerNorm(scale=_to_array(norm.weight), epsilon=float(norm.eps)))


def closed_form_grad_cam(feature_map: NDArray[np.float32], head: PooledHead) -> NDArray[np.float32]:
    """Compute the Grad-CAM of the logit difference from the last feature map alone.

    Args:
        feature_map: (C, h, w) output of the last stage for one film.
        head: Head of the same network.

    Returns:
        (h, w) signed map in logits. For a head without LayerNorm the map sums to the logit difference less its bias.

    Raises:
        UsageError: If the map is not (C, h, w) with the head's number of channels.

    >>> head = PooledHead(weight=np.array([1.0, -1.0], dtype=np.float32))
    >>> closed_form_grad_cam(np.array([[[4.0, 0.0]], [[0.0, 2.0]]], dtype=np.float32), head)
    array([[ 2., -1.]], dtype=float32)
    """
    if feature_map.ndim != 3 or len(feature_map) != len(head.weight):
        raise UsageError(
            f"feature_map must be ({len(head.weight)}, h, w) to fit the head's channels, got {feature_map.shape}. "
            "Pass the last feature map of one film, from the same network as the head."
        )
    num_positions = feature_map.shape[1] * feature_map.shape[2]
    gradient: NDArray[np.float64] = head.weight.astype(np.float64)
    if head.layer_norm is not None:
        gradient = _layer_norm_gradient(feature_map, gradient, head.layer_norm)
    return np.tensordot(gradient / num_positions, feature_map, axes=1).astype(np.float32)


def _layer_norm_gradient(
    feature_map: NDArray[np.float32], weight: NDArray[np.float64], norm: LayerNorm
) -> NDArray[np.float64]:
    """Differentiate `weight @ layer_norm(pooled)` with respect to the pooled features; (C,)."""
    pooled = feature_map.mean(axis=(1, 2), dtype=np.float64)  # (C,)
    deviation = np.sqrt(pooled.var() + norm.epsilon)
    normalised = (pooled - pooled.mean()) / deviation
    upstream = weight * norm.scale
    gradient: NDArray[np.float64] = (
        upstream - upstream.mean() - normalised * (upstream * normalised).mean()
    ) / deviation
    return gradient


def _to_array(parameter: "torch.Tensor") -> NDArray[np.float32]:
    array: NDArray[np.float32] = parameter.detach().float().cpu().numpy()
    return array
