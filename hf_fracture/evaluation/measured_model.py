"""The model that is measured, ours or anybody's: its network, how it reads a film, what its classes mean.

May depend on `class_map`, `models`, `data` and `config`.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hf_fracture.config import FractureRecord
from hf_fracture.data.transforms import Preprocessing, letterbox_pixels
from hf_fracture.errors import EvaluationError, ModelFolderError
from hf_fracture.evaluation.class_map import map_classes
from hf_fracture.evaluation.inputs import Labels
from hf_fracture.models.checkpoint import load_model, read_preprocessing, read_record, resolve_model_dir

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Target = Literal["fracture", "fracture_type"]

FilmReader = Callable[[Image.Image], NDArray[np.float32]]
"""Turns a grey film (mode L) into the network's input, (3, height, width)."""


@dataclass(frozen=True, kw_only=True)
class MeasuredModel:
    """A network with everything that its answers depend on.

    Attributes:
        name: As the user gave it: Hub id or the folder's name.
        folder: Where its files lie.
        network: In float32 and eval mode.
        read_film: The model's own preprocessing.
        class_meanings: (C,) of {0, 1} for the classes of the network; empty where they are types.
        target: What the classes are.
        record: What our models carry; None for a model that was not made here.
        sha256: Of the weights' file or files.
    """

    name: str
    folder: Path
    network: "PreTrainedModel"
    read_film: FilmReader
    class_meanings: Labels
    record: FractureRecord | None
    sha256: str
    target: Target = "fracture"


def load_measured_model(
    model: str | Path | None,
    *,
    revision: str | None = None,
    label_map: Mapping[str, int] | None = None,
    target: Target | None = None,
    trust_remote_code: bool = False,
) -> MeasuredModel:
    """Load a model of this package, or any image classifier of transformers.

    A model of this package reads films through its letterbox; any other through its own image processor, as
    `transformers.pipeline` would.

    Args:
        model: None for the shipped model, a folder, or a Hub id.
        revision: Branch, tag or commit of a Hub model.
        label_map: 0 or 1 by class name, for models with label names of their own; not used for types.
        target: What the classes are; None takes what the model's record says, else fracture.
        trust_remote_code: Run code that the model's repository brings.

    Raises:
        MissingInputError: If there is no such model.
        ModelFolderError: If the folder cannot be loaded.
        EvaluationError: If a class has no stated meaning, the classes do not exclude one another, or the target is not
            that of the model's record.
    """
    folder = resolve_model_dir(model, revision=revision)
    network = load_model(folder, trust_remote_code=trust_remote_code)
    _check_softmax(network)
    record = read_record(folder)
    target = _choose_target(record, target)
    return MeasuredModel(
        name=folder.name if model is None or Path(model).is_dir() else str(model),
        folder=folder,
        network=network,
        read_film=build_film_reader(read_preprocessing(folder)) if record else load_film_reader(folder),
        class_meanings=(
            map_classes(network.config.id2label, label_map) if target == "fracture" else np.empty(0, dtype=np.int64)
        ),
        record=record,
        sha256=hash_weights(folder),
        target=target,
    )


def _choose_target(record: FractureRecord | None, target: Target | None) -> Target:
    if record is None:
        return target or "fracture"
    if target not in (None, record.label_kind):
        raise EvaluationError(
            f"Expected the target '{record.label_kind}', which the model's record names, got '{target}'. Leave the "
            "target out."
        )
    return record.label_kind


def _check_softmax(network: "PreTrainedModel") -> None:
    num_classes, problem_type = len(network.config.id2label or {}), network.config.problem_type
    if num_classes < 2 or problem_type not in (None, "single_label_classification"):
        raise EvaluationError(
            f"Expected a classifier whose classes exclude one another (softmax over at least two), got {num_classes} "
            f"class(es) and problem_type {problem_type!r}. Convert its head to two classes first."
        )


def build_film_reader(preprocessing: Preprocessing) -> FilmReader:
    """Return the letterbox of a model of this package."""
    return partial(letterbox_pixels, size_px=preprocessing.size_px, mean=preprocessing.mean, std=preprocessing.std)


def load_film_reader(model_dir: Path) -> FilmReader:
    """Return the image processor of a model that was not made here, fed with the grey film as RGB.

    Raises:
        ModelFolderError: If the folder describes no image processor.
    """
    from transformers import AutoImageProcessor

    from hf_fracture.models.folder_check import check_image_sizes

    check_image_sizes(model_dir)
    try:
        processor = AutoImageProcessor.from_pretrained(  # type: ignore[no-untyped-call]
            model_dir, backend="pil", trust_remote_code=False
        )
    except Exception as error:  # a stranger's configuration can raise anything inside transformers
        first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
        raise ModelFolderError(
            f"Expected preprocessor_config.json of an image processor in '{model_dir}': {first_line}"
        ) from error

    def read_film(film: Image.Image) -> NDArray[np.float32]:
        try:
            pixels = processor(images=film.convert("RGB"), return_tensors="np")["pixel_values"][0]
            return np.asarray(pixels, dtype=np.float32)
        except Exception as error:
            first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
            raise ModelFolderError(
                f"Expected the image processor of '{model_dir}' to read a film, but {first_line}. Restore its "
                "preprocessor_config.json."
            ) from error

    return read_film


def hash_weights(model_dir: Path) -> str:
    """Return the sha256 of `model.safetensors`, or of its shards one after the other."""
    digest = hashlib.sha256()
    for path in sorted(model_dir.glob("model*.safetensors")):
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
