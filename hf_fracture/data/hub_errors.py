"""What went wrong between this machine and the Hub: an answer with a status, a broken connection, or neither.

May depend on nothing; `huggingface_hub` is imported when an error is looked at.
"""

import time
from collections.abc import Callable
from typing import Final, TypeVar

WAITS_SECONDS: Final = (1.0, 2.0, 4.0)  # before each further try
PATIENCE_SECONDS: Final = 15.0  # the client's own retries count; beyond it there is no further try
_TRANSIENT: Final = (408, 425, 429, 500, 502, 503, 504)
_Result = TypeVar("_Result")


def find_hub_error(error: BaseException | None) -> Exception | None:
    """Return the Hub's answer, or the broken connection, behind an error; None if it is neither."""
    from huggingface_hub.errors import HfHubHTTPError

    http_error = HfHubHTTPError.__mro__[1]  # of the HTTP library, which changed between releases of huggingface_hub
    while error is not None:
        if isinstance(error, HfHubHTTPError | http_error | ConnectionError | TimeoutError):
            return error if isinstance(error, Exception) else None
        error = error.__cause__
    return None


def read_status(error: Exception) -> int | None:
    """Return the status of the Hub's answer, or None for a connection that broke."""
    response = getattr(error, "response", None) if hasattr(error, "server_message") else None
    return None if response is None else int(response.status_code)


def is_transient(error: BaseException) -> bool:
    """Tell whether the same request may succeed a moment later."""
    cause = find_hub_error(error)
    return cause is not None and read_status(cause) in (None, *_TRANSIENT)


def retry_transient(step: Callable[[], _Result]) -> _Result:
    """Take a step that may be taken twice, again after a passing failure of the Hub or the network.

    Raises:
        Exception: What the step raises, at once if another try would not help.
    """
    start = time.monotonic()
    for wait in WAITS_SECONDS:
        try:
            return step()
        except Exception as error:
            if not is_transient(error) or time.monotonic() - start > PATIENCE_SECONDS:
                raise
        time.sleep(wait)
    return step()
