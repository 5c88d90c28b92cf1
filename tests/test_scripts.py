"""The examples in the scripts hold, and what they would train for hours can be trained."""

import argparse
import doctest
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
WITH_EXAMPLES = [path.name for path in sorted(SCRIPTS.glob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_of_a_script_hold(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    spec = importlib.util.spec_from_file_location(name.removesuffix(".py"), SCRIPTS / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    tried = doctest.testmod(module)
    assert tried.attempted > 0
    assert tried.failed == 0


def load_script(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module(name)


def check_recipe(fields: dict[str, Any], tmp_path: Path) -> None:
    """Read a recipe as `hf-fracture train --config` does."""
    from hf_fracture.cli.train import read_fields

    config = tmp_path / "recipe.yaml"
    config.write_text(yaml.safe_dump(fields), encoding="utf-8")
    recipe, arguments = read_fields(argparse.Namespace(config=str(config)), output_dir=tmp_path / "out")
    read = {**vars(arguments), **vars(recipe)}
    assert {name: read[name] for name in fields} == fields


def test_every_experiment_of_the_campaign_is_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = load_script("campaign", monkeypatch)
    seen = []
    for name, experiment in campaign.EXPERIMENTS.items():
        fields = campaign.collect_fields(name)
        check_recipe({"backbone": experiment.weights, **campaign.LAST_EPOCH, **fields}, tmp_path)
        seen.append((fields, experiment.train_share, experiment.weights))
    assert all(seen.count(one) == 1 for one in seen), "no two experiments are the same"


def test_every_member_of_the_family_is_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family = load_script("family", monkeypatch)
    assert {trial.instead_of for trial in family.TRIED.values()} <= set(family.MEMBERS)
    for member in (*family.MEMBERS.values(), *family.TRIED.values()):
        fields = {"backbone": member.weights, **family.SHIPPED_RECIPE, **member.fields}
        check_recipe({**fields, "teacher": "shipped"} if member.has_teacher else fields, tmp_path)


@pytest.mark.parametrize(
    ("reached", "kept", "verdict"),
    [
        (0.48, [0.72, 0.70], "below each of 2 seeds"),
        (0.71, [0.72, 0.70], "among the 2 seeds: no difference shown"),
        (0.72, [0.72, 0.70], "not below each of 2 seeds"),
        (0.48, [0.72], "below the one seed"),
    ],
)
def test_trial_is_judged_by_the_seeds_of_what_was_kept(
    reached: float, kept: list[float], verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_script("family", monkeypatch).judge_trial(reached, kept) == verdict


def test_every_trial_of_fracture_types_is_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    types = load_script("fracture_types", monkeypatch)
    for trial in types.TRIALS.values():
        check_recipe({"backbone": types.RESNET_18, **types.BASE, **trial.fields}, tmp_path)


def test_targets_lead_to_the_figures_of_the_shipped_model(monkeypatch: pytest.MonkeyPatch) -> None:
    from hf_fracture.models.checkpoint import DEFAULT_MODEL_DIR, read_json

    results = load_script("render_results", monkeypatch)
    found = {figure: measure() for figure, _, _, measure in results.TARGETS}
    evaluation = read_json(DEFAULT_MODEL_DIR / "evaluation.json")
    assert found["AUROC on FracAtlas"] == evaluation["metrics"]["auroc"]
    points = evaluation["operating_points"]["points"]
    assert found["specificity at the threshold for sensitivity 0.95"] == points["screening"]["metrics"]["specificity"]
    never_seen = read_json(DEFAULT_MODEL_DIR / "cross_dataset.json")["model_rows"][-1]
    assert never_seen["tested_on"] == "kaggle_multi_region"
    assert found["AUROC on clean Kaggle, never seen"] == never_seen["auroc"]
    rows = results._render_targets().splitlines()
    assert sum(row.endswith(("| missed |", "| reached |", "| not measured |")) for row in rows) == len(results.TARGETS)


def test_target_of_a_file_that_lacks_it_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = load_script("render_results", monkeypatch)
    monkeypatch.setattr(results, "RESULTS_DIR", tmp_path)
    (tmp_path / "family.json").write_text('{"members": {"convnext": {"AUROC": {"value": 0.8}}}}')
    assert results._find_loss("convnext") == ""
    assert results._follow(tmp_path / "family.json", "members", "default", "AUROC") == ""
    assert results._find_transfer("", "fracatlas") == ""
