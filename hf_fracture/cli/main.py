"""`hf-fracture`: choose a command, run it, turn every outcome into an exit status.

The names and summaries of the commands stand here, so that `--help` imports none of them; only the module of the chosen
command is imported. Errors are formatted here and nowhere else. At its top this module may depend on `errors` only.
"""

import argparse
import difflib
import errno
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Final, NoReturn

from hf_fracture.errors import FractureError, describe_missing_package

PROGRAM: Final = "hf-fracture"

# Command `explain-eval` lives in `hf_fracture.cli.explain_eval`, which has `add_parser(subparsers)` and `run(args)`.
COMMANDS: Final[dict[str, str]] = {
    "demo": "Open the page in a browser",
    "predict": "Find fractures in files, folders or globs",
    "data": "List, download, prepare and audit datasets",
    "backbones": "List the backbones and recipes that can be trained",
    "train": "Fine-tune a backbone on a prepared dataset",
    "crossval": "Train and measure on k folds that share no group",
    "evaluate": "Measure a model on a split and write evaluation.json",
    "compare": "Measure two models on the same films",
    "explain-eval": "Score a model's heatmaps against marked fractures",
    "export": "Write a model as ONNX files that answer without torch",
    "card": "Render the model card from a model folder's measurements",
    "publish": "Publish a model, a dataset or a Space on the Hub, in one commit",
}

EXIT_DONE: Final = 0
EXIT_SOME_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_DEFECT: Final = 70  # EX_SOFTWARE of sysexits.h
EXIT_INTERRUPTED: Final = 130  # 128 + SIGINT
EXIT_BROKEN_PIPE: Final = 141  # 128 + SIGPIPE

_EPILOG: Final = (
    "exit status: 0 done; 1 done, but some inputs failed (each is named); 2 a mistake or a missing input, in one line. "
    "'hf-fracture COMMAND --help' explains a command."
)


class OneLineParser(argparse.ArgumentParser):
    """An `ArgumentParser` whose complaint is one line, and which takes no abbreviated options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what `ArgumentParser` takes."""
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def error(self, message: str) -> NoReturn:
        """Print the complaint and where to read more, without the usage block; exit with status 2."""
        complaint = _as_one_line(message)
        end = "" if complaint.endswith((".", "?")) else "."
        self.exit(EXIT_USAGE, f"{self.prog}: error: {complaint}{end} See '{self.prog} --help'.\n")


class _ShowVersion(argparse.Action):
    """Print the installed version and exit; the look-up's 20 ms are spent only when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib import metadata

        sys.stdout.write(f"{PROGRAM} {metadata.version(PROGRAM)}\n")
        parser.exit(EXIT_DONE)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments without the program's name; None reads those of the process.

    Returns:
        The exit status: 0 done, 1 done but some inputs failed, 2 a mistake or a missing input, 70 a defect of this
        program, 130 interrupted, 141 the reader of stdout went away.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # must precede torch; spinning threads cost 30 times
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments  # accepted before and after the command
    try:
        try:
            status = _run_command([argument for argument in arguments if argument != "--debug"])
        except SystemExit as leaving:
            status = _read_exit_code(leaving)
        sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
        return EXIT_BROKEN_PIPE
    except KeyboardInterrupt:
        _report("Interrupted", debug=debug)
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 the one place where errors become a line
        status, message = _describe_error(error)
        _report(f"{PROGRAM}: error: {message}", debug=debug)
    return status


def _run_command(arguments: list[str]) -> int:
    """Parse the arguments with the chosen command's parser and run it."""
    name = next((argument for argument in arguments if not argument.startswith("-")), None)
    module = _import_command(name) if name in COMMANDS else None
    parser = build_parser(name, module, for_help=not {"-h", "--help"}.isdisjoint(arguments))
    if name is not None and module is None:
        parser.error(_describe_unknown_command(name))
    args = parser.parse_args(arguments)
    if module is None:
        parser.error(f"expected a command ({', '.join(COMMANDS)}), got none")
    status: int = module.run(args)
    return status


def build_parser(name: str | None = None, module: ModuleType | None = None, *, for_help: bool = False) -> OneLineParser:
    """Build the parser of `hf-fracture`; only the chosen command brings its options.

    Args:
        name: The chosen command, a key of `COMMANDS`.
        module: Its module; None for a parser that only lists the commands.
        for_help: Call the module's `add_help`, where it has one, instead of an `add_parser` that loads torch.
    """
    parser = OneLineParser(
        prog=PROGRAM, description="Fracture classifiers whose numbers can be believed.", epilog=_EPILOG
    )
    parser.add_argument("--version", nargs=0, action=_ShowVersion, help="print the version and exit")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error; also after the command")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for command, summary in COMMANDS.items():
        if module is not None and command == name:
            add = getattr(module, "add_help", module.add_parser) if for_help else module.add_parser
            add(subparsers)
        else:
            subparsers.add_parser(command, help=summary)
    return parser


def _import_command(name: str) -> ModuleType:
    return importlib.import_module(f"hf_fracture.cli.{name.replace('-', '_')}")


def _describe_unknown_command(name: str) -> str:
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f". Did you mean '{near[0]}'?" if near else ""
    return f"expected one of the commands {', '.join(COMMANDS)}, got '{name}'{hint}"


def _read_exit_code(leaving: SystemExit) -> int:
    if isinstance(leaving.code, str):
        sys.stderr.write(leaving.code + "\n")
        return EXIT_USAGE
    return leaving.code or EXIT_DONE


def _describe_error(error: Exception) -> tuple[int, str]:
    """Return the exit status and the one line that an exception deserves."""
    if isinstance(error, FractureError):
        return EXIT_USAGE, _as_one_line(error)
    if isinstance(error, ModuleNotFoundError) and (sentence := describe_missing_package(error)):
        return EXIT_USAGE, sentence
    if isinstance(error, OSError):
        return EXIT_USAGE, _describe_os_error(error)
    return EXIT_DEFECT, (
        f"unexpected {type(error).__name__}: {_as_one_line(error) or 'no message'}. "
        "This is a defect of hf-fracture: run again with --debug and report the traceback."
    )


_REMEDIES: Final[dict[int, str]] = {
    errno.ENOSPC: "Free some space, or write to another disk; no finished file was lost.",
    errno.EDQUOT: "Free some of your quota, or write elsewhere; no finished file was lost.",
    errno.EACCES: "Change its permissions, or name another place.",
    errno.EPERM: "Change its permissions, or name another place.",
    errno.EROFS: "Name a place that can be written to.",
    errno.ENOENT: "Check the path.",
    errno.EADDRINUSE: "Choose another port.",
}


def _describe_os_error(error: OSError) -> str:
    if error.errno is None or error.strerror is None:
        return _as_one_line(error) or type(error).__name__
    where = f" ({error.filename})" if error.filename else ""
    return f"{error.strerror}{where}. {_REMEDIES.get(error.errno, 'Run again with --debug to see where.')}"


def _as_one_line(message: object) -> str:
    return " ".join(str(message).split())


def _report(line: str, *, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    sys.stderr.write(line + "\n")


def _silence_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush does not fail on the closed pipe."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return  # stdout is not a file, as under a test
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
