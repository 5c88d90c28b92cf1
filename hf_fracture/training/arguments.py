"""The Trainer's arguments with this project's defaults. Importing it imports torch and transformers."""

import os
from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers import TrainingArguments
from transformers.trainer_utils import SchedulerType

from hf_fracture.training.defaults import TrainingDefaults


@dataclass
class FractureTrainingArguments(TrainingDefaults, TrainingArguments):
    """`TrainingArguments` with other defaults; everything else is upstream's.

    * `output_dir`: set by `--out`; checkpoints lie in its folder `checkpoints`.
    * `learning_rate` 1.5e-4 (5e-5) and `weight_decay` 0.05 (0): a convolutional network with BatchNorm, fine-tuned with
      AdamW, not a transformer.
    * `lr_scheduler_type` cosine (linear), `warmup_steps` 0.05 of the steps (0): short runs end at a rate of 0.
    * `per_device_train_batch_size` 16, `per_device_eval_batch_size` 32 (8): fits two CPU cores and any GPU.
    * `num_train_epochs` 10 (3).
    * `eval_strategy`, `save_strategy`, `logging_strategy` epoch (no, steps, steps), `load_best_model_at_end`,
      `metric_for_best_model` auroc: the best epoch on validation is kept.
    * `save_total_limit` 2 (none): the best and the last.
    * `bf16` (off): autocast; 2.4 times faster for ResNets on a CPU with AVX-512 bf16, harmless elsewhere.
    * `logging_nan_inf_filter` off (on): it would log a loss of NaN as 0, and hide that the run has failed.
    * `remove_unused_columns` off (on): the collator reads columns that the model's forward does not name.
    * `dataloader_pin_memory` off (on): pinning is for GPUs and warns without one.
    * `use_cpu` on where torch finds no accelerator (off): upstream refuses bf16 there until it is told so.
    * `ddp_backend` gloo for several processes on a CPU (none): they cannot speak NCCL there.
    * `lr_scheduler_kwargs` of `reduce_lr_on_plateau` get the mode `max` or `min` that `greater_is_better` asks for
      (always min): upstream would lower the rate whenever the AUROC rises.
    * `report_to` none, as upstream: `--report_to tensorboard` or `trackio` writes there too; each is a package of its
      own.
    * `disable_tqdm` off: progress is shown on stderr.
    """

    def __post_init__(self) -> None:
        """Choose the CPU where there is nothing else, let upstream check, and point the plateau schedule upwards."""
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        if self.use_cpu and self.ddp_backend is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            self.ddp_backend = "gloo"
        super().__post_init__()  # type: ignore[no-untyped-call]
        if self.lr_scheduler_type == SchedulerType.REDUCE_ON_PLATEAU:
            mode = "max" if self.greater_is_better else "min"
            self.lr_scheduler_kwargs = {"mode": mode, **cast(dict[str, Any], self.lr_scheduler_kwargs or {})}
