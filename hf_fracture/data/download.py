"""Fetch a dataset from figshare or Kaggle: resumed where it stopped, checked, unpacked.

May depend on `sources`, `cache` and `errors`; `kagglehub` is imported for a Kaggle dataset only.
"""

import hashlib
import http.client
import json
import shutil
import stat
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final

from hf_fracture.data.sources import SourceInfo, find_source
from hf_fracture.errors import DownloadError, MissingPackageError, OutputExistsError, UsageError

FIGSHARE_API: Final = "https://api.figshare.com/v2"
_BLOCK_BYTES: Final = 1 << 20
_TIMEOUT_SECONDS: Final = 60
_PARTS: Final = ".downloading"
_UNPACKED: Final = ".unpacked"
_ROOM_FACTOR: Final = 2  # the archive and what it unpacks to

Progress = Callable[[str, int, int], None]
"""Called with what is being fetched, how many bytes are there and how many there are in all."""


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file of a figshare article."""

    name: str
    url: str
    num_bytes: int
    md5: str


def download_dataset(name: str, out_dir: Path, *, report_progress: Progress | None = None) -> Path:
    """Fetch and unpack a dataset.

    What is there already is not fetched again: run it again after an interruption.

    Args:
        name: A key of `sources.SOURCES`.
        out_dir: Folder to fill; made if need be.
        report_progress: Called as bytes arrive (figshare; kagglehub shows a bar of its own).

    Returns:
        The folder to give to `prepare_dataset`.

    Raises:
        UsageError: If there is no such dataset, or nowhere to fetch it from.
        OutputExistsError: If `out_dir` is a file.
        DownloadError: Without a network or credentials, or if what arrived is damaged.
        MissingPackageError: If a Kaggle dataset is asked for and kagglehub is not installed.
    """
    info = find_source(name)
    if info.download.host == "none":
        raise UsageError(
            f"Expected a dataset that can be fetched, got '{name}', which has no public download. "
            f"Get the films yourself (see {info.homepage}) and run hf-fracture data prepare {name} --source DIR."
        )
    if out_dir.exists() and not out_dir.is_dir():
        raise OutputExistsError(f"Expected a folder at {out_dir}, found a file. Choose another --out.")
    if info.download.host == "kaggle":
        return _fetch_from_kaggle(info, out_dir)
    return fetch_from_figshare(info, out_dir, report_progress=report_progress)


def fetch_from_figshare(
    info: SourceInfo, out_dir: Path, *, api_url: str = FIGSHARE_API, report_progress: Progress | None = None
) -> Path:
    """Fetch every file of a figshare article, check it against its MD5 and unpack archives.

    Args:
        info: The dataset's passport; its handle is the article's number.
        out_dir: Folder to fill.
        api_url: Where the figshare API answers.
        report_progress: As in `download_dataset`.

    Raises:
        DownloadError: As `download_dataset` does.
    """
    files = list_figshare_files(info, api_url=api_url)
    out_dir.mkdir(parents=True, exist_ok=True)
    missing = [remote for remote in files if not _is_done(remote, out_dir)]
    _check_room(out_dir, sum(remote.num_bytes for remote in missing))
    for remote in missing:
        part = fetch_file(remote, out_dir / _PARTS, info=info, report_progress=report_progress)
        if zipfile.is_zipfile(part) and remote.name.lower().endswith(".zip"):
            unpack(part, out_dir)
            _mark_done(remote, out_dir)
            part.unlink()
        else:
            part.replace(out_dir / PurePosixPath(remote.name).name)
            _mark_done(remote, out_dir)
    shutil.rmtree(out_dir / _PARTS, ignore_errors=True)
    return out_dir


def list_figshare_files(info: SourceInfo, *, api_url: str = FIGSHARE_API) -> list[RemoteFile]:
    """Ask figshare for the files of an article.

    Raises:
        DownloadError: If it cannot be reached, or answers something else.
    """
    url = f"{api_url}/articles/{info.download.handle}/files?page_size=1000"
    with _open(url, info, offset=0) as response:
        answer = response.read()
    try:
        entries: list[dict[str, Any]] = json.loads(answer)
        files = [
            RemoteFile(
                name=str(entry["name"]),
                url=str(entry["download_url"]),
                num_bytes=int(entry["size"]),
                md5=str(entry["computed_md5"] or entry["supplied_md5"]),
            )
            for entry in entries
            if not entry.get("is_link_only")
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise DownloadError(f"figshare answered something unexpected for {info.title}. {_by_hand(info)}") from error
    if not files:
        raise DownloadError(f"figshare lists no file of {info.title}. {_by_hand(info)}")
    return files


def fetch_file(remote: RemoteFile, folder: Path, *, info: SourceInfo, report_progress: Progress | None = None) -> Path:
    """Fetch one file, going on where an earlier attempt stopped, and check it.

    Raises:
        DownloadError: If the transfer breaks off (what arrived stays) or the checksum is wrong (it is removed).
    """
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / PurePosixPath(remote.name).name
    offset = part.stat().st_size if part.exists() else 0
    if offset > remote.num_bytes:
        part.unlink()
        offset = 0
    if offset < remote.num_bytes:
        with _open(remote.url, info, offset=offset) as response:
            if offset and response.status != HTTPStatus.PARTIAL_CONTENT:
                offset = 0  # the server sends the whole file again
            with part.open("ab" if offset else "wb") as stream:
                _copy(response, stream, remote, offset, report_progress, info)
    _check_md5(part, remote, info)
    return part


def _copy(
    response: Any, stream: BinaryIO, remote: RemoteFile, done: int, report_progress: Progress | None, info: SourceInfo
) -> None:
    """Copy what arrives block by block."""
    while True:
        try:
            block = response.read(_BLOCK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise _broken_off(remote, done, info) from error
        if not block:
            break
        stream.write(block)
        done += len(block)
        if report_progress is not None:
            report_progress(f"fetching {remote.name}", done, remote.num_bytes)
    if done < remote.num_bytes:
        raise _broken_off(remote, done, info)


def _broken_off(remote: RemoteFile, done: int, info: SourceInfo) -> DownloadError:
    return DownloadError(
        f"Expected {remote.num_bytes:,} bytes of {remote.name}, got {done:,} before the connection broke off. "
        f"Run the same command again to go on from there (hf-fracture data download {info.name})."
    )


def _check_md5(part: Path, remote: RemoteFile, info: SourceInfo) -> None:
    with part.open("rb") as stream:
        found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != remote.md5:
        part.unlink()
        raise DownloadError(
            f"Expected {remote.name} with the MD5 {remote.md5}, got {found}; it was removed. Run the same command "
            f"again (hf-fracture data download {info.name})."
        )


def _open(url: str, info: SourceInfo, *, offset: int) -> Any:
    """Open a URL, from an offset on, or say in one sentence why that fails."""
    if not url.startswith(("https://", "http://")):
        raise DownloadError(f"figshare named an address that is none for {info.title}. {_by_hand(info)}")
    headers = {"User-Agent": "hf-fracture", **({"Range": f"bytes={offset}-"} if offset else {})}
    request = urllib.request.Request(url, headers=headers)
    host = urllib.parse.urlsplit(url).netloc
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        raise DownloadError(f"{host} refused the download of {info.title} ({error.code}). {_by_hand(info)}") from error
    except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise DownloadError(f"{host} cannot be reached ({reason}). Check the network. {_by_hand(info)}") from error


def _by_hand(info: SourceInfo) -> str:
    return (
        f"Or fetch it in a browser from {info.homepage}, unpack it, and run "
        f"hf-fracture data prepare {info.name} --source DIR."
    )


def unpack(archive: Path, out_dir: Path) -> None:
    """Unpack a ZIP archive, each file under a temporary name first, so that none is left half-written.

    Raises:
        DownloadError: If the archive is damaged, or a name in it leads out of the folder.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                _unpack_member(opened, member, out_dir)
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise DownloadError(f"{archive.name} cannot be unpacked ({error}). Fetch it again.") from error


def _unpack_member(opened: zipfile.ZipFile, member: zipfile.ZipInfo, out_dir: Path) -> None:
    parts = PurePosixPath(member.filename).parts
    is_link = stat.S_ISLNK(member.external_attr >> 16)
    if is_link or not parts or ".." in parts or parts[0].startswith(("/", "\\")) or ":" in parts[0]:
        raise DownloadError(
            f"Expected only files inside the archive's own folder, got '{member.filename}'. Do not use this archive."
        )
    target = out_dir.joinpath(*parts)
    if member.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.part")
    try:
        with opened.open(member) as source, temporary.open("wb") as stream:
            shutil.copyfileobj(source, stream, _BLOCK_BYTES)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _marker(remote: RemoteFile, out_dir: Path) -> Path:
    return out_dir / _UNPACKED / f"{PurePosixPath(remote.name).name}.md5"


def _is_done(remote: RemoteFile, out_dir: Path) -> bool:
    marker = _marker(remote, out_dir)
    return marker.is_file() and marker.read_text().strip() == remote.md5


def _mark_done(remote: RemoteFile, out_dir: Path) -> None:
    marker = _marker(remote, out_dir)
    marker.parent.mkdir(exist_ok=True)
    marker.write_text(remote.md5 + "\n")


def _check_room(out_dir: Path, num_bytes: int) -> None:
    free = shutil.disk_usage(out_dir).free
    if free < _ROOM_FACTOR * num_bytes:
        raise DownloadError(
            f"Expected {_ROOM_FACTOR * num_bytes >> 20:,} MiB free at {out_dir} for the download and its content, "
            f"found {free >> 20:,}. Free some space, or choose another --out."
        )


def _fetch_from_kaggle(info: SourceInfo, out_dir: Path) -> Path:
    """Fetch with kagglehub, which resumes and checks on its own."""
    try:
        import kagglehub
        import requests
        from kagglehub import exceptions
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "Fetching from Kaggle needs the package kagglehub, which is not installed. "
            "Install it: pip install 'hf-fracture[train]'."
        ) from error
    try:
        return Path(kagglehub.dataset_download(info.download.handle, output_dir=str(out_dir)))
    except (exceptions.UnauthenticatedError, exceptions.CredentialError) as error:
        raise _needs_credentials(info) from error
    except exceptions.KaggleApiHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise _needs_credentials(info) from error
        raise DownloadError(f"Kaggle refused the download of {info.title} ({status}). {_by_hand(info)}") from error
    except exceptions.DataCorruptionError as error:
        raise DownloadError(f"What arrived of {info.title} is damaged. Run the same command again.") from error
    except (exceptions.BackendError, exceptions.NotFoundError, requests.RequestException) as error:
        raise DownloadError(
            f"Kaggle cannot be reached ({type(error).__name__}). Check the network. {_by_hand(info)}"
        ) from error


def _needs_credentials(info: SourceInfo) -> DownloadError:
    return DownloadError(
        f"Kaggle asks for an account to download {info.title}, and found no valid token. Make one at "
        f"https://www.kaggle.com/settings and put it in the environment variable KAGGLE_API_TOKEN. {_by_hand(info)}"
    )
