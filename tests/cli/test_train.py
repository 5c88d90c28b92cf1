import json
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hf_fracture.cli.main import main
from hf_fracture.cli.train import check_start
from hf_fracture.config import RecipeConfig
from hf_fracture.errors import NoTemperatureError, UsageError
from hf_fracture.evaluation.films import hash_assignment
from hf_fracture.models.checkpoint import DEFAULT_MODEL_DIR

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


@pytest.fixture
def train(prepared_dir: Path, backbone_dir: Path) -> Callable[..., int]:
    def run(out_dir: Path, *flags: str) -> int:
        fast = ["--image_size", "64", "--num_train_epochs", "1", "--use_cpu", "true", "--bf16", "false"]
        return main(["train", str(prepared_dir), "--backbone", str(backbone_dir), "--out", str(out_dir), *fast, *flags])

    return run


def test_run_leaves_a_calibrated_model_its_log_and_its_curves(
    train: Callable[..., int], tmp_path: Path, prepared_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path / "run") == 0
    out, err = capsys.readouterr()
    assert out.startswith("validation AUROC 0.")
    assert "Next: hf-fracture evaluate" in err
    model_dir = tmp_path / "run" / "model"
    assert {path.suffix for path in model_dir.iterdir()} <= {".json", ".safetensors"}
    config = json.loads((model_dir / "config.json").read_text())
    assert set(config["fracture"]["operating_points"]) == {"screening", "balanced", "rule_in"}
    assert config["fracture"]["trained_on"] == ["phantoms"]
    run_record = json.loads((model_dir / "run.json").read_text())
    assert run_record["data"]["films"] == {"train": 16, "validation": 16}
    assert run_record["machine"].endswith(("CPU thread", "CPU threads"))
    assert str(tmp_path) not in json.dumps(run_record), "a published record must not tell where files lay"
    assert json.loads((tmp_path / "run" / "log.json").read_text())["history"]
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert main(["evaluate", str(model_dir), str(prepared_dir), "--out", str(tmp_path / "e"), "--resamples", "50"]) == 0
    assert train(tmp_path / "run") == 2, "a finished run is not overwritten"
    assert "finished run" in capsys.readouterr().err


def test_network_that_no_temperature_calibrates_keeps_its_run_and_says_so(
    train: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> tuple[float, float]:
        raise NoTemperatureError("No temperature calibrates these films.")

    monkeypatch.setattr("hf_fracture.evaluation.calibration.fit_temperature_and_shift", fail)
    assert train(tmp_path / "run") == 0
    assert "Warning: No temperature calibrates these films." in capsys.readouterr().err
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert (config["fracture"]["temperature"], config["fracture"]["shift"]) == (1.0, 0.0)


def test_flags_win_over_the_configuration_file(
    train: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "recipe.yaml"
    config.write_text("evidence_weight: 0\nimage_size: 96\nlabel_smoothing: 0.1\n")
    assert train(tmp_path / "run", "--config", str(config)) == 0
    recipe = json.loads((tmp_path / "run" / "configuration.json").read_text())["recipe"]
    assert recipe["image_size"] == 64
    assert recipe["label_smoothing"] == 0.1
    assert recipe["evidence_weight"] == 0
    capsys.readouterr()


@pytest.mark.parametrize(
    ("flags", "content", "said"),
    [
        (["--image_size", "7"], None, "image_size must lie in [32, 2048], got 7"),
        (["--gamma", "0.5"], None, "gamma must lie in [1, 5], got 0.5"),
        ([], "image_sise: 64\n", "found 'image_sise', which is none. Did you mean image_size"),
        ([], "learning_rte: 1e-3\n", "Did you mean learning_rate"),
        ([], "zzz: 1\n", "See hf-fracture train --help"),
        (["--config", "no_such_recipe"], None, "Expected a recipe ("),
        (["--target", "fracture_type"], None, "Pass --evidence_weight 0 with --target fracture_type"),
        ([], "- a\n- b\n", "map fields to values, got list"),
        ([], "a: [", "to be YAML"),
        (["--imagesize", "64"], None, "unrecognized arguments"),
        (["--frozen_layers", "2", "--pretrained", "false"], None, "would keep random weights as they are"),
        (["--first_size_epochs", "3"], None, "first_image_size must lie in [32, 64], got 0"),
        (["--first_image_size", "32"], None, "first_size_epochs must lie in [1, 10000], got 0"),
        (["--first_image_size", "96", "--first_size_epochs", "1"], None, "must lie in [32, 64], got 96"),
        (["--teacher", "absent", "--evidence_weight", "0"], None, "found none at 'absent'"),
        (["--load_best_model_at_end", "false", "--eval_strategy", "no"], None, "Pass --early_stopping_epochs 0"),
        (["--teacher", "absent"], None, "only one at a time, got both"),
        (["--teacher", "absent", "--evidence_weight", "0", "--freeze_epochs", "-1"], None, "Leave these, or --teacher"),
        (["--teacher", "absent", "--evidence_weight", "0", "--teacher_weight", "0"], None, "Leave these, or --teacher"),
    ],
)
def test_mistake_in_a_field_is_one_line_and_leaves_nothing(
    train: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    content: str | None,
    said: str,
) -> None:
    config = tmp_path / "recipe.yaml"
    if content is not None:
        config.write_text(content)
        flags = [*flags, "--config", str(config)]
    assert train(tmp_path / "run", *flags) == 2
    err = capsys.readouterr().err.strip().splitlines()
    assert said in err[-1]
    assert not any(line.startswith("Traceback") for line in err)
    assert not (tmp_path / "run").exists()


def test_teacher_teaches_on_its_own_split_and_on_no_other(
    train: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--evidence_weight", "0", "--max_steps", "1", "--early_stopping_epochs", "0", "--eval_strategy", "no"]
    flags += ["--load_best_model_at_end", "false"]
    assert train(tmp_path / "teacher", *flags) == 0
    assert train(tmp_path / "run", *flags, "--teacher", str(tmp_path / "teacher" / "model")) == 0
    facts = json.loads((tmp_path / "run" / "model" / "run.json").read_text())
    assert facts["recipe"]["teacher"].startswith("model, weights ")
    assert train(tmp_path / "other", *flags, "--teacher", str(DEFAULT_MODEL_DIR)) == 2
    assert "may have seen films of validation and test" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_mistake_that_only_the_network_shows_can_be_corrected_in_the_same_folder(
    train: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path / "run", "--num_stages", "4") == 2
    assert "stages, got num_stages 4" in capsys.readouterr().err
    assert train(tmp_path / "run", "--max_steps", "1") == 0


def test_help_lists_options_that_exist_with_the_defaults_that_hold() -> None:
    from hf_fracture.cli.train import build_field_parser, build_help_parser
    from hf_fracture.config import RecipeConfig
    from hf_fracture.training.arguments import FractureTrainingArguments

    shown = {action.dest: str(action.help) for action in build_help_parser()._actions}
    assert set(shown) <= {action.dest for action in build_field_parser()._actions}
    held = {field.name: field for kind in (RecipeConfig, FractureTrainingArguments) for field in fields(kind)}
    assert {field.name for field in fields(RecipeConfig)} | {"learning_rate", "num_train_epochs"} <= set(shown)
    for name, words in shown.items():
        assert name == "backbone" or words.endswith(f"(default: {held[name].default})")


def test_interrupted_run_of_another_configuration_is_not_mixed_in(
    train: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "configuration.json").write_text('{"recipe": {"image_size": 999}}')
    (tmp_path / "run" / "checkpoints" / "checkpoint-7").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "checkpoint-7" / "model.safetensors").write_bytes(b"weights")
    assert train(tmp_path / "run") == 2
    assert "another configuration" in capsys.readouterr().err


def test_unknown_backbone_and_dataset_are_named(
    prepared_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments: list[Any] = ["train", str(prepared_dir), "--out", str(tmp_path / "a"), "--backbone", "resnet50"]
    assert main(arguments) == 2
    assert "Did you mean resnet-50" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "none"), "--out", str(tmp_path / "b"), "--backbone", "resnet-18"]) == 2
    assert "Expected a prepared dataset" in capsys.readouterr().err
    for name, hint in (
        ("phantom", f"Did you mean '{prepared_dir}'"),
        ("fracatlass", "hf-fracture data prepare fracatlas"),
    ):
        missing = str(prepared_dir.with_name(name))
        assert main(["train", missing, "--out", str(tmp_path / "c"), "--backbone", "resnet-18"]) == 2
        assert hint in capsys.readouterr().err


def test_types_train_through_the_same_command_and_come_out_of_the_pipeline(
    train: Callable[..., int], tmp_path: Path, prepared_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import pipeline

    from hf_fracture.data.phantoms import draw_phantom
    from hf_fracture.models.checkpoint import read_record

    assert train(tmp_path / "run", "--target", "fracture_type", "--evidence_weight", "0") == 0
    assert "mean over 3 types, on 16 films" in capsys.readouterr().out
    record = read_record(tmp_path / "run" / "model")
    assert record is not None
    assert (record.label_kind, record.operating_points) == ("fracture_type", {})
    assert (record.triage.screening, record.triage.rule_in) == (0.0, 1.0), "it never decides"
    classify: Any = pipeline("image-classification", model=str(tmp_path / "run" / "model"))
    answers = classify(draw_phantom(0, fractured=True, size_px=(96, 96)).image)
    assert {answer["label"] for answer in answers} == {"hairline", "oblique", "spiral"}
    assert sum(answer["score"] for answer in answers) == pytest.approx(1)


def test_recipe_of_the_package_is_found_by_name(train: Callable[..., int], tmp_path: Path) -> None:
    from hf_fracture.config import list_recipes

    assert train(tmp_path / "run", "--config", list_recipes()[0], "--image_size", "9") == 2


def test_folder_in_use_is_refused_and_left_alone(
    train: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from hf_fracture.training.run_folder import holding_run_folder

    with holding_run_folder(tmp_path / "run"):
        (tmp_path / "run" / "kept").touch()
        assert train(tmp_path / "run", "--overwrite") == 2
        assert "another process training there" in capsys.readouterr().err
        assert (tmp_path / "run" / "kept").exists()


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "Give the same command again"),
        (RuntimeError("TensorBoardCallback requires tensorboard to be installed."), 2, "needs a package"),
        (OSError(28, "No space left on device", "x"), 2, "Free some space"),
    ],
)
def test_interruption_is_one_sentence_and_the_folder_is_free_again(
    train: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    status: int,
    said: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("hf_fracture.training.trainer.train_classifier", fail)
    assert train(tmp_path / "run") == status
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["configuration.json"]


def test_films_of_several_modalities_are_recorded_with_a_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from datasets import Dataset, DatasetDict

    from hf_fracture.cli.train import describe_training_films
    from hf_fracture.config import RecipeConfig

    rows = {"modality": ["CT", "MR", None], "body_part": ["hip", None, "hip"], "source": ["a", "a", "b"]}
    described = describe_training_films(DatasetDict(train=Dataset.from_dict(rows)), RecipeConfig(backbone="resnet-18"))
    assert described == {
        "trained_on": ["a", "b"],
        "modality": "CT",
        "body_parts": ["hip"],
        "views": [],
        "enhancement": None,
    }
    assert "several modalities (CT, MR)" in capsys.readouterr().err


def test_films_of_the_model_that_training_started_from_and_of_its_teacher_are_recorded_too(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    from datasets import Dataset, DatasetDict

    from hf_fracture.cli.train import describe_training_films
    from hf_fracture.config import RecipeConfig

    teacher = copy_model(tiny_model_dir, tmp_path / "teacher", trained_on=["kaggle_multi_region"])
    splits = DatasetDict(train=Dataset.from_dict({"source": ["bone_break"]}))
    recipe = RecipeConfig(backbone=str(tiny_model_dir), teacher=str(teacher), evidence_weight=0.0)
    described = describe_training_films(splits, recipe)
    assert described["trained_on"] == ["bone_break", "kaggle_multi_region", "phantoms"]
    fresh = RecipeConfig(backbone=str(tiny_model_dir), pretrained=False)
    assert describe_training_films(splits, fresh)["trained_on"] == ["bone_break"]


def copy_model(model_dir: Path, out_dir: Path, *, trained_on: list[str], split: str = "another") -> Path:
    """A model folder that says it was trained on other films."""
    shutil.copytree(model_dir, out_dir)
    config = json.loads((out_dir / "config.json").read_text())
    config["fracture"]["trained_on"] = trained_on
    (out_dir / "config.json").write_text(json.dumps(config))
    (out_dir / "run.json").write_text(json.dumps({"data": {"split_sha256": split}}))
    return out_dir


@pytest.fixture
def splits(prepared_dir: Path) -> "DatasetDict":
    """Films of FracAtlas, as far as their column says."""
    from datasets import DatasetDict

    from hf_fracture.evaluation.films import load_splits

    def rename(films: "Dataset") -> "Dataset":
        return films.remove_columns(["source"]).add_column("source", ["fracatlas"] * len(films))

    return DatasetDict({name: rename(films) for name, films in load_splits(str(prepared_dir)).items()})


@pytest.mark.parametrize(("split", "has_folds"), [("another", False), ("another", True), ("same", True)])
def test_model_that_may_have_seen_the_films_that_measure_is_no_start(
    split: str, has_folds: bool, splits: "DatasetDict", tiny_model_dir: Path, tmp_path: Path
) -> None:
    known = hash_assignment(splits) if split == "same" else split
    start = copy_model(tiny_model_dir, tmp_path / "start", trained_on=["fracatlas"], split=known)
    wanted = "nothing of fracatlas" if has_folds else "the same split of fracatlas"
    with pytest.raises(UsageError, match=f"trained on {wanted}"):
        check_start(RecipeConfig(backbone=str(start)), splits, has_folds=has_folds)


def test_model_of_the_same_split_or_of_other_films_is_a_start(
    splits: "DatasetDict", tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = copy_model(tiny_model_dir, tmp_path / "a", trained_on=["fracatlas"], split=hash_assignment(splits))
    check_start(RecipeConfig(backbone=str(same)), splits)
    other = copy_model(tiny_model_dir, tmp_path / "b", trained_on=["bone_break"])
    check_start(RecipeConfig(backbone=str(other)), splits, has_folds=True)
    assert capsys.readouterr().err == ""


def test_model_of_another_folder_of_own_films_is_a_start_with_a_warning(
    splits: "DatasetDict", tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, films in splits.items():
        splits[name] = films.remove_columns(["source"]).add_column("source", ["image_folder"] * len(films))
    other = copy_model(tiny_model_dir, tmp_path / "a", trained_on=["image_folder"])
    check_start(RecipeConfig(backbone=str(other)), splits)
    assert capsys.readouterr().err.startswith("Warning: ")
    same = copy_model(tiny_model_dir, tmp_path / "b", trained_on=["image_folder"], split=hash_assignment(splits))
    with pytest.raises(UsageError, match="nothing of image_folder"):
        check_start(RecipeConfig(backbone=str(same)), splits, has_folds=True)


def test_crossval_refuses_a_start_that_saw_its_films(
    prepared_dir: Path, tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["crossval", str(prepared_dir), "--backbone", str(tiny_model_dir), "--out", str(tmp_path / "run")]
    assert main([*words, "--folds", "2", "--use_cpu", "true"]) == 2
    assert "trained on nothing of phantoms" in capsys.readouterr().err
