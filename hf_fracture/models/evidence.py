"""A classifier whose decision is a sum of evidence over positions, trained with the fracture's own place.

Per position x the head gives an evidence e(x), a logit that x shows a fracture. The film's logit is
bias + mean over x of phi(e(x)), where phi is a convex, rising, piecewise linear function with learned slopes. It starts
near a steep softplus, in the spirit of a noisy-or of the positions (whose phi is the softplus itself): weak evidence
counts for nothing, and one bright position can decide.

`fold_evidence` writes all of it into a plain `ResNetForImageClassification` with one more layer in its last stage:
each of the first channels of that layer computes relu(e(x) - knot), and global average pooling with the standard
linear head does the rest. No custom code is needed to load it, and its Grad-CAM is the map phi(e(x)).

May depend on `data`, `config`, `labels` and `errors`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel, ResNetConfig, ResNetForImageClassification, ResNetModel
from transformers.models.resnet.modeling_resnet import ResNetConvLayer, ResNetStage
from transformers.utils.generic import ModelOutput

from hf_fracture.errors import ModelFolderError
from hf_fracture.labels import ID2LABEL, LABEL2ID

KNOTS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0)
FOCAL_GAMMA = 2.0
SHARPNESS = 2.0
INITIAL_GAIN = 0.7


@dataclass
class EvidenceOutput(ModelOutput):
    """What `EvidenceClassifier` returns.

    Attributes:
        logits: (N, 2), minus and plus half of the film's logit, so that softmax gives its probability.
        evidence_losses: (N,) focal loss of the positions, summed over each film; 0 where no mask is known.
        evidence: (N, h, w) evidence in logit units.
    """

    logits: Tensor | None = None
    evidence_losses: Tensor | None = None
    evidence: Tensor | None = None


class EvidenceHead(nn.Module):
    """Map the backbone's last features to evidence, with the shape of one residual layer less its pass-through.

    Args:
        channels: Channels C of the last feature map.
        layer_type: `basic` or `bottleneck`, as in `ResNetConfig`; decides which convolutions the fold can hold.
    """

    def __init__(self, channels: int, layer_type: str) -> None:
        """Build the hidden convolutions and the score."""
        super().__init__()
        if layer_type == "basic":
            sizes, kernels = (channels, channels - len(KNOTS)), (3,)
        else:
            hidden = channels // 4 - len(KNOTS)
            sizes, kernels = (channels, hidden, hidden), (1, 3)  # type: ignore[assignment]
        if min(sizes) < 1:
            raise ModelFolderError(f"The backbone must end in more than {len(KNOTS)} channels, got {channels}.")
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False)
            for (before, after), kernel in zip(pairwise(sizes), kernels, strict=True)
        )
        self.normalizations = nn.ModuleList(nn.BatchNorm2d(after) for after in sizes[1:])
        self.score = nn.Conv2d(sizes[-1], 1, kernel_size=1)
        for convolution in self.convolutions:
            nn.init.kaiming_normal_(cast(nn.Conv2d, convolution).weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.score.weight, std=0.01)
        nn.init.constant_(cast(Tensor, self.score.bias), KNOTS[0])

    def forward(self, features: Tensor) -> Tensor:
        """Return the evidence (N, 1, h, w) of features (N, C, h, w)."""
        for convolution, normalization in zip(self.convolutions, self.normalizations, strict=True):
            features = functional.relu(normalization(convolution(features)))
        score: Tensor = self.score(features)
        return score


class EvidencePooling(nn.Module):
    """Film logit = bias + mean over positions of phi(evidence), phi convex with non-negative slope steps at `KNOTS`.

    Args:
        num_positions: Positions of the map in training; scales the mean to a sum at the start.
        prior_logit: Logit of the share of fractured films, the answer where nothing is found.
    """

    def __init__(self, num_positions: int, prior_logit: float) -> None:
        """Start from a softplus of sharpness `SHARPNESS`."""
        super().__init__()
        middles = torch.tensor([(low + high) / 2 for low, high in pairwise((*KNOTS, KNOTS[-1] + 1))])
        slopes = torch.sigmoid(SHARPNESS * middles)
        steps = torch.diff(slopes, prepend=torch.zeros(1)).clamp_min(1e-4)
        self.log_steps = nn.Parameter(torch.log(steps * INITIAL_GAIN))
        self.bias = nn.Parameter(torch.tensor(prior_logit))
        self.num_positions = num_positions
        self.register_buffer("knots", torch.tensor(KNOTS), persistent=False)

    @property
    def weights(self) -> Tensor:
        """Weight (K,) of the mean of relu(evidence - knot) in the film's logit."""
        return torch.exp(self.log_steps) * self.num_positions

    def forward(self, evidence: Tensor) -> Tensor:
        """Return the film logit (N,) of an evidence map (N, 1, h, w)."""
        rectified = functional.relu(evidence.float() - cast(Tensor, self.knots).view(1, -1, 1, 1))
        logit: Tensor = rectified.mean(dim=(2, 3)) @ self.weights + self.bias
        return logit


class EvidenceClassifier(nn.Module):
    """A ResNet backbone with an evidence head; the form in which it is trained.

    Args:
        backbone: `ResNetModel` without its fourth stage or with it.
        num_positions: Positions of the last map at the training size, (image_size / stride) squared.
        prior_logit: Logit of the share of fractured films in training.
    """

    def __init__(self, backbone: ResNetModel, *, num_positions: int, prior_logit: float) -> None:
        """Attach head and pooling to the backbone."""
        super().__init__()
        self.backbone = backbone
        config = backbone.config
        self.head = EvidenceHead(cast(list[int], config.hidden_sizes)[-1], config.layer_type)
        self.pooling = EvidencePooling(num_positions, prior_logit)

    def forward(
        self,
        pixel_values: Tensor,
        masks: Tensor | None = None,
        mask_known: Tensor | None = None,
        labels: Tensor | None = None,  # noqa: ARG002 - its name tells the Trainer that batches hold labels
    ) -> EvidenceOutput:
        """Score films; the loss is the Trainer's `compute_loss_func`.

        Args:
            pixel_values: (N, 3, S, S), normalised.
            masks: (N, 1, S, S) in [0, 1], where the fracture lies; all 0 for a film without one.
            mask_known: (N,) of bool; False for a fractured film whose place nobody marked.
            labels: Not used here.
        """
        evidence = self.head(self.backbone(pixel_values=pixel_values).last_hidden_state)  # (N, 1, h, w)
        logit = self.pooling(evidence)
        losses = None
        if masks is not None and mask_known is not None:
            # At another side than the final one there are more or fewer positions; films weigh the same.
            share = self.pooling.num_positions / evidence[0].numel()
            losses = share * evidence_losses(evidence.float(), masks) * mask_known
        return EvidenceOutput(
            logits=torch.stack([-logit / 2, logit / 2], dim=1), evidence_losses=losses, evidence=evidence.squeeze(1)
        )


def evidence_targets(masks: Tensor, cells: Sequence[int]) -> Tensor:
    """Return how much of a fracture each position shows, 1 where it shows the most.

    A position's target is the share of it that the mask covers, divided by the largest share among its neighbours up
    to two positions away: small fractures count like large ones, and the target falls off towards a fracture's edge,
    so that the map's peak comes to lie inside it. (A position that the mask merely touches, counted as fracture,
    puts the peak beside the fracture as often as on it.)

    Args:
        masks: (N, 1, H, W) in [0, 1].
        cells: Height h and width w of the map.

    Returns:
        (N, 1, h, w) in [0, 1].
    """
    covered = functional.adaptive_avg_pool2d(masks.float(), (cells[0], cells[1]))
    most = functional.max_pool2d(covered, kernel_size=5, stride=1, padding=2)
    return covered / most.clamp_min(1e-6)


def evidence_losses(evidence: Tensor, masks: Tensor) -> Tensor:
    """Sum the quality focal loss of each film's positions against `evidence_targets`.

    Source: Li et al., Generalized Focal Loss (2020), with beta 2: the focal loss for targets between 0 and 1.

    Args:
        evidence: (N, 1, h, w) logits.
        masks: (N, 1, H, W) in [0, 1].

    Returns:
        (N,) sums, at least 0.
    """
    target = evidence_targets(masks, evidence.shape[-2:])
    cross_entropy = functional.binary_cross_entropy_with_logits(evidence, target, reduction="none")
    missed = (target - torch.sigmoid(evidence)).abs()
    return (missed**FOCAL_GAMMA * cross_entropy).sum(dim=(1, 2, 3))


@torch.no_grad()
def fold_evidence(classifier: EvidenceClassifier) -> ResNetForImageClassification:
    """Write an evidence classifier into a plain ResNet that computes the same logits.

    The last stage gets one more residual layer. Its first `len(KNOTS)` output channels are relu(e - knot): the layer
    subtracts what the identity path brings and adds the evidence. The remaining channels pass on unchanged, without
    weight in the head; they serve the input gate.

    Args:
        classifier: Trained model; its logits are reproduced to float32 rounding in eval mode.

    Returns:
        The ResNet in eval mode, with two labels.
    """
    source = classifier.backbone.config
    depths = list(cast(Sequence[int], source.depths))
    config = ResNetConfig(
        embedding_size=source.embedding_size,
        hidden_sizes=list(cast(Sequence[int], source.hidden_sizes)),
        depths=[*depths[:-1], depths[-1] + 1],
        layer_type=source.layer_type,
        hidden_act=source.hidden_act,
        downsample_in_first_stage=source.downsample_in_first_stage,
        downsample_in_bottleneck=source.downsample_in_bottleneck,
    )
    config.id2label, config.label2id = dict(ID2LABEL), dict(LABEL2ID)
    folded = ResNetForImageClassification(config)
    folded.resnet.load_state_dict(classifier.backbone.state_dict(), strict=False)
    last_stage = cast(ResNetStage, folded.resnet.encoder.stages[-1])
    _fill_layer(cast(nn.Sequential, last_stage.layers[-1].layer), classifier.head)
    _fill_classifier(cast(nn.Linear, folded.classifier[-1]), classifier.pooling)
    folded.train(mode=False)
    return folded


def holds_folded_evidence(model: PreTrainedModel) -> bool:
    """Tell whether a model ends in a layer that `fold_evidence` wrote."""
    if not isinstance(model, ResNetForImageClassification):
        return False
    residual = cast(ResNetStage, model.resnet.encoder.stages[-1]).layers[-1].layer
    weight = cast(ResNetConvLayer, cast(nn.Sequential, residual)[-1]).convolution.weight.detach()
    num_passed = len(KNOTS)
    if min(weight.shape[:2]) <= num_passed:
        return False  # too narrow to hold it
    expected = torch.zeros_like(weight)
    _pass_channels(expected, -1.0)
    return torch.equal(weight[:, :num_passed], expected[:, :num_passed]) and not weight[num_passed:].any()


@torch.no_grad()
def drop_folded_evidence(model: ResNetForImageClassification) -> None:
    """Take the layer that `fold_evidence` added out of a model again, and draw its head anew, in place.

    Most of that layer's weights are 0 so that channels pass on unchanged; a training would fill them with noise. The
    head reads nothing but the evidence.
    """
    stage = cast(ResNetStage, model.resnet.encoder.stages[-1])
    stage.layers = nn.Sequential(*list(stage.layers)[:-1])
    depths = list(cast(Sequence[int], model.config.depths))
    model.config.depths = [*depths[:-1], depths[-1] - 1]
    cast(nn.Linear, model.classifier[-1]).reset_parameters()


def _fill_layer(layers: nn.Sequential, head: EvidenceHead) -> None:
    """Fill the residual branch of the added layer: pass-through channels first, the head's own behind them."""
    num_passed = len(KNOTS)
    *hidden, last = cast(list[ResNetConvLayer], list(layers))
    convolutions = cast(list[nn.Conv2d], list(head.convolutions))
    normalizations = cast(list[nn.BatchNorm2d], list(head.normalizations))
    for index, (target, convolution, normalization) in enumerate(
        zip(hidden, convolutions, normalizations, strict=True)
    ):
        _clear(target)
        first_input = num_passed if index else 0
        target.convolution.weight[num_passed:, first_input:] = convolution.weight
        _pass_channels(target.convolution.weight, 1.0)
        for name in ("weight", "bias", "running_mean", "running_var"):
            getattr(target.normalization, name)[num_passed:] = getattr(normalization, name)
        # The head's normalisation may use another epsilon; a shift of the variance makes both equal.
        cast(Tensor, target.normalization.running_var)[num_passed:] += normalization.eps - target.normalization.eps
    _clear(last)
    centre = last.convolution.kernel_size[0] // 2
    _pass_channels(last.convolution.weight, -1.0)
    last.convolution.weight[:num_passed, num_passed:, centre, centre] = head.score.weight[0, :, 0, 0]
    last.normalization.bias[:num_passed] = cast(Tensor, head.score.bias) - torch.tensor(KNOTS)


def _clear(layer: ResNetConvLayer) -> None:
    """Set a convolution to zero and its normalisation to the identity."""
    convolution, normalization = layer.convolution, layer.normalization
    convolution.weight.zero_()
    normalization.weight.fill_(1.0)
    normalization.bias.zero_()
    cast(Tensor, normalization.running_mean).zero_()
    cast(Tensor, normalization.running_var).fill_(1.0 - normalization.eps)


def _pass_channels(weight: Tensor, value: float) -> None:
    """Let the first `len(KNOTS)` channels pass, times `value`, through the centre of the kernel."""
    centre = weight.shape[-1] // 2
    for channel in range(len(KNOTS)):
        weight[channel, channel, centre, centre] = value


def _fill_classifier(linear: nn.Linear, pooling: EvidencePooling) -> None:
    """Split the film's logit evenly over the two classes, so that their difference is the logit."""
    linear.weight.zero_()
    linear.bias.zero_()
    for row, sign in ((0, -0.5), (1, 0.5)):
        linear.weight[row, : len(KNOTS)] = sign * pooling.weights
        linear.bias[row] = sign * pooling.bias


@torch.no_grad()
def adjust_head(model: PreTrainedModel, *, temperature: float, shift: float = 0.0) -> None:
    """Fold a calibration into a linear head: difference of logits -> (difference + shift) / temperature.

    Args:
        model: Classifier whose last Linear layer gives the logits.
        temperature: Positive divisor of the logits.
        shift: Added to the difference of the two logits before the division; 0 for more than two classes.

    Raises:
        ModelFolderError: If the last Linear layer does not give the logits, or a shift meets more than two classes.
    """
    linear = [module for module in cast(nn.Module, model).modules() if isinstance(module, nn.Linear)]
    num_labels = model.config.num_labels
    if not linear or linear[-1].out_features != num_labels or (shift and num_labels != 2):
        raise ModelFolderError(
            f"Expected a head that ends in a Linear layer of {num_labels} outputs (two for a shift) to fold the "
            "calibration into."
        )
    head = linear[-1]
    if shift:
        head.bias.add_(torch.tensor([-shift / 2, shift / 2]))
    head.bias.div_(temperature)
    head.weight.div_(temperature)
