import json
import shutil
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from hf_fracture.cli.main import main
from hf_fracture.evaluation.alterations import DEGRADATIONS
from hf_fracture.evaluation.films import hash_films, load_splits
from hf_fracture.evaluation.measured_model import hash_weights
from hf_fracture.evaluation.metrics import auroc
from hf_fracture.evaluation.predictions import read_predictions
from hf_fracture.evaluation.thresholds import choose_operating_points

FEW = ["--resamples", "50"]


@dataclass(frozen=True)
class FinishedCommand:
    out_dir: Path
    stdout: str
    stderr: str


@pytest.fixture(scope="module")
def finished(model_dir: Path, dataset_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> FinishedCommand:
    folder = tmp_path_factory.mktemp("evaluation") / "out"
    stdout, stderr = StringIO(), StringIO()
    with redirect_stdout(stdout), redirect_stderr(stderr):
        assert main(["evaluate", str(model_dir), str(dataset_dir), "--out", str(folder), *FEW]) == 0
    return FinishedCommand(folder, stdout.getvalue(), stderr.getvalue())


@pytest.fixture
def out_dir(finished: FinishedCommand) -> Path:
    return finished.out_dir


def test_the_folder_holds_the_file_the_table_the_page_and_the_pictures(out_dir: Path) -> None:
    pictures = {
        f"{name}.{suffix}"
        for name in ("roc", "precision_recall", "reliability", "risk_coverage", "confusion")
        for suffix in ("png", "svg")
    }
    files = {"evaluation.json", "predictions.parquet", "report.html"}
    assert {path.name for path in out_dir.iterdir()} == files | pictures


def test_the_file_states_what_was_measured_on_what(out_dir: Path, model_dir: Path, dataset_dir: Path) -> None:
    content = json.loads((out_dir / "evaluation.json").read_text())
    assert content["model"] == {"name": "tiny", "sha256": hash_weights(model_dir), "trained_on": ["phantoms"]}
    assert content["dataset"]["name"] == "phantoms"
    assert content["dataset"]["split"] == "test"
    assert content["dataset"]["content_sha256"] == hash_films(load_splits(dataset_dir))
    assert content["dataset"]["num_leaked_films"] == 0
    assert content["dataset"]["used_in_development"] is False
    assert content["cohort"] == {"num_films": 30, "num_groups": 15, "num_fractured": 10, "prevalence": 1 / 3}
    predictions = read_predictions(out_dir / "predictions.parquet")
    assert content["metrics"]["auroc"]["value"] == pytest.approx(auroc(predictions.y_true, predictions.y_prob))


def test_the_table_goes_to_stdout_and_the_hint_to_stderr(finished: FinishedCommand) -> None:
    content = json.loads((finished.out_dir / "evaluation.json").read_text())
    value = content["metrics"]["auroc"]["value"]
    assert f"AUROC               {value:.3f} (" in finished.stdout
    assert finished.stdout.startswith("tiny on phantoms, split test: 30 films in 15 groups, 10 fractured\n")
    assert "report.html" in finished.stderr
    assert "report.html" not in finished.stdout


def test_an_evaluation_is_not_overwritten_unless_asked(
    out_dir: Path, model_dir: Path, dataset_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (out_dir / "evaluation.json").read_bytes()
    command = ["evaluate", str(model_dir), str(dataset_dir), "--out", str(out_dir), *FEW]
    assert main(command) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0
    assert (out_dir / "evaluation.json").read_bytes() == before


def test_record_keeps_the_file_beside_the_model(
    model_dir: Path, dataset_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy_dir = tmp_path / "model"
    shutil.copytree(model_dir, copy_dir)
    assert not (copy_dir / "evaluation.json").exists()
    command = ["evaluate", str(copy_dir), str(dataset_dir), "--record", *FEW]
    assert main([*command, "--out", str(tmp_path / "first")]) == 0
    assert (copy_dir / "evaluation.json").read_bytes() == (tmp_path / "first" / "evaluation.json").read_bytes()
    assert main([*command, "--out", str(tmp_path / "second")]) == 2
    assert not (tmp_path / "second").exists()
    assert main(["evaluate", "owner/model", str(dataset_dir), "--record", "--out", str(tmp_path / "third")]) == 2
    assert "--record needs a model folder" in capsys.readouterr().err


def test_a_foreign_model_is_tuned_on_validation(foreign_model_dir: Path, dataset_dir: Path, tmp_path: Path) -> None:
    label_map = ["--label-map", "broken=fractured,normal=not fractured"]
    command = ["evaluate", str(foreign_model_dir), str(dataset_dir), *label_map, *FEW]
    status = main([*command, "--split", "validation", "--validation-split", "test", "--out", str(tmp_path / "chosen")])
    if status == 2:
        pytest.fail("the random foreign model of this test cannot be calibrated; choose another seed")
    assert main([*command, "--split", "test", "--out", str(tmp_path / "measured")]) == 0
    content = json.loads((tmp_path / "measured" / "evaluation.json").read_text())
    validation = read_predictions(tmp_path / "chosen" / "predictions.parquet")
    expected = choose_operating_points(validation.y_true, validation.y_prob)
    thresholds = {name: point["threshold"] for name, point in content["operating_points"]["points"].items()}
    assert thresholds == {name: point.threshold for name, point in expected.items()}
    assert content["operating_points"]["chosen_on"] == "the validation split of this dataset"
    assert content["model"]["trained_on"] is None
    assert np.isclose(content["cohort"]["prevalence"], 1 / 3)


def test_probes_are_measured_where_asked_for(
    finished: FinishedCommand, model_dir: Path, dataset_dir: Path, tmp_path: Path
) -> None:
    plain = json.loads((finished.out_dir / "evaluation.json").read_text())
    assert (plain["shortcuts"], plain["robustness"]) == (None, None)
    command = ["evaluate", str(model_dir), str(dataset_dir), "--out", str(tmp_path / "out"), *FEW]
    assert main([*command, "--shortcuts", "--robustness"]) == 0
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert [row["name"] for row in content["robustness"]] == list(DEGRADATIONS)
    assert content["shortcuts"]["blanked_body"]["name"] == "body painted over"
    assert content["shortcuts"]["masked_marks"]["name"] == "marks painted over"
    assert content["shortcuts"]["frame"]["num_training_films"] == 6
    headline = content["metrics"]["auroc"]["value"]
    for row in content["robustness"]:
        assert row["auroc"]["value"] - row["auroc_change"]["value"] == pytest.approx(headline)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "phone photograph" in page
    assert "A forest that sees only" in page


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--split", "tset"], "Expected a split 'tset'"),
        (["--batch-size", "0"], "batch_size must be at least 1"),
        (["--resamples", "1"], "num_resamples must be at least 2"),
        (["--label-map", "fractured"], "--label-map expects pairs"),
        (["--label-map", "fractured=fractured"], "without a meaning: 'not fractured'"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    model_dir: Path,
    dataset_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    out = tmp_path / "out"
    assert main(["evaluate", str(model_dir), str(dataset_dir), "--out", str(out), *FEW, *arguments]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert sentence in line
    assert line.startswith("hf-fracture: error: ")
    assert not out.exists()


def test_a_model_or_dataset_that_does_not_exist_is_named(
    model_dir: Path, dataset_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(tmp_path / "absent"), str(dataset_dir), "--out", str(tmp_path / "out")]) == 2
    assert "absent" in capsys.readouterr().err
    assert main(["evaluate", str(model_dir), str(tmp_path / "nothing"), "--out", str(tmp_path / "out")]) == 2
    assert "nothing" in capsys.readouterr().err


def test_a_split_that_leaks_says_so(
    model_dir: Path, dataset_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from datasets import concatenate_datasets

    splits = load_splits(dataset_dir)
    leaky = concatenate_datasets([splits["train"], splits["test"].select([0, 5])])
    for name, films in {"train": leaky, "test": splits["test"]}.items():
        path = tmp_path / "leaky" / "data" / f"{name}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        films.to_parquet(path)
    command = ["evaluate", str(model_dir), str(tmp_path / "leaky"), "--out", str(tmp_path / "out"), *FEW]
    assert main(command) == 0
    assert "Warning: 4 of these films have a relative" in capsys.readouterr().err  # both films of two groups
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["dataset"]["num_leaked_films"] == 4


def spoil_dataset(dataset_dir: Path, out_dir: Path, fault: str) -> Path:
    """Copy a prepared dataset with one fault in its test split."""
    from datasets import ClassLabel

    films = load_splits(dataset_dir)["test"]
    if fault == "one class":
        films = films.filter(lambda row: row["label"] == 0)
    elif fault == "empty":
        films = films.select([])
    elif fault == "labels the other way round":
        films = films.cast_column("label", ClassLabel(names=["fractured", "not fractured"]))
    elif fault == "no group":
        films = films.map(lambda _: {"group_id": None}, features=films.features)
    path = out_dir / "spoiled" / "data" / "test-00000-of-00001.parquet"
    path.parent.mkdir(parents=True)
    films.to_parquet(path)
    return path.parent.parent


def spoil_model(model_dir: Path, out_dir: Path, fault: str) -> Path:
    """Copy a model folder with one fault."""
    from safetensors.numpy import load_file, save_file

    folder = Path(shutil.copytree(model_dir, out_dir / "model"))
    config = json.loads((folder / "config.json").read_text())
    if fault == "not a number":
        weights = load_file(folder / "model.safetensors")
        weights = {name: np.full_like(part, np.nan) if "classifier" in name else part for name, part in weights.items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    elif fault == "several answers at once":
        (folder / "config.json").write_text(json.dumps({**config, "problem_type": "multi_label_classification"}))
    elif fault == "other classes":
        names = {"id2label": {"0": "cat", "1": "dog"}, "label2id": {"cat": 0, "dog": 1}}
        (folder / "config.json").write_text(json.dumps({**config, **names}))
    return folder


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("one class", "y_true must hold both classes, got 0 fractured film(s) among 20"),
        ("empty", "spoiled' holds no film"),
        ("labels the other way round", "found 'fractured', 'not fractured'"),
        ("no group", "Every film needs a group id"),
        ("not a number", "logit_difference must be finite"),
        ("several answers at once", "whose classes exclude one another"),
        ("other classes", "without a meaning: 'cat', 'dog'"),
    ],
)
def test_what_cannot_be_measured_ends_with_the_sentence_that_helps(
    model_dir: Path,
    dataset_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    fault: str,
    sentence: str,
) -> None:
    dataset = spoil_dataset(dataset_dir, tmp_path, fault)
    model = spoil_model(model_dir, tmp_path, fault)
    assert main(["evaluate", str(model), str(dataset), "--out", str(tmp_path / "out"), *FEW]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("hf-fracture: error: ")
    assert sentence in line
    assert not (tmp_path / "out").exists()
