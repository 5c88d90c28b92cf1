"""Fine-tune a classifier with the Trainer and return it as a standard model with what is known of the run.

The test split is never read here. Measures come in as `compute_metrics`. May depend on `models`, `data`, `config`,
`labels` and `errors`.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import nn
from transformers import EarlyStoppingCallback, PreTrainedModel, TrainerCallback
from transformers.trainer_utils import EvalPrediction

from hf_fracture.config import RecipeConfig
from hf_fracture.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from hf_fracture.errors import TrainingError
from hf_fracture.labels import LABEL_NAMES
from hf_fracture.models.backbones import build_evidence_classifier, build_recipe_model, read_start, read_statistics
from hf_fracture.models.distillation import DistilledClassifier, add_teacher, name_model
from hf_fracture.models.evidence import EvidenceClassifier, fold_evidence
from hf_fracture.training.arguments import FractureTrainingArguments
from hf_fracture.training.checkpoints import find_checkpoint, naming_failures
from hf_fracture.training.draws import NumberedFilms
from hf_fracture.training.film_trainer import CountSeconds, FilmTrainer
from hf_fracture.training.films import FilmDataset, build_collator, mean_fracture_cells
from hf_fracture.training.fracture_types import adjust_class_head
from hf_fracture.training.linear_probe import (
    CachedFeatures,
    HeadClassifier,
    cache_features,
    can_cache_features,
    collate_features,
    find_head,
)
from hf_fracture.training.losses import balanced_class_weights, build_film_loss
from hf_fracture.training.narrow_convolutions import planar_narrow_convolutions
from hf_fracture.training.weight_average import AVERAGE_NAME

if TYPE_CHECKING:
    from datasets import DatasetDict

RECORDED_ARGUMENTS = (
    *("learning_rate", "weight_decay", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "optim"),
    *("max_grad_norm", "per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs", "max_steps"),
    *("bf16", "seed", "world_size"),
)
ComputeMetrics = Callable[[EvalPrediction], dict[str, float]]
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """A trained classifier.

    Attributes:
        model: Standard two-class model in eval mode; its logits are not calibrated yet.
        preprocessing: Letterbox and normalisation it was trained with.
        history: The Trainer's log, one entry a report (loss, eval_auroc, …).
        seconds: Wall time, with that of calls that were interrupted, up to their last checkpoint.
    """

    model: PreTrainedModel
    preprocessing: Preprocessing
    history: list[dict[str, float]]
    seconds: float


def train_classifier(
    dataset: "DatasetDict",
    recipe: RecipeConfig,
    arguments: FractureTrainingArguments,
    *,
    compute_metrics: ComputeMetrics,
    label_names: Sequence[str] = LABEL_NAMES,
) -> TrainingResult:
    """Fine-tune on the split `train`, choose the epoch on `validation`.

    A run that was interrupted goes on from its last whole checkpoint in `arguments.output_dir`, and ends with the
    weights of one that was not.

    Args:
        dataset: Prepared dataset with the splits `train` and `validation`; `label` is a position in `label_names`.
        recipe: What is trained on what.
        arguments: How the Trainer does it.
        compute_metrics: Returns at least the metric that `metric_for_best_model` names.
        label_names: Names of the classes.

    Raises:
        TrainingError: If a split is missing or lacks a class, a batch does not fit into the memory, or the loss stops
            being finite; the last good checkpoint is kept.
        OSError: If a checkpoint does not fit onto the disk; the one before is kept.
    """
    if recipe.teacher is not None and arguments.n_gpu > 1:
        raise TrainingError(
            f"Expected one process for each of the {arguments.n_gpu} devices where a teacher is used, got one for all. "
            "Start the command with torchrun or accelerate launch."
        )
    clock = CountSeconds()
    _check_splits(dataset, label_names)
    torch.manual_seed(arguments.seed)
    films = {
        name: FilmDataset(dataset[name], size_px=recipe.image_size, dilation_fraction=recipe.mask_dilation_fraction)
        for name in ("train", "validation")
    }
    model = _build_model(recipe, films["train"].labels, label_names)
    mean, std = (IMAGENET_MEAN, IMAGENET_STD)
    if isinstance(model, PreTrainedModel):
        mean, std = read_statistics(model)
    preprocessing = Preprocessing(size_px=recipe.image_size, mean=mean, std=std)
    even = (1.0,) * len(label_names)
    balance = even
    if _is_balanced(recipe):
        balance = balanced_class_weights(films["train"].labels, num_classes=len(label_names))
    checkpoint_dir = Path(cast(str, arguments.output_dir))
    with naming_failures(checkpoint_dir), planar_narrow_convolutions(model):
        trainer = _build_trainer(model, films, recipe, arguments, preprocessing)
        weights = balance if recipe.class_weights == "balanced" else even
        trainer.add_callback(clock)
        trainer.compute_loss_func = _build_loss(recipe, model, films["train"], weights)
        trainer.compute_metrics = lambda prediction: compute_metrics(_only_logits(prediction))
        also = (AVERAGE_NAME,) if recipe.ema_decay > 0 else ()
        trainer.train(resume_from_checkpoint=find_checkpoint(checkpoint_dir, also=also))
        trainer.finish()
        # Else the network would go on to answer in bf16, and be calibrated on answers that its folder never gives.
        trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    standard = cast(PreTrainedModel, cast(nn.Module, _unwrap(model.to("cpu", torch.float32))).eval())
    # Weighing or drawing class k by w shifts its logit by log w; taking it out gives back the data's own prevalence.
    adjust_class_head(standard, temperature=1.0, shifts=[-math.log(weight) for weight in balance])
    return TrainingResult(
        model=standard,
        preprocessing=preprocessing,
        history=trainer.state.log_history,
        seconds=clock.seconds,
    )


def _unwrap(model: nn.Module) -> PreTrainedModel:
    """Return the standard classifier inside what was trained."""
    if isinstance(model, EvidenceClassifier):
        return fold_evidence(model)
    return model.student if isinstance(model, DistilledClassifier) else cast(PreTrainedModel, model)


def _is_balanced(recipe: RecipeConfig) -> bool:
    return "balanced" in (recipe.class_weights, recipe.sampling)


def _build_trainer(
    model: nn.Module,
    films: dict[str, FilmDataset],
    recipe: RecipeConfig,
    arguments: FractureTrainingArguments,
    preprocessing: Preprocessing,
) -> FilmTrainer:
    """Wire films and network; where nothing before the head ever changes, its input stands for the films."""
    num_classes = int(films["train"].labels.max()) + 1
    train_collator, eval_collator = (
        build_collator(
            preprocessing,
            recipe,
            is_training=is_training,
            with_masks=isinstance(model, EvidenceClassifier),
            num_classes=num_classes,
        )
        for is_training in (lambda: True, lambda: False)
    )
    shared: dict[str, Any] = {
        "args": arguments,
        "labels": films["train"].labels,
        "callbacks": _build_callbacks(recipe),
    }
    if not can_cache_features(recipe):
        if (recipe.freeze_epochs or recipe.frozen_layers) and arguments.ddp_find_unused_parameters is None:
            arguments.ddp_find_unused_parameters = True  # frozen parameters take no part in a step
        return FilmTrainer(
            model=model,
            recipe=recipe,
            train_dataset=NumberedFilms(films["train"]),
            eval_dataset=NumberedFilms(films["validation"]),
            train_collator=train_collator,
            eval_collator=eval_collator,
            **shared,
        )
    logger.warning("The backbone is frozen and films are not altered: its features are computed once and kept.")
    model.to(arguments.device)
    cached = {
        name: CachedFeatures(
            cache_features(
                model,
                part,
                eval_collator,
                batch_size=arguments.per_device_eval_batch_size,
                bf16=arguments.bf16,
            ),
            part.labels,
        )
        for name, part in films.items()
    }
    return FilmTrainer(
        model=HeadClassifier(find_head(model)),
        recipe=replace(recipe, freeze_epochs=0, frozen_layers=0, layer_decay=1.0),
        train_dataset=NumberedFilms(cached["train"]),
        eval_dataset=NumberedFilms(cached["validation"]),
        train_collator=collate_features,
        eval_collator=collate_features,
        **shared,
    )


def describe_run(recipe: RecipeConfig, arguments: FractureTrainingArguments) -> dict[str, Any]:
    """Return the configuration of a run for `run.json`: the recipe and the arguments that matter."""
    kept = {name: _plain(getattr(arguments, name)) for name in RECORDED_ARGUMENTS}
    teacher = name_model(recipe.teacher) if recipe.teacher else None
    named = {"backbone": _name_backbone(recipe), "teacher": teacher}
    return {"recipe": {**asdict(recipe), **named}, "training_arguments": kept}


def _name_backbone(recipe: RecipeConfig) -> str:
    """Name a folder without its path, which tells others nothing, and a trained model with its weights."""
    if not Path(recipe.backbone).is_dir():
        return recipe.backbone
    return name_model(recipe.backbone) if read_start(recipe) else Path(recipe.backbone).name


def _plain(value: object) -> object:
    return value if isinstance(value, int | float | bool | dict | None) else str(getattr(value, "value", value))


def _check_splits(dataset: "DatasetDict", label_names: Sequence[str]) -> None:
    for name in ("train", "validation"):
        if name not in dataset:
            raise TrainingError(
                f"Expected the splits 'train' and 'validation', found {sorted(dataset)}. Prepare the dataset with "
                "hf-fracture data prepare."
            )
        found = set(dataset[name]["label"])
        if len(label_names) == len(LABEL_NAMES) and found != {0, 1}:
            raise TrainingError(
                f"Expected films of both classes in split '{name}', found labels {sorted(found)}. Check labels and "
                "split; for fracture types pass --target fracture_type --evidence_weight 0."
            )
        missing = [label for index, label in enumerate(label_names) if index not in found]
        if missing:
            raise TrainingError(
                f"Expected films of all {len(label_names)} classes in split '{name}', found none of "
                f"{', '.join(missing)}. Add films, or leave these classes out of the dataset."
            )


def _build_model(
    recipe: RecipeConfig, labels: np.ndarray[Any, np.dtype[np.intp]], label_names: Sequence[str]
) -> nn.Module:
    if recipe.evidence_weight <= 0:
        model = build_recipe_model(recipe, label_names=label_names)
        if recipe.teacher is None:
            return model
        return add_teacher(model, recipe.teacher, teacher_size_px=recipe.teacher_image_size)
    share = 0.5 if _is_balanced(recipe) else float(labels.mean())
    return build_evidence_classifier(
        recipe.backbone,
        image_size=recipe.image_size,
        prior_logit=math.log(share / (1 - share)) - 1.0,
        pretrained=recipe.pretrained,
        num_stages=recipe.num_stages,
        revision=recipe.backbone_revision,
    )


def _build_loss(recipe: RecipeConfig, model: nn.Module, films: FilmDataset, weights: tuple[float, ...]) -> Any:
    if not isinstance(model, EvidenceClassifier):
        return build_film_loss(
            class_weights=weights,
            label_smoothing=recipe.label_smoothing,
            focal_gamma=recipe.focal_gamma,
            teacher_weight=recipe.teacher_weight if recipe.teacher else 0.0,
        )
    return build_film_loss(
        class_weights=weights,
        label_smoothing=recipe.label_smoothing,
        focal_gamma=recipe.focal_gamma,
        evidence_weight=recipe.evidence_weight,
        cells_per_fracture=mean_fracture_cells(films, cells=math.isqrt(model.pooling.num_positions)),
    )


def _build_callbacks(recipe: RecipeConfig) -> list[TrainerCallback]:
    if not recipe.early_stopping_epochs:
        return []
    return [EarlyStoppingCallback(early_stopping_patience=recipe.early_stopping_epochs)]


def _only_logits(prediction: EvalPrediction) -> EvalPrediction:
    """Drop what a network in training returns beside its logits."""
    outputs = prediction.predictions
    logits = outputs[0] if isinstance(outputs, tuple) else outputs
    return EvalPrediction(predictions=logits, label_ids=prediction.label_ids)
