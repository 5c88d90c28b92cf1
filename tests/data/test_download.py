"""Downloads: resumed, checked, unpacked safely, one sentence for whatever goes wrong. A local server, no network."""

import hashlib
import io
import json
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from hf_fracture.data.download import download_dataset, fetch_from_figshare
from hf_fracture.data.sources import SOURCES
from hf_fracture.errors import DownloadError, MissingPackageError, OutputExistsError, UsageError

INFO = SOURCES["fracatlas"]


class Figshare:
    """A figshare of one article; files by name, faults on request."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.md5: dict[str, str] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.break_off_after: int | None = None
        self.ignores_ranges = False
        self.listing: bytes | None = None
        self.status = 200
        self.url = ""

    def list_files(self) -> bytes:
        if self.listing is not None:
            return self.listing
        entries = [
            {
                "name": name,
                "size": len(data),
                "is_link_only": False,
                "download_url": f"{self.url}/files/{name}",
                "computed_md5": self.md5.get(name, hashlib.md5(data, usedforsecurity=False).hexdigest()),
                "supplied_md5": "",
            }
            for name, data in self.files.items()
        ]
        return json.dumps(entries).encode()


@pytest.fixture
def figshare() -> Iterator[Figshare]:
    server_state = Figshare()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, wanted = self.path.split("?")[0], self.headers.get("Range")
            server_state.requests.append((path, wanted))
            if server_state.status != 200:
                self.send_error(server_state.status)
                return
            if path.endswith("/articles/22363012/files"):
                self.answer(server_state.list_files(), 200)
                return
            data = server_state.files[path.removeprefix("/files/")]
            if wanted and not server_state.ignores_ranges:
                self.answer(data[int(wanted.removeprefix("bytes=").rstrip("-")) :], 206)
            else:
                self.answer(data, 200)

        def answer(self, body: bytes, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            limit = server_state.break_off_after
            self.wfile.write(body if limit is None or "/files/" not in self.path else body[:limit])

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server_state.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server_state
    server.shutdown()
    server.server_close()


def pack(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def fetch(figshare: Figshare, out_dir: Path, **options: Any) -> Path:
    return fetch_from_figshare(INFO, out_dir, api_url=figshare.url, **options)


def visible_files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


def test_archives_are_unpacked_and_other_files_kept(figshare: Figshare, tmp_path: Path) -> None:
    figshare.files = {"FracAtlas.zip": pack({"FracAtlas/dataset.csv": b"image_id\n"}), "readme.txt": b"read me"}
    seen: list[tuple[str, int, int]] = []
    out_dir = fetch(figshare, tmp_path / "out", report_progress=lambda *step: seen.append(step))
    assert visible_files(out_dir) == {"FracAtlas/dataset.csv": b"image_id\n", "readme.txt": b"read me"}
    assert ("fetching readme.txt", 7, 7) in seen


def test_second_run_fetches_nothing_again(figshare: Figshare, tmp_path: Path) -> None:
    figshare.files = {"a.zip": pack({"a/x": b"1"}), "b.txt": b"2"}
    fetch(figshare, tmp_path / "out")
    figshare.requests.clear()
    fetch(figshare, tmp_path / "out")
    assert [path for path, _ in figshare.requests] == ["/articles/22363012/files"]


def test_new_version_of_a_file_is_fetched(figshare: Figshare, tmp_path: Path) -> None:
    figshare.files = {"b.txt": b"old"}
    fetch(figshare, tmp_path / "out")
    figshare.files = {"b.txt": b"newer"}
    assert visible_files(fetch(figshare, tmp_path / "out")) == {"b.txt": b"newer"}


def test_transfer_that_breaks_off_goes_on_where_it_stopped(figshare: Figshare, tmp_path: Path) -> None:
    data = bytes(range(256)) * 1000
    figshare.files, figshare.break_off_after = {"b.bin": data}, 100_000
    with pytest.raises(DownloadError, match=r"Expected 256,000 bytes of b.bin, got [0-9,]+ before .* Run the same"):
        fetch(figshare, tmp_path / "out")
    assert visible_files(tmp_path / "out") == {}
    figshare.break_off_after = None
    assert visible_files(fetch(figshare, tmp_path / "out")) == {"b.bin": data}
    _, wanted = figshare.requests[-1]
    assert wanted is not None
    assert 0 < int(wanted.removeprefix("bytes=").rstrip("-")) <= 100_000


def test_server_that_cannot_resume_sends_the_whole_file(figshare: Figshare, tmp_path: Path) -> None:
    data = bytes(range(256)) * 1000
    figshare.files, figshare.break_off_after, figshare.ignores_ranges = {"b.bin": data}, 100_000, True
    with pytest.raises(DownloadError):
        fetch(figshare, tmp_path / "out")
    figshare.break_off_after = None
    assert visible_files(fetch(figshare, tmp_path / "out")) == {"b.bin": data}


def test_wrong_checksum_is_refused_and_the_file_removed(figshare: Figshare, tmp_path: Path) -> None:
    figshare.files, figshare.md5 = {"b.txt": b"changed on the way"}, {"b.txt": "0" * 32}
    with pytest.raises(DownloadError, match=r"with the MD5 0{32}, got [0-9a-f]{32}; it was removed"):
        fetch(figshare, tmp_path / "out")
    assert not list(tmp_path.rglob("b.txt"))


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/outside.txt", "a/../../outside.txt", "C:/outside.txt"])
def test_archive_that_leads_out_of_its_folder_is_refused(figshare: Figshare, tmp_path: Path, name: str) -> None:
    figshare.files = {"a.zip": pack({name: b"evil"})}
    with pytest.raises(DownloadError, match="only files inside the archive's own folder"):
        fetch(figshare, tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("outside.txt"))


def test_damaged_archive_leaves_no_half_file(figshare: Figshare, tmp_path: Path) -> None:
    archive = bytearray(pack({"a/whole.txt": b"whole", "a/broken.txt": b"broken" * 50}))
    archive[archive.index(b"brokenbroken") + 20] ^= 0xFF
    figshare.files = {"a.zip": bytes(archive)}
    with pytest.raises(DownloadError, match=r"a\.zip cannot be unpacked"):
        fetch(figshare, tmp_path / "out")
    assert visible_files(tmp_path / "out") == {"a/whole.txt": b"whole"}


@pytest.mark.parametrize("listing", [b"<html>", b"{}", b"[]", b'[{"name": "a"}]'])
def test_answer_that_is_no_listing_is_one_sentence(figshare: Figshare, tmp_path: Path, listing: bytes) -> None:
    figshare.listing = listing
    with pytest.raises(DownloadError, match=r"figshare .* Or fetch it in a browser"):
        fetch(figshare, tmp_path / "out")


def test_address_of_another_kind_is_not_opened(figshare: Figshare, tmp_path: Path) -> None:
    entry = {"name": "a", "size": 1, "download_url": "file:///etc/passwd", "computed_md5": "0" * 32}
    figshare.listing = json.dumps([entry]).encode()
    with pytest.raises(DownloadError, match="an address that is none"):
        fetch(figshare, tmp_path / "out")


@pytest.mark.parametrize("status", [403, 404, 503])
def test_refusal_names_its_status(figshare: Figshare, tmp_path: Path, status: int) -> None:
    figshare.status = status
    with pytest.raises(DownloadError, match=rf"refused the download of FracAtlas \({status}\)"):
        fetch(figshare, tmp_path / "out")


def test_missing_network_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"cannot be reached .* Check the network") as caught:
        fetch_from_figshare(INFO, tmp_path / "out", api_url="http://127.0.0.1:1")
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ConnectionError)
    assert not (tmp_path / "out").exists()


def test_lack_of_room_is_told_before_the_first_byte(
    figshare: Figshare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figshare.files = {"b.bin": bytes(1000)}
    free = [1999]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free[0]))
    with pytest.raises(DownloadError, match="free at"):
        fetch(figshare, tmp_path / "out")
    assert [path for path, _ in figshare.requests] == ["/articles/22363012/files"]
    free[0] = 2000
    assert visible_files(fetch(figshare, tmp_path / "out")) == {"b.bin": bytes(1000)}


def test_dataset_without_a_public_download_says_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'wrist', which has no public download"):
        download_dataset("wrist", tmp_path / "out")


def test_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("here")
    with pytest.raises(OutputExistsError, match="found a file"):
        download_dataset("fracatlas", tmp_path / "out")


@pytest.fixture
def kagglehub(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException | None], list[tuple[str, str]]]:
    """Replace the client's one call; return what it was asked for."""

    def install(error: BaseException | None) -> list[tuple[str, str]]:
        import kagglehub as client

        calls: list[tuple[str, str]] = []

        def dataset_download(handle: str, *, output_dir: str) -> str:
            calls.append((handle, output_dir))
            if error is not None:
                raise error
            return output_dir

        monkeypatch.setattr(client, "dataset_download", dataset_download)
        return calls

    return install


def test_kaggle_dataset_is_fetched_by_its_handle(kagglehub: Any, tmp_path: Path) -> None:
    calls = kagglehub(None)
    assert download_dataset("bone_break", tmp_path / "out") == tmp_path / "out"
    assert calls == [("pkdarabi/bone-break-classification-image-dataset", str(tmp_path / "out"))]


def build_kaggle_error(kind: str) -> BaseException:
    import requests
    from kagglehub import exceptions

    response = requests.Response()
    response.status_code = int(kind) if kind.isdigit() else 0
    errors: dict[str, BaseException] = {
        "no token": exceptions.UnauthenticatedError(),
        "bad token": exceptions.CredentialError("bad"),
        "damaged": exceptions.DataCorruptionError("md5"),
        "no network": requests.ConnectionError("Name or service not known"),
        "backend": exceptions.BackendError("oops"),
    }
    return errors.get(kind) or exceptions.KaggleApiHTTPError("refused", response=response)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("no token", "found no valid token.*KAGGLE_API_TOKEN"),
        ("bad token", "found no valid token"),
        ("403", "found no valid token"),
        ("404", r"refused the download of .* \(404\)"),
        ("damaged", "is damaged. Run the same command again"),
        ("no network", "Kaggle cannot be reached .* Check the network"),
        ("backend", "Kaggle cannot be reached"),
    ],
)
def test_whatever_kaggle_complains_about_is_one_sentence(kagglehub: Any, tmp_path: Path, kind: str, words: str) -> None:
    kagglehub(build_kaggle_error(kind))
    with pytest.raises(DownloadError, match=words) as caught:
        download_dataset("kaggle_multi_region", tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_missing_client_names_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'hf-fracture\[train\]'"):
        download_dataset("bone_break", tmp_path / "out")
