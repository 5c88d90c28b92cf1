"""Fitting the gate of a model folder, and counting whom it refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.errors import UsageError
from hf_fracture.inference.classifier import FractureClassifier
from hf_fracture.inference.gate_fitting import add_refusals, count_refusals, fit_model_gate


def draw_films(seeds: range) -> list[Image.Image]:
    return [draw_phantom(seed, fractured=seed % 2 == 0, size_px=(120, 160)).image for seed in seeds]


@pytest.fixture(scope="module")
def guarded_dir(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(shutil.copytree(tiny_model_dir, tmp_path_factory.mktemp("gate") / "guarded"))
    fit_model_gate(folder, train_films=iter(draw_films(range(100))), validation_films=draw_films(range(100, 140)))
    return folder


def test_fitted_gate_travels_with_the_folder_and_passes_films_of_its_kind(guarded_dir: Path) -> None:
    assert (guarded_dir / "gate.safetensors").is_file()
    report = json.loads((guarded_dir / "gate.json").read_text())
    assert report["fitted"]["num_train_films"] == 100
    assert report["refusals"]["validation"] == {"num_films": 40, "num_refused": 0, "by_code": {}}
    held_out = count_refusals(FractureClassifier.from_pretrained(guarded_dir), draw_films(range(140, 180)))
    assert (held_out.num_films, held_out.num_refused) == (40, 0)


def test_features_raise_the_score_of_a_picture_whose_appearance_passes(guarded_dir: Path, tiny_model_dir: Path) -> None:
    ramp = np.tile(np.linspace(6, 249, 400), (400, 1)) + np.random.default_rng(0).normal(0, 1.5, (400, 400))
    picture = Image.fromarray(ramp.clip(0, 255).astype(np.uint8))
    unguarded = FractureClassifier.from_pretrained(tiny_model_dir).predict(picture)
    guarded = FractureClassifier.from_pretrained(guarded_dir).predict(picture)
    assert unguarded.gate_score is not None
    assert guarded.gate_score is not None
    assert guarded.gate_score > unguarded.gate_score


def test_refusals_are_counted_by_reason_and_added_beside_the_others(guarded_dir: Path) -> None:
    blanks = [Image.new("L", (200, 200), level) for level in (0, 90, 250)]
    counts = add_refusals(guarded_dir, "blanks", [*blanks, *draw_films(range(2))])
    assert counts.num_films == 5
    assert counts.num_refused == 3
    assert counts.by_code["blank"] == 3
    refusals = json.loads((guarded_dir / "gate.json").read_text())["refusals"]
    assert set(refusals) == {"validation", "blanks"}
    assert refusals["blanks"]["num_refused"] == 3


def test_gate_without_films_is_refused(tiny_model_dir: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model_dir, tmp_path / "copy"))
    with pytest.raises(UsageError):
        fit_model_gate(folder, train_films=[], validation_films=draw_films(range(2)))
    assert not (folder / "gate.safetensors").exists()
