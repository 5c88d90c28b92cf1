"""What was published is found again: by id, in fresh processes, without a network, at the revision that was pinned."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.models.checkpoint import DEFAULT_MODEL_DIR
from tests.hub.conftest import HubClient
from tests.hub.stub_hub import Commit, Fault, Repo, StubHub

REPO = "me/reader"

PREDICT = """
import json, sys, warnings
from hf_fracture import FractureClassifier
warnings.simplefilter("error")
findings = []
for revision in {revisions}:
    classifier = FractureClassifier.from_pretrained("{repo}", revision=revision)
    findings += [
        [finding.decision, finding.probability, finding.revision] for finding in classifier.predict_many({films})
    ]
print(json.dumps(findings))
"""


def run_fresh(hub: StubHub, home: Path, code: str, **environment: str) -> str:
    process = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **hub.environment(home), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()[-1]


@pytest.fixture
def films(tmp_path: Path) -> list[str]:
    paths = []
    for seed in (1, 2):
        path = tmp_path / f"{seed}.png"
        draw_phantom(seed, fractured=seed == 1).image.save(path)
        paths.append(str(path))
    return paths


def publish(client: HubClient, *arguments: object) -> None:
    answer = client.run("publish", *arguments)
    assert answer.status == 0, answer.stderr


@pytest.mark.slow
def test_model_answers_by_id_as_it_did_at_home(
    hub: StubHub, client: HubClient, films: list[str], tmp_path: Path
) -> None:
    """One process downloads and predicts; another, offline, answers from the cache; the pinned commit stays pinned."""
    from hf_fracture import FractureClassifier

    folder = shutil.copytree(DEFAULT_MODEL_DIR, tmp_path / "model")
    publish(client, "model", folder, REPO, "--tag", "v1")
    first = hub.repos["models", REPO].refs["main"]
    expected = [
        (finding.decision, pytest.approx(finding.probability, abs=1e-6))
        for finding in FractureClassifier.from_pretrained().predict_many(films)
    ]
    home = tmp_path / "empty"
    answers = json.loads(run_fresh(hub, home, PREDICT.format(repo=REPO, revisions=[None, "v1"], films=films)))
    assert [(decision, probability) for decision, probability, _ in answers] == expected * 2
    assert {revision for *_, revision in answers} == {first}

    (folder / "LICENSE").write_text("a later commit")
    publish(client, "model", folder, REPO)
    second = hub.repos["models", REPO].refs["main"]
    answers = json.loads(run_fresh(hub, home, PREDICT.format(repo=REPO, revisions=[first, None], films=films[:1])))
    assert [revision for *_, revision in answers] == [first, second]

    hub.requests.clear()
    code = PREDICT.format(repo=REPO, revisions=[first, "v1", None], films=films[:1])
    answers = json.loads(run_fresh(hub, home, code, HF_HUB_OFFLINE="1"))
    assert [revision for *_, revision in answers] == [first, first, second]
    assert hub.requests == []


@pytest.mark.slow
def test_pipeline_and_command_take_the_id(hub: StubHub, client: HubClient, films: list[str], tmp_path: Path) -> None:
    publish(client, "model", DEFAULT_MODEL_DIR, REPO)
    code = (
        "import json\n"
        "from transformers import pipeline\n"
        f"answers = pipeline('image-classification', model='{REPO}')('{films[0]}')\n"
        "from hf_fracture import FractureClassifier\n"
        f"finding = FractureClassifier.from_pretrained('{REPO}').predict('{films[0]}')\n"
        "scores = {answer['label']: answer['score'] for answer in answers}\n"
        "print(json.dumps([scores['fractured'], finding.probability]))\n"
    )
    by_pipeline, by_classifier = json.loads(run_fresh(hub, tmp_path / "home", code))
    assert by_pipeline == pytest.approx(by_classifier, abs=1e-4)


LOAD = """
import json
from datasets import load_dataset
dataset = load_dataset("me/films")
row = dataset["train"][0]
stream = load_dataset("me/films", split="train", streaming=True)
print(json.dumps([{name: len(split) for name, split in dataset.items()}, row["image"].size[0] > 0,
                  sum(1 for _ in stream), sorted(dataset["train"]["source_path"])]))
"""


@pytest.mark.slow
def test_dataset_loads_and_streams_by_id_with_no_code_of_ours(
    hub: StubHub, client: HubClient, own_films: Path, tmp_path: Path
) -> None:
    from datasets import load_dataset

    publish(client, "dataset", own_films, "me/films", "--license", "cc-by-4.0")
    here = load_dataset(str(own_films), cache_dir=str(tmp_path / "cache"))
    counts, has_pixels, num_streamed, paths = json.loads(run_fresh(hub, tmp_path / "home", LOAD))
    assert counts == {name: len(split) for name, split in here.items()}
    assert has_pixels
    assert num_streamed == counts["train"]
    assert paths == sorted(here["train"]["source_path"])


def test_ledger_loads_as_a_table(hub: StubHub, client: HubClient, own_films: Path) -> None:
    publish(client, "dataset", own_films, "me/ledger", "--ledger-only")
    assert not any(path.endswith(".parquet") for path in hub.files("datasets", "me/ledger"))
    answer = client.execute(
        "from datasets import load_dataset\nledger = load_dataset('me/ledger', split='ledger')\n"
        "print(len(ledger), *sorted(ledger.column_names))"
    )
    assert answer.status == 0, answer.stderr
    number, *columns = answer.stdout.split()
    assert int(number) == 16
    assert {"source_path", "sha256", "group_id", "split"} <= set(columns)


def test_space_comes_back_as_it_was_published(
    hub: StubHub, client: HubClient, repository_dir: Path, tmp_path: Path
) -> None:
    publish(client, "space", repository_dir / "space", "me/page")
    code = f"snapshot_download('me/page', repo_type='space', local_dir='{tmp_path}')"
    answer = client.execute(f"from huggingface_hub import snapshot_download\n{code}")
    assert answer.status == 0, answer.stderr
    sent = hub.files("spaces", "me/page")
    assert {name: (tmp_path / name).read_bytes() for name in sent} == sent
    assert {"app.py", "requirements.txt", "hf_fracture/default_model/model.safetensors"} <= set(sent)
    assert hub.repos["spaces", "me/page"].settings["sdk"] == "gradio"


FETCH = (
    "from hf_fracture.models.checkpoint import resolve_model_dir\nprint(resolve_model_dir({repo!r}, revision={rev!r}))"
)
CLEAR = "import shutil, os\nshutil.rmtree(os.path.join(os.environ['HF_HOME'], 'hub'), ignore_errors=True)\n"


@pytest.mark.parametrize(
    ("pattern", "action"),
    [
        ("GET .*/resolve/.*safetensors", 500),
        ("GET .*/resolve/.*safetensors", "drop"),
        ("GET .*/resolve/.*safetensors", "truncate"),
        ("GET .*/resolve/.*config.json", "truncate"),
        ("HEAD .*/resolve/.*config.json", 503),
    ],
)
def test_download_survives_a_passing_fault(
    hub: StubHub, client: HubClient, release_dir: Path, pattern: str, action: int | str
) -> None:
    publish(client, "model", release_dir, REPO)
    hub.faults[:] = [Fault(pattern, action, times=1)]  # type: ignore[arg-type]
    answer = client.execute(CLEAR + FETCH.format(repo=REPO, rev=None))
    assert answer.status == 0, answer.stderr
    folder = Path(answer.stdout.strip())
    assert hub.faults[0].times == 0
    for name in ("model.safetensors", "config.json", "evaluation.json"):
        assert (folder / name).read_bytes() == (release_dir / name).read_bytes()


@pytest.mark.parametrize(
    ("pattern", "action"),
    [
        ("GET .*/resolve/.*safetensors", 403),
        ("GET .*/resolve/.*safetensors", "truncate"),
        ("GET .*/resolve/.*safetensors", "drop"),
        ("GET /api/models", 500),
        (".", "drop"),
        (".", 401),
    ],
)
def test_download_that_cannot_be_had_is_one_sentence_and_leaves_no_half_file(
    hub: StubHub, client: HubClient, release_dir: Path, pattern: str, action: int | str
) -> None:
    publish(client, "model", release_dir, REPO)
    hub.faults[:] = [Fault(pattern, action, times=10_000)]  # type: ignore[arg-type]
    client.execute(CLEAR)
    answer = client.execute(FETCH.format(repo=REPO, rev=None))
    assert answer.status == 1
    last = answer.stderr.strip().splitlines()[-1]
    assert last.startswith("hf_fracture.errors.MissingInputError: Expected a model on the Hub under 'me/reader'"), last
    hub.faults.clear()
    answer = client.execute(FETCH.format(repo=REPO, rev=None))
    assert answer.status == 0, answer.stderr
    weights = Path(answer.stdout.strip(), "model.safetensors")
    assert weights.read_bytes() == (release_dir / "model.safetensors").read_bytes()


@pytest.mark.parametrize(("repo", "revision"), [("me/nothing", None), (REPO, "nowhere"), ("a/b c", None)])
def test_what_does_not_exist_is_named(
    hub: StubHub, client: HubClient, release_dir: Path, repo: str, revision: str | None
) -> None:
    publish(client, "model", release_dir, REPO)
    answer = client.execute(FETCH.format(repo=repo, rev=revision))
    last = answer.stderr.strip().splitlines()[-1]
    assert last.startswith("hf_fracture.errors.MissingInputError: Expected a model on the Hub")
    assert f"'{repo}' (revision {revision or 'main'})" in last


def test_pinned_revision_is_not_answered_by_a_folder_of_that_name(
    release_dir: Path, own_films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hf_fracture.errors import UsageError
    from hf_fracture.evaluation.films import load_splits
    from hf_fracture.models.checkpoint import resolve_model_dir

    monkeypatch.chdir(tmp_path)
    Path("me").mkdir()
    release_dir.rename("me/reader")
    shutil.copytree(own_films, "me/films")
    assert resolve_model_dir("me/reader") == Path("me/reader")
    for load, name in ((resolve_model_dir, "me/reader"), (load_splits, "me/films")):
        with pytest.raises(UsageError, match=f"got 'v1' with the folder '{name}'"):
            load(name, revision="v1")


def test_slow_body_arrives_all_the_same(hub: StubHub, client: HubClient, release_dir: Path) -> None:
    publish(client, "model", release_dir, REPO)
    hub.faults[:] = [Fault("GET .*/resolve/", "slow", times=1000, seconds=0.05)]
    answer = client.execute(CLEAR + FETCH.format(repo=REPO, rev=None))
    assert answer.status == 0, answer.stderr


def test_copy_in_the_cache_answers_while_the_hub_is_away(hub: StubHub, client: HubClient, release_dir: Path) -> None:
    publish(client, "model", release_dir, REPO)
    first = client.execute(CLEAR + FETCH.format(repo=REPO, rev=None)).stdout
    for fault in (Fault(".", "drop", times=10_000), Fault(".", 500, times=10_000)):
        hub.faults[:] = [fault]
        answer = client.execute(FETCH.format(repo=REPO, rev=None))
        assert answer.stdout == first, answer.stderr
        assert "is read from the cache" in answer.stderr or fault.action == 500
    (release_dir / "LICENSE").write_text("a later commit")
    (release_dir / "gate.safetensors").write_bytes(b"later")
    hub.faults.clear()
    publish(client, "model", release_dir, REPO)
    hub.faults[:] = [Fault("GET .*/resolve/.*gate", "truncate", times=10_000)]
    answer = client.execute(FETCH.format(repo=REPO, rev=None))
    assert answer.stdout == "", "half of a new download is not taken for a model"
    assert "MissingInputError: Expected a model on the Hub" in answer.stderr
    hub.faults.clear()
    answer = client.execute(FETCH.format(repo=REPO, rev=None))
    assert Path(answer.stdout.strip(), "gate.safetensors").read_bytes() == b"later"


@pytest.mark.slow
def test_foreign_classifier_is_taken_with_a_warning(
    hub: StubHub, client: HubClient, films: list[str], tmp_path: Path
) -> None:
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    torch.manual_seed(0)
    names = {0: "fractured", 1: "normal"}
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=16,
        id2label=names,
        label2id={name: index for index, name in names.items()},
    )
    ViTForImageClassification(config).save_pretrained(tmp_path / "foreign")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "foreign")
    files = {path.name: path.read_bytes() for path in (tmp_path / "foreign").iterdir()}
    commit = Commit("1" * 40, None, "theirs", files)
    hub.repos["models", "them/vit"] = Repo({commit.oid: commit}, {"main": commit.oid}, {"private": False})
    code = (
        "from hf_fracture import FractureClassifier\n"
        "classifier = FractureClassifier.from_pretrained('them/vit')\n"
        f"finding = classifier.predict('{films[0]}')\n"
        "print(classifier.record, finding.operating_point, finding.decision, finding.revision)\n"
    )
    answer = client.execute(code)
    assert answer.status == 0, answer.stderr
    assert "carries no record of operating points" in answer.stderr
    record, operating_point, decision, *_ = answer.stdout.split()
    assert (record, operating_point) == ("None", "None")
    assert answer.stdout.strip().endswith(commit.oid)
    assert decision in ("fracture", "no", "refused")
