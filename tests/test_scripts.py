"""The examples in the scripts hold, and what they would train for hours can be trained."""

import argparse
import doctest
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from hf_fracture.evaluation.predictions import build_predictions, write_predictions
from hf_fracture.models.checkpoint import DEFAULT_MODEL_DIR, hash_weights

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


def test_scale_of_a_fold_is_no_difference_between_experiments(monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = load_script("campaign", monkeypatch)
    rng = np.random.default_rng(0)
    labels, folds = rng.integers(0, 2, 200), np.repeat(["1", "2"], 100)
    scores = labels + rng.normal(size=200)

    def answer(values: Any) -> Any:
        names = [str(index) for index in range(200)]
        subgroups = {"fold": folds.tolist()}
        return build_predictions(
            ids=names, group_ids=names, y_true=labels, logit_difference=values, subgroups=subgroups
        )

    shifted, sharper = answer(scores + 2 * (folds == "2")), answer(scores + labels)
    found = campaign.measure_difference(shifted, answer(scores))
    assert found.value == 0
    assert campaign.measure_difference(sharper, shifted).lower > 0.05


def test_every_member_of_the_family_is_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family = load_script("family", monkeypatch)
    assert {trial.instead_of for trial in family.TRIED.values()} <= set(family.MEMBERS)
    for member in (*family.MEMBERS.values(), *family.TRIED.values()):
        fields = {"backbone": member.weights, **family.SHIPPED_RECIPE, **member.fields}
        check_recipe({**fields, "teacher": "shipped"} if member.has_teacher else fields, tmp_path)


def test_seeds_asked_together_are_measured_on_films_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = load_script("family", monkeypatch)
    rng = np.random.default_rng(0)
    names, labels = np.array([str(index) for index in range(300)]), rng.integers(0, 2, 300)
    for seed in (42, 43, 44):
        order = rng.permutation(300)
        ids, scores = names[order].tolist(), labels[order] + rng.normal(size=300)
        answers = build_predictions(ids=ids, group_ids=ids, y_true=labels[order], logit_difference=scores)
        (tmp_path / str(seed)).mkdir()
        write_predictions(answers, tmp_path / str(seed) / family.PREDICTIONS_NAME)
    found = family.average_seeds({seed: tmp_path / str(seed) for seed in (42, 43, 44)})
    assert found["validation AUROC"]["value"] > 0.85, "one seed reaches 0.76, and noise that is averaged is less"
    assert all(found[f"difference from seed {seed}"]["lower"] > 0 for seed in (42, 43, 44))
    assert family.average_seeds({42: tmp_path / "42"}) == {}


def test_rows_of_the_family_are_those_of_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family = load_script("family", monkeypatch)
    (tmp_path / "convnext").mkdir()
    (tmp_path / "default").mkdir()
    row = {"folder": str(DEFAULT_MODEL_DIR), "weights": hash_weights(DEFAULT_MODEL_DIR)[:12]}
    (tmp_path / "default" / "row.json").write_text(json.dumps(row))
    (tmp_path / "convnext" / "row.json").write_text(json.dumps({**row, "weights": "of another model"}))
    args = argparse.Namespace(only=["deepconvnet"], work_dir=tmp_path, seeds=[42])
    assert family.collect_row("default", args) == row
    with pytest.raises(SystemExit, match="Measure convnext again"):
        family.collect_row("convnext", args)


def test_rows_of_the_family_that_were_not_measured_again_stay_as_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = load_script("family", monkeypatch)
    published = tmp_path / "family.json"
    monkeypatch.setattr(family, "RESULT_PATH", published)
    args = argparse.Namespace(only=["deepconvnet"], work_dir=tmp_path / "work", seeds=[42])
    assert family.collect_row("resnet-50", args) == {}
    trial = {"validation AUROC": 0.7}
    for weights in (hash_weights(DEFAULT_MODEL_DIR)[:12], "of another model"):
        default = {"weights": weights, "ms per film": 70}
        published.write_text(json.dumps({"members": {"default": default}, "tried": {"convnext-untaught": trial}}))
        assert family.collect_row("convnext-untaught", args) == trial
        assert family.collect_row("default", args) == ({} if weights == "of another model" else default)
    monkeypatch.setattr(family, "PLOT_DIR", tmp_path)
    row = {"ms per film": 70, "AUROC": {"value": 0.9, "lower": 0.8, "upper": 1.0, "method": "wilson"}}
    family.write({"default": row}, {"convnext-untaught": {**trial, "folder": "/not/published"}})
    assert json.loads(published.read_text()) == {"members": {"default": row}, "tried": {"convnext-untaught": trial}}


def test_candidates_are_compared_film_by_film_with_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = load_script("compare_candidates", monkeypatch)
    rng = np.random.default_rng(0)
    names, labels = [str(index) for index in range(200)], rng.integers(0, 2, 200)

    def measure(name: str, noise: float, hit: int) -> Any:
        scores = labels + rng.normal(scale=noise, size=200)
        answers = build_predictions(ids=names, group_ids=names, y_true=labels, logit_difference=scores)
        return candidates.Measured(name=name, answers=answers, peaks_inside=np.arange(50) < hit)

    first, other = measure("first", 2, 25), measure("other", 0.2, 35)
    assert set(candidates.compare(first, None, names[:50]).values()) == {""}
    row = candidates.compare(other, first, names[:50])
    assert row["beside"] == "first"
    assert row["difference"]["lower"] > 0.1
    assert row["difference of peak"]["value"] == pytest.approx(0.2)
    assert 0.05 < row["difference of peak"]["lower"] < 0.15, "paired: 10 of 50 films moved, and none back"


def test_small_model_is_asked_again_where_kaggle_is_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family = load_script("family", monkeypatch)
    monkeypatch.setattr(
        family, "describe_small", lambda args: {"AUROC, clean Kaggle": "measured" if args.kaggle else ""}
    )
    monkeypatch.setattr(family, "RESULT_PATH", tmp_path / "none_published.json")
    default = {"training minutes": 80, "trained on": "1 CPU thread", "AUROC": 1}
    for kaggle, found in ((None, ""), (tmp_path, "measured"), (None, "measured")):
        row = family.measure_small_once(
            argparse.Namespace(work_dir=tmp_path, kaggle=kaggle, only=["convnext"]), default
        )
        assert row["AUROC, clean Kaggle"] == found
        assert row["training minutes"] == 80
    monkeypatch.setattr(family, "measure_small_on_validation", lambda seed, _: seed / 100)
    asked = argparse.Namespace(work_dir=tmp_path, kaggle=None, only=["default"], seeds=[90, 92])
    for args in (asked, argparse.Namespace(work_dir=tmp_path, kaggle=None, only=["convnext"])):
        row = family.measure_small_once(args, default)
        assert row["validation AUROC by seed"] == "0.900, 0.920", "and it stays"
        assert row["standard deviation of validation AUROC"] == pytest.approx(0.0141)


def test_every_trial_of_fracture_types_is_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    types = load_script("fracture_types", monkeypatch)
    for trial in types.TRIALS.values():
        check_recipe({"backbone": types.RESNET_18, **types.BASE, **trial.fields}, tmp_path)


def test_types_keep_published_trials_and_release_the_best_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    types = load_script("fracture_types", monkeypatch)
    published, (first, other, *_) = tmp_path / "types.json", types.TRIALS
    content = {"films": 1, "trials": {other: {"mean": 0.7}}, "released": {"trial": other}, "types": 1}
    monkeypatch.setattr(types, "RESULT_PATH", published)
    monkeypatch.setattr(types, "train", lambda *_: tmp_path)
    monkeypatch.setattr(
        types, "describe_release", lambda name, *_: {"films": 2, "released": {"trial": name}, "types": 2}
    )
    monkeypatch.setattr(sys, "argv", ["fracture_types.py", "A", "B", "C", "D", "--only", first])
    for mean, released in ((0.6, other), (0.8, first)):
        published.write_text(json.dumps(content))
        monkeypatch.setattr(types, "describe", lambda *_, mean=mean: {"mean": mean})
        types.main()
        found = json.loads(published.read_text())
        assert found["released"]["trial"] == released
        assert list(found["trials"]) == [first, other]
    monkeypatch.setattr(types, "describe", lambda *_: {"mean": 0.1})
    with pytest.raises(SystemExit, match=f"'{other}', to be at hand"):
        types.main()


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
