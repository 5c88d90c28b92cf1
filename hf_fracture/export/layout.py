"""Where exported files lie in a model folder. May depend on nothing."""

from typing import Final

ONNX_DIR: Final = "onnx"
ONNX_FILE: Final = "model.onnx"
INT8_FILE: Final = "model_int8.onnx"
REPORT_FILE: Final = "export.json"
