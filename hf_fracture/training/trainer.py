"""Fine-tune a classifier with the Trainer and return it as a standard model with what is known of the run.

The test split is never read here. Measures come in as `compute_metrics`. May depend on `models`, `data`, `config`,
`labels` and `errors`.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import nn
from transformers import (
    EarlyStoppingCallback,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import EvalPrediction

from hf_fracture.config import RecipeConfig
from hf_fracture.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from hf_fracture.errors import TrainingError
from hf_fracture.labels import FRACTURED
from hf_fracture.models.backbones import build_classifier, build_evidence_classifier
from hf_fracture.models.evidence import EvidenceClassifier, adjust_head, fold_evidence
from hf_fracture.training.arguments import FractureTrainingArguments
from hf_fracture.training.films import FilmDataset, build_collator, mean_fracture_cells
from hf_fracture.training.losses import balanced_class_weights, build_film_loss

if TYPE_CHECKING:
    from datasets import DatasetDict

CHECKPOINT_FILES = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state*.pth", "trainer_state.json")
RECORDED_ARGUMENTS = (
    *("learning_rate", "weight_decay", "lr_scheduler_type", "warmup_steps", "optim", "max_grad_norm"),
    *("per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs", "max_steps", "bf16", "seed"),
)
ComputeMetrics = Callable[[EvalPrediction], dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """A trained classifier.

    Attributes:
        model: Standard two-class model in eval mode; its logits are not calibrated yet.
        preprocessing: Letterbox and normalisation it was trained with.
        history: The Trainer's log, one entry a report (loss, eval_auroc, …).
        seconds: Wall time of this call.
    """

    model: PreTrainedModel
    preprocessing: Preprocessing
    history: list[dict[str, float]]
    seconds: float


class StopAtNonFiniteLoss(TrainerCallback):
    """End the run, with the place, as soon as a logged loss is not a number."""

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:  # noqa: ARG002 - the callback's interface
        """Raise if the loss just logged is not finite."""
        loss = float(kwargs.get("logs", {}).get("loss", 0.0))
        if not math.isfinite(loss):
            raise TrainingError(
                f"Expected a finite training loss, got {loss} at step {state.global_step} (epoch {state.epoch:.2f}). "
                f"Lower --learning_rate or pass --bf16 false; the last good checkpoint is kept in '{args.output_dir}'."
            )


def train_classifier(
    dataset: "DatasetDict",
    recipe: RecipeConfig,
    arguments: FractureTrainingArguments,
    *,
    compute_metrics: ComputeMetrics,
) -> TrainingResult:
    """Fine-tune on the split `train`, choose the epoch on `validation`.

    A run that was interrupted goes on from its last checkpoint in `arguments.output_dir`.

    Args:
        dataset: Prepared dataset with the splits `train` and `validation`.
        recipe: What is trained on what.
        arguments: How the Trainer does it.
        compute_metrics: Returns at least the metric that `metric_for_best_model` names.

    Raises:
        TrainingError: If a split is missing or holds one class, or the loss stops being finite.
    """
    started = time.monotonic()
    _check_splits(dataset)
    torch.manual_seed(arguments.seed)
    dilation_px = round(recipe.mask_dilation_fraction * recipe.image_size)
    films = {
        name: FilmDataset(dataset[name], size_px=recipe.image_size, dilation_px=dilation_px)
        for name in ("train", "validation")
    }
    preprocessing = Preprocessing(size_px=recipe.image_size, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    model = _build_model(recipe, films["train"].labels)
    weights = balanced_class_weights(films["train"].labels) if recipe.class_weights == "balanced" else (1.0, 1.0)
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=films["train"],
        eval_dataset=films["validation"],
        data_collator=build_collator(
            preprocessing,
            recipe,
            is_training=lambda: model.training,
            with_masks=isinstance(model, EvidenceClassifier),
        ),
        compute_loss_func=_build_loss(recipe, model, films["train"], weights),
        compute_metrics=lambda prediction: compute_metrics(_only_logits(prediction)),
        callbacks=_build_callbacks(recipe),
    )
    trainer.train(resume_from_checkpoint=find_checkpoint(Path(cast(str, arguments.output_dir))))
    classifier = fold_evidence(model.to("cpu", torch.float32)) if isinstance(model, EvidenceClassifier) else model
    standard = cast(PreTrainedModel, classifier.to("cpu", torch.float32).eval())
    # Weighting class 1 by w shifts its logit by log w; taking it out gives back the data's own prevalence.
    adjust_head(standard, temperature=1.0, shift=-math.log(weights[FRACTURED] / weights[1 - FRACTURED]))
    return TrainingResult(
        model=standard,
        preprocessing=preprocessing,
        history=trainer.state.log_history,
        seconds=time.monotonic() - started,
    )


def find_checkpoint(checkpoint_dir: Path) -> str | None:
    """Return the newest complete checkpoint of an interrupted run, or None.

    A checkpoint that was being written when the run was killed lacks a file and is passed over.
    """
    complete = [
        folder
        for folder in checkpoint_dir.glob("checkpoint-*")
        if all(any(folder.glob(name)) for name in CHECKPOINT_FILES)
    ]
    newest = max(complete, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)
    return None if newest is None else str(newest)


def describe_run(recipe: RecipeConfig, arguments: FractureTrainingArguments) -> dict[str, Any]:
    """Return the configuration of a run for `run.json`: the recipe and the arguments that matter."""
    kept = {name: _plain(getattr(arguments, name)) for name in RECORDED_ARGUMENTS}
    # A folder is named without its path: where it lies on one machine tells others nothing.
    backbone = Path(recipe.backbone).name if Path(recipe.backbone).is_dir() else recipe.backbone
    return {"recipe": {**asdict(recipe), "backbone": backbone}, "training_arguments": kept}


def _plain(value: object) -> object:
    return value if isinstance(value, int | float | bool | type(None)) else str(getattr(value, "value", value))


def _check_splits(dataset: "DatasetDict") -> None:
    for name in ("train", "validation"):
        if name not in dataset:
            raise TrainingError(
                f"Expected the splits 'train' and 'validation', found {sorted(dataset)}. Prepare the dataset with "
                "hf-fracture data prepare."
            )
        found = sorted(set(dataset[name]["label"]))
        if found != [0, 1]:
            raise TrainingError(
                f"Expected films of both classes in split '{name}', found labels {found}. Check labels and split."
            )


def _build_model(recipe: RecipeConfig, labels: np.ndarray[Any, np.dtype[np.intp]]) -> nn.Module:
    if recipe.evidence_weight <= 0:
        return build_classifier(recipe.backbone)
    share = 0.5 if recipe.class_weights == "balanced" else float(labels.mean())
    return build_evidence_classifier(
        recipe.backbone, image_size=recipe.image_size, prior_logit=math.log(share / (1 - share)) - 1.0
    )


def _build_loss(recipe: RecipeConfig, model: nn.Module, films: FilmDataset, weights: tuple[float, float]) -> Any:
    if not isinstance(model, EvidenceClassifier):
        return build_film_loss(class_weights=weights, label_smoothing=recipe.label_smoothing)
    return build_film_loss(
        class_weights=weights,
        label_smoothing=recipe.label_smoothing,
        evidence_weight=recipe.evidence_weight,
        cells_per_fracture=mean_fracture_cells(films, cells=math.isqrt(model.pooling.num_positions)),
    )


def _build_callbacks(recipe: RecipeConfig) -> list[TrainerCallback]:
    callbacks: list[TrainerCallback] = [StopAtNonFiniteLoss()]
    if recipe.early_stopping_epochs:
        callbacks.append(EarlyStoppingCallback(early_stopping_patience=recipe.early_stopping_epochs))
    return callbacks


def _only_logits(prediction: EvalPrediction) -> EvalPrediction:
    """Drop what the evidence classifier returns beside its logits."""
    outputs = prediction.predictions
    logits = outputs[0] if isinstance(outputs, tuple) else outputs
    return EvalPrediction(predictions=logits, label_ids=prediction.label_ids)
