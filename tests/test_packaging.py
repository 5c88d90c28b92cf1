"""What is built and released: complete archives, equal bytes each time, and no dependency without a reason."""

import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

HEAVY = {"torch", "transformers", "captum", "gradio", "datasets", "pandas", "matplotlib", "scikit-learn", "scipy"}


def build(source_dir: Path, out_dir: Path, target: str) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(out_dir)]
    process = subprocess.run(command, cwd=source_dir, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return next(path for path in out_dir.iterdir() if path.suffix in (".whl", ".gz"))


def hash_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def project(repository_dir: Path) -> dict[str, Any]:
    return tomllib.loads((repository_dir / "pyproject.toml").read_text(encoding="utf-8"))


def load_script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_source_archive_builds_the_same_wheel_again(repository_dir: Path, tmp_path: Path) -> None:
    archive = build(repository_dir, tmp_path / "sdist", "sdist")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
        tar.extractall(tmp_path / "unpacked", filter="data")
    wanted = {"README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md", "Makefile", "constraints.txt", "mkdocs.yml"}
    assert wanted - names == set()
    assert not any(name.startswith((".ci", ".git/")) or "__pycache__" in name for name in names)
    assert not any("/runs/" in name or name.endswith((".pt", ".bin")) for name in names)
    unpacked = next((tmp_path / "unpacked").iterdir())
    first = build(unpacked, tmp_path / "first", "wheel")
    shutil.rmtree(unpacked / "dist", ignore_errors=True)
    second = build(unpacked, tmp_path / "second", "wheel")
    assert hash_file(first) == hash_file(second), "the wheel is not reproducible"
    with zipfile.ZipFile(first) as wheel:
        held = set(wheel.namelist())
    assert {"hf_fracture/py.typed", "hf_fracture/space/app.py", "hf_fracture/default_model/config.json"} <= held
    assert not any(name.startswith(("tests/", "scripts/")) for name in held)


def test_version_is_the_same_everywhere(repository_dir: Path, project: dict[str, Any]) -> None:
    version = project["project"]["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert f"version: {version}" in (repository_dir / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(rf"^## .*{re.escape(version)}", (repository_dir / "CHANGELOG.md").read_text(), flags=re.MULTILINE)


def walk_needed(extras: tuple[str, ...]) -> set[str]:
    """Return every package that an install with these extras brings, by the metadata of what is installed."""
    environment = {key: str(value) for key, value in default_environment().items()}
    waiting, seen = [("hf-fracture", extra) for extra in ("", *extras)], set[tuple[str, str]]()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        for line in lines:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({**environment, "extra": extra}):
                child = canonicalize_name(requirement.name)
                waiting += [(child, wanted) for wanted in ("", *requirement.extras)]
    return {name for name, _ in seen} - {"hf-fracture"}


def test_plain_install_brings_nothing_heavy(project: dict[str, Any]) -> None:
    declared = {canonicalize_name(Requirement(line).name) for line in project["project"]["dependencies"]}
    assert "onnxruntime" in declared, "what answers without torch"
    assert declared & HEAVY == set()
    assert walk_needed(()) & HEAVY == set()
    assert {"torch", "transformers"} <= walk_needed(("torch",))


def test_every_declared_dependency_is_justified(repository_dir: Path, project: dict[str, Any]) -> None:
    script = load_script(repository_dir / "scripts" / "list_dependencies.py")
    lines = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"].values()]
    flat = [line for item in lines for line in (item if isinstance(item, list) else [item])]
    declared = {canonicalize_name(Requirement(line).name) for line in flat} - {"hf-fracture"}
    assert declared == set(script.REASONS), "scripts/list_dependencies.py gives each dependency one line, and no other"
    page = (repository_dir / "docs" / "dependencies.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\w-]+) \| ([^|]*) \|", page, flags=re.MULTILINE)
    listed = {
        (canonicalize_name(name), SpecifierSet(versions.strip("`"))) for name, versions in rows if name in declared
    }
    wanted = {(canonicalize_name(Requirement(line).name), Requirement(line).specifier) for line in flat}
    assert listed == {row for row in wanted if row[0] != "hf-fracture"}, "run python scripts/list_dependencies.py"


def test_bill_of_materials_names_every_installed_package_once(repository_dir: Path, tmp_path: Path) -> None:
    script = load_script(repository_dir / "scripts" / "list_dependencies.py")
    out = tmp_path / "sbom.json"
    script.write_bill(out)
    bill = json.loads(out.read_text(encoding="utf-8"))
    assert bill["bomFormat"] == "CycloneDX"
    names = [component["name"] for component in bill["components"]]
    assert len(names) == len(set(names))
    assert {"numpy", "onnxruntime", "pillow"} <= set(names)
    assert all(component["purl"].startswith("pkg:pypi/") and component["version"] for component in bill["components"])


def test_licences_are_compatible(repository_dir: Path) -> None:
    script = load_script(repository_dir / "scripts" / "list_dependencies.py")
    needed = walk_needed(("train", "space"))
    strong = {name: text for name in needed if re.search(r"\b(A?GPL)", text := script.read_licence(name) or "")}
    assert strong == {}, "a copyleft licence that would bind the whole package"
