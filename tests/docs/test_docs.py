"""Every code block of the documentation runs, in the page's order, on drawings and against the stub Hub."""

import importlib
import json
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from hf_fracture.cli.main import COMMANDS, build_parser
from tests.hub.conftest import HubClient
from tests.hub.stub_hub import Commit, Repo, StubHub

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
LANGUAGES = {"python", "shell", ""}  # blocks without a language are not run: sketches, and what needs other people
NEEDED = {  # folders that a page takes for granted
    "how-to/without-torch.md": ("films",),
    "how-to/compare.md": ("prepared", "MODEL", "OTHER"),
    "how-to/space.md": ("space",),
}


@dataclass(frozen=True)
class Block:
    language: str
    text: str

    @property
    def commands(self) -> list[list[str]]:
        return [
            shlex.split(line, comments=True)[1:] for line in self.text.splitlines() if line.startswith("hf-fracture ")
        ]


def read_blocks(page: str) -> list[Block]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return [Block(*match) for match in re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)]


RUN = [page for page in PAGES if any(block.language in ("python", "shell") for block in read_blocks(page))]


def find_inline_commands(page: str) -> list[list[str]]:
    """Return the commands in running text that can be typed as they stand."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.findall(r"`hf-fracture ([a-z][^`]*)`", text)
    return [shlex.split(line) for line in found if not re.search(r"[A-Z]{3,}|…|\.\.\.", line)]


@pytest.mark.parametrize("page", PAGES)
def test_commands_parse(page: str) -> None:
    written = [arguments for block in read_blocks(page) for arguments in block.commands]
    written += [arguments for arguments in find_inline_commands(page) if len(arguments) > 2]
    for arguments in written:
        assert arguments[0] in COMMANDS
        module = importlib.import_module(f"hf_fracture.cli.{arguments[0].replace('-', '_')}")
        assert build_parser(arguments[0], module).parse_args(arguments).command == arguments[0]


def test_every_page_is_in_the_menu_and_every_entry_is_a_page() -> None:
    text = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    menu = yaml.safe_load(text)["nav"]
    listed: list[str] = []
    waiting = list(menu)
    while waiting:
        for entry in waiting.pop().values():
            (waiting.extend if isinstance(entry, list) else listed.append)(entry)
    assert sorted(listed) == PAGES
    assert {block.language for page in PAGES for block in read_blocks(page)} <= LANGUAGES


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory, client: HubClient, tiny_model_dir: Path) -> Path:
    """Return folders that pages take for granted: films, a prepared dataset, and models."""
    folder = tmp_path_factory.mktemp("kit")
    shutil.copytree(tiny_model_dir, folder / "MODEL")
    shutil.copytree(tiny_model_dir, folder / "OTHER")
    shutil.copytree(DOCS.parent / "space", folder / "space", ignore=shutil.ignore_patterns("__pycache__"))
    draw = next(block.text for block in read_blocks("tutorials/train.md") if block.language == "python")
    prepare = next(block.commands[0] for block in read_blocks("tutorials/train.md") if block.commands)
    for request in ({"code": draw}, {"arguments": prepare}):
        answer = client.ask({**request, "folder": str(folder)})
        assert answer.status == 0, answer.stderr
    return folder


@pytest.fixture
def backbone_on_the_hub(hub: StubHub, tiny_model_dir: Path) -> None:
    """Put a tiny network where `--backbone resnet-18` looks for its weights."""
    from hf_fracture.models.backbones import BACKBONES

    row = BACKBONES["resnet-18"]
    assert row.hub_id is not None
    files = {path.name: path.read_bytes() for path in tiny_model_dir.iterdir() if path.is_file()}
    commit = Commit("0" * 40, None, "tiny", files)
    refs = {"main": commit.oid}
    if row.revision:
        refs[row.revision] = commit.oid
    hub.repos["models", row.hub_id] = Repo({commit.oid: commit}, refs, {"private": False})


def run_block(client: HubClient, block: Block, page: str, folder: Path) -> None:
    if block.language == "python":
        answer = client.ask({"code": block.text, "namespace": page, "folder": str(folder)})
        assert answer.status == 0, f"{block.text}\n{answer.stderr}"
    for arguments in block.commands if block.language == "shell" else []:
        answer = client.ask({"arguments": arguments, "folder": str(folder), "environment": {"HF_TOKEN": "hf_stub"}})
        expected = (0, 1) if arguments[:2] == ["data", "audit"] else (0,)  # 1: the broken file is named
        assert answer.status in expected, f"hf-fracture {shlex.join(arguments)}\n{answer.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_blocks_run(
    page: str, hub: StubHub, client: HubClient, kit: Path, tmp_path: Path, backbone_on_the_hub: None
) -> None:
    for name in NEEDED.get(page, ()):
        shutil.copytree(kit / name, tmp_path / name)
    for block in read_blocks(page):
        run_block(client, block, page, tmp_path)


def test_notebook_is_the_tutorial(repository_dir: Path) -> None:
    """Its code cells are the blocks of the page, which run above."""
    notebook = json.loads((DOCS / "tutorial.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    blocks = [block for block in read_blocks("tutorials/use.md") if block.language]
    expected = [re.sub(r"^hf-", "!hf-", block.text.strip(), flags=re.MULTILINE) for block in blocks]
    assert cells[0].startswith("%pip install")
    assert cells[1:] == expected


def test_pages_of_figures_are_rendered_from_the_files(repository_dir: Path) -> None:
    import runpy

    script = runpy.run_path(str(repository_dir / "scripts" / "render_results.py"))
    for name, text in script["render_pages"]().items():
        assert (DOCS / name).read_text(encoding="utf-8") == text, "run python scripts/render_results.py"
