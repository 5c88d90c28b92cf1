"""Runs an exported file with onnxruntime: no torch, no transformers, half a second from a cold shell.

May depend on `export.metadata`, `explain.closed_form`, `inference.engine` (for what an engine returns) and `errors`.
"""

import os
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from hf_fracture.errors import MissingPackageError, ModelFolderError
from hf_fracture.explain.closed_form import LayerNorm, PooledHead
from hf_fracture.export.metadata import INPUT_NAME, LOGITS_NAME, MAP_NAME, OnnxMetadata
from hf_fracture.inference.activations import Activations

MAX_THREADS: Final = 8  # a film's convolutions gain little from more
_ERRORS_ONLY: Final = 3


def count_cores() -> int:
    """Return how many cores this process may use, those of the machine shared among the ranks of a launcher."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    num_ranks = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(1, cores // max(1, int(num_ranks))) if num_ranks.isdigit() else cores


class OnnxEngine:
    """One exported file; calls from several threads run side by side.

    Attributes:
        path: The file.
        metadata: What it says of itself.
        head: Its head for the closed form of Grad-CAM, or None.
    """

    def __init__(self, path: Path, *, num_threads: int | None = None) -> None:
        """Load the file.

        Args:
            path: What `hf-fracture export` wrote.
            num_threads: Threads of one forward pass; None for one per core.

        Raises:
            ModelFolderError: If the file is damaged, or was not written by this package.
            MissingPackageError: If onnxruntime is not installed.
        """
        self.path = path
        self._session = open_session(path, num_threads or min(count_cores(), MAX_THREADS))
        self.metadata = OnnxMetadata.from_properties(self._read_properties())
        self._check_interface()
        names = [output.name for output in self._session.get_outputs()]
        self._outputs = [LOGITS_NAME, MAP_NAME] if MAP_NAME in names else [LOGITS_NAME]
        self.head = build_head(self.metadata)

    def _read_properties(self) -> dict[str, str]:
        """Return what the file says of itself.

        Raises:
            ModelFolderError: If that is no text.
        """
        try:
            properties: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        except UnicodeDecodeError as error:
            raise ModelFolderError(
                f"Expected the metadata of '{self.path}' to be UTF-8, got byte {error.object[error.start]:#x} at "
                f"{error.start}. Export the model again: hf-fracture export."
            ) from error
        return properties

    def _check_interface(self) -> None:
        """Refuse a graph that takes or gives something else than an export of this package.

        Raises:
            ModelFolderError: Saying what it takes.
        """
        inputs = {item.name: list(item.shape) for item in self._session.get_inputs()}
        outputs = {item.name: list(item.shape) for item in self._session.get_outputs()}
        if self.metadata.fractured_index is None:
            raise ModelFolderError(
                f"Expected '{self.path}' to tell fractured from not fractured, but it names "
                f"{', '.join(self.metadata.labels)[:120]}. Run it with onnxruntime itself."
            )
        side = self.metadata.preprocessing.size_px
        sides = inputs.get(INPUT_NAME, [])[1:]
        if list(inputs) != [INPUT_NAME] or sides != [3, side, side] or outputs.get(LOGITS_NAME, [])[1:] != [2]:
            raise ModelFolderError(
                f"Expected '{self.path}' to take {INPUT_NAME} (N, 3, {side}, {side}) and give {LOGITS_NAME} (N, 2), "
                f"got {str(inputs)[:120]} and {str(outputs)[:120]}. Export the model again: hf-fracture export."
            )

    def compute(self, pixel_values: NDArray[np.float32]) -> Activations:
        """Run one forward pass.

        Args:
            pixel_values: (N, 3, S, S) letterboxed and normalised films.

        Returns:
            Probabilities and feature maps of the N films.
        """
        logits, *maps = self._session.run(self._outputs, {INPUT_NAME: pixel_values})
        index = cast(int, self.metadata.fractured_index)  # `_check_interface` refused None
        difference = (logits[:, index] - logits[:, 1 - index]).astype(np.float64)  # (N,)
        return Activations(probabilities=1.0 / (1.0 + np.exp(-difference)), feature_maps=maps[0] if maps else None)


def build_head(metadata: OnnxMetadata) -> PooledHead | None:
    """Return the head that the metadata describe, or None."""
    if metadata.cam_weights is None:
        return None
    norm = metadata.cam_layer_norm
    return PooledHead(
        weight=np.asarray(metadata.cam_weights, dtype=np.float32),
        layer_norm=None
        if norm is None
        else LayerNorm(scale=np.asarray(norm["scale"], dtype=np.float32), epsilon=float(norm["epsilon"])),
    )


def open_session(path: Path, num_threads: int) -> Any:
    """Return onnxruntime's session of a file, whose threads do not spin while they wait.

    Raises:
        ModelFolderError: If the file is no ONNX model.
        MissingPackageError: If onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "The ONNX backend needs the package 'onnxruntime', which is not installed. "
            "Install it: pip install 'hf-fracture[onnx]', or pass --backend torch."
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.log_severity_level = _ERRORS_ONLY
    # Threads that spin while they wait slow every forward pass many times over on a machine with a busy neighbour.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        # Without a second try, of which onnxruntime would print the first one's error to stdout.
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:
        first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
        raise ModelFolderError(
            f"Expected '{path}' to be an ONNX model, but {first_line} Export it again: hf-fracture export."
        ) from error
