"""How outputs come to be: whole or not at all, written by one process at a time, and without what a killed one left.

May depend on `errors`; `filelock` is imported when a lock is taken.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Final

from hf_fracture.errors import OutputExistsError

_TEMPORARY: Final = re.compile(r"\..+\.(\d+)\.partial(?:\..+)?")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`, and rename it once the block has ended without an error.

    Temporary files that killed processes left for the same path are removed.

    Args:
        path: The file or folder to write; the folder that holds it is made if need be.

    Yields:
        A path in the same folder with the same suffix.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path.parent)
    _restore(path)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    remove(partial)
    try:
        yield partial
        if partial.is_dir():
            _swap_in(partial, path)
        else:
            partial.replace(path)
    finally:
        remove(partial)


def _swap_in(partial: Path, path: Path) -> None:
    """Put a folder in the place of an earlier one, which is removed only then."""
    earlier = _name_earlier(path)
    if path.exists():
        path.rename(earlier)
    partial.rename(path)
    remove(earlier)


def _restore(path: Path) -> None:
    """Put a folder back whose process was killed while it was being replaced."""
    earlier = _name_earlier(path)
    if earlier.exists() and not path.exists():
        earlier.rename(path)
    remove(earlier)


def _name_earlier(path: Path) -> Path:
    return path.with_name(f".{path.name}.earlier")


@cache
def _remove_abandoned(folder: Path) -> None:
    """Remove temporary files of processes that have ended; once for each folder, which may hold many films."""
    for path in list(folder.iterdir()):
        found = _TEMPORARY.fullmatch(path.name)
        if found is not None and not _is_running(int(found[1])):
            remove(path)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    if os.name != "posix":
        return True  # elsewhere there is no asking without ending it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # of another user
    return True


@contextmanager
def holding(path: Path) -> Iterator[bool]:
    """Keep other processes from writing the same output; the lock falls with the process, however it ends.

    Args:
        path: File or folder that is to be written; the lock lies beside it.

    Yields:
        True if the process that wrote there last was killed before it was done.

    Raises:
        OutputExistsError: If another process is writing it.
    """
    from filelock import FileLock, Timeout

    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    lock_path = path.with_name(f".{path.name}.lock")
    was_interrupted = lock_path.exists()
    lock = FileLock(lock_path)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise OutputExistsError(
            f"Expected to write '{path}' alone, found another process writing it. Wait for it, or name another output."
        ) from error
    try:
        yield was_interrupted
    finally:
        with suppress(OSError):
            lock_path.unlink(missing_ok=True)
        lock.release()
