"""Random changes of a training batch, with the masks moved along.

Draws from torch's global generator, so that the Trainer's checkpoints make a resumed run repeat them. Imports torch;
nothing of the inference path may import this module. May depend on `config`, `transforms`, numpy and Pillow.
"""

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from hf_fracture.config import RecipeConfig
from hf_fracture.data.transforms import recompress

ERASED_FRACTIONS = (0.01, 0.1)  # smallest and largest share of the input that is blanked
ERASED_ASPECT = 3.0  # largest ratio of the rectangle's sides
JPEG_QUALITIES = (30, 95)  # lowest and highest quality of a film that is compressed again


def augment_films(films: Tensor, inside: Tensor, masks: Tensor, recipe: RecipeConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Rotate, scale, shift, mirror and re-expose each film at random.

    Args:
        films: (N, 1, S, S) grey values in [0, 1].
        inside: (N, 1, S, S), 1 where there is film and 0 in the padding.
        masks: (N, 1, S, S), 1 where the fracture lies.
        recipe: Ranges of the changes.

    Returns:
        The three tensors, changed alike; grey values stay in [0, 1].
    """
    grid = functional.affine_grid(_draw_affine(len(films), recipe), list(films.shape), align_corners=False)
    moved = functional.grid_sample(torch.cat([films, inside, masks], dim=1), grid, align_corners=False)
    films, inside, masks = moved[:, 0:1], moved[:, 1:2], moved[:, 2:3]
    films = _expose(films, recipe)
    if recipe.erasing_probability > 0:
        films = _erase(films, recipe.erasing_probability)
    if recipe.recompression_probability > 0:
        films = _recompress_some(films, recipe.recompression_probability)
    return films, (inside > 0.5).float(), masks


def draw_blend(num: int, alpha: float) -> tuple[Tensor, Tensor]:
    """Draw partners and weights for mixup.

    Source: Zhang et al., mixup (2018). Departs from it in drawing one weight a pair, not one a batch.

    Args:
        num: Films N of the batch.
        alpha: Both parameters of the Beta distribution, positive.

    Returns:
        (N,) index of each film's partner, and (N,) weight of the film itself in [0.5, 1].
    """
    weights = torch.distributions.Beta(alpha, alpha).sample((num,))
    return torch.randperm(num), torch.maximum(weights, 1 - weights)


def _uniform(num: int, low: float, high: float) -> Tensor:
    return torch.empty(num).uniform_(low, high)


def _draw_affine(num: int, recipe: RecipeConfig) -> Tensor:
    """Draw (N, 2, 3) maps from output to input coordinates."""
    angle = _uniform(num, -recipe.rotation_degrees, recipe.rotation_degrees) * (math.pi / 180)
    scale = torch.exp(_uniform(num, math.log1p(-recipe.scale_fraction), math.log1p(recipe.scale_fraction)))
    mirror = torch.where(torch.rand(num) < 0.5, -1.0, 1.0) if recipe.horizontal_flip else torch.ones(num)
    cosine, sine = torch.cos(angle) / scale, torch.sin(angle) / scale
    # In affine_grid's units the input's side has length 2.
    shift = _uniform(2 * num, -2 * recipe.translation_fraction, 2 * recipe.translation_fraction).view(num, 2)
    rows = torch.stack([torch.stack([cosine * mirror, -sine], 1), torch.stack([sine * mirror, cosine], 1)], 1)
    return torch.cat([rows, shift.unsqueeze(2)], dim=2)


def _expose(films: Tensor, recipe: RecipeConfig) -> Tensor:
    """Change gamma and contrast, and add noise."""
    num = len(films)
    gamma = torch.exp(_uniform(num, -math.log(recipe.gamma), math.log(recipe.gamma))).view(-1, 1, 1, 1)
    contrast = 1 + _uniform(num, -recipe.contrast_fraction, recipe.contrast_fraction).view(-1, 1, 1, 1)
    noise = _uniform(num, 0, recipe.noise_fraction).view(-1, 1, 1, 1) * torch.randn_like(films)
    exposed = films.clamp(0, 1) ** gamma
    middle = exposed.mean(dim=(1, 2, 3), keepdim=True)
    return ((exposed - middle) * contrast + middle + noise).clamp(0, 1)


def _erase(films: Tensor, probability: float) -> Tensor:
    """Blank a rectangle of `ERASED_FRACTIONS` of the input in some films with their mean grey.

    Source: Zhong et al., Random Erasing Data Augmentation (2020). Departs from it in the smaller area: a fracture
    covers one percent of a film.
    """
    num, side = len(films), films.shape[-1]
    area = _uniform(num, *ERASED_FRACTIONS) * side * side
    aspect = torch.exp(_uniform(num, -math.log(ERASED_ASPECT), math.log(ERASED_ASPECT)))
    height, width = torch.sqrt(area * aspect), torch.sqrt(area / aspect)
    top, left = torch.rand(num) * (side - height), torch.rand(num) * (side - width)
    steps = torch.arange(side)
    in_rows = (steps >= top.view(-1, 1)) & (steps < (top + height).view(-1, 1))  # (N, S)
    in_columns = (steps >= left.view(-1, 1)) & (steps < (left + width).view(-1, 1))
    chosen = (torch.rand(num) < probability).view(-1, 1, 1, 1)
    erased = (in_rows.unsqueeze(2) & in_columns.unsqueeze(1)).unsqueeze(1) & chosen
    return torch.where(erased, films.mean(dim=(1, 2, 3), keepdim=True), films)


def _recompress_some(films: Tensor, probability: float) -> Tensor:
    """Save some films as JPEG of a quality drawn from `JPEG_QUALITIES` and read them again."""
    chosen = torch.rand(len(films)) < probability
    low, high = JPEG_QUALITIES
    qualities = torch.randint(low, high + 1, (len(films),))
    films = films.clone()
    for index in torch.nonzero(chosen).flatten().tolist():
        levels = (films[index, 0] * 255).round().to(torch.uint8).numpy()
        again = recompress(Image.fromarray(levels), quality=int(qualities[index]))
        films[index, 0] = torch.from_numpy(np.array(again)).float() / 255
    return films
