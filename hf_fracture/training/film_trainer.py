"""The Trainer with what a recipe adds: sampling, frozen layers, a learning rate per layer, averaged weights.

Everything here is a function of the recipe, the seed and the step, so that a resumed run repeats it. May depend on
`models`, `config` and `errors`.
"""

import math
import time
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerState

from hf_fracture.config import RecipeConfig
from hf_fracture.errors import TrainingError, UsageError
from hf_fracture.models.backbones import group_layers
from hf_fracture.training.draws import BalancedSampler, Collator, RepeatableCollator
from hf_fracture.training.films import FilmDataset
from hf_fracture.training.weight_average import WeightAverage


class FilmTrainer(Trainer):
    """A Trainer of films.

    Differences to its base: validation films go through a collator of their own, so that they are never altered; a loss
    that is not finite ends the run at once; and the fields `sampling`, `layer_decay`, `freeze_epochs`,
    `frozen_layers`, `first_image_size` and `ema_decay` of the recipe.
    """

    def __init__(
        self,
        *,
        recipe: RecipeConfig,
        labels: NDArray[np.intp],
        train_collator: Collator,
        eval_collator: Collator,
        **settings: Any,
    ) -> None:
        """Wire the recipe.

        Args:
            recipe: What is trained how.
            labels: (N,) classes of the training films.
            train_collator: Makes a training batch of items with the key `index`; may draw from torch's generator.
            eval_collator: Makes a validation batch.
            settings: Of the base class.
        """
        self._recipe = recipe
        self._labels = labels
        self._eval_collator = eval_collator
        seed: int = settings["args"].seed
        repeatable = RepeatableCollator(train_collator, seed=seed)
        super().__init__(data_collator=repeatable, **settings)
        network = self._network()
        self._average = WeightAverage(network, decay=recipe.ema_decay) if recipe.ema_decay > 0 else None
        self.add_callback(_FollowEpochs(repeatable, self._average))
        if recipe.first_size_epochs:
            self.add_callback(ResizeFilms(settings["train_dataset"].films, recipe))
        *layers, _ = group_layers(network)
        if recipe.frozen_layers:
            frozen, layers = _divide_layers(layers, recipe.frozen_layers)
            self.add_callback(FreezeLayers(network, frozen, num_epochs=-1))
        if recipe.freeze_epochs:
            self.add_callback(FreezeLayers(network, layers, num_epochs=recipe.freeze_epochs))

    def _network(self) -> nn.Module:
        return cast(nn.Module, self.model)

    def finish(self) -> None:
        """Leave the network with the weights that are kept: the mean of the last step where no best one was loaded."""
        if self._average is not None and not self._loads_best():
            self._average.copy_to_network()

    def _loads_best(self) -> bool:
        return bool(self.args.load_best_model_at_end and self.state.best_model_checkpoint)

    def _get_train_sampler(self, train_dataset: Dataset[Any] | None = None) -> Sampler[int] | None:
        if self._recipe.sampling == "balanced":
            return BalancedSampler(self._labels, seed=self.args.seed)
        sampler: Sampler[int] | None = super()._get_train_sampler(train_dataset)
        return sampler

    def get_eval_dataloader(self, eval_dataset: str | Dataset[Any] | None = None) -> DataLoader[Any]:
        """Return the loader of validation films, which no augmentation reaches."""
        train_collator, self.data_collator = self.data_collator, self._eval_collator
        try:
            loader: DataLoader[Any] = super().get_eval_dataloader(eval_dataset)
        finally:
            self.data_collator = train_collator
        return loader

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Build the optimizer, with a learning rate for each layer where the recipe asks for it."""
        if self.optimizer is None and self._recipe.layer_decay < 1:
            network = self._network() if model is None else model
            optimizer_class, settings = self.get_optimizer_cls_and_kwargs(self.args, cast(PreTrainedModel, network))
            groups = group_parameters(
                network,
                layer_decay=self._recipe.layer_decay,
                learning_rate=self.args.learning_rate,
                decayed=set(self.get_decay_parameter_names(network)),
                weight_decay=self.args.weight_decay,
            )
            self.optimizer = optimizer_class(groups, **settings)
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        return optimizer

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Take one step; a loss that is not finite ends the run before the optimizer can spread it.

        Raises:
            TrainingError: Saying where, and that the last good checkpoint is kept.
        """
        loss: Tensor = super().training_step(*args, **kwargs)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"Expected a finite training loss, got {loss.item()} at step {self.state.global_step + 1} (epoch "
                f"{self.state.epoch or 0:.2f}). Lower --learning_rate or pass --bf16 false, with another --out; the "
                f"last good checkpoint is kept in '{self.args.output_dir}'."
            )
        return loss

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Measure the network, or its mean over the steps where the recipe keeps that."""
        with self._average.in_place() if self._average else nullcontext():
            measured: dict[str, float] = super().evaluate(*args, **kwargs)
        return measured

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the weights, and their mean beside them."""
        super().save_model(output_dir, _internal_call=_internal_call)
        if self._average is not None and self.args.should_save:
            self._average.save(Path(output_dir or cast(str, self.args.output_dir)))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self._average is not None:
            self._average.load(Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        super()._load_best_model()
        if self._average is not None:
            self._average.load(Path(cast(str, self.state.best_model_checkpoint)))
            self._average.copy_to_network()


def group_parameters(
    network: nn.Module, *, layer_decay: float, learning_rate: float, decayed: set[str], weight_decay: float
) -> list[dict[str, Any]]:
    """Give the head the full learning rate, and each layer before it `layer_decay` times the next one's.

    Args:
        network: Whose layers `group_layers` knows.
        layer_decay: In (0, 1].
        learning_rate: Of the head.
        decayed: Names of the parameters that weight decay acts on.
        weight_decay: For those.

    Returns:
        Parameter groups for an optimizer, the head's first, so that the rate that is logged is the recipe's.
    """
    parameters = dict(network.named_parameters())
    groups = []
    for distance, names in enumerate(reversed(group_layers(network))):
        for decay, chosen in (
            (weight_decay, [name for name in names if name in decayed]),
            (0.0, [name for name in names if name not in decayed]),
        ):
            if chosen:
                rate = learning_rate * layer_decay**distance
                members = [parameters[name] for name in chosen]
                groups.append({"params": members, "lr": rate, "weight_decay": decay})
    return groups


class _FollowEpochs(TrainerCallback):
    """Tell the collator the epoch, and the weight average each step."""

    def __init__(self, collator: RepeatableCollator, average: WeightAverage | None) -> None:
        self._collator = collator
        self._average = average

    def on_epoch_begin(self, *event: Any, **_: Any) -> None:
        self._collator.epoch = _count_epochs(event)

    def on_step_end(self, *_event: Any, **_: Any) -> None:
        if self._average is not None:
            self._average.update()


class CountSeconds(TrainerCallback):
    """Write into the log how long a run has taken, with the calls that were interrupted up to their last checkpoint."""

    def __init__(self) -> None:
        """Start."""
        self._began = time.monotonic()
        self._before = 0.0

    @property
    def seconds(self) -> float:
        """Wall time of the run so far."""
        return self._before + time.monotonic() - self._began

    def on_train_begin(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:  # noqa: ARG002 upstream's name
        """Read what the calls before took, from the log that came with the checkpoint."""
        self._before = max((entry.get("elapsed_seconds", 0.0) for entry in state.log_history), default=0.0)

    def on_log(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:  # noqa: ARG002 upstream's name
        """Write it beside what is logged; a checkpoint keeps the log."""
        state.log_history[-1]["elapsed_seconds"] = round(self.seconds, 1)


def _divide_layers(layers: list[list[str]], num_frozen: int) -> tuple[list[list[str]], list[list[str]]]:
    if num_frozen > len(layers):
        raise UsageError(
            f"frozen_layers is {num_frozen}, but this backbone has {len(layers)} layers before its head. Lower it."
        )
    return layers[:num_frozen], layers[num_frozen:]


class ResizeFilms(TrainerCallback):
    """Letterbox the training films to a smaller side in the first epochs."""

    def __init__(self, films: FilmDataset, recipe: RecipeConfig) -> None:
        """Prepare.

        Args:
            films: Of training.
            recipe: Names both sides, and the epochs.
        """
        self._films = films
        self._recipe = recipe

    def on_epoch_begin(self, *event: Any, **_: Any) -> None:
        """Choose the side of the epoch that begins, in a resumed run too."""
        is_first = _count_epochs(event) < self._recipe.first_size_epochs
        self._films.size_px = self._recipe.first_image_size if is_first else self._recipe.image_size


class FreezeLayers(TrainerCallback):
    """Leave some layers as they are for some epochs, then train everything.

    The frozen layers also stay in eval mode, so that statistics of BatchNorm do not drift with films that nothing
    learns from. The optimizer knows every parameter from the start; one without gradient it leaves alone.
    """

    def __init__(self, network: nn.Module, layers: Iterable[Iterable[str]], *, num_epochs: int) -> None:
        """Prepare.

        Args:
            network: In which the layers are frozen.
            layers: Names of their parameters.
            num_epochs: Epochs to freeze for; -1 for the whole run.
        """
        frozen = {name for layer in layers for name in layer}
        names = {name for name, _ in network.named_parameters()} - frozen
        self._network = network
        self._num_epochs = math.inf if num_epochs < 0 else num_epochs
        self._frozen = [parameter for name, parameter in network.named_parameters() if name not in names]
        self._modules = [
            module
            for path, module in network.named_modules()
            if path and not any(name == path or name.startswith(f"{path}.") for name in names)
        ]
        self._hook: torch.utils.hooks.RemovableHandle | None = None

    def on_train_begin(self, *event: Any, **_: Any) -> None:
        """Freeze, or not, as the epoch of a resumed run asks."""
        self._apply(event)

    def on_epoch_begin(self, *event: Any, **_: Any) -> None:
        """Unfreeze when the epoch has come."""
        self._apply(event)

    def on_train_end(self, *_event: Any, **_: Any) -> None:
        """Leave the network as it was found."""
        self._set(frozen=False)

    def _apply(self, event: tuple[Any, ...]) -> None:
        self._set(frozen=_count_epochs(event) < self._num_epochs)

    def _set(self, *, frozen: bool) -> None:
        for parameter in self._frozen:
            parameter.requires_grad_(not frozen)
        if frozen and self._hook is None:
            self._hook = self._network.register_forward_pre_hook(self._rest)
        if not frozen and self._hook is not None:
            self._hook.remove()
            self._hook = None

    def _rest(self, network: nn.Module, inputs: Any) -> None:  # noqa: ARG002 - the hook's interface
        for module in self._modules:
            module.training = False


def _count_epochs(event: tuple[Any, ...]) -> int:
    """Return how many passes over the films are complete, from what the Trainer hands to a callback's event."""
    _, state, _ = event
    return int((state.epoch or 0.0) + 1e-6)
