"""Train with one process, with one that accumulates, and with two, alone and taught; leave the trajectories as JSON.

Run as a script: `debug_launcher` forks, which is safe only before torch has started threads.

    python ranks.py WORK_DIR BACKBONE TEACHER
"""

import json
import sys
from pathlib import Path
from typing import Any

STILL = {
    "rotation_degrees": 0.0,
    "scale_fraction": 0.0,
    "translation_fraction": 0.0,
    "horizontal_flip": False,
    "gamma": 1.0,
    "contrast_fraction": 0.0,
    "noise_fraction": 0.0,
}


def train(work_dir: str, name: str, backbone: str, recipe: dict[str, Any], arguments: dict[str, Any]) -> None:
    """Train on phantoms, and leave the losses and the weights in WORK_DIR/NAME.json."""
    import datasets
    import numpy as np
    import torch
    from transformers import EvalPrediction

    from hf_fracture.config import RecipeConfig
    from hf_fracture.training.arguments import FractureTrainingArguments
    from hf_fracture.training.trainer import train_classifier

    def measure(prediction: EvalPrediction) -> dict[str, float]:
        logits: Any = prediction.predictions
        return {"auroc": float(np.mean(logits[:, 1] - logits[:, 0]))}  # moves with every weight, unlike a ranking

    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    result = train_classifier(
        datasets.load_from_disk(f"{work_dir}/splits"),
        RecipeConfig(
            backbone=backbone,
            image_size=32,
            evidence_weight=0,
            early_stopping_epochs=0,
            ema_decay=0.9,
            freeze_epochs=1,
            **{**STILL, **recipe},
        ),
        FractureTrainingArguments(
            output_dir=f"{work_dir}/{name}",
            use_cpu=True,
            bf16=False,
            num_train_epochs=3,
            learning_rate=1e-2,
            logging_strategy="steps",
            logging_steps=1,
            disable_tqdm=True,
            **arguments,
        ),
        compute_metrics=measure,
    )
    if torch.distributed.is_initialized() and torch.distributed.get_rank() != 0:
        return
    content = {
        "losses": [entry["loss"] for entry in result.history if "loss" in entry],
        # Not eval_loss: several processes fill their last batch up with films that they have seen.
        "validation": [entry["eval_auroc"] for entry in result.history if "eval_auroc" in entry],
        "weights": {key: tensor.double().sum().item() for key, tensor in result.model.state_dict().items()},
    }
    Path(work_dir, f"{name}.json").write_text(json.dumps(content))


def main(work_dir: str, backbone: str, teacher: str) -> None:
    """Train in the three ways, alone and taught; the two processes first, while nothing has run in this one."""
    from accelerate import debug_launcher

    import hf_fracture.training.trainer  # noqa: F401 - imported once, before the fork

    taught = {"teacher": teacher, "teacher_image_size": 64}
    half, whole = {"per_device_train_batch_size": 4}, {"per_device_train_batch_size": 8}
    accumulated = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    debug_launcher(train, (work_dir, "two ranks", backbone, {}, half), num_processes=2)
    debug_launcher(train, (work_dir, "two ranks, taught", backbone, taught, half), num_processes=2)
    train(work_dir, "one rank", backbone, {}, whole)
    train(work_dir, "accumulated", backbone, {}, accumulated)
    train(work_dir, "one rank, taught", backbone, taught, whole)
    train(work_dir, "accumulated, taught", backbone, taught, accumulated)


if __name__ == "__main__":
    main(*sys.argv[1:])
