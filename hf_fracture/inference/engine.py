"""What runs the network: pixels in, logits and the last feature map out. Torch is imported when an engine is built.

May depend on `models`, `explain`, `data` and `errors`.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from hf_fracture.data.transforms import Letterbox
from hf_fracture.errors import ModelFolderError
from hf_fracture.explain.attribution import Attribution, Method, attribute
from hf_fracture.explain.closed_form import PooledHead, read_pooled_head

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class Activations:
    """What one forward pass leaves for N films.

    Attributes:
        probabilities: (N,) probability of a fracture in [0, 1].
        feature_maps: (N, C, h, w) output of the last stage; None where the network has no such map.
    """

    probabilities: NDArray[np.float64]
    feature_maps: NDArray[np.float32] | None


class TorchEngine:
    """A model folder run by transformers in float32.

    Calls from several threads are served one after the other: hooks of an attribution would otherwise see the forward
    passes of other threads.
    """

    def __init__(self, model_dir: Path, *, fractured_index: int, trust_remote_code: bool = False) -> None:
        """Load the model.

        Args:
            model_dir: A model folder.
            fractured_index: Which of its two logits speaks for a fracture.
            trust_remote_code: Run modelling code that the folder brings.

        Raises:
            ModelFolderError: If the folder cannot be loaded or the model has not exactly two labels.
        """
        from hf_fracture.models.checkpoint import gradcam_layer, load_model

        with _silent_loading():
            self._model = load_model(model_dir, trust_remote_code=trust_remote_code)
        _prefer_channels_last(self._model)
        self._fractured_index = fractured_index
        self._lock = threading.RLock()
        try:
            self._map_layer: nn.Module | None = gradcam_layer(self._model)
        except ModelFolderError:  # a network without a last feature map answers, but cannot show Grad-CAM
            self._map_layer = None
        self.head: PooledHead | None = read_pooled_head(self._model, fractured_index=fractured_index)

    def compute(self, pixel_values: NDArray[np.float32]) -> Activations:
        """Run one forward pass.

        Args:
            pixel_values: (N, 3, S, S) letterboxed and normalised films.

        Returns:
            Probabilities and feature maps of the N films.
        """
        import torch

        with self._lock, torch.inference_mode(), self._record_feature_map() as recorded:
            logits = self._model(pixel_values=torch.from_numpy(pixel_values).to(self._model.device)).logits  # (N, 2)
            probabilities = torch.softmax(logits.float(), dim=1)[:, self._fractured_index]
        return Activations(
            probabilities=probabilities.cpu().numpy().astype(np.float64),
            feature_maps=recorded[0].float().cpu().numpy() if recorded else None,
        )

    def attribute(
        self,
        pixel_values: NDArray[np.float32],
        letterbox: Letterbox,
        *,
        method: Method,
        full_scale: float = 0.0,
    ) -> Attribution:
        """Explain one film with Captum; see `explain.attribution.attribute`."""
        with self._lock:
            return attribute(
                self._model,
                pixel_values,
                letterbox,
                method=method,
                fractured_index=self._fractured_index,
                full_scale=full_scale,
            )

    @contextmanager
    def _record_feature_map(self) -> Iterator[list[Any]]:
        """Yield a list that receives the output of the last stage during one forward pass."""
        recorded: list[Any] = []
        if self._map_layer is None:
            yield recorded
            return
        handle = self._map_layer.register_forward_hook(lambda _module, _inputs, output: recorded.append(output))
        try:
            yield recorded
        finally:
            handle.remove()


def _prefer_channels_last(model: "PreTrainedModel") -> None:
    """Lay a ResNet's weights out as its convolutions like them: a forward pass takes 0.7 of the time on a CPU."""
    import torch

    if model.config.model_type == "resnet":
        cast(Any, model).to(memory_format=torch.channels_last)  # the stubs lack this overload


@contextmanager
def _silent_loading() -> Iterator[None]:
    """Keep transformers from drawing a progress bar for the weights: a library does not print."""
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
