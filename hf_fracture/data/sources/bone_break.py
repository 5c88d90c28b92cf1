"""The Kaggle bone break set: ten types of fracture, no film without one.

Layout: `<Type>/<Train|Test>/`, under a folder of the archive's own name in some releases. Useful for types, and useless
for telling fractured from intact films, since it holds one class. May depend on `class_folders`, `listing`, `schema`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hf_fracture.data.schema import RawRow
from hf_fracture.data.sources.class_folders import read_split_name
from hf_fracture.data.sources.info import Download, SourceInfo
from hf_fracture.data.sources.listing import check_folder, list_images, list_subfolders, quote
from hf_fracture.errors import DatasetError
from hf_fracture.labels import FRACTURED

INFO: Final = SourceInfo(
    name="bone_break",
    title="Bone Break Classification Image Dataset (Kaggle)",
    licence="unknown",
    citation=(
        "Darabi, P. K. Bone Break Classification Image Dataset. Kaggle, 2023. "
        "https://www.kaggle.com/datasets/pkdarabi/bone-break-classification-image-dataset"
    ),
    homepage="https://www.kaggle.com/datasets/pkdarabi/bone-break-classification-image-dataset",
    download=Download(host="kaggle", handle="pkdarabi/bone-break-classification-image-dataset"),
    redistributable=False,
    modalities=("XR",),
    summary="1,129 fractured films of ten types; no film without a fracture.",
    has_both_classes=False,
)

FRACTURE_TYPES: Final = (
    *("avulsion", "comminuted", "dislocation", "greenstick", "hairline"),
    *("impacted", "longitudinal", "oblique", "pathological", "spiral"),
)


def read_rows(data_dir: Path) -> Iterator[RawRow]:
    """Yield one row per film, its type in `fracture_type`.

    Raises:
        MissingInputError: If the folder is missing.
        DatasetError: If it does not hold folders named after fracture types, or two of one type.
    """
    check_folder(data_dir, expected="the bone break set (one folder per fracture type)")
    seen: dict[str, Path] = {}
    root = _find_root(data_dir)
    for folder in list_subfolders(root):
        fracture_type = read_type_name(folder.name)
        if fracture_type is None:
            if list_images(folder):
                raise DatasetError(
                    f"Expected folders named after the fracture types {', '.join(FRACTURE_TYPES)}, got "
                    f"'{quote(folder.name)}' "
                    f"with films in {folder.parent}. Rename it, or move it away."
                )
            continue
        if fracture_type in seen:
            raise DatasetError(
                f"Expected one folder for each fracture type, got '{quote(seen[fracture_type].name)}' and "
                f"'{quote(folder.name)}' for "
                f"{fracture_type} in {folder.parent}. Merge or rename them."
            )
        seen[fracture_type] = folder
        yield from _read_type(root, folder, fracture_type)


def read_type_name(name: str) -> str | None:
    """Return the fracture type that a folder names; None if it names none.

    >>> read_type_name("Fracture Dislocation"), read_type_name("Spiral Fracture"), read_type_name("Elbow")
    ('dislocation', 'spiral', None)
    """
    words = name.lower().replace("_", " ").replace("-", " ").split()
    return next((kind for kind in FRACTURE_TYPES if kind in words), None)


def _find_root(data_dir: Path) -> Path:
    """Return the folder that holds the types: this one, or the only one in it."""
    folders = list_subfolders(data_dir)
    if len(folders) == 1 and read_type_name(folders[0].name) is None:
        data_dir = folders[0]
        folders = list_subfolders(data_dir)
    if not any(read_type_name(folder.name) for folder in folders):
        raise DatasetError(
            f"Expected folders named after fracture types, such as 'Spiral Fracture', in {data_dir}, got "
            f"{quote(', '.join(repr(folder.name) for folder in folders) or 'none', 200)}. Check --source."
        )
    return data_dir


def _read_type(root: Path, folder: Path, fracture_type: str) -> Iterator[RawRow]:
    for path in list_images(folder):
        split = path.relative_to(folder).parts[0]
        yield RawRow(
            path=path,
            source_path=path.relative_to(root).as_posix(),
            label=FRACTURED,
            fracture_type=fracture_type,
            modality="XR",
            source_split=read_split_name(split),
        )
