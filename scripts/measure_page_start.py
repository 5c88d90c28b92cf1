"""Measure how long a cold start of the page takes, against an empty Gradio application, side by side.

    python scripts/measure_page_start.py [--model MODEL] [--runs 3]

A start ends when a visitor could use the page: its configuration is served and a queue takes calls. Both are started in
turn, each in a fresh process, and the median ratio is printed; the target is at most 2.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

REPOSITORY_DIR = Path(__file__).resolve().parent.parent
RESULTS_PATH = REPOSITORY_DIR / "scripts" / "results" / "page_start.json"
LIMIT_SECONDS = 600
TARGET = 2.0
EMPTY = """
import sys, gradio as gr
with gr.Blocks() as page:
    film, answer = gr.File(), gr.HTML()
    film.upload(lambda path: "", film, answer)
page.launch(server_port=int(sys.argv[1]), quiet=True, ssr_mode=False)
"""


def main() -> None:
    """Start both in turn and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", help="model folder (default: the shipped model)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS_PATH)
    args = parser.parse_args()
    model = ["--model", args.model] if args.model else []
    empty, page = [], []
    for _ in range(args.runs):
        empty.append(time_start([sys.executable, "-c", EMPTY, "{port}"]))
        page.append(time_start([sys.executable, "-m", "hf_fracture", "demo", "--port", "{port}", *model]))
    ratio = statistics.median(second / first for first, second in zip(empty, page, strict=True))
    report = {
        "empty_seconds": empty,
        "page_seconds": page,
        "ratio": ratio,
        "target": TARGET,
        "cpus": os.cpu_count(),
    }
    args.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    medians = statistics.median(empty), statistics.median(page)
    print(f"empty {medians[0]:.1f} s, page {medians[1]:.1f} s, ratio {ratio:.2f} (target {TARGET})")


def time_start(command: list[str]) -> float:
    """Start a server in a fresh process and return the seconds until it can be used."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="page-start-") as folder:
        environment = {**os.environ, "TMPDIR": folder, "GRADIO_ANALYTICS_ENABLED": "False"}
        start = time.monotonic()
        process = subprocess.Popen(
            [part.format(port=port) if part == "{port}" else part for part in command],
            cwd=REPOSITORY_DIR,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while not is_usable(port):
                if process.poll() is not None or time.monotonic() - start > LIMIT_SECONDS:
                    sys.exit(f"It did not start: {' '.join(command[1:4])}")
                time.sleep(0.02)
            return time.monotonic() - start
        finally:
            process.terminate()
            process.wait(timeout=60)


def is_usable(port: int) -> bool:
    """Tell whether the page and its configuration are served."""
    try:
        for path in ("", "config"):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=30) as response:
                response.read()
    except (urllib.error.URLError, OSError):
        return False
    return True


if __name__ == "__main__":
    main()
