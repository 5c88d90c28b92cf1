"""The shipped model beside runs of the same recipe with other seeds."""

import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from hf_fracture.models.checkpoint import DEFAULT_MODEL_DIR


@pytest.fixture(scope="module")
def script(repository_dir: Path) -> dict[str, Any]:
    return runpy.run_path(str(repository_dir / "scripts" / "compare_release.py"))


@pytest.fixture
def train_again(tmp_path: Path) -> Callable[..., Path]:
    """Return a way to make the folder of a run, with its seed, AUROC and one field of the recipe."""

    def train(seed: int, auroc: float, **recipe: object) -> Path:
        folder = tmp_path / str(seed)
        folder.mkdir()
        for name in ("run.json", "evaluation.json", "attribution.json"):
            shutil.copy(DEFAULT_MODEL_DIR / name, folder)
        run = json.loads((folder / "run.json").read_text())
        run["training_arguments"]["seed"] = seed
        run["recipe"] |= recipe
        (folder / "run.json").write_text(json.dumps(run))
        evaluation = json.loads((folder / "evaluation.json").read_text())
        evaluation["metrics"]["auroc"]["value"] = auroc
        (folder / "evaluation.json").write_text(json.dumps(evaluation))
        return folder

    return train


def test_spread_is_the_prediction_interval_of_one_further_run(
    script: dict[str, Any], train_again: Callable[..., Path]
) -> None:
    content = script["add_run"]({}, train_again(7, 0.90))
    row = content["figures"][0]
    assert row["figure"] == "AUROC"
    assert row["within the spread"] == "needs two seeds"
    content = script["add_run"](content, train_again(8, 0.94))
    row = content["figures"][0]
    assert list(content["runs"]) == ["shipped", "seed 7", "seed 8"]
    assert [row["seed 7"]["value"], row["seed 8"]["value"]] == [0.90, 0.94]
    low, high = stats.t.interval(0.95, 1, loc=0.92, scale=0.02 * 2**0.5 * 1.5**0.5)
    assert row["a further run, 95 %, +-"] == pytest.approx((high - low) / 2, abs=1e-4)
    assert row["within the spread"] is True
    measured = json.loads((DEFAULT_MODEL_DIR / "evaluation.json").read_text())["metrics"]["auroc"]["value"]
    assert row["shipped minus mean of the others"] == pytest.approx(measured - 0.92, abs=1e-4)
    every = [measured, 0.90, 0.94]
    assert row["mean of all"] == pytest.approx(np.mean(every), abs=1e-4)
    assert row["standard deviation of all"] == pytest.approx(np.std(every, ddof=1), abs=1e-4)


def test_field_that_did_not_exist_yet_has_its_default(script: dict[str, Any], train_again: Callable[..., Path]) -> None:
    script["check_comparable"](train_again(7, 0.90, recompression_probability=0.0), smoke=False)
    with pytest.raises(SystemExit, match="recompression_probability"):
        script["check_comparable"](train_again(8, 0.90, recompression_probability=0.5), smoke=False)


def test_figure_outside_the_spread_is_called_so(script: dict[str, Any]) -> None:
    again = [{"value": value} for value in (0.80, 0.81, 0.82)]
    assert script["describe_spread"]({"value": 0.85}, again)["within the spread"] is True
    assert script["describe_spread"]({"value": 0.87}, again)["within the spread"] is False


def test_runs_beside_another_shipped_model_are_forgotten(
    script: dict[str, Any], train_again: Callable[..., Path]
) -> None:
    kept = script["add_run"]({}, train_again(7, 0.90))
    kept["runs"]["shipped"]["weights"] = "others"
    assert list(script["add_run"](kept, train_again(8, 0.94))["runs"]) == ["shipped", "seed 8"]


def test_other_recipe_and_other_films_are_refused(script: dict[str, Any], train_again: Callable[..., Path]) -> None:
    check = script["check_comparable"]
    check(train_again(7, 0.90, backbone="resnet-18", num_stages=3), smoke=False)
    other = train_again(8, 0.90, image_size=64)
    check(other, smoke=True)
    with pytest.raises(SystemExit, match="image_size 64"):
        check(other, smoke=False)
    evaluation = json.loads((other / "evaluation.json").read_text())
    evaluation["dataset"]["content_sha256"] = "others"
    (other / "evaluation.json").write_text(json.dumps(evaluation))
    with pytest.raises(SystemExit, match="same films"):
        check(other, smoke=True)
