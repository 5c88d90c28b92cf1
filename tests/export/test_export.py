"""`hf-fracture export`: the same weights to the bit, the same answers, and no torch where there need be none."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hf_fracture.cli.main import main
from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, letterbox_pixels
from hf_fracture.errors import ModelFolderError, UsageError
from hf_fracture.export.metadata import OnnxMetadata
from hf_fracture.inference.classifier import FractureClassifier

onnx = pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def exported_dir(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(shutil.copytree(tiny_model_dir, tmp_path_factory.mktemp("export") / "tiny"))
    assert main(["export", str(folder), "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("films")
    paths = [folder / f"{seed}.png" for seed in range(6)]
    for seed, path in enumerate(paths):
        draw_phantom(seed, fractured=seed % 2 == 0, size_px=(240, 320)).image.save(path)
    return paths


def test_every_weight_of_the_file_is_that_of_the_folder(exported_dir: Path) -> None:
    from onnx import numpy_helper
    from safetensors.numpy import load_file

    stored = {name: values for name, values in load_file(exported_dir / "model.safetensors").items() if values.ndim}
    proto = onnx.load(exported_dir / "onnx" / "model.onnx")
    found = {
        tensor.name.removesuffix(".float16").removeprefix("model."): numpy_helper.to_array(tensor)
        for tensor in proto.graph.initializer
    }
    assert set(stored) <= set(found)
    for name, values in stored.items():
        assert np.array_equal(values.astype(np.float32), found[name].astype(np.float32)), name
    assert any(tensor.dtype == np.float16 for tensor in found.values())


def test_file_holds_no_trace_of_the_machine_that_wrote_it(exported_dir: Path) -> None:
    data = (exported_dir / "onnx" / "model.onnx").read_bytes()
    assert b"site-packages" not in data
    assert str(exported_dir).encode() not in data


def test_report_gives_the_measured_parity(exported_dir: Path) -> None:
    report = json.loads((exported_dir / "export.json").read_text())
    figures = report["files"]["onnx/model.onnx"]
    assert figures["max_difference"] <= 1e-4
    assert figures["bytes"] == (exported_dir / "onnx" / "model.onnx").stat().st_size


def test_findings_and_maps_are_those_of_torch(exported_dir: Path, films: list[Path]) -> None:
    with_torch = FractureClassifier.from_pretrained(exported_dir, backend="torch")
    with_onnx = FractureClassifier.from_pretrained(exported_dir)
    assert (with_torch.backend, with_onnx.backend) == ("torch", "onnx")
    for one, other in zip(with_torch.examine_many(films), with_onnx.examine_many(films), strict=True):
        assert other.finding.probability == pytest.approx(one.finding.probability, abs=1e-4)
        assert other.finding.gate_score == pytest.approx(one.finding.gate_score, abs=1e-3)
        assert (other.finding.decision, other.finding.revision) == (one.finding.decision, one.finding.revision)
        assert one.attribution is not None
        assert other.attribution is not None
        scale = max(float(np.abs(one.attribution.values).max()), 1e-6)
        assert np.abs(one.attribution.values - other.attribution.values).max() / scale < 1e-3
    many = [finding.probability for finding in with_onnx.predict_many(films)]
    assert many == pytest.approx([with_onnx.predict(film).probability for film in films], abs=1e-6)


def test_folder_of_the_export_alone_answers_without_weights(
    tiny_model_dir: Path, exported_dir: Path, films: list[Path], tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    assert main(["export", str(tiny_model_dir), "--out", str(alone)]) == 0
    assert not (alone / "model.safetensors").exists()
    first, second = (FractureClassifier.from_pretrained(folder).predict(films[0]) for folder in (alone, exported_dir))
    assert (first.probability, first.revision) == (second.probability, second.revision)


def test_export_of_other_weights_does_not_answer(exported_dir: Path, films: list[Path], tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = Path(shutil.copytree(exported_dir, tmp_path / "changed"))
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.1.bias"] = tensors["classifier.1.bias"] + np.asarray([0, 1], tensors["classifier.1.bias"].dtype)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    classifier = FractureClassifier.from_pretrained(folder)
    assert classifier.backend == "torch"
    before = FractureClassifier.from_pretrained(exported_dir).predict(films[0]).probability
    assert classifier.predict(films[0]).probability != pytest.approx(before, abs=1e-3)
    with pytest.raises(ModelFolderError, match="Export it again"):
        FractureClassifier.from_pretrained(folder, backend="onnx")


def test_backend_that_cannot_do_what_is_asked_says_so(tiny_model_dir: Path) -> None:
    with pytest.raises(ModelFolderError, match="hf-fracture export"):
        FractureClassifier.from_pretrained(tiny_model_dir, backend="onnx")
    with pytest.raises(ModelFolderError, match="model_int8"):
        FractureClassifier.from_pretrained(tiny_model_dir, fast=True)
    with pytest.raises(UsageError, match="8-bit"):
        FractureClassifier.from_pretrained(tiny_model_dir, backend="torch", fast=True)
    with pytest.raises(UsageError, match="backend must be one of"):
        FractureClassifier.from_pretrained(tiny_model_dir, backend="tpu")  # type: ignore[arg-type]


def test_damaged_file_is_named(exported_dir: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported_dir, tmp_path / "damaged"))
    path = folder / "onnx" / "model.onnx"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelFolderError, match="Export it again"):
        FractureClassifier.from_pretrained(folder)


def test_earlier_export_is_left_alone(exported_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (exported_dir / "onnx" / "model.onnx").read_bytes()
    assert main(["export", str(exported_dir), "--out", str(exported_dir)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (exported_dir / "onnx" / "model.onnx").read_bytes() == before


@pytest.mark.parametrize("extra", [["--int8"], ["--originals", "nowhere"]])
def test_int8_asks_for_films(extra: list[str], tiny_model_dir: Path, tmp_path: Path) -> None:
    assert main(["export", str(tiny_model_dir), "--out", str(tmp_path / "x"), *extra]) == 2


def test_int8_stays_near_float32_and_keeps_the_last_layers(exported_dir: Path, tmp_path: Path) -> None:
    from hf_fracture.export.quantization import list_last_layers, quantize_onnx
    from hf_fracture.inference.onnx_engine import OnnxEngine

    source, target = exported_dir / "onnx" / "model.onnx", tmp_path / "int8.onnx"
    exact = OnnxEngine(source)
    pixels = list(draw_pixels(exact.metadata.preprocessing, 8))
    quantize_onnx(source, target, pixel_values=pixels, num_float_nodes=1, metadata=exact.metadata.to_properties())
    batch = np.stack(pixels)
    first, second = exact.compute(batch), OnnxEngine(target).compute(batch)
    assert np.abs(first.probabilities - second.probabilities).max() < 0.05
    assert first.feature_maps is not None
    assert second.feature_maps is not None
    assert first.feature_maps.shape == second.feature_maps.shape
    operators = [node.op_type for node in onnx.load(target).graph.node]
    assert operators[-1] == "Gemm"
    assert "QuantizeLinear" in operators
    with pytest.raises(UsageError, match="got none"):
        quantize_onnx(source, target, pixel_values=[], num_float_nodes=1, metadata={})
    with pytest.raises(ModelFolderError, match="without --int8"):
        list_last_layers(onnx.load(source), 1000)


TYPES = ("oblique", "spiral", "transverse")


@pytest.fixture
def types_dir(tmp_path: Path) -> Path:
    """Return a folder of a network, from random weights, that names three types of fracture."""
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    from hf_fracture.config import FractureRecord, Triage
    from hf_fracture.models.checkpoint import save_model_folder

    torch.manual_seed(0)
    config = ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16],
        depths=[1, 1],
        layer_type="basic",
        id2label=dict(enumerate(TYPES)),
        label2id={name: index for index, name in enumerate(TYPES)},
    )
    record = FractureRecord(
        operating_points={},
        temperature=1.0,
        triage=Triage(screening=0.0, rule_in=1.0),
        label_kind="fracture_type",
        trained_on=["bone_break"],
    )
    preprocessing = Preprocessing(size_px=64, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    save_model_folder(
        ResNetForImageClassification(config),
        tmp_path / "types",
        preprocessing=preprocessing,
        record=record,
        run={},
    )
    return tmp_path / "types"


@pytest.fixture
def typed_films_dir(tmp_path: Path) -> Path:
    """Return a dataset whose validation films have a type, but for the last."""
    from datasets import Dataset, DatasetDict, Image

    images = [draw_phantom(seed, fractured=True, size_px=(120, 160)).image for seed in range(13)]
    films = Dataset.from_dict(
        {
            "image": images,
            "label": [1] * 13,
            "fracture_type": [*(TYPES[seed % 3] for seed in range(12)), None],
            "group_id": [str(seed) for seed in range(13)],
            "source_path": [f"{seed}.png" for seed in range(13)],
        }
    ).cast_column("image", Image())
    DatasetDict({"validation": films}).save_to_disk(tmp_path / "typed")
    return tmp_path / "typed"


def test_model_of_types_is_exported_and_gives_the_same_probabilities(types_dir: Path, typed_films_dir: Path) -> None:
    import onnxruntime

    out = ["--out", str(types_dir)]
    assert main(["export", str(types_dir), *out, "--int8", "--dataset", str(typed_films_dir)]) == 0
    report = json.loads((types_dir / "export.json").read_text())
    exact, int8 = report["files"]["onnx/model.onnx"], report["files"]["onnx/model_int8.onnx"]
    assert (exact["num_films"], int8["num_films"]) == (12, 12)
    assert exact["max_difference"] < 1e-5 < int8["max_difference"] < 0.05
    assert exact["auroc"] == exact["auroc_exact"]
    session = onnxruntime.InferenceSession(types_dir / "onnx" / "model.onnx", providers=["CPUExecutionProvider"])
    properties = session.get_modelmeta().custom_metadata_map
    assert json.loads(properties["labels"]) == list(TYPES)
    assert json.loads(properties["fractured_index"]) is None
    assert session.run(["logits"], {"pixel_values": np.zeros((1, 3, 64, 64), np.float32)})[0].shape == (1, 3)


def test_types_are_exported_by_films_that_have_them(
    types_dir: Path, typed_films_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(types_dir), "--out", str(types_dir), "--int8", "--dataset", str(typed_films_dir)]
    assert main([*words, "--originals", str(tmp_path)]) == 2
    assert "Expected no --originals" in capsys.readouterr().err
    from datasets import DatasetDict, load_from_disk

    films = load_from_disk(str(typed_films_dir))
    assert isinstance(films, DatasetDict)
    films.remove_columns("fracture_type").save_to_disk(tmp_path / "untyped")
    words[-1] = str(tmp_path / "untyped")
    assert main(words) == 2
    assert "Expected films of at least two classes" in capsys.readouterr().err
    assert not (types_dir / "onnx").exists() or not list((types_dir / "onnx").iterdir())


def test_classes_are_compared_by_their_mean_auroc() -> None:
    from hf_fracture.inference.parity import compare_probabilities

    exact = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.6, 0.2, 0.2]])
    other = np.array([[0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.6, 0.2, 0.2]])
    compared = compare_probabilities(exact, other, [0, 1, 2, 0])
    assert compared["auroc_exact"] == pytest.approx(1.0)
    assert compared["auroc"] == pytest.approx((5 / 8 + 2 / 3 + 1) / 3)
    assert compared["max_difference"] == pytest.approx(0.7)


def draw_pixels(preprocessing: Preprocessing, num: int) -> Iterator[NDArray[np.float32]]:
    for seed in range(num):
        film = draw_phantom(seed, fractured=seed % 2 == 0, size_px=(120, 160)).image
        yield letterbox_pixels(film, preprocessing.size_px, preprocessing.mean, preprocessing.std)


def build_metadata(**changes: Any) -> OnnxMetadata:
    values: dict[str, Any] = {
        "preprocessing": Preprocessing(size_px=64, mean=IMAGENET_MEAN, std=IMAGENET_STD),
        "labels": ["not fractured", "fractured"],
        "fractured_index": 1,
        "cam_weights": [0.5, -1.0],
        "cam_layer_norm": None,
        "record": {"temperature": 1.5},
        "model_sha256": "0" * 64,
    }
    return OnnxMetadata(**{**values, **changes})


def test_metadata_survive_the_file() -> None:
    metadata = build_metadata(cam_layer_norm={"scale": [1.0, 2.0], "epsilon": 1e-6})
    assert OnnxMetadata.from_properties(metadata.to_properties()) == metadata


def test_metadata_of_types_survive_the_file_and_do_not_answer(types_dir: Path) -> None:
    from hf_fracture.inference.onnx_engine import OnnxEngine

    metadata = build_metadata(labels=list(TYPES), fractured_index=None, cam_weights=None)
    assert OnnxMetadata.from_properties(metadata.to_properties()) == metadata
    assert main(["export", str(types_dir), "--out", str(types_dir)]) == 0
    assert json.loads((types_dir / "export.json").read_text())["films"] == "phantoms"
    with pytest.raises(ModelFolderError, match="it names oblique, spiral, transverse"):
        OnnxEngine(types_dir / "onnx" / "model.onnx")


@pytest.mark.parametrize("key", ["preprocessing", "cam_weights", "model_sha256"])
def test_metadata_that_lack_a_key_or_hold_no_json_are_refused(key: str) -> None:
    properties = build_metadata().to_properties()
    with pytest.raises(ModelFolderError, match="Export the model again"):
        OnnxMetadata.from_properties({name: text for name, text in properties.items() if name != key})
    with pytest.raises(ModelFolderError, match="Export the model again"):
        OnnxMetadata.from_properties({**properties, key: "{"})


def test_prediction_from_a_cold_shell_loads_neither_torch_nor_transformers(
    exported_dir: Path, films: list[Path], tmp_path: Path
) -> None:
    script = (
        "import sys; from hf_fracture.cli.main import main; status = main(sys.argv[1:]);"
        "heavy = {'torch', 'transformers', 'captum', 'datasets', 'sklearn', 'matplotlib', 'onnx'} & set(sys.modules);"
        "sys.exit(f'loaded {heavy}' if heavy else status)"
    )
    arguments = ["predict", *map(str, films[:2]), "--model", str(exported_dir), "--explain", str(tmp_path / "maps")]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "maps").iterdir())) == 2
