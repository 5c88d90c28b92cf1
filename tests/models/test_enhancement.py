import numpy as np
import pytest
import torch
from torch import Tensor

from hf_fracture.config import split_enhancement
from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.data.transforms import IMAGENET_MEAN, IMAGENET_STD, letterbox_pixels
from hf_fracture.errors import UsageError
from hf_fracture.models.enhancement import (
    NOISE_FLOOR,
    FilmEnhancement,
    equalize,
    equalize_adaptively,
    find_edges,
    inpaint_markers,
    suppress_noise,
)


def phantom_pixels(side_px: int = 96) -> Tensor:
    """A tall phantom, so that the right part of the input is padding."""
    film = draw_phantom(3, fractured=True, size_px=(80, 120)).image
    return torch.from_numpy(letterbox_pixels(film, side_px, IMAGENET_MEAN, IMAGENET_STD))[None]


def grey_film(values: Tensor) -> tuple[Tensor, Tensor]:
    return values.view(1, 1, *values.shape), torch.ones(1, 1, *values.shape)


def test_equalisation_is_the_rank_of_a_level_among_the_film_s_pixels() -> None:
    torch.manual_seed(0)
    levels = torch.randint(40, 90, (48, 48))
    grey, inside = grey_film(levels / 255)
    by_rank = np.searchsorted(np.sort(levels.flatten().numpy()), levels.numpy(), side="right").astype(float)
    lowest = by_rank.min()
    expected = (by_rank - lowest) / (levels.numel() - lowest)
    np.testing.assert_allclose(equalize(grey, inside)[0, 0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("step", [equalize, equalize_adaptively])
def test_film_of_one_grey_stays_as_it_is(step: object) -> None:
    grey, inside = grey_film(torch.full((32, 32), 100 / 255))
    torch.testing.assert_close(step(grey, inside), grey, atol=2 / 255, rtol=0)  # type: ignore[operator]


def test_adaptive_equalisation_raises_local_contrast_less_than_the_plain_one_and_stays_in_range() -> None:
    ramp = torch.linspace(0.4, 0.5, 64).repeat(64, 1)
    grey, inside = grey_film(ramp)
    adaptive, plain = equalize_adaptively(grey, inside), equalize(grey, inside)
    assert ramp.std() < adaptive.std() < plain.std()
    assert 0 <= adaptive.min() <= adaptive.max() <= 1


@pytest.mark.parametrize("steps", [("equalize",), ("clahe",), ("inpaint_markers",), ("noise_floor",), ("canny",)])
def test_padding_stays_padding_and_the_film_changes(steps: tuple[str, ...]) -> None:
    pixels = phantom_pixels()
    enhanced = FilmEnhancement(steps, IMAGENET_MEAN, IMAGENET_STD)(pixels)
    assert (enhanced[..., 64:] == 0).all()
    assert torch.isfinite(enhanced).all()
    if steps == ("canny",):
        assert enhanced.shape[1] == 4
        torch.testing.assert_close(enhanced[:, :3], pixels, atol=1e-5, rtol=0)
    elif steps != ("inpaint_markers",):
        assert not torch.allclose(enhanced, pixels, atol=0.01)


def test_equalisation_does_not_see_how_much_padding_there_is() -> None:
    pixels = phantom_pixels()
    padded = torch.nn.functional.pad(pixels, (0, 64, 0, 64))
    enhance = FilmEnhancement(("equalize",), IMAGENET_MEAN, IMAGENET_STD)
    torch.testing.assert_close(enhance(padded)[..., :96, :96], enhance(pixels))


def test_edges_follow_a_bone_s_outline_one_pixel_wide() -> None:
    film = torch.zeros(64, 64)
    film[20:44, 16:48] = 0.6
    edges = find_edges(*grey_film(film))[0, 0]
    assert sorted(set(edges.flatten().tolist())) == [0, 1]
    columns = edges[32].nonzero().flatten().tolist()
    assert len(columns) == 2
    assert abs(columns[0] - 15.5) <= 1
    assert abs(columns[1] - 47.5) <= 1
    assert edges[26:38, 24:40].sum() == 0


def test_border_of_the_film_is_no_edge() -> None:
    grey, inside = torch.full((1, 1, 64, 64), 0.8), torch.ones(1, 1, 64, 64)
    inside[..., 40:] = 0
    assert find_edges(grey * inside, inside).sum() == 0


def test_weak_edge_counts_only_where_it_meets_a_strong_one() -> None:
    film = torch.zeros(64, 96)
    film[:, 32:64] = torch.linspace(0.6, 0.08, 64).view(-1, 1)  # fades along one connected outline
    film[:, 80:] = film[:, 79:80] + 0.08  # as weak as the faint end, tied to nothing
    grey, inside = torch.zeros(1, 1, 96, 96), torch.ones(1, 1, 96, 96)
    grey[0, 0, 16:80] = film
    rows = find_edges(grey, inside)[0, 0, 30:70]
    assert rows[:, 28:36].sum() >= 35
    assert rows[:, 76:84].sum() == 0


def test_bright_letter_is_filled_from_around_and_bone_stays() -> None:
    film = torch.full((96, 96), 0.3)
    film[:, 60:84] = 0.7  # a bone, wide and not saturated
    film[10:14, 10:14] = 1.0
    filled = inpaint_markers(*grey_film(film))[0, 0]
    torch.testing.assert_close(filled[8:16, 8:16], torch.full((8, 8), 0.3), atol=0.02, rtol=0)
    torch.testing.assert_close(filled[:, 40:], film[:, 40:])


def test_noise_floor_is_black_and_white_stays_white() -> None:
    values = torch.tensor([[0.0, NOISE_FLOOR - 1e-3, NOISE_FLOOR, 1.0]])
    low, below, at, white = suppress_noise(*grey_film(values)).flatten().tolist()
    assert (low, below) == (0, 0)
    assert at == pytest.approx(0, abs=1e-6)
    assert white == pytest.approx(1)


@pytest.mark.parametrize("steps", [("equalize",), ("clahe",), ("inpaint_markers", "noise_floor", "equalize")])
def test_gradient_reaches_the_pixels(steps: tuple[str, ...]) -> None:
    pixels = phantom_pixels().requires_grad_()
    (gradient,) = torch.autograd.grad(
        FilmEnhancement(steps, IMAGENET_MEAN, IMAGENET_STD)(pixels).square().sum(), pixels
    )
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0


def test_films_of_a_batch_do_not_touch_each_other() -> None:
    pixels = phantom_pixels()
    steps = ("inpaint_markers", "noise_floor", "clahe", "canny")
    enhance = FilmEnhancement(steps, IMAGENET_MEAN, IMAGENET_STD)
    together = enhance(torch.cat([pixels, pixels.flip(-2)]))
    torch.testing.assert_close(together[:1], enhance(pixels))


@pytest.mark.parametrize("name", ["canny+clahe", "equalize+clahe", "canni", "none+canny", ""])
def test_enhancement_that_cannot_be_is_refused_with_the_choices(name: str) -> None:
    with pytest.raises(UsageError, match="inpaint_markers, noise_floor, equalize, clahe, canny"):
        split_enhancement(name)


def test_misspelt_enhancement_gets_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean canny"):
        split_enhancement("cany")
