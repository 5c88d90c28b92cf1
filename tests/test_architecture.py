"""The shape of the repository: what may import what, what may be tracked, what must be pinned."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from hf_fracture.cli.main import COMMANDS

HEAVY_PACKAGES = ("torch", "transformers", "gradio", "datasets", "pandas", "matplotlib")
INSTALLED_EXTRAS = ("train", "space", "dev")  # what `make setup` installs
MAX_TRACKED_BYTES = 40_000_000
PICKLE_SUFFIXES = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib", ".ckpt")
PICKLE_STARTS = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
IMAGE_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\x00", b"MM\x00*")
IMAGE_SUFFIXES = (".bmp", ".dcm", ".jpg", ".jpeg", ".png", ".gif", ".tif", ".tiff", ".webp", ".npy", ".npz")
ALLOWED_IMAGES = (
    "docs/results/cross_dataset.*",
    "docs/results/family.*",
    "docs/images/*.png",  # pages and pictures whose films are phantoms
    "hf_fracture/default_model/figures/*.png",  # curves of the shipped model; none shows a film
)


def list_tracked(repository_dir: Path) -> list[Path]:
    """Return the tracked files relative to the root."""
    git = shutil.which("git")
    if git is None or not (repository_dir / ".git").exists():
        pytest.skip("This is not a git checkout, so there is nothing tracked to look at.")
    listing = subprocess.run([git, "ls-files", "-z"], cwd=repository_dir, capture_output=True, check=True).stdout
    paths = [Path(name) for name in listing.decode().split("\0") if name]
    return [path for path in paths if (repository_dir / path).is_file()]


def read_start(path: Path, num_bytes: int = 264) -> bytes:
    with path.open("rb") as file:
        return file.read(num_bytes)


def holds_pickle(path: Path) -> bool:
    if path.suffix in PICKLE_SUFFIXES or read_start(path).startswith(PICKLE_STARTS):
        return True
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(PICKLE_SUFFIXES) for name in archive.namelist())
    return False


def holds_image(path: Path) -> bool:
    start = read_start(path)
    is_webp = start[:4] == b"RIFF" and start[8:12] == b"WEBP"
    is_dicom = start[128:132] == b"DICM"
    return path.suffix.lower() in IMAGE_SUFFIXES or start.startswith(IMAGE_STARTS) or is_webp or is_dicom


def list_loaded(code: str) -> set[str]:
    """Return the heavy packages that a fresh process holds after `code`."""
    probe = f"{code}\nprint('loaded:', *sorted(set({HEAVY_PACKAGES!r}) & set(sys.modules)))"
    process = subprocess.run(
        [sys.executable, "-c", f"import sys\n{probe}"], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    return set(process.stdout.splitlines()[-1].removeprefix("loaded:").split())


def test_probe_sees_a_heavy_package() -> None:
    assert "pandas" in list_loaded("import pandas")


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert list_loaded("import hf_fracture") == set()


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)],
    ids=" ".join,
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    assert list_loaded(f"from hf_fracture.cli.main import main\nassert main({arguments!r}) == 0") == set()


def test_rooms_import_only_from_the_rows_below(repository_dir: Path) -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    process = subprocess.run([linter, "--no-cache"], cwd=repository_dir, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout
    assert "1 kept, 0 broken" in process.stdout


def find_package_imports(path: Path) -> Iterator[str]:
    """Yield the dotted names under `hf_fracture` that a file imports, lazily or not."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "hf_fracture":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "hf_fracture")


def test_page_sees_inference_and_explain_only(repository_dir: Path) -> None:
    imports = {name for path in (repository_dir / "space").glob("*.py") for name in find_package_imports(path)}
    assert imports, "space/ must hold the page, and the page must use the package."
    allowed = ("hf_fracture.inference", "hf_fracture.explain", "hf_fracture.FractureClassifier")
    assert {name for name in imports if not name.startswith(allowed)} == set()


def test_tracked_files_are_small(repository_dir: Path) -> None:
    tracked = list_tracked(repository_dir)
    assert [path for path in tracked if (repository_dir / path).stat().st_size > MAX_TRACKED_BYTES] == []


def test_no_tracked_file_is_a_pickle(repository_dir: Path) -> None:
    assert [path for path in list_tracked(repository_dir) if holds_pickle(repository_dir / path)] == []


def test_tracked_images_are_on_the_list(repository_dir: Path) -> None:
    images = [path.as_posix() for path in list_tracked(repository_dir) if holds_image(repository_dir / path)]
    assert [name for name in images if not any(fnmatch(name, pattern) for pattern in ALLOWED_IMAGES)] == []


def test_detectors_know_what_they_look_for(tmp_path: Path) -> None:
    import pickle

    from PIL import Image

    Image.new("L", (4, 4)).save(tmp_path / "film.txt", format="PNG")
    (tmp_path / "weights.txt").write_bytes(pickle.dumps({"weight": 1.0}))
    with zipfile.ZipFile(tmp_path / "archive.txt", "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    (tmp_path / "text.txt").write_text("A sentence.")
    assert holds_image(tmp_path / "film.txt")
    assert holds_pickle(tmp_path / "weights.txt")
    assert holds_pickle(tmp_path / "archive.txt")
    assert not holds_image(tmp_path / "text.txt")
    assert not holds_pickle(tmp_path / "text.txt")


@pytest.mark.slow
def test_wheel_carries_the_package_and_the_page(repository_dir: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    process = subprocess.run(command, cwd=repository_dir, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    with zipfile.ZipFile(next(tmp_path.glob("hf_fracture-*.whl"))) as wheel:
        names = set(wheel.namelist())
    tracked = [path for path in list_tracked(repository_dir) if path.parts[0] in ("hf_fracture", "space")]
    wanted = {(path if path.parts[0] == "hf_fracture" else "hf_fracture" / path).as_posix() for path in tracked}
    assert wanted - names == set()
    assert "hf_fracture/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.fixture(scope="module")
def pinned(repository_dir: Path) -> dict[str, str]:
    """Return the version of every package in constraints.txt, by canonical name."""
    lines = (repository_dir / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)", line) for line in lines if not line.startswith("#")]
    assert all(pins), "Every line of constraints.txt must read name==version."
    versions: dict[str, str] = {canonicalize_name(pin[1]): pin[2] for pin in pins if pin}
    assert len(versions) == len(pins), "A package is pinned twice."
    return versions


def test_pins_lie_within_the_declared_bounds(repository_dir: Path, pinned: dict[str, str]) -> None:
    project = tomllib.loads((repository_dir / "pyproject.toml").read_text(encoding="utf-8"))
    declared = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    declared += [line for extra in project["project"]["optional-dependencies"].values() for line in extra]
    requirements = [Requirement(line) for line in declared]
    for requirement in requirements:
        name = canonicalize_name(requirement.name)
        if name != "hf-fracture":
            assert name in pinned, f"{name} is declared and not pinned."
            assert requirement.specifier.contains(pinned[name]), f"{name}=={pinned[name]} leaves {requirement}."


def test_transitive_packages_are_pinned(pinned: dict[str, str]) -> None:
    environment = {key: str(value) for key, value in default_environment().items()}
    waiting = [("hf-fracture", extra) for extra in ("", *INSTALLED_EXTRAS)]
    seen: set[tuple[str, str]] = set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for line in metadata.requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({**environment, "extra": extra}):
                child = canonicalize_name(requirement.name)
                waiting += [(child, wanted) for wanted in ("", *requirement.extras)]
    names = {name for name, _ in seen} - {"hf-fracture"}
    assert len(names) > 80
    assert names - set(pinned) == set()
