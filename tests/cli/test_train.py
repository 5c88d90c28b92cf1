import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hf_fracture.cli.main import main
from hf_fracture.errors import NoTemperatureError


@pytest.fixture(scope="module")
def prepared_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared dataset of phantoms as plain Parquet, which `load_dataset` reads without code of ours."""
    from datasets import Dataset, Features, Image, List, Value

    from hf_fracture.data.phantoms import draw_phantom

    text = Value("string")
    features = Features(
        {
            "image": Image(),
            "label": Value("int64"),
            "boxes": List(List(Value("float32"))),
            "polygons": List(List(Value("float32"))),
            **dict.fromkeys(("body_part", "view", "modality", "group_id", "source", "source_path"), text),
        }
    )
    folder = tmp_path_factory.mktemp("prepared") / "phantoms"
    (folder / "data").mkdir(parents=True)
    for name, first in (("train", 0), ("validation", 100), ("test", 200)):
        rows = []
        for seed in range(first, first + 16):
            phantom = draw_phantom(seed, fractured=seed % 2 == 0, size_px=(96, 96))
            known = {"body_part": phantom.body_part, "view": "frontal", "modality": "XR", "source": "phantoms"}
            place = {"group_id": f"g{seed}", "source_path": f"{seed}.png", "boxes": phantom.boxes, "polygons": []}
            rows.append({"image": phantom.image, "label": phantom.label, **known, **place})
        dataset = Dataset.from_list(rows, features=features)
        dataset.to_parquet(folder / "data" / f"{name}-00000-of-00001.parquet")
    return folder


@pytest.fixture(scope="module")
def backbone_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic")
    folder = tmp_path_factory.mktemp("backbones") / "tiny"
    ResNetForImageClassification(config).save_pretrained(folder)
    return folder


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
    assert str(tmp_path) not in json.dumps(run_record), "a published record must not tell where files lay"
    assert json.loads((tmp_path / "run" / "log.json").read_text())["history"]
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert main(["evaluate", str(model_dir), str(prepared_dir), "--out", str(tmp_path / "e"), "--resamples", "50"]) == 0
    assert train(tmp_path / "run") == 2, "a finished run is not overwritten"
    assert "finished run" in capsys.readouterr().err


def test_network_that_no_temperature_calibrates_keeps_its_run_and_says_so(
    train: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> float:
        raise NoTemperatureError("No temperature calibrates these films.")

    monkeypatch.setattr("hf_fracture.evaluation.calibration.fit_temperature", fail)
    assert train(tmp_path / "run") == 0
    assert "Warning: No temperature calibrates these films." in capsys.readouterr().err
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert config["fracture"]["temperature"] == 1.0


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
        ([], "image_sise: 64\n", "image_sise"),
        ([], "- a\n- b\n", "map fields to values, got list"),
        ([], "a: [", "to be YAML"),
        (["--imagesize", "64"], None, "unrecognized arguments"),
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


def test_interrupted_run_of_another_configuration_is_not_mixed_in(
    train: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "configuration.json").write_text('{"recipe": {"image_size": 999}}')
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
