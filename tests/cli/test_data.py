"""`hf-fracture data`: paths on stdout, words on stderr, and an exit status for every outcome."""

import errno
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from hf_fracture.cli.main import main
from hf_fracture.data import films as films_module
from hf_fracture.data import prepare as prepare_module
from hf_fracture.data.films import Film
from hf_fracture.data.phantoms import draw_phantom, write_phantom_dataset


@pytest.fixture
def source_dir(tmp_path: Path) -> Path:
    """Twelve drawn films with a table."""
    write_phantom_dataset(tmp_path / "films", num=12, seed=0)
    return tmp_path / "films"


def prepare(source_dir: Path, out_dir: Path, *options: str) -> int:
    return main(
        [
            "data",
            "prepare",
            "image_folder",
            "--source",
            str(source_dir),
            "--out",
            str(out_dir),
            "--workers",
            "1",
            *options,
        ]
    )


def test_list_shows_every_dataset_with_its_licence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [
        "kaggle_multi_region",
        "wrist",
        "grazpedwri_dx",
        "fracatlas",
        "bone_break",
        "image_folder",
    ]
    assert "CC-BY-4.0" in out


def test_list_loads_nothing_heavy() -> None:
    code = (
        "import sys; from hf_fracture.cli.main import main; main(['data', 'list']); "
        "heavy = {'torch', 'transformers', 'datasets', 'pyarrow', 'pandas', 'pydicom', 'scipy'} & set(sys.modules); "
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_prepare_prints_the_folder_and_the_next_command(
    source_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(source_dir, tmp_path / "out") == 0
    captured = capsys.readouterr()
    assert captured.out == f"{tmp_path / 'out'}\n"
    assert "12 of 12 files kept" in captured.err
    assert f"hf-fracture train {tmp_path / 'out'}" in captured.err
    assert (tmp_path / "out" / "README.md").is_file()


def test_prepare_names_each_unreadable_film_and_exits_1(
    source_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    victim = min(source_dir.rglob("*.png"))
    victim.write_text("not a film")
    assert prepare(source_dir, tmp_path / "out") == 1
    named = [line for line in capsys.readouterr().err.splitlines() if "unreadable" in line]
    assert len(named) == 1
    assert victim.name in named[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prepare", "mura", "--source", "x", "--out", "y"], "Expected one of the datasets kaggle_multi_region"),
        (["prepare", "fracatlas", "--source", "nowhere", "--out", "y"], "found nothing there"),
        (["prepare", "fracatlas", "--out", "y"], "--source"),
        (["download", "wrist"], "no public download"),
        (["download", "mura"], "Expected one of the datasets"),
        ([], "ACTION"),
    ],
)
def test_mistake_is_one_line_and_exit_2(
    arguments: Sequence[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["data", *arguments]) == 2
    captured = capsys.readouterr()
    assert words in captured.err.splitlines()[-1]
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_existing_output_needs_overwrite(source_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(source_dir, tmp_path / "out") == 0
    assert prepare(source_dir, tmp_path / "out") == 2
    assert "Pass --overwrite" in capsys.readouterr().err
    assert prepare(source_dir, tmp_path / "out", "--overwrite") == 0


def test_full_disk_is_one_line_and_leaves_nothing_half_written(
    source_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "chunk-000000.parquet")

    monkeypatch.setattr(films_module, "write_atomically", fill_disk)
    assert prepare(source_dir, tmp_path / "out") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("hf-fracture: error: No space left on device (chunk-000000.parquet). Free some space")
    assert not (tmp_path / "out").exists()


def test_interruption_is_a_word_and_the_next_run_goes_on(
    source_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare_module, "group_films", interrupt)
    assert prepare(source_dir, tmp_path / "out") == 130
    assert capsys.readouterr().err.splitlines()[-1] == "Interrupted"
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()

    def read_again(files: Sequence[tuple[Path, str]], long_side_px: int) -> list[Film]:
        pytest.fail("a film was read a second time")

    monkeypatch.setattr(films_module, "read_chunk", read_again)
    assert prepare(source_dir, tmp_path / "out") == 0


def test_published_split_and_size_are_passed_on(tmp_path: Path) -> None:
    for index, (split, label) in enumerate([("train", "normal"), ("train", "fractured"), ("test", "fractured")]):
        folder = tmp_path / "films" / split / label
        folder.mkdir(parents=True)
        draw_phantom(index, fractured=label == "fractured", size_px=(120, 160)).image.save(folder / "film.png")
    assert prepare(tmp_path / "films", tmp_path / "out", "--split", "published", "--long-side-px", "64") == 0
    from datasets import load_dataset

    dataset = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in dataset.items()} == {"train": 2, "test": 1}
    image = dataset["test"][0]["image"]
    assert isinstance(image, Image.Image)
    assert image.size == (48, 64)


def test_audit_writes_its_page_and_names_what_it_could_not_read(
    source_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (source_dir / "broken.png").write_text("not a film")
    num_columns = (source_dir / "metadata.csv").read_text().splitlines()[0].count(",") + 1
    with (source_dir / "metadata.csv").open("a") as table:
        table.write("broken.png,0" + "," * (num_columns - 2) + "\n")
    arguments = ["data", "audit", str(source_dir), "--out", str(tmp_path / "audit"), "--workers", "1"]
    assert main([*arguments, "--against", "fracatlas"]) == 1
    captured = capsys.readouterr()
    assert captured.out == f"{tmp_path / 'audit'}\n"
    assert "12 of 13 files read as image_folder: 1 unreadable" in captured.err
    assert "0 films are in fracatlas too." in captured.err
    assert "broken.png: expected a PNG" in captured.err
    assert (tmp_path / "audit" / "audit.html").is_file()
    assert main(arguments) == 2
    assert "Pass --overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["nowhere", "--out", "audit"], "found nothing there"),
        ([".", "--out", "audit", "--against", "mura"], "one of the ledgers"),
        ([".", "--out", "audit"], "found none"),
    ],
)
def test_audit_of_nothing_is_one_line_and_exit_2(
    options: Sequence[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["data", "audit", *options]) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []
