"""From a file to a finding: parity with the pipeline, refusals, errors as rows, order, and where the map comes from."""

import json
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.data.radiographs import Radiograph, read_radiograph
from hf_fracture.errors import MissingInputError, ModelFolderError, UnreadableRadiograph, UsageError
from hf_fracture.inference.classifier import NUM_AHEAD, FractureClassifier
from hf_fracture.inference.gate import fit_gate, save_gate


@pytest.fixture(scope="module")
def classifier(tiny_model_dir: Path) -> FractureClassifier:
    return FractureClassifier.from_pretrained(tiny_model_dir)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Phantoms of several sizes, as PNG and JPEG, grey and with three equal channels."""
    folder = tmp_path_factory.mktemp("films")
    paths = []
    for seed in range(10):
        size_px = ((480, 640), (301, 233), (640, 200))[seed % 3]
        image = draw_phantom(seed, fractured=seed % 2 == 0, size_px=size_px).image
        path = folder / f"film_{seed:02d}.{'png' if seed % 2 else 'jpg'}"
        (image.convert("RGB") if seed % 4 > 1 else image).save(path)
        paths.append(path)
    return paths


@pytest.fixture
def model_copy(tiny_model_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model_dir, tmp_path / "copy"))


def change_config(model_dir: Path, change: Callable[[dict[str, Any]], None]) -> None:
    config = json.loads((model_dir / "config.json").read_text())
    change(config)
    (model_dir / "config.json").write_text(json.dumps(config))


def with_triage(classifier: FractureClassifier, screening: float, rule_in: float) -> None:
    assert classifier.record is not None
    triage = replace(classifier.record.triage, screening=screening, rule_in=rule_in)
    classifier.record = replace(classifier.record, triage=triage)


def test_probability_equals_that_of_the_pipeline(
    classifier: FractureClassifier, films: list[Path], tiny_model_dir: Path
) -> None:
    from transformers import pipeline

    reference: Any = pipeline("image-classification", model=str(tiny_model_dir))
    found = []
    for path in films:
        expected = {row["label"]: row["score"] for row in reference(str(path))}["fractured"]
        found.append(classifier.predict(path).probability)
        assert found[-1] == pytest.approx(expected, abs=1e-4)
    assert np.ptp(np.asarray(found, dtype=float)) > 1e-3  # the films do not all get the same answer


def test_path_bytes_stream_image_and_radiograph_get_the_same_answer(
    classifier: FractureClassifier, films: list[Path]
) -> None:
    path = films[0]
    expected = classifier.predict(path).probability
    with path.open("rb") as stream:
        assert classifier.predict(stream).probability == expected
    assert classifier.predict(str(path)).probability == expected
    assert classifier.predict(path.read_bytes()).probability == expected
    assert classifier.predict(Image.open(path)).probability == expected
    assert classifier.predict(read_radiograph(path)).probability == expected


def test_finding_says_what_was_judged_and_by_what(classifier: FractureClassifier, films: list[Path]) -> None:
    finding = classifier.predict(films[0])
    assert finding.path == str(films[0])
    assert finding.model == "tiny"
    assert finding.revision == classifier.revision
    assert finding.revision is not None
    assert len(finding.revision) == 12
    assert finding.seconds > 0
    assert finding.gate_score is not None
    assert 0.0 <= finding.gate_score <= 1.0
    assert finding.reasons == []
    assert classifier.predict(films[0].read_bytes()).path is None


@pytest.mark.parametrize(
    ("screening", "rule_in", "expected"),
    [(0.0, 0.0, "fracture"), (0.0, 1.0, "uncertain"), (1.0, 1.0, "no fracture")],
)
def test_decision_follows_the_triage_of_the_record(
    model_copy: Path, films: list[Path], screening: float, rule_in: float, expected: str
) -> None:
    classifier = FractureClassifier.from_pretrained(model_copy)
    with_triage(classifier, screening, rule_in)
    assert classifier.predict(films[0]).decision == expected


def test_many_films_come_in_order_and_equal_the_single_answers(
    classifier: FractureClassifier, films: list[Path]
) -> None:
    many = list(classifier.predict_many(films))
    assert [finding.path for finding in many] == [str(path) for path in films]
    for finding, path in zip(many, films, strict=True):
        assert finding.probability == pytest.approx(classifier.predict(path).probability, abs=1e-6)


def test_bad_file_among_many_is_a_finding_in_its_place(
    classifier: FractureClassifier, films: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "notes.png").write_text("not an image")
    Image.new("L", (300, 300), 0).save(tmp_path / "blank.png")
    sources = [films[0], tmp_path / "notes.png", films[1], tmp_path / "missing.png", tmp_path / "blank.png", films[2]]
    findings = list(classifier.predict_many(sources))
    assert [finding.path for finding in findings] == [str(source) for source in sources]
    assert [finding.decision in ("error", "refused") for finding in findings] == [False, True, False, True, True, False]
    assert [finding.decision for finding in findings][1::2] == ["error", "error", findings[5].decision]
    assert findings[1].reasons[0].code == "unreadable"
    assert "notes.png" in findings[1].reasons[0].sentence
    assert findings[3].reasons[0].code == "not_found"
    assert findings[4].decision == "refused"
    assert findings[4].reasons[0].code == "blank"


def test_bad_file_alone_raises(classifier: FractureClassifier, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("not an image")
    for method in (classifier.predict, classifier.explain, classifier.examine):
        with pytest.raises(UnreadableRadiograph, match=r"notes\.png"):
            method(tmp_path / "notes.png")


def test_many_films_are_read_only_a_few_ahead(classifier: FractureClassifier, films: list[Path]) -> None:
    taken = 0

    def sources() -> Iterator[Path]:
        nonlocal taken
        for number in range(1000):
            taken = number + 1
            yield films[number % len(films)]

    findings = classifier.predict_many(sources())
    next(findings)
    assert taken <= NUM_AHEAD + 1
    findings.close()  # type: ignore[attr-defined]


def test_picture_that_is_no_film_is_refused_without_a_probability(classifier: FractureClassifier) -> None:
    finding = classifier.predict(Image.new("L", (300, 300), 200))
    assert finding.decision == "refused"
    assert finding.probability is None
    assert finding.gate_score is not None
    assert finding.gate_score > 1.0
    json.dumps(finding.to_dict(), allow_nan=False)


def as_dicom(image: Image.Image, **known: Any) -> Radiograph:
    return Radiograph(image=image, original_size=image.size, original_mode="MONOCHROME2", has_colour=False, **known)


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_foreign_modality_is_refused_by_name(classifier: FractureClassifier, modality: str) -> None:
    film = draw_phantom(0, fractured=True).image
    finding = classifier.predict(as_dicom(film, modality=modality, study_id="s1"))
    assert finding.decision == "refused"
    assert [reason.code for reason in finding.reasons] == ["unsupported_modality"]
    assert modality in finding.reasons[0].sentence
    assert finding.study_id == "s1"
    json.dumps(finding.to_dict(), allow_nan=False)
    assert classifier.predict(as_dicom(film, modality="XR")).is_answer


def test_modality_that_cannot_even_be_read_is_a_refusal_too(
    classifier: FractureClassifier, monkeypatch: pytest.MonkeyPatch, films: list[Path]
) -> None:
    def refuse(source: object, **_: object) -> Radiograph:
        raise UnreadableRadiograph("The file is an ultrasound image.", code="unsupported_modality")

    monkeypatch.setattr("hf_fracture.inference.preparation.read_radiograph", refuse)
    finding = classifier.predict(films[0])
    assert finding.decision == "refused"
    assert finding.reasons[0].sentence == "The file is an ultrasound image."


@pytest.mark.parametrize(("body_part", "codes"), [("Hand", []), (None, []), ("skull", ["untested_body_part"])])
def test_untested_body_part_is_answered_with_a_doubt(
    classifier: FractureClassifier, body_part: str | None, codes: list[str]
) -> None:
    finding = classifier.predict(as_dicom(draw_phantom(0, fractured=True).image, body_part=body_part))
    assert finding.is_answer
    assert finding.body_part == body_part
    assert [reason.code for reason in finding.reasons] == codes


def test_features_far_from_the_training_films_are_refused(model_copy: Path, films: list[Path]) -> None:
    from hf_fracture.models.checkpoint import load_model

    channels = load_model(model_copy).config.hidden_sizes[-1]
    rng = np.random.default_rng(0)
    save_gate(fit_gate(100 + rng.uniform(size=(50, channels)), 100 + rng.uniform(size=(20, channels))), model_copy)
    finding = FractureClassifier.from_pretrained(model_copy).predict(films[0])
    assert finding.decision == "refused"
    assert [reason.code for reason in finding.reasons] == ["not_a_radiograph"]


def test_gate_fitted_on_the_films_lets_them_pass(model_copy: Path, films: list[Path]) -> None:
    bare = FractureClassifier.from_pretrained(model_copy)
    rows = [bare.compute_features(read_radiograph(path)) for path in films]
    features = np.stack([row for row in rows if row is not None])
    save_gate(fit_gate(features, features), model_copy)
    guarded = FractureClassifier.from_pretrained(model_copy)
    assert all(finding.is_answer for finding in guarded.predict_many(films))


def test_model_without_a_record_warns_and_answers_without_operating_point(model_copy: Path, films: list[Path]) -> None:
    change_config(model_copy, lambda config: config.pop("fracture"))
    with pytest.warns(UserWarning, match="no record of operating points"):
        foreign = FractureClassifier.from_pretrained(model_copy)
    finding = foreign.predict(films[0])
    assert foreign.record is None
    assert finding.operating_point is None
    assert finding.probability is not None
    assert finding.decision == ("fracture" if finding.probability >= 0.5 else "no fracture")


def test_labels_the_other_way_round_turn_the_probability(
    classifier: FractureClassifier, model_copy: Path, films: list[Path]
) -> None:
    def turn(config: dict[str, Any]) -> None:
        config["id2label"] = {"0": "fractured", "1": "not fractured"}
        config["label2id"] = {"fractured": 0, "not fractured": 1}

    change_config(model_copy, turn)
    turned = FractureClassifier.from_pretrained(model_copy)
    expected = classifier.predict(films[0]).probability
    assert expected is not None
    assert turned.predict(films[0]).probability == pytest.approx(1 - expected, abs=1e-6)
    np.testing.assert_allclose(turned.explain(films[0]).values, -classifier.explain(films[0]).values, atol=1e-6)


def test_model_whose_labels_name_no_fracture_is_refused(model_copy: Path) -> None:
    change_config(model_copy, lambda config: config.update(id2label={"0": "cat", "1": "dog"}))
    with pytest.raises(ModelFolderError, match="cat"):
        FractureClassifier.from_pretrained(model_copy)


def test_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="nowhere"):
        FractureClassifier.from_pretrained(tmp_path / "nowhere")


def test_loading_prints_nothing_and_leaves_the_progress_bars_of_others(
    tiny_model_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers.utils import logging

    FractureClassifier.from_pretrained(tiny_model_dir)
    assert capfd.readouterr() == ("", "")
    assert logging.is_progress_bar_enabled()


def test_record_that_is_there_gives_no_warning(tiny_model_dir: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert FractureClassifier.from_pretrained(tiny_model_dir).record is not None


def test_other_weights_are_another_revision(classifier: FractureClassifier, model_copy: Path) -> None:
    from safetensors.numpy import load_file, save_file

    assert FractureClassifier.from_pretrained(model_copy).revision == classifier.revision
    tensors = load_file(model_copy / "model.safetensors")
    save_file({**tensors, "classifier.1.bias": tensors["classifier.1.bias"] + 1}, model_copy / "model.safetensors")
    assert FractureClassifier.from_pretrained(model_copy).revision != classifier.revision


def test_folder_of_the_hub_cache_is_named_by_its_commit(tiny_model_dir: Path, tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = shutil.copytree(tiny_model_dir, tmp_path / "models--owner--name" / "snapshots" / commit)
    assert FractureClassifier(Path(snapshot), model="owner/name").revision == commit


def test_examination_takes_its_map_from_the_forward_pass_and_equals_captum(
    classifier: FractureClassifier, films: list[Path]
) -> None:
    for path in films[:3]:
        captum = classifier.explain(path)
        examined = classifier.examine(path)
        assert examined.attribution is not None
        assert examined.film is not None
        assert examined.film.size == Image.open(path).size
        assert examined.finding.probability == classifier.predict(path).probability
        largest = np.abs(captum.values).max()
        assert largest > 0
        assert np.abs(examined.attribution.values - captum.values).max() <= 1e-5 * largest
        by_request = classifier.examine(path, captum=True).attribution
        assert by_request is not None
        np.testing.assert_array_equal(by_request.values, captum.values)


def test_map_sums_to_the_logit_that_decided(classifier: FractureClassifier) -> None:
    """The map explains the very score of the decision: its mean over a square film is that score, less the bias."""
    film = draw_phantom(2, fractured=True, size_px=(64, 64)).image  # as large as the input: nothing is resampled
    examined = classifier.examine(film)
    assert examined.attribution is not None
    probability = examined.finding.probability
    assert probability is not None
    bias = classifier._engine._model.classifier[-1].bias.detach().numpy()  # type: ignore[index, union-attr]
    score = np.log(probability / (1 - probability)) - (bias[1] - bias[0])
    cells = 8 * 8  # positions of the last map of the tiny network at 64 px
    assert examined.attribution.values.mean() * cells == pytest.approx(score, abs=0.15 * abs(score) + 1e-3)


def test_other_methods_come_from_captum(classifier: FractureClassifier, films: list[Path]) -> None:
    examined = classifier.examine(films[0], method="integrated_gradients")
    assert examined.attribution is not None
    assert examined.attribution.completeness_gap is not None
    with pytest.raises(UsageError, match="grad_cam"):
        classifier.examine(films[0], method="magic")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="grad_cam"):
        next(classifier.examine_many(films, method="magic"))  # type: ignore[arg-type]


def test_refused_and_unreadable_films_have_no_map(classifier: FractureClassifier, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("not an image")
    blank, unreadable = classifier.examine_many([Image.new("L", (99, 99), 7), tmp_path / "notes.png"])
    assert blank.finding.decision == "refused"
    assert blank.attribution is None
    assert blank.film is not None
    assert unreadable.finding.decision == "error"
    assert unreadable.film is None
    assert unreadable.attribution is None


def test_measured_files_of_the_folder_are_read(model_copy: Path, films: list[Path]) -> None:
    scores = {"methods": {"grad_cam": {"pointing_game": 0.6, "full_scale": 1e6}}}
    (model_copy / "evaluation.json").write_text(json.dumps({"auroc": 0.9}))
    (model_copy / "attribution.json").write_text(json.dumps(scores))
    classifier = FractureClassifier.from_pretrained(model_copy)
    assert classifier.evaluation == {"auroc": 0.9}
    assert classifier.attribution_scores == scores
    attribution = classifier.explain(films[0])
    assert attribution.scores == scores["methods"]["grad_cam"]
    assert attribution.heatmap.max() < 1e-3  # far below what was measured to be full evidence
    assert classifier.explain(films[0], method="saliency").scores is None


def test_folder_without_measurements_says_so(classifier: FractureClassifier) -> None:
    assert classifier.evaluation is None
    assert classifier.attribution_scores is None


def test_threads_get_the_answers_that_one_thread_gets(classifier: FractureClassifier, films: list[Path]) -> None:
    expected = {path: classifier.explain(path).values for path in films[:4]}
    failures: list[Path] = []

    def work(path: Path) -> None:
        for _ in range(5):
            classifier.predict(films[5])
            if not np.array_equal(classifier.explain(path).values, expected[path]):
                failures.append(path)

    threads = [threading.Thread(target=work, args=(path,)) for path in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_forward_pass_leaves_no_hook(classifier: FractureClassifier, films: list[Path]) -> None:
    classifier.examine(films[0])
    engine: Any = classifier._engine
    assert not any(module._forward_hooks for module in engine._model.modules())


def test_import_of_the_package_and_the_class_loads_nothing_heavy() -> None:
    code = (
        "import sys, hf_fracture; from hf_fracture import Finding, FractureClassifier; "
        "heavy = {'torch', 'transformers', 'captum', 'gradio', 'datasets', 'pandas', 'matplotlib', 'sklearn'}; "
        "sys.exit(repr(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_unknown_public_name_is_an_attribute_error() -> None:
    import hf_fracture

    with pytest.raises(AttributeError, match="no attribute 'Clasifier'"):
        _ = hf_fracture.Clasifier
    assert hf_fracture.__version__.count(".") >= 1
    assert set(hf_fracture.__all__) <= set(dir(hf_fracture))
