"""One module per dataset, each with `INFO` and `read_rows(data_dir)`."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from hf_fracture.data.schema import RawRow
from hf_fracture.data.sources import (
    bone_break,
    fracatlas,
    grazpedwri_dx,
    image_folder,
    kaggle_multi_region,
    wrist,
)
from hf_fracture.data.sources.info import Download, SourceInfo
from hf_fracture.errors import UsageError

OWN_FILMS: Final = image_folder.INFO.name  # any folder of films: two of this name need share none
_MODULES: Final = (kaggle_multi_region, wrist, grazpedwri_dx, fracatlas, bone_break, image_folder)

SOURCES: Final[dict[str, SourceInfo]] = {module.INFO.name: module.INFO for module in _MODULES}
_READERS: Final[dict[str, Callable[[Path], Iterator[RawRow]]]] = {
    module.INFO.name: module.read_rows for module in _MODULES
}


def find_source(name: str) -> SourceInfo:
    """Return what is known of a dataset.

    Raises:
        UsageError: If there is no source of that name.
    """
    if name not in SOURCES:
        raise UsageError(f"Expected one of the datasets {', '.join(SOURCES)}, got '{name}'. See hf-fracture data list.")
    return SOURCES[name]


def read_rows(name: str, data_dir: Path) -> Iterator[RawRow]:
    """Yield the rows of a dataset as its own module reads them.

    Raises:
        UsageError: If there is no source of that name.
        MissingInputError: If a folder or table is missing.
        DatasetError: If it does not hold what its layout promises.
    """
    find_source(name)
    return _READERS[name](data_dir)


__all__ = ["OWN_FILMS", "SOURCES", "Download", "SourceInfo", "find_source", "read_rows"]
