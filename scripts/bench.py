"""Measure speed as ratios, each side by side in one run: `make bench`.

Absolute times drift on shared machines, so every row times ours and a reference alternately and gives the ratio of the
two: where the row says CPU, of processor time on one core, which a busy neighbour does not lengthen. Before a row is
timed, the answers of the two sides are compared: a fast wrong answer is worth nothing.
"""

import argparse
import contextlib
import json
import math
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
from PIL import Image

from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from hf_fracture.models.checkpoint import resolve_model_dir, write_json

if TYPE_CHECKING:
    from hf_fracture.inference.classifier import FractureClassifier

FILM_SIZE_PX = (2000, 2500)
MAX_DIFFERENCE = 1e-4
RESULTS_PATH = Path(__file__).parent / "results" / "bench.json"
EPOCH_SIDE_PX = 224
NUM_EPOCH_FILMS = 96
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
        clock: `CPU` or `wall`.
        limit: Median ratio that meets the target; None where the row only informs.
        max_seconds: Median of ours that meets the target, where the target is one of seconds.
        reason: Where the time goes, for a target that is not met.
        ours: One time per round.
        reference: One time per round.
    """

    name: str
    target: str
    kind: str
    clock: str = "wall"
    limit: float | None = None
    max_seconds: float | None = None
    reason: str = ""
    ours: list[float] = field(default_factory=list)
    reference: list[float] = field(default_factory=list)

    def ratios(self) -> list[float]:
        """Return the ratio of each round."""
        pairs = zip(self.ours, self.reference, strict=True)
        return [theirs / ours if self.kind == "speed-up" else ours / theirs for ours, theirs in pairs]

    @property
    def is_met(self) -> bool | None:
        """Whether the median meets the target."""
        if self.max_seconds is not None:
            return statistics.median(self.ours) <= self.max_seconds
        if self.limit is None:
            return None
        ratio = statistics.median(self.ratios())
        return ratio >= self.limit if self.kind == "speed-up" else ratio <= self.limit

    def render(self) -> str:
        """Return the row of the table: medians, the median ratio and its range over the rounds."""
        ratios = self.ratios()
        verdict = {None: "", True: ", met", False: f", NOT MET. {self.reason}"}[self.is_met]
        return (
            f"| {self.name} | {statistics.median(self.ours):.3f} | {statistics.median(self.reference):.3f} | "
            f"{self.clock} | {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) {self.kind} | "
            f"{self.target}{verdict} |"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what `scripts/results/bench.json` holds of the row."""
        ratios = self.ratios()
        return {
            "ours_seconds": statistics.median(self.ours),
            "reference_seconds": statistics.median(self.reference),
            "clock": self.clock,
            "ratio": statistics.median(ratios),
            "lowest_ratio": min(ratios),
            "highest_ratio": max(ratios),
            "kind": self.kind,
            "target": self.target,
            "is_met": self.is_met,
        }


def read_clock(clock: str) -> float:
    """Return seconds: of the wall, or of the processors that this process and its children used."""
    if clock == "wall":
        return time.perf_counter()
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def time_side_by_side(row: Row, ours: Callable[[], object], reference: Callable[[], object], *, num_rounds: int) -> Row:
    """Run both sides once to warm up, then alternately, the order changing from round to round."""
    ours()
    reference()
    for index in range(num_rounds):
        sides = [(row.ours, ours), (row.reference, reference)]
        for seconds, run in sides if index % 2 == 0 else reversed(sides):
            start = read_clock(row.clock)
            run()
            seconds.append(read_clock(row.clock) - start)
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
    row = Row("`hf-fracture --help` against `python -c pass`", "ours <= 0.25 s on a quiet machine", "cost", clock="CPU")
    row.max_seconds = 0.25
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
    row = Row("one film from a cold shell against `pipeline`", ">= 8", "speed-up", clock="CPU", limit=8.0)
    row.reason = profile_imports(model_dir, film)
    return time_side_by_side(row, ours, reference, num_rounds=num_rounds)


def profile_imports(model_dir: Path, film: Path) -> str:
    """Say where the processor time of one cold prediction goes."""
    script = (
        "import json, sys, time; t = [time.process_time()]; import numpy, PIL.Image; t.append(time.process_time());"
        "import onnxruntime; t.append(time.process_time());"
        "from hf_fracture.inference.classifier import FractureClassifier as C; c = C.from_pretrained(sys.argv[1]);"
        "t.append(time.process_time()); c.predict(sys.argv[2]); t.append(time.process_time()); print(json.dumps(t))"
    )
    times = json.loads(run_program(sys.executable, "-c", script, model_dir, film))
    names = ("python", "numpy and Pillow", "onnxruntime", "package and model", "film")
    spans = [times[0], *np.diff(times)]
    return "CPU s: " + ", ".join(f"{name} {span:.2f}" for name, span in zip(names, spans, strict=True))


def measure_in_process(model_dir: Path, films: list[Path], num_rounds: int) -> Iterator[Row]:
    """Time the map that comes with a finding, and a folder against `transformers.pipeline`, exact and fast."""
    from transformers import pipeline

    from hf_fracture.inference.classifier import FractureClassifier

    classifier = FractureClassifier.from_pretrained(model_dir)
    film = Image.open(films[0]).convert("L").resize((512, 640))
    yield time_side_by_side(
        Row("finding and Grad-CAM against the finding", "<= 1.1", "cost", clock="CPU", limit=1.1),
        lambda: classifier.examine(film, method="grad_cam"),
        lambda: classifier.predict(film),
        num_rounds=num_rounds * 3,
    )
    reference = pipeline("image-classification", model=str(model_dir))

    def predict(judge: FractureClassifier) -> list[float]:
        return [finding.probability or 0.0 for finding in judge.predict_many(films)]

    def predict_reference() -> list[float]:
        answers = [reference(str(path)) for path in films]
        return [next(item["score"] for item in answer if item["label"] == "fractured") for answer in answers]

    expected = predict_reference()
    bound = describe_bound(model_dir)
    torch_classifier = FractureClassifier.from_pretrained(model_dir, backend="torch")
    sides: dict[str, tuple[FractureClassifier | None, float | None]] = {classifier.backend: (classifier, 2.0)}
    if classifier.backend != "torch":
        sides |= {"torch": (torch_classifier, None), "fast": (build_fast(model_dir), 5.0)}
    for name, (judge, limit) in sides.items():
        if judge is None:
            continue
        difference = float(np.abs(np.asarray(predict(judge)) - np.asarray(expected)).max())
        if name != "fast":
            check_equal(predict(judge), expected)
        row = Row(
            f"{len(films)} films of {FILM_SIZE_PX[0]}x{FILM_SIZE_PX[1]} px, {name}, against `pipeline` "
            f"(probabilities within {difference:.0e})",
            "informs" if limit is None else f">= {limit:.0f}",
            "speed-up",
            clock="CPU",
            limit=limit,
            reason=profile_film(judge, films[0]) + ("" if name == "fast" else f"; {bound}"),
        )
        yield time_side_by_side(row, partial(predict, judge), predict_reference, num_rounds=num_rounds)


def build_fast(model_dir: Path) -> "FractureClassifier | None":
    """Return the fast classifier, where the folder holds an int8 export."""
    from hf_fracture.errors import ModelFolderError
    from hf_fracture.inference.classifier import FractureClassifier

    try:
        return FractureClassifier.from_pretrained(model_dir, fast=True)
    except ModelFolderError:
        return None


def profile_film(classifier: "FractureClassifier", film: Path) -> str:
    """Say where the processor time of one film goes."""
    start = time.process_time()
    radiograph = classifier.read(film)
    read = time.process_time()
    classifier.compute(radiograph)
    computed = time.process_time()
    classifier.predict(film)
    whole = time.process_time() - computed
    rest = whole - (computed - start)
    return f"CPU s: reading {read - start:.3f}, letterbox and network {computed - read:.3f}, gate and rest {rest:.3f}"


def describe_bound(model_dir: Path) -> str:
    """Say how long the network's arithmetic takes at the speed of a float32 matrix product: no runtime is faster."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from hf_fracture.models.checkpoint import load_model, read_preprocessing

    side = read_preprocessing(model_dir).size_px
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        load_model(model_dir)(pixel_values=torch.zeros(1, 3, side, side))
    gflop = counter.get_total_flops() / 1e9
    matrix = np.random.default_rng(0).normal(size=(1536, 1536)).astype(np.float32)
    matrix @ matrix
    start = time.process_time()
    for _ in range(5):
        matrix @ matrix
    gflop_per_second = 5 * 2 * len(matrix) ** 3 / 1e9 / (time.process_time() - start)
    return (
        f"its {gflop:.1f} GFLOP take {gflop / gflop_per_second:.3f} s at the {gflop_per_second:.0f} GFLOP/s of "
        "a float32 matrix product on this core"
    )


def measure_memory(model_dir: Path, film: Path, num_films: int) -> dict[str, Any]:
    """Return how much the process grows from a tenth of many films to all of them, in MB."""
    from hf_fracture.inference.classifier import FractureClassifier

    classifier = FractureClassifier.from_pretrained(model_dir)
    small = film.with_name("small.jpg")
    Image.open(film).resize((500, 625)).save(small)
    sizes = []
    for index, _ in enumerate(classifier.predict_many(small for _ in range(num_films))):
        if index in (num_films // 10, num_films - 1):
            sizes.append(read_resident_mb())
    return {
        "num_films": num_films,
        "after_a_tenth_mb": sizes[0],
        "after_all_mb": sizes[1],
        "growth_mb": sizes[1] - sizes[0],
    }


def read_resident_mb() -> float:
    """Return the memory that this process holds now; Linux only."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def measure_epoch(films: list[Path], folder: Path, num_rounds: int) -> Iterator[Row]:
    """Time an epoch from a prepared dataset against transformers' image-classification example on the original files.

    Both sides train a ResNet-18 with random weights on the same films through the same `Trainer`, with the same
    batches' size, learning rate and input size. The reference does what the example does: it decodes each original
    file to RGB in every epoch, then RandomResizedCrop, RandomHorizontalFlip and normalisation. Ours decodes the
    prepared film and rotates, scales, shifts, mirrors and re-exposes it, which is more work. The first row has the
    example as it comes, in float32; the second gives it our bfloat16, and shows what the films' preparation gains.

    Args:
        films: Original files; the even ones are fractured.
        folder: For the prepared dataset and the network.
        num_rounds: Rounds.
    """
    import datasets
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification, Trainer
    from transformers.utils import logging

    from hf_fracture.config import RecipeConfig
    from hf_fracture.data.prepare import prepare_dataset
    from hf_fracture.evaluation.films import load_splits
    from hf_fracture.training.arguments import FractureTrainingArguments
    from hf_fracture.training.trainer import train_classifier

    datasets.disable_progress_bars()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    source_dir = folder / "source"
    for index, path in enumerate(films):
        part = source_dir / ("not fractured" if index % 2 else "fractured")
        part.mkdir(parents=True, exist_ok=True)
        (part / path.name).hardlink_to(path)
    prepared = load_splits(prepare_dataset("image_folder", source_dir, folder / "prepared"))
    config = ResNetConfig(  # type: ignore[call-arg]
        embedding_size=64, hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2], layer_type="basic", num_labels=2
    )
    ResNetForImageClassification(config).save_pretrained(folder / "resnet-18")
    recipe = RecipeConfig(
        backbone=str(folder / "resnet-18"), image_size=EPOCH_SIDE_PX, evidence_weight=0, early_stopping_epochs=0
    )
    originals = [(source_dir / path, label) for path, label in zip(*_read_list(prepared["train"]), strict=True)]
    validation = prepared["validation"] if len(set(prepared["validation"]["label"])) == 2 else prepared["train"]
    splits = datasets.DatasetDict(train=prepared["train"], validation=validation)

    def build_arguments(*, bf16: bool = True) -> FractureTrainingArguments:
        return FractureTrainingArguments(
            output_dir=str(folder / "checkpoints"),
            bf16=bf16,
            num_train_epochs=1,
            eval_strategy="no",
            save_strategy="no",
            logging_strategy="no",
            load_best_model_at_end=False,
            disable_tqdm=True,
        )

    def train_reference(*, bf16: bool) -> None:
        Trainer(
            model=ResNetForImageClassification.from_pretrained(folder / "resnet-18"),
            args=build_arguments(bf16=bf16),
            train_dataset=ExampleFilms(originals),
            data_collator=collate_example,
        ).train()

    torch.set_num_threads(os.cpu_count() or 1)
    what = (
        f"one epoch of {len(originals)} films of 2000x2500 px, ResNet-18 at {EPOCH_SIDE_PX} px, against transformers'"
    )
    for row, bf16 in (
        (Row(f"{what} image-classification example as it comes, in float32", ">= 2", "speed-up", limit=2), False),
        (Row(f"{what} example in our bfloat16", "informs", "speed-up"), True),
    ):
        yield time_side_by_side(
            row,
            lambda: train_classifier(splits, recipe, build_arguments(), compute_metrics=lambda _: {}),
            partial(train_reference, bf16=bf16),
            num_rounds=num_rounds,
        )


def _read_list(films: Any) -> tuple[list[str], list[int]]:
    return films["source_path"][:], films["label"][:]


class ExampleFilms:
    """The training films of transformers' `run_image_classification.py`, its torchvision transforms redone here.

    RandomResizedCrop takes 8 to 100 % of the area at an aspect ratio of 3/4 to 4/3 (10 tries, else the centre), and
    resizes it bilinearly; a flip in half of the cases; division by 255 and normalisation.
    """

    def __init__(self, films: list[tuple[Path, int]]) -> None:
        """Take paths and labels."""
        self._films = films
        self._rng = random.Random(0)

    def __len__(self) -> int:
        """Return the number of films."""
        return len(self._films)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Decode, crop, flip and normalise one film."""
        path, label = self._films[index]
        with Image.open(path) as image:
            film = image.convert("RGB")
        crop = film.resize((EPOCH_SIDE_PX, EPOCH_SIDE_PX), Image.Resampling.BILINEAR, box=self._draw_box(*film.size))
        if self._rng.random() < 0.5:
            crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = np.asarray(crop, dtype=np.float32).transpose(2, 0, 1) / 255
        mean, std = (np.array(values, dtype=np.float32).reshape(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        return {"pixel_values": (pixels - mean) / std, "labels": label}

    def _draw_box(self, width: int, height: int) -> tuple[int, int, int, int]:
        for _ in range(10):
            area = width * height * self._rng.uniform(0.08, 1.0)
            aspect = math.exp(self._rng.uniform(math.log(3 / 4), math.log(4 / 3)))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                left, top = self._rng.randint(0, width - w), self._rng.randint(0, height - h)
                return left, top, left + w, top + h
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return left, top, left + side, top + side


def collate_example(examples: list[dict[str, Any]]) -> dict[str, Any]:
    """Make a batch as the example does."""
    import torch

    return {
        "pixel_values": torch.stack([torch.from_numpy(example["pixel_values"]) for example in examples]),
        "labels": torch.tensor([example["labels"] for example in examples]),
    }


def describe_machine() -> str:
    """Return one line: processor, cores, threads, load and the versions that matter."""
    from importlib.metadata import version

    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in _read_lines(info) if line.startswith("model name")]
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    versions = ", ".join(
        f"{name} {version(name)}" for name in ("torch", "transformers", "onnxruntime", "numpy", "pillow")
    )
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
    parser.add_argument("--memory-films", type=int, default=1000, help="films over which memory must stay flat")
    parser.add_argument("--only", choices=("inference", "epoch"), help="leave out the other rows")
    parser.add_argument("--out", type=Path, default=RESULTS_PATH, help="JSON with every row")
    args = parser.parse_args()
    model_dir = resolve_model_dir(args.model)
    machine = describe_machine()
    print(machine, flush=True)
    print(
        "| what | ours, s | reference, s | clock | median ratio (range) | target |\n" + "| --- " * 6 + "|",
        flush=True,
    )
    report: dict[str, Any] = {"machine": machine, "rows": {}}
    with tempfile.TemporaryDirectory() as folder:
        for row in measure_rows(model_dir, Path(folder), args):
            print(row.render(), flush=True)
            report["rows"][row.name] = row.to_dict()
            if row.is_met is False:
                report.setdefault("where the time goes", {})[row.name] = {"profile": row.reason}
            write_json(args.out, report)
        if args.only != "epoch":
            memory = measure_memory(model_dir, write_films(Path(folder), 1)[0], args.memory_films)
            print(f"memory of predict_many over {memory['num_films']} films: grows by {memory['growth_mb']:.1f} MB")
            write_json(args.out, {**report, "memory": memory})


def measure_rows(model_dir: Path, folder: Path, args: argparse.Namespace) -> Iterator[Row]:
    """Measure one row after the other; those of inference on one core, where the system allows it."""
    films = write_films(folder, args.films)
    if args.only != "epoch":
        yield measure_help(args.rounds)
        with use_one_core():
            yield measure_cold_prediction(model_dir, films[0], args.rounds)
            yield from measure_in_process(model_dir, films, args.rounds)
    if args.only != "inference":
        with contextlib.redirect_stdout(sys.stderr):  # the Trainer prints its log
            rows = list(measure_epoch(write_films(folder, max(NUM_EPOCH_FILMS, args.films)), folder, args.rounds))
        yield from rows


@contextlib.contextmanager
def use_one_core() -> Iterator[None]:
    """Hold this process and its children to one core, and let them go again."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


if __name__ == "__main__":
    main()
