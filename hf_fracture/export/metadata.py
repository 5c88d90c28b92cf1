"""What an exported file says of itself, so that a runtime needs nothing but the file. NumPy only.

All values are JSON text in the file's `metadata_props`; the names of the fields below are the keys.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from hf_fracture.data.transforms import Preprocessing
from hf_fracture.errors import ModelFolderError

INPUT_NAME = "pixel_values"
LOGITS_NAME = "logits"
MAP_NAME = "last_map"

_FIXED_PREPROCESSING = {
    "resample": "bicubic",
    "anchor": "top left",
    "padding_after_normalisation": 0.0,
    "channels": "the grey film, repeated",
}


@dataclass(frozen=True, kw_only=True)
class OnnxMetadata:
    """What travels inside an exported file.

    Attributes:
        preprocessing: Letterbox and normalisation. In the file also how it is resampled, anchored and padded.
        labels: Names of the classes in the order of the logits.
        fractured_index: Which of two logits speaks for a fracture; the probability is its softmax. None where the
            classes are types of fracture.
        cam_weights: (C,) such that `einsum("c,chw->hw", cam_weights, last_map) / (h * w)` is the Grad-CAM of the logit
            difference fractured minus not fractured; None where the head has no such form.
        cam_layer_norm: `scale` (C,) and `epsilon` of a LayerNorm between the pooled map and the weights, or None.
        record: The key `fracture` of config.json: operating points, triage limits, temperature; None without one.
        model_sha256: Of the weights that were exported.
        arithmetic: `float32` or `int8`.
    """

    preprocessing: Preprocessing
    labels: list[str]
    fractured_index: int | None
    cam_weights: list[float] | None
    cam_layer_norm: dict[str, Any] | None
    record: dict[str, Any] | None
    model_sha256: str
    arithmetic: str = "float32"

    def to_properties(self) -> dict[str, str]:
        """Return the file's metadata: one JSON text per field."""
        values = {**asdict(self), "preprocessing": {**asdict(self.preprocessing), **_FIXED_PREPROCESSING}}
        return {name: json.dumps(value, allow_nan=False) for name, value in values.items()}

    @classmethod
    def from_properties(cls, properties: Mapping[str, str]) -> "OnnxMetadata":
        """Read a file's metadata.

        Raises:
            ModelFolderError: If a key is missing or is no JSON.
        """
        try:
            values = {field.name: json.loads(properties[field.name]) for field in fields(cls)}
            stated = values.pop("preprocessing")
            _check_kinds(values)
            preprocessing = Preprocessing(
                size_px=int(stated["size_px"]), mean=tuple(stated["mean"]), std=tuple(stated["std"])
            )
            return cls(preprocessing=preprocessing, **values)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFolderError(
                f"Expected an ONNX file with the metadata of hf-fracture export, but {error!r} is wrong or missing. "
                "Export the model again."
            ) from error


def _check_kinds(values: Mapping[str, Any]) -> None:
    """Refuse metadata of other kinds than a runtime computes with.

    Raises:
        ValueError: Naming the field.
    """
    index = values["fractured_index"]
    if index is not None and (index not in (0, 1) or type(index) is not int):
        raise ValueError("fractured_index")
    weights, norm = values["cam_weights"], values["cam_layer_norm"]
    scale = None if norm is None else norm["scale"]
    for name, numbers in (("cam_weights", weights), ("cam_layer_norm", scale)):
        if numbers is not None and not all(isinstance(number, int | float) for number in numbers):
            raise ValueError(name)
    if not isinstance(values["model_sha256"], str) or not isinstance(values["labels"], list):
        raise ValueError("model_sha256 or labels")
