"""A process that speaks to the stub Hub: runs `hf-fracture` commands and code that it reads as JSON lines from stdin.

`huggingface_hub` reads its environment when it is imported, so a test cannot do this in its own process. Waits between
retries are cut short: what is tested is that there are retries, not how long they take. What runs `aside` runs in a
process of its own, forked from this one so that it starts at once; the answer is its id, by which it can be killed.
"""

import contextlib
import io
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

LONGEST_WAIT_SECONDS = 0.01


namespaces: dict[str, dict[str, Any]] = {}  # code that names one goes on where the last code of that name ended


def answer(request: dict[str, Any]) -> dict[str, Any]:
    from hf_fracture.cli.main import main

    if "kill" in request:
        os.kill(request["kill"], signal.SIGKILL)
        _, status = os.waitpid(request["kill"], 0)
        return {"status": os.waitstatus_to_exitcode(status), "stdout": "", "stderr": ""}
    if request.get("aside") and (victim := os.fork()):
        return {"status": victim, "stdout": "", "stderr": ""}
    stdout, stderr = io.StringIO(), io.StringIO()
    for name, value in request.get("environment", {}).items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    if "folder" in request:
        os.chdir(request["folder"])
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        status = (
            run_code(request["code"], request.get("namespace")) if "code" in request else main(request["arguments"])
        )
    if request.get("aside"):
        os._exit(status)
    return {"status": status, "stdout": stdout.getvalue(), "stderr": stderr.getvalue()}


def run_code(code: str, namespace: str | None) -> int:
    names = (
        {"__name__": "__main__"} if namespace is None else namespaces.setdefault(namespace, {"__name__": "__main__"})
    )
    try:
        exec(compile(code, "<test>", "exec"), names)
    except Exception:  # noqa: BLE001 the test reads the traceback
        traceback.print_exc()
        return 1
    return 0


def shorten(sleep: Callable[[float], None]) -> Callable[[float], None]:
    return lambda seconds: sleep(min(seconds, LONGEST_WAIT_SECONDS))


if __name__ == "__main__":
    time.sleep = shorten(time.sleep)  # type: ignore[assignment]
    for line in sys.stdin:
        sys.__stdout__.write(json.dumps(answer(json.loads(line))) + "\n")  # type: ignore[union-attr]
        sys.__stdout__.flush()  # type: ignore[union-attr]
