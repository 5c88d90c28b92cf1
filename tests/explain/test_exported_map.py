"""The closed form of Grad-CAM through the exported file, without torch, equals Captum's map in torch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hf_fracture.data.transforms import Preprocessing
from hf_fracture.explain.attribution import compute_input_map
from hf_fracture.explain.closed_form import closed_form_grad_cam, read_pooled_head
from tests.explain.conftest import build_tiny, shake_parameters

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["resnet", "convnextv2"])
def test_map_of_the_exported_file_equals_captum(kind: str, tmp_path: Path, noise_pixels: NDArray[np.float32]) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from hf_fracture.export.metadata import OnnxMetadata
    from hf_fracture.export.onnx_file import export_onnx
    from hf_fracture.inference.onnx_engine import OnnxEngine

    model: Any = build_tiny(kind)
    shake_parameters(model)
    head = read_pooled_head(model)
    assert head is not None
    norm = head.layer_norm
    metadata = OnnxMetadata(
        preprocessing=Preprocessing(size_px=64, mean=(0.5,) * 3, std=(0.5,) * 3),
        labels=["not fractured", "fractured"],
        fractured_index=1,
        cam_weights=head.weight.tolist(),
        cam_layer_norm=None if norm is None else {"scale": norm.scale.tolist(), "epsilon": norm.epsilon},
        record=None,
        model_sha256="",
    )
    path = export_onnx(model, tmp_path / "model.onnx", size_px=64, metadata=metadata.to_properties())
    engine = OnnxEngine(path, num_threads=1)
    maps = engine.compute(noise_pixels[None]).feature_maps
    assert maps is not None
    assert engine.head is not None
    exported = closed_form_grad_cam(maps[0], engine.head)
    captum, _ = compute_input_map(model, noise_pixels)
    assert exported.shape == captum.shape == (8, 8)
    assert np.abs(captum).max() > 1e-3
    assert np.abs(exported - captum).max() <= 1e-5 * np.abs(captum).max()
