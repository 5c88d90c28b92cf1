"""DeepConvNet: a deep plain convolutional network, trained from random weights.

The edge-detection project on bone fractures sets a network of this name beside ResNet-50. Its definition was never
published with weights; this one is the usual deep stack: five blocks of two 3 x 3 convolutions with batch
normalisation, pooling between them, dropout, and an averaged map under a linear head.

This file is copied beside saved models: it may depend on torch and transformers only.
"""

from itertools import pairwise
from typing import cast

from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutputWithNoAttention


class DeepConvNetConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """Shape of a `DeepConvNetForImageClassification`.

    Attributes:
        num_channels: Channels of the input.
        hidden_sizes: Channels of each block; the map halves after every block but the last.
        dropout: Share of channels dropped after each block, and of the averaged map.
    """

    model_type = "deepconvnet"

    num_channels: int = 3
    hidden_sizes: list[int] | tuple[int, ...] = (32, 64, 128, 256, 256)
    dropout: float = 0.1


class DeepConvNetForImageClassification(PreTrainedModel):  # type: ignore[no-untyped-call]
    """The network with its head."""

    config_class = DeepConvNetConfig
    config: DeepConvNetConfig
    base_model_prefix = "blocks"
    main_input_name = "pixel_values"
    feature_map_name = "blocks"  # the module whose output is the last feature map

    def __init__(self, config: DeepConvNetConfig) -> None:
        """Build the blocks and the head."""
        super().__init__(config)
        sizes = [config.num_channels, *config.hidden_sizes]
        blocks: list[nn.Module] = []
        for index, (before, after) in enumerate(pairwise(sizes)):
            pool = nn.MaxPool2d(2) if index < len(sizes) - 2 else nn.Identity()
            blocks.append(
                nn.Sequential(*_convolve(before, after), *_convolve(after, after), pool, nn.Dropout2d(config.dropout))
            )
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(sizes[-1], cast(int, config.num_labels))
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        """Start convolutions after He et al. (2015)."""
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> ImageClassifierOutputWithNoAttention:
        """Score films (N, C, S, S), and compute the mean cross-entropy where labels (N,) are given."""
        features = self.blocks(pixel_values)
        logits = self.classifier(self.dropout(features.mean(dim=(2, 3))))
        loss = None if labels is None else functional.cross_entropy(logits, labels)
        return ImageClassifierOutputWithNoAttention(loss=loss, logits=logits)


def _convolve(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
