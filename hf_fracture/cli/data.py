"""`hf-fracture data list | download | prepare | audit`: from downloads to datasets.

At its top this module may depend on the standard library only.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, Final

EXIT_DONE: Final = 0
EXIT_SOME_FAILED: Final = 1


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command and its actions."""
    parser = subparsers.add_parser("data", help="List, download, prepare and audit datasets")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    actions.add_parser("list", help="show the datasets that can be prepared").set_defaults(act=_list)
    _add_download(actions)
    _add_prepare(actions)
    _add_audit(actions)


def _add_download(actions: "argparse._SubParsersAction[Any]") -> None:
    download = actions.add_parser("download", help="fetch a dataset from Kaggle or figshare; run again to go on")
    download.add_argument("name", metavar="NAME", help="see hf-fracture data list")
    download.add_argument(
        "--out", type=Path, default=None, metavar="DIR", help="folder to fill (default: the package's cache folder)"
    )
    download.set_defaults(act=_download)


def _add_prepare(actions: "argparse._SubParsersAction[Any]") -> None:
    prepare = actions.add_parser("prepare", help="make a dataset of Parquet shards from a download")
    prepare.add_argument("name", metavar="NAME", help="see hf-fracture data list")
    prepare.add_argument("--source", type=Path, required=True, metavar="DIR", help="the download, unpacked")
    prepare.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    prepare.add_argument("--long-side-px", type=int, default=512, help="reduce larger films to this (default: 512)")
    prepare.add_argument("--seed", type=int, default=0, help="seed of the clean split (default: 0)")
    prepare.add_argument(
        "--split",
        choices=("clean", "published"),
        default="clean",
        help="clean: no copy crosses a split; published: as its authors split it, leaks included (default: clean)",
    )
    prepare.add_argument(
        "--doubtful-labels",
        choices=("keep", "leave_out"),
        default="keep",
        help="films whose label is in doubt: keep them in train, marked in label_doubt, or hold them back; validation "
        "and test of a clean split never hold one (default: keep)",
    )
    prepare.add_argument("--workers", type=int, default=None, help="processes that read films (default: every core)")
    prepare.add_argument("--allow-incomplete", action="store_true", help="go on without absent or unlabelled images")
    prepare.add_argument("--overwrite", action="store_true", help="replace an earlier prepared dataset")
    prepare.set_defaults(act=_prepare)


def _add_audit(actions: "argparse._SubParsersAction[Any]") -> None:
    audit = actions.add_parser("audit", help="find copies, leaks, conflicts and shortcuts in a folder of films")
    audit.add_argument("folder", type=Path, metavar="DIR", help="a download, class folders, or just films")
    audit.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    audit.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="NAME|DIR",
        help="look for the same films in a dataset whose ledger comes with the package, or in a folder; repeatable",
    )
    audit.add_argument("--workers", type=int, default=None, help="processes that read films (default: every core)")
    audit.add_argument("--overwrite", action="store_true", help="replace an earlier audit")
    audit.set_defaults(act=_audit)


def run(args: argparse.Namespace) -> int:
    """Run the chosen action and return the exit status."""
    status: int = args.act(args)
    return status


def _list(_: argparse.Namespace) -> int:
    from hf_fracture.data.sources import SOURCES

    rows = [("name", "licence", "download", "what it holds")]
    rows += [
        (info.name, info.licence, f"{info.download.host} {info.download.handle}".strip(), info.summary)
        for info in SOURCES.values()
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)]
        sys.stdout.write("  ".join([*cells, row[3]]) + "\n")
    return EXIT_DONE


def _download(args: argparse.Namespace) -> int:
    from hf_fracture.data.cache import find_cache_dir
    from hf_fracture.data.download import download_dataset
    from hf_fracture.data.sources import find_source

    info = find_source(args.name)
    out_dir = args.out or find_cache_dir() / "downloads" / args.name
    sys.stderr.write(f"{info.title}: {info.licence}. Please cite: {info.citation}\n")
    with _ProgressBars() as bars:
        folder = download_dataset(args.name, out_dir, report_progress=bars.report)
    sys.stdout.write(f"{folder}\n")
    sys.stderr.write(f"Next: hf-fracture data prepare {args.name} --source {folder} --out DIR\n")
    return EXIT_DONE


def _prepare(args: argparse.Namespace) -> int:
    import json

    from hf_fracture.data.prepare import ACCOUNT_NAME, PrepareOptions, prepare_dataset

    options = PrepareOptions(
        long_side_px=args.long_side_px,
        seed=args.seed,
        split_rule=args.split,
        doubtful_labels=args.doubtful_labels,
        allow_incomplete=args.allow_incomplete,
        num_workers=args.workers,
    )
    with _ProgressBars() as bars:
        prepare_dataset(
            args.name, args.source, args.out, options=options, overwrite=args.overwrite, report_progress=bars.report
        )
    account = json.loads((args.out / ACCOUNT_NAME).read_text(encoding="utf-8"))
    return _report_outcome(args.out, account)


def _report_outcome(out_dir: Path, account: dict[str, Any]) -> int:
    files, splits = account["files"], account["splits"]
    shares = ", ".join(f"{counts['films']:,} {split.replace('_', ' ')}" for split, counts in splits.items())
    sys.stdout.write(f"{out_dir}\n")
    sys.stderr.write(
        f"{files['kept']:,} of {files['listed']:,} files kept ({shares}) in {account['copies']['groups']:,} groups; "
        f"{len(account['opposite_labels'])} sets of copies with opposite labels.\n"
    )
    lost = [entry for entry in account["left_out"] if entry["reason"].startswith(("unreadable", "absent", "no label"))]
    for entry in lost:
        sys.stderr.write(f"{entry['source_path']}: {entry['reason']}\n")
    sys.stderr.write(f"Next: hf-fracture train {out_dir} --backbone NAME --out DIR\n")
    return EXIT_SOME_FAILED if lost else EXIT_DONE


def _audit(args: argparse.Namespace) -> int:
    from hf_fracture.data.audit import PAGE_NAME, audit_folder

    with _ProgressBars() as bars:
        account = audit_folder(
            args.folder,
            args.out,
            against=args.against,
            num_workers=args.workers,
            overwrite=args.overwrite,
            report_progress=bars.report,
        )
    sys.stdout.write(f"{args.out}\n")
    files, issues = account["files"], account["issues"]
    counts = ", ".join(f"{len(found):,} {issue.replace('_', ' ')}" for issue, found in issues.items())
    sys.stderr.write(f"{files['readable']:,} of {files['found']:,} files read as {account['read_as']}: {counts}.\n")
    for name, shared in account["shared"].items():
        sys.stderr.write(f"{len(shared):,} films are in {name} too.\n")
    for entry in issues["unreadable"]:
        sys.stderr.write(f"{entry['source_path']}: {entry['detail']}\n")
    sys.stderr.write(f"Next: open {args.out / PAGE_NAME}\n")
    return EXIT_SOME_FAILED if issues["unreadable"] else EXIT_DONE


class _ProgressBars:
    """One bar per stage on stderr; silent where stderr is not a terminal."""

    def __init__(self) -> None:
        self._stage = ""
        self._bar: Any = None

    def __enter__(self) -> "_ProgressBars":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def report(self, stage: str, done: int, total: int) -> None:
        """Move the bar of a stage; a new stage gets a new bar."""
        if stage != self._stage:
            from tqdm import tqdm

            self._close()
            self._stage, self._bar = stage, tqdm(total=total, desc=stage, unit="", file=sys.stderr, disable=None)
        self._bar.update(done - self._bar.n)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
