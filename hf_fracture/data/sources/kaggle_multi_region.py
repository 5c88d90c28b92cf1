"""The Kaggle multi-region fracture set that most fracture projects quote.

Layout: `train|val|test/<fractured|not fractured>/`, under one or two folders of the archive's name in some releases.
Most files are turned copies of 99 films: `36-rotated1-rotated2 (1).jpg` is film 36 of its class, turned twice. A number
may occur in both classes, so a family is class and number. Files named .jpg may be GIF or PNG, of any colour mode.
May depend on `class_folders`, `listing` and `schema`.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from hf_fracture.data.schema import RawRow
from hf_fracture.data.sources.class_folders import read_class_folders
from hf_fracture.data.sources.info import Download, SourceInfo
from hf_fracture.data.sources.listing import check_folder
from hf_fracture.labels import LABEL_NAMES

INFO: Final = SourceInfo(
    name="kaggle_multi_region",
    title="Fracture Multi-Region X-ray Data (Kaggle)",
    licence="ODC-By-1.0",
    citation=(
        "Rodrigo, B. M. Fracture Multi-Region X-ray Data. Kaggle, 2023. "
        "https://www.kaggle.com/datasets/bmadushanirodrigo/fracture-multi-region-x-ray-data"
    ),
    homepage="https://www.kaggle.com/datasets/bmadushanirodrigo/fracture-multi-region-x-ray-data",
    download=Download(host="kaggle", handle="bmadushanirodrigo/fracture-multi-region-x-ray-data"),
    redistributable=False,  # its page says ODC-By, yet many files come from journal figures
    modalities=("XR",),
    summary="10,581 files of several regions, most of them turned copies of 99 films; the published split leaks.",
)

_ALTERED: Final = re.compile(r"^(?P<number>.+?)(?P<turns>(?:-rotated\d+)+)(?P<copies>(?: - Copy)?(?: ?\(\d+\))?)$")


def read_rows(data_dir: Path) -> Iterator[RawRow]:
    """Yield one row per film.

    Raises:
        MissingInputError: If the folder is missing.
        DatasetError: If it does not hold class folders.
    """
    check_folder(data_dir, expected="the Kaggle multi-region set (train, val, test)")
    for row in read_class_folders(data_dir):
        yield _add_family(replace(row, modality="XR"))


def _add_family(row: RawRow) -> RawRow:
    """Add what the file's name says of its origin."""
    match = _ALTERED.match(row.path.stem)
    if match is None or row.label is None:
        return row
    copies = match["copies"].count("(") + match["copies"].count("Copy")
    return replace(
        row,
        family=f"{LABEL_NAMES[row.label]}/{match['number']}",
        num_alterations=match["turns"].count("-rotated") + copies,
    )
