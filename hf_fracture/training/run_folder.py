"""The folder of a run: one process writes it at a time, and only the run that lies there may go on in it.

May depend on `models`, `config` and `errors`.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from hf_fracture.errors import OutputExistsError
from hf_fracture.models.checkpoint import read_json, write_json

CONFIGURATION_NAME: Final = "configuration.json"
LOCK_NAME: Final = ".lock"


@contextmanager
def holding_run_folder(out_dir: Path) -> Iterator[None]:
    """Keep other processes out of a run's folder; the lock falls with the process, however it ends.

    Args:
        out_dir: Folder of the run; made if need be.

    Raises:
        OutputExistsError: If another process is writing there.
    """
    is_new = not out_dir.exists()
    out_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out_dir / LOCK_NAME)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise OutputExistsError(
            f"Expected to write '{out_dir}' alone, found another process training there. Wait for it, or choose "
            "another --out."
        ) from error
    try:
        yield
    finally:
        (out_dir / LOCK_NAME).unlink(missing_ok=True)
        lock.release()
        if is_new and not any(out_dir.iterdir()):
            out_dir.rmdir()


def claim_run_folder(out_dir: Path, described: dict[str, Any], *, finished: str, overwrite: bool) -> None:
    """Make sure that what lies in a run's folder is the same run, interrupted; or nothing.

    Args:
        out_dir: Folder that `holding_run_folder` holds.
        described: Configuration of the run; kept there.
        finished: Name of what a finished run leaves.
        overwrite: Remove an earlier run, whatever it was.

    Raises:
        OutputExistsError: If a finished run or a run of another configuration lies there. One that ended before it had
            anything to keep does not count.
    """
    if overwrite:
        _empty(out_dir)
    if (out_dir / finished).exists():
        raise OutputExistsError(f"A finished run lies in '{out_dir}'. Choose another --out, or pass --overwrite.")
    configuration_path = out_dir / CONFIGURATION_NAME
    if _has_begun(out_dir) and configuration_path.is_file() and read_json(configuration_path) != described:
        raise OutputExistsError(
            f"An interrupted run of another configuration lies in '{out_dir}' (see {CONFIGURATION_NAME}). Choose "
            "another --out, or pass --overwrite to start anew."
        )
    write_json(configuration_path, described)


def _has_begun(folder: Path) -> bool:
    return any(path.is_file() and path.name not in (CONFIGURATION_NAME, LOCK_NAME) for path in folder.rglob("*"))


def _empty(folder: Path) -> None:
    """Remove everything but the lock that is held."""
    for path in folder.iterdir():
        if path.name == LOCK_NAME:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
