"""Files that an evaluation leaves: complete, or not there.

May depend on the standard library.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`, and rename it once the block has ended without an error.

    Args:
        path: The file to write; its folder is made if need be.

    Yields:
        A path in the same folder with the same suffix.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_path = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield partial_path
        partial_path.replace(path)
    finally:
        partial_path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 under a temporary name, then rename it."""
    with replacing(path) as partial_path:
        partial_path.write_text(text, encoding="utf-8")
