import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import ConvNextForImageClassification, ResNetForImageClassification, TrainerCallback

from hf_fracture.errors import TrainingError
from hf_fracture.training import trainer as trainer_module
from hf_fracture.training.checkpoints import find_checkpoint
from hf_fracture.training.film_trainer import FilmTrainer
from hf_fracture.training.fracture_types import adjust_class_head
from hf_fracture.training.trainer import TrainingResult

STILL = {
    "rotation_degrees": 0.0,
    "scale_fraction": 0.0,
    "translation_fraction": 0.0,
    "horizontal_flip": False,
    "gamma": 1.0,
    "contrast_fraction": 0.0,
    "noise_fraction": 0.0,
}
Train = Callable[..., TrainingResult]


def weights_of(result: TrainingResult) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in result.model.state_dict().items() if tensor.is_floating_point()}


@pytest.mark.parametrize("evidence_weight", [0.0, 0.5])
def test_training_returns_a_plain_resnet_and_its_log(train: Train, tmp_path: Path, evidence_weight: float) -> None:
    result = train(tmp_path, {"evidence_weight": evidence_weight})
    assert type(result.model) is ResNetForImageClassification
    assert not result.model.training
    assert [entry["epoch"] for entry in result.history if "eval_auroc" in entry] == [1.0, 2.0]


def test_student_of_a_teacher_is_kept_without_what_trained_it(
    train: Train, tmp_path: Path, tiny_backbone_dir: Path, tiny_convnext_dir: Path
) -> None:
    recipe = {"backbone": str(tiny_convnext_dir), "evidence_weight": 0.0, "teacher": str(tiny_backbone_dir)}
    recipe |= {"teacher_image_size": 96}
    taught = train(tmp_path / "taught", recipe, num_train_epochs=1)
    alone = train(tmp_path / "alone", {**recipe, "teacher": None}, num_train_epochs=1)
    ignored = train(tmp_path / "ignored", {**recipe, "teacher_weight": 1e-12}, num_train_epochs=1)
    assert type(taught.model) is ConvNextForImageClassification
    assert set(taught.model.state_dict()) == set(alone.model.state_dict())
    assert any(not torch.equal(weights_of(taught)[name], tensor) for name, tensor in weights_of(ignored).items())


def test_run_names_its_teacher_and_its_start_without_the_path(tiny_backbone_dir: Path) -> None:
    from hf_fracture.config import RecipeConfig
    from hf_fracture.models.checkpoint import DEFAULT_MODEL_DIR, hash_weights
    from hf_fracture.training.arguments import FractureTrainingArguments

    arguments = FractureTrainingArguments(output_dir="x", use_cpu=True)
    for backbone, named in (
        (tiny_backbone_dir, "tiny"),
        (DEFAULT_MODEL_DIR, f"default_model, weights {hash_weights(DEFAULT_MODEL_DIR)[:12]}"),
    ):
        recipe = RecipeConfig(backbone=str(backbone), evidence_weight=0, teacher=str(tiny_backbone_dir))
        described = trainer_module.describe_run(recipe, arguments)
        assert described["recipe"]["teacher"].startswith("tiny, weights ")
        assert described["recipe"]["backbone"] == named


EVERY_TECHNIQUE = {
    "sampling": "balanced",
    "class_weights": "none",
    "freeze_epochs": 1,
    "frozen_layers": 1,
    "first_image_size": 48,
    "first_size_epochs": 1,
    "layer_decay": 0.7,
    "ema_decay": 0.9,
    "mixup_alpha": 0.4,
    "evidence_weight": 0.0,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "arguments", "killed_at"),
    [
        ({}, {}, 1.0),
        (EVERY_TECHNIQUE, {"lr_scheduler_type": "reduce_lr_on_plateau", "warmup_steps": 0}, 1.0),
        ({"teacher": "tiny", "evidence_weight": 0.0, "recompression_probability": 0.5}, {}, 1.0),
        (
            {"ema_decay": 0.9},
            {"save_strategy": "steps", "eval_strategy": "steps", "save_steps": 2, "eval_steps": 2},
            1.6,
        ),
    ],
    ids=["evidence", "every technique", "teacher", "within an epoch"],
)
def test_killed_run_ends_with_the_weights_of_one_that_was_not(
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny_backbone_dir: Path,
    recipe: dict[str, Any],
    arguments: dict[str, Any],
    killed_at: float,
) -> None:
    if "teacher" in recipe:
        recipe = {**recipe, "teacher": str(tiny_backbone_dir), "teacher_image_size": 64}
    settings: dict[str, Any] = {"num_train_epochs": 3, "save_total_limit": 9, **arguments}
    whole = train(tmp_path / "whole", recipe, **settings)

    class Kill(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.epoch >= killed_at:
                raise KeyboardInterrupt

    build_callbacks = trainer_module._build_callbacks
    monkeypatch.setattr(trainer_module, "_build_callbacks", lambda recipe: [*build_callbacks(recipe), Kill()])
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", recipe, **settings)
    monkeypatch.undo()
    state_path = Path(str(find_checkpoint(tmp_path / "killed"))) / "trainer_state.json"
    state = json.loads(state_path.read_text())
    assert 0 < state["log_history"][-1]["elapsed_seconds"] < 1000
    state["log_history"][-1]["elapsed_seconds"] = 1000.0
    state_path.write_text(json.dumps(state))
    resumed = train(tmp_path / "killed", recipe, **settings)
    assert resumed.history[-1]["elapsed_seconds"] > 1000
    assert 1000 < resumed.seconds < 2000, "the call that was killed counts too"
    for name, tensor in weights_of(whole).items():
        torch.testing.assert_close(weights_of(resumed)[name], tensor, rtol=0, atol=0, msg=name)


def test_weighing_and_drawing_classes_do_not_move_the_prevalence_of_the_answers(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken_out: list[list[float]] = []

    def record_shifts(model: Any, *, temperature: float, shifts: list[float]) -> None:
        taken_out.append(shifts)
        adjust_class_head(model, temperature=temperature, shifts=shifts)

    monkeypatch.setattr(trainer_module, "adjust_class_head", record_shifts)
    monkeypatch.setattr(trainer_module, "balanced_class_weights", lambda _labels, **_: (0.5, 2.0))
    train(tmp_path / "weighed", num_train_epochs=1)
    train(tmp_path / "drawn", {"class_weights": "none", "sampling": "balanced"}, num_train_epochs=1)
    train(tmp_path / "neither", {"class_weights": "none"}, num_train_epochs=1)
    balanced = [pytest.approx(math.log(2)), pytest.approx(-math.log(2))]
    assert taken_out == [balanced, balanced, [0.0, 0.0]]


def test_validation_films_are_never_altered(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hf_fracture.data.augmentation import augment_films
    from hf_fracture.training import films as films_module

    seen: list[int] = []

    def augment_and_count(films: torch.Tensor, *rest: Any) -> Any:
        seen.append(len(films))
        return augment_films(films, *rest)

    monkeypatch.setattr(films_module, "augment_films", augment_and_count)
    train(tmp_path, num_train_epochs=2)
    assert sum(seen) == 2 * 24, "every training film of every epoch is altered, and no other"


def test_one_class_only_is_refused_with_the_split_s_name(train: Train, phantom_splits: Any, tmp_path: Path) -> None:
    from datasets import DatasetDict

    intact = np.flatnonzero(np.asarray(phantom_splits["validation"]["label"]) == 0)
    splits = DatasetDict({**phantom_splits, "validation": phantom_splits["validation"].select(intact)})
    with pytest.raises(TrainingError, match="both classes in split 'validation', found labels \\[0\\]"):
        train(tmp_path, splits=splits)


def test_missing_split_is_named(train: Train, phantom_splits: Any, tmp_path: Path) -> None:
    from datasets import DatasetDict

    with pytest.raises(TrainingError, match="found \\['train'\\]"):
        train(tmp_path, splits=DatasetDict({"train": phantom_splits["train"]}))


def test_loss_that_is_not_a_number_stops_the_run_and_keeps_the_last_good_checkpoint(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute_loss = FilmTrainer.compute_loss

    def break_late(self: Any, *args: Any, **kwargs: Any) -> Any:
        loss: Any = compute_loss(self, *args, **kwargs)
        return loss * float("nan") if self.model.training and self.state.global_step >= 4 else loss

    monkeypatch.setattr(FilmTrainer, "compute_loss", break_late)
    with pytest.raises(TrainingError, match=r"got nan at step 5 \(epoch 1\.33\).*checkpoint is kept"):
        train(tmp_path)
    kept = find_checkpoint(tmp_path)
    assert kept is not None
    assert Path(kept).name == "checkpoint-3"
    from safetensors.torch import load_file

    assert all(bool(torch.isfinite(tensor).all()) for tensor in load_file(Path(kept) / "model.safetensors").values())


def test_batch_that_does_not_fit_names_what_to_lower(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask_for_too_much(self: FilmTrainer, *args: Any, **kwargs: Any) -> None:
        torch.empty(1 << 60)

    monkeypatch.setattr(FilmTrainer, "training_step", ask_for_too_much)
    with pytest.raises(TrainingError, match=r"fit into the memory.*Lower --per_device_train_batch_size"):
        train(tmp_path)
