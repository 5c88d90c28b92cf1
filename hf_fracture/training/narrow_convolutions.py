"""Keeps narrow strided 1x1 convolutions off a kernel that writes beyond its memory."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

# Of the kernels that torch 2.13 brings, those for AVX-512 work in blocks of 16 channels, those for AVX2 of 8.
CHANNELS_OF_A_BLOCK = 16


@contextmanager
def planar_narrow_convolutions(network: nn.Module) -> Iterator[None]:
    """Give the strided 1x1 convolutions of fewer than 16 input channels their input channel by channel.

    oneDNN's gradient of their weights writes beyond its workspace where the input is channels-last
    (github.com/uxlfoundation/oneDNN/issues/6035, open in torch 2.13): with 8 channels a training corrupted the heap
    within 200 steps, in float32 and in bfloat16, and ended without a word. A ResNet's shortcuts are such
    convolutions; the published widths begin at 64 and are not touched.

    Args:
        network: What is trained, with weights in the usual layout: channels-last weights would bring the layout back.
            Its hooks are gone when the block ends, however it ends.
    """
    handles = [
        module.register_forward_pre_hook(_make_planar)
        for module in network.modules()
        if isinstance(module, nn.Conv2d)
        and module.in_channels // module.groups < CHANNELS_OF_A_BLOCK
        and module.kernel_size == (1, 1)
        and max(module.stride) > 1
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _make_planar(_: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    return (inputs[0].contiguous(),)
