"""A student that also learns what a trained network sees at each position of a film.

A network that starts from random weights learns little from one label a film. A teacher's last feature map gives it
some hundred answers for each of some hundred positions, and a teacher that was trained with marked fractures hands on
where they lie. Only the student is kept: it needs no code of its own.

Source: Romero et al., FitNets (2015), whose hint is a layer in the middle; and Heo et al., A Comprehensive Overhaul of
Feature Distillation (2019), after whom the regression starts from standardised features.

May depend on `checkpoint` and `errors`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from hf_fracture.errors import UsageError
from hf_fracture.models.checkpoint import hash_weights, load_model


@dataclass
class DistilledOutput(ModelOutput):
    """What `DistilledClassifier` returns.

    Attributes:
        logits: (N, C) of the student.
        distillation_losses: (N,) mean distance from the teacher's standardised features, at least 0.
    """

    logits: Tensor | None = None
    distillation_losses: Tensor | None = None


class DistilledClassifier(nn.Module):
    """A student beside its teacher; the form in which it is trained.

    The teacher is no part of its state: checkpoints hold the student and its projection.

    Args:
        student: ResNet or ConvNeXt of transformers; its parameters are trained.
        teacher: Likewise; stays as it is. It sees the student's input.
    """

    def __init__(self, student: PreTrainedModel, teacher: PreTrainedModel) -> None:
        """Put a linear map from the student's channels to the teacher's between them."""
        super().__init__()
        self.student = student
        channels, wanted = (_count_channels(model) for model in (student, teacher))
        self.projection = nn.Conv2d(channels, wanted, kernel_size=1)
        self.standardization = nn.BatchNorm2d(wanted, affine=False)
        resting = cast(nn.Module, teacher).eval().requires_grad_(requires_grad=False)
        object.__setattr__(self, "_teacher", resting)  # not registered: no parameter, no state, not in train mode

    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,  # noqa: ARG002 - its name tells the Trainer that batches hold labels
    ) -> DistilledOutput:
        """Score films (N, 3, S, S) and say how far the student's features are from the teacher's."""
        found = self.student(pixel_values=pixel_values, output_hidden_states=True)
        features = found.hidden_states[-1]  # (N, C, h, w)
        with torch.no_grad():
            teacher = cast(Any, self)._teacher.to(pixel_values.device)
            wanted = teacher(pixel_values=pixel_values, output_hidden_states=True).hidden_states[-1].float()
            wanted = functional.interpolate(wanted, size=features.shape[-2:], mode="area")
        distance = functional.smooth_l1_loss(
            self.projection(features).float(), self.standardization(wanted), reduction="none"
        )
        return DistilledOutput(logits=found.logits, distillation_losses=distance.mean(dim=(1, 2, 3)))


def load_teacher(folder: str) -> PreTrainedModel:
    """Load a teacher.

    Raises:
        UsageError: If there is no such folder.
        ModelFolderError: If it holds no model.
    """
    return load_model(_find_teacher(folder))


def name_teacher(folder: str) -> str:
    """Return a teacher's name without its path, and the beginning of its weights' sha256; raises as `load_teacher`."""
    path = _find_teacher(folder)
    return f"{path.name}, weights {hash_weights(path)[:12]}"


def _find_teacher(folder: str) -> Path:
    if not (Path(folder) / "config.json").is_file():
        raise UsageError(
            f"Expected --teacher to name a model folder, found none at '{folder}'. Train one, or download it first."
        )
    return Path(folder)


def _count_channels(model: PreTrainedModel) -> int:
    sizes = getattr(model.config, "hidden_sizes", None)
    if not sizes:
        raise UsageError(
            f"A teacher's features pass between ResNets and ConvNeXts, got {type(model).__name__}. Leave --teacher out."
        )
    return int(sizes[-1])
