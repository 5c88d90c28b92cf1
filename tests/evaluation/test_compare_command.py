import json
import shutil
from pathlib import Path

import pytest

from hf_fracture.cli.main import main
from hf_fracture.models.checkpoint import read_json, write_json

LABEL_MAP = ["--label-map-b", "broken=fractured,normal=not fractured"]
FEW = ["--resamples", "50"]


def test_two_models_are_compared_at_their_own_thresholds(
    model_dir: Path,
    foreign_model_dir: Path,
    dataset_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["compare", str(model_dir), str(foreign_model_dir), str(dataset_dir), "--out", str(tmp_path / "out")]
    assert main([*command, *LABEL_MAP, *FEW]) == 0
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [content[name]["name"] for name in ("model_a", "model_b")] == ["tiny", "foreign"]
    assert content["operating_point"]["threshold_a"] == 0.5
    assert 0 < content["operating_point"]["threshold_b"] < 1
    delong = content["auroc_delong"]
    assert delong["difference"] == pytest.approx(delong["auroc_a"] - delong["auroc_b"])
    assert delong["difference"] == pytest.approx(content["differences"]["auroc"]["value"])
    assert content["cohort"]["num_films"] == 30
    assert "DeLong p = " in capsys.readouterr().out


def test_equal_weights_in_two_folders_do_not_differ(model_dir: Path, dataset_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(model_dir, tmp_path / "again")
    config = read_json(tmp_path / "again" / "config.json")
    config["fracture"]["operating_points"]["balanced"]["threshold"] = 0.0
    write_json(tmp_path / "again" / "config.json", config)
    command = ["compare", str(model_dir), str(tmp_path / "again"), str(dataset_dir), "--out", str(tmp_path / "out")]
    assert main([*command, *FEW]) == 0
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert content["differences"]["auroc"]["value"] == 0.0
    assert content["auroc_delong"]["p_value"] == 1.0
    # The copy calls every film, so it alone finds what the first misses, and alone alarms on what the first clears.
    assert content["operating_point"]["fractured"]["only_a_right"] == 0
    assert content["operating_point"]["intact"]["only_b_right"] == 0


def test_a_comparison_is_not_overwritten_unless_asked(
    model_dir: Path, dataset_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "comparison.json").write_text("kept")
    assert main(["compare", str(model_dir), str(model_dir), str(dataset_dir), "--out", str(tmp_path), *FEW]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "comparison.json").read_text() == "kept"


def test_a_model_of_types_is_sent_to_evaluate(
    model_dir: Path, dataset_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    types_dir = shutil.copytree(model_dir, tmp_path / "types")
    config = read_json(types_dir / "config.json")
    config["fracture"]["label_kind"] = "fracture_type"
    write_json(types_dir / "config.json", config)
    command = ["compare", str(model_dir), str(types_dir), str(dataset_dir), "--out", str(tmp_path / "out"), *FEW]
    assert main(command) == 2
    assert "tells types apart" in capsys.readouterr().err
