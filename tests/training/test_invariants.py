"""Ways of training that must agree: divided batches, accumulated batches, and batches shared by two processes.

The network has no BatchNorm: its statistics are those of what one process sees at once, so that with it a divided batch
is rightly another computation. Augmentation is off for the same reason: its draws belong to a batch.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

WAYS = ("one rank", "accumulated", "two ranks")


@pytest.fixture(scope="module")
def trajectories(
    phantom_splits: Any, tiny_convnext_dir: Path, tiny_backbone_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    work_dir = tmp_path_factory.mktemp("ranks")
    phantom_splits.save_to_disk(str(work_dir / "splits"))
    subprocess.run(
        [sys.executable, Path(__file__).with_name("ranks.py"), work_dir, tiny_convnext_dir, tiny_backbone_dir],
        check=True,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=600,
    )
    names = [way + taught for way in WAYS for taught in ("", ", taught")]
    return {name: json.loads((work_dir / f"{name}.json").read_text()) for name in names}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["accumulated", "two ranks"])
def test_divided_batch_takes_the_steps_of_the_whole_one(trajectories: dict[str, dict[str, Any]], way: str) -> None:
    whole, divided = trajectories["one rank"], trajectories[way]
    assert len(whole["losses"]) == 9
    np.testing.assert_allclose(divided["losses"], whole["losses"], rtol=1e-4, err_msg="the losses drift apart")
    np.testing.assert_allclose(divided["validation"], whole["validation"], rtol=1e-3, atol=1e-5)
    for key, total in whole["weights"].items():
        assert divided["weights"][key] == pytest.approx(total, rel=1e-3, abs=1e-3), key


@pytest.mark.slow
@pytest.mark.parametrize("way", ["accumulated", "two ranks"])
def test_teacher_teaches_divided_batches_almost_alike(trajectories: dict[str, dict[str, Any]], way: str) -> None:
    taught, alone = trajectories["one rank, taught"], trajectories["one rank"]
    assert np.min(np.subtract(taught["losses"], alone["losses"])) > 0.1, "what the teacher asks is a part of the loss"
    # Almost: the teacher's features are standardized by what one process sees at once.
    np.testing.assert_allclose(trajectories[f"{way}, taught"]["losses"], taught["losses"], rtol=0.01)


@pytest.mark.slow
def test_trajectory_moves(trajectories: dict[str, dict[str, Any]]) -> None:
    losses = trajectories["one rank"]["losses"]
    assert max(losses) - min(losses) > 0.01, "equal trajectories mean something only if training changes the network"


@pytest.mark.slow
def test_two_processes_of_torchrun_write_one_model_and_speak_with_one_voice(
    prepared_phantoms_dir: Path, tiny_convnext_dir: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "hf_fracture", "train", str(prepared_phantoms_dir), "--backbone", str(tiny_convnext_dir)]
    command += ["--out", str(tmp_path / "run"), "--image_size", "32", "--evidence_weight", "0", "--use_cpu", "true"]
    command += ["--bf16", "false", "--num_train_epochs", "1", "--per_device_train_batch_size", "4"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_DATASETS_CACHE": str(tmp_path / "cache")},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("validation AUROC") == 1
    assert done.stderr.count("Next: hf-fracture evaluate") == 1
    facts = json.loads((tmp_path / "run" / "model" / "run.json").read_text())
    assert facts["training_arguments"]["world_size"] == 2
    steps = json.loads((tmp_path / "run" / "log.json").read_text())["history"][-1]["step"]
    assert steps == 3, "24 films in batches of 4 on each of two processes"
    assert not list((tmp_path / "run").glob(".*partial*"))


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["", "full_shard auto_wrap"], ids=["bf16", "fsdp"])
def test_gpu_learns_in_bf16_and_under_fsdp(
    prepared_phantoms_dir: Path, tiny_convnext_dir: Path, tmp_path: Path, sharding: str
) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "1"]
    command += ["-m", "hf_fracture", "train", str(prepared_phantoms_dir), "--backbone", str(tiny_convnext_dir)]
    command += ["--out", str(tmp_path / "run"), "--image_size", "64", "--evidence_weight", "0", "--bf16", "true"]
    command += ["--num_train_epochs", "2", *(["--fsdp", sharding] if sharding else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
