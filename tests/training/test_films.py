from typing import Any

import numpy as np
import pytest
import torch

from hf_fracture.config import RecipeConfig
from hf_fracture.data.augmentation import augment_films, draw_blend
from hf_fracture.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, fit_letterbox, letterbox_pixels
from hf_fracture.training.films import FilmDataset, build_collator, draw_mask, mean_fracture_cells

PREPROCESSING = Preprocessing(size_px=96, mean=IMAGENET_MEAN, std=IMAGENET_STD)
STILL = {
    "rotation_degrees": 0.0,
    "scale_fraction": 0.0,
    "translation_fraction": 0.0,
    "horizontal_flip": False,
    "gamma": 1.0,
    "contrast_fraction": 0.0,
    "noise_fraction": 0.0,
}


def test_batch_without_augmentation_is_what_inference_sees(phantom_splits: Any) -> None:
    rows = phantom_splits["validation"]
    films = FilmDataset(rows, size_px=96, dilation_fraction=0.01)
    collate = build_collator(PREPROCESSING, RecipeConfig(backbone="x"), is_training=lambda: False, with_masks=True)
    batch = collate([films[0], films[1]])
    expected = np.stack([letterbox_pixels(rows[i]["image"], 96, IMAGENET_MEAN, IMAGENET_STD) for i in (0, 1)])
    np.testing.assert_allclose(batch["pixel_values"].numpy(), expected, atol=1e-5)
    assert batch["labels"].tolist() == rows["label"][:2]


def test_mask_covers_the_box_and_its_margin_and_nothing_else() -> None:
    letterbox = fit_letterbox(200, 100, 100)
    row = {"polygons": [], "boxes": [[40.0, 20.0, 20.0, 10.0]]}
    mask = draw_mask(row, letterbox, dilation_px=2)
    rows, columns = np.nonzero(mask)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (18, 32, 8, 17)


def test_polygon_wins_over_the_box_around_it() -> None:
    letterbox = fit_letterbox(100, 100, 100)
    triangle = {"polygons": [[10.0, 10.0, 50.0, 10.0, 10.0, 50.0]], "boxes": [[10.0, 10.0, 40.0, 40.0]]}
    mask = draw_mask(triangle, letterbox, dilation_px=0)
    assert mask[15, 15] == 255
    assert mask[45, 45] == 0


def test_fractured_film_without_region_is_not_taken_for_one_without_fracture() -> None:
    from datasets import Dataset, Image

    film = {"image": np.zeros((8, 8), dtype=np.uint8), "boxes": [], "polygons": []}
    rows = Dataset.from_list([{**film, "label": 1}, {**film, "label": 0}]).cast_column("image", Image())
    films = FilmDataset(rows, size_px=32, dilation_fraction=0)
    assert [films[0]["mask_known"], films[1]["mask_known"]] == [False, True]


def test_still_augmentation_changes_nothing() -> None:
    torch.manual_seed(0)
    film, inside, mask = torch.rand(2, 1, 32, 32), torch.ones(2, 1, 32, 32), torch.zeros(2, 1, 32, 32)
    moved, still_inside, _ = augment_films(film, inside, mask, RecipeConfig(backbone="x", **STILL))  # type: ignore[arg-type]
    torch.testing.assert_close(moved, film, atol=1e-4, rtol=0)
    assert (still_inside == 1).all()


def test_mask_moves_with_the_film() -> None:
    torch.manual_seed(0)
    film = torch.zeros(16, 1, 64, 64)
    film[:, :, 20:34, 24:40] = 1.0
    recipe = RecipeConfig(backbone="x", gamma=1.0, contrast_fraction=0.0, noise_fraction=0.0)
    moved, inside, mask = augment_films(film.clone(), torch.ones_like(film), film.clone(), recipe)
    torch.testing.assert_close(moved, mask, atol=1e-5, rtol=0)
    assert not torch.allclose(moved, film)
    assert (inside == 0).any(), "a rotated film leaves corners that hold no film"


def test_same_seed_draws_the_same_augmentation() -> None:
    film, recipe = torch.rand(4, 1, 32, 32), RecipeConfig(backbone="x")
    draws = []
    for _ in range(2):
        torch.manual_seed(5)
        draws.append(augment_films(film, torch.ones_like(film), torch.zeros_like(film), recipe)[0])
    assert torch.equal(*draws)
    assert draws[0].min() >= 0
    assert draws[0].max() <= 1


def test_cells_of_a_fracture_are_counted_on_the_map(phantom_splits: Any) -> None:
    from datasets import Dataset, Image

    film = {"image": np.zeros((64, 64), dtype=np.uint8), "polygons": []}
    boxes = [[[0.0, 0.0, 15.0, 15.0]], [[0.0, 0.0, 31.0, 15.0], [40.0, 40.0, 3.0, 3.0]]]
    rows = Dataset.from_list(
        [{**film, "label": 1, "boxes": part} for part in boxes] + [{**film, "label": 0, "boxes": []}]
    ).cast_column("image", Image())
    films = FilmDataset(rows, size_px=64, dilation_fraction=0)
    small = (4 * 4) / (16 * 16)  # the small box counts by its share of the position, beside a position that is full
    assert mean_fracture_cells(films, cells=4) == pytest.approx((1 + 2 + small) / 2)


def test_blended_batch_holds_both_labels_and_both_films(phantom_splits: Any) -> None:
    films = FilmDataset(phantom_splits["train"], size_px=64, dilation_fraction=0)
    small = Preprocessing(size_px=64, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    recipe = RecipeConfig(backbone="x", mixup_alpha=0.4, **STILL)  # type: ignore[arg-type]
    items = [films[index] for index in range(8)]
    torch.manual_seed(3)
    blended = build_collator(small, recipe, is_training=lambda: True, with_masks=False)(items)
    plain = build_collator(small, recipe, is_training=lambda: False, with_masks=False)(items)
    assert blended["labels"].shape == (8, 2)
    torch.testing.assert_close(blended["labels"].sum(dim=1), torch.ones(8))
    assert plain["labels"].tolist() == [item["label"] for item in items], "validation films are never blended"
    torch.manual_seed(3)
    empty = torch.zeros(8, 1, 64, 64)
    augment_films(empty, empty, empty, recipe)
    partner, weight = draw_blend(8, 0.4)
    assert weight.min() >= 0.5
    own = weight.view(-1, 1, 1, 1)
    expected = own * plain["pixel_values"] + (1 - own) * plain["pixel_values"][partner]
    torch.testing.assert_close(blended["pixel_values"], expected, atol=1e-3, rtol=0)
    shares = weight * plain["labels"] + (1 - weight) * plain["labels"][partner]
    torch.testing.assert_close(blended["labels"][:, 1], shares)


def test_erased_rectangle_is_grey_and_of_the_promised_size() -> None:
    torch.manual_seed(0)
    film = torch.zeros(32, 1, 100, 100)
    film[..., ::2] = 1.0  # stripes, whose mean grey occurs nowhere else
    recipe = RecipeConfig(backbone="x", erasing_probability=1.0, **STILL)  # type: ignore[arg-type]
    erased, inside, _ = augment_films(film, torch.ones_like(film), torch.zeros_like(film), recipe)
    share = ((erased - 0.5).abs() < 0.05).float().mean(dim=(1, 2, 3))
    assert (share > 0.005).all()
    assert (share < 0.11).all()
    assert share.std() > 0
    assert (inside == 1).all()
    half = RecipeConfig(backbone="x", erasing_probability=0.5, **STILL)  # type: ignore[arg-type]
    some, _, _ = augment_films(film, torch.ones_like(film), torch.zeros_like(film), half)
    changed = ((some - 0.5).abs() < 0.05).any(dim=(1, 2, 3))
    assert 4 < changed.sum() < 28


def test_compressed_film_loses_detail_and_keeps_its_place() -> None:
    torch.manual_seed(0)
    film = torch.rand(32, 1, 64, 64)
    recipe = RecipeConfig(backbone="x", recompression_probability=1.0, **STILL)  # type: ignore[arg-type]
    compressed, inside, _ = augment_films(film, torch.ones_like(film), torch.zeros_like(film), recipe)
    change = (compressed - film).abs().mean(dim=(1, 2, 3))
    assert (change > 0.005).all(), "noise survives no JPEG"
    assert change.max() > 2 * change.min(), "the quality differs from film to film"
    assert compressed.min() >= 0
    assert compressed.max() <= 1
    assert (inside == 1).all()
    step = torch.zeros(8, 1, 64, 64)
    step[..., 32:] = 1.0  # on the border of two blocks, which JPEG keeps
    kept, _, _ = augment_films(step, torch.ones_like(step), torch.zeros_like(step), recipe)
    torch.testing.assert_close(kept, step, atol=0.03, rtol=0)
    half = RecipeConfig(backbone="x", recompression_probability=0.5, **STILL)  # type: ignore[arg-type]
    some, _, _ = augment_films(film, torch.ones_like(film), torch.zeros_like(film), half)
    changed = ((some - film).abs() > 1e-3).any(dim=3).any(dim=2).any(dim=1)
    assert 4 < changed.sum() < 28
