import json
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hf_fracture.cli.main import main
from hf_fracture.errors import EvaluationError, UsageError
from hf_fracture.evaluation.figures import Resampling
from hf_fracture.evaluation.report import Provenance
from hf_fracture.evaluation.type_report import (
    collect_type_predictions,
    map_types,
    measure_types,
    parse_type_map,
    render_type_page,
)

TYPES = ["hairline", "oblique", "spiral"]
FEW = ["--resamples", "20"]
DATASET = {"name": "bone_break", "split": "test", "num_leaked_films": 0, "used_in_development": False}


def build_answers(seed: int, num: int = 60) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 3, num)
    logits = rng.normal(size=(num, 3)) + 2 * np.eye(3)[kinds]
    return [
        {"group_id": f"group {index // 2}", "fracture_type": TYPES[kind], "logits": row.tolist()}
        for index, (kind, row) in enumerate(zip(kinds, logits, strict=True))
    ]


LABEL_MAP = ["--label-map", "Spiral Fracture=spiral,Hairline=hairline,Oblique=oblique"]


def test_command_measures_the_films_whose_type_is_known(
    types_model_dir: Path, typed_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pyarrow.parquet as pq

    command = ["evaluate", str(types_model_dir), str(typed_dir), "--target", "fracture_type", *LABEL_MAP, *FEW]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    names = {"evaluation.json", "predictions.parquet", "report.html", "confusion.png", "confusion.svg"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert content["kind"] == "fracture_type"
    assert content["labels"] == ["spiral", "hairline", "oblique"]
    assert content["cohort"]["num_films"] == 18
    assert content["cohort"]["num_without_type"] == 6
    table = pq.read_table(tmp_path / "out" / "predictions.parquet").to_pandas()
    probabilities = table[[f"probability_{name}" for name in content["labels"]]].to_numpy()
    called = np.array(content["labels"])[probabilities.argmax(axis=1)]
    assert content["metrics"]["accuracy"]["value"] == pytest.approx(float((called == table["fracture_type"]).mean()))
    assert f"Accuracy{'':<34}{content['metrics']['accuracy']['value']:.3f}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--target", "fracture_type"], "types without a class: 'hairline', 'oblique', 'spiral'"),
        (["--target", "fracture_type", "--label-map", "Hairline=hairline"], "'Oblique', 'Spiral Fracture'"),
        (["--target", "fracture_type", *LABEL_MAP, "--robustness"], "--robustness measure"),
        ([], "--target fracture_type"),
    ],
)
def test_a_mapping_that_is_not_stated_is_refused_in_one_line(
    types_model_dir: Path,
    typed_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    command = ["evaluate", str(types_model_dir), str(typed_dir), "--out", str(tmp_path / "out"), *FEW, *arguments]
    assert main(command) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("hf-fracture: error: ")
    assert all(part in line for part in sentence.split(", "))
    assert not (tmp_path / "out").exists()


def test_a_dataset_without_types_is_refused(
    types_model_dir: Path, dataset_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", str(types_model_dir), str(dataset_dir), "--target", "fracture_type", *LABEL_MAP, *FEW]
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    assert "films whose fracture type is known, got none among 30" in capsys.readouterr().err


def test_a_model_of_fractures_cannot_be_measured_as_one_of_types(
    model_dir: Path, typed_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", str(model_dir), str(typed_dir), "--target", "fracture_type", *FEW]
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    assert "Expected the target 'fracture'" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["spiral", "a=spiral,a=oblique", "=spiral", "a="])
def test_pairs_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--label-map expects pairs 'class=type'"):
        parse_type_map(text)


def test_two_classes_of_one_type_are_refused() -> None:
    with pytest.raises(EvaluationError, match="must mean one fracture type"):
        map_types({0: "a", 1: "b"}, ["spiral"], {"a": "spiral", "b": "spiral"})


def test_logits_that_are_not_numbers_are_refused() -> None:
    answers = build_answers(0)
    answers[3]["logits"][1] = float("nan")
    with pytest.raises(EvaluationError, match="finite"):
        collect_type_predictions(answers, TYPES)


def test_page_states_every_figure_and_loads_nothing() -> None:
    predictions = collect_type_predictions(build_answers(1), TYPES)
    content = measure_types(
        predictions,
        provenance=Provenance(model={"name": "types <b>", "sha256": "0", "trained_on": None}, dataset=DATASET),
        resampling=Resampling(num_resamples=50),
    )
    page = render_type_page(content).replace("<span>", "")
    for name in ("macro_auroc", "macro_f1", "accuracy", "top_2_accuracy"):
        assert f"{content['metrics'][name]['value']:.3f} (" in page
    for name in TYPES:
        assert f"{content['metrics']['per_class'][name]['auroc']['value']:.3f} (" in page
    assert escape("types <b>") in page
    assert "<script" not in page
    assert "http" not in page.split("</style>")[1].replace("http://www.w3.org", "")
