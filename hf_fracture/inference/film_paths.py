"""Which films a file, a folder or a glob names, and what to call what is made from each. May depend on `data`."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

from hf_fracture.data.radiographs import RASTER_SUFFIXES, looks_like_dicom
from hf_fracture.errors import MissingInputError

FILM_SUFFIXES: Final = (*RASTER_SUFFIXES, ".dcm", ".dicom")
_DICOM_HEAD_BYTES: Final = 132


@dataclass(frozen=True)
class FilmPath:
    """A film to be read.

    Attributes:
        path: Where it lies, as the caller wrote it.
        name: Relative name for outputs, unique among the films found together; with forward slashes.
    """

    path: Path
    name: str


@dataclass(frozen=True)
class FilmSelection:
    """What was found.

    Attributes:
        films: In the order of the arguments; inside a folder sorted by name. No path occurs twice.
        num_skipped: Files in folders that are no images by their name and no DICOM by their content.
    """

    films: list[FilmPath]
    num_skipped: int


def find_films(arguments: Sequence[str]) -> FilmSelection:
    """Find the films that files, folders and globs name.

    A file that is named outright is always taken. Of a folder, searched with its subfolders, those are taken that end
    like an image or begin like a DICOM file; hidden ones are not.

    Args:
        arguments: Paths or patterns; `**` crosses folders.

    Raises:
        MissingInputError: If an argument names nothing, or nothing that is a film.
    """
    found: dict[Path, str] = {}
    num_skipped = 0
    for argument in arguments:
        num_before = len(found)
        for path in _expand_argument(argument):
            if not path.is_dir():
                found.setdefault(path, path.name)
                continue
            for file in _walk_folder(path):
                if _is_film(file):
                    found.setdefault(file, file.relative_to(path).as_posix())
                else:
                    num_skipped += 1
        if len(found) == num_before and Path(argument).is_dir():
            raise MissingInputError(
                f"Expected images or DICOM files in '{argument}', found none. Name the folder that holds the films."
            )
    return FilmSelection([FilmPath(*item) for item in _make_unique(found.items())], num_skipped)


def select_shard(films: Sequence[FilmPath], *, shard: int, num_shards: int) -> list[FilmPath]:
    """Take every `num_shards`-th film, beginning with number `shard`, counted from 1.

    >>> films = [FilmPath(Path(name), name) for name in "abcde"]
    >>> [film.name for film in select_shard(films, shard=2, num_shards=2)]
    ['b', 'd']
    """
    return list(films[shard - 1 :: num_shards])


def _expand_argument(argument: str) -> list[Path]:
    """Return the path itself if it exists, or else what the pattern matches."""
    path = Path(argument)
    if path.exists() or path.is_symlink():
        return [path]
    matches = sorted(glob.glob(argument, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute patterns
    if not matches:
        raise MissingInputError(f"Expected a file, a folder or a pattern, found nothing at '{argument}'.")
    return [Path(match) for match in matches]


def _walk_folder(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, sorted; hidden files and folders are left out."""
    for parent, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent) / name for name in sorted(files) if not name.startswith("."))


def _raise(error: OSError) -> None:
    raise error


def _is_film(path: Path) -> bool:
    if path.suffix.lower() in FILM_SUFFIXES:
        return True
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return looks_like_dicom(stream.read(_DICOM_HEAD_BYTES))


def _make_unique(items: Iterable[tuple[Path, str]]) -> Iterator[tuple[Path, str]]:
    """Number names that occur more than once: a.png, a-2.png, a-3.png."""
    taken: set[str] = set()
    for path, name in items:
        unique, count = name, 1
        while unique in taken:
            count += 1
            pure = PurePath(name)
            unique = str(pure.with_name(f"{pure.stem}-{count}{pure.suffix}"))
        taken.add(unique)
        yield path, unique
