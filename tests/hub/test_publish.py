"""The real client pushes to the stub Hub: what arrives, what happens when something breaks, and what is said of it."""

import os
import re
import signal
from pathlib import Path
from typing import Literal

import pytest

from tests.hub.conftest import Answer, HubClient
from tests.hub.stub_hub import Action, Fault, StubHub

REPO = "me/model"
MODEL = ("models", REPO)


def read_release(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read_arrived(hub: StubHub, revision: str = "main") -> dict[str, bytes]:
    return {path: content for path, content in hub.files(*MODEL, revision).items() if path != ".gitattributes"}


def assert_one_sentence(answer: Answer, *words: str) -> None:
    last = answer.stderr.strip().splitlines()[-1]
    assert answer.status == 2, answer.stderr
    assert last.startswith("hf-fracture: error: ")
    assert "Traceback" not in answer.stderr
    assert answer.stdout == ""
    for word in words:
        assert word in last


def test_dry_run_lists_what_would_go_and_asks_nobody(hub: StubHub, client: HubClient, release_dir: Path) -> None:
    answer = client.run("publish", "model", release_dir, REPO, "--dry-run")
    listed = {name: size for size, name in (line.split("\t") for line in answer.stdout.splitlines())}
    assert listed == {name: str(len(content)) for name, content in read_release(release_dir).items()}
    assert hub.requests == []
    assert client.run("publish", "model", release_dir, REPO).status == 0
    assert set(read_arrived(hub)) == set(listed)


def test_model_arrives_in_one_commit(hub: StubHub, client: HubClient, release_dir: Path) -> None:
    answer = client.run("publish", "model", release_dir, REPO)
    assert answer.status == 0, answer.stderr
    assert read_arrived(hub) == read_release(release_dir)
    assert hub.log(*MODEL) == ["Publish the model with hf-fracture", "initial commit"]
    address, _, *usage = answer.stdout.splitlines()
    assert address == f"{hub.url}/{REPO}"
    assert len(usage) == 3
    assert f'from_pretrained("{REPO}", revision="{hub.repos[MODEL].refs["main"]}")' in usage[1]


def test_second_publication_sends_what_changed_and_removes_what_is_gone(
    hub: StubHub, client: HubClient, release_dir: Path
) -> None:
    client.run("publish", "model", release_dir, REPO)
    client.execute(
        "from huggingface_hub import HfApi\n"
        f"HfApi().upload_file(path_or_fileobj=b'mine', path_in_repo='notes.txt', repo_id='{REPO}')"
    )
    hub.requests.clear()
    (release_dir / "gate.json").unlink()
    from hf_fracture.hub.card import write_card

    write_card(release_dir, overwrite=True)
    assert client.run("publish", "model", release_dir, REPO).status == 0
    assert read_arrived(hub) == {**read_release(release_dir), "notes.txt": b"mine"}
    assert hub.count("PUT /lfs/") == 0
    head = hub.repos[MODEL].refs["main"]
    assert client.run("publish", "model", release_dir, REPO).status == 0
    assert hub.repos[MODEL].refs["main"] == head, "nothing changed, so there is no commit"


def test_revision_tag_pull_request_gate_and_collection(hub: StubHub, client: HubClient, release_dir: Path) -> None:
    hub.collections["me/fractures-1"] = []
    answer = client.run(
        *("publish", "model", release_dir, REPO, "--private", "--revision", "next", "--tag", "v1"),
        *("--collection", "me/fractures-1", "--gated", "manual"),
    )
    assert answer.status == 0, answer.stderr
    repo = hub.repos[MODEL]
    assert repo.settings["private"] is True
    assert repo.settings["gated"] == "manual"
    assert repo.refs["v1"] == repo.refs["next"] != repo.refs["main"]
    assert set(hub.files(*MODEL)) == {".gitattributes"}
    assert hub.collections["me/fractures-1"] == [{"id": REPO, "type": "model"}]
    answer = client.run("publish", "model", release_dir, REPO, "--create-pr")
    assert answer.stdout.startswith(f"{hub.url}/{REPO}/discussions/1\n")
    assert "README.md" in hub.files(*MODEL, "refs/pr/1")
    assert set(hub.files(*MODEL)) == {".gitattributes"}


def test_tag_does_not_move(hub: StubHub, client: HubClient, release_dir: Path) -> None:
    assert client.run("publish", "model", release_dir, REPO, "--tag", "v1").status == 0
    assert client.run("publish", "model", release_dir, REPO, "--tag", "v1").status == 0, "nothing changed"
    (release_dir / "LICENSE").write_text("words")
    client.run("publish", "model", release_dir, REPO)
    head = hub.repos[MODEL].refs["main"]
    assert_one_sentence(client.run("publish", "model", release_dir, REPO, "--tag", "v1"), "tag 'v1'", "another --tag")
    assert hub.repos[MODEL].refs["main"] == head


def test_public_repository_does_not_get_what_shall_be_private(
    hub: StubHub, client: HubClient, release_dir: Path
) -> None:
    client.execute(f"from huggingface_hub import HfApi\nHfApi().create_repo('{REPO}')")
    assert_one_sentence(client.run("publish", "model", release_dir, REPO, "--private"), "exists and is public")
    assert set(hub.files(*MODEL)) == {".gitattributes"}


@pytest.mark.parametrize(
    "arguments",
    [["no-owner"], ["me/a b"], ["me/model", "--create-pr", "--tag", "v1"], ["me/model", "--model", "me/other"]],
    ids=" ".join,
)
def test_mistakes_are_found_before_anything_is_sent(
    hub: StubHub, client: HubClient, release_dir: Path, arguments: list[str]
) -> None:
    assert_one_sentence(client.run("publish", "model", release_dir, *arguments))
    assert hub.requests == []


ROUTES = {
    "create": "POST /api/repos/create",
    "info": rf"GET /api/models/{REPO}",
    "preupload": "POST .*/preupload/",
    "batch": "POST .*/objects/batch",
    "put": "PUT /lfs/",
    "commit": "POST .*/commit/",
    "tree": "GET .*/tree/",
    "tag": "POST .*/tag/",
}


@pytest.mark.parametrize("action", [500, 503, "drop", "lose_answer"], ids=str)
@pytest.mark.parametrize("route", ROUTES)
def test_passing_fault_is_survived(
    hub: StubHub, client: HubClient, release_dir: Path, route: str, action: int | str
) -> None:
    hub.faults.append(Fault(ROUTES[route], action, times=1))  # type: ignore[arg-type]
    answer = client.run("publish", "model", release_dir, REPO, "--tag", "v1")
    assert answer.status == 0, answer.stderr
    assert hub.faults[0].times == 0, "the fault did not happen"
    assert read_arrived(hub) == read_release(release_dir)
    assert hub.log(*MODEL) == ["Publish the model with hf-fracture", "initial commit"]
    assert hub.repos[MODEL].refs["v1"] == hub.repos[MODEL].refs["main"]


@pytest.mark.parametrize("action", [401, 403, 404, 409, 412, 413, 500, "drop"], ids=str)
@pytest.mark.parametrize("route", ["create", "preupload", "put", "commit"])
def test_lasting_fault_is_explained_and_nothing_half_done_stays(
    hub: StubHub, client: HubClient, release_dir: Path, route: str, action: int | str
) -> None:
    hub.faults.append(Fault(ROUTES[route], action, times=1000))  # type: ignore[arg-type]
    answer = client.run("publish", "model", release_dir, REPO)
    if (route, action) == ("create", 409):  # that is how a Hub says that the repository exists
        assert_one_sentence(answer, "does not understand")
        return
    words = {401: "hf auth login", 403: "does not let you write", 412: "Somebody else", 500: "answered 500"}
    assert_one_sentence(answer, words.get(action if isinstance(action, int) else 0, REPO if action == "drop" else ""))
    assert MODEL not in hub.repos or set(hub.files(*MODEL)) == {".gitattributes"}
    hub.faults.clear()
    assert client.run("publish", "model", release_dir, REPO).status == 0
    assert read_arrived(hub) == read_release(release_dir)


def test_tag_that_fails_does_not_hide_what_is_published(hub: StubHub, client: HubClient, release_dir: Path) -> None:
    hub.faults.append(Fault(ROUTES["tag"], 403, times=1000))
    answer = client.run("publish", "model", release_dir, REPO, "--tag", "v1")
    assert_one_sentence(answer, f"Commit {hub.repos[MODEL].refs['main'][:12]} is published, but not tagged")
    assert read_arrived(hub) == read_release(release_dir)


def test_commit_of_somebody_else_is_not_overwritten_unseen(hub: StubHub, client: HubClient, release_dir: Path) -> None:
    code = (
        "from huggingface_hub import HfApi\n"
        "from hf_fracture.hub import publish\n"
        "from hf_fracture.hub.publish_model import plan_model\n"
        "from pathlib import Path\n"
        "commit_once = publish._Sender._commit_once\n"
        "def interfere(sender, parent):\n"
        f"    HfApi().upload_file(path_or_fileobj=b'theirs', path_in_repo='run.json', repo_id='{REPO}')\n"
        "    return commit_once(sender, parent)\n"
        "publish._Sender._commit_once = interfere\n"
        "try:\n"
        f"    publish.publish(plan_model(Path('{release_dir}')), '{REPO}')\n"
        "finally:\n"
        "    publish._Sender._commit_once = commit_once\n"
    )
    answer = client.execute(code)
    assert "Somebody else committed" in answer.stderr
    assert read_arrived(hub) == {"run.json": b"theirs"}


def test_file_that_changes_while_it_is_sent_is_noticed(hub: StubHub, client: HubClient, release_dir: Path) -> None:
    code = (
        "from pathlib import Path\n"
        "from hf_fracture.hub import publish\n"
        "from hf_fracture.hub.publish_model import plan_model\n"
        "check = publish._Sender._check_arrival\n"
        "def change(sender, revision):\n"
        f"    Path('{release_dir}', 'run.json').write_text('{{}}')\n"
        "    return check(sender, revision)\n"
        "publish._Sender._check_arrival = change\n"
        "try:\n"
        f"    publish.publish(plan_model(Path('{release_dir}')), '{REPO}')\n"
        "finally:\n"
        "    publish._Sender._check_arrival = check\n"
    )
    assert "1 file(s) differ there, the first run.json" in client.execute(code).stderr


def test_file_that_vanishes_while_it_is_sent_is_named(hub: StubHub, client: HubClient, release_dir: Path) -> None:
    code = (
        "from pathlib import Path\n"
        "from hf_fracture.hub import publish\n"
        "from hf_fracture.hub.publish_model import plan_model\n"
        f"plan = plan_model(Path('{release_dir}'))\n"
        f"Path('{release_dir}', 'model.safetensors').unlink()\n"
        f"publish.publish(plan, '{REPO}')\n"
    )
    last = client.execute(code).stderr.strip().splitlines()[-1]
    assert "model.safetensors" in last
    assert set(hub.files(*MODEL)) == {".gitattributes"}


def test_pull_request_whose_answer_is_lost_is_not_opened_twice(
    hub: StubHub, client: HubClient, release_dir: Path
) -> None:
    hub.faults.append(Fault(ROUTES["commit"], "lose_answer", times=1))
    answer = client.run("publish", "model", release_dir, REPO, "--create-pr")
    assert_one_sentence(answer, "whether a pull request was opened in me/model")
    assert [ref for ref in hub.repos[MODEL].refs if ref.startswith("refs/pr/")] == ["refs/pr/1"]


def test_no_token_is_one_sentence(hub: StubHub, client: HubClient, release_dir: Path) -> None:
    assert_one_sentence(client.run("publish", "model", release_dir, REPO, token=None), "hf auth login")
    assert_one_sentence(client.run("publish", "model", release_dir, REPO, token="hf_wrong"), "hf auth login")
    assert hub.repos == {}


@pytest.fixture(params=["dataset", "space"])
def other_kind(request: pytest.FixtureRequest, own_films: Path, repository_dir: Path) -> tuple[str, list[object]]:
    """Return where a dataset or a Space is kept on the Hub, and the arguments that publish it."""
    kind = request.param
    folder, options = (own_films, ["--license", "cc-by-4.0"]) if kind == "dataset" else (repository_dir / "space", [])
    return f"{kind}s", ["publish", kind, folder, "me/other", *options]


@pytest.mark.parametrize(("route", "action"), [("put", "drop"), ("commit", 500), ("commit", "lose_answer")])
def test_dataset_and_space_survive_a_passing_fault(
    hub: StubHub, client: HubClient, other_kind: tuple[str, list[object]], route: str, action: int | Action
) -> None:
    kept, arguments = other_kind
    hub.faults.append(Fault(ROUTES[route], action))
    answer = client.run(*arguments)
    assert answer.status == 0, answer.stderr
    assert hub.faults[0].times == 0, "the fault did not happen"
    listed = client.run(*arguments, "--dry-run").stdout
    names = {line.split("\t")[1] for line in listed.splitlines()}
    assert set(hub.files(kept, "me/other")) == names | {".gitattributes"}
    assert len(hub.repos[kept, "me/other"].commits) == 2
    address, _, *usage = answer.stdout.splitlines()
    assert address == f"{hub.url}/{kept}/me/other"
    assert len(usage) == 3


@pytest.mark.parametrize("action", [403, "drop"], ids=str)
def test_dataset_and_space_are_whole_or_not_there(
    hub: StubHub, client: HubClient, other_kind: tuple[str, list[object]], action: int | Action
) -> None:
    kept, arguments = other_kind
    hub.faults.append(Fault(ROUTES["commit"], action, times=1000))
    assert_one_sentence(client.run(*arguments))
    assert set(hub.files(kept, "me/other")) == {".gitattributes"}


@pytest.mark.slow
@pytest.mark.parametrize("action", ["hold", "hold_answer"])
def test_client_killed_at_any_request_leaves_the_old_commit_or_the_new_one(
    hub: StubHub, client: HubClient, release_dir: Path, action: Literal["hold", "hold_answer"]
) -> None:
    """Kill it as each of its requests arrives, or before each is answered; then look, then finish the work."""
    command = ("publish", "model", release_dir, REPO, "--tag")
    assert client.run(*command[:-1]).status == 0
    change_release(release_dir)
    hub.requests.clear()
    assert client.run(*command, "v").status == 0
    undisturbed = list(hub.requests)
    left_new = []
    for number, _ in enumerate(undisturbed):
        old, new = read_arrived(hub), change_release(release_dir)
        hub.requests.clear()
        hub.faults[:] = [fault := Fault(".", action, skip=number)]
        victim = client.start(*command, f"v{number}")
        assert fault.reached.wait(timeout=120)
        assert client.kill(victim) == -signal.SIGKILL
        fault.released.set()
        assert fault.done.wait(timeout=120)
        assert read_arrived(hub) in (old, new)
        left_new.append(read_arrived(hub) == new)
        answer = client.run(*command, f"v{number}")
        assert answer.status == 0, answer.stderr
        assert read_arrived(hub) == new
        assert hub.repos[MODEL].refs[f"v{number}"] == hub.repos[MODEL].refs["main"]
        assert hub.count("PUT /lfs/") == 1, "what was uploaded is sent again"
    commit = next(number for number, request in enumerate(undisturbed) if re.search(ROUTES["commit"], request))
    assert left_new == [number >= commit for number, _ in enumerate(undisturbed)], "the commit is what counts"


def change_release(folder: Path) -> dict[str, bytes]:
    """Change a small file and a large one of a release, and return its files."""
    (folder / "LICENSE").write_bytes(os.urandom(20))
    (folder / "gate.safetensors").write_bytes(os.urandom(3_000_000))
    return read_release(folder)
