"""Checkpoints of an interrupted run: which of them are whole, and which failures they outlive.

May depend on `models` and `errors`.
"""

import errno
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hf_fracture.errors import TrainingError
from hf_fracture.models.device_errors import is_out_of_memory, naming_device_failures

STATE_NAME: Final = "trainer_state.json"  # what the Trainer writes last
CHECKPOINT_FILES: Final = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state*.pth", STATE_NAME)
DISK_FULL_PHRASES: Final = ("No space left on device", "os error 28", "file write failed", "failed writing file")


def find_checkpoint(checkpoint_dir: Path, *, also: Sequence[str] = ()) -> str | None:
    """Return the newest whole checkpoint of an interrupted run, or None.

    One that was being written when the run was killed lacks a file or has one that breaks off; it is passed over.

    Args:
        checkpoint_dir: The Trainer's `output_dir`.
        also: Names of files that a checkpoint of this recipe holds beside the Trainer's own.
    """
    whole = [folder for folder in checkpoint_dir.glob("checkpoint-*") if _is_whole(folder, (*CHECKPOINT_FILES, *also))]
    newest = max(whole, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)
    return None if newest is None else str(newest)


def _is_whole(folder: Path, names: Sequence[str]) -> bool:
    found = [list(folder.glob(name)) for name in names]
    if not all(found) or any(path.stat().st_size == 0 for paths in found for path in paths):
        return False
    return all(_reads(path) for paths in found for path in paths if path.suffix in (".json", ".safetensors"))


def _reads(path: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        if path.suffix == ".json":
            return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
        with safe_open(path, framework="pt"):  # checks the file's length against its header
            return True
    except (ValueError, SafetensorError):
        return False


@contextmanager
def naming_failures(checkpoint_dir: Path) -> Iterator[None]:
    """Say in one sentence what to do where the memory or the disk is too small for the run.

    Args:
        checkpoint_dir: Where the last good checkpoint lies.

    Raises:
        TrainingError: If a batch does not fit into the memory.
        DeviceError: If the accelerator has failed.
        OSError: ENOSPC, if a checkpoint does not fit onto the disk.
    """
    try:
        with naming_device_failures():
            yield
    except (RuntimeError, MemoryError) as error:  # torch's own out-of-memory error is a RuntimeError
        if is_out_of_memory(error):
            raise TrainingError(
                f"Expected a batch to fit into the memory, but: {_first_line(error)} Lower "
                "--per_device_train_batch_size (and raise --gradient_accumulation_steps by the same factor to keep the "
                "trajectory), --per_device_eval_batch_size or --image_size."
            ) from error
        if _mentions(error, DISK_FULL_PHRASES):
            raise _describe_full_disk(checkpoint_dir) from error
        raise
    except Exception as error:
        # safetensors reports a full disk in an exception of its own, which is no OSError.
        if not isinstance(error, OSError) and _mentions(error, DISK_FULL_PHRASES):
            raise _describe_full_disk(checkpoint_dir) from error
        raise


def _describe_full_disk(checkpoint_dir: Path) -> OSError:
    return OSError(errno.ENOSPC, "No space left for a checkpoint; the one before is kept", str(checkpoint_dir))


def _mentions(error: BaseException, phrases: Sequence[str]) -> bool:
    return any(phrase in str(error) for phrase in phrases)


def _first_line(error: BaseException) -> str:
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return line if line.endswith(".") else f"{line}."
