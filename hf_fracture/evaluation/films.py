"""The films a model is measured on: load a prepared dataset's splits, name and hash them, read what is known of a film.

May depend on `data`, `labels` and `errors`; imports `datasets` only inside functions.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hf_fracture.data.cache import load_dataset_folder
from hf_fracture.data.hub_errors import find_hub_error, retry_transient
from hf_fracture.data.schema import HELD_OUT, SPLITS
from hf_fracture.errors import DatasetError, MissingInputError, UsageError
from hf_fracture.labels import LABEL_NAMES

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

TRAIN, VALIDATION, TEST = SPLITS

REQUIRED_COLUMNS: Final[tuple[str, ...]] = ("image", "label", "group_id")
SUBGROUP_COLUMNS: Final[tuple[str, ...]] = (
    "body_part",
    "view",
    "hardware",
    "cast",
    "source",
    "image_size",
    "age",
    "sex",
)
"""What a prediction table says about each film, beside the model's answer; what a dataset does not know is left out."""

_SIZE_LIMITS_PX: Final[tuple[int, ...]] = (256, 512)
_AGE_LIMITS: Final[tuple[int, ...]] = (18, 40, 65)


def load_splits(dataset: str | Path, *, revision: str | None = None) -> "DatasetDict":
    """Load a prepared dataset.

    Args:
        dataset: Folder that `hf-fracture data prepare` wrote, or Hub id.
        revision: Branch, tag or commit of a Hub dataset.

    Raises:
        MissingInputError: If there is neither such a folder nor such a Hub dataset.
        DatasetError: If its rows are not those of a prepared dataset.
        UsageError: If a revision of a folder is asked for.
    """
    from datasets import DatasetDict, load_dataset
    from datasets.exceptions import DatasetsError

    if revision is not None and Path(dataset).is_dir():
        raise UsageError(f"A revision belongs to a Hub id, got '{revision}' with the folder '{dataset}'. Leave it out.")
    try:
        if Path(dataset).is_dir():
            splits = load_dataset_folder(dataset)
        else:
            splits = retry_transient(lambda: load_dataset(str(dataset), revision=revision))
    except Exception as error:
        is_known = isinstance(error, DatasetsError | FileNotFoundError | ConnectionError | ValueError)
        if not is_known and find_hub_error(error) is None:
            raise
        if "corresponds to no data" in str(error):
            raise DatasetError(
                f"A split of '{dataset}' holds no film ({str(error).strip()}). Prepare the dataset again, or remove "
                "the empty file."
            ) from error
        first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise MissingInputError(
            f"Expected a prepared dataset folder or a Hub dataset id, could not load '{dataset}': {first_line} Prepare "
            "one with hf-fracture data prepare, or check the id, your token and the network."
        ) from error
    if not isinstance(splits, DatasetDict):
        raise DatasetError(f"Expected a dataset with named splits in '{dataset}', got {type(splits).__name__}.")
    for name, films in splits.items():
        _check_columns(films, f"{dataset}, split '{name}'")
    return splits


def select_split(splits: "DatasetDict", name: str) -> "Dataset":
    """Return one split.

    Raises:
        MissingInputError: If there is no such split; the message lists those that exist.
        DatasetError: If it holds no film.
    """
    if name not in splits:
        raise MissingInputError(
            f"Expected a split '{name}', found {', '.join(map(repr, splits))}. Name one with --split."
        )
    if not len(splits[name]):
        raise DatasetError(f"The split '{name}' holds no film. Prepare the dataset again, or name another split.")
    return splits[name]


def hash_films(splits: Mapping[str, "Dataset"]) -> str:
    """Return the sha256 of what the films are: pixels as stored, label and group, whatever their order or split.

    Args:
        splits: Datasets with the columns `image`, `label` and `group_id`.
    """
    return _hash_lines(
        f"{hashlib.sha256(content).hexdigest()} {label} {group}"
        for films in splits.values()
        for content, label, group in zip(read_stored_images(films), films["label"], films["group_id"], strict=True)
    )


def hash_assignment(splits: Mapping[str, "Dataset"]) -> str:
    """Return the sha256 of which film lies in which split, whatever their order.

    Args:
        splits: Datasets with the columns `image`, `label` and `group_id`.
    """
    return _hash_lines(
        f"{hashlib.sha256(content).hexdigest()} {name}"
        for name, films in splits.items()
        for content in read_stored_images(films)
    )


def count_leaked_films(splits: Mapping[str, "Dataset"], measured: str) -> int:
    """Count the films of one split whose group has a film in another.

    Films that were set aside (`held_out`) neither train nor measure, so they do not count as another split.

    Args:
        splits: Datasets with the column `group_id`.
        measured: Name of the split that is measured.
    """
    elsewhere = {
        group for name, films in splits.items() if name not in (measured, HELD_OUT) for group in films["group_id"]
    }
    return sum(group in elsewhere for group in splits[measured]["group_id"])


def was_developed_on(films: "Dataset", split: str, trained_on: Collection[str]) -> bool:
    """Return whether a split trains or chooses, and holds films of a source that a model was trained on.

    Args:
        films: The split.
        split: Its name; a model meets `train` and `validation` before it is released.
        trained_on: Sources in the model's record.
    """
    sources = set(films["source"]) if "source" in films.column_names else set()
    return split in (TRAIN, VALIDATION) and not sources.isdisjoint(trained_on)


def read_stored_images(films: "Dataset") -> Iterator[bytes]:
    """Yield the image files as they are stored, without decoding them."""
    from datasets import Image

    for image in films.select_columns(["image"]).cast_column("image", Image(decode=False))["image"]:
        stored: bytes | None = image["bytes"]
        yield Path(image["path"]).read_bytes() if stored is None else stored


def describe_film(row: Mapping[str, Any], *, size: tuple[int, int]) -> dict[str, str | None]:
    """Return what is known of a film in the words of the subgroup tables.

    Args:
        row: A row of a prepared dataset.
        size: (width, height) of the stored image in px.

    Returns:
        The keys of `SUBGROUP_COLUMNS`; None where it is not known.

    >>> describe_film({"body_part": "wrist", "hardware": True, "age_years": 71.0}, size=(373, 454))["age"]
    '65 and over'
    """
    text = {name: None if row.get(name) is None else str(row[name]) for name in ("body_part", "view", "source", "sex")}
    flags = {name: None if row.get(name) is None else ("yes" if row[name] else "no") for name in ("hardware", "cast")}
    known = {**text, **flags, "image_size": name_size(max(size)), "age": name_age(row.get("age_years"))}
    return {name: known[name] for name in SUBGROUP_COLUMNS}


def name_film(row: Mapping[str, Any], position: int) -> str:
    """Return a film's name: its source and path there, or its position where the dataset does not say.

    >>> name_film({"source": "fracatlas", "source_path": "images/1.jpg"}, 0)
    'fracatlas/images/1.jpg'
    """
    path = row.get("source_path")
    return f"row {position}" if path is None else f"{row.get('source') or 'unknown'}/{path}"


def name_size(long_side_px: int) -> str:
    """Return the size class of a stored image.

    >>> name_size(454)
    '256 to 511 px'
    """
    return _name_range(long_side_px, _SIZE_LIMITS_PX, " px")


def name_age(age_years: float | None) -> str | None:
    """Return the age class, or None where the age is not known.

    >>> name_age(17.9)
    'under 18'
    """
    return None if age_years is None else _name_range(age_years, _AGE_LIMITS, "")


def _name_range(value: float, limits: tuple[int, ...], unit: str) -> str:
    above = sum(value >= limit for limit in limits)
    if above == 0:
        return f"under {limits[0]}{unit}"
    if above == len(limits):
        return f"{limits[-1]}{unit} and over"
    return f"{limits[above - 1]} to {limits[above] - 1}{unit}"


def _check_columns(films: "Dataset", where: str) -> None:
    missing = [name for name in REQUIRED_COLUMNS if name not in films.column_names]
    if missing:
        raise DatasetError(
            f"Expected the columns {', '.join(REQUIRED_COLUMNS)} in {where}, found no {', '.join(missing)}. Prepare "
            "the dataset with hf-fracture data prepare."
        )
    names = getattr(films.features["label"], "names", None)
    if names is not None and tuple(names) != LABEL_NAMES:
        raise DatasetError(
            f"Expected the labels {', '.join(map(repr, LABEL_NAMES))} in {where}, found {', '.join(map(repr, names))}. "
            "Prepare the dataset with hf-fracture data prepare."
        )


def _hash_lines(lines: Iterator[str]) -> str:
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
