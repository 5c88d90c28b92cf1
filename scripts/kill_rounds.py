"""Kill commands at random moments, give the same command again, and compare with a run that was left alone.

    python scripts/kill_rounds.py [--rounds 100] [--stages prepare train ...] [--seed 0]

Each round starts one command on tiny inputs of drawn phantoms, sends SIGKILL to its whole process group at a random
moment of the time that an undisturbed run took, and then runs the same command to its end. Afterwards the outputs must
equal the undisturbed run's, with no file more and none less; what is read in between must be whole. Commands are forked
from one process that has imported everything, so that most kills fall into the work and not into the imports.
Writes scripts/results/kill_rounds.json, in which stages that were left out by --stages keep their earlier account; the
exit status is 1 if a round failed.
"""

import argparse
import csv
import hashlib
import io
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
RESULT_PATH: Final = ROOT / "scripts" / "results" / "kill_rounds.json"
NUM_FILMS: Final = 80  # more than one chunk of the reader
REPO: Final = "stub-user/films"
# Times, and the mean loss that the Trainer gives for its last start alone.
_VARYING: Final = ("seconds", "runtime", "per_second", "created", "time", "train_loss")
_FINISHED: Final = ("exists. ", "A finished run lies", "found a prepared dataset there")
_NURSERY: Final = "--nursery"
_PRELOADED_TO_JUDGE: Final = (
    *("hf_fracture.cli.main", "hf_fracture.inference.classifier", "hf_fracture.explain.overlay", "torch"),
    *("transformers.models.resnet.modeling_resnet", "transformers.models.auto.modeling_auto"),
    *("hf_fracture.models.enhanced", "hf_fracture.models.registration"),
)
_PRELOADED: Final = (
    *(
        "hf_fracture.cli.main",
        "hf_fracture.training.trainer",
        "hf_fracture.evaluation.report",
        "hf_fracture.hub.publish",
    ),
    *("hf_fracture.export.onnx_file", "hf_fracture.inference.classifier", "hf_fracture.hub.publish_dataset"),
    *("transformers.trainer", "datasets", "sklearn.ensemble", "onnx", "onnxscript", "matplotlib.pyplot", "pandas"),
    *("torch.onnx", "torch._dynamo", "torch.export", "hf_fracture.cli.train", "hf_fracture.cli.evaluate"),
)

Snapshot = Mapping[str, str]
"""A digest of every file below a folder by its relative path; what may differ from run to run is left out of it."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One command and what must come of it.

    Attributes:
        arguments: Of `hf-fracture`, given the folder of the round.
        set_up: Makes what lies in that folder before.
        look: Reads the outcome.
        check_between: Says what is wrong with what a killed run left, or returns None.
        weight: Share of the rounds that it gets; slow ones get fewer.
    """

    arguments: Callable[[Path], list[str]]
    set_up: Callable[[Path], object] = lambda _folder: None
    look: Callable[[Path], Snapshot]
    check_between: Callable[[Path, Snapshot], str | None] = lambda _folder, _reference: None
    weight: float = 1.0


class Nursery:
    """A process with everything imported, from which commands are forked."""

    def __init__(self, environment: Mapping[str, str], modules: Iterable[str]) -> None:
        """Start it, with these modules imported."""
        self._process = subprocess.Popen(
            [sys.executable, __file__, _NURSERY, *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **environment},
            text=True,
        )
        self._ask({"ready": True})

    def _ask(self, request: dict[str, Any]) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None  # noqa: PT018 both are pipes
        stdin.write(json.dumps(request) + "\n")
        stdin.flush()
        return json.loads(stdout.readline())

    def start(self, arguments: list[str], folder: Path) -> int:
        """Fork a command whose stdout and stderr go to files beside the folder; return its process."""
        return int(self._ask({"arguments": arguments, "log": str(name_log(folder))}))

    def wait(self, process: int) -> int:
        """Return the exit status of a command; negative for a signal."""
        return int(self._ask({"wait": process}))

    def close(self) -> None:
        """Let it end."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout=60)


def name_log(folder: Path) -> Path:
    """Return where the output of a round's command goes: `.out` and `.err` are appended."""
    return folder.parent / f"{folder.name}.log"


def serve_nursery(modules: Iterable[str]) -> None:
    """Fork commands as stdin says, one JSON line each."""
    import importlib

    sys.path.insert(0, str(ROOT))
    replies, sys.stdout = sys.stdout, sys.stderr
    for name in modules:
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        reply: Any = True
        if "arguments" in request:
            reply = os.fork()
            if reply == 0:
                run_forked(request["arguments"], request["log"])
        elif "wait" in request:
            reply = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def run_forked(arguments: list[str], log: str) -> None:
    """Be the command, and end with its status."""
    os.setsid()
    for descriptor, suffix in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(log + suffix, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.stdin = open(os.devnull)  # noqa: PTH123, SIM115
    sys.stdout, sys.stderr = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), write_through=True), sys.__stderr__
    from hf_fracture.cli.main import main

    status = 70
    try:
        status = main(arguments)
    finally:
        os._exit(status)


def digest_files(folder: Path, *, skip_content: Callable[[str], bool] = lambda _name: False) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder, hidden ones too; JSON files without the times they state."""
    digests = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() and any(path.iterdir()):
            continue
        data = b"" if path.is_dir() or skip_content(name) else path.read_bytes()
        if path.suffix == ".json" and data:
            data = json.dumps(drop_times(json.loads(data)), sort_keys=True).encode()
        digests[name] = hashlib.sha256(data).hexdigest()[:16]
    return digests


def drop_times(content: Any) -> Any:
    """Remove entries that hold a time, at any depth."""
    if isinstance(content, dict):
        return {key: drop_times(value) for key, value in content.items() if not any(word in key for word in _VARYING)}
    return [drop_times(value) for value in content] if isinstance(content, list) else content


def look_at_table(folder: Path) -> Snapshot:
    """Read a table of findings without its column `seconds`; other files count by their digest."""
    snapshot = {**digest_files(folder)}
    table = folder / "findings.csv"
    if table.is_file():
        rows = csv.DictReader(io.StringIO(table.read_text(encoding="utf-8")))
        snapshot["findings.csv"] = repr([{**row, "seconds": ""} for row in rows])
    return snapshot


def look_at_line_file(folder: Path) -> Snapshot:
    """Read a file of JSON lines without their field `seconds`; other files count by their digest."""
    snapshot, path = {**digest_files(folder)}, folder / "findings.jsonl"
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines()
        snapshot[path.name] = repr([drop_times(json.loads(line)) for line in lines])
    return snapshot


def look_at_lines(folder: Path) -> Snapshot:
    """Read JSON lines without their field `seconds`."""
    lines = Path(f"{name_log(folder)}.out").read_text(encoding="utf-8").splitlines()
    return {str(number): repr(drop_times(json.loads(line))) for number, line in enumerate(lines)} | digest_files(folder)


def check_lines(folder: Path, reference: Snapshot) -> str | None:
    """Every whole line of a killed run must be the one that an undisturbed run prints there."""
    text = Path(f"{name_log(folder)}.out").read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines(keepends=True)):
        if line.endswith("\n") and repr(drop_times(json.loads(line))) != reference.get(str(number)):
            return f"line {number} of the killed run differs"
    return None


@dataclass
class Inputs:
    """What all rounds start from.

    Attributes:
        scratch: Folder for everything.
        hub: The stub Hub.
    """

    scratch: Path
    hub: Any
    paths: dict[str, Path] = field(default_factory=dict)

    def build(self) -> None:
        """Draw films, and make a dataset of them, an untrained backbone and a model folder."""
        import torch
        from transformers import ResNetConfig, ResNetForImageClassification

        from hf_fracture.config import FractureRecord, OperatingPoint, Triage
        from hf_fracture.data.phantoms import draw_phantom
        from hf_fracture.data.prepare import PrepareOptions, prepare_dataset
        from hf_fracture.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
        from hf_fracture.labels import ID2LABEL, LABEL2ID
        from hf_fracture.models.checkpoint import save_model_folder

        films = self.scratch / "films"
        for seed in range(NUM_FILMS):
            path = films / ("fractured" if seed % 2 else "not fractured") / f"film_{seed:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            draw_phantom(seed, fractured=seed % 2 == 1, size_px=(96, 96)).image.save(path)
        prepared = self.scratch / f"prepared-{os.getpid()}"  # `datasets` caches by name
        prepare_dataset("image_folder", films, prepared, options=PrepareOptions(num_workers=1))
        torch.manual_seed(0)
        config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
        ResNetForImageClassification(config).save_pretrained(self.scratch / "backbone")
        config.id2label, config.label2id = dict(ID2LABEL), dict(LABEL2ID)
        points = {
            name: OperatingPoint(threshold=threshold, sensitivity=0.9, specificity=0.9)
            for name, threshold in {"screening": 0.3, "balanced": 0.5, "rule_in": 0.7}.items()
        }
        record = FractureRecord(operating_points=points, temperature=1.0, triage=Triage(screening=0.3, rule_in=0.7))
        model = save_model_folder(
            ResNetForImageClassification(config),
            self.scratch / "model",
            preprocessing=Preprocessing(size_px=64, mean=IMAGENET_MEAN, std=IMAGENET_STD),
            record=record,
            run={},
        )
        self.paths = {"films": films, "prepared": prepared, "model": model}

    def list_stages(self) -> dict[str, Stage]:
        """Return what is killed, by name."""
        films, prepared, model = (str(self.paths[name]) for name in ("films", "prepared", "model"))
        prepare = ["data", "prepare", "image_folder", "--source", films, "--workers", "2", "--out"]
        train = ["--backbone", str(self.scratch / "backbone"), "--image_size", "64", "--num_train_epochs", "4"]
        train += ["--per_device_train_batch_size", "8", "--bf16", "False", "--evidence_weight", "0"]

        def name_only(name: str) -> bool:
            return "checkpoint-" in name or name.endswith((".png", ".svg"))

        def publish_set_up(_folder: Path) -> None:
            self.hub.repos.clear()
            self.hub.blobs.clear()

        return {
            "prepare": Stage(arguments=lambda folder: [*prepare, str(folder / "out")], look=digest_files, weight=0.75),
            "prepare --overwrite": Stage(
                arguments=lambda folder: [*prepare, str(folder / "out"), "--seed", "7", "--overwrite"],
                set_up=lambda folder: shutil.copytree(prepared, folder / "out"),
                look=digest_files,
                weight=0.75,
            ),
            "train": Stage(
                arguments=lambda folder: ["train", prepared, "--out", str(folder / "run"), *train],
                look=lambda folder: digest_files(folder, skip_content=name_only),
            ),
            "evaluate": Stage(
                arguments=lambda folder: [
                    *("evaluate", model, prepared, "--out", str(folder / "out"), "--resamples", "50"),
                ],
                look=lambda folder: digest_files(folder, skip_content=name_only),
            ),
            "predict --csv --resume": Stage(
                arguments=lambda folder: [
                    *("predict", films, "--model", model, "--csv", str(folder / "findings.csv"), "--resume"),
                    *("--explain", str(folder / "maps")),
                ],
                look=look_at_table,
            ),
            "predict --jsonl --resume": Stage(
                arguments=lambda folder: [
                    *("predict", films, "--model", model, "--jsonl", str(folder / "findings.jsonl"), "--resume"),
                ],
                look=look_at_line_file,
            ),
            "predict --json": Stage(
                arguments=lambda _folder: ["predict", films, "--model", model, "--json"],
                look=look_at_lines,
                check_between=check_lines,
            ),
            "export": Stage(
                arguments=lambda folder: ["export", model, "--out", str(folder / "out")],
                look=digest_files,
                weight=0.5,
            ),
            "publish": Stage(
                arguments=lambda _folder: ["publish", "dataset", prepared, REPO, "--license", "cc0-1.0"],
                set_up=publish_set_up,
                look=lambda folder: self.look_at_hub(folder),
            ),
        }

    def look_at_hub(self, folder: Path) -> Snapshot:
        """Return what a stranger finds on the Hub, and how many commits with content led there."""
        if ("datasets", REPO) not in self.hub.repos:
            return digest_files(folder)
        files = self.hub.files("datasets", REPO)
        digests = {name: hashlib.sha256(content).hexdigest()[:16] for name, content in files.items()}
        return {**digest_files(folder), **digests, "commits": str(len(self.hub.log("datasets", REPO)))}


def compare(found: Snapshot, reference: Snapshot) -> str | None:
    """Say how an outcome differs, or return None."""
    more, less = sorted(set(found) - set(reference)), sorted(set(reference) - set(found))
    other = sorted(name for name in set(found) & set(reference) if found[name] != reference[name])
    parts = [
        f"{words}: {', '.join(names[:3])}"
        for words, names in (("left over", more), ("missing", less), ("different", other))
        if names
    ]
    return "; ".join(parts) or None


def run_rounds(
    inputs: Inputs, nursery: Nursery, stage: Stage, name: str, num_rounds: int, moments: random.Random
) -> dict[str, Any]:
    """Run one command undisturbed, then kill it so many times; return the account."""
    reference, seconds = run_undisturbed(inputs, nursery, stage)
    account: dict[str, Any] = {"rounds": num_rounds, "killed": 0, "seconds_undisturbed": round(seconds, 2)}
    problems: list[str] = []
    for number in range(num_rounds):
        folder = inputs.scratch / "rounds" / f"{number}"
        with fresh(folder, stage):
            process = nursery.start(stage.arguments(folder), folder)
            time.sleep(moments.uniform(0, seconds))
            os.killpg(process, signal.SIGKILL) if is_leader(process) else os.kill(process, signal.SIGKILL)
            account["killed"] += nursery.wait(process) == -signal.SIGKILL
            problem = stage.check_between(folder, reference)
            status = nursery.wait(nursery.start(stage.arguments(folder), folder))
            words = Path(f"{name_log(folder)}.err").read_text(encoding="utf-8", errors="replace")
            if status != 0 and not any(sentence in words for sentence in _FINISHED):
                problem = problem or f"status {status}: {words.strip().splitlines()[-1:]}"
            problem = problem or compare(stage.look(folder), reference)
            if problem is not None:
                problems.append(problem)
                print(f"{name}, round {number}: {problem}", file=sys.stderr, flush=True)
    return {**account, "problems": problems}


def is_leader(process: int) -> bool:
    """Tell whether a forked command has its own process group yet."""
    try:
        return os.getpgid(process) == process
    except ProcessLookupError:
        return False


def run_undisturbed(inputs: Inputs, nursery: Nursery, stage: Stage) -> tuple[Snapshot, float]:
    """Run a command twice, of which the second is timed, and return its outcome and seconds."""
    for _ in range(2):
        folder = inputs.scratch / "rounds" / "undisturbed"
        with fresh(folder, stage):
            started = time.monotonic()
            status = nursery.wait(nursery.start(stage.arguments(folder), folder))
            seconds = time.monotonic() - started
            if status != 0:
                words = Path(f"{name_log(folder)}.err").read_text(encoding="utf-8", errors="replace")
                raise RuntimeError(f"the undisturbed run ended with {status}: {words[-2000:]}")
            outcome = stage.look(folder)
    return outcome, seconds


@contextmanager
def fresh(folder: Path, stage: Stage) -> Iterator[None]:
    """Make the folder of a round, and remove it afterwards."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    stage.set_up(folder)
    yield
    shutil.rmtree(folder)


def run(num_rounds: int, names: list[str] | None, seed: int) -> dict[str, dict[str, Any]]:
    """Kill every stage its share of the rounds, and return the account of each."""
    sys.path.insert(0, str(ROOT))
    from tests.hub.stub_hub import start_hub

    moments = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="kill-rounds-") as scratch, start_hub() as hub:
        inputs = Inputs(scratch=Path(scratch), hub=hub)
        inputs.build()
        stages = {name: stage for name, stage in inputs.list_stages().items() if names is None or name in names}
        home = {**hub.environment(Path(scratch) / "home"), "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
        judging_only = all(name.startswith("predict") for name in stages)
        nursery = Nursery(home, _PRELOADED_TO_JUDGE if judging_only else _PRELOADED)
        accounts: dict[str, dict[str, Any]] = {}
        try:
            total = sum(stage.weight for stage in stages.values())
            for name, stage in stages.items():
                share = math.ceil(num_rounds * stage.weight / total)
                accounts[name] = run_rounds(inputs, nursery, stage, name, share, moments)
                print(f"{name}: {json.dumps(accounts[name])}", file=sys.stderr, flush=True)
        finally:
            nursery.close()
    return accounts


def add_up(accounts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the totals over all stages, and the stages."""
    return {
        "rounds": sum(account["rounds"] for account in accounts.values()),
        "killed_before_their_end": sum(account["killed"] for account in accounts.values()),
        "problems": sum(len(account["problems"]) for account in accounts.values()),
        "stages": accounts,
    }


def main() -> int:
    """Run the rounds and write the account; 1 if one failed."""
    if sys.argv[1:2] == [_NURSERY]:
        serve_nursery(sys.argv[2:])
        return 0
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--stages", nargs="+", default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULT_PATH)
    args = parser.parse_args()
    earlier = json.loads(args.out.read_text(encoding="utf-8"))["stages"] if args.stages and args.out.is_file() else {}
    accounts = {**earlier, **run(args.rounds, args.stages, args.seed)}
    account = {"command": "python scripts/kill_rounds.py --rounds 100", **add_up(accounts)}
    args.out.write_text(json.dumps(account, indent=2) + "\n", encoding="utf-8")
    return 1 if account["problems"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
