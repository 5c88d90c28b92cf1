"""Wrist films in `train-cropped/`, `validation-cropped/` and `test-cropped/`, or in plain class folders.

The layout of the project below; class folders may have any common name. May depend on `class_folders` and `schema`.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from hf_fracture.data.schema import RawRow
from hf_fracture.data.sources.class_folders import read_class_folders
from hf_fracture.data.sources.info import Download, SourceInfo
from hf_fracture.data.sources.listing import check_folder

INFO: Final = SourceInfo(
    name="wrist",
    title="Wrist fracture films in cropped splits",
    licence="unknown",
    citation=(
        "Montebon, J. Deep Learning-Based Binary Classification of Wrist Fractures. "
        "https://github.com/jeremiahmontebon/Deep-Learning-Based-Binary-Classification-of-Wrist-Fractures"
    ),
    homepage="https://github.com/jeremiahmontebon/Deep-Learning-Based-Binary-Classification-of-Wrist-Fractures",
    download=Download(host="none"),
    redistributable=False,
    modalities=("XR",),
    summary="Cropped wrist films in train, validation and test folders, or any wrist films in class folders.",
)


def read_rows(data_dir: Path) -> Iterator[RawRow]:
    """Yield one row per film; every film is a wrist.

    Raises:
        MissingInputError: If the folder is missing.
        DatasetError: If it does not hold class folders.
    """
    check_folder(data_dir, expected="wrist films (train-cropped, validation-cropped, test-cropped, or class folders)")
    for row in read_class_folders(data_dir):
        yield replace(row, modality="XR", body_part="wrist")
