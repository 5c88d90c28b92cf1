"""Which failures of torch are the device's: memory that is too small, or an accelerator that is gone.

May depend on `errors`; torch is not imported.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from hf_fracture.errors import DeviceError

_NO_MEMORY: Final = ("out of memory", "can't allocate memory", "not enough memory", "Unable to allocate")
_NO_DEVICE: Final = ("CUDA error", "CUDA driver", "CUDNN_", "CUBLAS_", "cuDNN error", "HIP error", "NCCL error", "MPS ")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that a batch does not fit into the memory."""
    is_torchs = type(error).__name__ == "OutOfMemoryError"
    return is_torchs or isinstance(error, MemoryError) or _mentions(error, _NO_MEMORY)


def is_device_failure(error: BaseException) -> bool:
    """Tell whether an error says that the accelerator has failed or is gone."""
    return type(error).__name__ == "AcceleratorError" or _mentions(error, _NO_DEVICE)


@contextmanager
def naming_device_failures() -> Iterator[None]:
    """Say in one sentence that the accelerator has failed, and how to go on without it.

    Raises:
        DeviceError: If it has.
    """
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error) or not is_device_failure(error):
            raise
        first_line = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
        raise DeviceError(
            f"Expected the accelerator to answer, but: {first_line}. Give the same command again once it is back, or "
            "run it on the CPU: put CUDA_VISIBLE_DEVICES= before the command."
        ) from error


def _mentions(error: BaseException, phrases: tuple[str, ...]) -> bool:
    return isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in phrases)
