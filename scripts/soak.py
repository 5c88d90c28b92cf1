"""Abuse the page and then soak it: malformed and oversize requests, slow clients, foreign files, half an hour of use.

    python scripts/soak.py                       # everything, 30 minutes of soak
    python scripts/soak.py --minutes 0.2 --out - # a look

The page runs as `hf-fracture demo` in a process of its own (as in load_test.py, whose clients are used here). Every
endpoint that the page names in its openapi.json gets malformed requests; no answer may hold a traceback or a file of
the server, and the page must answer a film afterwards. Writes scripts/results/soak.json; the exit status is 1 if
something happened that must not.
"""

import argparse
import asyncio
import json
import re
import signal
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
import load_test  # type: ignore[import-not-found]  # beside this file
from load_test import LEAVE_SECONDS, Page, Tally, Visitors

RESULTS_PATH: Final = Path(__file__).resolve().parent / "results" / "soak.json"
MAX_UPLOAD_BYTES: Final = 64 << 20
SLOW_CLIENTS: Final = 20
PATIENCE_SECONDS: Final = 3600.0
WARM_UP_FRACTION: Final = 0.2  # of the soak; memory is flat from then on
MAX_GROWTH_MB: Final = 50.0
_LEAKS: Final = re.compile(rb"Traceback \(most recent|root:x:0:0|-----BEGIN|site-packages/")
BODIES: Final[Mapping[str, tuple[bytes, str]]] = {
    "nothing": (b"", "application/json"),
    "no JSON": (b"{", "application/json"),
    "a list": (b"[]", "application/json"),
    "a number": (b"1e999", "application/json"),
    "deep": (b"[" * 50_000 + b"]" * 50_000, "application/json"),
    "wrong kinds": (
        b'{"data":{"a":1},"fn_index":"x","session_hash":[],"trigger_id":{},"event_data":7}',
        "application/json",
    ),
    "huge numbers": (b'{"data":[null],"fn_index":99999999999999999999,"session_hash":"x"}', "application/json"),
    "negative": (b'{"data":[],"fn_index":-1,"session_hash":""}', "application/json"),
    "bytes": (bytes(range(256)) * 64, "application/octet-stream"),
    "half a form": (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="a',
        "multipart/form-data; boundary=x",
    ),
    "no boundary": (b"x", "multipart/form-data"),
    "foreign name": (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="../../../etc/cron.d/x"\r\n\r\nx\r\n--x--\r\n',
        "multipart/form-data; boundary=x",
    ),
}
TRAVERSALS: Final = (
    *("/etc/passwd", "../../../../etc/passwd", "....//....//etc/passwd", "/proc/self/environ", "/etc/passwd%00.png"),
    *(
        "file:///etc/passwd",
        "http://127.0.0.1:1/",
        "//127.0.0.1:1/",
        "C:\\windows\\win.ini",
        "/dev/zero",
        "~/.ssh/id_rsa",
    ),
    *(
        "~/.ssh/id_rsa",
        "space/app.py",
        "./space/app.py",
        "constraints.txt",
        "/proc/self/root/etc/passwd",
        "\\\\127.0.0.1\\x",
    ),
)


async def abuse_endpoints(client: httpx.AsyncClient) -> dict[str, Any]:
    """Send malformed requests to every endpoint, and count the answers by their status."""
    paths = (await client.get("/openapi.json")).json()["paths"]
    statuses: Counter[str] = Counter()
    problems: list[str] = []
    server_errors: Counter[str] = Counter()
    for path, methods in paths.items():
        place = re.sub(r"\{[^}]*\}", quote("../x\x00<script>"), path)
        for method in {*map(str.upper, methods), "POST", "GET", "PUT", "DELETE"}:
            for kind, (body, content_type) in BODIES.items():
                if method in ("GET", "DELETE") and kind != "wrong kinds":
                    continue
                status, answer = await send(client, method, place, body, content_type)
                statuses[status] += 1
                if _LEAKS.search(answer):
                    problems.append(f"{method} {path} with {kind} gave away {answer[:100]!r}")
                if status == "500":
                    server_errors[f"{method} {path}"] += 1
    return {
        "endpoints": len(paths),
        "requests": statuses.total(),
        "answers": dict(sorted(statuses.items())),
        "server_errors": dict(server_errors),
        "problems": problems,
    }


async def send(client: httpx.AsyncClient, method: str, path: str, body: bytes, content_type: str) -> tuple[str, bytes]:
    """Send one request and read at most a little of the answer, as some never end."""
    try:
        async with client.stream(
            method, path, content=body, headers={"content-type": content_type}, timeout=5
        ) as response:
            answer = b""
            async for part in response.aiter_bytes():
                answer += part
                if len(answer) > 10_000:
                    break
            return str(response.status_code), answer
    except httpx.TimeoutException:
        return "no end within 5 s", b""
    except httpx.HTTPError as error:
        return type(error).__name__, b""


async def ask_for_foreign_files(client: httpx.AsyncClient, function: int, uploaded: str) -> dict[str, Any]:
    """Ask for files of the server and of another visitor, by their addresses and as a film to be judged."""
    problems, refused = [], 0
    forms = ("/gradio_api/file={}", "/gradio_api/file/{}", "/file={}", "/static/{}", "/assets/{}", "/svelte/{}", "/{}")
    names = [*TRAVERSALS, uploaded, uploaded.replace("/", "//"), f"{Path(uploaded).parent}/./{Path(uploaded).name}"]
    for form in forms:
        for name in names:
            for spelled in {name, quote(name, safe=""), quote(quote(name, safe=""), safe="")}:
                status, answer = await send(client, "GET", form.format(spelled), b"", "text/plain")
                if status == "200" and (b"<html" not in answer[:500].lower() or _LEAKS.search(answer)):
                    problems.append(f"{form.format(spelled)} gave {answer[:60]!r}")
                else:
                    refused += 1
    status, _ = await send(client, "GET", "/gradio_api/deep_link", b"", "text/plain")
    refused += status != "200"
    for name in TRAVERSALS:
        finding = await judge_foreign(client, function, name)
        if finding is not None:
            problems.append(f"a film at {name} was judged: {str(finding)[:100]}")
        else:
            refused += 1
    return {"refused": refused, "problems": problems}


async def judge_foreign(client: httpx.AsyncClient, function: int, path: str) -> Any:
    """Ask for the finding of a file of the server; return it, or None if that was refused."""
    session = uuid.uuid4().hex
    film = {"path": path, "meta": {"_type": "gradio.FileData"}}
    joined = await client.post(
        "/gradio_api/queue/join", json={"data": [film, None], "fn_index": function, "session_hash": session}
    )
    if joined.status_code != 200:
        return None
    try:
        return await asyncio.wait_for(load_test.listen(client, session, Tally()), timeout=30)
    except (RuntimeError, httpx.HTTPError, TimeoutError):
        return None


async def upload_too_much(client: httpx.AsyncClient, page: Page) -> dict[str, Any]:
    """Upload more than is allowed, with its length stated and without."""
    before, problems, statuses = page.num_uploads(), [], []
    block = bytes(1 << 20)

    async def stream() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        for _ in range((MAX_UPLOAD_BYTES >> 20) + 8):
            yield block
        yield b"\r\n--x--\r\n"

    headers = {"content-type": "multipart/form-data; boundary=x"}
    for content in (stream(), b"".join([part async for part in stream()])):
        try:
            answer = await client.post("/gradio_api/upload", content=content, headers=headers)
            statuses.append(str(answer.status_code))
        except httpx.HTTPError as error:
            statuses.append(type(error).__name__)
    await asyncio.sleep(1)
    if "200" in statuses or page.num_uploads() > before:
        problems.append(f"an oversize upload was kept: {statuses}, {page.num_uploads() - before} files")
    return {"answers": statuses, "problems": problems}


async def crawl(page: Page, seconds: float) -> None:
    """Open a connection and send a request so slowly that it does not end."""
    host, _, port = page.url.removeprefix("http://").partition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            writer.write(b"X")
            await writer.drain()
            await asyncio.sleep(0.5)
        writer.close()
    except OSError:
        return  # the page has closed the connection, which is its right


async def serve_beside_slow_clients(visitors: Visitors, seconds: float) -> dict[str, Any]:
    """Ask for findings while many connections dawdle."""
    crawling = [asyncio.create_task(crawl(visitors.page, seconds)) for _ in range(SLOW_CLIENTS)]
    tally, end = Tally(), time.monotonic() + seconds / 2
    while time.monotonic() < end:
        await load_test.ask(visitors, tally, bad=False)
    await asyncio.gather(*crawling)
    problems = tally.errors[:3] + ([] if tally.seconds else ["no answer beside slow clients"])
    return {"slow_clients": SLOW_CLIENTS, "seconds": seconds, "answers": tally.num_films, "problems": problems}


async def soak(visitors: Visitors, minutes: float, clients: int, every: float) -> dict[str, Any]:
    """Use the page for a while, and look at its memory and its folder."""
    memory: list[float] = []  # once a second, so that time for which all this was stopped does not count
    tally = Tally()
    while len(memory) < 0.97 * 60 * minutes:
        part = await load_test.run_clients(visitors, clients, every, min(60 * minutes, 60.0), memory)
        tally.num_films, tally.num_bad = tally.num_films + part.num_films, tally.num_bad + part.num_bad
        tally.errors += part.errors
        tally.seconds += part.seconds
    await asyncio.sleep(LEAVE_SECONDS if minutes >= 1 else 0)
    settled = np.array(memory[int(len(memory) * WARM_UP_FRACTION) :])
    fifth = max(1, len(settled) // 5)
    growth = float(np.median(settled[-fifth:]) - np.median(settled[:fifth]))
    left = visitors.page.num_uploads() if minutes >= 1 else 0
    problems = tally.errors[:3]
    if growth > MAX_GROWTH_MB:
        problems.append(f"memory grew by {growth:.0f} MB")
    if left:
        problems.append(f"{left} uploads were left")
    return {
        "minutes": round(len(memory) / 60, 1),
        "median_seconds": round(load_test.percentile(tally.seconds, 50), 2),
        "films": tally.num_films,
        "of_them_bad_files": tally.num_bad,
        "errors": len(tally.errors),
        "memory_mb_after_a_fifth": round(float(np.median(settled[:fifth]))),
        "memory_mb_at_the_end": round(float(np.median(settled[-fifth:]))),
        "growth_mb": round(growth),
        "uploads_left": left,
        "problems": problems,
    }


async def run(page: Page, args: argparse.Namespace) -> dict[str, Any]:
    """Abuse, then soak, then look whether the page still answers."""
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=20)
    counted: Counter[str] = Counter()

    async def count(request: httpx.Request) -> None:
        counted[request.method] += 1

    hooks: dict[str, list[Callable[..., Any]]] = {"request": [count]}
    async with httpx.AsyncClient(
        base_url=page.url, timeout=PATIENCE_SECONDS, limits=limits, event_hooks=hooks
    ) as client:
        visitors = Visitors(client, await load_test.find_function(client), load_test.draw_films(), page)
        uploaded = (await client.post("/gradio_api/upload", files={"files": ("a.png", visitors.films[0])})).json()[0]
        report: dict[str, Any] = {
            "malformed_requests": await abuse_endpoints(client),
            "foreign_files": await ask_for_foreign_files(client, visitors.function, uploaded),
            "oversize_uploads": await upload_too_much(client, page),
            "slow_clients": await serve_beside_slow_clients(visitors, args.slow_seconds),
            "soak": await soak(visitors, args.minutes, args.clients, args.every),
        }
        last = Tally()
        await load_test.ask(visitors, last, bad=False)
        problems = [problem for part in report.values() for problem in part["problems"]]
        problems += [] if len(last.seconds) == 1 else ["the page does not answer at the end"]
    return {"requests": counted.total(), "problems": problems, **report}


def main() -> int:
    """Serve, abuse, soak, write; 1 if something happened that must not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="model folder (default: the shipped model)")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--every", type=float, default=3.0, help="seconds between the films of one client, on average")
    parser.add_argument("--slow_seconds", type=float, default=20.0, help="for which slow clients hold on")
    parser.add_argument("--out", default=str(RESULTS_PATH), help="file to write; - writes none")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        page = load_test.serve_page(args.model, Path(folder))
        try:
            report = asyncio.run(run(page, args))
        finally:
            page.process.send_signal(signal.SIGTERM)
            page.process.wait(timeout=60)
    report = {"command": f"python scripts/soak.py --minutes {args.minutes:g}", **report}
    print(json.dumps(report, indent=2))
    if args.out != "-":
        Path(args.out).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 1 if report["problems"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
