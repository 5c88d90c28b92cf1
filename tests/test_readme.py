"""What the README shows works as shown: its code runs, its commands parse, its links and its tree exist."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from hf_fracture.cli.main import build_parser
from hf_fracture.data.phantoms import draw_phantom

README_PATH = Path(__file__).resolve().parent.parent / "README.md"
README = README_PATH.read_text(encoding="utf-8")


def find_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def find_commands(program: str) -> list[str]:
    lines = [line.split("  #")[0].strip() for block in find_blocks("") for line in block.splitlines()]
    return [line for line in lines if line.startswith(f"{program} ")]


@pytest.mark.slow
def test_python_blocks_run_on_a_phantom(repository_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (repository_dir / "hf_fracture" / "default_model" / "model.safetensors").is_file():
        pytest.skip("There is no hf_fracture/default_model yet, which the README's code uses.")
    draw_phantom(1, fractured=True).image.save(tmp_path / "wrist.png")
    (tmp_path / "hf_fracture").symlink_to(repository_dir / "hf_fracture")
    monkeypatch.chdir(tmp_path)
    blocks = find_blocks("python")
    assert len(blocks) >= 2
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(README_PATH), "exec"), names)
    finding, answers = names["finding"], names["answers"]
    assert isinstance(answers, list)
    fractured = next(answer["score"] for answer in answers if answer["label"] == "fractured")
    assert getattr(finding, "probability") == pytest.approx(fractured, abs=1e-4)  # noqa: B009 names are untyped here


@pytest.mark.parametrize("line", find_commands("hf-fracture"))
def test_command_parses(line: str) -> None:
    arguments = shlex.split(line)[1:]
    module = importlib.import_module(f"hf_fracture.cli.{arguments[0].replace('-', '_')}")
    args = build_parser(arguments[0], module).parse_args(arguments)
    assert args.command == arguments[0]


def test_make_verbs_exist(repository_dir: Path) -> None:
    makefile = (repository_dir / "Makefile").read_text(encoding="utf-8")
    verbs = {line.split()[1] for line in find_commands("make")}
    assert {"demo", "test"} <= verbs
    assert {verb for verb in verbs if not re.search(rf"^{verb}:", makefile, flags=re.MULTILINE)} == set()


def test_links_lead_somewhere(repository_dir: Path) -> None:
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target]
    assert len(targets) >= 3
    assert [target for target in targets if not (repository_dir / target).exists()] == []


def test_tree_names_what_is_there(repository_dir: Path) -> None:
    tree = next(block for block in find_blocks("") if block.startswith("hf_fracture/"))
    missing = []
    for line in tree.splitlines():
        name = line.split()[0].rstrip(",")
        parent = repository_dir / "hf_fracture" if line.startswith("  ") else repository_dir
        if not any((parent / candidate).exists() for candidate in (name, f"{name}.py")):
            missing.append(name)
    assert missing == []
