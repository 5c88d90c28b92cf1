"""Copies are found under every change that the datasets show, and different films are not taken for copies."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from hf_fracture.data import candidates
from hf_fracture.data.candidates import find_neighbours, join_hashes
from hf_fracture.data.duplicates import find_duplicate_pairs, fingerprint_image, measure_lead, perceptual_hash
from hf_fracture.data.fingerprints import ORIENTATIONS, hash_orientations
from hf_fracture.data.phantoms import draw_phantom


def draw_film(seed: int) -> Image.Image:
    """Draw a phantom with a texture of its own, as real bone and soft tissue have."""
    film = draw_phantom(seed, fractured=False, size_px=(300, 380)).image
    grain = np.random.default_rng(seed).integers(0, 256, (48, 38), dtype=np.uint8)
    texture = Image.fromarray(grain).resize(film.size, Image.Resampling.BICUBIC)
    return Image.blend(film, texture, 0.25)


def encode_jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("L")


def crop_share(image: Image.Image, share: float) -> Image.Image:
    left, top = int(image.width * share), int(image.height * share * 0.5)
    return image.crop((left, top, image.width, image.height - top))


def cut_file_short(image: Image.Image) -> Image.Image:
    """Grey out the lower fifth as a decoder does with a truncated JPEG, with the step in its upper edge."""
    cut = image.copy()
    row = int(image.height * 0.8)
    cut.paste(128, (0, row, image.width, image.height))
    cut.paste(128, (image.width // 3, row - 8, image.width, row))
    return cut


ALTERATIONS = {
    "copied": lambda film: film.copy(),
    "compressed": lambda film: encode_jpeg(film, 30),
    "reduced": lambda film: film.resize((200, 253)),
    "squeezed to a square": lambda film: film.resize((224, 224)),
    "mirrored": ImageOps.mirror,
    "turned by 90 degrees": lambda film: film.transpose(Image.Transpose.ROTATE_90),
    "turned and mirrored": lambda film: ImageOps.mirror(film.transpose(Image.Transpose.ROTATE_270)),
    "turned by 3 degrees": lambda film: film.rotate(3, Image.Resampling.BICUBIC),
    "turned by 17 degrees": lambda film: film.rotate(17, Image.Resampling.BICUBIC),
    "turned by -33 degrees": lambda film: film.rotate(-33, Image.Resampling.BICUBIC),
    "turned by 140 degrees": lambda film: film.rotate(140, Image.Resampling.BICUBIC),
    "squeezed, then turned": lambda film: film.resize((224, 224)).rotate(21, Image.Resampling.BICUBIC),
    "cropped": lambda film: crop_share(film, 0.05),
    "cropped and turned": lambda film: crop_share(film.rotate(8, Image.Resampling.BICUBIC), 0.04),
    "brightened": lambda film: ImageEnhance.Brightness(film).enhance(1.15),
    "gamma": lambda film: film.point([round(255 * (grey / 255) ** 0.7) for grey in range(256)]),
    "blurred": lambda film: film.filter(ImageFilter.GaussianBlur(1)),
    "cut short": cut_file_short,
}


@pytest.mark.parametrize("name", ALTERATIONS)
def test_altered_copy_is_found(name: str) -> None:
    films = [draw_film(seed) for seed in range(8)]
    copies = [ALTERATIONS[name](film) for film in films]
    pairs = find_duplicate_pairs([fingerprint_image(image) for image in (*films, *copies)])
    found = {(pair.first, pair.second) for pair in pairs}
    assert len(found & {(index, index + 8) for index in range(8)}) >= 8
    assert not found - {(index, index + 8) for index in range(8)}


def test_different_films_of_one_kind_are_kept_apart() -> None:
    assert find_duplicate_pairs([fingerprint_image(draw_film(seed)) for seed in range(60)]) == []


def test_plain_drawings_of_one_kind_are_rarely_confused() -> None:
    """Phantoms have no texture of their own and differ in outline and pose only: harder than any real film.

    Of the 1,770 pairs of sixty drawings at most six may be taken for copies.
    """
    phantoms = [draw_phantom(seed, fractured=False, size_px=(300, 380)).image for seed in range(60)]
    assert len(find_duplicate_pairs([fingerprint_image(phantom) for phantom in phantoms])) <= 6


def test_lead_is_the_distance_to_the_third_rival() -> None:
    pairs = np.array([(0, 1), (0, 2), (1, 3), (0, 4), (1, 4)])
    agreement = np.array([0.9, 0.8, 0.7, 0.6, 0.5], dtype=np.float32)
    chosen = np.array([True, False, False, False, False])
    assert measure_lead(pairs, agreement, chosen) == pytest.approx([np.arctanh(0.9) - np.arctanh(0.6)])
    assert measure_lead(pairs[:2], agreement[:2], chosen[:2]) == pytest.approx([np.arctanh(0.9)])


def test_blank_films_are_no_copies_of_each_other_unless_equal() -> None:
    noise = np.random.default_rng(0)
    blanks = [Image.fromarray(noise.integers(100, 102, (90, 90), dtype=np.uint8)) for _ in range(3)]
    assert find_duplicate_pairs([fingerprint_image(blank) for blank in blanks]) == []


def test_pair_tells_how_one_film_became_the_other() -> None:
    film = draw_film(3).resize((300, 300))
    (turned,) = find_duplicate_pairs([fingerprint_image(film), fingerprint_image(film.rotate(-25))])
    (mirrored,) = find_duplicate_pairs([fingerprint_image(film), fingerprint_image(ImageOps.mirror(film))])
    assert not turned.mirrored
    assert turned.rotation_degrees == pytest.approx(25, abs=1)
    assert mirrored.mirrored
    assert mirrored.agreement > 0.99


def test_no_film_and_one_film_have_no_pairs() -> None:
    assert find_duplicate_pairs([]) == []
    assert find_duplicate_pairs([fingerprint_image(draw_film(0))]) == []


def test_truncation_grey_is_not_part_of_the_fingerprint() -> None:
    fingerprint = fingerprint_image(cut_file_short(draw_film(1)))
    assert 95 <= fingerprint.num_rows_shown <= 101
    assert (fingerprint.thumbnail[-1] == fingerprint.thumbnail[fingerprint.num_rows_shown - 1]).all()


def test_hash_barely_moves_under_compression_and_rescaling_but_not_between_films() -> None:
    film, other = draw_film(5), draw_film(6)
    value = perceptual_hash(film)
    assert 0 <= value < 2**64
    assert (value ^ perceptual_hash(encode_jpeg(film, 40).resize((170, 215)))).bit_count() <= 7
    assert (value ^ perceptual_hash(other)).bit_count() > 7


def test_orientation_hashes_are_the_hashes_of_turned_films() -> None:
    thumbnail = fingerprint_image(draw_film(2)).thumbnail
    expected = hash_orientations(thumbnail[None])[0]
    for column, (transpose, flip_x, flip_y) in enumerate(ORIENTATIONS):
        turned = thumbnail.T if transpose else thumbnail
        turned = turned[:, ::-1] if flip_x else turned
        turned = turned[::-1] if flip_y else turned
        assert (int(hash_orientations(turned[None])[0, 0]) ^ int(expected[column])).bit_count() <= 1


@given(seed=st.integers(0, 2**32 - 1), num=st.integers(1, 60))
@settings(max_examples=30, deadline=None)
def test_hash_join_is_exact(seed: int, num: int) -> None:
    generator = np.random.default_rng(seed)
    table = generator.integers(0, 2**64, num, dtype=np.uint64)
    flips = np.array([sum(1 << int(bit) for bit in generator.permutation(64)[: index % 12]) for index in range(num)])
    queries = table ^ flips.astype(np.uint64)
    expected = {
        (i, j): (int(a) ^ int(b)).bit_count()
        for i, a in enumerate(queries)
        for j, b in enumerate(table)
        if (int(a) ^ int(b)).bit_count() <= 7
    }
    found = [
        (tuple(map(int, pair)), int(bits))
        for pairs, distances in join_hashes(queries, table)
        for pair, bits in zip(pairs, distances, strict=True)
    ]
    assert len(found) == len(expected)
    assert dict(found) == expected


@pytest.mark.parametrize("num", [40, 1500])
def test_neighbours_are_those_of_a_full_comparison(num: int) -> None:
    descriptors = np.random.default_rng(1).normal(size=(num, 6)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    pairs, similarity = find_neighbours(descriptors, num_neighbours=3)
    full = descriptors @ descriptors.T - 9 * np.eye(num, dtype=np.float32)
    expected = {tuple(sorted((i, int(j)))) for i in range(num) for j in np.argsort(-full[i])[:3]}
    assert {tuple(map(int, pair)) for pair in pairs} == expected
    assert np.allclose(similarity, [full[i, j] for i, j in pairs], atol=1e-5)


def test_neighbours_of_very_many_films_are_looked_for_in_the_nearest_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy is found there, and far fewer films are compared; what else is near may be missed."""
    generator = np.random.default_rng(2)
    films = np.repeat(generator.normal(size=(80, 24)), 20, axis=0) + 0.6 * generator.normal(size=(1600, 24))
    copies = films[:200] + 0.05 * generator.normal(size=(200, 24))
    descriptors = np.concatenate([films, copies]).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    monkeypatch.setattr(candidates, "EXACT_FILMS", 100)
    pairs, similarity = find_neighbours(descriptors, num_neighbours=5)
    found = {tuple(map(int, pair)) for pair in pairs}
    assert all(first < second for first, second in found)
    assert len(found) == len(pairs)
    assert sum((index, 1600 + index) in found for index in range(200)) >= 198
    assert np.allclose(similarity, [descriptors[i] @ descriptors[j] for i, j in pairs], atol=1e-5)
