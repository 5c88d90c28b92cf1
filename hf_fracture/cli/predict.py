"""`hf-fracture predict`: films in, one finding per film out.

Findings go to stdout, or to the file of `--csv`; words and progress go to stderr.
"""

import argparse
import csv
import json
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from hf_fracture.errors import MissingInputError, OutputExistsError, UsageError
from hf_fracture.explain.methods import METHODS

if TYPE_CHECKING:
    from hf_fracture.inference.classifier import Examination, FractureClassifier
    from hf_fracture.inference.film_paths import FilmPath
    from hf_fracture.inference.finding import Finding

EXIT_DONE = 0
EXIT_SOME_FAILED = 1

WriteFinding = Callable[["Finding"], None]


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "predict",
        help="Find fractures in files, folders or globs",
        description="Judge films: probability of a fracture and a decision. A bad file becomes a row that says why.",
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a film, a folder of films, or a pattern")
    parser.add_argument("--model", metavar="M", help="model folder or Hub id (default: the shipped model)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", type=Path, metavar="FILE", help="write a table with one row per film")
    form.add_argument("--json", action="store_true", help="print one JSON object per film and line")
    parser.add_argument("--explain", type=Path, metavar="DIR", help="write the heatmap over each film here, as PNG")
    parser.add_argument(
        "--method", choices=METHODS, default="grad_cam", help="how the heatmap is made (default: grad_cam)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace outputs that exist")
    parser.add_argument(
        "--shard",
        type=parse_shard,
        default=(1, 1),
        metavar="I/N",
        help="judge only the I-th of N parts of the films, 1 <= I <= N",
    )
    parser.add_argument("--trust-remote-code", action="store_true", help="run modelling code that the model brings")


def parse_shard(text: str) -> tuple[int, int]:
    """Read `I/N` with 1 <= I <= N.

    Raises:
        argparse.ArgumentTypeError: If the text is something else.

    >>> parse_shard("2/8")
    (2, 8)
    """
    first, slash, second = text.partition("/")
    if slash and first.isascii() and second.isascii() and first.isdigit() and second.isdigit():
        shard, num_shards = int(first), int(second)
        if 1 <= shard <= num_shards:
            return shard, num_shards
    raise argparse.ArgumentTypeError(f"expected I/N with 1 <= I <= N, such as 1/4, got '{text}'")


def run(args: argparse.Namespace) -> int:
    """Judge the films and return 0, or 1 if some could not be read.

    Raises:
        MissingInputError: If a path or the model does not exist.
        OutputExistsError: If an output exists and `--overwrite` was not given.
    """
    from hf_fracture.inference.film_paths import find_films, select_shard

    selection = find_films(args.paths)
    films = select_shard(selection.films, shard=args.shard[0], num_shards=args.shard[1])
    maps = {film.path: args.explain / f"{film.name}.{args.method}.png" for film in films} if args.explain else {}
    if args.csv and not args.csv.parent.is_dir():
        raise MissingInputError(
            f"Expected a folder '{args.csv.parent}' for '{args.csv.name}', found none. Make it first."
        )
    _check_outputs([*([args.csv] if args.csv else []), *maps.values()], overwrite=args.overwrite)
    if selection.num_skipped:
        sys.stderr.write(f"Skipped {selection.num_skipped:,} files that are no images by their name.\n")
    classifier = _load_classifier(args.model, trust_remote_code=args.trust_remote_code)
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        write = _open_output(args, stack)
        examinations = stack.enter_context(_show_progress(_examine(classifier, films, args), total=len(films)))
        for examination, film in zip(examinations, films, strict=True):
            _write_map(examination, maps.get(film.path))
            write(examination.finding)
            counts[examination.finding.decision] += 1
            if examination.finding.decision == "error":
                _say(examination.finding.reasons[0].sentence)
    _say(_summarise(counts))
    return EXIT_SOME_FAILED if counts["error"] else EXIT_DONE


def _load_classifier(model: str | None, *, trust_remote_code: bool) -> "FractureClassifier":
    """Load the model; what it warns of becomes a line on stderr."""
    from hf_fracture.inference.classifier import FractureClassifier

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        classifier = FractureClassifier.from_pretrained(model, trust_remote_code=trust_remote_code)
    for warning in caught:
        if issubclass(warning.category, UserWarning):
            sys.stderr.write(f"Warning: {warning.message}\n")
    return classifier


def _examine(
    classifier: "FractureClassifier", films: "list[FilmPath]", args: argparse.Namespace
) -> "Iterator[Examination]":
    from hf_fracture.inference.classifier import Examination

    paths = [film.path for film in films]
    if args.explain:
        return classifier.examine_many(paths, method=args.method)
    findings = classifier.predict_many(paths)
    return (Examination(finding=finding, film=None, attribution=None) for finding in findings)


def _check_outputs(paths: Iterable[Path], *, overwrite: bool) -> None:
    """Refuse before any work what could not be written after it."""
    for path in paths:
        if path.is_dir():
            raise UsageError(f"Expected a file to write, got the folder '{path}'. Name a file in it.")
        if path.exists() and not overwrite:
            raise OutputExistsError(f"'{path}' exists. Pass --overwrite to replace it, or name another output.")


def _open_output(args: argparse.Namespace, stack: ExitStack) -> WriteFinding:
    """Return what takes each finding: a CSV file, JSON lines or lines for a person."""
    if args.csv:
        return stack.enter_context(_open_csv(args.csv))
    return _print_json if args.json else _print_line


@contextmanager
def _open_csv(path: Path) -> Iterator[WriteFinding]:
    """Write rows under a temporary name; the file gets its own name when all are there."""
    from hf_fracture.inference.finding import COLUMNS

    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(COLUMNS)

            def write(finding: "Finding") -> None:
                writer.writerow(finding.to_csv_row())
                stream.flush()

            yield write
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _print_json(finding: "Finding") -> None:
    _print(json.dumps(finding.to_dict(), allow_nan=False))


def _print_line(finding: "Finding") -> None:
    probability = "" if finding.probability is None else f"{finding.probability:.3f}"
    notes = " ".join(reason.sentence for reason in finding.reasons)
    line = f"{finding.decision:<11}  {probability:>5}  {_make_printable(finding.path or '')}"
    _print(f"{line}  {notes}".rstrip() if finding.decision != "error" else line)


def _print(line: str) -> None:
    from tqdm import tqdm

    tqdm.write(line, file=sys.stdout)  # steps aside of a progress bar on the same terminal
    sys.stdout.flush()


def _say(sentence: str) -> None:
    from tqdm import tqdm

    tqdm.write(_make_printable(sentence), file=sys.stderr)


def _make_printable(text: str) -> str:
    r"""Escape control characters and broken encodings, which file names may hold.

    >>> _make_printable("wrist\x1b[2J.png")
    'wrist\\x1b[2J.png'
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


@contextmanager
def _show_progress(examinations: "Iterator[Examination]", *, total: int) -> "Iterator[Iterable[Examination]]":
    """Show a bar on a terminal, and nothing in a log or for a single film."""
    from tqdm import tqdm

    stream: TextIO = sys.stderr
    hidden = total < 2 or not stream.isatty()
    with tqdm(examinations, total=total, unit="film", file=stream, disable=hidden) as bar:
        yield bar


def _write_map(examination: "Examination", path: Path | None) -> None:
    """Write the heatmap over the film, with its colour bar; films without an answer have none."""
    if path is None or examination.film is None or examination.attribution is None:
        return
    from hf_fracture.explain.overlay import add_colour_bar

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        add_colour_bar(examination.attribution.overlay(examination.film)).save(partial, format="PNG")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _summarise(counts: "Counter[str]") -> str:
    """Say how many films got which decision.

    >>> _summarise(Counter({"fracture": 2, "error": 1}))
    '3 films: 2 fracture, 1 error.'
    """
    parts = ", ".join(f"{count:,} {decision}" for decision, count in counts.items())
    num_films = counts.total()
    return f"{num_films:,} film{'' if num_films == 1 else 's'}{': ' + parts if parts else ''}."
