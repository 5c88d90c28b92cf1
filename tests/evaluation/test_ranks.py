import json
from pathlib import Path
from unittest import mock

import pytest

from hf_fracture.evaluation import ranks


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
