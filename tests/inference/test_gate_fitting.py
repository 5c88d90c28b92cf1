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
from hf_fracture.inference.gate import load_gate
from hf_fracture.inference.gate_fitting import (
    RefusalCounts,
    add_refusals,
    alter_film,
    count_refusals,
    fit_model_gate,
    sum_refusals,
)


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


def test_altered_film_stays_a_grey_film_of_a_size_that_can_be_judged() -> None:
    rng = np.random.default_rng(0)
    film = draw_phantom(0, fractured=True, size_px=(240, 320)).image
    altered = [alter_film(film, rng) for _ in range(60)]
    assert {picture.mode for picture in altered} == {"L"}
    assert min(min(picture.size) for picture in altered) >= 64
    assert len({picture.tobytes() for picture in altered}) == 60


def test_gate_with_pictures_holds_the_rule_against_them(tiny_model_dir: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model_dir, tmp_path / "copy"))
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:160, 0:120]
    pictures = [
        Image.fromarray((127 + 90 * np.sin(x / rng.uniform(2, 9)) * np.cos(y / rng.uniform(2, 9))).astype(np.uint8))
        for _ in range(24)
    ]
    fit_model_gate(
        folder,
        train_films=draw_films(range(60)),
        validation_films=draw_films(range(60, 90)),
        pictures=pictures[:16],
    )
    gate = load_gate(folder)
    assert gate is not None
    assert gate.discriminant is not None
    classifier = FractureClassifier.from_pretrained(folder)
    unseen = count_refusals(classifier, pictures[16:])
    assert unseen.num_refused >= 7
    assert count_refusals(classifier, draw_films(range(90, 110))).num_refused <= 1
    report = json.loads((folder / "gate.json").read_text())
    assert report["fitted"]["num_pictures"] == 16


def test_shipped_gate_passes_phantoms_and_refuses_pictures() -> None:
    classifier = FractureClassifier.from_pretrained()
    rng = np.random.default_rng(2)
    x = np.linspace(0, 1, 400)
    ramp = Image.fromarray((30 + 190 * np.outer(x, x) + rng.normal(0, 2, (400, 400))).clip(0, 255).astype(np.uint8))
    assert (
        count_refusals(classifier, [draw_phantom(seed, fractured=seed == 0).image for seed in (0, 1)]).num_refused == 0
    )
    assert count_refusals(classifier, [ramp, ramp.rotate(90)]).num_refused == 2


def test_counts_are_added_by_reason() -> None:
    first = RefusalCounts(num_films=3, num_refused=2, by_code={"blank": 1, "drawing": 1})
    total = sum_refusals([first, RefusalCounts(num_films=1, num_refused=1, by_code={"blank": 1})])
    assert total == RefusalCounts(num_films=4, num_refused=3, by_code={"blank": 2, "drawing": 1})
