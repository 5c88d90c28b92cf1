"""What runs the network: pixels in, logits and the last feature map out. Torch is imported when an engine is built.

May depend on `models`, `explain`, `data` and `errors`.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from hf_fracture.data.transforms import Letterbox
from hf_fracture.errors import ModelFolderError, naming_missing_packages
from hf_fracture.explain.attribution import Attribution, Method, Watch, attribute
from hf_fracture.explain.closed_form import PooledHead, read_pooled_head
from hf_fracture.inference.activations import Activations

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


class TorchEngine:
    """A model folder run by transformers in float32.

    Calls from several threads are served one after the other: hooks of an attribution would otherwise see the forward
    passes of other threads.
    """

    @naming_missing_packages()
    def __init__(self, model_dir: Path, *, fractured_index: int, trust_remote_code: bool = False) -> None:
        """Load the model.

        Args:
            model_dir: A model folder.
            fractured_index: Which of its two logits speaks for a fracture.
            trust_remote_code: Run modelling code that the folder brings.

        Raises:
            ModelFolderError: If the folder cannot be loaded or the model has not exactly two labels.
            MissingPackageError: If torch or transformers is not installed.
        """
        from hf_fracture.models.checkpoint import gradcam_layer, load_model

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

    @naming_missing_packages()
    def attribute(
        self,
        pixel_values: NDArray[np.float32],
        letterbox: Letterbox,
        *,
        method: Method,
        target: int | None = None,
        watch: Watch | None = None,
    ) -> Attribution:
        """Explain one film with Captum; see `explain.attribution.attribute`. The target is fractured unless named."""
        index = self._fractured_index if target is None else target
        with self._lock:
            return attribute(self._model, pixel_values, letterbox, method=method, target=index, watch=watch)

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
