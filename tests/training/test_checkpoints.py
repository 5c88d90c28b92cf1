import errno
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from hf_fracture.errors import TrainingError
from hf_fracture.training.checkpoints import find_checkpoint, naming_failures


def write_checkpoint(folder: Path) -> Path:
    folder.mkdir()
    save_file({"weight": torch.zeros(100)}, folder / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (folder / name).write_bytes(b"x")
    (folder / "trainer_state.json").write_text("{}")
    return folder


def test_newest_whole_checkpoint_is_taken(tmp_path: Path) -> None:
    assert find_checkpoint(tmp_path) is None
    for step in (9, 10):
        write_checkpoint(tmp_path / f"checkpoint-{step}")
    assert find_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("trainer_state.json", None),
        ("trainer_state.json", b'{"epoch": 1.'),
        ("model.safetensors", b""),
        ("optimizer.pt", b""),
        ("rng_state.pth", None),
    ],
)
def test_checkpoint_that_was_being_written_is_passed_over(tmp_path: Path, name: str, content: bytes | None) -> None:
    write_checkpoint(tmp_path / "checkpoint-9")
    broken = write_checkpoint(tmp_path / "checkpoint-10")
    if content is None:
        (broken / name).unlink()
    else:
        (broken / name).write_bytes(content)
    assert find_checkpoint(tmp_path) == str(tmp_path / "checkpoint-9")
    shutil.rmtree(tmp_path / "checkpoint-9")
    assert find_checkpoint(tmp_path) is None


def test_weights_that_break_off_are_passed_over(tmp_path: Path) -> None:
    weights = write_checkpoint(tmp_path / "checkpoint-3") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    assert find_checkpoint(tmp_path) is None


def test_recipe_s_own_file_belongs_to_a_whole_checkpoint(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint-3")
    assert find_checkpoint(tmp_path, also=("average.safetensors",)) is None
    save_file({"weight": torch.zeros(1)}, folder / "average.safetensors")
    assert find_checkpoint(tmp_path, also=("average.safetensors",)) == str(folder)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nmore"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        MemoryError(),
    ],
)
def test_memory_that_is_too_small_is_one_sentence_with_a_remedy(tmp_path: Path, error: Exception) -> None:
    with (
        pytest.raises(TrainingError, match=r"Lower --per_device_train_batch_size") as caught,
        naming_failures(tmp_path),
    ):
        raise error
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        SafetensorError("Error while serializing: IoError(Os { code: 28, message: No space left on device })"),
        RuntimeError("[enforce fail at inline_container.cc:603] . PytorchStreamWriter failed writing file data/0"),
    ],
)
def test_full_disk_is_an_os_error_that_says_what_is_kept(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(OSError, match="one before is kept") as caught, naming_failures(tmp_path):
        raise error
    assert caught.value.errno == errno.ENOSPC


def test_other_failures_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"^shape mismatch$"), naming_failures(tmp_path):
        raise RuntimeError("shape mismatch")
    with pytest.raises(TypeError), naming_failures(tmp_path):
        raise TypeError
