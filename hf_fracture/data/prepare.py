"""From a download to a dataset: Parquet shards, a card, a split table and an account of every file.

May depend on everything in `data`; `datasets` is imported when a dataset is loaded.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from hf_fracture.data.account import LostFile, Prepared, build_account, render_split_table
from hf_fracture.data.cache import find_cache_dir, load_dataset_folder
from hf_fracture.data.dataset_card import render_dataset_card
from hf_fracture.data.films import Film, FilmStore, Progress, count_cores
from hf_fracture.data.grouping import DoubtRule, SplitRule, assign_splits, group_films, leave_out_doubtful
from hf_fracture.data.schema import RawRow
from hf_fracture.data.shards import write_shards
from hf_fracture.data.sources import SourceInfo, find_source, read_rows
from hf_fracture.errors import DatasetError, OutputExistsError, UsageError, naming_missing_packages
from hf_fracture.outputs import holding

if TYPE_CHECKING:
    from datasets import DatasetDict

ACCOUNT_NAME: Final = "audit.json"
SPLIT_TABLE_NAME: Final = "splits.csv"
_SETTINGS: Final = ("long_side_px", "seed", "split_rule", "doubtful_labels")


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """How to prepare a dataset.

    Attributes:
        long_side_px: Larger films are reduced to this long side; smaller ones stay.
        seed: Seeds the clean split.
        split_rule: `clean` never divides a group; `published` takes the dataset's own split, leaks included.
        doubtful_labels: `keep` leaves films whose label is in doubt in train, marked in the column `label_doubt`;
            `leave_out` holds them back. Validation and test of a clean split never hold one.
        allow_incomplete: Go on although listed images are absent or images have no label; each is accounted for.
        num_workers: Processes that read films; None uses every core.
    """

    long_side_px: int = 512
    seed: int = 0
    split_rule: SplitRule = "clean"
    doubtful_labels: DoubtRule = "keep"
    allow_incomplete: bool = False
    num_workers: int | None = None

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        if self.long_side_px < 32:
            raise UsageError(
                f"long_side_px must be at least 32, got {self.long_side_px}. 512 keeps fine fracture lines."
            )
        if self.split_rule not in ("clean", "published"):
            raise UsageError(f"split_rule must be 'clean' or 'published', got '{self.split_rule}'.")
        if self.doubtful_labels not in ("keep", "leave_out"):
            raise UsageError(f"doubtful_labels must be 'keep' or 'leave_out', got '{self.doubtful_labels}'.")
        if self.num_workers is not None and self.num_workers < 1:
            raise UsageError(f"num_workers must be at least 1, got {self.num_workers}. Leave it out to use every core.")


def prepare_dataset(
    name: str,
    source_dir: Path,
    out_dir: Path,
    *,
    options: PrepareOptions | None = None,
    overwrite: bool = False,
    report_progress: Progress | None = None,
) -> Path:
    """Prepare a dataset from its download.

    Work that was interrupted is taken up where it stopped: films already read wait in a hidden folder next to
    `out_dir`. The finished dataset appears at once, by renaming.

    Args:
        name: A key of `sources.SOURCES`.
        source_dir: The dataset's folder, as downloaded and unpacked.
        out_dir: Folder to make.
        options: How; None takes the defaults.
        overwrite: Replace an earlier prepared dataset at `out_dir`.
        report_progress: Called as work goes on.

    Returns:
        `out_dir`: `data/*.parquet`, `README.md`, `splits.csv`, `audit.json`.

    Raises:
        UsageError: If there is no such dataset.
        MissingInputError: If a folder or table is missing.
        DatasetError: If the download does not hold what its layout promises.
        OutputExistsError: If `out_dir` exists, and is not an earlier prepared dataset or may not be overwritten.
        OSError: If something cannot be written; nothing half-written is left at `out_dir`.
    """
    options = options or PrepareOptions()
    info = find_source(name)
    with holding(out_dir):
        _finish_swap(out_dir)
        check_output(out_dir, overwrite=overwrite)
        return _prepare(info, source_dir, out_dir, options, report_progress)


def _prepare(
    info: SourceInfo, source_dir: Path, out_dir: Path, options: PrepareOptions, report_progress: Progress | None
) -> Path:
    """Read, link and write; the output is held and free."""
    rows, lost = _list_rows(info, source_dir, allow_incomplete=options.allow_incomplete)
    store = FilmStore(_hidden(out_dir, "unfinished"), rows, long_side_px=options.long_side_px)
    store.read_missing(num_workers=options.num_workers or count_cores(), report_progress=report_progress)
    films = list(store.load(with_pixels=False))
    prepared = _link_and_assign(info.name, rows, films, lost, options, report_progress)
    finished_dir = _hidden(out_dir, "finishing")
    shutil.rmtree(finished_dir, ignore_errors=True)
    try:
        _write(finished_dir, info, prepared, store, options)
        _swap_in(finished_dir, out_dir, store)
    except BaseException:
        _finish_swap(out_dir)
        shutil.rmtree(finished_dir, ignore_errors=True)
        raise
    return out_dir


def check_output(out_dir: Path, *, overwrite: bool) -> None:
    """Refuse to write over anything but an earlier prepared dataset, and that only if asked to.

    Raises:
        OutputExistsError: Saying what is there.
    """
    if not out_dir.exists() or (out_dir.is_dir() and not any(out_dir.iterdir())):
        return
    if not (out_dir / SPLIT_TABLE_NAME).is_file():
        raise OutputExistsError(
            f"Expected {out_dir} not to exist, found something there that is no prepared dataset. Choose another --out."
        )
    if not overwrite:
        raise OutputExistsError(
            f"Expected {out_dir} not to exist, found a prepared dataset there. Pass --overwrite to replace it."
        )


def _hidden(out_dir: Path, purpose: str) -> Path:
    return out_dir.absolute().parent / f".{out_dir.absolute().name}.{purpose}"


def _list_rows(info: SourceInfo, source_dir: Path, *, allow_incomplete: bool) -> tuple[list[RawRow], list[LostFile]]:
    """List the films that can be read, in an order that mixes them, and the files that give no row."""
    listed = list(read_rows(info.name, source_dir))
    absent = [row for row in listed if not row.path.is_file()]
    unlabelled = [row for row in listed if row.label is None and row.path.is_file()]
    gone = {row.source_path for row in (*absent, *unlabelled)}
    rows = [row for row in listed if row.source_path not in gone]
    _check_rows(info, rows, absent, unlabelled, allow_incomplete=allow_incomplete)
    lost = [
        *(LostFile(source_path=row.source_path, kind="absent", reason="listed, not in the folder") for row in absent),
        *(LostFile(source_path=row.source_path, kind="no label", reason="not in the table") for row in unlabelled),
    ]
    return sorted(rows, key=lambda row: hashlib.sha256(row.source_path.encode()).digest()), lost


def _check_rows(
    info: SourceInfo,
    rows: Sequence[RawRow],
    absent: Sequence[RawRow],
    unlabelled: Sequence[RawRow],
    *,
    allow_incomplete: bool,
) -> None:
    """Refuse a download that is empty, of one class, or incomplete without leave."""
    remedy = "Download again, or pass --allow-incomplete to go on without them."
    if absent and (not allow_incomplete or not rows):
        raise DatasetError(
            f"Expected every image that {info.title} lists, found {len(absent):,} of {len(rows) + len(absent):,} absent"
            f", e.g. {absent[0].source_path}. {remedy if rows else 'Unpack the images into this folder.'}"
        )
    if unlabelled and not allow_incomplete:
        raise DatasetError(
            f"Expected a label for every image of {info.title}, found {len(unlabelled):,} images that its table does "
            f"not name, e.g. {unlabelled[0].source_path}. {remedy}"
        )
    if not rows:
        raise DatasetError(
            f"Expected images of {info.title}, found none. Point --source at the folder that holds them."
        )
    labels = {row.label for row in rows}
    if len(labels) == 1 and info.has_both_classes:
        raise DatasetError(
            f"Expected films with and without fracture, found {len(rows):,} films of one class. Nothing can be "
            "learned or measured on one class; add films of the other."
        )


def _link_and_assign(
    name: str,
    rows: Sequence[RawRow],
    films: Sequence[Film],
    lost: Sequence[LostFile],
    options: PrepareOptions,
    report_progress: Progress | None,
) -> Prepared:
    """Leave out what cannot be read, link the rest and decide where each film goes."""
    unreadable = [
        LostFile(source_path=film.source_path, kind="unreadable", reason=film.error) for film in films if film.error
    ]
    pairs = [(row, film) for row, film in zip(rows, films, strict=True) if not film.error]
    if not pairs:
        raise DatasetError(f"Expected readable images, found none among {len(films):,}: {unreadable[0].reason}")
    kept_rows, kept_films = [row for row, _ in pairs], [film for _, film in pairs]

    def report(done: int, total: int) -> None:
        if report_progress is not None:
            report_progress("comparing films", done, total)

    grouping = group_films(name, kept_rows, kept_films, report_progress=report)
    assignments = assign_splits(kept_rows, kept_films, grouping, rule=options.split_rule, seed=options.seed)
    if options.doubtful_labels == "leave_out":
        assignments = leave_out_doubtful(assignments, grouping)
    return Prepared(
        rows=kept_rows,
        films=kept_films,
        grouping=grouping,
        assignments=assignments,
        lost=[*lost, *unreadable],
    )


def _write(folder: Path, info: SourceInfo, prepared: Prepared, store: FilmStore, options: PrepareOptions) -> None:
    """Write the whole dataset into a folder of its own."""
    (folder / "data").mkdir(parents=True)
    with_pixels = (film for film in store.load(with_pixels=True) if not film.error)
    write_shards(folder / "data", info.name, prepared.rows, with_pixels, prepared.grouping, prepared.assignments)
    split_table = render_split_table(prepared)
    settings = {key: value for key, value in asdict(options).items() if key in _SETTINGS}
    account = {
        "dataset": info.name,
        **settings,
        "splits_sha256": hashlib.sha256(split_table.encode()).hexdigest(),
        "contents_sha256": _hash_files(sorted((folder / "data").iterdir())),
        **build_account(prepared),
    }
    (folder / SPLIT_TABLE_NAME).write_text(split_table, encoding="utf-8")
    (folder / ACCOUNT_NAME).write_text(json.dumps(account, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(render_dataset_card(info, account, settings), encoding="utf-8")


def _hash_files(paths: Iterable[Path]) -> str:
    digests = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            digests.update(path.name.encode() + hashlib.file_digest(stream, "sha256").digest())
    return digests.hexdigest()


def _swap_in(finished_dir: Path, out_dir: Path, store: FilmStore) -> None:
    """Put the finished folder in the place of an earlier one, and remove what it was made from."""
    earlier = _hidden(out_dir, "earlier")
    shutil.rmtree(earlier, ignore_errors=True)
    store.rename(_hidden(out_dir, "done"))
    if out_dir.exists():
        out_dir.rename(earlier)
    finished_dir.rename(out_dir)
    _finish_swap(out_dir)


def _finish_swap(out_dir: Path) -> None:
    """Remove what a finished dataset was made from, or take it up again where its process was killed before the end."""
    done, earlier = _hidden(out_dir, "done"), _hidden(out_dir, "earlier")
    if _hidden(out_dir, "finishing").exists():
        if earlier.exists() and not out_dir.exists():
            earlier.rename(out_dir)
        if done.exists():
            done.rename(_hidden(out_dir, "unfinished"))
    shutil.rmtree(earlier, ignore_errors=True)
    shutil.rmtree(done, ignore_errors=True)


@naming_missing_packages()
def load_fracture_dataset(name: str, *, data_dir: str | os.PathLike[str], split: SplitRule = "clean") -> "DatasetDict":
    """Load a dataset, preparing it into the cache the first time.

    Args:
        name: A key of `sources.SOURCES`.
        data_dir: The dataset's folder, as downloaded and unpacked.
        split: `clean` never divides a group; `published` is the dataset's own split, leaks included.

    Returns:
        `train`, `validation`, `test` and `held_out`, as far as they hold a film.

    Raises:
        FractureError: As `prepare_dataset` does.
    """
    source_dir = Path(data_dir).absolute()
    place = hashlib.sha256(f"{source_dir}\0{split}\0{version('hf-fracture')}".encode()).hexdigest()[:12]
    prepared_dir = find_cache_dir() / f"{name}-{split}-{place}"
    if not (prepared_dir / SPLIT_TABLE_NAME).is_file():
        prepared_dir.parent.mkdir(parents=True, exist_ok=True)
        prepare_dataset(name, source_dir, prepared_dir, options=PrepareOptions(split_rule=split))
    return cast("DatasetDict", load_dataset_folder(prepared_dir))
