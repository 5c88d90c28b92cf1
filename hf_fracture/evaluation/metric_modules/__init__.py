"""This package's measures as modules of the `evaluate` library, for use outside it.

`evaluate.load(str(find_metric_module("grouped_auroc")))` works without a network: the modules are files of this
package. May depend on the rest of this room.
"""

from pathlib import Path
from typing import Final

from hf_fracture.errors import UsageError

METRIC_MODULES: Final[tuple[str, ...]] = ("grouped_auroc", "calibration", "operating_point")


def find_metric_module(name: str) -> Path:
    """Return the folder that `evaluate.load` takes.

    Args:
        name: One of `METRIC_MODULES`.

    Raises:
        UsageError: If there is no such module.
    """
    if name not in METRIC_MODULES:
        raise UsageError(f"Expected one of the metric modules {', '.join(METRIC_MODULES)}, got '{name}'.")
    return Path(__file__).resolve().parent / name
