"""Defaults of the Trainer's arguments, in a module of their own so that `--help` can show them without torch."""

from dataclasses import dataclass, field


@dataclass
class TrainingDefaults:
    """The fields of `TrainingArguments` that have another default here; `FractureTrainingArguments` says why."""

    learning_rate: float = field(default=1.5e-4, metadata={"help": "Peak learning rate of AdamW."})
    weight_decay: float = field(default=0.05, metadata={"help": "Decoupled weight decay."})
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Schedule of the learning rate."})
    warmup_steps: float = field(default=0.05, metadata={"help": "Steps of warm-up; below 1 a share of all steps."})
    per_device_train_batch_size: int = field(default=16, metadata={"help": "Films per step and device."})
    per_device_eval_batch_size: int = field(default=32, metadata={"help": "Films per evaluation step and device."})
    num_train_epochs: float = field(default=10.0, metadata={"help": "Passes over the training films."})
    eval_strategy: str = field(default="epoch", metadata={"help": "When to read the validation split."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to write a checkpoint."})
    logging_strategy: str = field(default="epoch", metadata={"help": "When to log the training loss."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "Keep the best epoch on validation."})
    metric_for_best_model: str | None = field(default="auroc", metadata={"help": "Validation metric of the choice."})
    greater_is_better: bool | None = field(default=True, metadata={"help": "Whether a larger metric is better."})
    save_total_limit: int | None = field(default=2, metadata={"help": "Checkpoints kept: the best and the last."})
    bf16: bool = field(default=True, metadata={"help": "bfloat16 autocast."})
    logging_nan_inf_filter: bool = field(default=False, metadata={"help": "Log a loss of NaN as 0."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "Keep columns that the collator reads."})
    dataloader_pin_memory: bool = field(default=False, metadata={"help": "Pin host memory, for GPUs."})
    use_cpu: bool = field(default=False, metadata={"help": "Stay on the CPU; so it is where nothing else is found."})
    disable_tqdm: bool | None = field(default=False, metadata={"help": "Hide progress bars."})
