"""A process that speaks to the stub Hub: runs `hf-fracture` commands and code that it reads as JSON lines from stdin.

`huggingface_hub` reads its environment when it is imported, so a test cannot do this in its own process. Waits between
retries are cut short: what is tested is that there are retries, not how long they take.
"""

import contextlib
import io
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

LONGEST_WAIT_SECONDS = 0.01


def answer(request: dict[str, Any]) -> dict[str, Any]:
    from hf_fracture.cli.main import main

    stdout, stderr = io.StringIO(), io.StringIO()
    for name, value in request.get("environment", {}).items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        status = run_code(request["code"]) if "code" in request else main(request["arguments"])
    return {"status": status, "stdout": stdout.getvalue(), "stderr": stderr.getvalue()}


def run_code(code: str) -> int:
    try:
        exec(compile(code, "<test>", "exec"), {"__name__": "__main__"})
    except Exception:  # noqa: BLE001 the test reads the traceback
        traceback.print_exc()
        return 1
    return 0


def shorten(sleep: Callable[[float], None]) -> Callable[[float], None]:
    return lambda seconds: sleep(min(seconds, LONGEST_WAIT_SECONDS))


if __name__ == "__main__":
    time.sleep = shorten(time.sleep)
    for line in sys.stdin:
        sys.__stdout__.write(json.dumps(answer(json.loads(line))) + "\n")  # type: ignore[union-attr]
        sys.__stdout__.flush()  # type: ignore[union-attr]
