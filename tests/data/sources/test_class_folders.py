"""Sources of class folders: the Kaggle set, wrist films, bone break types; names vary, meaning does not."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from hf_fracture.data.sources import bone_break, kaggle_multi_region, wrist
from hf_fracture.data.sources.class_folders import read_class_name, read_split_name
from hf_fracture.errors import DatasetError, MissingInputError

WriteLayout = Callable[..., Path]
DrawFilm = Callable[..., Image.Image]
SaveFilm = Callable[..., Path]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        *((name, 1) for name in ("fractured", "Fractured", "FRACTURE", "Bone-Fracture", "positive", "1")),
        *((name, 0) for name in ("not fractured", "Not_Fractured", "non-fractured", "Nonfracture", "normal", "0")),
        *((name, None) for name in ("", "unknown", "elbow", "fractured maybe")),
    ],
)
def test_class_names_are_known_by_their_letters(name: str, label: int | None) -> None:
    assert read_class_name(name) == label


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *((name, "train") for name in ("train", "Training", "train-cropped", "train_set")),
        *((name, "validation") for name in ("val", "valid", "validation-cropped")),
        *((name, "test") for name in ("test", "testing", "Test-Cropped")),
        ("fractured", None),
    ],
)
def test_split_names_are_known_by_their_letters(name: str, split: str | None) -> None:
    assert read_split_name(name) == split


@pytest.mark.parametrize(
    ("classes", "val"),
    [
        (("fractured", "not fractured"), "val"),
        (("Fractured", "Non_fractured"), "validation"),
        (("fracture", "normal"), "valid"),
    ],
)
def test_kaggle_is_read_under_every_name_of_its_folders(
    write_layout: WriteLayout, classes: tuple[str, str], val: str
) -> None:
    rows = list(kaggle_multi_region.read_rows(write_layout("kaggle_multi_region", classes=classes, val=val)))
    assert Counter((row.label, row.source_split) for row in rows) == {
        **dict.fromkeys([(0, "train"), (1, "train")], 9),
        **dict.fromkeys([(0, "validation"), (1, "validation"), (0, "test"), (1, "test")], 3),
    }


def test_kaggle_is_found_below_the_archives_own_folders(write_layout: WriteLayout, tmp_path: Path) -> None:
    inner = tmp_path / "download" / "Bone_Fracture_Binary_Classification" / "Bone_Fracture_Binary_Classification"
    inner.parent.mkdir(parents=True)
    write_layout("kaggle_multi_region").rename(inner)
    rows = list(kaggle_multi_region.read_rows(tmp_path / "download"))
    assert len(rows) == 30
    assert rows[0].source_path.startswith("test/"), "paths must not depend on how the archive was unpacked"


def test_kaggle_families_are_class_and_number_over_all_splits(write_layout: WriteLayout) -> None:
    rows = list(kaggle_multi_region.read_rows(write_layout("kaggle_multi_region")))
    families = Counter(row.family for row in rows if row.family)
    assert families == {f"{label}/{number}": 4 for label in ("fractured", "not fractured") for number in range(3)}
    alterations = {row.path.name: row.num_alterations for row in rows}
    assert alterations["1-rotated1.jpg"] == 1
    assert alterations["1-rotated1-rotated2 (1).jpg"] == 3
    assert alterations["1-rotated2 - Copy (2).jpg"] == 3
    assert alterations["palette.png"] == 0


def test_wrist_films_of_the_cropped_layout_have_their_splits(
    tmp_path: Path, draw_film: DrawFilm, save_film: SaveFilm
) -> None:
    for seed, (split, class_name) in enumerate(
        [("train", "Fracture"), ("train", "Normal"), ("validation", "Fracture"), ("test", "Normal")]
    ):
        save_film(draw_film(seed), tmp_path / f"{split}-cropped" / class_name / "film.png")
    rows = list(wrist.read_rows(tmp_path))
    assert [(row.source_split, row.label, row.body_part) for row in rows] == [
        ("test", 0, "wrist"),
        ("train", 1, "wrist"),
        ("train", 0, "wrist"),
        ("validation", 1, "wrist"),
    ]


def test_wrist_films_in_plain_class_folders_have_no_split(
    tmp_path: Path, draw_film: DrawFilm, save_film: SaveFilm
) -> None:
    save_film(draw_film(0), tmp_path / "fractured" / "hospital a" / "film.png")
    save_film(draw_film(1), tmp_path / "not_fractured" / "film.png")
    rows = list(wrist.read_rows(tmp_path))
    assert [(row.label, row.source_split) for row in rows] == [(1, None), (0, None)]


def test_two_folders_of_one_class_are_refused(tmp_path: Path, draw_film: DrawFilm, save_film: SaveFilm) -> None:
    for folder in ("Fractured", "fracture", "normal"):
        save_film(draw_film(0), tmp_path / folder / "film.png")
    with pytest.raises(DatasetError, match="'Fractured' and 'fracture' for the same"):
        list(wrist.read_rows(tmp_path))


def test_films_of_a_class_that_cannot_be_told_are_refused(
    tmp_path: Path, draw_film: DrawFilm, save_film: SaveFilm
) -> None:
    for folder in ("fractured", "normal", "uncertain"):
        save_film(draw_film(0), tmp_path / folder / "film.png")
    with pytest.raises(DatasetError, match="got 'uncertain' with 1 films"):
        list(wrist.read_rows(tmp_path))


def test_folder_without_films_is_no_concern(tmp_path: Path, draw_film: DrawFilm, save_film: SaveFilm) -> None:
    for folder in ("fractured", "normal"):
        save_film(draw_film(0), tmp_path / folder / "film.png")
    (tmp_path / "licences").mkdir()
    assert len(list(wrist.read_rows(tmp_path))) == 2


def test_film_outside_the_class_folders_has_no_label(tmp_path: Path, draw_film: DrawFilm, save_film: SaveFilm) -> None:
    for path in ("fractured/film.png", "normal/film.png", "stray.png"):
        save_film(draw_film(0), tmp_path / path)
    assert {row.source_path: row.label for row in wrist.read_rows(tmp_path)}["stray.png"] is None


def test_folder_without_classes_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    for folder in ("elbow", "knee"):
        (tmp_path / folder).mkdir()
    with pytest.raises(DatasetError, match=r"named after the classes.*'elbow', 'knee'"):
        list(wrist.read_rows(tmp_path))


def test_hidden_files_and_system_litter_are_passed_over(
    tmp_path: Path, draw_film: DrawFilm, save_film: SaveFilm
) -> None:
    for path in ("fractured/film.png", "normal/film.png", "fractured/._film.png", "__MACOSX/fractured/film.png"):
        save_film(draw_film(0), tmp_path / path)
    assert len(list(wrist.read_rows(tmp_path))) == 2


def test_bone_break_has_ten_types_and_one_class(write_layout: WriteLayout) -> None:
    rows = list(bone_break.read_rows(write_layout("bone_break")))
    assert Counter(row.fracture_type for row in rows) == dict.fromkeys(bone_break.FRACTURE_TYPES, 2)
    assert {row.label for row in rows} == {1}
    assert Counter(row.source_split for row in rows) == {"train": 10, "test": 10}


def test_bone_break_refuses_a_type_that_it_does_not_know(
    write_layout: WriteLayout, draw_film: DrawFilm, save_film: SaveFilm
) -> None:
    root = write_layout("bone_break")
    save_film(draw_film(0), root / "Transverse fracture" / "Train" / "film.png")
    with pytest.raises(DatasetError, match="got 'Transverse fracture'"):
        list(bone_break.read_rows(root))


def test_bone_break_refuses_two_folders_of_one_type(write_layout: WriteLayout) -> None:
    root = write_layout("bone_break")
    (root / "spiral_fracture").mkdir()
    with pytest.raises(DatasetError, match="'Spiral Fracture' and 'spiral_fracture' for spiral"):
        list(bone_break.read_rows(root))


@pytest.mark.parametrize("source", [kaggle_multi_region, wrist, bone_break])
def test_missing_folder_is_named(tmp_path: Path, source: object) -> None:
    with pytest.raises(MissingInputError, match="nowhere, found nothing there"):
        list(source.read_rows(tmp_path / "nowhere"))  # type: ignore[attr-defined]


@pytest.mark.real_data
def test_real_kaggle_set_has_99_families_of_9512_files(real_data_dir: Path) -> None:
    rows = list(kaggle_multi_region.read_rows(real_data_dir / "kaggle_multi_region"))
    assert Counter(row.source_split for row in rows) == {"train": 9246, "validation": 749, "test": 506}
    assert len({row.family for row in rows if row.family}) == 99
    assert sum(row.family is not None for row in rows) == 9512


@pytest.mark.real_data
def test_real_bone_break_set_has_1129_films_of_ten_types(real_data_dir: Path) -> None:
    rows = list(bone_break.read_rows(real_data_dir / "bone_break"))
    assert len(rows) == 1129
    assert {row.fracture_type for row in rows} == set(bone_break.FRACTURE_TYPES)
    assert Counter(row.source_split for row in rows) == {"train": 989, "test": 140}
