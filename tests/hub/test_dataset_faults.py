"""A dataset on the Hub is had in spite of a passing fault, or its absence is explained in one sentence."""

from pathlib import Path

import pytest

from hf_fracture.models.checkpoint import DEFAULT_MODEL_DIR
from tests.hub.conftest import HubClient
from tests.hub.stub_hub import Action, Fault, StubHub

CLEAR = "import shutil, os\nshutil.rmtree(os.environ['HF_HOME'], ignore_errors=True)\n"
LOAD = f"""
{CLEAR}
from hf_fracture.evaluation.films import load_splits
print({{name: len(films) for name, films in load_splits("me/films").items()}})
"""


@pytest.fixture
def published(hub: StubHub, client: HubClient, own_films: Path) -> StubHub:
    answer = client.run("publish", "dataset", own_films, "me/films", "--license", "cc-by-4.0")
    assert answer.status == 0, answer.stderr
    hub.requests.clear()
    return hub


@pytest.mark.parametrize("action", [500, "drop", "truncate"], ids=str)
@pytest.mark.parametrize("route", [r"GET .*/resolve/.*parquet", r"HEAD .*/resolve/", "."])
def test_passing_fault_is_survived(published: StubHub, client: HubClient, route: str, action: int | Action) -> None:
    published.faults[:] = [Fault(route, action)]
    answer = client.execute(LOAD)
    assert answer.status == 0, answer.stderr
    assert "'train': 11" in answer.stdout
    assert published.faults[0].times == 0, "the fault did not happen"


@pytest.mark.parametrize("action", [401, 403, 404, 409, 500, "drop", "truncate"], ids=str)
@pytest.mark.parametrize("route", [r"GET .*/resolve/.*parquet", "."])
def test_lasting_fault_is_one_sentence(
    published: StubHub, client: HubClient, route: str, action: int | Action, tmp_path: Path
) -> None:
    published.faults[:] = [Fault(route, action, times=10_000)]
    client.execute(CLEAR)
    answer = client.run("evaluate", DEFAULT_MODEL_DIR, "me/films", "--out", tmp_path / "measured")
    assert answer.status == 2, answer.stderr
    last = answer.stderr.strip().splitlines()[-1]
    assert last.startswith("hf-fracture: error: Expected a prepared dataset folder or a Hub dataset id"), last
    assert "'me/films'" in last
    assert not (tmp_path / "measured").exists()
    published.faults.clear()
    assert client.execute(LOAD).status == 0


def test_slow_body_arrives_all_the_same(published: StubHub, client: HubClient) -> None:
    published.faults[:] = [Fault("GET .*/resolve/", "slow", times=1000, seconds=0.02)]
    answer = client.execute(LOAD)
    assert answer.status == 0, answer.stderr
