"""Measure speed as ratios, each side by side in one run: `make bench`.

Absolute times drift on shared machines, so every row times ours and a reference alternately and gives the ratio of the
two, on one torch thread. Before a row is timed, the answers of the two sides are compared: a fast wrong answer is worth
nothing.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
from PIL import Image

from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.models.checkpoint import resolve_model_dir

FILM_SIZE_PX = (2000, 2500)
MAX_DIFFERENCE = 1e-4
PIPELINE_SCRIPT = (
    "import sys; from transformers import pipeline; classifier = pipeline('image-classification', model=sys.argv[1]);"
    "print({answer['label']: answer['score'] for answer in classifier(sys.argv[2])}['fractured'])"
)


@dataclass
class Row:
    """One comparison; times in seconds, ours and the reference's alternating.

    Attributes:
        name: What was compared.
        target: In words, from the project's targets.
        kind: `speed-up` is reference / ours, `cost` is ours / reference.
        ours: One time per round.
        reference: One time per round.
    """

    name: str
    target: str
    kind: str
    ours: list[float] = field(default_factory=list)
    reference: list[float] = field(default_factory=list)

    def ratios(self) -> list[float]:
        """Return the ratio of each round."""
        pairs = zip(self.ours, self.reference, strict=True)
        return [theirs / ours if self.kind == "speed-up" else ours / theirs for ours, theirs in pairs]

    def render(self) -> str:
        """Return the row of the table: medians, the median ratio and its range over the rounds."""
        ratios = self.ratios()
        return (
            f"| {self.name} | {statistics.median(self.ours):.3f} | {statistics.median(self.reference):.3f} | "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) {self.kind} | {self.target} |"
        )


def time_side_by_side(row: Row, ours: Callable[[], object], reference: Callable[[], object], *, num_rounds: int) -> Row:
    """Run both sides once to warm up, then alternately, the order changing from round to round."""
    ours()
    reference()
    for index in range(num_rounds):
        sides = [(row.ours, ours), (row.reference, reference)]
        for seconds, run in sides if index % 2 == 0 else reversed(sides):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
    return row


def write_films(folder: Path, num: int) -> list[Path]:
    """Write phantoms as large JPEGs with film grain, so that decoding them costs what a real film costs."""
    paths = []
    rng = np.random.default_rng(0)
    for seed in range(num):
        phantom = draw_phantom(seed, fractured=seed % 2 == 0, size_px=(500, 625))
        pixels = np.asarray(phantom.image.resize(FILM_SIZE_PX, Image.Resampling.BICUBIC), dtype=np.float32)
        pixels += rng.normal(0.0, 3.0, pixels.shape).astype(np.float32)
        path = folder / f"film_{seed:03d}.jpg"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
        paths.append(path)
    return paths


def run_program(*arguments: str | Path) -> str:
    """Run a program in a fresh process and return what it printed."""
    return subprocess.run([str(argument) for argument in arguments], capture_output=True, text=True, check=True).stdout


def check_equal(ours: list[float], reference: list[float]) -> float:
    """Return the largest difference of two lists of probabilities; stop where it is not the same answer."""
    difference = float(np.abs(np.asarray(ours) - np.asarray(reference)).max())
    if not difference <= MAX_DIFFERENCE:
        sys.exit(f"Expected equal probabilities to {MAX_DIFFERENCE}, got a difference of {difference:.2g}; not timed.")
    return difference


def measure_help(num_rounds: int) -> Row:
    """Time `hf-fracture --help` against an empty Python process."""
    program = Path(sys.executable).with_name("hf-fracture")
    row = Row("`hf-fracture --help` against `python -c pass`", "ours <= 0.25 s", "cost")
    return time_side_by_side(
        row,
        lambda: run_program(program, "--help"),
        lambda: run_program(sys.executable, "-c", "pass"),
        num_rounds=num_rounds * 3,
    )


def measure_cold_prediction(model_dir: Path, film: Path, num_rounds: int) -> Row:
    """Time one prediction from a cold shell against a script that uses `transformers.pipeline`."""
    program = Path(sys.executable).with_name("hf-fracture")

    def ours() -> str:
        return run_program(program, "predict", film, "--model", model_dir, "--json")

    def reference() -> str:
        return run_program(sys.executable, "-c", PIPELINE_SCRIPT, model_dir, film)

    check_equal([json.loads(ours())["probability"]], [float(reference())])
    row = Row("one film from a cold shell against `pipeline`", ">= 8", "speed-up")
    return time_side_by_side(row, ours, reference, num_rounds=num_rounds)


def measure_in_process(model_dir: Path, films: list[Path], num_rounds: int) -> Iterator[Row]:
    """Time the map that comes with a finding, and a folder against `transformers.pipeline`."""
    from transformers import pipeline

    from hf_fracture.inference.classifier import FractureClassifier

    classifier = FractureClassifier.from_pretrained(model_dir)
    film = Image.open(films[0]).convert("L").resize((512, 640))
    yield time_side_by_side(
        Row("finding and Grad-CAM against the finding", "<= 1.1", "cost"),
        lambda: classifier.examine(film, method="grad_cam"),
        lambda: classifier.predict(film),
        num_rounds=num_rounds * 3,
    )
    reference = pipeline("image-classification", model=str(model_dir))

    def predict_ours() -> list[float]:
        return [finding.probability or 0.0 for finding in classifier.predict_many(films)]

    def predict_reference() -> list[float]:
        answers = [reference(str(path)) for path in films]
        return [next(item["score"] for item in answer if item["label"] == "fractured") for answer in answers]

    difference = check_equal(predict_ours(), predict_reference())
    yield time_side_by_side(
        Row(f"{len(films)} films of 2000x2500 px against `pipeline` (equal to {difference:.0e})", ">= 2", "speed-up"),
        predict_ours,
        predict_reference,
        num_rounds=num_rounds,
    )


def describe_machine() -> str:
    """Return one line: processor, cores, threads, load and the versions that matter."""
    from importlib.metadata import version

    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in _read_lines(info) if line.startswith("model name")]
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "numpy", "pillow"))
    return (
        f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, "
        f"{os.environ['OMP_NUM_THREADS']} thread(s), load {load:.1f}, "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, {versions}"
    )


def _read_lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def main() -> None:
    """Measure every row and print the table."""
    parser = argparse.ArgumentParser(description="Measure speed as ratios, side by side in one run.")
    parser.add_argument("--model", help="model folder; default: the shipped one")
    parser.add_argument("--films", type=int, default=12, help="number of large films")
    parser.add_argument(
        "--rounds", type=int, default=3, help="rounds of the slow rows; quick rows take three times as many"
    )
    args = parser.parse_args()
    model_dir = resolve_model_dir(args.model)
    print(describe_machine(), flush=True)
    print(
        "| what | ours, s | reference, s | median ratio (range) | target |\n| --- | --- | --- | --- | --- |", flush=True
    )
    with tempfile.TemporaryDirectory() as folder:
        films = write_films(Path(folder), args.films)
        print(measure_help(args.rounds).render(), flush=True)
        print(measure_cold_prediction(model_dir, films[0], args.rounds).render(), flush=True)
        for row in measure_in_process(model_dir, films, args.rounds):
            print(row.render(), flush=True)


if __name__ == "__main__":
    main()
