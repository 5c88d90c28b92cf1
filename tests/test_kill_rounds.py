"""A few of the rounds of scripts/kill_rounds.py: which moment is hit is chance, what must hold afterwards is not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

STAGES = ["predict --csv --resume", "predict --jsonl --resume"]


@pytest.mark.slow
def test_killed_commands_end_as_undisturbed_ones(repository_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "kill_rounds.json"
    command = [sys.executable, str(repository_dir / "scripts" / "kill_rounds.py"), "--rounds", "4", "--out", str(out)]
    answer = subprocess.run([*command, "--stages", *STAGES], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr[-2000:]
    account = json.loads(out.read_text())
    assert account["rounds"] >= 4
    assert account["problems"] == 0
    assert set(account["stages"]) == set(STAGES)
