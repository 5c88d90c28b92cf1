"""Trains, measures, publishes and serves fracture radiograph classifiers.

Importing the package loads neither torch nor transformers: the names below are fetched from their modules on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hf_fracture.data.prepare import load_fracture_dataset
    from hf_fracture.inference.classifier import FractureClassifier
    from hf_fracture.inference.finding import Finding
    from hf_fracture.models.registration import register_models

__all__ = ["Finding", "FractureClassifier", "__version__", "load_fracture_dataset", "register_models"]

_MODULES = {
    "Finding": "hf_fracture.inference.finding",
    "FractureClassifier": "hf_fracture.inference.classifier",
    "load_fracture_dataset": "hf_fracture.data.prepare",
    "register_models": "hf_fracture.models.registration",
}


def __getattr__(name: str) -> Any:
    """Fetch a public name from its module."""
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("hf-fracture")
    raise AttributeError(f"module 'hf_fracture' has no attribute '{name}'")


def __dir__() -> list[str]:
    """List the public names, fetched or not."""
    return sorted({*globals(), *__all__})
