"""What the server refuses and forbids before Gradio sees a request. Plain ASGI; may depend on nothing."""

import os
from collections.abc import Awaitable, Callable, Container, MutableMapping
from typing import Any, Final
from urllib.parse import unquote

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Server = Callable[[Scope, Receive, Send], Awaitable[None]]

CLOSED_ROUTES: Final = (
    "/gradio_api/deep_link",  # writes all that a visitor sees to disk, for whoever knows the link
    "/gradio_api/vibe-",  # lets a language model write the program of the page
    "/gradio_api/undo-vibe-",
    "/gradio_api/proxy=",  # fetches from other servers
    "/monitoring",
)
FILE_ROUTES: Final = ("/gradio_api/file=", "/gradio_api/file/", "/file=")
CONTENT_POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'"
)
HEADERS: Final = (
    ("content-security-policy", CONTENT_POLICY),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
)


class Shield:
    """Middleware: no upload is given back, this server fetches nothing for others, the page asks no other server."""

    def __init__(self, app: Server, *, uploads: Container[str]) -> None:
        """Wrap a server.

        Args:
            app: What answers the requests that pass.
            uploads: Paths of the visitors' uploads. They are read, and shown to their owner as part of the page; the
                file itself is given to nobody, whoever learned its path.
        """
        self._app = app
        self._uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on and add headers to the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._is_forbidden(scope["path"]):
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"Files of visitors are not given out."})
            return

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                extra = [(name.encode(), value.encode()) for name, value in HEADERS if name.encode() not in present]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _is_forbidden(self, path: str) -> bool:
        """Tell whether a path asks for an upload, for what a visitor sees, or for a file of another server."""
        if path.startswith(CLOSED_ROUTES):
            return True
        asked = next((path[len(route) :] for route in FILE_ROUTES if path.startswith(route)), None)
        if asked is None:
            return False
        name = unquote(asked)
        is_foreign = "://" in name or name.lower().startswith(("http:", "https:"))
        return is_foreign or os.path.normpath(name) in self._uploads
