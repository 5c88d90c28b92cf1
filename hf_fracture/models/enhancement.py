"""Enhancements of a film as part of a network's graph, so that every way of running the network applies them.

They see the letterboxed, normalised film and undo the normalisation first. Padding is exactly 0 in every channel and no
8-bit grey value normalises to 0, so where the film lies is read from the pixels. Everything is computed in float32 on
the network's device. Histogram steps read their table between levels linearly, so that gradients pass; no gradient
passes the thresholds of the edges and of the marks.

This file is copied beside saved models: it may depend on torch only.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

NUM_LEVELS = 256
NOISE_FLOOR = 0.08  # of white; air around a limb lies below it, soft tissue above
MARK_LEVEL = 0.9  # of white: lead letters and clips saturate the film
MARK_CONTRAST = 0.25  # of white, above what a morphological opening leaves
MARK_SIDE_FRACTION = 1 / 16  # of the input's side: what is narrower can be a mark
CLAHE_TILES = 8
CLAHE_CLIP = 2.0  # times the mean count of a level, as in OpenCV's usage
CANNY_SIGMA_PX = 1.4
CANNY_LOW, CANNY_HIGH = 0.02, 0.05  # of the gradient of a full step from black to white
CANNY_HYSTERESIS_STEPS = 16


class FilmEnhancement(nn.Module):
    """Enhance normalised films.

    Args:
        steps: Of `inpaint_markers`, `noise_floor`, `equalize`, `clahe`, `canny`, applied in this order.
        mean: Per channel, with which films were normalised.
        std: Per channel, likewise.
    """

    def __init__(self, steps: Sequence[str], mean: Sequence[float], std: Sequence[float]) -> None:
        """Keep plain numbers: buffers that are not saved would be lost where a model is loaded without memory."""
        super().__init__()
        self.steps = tuple(steps)
        self.mean, self.std = tuple(mean), tuple(std)

    @property
    def num_channels(self) -> int:
        """Channels that come out."""
        return len(self.mean) + ("canny" in self.steps)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Return the enhanced films.

        Args:
            pixel_values: (N, 3, S, S), normalised, 0 in the padding.

        Returns:
            (N, 3, S, S) normalised as before, or (N, 4, S, S) with edges (0 or 1) last.
        """
        with torch.autocast(pixel_values.device.type, enabled=False):
            pixels = pixel_values.float()
            mean = pixels.new_tensor(self.mean).view(1, -1, 1, 1)
            std = pixels.new_tensor(self.std).view(1, -1, 1, 1)
            inside = (pixels != 0).any(dim=1, keepdim=True).float()  # (N, 1, S, S)
            grey = (pixels * std + mean).mean(dim=1, keepdim=True).clamp(0, 1) * inside
            grey_steps = [step for step in self.steps if step != "canny"]
            for step in grey_steps:
                grey = _STEPS[step](grey, inside) * inside
            enhanced = (grey - mean) / std * inside if grey_steps else pixels
            if "canny" in self.steps:
                enhanced = torch.cat([enhanced, find_edges(grey, inside)], dim=1)
        return enhanced.contiguous(memory_format=torch.channels_last)


def inpaint_markers(grey: Tensor, inside: Tensor) -> Tensor:
    """Replace small saturated marks (side letters, clips) by the mean of what surrounds them.

    Thin metal such as wires and screws is small and saturated too, and goes with them.

    Args:
        grey: (N, 1, S, S) in [0, 1].
        inside: (N, 1, S, S), 1 where the film lies.

    Returns:
        (N, 1, S, S) in [0, 1].
    """
    side = max(3, round(grey.shape[-1] * MARK_SIDE_FRACTION) // 2 * 2 + 1)
    opened = _pool_max(-_pool_max(-grey, side), side)
    marks = _pool_max(((grey > MARK_LEVEL) & (grey - opened > MARK_CONTRAST)).float(), 5)  # the soft rim goes too
    known = inside * (1 - marks)
    filled, missing = grey * known, marks * inside
    for width in (side, 2 * side + 1, 4 * side + 1):
        weight = _pool_mean(known, width)
        around = _pool_mean(grey * known, width) / weight.clamp_min(1e-6)
        reached = missing * (weight > 1e-6)
        filled, missing = filled + around * reached, missing - reached
    return (filled + grey * missing).clamp(0, 1)


def _pool_max(values: Tensor, side: int) -> Tensor:
    """Largest value of a square of odd side around each pixel; one axis at a time, which is far cheaper."""
    across = functional.max_pool2d(values, (1, side), stride=1, padding=(0, side // 2))
    return functional.max_pool2d(across, (side, 1), stride=1, padding=(side // 2, 0))


def _pool_mean(values: Tensor, side: int) -> Tensor:
    """Mean of a square of odd side around each pixel, with 0 beyond the input."""
    across = functional.avg_pool2d(values, (1, side), stride=1, padding=(0, side // 2))
    return functional.avg_pool2d(across, (side, 1), stride=1, padding=(side // 2, 0))


def suppress_noise(grey: Tensor, inside: Tensor) -> Tensor:  # noqa: ARG001 - every step has both
    """Set what is darker than `NOISE_FLOOR` to black and stretch the rest; see `inpaint_markers` for the shapes."""
    return ((grey - NOISE_FLOOR) / (1 - NOISE_FLOOR)).clamp_min(0)


def equalize(grey: Tensor, inside: Tensor) -> Tensor:
    """Equalise the film's histogram; the padding does not count. See `inpaint_markers` for the shapes."""
    counts = _count_levels(grey, inside, torch.zeros_like(grey, dtype=torch.long), num_tables=1)  # (N, 1, 256)
    return _read_tables(_to_tables(counts), grey, torch.zeros_like(grey, dtype=torch.long))


def equalize_adaptively(grey: Tensor, inside: Tensor) -> Tensor:
    """Equalise by tiles with a clipped histogram, blended bilinearly (CLAHE).

    Source: Zuiderveld, Contrast Limited Adaptive Histogram Equalization (1994). Departs from OpenCV in leaving the
    padding out of the counts; a tile without film keeps its grey values.

    Args:
        grey: (N, 1, S, S) in [0, 1].
        inside: (N, 1, S, S), 1 where the film lies.

    Returns:
        (N, 1, S, S) in [0, 1].
    """
    side = grey.shape[-1]
    steps = torch.arange(side, device=grey.device)
    tile = steps * CLAHE_TILES // side
    tiles = (tile.view(-1, 1) * CLAHE_TILES + tile.view(1, -1)).expand_as(grey)
    counts = _count_levels(grey, inside, tiles, num_tables=CLAHE_TILES**2)  # (N, T, 256)
    total = counts.sum(dim=2, keepdim=True)
    clipped = counts.minimum(CLAHE_CLIP * total / NUM_LEVELS)
    tables = _to_tables(clipped + (total - clipped.sum(dim=2, keepdim=True)) / NUM_LEVELS)
    position = ((steps + 0.5) * CLAHE_TILES / side - 0.5).clamp(0, CLAHE_TILES - 1)
    low = position.floor().long()
    high = (low + 1).clamp_max(CLAHE_TILES - 1)
    share = position - low
    blended = torch.zeros_like(grey)
    for row, row_weight in ((low, 1 - share), (high, share)):
        for column, column_weight in ((low, 1 - share), (high, share)):
            index = (row.view(-1, 1) * CLAHE_TILES + column.view(1, -1)).expand_as(grey)
            weight = row_weight.view(-1, 1) * column_weight.view(1, -1)
            blended = blended + weight * _read_tables(tables, grey, index)
    return blended


def find_edges(grey: Tensor, inside: Tensor) -> Tensor:
    """Find edges after Canny (1986): smooth, differentiate, thin, keep strong edges and the weak ones tied to them.

    Departs from the paper in fixed thresholds (`CANNY_LOW`, `CANNY_HIGH`) and in following weak edges for
    `CANNY_HYSTERESIS_STEPS` pixels only. The film's own border is no edge.

    Args:
        grey: (N, 1, S, S) in [0, 1].
        inside: (N, 1, S, S), 1 where the film lies.

    Returns:
        (N, 1, S, S) of 0 and 1.
    """
    across, down = _gradient(_blur(grey))
    margin = 4  # half the smoothing kernel, the Sobel kernel and one pixel of thinning
    interior = -functional.max_pool2d(-functional.pad(inside, [margin] * 4), 2 * margin + 1, stride=1)
    strength = torch.sqrt(across**2 + down**2 + 1e-12) * interior
    thin = strength * _is_ridge(strength, across, down)
    weak, edges = (thin > CANNY_LOW).float(), (thin > CANNY_HIGH).float()
    for _ in range(CANNY_HYSTERESIS_STEPS):
        edges = functional.max_pool2d(edges, 3, stride=1, padding=1) * weak
    return edges


def _blur(grey: Tensor) -> Tensor:
    offsets = torch.arange(-2, 3, device=grey.device, dtype=grey.dtype)
    kernel = torch.exp(-(offsets**2) / (2 * CANNY_SIGMA_PX**2))
    kernel = kernel / kernel.sum()
    padded = functional.pad(grey, [2] * 4, mode="replicate")
    return functional.conv2d(functional.conv2d(padded, kernel.view(1, 1, 1, 5)), kernel.view(1, 1, 5, 1))


def _gradient(grey: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel differences, scaled so that a step from black to white has strength 1."""
    kernel = grey.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 4
    padded = functional.pad(grey, [1] * 4, mode="replicate")
    across = functional.conv2d(padded, kernel.view(1, 1, 3, 3))
    return across, functional.conv2d(padded, kernel.t().contiguous().view(1, 1, 3, 3))


def _is_ridge(strength: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """1 where the strength is at least that of both neighbours along the gradient, rounded to 45 degrees."""
    height, width = strength.shape[-2:]
    padded = functional.pad(strength, [1] * 4)
    sector = torch.round(torch.atan2(down, across) * (4 / torch.pi)).long() % 4  # 0 across, 1 falling, 2 down, 3 rising
    ridge = torch.zeros_like(strength)
    for index, (row, column) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        ahead = padded[..., 1 + row : 1 + row + height, 1 + column : 1 + column + width]
        behind = padded[..., 1 - row : 1 - row + height, 1 - column : 1 - column + width]
        # Strictly above one side only, so that of a plateau of two pixels one remains.
        ridge = torch.where(sector == index, ((strength >= ahead) & (strength > behind)).float(), ridge)
    return ridge


def _count_levels(grey: Tensor, inside: Tensor, tables: Tensor, *, num_tables: int) -> Tensor:
    """Count grey levels into (N, num_tables, 256); `tables` (N, 1, S, S) says into which table a pixel counts."""
    level = torch.round(grey.detach() * (NUM_LEVELS - 1)).long()
    index = (tables * NUM_LEVELS + level).flatten(1)
    counts = grey.new_zeros(len(grey), num_tables * NUM_LEVELS)
    return counts.scatter_add(1, index, inside.flatten(1)).view(len(grey), num_tables, NUM_LEVELS)


def _to_tables(counts: Tensor) -> Tensor:
    """Turn counts (N, T, 256) into new grey values in [0, 1]; a table without pixels, or of one level, stays as is."""
    cumulated = counts.cumsum(dim=2)
    total = cumulated[..., -1:]
    first = torch.where(cumulated > 0, cumulated, total).amin(dim=2, keepdim=True)
    unchanged = torch.linspace(0, 1, NUM_LEVELS, device=counts.device).expand_as(counts)
    spread = ((cumulated - first) / (total - first).clamp_min(1e-6)).clamp(0, 1)
    return torch.where(total > first, spread, unchanged)


def _read_tables(tables: Tensor, grey: Tensor, index: Tensor) -> Tensor:
    """Look grey values (N, 1, S, S) up in tables (N, T, 256), linearly between levels."""
    levels = grey * (NUM_LEVELS - 1)
    low = levels.detach().floor().long().clamp(0, NUM_LEVELS - 1)
    high = (low + 1).clamp_max(NUM_LEVELS - 1)
    flat = tables.flatten(1)  # (N, T * 256)
    below, above = (flat.gather(1, (index * NUM_LEVELS + level).flatten(1)).view_as(grey) for level in (low, high))
    return below + (levels - low) * (above - below)


_STEPS = {
    "inpaint_markers": inpaint_markers,
    "noise_floor": suppress_noise,
    "equalize": equalize,
    "clahe": equalize_adaptively,
}
