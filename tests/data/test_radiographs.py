"""Reading: grey levels are kept, nothing is clipped, what is missing is said, and what cannot be read is refused."""

import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile

from hf_fracture.data.orientation import ORIENTATION_TAG
from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.data.radiographs import Radiograph, read_radiograph
from hf_fracture.errors import UnreadableRadiograph


@pytest.fixture(scope="module")
def film() -> Image.Image:
    return draw_phantom(5, fractured=True, size_px=(160, 200)).image


def encode(image: Image.Image, file_format: str, **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, format=file_format, **options)
    return stream.getvalue()


def read_or_refuse(data: bytes) -> Radiograph | UnreadableRadiograph:
    """Return what reading gives; any other error would end the test."""
    try:
        return read_radiograph(data)
    except UnreadableRadiograph as error:
        return error


def pixels(image: Image.Image) -> NDArray[np.int64]:
    return np.asarray(image).astype(np.int64)


def ramp(top: int, dtype: type = np.uint16) -> NDArray[np.generic]:
    return np.linspace(0, top, 64 * 48).reshape(48, 64).astype(dtype)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "BMP", "WEBP", "JPEG2000", "PPM", "GIF"])
def test_lossless_grey_film_keeps_every_grey_level(film: Image.Image, file_format: str) -> None:
    options = {"lossless": True} if file_format == "WEBP" else {}
    read = read_radiograph(encode(film, file_format, **options))
    assert read.image.mode == "L"
    assert (pixels(read.image) == pixels(film)).all()
    assert read.read_note is None
    assert not read.has_colour


def test_grey_jpeg_equals_what_pil_decodes(film: Image.Image) -> None:
    data = encode(film, "JPEG", quality=90)
    assert (pixels(read_radiograph(data).image) == pixels(Image.open(BytesIO(data)).convert("L"))).all()


def test_colour_file_with_equal_channels_gives_exactly_that_channel(film: Image.Image) -> None:
    read = read_radiograph(encode(Image.merge("RGB", [film] * 3), "PNG"))
    assert (pixels(read.image) == pixels(film)).all()
    assert not read.has_colour
    assert read.original_mode == "RGB"


def test_photograph_is_told_from_a_film_with_a_coloured_arrow(film: Image.Image) -> None:
    marked = film.convert("RGB")
    marked.paste((255, 0, 0), (10, 10, 30, 14))
    tinted = Image.merge("RGB", [film, film.point(lambda level: level // 2), film])
    assert not read_radiograph(encode(marked, "PNG")).has_colour
    assert read_radiograph(encode(tinted, "PNG")).has_colour


@pytest.mark.parametrize("tint", [(200, 215, 255), (255, 215, 160), (190, 255, 255)])
def test_scan_with_a_tint_is_a_grey_film(film: Image.Image, tint: tuple[int, int, int]) -> None:
    channels = [film.point([level * top // 255 for level in range(256)]) for top in tint]
    assert not read_radiograph(encode(Image.merge("RGB", channels), "PNG")).has_colour


def test_two_hues_at_one_grey_level_are_colour(film: Image.Image) -> None:
    blue, red = (
        [film.point([level * top // 255 for level in range(256)]) for top in tint]
        for tint in ((190, 210, 255), (255, 210, 190))
    )
    picture = Image.merge("RGB", blue)
    picture.paste(Image.merge("RGB", red).crop((0, 0, film.width, film.height // 2)), (0, 0))
    assert read_radiograph(encode(picture, "PNG")).has_colour


@pytest.mark.parametrize(("bits", "top"), [(12, 4095), (14, 16383), (16, 65535), (10, 1023)])
@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_wide_grey_levels_are_scaled_by_the_narrowest_depth_that_holds_them(
    bits: int, top: int, file_format: str
) -> None:
    values = ramp(top)
    read = read_radiograph(encode(Image.fromarray(values), file_format))
    assert np.abs(pixels(read.image) - np.rint(values.astype(float) * 255 / (2**bits - 1))).max() == 0
    assert read.read_note == f"scaled from {bits} bit"
    assert len(np.unique(pixels(read.image))) > 200, "clipping would leave few levels"


def test_eight_bit_film_stored_in_16_bits_by_repetition_keeps_its_levels(film: Image.Image) -> None:
    wide = Image.fromarray(np.asarray(film).astype(np.uint16) * 257)
    assert pixels(film).max() >= 128, "a film without bright parts would need fewer bits"
    assert (pixels(read_radiograph(encode(wide, "PNG")).image) == pixels(film)).all()


def test_16_bit_tiff_in_which_white_is_zero_is_inverted() -> None:
    values = np.asarray(ramp(65535))
    inverted = Image.fromarray(65535 - values)
    upright = read_radiograph(encode(Image.fromarray(values), "TIFF"))
    stream = BytesIO()
    inverted.save(stream, format="TIFF", tiffinfo={262: 0})
    assert Image.open(BytesIO(stream.getvalue())).mode == "I;16"
    assert np.abs(pixels(read_radiograph(stream.getvalue()).image) - pixels(upright.image)).max() <= 1


def test_fractional_levels_and_numbers_with_a_sign_are_stretched() -> None:
    fractions = Image.fromarray(np.linspace(0, 1, 100, dtype=np.float32).reshape(10, 10))
    signed = Image.fromarray(np.linspace(-500, 1500, 100, dtype=np.int32).reshape(10, 10))
    for image in (fractions, signed):
        assert read_radiograph(encode(image, "TIFF")).image.getextrema() == (0, 255)


def test_image_of_nothing_but_nan_is_refused() -> None:
    with pytest.raises(UnreadableRadiograph, match="finite"):
        read_radiograph(encode(Image.fromarray(np.full((8, 8), np.nan, dtype=np.float32)), "TIFF"))


def test_one_bit_image_becomes_black_and_white(film: Image.Image) -> None:
    read = read_radiograph(encode(film.convert("1"), "PNG"))
    assert set(np.unique(pixels(read.image))) == {0, 255}


def test_palette_is_looked_up_not_taken_for_grey(film: Image.Image) -> None:
    shuffled = Image.fromarray(255 - np.asarray(film)).convert("P")
    shuffled.putpalette([value for level in range(256) for value in [255 - level] * 3])
    assert (pixels(read_radiograph(encode(shuffled, "PNG")).image) == pixels(film)).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_parts_become_black_whatever_they_hide(film: Image.Image, mode: str) -> None:
    layered = film.convert(mode)
    mask = Image.new("L", film.size, 255)
    mask.paste(0, (0, 0, 40, 40))
    layered.putalpha(mask)
    read = pixels(read_radiograph(encode(layered, "PNG")).image)
    assert (read[:40, :40] == 0).all()
    assert (read[60:] == pixels(film)[60:]).all()


def test_half_transparent_pixel_is_halfway_to_black() -> None:
    layered = Image.new("LA", (4, 4), (200, 128))
    assert set(np.unique(pixels(read_radiograph(encode(layered, "PNG")).image))) <= {100, 101}


def test_palette_with_a_transparent_entry_is_laid_over_black(film: Image.Image) -> None:
    indexed = film.convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    hidden = int(np.asarray(indexed)[100, 80])
    read = pixels(read_radiograph(encode(indexed, "PNG", transparency=hidden)).image)
    assert (read[np.asarray(indexed) == hidden] == 0).all()


def test_cmyk_jpeg_is_not_inverted(film: Image.Image) -> None:
    read = read_radiograph(encode(film.convert("RGB").convert("CMYK"), "JPEG", quality=95))
    assert read.original_mode == "CMYK"
    assert np.corrcoef(pixels(read.image).ravel(), pixels(film).ravel())[0, 1] > 0.99


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF"])
def test_exif_turns_the_film_upright(film: Image.Image, orientation: int, file_format: str) -> None:
    turned_back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = film.transpose(turned_back)
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    options = {"quality": 95} if file_format == "JPEG" else {}
    read = read_radiograph(encode(stored, file_format, exif=exif, **options))
    assert read.image.size == film.size
    assert read.original_size == stored.size
    assert np.abs(pixels(read.image) - pixels(film)).mean() < 2
    assert read.read_note == "rotated by EXIF"


def test_orientation_that_does_not_exist_leaves_the_film_as_it_is(film: Image.Image) -> None:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 42
    read = read_radiograph(encode(film, "PNG", exif=exif))
    assert read.image.size == film.size
    assert read.read_note is None


def test_animation_gives_its_first_frame_and_says_so(film: Image.Image) -> None:
    other = Image.new("L", film.size, 90)
    data = encode(film, "GIF", save_all=True, append_images=[other, other.point(lambda level: level + 9)])
    read = read_radiograph(data)
    assert (pixels(read.image) == pixels(film)).all()
    assert read.read_note == "first of 3 frames"


def test_jpeg_that_lacks_its_last_bytes_is_read_with_a_note(film: Image.Image) -> None:
    data = encode(film, "JPEG", quality=90)
    read = read_radiograph(data[:-20])
    whole = pixels(read_radiograph(data).image)
    assert read.read_note is not None
    assert read.read_note.startswith("truncated")
    assert (pixels(read.image)[:160] == whole[:160]).all()


def test_share_of_missing_rows_is_measured_and_they_are_black(film: Image.Image) -> None:
    data = encode(film, "JPEG", quality=95)
    read = read_radiograph(data[: int(len(data) * 0.6)])
    rows = pixels(read.image)
    whole = pixels(read_radiograph(data).image)
    first_black = next(row for row in range(rows.shape[0]) if not rows[row:].any())
    assert 0.3 < first_black / rows.shape[0] < 0.9
    assert (rows[: first_black - 8] == whole[: first_black - 8]).all()
    assert read.read_note == f"truncated, lower {1 - first_black / rows.shape[0]:.0%} missing"


@pytest.mark.parametrize("kept_fraction", [0.15, 0.3])
def test_jpeg_of_which_most_is_missing_is_refused_as_truncated(film: Image.Image, kept_fraction: float) -> None:
    rng = np.random.default_rng(0)
    noisy = Image.fromarray(rng.integers(0, 255, (400, 300), dtype=np.uint8))
    data = encode(noisy, "JPEG")
    with pytest.raises(UnreadableRadiograph, match="missing") as caught:
        read_radiograph(data[: int(len(data) * kept_fraction * 0.7)])
    assert caught.value.code == "truncated"


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("kept", [0.999, 0.97, 0.9])
def test_truncated_colour_and_progressive_jpegs_are_read_or_refused_never_crash(
    film: Image.Image, progressive: bool, kept: float
) -> None:
    data = encode(Image.merge("RGB", [film] * 3), "JPEG", progressive=progressive)
    outcome = read_or_refuse(data[: int(len(data) * kept)])
    if isinstance(outcome, Radiograph):
        assert outcome.image.size == film.size
        assert "truncated" in (outcome.read_note or "")
    else:
        assert outcome.code == "truncated"


def test_repair_leaves_pils_global_switch_alone_and_works_from_many_threads(film: Image.Image) -> None:
    broken = encode(film, "JPEG", quality=90)[:-30]
    whole = encode(film, "PNG")
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    with ThreadPoolExecutor(8) as pool:
        reads = list(pool.map(read_radiograph, [broken, whole] * 20))
    assert ImageFile.LOAD_TRUNCATED_IMAGES is before is False
    assert all("truncated" in (read.read_note or "") for read in reads[::2])
    assert all(read.read_note is None for read in reads[1::2])


def test_truncated_png_is_refused(film: Image.Image) -> None:
    data = encode(film, "PNG")
    with pytest.raises(UnreadableRadiograph) as caught:
        read_radiograph(data[: len(data) // 2])
    assert caught.value.code == "truncated"


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (b"", "empty", "empty"),
        (b"patient;finding\n1;none\n", "unreadable", "text that begins with 'patient;finding"),
        (bytes(range(1, 200)), "unreadable", "something else"),
        (b"%PDF-1.7\n", "unreadable", "text"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "unreadable", "text"),
    ],
)
def test_what_is_no_image_is_refused_with_what_it_is(tmp_path: Path, data: bytes, code: str, words: str) -> None:
    path = tmp_path / "film.png"
    path.write_bytes(data)
    with pytest.raises(UnreadableRadiograph, match=r"film\.png") as caught:
        read_radiograph(path)
    assert caught.value.code == code
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableRadiograph, match="found no file there") as caught:
        read_radiograph(tmp_path / "absent.png")
    assert caught.value.code == "not_found"
    with pytest.raises(UnreadableRadiograph, match="got a folder"):
        read_radiograph(tmp_path)


def build_png_header(width: int, height: int) -> bytes:
    """Return a valid PNG that claims a size and holds hardly any pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(10_001, 10_000), (60_000, 60_000), (1_000_000, 1_000_000)])
def test_gigapixels_are_refused_before_decoding(size: tuple[int, int]) -> None:
    with pytest.raises(UnreadableRadiograph, match="100 megapixels") as caught:
        read_radiograph(build_png_header(*size))
    assert caught.value.code == "too_large"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_the_limit_itself_is_let_through_to_the_decoder() -> None:
    with pytest.raises(UnreadableRadiograph) as caught:
        read_radiograph(build_png_header(10_000, 10_000))
    assert caught.value.code != "too_large"


def test_path_bytes_stream_and_decoded_image_give_the_same(tmp_path: Path, film: Image.Image) -> None:
    path = tmp_path / "film.png"
    film.save(path)
    with path.open("rb") as stream:
        reads = [read_radiograph(stream), read_radiograph(str(path)), read_radiograph(Image.open(path))]
    reads += [read_radiograph(path), read_radiograph(path.read_bytes())]
    assert {read.image.tobytes() for read in reads} == {film.tobytes()}


def test_decoded_image_is_not_changed_nor_handed_out(film: Image.Image) -> None:
    read = read_radiograph(film)
    before = film.tobytes()
    read.image.paste(255, (0, 0, 10, 10))
    assert film.tobytes() == before


def test_fast_reading_reduces_but_stays_above_what_was_asked() -> None:
    film = draw_phantom(1, fractured=False, size_px=(1600, 2000)).image
    data = encode(film, "JPEG")
    fast = read_radiograph(data, fast_size_px=400)
    assert max(fast.image.size) == 500
    assert fast.original_size == (1600, 2000)
    assert read_radiograph(data).image.size == (1600, 2000)


def test_every_jpeg_prefix_gives_a_film_or_a_sentence(film: Image.Image) -> None:
    data = encode(film.resize((48, 60)), "JPEG")
    outcomes = [read_or_refuse(data[:length]) for length in range(1, len(data), 7)]
    refusals = {outcome.code for outcome in outcomes if isinstance(outcome, UnreadableRadiograph)}
    assert refusals <= {"unreadable", "truncated"}
    assert any(isinstance(outcome, Radiograph) for outcome in outcomes)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")
@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "GIF", "BMP", "WEBP", "JPEG"])
def test_flipped_bytes_give_a_film_or_a_sentence(film: Image.Image, file_format: str) -> None:
    data = encode(film.resize((48, 60)), file_format)
    rng = np.random.default_rng(3)
    for _ in range(60):
        damaged = bytearray(data)
        for position in rng.integers(0, len(data), 4):
            damaged[position] = int(rng.integers(0, 256))
        outcome = read_or_refuse(bytes(damaged))
        if isinstance(outcome, Radiograph):
            assert outcome.image.mode == "L"
        else:
            assert "\n" not in str(outcome)


@pytest.mark.real_data
def test_all_49_truncated_fracatlas_films_are_read(real_data_dir: Path) -> None:
    folder = real_data_dir / "fracatlas" / "images" / "Non_fractured"
    notes = [read_radiograph(path).read_note for path in sorted(folder.glob("IMG0004[0-3]*.jpg"))]
    assert sum("truncated" in (note or "") for note in notes) == 49
