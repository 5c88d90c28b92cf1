"""Files that an evaluation leaves: complete, or not there.

May depend on `outputs`.
"""

from pathlib import Path

from hf_fracture.outputs import replacing

__all__ = ["replacing", "write_text"]


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 under a temporary name, then rename it."""
    with replacing(path) as partial_path:
        partial_path.write_text(text, encoding="utf-8")
