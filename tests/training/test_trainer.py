import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import EvalPrediction, ResNetForImageClassification, TrainerCallback

from hf_fracture.config import RecipeConfig
from hf_fracture.errors import TrainingError
from hf_fracture.models.evidence import adjust_head
from hf_fracture.training import trainer as trainer_module
from hf_fracture.training.arguments import FractureTrainingArguments
from hf_fracture.training.trainer import TrainingResult, find_checkpoint, train_classifier


def measure(prediction: EvalPrediction) -> dict[str, float]:
    from sklearn.metrics import roc_auc_score

    logits: Any = prediction.predictions
    return {"auroc": float(roc_auc_score(prediction.label_ids, logits[:, 1] - logits[:, 0]))}


def train(splits: Any, backbone: Path, out_dir: Path, recipe: dict[str, Any] | None = None, **arguments: Any) -> Any:
    settings = {"image_size": 96, "early_stopping_epochs": 0, **(recipe or {})}
    quiet = {"num_train_epochs": 2, "per_device_train_batch_size": 8, "bf16": False, "disable_tqdm": True}
    return train_classifier(
        splits,
        RecipeConfig(backbone=str(backbone), **settings),
        FractureTrainingArguments(output_dir=str(out_dir), use_cpu=True, **{**quiet, **arguments}),
        compute_metrics=measure,
    )


def weights_of(result: TrainingResult) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in result.model.state_dict().items() if tensor.is_floating_point()}


@pytest.mark.parametrize("evidence_weight", [0.0, 0.5])
def test_training_returns_a_plain_resnet_and_its_log(
    phantom_splits: Any, tiny_backbone_dir: Path, tmp_path: Path, evidence_weight: float
) -> None:
    result = train(phantom_splits, tiny_backbone_dir, tmp_path, {"evidence_weight": evidence_weight})
    assert type(result.model) is ResNetForImageClassification
    assert not result.model.training
    assert [entry["epoch"] for entry in result.history if "eval_auroc" in entry] == [1.0, 2.0]


def test_run_killed_after_an_epoch_ends_with_the_weights_of_one_that_was_not(
    phantom_splits: Any, tiny_backbone_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(phantom_splits, tiny_backbone_dir, tmp_path / "whole", save_total_limit=5)

    class Kill(TrainerCallback):
        def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.epoch >= 1:
                raise KeyboardInterrupt

    build_callbacks = trainer_module._build_callbacks
    monkeypatch.setattr(trainer_module, "_build_callbacks", lambda recipe: [*build_callbacks(recipe), Kill()])
    with pytest.raises(KeyboardInterrupt):
        train(phantom_splits, tiny_backbone_dir, tmp_path / "killed", save_total_limit=5)
    monkeypatch.undo()
    assert find_checkpoint(tmp_path / "killed") is not None
    resumed = train(phantom_splits, tiny_backbone_dir, tmp_path / "killed", save_total_limit=5)
    for name, tensor in weights_of(whole).items():
        torch.testing.assert_close(weights_of(resumed)[name], tensor, rtol=0, atol=0, msg=name)


def test_accumulation_takes_the_steps_of_the_whole_batch(
    phantom_splits: Any, tiny_backbone_dir: Path, tmp_path: Path
) -> None:
    # BatchNorm sees another batch when it is divided, so the first step's losses agree only roughly; the defect of
    # transformers issue 47688 would multiply one of them by 4.
    still = {
        "rotation_degrees": 0.0,
        "scale_fraction": 0.0,
        "translation_fraction": 0.0,
        "horizontal_flip": False,
        "gamma": 1.0,
        "contrast_fraction": 0.0,
        "noise_fraction": 0.0,
        "class_weights": "none",
    }
    losses = []
    for steps in (1, 4):
        result = train(
            phantom_splits,
            tiny_backbone_dir,
            tmp_path / str(steps),
            still,
            per_device_train_batch_size=24 // steps,
            gradient_accumulation_steps=steps,
            max_steps=1,
            logging_strategy="steps",
            logging_steps=1,
            save_strategy="no",
            eval_strategy="no",
            load_best_model_at_end=False,
        )
        losses.append(next(entry["loss"] for entry in result.history if "loss" in entry))
    assert losses[1] == pytest.approx(losses[0], rel=0.25), "four steps must not report four times the loss"


def test_class_weights_do_not_move_the_prevalence_of_the_answers(
    phantom_splits: Any, tiny_backbone_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shifts: list[float] = []

    def record_shift(model: Any, *, temperature: float, shift: float) -> None:
        shifts.append(shift)
        adjust_head(model, temperature=temperature, shift=shift)

    monkeypatch.setattr(trainer_module, "adjust_head", record_shift)
    monkeypatch.setattr(trainer_module, "balanced_class_weights", lambda _labels: (0.5, 2.0))
    train(phantom_splits, tiny_backbone_dir, tmp_path, num_train_epochs=1)
    assert shifts == [pytest.approx(-math.log(4))]


def test_checkpoint_that_was_being_written_is_passed_over(tmp_path: Path) -> None:
    names = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")
    for step in (9, 10):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        for name in names:
            (folder / name).touch()
    assert find_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
    (tmp_path / "checkpoint-10" / "trainer_state.json").unlink()
    assert find_checkpoint(tmp_path) == str(tmp_path / "checkpoint-9")
    shutil.rmtree(tmp_path / "checkpoint-9")
    assert find_checkpoint(tmp_path) is None


def test_loss_that_is_not_finite_ends_the_run_and_says_where(
    phantom_splits: Any, tiny_backbone_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"finite training loss, got .* at step \d+.*--learning_rate"):
        train(
            phantom_splits, tiny_backbone_dir, tmp_path, learning_rate=1e30, logging_strategy="steps", logging_steps=1
        )


def test_split_of_one_class_is_refused(phantom_splits: Any, tiny_backbone_dir: Path, tmp_path: Path) -> None:
    from datasets import DatasetDict

    labels = np.asarray(phantom_splits["validation"]["label"])
    intact = phantom_splits["validation"].select(np.flatnonzero(labels == 0))
    splits = DatasetDict({"train": phantom_splits["train"], "validation": intact})
    with pytest.raises(TrainingError, match=r"both classes in split 'validation', found labels \[0\]"):
        train(splits, tiny_backbone_dir, tmp_path)


def test_missing_validation_split_is_named(phantom_splits: Any, tiny_backbone_dir: Path, tmp_path: Path) -> None:
    from datasets import DatasetDict

    with pytest.raises(TrainingError, match="'train' and 'validation'"):
        train(DatasetDict({"train": phantom_splits["train"]}), tiny_backbone_dir, tmp_path)
