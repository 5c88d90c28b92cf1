"""`hf-fracture` chooses the right command, and every failure is one line and the right exit status."""

import argparse
import errno
import importlib
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType

import pytest

from hf_fracture.cli import main as program
from hf_fracture.errors import MissingInputError, UnreadableRadiograph

Run = Callable[[argparse.Namespace], int]
InstallCommand = Callable[[Run], None]


@pytest.fixture
def install_command(monkeypatch: pytest.MonkeyPatch) -> InstallCommand:
    """Return a function that makes `run` the body of a command named `stub-command`."""

    def install(run: Run) -> None:
        def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
            parser = subparsers.add_parser("stub-command", help="Stand in for a command")
            parser.add_argument("--number", type=int, default=0)

        module = ModuleType("hf_fracture.cli.stub_command")
        module.__dict__.update(add_parser=add_parser, run=run)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(program.COMMANDS, "stub-command", "Stand in for a command")

    return install


def fail_with(error: BaseException) -> Run:
    def run(args: argparse.Namespace) -> int:
        raise error

    return run


def test_command_gets_its_arguments_and_gives_the_status(install_command: InstallCommand) -> None:
    install_command(lambda args: args.number)
    assert program.main(["stub-command", "--number", "1"]) == 1


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (MissingInputError("Expected a film,\ngot none."), 2, "hf-fracture: error: Expected a film, got none."),
        (UnreadableRadiograph("Not an image."), 2, "hf-fracture: error: Not an image."),
        (KeyboardInterrupt(), 130, "Interrupted"),
        (
            OSError(errno.ENOSPC, "No space left on device", "out/a.csv"),
            2,
            "hf-fracture: error: No space left on device (out/a.csv). "
            "Free some space, or write to another disk; no finished file was lost.",
        ),
        (PermissionError(errno.EACCES, "Permission denied"), 2, "hf-fracture: error: Permission denied. Change its"),
        (ConnectionError("The Hub cannot be reached."), 2, "hf-fracture: error: The Hub cannot be reached."),
        (ModuleNotFoundError("No module", name="torch.nn"), 2, "Install it: pip install 'hf-fracture[torch]'."),
        (ModuleNotFoundError("No module", name="gradio"), 2, "Install it: pip install 'hf-fracture[space]'."),
        (
            ZeroDivisionError("by zero"),
            70,
            "hf-fracture: error: unexpected ZeroDivisionError: by zero. This is a defect",
        ),
    ],
)
def test_error_becomes_one_line_and_a_status(
    install_command: InstallCommand,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    line: str,
) -> None:
    install_command(fail_with(error))
    assert program.main(["stub-command"]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert line in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--debug", "stub-command"], ["stub-command", "--debug", "--number", "3"]])
def test_debug_shows_the_traceback_wherever_it_stands(
    install_command: InstallCommand, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    install_command(fail_with(MissingInputError("Expected a film, got none.")))
    assert program.main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.endswith("hf-fracture: error: Expected a film, got none.\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["predct"], "got 'predct'. Did you mean 'predict'?"),
        (["zzz"], "got 'zzz'. See 'hf-fracture --help'."),
        ([], "got none. See 'hf-fracture --help'."),
        (["--nonsense"], "unrecognized arguments: --nonsense. See 'hf-fracture --help'."),
        (["stub-command", "--num", "1"], "unrecognized arguments: --num 1"),
        (["stub-command", "--number", "x"], "argument --number: invalid int value: 'x'. See 'hf-fracture stub-command"),
    ],
)
def test_mistake_is_one_line_and_status_2(
    install_command: InstallCommand, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    install_command(lambda args: 0)
    assert program.main(arguments) == 2
    err = capsys.readouterr().err
    assert line in err
    assert err.count("\n") == 1


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"    {name}" in out for name in program.COMMANDS)


def test_version_is_the_one_installed(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib import metadata

    assert program.main(["--version"]) == 0
    assert capsys.readouterr().out == f"hf-fracture {metadata.version('hf-fracture')}\n"


@pytest.mark.parametrize("name", program.COMMANDS)
def test_command_registers_itself_under_the_summary_that_help_shows(name: str) -> None:
    module = importlib.import_module(f"hf_fracture.cli.{name.replace('-', '_')}")
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    module.add_parser(subparsers)
    assert list(subparsers.choices) == [name]
    assert [action.help for action in subparsers._choices_actions] == [program.COMMANDS[name]]
    assert callable(module.run)


def test_closed_pipe_is_not_an_error() -> None:
    code = (
        "import sys; from hf_fracture.cli import main as program\n"
        "class Module:\n"
        "    @staticmethod\n"
        "    def add_parser(subparsers): subparsers.add_parser('demo')\n"
        "    @staticmethod\n"
        "    def run(args):\n"
        "        while True: sys.stdout.write('line\\n')\n"
        "sys.modules['hf_fracture.cli.demo'] = Module\n"
        "sys.exit(program.main(['demo']))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=30) == 141
