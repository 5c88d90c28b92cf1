"""Random changes of a training batch, with the masks moved along.

Draws from torch's global generator, so that the Trainer's checkpoints make a resumed run repeat them. Imports torch;
nothing of the inference path may import this module. May depend on `config` and numpy.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from hf_fracture.config import RecipeConfig


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
    return _expose(films, recipe), (inside > 0.5).float(), masks


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
