"""The shipped model folder: what it promises to `pipeline()`, to its size limit, and to its own measurements."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from hf_fracture import FractureClassifier
from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.models.checkpoint import DEFAULT_MODEL_DIR, read_json, read_record

MAX_SHIPPED_BYTES = 30_000_000


@pytest.fixture(scope="module")
def film_paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Grey 8-bit films of several shapes and formats."""
    folder = tmp_path_factory.mktemp("films")
    paths = []
    for seed, size in enumerate([(480, 640), (480, 640), (600, 800), (384, 512), (500, 610)]):
        phantom = draw_phantom(seed, fractured=seed % 2 == 0, size_px=size)
        path = folder / f"{seed}.{'png' if seed % 2 else 'jpg'}"
        phantom.image.save(path)
        paths.append(path)
    return paths


def test_pipeline_gives_the_classifier_s_probability_from_the_file_on(film_paths: list[Path]) -> None:
    from transformers import pipeline

    judge = pipeline("image-classification", model=str(DEFAULT_MODEL_DIR))
    classifier = FractureClassifier.from_pretrained()
    compared = 0
    for path in film_paths:
        finding = classifier.predict(path)
        answer = {entry["label"]: entry["score"] for entry in judge(str(path))}
        assert set(answer) == {"not fractured", "fractured"}
        if finding.probability is not None:
            compared += 1
            assert answer["fractured"] == pytest.approx(finding.probability, abs=1e-4)
    assert compared >= 3, "too many films were refused for the comparison to say anything"


def test_folder_needs_no_code_of_ours_and_holds_no_pickle() -> None:
    config = read_json(DEFAULT_MODEL_DIR / "config.json")
    assert config["architectures"] == ["ResNetForImageClassification"]
    assert "auto_map" not in config
    suffixes = {path.suffix for path in DEFAULT_MODEL_DIR.rglob("*") if path.is_file()}
    assert suffixes <= {".json", ".safetensors", ".md", ".yaml", ".onnx"}


def test_folder_stays_within_the_size_that_may_be_shipped() -> None:
    assert sum(path.stat().st_size for path in DEFAULT_MODEL_DIR.rglob("*") if path.is_file()) < MAX_SHIPPED_BYTES


def test_measurements_are_of_these_weights() -> None:
    digest = hashlib.sha256((DEFAULT_MODEL_DIR / "model.safetensors").read_bytes()).hexdigest()
    assert read_json(DEFAULT_MODEL_DIR / "evaluation.json")["model"]["sha256"] == digest
    assert read_json(DEFAULT_MODEL_DIR / "attribution.json")["model_sha256"] == digest


def test_limits_were_chosen_on_validation_and_are_ordered() -> None:
    record = read_record(DEFAULT_MODEL_DIR)
    assert record is not None
    points = record.operating_points
    assert points["screening"].sensitivity >= 0.95
    assert points["rule_in"].specificity >= 0.95
    assert points["screening"].threshold <= points["balanced"].threshold <= points["rule_in"].threshold
    assert record.trained_on == ["fracatlas"]


def test_best_epoch_on_validation_ranks_at_least_as_well_as_promised() -> None:
    epochs = [
        entry["eval_auroc"] for entry in read_json(DEFAULT_MODEL_DIR / "run.json")["epochs"] if "eval_auroc" in entry
    ]
    assert max(epochs) >= 0.90


def test_map_covers_the_film_pixel_by_pixel(film_paths: list[Path]) -> None:
    from hf_fracture.data.radiographs import read_radiograph

    classifier = FractureClassifier.from_pretrained()
    film = read_radiograph(film_paths[0]).image
    attribution = classifier.explain(film, method="grad_cam")
    assert attribution.values.shape == (film.height, film.width)
    assert np.isfinite(attribution.values).all()
