"""Start what would be published as a Space in a fresh virtual environment, and ask it for a finding.

    python scripts/check_space.py [--work DIR] [--page DIR]

The folder is what `hf-fracture publish space` sends, or with `--page` what `hf download --repo-type space --local-dir`
brought back from where it was published. The environment gets the gradio that its front matter names and its own
requirements.txt, and asks the Hub for nothing when it runs; a second run in the same DIR takes the environment that is
there. Writes scripts/results/space.json. Compute: four minutes, 2 GB.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import venv
from pathlib import Path
from typing import Any, Final

from hf_fracture import FractureClassifier
from hf_fracture.cli.publish import draw_pictures
from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.evaluation.artifacts import write_text
from hf_fracture.hub.publish_plan import read_front_matter
from hf_fracture.hub.publish_space import plan_space

ROOT: Final = Path(__file__).resolve().parent.parent
RESULT: Final = ROOT / "scripts" / "results" / "space.json"
PATIENCE_SECONDS: Final = 900.0
ASK: Final = """
import json, sys
from gradio_client import Client, handle_file
client = Client(sys.argv[1], verbose=False)
print(json.dumps(client.predict(handle_file(sys.argv[2]), api_name="/predict")))
"""


def main() -> None:
    """Build, start, ask, and write down what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, metavar="DIR", help="where to (default: a temporary folder)")
    parser.add_argument("--page", type=Path, metavar="DIR", help="the Space as downloaded (default: as it would go)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hf-fracture-space-") as temporary:
        work = args.work or Path(temporary)
        record = check(work, args.page)
    write_text(RESULT, json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


def check(work: Path, downloaded: Path | None) -> dict[str, Any]:
    """Do all of it in one folder."""
    page = copy_page(downloaded, work / "space") if downloaded else write_page(work / "space")
    sizes = [path.stat().st_size for path in page.rglob("*") if path.is_file()]
    python, install_seconds = build_environment(work / "environment", page)
    film = work / "film.png"
    draw_phantom(1, fractured=True).image.save(film)
    expected = FractureClassifier.from_pretrained().predict(film)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(work),
        "GRADIO_SERVER_PORT": str(port),
        "HF_HUB_OFFLINE": "1",
    }
    log = work / "page.log"
    with log.open("w") as stream:
        started = time.monotonic()
        server = subprocess.Popen([python, "app.py"], cwd=page, env=environment, stdout=stream, stderr=stream)
        try:
            wait_for(port, server, log)
            ready = time.monotonic()
            finding = ask(python, port, film, environment)
            answered = time.monotonic()
        finally:
            server.terminate()
            server.wait(timeout=30)
    difference = abs(finding["probability"] - (expected.probability or 0.0))
    if finding["decision"] != expected.decision or difference > 1e-4:
        raise SystemExit(f"The Space answered {finding['decision']} {finding['probability']}, here it is {expected}.")
    return {
        "page": "downloaded from where it was published" if downloaded else "as it would be published",
        "files": len(sizes),
        "bytes": sum(sizes),
        "packages": len(list(Path(python).parent.parent.glob("lib/python*/site-packages/*.dist-info"))),
        "install_seconds": round(install_seconds, 1),
        "seconds_until_it_listens": round(ready - started, 1),
        "seconds_of_first_request": round(answered - ready, 1),
        "decision": finding["decision"],
        "difference_of_probability": difference,
    }


def write_page(page: Path) -> Path:
    """Write what would be published."""
    for file in plan_space(ROOT / "space", extra=draw_pictures()).files:
        path = page / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content.read_bytes() if isinstance(file.content, Path) else file.content)
    return page


def copy_page(downloaded: Path, page: Path) -> Path:
    """Copy a downloaded Space, without the client's own records, to where nothing else lies beside it."""
    shutil.rmtree(page, ignore_errors=True)
    return shutil.copytree(downloaded, page, ignore=shutil.ignore_patterns(".cache", ".gitattributes"))


def build_environment(folder: Path, page: Path) -> tuple[str, float]:
    """Make a fresh environment from the Space's own files; return its python, and what the installation took."""
    front, _ = read_front_matter((page / "README.md").read_text(encoding="utf-8"), where="README.md")
    lines = (page / "requirements.txt").read_text(encoding="utf-8").splitlines()
    text = "\n".join([*lines, f"gradio=={front['sdk_version']}"]) + "\n"
    wanted, done, python = folder / "requirements.txt", folder / "seconds.txt", str(folder / "bin" / "python")
    if done.is_file() and wanted.read_text(encoding="utf-8") == text:
        return python, float(done.read_text(encoding="utf-8"))
    start = time.monotonic()
    venv.create(folder, with_pip=True, clear=True)
    wanted.write_text(text, encoding="utf-8")
    command = [python, "-m", "pip", "--quiet", "install", "-r", str(wanted)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    subprocess.run([python, "-m", "pip", "check"], check=True)
    seconds = time.monotonic() - start
    done.write_text(str(seconds), encoding="utf-8")
    return python, seconds


def wait_for(port: int, server: "subprocess.Popen[bytes]", log: Path) -> None:
    """Return once the page listens; say what it wrote if it does not."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if server.poll() is not None:
            break
        time.sleep(0.2)
    raise SystemExit(f"The page did not start:\n{log.read_text()[-2000:]}")


def ask(python: str, port: int, film: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Ask as a program would, from the same environment."""
    command = [python, "-c", ASK, f"http://127.0.0.1:{port}", str(film)]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if process.returncode:
        raise SystemExit(f"The page did not answer:\n{process.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return answer


if __name__ == "__main__":
    main()
