"""What the server refuses before Gradio sees it."""

import asyncio
from typing import Any

import pytest

from shield import CONTENT_POLICY, Shield

UPLOAD = "/tmp/cache/abc/film.png"


def ask(path: str, *, kind: str = "http") -> tuple[int | None, dict[str, str]]:
    """Send one request through the shield to a server that answers everything with 200."""
    sent: list[Any] = []

    async def server(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"referrer-policy", b"origin")]})

    async def receive() -> Any:
        return {}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Shield(server, uploads={UPLOAD})({"type": kind, "path": path}, receive, send))
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


@pytest.mark.parametrize(
    "path",
    [
        f"/gradio_api/file={UPLOAD}",
        f"/file={UPLOAD}",
        "/gradio_api/file=/tmp/cache/./abc//film.png",
        "/gradio_api/file=%2Ftmp%2Fcache%2Fabc%2Ffilm.png",
        "/gradio_api/file=/tmp/cache/other/../abc/film.png",
        "/gradio_api/file=http://example.org/film.png",
        "/gradio_api/file=HTTPS:/example.org",
        "/gradio_api/deep_link",
        "/gradio_api/vibe-edit/",
        "/gradio_api/undo-vibe-edit",
        "/gradio_api/proxy=http://example.org/",
        "/monitoring/summary",
    ],
)
def test_upload_and_foreign_address_are_refused(path: str) -> None:
    assert ask(path)[0] == 403


@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/file=/tmp/cache/abc/overlay.png", "/gradio_api/upload"])
def test_everything_else_passes_with_a_policy_that_names_no_other_server(path: str) -> None:
    status, headers = ask(path)
    assert status == 200
    assert headers["content-security-policy"] == CONTENT_POLICY
    assert headers["referrer-policy"] == "origin"  # what the server itself says goes before
    assert "http" not in CONTENT_POLICY


def test_other_protocols_pass_untouched() -> None:
    assert "content-security-policy" not in ask(f"/gradio_api/file={UPLOAD}", kind="websocket")[1]
