"""What was shown to a visitor is kept nowhere, nothing of one who has left, and a crowd is told to come back."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio.state_holder import SessionState

import app
import forgetful
from hf_fracture.inference.classifier import FractureClassifier
from reader import FilmReader

SESSION = "visitor"


@dataclass(frozen=True)
class Served:
    """A page in this process, and where it is."""

    blocks: Any
    url: str

    @property
    def sessions(self) -> Any:
        return self.blocks.state_holder


@pytest.fixture(scope="module")
def page(measured: FractureClassifier) -> Iterator[Served]:
    blocks = app.build_page({"measured": measured})
    yield Served(blocks, app.launch_page(blocks))
    blocks.close(verbose=False)


def find_component_id(page: Served, elem_id: str) -> int:
    found = [key for key, block in page.blocks.blocks.items() if getattr(block, "elem_id", None) == elem_id]
    return int(found[0])


@pytest.mark.parametrize(("kind", "is_kept"), [(SessionState, True), (forgetful.ForgetfulSession, False)])
def test_session_keeps_no_value_of_a_component_and_gradio_s_own_does(page: Served, kind: Any, is_kept: bool) -> None:
    session, viewer = kind(page.blocks), find_component_id(page, "viewer")
    session._update_value_in_config(viewer, "the film of a visitor")
    session._update_config(viewer)
    session._update_value_in_config(viewer, "the film of a visitor")
    assert ("the film of a visitor" in json.dumps(session.config_values, default=str)) is is_kept


def test_number_of_sessions_is_bounded(page: Served) -> None:
    sessions = page.sessions
    assert isinstance(sessions, forgetful.ForgetfulSessions)
    for index in range(forgetful.MAX_SESSIONS + 10):
        sessions[f"program {index}"]
    assert len(sessions.session_data) == forgetful.MAX_SESSIONS
    assert len(sessions.time_last_used) == forgetful.MAX_SESSIONS


def test_visitor_who_leaves_is_forgotten_with_the_film(page: Served, film_path: Path) -> None:
    with httpx.Client(base_url=page.url, timeout=60) as client:
        with client.stream("GET", f"/gradio_api/heartbeat/{SESSION}") as heartbeat:
            beats = heartbeat.iter_raw()  # as long as it is held, the connection stays open
            next(beats)
            uploaded = client.post("/gradio_api/upload", files={"files": ("mine.png", film_path.read_bytes())})
            path = uploaded.json()[0]
            show_film(client, path)
            assert Path(path).is_file()
            assert SESSION in page.sessions.session_data
            assert path in str(page.sessions[SESSION].state_data)
            assert len(page.blocks._queue.event_analytics) <= 1
            assert page.blocks._queue.cached_event_analytics_summary == {"functions": {}}
        end = time.monotonic() + 60
        while SESSION in page.sessions.session_data and time.monotonic() < end:
            time.sleep(0.1)
    assert SESSION not in page.sessions.session_data
    assert SESSION not in page.sessions.time_last_used
    assert not Path(path).exists()


def test_nobody_can_have_a_visitor_s_page_written_to_disk(page: Served) -> None:
    answer = httpx.get(f"{page.url}gradio_api/deep_link", params={"session_hash": SESSION}, timeout=60)
    assert answer.status_code == 403


def test_queue_that_is_full_says_so_and_takes_calls_again_once_it_is_not(
    page: Served, film_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    monkeypatch.setattr(FilmReader, "look", lambda *_: released.wait(120) and None)  # no film, after a long while
    with httpx.Client(base_url=page.url, timeout=60) as client:
        path = client.post("/gradio_api/upload", files={"files": ("a.png", film_path.read_bytes())}).json()[0]
        explain = find_function(client, "explain")
        call = {"data": [name_upload(path), "grad_cam", "measured"], "fn_index": explain["id"]}

        def join(number: int) -> httpx.Response:
            return client.post("/gradio_api/queue/join", json={**call, "session_hash": f"crowd {number}"})

        answers = [join(number) for number in range(app.MAX_WAITING + 10)]
        assert [answer.status_code for answer in answers[: app.MAX_WAITING]] == [200] * app.MAX_WAITING
        assert answers[-1].status_code == 503
        assert "full" in answers[-1].text.lower()
        released.set()
        end = time.monotonic() + 60
        while (again := join(-1)).status_code == 503 and time.monotonic() < end:
            time.sleep(0.2)
    assert again.status_code == 200


def find_function(client: httpx.Client, name: str) -> dict[str, Any]:
    """Return the page's function of that name with the most outputs."""
    found = [part for part in client.get("/config").json()["dependencies"] if part["api_name"] == name]
    function: dict[str, Any] = max(found, key=lambda part: len(part["outputs"]))
    return function


def name_upload(path: str) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def show_film(client: httpx.Client, path: str) -> None:
    """Have a film examined as the page's first tab does."""
    take = find_function(client, "take")
    call = {"data": [name_upload(path), None, "measured"], "fn_index": take["id"], "session_hash": SESSION}
    client.post("/gradio_api/queue/join", json=call).raise_for_status()
    with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": SESSION}) as stream:
        messages = [json.loads(line[5:]) for line in stream.iter_lines() if line.startswith("data:")]
    answer = next(message for message in messages if message["msg"] == "process_completed")
    assert answer["success"], answer
