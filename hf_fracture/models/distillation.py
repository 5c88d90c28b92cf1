"""A student that also learns what a trained network sees at each position of a film.

A network that starts from random weights learns little from one label a film. A teacher's last feature map gives it
some hundred answers for each of some hundred positions, and a teacher that was trained with marked fractures hands on
where they lie. Only the student is kept: it needs no code of its own.

Source: Romero et al., FitNets (2015), whose hint is a layer in the middle; and Heo et al., A Comprehensive Overhaul of
Feature Distillation (2019), after whom the regression starts from standardised features.

May depend on `backbones`, `checkpoint` and `errors`.
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
from hf_fracture.models.backbones import STAGED_TYPES
from hf_fracture.models.checkpoint import hash_weights, load_model, read_json, read_preprocessing


@dataclass
class DistilledOutput(ModelOutput):
    """What `DistilledClassifier` returns.

    Attributes:
        logits: (N, C) of the student.
        distillation_losses: (N,) mean distance from the teacher's standardised features, at least 0; None in eval
            mode, where no teacher is asked.
    """

    logits: Tensor | None = None
    distillation_losses: Tensor | None = None


class DistilledClassifier(nn.Module):
    """A student beside its teacher; the form in which it is trained.

    The teacher is no part of its state: checkpoints hold the student and its projection. Its features are standardised
    over the films of a batch on one process, as BatchNorm does.

    Args:
        student: ResNet or ConvNeXt of transformers; its parameters are trained.
        teacher: Likewise; stays as it is.
        teacher_size_px: Side to which the student's input is resized for the teacher.
    """

    def __init__(self, student: PreTrainedModel, teacher: PreTrainedModel, *, teacher_size_px: int) -> None:
        """Put a linear map from the student's channels to the teacher's between them."""
        super().__init__()
        self.student = student
        self._teacher_size_px = teacher_size_px
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
        """Score films (N, 3, S, S); while training, also say how far the student's features are from the teacher's."""
        found = self.student(pixel_values=pixel_values, output_hidden_states=self.training)
        if not self.training:
            return DistilledOutput(logits=found.logits)
        features = found.hidden_states[-1]  # (N, C, h, w)
        with torch.no_grad():
            teacher = cast(Any, self)._teacher.to(pixel_values.device)
            films = functional.interpolate(pixel_values, size=self._teacher_size_px, mode="bilinear", antialias=True)
            wanted = teacher(pixel_values=films, output_hidden_states=True).hidden_states[-1].float()
            wanted = functional.interpolate(wanted, size=features.shape[-2:], mode="area")
        distance = functional.smooth_l1_loss(
            self.projection(features).float(), self.standardization(wanted), reduction="none"
        )
        return DistilledOutput(logits=found.logits, distillation_losses=distance.mean(dim=(1, 2, 3)))


def add_teacher(student: PreTrainedModel, folder: str, *, teacher_size_px: int) -> DistilledClassifier:
    """Put a student beside the teacher of a model folder.

    Args:
        student: ResNet or ConvNeXt.
        folder: Of the teacher.
        teacher_size_px: Side at which it sees films; 0 for that of its training.

    Raises:
        UsageError: If there is no such folder, or one of both is no ResNet or ConvNeXt.
        ModelFolderError: If it holds no model.
    """
    path = _find_teacher(folder)
    size_px = teacher_size_px or read_preprocessing(path).size_px
    return DistilledClassifier(student, load_model(path), teacher_size_px=size_px)


def name_model(folder: str) -> str:
    """Return a model's name without its path, and the beginning of its weights' sha256; raises as `add_teacher`."""
    path = _find_teacher(folder)
    return f"{path.name}, weights {hash_weights(path)[:12]}"


def check_teacher(folder: str, assignment: str) -> None:
    """Refuse a teacher that may have seen films on which its student is measured.

    Args:
        folder: Model folder of the teacher.
        assignment: sha256 of which film lies in which split of the student's dataset.

    Raises:
        UsageError: If the teacher does not say that it was trained on the same split, or gives no features.
    """
    path = _find_teacher(folder)
    known = read_json(path / "run.json") if (path / "run.json").is_file() else {}
    if known.get("data", {}).get("split_sha256") != assignment:
        raise UsageError(
            f"Expected a teacher that was trained on the same split of the same films, got '{path.name}', which does "
            "not say so in its run.json: it may have seen films of validation and test. Train one on this dataset."
        )
    _check_kind(str(read_json(path / "config.json").get("model_type")))


def _find_teacher(folder: str) -> Path:
    if not (Path(folder) / "config.json").is_file():
        raise UsageError(
            f"Expected --teacher to name a model folder, found none at '{folder}'. Train one, or download it first."
        )
    return Path(folder)


def _count_channels(model: PreTrainedModel) -> int:
    _check_kind(model.config.model_type)
    return int(cast(Any, model.config).hidden_sizes[-1])


def _check_kind(model_type: str) -> None:
    if model_type not in STAGED_TYPES:
        raise UsageError(
            f"A teacher's features pass between ResNets and ConvNeXts, got '{model_type}'. Leave --teacher out."
        )
