"""A model folder as one ONNX file that computes in float32 with exactly the stored weights.

The file has one input, `pixel_values` (N, 3, S, S), and two outputs: `logits` (N, classes) and `last_map` (N, C, h, w),
the last feature map, from which Grad-CAM and the input gate follow. May depend on `models`, `data` and `errors`;
torch, onnx and onnxscript are imported when a file is written.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hf_fracture.errors import MissingPackageError, ModelFolderError
from hf_fracture.export.metadata import INPUT_NAME, LOGITS_NAME, MAP_NAME
from hf_fracture.models.checkpoint import gradcam_layer
from hf_fracture.outputs import replacing

if TYPE_CHECKING:
    import torch
    from onnx import ModelProto
    from transformers import PreTrainedModel

OPSET: Final = 20
_MIN_HALVED_VALUES: Final = 1024  # smaller tensors are not worth a Cast of their own


def export_onnx(model: "PreTrainedModel", path: Path, *, size_px: int, metadata: Mapping[str, str]) -> Path:
    """Write a classifier as ONNX.

    Weights that fit float16 without loss are stored so, each with a Cast to float32 behind it, which the
    runtime computes once while loading: the file is as small as the folder, and no weight differs by a bit. Batch
    normalisation is left for the runtime to fold, since folded weights would not fit float16.

    Args:
        model: Image classifier in eval mode, as `load_model` returns it.
        path: File to write, to a temporary name first.
        size_px: Side of the square input.
        metadata: Goes to the file's `metadata_props`.

    Returns:
        `path`.

    Raises:
        ModelFolderError: If torch cannot export it.
        MissingPackageError: If onnx or onnxscript is not installed.
    """
    import_onnx()
    import onnx
    from onnxscript import optimizer

    proto = _trace(model, size_px)
    optimizer.fold_constants(proto, onnx_shape_inference=True)
    optimizer.remove_unused_nodes(proto)
    halve_initializers(proto)
    _strip_notes(proto)
    set_metadata(proto, metadata)
    onnx.checker.check_model(proto, full_check=True)
    return write_onnx(proto, path)


def import_onnx() -> None:
    """Import the packages that exporting needs.

    Raises:
        MissingPackageError: If one of them is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"Exporting needs the package '{error.name}', which is not installed. "
            "Install it: pip install 'hf-fracture[export]'."
        ) from error


def write_onnx(proto: "ModelProto", path: Path) -> Path:
    """Write a model to a temporary name, then rename."""
    with replacing(path) as partial:
        partial.write_bytes(proto.SerializeToString())
    return path


def set_metadata(proto: "ModelProto", metadata: Mapping[str, str]) -> None:
    """Replace a model's metadata."""
    del proto.metadata_props[:]
    for key, value in metadata.items():
        proto.metadata_props.add(key=key, value=value)


def _trace(model: "PreTrainedModel", size_px: int) -> "ModelProto":
    import torch

    network, names = _tap_last_map(model)
    with _quiet_export():
        program = torch.onnx.export(
            network,
            (torch.zeros(2, 3, size_px, size_px),),
            dynamo=True,
            optimize=False,  # it would fold the normalisations into the weights
            verbose=False,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=names,
            dynamic_shapes={"pixel_values": {0: "batch"}},
        )
    if program is None:
        raise ModelFolderError(f"Expected torch to export {type(model).__name__} to ONNX, got nothing. Update torch.")
    proto: ModelProto = program.model_proto
    return proto


def _tap_last_map(model: "PreTrainedModel") -> "tuple[torch.nn.Module, list[str]]":
    """Return a module that gives logits and, where the network has one, its last feature map."""
    import torch

    try:
        layer = gradcam_layer(model)
    except ModelFolderError:
        layer = None

    class TappedClassifier(torch.nn.Module):
        """The classifier, with the last feature map as a second output."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, pixel_values: "torch.Tensor") -> "tuple[torch.Tensor, ...]":
            if layer is None:
                return (self.model(pixel_values=pixel_values).logits,)
            recorded: list[torch.Tensor] = []
            handle = layer.register_forward_hook(lambda _module, _inputs, output: recorded.append(output))
            try:
                logits = self.model(pixel_values=pixel_values).logits
            finally:
                handle.remove()
            return logits, recorded[0]

    return TappedClassifier().eval(), [LOGITS_NAME] if layer is None else [LOGITS_NAME, MAP_NAME]


@contextmanager
def _quiet_export() -> Iterator[None]:
    """Keep the exporter from talking of operators of torchvision, which nothing here uses."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def halve_initializers(proto: "ModelProto") -> None:
    """Store in float16, followed by a Cast to float32, every large weight that loses nothing by it."""
    from onnx import TensorProto, helper, numpy_helper

    graph = proto.graph
    casts, kept = [], []
    for tensor in graph.initializer:
        halved = _halve(numpy_helper.to_array(tensor))
        if halved is None:
            kept.append(tensor)
            continue
        stored = f"{tensor.name}.float16"
        kept.append(numpy_helper.from_array(halved, stored))
        casts.append(
            helper.make_node("Cast", [stored], [tensor.name], name=f"{tensor.name}.cast", to=TensorProto.FLOAT)
        )
    nodes = [*casts, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)


def _halve(values: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any] | None":
    if values.dtype != np.float32 or values.size < _MIN_HALVED_VALUES:
        return None
    with np.errstate(over="ignore"):
        halved = values.astype(np.float16)
    return halved if np.array_equal(halved.astype(np.float32), values) else None


def _strip_notes(proto: "ModelProto") -> None:
    """Remove the exporter's notes on where each node came from: they hold paths of the machine that exported."""
    graph = proto.graph
    del graph.value_info[:]
    proto.doc_string = graph.doc_string = ""
    del graph.metadata_props[:]
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        item.doc_string = ""
        del item.metadata_props[:]
