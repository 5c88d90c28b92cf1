"""Look at one forward pass: which module gives the last feature map, and how much memory a film needs.

May depend on `models` and `errors`; torch is imported inside functions.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_fracture.errors import ModelFolderError, UsageError
from hf_fracture.models.checkpoint import gradcam_layer

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What one forward pass showed.

    Attributes:
        map_layer: Module whose output is the last feature map (N, C, h, w) before it is pooled; None where the network
            turns positions into tokens, or never has such a map.
        leaves: Modules with parameters of their own, in the order in which they ran.
        num_after_map: How many of `leaves` ran after the map, at its end: the head.
        bytes_per_film: Size of all outputs of modules without children, which a backward pass keeps.
    """

    map_layer: "nn.Module | None"
    leaves: "tuple[nn.Module, ...]"
    num_after_map: int
    bytes_per_film: int


def trace_forward(model: "PreTrainedModel", inputs: "Tensor") -> Trace:
    """Run one forward pass and note the outputs of every module.

    Args:
        model: Any image classifier.
        inputs: (N, 3, S, S); one film suffices.
    """
    import torch

    outputs: list[tuple[nn.Module, Tensor]] = []

    def note(module: "nn.Module", _inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            outputs.append((module, output))

    handles = [module.register_forward_hook(note) for module in model.modules() if module is not model]
    try:
        with torch.no_grad():
            model(pixel_values=inputs)
    finally:
        for handle in handles:
            handle.remove()
    last_map = next((index for index, (_, out) in reversed(list(enumerate(outputs))) if _is_map(out)), None)
    if last_map is not None and any(output.ndim == 3 for _, output in outputs[last_map:]):
        last_map = None  # tokens follow: what was found is the embedding of patches
    after_map = {module for module, _ in outputs[last_map + 1 :]} if last_map is not None else set()
    leaves = tuple(dict.fromkeys(module for module, _ in outputs if _has_own_parameters(module)))
    sizes = [out.numel() * out.element_size() for module, out in outputs if next(module.children(), None) is None]
    return Trace(
        map_layer=None if last_map is None else outputs[last_map][0],
        leaves=leaves,
        num_after_map=sum(module in after_map for module in leaves),
        bytes_per_film=sum(sizes) // len(inputs),
    )


def find_map_layer(model: "PreTrainedModel", inputs: "Tensor") -> "nn.Module":
    """Return the module whose output is the last feature map, for whatever convolutional network.

    Raises:
        UsageError: If the network has no such map.
    """
    try:
        return gradcam_layer(model)
    except ModelFolderError:
        layer = trace_forward(model, inputs[:1]).map_layer
    if layer is None:
        raise UsageError(
            f"Grad-CAM needs a network with a feature map before its pooling, got {type(model).__name__}. Choose "
            "occlusion or integrated_gradients."
        )
    return layer


def _is_map(output: "Tensor") -> bool:
    return output.ndim == 4 and output.shape[2] > 1 and output.shape[3] > 1


def _has_own_parameters(module: "nn.Module") -> bool:
    return next(module.parameters(recurse=False), None) is not None
