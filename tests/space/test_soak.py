"""The soak script, shortly: every endpoint gets malformed requests, and nothing that must not happen does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_abused_page_gives_nothing_away_and_goes_on(
    measured_model_dir: Path, repository_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "soak.json"
    command = [sys.executable, str(repository_dir / "scripts" / "soak.py"), "--model", str(measured_model_dir)]
    options = ["--minutes", "0.05", "--slow_seconds", "3", "--every", "1", "--out", str(out)]
    answer = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout[-2000:] + answer.stderr[-2000:]
    report = json.loads(out.read_text())
    assert report["problems"] == []
    assert report["malformed_requests"]["endpoints"] > 30
    assert report["foreign_files"]["refused"] > 100
    assert "200" not in report["oversize_uploads"]["answers"]
    assert report["slow_clients"]["answers"] > 0
