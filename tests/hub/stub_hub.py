"""A Hub for tests: the routes that `huggingface_hub` uses for models, datasets and Spaces, on 127.0.0.1, with faults.

It keeps every commit, so that a test can say what a stranger would see at any moment. Clients are real, and run in
processes of their own, because `huggingface_hub` reads `HF_ENDPOINT` when it is imported.
"""

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

TOKEN = "hf_stub"
USER = "stub-user"
LFS_SUFFIXES = (".safetensors", ".onnx", ".parquet", ".png", ".jpg", ".gz", ".whl")
_REPO = r"/(?P<kind>models|datasets|spaces)/(?P<id>[^/]+/[^/]+)"
_RESOLVE = r"/(?:(?P<kind>models|datasets|spaces)/)?(?P<id>[^/]+/[^/]+)/resolve/(?P<rev>[^/]+)/(?P<path>.+)"

Action = Literal["drop", "lose_answer", "slow", "truncate", "hold", "hold_answer"]


@dataclass
class Fault:
    """What goes wrong with the next requests that match: a status, or a connection that breaks or stalls.

    A request that is held waits for `released`, before it is acted on or before it is answered, once `reached` is set;
    `done` says that the Hub is through with it.
    """

    pattern: str  # searched in "METHOD /path"
    action: int | Action
    times: int = 1
    seconds: float = 0.0  # between two pieces of a slow body
    skip: int = 0  # matching requests that are let through first
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)

    def hold(self) -> None:
        self.reached.set()
        self.released.wait()


@dataclass
class Commit:
    oid: str
    parent: str | None
    title: str
    files: dict[str, bytes]


@dataclass
class Repo:
    commits: dict[str, Commit]
    refs: dict[str, str]
    settings: dict[str, Any] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def find(self, revision: str) -> Commit | None:
        return self.commits.get(self.refs.get(revision, revision))


class StubHub:
    """The server and what it holds; use it with `with start_hub() as hub`."""

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.blobs: dict[str, bytes] = {}  # uploaded LFS objects by sha256
        self.collections: dict[str, list[dict[str, str]]] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.url = ""
        self.lock = threading.Lock()

    def files(self, kind: str, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        commit = self.repos[kind, repo_id].find(revision)
        assert commit is not None, f"{repo_id} has no revision {revision}"
        return commit.files

    def log(self, kind: str, repo_id: str) -> list[str]:
        """Return the titles of main's commits, newest first."""
        repo, titles = self.repos[kind, repo_id], []
        commit = repo.find("main")
        while commit is not None:
            titles.append(commit.title)
            commit = repo.find(commit.parent or "")
        return titles

    def count(self, pattern: str) -> int:
        return sum(re.search(pattern, request) is not None for request in self.requests)

    def environment(self, home: Path, *, token: str | None = TOKEN) -> dict[str, str]:
        """Return what a client's environment needs beside PATH."""
        settings = {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "0",
        }
        return settings if token is None else {**settings, "HF_TOKEN": token}

    def take_fault(self, request: str) -> Fault | None:
        with self.lock:
            self.requests.append(request)
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.pattern, request):
                    if fault.skip > 0:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    return fault
        return None


@contextmanager
def start_hub() -> Iterator[StubHub]:
    """Serve an empty Hub on a free port of 127.0.0.1."""
    hub = StubHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Refusal(Exception):
    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class _Handler(BaseHTTPRequestHandler):
    hub: StubHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one packet for head and body
    fault: Fault | None = None

    def log_message(self, *_: object) -> None:
        """Say nothing; `hub.requests` has the log."""

    def do_GET(self) -> None:
        self._handle()

    def do_HEAD(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def _handle(self) -> None:
        self.path_only = unquote(urlsplit(self.path).path).removeprefix("/api")
        self.is_api = self.path.startswith("/api/")
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or self._read_chunks()
        self.fault = fault = self.hub.take_fault(f"{self.command} {self.path}")
        try:
            if fault is not None and fault.action == "drop":
                self.close_connection = True
                return
            if fault is not None and fault.action == "hold":
                fault.hold()
            if fault is not None and isinstance(fault.action, int):
                raise _Refusal(fault.action, "a fault of the test")
            self._route()
        except _Refusal as refusal:
            headers = {"X-Error-Code": refusal.code} if refusal.code else {}
            headers["X-Error-Message"] = str(refusal)
            self._send(refusal.status, json.dumps({"error": str(refusal)}).encode(), headers)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            if fault is not None:
                fault.done.set()

    def _read_chunks(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return b""
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _route(self) -> None:
        routes: list[tuple[str, str, Callable[..., None]]] = [
            ("GET", r"/whoami-v2", self._whoami),
            ("POST", r"/repos/create", self._create),
            ("POST", r"/validate-yaml", lambda: self._send_json({"errors": [], "warnings": []})),
            ("POST", rf"{_REPO}/preupload/(?P<rev>.+)", self._preupload),
            ("POST", rf"{_REPO}/commit/(?P<rev>.+)", self._commit),
            ("POST", rf"{_REPO}/(?P<what>tag|branch)/(?P<rev>.+)", self._add_ref),
            ("PUT", rf"{_REPO}/settings", self._set),
            ("GET", rf"{_REPO}/tree/(?P<rev>refs/pr/\d+|[^/]+)(?:/(?P<path>.+))?", self._tree),
            ("POST", rf"{_REPO}/paths-info/(?P<rev>.+)", self._paths_info),
            ("GET", rf"{_REPO}(?:/revision/(?P<rev>.+))?", self._info),
            ("POST", r"/collections/(?P<slug>.+)/items", self._collect),
            ("POST", r"/(?:datasets/|spaces/)?(?P<id>[^/]+/[^/]+)\.git/info/lfs/objects/batch", self._lfs_batch),
            ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", self._lfs_put),
            ("GET|HEAD", _RESOLVE.replace("(?P<rev>[^/]+)", r"(?P<rev>refs/pr/\d+|[^/]+)"), self._resolve),
        ]
        for methods, pattern, answer in routes:
            match = re.fullmatch(pattern, self.path_only)
            if match and self.command in methods.split("|"):
                answer(**match.groupdict())
                return
        raise _Refusal(404, f"no route for {self.command} {self.path}")

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        action = self.fault.action if self.fault is not None else None
        if action == "lose_answer":
            self.close_connection = True
            return
        if action == "hold_answer" and self.fault is not None:
            self.fault.hold()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if action == "truncate":
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        elif action == "slow" and self.fault is not None:
            for start in range(0, len(body), 1 + len(body) // 5):
                self.wfile.write(body[start : start + 1 + len(body) // 5])
                time.sleep(self.fault.seconds)
        else:
            self.wfile.write(body)

    def _send_json(self, content: object, status: int = 200) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _check_token(self) -> None:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise _Refusal(401, "Invalid username or password.")

    def _find(self, kind: str, repo_id: str) -> Repo:
        repo = self.hub.repos.get((kind, repo_id))
        is_hidden = repo is not None and repo.settings.get("private")
        if repo is None or (is_hidden and self.headers.get("Authorization") != f"Bearer {TOKEN}"):
            raise _Refusal(404 if "Authorization" in self.headers else 401, "Repository not found", "RepoNotFound")
        return repo

    def _at(self, kind: str, repo_id: str, revision: str) -> Commit:
        commit = self._find(kind, repo_id).find(revision)
        if commit is None:
            raise _Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    def _whoami(self) -> None:
        self._check_token()
        self._send_json({"type": "user", "name": USER, "orgs": [], "auth": {"accessToken": {"role": "write"}}})

    def _create(self) -> None:
        self._check_token()
        wanted = json.loads(self.body)
        kind = f"{wanted.get('type') or 'model'}s"
        repo_id = f"{wanted.get('organization') or USER}/{wanted['name']}"
        url = f"{self.hub.url}/{'' if kind == 'models' else kind + '/'}{repo_id}"
        with self.hub.lock:
            if (kind, repo_id) in self.hub.repos:
                self._send_json({"error": "You already created this repo", "url": url}, status=409)
                return
            first = Commit(_git_oid(f"{kind}{repo_id}".encode()), None, "initial commit", {".gitattributes": b"*\n"})
            settings = {"private": wanted.get("visibility") == "private", "sdk": wanted.get("sdk")}
            self.hub.repos[kind, repo_id] = Repo({first.oid: first}, {"main": first.oid}, settings)
        self._send_json({"url": url, "name": repo_id})

    def _preupload(self, kind: str, id: str, rev: str) -> None:  # noqa: A002 the name of the route's group
        self._check_token()
        present = self._at(kind, id, rev).files
        answers = []
        for file in json.loads(self.body)["files"]:
            path = file["path"]
            is_lfs = path.endswith(LFS_SUFFIXES)
            oid = None if path not in present else _hash(present[path]) if is_lfs else _git_oid(present[path])
            mode = "lfs" if is_lfs else "regular"
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self._send_json({"files": answers})

    def _lfs_batch(self, id: str) -> None:  # noqa: A002
        self._check_token()
        objects = []
        for item in json.loads(self.body)["objects"]:
            answer = {"oid": item["oid"], "size": item["size"]}
            if item["oid"] not in self.hub.blobs:
                answer["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{item['oid']}", "header": {}}}
            objects.append(answer)
        self._send_json({"transfer": "basic", "objects": objects})

    def _lfs_put(self, oid: str) -> None:
        if _hash(self.body) != oid:
            raise _Refusal(400, "The body does not have the announced sha256")
        self.hub.blobs[oid] = self.body
        self._send(200, b"")

    def _commit(self, kind: str, id: str, rev: str) -> None:  # noqa: A002
        self._check_token()
        repo, lines = self._find(kind, id), [json.loads(line) for line in self.body.splitlines()]
        header = lines[0]["value"]
        with repo.lock:
            head = self._at(kind, id, rev)
            if header.get("parentCommit") not in (None, head.oid):
                raise _Refusal(412, "A commit has happened since. Please refresh and try again.")
            files = dict(head.files)
            for line in lines[1:]:
                self._apply(line["key"], line["value"], files)
            commit = Commit(_git_oid(head.oid.encode() + self.body), head.oid, header["summary"], files)
            repo.commits[commit.oid] = commit
            answer = {"commitOid": commit.oid, "commitUrl": f"{self.hub.url}/{id}/commit/{commit.oid}"}
            if "create_pr=1" in self.path:
                number = 1 + sum(ref.startswith("refs/pr/") for ref in repo.refs)
                rev = f"refs/pr/{number}"
                answer["pullRequestUrl"] = f"{self.hub.url}/{id}/discussions/{number}"
            repo.refs[rev] = commit.oid
        self._send_json(answer)

    def _apply(self, key: str, value: dict[str, Any], files: dict[str, bytes]) -> None:
        if key == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif key == "lfsFile":
            if value["oid"] not in self.hub.blobs:
                raise _Refusal(400, f"{value['path']} was not uploaded")
            files[value["path"]] = self.hub.blobs[value["oid"]]
        elif key == "deletedFile" and files.pop(value["path"], None) is None:
            raise _Refusal(404, f"A file with this name doesn't exist: {value['path']}", "EntryNotFound")

    def _add_ref(self, kind: str, id: str, what: str, rev: str) -> None:  # noqa: A002
        self._check_token()
        repo, wanted = self._find(kind, id), json.loads(self.body or b"{}")
        name = wanted["tag"] if what == "tag" else rev
        start = rev if what == "tag" else wanted.get("startingPoint", "main")
        oid = self._at(kind, id, start).oid
        if name in repo.refs:
            raise _Refusal(409, f"Reference {name} already exists")
        repo.refs[name] = oid
        self._send_json({})

    def _set(self, kind: str, id: str) -> None:  # noqa: A002
        self._check_token()
        self._find(kind, id).settings.update(json.loads(self.body))
        self._send_json({})

    def _collect(self, slug: str) -> None:
        self._check_token()
        if slug not in self.hub.collections:
            raise _Refusal(404, "Collection not found")
        self.hub.collections[slug].append(json.loads(self.body)["item"])
        self._send_json(
            {
                "slug": slug,
                "title": slug,
                "owner": {"name": USER},
                "items": [],
                "position": 0,
                "lastUpdated": "2026-01-01T00:00:00.000Z",
                "private": False,
                "theme": "",
                "upvotes": 0,
            }
        )

    def _info(self, kind: str, id: str, rev: str | None) -> None:  # noqa: A002
        repo, commit = self._find(kind, id), self._at(kind, id, rev or "main")
        siblings = [{"rfilename": path} for path in sorted(commit.files)]
        self._send_json(
            {
                "id": id,
                "modelId": id,
                "sha": commit.oid,
                "siblings": siblings,
                "tags": [],
                "gated": repo.settings.get("gated", False),
                "private": repo.settings["private"],
                "lastModified": "2026-01-01T00:00:00.000Z",
                "downloads": 0,
                "likes": 0,
                "disabled": False,
            }
        )

    def _tree(self, kind: str, id: str, rev: str, path: str | None) -> None:  # noqa: A002
        commit = self._at(kind, id, rev)
        prefix = f"{path}/" if path else ""
        is_deep = re.search(r"recursive=(true|1)", self.path, re.IGNORECASE) is not None
        entries: dict[str, dict[str, Any]] = {}
        for name, content in commit.files.items():
            if name.startswith(prefix):
                parts = name.removeprefix(prefix).split("/")
                for depth in range(1, len(parts)):
                    folder = prefix + "/".join(parts[:depth])
                    if is_deep or depth == 1:
                        entries[folder] = {
                            "type": "directory",
                            "oid": _hash(folder.encode()),
                            "size": 0,
                            "path": folder,
                        }
                if is_deep or len(parts) == 1:
                    entries[name] = _describe(name, content)
        if path and not entries:
            raise _Refusal(404, f"{path} does not exist", "EntryNotFound")
        self._send_json(list(entries.values()))

    def _paths_info(self, kind: str, id: str, rev: str) -> None:  # noqa: A002
        files, paths = self._at(kind, id, rev).files, _read_paths(self.body)
        entries = [_describe(path, files[path]) for path in paths if path in files]
        folders = [path for path in paths if any(name.startswith(f"{path}/") for name in files)]
        entries += [{"type": "directory", "oid": _hash(path.encode()), "size": 0, "path": path} for path in folders]
        self._send_json(entries)

    def _resolve(self, kind: str | None, id: str, rev: str, path: str) -> None:  # noqa: A002
        repo = self._find(kind or "models", id)
        if repo.settings.get("gated") and "Authorization" not in self.headers:
            raise _Refusal(403, "Access to this repository is restricted", "GatedRepo")
        commit = self._at(kind or "models", id, rev)
        if path not in commit.files:
            raise _Refusal(404, f"{path} does not exist", "EntryNotFound")
        content = commit.files[path]
        oid = _describe(path, content)["oid"] if not path.endswith(LFS_SUFFIXES) else _hash(content)
        headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{oid}"', "Accept-Ranges": "bytes"}
        if path.endswith(LFS_SUFFIXES):
            headers |= {"X-Linked-Size": str(len(content)), "X-Linked-ETag": f'"{oid}"'}
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            self._send(200, content, headers)
            return
        start = int(wanted[1]) if wanted[1] else max(0, len(content) - int(wanted[2]))
        end = min(int(wanted[2]) if wanted[1] and wanted[2] else len(content) - 1, len(content) - 1)
        if start > end:
            self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            return
        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        self._send(206, content[start : end + 1], headers)


def _read_paths(body: bytes) -> list[str]:
    """Return the paths of a paths-info request, which comes as JSON or as a form."""
    from urllib.parse import parse_qs

    if body.startswith(b"{"):
        wanted = json.loads(body)["paths"]
        return [wanted] if isinstance(wanted, str) else list(wanted)
    return parse_qs(body.decode()).get("paths", [])


def _describe(path: str, content: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": _git_oid(content)}
    if path.endswith(LFS_SUFFIXES):
        entry["lfs"] = {"oid": _hash(content), "size": len(content), "pointerSize": 134}
    return entry


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
