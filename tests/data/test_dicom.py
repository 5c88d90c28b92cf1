"""DICOM: the film a radiologist would see, from files made here with known pixels."""

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, generate_uid

from hf_fracture.data.identity import SALT_VARIABLE, hash_identity
from hf_fracture.data.radiographs import looks_like_dicom, read_radiograph
from hf_fracture.errors import UnreadableRadiograph

DEFLATED = UID("1.2.840.10008.1.2.1.99")


@pytest.fixture(autouse=True)
def _salt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SALT_VARIABLE, "a salt for tests")


def build_dicom(
    values: NDArray[Any], *, bits: int = 12, syntax: UID = ExplicitVRLittleEndian, **elements: Any
) -> bytes:
    """Write an uncompressed DICOM file of (H, W) or (H, W, 3) values."""
    is_signed = np.issubdtype(values.dtype, np.signedinteger)
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", generate_uid()
    header.Modality, header.PatientID, header.StudyInstanceUID = "DX", "MRN-0042", "1.2.3.4"
    header.PatientName = "Doe^Jane"
    header.Rows, header.Columns = values.shape[:2]
    header.SamplesPerPixel = values.shape[2] if values.ndim == 3 else 1
    header.PhotometricInterpretation = "RGB" if values.ndim == 3 else "MONOCHROME2"
    if values.ndim == 3:
        header.PlanarConfiguration = 0
    header.BitsAllocated = values.dtype.itemsize * 8
    header.BitsStored, header.HighBit, header.PixelRepresentation = bits, bits - 1, int(is_signed)
    header.PixelData = values.tobytes()
    for keyword, value in elements.items():
        setattr(header, keyword, value)
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = syntax
    stream = BytesIO()
    header.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def ramp(top: int, dtype: Any = np.uint16) -> NDArray[Any]:
    """Return 64 x 64 values that rise from 0 to `top`."""
    return np.linspace(0, top, 64 * 64).reshape(64, 64).astype(dtype)


def levels(data: bytes) -> NDArray[np.int64]:
    return np.asarray(read_radiograph(data).image).astype(np.int64)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_film_without_a_window_spans_black_to_white(bits: int) -> None:
    read = read_radiograph(build_dicom(ramp(2**bits - 1), bits=bits))
    assert read.image.getextrema() == (0, 255)
    assert read.read_note == "stretched, the file has no window"
    assert read.modality == "XR"
    assert read.original_mode == "MONOCHROME2"


def test_linear_window_is_that_of_the_standard() -> None:
    values = ramp(4095)
    shown = levels(build_dicom(values, WindowCenter=2048, WindowWidth=1000))
    expected = np.clip(((values - (2048 - 0.5)) / (1000 - 1) + 0.5) * 255, 0, 255)
    assert np.abs(shown - expected).max() <= 0.51
    assert shown.min() == 0
    assert shown.max() == 255


def test_exact_and_sigmoid_windows_follow_their_formulas() -> None:
    values = ramp(4095).astype(float)
    window: dict[str, Any] = {"WindowCenter": 2000, "WindowWidth": 800}
    exact = levels(build_dicom(ramp(4095), VOILUTFunction="LINEAR_EXACT", **window))
    sigmoid = levels(build_dicom(ramp(4095), VOILUTFunction="SIGMOID", **window))
    assert np.abs(exact - np.clip(((values - 2000) / 800 + 0.5) * 255, 0, 255)).max() <= 1
    assert np.abs(sigmoid - 255 / (1 + np.exp(-4 * (values - 2000) / 800))).max() <= 1


def test_first_of_several_windows_is_used() -> None:
    several = levels(build_dicom(ramp(4095), WindowCenter=[2048, 100], WindowWidth=[1000, 50]))
    assert (several == levels(build_dicom(ramp(4095), WindowCenter=2048, WindowWidth=1000))).all()


@pytest.mark.parametrize("width", [0, -5])
def test_window_without_width_is_passed_over(width: int) -> None:
    read = read_radiograph(build_dicom(ramp(4095), WindowCenter=2048, WindowWidth=width))
    assert read.image.getextrema() == (0, 255)
    assert read.read_note == "stretched, the file has no window"


def test_rescale_is_applied_before_the_window() -> None:
    plain = levels(build_dicom(ramp(4095), WindowCenter=2048, WindowWidth=1000))
    rescaled = levels(
        build_dicom(ramp(4095), RescaleSlope=2, RescaleIntercept=-100, WindowCenter=3996.5, WindowWidth=1999)
    )
    assert np.abs(plain - rescaled).max() <= 1


def test_look_up_table_is_used_where_the_file_has_one() -> None:
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 12]
    table.LUTData = (4095 - np.arange(4096, dtype=np.uint16)).tobytes()
    shown = levels(build_dicom(ramp(4095), VOILUTSequence=[table]))
    assert np.abs(shown - (4095 - ramp(4095, np.int64)) / 4095 * 255).max() <= 1


def test_monochrome1_is_inverted() -> None:
    plain = levels(build_dicom(ramp(4095), WindowCenter=2048, WindowWidth=4096))
    inverted = levels(
        build_dicom(ramp(4095), WindowCenter=2048, WindowWidth=4096, PhotometricInterpretation="MONOCHROME1")
    )
    assert np.abs(plain + inverted - 255).max() <= 1


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_does_not_set_the_contrast(photometric: str) -> None:
    values = ramp(1000) + 1000
    values[:10] = 4095
    shown = levels(build_dicom(values, PixelPaddingValue=4095, PhotometricInterpretation=photometric))
    assert (shown[:10] == 0).all()
    assert shown[10:].max() == 255


def test_padding_range_covers_both_ends() -> None:
    values = ramp(1000) + 1000
    values[:5], values[5:10] = 3, 7
    shown = levels(build_dicom(values, PixelPaddingValue=7, PixelPaddingRangeLimit=3))
    assert (shown[:10] == 0).all()


def test_drawings_in_the_unused_high_bits_are_dropped() -> None:
    values = ramp(4095)
    marked = values.copy()
    marked[20:30, 20:30] |= 1 << 13
    assert (levels(build_dicom(marked)) == levels(build_dicom(values))).all()


def test_ct_slice_is_shown_in_a_bone_window_whatever_its_file_says() -> None:
    hounsfield = np.linspace(-1024, 3071, 64 * 64).reshape(64, 64)
    stored = np.rint(hounsfield + 1024).astype(np.uint16)
    read = read_radiograph(
        build_dicom(stored, Modality="CT", RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=400)
    )
    shown = np.asarray(read.image)
    assert read.modality == "CT"
    assert read.read_note == "bone window"
    assert (shown[hounsfield < -501] == 0).all()
    assert (shown[hounsfield > 1301] == 255).all()
    assert shown[(hounsfield > 390) & (hounsfield < 410)].mean() == pytest.approx(127, abs=2)


def test_signed_ct_values_are_not_wrapped() -> None:
    values = np.linspace(-1000, 2000, 64 * 64).reshape(64, 64).astype(np.int16)
    shown = levels(build_dicom(values, bits=16, Modality="CT"))
    assert (np.diff(shown.ravel()) >= 0).all()


def test_mr_slice_uses_its_own_window() -> None:
    read = read_radiograph(build_dicom(ramp(4095), Modality="MR", WindowCenter=500, WindowWidth=200))
    assert read.modality == "MR"
    assert np.asarray(read.image).mean() > 200


def test_colour_capture_is_told_from_a_grey_one() -> None:
    grey = np.repeat(ramp(255, np.uint8)[..., None], 3, axis=2)
    coloured = grey.copy()
    coloured[..., 0] = 255 - coloured[..., 0]
    assert (levels(build_dicom(grey, bits=8, Modality="OT")) == grey[..., 0]).all()
    assert read_radiograph(build_dicom(coloured, bits=8, Modality="OT")).has_colour


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DEFLATED, RLELossless])
def test_transfer_syntaxes_give_the_same_film(syntax: UID) -> None:
    reference = build_dicom(ramp(4095), WindowCenter=2048, WindowWidth=4096)
    header = dcmread(BytesIO(reference))
    if syntax == RLELossless:
        header.compress(RLELossless)
    header.file_meta.TransferSyntaxUID = syntax
    stream = BytesIO()
    header.save_as(stream, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    assert (levels(stream.getvalue()) == levels(reference)).all()


@pytest.mark.parametrize("name", ["MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_RLE.dcm"])
def test_lossless_compression_gives_the_pixels_of_the_plain_file(name: str) -> None:
    pytest.importorskip("gdcm", reason="python-gdcm is not installed; it decodes compressed DICOM files.")
    from pydicom.data import get_testdata_file

    plain = get_testdata_file("MR_small.dcm")
    compressed = get_testdata_file(name)
    assert isinstance(plain, str)
    assert isinstance(compressed, str)
    assert read_radiograph(compressed).image.tobytes() == read_radiograph(plain).image.tobytes()


def test_what_the_header_knows_is_passed_on_and_names_are_not() -> None:
    read = read_radiograph(
        build_dicom(
            ramp(4095),
            BodyPartExamined="WRIST",
            ViewPosition="PA",
            ImageLaterality="L",
            PatientAge="018M",
            PatientSex="F",
        )
    )
    assert (read.body_part, read.view, read.laterality) == ("wrist", "frontal", "L")
    assert (read.age_years, read.sex) == (1.5, "F")
    told = repr((read.patient_id, read.study_id))
    assert "MRN-0042" not in told
    assert "1.2.3.4" not in told


@pytest.mark.filterwarnings("ignore:Invalid value for VR AS")
def test_unstated_facts_are_none_not_guessed() -> None:
    read = read_radiograph(build_dicom(ramp(4095), PatientID="ANONYMOUS", PatientSex="O", PatientAge="old"))
    facts = (read.body_part, read.view, read.laterality, read.patient_id, read.age_years, read.sex)
    assert facts == (None,) * 6


def test_one_patient_has_one_hash_and_another_salt_gives_another(monkeypatch: pytest.MonkeyPatch) -> None:
    first = hash_identity("MRN-0042", "hospital")
    assert first == hash_identity("MRN-0042", "hospital") != hash_identity("MRN-0043", "hospital")
    monkeypatch.setenv(SALT_VARIABLE, "another salt")
    assert hash_identity("MRN-0042", "hospital") != first


def test_salt_is_kept_private_and_outlives_the_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from hf_fracture.data import identity

    monkeypatch.delenv(SALT_VARIABLE)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    first = hash_identity("MRN-0042")
    identity._keep_salt.cache_clear()
    assert hash_identity("MRN-0042") == first
    assert (tmp_path / "hf_fracture" / "salt").stat().st_mode & 0o077 == 0


def test_salt_that_cannot_be_kept_still_hashes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(SALT_VARIABLE)
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("HF_HOME", str(blocked))
    assert hash_identity("MRN-0042") == hash_identity("MRN-0042") is not None


@pytest.mark.parametrize(
    ("elements", "code", "words"),
    [
        ({"NumberOfFrames": 3}, "multi_frame", "3 frames"),
        ({"Modality": "US"}, "unsupported_modality", "modality US"),
        ({"PixelData": bytes(1000)}, "truncated", "end is missing"),
        ({"Rows": 20000, "Columns": 20000}, "too_large", "20000 x 20000"),
        ({"Rows": 0}, "no_pixels", "0 pixels"),
        ({"Rows": 1}, "unreadable", "expected pixels for 1 rows of"),  # the rest would be taken for further frames
    ],
)
def test_what_is_no_single_film_is_refused_by_name(elements: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(UnreadableRadiograph, match=words) as caught:
        read_radiograph(build_dicom(ramp(4095), **elements))
    assert caught.value.code == code
    assert "\n" not in str(caught.value)


def test_file_without_pixels_says_what_it_is() -> None:
    header = dcmread(BytesIO(build_dicom(ramp(4095), Modality="SR")))
    del header.PixelData
    stream = BytesIO()
    header.save_as(stream)
    with pytest.raises(UnreadableRadiograph, match="without pixels \\(SR\\)") as caught:
        read_radiograph(stream.getvalue())
    assert caught.value.code == "no_pixels"


def test_file_without_preamble_is_known_by_its_name(tmp_path: Path) -> None:
    data = build_dicom(ramp(4095), WindowCenter=2048, WindowWidth=4096)
    path = tmp_path / "film.dcm"
    path.write_bytes(data[132:])
    assert looks_like_dicom(data[132:], path.name)
    assert not looks_like_dicom(data[132:], "film.png")
    assert (np.asarray(read_radiograph(path).image) == levels(data)).all()


def test_deflated_bomb_is_refused_before_it_unpacks(monkeypatch: pytest.MonkeyPatch) -> None:
    from hf_fracture.data import dicom

    monkeypatch.setattr(dicom, "MAX_INFLATED_BYTES", 1 << 20)
    monkeypatch.setattr(dicom, "_INFLATED_BLOCK", 1 << 18)
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    body = packer.compress(bytes(8 << 20)) + packer.flush()
    whole = build_dicom(ramp(4095), syntax=DEFLATED)
    (length,) = struct.unpack_from("<I", whole, 140)
    with pytest.raises(UnreadableRadiograph, match="unpacks to at most 1 MiB") as caught:
        read_radiograph(whole[: 144 + length] + body)
    assert caught.value.code == "too_large"


@pytest.mark.filterwarnings("ignore")
def test_damaged_files_give_a_film_or_a_sentence_and_no_word_of_their_header(caplog: pytest.LogCaptureFixture) -> None:
    data = build_dicom(ramp(4095), WindowCenter=2048, WindowWidth=4096)
    rng = np.random.default_rng(1)
    refusals = 0
    for _ in range(150):
        damaged = bytearray(data)
        for position in rng.integers(132, 700, 6):
            damaged[position] = int(rng.integers(0, 256))
        refusals += read_or_refuse(bytes(damaged))
    assert refusals > 0
    assert "MRN-0042" not in caplog.text
    assert "Doe" not in caplog.text


def read_or_refuse(data: bytes) -> bool:
    """Return whether a file was refused; any other error would end the test."""
    try:
        read_radiograph(data)
    except UnreadableRadiograph as error:
        return "\n" not in str(error)
    return False


@pytest.mark.parametrize(
    ("values", "elements"),
    [
        (ramp(4095), {"WindowCenter": 2048, "WindowWidth": 3000}),
        (ramp(4095), {"PhotometricInterpretation": "MONOCHROME1"}),  # no window: stretched over the whole film
        (ramp(4095), {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 300, "RescaleSlope": "2"}),
        (ramp(4095), {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 4095}),
        (ramp(900, np.int16) - 500, {"Modality": "CT"}),
        (np.stack([ramp(255, np.uint8)] * 3, axis=-1), {"BitsStored": 8, "HighBit": 7}),
    ],
)
def test_film_rendered_row_by_row_is_the_same(
    values: NDArray[Any], elements: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hf_fracture.data import grayscale

    data = build_dicom(values, **elements)
    whole = levels(data)
    monkeypatch.setattr(grayscale, "_BLOCK_VALUES", 1)
    assert (levels(data) == whole).all()
    assert whole.std() > 0 or "PixelPaddingRangeLimit" in elements


@pytest.mark.parametrize(("shape", "dtype"), [((101, 100), np.uint8), ((76, 100), np.uint16), ((19, 100, 3), np.uint8)])
def test_size_is_bounded_by_what_reading_takes(
    shape: tuple[int, ...], dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hf_fracture.data import dicom

    monkeypatch.setattr(dicom, "_MAX_DECODED_BYTES", 6 * 10_000 + 9_000)  # 6 bytes a pixel of 8 bit, 9 of 16, 23 of RGB
    bits = np.dtype(dtype).itemsize * 8
    fits = build_dicom(np.zeros((shape[0] // 2, *shape[1:]), dtype=dtype), bits=bits)
    assert read_radiograph(fits).image.width == shape[1]
    with pytest.raises(UnreadableRadiograph, match="megapixels in a file of this kind") as caught:
        read_radiograph(build_dicom(np.zeros((2 * shape[0], *shape[1:]), dtype=dtype), bits=bits))
    assert caught.value.code == "too_large"
