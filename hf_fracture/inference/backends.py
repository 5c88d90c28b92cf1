"""Which runtime answers for a model folder: onnxruntime where the folder holds a fitting export, torch otherwise.

May depend on `onnx_engine`, `engine`, `export`, `models` and `errors`; torch is imported where it is used.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal, get_args

from hf_fracture.errors import ModelFolderError, UsageError
from hf_fracture.export.layout import INT8_FILE, ONNX_DIR, ONNX_FILE
from hf_fracture.inference.engine import TorchEngine
from hf_fracture.inference.onnx_engine import OnnxEngine
from hf_fracture.models.checkpoint import WEIGHTS_NAME, hash_weights

Backend = Literal["auto", "onnx", "torch"]
BACKENDS: Final[tuple[Backend, ...]] = get_args(Backend)

Engine = OnnxEngine | TorchEngine


def load_onnx_engine(model_dir: Path, *, backend: Backend, fast: bool = False) -> OnnxEngine | None:
    """Load a folder's export, if it is what shall answer.

    Args:
        model_dir: A model folder.
        backend: `onnx` for the export or an error, `torch` for none, `auto` for the export where it is there, belongs
            to the folder's weights, and onnxruntime is installed.
        fast: Take the int8 file.

    Returns:
        The engine, or None where torch shall answer.

    Raises:
        UsageError: If the backend is unknown, or `fast` was asked of torch.
        ModelFolderError: If the export is missing, damaged or of other weights, and `backend` or `fast` asks for it.
    """
    if backend not in BACKENDS:
        raise UsageError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}.")
    if backend == "torch":
        if fast:
            raise UsageError("fast means 8-bit arithmetic, which torch does not do here. Leave out the backend.")
        return None
    path = model_dir / ONNX_DIR / (INT8_FILE if fast else ONNX_FILE)
    is_required = backend == "onnx" or fast
    if not path.is_file():
        if is_required:
            raise ModelFolderError(
                f"Expected '{path.relative_to(model_dir)}' in '{model_dir}', found none. Write it: hf-fracture export."
            )
        return None
    if not is_required and find_spec("onnxruntime") is None:
        return None
    engine = OnnxEngine(path)
    if has_weights(model_dir) and hash_weights(model_dir) != engine.metadata.model_sha256:
        if is_required:
            raise ModelFolderError(
                f"Expected '{path}' to be an export of the folder's own weights, got one of others. Export it again."
            )
        return None
    return engine


def has_weights(model_dir: Path) -> bool:
    """Tell whether a folder holds weights for torch beside its export."""
    return (model_dir / WEIGHTS_NAME).is_file() or (model_dir / f"{WEIGHTS_NAME}.index.json").is_file()
