"""Outputs are whole or not there, written by one process, and cleared of what killed ones left."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hf_fracture.cli.main import main
from hf_fracture.errors import OutputExistsError
from hf_fracture.outputs import holding, replacing

HOLD = """
import sys, time
from pathlib import Path
from hf_fracture.outputs import holding
with holding(Path(sys.argv[1])) as was_interrupted:
    print(was_interrupted, flush=True)
    time.sleep(600)
"""
ENDED = 2**22 + 1  # no process has this number: it is above Linux's largest


def test_file_appears_whole_and_a_failure_leaves_the_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "table.csv"
    with replacing(path) as partial:
        assert partial.parent == path.parent
        assert partial.suffix == ".csv"
        partial.write_text("first")
        assert not path.exists()
    with pytest.raises(ZeroDivisionError), replacing(path) as partial:
        partial.write_text(f"second {1 / 0}")
    assert [(found.name, found.read_text()) for found in path.parent.iterdir()] == [("table.csv", "first")]


def test_folder_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "model"
    for content in ("first", "second"):
        with replacing(path) as partial:
            partial.mkdir()
            (partial / "config.json").write_text(content)
    assert (path / "config.json").read_text() == "second"
    assert [found.name for found in tmp_path.iterdir()] == ["model"]


def test_what_ended_processes_left_is_removed_and_what_running_ones_write_stays(tmp_path: Path) -> None:
    kept = [tmp_path / ".b.1.partial.csv", tmp_path / ".notes.partial", tmp_path / "7.partial"]
    for path in (*kept, tmp_path / f".a.{ENDED}.partial.csv"):
        path.write_text("half")
    (tmp_path / f".model.{ENDED}.partial").mkdir()
    with replacing(tmp_path / "other.json") as partial:
        partial.write_text("{}")
    assert sorted(tmp_path.iterdir()) == sorted([*kept, tmp_path / "other.json"])


def test_folder_whose_replacement_was_killed_is_put_back(tmp_path: Path) -> None:
    (tmp_path / ".model.earlier").mkdir()
    (tmp_path / ".model.earlier" / "config.json").write_text("earlier")
    with replacing(tmp_path / "model") as partial:
        assert (tmp_path / "model" / "config.json").read_text() == "earlier"
        partial.mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.slow
def test_output_is_held_by_one_process_and_a_killed_one_is_known(tmp_path: Path) -> None:
    path = tmp_path / "out" / "findings.csv"
    for expected in ("False", "True"):  # the second finds the lock of the first, which was killed
        other = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
        try:
            assert other.stdout is not None
            assert other.stdout.readline().strip() == expected
            with pytest.raises(OutputExistsError, match="found another process writing it"), holding(path):
                pass
        finally:
            other.kill()
            other.wait()
    with holding(path) as was_interrupted:
        assert was_interrupted
    assert list(path.parent.iterdir()) == []
    with holding(path) as was_interrupted:
        assert not was_interrupted


@pytest.mark.parametrize("command", ["prepare", "predict", "evaluate", "export", "explain-eval"])
def test_second_process_on_one_output_is_refused_in_one_sentence(
    command: str, tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from hf_fracture.data.phantoms import draw_phantom

    film, out = tmp_path / "films" / "film.png", tmp_path / "out"
    film.parent.mkdir()
    draw_phantom(1, fractured=True).image.save(film)
    arguments, held = {
        "prepare": (["data", "prepare", "image_folder", "--source", str(film.parent), "--out", str(out)], out),
        "predict": (["predict", str(film), "--model", str(tiny_model_dir), "--csv", str(out)], out),
        "evaluate": (["evaluate", str(tiny_model_dir), str(tmp_path), "--out", str(out)], out),
        "export": (["export", str(tiny_model_dir), "--out", str(out)], out / "onnx"),
        "explain-eval": (["explain-eval", str(tiny_model_dir), str(tmp_path), "--out", str(out)], out),
    }[command]
    with holding(held):
        before = sorted(tmp_path.rglob("*"))
        assert main(arguments) == 2
        assert sorted(tmp_path.rglob("*")) == before
    words = capsys.readouterr().err
    assert len(words.splitlines()) == 1, words
    assert "found another process writing it" in words


def test_temporary_name_of_this_process_is_its_own(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.json") as partial:
        assert f".{os.getpid()}." in partial.name
        partial.write_text("{}")
