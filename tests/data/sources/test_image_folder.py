"""A folder of one's own films: class folders, a table, or DICOM, each told by what is there."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from hf_fracture.data.phantoms import write_phantom_dataset
from hf_fracture.data.sources.image_folder import read_rows
from hf_fracture.errors import DatasetError

DrawFilm = Callable[..., Image.Image]
SaveFilm = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, draw_film: DrawFilm, save_film: SaveFilm) -> Path:
    """Two films without class folders."""
    for index in range(2):
        save_film(draw_film(index), tmp_path / "films" / f"{index}.png")
    return tmp_path / "films"


def write_table(folder: Path, *lines: str) -> None:
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_phantom_dataset_is_read_with_its_boxes(tmp_path: Path) -> None:
    write_phantom_dataset(tmp_path / "phantoms", num=6, seed=0)
    rows = list(read_rows(tmp_path / "phantoms"))
    assert len(rows) == 6
    assert {row.label for row in rows} == {0, 1}
    assert all(bool(row.boxes) == (row.label == 1) for row in rows)
    assert all(row.body_part for row in rows)


def test_table_gives_every_column_and_blank_is_unknown(folder: Path) -> None:
    boxes = json.dumps([[1, 2, 3, 4]]).replace('"', '""')
    write_table(
        folder,
        "file_name,label,body_part,view,patient_id,hardware,cast,age_years,sex,boxes,split",
        f'0.png,fractured,elbow,lateral,p1,1,0,44.5,F,"{boxes}",val',
        "1.png,0,,,,,,,,,",
    )
    first, second = read_rows(folder)
    assert (first.label, first.body_part, first.view, first.patient_id) == (1, "elbow", "lateral", "p1")
    assert (first.hardware, first.cast, first.age_years, first.sex) == (True, False, 44.5, "F")
    assert (first.boxes, first.source_split) == ([[1.0, 2.0, 3.0, 4.0]], "validation")
    assert (second.label, second.body_part, second.hardware, second.age_years, second.source_split) == (0, *[None] * 4)


def test_tables_in_split_folders_name_the_split(tmp_path: Path, draw_film: DrawFilm, save_film: SaveFilm) -> None:
    for index, split in enumerate(("train", "test")):
        save_film(draw_film(index), tmp_path / split / "film.png")
        write_table(tmp_path / split, "file_name,label", f"film.png,{index}")
    assert {row.source_path: (row.label, row.source_split) for row in read_rows(tmp_path)} == {
        "train/film.png": (0, "train"),
        "test/film.png": (1, "test"),
    }


def test_film_that_the_table_does_not_name_has_no_label(folder: Path) -> None:
    write_table(folder, "file_name,label", "0.png,1", "absent.png,0")
    rows = {row.source_path: row for row in read_rows(folder)}
    assert rows["1.png"].label is None
    assert not rows["absent.png"].path.exists()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("name,label", "0.png,1"), "file_name is missing among name, label"),
        (("file_name,label", "0.png,perhaps"), "label of 0.png must be 0, 1, .* got 'perhaps'"),
        (("file_name,label", "0.png,1", "0.png,0"), "each film once, got 0.png twice"),
        (("file_name,label", "../outside.png,1"), "name files inside its folder, got '../outside.png'"),
        (("file_name,label,age_years", "0.png,1,old"), "age_years of 0.png must be a number from 0 to 130, got 'old'"),
        (("file_name,label,boxes", "0.png,1,here"), "boxes of 0.png must be a JSON list"),
        (("file_name,label,boxes", '0.png,1,"[[1,2,3]]"'), r"boxes of 0.png must hold boxes of four finite numbers"),
        (
            ("file_name,label,polygons", '0.png,1,"[[1,2,3,4]]"'),
            r"polygons of 0.png must hold polygons \[x0, y0, x1, y1, x2, y2, …\]",
        ),
        (("file_name,label,cast", "0.png,1,perhaps"), "cast of 0.png must be 0, 1 or blank"),
        (("file_name,label",), "one row per image, got none"),
    ],
)
def test_table_that_cannot_be_used_is_refused_with_the_place(folder: Path, lines: tuple[str, ...], words: str) -> None:
    write_table(folder, *lines)
    with pytest.raises(DatasetError, match=words):
        list(read_rows(folder))


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="found none"):
        list(read_rows(tmp_path))


def test_folder_without_classes_or_table_is_refused_with_both_remedies(folder: Path) -> None:
    with pytest.raises(DatasetError, match=r"metadata\.csv with the columns file_name and label"):
        list(read_rows(folder))


def test_dicom_files_are_found_by_suffix_or_by_their_mark(tmp_path: Path) -> None:
    marked = bytes(128) + b"DICM" + bytes(100)
    for name in ("fractured/a.dcm", "fractured/IM0001", "not fractured/1.2.840.113", "not fractured/b.ima"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(marked)
    (tmp_path / "fractured" / "README").write_text("not a film")
    assert sorted(row.source_path for row in read_rows(tmp_path)) == [
        "fractured/IM0001",
        "fractured/a.dcm",
        "not fractured/1.2.840.113",
        "not fractured/b.ima",
    ]
