"""Load the page as a busy day would, and print how it holds: latency, errors, memory, what is left on disk.

    python scripts/load_test.py                      # 10 minutes of 20 clients, then one at twice the capacity
    python scripts/load_test.py --seconds 12 --clients 4 --out -

The page runs as `hf-fracture demo` in a process of its own; all traffic stays on 127.0.0.1. Clients speak the protocol
of the browser (upload, join the queue, listen) and send a film at random moments, `--every` seconds apart on average:
nine of ten are drawn films, no two uploads the same file, one of ten is a bad file, whose right answer is a sentence.
Capacity is measured first, by four clients that never wait; the offered load is stated as a share of it.
"""

import argparse
import asyncio
import io
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

REPOSITORY_DIR = Path(__file__).resolve().parent.parent
RESULTS_PATH = REPOSITORY_DIR / "scripts" / "results" / "load.json"
START_SECONDS = 600
BAD_FRACTION = 0.1
KEEP_SECONDS = 60
LEAVE_SECONDS = 150  # after which an upload kept for KEEP_SECONDS must be gone: it is looked at once a minute
NUM_ALONE = 30
NUM_FILMS = 12
COLUMNS = ("what", "measured", "wanted")


@dataclass
class Tally:
    """What a group of clients saw."""

    seconds: list[float] = field(default_factory=list)
    num_films: int = 0
    num_bad: int = 0
    model: str = ""  # who answered, with its revision
    errors: list[str] = field(default_factory=list)
    refusals: int = 0  # by a full queue
    waits_said: int = 0  # answers before which the queue said how long it would take


@dataclass(frozen=True)
class Page:
    """A served page and its process."""

    url: str
    process: "subprocess.Popen[bytes]"
    uploads_dir: Path

    def memory_mb(self) -> float:
        """Return the resident memory of the process."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return float("nan")

    def num_uploads(self) -> int:
        """Count the files of visitors on disk."""
        return sum(path.is_file() for path in self.uploads_dir.rglob("*"))


def main() -> None:
    """Serve, load, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", help="model folder (default: the shipped model)")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between the films of one client, on average")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--overload_seconds", type=float, default=60.0)
    parser.add_argument("--note", default="", help="what else ran on the machine, for the record")
    parser.add_argument("--out", default=str(RESULTS_PATH), help="file to write; - writes none")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="load-test-") as folder:
        page = serve_page(args.model, Path(folder))
        try:
            report = asyncio.run(measure(page, args))
        finally:
            page.process.send_signal(signal.SIGTERM)
            page.process.wait(timeout=60)
    report["note"] = args.note
    report["table"] = tabulate(report)
    print(render_report(report))
    if args.out != "-":
        partial = Path(f"{args.out}.partial")
        partial.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        partial.replace(args.out)
    problems = find_problems(report)
    if problems:
        sys.exit("\n".join(problems))


def serve_page(model: str | None, folder: Path) -> Page:
    """Start `hf-fracture demo` and wait until it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "hf_fracture", "demo", "--port", str(port)]
    environment = {**os.environ, "TMPDIR": str(folder), "HF_FRACTURE_KEEP_SECONDS": str(KEEP_SECONDS)}
    log = folder / "log.txt"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, *(["--model", model] if model else [])],
            cwd=REPOSITORY_DIR,
            env=environment,
            stdout=stream,
            stderr=stream,
        )
    end = time.monotonic() + START_SECONDS
    while "The page is at " not in log.read_text():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            sys.exit(f"The page did not start: {log.read_text()[-500:]}")
        time.sleep(0.2)
    uploads = next(path for path in folder.iterdir() if path.name.startswith("hf-fracture-demo-")) / "uploads"
    return Page(f"http://127.0.0.1:{port}", process, uploads)


@dataclass(frozen=True)
class Visitors:
    """What clients need to send films: the connection, the number of `/predict`, the films, the page."""

    client: httpx.AsyncClient
    function: int
    films: Sequence[bytes]
    page: Page


async def measure(page: Page, args: argparse.Namespace) -> dict[str, Any]:
    """Measure alone, at capacity, under the offered load and at twice the capacity."""
    films = draw_films()
    limits = httpx.Limits(max_connections=400, max_keepalive_connections=50)
    async with httpx.AsyncClient(base_url=page.url, timeout=120, limits=limits) as client:
        visitors = Visitors(client, await find_function(client), films, page)
        alone = Tally()
        for _ in range(NUM_ALONE):
            await ask(visitors, alone, bad=False)
        capacity = await measure_capacity(visitors, seconds=min(15.0, args.seconds / 2))
        memory = [page.memory_mb()]
        load = await run_clients(visitors, args.clients, args.every, args.seconds, memory)
        num_clients = 2 * args.clients
        overload = await run_clients(visitors, num_clients, num_clients / (2 * capacity), args.overload_seconds, [])
        alone_again = Tally()
        await ask(visitors, alone_again, bad=False)
        await asyncio.sleep(0 if args.seconds < KEEP_SECONDS else LEAVE_SECONDS)
    return {
        "machine": {"cpus": os.cpu_count()},
        "model": alone.model,
        "alone": describe(alone),
        "capacity_per_second": capacity,
        "offered": {
            "clients": args.clients,
            "seconds": args.seconds,
            "films_per_second": args.clients / args.every,
            "share_of_capacity": args.clients / args.every / capacity,
        },
        "load": describe(load),
        "p95_over_lone_median": percentile(load.seconds, 95) / statistics.median(alone.seconds),
        "memory_mb": {"first": memory[0], "after_tenth": memory[len(memory) // 10], "last": memory[-1]},
        "overload": {"clients": num_clients, "share_of_capacity": 2.0, **describe(overload)},
        "answers_after_overload": len(alone_again.seconds) == 1,
        "uploads_left": page.num_uploads(),
        "uploads_were_waited_for": args.seconds >= KEEP_SECONDS,
    }


async def measure_capacity(visitors: Visitors, *, seconds: float) -> float:
    """Return how many films a second the page answers when four clients never wait."""
    tally, start = Tally(), time.monotonic()

    async def hurry() -> None:
        while time.monotonic() - start < seconds:
            await ask(visitors, tally, bad=False)

    await asyncio.gather(*(hurry() for _ in range(4)))
    return len(tally.seconds) / (time.monotonic() - start)


async def run_clients(visitors: Visitors, num_clients: int, every: float, seconds: float, memory: list[float]) -> Tally:
    """Let clients send films at random moments, and note the page's memory meanwhile."""
    tally, start = Tally(), time.monotonic()

    async def visit() -> None:
        session = uuid.uuid4().hex  # a browser keeps its own as long as the page is open
        while (left := seconds - (time.monotonic() - start)) > 0:
            await asyncio.sleep(min(random.expovariate(1 / every), max(left, 0.01)))
            if time.monotonic() - start < seconds:
                await ask(visitors, tally, bad=random.random() < BAD_FRACTION, session=session)

    async def watch() -> None:
        while time.monotonic() - start < seconds:
            memory.append(visitors.page.memory_mb())
            await asyncio.sleep(1.0)

    await asyncio.gather(watch(), *(visit() for _ in range(num_clients)))
    return tally


async def ask(visitors: Visitors, tally: Tally, *, bad: bool, session: str | None = None) -> None:
    """Send one file and wait for its answer, as the page in a browser does; a new visitor where no session is given."""
    content = b"no film, %d" % random.getrandbits(64) if bad else mark_film(random.choice(visitors.films))
    session = session or uuid.uuid4().hex
    client = visitors.client
    start = time.monotonic()
    try:
        uploaded = await client.post("/gradio_api/upload", files={"files": ("film.png", content)})
        uploaded.raise_for_status()
        film = {"path": uploaded.json()[0], "meta": {"_type": "gradio.FileData"}}
        joined = await client.post(
            "/gradio_api/queue/join",
            json={"data": [film, None], "fn_index": visitors.function, "session_hash": session},
        )
        if joined.status_code == 503 or "queue is full" in joined.text.lower():
            tally.refusals += 1
            return
        joined.raise_for_status()
        finding = await listen(client, session, tally)
    except (httpx.HTTPError, RuntimeError) as error:
        tally.errors.append(f"{type(error).__name__}: {error}"[:200])
        return
    tally.num_films += 1
    tally.model = f"{finding['model']} ({finding['revision']})"
    if bad:
        tally.num_bad += 1
        if finding["decision"] != "error":
            tally.errors.append(f"A bad file was answered: {finding['decision']}")
        return
    tally.seconds.append(time.monotonic() - start)
    if finding["probability"] is None:
        tally.errors.append(f"A film was not answered: {finding['reasons']}")


async def listen(client: httpx.AsyncClient, session: str, tally: Tally) -> dict[str, Any]:
    """Read the queue's messages until the answer; note whether the queue said how long it would take."""
    said = False
    async with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
        async for line in stream.aiter_lines():
            if not line.startswith("data:"):
                continue
            message = json.loads(line[5:])
            if message["msg"] == "estimation" and message.get("rank_eta") is not None and not said:
                said = True
                tally.waits_said += 1
            if message["msg"] == "process_completed":
                if not message["success"]:
                    raise RuntimeError(f"the page failed: {message['output']}")
                finding: dict[str, Any] = message["output"]["data"][0]
                return finding
    raise RuntimeError("the page closed the connection without an answer")


async def find_function(client: httpx.AsyncClient) -> int:
    """Return the number under which the page knows `/predict`."""
    config = (await client.get("/config")).json()
    return next(int(part["id"]) for part in config["dependencies"] if part["api_name"] == "predict")


def draw_films() -> list[bytes]:
    """Draw the films that are sent, as JPEG files; beforehand, so that the clients take little of the processor."""
    from hf_fracture.data.phantoms import draw_phantom

    films = []
    for seed in range(NUM_FILMS):
        buffer = io.BytesIO()
        draw_phantom(seed, fractured=seed % 2 == 0).image.save(buffer, "JPEG", quality=92)
        films.append(buffer.getvalue())
    return films


def mark_film(film: bytes) -> bytes:
    """Return a JPEG with a comment of its own, so that no two uploads are the same file."""
    comment = uuid.uuid4().bytes
    return film[:2] + b"\xff\xfe" + (2 + len(comment)).to_bytes(2, "big") + comment + film[2:]


def describe(tally: Tally) -> dict[str, Any]:
    """Return a tally as figures."""
    return {
        "num_answers": tally.num_films,
        "num_bad_files": tally.num_bad,
        "num_errors": len(tally.errors),
        "first_errors": tally.errors[:3],
        "num_refused_by_full_queue": tally.refusals,
        "num_waits_said": tally.waits_said,
        "median_seconds": percentile(tally.seconds, 50),
        "p95_seconds": percentile(tally.seconds, 95),
    }


def percentile(values: Sequence[float], share: float) -> float:
    """Return a percentile; infinite without a value, so that nothing can look fast by answering nothing."""
    return float(np.percentile(values, share)) if values else float("inf")


def find_problems(report: dict[str, Any]) -> list[str]:
    """Return what must not happen and did."""
    problems = []
    if report["load"]["num_errors"] or report["overload"]["num_errors"]:
        problems.append(f"Errors: {report['load']['first_errors'] + report['overload']['first_errors']}")
    if not report["answers_after_overload"]:
        problems.append("The page does not answer after the overload.")
    if report["uploads_were_waited_for"] and report["uploads_left"]:
        problems.append(f"{report['uploads_left']} uploads were left on disk.")
    return problems


def tabulate(report: dict[str, Any]) -> list[dict[str, str]]:
    """Return the figures as rows of what was measured, what came out and what was wanted."""
    alone, load, overload, offered = (report[name] for name in ("alone", "load", "overload", "offered"))
    memory = report["memory_mb"]
    others = ("num_waits_said", "num_refused_by_full_queue", "num_errors")
    rows = [
        ("machine", f"{report['machine']['cpus']} cores, shared with the clients", ""),
        ("a lone client: median", f"{alone['median_seconds']:.2f} s", ""),
        ("capacity", f"{report['capacity_per_second']:.1f} films/s", ""),
        (
            f"{offered['clients']} clients for {offered['seconds']:.0f} s: offered",
            f"{offered['films_per_second']:.1f} films/s, {offered['share_of_capacity']:.0%} of capacity",
            "",
        ),
        ("answers, of which to bad files", f"{load['num_answers']}, {load['num_bad_files']}", ""),
        ("errors, of which first", ", ".join([str(load["num_errors"]), *load["first_errors"]]), "0"),
        ("median, 95th percentile", f"{load['median_seconds']:.2f} s, {load['p95_seconds']:.2f} s", ""),
        ("95th percentile over the lone client's median", f"{report['p95_over_lone_median']:.1f}", "at most 3"),
        (
            "memory at first, after a tenth of the time, at the end",
            f"{memory['first']:.0f}, {memory['after_tenth']:.0f}, {memory['last']:.0f} MB",
            "flat",
        ),
        (f"twice the capacity, {overload['clients']} clients: answers", str(overload["num_answers"]), ""),
        ("median, 95th percentile", f"{overload['median_seconds']:.2f} s, {overload['p95_seconds']:.2f} s", ""),
        (
            "told how long to wait; refused by a full queue; errors",
            "; ".join(str(overload[name]) for name in others),
            "all; any; 0",
        ),
        ("answers afterwards", "yes" if report["answers_after_overload"] else "no", "yes"),
    ]
    if report["uploads_were_waited_for"]:
        rows.append(("uploads left on disk", str(report["uploads_left"]), "none"))
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def render_report(report: dict[str, Any]) -> str:
    """Return the table of `scripts/results/load.json`."""
    lines = [" | ".join(row[name] for name in COLUMNS) for row in tabulate(report)]
    head = [" | ".join(COLUMNS), " | ".join("---" for _ in COLUMNS)]
    return "\n".join(f"| {line} |" for line in [*head, *lines])


if __name__ == "__main__":
    main()
