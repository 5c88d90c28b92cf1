"""The map explains the very number that the decision uses: the calibrated logit difference."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.data.transforms import fit_letterbox, letterbox_pixels
from hf_fracture.errors import UsageError
from hf_fracture.explain.attribution import TARGET, attribute, compute_input_map
from hf_fracture.explain.closed_form import closed_form_grad_cam, read_pooled_head
from hf_fracture.inference.classifier import FractureClassifier
from hf_fracture.models.checkpoint import load_model, read_preprocessing
from hf_fracture.models.evidence import adjust_head


@pytest.fixture
def film() -> Image.Image:
    return draw_phantom(3, fractured=True, size_px=(120, 90)).image


def copy_changed(source: Path, folder: Path, change: Callable[[Any], None]) -> Path:
    """Copy a model folder with other weights."""
    from safetensors.torch import save_file

    shutil.copytree(source, folder)
    model = load_model(source)
    change(model)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture
def calibrated_dir(tiny_model_dir: Path, tmp_path: Path) -> Path:
    """Return a folder whose head differs from the untrained one's by a temperature and a shift."""
    return copy_changed(
        tiny_model_dir, tmp_path / "calibrated", lambda model: adjust_head(model, temperature=0.25, shift=0.7)
    )


def log_odds(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


@pytest.mark.parametrize("captum", [False, True])
def test_map_sums_to_the_log_odds_of_the_finding_less_the_bias(
    calibrated_dir: Path, film: Image.Image, captum: bool
) -> None:
    import torch

    classifier = FractureClassifier.from_pretrained(calibrated_dir)
    finding = classifier.predict(film)
    assert finding.probability is not None
    model, preprocessing = load_model(calibrated_dir), read_preprocessing(calibrated_dir)
    pixels = letterbox_pixels(film, preprocessing.size_px, preprocessing.mean, preprocessing.std)
    if captum:
        grid, _ = compute_input_map(model, pixels)
    else:
        with torch.no_grad():
            states = model(torch.from_numpy(pixels)[None], output_hidden_states=True).hidden_states
        head = read_pooled_head(model)
        assert head is not None
        grid = closed_form_grad_cam(states[-1][0].numpy(), head)
    head_layer: Any = model.classifier
    shifts = head_layer[-1].bias.detach()
    bias = float(shifts[1] - shifts[0])
    assert abs(bias) > 0.5, "the shift is in it"
    assert grid.sum() + bias == pytest.approx(log_odds(finding.probability), abs=1e-3)
    shown = classifier.examine(film, captum=captum).attribution
    assert shown is not None
    assert shown.target == TARGET
    letterbox = fit_letterbox(*film.size, preprocessing.size_px)
    np.testing.assert_allclose(shown.values, letterbox.map_to_film(grid, kernel="spline"), atol=1e-5)


def test_integrated_gradients_account_for_the_finding(calibrated_dir: Path, film: Image.Image) -> None:
    import torch

    classifier = FractureClassifier.from_pretrained(calibrated_dir)
    probability = classifier.predict(film).probability
    assert probability is not None
    model, preprocessing = load_model(calibrated_dir), read_preprocessing(calibrated_dir)
    pixels = letterbox_pixels(film, preprocessing.size_px, preprocessing.mean, preprocessing.std)
    grid, gap = compute_input_map(model, pixels, method="integrated_gradients")
    with torch.no_grad():
        empty = torch.softmax(model(torch.zeros(1, *pixels.shape)).logits, dim=1)[0, 1]
    assert gap is not None
    assert gap < 0.05
    explained = log_odds(probability) - log_odds(float(empty))
    assert grid.sum() == pytest.approx(explained, abs=gap + 1e-3)


def test_temperature_scales_the_map_and_the_shift_leaves_it(tiny_model_dir: Path, calibrated_dir: Path) -> None:
    pixels = np.random.default_rng(0).normal(size=(3, 64, 64)).astype(np.float32)
    before, _ = compute_input_map(load_model(tiny_model_dir), pixels)
    after, _ = compute_input_map(load_model(calibrated_dir), pixels)
    np.testing.assert_allclose(after, 4 * before, rtol=1e-4, atol=1e-7)


def test_other_label_is_explained_on_request_and_an_unknown_one_refused(
    tiny_model_dir: Path, film: Image.Image
) -> None:
    classifier = FractureClassifier.from_pretrained(tiny_model_dir)
    fractured, other = classifier.explain(film), classifier.explain(film, target="not fractured")
    np.testing.assert_allclose(other.values, -fractured.values, atol=1e-6)
    assert other.target == "logit of not fractured minus logit of fractured"
    assert other.scores is None
    with pytest.raises(UsageError, match="target must be one of not fractured, fractured"):
        classifier.explain(film, target="broken")


def test_what_was_measured_travels_with_the_map(tiny_model_dir: Path, tmp_path: Path, film: Image.Image) -> None:
    def speak_for_fractures(model: Any) -> None:
        model.classifier[-1].weight.data[1] = model.classifier[-1].weight.data[0] + 1.0

    folder = copy_changed(tiny_model_dir, tmp_path / "measured", speak_for_fractures)
    row = {
        "full_scale": 1e6,
        "sentence": "In 3 of 4.",
        "candidate": {"is_supported": True, "threshold_fraction": 0.5},
    }
    (folder / "attribution.json").write_text(json.dumps({"methods": {"grad_cam": row}, "baselines": {}}))
    classifier = FractureClassifier.from_pretrained(folder)
    for attribution in (classifier.explain(film), classifier.examine(film).attribution):
        assert attribution is not None
        assert attribution.worth == "In 3 of 4."
        assert attribution.full_scale == 1e6
        assert attribution.heatmap.max() < 1e-3, "weak evidence is drawn weakly"
        assert attribution.candidate is not None
    unmeasured = classifier.explain(film, method="occlusion")
    assert unmeasured.worth is None
    assert unmeasured.candidate is None


def test_model_that_always_answers_the_same_shows_nothing(tiny_model_dir: Path, film: Image.Image) -> None:
    import torch

    model = load_model(tiny_model_dir)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    pixels = letterbox_pixels(film, 64, (0.5,) * 3, (0.5,) * 3)
    attribution = attribute(model, pixels, fit_letterbox(*film.size, 64))
    assert attribution.is_empty
    assert not np.ptp(np.asarray(attribution.overlay(film)), axis=2).any(), "the film in its own greys"
