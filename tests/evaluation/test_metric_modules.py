from typing import Any

import evaluate
import numpy as np
import pytest

from hf_fracture.errors import UsageError
from hf_fracture.evaluation import metrics
from hf_fracture.evaluation.calibration import expected_calibration_error
from hf_fracture.evaluation.metric_modules import METRIC_MODULES, find_metric_module

RNG = np.random.default_rng(0)
REFERENCES = RNG.integers(0, 2, 80)
PREDICTIONS = np.clip(0.3 * REFERENCES + 0.7 * RNG.random(80), 0, 1)
GROUPS = [f"group {position // 2}" for position in range(80)]


def compute(name: str, **options: Any) -> dict[str, Any]:
    module = evaluate.load(str(find_metric_module(name)))
    result: dict[str, Any] = module.compute(predictions=PREDICTIONS, references=REFERENCES, **options)
    return result


def test_every_module_loads_from_its_folder_without_a_network() -> None:
    assert [evaluate.load(str(find_metric_module(name))).name for name in METRIC_MODULES] == list(METRIC_MODULES)


def test_the_area_comes_with_an_interval_over_groups() -> None:
    grouped = compute("grouped_auroc", group_ids=GROUPS, num_resamples=200)
    assert grouped["auroc"]["value"] == pytest.approx(metrics.auroc(REFERENCES, PREDICTIONS))
    assert grouped["average_precision"]["value"] == pytest.approx(metrics.average_precision(REFERENCES, PREDICTIONS))
    assert grouped["auroc"]["lower"] < grouped["auroc"]["value"] < grouped["auroc"]["upper"]
    alone = compute("grouped_auroc", num_resamples=200)
    assert alone["auroc"]["lower"] != grouped["auroc"]["lower"]


def test_calibration_equals_that_of_the_package() -> None:
    assert compute("calibration", num_bins=10) == pytest.approx(
        {
            "brier_score": metrics.brier_score(REFERENCES, PREDICTIONS),
            "log_loss": metrics.log_loss(REFERENCES, PREDICTIONS),
            "expected_calibration_error": expected_calibration_error(REFERENCES, PREDICTIONS, num_bins=10),
        }
    )


def test_the_figures_of_a_threshold_equal_those_of_the_package() -> None:
    expected = metrics.metrics_at_threshold(REFERENCES, PREDICTIONS, threshold=0.4)
    assert compute("operating_point", threshold=0.4) == pytest.approx(expected)


def test_modules_combine() -> None:
    combined = evaluate.combine([str(find_metric_module("calibration"))])
    assert "brier_score" in combined.compute(predictions=PREDICTIONS, references=REFERENCES)


def test_logits_are_refused() -> None:
    module = evaluate.load(str(find_metric_module("calibration")))
    with pytest.raises(ValueError, match="softmax"):
        module.compute(predictions=[-2.0, 3.0], references=[0, 1])


def test_an_unknown_module_is_answered_with_those_that_exist() -> None:
    with pytest.raises(UsageError, match="grouped_auroc, calibration, operating_point"):
        find_metric_module("accuracy")
