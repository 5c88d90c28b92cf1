"""What would go to the Hub: every file with its place and size, checked before anything is sent.

May depend on `errors` and the standard library; `yaml` is imported where front matter is read.
"""

import csv
import hashlib
import io
import re
import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final, Literal

from hf_fracture.errors import MissingInputError, PublishError, UsageError

RepoKind = Literal["model", "dataset", "space"]

CARD_NAME: Final = "README.md"
LICENCE_TABLE_NAME: Final = "licences.csv"
LICENCE_COLUMNS: Final = ("file_name", "licence", "citation")
MAX_FILE_BYTES: Final = 50_000_000_000  # what the Hub takes as one file
PICKLE_SUFFIXES: Final = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib", ".ckpt")
_PICKLE_STARTS: Final = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
_IMAGE_SUFFIXES: Final = (".bmp", ".dcm", ".dicom", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_FRONT_MATTER: Final = re.compile(r"\A---\r?\n(.*?)\r?\n---[ \t]*\r?\n?", re.DOTALL)
_BLOCK_BYTES: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class PlannedFile:
    """A file on its way.

    Attributes:
        path: Its place in the repository, with forward slashes.
        content: A file on disk, or the bytes themselves where they were made for the repository.
    """

    path: str
    content: Path | bytes

    @property
    def num_bytes(self) -> int:
        """Its size."""
        return self.content.stat().st_size if isinstance(self.content, Path) else len(self.content)

    def hash_sha256(self) -> str:
        """Return the hash by which the Hub names large files."""
        return self._digest(hashlib.sha256())

    def hash_git(self) -> str:
        """Return the hash by which git names small files."""
        digest = hashlib.sha1(f"blob {self.num_bytes}\0".encode(), usedforsecurity=False)
        return self._digest(digest)

    def _digest(self, digest: Any) -> str:
        with io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content.open("rb") as stream:
            while block := stream.read(_BLOCK_BYTES):
                digest.update(block)
        return str(digest.hexdigest())


@dataclass(frozen=True, kw_only=True)
class UploadPlan:
    """One commit.

    Attributes:
        kind: Of repository.
        files: Sorted by path.
        owned: Patterns of the paths that belong to what is published; a file of the repository that matches one and is
            not among `files` is removed in the same commit, so that no measurement of older weights stays.
        left_out: Files of the folder that do not go.
        notes: Sentences that the person who publishes should read.
        usage: The lines with which others use it; `{repo_id}` and `{revision}` are filled in.
        space_sdk: Of a Space.
    """

    kind: RepoKind
    files: Sequence[PlannedFile]
    owned: Sequence[str]
    usage: str
    left_out: Sequence[str] = ()
    notes: Sequence[str] = ()
    space_sdk: str | None = None

    @property
    def num_bytes(self) -> int:
        """Size of everything that goes."""
        return sum(file.num_bytes for file in self.files)

    def owns(self, path: str) -> bool:
        """Tell whether a path of the repository belongs to what is published."""
        return path != ".gitattributes" and any(fnmatch(path, pattern) for pattern in self.owned)


def list_folder(folder: Path) -> list[str]:
    """Return the files below a folder, without caches, temporary files and version control.

    Raises:
        MissingInputError: If there is no such folder.
    """
    if not folder.is_dir():
        raise MissingInputError(f"Expected a folder to publish, found none at '{folder}'. Check the path.")
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in paths if not _is_passing(path))


def _is_passing(path: Path) -> bool:
    """Tell whether a relative path names something that only this machine needs."""
    hidden = any(part.startswith(".") and part != ".eval_results" for part in path.parts)
    return hidden or "__pycache__" in path.parts or path.suffix == ".pyc"


def select_files(folder: Path, patterns: Iterable[str]) -> tuple[list[PlannedFile], list[str]]:
    """Divide the files of a folder into those that match a pattern and the paths of the rest."""
    wanted = tuple(patterns)
    names = list_folder(folder)
    chosen = [name for name in names if any(fnmatch(name, pattern) for pattern in wanted)]
    return [PlannedFile(path=name, content=folder / name) for name in chosen], sorted(set(names) - set(chosen))


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds a pickle, whether it would go or not, or a file that is too large.

    Raises:
        PublishError: Naming the file.
    """
    for name in list_folder(folder):
        path = folder / name
        if holds_pickle(path):
            raise PublishError(
                f"Expected no pickle in '{folder}', found {name}: whoever loads one runs its code. Save weights as "
                "safetensors, and remove the file."
            )
        if path.stat().st_size > MAX_FILE_BYTES:
            raise PublishError(
                f"Expected files of at most {MAX_FILE_BYTES:,} bytes, got {name} with {path.stat().st_size:,}. Save it "
                "in shards."
            )


def holds_pickle(path: Path) -> bool:
    """Tell whether a file is a pickle, by its name, its first bytes, or what it holds as an archive."""
    with path.open("rb") as stream:
        start = stream.read(4)
    if path.suffix.lower() in PICKLE_SUFFIXES or start.startswith(_PICKLE_STARTS):
        return True
    if not start.startswith(b"PK"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(PICKLE_SUFFIXES) for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def check_images(folder: Path, paths: Iterable[str], *, plots: Sequence[str] = ()) -> None:
    """Refuse a picture for which nobody says under which licence it may be shown.

    Beside each picture, or above it, `licences.csv` (file_name, licence, citation) names it. Plots are excepted.

    Args:
        folder: What is published.
        paths: Files that would go.
        plots: Patterns of pictures that show no film.

    Raises:
        PublishError: Naming the first such picture.
    """
    for name in paths:
        is_plot = any(fnmatch(name, pattern) for pattern in plots)
        if not name.lower().endswith(_IMAGE_SUFFIXES) or is_plot:
            continue
        path = folder / name
        licence = next((found for parent in path.parents if (found := _find_licence(parent, path, folder))), None)
        if licence in (None, "", "unknown"):
            raise PublishError(
                f"Expected a licence for the picture {name}, found none. Add {path.parent.name}/{LICENCE_TABLE_NAME} "
                f"with the columns {', '.join(LICENCE_COLUMNS)} and a row for it, or remove the picture."
            )


def _find_licence(parent: Path, path: Path, folder: Path) -> str | None:
    """Look a picture up in the table of one folder, if that folder is published."""
    table = parent / LICENCE_TABLE_NAME
    if not parent.is_relative_to(folder) or not table.is_file():
        return None
    with table.open(encoding="utf-8", newline="") as stream:
        rows = {row.get("file_name"): row.get("licence") for row in csv.DictReader(stream)}
    licence = rows.get(path.relative_to(parent).as_posix())
    return None if licence is None else licence.strip().lower()


def read_front_matter(card: str, *, where: str) -> tuple[dict[str, Any], str]:
    """Divide a card into its YAML and its text.

    Args:
        card: Markdown.
        where: What messages call it.

    Raises:
        PublishError: If it has no front matter, or one that is no YAML mapping.
    """
    import yaml

    match = _FRONT_MATTER.match(card)
    try:
        front = yaml.safe_load(match[1]) if match else None
    except yaml.YAMLError as error:
        raise PublishError(f"Expected YAML between the first two lines '---' of {where}: {error}") from error
    if match is None or not isinstance(front, dict):
        raise PublishError(f"Expected {where} to begin with YAML between two lines '---', found none. Render it again.")
    return front, card[match.end() :]


def write_front_matter(front: Mapping[str, Any], body: str) -> str:
    """Put a card together again."""
    import yaml

    text = yaml.safe_dump(dict(front), sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{text}---\n\n{body.lstrip()}"


def check_sections(body: str, titles: Collection[str], *, where: str, remedy: str) -> None:
    """Refuse a card without one of its sections.

    Raises:
        PublishError: Naming those that are missing.
    """
    present = {line.removeprefix("## ").strip() for line in body.splitlines() if line.startswith("## ")}
    missing = [title for title in titles if title not in present]
    if missing:
        raise PublishError(f"Expected {where} to hold every section, found none called {', '.join(missing)}. {remedy}")


def settle_licence(front: dict[str, Any], licence: str | None, *, why_missing: str) -> None:
    """Put a licence into front matter that has none.

    Args:
        front: Changed in place.
        licence: What the person who publishes says, as the Hub spells it (`cc-by-4.0`); None if nothing.
        why_missing: A sentence for one who has to name it.

    Raises:
        UsageError: If there is none at all, or the card says another.
    """
    present = front.get("license")
    if present in (None, "unknown"):
        if licence is None:
            raise UsageError(f"Expected a licence in the card's front matter, found none. {why_missing}")
        front["license"] = licence
    elif licence not in (None, present):
        raise UsageError(f"--license must agree with the card, which says {present}, got {licence}. Leave it out.")


def gate_access(front: dict[str, Any], *, what: str) -> None:
    """Add what a visitor of a gated repository has to accept."""
    front["extra_gated_heading"] = f"Say what you use this {what} for"
    front["extra_gated_prompt"] = (
        "For research and teaching. Not a medical device; no one may be diagnosed or treated on its answer."
    )
    front["extra_gated_fields"] = {"Affiliation": "text", "I use it for research or teaching only": "checkbox"}


def render_listing(plan: UploadPlan) -> str:
    """Return one line per file, size in bytes and path, as `--dry-run` shows them."""
    return "".join(f"{file.num_bytes}\t{file.path}\n" for file in plan.files)
