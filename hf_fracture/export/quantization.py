"""An exported file in 8-bit arithmetic, with ranges measured on films. May depend on `metadata` and `onnx_file`.

onnx and onnxruntime are imported inside functions.
"""

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from hf_fracture.errors import ModelFolderError, UsageError
from hf_fracture.export.metadata import INPUT_NAME
from hf_fracture.export.onnx_file import import_onnx, set_metadata, write_onnx

if TYPE_CHECKING:
    from onnx import ModelProto

WEIGHTED: Final = ("Conv", "Gemm", "MatMul")


def quantize_onnx(
    source: Path,
    path: Path,
    *,
    pixel_values: Iterable[NDArray[np.float32]],
    num_float_nodes: int,
    metadata: Mapping[str, str],
) -> Path:
    """Write a float32 file in int8: weights per channel, activations by the ranges they take on films.

    Args:
        source: What `export_onnx` wrote.
        path: File to write, to a temporary name first.
        pixel_values: (3, S, S) each: letterboxed and normalised films that stand for all others; none twice.
        num_float_nodes: So many of the last convolutions and linear layers stay in float32, at least 0.
        metadata: Goes to the file's `metadata_props`.

    Returns:
        `path`.

    Raises:
        UsageError: If there is no film.
        ModelFolderError: If fewer than `num_float_nodes` + 1 layers could be quantised.
    """
    import_onnx()
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder, _quiet_quantization():
        folded_path, int8_path = Path(folder) / "folded.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(str(source), str(folded_path), skip_symbolic_shape=True)
        quantize_static(
            str(folded_path),
            str(int8_path),
            _FilmReader(pixel_values),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=list_last_layers(onnx.load(folded_path), num_float_nodes),
        )
        proto = onnx.load(int8_path)
    set_metadata(proto, metadata)
    onnx.checker.check_model(proto)
    return write_onnx(proto, path)


def list_last_layers(proto: "ModelProto", num: int) -> list[str]:
    """Name the last `num` layers with weights, and everything that comes after the first of them.

    Raises:
        ModelFolderError: If no layer would be left.
    """
    weighted = [index for index, node in enumerate(proto.graph.node) if node.op_type in WEIGHTED]
    if num >= len(weighted):
        raise ModelFolderError(
            f"Expected a network with more than {num} layers to quantise, got one with {len(weighted)}. "
            "Export it without --int8."
        )
    first = weighted[-num] if num else len(proto.graph.node)
    return [node.name for node in list(proto.graph.node)[first:]]


class _FilmReader:
    """Films one by one, in the form that onnxruntime's calibration asks for."""

    def __init__(self, pixel_values: Iterable[NDArray[np.float32]]) -> None:
        self._films = iter(pixel_values)
        self._num_read = 0

    def get_next(self) -> dict[str, Any] | None:
        """Return the next film, or None after the last."""
        film = next(self._films, None)
        if film is not None:
            self._num_read += 1
            return {INPUT_NAME: film[None]}
        if not self._num_read:
            raise UsageError("Expected films to measure the ranges of int8 on, got none. Pass a validation split.")
        return None


@contextmanager
def _quiet_quantization() -> Iterator[None]:
    """Silence the root logger's warning that preprocessing is recommended, which was done."""
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
