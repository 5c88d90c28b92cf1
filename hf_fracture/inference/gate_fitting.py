"""Fit the gate of a model folder on its training films, and measure whom it refuses.

Writes `gate.safetensors` and `gate.json`. May depend on `classifier`, `gate` and everything below.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from hf_fracture.data.radiographs import Radiograph
from hf_fracture.data.transforms import recompress
from hf_fracture.errors import ModelFolderError
from hf_fracture.inference.classifier import FractureClassifier
from hf_fracture.inference.discriminant import fit_discriminant
from hf_fracture.inference.gate import MAX_REFUSED_FRACTION, fit_gate, save_gate
from hf_fracture.models.checkpoint import hash_weights, read_json, write_json

GATE_REPORT_FILE: Final = "gate.json"
MAX_TRAIN_FILMS: Final = 600  # a mean and 64 directions need no more; each is also altered
ALTERED_PICTURES: Final = 1  # altered copies of each picture, beside the picture
TOLERANCE: Final = 1.0  # none beyond the farthest: the altered films stand for those of other clinics
SEED: Final = 0


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
    model_dir: Path,
    *,
    train_films: Iterable[Image.Image],
    validation_films: Iterable[Image.Image],
    pictures: Iterable[Image.Image] = (),
) -> Path:
    """Fit the gate of a model folder and write `gate.safetensors` and what validation says of it to `gate.json`.

    Args:
        model_dir: A complete model folder; a previous gate in it is replaced.
        train_films: Grey training films, mode L; of more than `MAX_TRAIN_FILMS` the first are used, so shuffle them.
        validation_films: Grey validation films.
        pictures: Grey pictures that are no films; with them the gate also gets a rule against such pictures.

    Returns:
        Path of `gate.safetensors`.

    Raises:
        ModelFolderError: If the network has no last feature map.
        UsageError: If there are too few films.
    """
    classifier = FractureClassifier(model_dir, model=model_dir.name)
    validation, rng = list(validation_films), np.random.default_rng(SEED)
    train = _summarise(classifier, _alter_beside(islice(train_films, MAX_TRAIN_FILMS), rng))
    validation_features = _summarise(classifier, _alter_beside(validation, rng))
    num_channels = train.shape[1] // 2
    statistics = fit_gate(train[:, :num_channels], validation_features[:, :num_channels], tolerance=TOLERANCE)
    other = _summarise(classifier, _alter_beside(pictures, rng, num_copies=ALTERED_PICTURES))
    if len(other):
        discriminant = fit_discriminant(
            train, other, validation=validation_features[::2], altered_validation=validation_features[1::2]
        )
        statistics = replace(statistics, discriminant=discriminant)
    path = save_gate(statistics, model_dir)
    fitted = {
        "num_train_films": len(train) // 2,
        "num_altered_films": len(train) // 2,
        "num_pictures": len(other) // (1 + ALTERED_PICTURES),
        "max_refused_fraction": MAX_REFUSED_FRACTION,
        "tolerance": TOLERANCE,
        "limit": statistics.limit,
        "num_components": len(statistics.components),
    }
    report = {"model_sha256": hash_weights(model_dir), "fitted": fitted, "refusals": {}}
    write_json(model_dir / GATE_REPORT_FILE, report)
    add_refusals(model_dir, "validation", validation)
    return path


def alter_film(film: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Make a film look as if another device or clinic had sent it.

    Args:
        film: Mode L.
        rng: Decides what is done: cropped, turned, framed, reduced, lit otherwise, recompressed.

    Returns:
        Mode L, at least 64 pixels a side where the film is.
    """
    film = _alter_frame(film, rng)
    film = _alter_levels(film, rng)
    if rng.random() < 0.3:
        film = film.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.5)))
    if rng.random() < 0.4:
        film = recompress(film, quality=int(rng.integers(25, 80)))
    return film


def _alter_frame(film: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Crop, turn, reduce, collimate or frame a film."""
    if rng.random() < 0.6:
        width, height = (max(1, int(side * rng.uniform(0.5, 0.95))) for side in film.size)
        left, top = int(rng.integers(0, film.width - width + 1)), int(rng.integers(0, film.height - height + 1))
        film = film.crop((left, top, left + width, top + height))
    if rng.random() < 0.5:
        angle = float(rng.choice([90, 180, 270, rng.uniform(-45, 45)]))
        film = film.rotate(angle, resample=Image.Resampling.BILINEAR, expand=bool(rng.random() < 0.5))
    if rng.random() < 0.6:
        scale = rng.uniform(0.25, 0.9)
        smaller = (max(min(64, side), int(side * scale)) for side in film.size)
        film = film.resize(tuple(smaller), Image.Resampling.BILINEAR)  # type: ignore[arg-type]
    if rng.random() < 0.15:  # a round or slanted diaphragm
        width, height = film.size
        mask = Image.new("L", film.size, 0)
        pen = ImageDraw.Draw(mask)
        if rng.random() < 0.5:
            pen.ellipse((0, 0, width - 1, height - 1), fill=255)
        else:
            cut = rng.uniform(0.02, 0.3, 4)
            corners = [(cut[0] * width, 0), (width, cut[1] * height), ((1 - cut[2]) * width, height)]
            pen.polygon([*corners, (0, (1 - cut[3]) * height)], fill=255)
        film = Image.composite(film, Image.new("L", film.size, 0), mask)
    if rng.random() < 0.15:
        border = int(rng.uniform(0.02, 0.2) * max(film.size))
        film = ImageOps.expand(film, border, fill=int(rng.choice([0, 0, 255])))
    return film


def _alter_levels(film: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Expose a film otherwise, with other contrast and grain; sometimes inverted."""
    levels = (np.asarray(film, dtype=np.float64) / 255) ** np.exp(rng.uniform(-0.6, 0.6))
    levels = 0.5 + (levels - 0.5) * rng.uniform(0.6, 1.3) + rng.uniform(-0.08, 0.08)
    if rng.random() < 0.15:
        levels = 1 - levels
    if rng.random() < 0.3:
        levels = levels + rng.normal(0, rng.uniform(0.005, 0.03), levels.shape)
    return Image.fromarray((levels.clip(0, 1) * 255).astype(np.uint8))


def _alter_beside(
    films: Iterable[Image.Image], rng: np.random.Generator, *, num_copies: int = 1
) -> Iterator[Image.Image]:
    """Yield each film, and altered copies of it behind it."""
    for film in films:
        yield film
        for _ in range(num_copies):
            yield alter_film(film, rng)


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
    write_refusals(model_dir, {name: counts})
    return counts


def write_refusals(model_dir: Path, counts: Mapping[str, RefusalCounts]) -> None:
    """Add counts to the `gate.json` of a folder."""
    report: dict[str, Any] = read_json(model_dir / GATE_REPORT_FILE)
    added = {name: asdict(each) for name, each in counts.items()}
    write_json(model_dir / GATE_REPORT_FILE, {**report, "refusals": {**report.get("refusals", {}), **added}})


def sum_refusals(counts: Iterable[RefusalCounts]) -> RefusalCounts:
    """Add counts up.

    >>> sum_refusals([RefusalCounts(num_films=2, num_refused=1, by_code={"blank": 1})] * 2)
    RefusalCounts(num_films=4, num_refused=2, by_code={'blank': 2})
    """
    num_films, num_refused, by_code = 0, 0, Counter[str]()
    for each in counts:
        num_films, num_refused = num_films + each.num_films, num_refused + each.num_refused
        by_code.update(each.by_code)
    return RefusalCounts(num_films=num_films, num_refused=num_refused, by_code=dict(sorted(by_code.items())))


def count_refusals(classifier: FractureClassifier, pictures: Iterable[Image.Image]) -> RefusalCounts:
    """Judge pictures and count the refusals by reason."""
    num_films, num_refused, by_code = 0, 0, Counter[str]()
    for finding in classifier.predict_many(pictures):
        num_films += 1
        if finding.decision == "refused":
            num_refused += 1
            by_code.update(reason.code for reason in finding.reasons)
    return RefusalCounts(num_films=num_films, num_refused=num_refused, by_code=dict(sorted(by_code.items())))


def _summarise(classifier: FractureClassifier, films: Iterable[Image.Image]) -> NDArray[np.float32]:
    """Return mean and largest values of each film's last feature map; (N, 2C)."""
    rows = list(_iterate_summaries(classifier, films))
    return np.stack(rows) if rows else np.zeros((0, 4), dtype=np.float32)


def _iterate_summaries(classifier: FractureClassifier, films: Iterable[Image.Image]) -> Iterator[NDArray[np.float32]]:
    for film in films:
        radiograph = Radiograph(image=film, original_size=film.size, original_mode=film.mode, has_colour=False)
        summary = classifier.compute_summary(radiograph)
        if summary is None:
            raise ModelFolderError(
                f"Expected a network with a last feature map, got '{classifier.model}' without one. Its gate can only "
                "look at the appearance of films, which needs no fitting."
            )
        yield summary
