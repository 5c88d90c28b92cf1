"""Which films an argument names, and the names of what is made from them."""

from pathlib import Path

import pytest

from hf_fracture.errors import MissingInputError
from hf_fracture.inference.film_paths import FilmPath, find_films, select_shard


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.png", "a.JPG", "deep/a.jpg", "deep/er/c.tiff", ".hidden/x.png", ".y.png", "notes.txt", "table.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"some content")
    (tmp_path / "IM0001").write_bytes(bytes(128) + b"DICM" + bytes(20))
    return tmp_path


def names(arguments: list[str]) -> list[str]:
    return [film.name for film in find_films(arguments).films]


def test_folder_gives_images_and_dicom_files_sorted_and_counts_the_rest(folder: Path) -> None:
    selection = find_films([str(folder)])
    assert [film.name for film in selection.films] == ["IM0001", "a.JPG", "b.png", "deep/a.jpg", "deep/er/c.tiff"]
    assert all(film.path == folder / film.name for film in selection.films)
    assert selection.num_skipped == 2


def test_file_that_is_named_outright_is_taken_whatever_its_name(folder: Path) -> None:
    assert names([str(folder / "notes.txt")]) == ["notes.txt"]


def test_pattern_crosses_folders(folder: Path) -> None:
    assert names([str(folder / "**" / "*.jpg")]) == ["a.jpg"]
    assert names([str(folder / "?.png")]) == ["b.png"]


def test_name_that_looks_like_a_pattern_is_taken_literally(tmp_path: Path) -> None:
    (tmp_path / "film[1].png").write_bytes(b"x")
    assert names([str(tmp_path / "film[1].png")]) == ["film[1].png"]


def test_film_that_is_named_twice_is_found_once(folder: Path) -> None:
    assert names([str(folder / "b.png"), str(folder), str(folder / "*.png")])[0] == "b.png"
    assert len(names([str(folder / "b.png"), str(folder), str(folder / "*.png")])) == 5


def test_films_of_the_same_name_get_different_output_names(folder: Path) -> None:
    other = folder / "other"
    other.mkdir()
    (other / "a.jpg").write_bytes(b"x")
    assert names([str(folder / "deep" / "a.jpg"), str(other), str(folder / "b.png")]) == ["a.jpg", "a-2.jpg", "b.png"]


def test_nothing_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"nowhere\.png"):
        find_films([str(tmp_path / "nowhere.png")])
    with pytest.raises(MissingInputError, match=r"\*\.png"):
        find_films([str(tmp_path / "*.png")])


def test_folder_without_films_is_named(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("no film here")
    with pytest.raises(MissingInputError, match="found none"):
        find_films([str(tmp_path)])


def test_link_into_nothing_is_kept_so_that_it_is_reported(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    assert names([str(tmp_path)]) == ["link.png"]
    assert names([str(tmp_path / "link.png")]) == ["link.png"]


@pytest.mark.parametrize("num_films", [0, 1, 7, 12])
@pytest.mark.parametrize("num_shards", [1, 2, 5])
def test_shards_hold_every_film_exactly_once(num_films: int, num_shards: int) -> None:
    films = [FilmPath(Path(str(number)), str(number)) for number in range(num_films)]
    shards = [select_shard(films, shard=number + 1, num_shards=num_shards) for number in range(num_shards)]
    assert sorted((film.name for shard in shards for film in shard), key=int) == [film.name for film in films]
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
