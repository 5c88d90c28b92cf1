import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hf_fracture.cli import crossval
from hf_fracture.cli.main import main
from hf_fracture.evaluation.predictions import Predictions, build_predictions, read_predictions


@pytest.fixture
def run(prepared_dir: Path, backbone_dir: Path) -> Callable[..., int]:
    def start(out_dir: Path, *flags: str) -> int:
        fast = ["--image_size", "32", "--num_train_epochs", "2", "--use_cpu", "true", "--bf16", "false"]
        division = ["--folds", "2", "--fold-seed", "7", "--train-share", "0.75"]
        settings = [*division, "--resamples", "20", "--evidence_weight", "0", *fast]
        command = ["crossval", str(prepared_dir), "--backbone", str(backbone_dir), "--out", str(out_dir)]
        return main([*command, *settings, *flags])

    return start


@pytest.mark.slow
def test_run_killed_within_a_fold_goes_on_there_and_pools_every_film_once(
    run: Callable[..., int],
    tmp_path: Path,
    prepared_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from transformers import TrainerCallback

    from hf_fracture.training import trainer as trainer_module

    class Kill(TrainerCallback):
        def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if "fold-2" in args.output_dir and state.epoch >= 1:
                raise KeyboardInterrupt

    build_callbacks = trainer_module._build_callbacks
    monkeypatch.setattr(trainer_module, "_build_callbacks", lambda recipe: [*build_callbacks(recipe), Kill()])
    out_dir = tmp_path / "out"
    assert run(out_dir) == 130
    assert "go on from the last checkpoint" in capsys.readouterr().err
    first = (out_dir / "fold-1" / "predictions.parquet").read_bytes()
    assert not (out_dir / "fold-1" / "checkpoints").exists()
    assert list((out_dir / "fold-2" / "checkpoints").glob("checkpoint-*"))
    assert not (out_dir / "crossval.json").exists()
    monkeypatch.undo()

    assert run(out_dir) == 0
    out, err = capsys.readouterr()
    assert "Fold 1 of 2 is done." in err
    assert (out_dir / "fold-1" / "predictions.parquet").read_bytes() == first
    assert out.startswith("AUROC")
    pooled = read_predictions(out_dir / "predictions.parquet")
    assert sorted(pooled.ids) == sorted(f"phantoms/{seed}.png" for seed in (*range(16), *range(100, 116)))
    result = json.loads((out_dir / "crossval.json").read_text())
    assert [row["num_films"] for row in result["folds"]] == [16, 16]
    assert (result["fold_seed"], result["train_share"], result["training_arguments"]["seed"]) == (7, 0.75, 42)
    figure = result["pooled"]["metrics"]["auroc"]
    assert figure["lower"] <= figure["value"] <= figure["upper"]
    assert result["summary"]["auroc"]["mean"] == pytest.approx(np.mean([row["auroc"] for row in result["folds"]]))
    with (out_dir / "folds.csv").open() as stream:
        uses = list(csv.DictReader(stream))
    assert {row["source_path"] for row in uses if row["use"] == "test"} == {name.split("/")[1] for name in pooled.ids}
    assert str(tmp_path) not in json.dumps(result)
    assert run(out_dir) == 2, "a finished run is not overwritten"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--folds", "1"], "num_folds must lie between 2"),
        (["--train-share", "0"], "A share of the groups lies above 0 and up to 1, got 0"),
        (["--pool", "train,dev"], "Expected the split 'dev' of --pool"),
        (["--target", "fracture_type"], "Use hf-fracture train"),
    ],
)
def test_mistake_is_one_line_and_leaves_nothing(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    assert run(tmp_path / "out", *flags) == 2
    assert said in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "out").exists()


def answers() -> Predictions:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    return build_predictions(
        ids=[str(index) for index in range(60)],
        group_ids=[str(index // 2) for index in range(60)],
        y_true=labels,
        logit_difference=rng.normal(size=60) + labels,
    )


def test_pooled_figures_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

    pooled = answers()
    called = pooled.y_prob >= 0.6
    result = crossval.measure_pooled(pooled, {"balanced": called}, num_resamples=50)
    expected = {
        "auroc": roc_auc_score(pooled.y_true, pooled.y_prob),
        "average_precision": average_precision_score(pooled.y_true, pooled.y_prob),
        "log_loss": log_loss(pooled.y_true, pooled.y_prob),
        "brier_score": brier_score_loss(pooled.y_true, pooled.y_prob),
    }
    for name, value in expected.items():
        assert result["metrics"][name]["value"] == pytest.approx(value)
        assert result["metrics"][name]["lower"] < value < result["metrics"][name]["upper"]
    point = result["operating_points"]["balanced"]
    assert point["sensitivity"]["value"] == pytest.approx(called[pooled.y_true == 1].mean())
    assert point["specificity"]["value"] == pytest.approx((~called)[pooled.y_true == 0].mean())
    assert result["num_groups"] == 30


def test_spread_is_that_of_a_sample() -> None:
    spread = crossval.summarize([0.8, 0.9, 1.0])
    assert spread == pytest.approx({"mean": 0.9, "standard_deviation": 0.1, "minimum": 0.8, "maximum": 1.0})


def test_teacher_is_refused_since_it_has_seen_every_fold(
    run: Callable[..., int], tmp_path: Path, backbone_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "out", "--teacher", str(backbone_dir)) == 2
    assert "a teacher may have seen films of every fold" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
