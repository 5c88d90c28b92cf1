"""A film leaves with its visitor, and never takes another visitor's along."""

import os
import time
from pathlib import Path

from sessions import SessionFilms, delete_old_files, keep_clean


def upload(folder: Path, name: str) -> str:
    path = folder / name
    path.write_bytes(b"film")
    return str(path)


def test_films_are_deleted_when_their_visitor_leaves(tmp_path: Path) -> None:
    films = SessionFilms()
    mine, yours = upload(tmp_path, "mine.png"), upload(tmp_path, "yours.png")
    films.hold("me", [mine])
    films.hold("you", [yours])
    assert films.release("me") == [mine]
    assert not Path(mine).exists()
    assert Path(yours).exists()
    assert films.held == {"you": {yours}}


def test_equal_films_stay_until_the_last_of_their_visitors_leaves(tmp_path: Path) -> None:
    films, shared = SessionFilms(), upload(tmp_path, "shared.png")
    films.hold("me", [shared])
    films.hold("you", [shared])
    assert films.release("me") == []
    assert Path(shared).exists()
    assert films.release("you", [shared]) == [shared]


def test_only_what_a_visitor_uploaded_can_be_deleted(tmp_path: Path) -> None:
    films, example = SessionFilms(), upload(tmp_path, "example.png")
    films.hold("me", [upload(tmp_path, "mine.png")])
    assert films.release("me", [example]) == []
    assert films.release("stranger") == []
    assert films.release(None) == []
    assert Path(example).exists()


def test_file_that_is_gone_already_is_no_error(tmp_path: Path) -> None:
    films = SessionFilms()
    films.hold("me", [str(tmp_path / "gone.png")])
    assert films.release("me") == [str(tmp_path / "gone.png")]


def test_old_files_are_deleted_and_young_ones_stay(tmp_path: Path) -> None:
    (tmp_path / "abc").mkdir()
    old, young = Path(upload(tmp_path / "abc", "old.png")), Path(upload(tmp_path, "young.png"))
    os.utime(old, (time.time() - 61, time.time() - 61))
    assert delete_old_files(tmp_path, max_age_seconds=60) == 1
    assert not old.exists()
    assert young.exists()
    assert delete_old_files(tmp_path / "missing", max_age_seconds=60) == 0


def test_cleaning_goes_on_while_files_come_and_go(tmp_path: Path) -> None:
    thread = keep_clean(tmp_path, max_age_seconds=-1, every_seconds=0.01)
    for index in range(200):
        upload(tmp_path, f"{index}.png")
    end = time.monotonic() + 20
    while list(tmp_path.iterdir()) and time.monotonic() < end:
        time.sleep(0.05)
    assert list(tmp_path.iterdir()) == []
    assert thread.is_alive()
