import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from hf_fracture.evaluation import ranks

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("num_processes", [1, 2, 3, 7])
@pytest.mark.parametrize("num_films", [0, 1, 5, 30])
def test_the_processes_share_every_film_once_and_evenly(num_films: int, num_processes: int) -> None:
    parts = []
    for rank in range(num_processes):
        with mock.patch.object(ranks, "_read_rank", return_value=(rank, num_processes)):
            parts.append(list(ranks.list_own(num_films)))
    assert [film for part in parts for film in part] == list(range(num_films))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_single_process_keeps_its_films() -> None:
    assert ranks.gather_in_order([3, 4]) == [3, 4]
    assert ranks.is_main_process()


def gather_and_write(path: str) -> None:
    """Answer five films in two processes; the main one writes what it gathered."""
    own = [f"film {position}" for position in ranks.list_own(5)]
    gathered = ranks.gather_in_order(own)
    if ranks.is_main_process():
        Path(path).write_text(json.dumps({"own": len(own), "gathered": gathered}))


@pytest.mark.slow
def test_two_processes_gather_each_film_once_in_order(tmp_path: Path) -> None:
    from accelerate import debug_launcher

    debug_launcher(gather_and_write, args=(str(tmp_path / "gathered.json"),), num_processes=2)
    content = json.loads((tmp_path / "gathered.json").read_text())
    assert content == {"own": 2, "gathered": [f"film {position}" for position in range(5)]}


@pytest.mark.slow
def test_two_processes_write_the_evaluation_of_one(model_dir: Path, dataset_dir: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    command = ["-m", "hf_fracture", "evaluate", str(model_dir), str(dataset_dir), "--resamples", "50"]
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29611"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(REPOSITORY)}
    for name, prefix in {"one": [], "two": launch}.items():
        arguments = [sys.executable, *prefix, *command, "--out", str(tmp_path / name)]
        subprocess.run(arguments, check=True, env=environment, capture_output=True, timeout=600)
    contents = [json.loads((tmp_path / name / "evaluation.json").read_text()) for name in ("one", "two")]
    assert contents[0]["cohort"] == contents[1]["cohort"] == contents[0]["cohort"] | {"num_films": 30}
    tables = [pq.read_table(tmp_path / name / "predictions.parquet").to_pydict() for name in ("one", "two")]
    assert tables[0]["id"] == tables[1]["id"]
    assert len(set(tables[1]["id"])) == 30
    assert tables[1]["probability"] == pytest.approx(tables[0]["probability"], abs=1e-6)
    assert contents[1]["metrics"]["auroc"]["value"] == pytest.approx(contents[0]["metrics"]["auroc"]["value"])
