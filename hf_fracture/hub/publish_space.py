"""What goes to a Space: the page, the package beside it, and what both need, so that it builds from nothing else.

A Space installs `requirements.txt` before its files are there, so the package travels as files next to `app.py`, and
what it needs is listed. May depend on every room below `hub`.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import hf_fracture
from hf_fracture.errors import PublishError, UsageError
from hf_fracture.hub.publish_plan import (
    CARD_NAME,
    LICENCE_TABLE_NAME,
    PlannedFile,
    UploadPlan,
    check_folder,
    check_images,
    list_folder,
    read_front_matter,
    write_front_matter,
)

MODEL_LIST_NAME: Final = "model.txt"
REQUIREMENTS_NAME: Final = "requirements.txt"
HARDWARE: Final = "cpu-basic"
_PROGRAM: Final = "hf-fracture"
_PACKAGE: Final = "hf_fracture"
_LEFT_AT_HOME: Final = ("browser/", "space/")  # the page without a server is a Space of its own
_FRONT_KEYS: Final = ("title", "sdk", "license", "short_description")
_OWNED: Final = (
    *("*.py", "*.css", "*.js", "*.json", "*.svg", "*.txt", "*.html", CARD_NAME),
    *("hf_fracture/*", "examples/*", "assets/*"),
)
_STATIC_FRONT: Final = {
    "title": "Fracture reader in the browser",
    "emoji": "🦴",
    "colorFrom": "green",
    "colorTo": "gray",
    "sdk": "static",
    "license": "apache-2.0",
    "short_description": "Reads radiographs in the visitor's own browser",
    "tags": ["radiology", "fracture", "image-classification"],
    "custom_headers": {  # what a browser wants before it lets WebAssembly use threads
        "cross-origin-embedder-policy": "require-corp",
        "cross-origin-opener-policy": "same-origin",
    },
}
_STATIC_BODY: Final = (
    "# Fracture reader in the browser\n\nThe model runs in the visitor's own browser; films are sent nowhere.\n\n"
    "**Research and teaching only. Not a medical device.** No one may be diagnosed or treated on its answer.\n"
)
_USAGE: Final = """\
from gradio_client import Client, handle_file
client = Client("{repo_id}")
print(client.predict(handle_file("wrist.png"), api_name="/predict"))
"""
_STATIC_USAGE: Final = """\
Open the page: it reads films in the visitor's own browser, and sends them nowhere.
hf download {repo_id} --repo-type space --local-dir page
python -m http.server --directory page
"""


def plan_space(folder: Path, *, models: Sequence[str] = (), extra: Iterable[PlannedFile] = ()) -> UploadPlan:
    """Check the folder of a page and say what would go.

    Args:
        folder: `space/`, or a folder of your own with `README.md` (front matter) and the file that it names.
        models: Hub ids that the page serves; none for the shipped model, which travels with the package.
        extra: Files made for the Space, such as drawings with `examples/licences.csv`.

    Raises:
        PublishError: If something is missing, is a pickle, too large, or a picture without a licence.
        UsageError: If a model is no Hub id.
        MissingInputError: If there is no such folder.
    """
    check_folder(folder)
    front, body = _read_card(folder)
    missing = [key for key in _FRONT_KEYS if not front.get(key)]
    if missing:
        raise PublishError(f"Expected {CARD_NAME} to name {', '.join(_FRONT_KEYS)}, found no {', '.join(missing)}.")
    is_static = front["sdk"] == "static"
    if is_static and models:
        raise UsageError("--model belongs to a page with a server; a static one carries its model. Leave it out.")
    page = [name for name in list_folder(folder) if is_static or not name.startswith(_LEFT_AT_HOME)]
    _check_app(front, page)
    check_images(folder, page)
    files = {name: PlannedFile(path=name, content=folder / name) for name in page}
    if not is_static:
        files |= {file.path: file for file in extra}
        files |= {file.path: file for file in _list_package()}
        files |= {file.path: file for file in _configure(folder, models)}
    card = write_front_matter(_extend_front_matter(front, models, is_static=is_static), body)
    files[CARD_NAME] = PlannedFile(path=CARD_NAME, content=card.encode())
    return UploadPlan(
        kind="space",
        files=sorted(files.values(), key=lambda file: file.path),
        owned=("*",) if is_static else _OWNED,
        usage=_STATIC_USAGE if is_static else _USAGE,
        left_out=[name for name in list_folder(folder) if name not in files],
        space_sdk=str(front["sdk"]),
    )


def build_licence_table(pictures: Iterable[str], *, licence: str, citation: str) -> PlannedFile:
    """Return `examples/licences.csv` for pictures that have one origin."""
    rows = "".join(f'{name},{licence},"{citation}"\n' for name in pictures)
    return PlannedFile(path=f"examples/{LICENCE_TABLE_NAME}", content=f"file_name,licence,citation\n{rows}".encode())


def _read_text(folder: Path, name: str) -> str:
    path = folder / name
    if not path.is_file():
        raise PublishError(f"Expected {name} in '{folder}', found none. Name the folder of a page, such as space/.")
    return path.read_text(encoding="utf-8")


def _read_card(folder: Path) -> tuple[dict[str, Any], str]:
    """Return front matter and text of the page; a built page without a server needs none of its own."""
    if (folder / "index.html").is_file() and not (folder / CARD_NAME).is_file():
        return dict(_STATIC_FRONT), _STATIC_BODY
    return read_front_matter(_read_text(folder, CARD_NAME), where=CARD_NAME)


def _check_app(front: Mapping[str, Any], page: Sequence[str]) -> None:
    app = str(front.get("app_file", "index.html" if front["sdk"] == "static" else "app.py"))
    if app not in page:
        raise PublishError(f"Expected the app_file '{app}' that {CARD_NAME} names, found none.")
    if front["sdk"] == "gradio" and not front.get("sdk_version"):
        raise PublishError(
            f"Expected {CARD_NAME} to name sdk_version, found none: it decides which gradio is installed."
        )


def _list_package() -> list[PlannedFile]:
    """Return the installed package as files, without the copy of the page that a wheel carries."""
    root = Path(hf_fracture.__file__).resolve().parent
    names = [name for name in list_folder(root) if not name.startswith(_LEFT_AT_HOME)]
    return [PlannedFile(path=f"{_PACKAGE}/{name}", content=root / name) for name in names]


def _configure(folder: Path, models: Sequence[str]) -> list[PlannedFile]:
    """Return the files that are written for this Space."""
    files = [
        PlannedFile(path=REQUIREMENTS_NAME, content=render_requirements(_read_text(folder, REQUIREMENTS_NAME)).encode())
    ]
    for model in models:
        if model.count("/") != 1 or model.startswith((".", "/")):
            raise UsageError(f"--model must be a Hub id owner/name, got '{model}'. Publish the model first.")
    if models:
        files.append(PlannedFile(path=MODEL_LIST_NAME, content="".join(f"{model}\n" for model in models).encode()))
    return files


def _extend_front_matter(front: Mapping[str, Any], models: Sequence[str], *, is_static: bool) -> dict[str, Any]:
    extended = dict(front)
    if models:
        extended["models"] = sorted({*front.get("models", []), *models})
        extended["preload_from_hub"] = list(models)
    if not is_static:
        extended.setdefault("suggested_hardware", HARDWARE)
    return extended


def render_requirements(text: str) -> str:
    """Replace the package by what it needs, at the versions that are installed here.

    Args:
        text: A `requirements.txt` that names `hf-fracture`, with or without extras.

    Returns:
        The other lines as they are, and a pin for every package that they do not name.

    Raises:
        PublishError: If the package is not named, or a package that it needs is not installed.
    """
    kept, extras, found = [], set[str](), False
    for line in text.splitlines():
        if (match := re.fullmatch(rf"{_PROGRAM}(?:\[([^\]]*)\])?.*", line.strip())) is not None:
            found, extras = True, extras | {extra.strip() for extra in (match[1] or "").split(",") if extra.strip()}
        else:
            kept.append(line)
    if not found:
        raise PublishError(f"Expected {REQUIREMENTS_NAME} to name {_PROGRAM}, found no such line. Add it.")
    named = {_name_requirement(line) for line in kept}
    pins = []
    for name in _list_needed(extras):
        if name not in named:
            try:
                pins.append(f"{name}=={metadata.version(name).split('+')[0]}")
            except metadata.PackageNotFoundError as error:
                raise PublishError(f"Expected {name} to be installed, to pin it; install it first.") from error
    return "\n".join([*kept, *pins]) + "\n"


def _list_needed(extras: set[str]) -> list[str]:
    """Return the packages that the given extras of this package need, extras of extras included."""
    declared = _read_declared()
    waiting, seen, names = ["", *sorted(extras)], set[str](), set[str]()
    while waiting:
        extra = waiting.pop()
        if extra not in seen:
            seen.add(extra)
            lines = declared.get(extra, [])
            names |= {_name_requirement(line) for line in lines}
            waiting += [name for line in lines for name in _read_own_extras(line)]
    return sorted(names - {_PROGRAM, "gradio"})


def _read_declared() -> dict[str, list[str]]:
    """Return what each extra needs ("" for what is always needed): of the checkout, or else of the installed wheel.

    The metadata of an editable install is as old as its last installation, so a checkout is asked first.
    """
    project_path = Path(hf_fracture.__file__).resolve().parent.parent / "pyproject.toml"
    if project_path.is_file():
        project = tomllib.loads(project_path.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == _PROGRAM:
            return {"": project["dependencies"], **project["optional-dependencies"]}
    declared: dict[str, list[str]] = {}
    for line in metadata.requires(_PROGRAM) or []:
        requirement, _, marker = line.partition(";")
        extra = re.search(r"extra == ['\"]([^'\"]+)['\"]", marker)
        declared.setdefault(extra[1] if extra else "", []).append(requirement)
    return declared


def _read_own_extras(line: str) -> list[str]:
    match = re.match(rf"{_PROGRAM}\[([^\]]*)\]", line)
    return [name.strip() for name in match[1].split(",")] if match else []


def _name_requirement(line: str) -> str:
    match = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", line)
    return re.sub(r"[-_.]+", "-", match[1]).lower() if match else ""
