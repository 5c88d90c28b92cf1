"""`hf-fracture predict`: films in, one finding per film out.

Findings go to stdout, or to the file of `--csv` or `--jsonl`; words and progress go to stderr.
"""

import argparse
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
from hf_fracture.outputs import holding, replacing

if TYPE_CHECKING:
    from hf_fracture.inference.classifier import Examination, FractureClassifier
    from hf_fracture.inference.film_paths import FilmPath
    from hf_fracture.inference.finding import Finding
    from hf_fracture.inference.finding_table import Form, WriteFinding

EXIT_DONE = 0
EXIT_SOME_FAILED = 1


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
    form.add_argument("--jsonl", type=Path, metavar="FILE", help="write a file with one JSON object per film and line")
    form.add_argument("--json", action="store_true", help="print one JSON object per film and line")
    parser.add_argument("--studies", type=Path, metavar="FILE", help="also write a table with one row per DICOM study")
    parser.add_argument("--explain", type=Path, metavar="DIR", help="write the heatmap over each film here, as PNG")
    parser.add_argument(
        "--dicom-out",
        type=Path,
        metavar="DIR",
        help="write the heatmap over each film here as DICOM Secondary Capture, with the finding as JSON beside it; "
        "holds the patient's name where the film's header does",
    )
    parser.add_argument(
        "--method", choices=METHODS, default="grad_cam", help="how the heatmap is made (default: grad_cam)"
    )
    parser.add_argument(
        "--backend",
        choices=("auto", "onnx", "torch"),
        default="auto",
        help="what computes (default: onnxruntime where the model folder holds an export, torch otherwise)",
    )
    parser.add_argument(
        "--fast",
        action="store_true",
        help="decode large JPEGs at a reduced size and compute in 8 bit; export.json of the model says how far off",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace outputs that exist")
    parser.add_argument(
        "--resume", action="store_true", help="go on with the file of --csv or --jsonl that an interrupted run left"
    )
    parser.add_argument(
        "--shard",
        type=parse_shard,
        metavar="I/N",
        help="judge only the I-th of N parts of the films, 1 <= I <= N (default: as torchrun or accelerate say)",
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


def read_launched_shard() -> tuple[int, int]:
    """Return which part falls to this process under torchrun or accelerate; (1, 1) without them.

    Raises:
        UsageError: If the launcher's variables contradict each other.
    """
    rank, world_size = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    if not (rank.isdigit() and world_size.isdigit() and int(rank) < int(world_size)):
        raise UsageError(f"Expected 0 <= RANK < WORLD_SIZE in the environment, got {rank!r} and {world_size!r}.")
    return int(rank) + 1, int(world_size)


def name_part(path: Path, shard: int, num_shards: int) -> Path:
    """Return the name of a launched process's own part of a table.

    >>> name_part(Path("findings.csv"), 2, 8).name
    'findings-00002-of-00008.csv'
    """
    return path.with_name(f"{path.stem}-{shard:05d}-of-{num_shards:05d}{path.suffix}")


def run(args: argparse.Namespace) -> int:
    """Judge the films and return 0, or 1 if some could not be read.

    Raises:
        MissingInputError: If a path or the model does not exist.
        OutputExistsError: If an output exists and neither `--overwrite` nor `--resume` was given.
        UsageError: If options contradict each other.
    """
    from hf_fracture.inference.film_paths import find_films, select_shard

    _check_options(args)
    selection = find_films(args.paths)
    films = select_shard(selection.films, shard=args.shard[0], num_shards=args.shard[1])
    if selection.num_skipped:
        sys.stderr.write(f"Skipped {selection.num_skipped:,} files that are no images by their name.\n")
    counts: Counter[str] = Counter()
    of_studies: list[Finding] = []
    with ExitStack() as stack:
        if table := args.csv or args.jsonl:
            stack.enter_context(holding(table))
        _check_outputs(args, films)
        classifier = _load_classifier(args)
        write, films = _open_output(args, films, classifier, stack)
        examinations = stack.enter_context(_show_progress(_examine(classifier, films, args), total=len(films)))
        for examination, film in zip(examinations, films, strict=True):
            finding = examination.finding
            _write_pictures(examination, film, args)
            write(finding)
            counts[finding.decision] += 1
            if args.studies and finding.study_id is not None:
                of_studies.append(finding)
            if finding.decision == "error":
                _say(finding.reasons[0].sentence)
    if args.studies:
        _write_studies(args.studies, of_studies, classifier)
    _say(_summarise(counts))
    return EXIT_SOME_FAILED if counts["error"] else EXIT_DONE


def _check_options(args: argparse.Namespace) -> None:
    """Settle the shard, and refuse what contradicts itself or could not be written."""
    if args.resume and not (args.csv or args.jsonl):
        raise UsageError("Expected --csv FILE or --jsonl FILE with --resume: the table that tells what was done.")
    if args.resume and (args.overwrite or args.studies):
        raise UsageError("--resume goes with neither --overwrite nor --studies. Leave one of them out.")
    is_launched = args.shard is None
    args.shard = read_launched_shard() if is_launched else args.shard
    for option in ("csv", "jsonl", "studies"):
        path = getattr(args, option)
        if path is None:
            continue
        if not path.parent.is_dir():
            raise MissingInputError(f"Expected a folder '{path.parent}' for '{path.name}', found none. Make it first.")
        if is_launched and args.shard[1] > 1:
            setattr(args, option, name_part(path, *args.shard))


def _load_classifier(args: argparse.Namespace) -> "FractureClassifier":
    """Load the model; what it warns of becomes a line on stderr."""
    from hf_fracture.inference.classifier import FractureClassifier

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        classifier = FractureClassifier.from_pretrained(
            args.model, backend=args.backend, fast=args.fast, trust_remote_code=args.trust_remote_code
        )
    for warning in caught:
        if issubclass(warning.category, UserWarning):
            sys.stderr.write(f"Warning: {warning.message}\n")
    return classifier


def _examine(
    classifier: "FractureClassifier", films: "list[FilmPath]", args: argparse.Namespace
) -> "Iterator[Examination]":
    from hf_fracture.inference.classifier import Examination

    paths = [film.path for film in films]
    if args.explain or args.dicom_out:
        return classifier.examine_many(paths, method=args.method)
    findings = classifier.predict_many(paths)
    return (Examination(finding=finding, film=None, attribution=None) for finding in findings)


def _name_map(film: "FilmPath", args: argparse.Namespace) -> Path:
    path: Path = args.explain / f"{film.name}.{args.method}.png"
    return path


def _check_outputs(args: argparse.Namespace, films: "list[FilmPath]") -> None:
    """Refuse before any work what could not be written after it."""
    from hf_fracture.inference.finding_table import check_table

    pictures: list[Path] = []
    if args.explain:
        pictures += [_name_map(film, args) for film in films]
    if args.dicom_out:
        pictures += [args.dicom_out / f"{film.name}{suffix}" for film in films for suffix in (".dcm", ".json")]
    tables = [path for path in (args.csv, args.jsonl, args.studies) if path]
    for path in (*tables, *pictures):
        if path.is_dir():
            raise UsageError(f"Expected a file to write, got the folder '{path}'. Name a file in it.")
    if args.overwrite or args.resume:
        return
    for path in tables:
        check_table(path, overwrite=False)
    for path in pictures:
        if path.exists():
            raise OutputExistsError(f"'{path}' exists. Pass --overwrite to replace it, or name another output.")


def _open_output(
    args: argparse.Namespace, films: "list[FilmPath]", classifier: "FractureClassifier", stack: ExitStack
) -> "tuple[WriteFinding, list[FilmPath]]":
    """Return what takes each finding (a table, JSON lines or lines for a person), and the films that are left to do."""
    table: Path | None = args.csv or args.jsonl
    if table is None:
        return (_print_json if args.json else _print_line), films
    from hf_fracture.inference.finding_table import find_partial, name_in_table, open_table, read_finished

    form: Form = "csv" if args.csv else "jsonl"
    finished = read_finished(table, form=form, revision=classifier.revision) if args.resume else []
    names = {row["path"] for row in finished}
    left = [film for film in films if name_in_table(film.path, form=form) not in names]
    if args.resume:
        _say(f"{len(films) - len(left):,} of {len(films):,} films are in the table already.")
    stack.enter_context(_tell_of_partial(find_partial(table)))
    return stack.enter_context(open_table(table, finished, form=form)), left


@contextmanager
def _tell_of_partial(partial: Path) -> Iterator[None]:
    """Say where the rows are if the run is cut short."""
    try:
        yield
    except BaseException:
        if partial.exists():
            _say(f"The rows so far are in '{partial}'. The same command with --resume goes on from there.")
        raise


def _write_studies(path: Path, findings: "list[Finding]", classifier: "FractureClassifier") -> None:
    import csv

    from hf_fracture.inference.study import STUDY_COLUMNS, answer_studies

    rows = [study.to_csv_row() for study in answer_studies(findings, classifier.record)]

    def save(partial: Path) -> None:
        with partial.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            csv.writer(stream).writerows([STUDY_COLUMNS, *rows])

    _write_file(path, save)
    _say(f"{len(rows):,} stud{'y' if len(rows) == 1 else 'ies'} in '{path}'.")


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


def _write_pictures(examination: "Examination", film: "FilmPath", args: argparse.Namespace) -> None:
    """Write the heatmap over the film where it is asked for; films without an answer have none."""
    if examination.film is None or examination.attribution is None:
        return
    overlay = examination.attribution.overlay(examination.film, decision=examination.finding.decision)
    if args.explain:
        from hf_fracture.explain.overlay import add_colour_bar

        _write_file(_name_map(film, args), lambda partial: add_colour_bar(overlay).save(partial, format="PNG"))
    if args.dicom_out:
        from hf_fracture.inference.dicom_result import write_dicom_result

        write_dicom_result(examination.finding, overlay, args.dicom_out / film.name)


def _write_file(path: Path, save: Callable[[Path], object]) -> None:
    """Let `save` write to a temporary name, then rename."""
    with replacing(path) as partial:
        save(partial)


def _summarise(counts: "Counter[str]") -> str:
    """Say how many films got which decision.

    >>> _summarise(Counter({"fracture": 2, "error": 1}))
    '3 films: 2 fracture, 1 error.'
    """
    parts = ", ".join(f"{count:,} {decision}" for decision, count in counts.items())
    num_films = counts.total()
    return f"{num_films:,} film{'' if num_films == 1 else 's'}{': ' + parts if parts else ''}."
