import pytest
import torch

from hf_fracture.errors import DeviceError
from hf_fracture.models.device_errors import is_out_of_memory, naming_device_failures


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: device-side assert triggered\nCompile with TORCH_USE_CUDA_DSA",
        "CUDA error: unspecified launch failure",
        "CUDA driver initialization failed, you might not have a CUDA gpu.",
        "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
        "NCCL error in: remote process exited",
    ],
)
def test_lost_accelerator_is_one_sentence_that_offers_the_cpu(words: str) -> None:
    with (
        pytest.raises(DeviceError, match="run it on the CPU: put CUDA_VISIBLE_DEVICES=") as caught,
        naming_device_failures(),
    ):
        raise RuntimeError(words)
    assert "\n" not in str(caught.value)
    assert words.splitlines()[0].rstrip(".") in str(caught.value)


@pytest.mark.parametrize("words", ["CUDA out of memory. Tried to allocate 20.00 GiB.", "shape mismatch"])
def test_other_failures_pass_unchanged(words: str) -> None:
    with pytest.raises(RuntimeError, match=words) as caught, naming_device_failures():
        raise RuntimeError(words)
    assert not isinstance(caught.value, DeviceError)


def test_memory_that_is_too_small_is_told_from_the_rest() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("x"))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    assert not is_out_of_memory(ValueError("out of memory"))
    assert not is_out_of_memory(RuntimeError("CUDA error: unknown error"))
