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

from hf_fracture.cli.main import build_parser
from hf_fracture.models.backbones import BACKBONES
from tests.hub.conftest import HubClient
from tests.hub.stub_hub import Commit, Repo, StubHub

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
LANGUAGES = {"python", "shell", "text"}  # text is a folder's layout, and is not run
README = "../README.md"  # its blocks name no language
NEEDED = {  # folders that a page takes for granted
    "how-to/without-torch.md": ("films", "prepared", "MODEL"),
    "how-to/compare.md": ("prepared", "MODEL", "OTHER"),
    "how-to/offline.md": ("films",),
    "how-to/space.md": ("space",),
    README: ("films",),
}
ON_THE_HUB = {"how-to/compare.md": "someone/their-model", "how-to/offline.md": "you/fracture-reader"}
PINNED_COMMIT = "c0ffee0123456789abcdef0123456789abcdef01"


PROGRAMS = ("hf-fracture", "hf", "python")
NOT_RUN = ("make ", "pip install ", "hf-fracture demo")  # install, or serve until they are stopped


@dataclass(frozen=True)
class Block:
    language: str
    text: str

    @property
    def commands(self) -> list[list[str]]:
        lines = [] if self.language != "shell" else self.text.splitlines()
        return [shlex.split(line, comments=True) for line in lines if not line.startswith(NOT_RUN)]


def read_blocks(page: str) -> list[Block]:
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = []
    for language, content in re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
        is_command = content.startswith((*NOT_RUN, *(f"{program} " for program in PROGRAMS)))
        blocks.append(Block(language or ("" if page != README else "shell" if is_command else "text"), content))
    return blocks


PAGES_THAT_RUN = [README] + [
    page for page in PAGES if any(block.language in ("python", "shell") for block in read_blocks(page))
]


def find_inline_commands(page: str) -> list[list[str]]:
    """Return the commands in running text that can be typed as they stand."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.findall(r"`hf-fracture ([a-z][^`]*)`", text)
    return [shlex.split(line) for line in found if not re.search(r"[A-Z]{3,}|…|\.\.\.", line)]


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_running_text_parse(page: str) -> None:
    for arguments in find_inline_commands(page):
        if len(arguments) > 2:
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
    prepare = next(block.commands[0][1:] for block in read_blocks("tutorials/train.md") if block.commands)
    for request in ({"code": draw}, {"arguments": prepare}):
        answer = client.ask({**request, "folder": str(folder)})
        assert answer.status == 0, answer.stderr
    return folder


def put_on_the_hub(hub: StubHub, repo_id: str, folder: Path, *, revision: str | None = None) -> None:
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    commit = Commit(PINNED_COMMIT, None, "tiny", files)
    refs = {"main": commit.oid} | ({revision: commit.oid} if revision else {})
    hub.repos["models", repo_id] = Repo({commit.oid: commit}, refs, {"private": False})


@pytest.fixture
def foreign_model_dir(tiny_model_dir: Path, tmp_path: Path) -> Path:
    """Return somebody else's classifier, whose classes have names of their own."""
    folder = shutil.copytree(tiny_model_dir, tmp_path / "foreign")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config["fracture"]
    names = {"0": "normal", "1": "broken"}
    config |= {"id2label": names, "label2id": {name: int(index) for index, name in names.items()}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def run_block(client: HubClient, block: Block, page: str, folder: Path) -> None:
    if block.language == "python":
        answer = client.ask({"code": block.text, "namespace": page, "folder": str(folder)})
        assert answer.status == 0, f"{block.text}\n{answer.stderr}"
    for program, *arguments in block.commands:
        assert program in PROGRAMS, f"nobody runs {program}, which {page} shows"
        if program == "python":
            arguments[0] = str(DOCS.parent / arguments[0])
        request = {"arguments": arguments} if program == "hf-fracture" else {"code": RUN[program].format(arguments)}
        answer = client.ask({**request, "folder": str(folder), "environment": {"HF_TOKEN": "hf_stub"}})
        expected = (0, 1) if arguments[:2] == ["data", "audit"] else (0,)  # 1: the broken file is named
        assert answer.status in expected, f"{program} {shlex.join(arguments)}\n{answer.stderr}"


RUN = {
    "hf": "from huggingface_hub.cli.hf import app\napp({}, standalone_mode=False)",
    "python": "import runpy, sys\nsys.argv = {0}\nrunpy.run_path(sys.argv[0], run_name='__main__')",
}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES_THAT_RUN)
def test_blocks_run(
    page: str,
    hub: StubHub,
    client: HubClient,
    kit: Path,
    tmp_path: Path,
    tiny_model_dir: Path,
    foreign_model_dir: Path,
) -> None:
    backbone = BACKBONES["resnet-18"]
    put_on_the_hub(hub, str(backbone.hub_id), tiny_model_dir, revision=backbone.revision)
    if page in ON_THE_HUB:
        put_on_the_hub(hub, ON_THE_HUB[page], foreign_model_dir if "someone" in ON_THE_HUB[page] else tiny_model_dir)
    work = tmp_path / "work"
    work.mkdir()
    for name in NEEDED.get(page, ()):
        shutil.copytree(kit / name, work / name)
    for block in read_blocks(page):
        if page != README or block.language != "python":  # those of the README run in tests/test_readme.py
            run_block(client, block, page, work)


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
