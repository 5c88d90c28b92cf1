"""A Hub for the tests of this room, a client of it, and folders that may be published."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.hub.stub_hub import TOKEN, StubHub, start_hub

GOLDEN_DIR = Path(__file__).resolve().parent / "model_folder"
GOLDEN_WEIGHTS = b"the weights of the golden card"


@dataclass
class Answer:
    status: int
    stdout: str
    stderr: str


class HubClient:
    """A process whose `huggingface_hub` knows the stub Hub."""

    def __init__(self, hub: StubHub, home: Path) -> None:
        self.environment = {**os.environ, **hub.environment(home), "HF_HUB_DOWNLOAD_TIMEOUT": "30"}
        self.process = self._begin()

    def _begin(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-X", "faulthandler", str(Path(__file__).with_name("hub_client.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self.environment,
            text=True,
        )

    def ask(self, request: dict[str, Any]) -> Answer:
        """Return the answer; one test fails if the process dies over it, and the next has a new one."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        line = ""
        with contextlib.suppress(BrokenPipeError):
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()
            line = stdout.readline()
        if not line:
            status, self.process = self.process.wait(timeout=20), self._begin()
            pytest.fail(f"The client died with status {status} over {request}.")
        return Answer(**json.loads(line))

    def run(self, *arguments: object, token: str | None = TOKEN) -> Answer:
        """Run a command of `hf-fracture`."""
        return self.ask({"arguments": [str(argument) for argument in arguments], "environment": {"HF_TOKEN": token}})

    def execute(self, code: str, *, token: str | None = TOKEN) -> Answer:
        """Run code."""
        return self.ask({"code": code, "environment": {"HF_TOKEN": token}})

    def start(self, *arguments: object) -> int:
        """Run a command in a process of its own, and return its id."""
        return self.ask({"arguments": [str(argument) for argument in arguments], "aside": True}).status

    def kill(self, process_id: int) -> int:
        """Kill what was started; return its exit status, which is negative if it had not finished."""
        return self.ask({"kill": process_id}).status

    def close(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait(timeout=20)


@pytest.fixture(scope="session")
def served_hub() -> Iterator[StubHub]:
    with start_hub() as hub:
        yield hub


@pytest.fixture(scope="session")
def client(served_hub: StubHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubClient]:
    client = HubClient(served_hub, tmp_path_factory.mktemp("hub-home"))
    yield client
    client.close()


@pytest.fixture
def hub(served_hub: StubHub) -> StubHub:
    """Return the Hub, empty."""
    for kept in (served_hub.repos, served_hub.blobs, served_hub.collections, served_hub.faults, served_hub.requests):
        kept.clear()
    return served_hub


@pytest.fixture
def release_dir(tmp_path: Path) -> Path:
    """Return a complete model folder with its card, small and without a network that could be loaded."""
    from hf_fracture.hub.card import write_card

    folder = shutil.copytree(GOLDEN_DIR, tmp_path / "release")
    (folder / "model.safetensors").write_bytes(GOLDEN_WEIGHTS)
    write_card(folder, overwrite=True)
    return folder


@pytest.fixture(scope="session")
def own_films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a prepared dataset of phantoms; copy it before you change it."""
    from hf_fracture.data.phantoms import draw_phantom
    from hf_fracture.data.prepare import PrepareOptions, prepare_dataset

    folder = tmp_path_factory.mktemp("own")
    for seed in range(16):
        path = folder / "films" / ("fractured" if seed % 2 else "not fractured") / f"film_{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_phantom(seed, fractured=seed % 2 == 1, size_px=(96, 96)).image.save(path)
    options = PrepareOptions(num_workers=1, long_side_px=64)
    return prepare_dataset("image_folder", folder / "films", folder / "prepared", options=options)
