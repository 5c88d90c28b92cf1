"""The load script: its figures are honest, and a short run of it finds nothing wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_short_load_finds_no_error_and_says_how_long(
    measured_model_dir: Path, repository_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "load.json"
    options = ["--seconds", "6", "--clients", "4", "--every", "2", "--overload_seconds", "4", "--out", str(out)]
    command = [sys.executable, str(repository_dir / "scripts" / "load_test.py"), "--model", str(measured_model_dir)]
    process = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    report = json.loads(out.read_text())
    assert report["load"]["num_answers"] > 0
    assert report["load"]["num_errors"] == report["overload"]["num_errors"] == 0
    assert report["load"]["num_waits_said"] == report["load"]["num_answers"]
    assert report["overload"]["num_waits_said"] == report["overload"]["num_answers"]
    assert report["answers_after_overload"] is True
    for row in report["table"]:
        assert f"| {row['what']} | {row['measured']} | {row['wanted']} |" in process.stdout
