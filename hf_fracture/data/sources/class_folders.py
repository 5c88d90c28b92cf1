"""Films in folders named after their class, with or without folders for the splits above them.

Names differ between releases and unpackers (`not fractured`, `Non_fractured`, `normal`; `val`, `validation-cropped`),
so they are compared by their letters only. May depend on `listing`, `schema`, `labels` and `errors`.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Generic, TypeVar

from hf_fracture.data.schema import RawRow
from hf_fracture.data.sources.listing import list_images, list_subfolders, quote
from hf_fracture.errors import DatasetError
from hf_fracture.labels import FRACTURED, NOT_FRACTURED

_CLASSES: Final[dict[str, int]] = {
    **dict.fromkeys(("fractured", "fracture", "fractures", "broken", "positive", "pos", "yes", "1"), FRACTURED),
    **dict.fromkeys(("withfracture", "bonefracture", "wristfracture", "fracturedbone"), FRACTURED),
    **dict.fromkeys(("notfractured", "nonfractured", "notfracture", "nonfracture", "nofracture"), NOT_FRACTURED),
    **dict.fromkeys(("unfractured", "nofractures", "withoutfracture", "notbroken", "intact"), NOT_FRACTURED),
    **dict.fromkeys(("normal", "healthy", "negative", "neg", "no", "0"), NOT_FRACTURED),
}
_SPLITS: Final[dict[str, str]] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_WRAPPERS: Final = 3  # archives unpack into a folder of their own name, some of them twice

T = TypeVar("T")


def read_class_name(name: str) -> int | None:
    """Return the label that a folder or a table names; None if it names none.

    >>> read_class_name("Non-Fractured"), read_class_name("fractured"), read_class_name("elbow")
    (0, 1, None)
    """
    if name.strip().startswith(("-", "+", ".")):
        return None  # -1 says something, and certainly not 1
    return _CLASSES.get(_letters(name))


def read_split_name(name: str) -> str | None:
    """Return the split that a folder names; None if it names none.

    >>> read_split_name("validation-cropped")
    'validation'
    """
    return _SPLITS.get(_letters(name).removesuffix("cropped").removesuffix("set").removesuffix("data"))


def _letters(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


def read_class_folders(
    data_dir: Path,
    *,
    list_files: Callable[[Path], Sequence[Path]] = list_images,
) -> Iterator[RawRow]:
    """Yield one row per film, its path relative to the folder that holds classes or splits.

    A film outside the class folders has no label.

    Args:
        data_dir: Holds class folders, or split folders that hold class folders, or one folder that does.
        list_files: Lists the films below a folder.

    Raises:
        DatasetError: If there are no class folders, two of one class, or a folder of films of no known class.
    """
    root = find_root(data_dir)
    splits = _match_folders(list_subfolders(root), read_split_name)
    if splits.matched:
        _refuse_unknown(splits.unknown, list_files)
        for split, folder in splits.matched.items():
            yield from _read_classes(root, folder, list_files, split)
        return
    yield from _read_classes(root, root, list_files, None)


def find_root(data_dir: Path) -> Path:
    """Return the folder that holds the class or split folders, below folders that hold nothing but one folder."""
    root = data_dir
    for _ in range(_WRAPPERS):
        folders = list_subfolders(root)
        is_wrapper = len(folders) == 1 and read_class_name(folders[0].name) is None
        if not is_wrapper or read_split_name(folders[0].name) is not None:
            return root
        root = folders[0]
    return root


class _Matches(Generic[T]):
    """Folders by what their names mean, and those that mean nothing."""

    def __init__(self) -> None:
        self.matched: dict[T, Path] = {}
        self.unknown: list[Path] = []


def _match_folders(folders: Sequence[Path], read_name: Callable[[str], T | None]) -> _Matches[T]:
    """Match folders with meanings.

    Raises:
        DatasetError: If two folders mean the same.
    """
    matches: _Matches[T] = _Matches()
    for folder in folders:
        meaning = read_name(folder.name)
        if meaning is None:
            matches.unknown.append(folder)
        elif meaning in matches.matched:
            raise DatasetError(
                f"Expected one folder for each class and split, got '{quote(matches.matched[meaning].name)}' and "
                f"'{quote(folder.name)}' for the same in {folder.parent}. Merge or rename them."
            )
        else:
            matches.matched[meaning] = folder
    return matches


def _read_classes(
    root: Path, folder: Path, list_files: Callable[[Path], Sequence[Path]], split: str | None
) -> Iterator[RawRow]:
    classes = _match_folders(list_subfolders(folder), read_class_name)
    if not classes.matched:
        found = ", ".join(f"'{path.name}'" for path in classes.unknown) or "none"
        raise DatasetError(
            f"Expected folders named after the classes, such as 'fractured' and 'not fractured', in {folder}, got "
            f"{quote(found, 200)}. Rename them, or list the films in a metadata.csv with the columns file_name and "
            "label."
        )
    _refuse_unknown(classes.unknown, list_files)
    filed: set[Path] = set()
    for label, class_dir in classes.matched.items():
        for path in list_files(class_dir):
            filed.add(path)
            yield RawRow(path=path, source_path=path.relative_to(root).as_posix(), label=label, source_split=split)
    for path in list_files(folder):
        if path not in filed:
            yield RawRow(path=path, source_path=path.relative_to(root).as_posix(), label=None)


def _refuse_unknown(folders: Sequence[Path], list_files: Callable[[Path], Sequence[Path]]) -> None:
    """Refuse a folder of films whose class cannot be told; one without films is no concern."""
    for folder in folders:
        films = list_files(folder)
        if films:
            raise DatasetError(
                f"Expected every folder of films to be named after a class or split, got '{quote(folder.name)}' "
                f"with {len(films):,} films in {folder.parent}. Rename it, or move it away."
            )
