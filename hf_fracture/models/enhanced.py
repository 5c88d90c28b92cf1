"""A classifier with an enhancement before it, or a dense layer in its head, as one model of transformers.

The network inside is any image classifier of transformers, timm or this package; its configuration is kept as the
nested key `network`.

This file is copied beside saved models: it may depend on torch, transformers and the files it imports relatively.
"""

from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional
from transformers import CONFIG_MAPPING, AutoModelForImageClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutputWithNoAttention

# Relative, because transformers copies these files beside a saved model and follows relative imports only.
from .deepconvnet import DeepConvNetConfig, DeepConvNetForImageClassification
from .enhancement import FilmEnhancement
from .plain_cnn import PlainCnnConfig, PlainCnnForImageClassification

_OWN_NETWORKS: dict[str, tuple[type[PreTrainedConfig], type[PreTrainedModel]]] = {
    DeepConvNetConfig.model_type: (DeepConvNetConfig, DeepConvNetForImageClassification),
    PlainCnnConfig.model_type: (PlainCnnConfig, PlainCnnForImageClassification),
}


class EnhancedConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """What an `EnhancedForImageClassification` consists of.

    Attributes:
        network: Configuration of the network inside, as a dictionary with `model_type`.
        enhancement: Steps of `FilmEnhancement`, in order.
        image_mean: Per channel, with which the image processor normalises.
        image_std: Per channel, likewise.
        head_units: Units of a dense layer before the outputs; 0 for none.
        head_dropout: Share of the head's inputs dropped in training.
    """

    model_type = "enhanced_classifier"

    network: dict[str, Any] | None = None
    enhancement: list[str] | tuple[str, ...] = ()
    image_mean: list[float] | tuple[float, ...] = (0.485, 0.456, 0.406)
    image_std: list[float] | tuple[float, ...] = (0.229, 0.224, 0.225)
    head_units: int = 0
    head_dropout: float = 0.0


class EnhancedForImageClassification(PreTrainedModel):  # type: ignore[no-untyped-call]
    """Enhance, then classify."""

    config_class = EnhancedConfig
    config: EnhancedConfig
    base_model_prefix = "network"
    main_input_name = "pixel_values"

    def __init__(self, config: EnhancedConfig) -> None:
        """Build the network inside and give it the head that the configuration names."""
        super().__init__(config)
        self.enhance = FilmEnhancement(config.enhancement, config.image_mean, config.image_std)
        self.network = _build_network(config)
        if config.head_units or config.head_dropout:
            name, linear = find_output_layer(self.network)
            self.network.set_submodule(name, _build_head(linear, config.head_units, config.head_dropout))
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        """Leave the network's own start as it is; only the dense head of this class is drawn here."""
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> ImageClassifierOutputWithNoAttention:
        """Score films (N, 3, S, S), and compute the mean cross-entropy where labels (N,) are given."""
        logits = self.network(pixel_values=self.enhance(pixel_values)).logits
        loss = None if labels is None else functional.cross_entropy(logits, labels)
        return ImageClassifierOutputWithNoAttention(loss=loss, logits=logits)


def _build_network(config: EnhancedConfig) -> PreTrainedModel:
    if config.network is None:  # transformers builds an empty configuration to find out the defaults
        return PlainCnnForImageClassification(PlainCnnConfig(num_labels=config.num_labels))  # type: ignore[call-arg]
    model_type = config.network["model_type"]
    # timm's configuration takes the number from here, since a nested one keeps no labels of its own.
    labels = {"num_labels": config.num_labels, "id2label": config.id2label, "label2id": config.label2id}
    if model_type in _OWN_NETWORKS:
        config_class, model_class = _OWN_NETWORKS[model_type]
        return model_class(config_class.from_dict(config.network, **labels))
    inner = CONFIG_MAPPING[model_type].from_dict(config.network, **labels)
    return cast(PreTrainedModel, AutoModelForImageClassification.from_config(inner))  # type: ignore[no-untyped-call]


def _build_head(linear: nn.Linear, units: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    if units:
        layers += [nn.Linear(linear.in_features, units), nn.ReLU()]
    if dropout:
        layers += [nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(units or linear.in_features, linear.out_features))


def find_output_layer(model: PreTrainedModel) -> tuple[str, nn.Linear]:
    """Return the name and the module of the last Linear layer, which gives the logits.

    Raises:
        ValueError: If the last Linear layer has another number of outputs than the model has labels.
    """
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not layers or layers[-1][1].out_features != model.config.num_labels:
        raise ValueError(
            f"Expected {type(model).__name__} to end in a Linear layer of {model.config.num_labels} outputs."
        )
    return layers[-1]
