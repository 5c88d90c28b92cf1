"""Sessions of Gradio's that keep nothing of what was shown, and are gone when their visitor is.

Gradio (6.31) keeps every value that a component ever got, here the film as part of the page, for 10,000 visitors, so
that a link to the state of a page can be made. This page makes none. May depend on gradio.
"""

from types import SimpleNamespace
from typing import Any, Final

import gradio as gr
from gradio.state_holder import SessionState, StateHolder

MAX_SESSIONS: Final = 1000  # of visitors who never said that they left; the oldest is dropped


class ForgetfulSession(SessionState):
    """What a visitor's `gr.State` holds, and nothing else."""

    def __init__(self, page: gr.Blocks) -> None:
        """Begin a session of a page, without a copy of every component's settings."""
        super().__init__(SimpleNamespace(default_config=page.default_config, blocks={}))  # type: ignore[arg-type]

    def _update_config(self, key: int) -> None:
        """Keep nothing."""

    def _update_value_in_config(self, key: int, value: Any) -> None:
        """Keep nothing."""


class ForgetfulSessions(StateHolder):
    """Gradio's sessions, by their ids."""

    def __getitem__(self, session_id: str) -> SessionState:
        """Return a session; a new one if there is none."""
        if session_id not in self.session_data:
            self.session_data[session_id] = ForgetfulSession(self.blocks)
        return super().__getitem__(session_id)

    def forget(self, session_id: str | None) -> None:
        """Drop the session of a visitor who has left."""
        with self.lock:
            self.session_data.pop(session_id or "", None)
            self.time_last_used.pop(session_id or "", None)


def make_forgetful(page: gr.Blocks) -> None:
    """Give a page that is served sessions that keep nothing."""
    page.state_session_capacity = MAX_SESSIONS
    sessions = ForgetfulSessions()  # type: ignore[no-untyped-call]
    sessions.set_blocks(page)
    page.app.state_holder = sessions


def forget(page: gr.Blocks, session_id: str | None) -> None:
    """Drop what a page knows of a visitor who has left."""
    holder = getattr(page, "state_holder", None)
    if isinstance(holder, ForgetfulSessions):
        holder.forget(session_id)
