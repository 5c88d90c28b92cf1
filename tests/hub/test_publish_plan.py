"""What may not be published is refused before anything is sent, each with its own sentence."""

import csv
import json
import pickle
import shutil
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from PIL import Image

import hf_fracture
from hf_fracture.data.sources import SOURCES
from hf_fracture.errors import MissingInputError, PublishError, UsageError
from hf_fracture.hub import publish_plan, publish_space
from hf_fracture.hub.publish_dataset import plan_dataset
from hf_fracture.hub.publish_model import plan_model
from hf_fracture.hub.publish_plan import PlannedFile, UploadPlan, read_front_matter
from hf_fracture.hub.publish_space import plan_space, render_requirements


def list_paths(plan: UploadPlan) -> list[str]:
    return [file.path for file in plan.files]


def read_card(plan: UploadPlan) -> tuple[dict[str, object], str]:
    content = next(file.content for file in plan.files if file.path == "README.md")
    assert isinstance(content, bytes)
    return read_front_matter(content.decode(), where="the card")


def test_complete_model_folder_goes_as_it_is(release_dir: Path) -> None:
    present = {path.relative_to(release_dir).as_posix() for path in release_dir.rglob("*") if path.is_file()}
    (release_dir / "training.log").write_text("steps")
    plan = plan_model(release_dir)
    assert list_paths(plan) == sorted(present)
    assert ".eval_results/hf_fracture.yaml" in present
    assert plan.left_out == ["training.log"]
    sent = {file.path: file for file in plan.files}
    assert sent["README.md"].content == (release_dir / "README.md").read_bytes()
    assert plan.num_bytes == sum((release_dir / name).stat().st_size for name in sent)


@pytest.mark.parametrize(
    "name", ["README.md", "evaluation.json", "run.json", "model.safetensors", "preprocessor_config.json", "config.json"]
)
def test_missing_file_is_named_with_what_writes_it(release_dir: Path, name: str) -> None:
    (release_dir / name).unlink()
    with pytest.raises(PublishError, match=rf"Expected {name}.*found none: "):
        plan_model(release_dir)


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="found none"):
        plan_model(tmp_path / "nowhere")


def test_missing_section_is_named(release_dir: Path) -> None:
    card = release_dir / "README.md"
    card.write_text(card.read_text().replace("## Calibration\n", "## Something else\n"))
    with pytest.raises(PublishError, match="found none called Calibration"):
        plan_model(release_dir)


def test_card_of_older_measurements_is_refused(release_dir: Path) -> None:
    card = release_dir / "README.md"
    lines = card.read_text().splitlines()
    changed = next(index for index, line in enumerate(lines) if line.startswith("| AUROC"))
    lines[changed] = "| AUROC | 0.999 (0.998 to 1.000) |"
    card.write_text("\n".join(lines))
    with pytest.raises(PublishError, match=r"1 line\(s\) differ"):
        plan_model(release_dir)


def test_figures_for_the_hub_that_are_older_are_refused(release_dir: Path) -> None:
    figures = release_dir / ".eval_results" / "hf_fracture.yaml"
    figures.write_text(figures.read_text().replace("value: 0.", "value: 1."))
    with pytest.raises(PublishError, match=r"\.eval_results/hf_fracture\.yaml to hold the figures"):
        plan_model(release_dir)


def test_own_paragraphs_in_the_card_are_welcome(release_dir: Path) -> None:
    card = release_dir / "README.md"
    card.write_text(card.read_text() + "\n## Thanks\n\nTo everyone.\n")
    assert "README.md" in list_paths(plan_model(release_dir))


@pytest.mark.parametrize("name", ["evaluation.json", "attribution.json", "gate.json"])
def test_measurement_of_other_weights_is_refused(release_dir: Path, name: str) -> None:
    content = json.loads((release_dir / name).read_text())
    content["model_sha256"] = "0" * 64
    (release_dir / name).write_text(json.dumps(content))
    with pytest.raises(PublishError, match=rf"Expected {name} to belong to the weights.*\(000000000000\)"):
        plan_model(release_dir)


def test_changed_weights_make_their_measurements_stale(release_dir: Path) -> None:
    (release_dir / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(PublishError, match="to belong to the weights"):
        plan_model(release_dir)


def test_export_of_unknown_weights_is_refused(release_dir: Path) -> None:
    (release_dir / "onnx").mkdir()
    (release_dir / "onnx" / "model.onnx").write_bytes(b"graph")
    with pytest.raises(PublishError, match=r"Expected export\.json.*beside onnx/"):
        plan_model(release_dir)
    (release_dir / "export.json").write_text(json.dumps({"model_sha256": "0" * 64}))
    with pytest.raises(PublishError, match=r"Expected export\.json to belong to the weights"):
        plan_model(release_dir)


@pytest.mark.parametrize("name", ["training_args.bin", "notes.txt", "archive.zip"])
def test_pickle_is_refused_under_any_name(release_dir: Path, name: str) -> None:
    if name == "archive.zip":
        with zipfile.ZipFile(release_dir / name, "w") as archive:
            archive.writestr("archive/data.pkl", b"")
    else:
        (release_dir / name).write_bytes(pickle.dumps({"weight": 1.0}))
    with pytest.raises(PublishError, match=rf"no pickle.*found {name}"):
        plan_model(release_dir)


def test_file_over_the_limit_is_refused(release_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = max(path.stat().st_size for path in release_dir.rglob("*") if path.is_file())
    monkeypatch.setattr(publish_plan, "MAX_FILE_BYTES", size)
    plan_model(release_dir)
    monkeypatch.setattr(publish_plan, "MAX_FILE_BYTES", size - 1)
    with pytest.raises(PublishError, match=rf"at most {size - 1:,} bytes, got .* with {size:,}"):
        plan_model(release_dir)


def test_picture_needs_a_licence_and_a_plot_none(release_dir: Path) -> None:
    for folder in ("figures", "examples"):
        (release_dir / folder).mkdir()
        Image.new("L", (8, 8)).save(release_dir / folder / "a.png")
    with pytest.raises(PublishError, match=r"licence for the picture examples/a\.png"):
        plan_model(release_dir)
    write_licences(release_dir / "examples", {"a.png": "unknown"})
    with pytest.raises(PublishError, match=r"licence for the picture examples/a\.png"):
        plan_model(release_dir)
    write_licences(release_dir / "examples", {"a.png": "CC-BY-4.0"})
    assert {"examples/a.png", "figures/a.png"} <= set(list_paths(plan_model(release_dir)))


def write_licences(folder: Path, licences: dict[str, str]) -> None:
    with (folder / "licences.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(
            [("file_name", "licence", "citation"), *((name, licence, "Who") for name, licence in licences.items())]
        )


def test_licence_is_asked_for_where_the_card_has_none(release_dir: Path) -> None:
    config = json.loads((release_dir / "config.json").read_text())
    config["fracture"]["trained_on"] = ["kaggle_multi_region"]
    (release_dir / "config.json").write_text(json.dumps(config))
    from hf_fracture.hub.card import write_card

    write_card(release_dir, overwrite=True)
    with pytest.raises(UsageError, match="--license"):
        plan_model(release_dir)
    front, _ = read_card(plan_model(release_dir, licence="other"))
    assert front["license"] == "other"


def test_licence_that_contradicts_the_card_is_refused(release_dir: Path) -> None:
    front, _ = read_front_matter((release_dir / "README.md").read_text(), where="the card")
    assert front["license"] == "apache-2.0"
    plan_model(release_dir, licence="apache-2.0")
    with pytest.raises(UsageError, match=r"says apache-2\.0, got mit"):
        plan_model(release_dir, licence="mit")


def test_gated_card_says_what_visitors_accept(release_dir: Path) -> None:
    front, _ = read_card(plan_model(release_dir, gated=True))
    assert "Not a medical device" in str(front["extra_gated_prompt"])
    assert front["extra_gated_fields"]


def relabel(prepared: Path, source: str) -> None:
    """Turn a prepared dataset into one of another source, with the films as they are."""
    import pyarrow
    from pyarrow import parquet

    for shard in prepared.glob("data/*.parquet"):
        table = parquet.read_table(shard)
        column = pyarrow.array([source] * len(table), type=table.schema.field("source").type)
        parquet.write_table(table.set_column(table.schema.get_field_index("source"), "source", column), shard)
    account = json.loads((prepared / "audit.json").read_text())
    (prepared / "audit.json").write_text(json.dumps({**account, "dataset": source}))
    card = prepared / "README.md"
    card.write_text(card.read_text() + f"\n{SOURCES[source].citation}\n")


def test_own_films_go_under_the_licence_that_is_named(own_films: Path) -> None:
    plan = plan_dataset(own_films, "me/films", licence="cc-by-4.0")
    front, body = read_card(plan)
    assert front["license"] == "cc-by-4.0"
    assert 'load_dataset("me/films")' in body
    assert any(path.endswith(".parquet") for path in list_paths(plan))
    assert any("pseudonyms" in note for note in plan.notes)


def test_own_films_stay_where_no_licence_is_named(own_films: Path) -> None:
    plan = plan_dataset(own_films, "me/films")
    assert list_paths(plan) == ["README.md", "audit.json", "splits.csv"]
    front, body = read_card(plan)
    assert front["configs"] == [{"config_name": "default", "data_files": [{"split": "ledger", "path": "splits.csv"}]}]
    assert "dataset_info" not in front
    assert "No film is in this repository" in body


@pytest.mark.parametrize("source", ["kaggle_multi_region", "bone_break"])
def test_films_that_may_not_be_passed_on_never_go(own_films: Path, tmp_path: Path, source: str) -> None:
    prepared = shutil.copytree(own_films, tmp_path / "prepared")
    relabel(prepared, source)
    plan = plan_dataset(prepared, "me/ledger")
    assert not any(path.endswith(".parquet") for path in list_paths(plan))
    assert any(path.endswith(".parquet") for path in plan.left_out)
    with pytest.raises(UsageError, match="films of your own"):
        plan_dataset(prepared, "me/ledger", licence="cc-by-4.0")


def test_openly_licensed_films_go_under_their_own_licence(own_films: Path, tmp_path: Path) -> None:
    prepared = shutil.copytree(own_films, tmp_path / "prepared")
    relabel(prepared, "fracatlas")
    card = prepared / "README.md"
    card.write_text(card.read_text().replace("license: unknown", "license: cc-by-4.0"))
    plan = plan_dataset(prepared, "me/films")
    assert any(path.endswith(".parquet") for path in list_paths(plan))
    assert read_card(plan)[0]["license"] == "cc-by-4.0"
    with pytest.raises(UsageError, match=r"says cc-by-4\.0"):
        plan_dataset(prepared, "me/films", licence="mit")
    assert not any(path.endswith(".parquet") for path in list_paths(plan_dataset(prepared, "a/b", ledger_only=True)))


def test_dataset_whose_files_disagree_is_refused(own_films: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(own_films, tmp_path / "changed")
    table = changed / "splits.csv"
    original = table.read_bytes()
    table.write_bytes(original + b"\n")
    with pytest.raises(PublishError, match=r"splits\.csv with sha256"):
        plan_dataset(changed, "me/films")
    table.write_bytes(original)
    next(changed.glob("data/train-*.parquet")).unlink()
    with pytest.raises(PublishError, match=r"films, as audit\.json counts them"):
        plan_dataset(changed, "me/films")


def test_damaged_shard_is_named(own_films: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(own_films, tmp_path / "changed")
    shard = next(changed.glob("data/train-*.parquet"))
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(PublishError, match=rf"data/{shard.name} to be a shard"):
        plan_dataset(changed, "me/films")


@pytest.fixture
def page_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "page"
    folder.mkdir()
    front = {"title": "A page", "sdk": "gradio", "sdk_version": "6.31.0", "app_file": "app.py", "license": "apache-2.0"}
    (folder / "README.md").write_text(
        f"---\n{yaml.safe_dump({**front, 'short_description': 'Words'})}---\n\n# A page\n"
    )
    (folder / "app.py").write_text("import hf_fracture\n")
    (folder / "requirements.txt").write_text("torch==2.13.0+cpu\nhf-fracture[torch]\n")
    return folder


def test_space_brings_the_package_and_its_own_requirements(page_dir: Path) -> None:
    plan = plan_space(page_dir, models=["me/model"])
    paths = list_paths(plan)
    assert {"app.py", "model.txt", "hf_fracture/__init__.py", "hf_fracture/default_model/config.json"} <= set(paths)
    assert not any("__pycache__" in path for path in paths)
    front, _ = read_card(plan)
    assert front["preload_from_hub"] == ["me/model"]
    assert front["suggested_hardware"] == "cpu-basic"
    requirements = next(file.content for file in plan.files if file.path == "requirements.txt")
    assert isinstance(requirements, bytes)
    assert not any(line.startswith("hf-fracture") for line in requirements.decode().splitlines())


def test_requirements_pin_what_the_named_extras_need() -> None:
    lines = render_requirements("torch==2.13.0+cpu\nhf-fracture[torch]\n").splitlines()
    assert lines[0] == "torch==2.13.0+cpu"
    names = [line.split("==")[0] for line in lines]
    assert {"numpy", "pillow", "onnxruntime", "transformers", "captum", "pydicom"} <= set(names)
    assert names.count("torch") == 1
    assert "gradio" not in names
    assert "datasets" not in names
    assert all("==" in line for line in lines)
    with pytest.raises(PublishError, match="to name hf-fracture"):
        render_requirements("torch\n")


def test_requirements_are_the_same_from_a_checkout_and_from_a_wheel(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = "hf-fracture[dicom,mcp,torch]\n"
    project = publish_space._read_declared()
    lines = [f"{line}; extra == '{extra}'" if extra else line for extra, needs in project.items() for line in needs]
    expected = render_requirements(text)
    assert "mcp==" in expected
    monkeypatch.setattr(hf_fracture, "__file__", str(tmp_path / "hf_fracture" / "__init__.py"))
    monkeypatch.setattr(metadata, "requires", lambda name: lines)
    assert render_requirements(text) == expected


def test_built_page_without_a_server_becomes_a_static_space(tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "index.html").write_text("<!doctype html><title>A page</title>")
    (tmp_path / "page" / "model.onnx").write_bytes(b"graph")
    plan = plan_space(tmp_path / "page")
    assert list_paths(plan) == ["README.md", "index.html", "model.onnx"]
    assert read_card(plan)[0]["sdk"] == plan.space_sdk == "static"
    with pytest.raises(UsageError, match="--model"):
        plan_space(tmp_path / "page", models=["me/model"])


def test_space_without_its_app_is_refused(page_dir: Path) -> None:
    (page_dir / "app.py").unlink()
    with pytest.raises(PublishError, match=r"app_file 'app\.py'"):
        plan_space(page_dir)


def test_space_with_an_unlicensed_film_is_refused(page_dir: Path) -> None:
    (page_dir / "examples").mkdir()
    Image.new("L", (8, 8)).save(page_dir / "examples" / "film.png")
    with pytest.raises(PublishError, match=r"licence for the picture examples/film\.png"):
        plan_space(page_dir)


def test_hashes_are_those_of_git_and_of_sha256() -> None:
    file = PlannedFile(path="a.txt", content=b"hello\n")
    assert file.hash_git() == "ce013625030ba8dba906f756967f9e9ca394464a"  # printf 'hello\n' | git hash-object --stdin
    assert file.hash_sha256() == "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
