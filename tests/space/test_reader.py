"""What the page does with a file: it answers films, and gives every other file a sentence."""

import base64
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import batch_panels
import comparison
import endpoints
import texts
from hf_fracture.explain.attribution import METHODS, Method
from hf_fracture.inference.classifier import FractureClassifier
from hf_fracture.inference.finding import COLUMNS
from reader import FilmReader

WORDS = (texts.FRACTURE, texts.UNCERTAIN, texts.NO_FRACTURE)


@pytest.fixture(scope="module")
def reader(measured: FractureClassifier, unmeasured: FractureClassifier) -> FilmReader:
    return FilmReader({"measured": measured, "unmeasured": unmeasured})


def test_film_gets_an_answer_a_map_and_its_worth(reader: FilmReader, film_path: Path) -> None:
    answer, viewer, worth = reader.examine(str(film_path), "measured", "grad_cam")
    assert sum(f">{word}<" in answer for word in WORDS) == 1
    assert "forearm.png" in viewer
    assert "What this map is worth" in worth


@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_the_chooser_works(reader: FilmReader, film_path: Path, method: Method) -> None:
    assert method in texts.METHOD_NAMES
    _, viewer, worth = reader.examine(str(film_path), "measured", method)
    assert "class='map'" in viewer or texts.MAP_EMPTY in viewer
    assert worth


def test_no_film_waits(reader: FilmReader) -> None:
    answer, viewer, worth = reader.examine(None, "measured", "grad_cam")
    assert texts.EXPIRED_SENTENCE in answer
    assert texts.VIEWER_EMPTY in viewer
    assert worth == ""


def test_film_that_was_deleted_is_asked_for_again(reader: FilmReader, tmp_path: Path) -> None:
    answer, _, _ = reader.examine(str(tmp_path / "gone.png"), "measured", "grad_cam")
    assert texts.EXPIRED_SENTENCE in answer


def test_text_named_png_gets_a_sentence_without_a_path(reader: FilmReader, no_film_path: Path) -> None:
    answer, viewer, worth = reader.examine(str(no_film_path), "measured", "grad_cam")
    assert texts.UNREADABLE in answer
    assert "Expected a PNG" in answer
    assert str(no_film_path.parent) not in answer + viewer
    assert texts.VIEWER_EMPTY in viewer
    assert worth == ""


def test_colour_photograph_is_refused(reader: FilmReader, tmp_path: Path) -> None:
    photograph = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(photograph).resize((400, 500), Image.Resampling.BICUBIC).save(tmp_path / "cat.png")
    answer, _, worth = reader.examine(str(tmp_path / "cat.png"), "measured", "grad_cam")
    assert texts.NOT_A_RADIOGRAPH in answer
    assert worth == ""


def test_truncated_film_is_answered_with_a_note(reader: FilmReader, film: Image.Image, tmp_path: Path) -> None:
    buffer = BytesIO()
    film.save(buffer, "JPEG", quality=95)
    (tmp_path / "cut.jpg").write_bytes(buffer.getvalue()[: int(0.9 * len(buffer.getvalue()))])
    answer, _, _ = reader.examine(str(tmp_path / "cut.jpg"), "measured", "grad_cam")
    assert any(word in answer for word in WORDS)
    assert "truncated" in answer


def test_sixteen_bit_film_is_not_clipped(reader: FilmReader, film: Image.Image, tmp_path: Path) -> None:
    film.save(tmp_path / "8.png")
    Image.fromarray(np.asarray(film).astype(np.uint16) * 16).save(tmp_path / "16.png")  # 12 of 16 bits
    paths = [str(tmp_path / name) for name in ("8.png", "16.png")]
    eight, sixteen = (finding.to_dict() for finding in reader.predict(paths, "measured"))
    assert sixteen["read_note"] is not None
    assert sixteen["probability"] == pytest.approx(eight["probability"], abs=0.02)


def test_other_model_brings_its_own_measurements(reader: FilmReader, film_path: Path) -> None:
    *_, measurements, _ = reader.change_model(str(film_path), "unmeasured", "")
    assert "Nobody knows" in measurements


def test_endpoint_returns_the_columns_of_predict(reader: FilmReader, film_path: Path, film: Image.Image) -> None:
    finding = next(reader.predict([str(film_path)], "measured")).to_dict()
    assert tuple(finding) == COLUMNS
    assert finding["path"] is None
    assert finding["probability"] == pytest.approx(reader.classifiers["measured"].predict(film).probability)


def test_endpoint_answers_a_bad_file_with_a_reason(reader: FilmReader, no_film_path: Path) -> None:
    finding = next(reader.predict([str(no_film_path)], "measured")).to_dict()
    assert finding["decision"] == "error"
    assert finding["reasons"][0]["code"] == "unreadable"


def test_warm_up_runs_every_model(reader: FilmReader, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def watch(name: str) -> Callable[[Iterable[Any]], Iterator[Any]]:
        def examine_many(films: Iterable[Any], **_: Any) -> Iterator[Any]:
            asked.append(name)
            return iter(films)

        return examine_many

    for name, classifier in reader.classifiers.items():
        monkeypatch.setattr(classifier, "examine_many", watch(name))
    reader.warm_up()
    assert asked == ["measured", "unmeasured"]


def test_slow_method_gets_a_copy_of_its_own(reader: FilmReader) -> None:
    assert reader._choose("measured", "grad_cam") is reader.classifiers["measured"]
    copy = reader._choose("measured", "occlusion")
    assert copy is not reader.classifiers["measured"]
    assert reader._choose("measured", "occlusion") is copy
    assert copy.model == reader.classifiers["measured"].model


def test_film_that_is_gone_stops_none_of_the_others(reader: FilmReader, film_path: Path, tmp_path: Path) -> None:
    looks = list(reader.look_at_many([str(tmp_path / "gone.png"), str(film_path)], "measured"))
    assert [look.finding.decision == "error" for look in looks] == [True, False]


def test_body_part_that_was_named_changes_what_is_said_and_not_the_answer(reader: FilmReader, film_path: Path) -> None:
    unnamed, hand, other = (reader.judge(str(film_path), "measured", part) for part in ("", "hand", "another"))
    assert texts.PART_UNKNOWN in unnamed
    assert "test films of the hand" in hand
    assert texts.PART_OTHER in other
    assert unnamed.split("class='part'")[0].split("class='by'")[0] == hand.split("class='part'")[0]
    assert texts.EXPIRED_SENTENCE in reader.judge(None, "measured", "")


def test_two_models_are_compared_on_one_film(reader: FilmReader, film_path: Path, no_film_path: Path) -> None:
    sides: tuple[str, Method, str, Method] = ("measured", "grad_cam", "unmeasured", "grad_cam")
    verdict, left, right = comparison.compare_answers(reader, str(film_path), *sides)
    assert "differ by 0.0 percentage points" in verdict  # the same weights
    assert "test films" in left
    assert "test films" not in right
    refused, left, _ = comparison.compare_answers(reader, str(no_film_path), *sides)
    assert texts.NO_TWO_ANSWERS in refused
    assert texts.UNREADABLE in left
    assert comparison.compare_answers(reader, None, *sides)[0] == ""
    gone = comparison.compare_answers(reader, str(film_path.parent / "gone.png"), *sides)
    assert texts.EXPIRED_SENTENCE in gone[1]


def tag_film(film: Image.Image, path: Path) -> str:
    """Write a film as a JPEG that names a patient wherever a JPEG can."""
    exif = Image.Exif()
    for tag in (0x010E, 0x013B, 0x8298):  # ImageDescription, Artist, Copyright
        exif[tag] = "Bloggs^Jo"
    film.save(path, exif=exif, comment=b"Bloggs^Jo", dpi=(72, 72), xmp=b"<x>Bloggs^Jo</x>")
    assert path.read_bytes().count(b"Bloggs^Jo") == 5
    return str(path)


def unpack(html: str) -> bytes:
    """Return a page's text and the files that it carries."""
    files = re.findall(r"(?:base64,|data-content=')([A-Za-z0-9+/=]+)", html)
    assert files
    return html.encode() + b"".join(base64.b64decode(file) for file in files)


def test_identity_in_a_picture_s_metadata_is_echoed_nowhere(
    reader: FilmReader, film: Image.Image, tmp_path: Path
) -> None:
    path = tag_film(film, tmp_path / "tagged.jpg")
    shown = "".join(reader.examine(path, "measured", "grad_cam"))
    overlay, explanation = endpoints.explain_film(reader, path, "measured", "grad_cam")
    assert overlay is not None
    overlay.save(tmp_path / "overlay.png")
    row = batch_panels.build_row(next(reader.look_at_many([path], "measured")), "tagged.jpg")
    with zipfile.ZipFile(BytesIO(batch_panels.write_zip([row]))) as archive:
        saved = b"".join(archive.read(name) for name in archive.namelist())
    shown += batch_panels.render_table([row]) + batch_panels.render_downloads([row], with_pictures=True)
    assert b"Bloggs" not in unpack(shown)
    assert b"Bloggs" not in saved
    assert b"Bloggs" not in (tmp_path / "overlay.png").read_bytes()
    assert "Bloggs" not in str(explanation) + str(overlay.info)
