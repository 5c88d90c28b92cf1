"""Fit the gate of a model folder on its training films, and measure whom it refuses.

Writes `gate.safetensors` and `gate.json`. May depend on `classifier`, `gate` and everything below.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hf_fracture.data.radiographs import Radiograph
from hf_fracture.errors import ModelFolderError
from hf_fracture.evaluation.measured_model import hash_weights
from hf_fracture.inference.classifier import FractureClassifier
from hf_fracture.inference.gate import MAX_REFUSED_FRACTION, TOLERANCE, fit_gate, save_gate
from hf_fracture.models.checkpoint import read_json, write_json

GATE_REPORT_FILE: Final = "gate.json"
MAX_TRAIN_FILMS: Final = 1500  # a mean and 64 directions need no more


@dataclass(frozen=True, kw_only=True)
class RefusalCounts:
    """How many of a set of pictures the gate refused, and why.

    Attributes:
        num_films: Pictures judged.
        num_refused: Of these, refused.
        by_code: How often each reason was given; a picture may have several.
    """

    num_films: int
    num_refused: int
    by_code: dict[str, int]


def fit_model_gate(
    model_dir: Path, *, train_films: Iterable[Image.Image], validation_films: Iterable[Image.Image]
) -> Path:
    """Fit the gate of a model folder and write `gate.safetensors` and what validation says of it to `gate.json`.

    Args:
        model_dir: A complete model folder; a previous gate in it is replaced.
        train_films: Grey training films, mode L; of more than `MAX_TRAIN_FILMS` the first are used, so shuffle them.
        validation_films: Grey validation films.

    Returns:
        Path of `gate.safetensors`.

    Raises:
        ModelFolderError: If the network has no last feature map.
        UsageError: If there are too few films.
    """
    classifier = FractureClassifier(model_dir, model=model_dir.name)
    validation = list(validation_films)
    train_features = _compute_features(classifier, islice(train_films, MAX_TRAIN_FILMS))
    statistics = fit_gate(train_features, _compute_features(classifier, validation))
    path = save_gate(statistics, model_dir)
    fitted = {
        "num_train_films": len(train_features),
        "max_refused_fraction": MAX_REFUSED_FRACTION,
        "tolerance": TOLERANCE,
        "limit": statistics.limit,
        "num_components": len(statistics.components),
    }
    report = {"model_sha256": hash_weights(model_dir), "fitted": fitted, "refusals": {}}
    write_json(model_dir / GATE_REPORT_FILE, report)
    add_refusals(model_dir, "validation", validation)
    return path


def add_refusals(model_dir: Path, name: str, pictures: Iterable[Image.Image]) -> RefusalCounts:
    """Measure how many of some pictures the gate of a folder refuses, and add it to its `gate.json` under a name.

    Args:
        model_dir: A model folder with a gate.
        name: What the pictures are, such as `validation`, `test` or `photographs`.
        pictures: Pictures as a reader returns them, of any mode; coloured ones are refused for their colour.

    Returns:
        The counts that were added.
    """
    counts = count_refusals(FractureClassifier(model_dir, model=model_dir.name), pictures)
    report: dict[str, Any] = read_json(model_dir / GATE_REPORT_FILE)
    write_json(
        model_dir / GATE_REPORT_FILE, {**report, "refusals": {**report.get("refusals", {}), name: asdict(counts)}}
    )
    return counts


def count_refusals(classifier: FractureClassifier, pictures: Iterable[Image.Image]) -> RefusalCounts:
    """Judge pictures and count the refusals by reason."""
    num_films, num_refused, by_code = 0, 0, Counter[str]()
    for finding in classifier.predict_many(pictures):
        num_films += 1
        if finding.decision == "refused":
            num_refused += 1
            by_code.update(reason.code for reason in finding.reasons)
    return RefusalCounts(num_films=num_films, num_refused=num_refused, by_code=dict(sorted(by_code.items())))


def _compute_features(classifier: FractureClassifier, films: Iterable[Image.Image]) -> NDArray[np.float32]:
    """Return the pooled features of the films; (N, C)."""
    rows = list(_iterate_features(classifier, films))
    return np.stack(rows) if rows else np.zeros((0, 2), dtype=np.float32)


def _iterate_features(classifier: FractureClassifier, films: Iterable[Image.Image]) -> Iterator[NDArray[np.float32]]:
    for film in films:
        radiograph = Radiograph(image=film, original_size=film.size, original_mode=film.mode, has_colour=False)
        features = classifier.compute_features(radiograph)
        if features is None:
            raise ModelFolderError(
                f"Expected a network with a last feature map, got '{classifier.model}' without one. Its gate can only "
                "look at the appearance of films, which needs no fitting."
            )
        yield features
