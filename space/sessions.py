"""Whose upload is whose, and how long it stays: until its visitor leaves, and never longer than so many seconds.

Knows nothing of gradio but the id of a visitor's session. May depend on nothing.
"""

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class SessionFilms:
    """The uploads of every visitor who is there.

    Attributes:
        held: Paths on this server's disk, by session.
    """

    held: dict[str, set[str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def hold(self, session: str | None, paths: Iterable[str]) -> None:
        """Note that a session uses these uploads."""
        if session is not None:
            with self._lock:
                self.held.setdefault(session, set()).update(paths)

    def release(self, session: str | None, paths: Iterable[str] | None = None) -> list[str]:
        """Delete uploads that a session no longer needs; all of them if none are named.

        Equal files lie in one place: what another session still uses, stays.

        Returns:
            The paths that were deleted.
        """
        if session is None:
            return []
        with self._lock:
            mine = self.held.get(session, set())
            given_up = mine & set(paths) if paths is not None else set(mine)
            self.held[session] = mine - given_up
            if not self.held[session]:
                del self.held[session]
            used = set().union(*self.held.values())
        deleted = sorted(given_up - used)
        for path in deleted:
            Path(path).unlink(missing_ok=True)
        return deleted


def delete_old_files(folder: Path, *, max_age_seconds: float) -> int:
    """Delete every file below a folder that is older than so many seconds.

    Gradio's own cleaning walks through sets of paths while uploads change them; the exception ends it for good, unseen
    (gradio 6.31, `delete_files_created_by_app`). What lies on the disk is what counts.

    Args:
        folder: Uploads and answers of this page alone.
        max_age_seconds: Since the file was last changed.

    Returns:
        How many files were deleted. A file that vanishes meanwhile is no error.
    """
    limit, num_deleted = time.time() - max_age_seconds, 0
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        try:
            if path.stat().st_mtime < limit:
                path.unlink()
                num_deleted += 1
        except FileNotFoundError:
            continue
    return num_deleted


def keep_clean(folder: Path, *, max_age_seconds: float, every_seconds: float) -> threading.Thread:
    """Delete old files now and then, in a thread of its own, as long as the process lives."""

    def clean() -> None:
        while True:
            time.sleep(every_seconds)
            delete_old_files(folder, max_age_seconds=max_age_seconds)

    thread = threading.Thread(target=clean, name="cleaning", daemon=True)
    thread.start()
    return thread
