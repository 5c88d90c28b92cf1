"""The card of a prepared dataset: front matter that `datasets` reads, and the account's figures for people.

May depend on `schema`, `sources` and `labels`; `yaml` and `datasets` are imported when a card is rendered.
"""

from collections.abc import Mapping
from typing import Any, Final

from hf_fracture.data.schema import FEATURES, HELD_OUT, SPLITS
from hf_fracture.data.sources import SourceInfo

_SPDX_TO_HUB: Final = {"CC-BY-4.0": "cc-by-4.0", "ODC-By-1.0": "odc-by", "CC0-1.0": "cc0-1.0"}
_NUM_CLUES: Final = 6
_SIZES: Final = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def render_dataset_card(info: SourceInfo, account: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Render README.md.

    Args:
        info: The dataset's passport.
        account: What `build_account` returned.
        settings: `long_side_px`, `seed`, `split_rule` and `doubtful_labels`, as used.
    """
    import yaml

    front = yaml.safe_dump(_build_front_matter(info, account), sort_keys=False, allow_unicode=True, width=1000)
    parts = (
        f"# {info.title}, prepared",
        f"{info.summary} Prepared by [hf-fracture](https://pypi.org/project/hf-fracture/) from the files of "
        f"<{info.homepage}>; every figure below was counted while preparing, and `audit.json` and `splits.csv` account "
        "for every file.",
        _render_use(),
        _render_splits(account, settings),
        _render_files(account),
        _render_copies(account),
        _render_doubts(account, settings),
        _render_shortcuts(account),
        _render_licence(info),
    )
    return f"---\n{front}---\n\n" + "\n\n".join(parts) + "\n"


def _build_front_matter(info: SourceInfo, account: Mapping[str, Any]) -> dict[str, Any]:
    num_films = account["files"]["kept"]
    splits = [split for split in (*SPLITS, HELD_OUT) if account["splits"][split]["films"]]
    return {
        "license": _SPDX_TO_HUB.get(info.licence, "unknown" if info.licence == "unknown" else "other"),
        "pretty_name": f"{info.title} (prepared by hf-fracture)",
        "task_categories": ["image-classification"],
        "tags": ["radiology", "radiograph", "fracture", "medical"],
        "size_categories": [next((name for limit, name in _SIZES if num_films < limit), "n>1M")],
        "configs": [
            {
                "config_name": "default",
                # load_dataset's cache knows a local folder by its name and this entry alone, whatever its shards hold.
                "description": f"sha256 of data/: {account['contents_sha256']}",
                "data_files": [{"split": split, "path": f"data/{split}-*.parquet"} for split in splits],
            }
        ],
        "dataset_info": {"features": FEATURES()._to_yaml_list()},
    }


def _render_use() -> str:
    return (
        '```python\nfrom datasets import load_dataset\n\ndataset = load_dataset("path/or/repo_id")  '
        "# train, validation, test, held_out\n```\n\n"
        "`image` is 8-bit grey, upright; `label` is 0 `not fractured` or 1 `fractured`; unknown is null. "
        "`boxes` ([x, y, width, height]) and `polygons` ([x0, y0, x1, y1, …]) are in pixels of `image`. "
        "Films that share a `group_id` must not be split apart."
    )


def _render_splits(account: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    lines = [
        "## Splits",
        "",
        "| split | films | groups | fractured | not fractured |",
        "| --- | --- | --- | --- | --- |",
    ]
    for split in (*SPLITS, HELD_OUT):
        counts = account["splits"][split]
        figures = (counts[key] for key in ("films", "groups", "fractured", "not_fractured"))
        lines.append(f"| {split} | " + " | ".join(f"{figure:,}" for figure in figures) + " |")
    lines += ["", _explain_rule(account, settings)]
    if leaks := account["published_split"]:
        leaking = ", ".join(
            f"{leaks[split]['films_with_a_relative_in_train']:,} of {leaks[split]['films']:,} {split} films"
            for split in SPLITS[1:]
        )
        lines += ["", f"In the split as its authors published it, {leaking} have a copy or other relative in train."]
    return "\n".join(lines)


def _explain_rule(account: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    if settings["split_rule"] == "published":
        return "These are the published splits, leaks included: read every number obtained on them with that in mind."
    return (
        f"No group crosses a split (seed {settings['seed']}). Validation and test hold one film of each set of copies, "
        "the least altered, and none whose label is in doubt; `held_out` keeps the rest of their groups "
        f"({account['splits'][HELD_OUT]['films']:,} films), so that no film is dropped silently."
    )


def _render_files(account: Mapping[str, Any]) -> str:
    files = account["files"]
    notes = "; ".join(f"{count:,} {note}" for note, count in files["read_with_a_note"].items()) or "none"
    return (
        f"## Files\n\n{files['listed']:,} files: {files['kept']:,} kept, {files['unreadable']:,} unreadable, "
        f"{files['absent']:,} listed but absent, {files['no_label']:,} without a label. Read with a note: {notes}."
    )


def _render_copies(account: Mapping[str, Any]) -> str:
    copies = account["copies"]
    links = ", ".join(f"{count:,} by {relation}" for relation, count in copies["links"].items()) or "none"
    return (
        f"## Copies\n\n{copies['distinct_files']:,} different files show {copies['distinct_films']:,} different films "
        f"in {copies['groups']:,} groups. Links: {links}. Near duplicates (turned, mirrored, rescaled, re-encoded, "
        "slightly cropped) were confirmed on pixels."
    )


def _render_doubts(account: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    kept = settings["doubtful_labels"] == "keep"
    place = "those of train are kept there and marked" if kept else "none of them is in train"
    return (
        f"## Labels in doubt\n\n{len(account['doubtful_labels']):,} films carry a `label_doubt`; "
        f"{len(account['opposite_labels']):,} sets of copies carry both labels. They are named in `audit.json`; of a "
        f"clean split, validation and test hold none of them, and {place}."
    )


def _render_shortcuts(account: Mapping[str, Any]) -> str:
    """Say what a classifier could reach without looking at bone; the strongest clues first."""
    report = account["shortcuts"]
    title = "## Shortcuts\n\n"
    if report is None or not report["shortcuts"]:
        why = "scikit-learn was not installed" if report is None else "there are too few films of either class"
        return f"{title}Not measured: {why}."
    lines = [
        f"A forest that sees nothing but one clue, trained and tested on different ones of {report['num_films']:,} "
        f"films, one per group ({report['num_fractured']:,} fractured), tells fractured films from others with this "
        "AUROC. What it reaches, a network may reach without having learned anything about bone.",
        "",
        "| clue | AUROC (95 % interval) |",
        "| --- | --- |",
    ]
    lines += [
        f"| {entry['clue']} | {entry['auroc']:.3f} ({entry['auroc_low']:.3f} to {entry['auroc_high']:.3f}) |"
        for entry in report["shortcuts"][:_NUM_CLUES]
    ]
    return title + "\n".join(lines)


def _render_licence(info: SourceInfo) -> str:
    permission = (
        "Prepared films may be published under it with the citation."
        if info.redistributable
        else "Do not redistribute the films; the hashes and names in `splits.csv` may be shared."
    )
    return f"## Licence and citation\n\n{info.licence}. {permission}\n\n{info.citation}"
