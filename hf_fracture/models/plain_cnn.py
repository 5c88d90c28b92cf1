"""The small CNN with dropout of the Global Health Medical Center project, trained from random weights.

Convolutions and pooling, a dense layer, dropout, two outputs: the network behind 98 % on the published Kaggle split.

This file is copied beside saved models: it may depend on torch and transformers only.
"""

from itertools import pairwise
from typing import cast

from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutputWithNoAttention


class PlainCnnConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """Shape of a `PlainCnnForImageClassification`.

    Attributes:
        num_channels: Channels of the input.
        hidden_sizes: Channels of each convolution; the map halves after each.
        pooled_side: Side of the map that the dense layer reads.
        dense_units: Units of the dense layer.
        dropout: Share of its units dropped in training.
    """

    model_type = "plain_cnn"

    num_channels: int = 3
    hidden_sizes: list[int] | tuple[int, ...] = (32, 64, 128)
    pooled_side: int = 4
    dense_units: int = 128
    dropout: float = 0.5


class PlainCnnForImageClassification(PreTrainedModel):  # type: ignore[no-untyped-call]
    """The network with its head."""

    config_class = PlainCnnConfig
    config: PlainCnnConfig
    base_model_prefix = "features"
    main_input_name = "pixel_values"
    feature_map_name = "features"  # the module whose output is the last feature map

    def __init__(self, config: PlainCnnConfig) -> None:
        """Build the convolutions and the dense head."""
        super().__init__(config)
        sizes = [config.num_channels, *config.hidden_sizes]
        self.features = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2))
                for before, after in pairwise(sizes)
            )
        )
        self.dense = nn.Linear(sizes[-1] * config.pooled_side**2, config.dense_units)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.dense_units, cast(int, config.num_labels))
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        """Start convolutions and the dense layer after He et al. (2015)."""
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> ImageClassifierOutputWithNoAttention:
        """Score films (N, C, S, S), and compute the mean cross-entropy where labels (N,) are given."""
        features = self.features(pixel_values)
        pooled = functional.adaptive_avg_pool2d(features, self.config.pooled_side).flatten(1)
        logits = self.classifier(self.dropout(functional.relu(self.dense(pooled))))
        loss = None if labels is None else functional.cross_entropy(logits, labels)
        return ImageClassifierOutputWithNoAttention(loss=loss, logits=logits)
