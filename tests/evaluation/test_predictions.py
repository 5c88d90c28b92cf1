from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import pipeline

from hf_fracture.errors import EvaluationError, MissingInputError
from hf_fracture.evaluation.calibration import probability_of
from hf_fracture.evaluation.class_map import parse_label_map
from hf_fracture.evaluation.films import load_splits
from hf_fracture.evaluation.measured_model import load_measured_model
from hf_fracture.evaluation.predictions import (
    Predictions,
    build_predictions,
    predict_dataset,
    read_predictions,
    write_predictions,
)
from hf_fracture.labels import LABEL_NAMES
from hf_fracture.models.checkpoint import read_preprocessing


def build_table(num: int = 6) -> Predictions:
    return build_predictions(
        ids=[f"film {k}" for k in range(num)],
        group_ids=[f"group {k // 2}" for k in range(num)],
        y_true=[k % 2 for k in range(num)],
        logit_difference=np.linspace(-3, 3, num),
        subgroups={"body_part": ["hand", None] * (num // 2)},
    )


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_our_model_answers_as_the_pipeline_does(dataset_dir: Path, model_dir: Path, batch_size: int) -> None:
    films = load_splits(dataset_dir)["test"]
    model = load_measured_model(model_dir)
    predictions = predict_dataset(model.network, read_preprocessing(model_dir), films, batch_size=batch_size)
    answers = pipeline("image-classification", model=str(model_dir))([film.convert("RGB") for film in films["image"]])
    expected = [next(a["score"] for a in answer if a["label"] == LABEL_NAMES[1]) for answer in answers]
    assert predictions.y_prob == pytest.approx(expected, abs=1e-5)
    assert predictions.y_true.tolist() == films["label"]
    assert predictions.group_ids.tolist() == films["group_id"]
    assert predictions.ids[3] == "phantoms/films/203.png"


def test_a_foreign_model_answers_as_its_own_pipeline_does(dataset_dir: Path, foreign_model_dir: Path) -> None:
    films = load_splits(dataset_dir)["test"]
    model = load_measured_model(foreign_model_dir, label_map=parse_label_map("broken=fractured,normal=not fractured"))
    predictions = predict_dataset(model.network, model.read_film, films, class_meanings=model.class_meanings)
    answers = pipeline("image-classification", model=str(foreign_model_dir))(
        [film.convert("RGB") for film in films["image"]]
    )
    expected = [next(a["score"] for a in answer if a["label"] == "broken") for answer in answers]
    assert predictions.y_prob == pytest.approx(expected, abs=1e-5)


def test_a_foreign_model_without_a_label_map_is_refused(foreign_model_dir: Path) -> None:
    with pytest.raises(EvaluationError, match="without a meaning: 'broken', 'normal'"):
        load_measured_model(foreign_model_dir)


def test_a_multi_label_model_is_refused(foreign_model_dir: Path, tmp_path: Path) -> None:
    for path in foreign_model_dir.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(
        config.replace('"problem_type": null', '"problem_type": "multi_label_classification"').replace(
            '"num_channels"', '"problem_type": "multi_label_classification",\n  "num_channels"'
        )
    )
    with pytest.raises(EvaluationError, match="exclude one another"):
        load_measured_model(tmp_path, label_map={"broken": 1, "normal": 0})


def test_what_is_known_of_a_film_comes_along(dataset_dir: Path, model_dir: Path) -> None:
    films = load_splits(dataset_dir)["test"]
    predictions = predict_dataset(load_measured_model(model_dir).network, read_preprocessing(model_dir), films)
    assert set(predictions.subgroups) == {"body_part", "view", "hardware", "source", "image_size", "age"}
    assert predictions.subgroups["view"].tolist() == films["view"]
    assert predictions.subgroups["hardware"].tolist() == ["yes" if flag else "no" for flag in films["hardware"]]


def test_a_diverged_network_is_refused(dataset_dir: Path, model_dir: Path) -> None:
    network = load_measured_model(model_dir).network
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    with pytest.raises(EvaluationError, match="finite"):
        predict_dataset(network, read_preprocessing(model_dir), load_splits(dataset_dir)["test"])


def test_a_split_of_one_class_is_refused(dataset_dir: Path, model_dir: Path) -> None:
    films = load_splits(dataset_dir)["test"].filter(lambda label: label == 0, input_columns="label")
    with pytest.raises(EvaluationError, match="both classes"):
        predict_dataset(load_measured_model(model_dir).network, read_preprocessing(model_dir), films)


def test_a_table_survives_its_file(tmp_path: Path) -> None:
    table = build_table()
    write_predictions(table, tmp_path / "predictions.parquet")
    again = read_predictions(tmp_path / "predictions.parquet")
    assert again.ids.tolist() == table.ids.tolist()
    assert again.group_ids.tolist() == table.group_ids.tolist()
    assert np.array_equal(again.logit_difference, table.logit_difference)
    assert again.subgroups["body_part"].tolist() == ["hand", None] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.parquet"]


def test_the_probability_is_the_sigmoid_of_the_difference() -> None:
    table = build_table()
    assert table.y_prob == pytest.approx(1 / (1 + np.exp(-table.logit_difference)))
    with pytest.raises(EvaluationError, match="sigmoid"):
        Predictions(
            ids=table.ids,
            group_ids=table.group_ids,
            y_true=table.y_true,
            logit_difference=table.logit_difference,
            y_prob=probability_of(table.logit_difference, temperature=1.1),
        )


def test_a_film_that_occurs_twice_is_refused() -> None:
    table = build_table()
    with pytest.raises(EvaluationError, match="'film 1' 2 times"):
        table.take(np.array([0, 1, 1, 2]))


@pytest.mark.parametrize("group", [None, ""])
def test_a_film_without_a_group_is_refused(group: str) -> None:
    with pytest.raises(EvaluationError, match="group id"):
        build_predictions(ids=["a", "b"], group_ids=["g", group], y_true=[0, 1], logit_difference=np.array([0.0, 1.0]))


def test_files_that_are_no_predictions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="no such file"):
        read_predictions(tmp_path / "absent.parquet")
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(EvaluationError, match="Parquet"):
        read_predictions(tmp_path / "text.parquet")
