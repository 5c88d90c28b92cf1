"""The audit of a folder of films, written as `audit.json`, two HTML pages and a ledger.

What cannot be read, what is there twice, what leaks, what is shared with other datasets, what gives the label away.
May depend on everything in `data` but `prepare`.
"""

import csv
import json
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from hf_fracture.data.audit_page import render_audit_page
from hf_fracture.data.films import Film, count_cores
from hf_fracture.data.grouping import Grouping, assign_splits, group_films
from hf_fracture.data.inspection import Inspection, inspect_files
from hf_fracture.data.known_films import KnownFilms
from hf_fracture.data.leaks import count_copies, count_leaks, list_conflicts, measure_families
from hf_fracture.data.ledger import LedgerEntry, list_ledgers, load_ledger, write_ledger
from hf_fracture.data.ledger_entries import EarlierSplit, build_entries, keep_splits
from hf_fracture.data.schema import RawRow
from hf_fracture.data.sharing import SharedFilm, find_in_films, find_in_ledger
from hf_fracture.data.shortcuts import ShortcutReport, measure_shortcuts
from hf_fracture.data.sources import OWN_FILMS, read_rows
from hf_fracture.data.sources.bone_break import read_type_name
from hf_fracture.data.sources.image_folder import list_films
from hf_fracture.data.sources.listing import check_folder, list_subfolders
from hf_fracture.errors import DatasetError, OutputExistsError, UsageError

ISSUES: Final = ("unreadable", "truncated", "blank", "low_contrast", "not_a_radiograph")
ACCOUNT_NAME: Final = "audit.json"
PAGE_NAME: Final = "audit.html"
PRIVATE_PAGE_NAME: Final = "audit_with_thumbnails.html"
LEDGER_NAME: Final = "ledger.csv"

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much is done and how much there is in all."""

_TURNED: Final = re.compile(r"-rotated\d")
_TABLES: Final = {"fracatlas": ("image_id", "fractured"), "grazpedwri_dx": ("filestem",)}


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Everything that an audit found; the sequences run over the same N readable films.

    Attributes:
        name: Folder, as pages call it.
        source: How it was read: a key of `sources.SOURCES`.
        rows: What the source knows.
        inspections: What reading gave.
        grouping: How the films hang together.
        entries: Lines of the ledger.
        unreadable: Why the other files cannot be read, by path.
        absent: Paths that a table lists and the folder lacks.
        shared: Films that other datasets hold too, by their name.
        shortcuts: What predicts the label; None without labels.
        seconds: What each step took.
    """

    name: str
    source: str
    rows: Sequence[RawRow]
    inspections: Sequence[Inspection]
    grouping: Grouping
    entries: Sequence[LedgerEntry]
    unreadable: dict[str, str]
    absent: Sequence[str]
    shared: dict[str, list[SharedFilm]]
    shortcuts: ShortcutReport | None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def films(self) -> list[Film]:
        """What reading gave, without what was measured."""
        return [inspection.film for inspection in self.inspections]


def audit_folder(
    folder: Path,
    out_dir: Path,
    *,
    against: Sequence[str] = (),
    num_workers: int | None = None,
    overwrite: bool = False,
    report_progress: Progress | None = None,
) -> dict[str, Any]:
    """Audit a folder of films and write what was found.

    Args:
        folder: A download in the layout of a known dataset, class folders, a `metadata.csv`, or just films.
        out_dir: Folder to make, with `audit.json`, `audit.html` (no image in it), `audit_with_thumbnails.html` (for the
            reader's own machine) and `ledger.csv`.
        against: Other datasets to look for the same films in: names of ledgers that come with the package, or folders.
        num_workers: Processes that read films; None uses every core.
        overwrite: Replace an earlier audit.
        report_progress: Called as work goes on.

    Returns:
        The content of `audit.json`.

    Raises:
        MissingInputError: If the folder does not exist.
        DatasetError: If it holds no film, or not what its layout promises.
        UsageError: If `against` names neither a ledger nor a folder.
        OutputExistsError: If `out_dir` exists and is no earlier audit, or may not be overwritten.
        MissingPackageError: If scikit-learn is not installed.
    """
    check_folder(folder, expected="films")
    check_against(against)
    check_output(out_dir, overwrite=overwrite)
    audit = audit_films(folder, against=against, num_workers=num_workers, report_progress=report_progress)
    account = build_account(audit)
    _write(audit, account, out_dir)
    return account


def audit_films(
    folder: Path,
    *,
    against: Sequence[str] = (),
    num_workers: int | None = None,
    report_progress: Progress | None = None,
) -> Audit:
    """Audit a folder of films without writing anything; arguments and errors as of `audit_folder`."""
    watch = _Watch(report_progress)
    workers = num_workers or count_cores()
    source, listed = list_rows(folder)
    present = [row for row in listed if row.path.is_file()]
    seen = inspect_files(present, num_workers=workers, report_progress=watch.start("reading files"))
    kept = [index for index, inspection in enumerate(seen) if inspection.appearance is not None]
    rows, inspections = [present[index] for index in kept], [seen[index] for index in kept]
    if not rows:
        raise DatasetError(f"Expected readable films in {folder}, found none among {len(present):,} files.")
    films = [inspection.film for inspection in inspections]
    report = watch.start("comparing films")
    nothing_known = KnownFilms(entries=[None] * len(films))
    grouping = group_films(source, rows, films, known=nothing_known, report_progress=report)
    watch.start("looking in other datasets")
    shared = {name: _find_shared(films, name, workers) for name in against}
    watch.start("measuring shortcuts")
    labelled = any(row.label is not None for row in rows)
    shortcuts = measure_shortcuts(rows, inspections, grouping.group_ids) if labelled else None
    return Audit(
        name=folder.resolve().name,
        source=source,
        rows=rows,
        inspections=inspections,
        grouping=grouping,
        entries=_build_entries(source, rows, films, grouping),
        unreadable={
            row.source_path: look.film.error for row, look in zip(present, seen, strict=True) if look.film.error
        },
        absent=sorted(row.source_path for row in listed if not row.path.is_file()),
        shared=shared,
        shortcuts=shortcuts,
        seconds=watch.stop(),
    )


def list_rows(folder: Path) -> tuple[str, list[RawRow]]:
    """Return how a folder is to be read and what it lists.

    A folder in no known layout is read as films without labels.

    Raises:
        DatasetError: If there is no film.
    """
    source = detect_source(folder)
    try:
        return source, list(read_rows(source, folder))
    except DatasetError:
        films = list_films(folder)
        if source != OWN_FILMS or not films or list(folder.glob("**/metadata.csv")):
            raise
        return source, [
            RawRow(path=path, source_path=path.relative_to(folder).as_posix(), label=None) for path in films
        ]


def detect_source(folder: Path) -> str:
    """Tell by its layout which source reads a folder; `image_folder` if none of the known ones does."""
    roots = [folder, *list_subfolders(folder)]
    for root in roots:
        columns = _read_columns(root / "dataset.csv")
        for source, needed in _TABLES.items():
            if set(needed) <= columns:
                return source
    if any(read_type_name(path.name) for path in roots[1:]):
        return "bone_break"
    if any(_TURNED.search(path.name) for path in folder.glob("**/*")):
        return "kaggle_multi_region"
    return OWN_FILMS


def _read_columns(path: Path) -> set[str]:
    if not path.is_file():
        return set()
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            return {name.strip() for name in next(csv.reader(stream), [])}
    except csv.Error:
        return set()


def check_against(against: Sequence[str]) -> None:
    """Refuse a dataset to compare with that is neither a ledger nor a folder.

    Raises:
        UsageError: Naming the ledgers there are.
    """
    for name in against:
        if name not in list_ledgers() and not Path(name).is_dir():
            raise UsageError(
                f"--against takes a folder or one of the ledgers {', '.join(list_ledgers()) or '(none)'}, got '{name}'."
            )


def check_output(out_dir: Path, *, overwrite: bool) -> None:
    """Refuse to write over anything but an earlier audit, and that only if asked to.

    Raises:
        OutputExistsError: Saying what is there.
    """
    if not out_dir.exists() or (out_dir.is_dir() and not any(out_dir.iterdir())):
        return
    if not (out_dir / LEDGER_NAME).is_file():
        raise OutputExistsError(
            f"Expected {out_dir} not to exist, found something there that is no audit. Choose another --out."
        )
    if not overwrite:
        raise OutputExistsError(
            f"Expected {out_dir} not to exist, found an audit there. Pass --overwrite to replace it."
        )


def _find_shared(films: Sequence[Film], name: str, num_workers: int) -> list[SharedFilm]:
    """Look for films in a ledger, or in a folder, which is read for the purpose."""
    if name in list_ledgers():
        return find_in_ledger(films, load_ledger(name))
    rows = [row for row in list_rows(Path(name))[1] if row.path.is_file()]
    others = [inspection.film for inspection in inspect_files(rows, num_workers=num_workers)]
    return find_in_films(films, [film for film in others if not film.error])


def _build_entries(source: str, rows: Sequence[RawRow], films: Sequence[Film], grouping: Grouping) -> list[LedgerEntry]:
    """Build the ledger; films of a known dataset keep the splits of the ledger that comes with the package."""
    entries = build_entries(rows, films, grouping, assign_splits(rows, films, grouping, rule="clean", seed=0))
    known = load_ledger(source) if source in list_ledgers() else ()
    return keep_splits(entries, {entry.source_path: EarlierSplit(entry.split, entry.reason) for entry in known})


def build_account(audit: Audit) -> dict[str, Any]:
    """Return the content of `audit.json`."""
    rows, films, grouping = audit.rows, audit.films, audit.grouping
    splits = Counter(entry.split for entry in audit.entries)
    return {
        "folder": audit.name,
        "read_as": audit.source,
        "files": {
            "found": len(rows) + len(audit.unreadable),
            "readable": len(rows),
            "absent": len(audit.absent),
            "fractured": sum(row.label == 1 for row in rows),
            "not_fractured": sum(row.label == 0 for row in rows),
            "unlabelled": sum(row.label is None for row in rows),
            "modes": dict(sorted(Counter(film.file_mode for film in films).items())),
        },
        "issues": {issue: list(_list_issue(audit, issue)) for issue in ISSUES},
        "absent": list(audit.absent),
        "copies": count_copies(films, grouping),
        "families": measure_families(rows, grouping),
        "conflicts": list_conflicts(rows, grouping),
        "published_split_leaks": count_leaks(rows, films, grouping),
        "shared": {name: [asdict(film) for film in found] for name, found in audit.shared.items()},
        "shortcuts": None if audit.shortcuts is None else asdict(audit.shortcuts),
        "clean_splits": dict(sorted(splits.items())),
        "links": [_describe_link(audit, index) for index in range(len(grouping.links))],
        "seconds": audit.seconds,
    }


def _list_issue(audit: Audit, issue: str) -> Iterator[dict[str, str]]:
    if issue == "unreadable":
        yield from ({"source_path": path, "detail": reason} for path, reason in sorted(audit.unreadable.items()))
        return
    for row, inspection in zip(audit.rows, audit.inspections, strict=True):
        look = inspection.appearance
        if issue in inspection.list_issues() and look is not None:
            details = {
                "truncated": inspection.film.read_note or "",
                "not_a_radiograph": inspection.doubt_radiograph() or "",
            }
            detail = details.get(issue, f"its grey levels span {look.grey_range:.0f} of 255")
            yield {"source_path": row.source_path, "detail": detail}


def _describe_link(audit: Audit, index: int) -> dict[str, Any]:
    link = audit.grouping.links[index]
    described: dict[str, Any] = {
        "first": audit.rows[link.first].source_path,
        "second": audit.rows[link.second].source_path,
        "relation": link.relation,
    }
    return described if link.agreement is None else described | {"agreement": link.agreement}


def _write(audit: Audit, account: dict[str, Any], out_dir: Path) -> None:
    """Write everything into a folder of its own and rename it, so that an audit is there whole or not at all."""
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out_dir.absolute().with_name(f".{out_dir.absolute().name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir()
        text = json.dumps(account, indent=1, ensure_ascii=False) + "\n"
        (unfinished / ACCOUNT_NAME).write_text(text, encoding="utf-8")
        (unfinished / PAGE_NAME).write_text(render_audit_page(account), encoding="utf-8")
        private = render_audit_page(account, films={film.source_path: film for film in audit.films})
        (unfinished / PRIVATE_PAGE_NAME).write_text(private, encoding="utf-8")
        write_ledger(unfinished / LEDGER_NAME, audit.entries)
        shutil.rmtree(out_dir, ignore_errors=True)
        unfinished.rename(out_dir)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


class _Watch:
    """Names the steps for the progress report and keeps what each took."""

    def __init__(self, report_progress: Progress | None) -> None:
        self._report_progress = report_progress
        self._step = ""
        self._started = time.monotonic()
        self._seconds: dict[str, float] = {}

    def start(self, step: str) -> Callable[[int, int], None]:
        """End the step before and begin another; returns what the step reports to."""
        self.stop()
        self._step, self._started = step, time.monotonic()

        def report(done: int, total: int) -> None:
            if self._report_progress is not None:
                self._report_progress(step, done, total)

        return report

    def stop(self) -> dict[str, float]:
        """End the last step and return the seconds of all."""
        if self._step:
            self._seconds[self._step] = round(time.monotonic() - self._started, 2)
        self._step = ""
        return self._seconds
