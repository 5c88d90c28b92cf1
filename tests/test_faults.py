"""Accidents: a full or read-only disk, a clock that jumps, damaged files, memory and devices that fail.

The disks are real file systems of one megabyte where the process may mount one (root); elsewhere a limit on the size of
files, and a folder without permission, stand in for them.
"""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hf_fracture.cli.main import main
from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.data.prepare import PrepareOptions, prepare_dataset

NUM_FILMS = 24
# Every command gets the folder of its outputs; the limit on files falls only there.
RUN = """
import json, resource, signal, sys
from hf_fracture.cli.main import main
limit, *arguments = sys.argv[1:]
if limit != "0":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
sys.exit(main(arguments))
"""


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults") / "films"
    for seed in range(NUM_FILMS):
        path = folder / ("fractured" if seed % 2 else "not fractured") / f"film_{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_phantom(seed, fractured=seed % 2 == 1, size_px=(200, 240)).image.save(path)
    return folder


@contextmanager
def mounting(folder: Path, options: str) -> Iterator[bool]:
    """Mount a file system in memory on a folder; yield False where that is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    can_mount = os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield can_mount
    finally:
        if can_mount:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def run_command(arguments: list[str], *, limit: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", RUN, str(limit), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def list_commands(films: Path, model: Path, out: Path) -> dict[str, list[str]]:
    return {
        "prepare": ["data", "prepare", "image_folder", "--source", str(films), "--workers", "1", "--out", str(out)],
        "predict": ["predict", str(films), "--model", str(model), "--jsonl", f"{out}.jsonl"],
        "export": ["export", str(model), "--out", str(out)],
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["prepare", "predict"])
def test_full_disk_is_one_sentence_and_leaves_no_half_output(
    name: str, films: Path, tiny_model_dir: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    with mounting(disk, "size=16k" if name == "predict" else "size=64k") as is_small:
        if name == "predict" and is_small:
            (disk / "ballast").write_bytes(bytes(12 << 10))  # a page is left, which the first rows fill
        answer = run_command(list_commands(films, tiny_model_dir, disk / "out")[name], limit=0 if is_small else 3000)
        assert answer.returncode == 2, answer.stderr
        *_, last = answer.stderr.strip().splitlines()
        assert last.startswith("hf-fracture: error: "), answer.stderr
        assert any(words in last for words in ("No space left", "File too large", "Free some space")), last
        assert "Traceback" not in answer.stderr
        left = sorted(path.name for path in disk.iterdir())
        assert "out" not in left or not [path for path in (disk / "out").rglob("*") if path.is_file()]
        assert not [other for other in left if other.endswith((".lock", ".fresh"))]


@pytest.mark.parametrize("name", ["prepare", "predict", "export"])
def test_read_only_disk_is_one_sentence(
    name: str, films: Path, tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = tmp_path / "disk"
    with mounting(disk, "ro") as is_read_only:
        if not is_read_only:
            if os.geteuid() == 0:
                pytest.skip("root may write everywhere, and no file system can be mounted here.")
            disk.chmod(0o500)
        assert main(list_commands(films, tiny_model_dir, disk / "out")[name]) == 2
        words = capsys.readouterr().err.strip().splitlines()
        assert len(words) == 1, words
        assert "Name a place that can be written to" in words[0] or "Change its permissions" in words[0]
        assert not any(disk.iterdir())


@pytest.mark.parametrize("seconds", [-10 * 365 * 86400, 10 * 365 * 86400])
def test_clock_that_jumps_changes_no_answer_and_no_dataset(
    seconds: int, films: Path, tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files from the future or long ago, and a clock set forth or back while films are read and judged."""
    import time

    from hf_fracture.inference.classifier import FractureClassifier

    undisturbed = prepare_dataset("image_folder", films, tmp_path / "first", options=PrepareOptions(num_workers=1))
    paths = sorted(films.rglob("*.png"))
    classifier = FractureClassifier.from_pretrained(tiny_model_dir)
    expected = [finding.probability for finding in classifier.predict_many(paths)]
    true_time = time.time
    for path in paths:
        os.utime(path, (true_time() + seconds, true_time() + seconds))
    jumps = iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: true_time() + seconds * (next(jumps) % 2))
    prepared = prepare_dataset("image_folder", films, tmp_path / "second", options=PrepareOptions(num_workers=1))
    for path in sorted(undisturbed.rglob("*.*")):
        assert (prepared / path.relative_to(undisturbed)).read_bytes() == path.read_bytes(), path.name
    found = list(classifier.predict_many(paths))
    assert [finding.probability for finding in found] == expected
    assert all(finding.seconds >= 0 for finding in found)


def damage_head(path: Path) -> None:
    path.write_bytes(b"\0" * 100 + path.read_bytes()[100:])


def damage_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def damage_middle(path: Path) -> None:
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(len(data[middle : middle + 2000]))
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", [damage_head, damage_end, damage_middle, lambda path: path.write_bytes(b"")])
def test_damaged_shard_is_one_sentence(
    damage: Callable[[Path], None],
    films: Path,
    tiny_model_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    prepared = prepare_dataset("image_folder", films, tmp_path / "prepared", options=PrepareOptions(num_workers=1))
    damage(next((prepared / "data").glob("test-*.parquet")))
    out = tmp_path / "out"
    assert main(["evaluate", str(tiny_model_dir), str(prepared), "--out", str(out), "--resamples", "50"]) == 2
    words = capsys.readouterr().err.strip().splitlines()
    assert words[-1].startswith("hf-fracture: error: ")
    assert "Traceback" not in " ".join(words)
    assert "defect" not in words[-1]
    assert not (out / "evaluation.json").exists()


def test_damaged_work_is_read_again(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hf_fracture.data import prepare
    from hf_fracture.errors import DatasetError

    options = PrepareOptions(num_workers=1)
    whole = prepare._write

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(prepare, "_write", fail)
    with pytest.raises(OSError, match="No space"):
        prepare_dataset("image_folder", films, tmp_path / "out", options=options)
    monkeypatch.setattr(prepare, "_write", whole)
    damage_end(next((tmp_path / ".out.unfinished").glob("chunk-*.parquet")))
    with pytest.raises(DatasetError, match="give the same command again"):
        prepare_dataset("image_folder", films, tmp_path / "out", options=options)
    prepare_dataset("image_folder", films, tmp_path / "out", options=options)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_damaged_cache_of_a_dataset_gives_no_wrong_answer(
    films: Path, tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import datasets

    prepared = prepare_dataset("image_folder", films, tmp_path / "prepared", options=PrepareOptions(num_workers=1))
    command = ["evaluate", str(tiny_model_dir), str(prepared), "--resamples", "50", "--out"]
    assert main([*command, str(tmp_path / "first")]) == 0
    cached = [
        path for path in Path(datasets.config.HF_DATASETS_CACHE).rglob("*test*.arrow") if path.stat().st_size > 1000
    ]
    newest = max(cached, key=lambda path: path.stat().st_mtime_ns)
    damage_head(newest)
    status = main([*command, str(tmp_path / "second")])
    words = capsys.readouterr().err.strip().splitlines()[-1]
    assert (status, "defect" in words) == (2, False), words


class FailingNetwork:
    """A network that fails as torch does: over so many films at once, or always."""

    def __init__(self, whole: Any, *, most: int, words: str) -> None:
        self.most, self.words, self.whole = most, words, whole
        self.sizes: list[int] = []

    def __call__(self, model: Any, pixel_values: Any) -> Any:
        self.sizes.append(len(pixel_values))
        if len(pixel_values) > self.most:
            raise RuntimeError(self.words)
        return self.whole(model, pixel_values)


def test_batch_that_does_not_fit_is_halved_and_answers_the_same(
    films: Path, tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hf_fracture.errors import EvaluationError
    from hf_fracture.evaluation import predictions
    from hf_fracture.evaluation.films import load_splits
    from hf_fracture.evaluation.measured_model import load_measured_model

    prepared = prepare_dataset("image_folder", films, tmp_path / "prepared", options=PrepareOptions(num_workers=1))
    rows, model = load_splits(prepared)["train"], load_measured_model(tiny_model_dir)

    def answer() -> list[Any]:
        answers = predictions.answer_films(model.network, model.read_film, rows, batch_size=8)
        return [value for one in answers for value in one["logits"]]

    expected, whole = answer(), predictions._run_network
    failing = FailingNetwork(whole, most=3, words="CUDA out of memory. Tried to allocate 2.00 GiB.")
    monkeypatch.setattr(predictions, "_run_network", failing)
    with pytest.warns(UserWarning, match="Lower --batch-size"):
        found = answer()
    assert found == pytest.approx(expected, abs=1e-5)
    assert max(failing.sizes) == 8
    failing.most = 0
    with (
        pytest.raises(EvaluationError, match="one film to fit into the memory"),
        pytest.warns(UserWarning, match="fit"),
    ):
        answer()


def test_accelerator_that_vanishes_while_it_measures_is_one_sentence(
    films: Path,
    tiny_model_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from hf_fracture.evaluation import predictions

    prepared = prepare_dataset("image_folder", films, tmp_path / "prepared", options=PrepareOptions(num_workers=1))
    failing = FailingNetwork(None, most=0, words="CUDA error: the launch timed out and was terminated\nCompile with x")
    monkeypatch.setattr(predictions, "_run_network", failing)
    assert main(["evaluate", str(tiny_model_dir), str(prepared), "--out", str(tmp_path / "out")]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "run it on the CPU: put CUDA_VISIBLE_DEVICES= before the command" in last
