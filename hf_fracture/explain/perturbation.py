"""Does the network's answer depend on what a map marks? Deletion and insertion, infidelity, sensitivity.

Everything is measured on one film; intervals over films are the caller's. Torch and captum are imported inside
functions. May depend on `sanity` and the other modules of this room.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from hf_fracture.data.transforms import Letterbox
from hf_fracture.explain.captum_methods import build_score_function, seeded
from hf_fracture.explain.sanity import Explainer, average_blocks

if TYPE_CHECKING:
    from torch import Tensor

NUM_STEPS: Final = 16  # of a deletion or insertion curve
TILES_PER_SIDE: Final = 24  # of the input; tiles are what is deleted and inserted
BLUR_FRACTION: Final = 1 / 24  # standard deviation of the blur that stands for "nothing to see", of the input's side
FILMS_PER_PASS: Final = 8
NUM_SQUARES: Final = 16  # removed, one at a time, to measure infidelity
SQUARE_FRACTION: Final = 1 / 6  # of the input's side
NUM_NOISY_COPIES: Final = 4
NOISE_RADIUS: Final = 0.02  # in normalised units, Captum's own choice


@dataclass(frozen=True, kw_only=True)
class Curves:
    """The probability of a fracture while tiles are blurred (deletion) or shown again (insertion), strongest first.

    Attributes:
        deletion: (NUM_STEPS + 1,) from the film to its blurred copy.
        insertion: (NUM_STEPS + 1,) from the blurred copy to the film.
    """

    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]

    @property
    def deletion_area(self) -> float:
        """Area under the deletion curve, in [0, 1]; lower is better."""
        return _area(self.deletion)

    @property
    def insertion_area(self) -> float:
        """Area under the insertion curve, in [0, 1]; higher is better."""
        return _area(self.insertion)


@dataclass(frozen=True, kw_only=True)
class Infidelity:
    """How badly the map foretells what removing a square does to the score (Yeh et al. 2019, square removal).

    Attributes:
        value: Captum's infidelity in squared logits, after the best scaling of the map.
        of_no_map: The same for a map of zeros, the worst a scaled map can do.
    """

    value: float
    of_no_map: float


def rank_tiles(input_map: NDArray[np.float32], letterbox: Letterbox) -> NDArray[np.intp]:
    """Order the tiles that hold film by their mean value in a map, strongest first.

    Args:
        input_map: (s, s) signed map over the padded input.
        letterbox: Of the film.

    Returns:
        (n,) numbers of tiles, row by row, of those that the film touches.
    """
    tiles = _tile_means(input_map).ravel()
    held = _tiles_with_film(letterbox)
    return held[np.argsort(-tiles[held], kind="stable")]


def shuffle_tiles(letterbox: Letterbox, *, seed: int) -> NDArray[np.intp]:
    """Return the tiles that hold film in random order: what a ranking has to beat."""
    return np.random.default_rng(seed).permutation(_tiles_with_film(letterbox))


def measure_curves(
    explainer: Explainer, pixel_values: NDArray[np.float32], order: NDArray[np.intp], letterbox: Letterbox
) -> Curves:
    """Blur the tiles of a film in the given order, and show them in the same order on a blurred film.

    Source: Petsiuk et al. 2018 (RISE). Departs from it in tiles instead of pixels, and in one blurred copy for both
    curves instead of black and blur.

    Args:
        explainer: Names the model and the class; its method does not matter here.
        pixel_values: (3, S, S) letterboxed and normalised film.
        order: (n,) numbers of tiles, as from `rank_tiles`.
        letterbox: Of the film.
    """
    blurred = _blur_film(pixel_values, letterbox)
    side = pixel_values.shape[-1]
    tile_of_pixel = np.arange(side) * TILES_PER_SIDE // side
    number = tile_of_pixel[:, None] * TILES_PER_SIDE + tile_of_pixel[None, :]  # (S, S)
    rank = np.full(TILES_PER_SIDE**2, len(order))
    rank[order] = np.arange(len(order))
    counts = [round(step * len(order) / NUM_STEPS) for step in range(NUM_STEPS + 1)]
    chosen = [rank[number] < count for count in counts]
    deleted = [np.where(mask, blurred, pixel_values) for mask in chosen]
    inserted = [np.where(mask, pixel_values, blurred) for mask in chosen[1:-1]]
    probabilities = _predict(explainer, deleted + inserted)
    deletion, middle = probabilities[: NUM_STEPS + 1], probabilities[NUM_STEPS + 1 :]
    return Curves(deletion=deletion, insertion=np.concatenate([deletion[-1:], middle, deletion[:1]]))


def measure_infidelity(
    explainer: Explainer, pixel_values: NDArray[np.float32], input_map: NDArray[np.float32], *, seed: int = 0
) -> Infidelity:
    """Remove one square after the other, and compare the fall of the score with the map's sum in the square.

    Args:
        explainer: Names the model and the class.
        pixel_values: (3, S, S) letterboxed and normalised film.
        input_map: (s, s) its map.
        seed: Places the squares.
    """
    import torch
    from captum.metrics import infidelity

    side = pixel_values.shape[-1]
    inputs = _to_tensor(explainer, pixel_values)
    values = Letterbox((side, side), side, (side, side)).map_to_film(input_map)
    attributions = torch.from_numpy(values).to(inputs).expand_as(inputs) / inputs.shape[1]
    rng = np.random.default_rng(seed)
    score, scores = build_score_function(explainer.model, explainer.target), list[torch.Tensor]()

    def remove_squares(films: "Tensor") -> "tuple[Tensor, Tensor]":
        marks = torch.zeros_like(films)
        size = max(1, round(side * SQUARE_FRACTION))
        for mark in marks:
            top, left = rng.integers(0, side - size + 1, size=2)
            mark[:, top : top + size, left : left + size] = 1.0
        return marks, films * (1.0 - marks)

    def note_score(films: "Tensor") -> "Tensor":
        scores.append(score(films))
        return scores[-1]

    value = infidelity(
        note_score,
        remove_squares,
        inputs,
        attributions,
        n_perturb_samples=NUM_SQUARES,
        max_examples_per_batch=FILMS_PER_PASS,
        normalize=True,
    )
    of_removed = torch.cat([batch for batch in scores if len(batch) > 1])
    of_film = next(batch for batch in scores if len(batch) == 1)
    return Infidelity(value=float(value[0]), of_no_map=float(((of_film - of_removed) ** 2).mean()))


def measure_sensitivity(explainer: Explainer, pixel_values: NDArray[np.float32]) -> float:
    """Return Captum's max-sensitivity: the largest relative change of the map under noise that nobody sees."""
    import torch
    from captum.metrics import sensitivity_max

    def explain(inputs: "tuple[Tensor]") -> "tuple[Tensor]":
        return (torch.from_numpy(np.stack([explainer(film) for film in inputs[0].detach().cpu().numpy()])),)

    with seeded(0):
        value = sensitivity_max(
            explain,
            _to_tensor(explainer, pixel_values),
            perturb_radius=NOISE_RADIUS,
            n_perturb_samples=NUM_NOISY_COPIES,
        )
    return float(value[0])


def _predict(explainer: Explainer, films: list[NDArray[np.float32]]) -> NDArray[np.float64]:
    import torch

    score: Callable[[Tensor], Tensor] = build_score_function(explainer.model, explainer.target)
    parts = []
    with torch.no_grad():
        for start in range(0, len(films), FILMS_PER_PASS):
            batch = torch.from_numpy(np.stack(films[start : start + FILMS_PER_PASS])).to(explainer.model.device)
            parts.append(torch.sigmoid(score(batch)).double().cpu().numpy())
    return np.concatenate(parts)


def _to_tensor(explainer: Explainer, pixel_values: NDArray[np.float32]) -> "Tensor":
    import torch

    return torch.from_numpy(np.ascontiguousarray(pixel_values))[None].to(explainer.model.device)


def _blur_film(pixel_values: NDArray[np.float32], letterbox: Letterbox) -> NDArray[np.float32]:
    """Blur the film inside its padding, which stays 0; the channels hold one grey level each."""
    width, height = letterbox.scaled_size
    blurred = np.zeros_like(pixel_values)
    blur = ImageFilter.GaussianBlur(pixel_values.shape[-1] * BLUR_FRACTION)
    for channel, values in enumerate(pixel_values[:, :height, :width]):
        lowest, spread = values.min(), max(float(np.ptp(values)), 1e-6)
        grey = np.round((values - lowest) * (255 / spread)).astype(np.uint8)
        soft = np.asarray(Image.fromarray(grey).filter(blur), dtype=np.float32)
        blurred[channel, :height, :width] = soft * (spread / 255) + lowest
    return blurred


def _tile_means(input_map: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average a square map over the tiles; (TILES_PER_SIDE, TILES_PER_SIDE)."""
    side = len(input_map)
    if side < TILES_PER_SIDE:
        tiles = TILES_PER_SIDE
        return Letterbox((tiles, tiles), tiles, (tiles, tiles)).map_to_film(input_map, kernel="spline")
    return average_blocks(input_map, TILES_PER_SIDE)


def _tiles_with_film(letterbox: Letterbox) -> NDArray[np.intp]:
    columns, rows = (-(-size * TILES_PER_SIDE // letterbox.size_px) for size in letterbox.scaled_size)
    return (np.arange(rows)[:, None] * TILES_PER_SIDE + np.arange(columns)[None, :]).ravel()


def _area(curve: NDArray[np.float64]) -> float:
    return float(np.trapezoid(curve, dx=1 / (len(curve) - 1)))
