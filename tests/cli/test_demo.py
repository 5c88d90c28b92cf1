"""`hf-fracture demo`: what it refuses before anything is loaded, and which films it shows."""

import io
import socket
from pathlib import Path

import pytest
from PIL import Image

from hf_fracture.cli import demo
from hf_fracture.cli.main import main
from hf_fracture.errors import MissingInputError, UsageError


def write_films(folder: Path, num: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"film_{index:02d}.png" for index in range(num)]
    for index, path in enumerate(paths):
        Image.new("L", (64, 64), index).save(path)
    return paths


@pytest.mark.parametrize("port", [0, 65536, -1])
def test_port_out_of_range_is_refused(port: int) -> None:
    with pytest.raises(UsageError, match="between 1 and 65535"):
        demo.check_port(port)


def test_taken_port_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["demo", "--port", str(taken.getsockname()[1])]) == 2
    assert "must be a free port" in capsys.readouterr().err


def test_free_port_is_accepted() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    demo.check_port(port)


def test_page_is_found_in_a_checkout() -> None:
    assert (demo.find_page_dir() / "app.py").is_file()


def test_page_inside_the_package_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "hf_fracture" / "space"
    inside.mkdir(parents=True)
    monkeypatch.setattr(demo, "__file__", str(tmp_path / "hf_fracture" / "cli" / "demo.py"))
    with pytest.raises(MissingInputError, match="in neither"):
        demo.find_page_dir()
    (inside / "app.py").touch()
    assert demo.find_page_dir() == inside


def test_drawings_are_files_with_captions_that_call_them_drawn(tmp_path: Path) -> None:
    drawn = list(demo.draw_examples(tmp_path / "drawings"))
    assert len(drawn) == len({path for path, _ in drawn}) == len(demo.DRAWINGS)
    for path, caption in drawn:
        assert caption.startswith("Drawn")
        with Image.open(path) as image:
            assert image.mode == "L"


def test_shipped_model_answers_every_drawing(tmp_path: Path) -> None:
    (classifier,) = demo.load_classifiers(None).values()
    paths = [path for path, _ in demo.draw_examples(tmp_path / "drawings")]
    assert all(finding.is_answer for finding in classifier.predict_many(paths))


def test_films_are_spread_over_the_folder(tmp_path: Path) -> None:
    paths = write_films(tmp_path / "a", 20) + write_films(tmp_path / "b", 20)
    chosen = [film for film, _ in demo.list_examples(tmp_path)]
    assert len(chosen) == demo.NUM_FILMS
    assert len({path.parent for path in chosen if isinstance(path, Path)}) == 2
    assert set(chosen) <= set(paths)


def test_few_films_are_all_shown(tmp_path: Path) -> None:
    paths = write_films(tmp_path, 3)
    assert demo.list_examples(tmp_path) == [(path, path.name) for path in paths]


def test_prepared_dataset_gives_films_of_both_classes(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    buffer = io.BytesIO()
    Image.new("L", (64, 64)).save(buffer, "JPEG")
    rows = [{"image": {"bytes": buffer.getvalue(), "path": None}, "label": int(i > 40)} for i in range(50)]
    (tmp_path / "data").mkdir()
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "data" / "test-00000-of-00001.parquet")
    films = demo.list_examples(tmp_path)
    captions = [caption for _, caption in films]
    assert captions[:3] == ["labelled fractured", "labelled not fractured", "labelled fractured"]
    stored = list(demo.store_examples(films, tmp_path / "films"))
    assert [path.read_bytes() for path, _ in stored] == [buffer.getvalue()] * demo.NUM_FILMS


@pytest.mark.parametrize("exists", [False, True])
def test_folder_without_films_is_refused_before_a_model_is_loaded(
    tmp_path: Path, exists: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "films"
    if exists:
        folder.mkdir()
    assert main(["demo", "--examples", str(folder)]) == 2
    assert "--examples must name a folder" in capsys.readouterr().err


def test_unreadable_example_is_named_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (good,) = write_films(tmp_path, 1)
    bad = tmp_path / "bad.png"
    bad.write_text("no film")
    example_set = demo.build_example_set(demo.import_page(), "Films", "real", [(bad, "bad"), (good, "good")])
    assert [example.caption for example in example_set.examples] == ["good"]
    assert "bad.png" in capsys.readouterr().err


@pytest.mark.parametrize("models", ["", "a,,b", ","])
def test_model_list_with_a_gap_is_refused(models: str) -> None:
    with pytest.raises(UsageError, match="single commas"):
        demo.load_classifiers(models)


def test_models_of_one_name_stay_apart(tiny_model_dir: Path, tmp_path: Path) -> None:
    twin = tmp_path / tiny_model_dir.name
    twin.symlink_to(tiny_model_dir)
    classifiers = demo.load_classifiers(f"{tiny_model_dir}, {twin}")
    assert list(classifiers) == [tiny_model_dir.name, str(twin)]


def test_missing_model_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--model", str(tmp_path / "none")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
