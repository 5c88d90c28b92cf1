"""Rows of a prepared dataset as training batches: letterboxed films, labels, and masks of the marked regions.

May depend on `models`, `data`, `config`, `labels` and `errors`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from hf_fracture.config import RecipeConfig
from hf_fracture.data.augmentation import augment_films, draw_blend
from hf_fracture.data.transforms import Letterbox, Preprocessing, letterbox_image
from hf_fracture.labels import FRACTURED
from hf_fracture.models.evidence import evidence_targets


class FilmDataset(Dataset[dict[str, Any]]):
    """Letterboxed films of one split.

    Args:
        rows: A `datasets.Dataset` with the columns `image`, `label`, `boxes` and `polygons`.
        size_px: Side of the square input; may be changed between epochs.
        dilation_fraction: Margin by which masks grow, as a fraction of the side.
    """

    def __init__(self, rows: Any, *, size_px: int, dilation_fraction: float) -> None:
        """Keep a view of the columns that training reads."""
        self._rows = rows.select_columns(["image", "label", "boxes", "polygons"])
        self.labels = np.asarray(rows["label"], dtype=np.intp)  # (N,)
        self.size_px = size_px
        self._dilation_fraction = dilation_fraction

    def __len__(self) -> int:
        """Return the number of films."""
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return `film` (S, S) uint8, `scaled_size`, `mask` (S, S) uint8 of 0 and 255, `mask_known` and `label`."""
        row = self._rows[index]
        film, letterbox = letterbox_image(row["image"].convert("L"), self.size_px)
        regions = bool(row["polygons"]) or bool(row["boxes"])
        return {
            "film": film,
            "scaled_size": letterbox.scaled_size,
            "mask": draw_mask(row, letterbox, dilation_px=round(self._dilation_fraction * self.size_px)),
            "mask_known": regions or row["label"] != FRACTURED,
            "label": row["label"],
        }


def draw_mask(row: Mapping[str, Any], letterbox: Letterbox, *, dilation_px: int) -> NDArray[np.uint8]:
    """Draw the marked regions of a film in the coordinates of the input.

    Polygons count where there are any, boxes otherwise.

    Args:
        row: `polygons`, lists [x0, y0, x1, y1, …], and `boxes`, lists [x, y, width, height], in film pixels.
        letterbox: Where the film lies in the input.
        dilation_px: Margin in input pixels.

    Returns:
        (S, S) of 0 and 255.
    """
    canvas = Image.new("L", (letterbox.size_px, letterbox.size_px), 0)
    draw = ImageDraw.Draw(canvas)
    sx, sy = letterbox.scale
    polygons: Sequence[Sequence[float]] = row["polygons"] or []
    boxes: Sequence[Sequence[float]] = row["boxes"] or []
    for polygon in polygons:
        points = [(x * sx, y * sy) for x, y in zip(polygon[0::2], polygon[1::2], strict=True)]
        if len(points) > 1:
            draw.polygon(points, fill=255, outline=255)
    for box in boxes if not polygons else []:
        x, y, width, height = letterbox.box_to_input(box)
        draw.rectangle((x, y, x + width, y + height), fill=255)
    if dilation_px > 0 and (polygons or boxes):
        canvas = canvas.filter(ImageFilter.MaxFilter(2 * dilation_px + 1))
    return np.asarray(canvas)


def build_collator(
    preprocessing: Preprocessing,
    recipe: RecipeConfig,
    *,
    is_training: Callable[[], bool],
    with_masks: bool,
    num_classes: int = 2,
) -> Callable[[list[dict[str, Any]]], dict[str, Tensor]]:
    """Return the function that makes a batch of `FilmDataset` items.

    Args:
        preprocessing: Normalisation; the padding becomes 0 after it.
        recipe: Ranges of the augmentation.
        is_training: Asked for each batch; augmentation happens only where it says True.
        with_masks: Add `masks` and `mask_known` for the evidence loss.
        num_classes: Classes C. With mixup, `labels` of a training batch are shares (N, C) of the classes.
    """
    mean = torch.tensor(preprocessing.mean).view(1, -1, 1, 1)
    std = torch.tensor(preprocessing.std).view(1, -1, 1, 1)

    def collate(items: list[dict[str, Any]]) -> dict[str, Tensor]:
        films = torch.from_numpy(np.stack([item["film"] for item in items])).unsqueeze(1).float() / 255
        inside = torch.stack([_inside(item["scaled_size"], films.shape[-1]) for item in items])
        masks = torch.from_numpy(np.stack([item["mask"] for item in items])).unsqueeze(1).float() / 255
        if is_training():
            films, inside, masks = augment_films(films, inside, masks, recipe)
        pixels = (films - mean) / std * inside  # (N, 3, S, S)
        batch = {
            "pixel_values": pixels.contiguous(memory_format=torch.channels_last),
            "labels": torch.tensor([item["label"] for item in items]),
        }
        if with_masks:
            batch["masks"] = masks
            batch["mask_known"] = torch.tensor([item["mask_known"] for item in items])
        if is_training() and recipe.mixup_alpha > 0:
            _blend(batch, recipe.mixup_alpha, num_classes)
        return batch

    return collate


def _blend(batch: dict[str, Tensor], alpha: float, num_classes: int) -> None:
    """Blend each film with a partner and give it the shares of both labels.

    The place of a fracture stays that of the film that weighs more.
    """
    partner, weight = draw_blend(len(batch["labels"]), alpha)
    labels = functional.one_hot(batch["labels"], num_classes).float()
    pixels, share = batch["pixel_values"], weight.view(-1, 1, 1, 1)
    batch["pixel_values"] = share * pixels + (1 - share) * pixels[partner]
    batch["labels"] = weight.view(-1, 1) * labels + (1 - weight.view(-1, 1)) * labels[partner]


def _inside(scaled_size: tuple[int, int], size_px: int) -> Tensor:
    """Return (1, S, S), 1 where the film lies."""
    inside = torch.zeros(1, size_px, size_px)
    inside[:, : scaled_size[1], : scaled_size[0]] = 1
    return inside


def mean_fracture_cells(dataset: FilmDataset, *, cells: int) -> float:
    """Mean number of map positions that a marked fractured film's mask covers; at least 1.

    Normalises the evidence loss by what a batch holds on average, so that it does not depend on how films are
    divided into batches, ranks or accumulation steps.

    Args:
        dataset: Training films.
        cells: Side of the map in positions.
    """
    counts = []
    for index in np.flatnonzero(dataset.labels == FRACTURED):
        mask = torch.from_numpy(dataset[int(index)]["mask"].copy()).float().unsqueeze(0)  # (1, S, S)
        covered = float(evidence_targets(mask.unsqueeze(0) / 255, (cells, cells)).sum())
        if covered > 0:
            counts.append(covered)
    return max(1.0, float(np.mean(counts))) if counts else 1.0
