import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hf_fracture.config import FractureRecord, OperatingPoint, Triage
from hf_fracture.errors import ModelFolderError
from hf_fracture.evaluation.bootstrap import Estimate
from hf_fracture.evaluation.figures import Resampling
from hf_fracture.evaluation.guarantees import measure_guarantee
from hf_fracture.evaluation.predictions import Predictions
from hf_fracture.evaluation.report import Probes, Provenance, evaluate_predictions
from hf_fracture.evaluation.robustness import measure_alterations
from hf_fracture.evaluation.schema import check_evaluation
from hf_fracture.evaluation.shortcuts import FRAME_FEATURES, FrameProbe

FEW = Resampling(num_resamples=20)
TRIAGE = Triage(screening=0.2, rule_in=0.6)
DATASET = {
    **dict.fromkeys(("name", "split", "content_sha256", "split_sha256"), "x"),
    "revision": None,
    "num_leaked_films": 0,
    "used_in_development": False,
}


@pytest.fixture(scope="module")
def content(draw_study: Callable[..., Predictions]) -> dict[str, Any]:
    """Return the content of a file with every section, as it is read back."""
    study = draw_study(0)
    guarantee = measure_guarantee(study.y_true, study.y_prob, study.group_ids, TRIAGE)
    record = FractureRecord(
        operating_points={
            name: OperatingPoint(threshold=threshold, sensitivity=0.9, specificity=0.9)
            for name, threshold in {"screening": 0.2, "balanced": 0.4, "rule_in": 0.6}.items()
        },
        temperature=1.5,
        triage=TRIAGE,
        triage_guarantee=guarantee.to_dict(),
    )
    effects = measure_alterations(study, {"upside down": study}, threshold=0.4, resampling=FEW)
    report = evaluate_predictions(
        None,
        study,
        record=record,
        provenance=Provenance(model={"name": "m", "sha256": "0", "trained_on": ["x"]}, dataset=DATASET),
        resampling=FEW,
        probes=Probes(frame=FRAME, robustness=effects, blanked_body=effects[0], masked_marks=effects[0]),
    )
    written: dict[str, Any] = json.loads(json.dumps(report.to_dict()))
    return written


FRAME = FrameProbe(
    auroc=Estimate(value=0.6, lower=0.5, upper=0.7, method="expanded_percentile"),
    trained_on=9,
    importances=dict.fromkeys(FRAME_FEATURES, 1 / len(FRAME_FEATURES)),
)


def list_places(value: Any) -> Iterator[list[str | int]]:
    """Yield the way to every key that the schema names; items of a list stand for one another."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield [key]
            if key != "software":
                yield from ([key, *rest] for rest in list_places(part))
    elif isinstance(value, list) and value:
        yield from ([len(value) - 1, *rest] for rest in list_places(value[-1]))


def find_parent(value: Any, way: list[str | int]) -> Any:
    for step in way[:-1]:
        value = value[step]
    return value


def test_what_a_report_writes_is_whole(content: dict[str, Any]) -> None:
    check_evaluation(content)


def test_deleting_any_one_key_is_noticed(content: dict[str, Any]) -> None:
    ways = list(list_places(content))
    assert len(ways) > 300
    for way in ways:
        broken = copy.deepcopy(content)
        del find_parent(broken, way)[way[-1]]
        with pytest.raises(ModelFolderError):
            check_evaluation(broken)


@pytest.mark.parametrize(
    "way",
    [
        ("selective", "risk_at_coverage"),
        ("calibration", "before", "bins"),
        ("calibration", "after", "bins"),
        ("operating_points", "points", "screening", "predictive_values"),
    ],
)
def test_a_row_that_is_missing_is_noticed(content: dict[str, Any], way: tuple[str, ...]) -> None:
    broken = copy.deepcopy(content)
    del find_parent(broken, [*way])[way[-1]][1]
    with pytest.raises(ModelFolderError, match=f"{'/'.join(way)} has .* rows in place of"):
        check_evaluation(broken)


def test_any_number_that_is_none_is_noticed(content: dict[str, Any]) -> None:
    for way in list_places(content):
        if isinstance(find_parent(content, way)[way[-1]], int | float):
            broken = copy.deepcopy(content)
            find_parent(broken, way)[way[-1]] = "0.9"
            with pytest.raises(ModelFolderError):
                check_evaluation(broken)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"value": 2.0}, "/metrics/auroc lies outside its interval"),
        ({"value": None}, "/metrics/auroc lies outside its interval"),
        ({"value": float("nan")}, "/metrics/auroc holds something else"),
        ({"method": "guessed"}, "/metrics/auroc holds something else"),
        ({"lower": True}, "/metrics/auroc holds something else"),
    ],
)
def test_figure_outside_its_interval_is_noticed(content: dict[str, Any], change: dict[str, Any], sentence: str) -> None:
    broken = copy.deepcopy(content)
    broken["metrics"]["auroc"].update(change)
    with pytest.raises(ModelFolderError, match=sentence):
        check_evaluation(broken)


def test_figure_without_interval_or_value_is_whole(content: dict[str, Any]) -> None:
    changed = copy.deepcopy(content)
    changed["metrics"]["auroc"].update(lower=None, upper=None, method="none")
    changed["operating_points"]["points"]["rule_in"]["metrics"]["ppv"].update(
        value=None, lower=None, upper=None, method="none"
    )
    check_evaluation(changed)


@pytest.mark.parametrize("version", [1, 3, None])
def test_another_schema_is_refused(content: dict[str, Any], version: int | None) -> None:
    with pytest.raises(ModelFolderError, match=f"of schema 2, got {version}"):
        check_evaluation(content | {"schema_version": version})
