"""Whose upload is whose: a film is deleted when its visitor leaves, not only when it has grown old.

Knows nothing of gradio but the id of a visitor's session. May depend on nothing.
"""

import threading
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
