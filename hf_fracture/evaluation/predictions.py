"""What a model answered, film by film: the table from which every figure is computed, and how it is filled.

May depend on `inputs`, `calibration`, `artifacts`, `films`, `measured_model` and `class_map`.
"""

import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hf_fracture.data.radiographs import read_radiograph
from hf_fracture.data.transforms import Preprocessing
from hf_fracture.errors import EvaluationError, MissingInputError
from hf_fracture.evaluation.artifacts import replacing
from hf_fracture.evaluation.calibration import probability_of
from hf_fracture.evaluation.class_map import logit_difference_of, map_classes
from hf_fracture.evaluation.films import REQUIRED_COLUMNS, SUBGROUP_COLUMNS, describe_film, name_film
from hf_fracture.evaluation.inputs import (
    Floats,
    Labels,
    check_labels,
    check_logit_differences,
    check_probabilities,
    check_same_length,
)
from hf_fracture.evaluation.measured_model import FilmReader, build_film_reader
from hf_fracture.models.device_errors import is_out_of_memory, naming_device_failures

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel

FIXED_COLUMNS: Final[tuple[str, ...]] = ("id", "group_id", "label", "logit_difference", "probability")


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The answers of one model on one split, one entry per film.

    Attributes:
        ids: (N,) unique names of the films.
        group_ids: (N,) films with the same id are not independent.
        y_true: (N,) of {0, 1}; 1 is fracture.
        logit_difference: (N,) logit of fractured minus logit of not fractured, finite.
        y_prob: (N,) probability of fracture in [0, 1], the sigmoid of `logit_difference`.
        subgroups: For each column (body part, view, ...) the film's value, (N,); None where it is not known.
    """

    ids: NDArray[np.str_]
    group_ids: NDArray[np.str_]
    y_true: Labels
    logit_difference: Floats
    y_prob: Floats
    subgroups: Mapping[str, NDArray[np.object_]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse columns that do not describe the same films, doubled films, and answers that are not probabilities."""
        check_labels(self.y_true)
        check_logit_differences(self.logit_difference)
        check_probabilities(self.y_prob)
        columns = {"ids": self.ids, "group_ids": self.group_ids, "y_true": self.y_true, "y_prob": self.y_prob}
        check_same_length(**columns, logit_difference=self.logit_difference, **self.subgroups)
        unique, counts = np.unique(self.ids, return_counts=True)
        if len(unique) < len(self.ids):
            raise EvaluationError(
                f"Every film must be predicted once, got '{unique[counts.argmax()]}' {counts.max()} times. Give each "
                "film an id of its own, and remove the copies that a sampler padded with."
            )
        if not np.allclose(self.y_prob, probability_of(self.logit_difference), atol=1e-6):
            raise EvaluationError(
                "y_prob must be the sigmoid of logit_difference to 1e-6, got other values. Build the table with "
                "build_predictions."
            )

    def __len__(self) -> int:
        """Return the number of films."""
        return len(self.ids)

    def take(self, indices: NDArray[np.intp] | NDArray[np.bool_]) -> "Predictions":
        """Return the predictions of some films, in the order of `indices`."""
        return Predictions(
            ids=self.ids[indices],
            group_ids=self.group_ids[indices],
            y_true=self.y_true[indices],
            logit_difference=self.logit_difference[indices],
            y_prob=self.y_prob[indices],
            subgroups={name: values[indices] for name, values in self.subgroups.items()},
        )


def build_predictions(
    *,
    ids: list[str],
    group_ids: list[str],
    y_true: list[int] | Labels,
    logit_difference: Floats,
    subgroups: Mapping[str, list[str | None]] | None = None,
) -> Predictions:
    """Put a model's answers into a table; the probability is computed from the logits in float64.

    Args:
        ids: N unique names.
        group_ids: N group ids.
        y_true: N labels in {0, 1}.
        logit_difference: (N,) fractured minus not fractured.
        subgroups: Columns of N values; None where a value is not known.

    Raises:
        EvaluationError: If the columns differ in length, a film occurs twice, or a value leaves its range.
    """
    difference = check_logit_differences(logit_difference)
    if any(not group for group in group_ids):
        raise EvaluationError(
            "Every film needs a group id, got None or an empty one. Prepare the dataset with hf-fracture data prepare, "
            "or give each film an id of its own."
        )
    return Predictions(
        ids=np.asarray(ids, dtype=np.str_),
        group_ids=np.asarray(group_ids, dtype=np.str_),
        y_true=check_labels(y_true),
        logit_difference=difference,
        y_prob=probability_of(difference),
        subgroups={name: np.asarray(values, dtype=np.object_) for name, values in (subgroups or {}).items()},
    )


def write_predictions(predictions: Predictions, path: Path) -> None:
    """Write one row per film to a Parquet file, under a temporary name until it is complete."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "id": predictions.ids.tolist(),
        "group_id": predictions.group_ids.tolist(),
        "label": predictions.y_true,
        "logit_difference": predictions.logit_difference,
        "probability": predictions.y_prob,
    }
    text = {name: pa.array(values.tolist(), type=pa.string()) for name, values in predictions.subgroups.items()}
    with replacing(path) as partial_path:
        pq.write_table(pa.table({**columns, **text}), partial_path)


def read_predictions(path: Path) -> Predictions:
    """Read a file of `write_predictions`.

    Raises:
        MissingInputError: If there is no such file.
        EvaluationError: If a column is missing, or a value leaves its range.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except FileNotFoundError as error:
        raise MissingInputError(f"Expected predictions in '{path}', found no such file.") from error
    except pa.ArrowInvalid as error:
        raise EvaluationError(f"Expected '{path}' to be a Parquet file of predictions, but {error}.") from error
    missing = [name for name in FIXED_COLUMNS if name not in table.column_names]
    if missing:
        raise EvaluationError(
            f"Expected the columns {', '.join(FIXED_COLUMNS)} in '{path}', found no {', '.join(missing)}. Write the "
            "file with hf-fracture evaluate."
        )
    columns = table.to_pydict()
    return build_predictions(
        ids=columns.pop("id"),
        group_ids=columns.pop("group_id"),
        y_true=columns.pop("label"),
        logit_difference=np.asarray(columns.pop("logit_difference"), dtype=np.float64),
        subgroups={name: values for name, values in columns.items() if name != "probability"},
    )


def predict_dataset(
    model: "PreTrainedModel",
    preprocessing: Preprocessing | FilmReader,
    films: "Dataset",
    *,
    batch_size: int = 32,
    class_meanings: Labels | None = None,
    show_progress: bool = False,
) -> Predictions:
    """Run a classifier over one split, in float32, on whatever device it lies.

    Args:
        model: Any image classifier of transformers; put into eval mode here.
        preprocessing: The letterbox of our models, or a function from a grey film to (3, height, width).
        films: Rows of a prepared dataset, at least `image`, `label` and `group_id`.
        batch_size: Films per forward pass; changes speed and memory only.
        class_meanings: (C,) of {0, 1}, from `map_classes`; None expects the label names of this package.
        show_progress: Draw a progress bar on stderr.

    Returns:
        One entry per film, in the order of `films`.

    Raises:
        EvaluationError: If the split is empty or of one class, a film has no group, or an answer is not finite.
    """
    meanings = map_classes(model.config.id2label) if class_meanings is None else class_meanings
    read_film = build_film_reader(preprocessing) if isinstance(preprocessing, Preprocessing) else preprocessing
    check_labels(films["label"])
    answers = answer_films(model, read_film, films, batch_size=batch_size, show_progress=show_progress)
    return collect_predictions(answers, meanings)


def answer_films(
    model: "PreTrainedModel",
    read_film: FilmReader,
    films: "Dataset",
    *,
    batch_size: int,
    show_progress: bool = False,
) -> list[dict[str, Any]]:
    """Run a classifier over some films; the part of `predict_dataset` that several processes can share.

    Args:
        model: Any image classifier of transformers; put into eval mode here.
        read_film: Turns a grey film into (3, height, width).
        films: Rows of a prepared dataset; may be none.
        batch_size: Films per forward pass, at least 1.
        show_progress: Draw a progress bar on stderr.

    Returns:
        For each film, in order: `logits` (C numbers), `label`, `group_id`, `source_path` and `fracture_type` where
        the dataset has them, and the columns of `describe_film`.

    Raises:
        EvaluationError: If `batch_size` is below 1, or the memory does not hold one film.
        DeviceError: If the accelerator has failed.
    """
    if batch_size < 1:
        raise EvaluationError(f"batch_size must be at least 1, got {batch_size}. Use 32.")
    model.train(False)
    answers: list[dict[str, Any]] = []
    for rows in _read_batches(films, batch_size, show_progress=show_progress):
        images = [_as_grey(row.pop("image")) for row in rows]
        logits = _answer_batch(model, np.stack([read_film(image) for image in images])).tolist()
        answers += [
            {**row, **describe_film(row, size=image.size), "logits": answer}
            for row, image, answer in zip(rows, images, logits, strict=True)
        ]
    return answers


def collect_predictions(answers: list[dict[str, Any]], class_meanings: Labels) -> Predictions:
    """Put the answers of `answer_films` into a table.

    Args:
        answers: One per film of the whole split, in its order.
        class_meanings: (C,) of {0, 1}.

    Raises:
        EvaluationError: If there is no answer, a film has no group or occurs twice, or an answer is not finite.
    """
    if not answers:
        raise EvaluationError("Expected at least one film, got an empty split. Name another split.")
    known = [name for name in SUBGROUP_COLUMNS if any(answer[name] is not None for answer in answers)]
    return build_predictions(
        ids=[name_film(answer, position) for position, answer in enumerate(answers)],
        group_ids=[answer["group_id"] for answer in answers],
        y_true=[answer["label"] for answer in answers],
        logit_difference=logit_difference_of([answer["logits"] for answer in answers], class_meanings),
        subgroups={name: [answer[name] for answer in answers] for name in known},
    )


def _read_batches(films: "Dataset", batch_size: int, *, show_progress: bool) -> Iterator[list[dict[str, Any]]]:
    from tqdm import tqdm

    wanted = (*REQUIRED_COLUMNS, *SUBGROUP_COLUMNS, "age_years", "source_path", "fracture_type")
    columns = films.select_columns([name for name in wanted if name in films.column_names])
    with tqdm(total=len(films), unit="film", file=sys.stderr, disable=not show_progress) as progress:
        for batch in columns.iter(batch_size=batch_size):
            yield [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
            progress.update(len(batch["label"]))


def _as_grey(image: Image.Image) -> Image.Image:
    return image if image.mode == "L" else read_radiograph(image).image


def _answer_batch(model: "PreTrainedModel", pixel_values: NDArray[np.float32]) -> Floats:
    """Run the network, in halves where the memory does not hold the batch.

    Raises:
        EvaluationError: If it does not even hold one film.
        DeviceError: If the accelerator has failed.
    """
    try:
        with naming_device_failures():
            return _run_network(model, pixel_values)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        half, first_line = len(pixel_values) // 2, str(error).strip().partition("\n")[0]
    if not half:
        raise EvaluationError(
            f"Expected one film to fit into the memory, but: {first_line} Free some memory, or run on the CPU: put "
            "CUDA_VISIBLE_DEVICES= before the command."
        )
    warnings.warn(
        f"{len(pixel_values)} films do not fit into the memory at once; {half} are tried. Lower --batch-size to be "
        "faster.",
        stacklevel=2,
    )
    return np.concatenate([_answer_batch(model, part) for part in (pixel_values[:half], pixel_values[half:])])


def _run_network(model: "PreTrainedModel", pixel_values: NDArray[np.float32]) -> Floats:
    import torch

    # TensorFloat-32 would round the convolutions on a GPU; a published figure must not depend on the device.
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        logits = model(pixel_values=torch.from_numpy(pixel_values).to(model.device)).logits
    return np.asarray(logits.float().cpu().numpy(), dtype=np.float64)
