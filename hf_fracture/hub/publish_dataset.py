"""What of a prepared dataset goes to the Hub: films where their licence lets them, else the ledger alone.

May depend on every room below `hub`; `pyarrow` is imported when shards are read.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from hf_fracture.data.prepare import ACCOUNT_NAME, SPLIT_TABLE_NAME
from hf_fracture.data.schema import HELD_OUT, SPLITS
from hf_fracture.data.sources import OWN_FILMS, SOURCES, SourceInfo
from hf_fracture.errors import PublishError, UsageError
from hf_fracture.hub.publish_plan import (
    CARD_NAME,
    PlannedFile,
    UploadPlan,
    check_folder,
    check_images,
    check_sections,
    gate_access,
    read_front_matter,
    select_files,
    settle_licence,
    write_front_matter,
)

_OWNED: Final = ("data/*.parquet", SPLIT_TABLE_NAME, ACCOUNT_NAME, CARD_NAME)
_SECTIONS: Final = ("Splits", "Files", "Copies", "Labels in doubt", "Licence and citation")
_LEDGER_LICENCE: Final = "apache-2.0"  # hashes, names and splits are this package's own, as in its wheel
_PLACEHOLDER: Final = "path/or/repo_id"
_AGAIN: Final = "Prepare the dataset again with hf-fracture data prepare."
_USAGE: Final = """\
from datasets import load_dataset
dataset = load_dataset("{repo_id}", revision="{revision}")
print(dataset)
"""


def plan_dataset(
    folder: Path, repo_id: str, *, licence: str | None = None, ledger_only: bool = False, gated: bool = False
) -> UploadPlan:
    """Check a prepared dataset and say what of it would go.

    Films go only if every source's own record says that they may be passed on, or if they are your own and you name a
    licence. Otherwise names, hashes, groups and splits go, with which everybody's download becomes the same dataset.

    Args:
        folder: Written by `hf-fracture data prepare`.
        repo_id: Where it will lie; the card's example names it.
        licence: For your own films.
        ledger_only: Send no film although they may go.
        gated: Say in the card what visitors have to accept.

    Raises:
        PublishError: If something is missing, contradicts itself, is a pickle, or too large.
        UsageError: If a licence has to be named, or is named for films that are not yours.
        MissingInputError: If there is no such folder.
    """
    check_folder(folder)
    files, left_out = select_files(folder, _OWNED)
    account = _check_complete(folder, [file.path for file in files])
    shards = [file.path for file in files if file.path.endswith(".parquet")]
    sources = _check_shards(folder, shards, account)
    info = SOURCES[account["dataset"]]
    may_go, notes = _judge_films(info, sources, licence)
    card = (folder / CARD_NAME).read_text(encoding="utf-8")
    front, body = read_front_matter(card, where=CARD_NAME)
    check_sections(body, _SECTIONS, where=CARD_NAME, remedy=_AGAIN)
    if info.citation not in body:
        raise PublishError(f"Expected {CARD_NAME} to say how to cite {info.title}, found nothing of it. {_AGAIN}")
    if ledger_only or not may_go:
        front, body = _build_ledger_card(front, body, info)
        left_out = sorted([*left_out, *shards])
        files = [file for file in files if file.path not in shards]
    else:
        settle_licence(front, licence, why_missing=_WHY_LICENCE)
    if gated:
        gate_access(front, what="dataset")
    check_images(folder, [file.path for file in files])
    card = write_front_matter(front, body.replace(_PLACEHOLDER, repo_id))
    finished = PlannedFile(path=CARD_NAME, content=card.encode())
    return UploadPlan(
        kind="dataset",
        files=[finished if file.path == CARD_NAME else file for file in files],
        owned=_OWNED,
        usage=_USAGE,
        left_out=left_out,
        notes=notes,
    )


def _check_complete(folder: Path, names: list[str]) -> dict[str, Any]:
    """Refuse a folder that is no prepared dataset, or whose split table is not the one that its account counts."""
    for name in (SPLIT_TABLE_NAME, ACCOUNT_NAME, CARD_NAME):
        if name not in names:
            raise PublishError(f"Expected {name} in '{folder}', found none. {_AGAIN}")
    try:
        account: dict[str, Any] = json.loads((folder / ACCOUNT_NAME).read_text(encoding="utf-8"))
        expected, source = account["splits_sha256"], account["dataset"]
    except (ValueError, KeyError, TypeError) as error:
        raise PublishError(
            f"Expected {ACCOUNT_NAME} to be an account of a prepared dataset: {error}. {_AGAIN}"
        ) from error
    present = hashlib.sha256((folder / SPLIT_TABLE_NAME).read_bytes()).hexdigest()
    if expected != present:
        raise PublishError(
            f"Expected {SPLIT_TABLE_NAME} with sha256 {str(expected)[:12]} as {ACCOUNT_NAME} says, got {present[:12]}. "
            f"{_AGAIN}"
        )
    if source not in SOURCES:
        raise PublishError(f"Expected a dataset of one of the sources {', '.join(SOURCES)}, got '{source}'. {_AGAIN}")
    return account


def _check_shards(folder: Path, shards: Iterable[str], account: Mapping[str, Any]) -> set[str]:
    """Count the films of every split, and return the sources that they come from."""
    import pyarrow
    from pyarrow import parquet

    counts, sources = dict.fromkeys((*SPLITS, HELD_OUT), 0), set[str]()
    for name in shards:
        split = Path(name).name.split("-")[0]
        try:
            column = parquet.read_table(folder / name, columns=["source"])["source"]
        except (pyarrow.ArrowException, OSError) as error:
            raise PublishError(
                f"Expected {name} to be a shard of films: {str(error).splitlines()[0]} {_AGAIN}"
            ) from error
        counts[split] = counts.get(split, 0) + len(column)
        sources |= {str(source) for source in column.unique().to_pylist()}
    expected = {split: figures["films"] for split, figures in account["splits"].items()}
    if {split: counts.get(split, 0) for split in expected} != expected:
        raise PublishError(
            f"Expected {json.dumps(expected)} films, as {ACCOUNT_NAME} counts them, found {json.dumps(counts)} in the "
            f"shards. {_AGAIN}"
        )
    return sources


def _judge_films(info: SourceInfo, sources: set[str], licence: str | None) -> tuple[bool, list[str]]:
    """Decide whether films may go, and say why not."""
    unknown = sorted(sources - set(SOURCES))
    if unknown:
        raise PublishError(f"Expected films of known sources, found some of {', '.join(unknown)}. {_AGAIN}")
    kept_back = [SOURCES[name] for name in sorted(sources | {info.name}) if not SOURCES[name].redistributable]
    # Nobody but the person who publishes knows under which licence films of one's own are.
    own = [source for source in kept_back if source.name == OWN_FILMS]
    foreign = [source for source in kept_back if source.name != OWN_FILMS]
    if foreign:
        if licence is not None:
            raise UsageError(
                f"--license is for films of your own; those of {foreign[0].title} ({foreign[0].licence}) may not be "
                "passed on. Leave it out to publish the ledger."
            )
        return False, [
            f"Films of {source.title} may not be passed on ({source.licence}), so the ledger goes and no film."
            for source in foreign
        ]
    if own and licence is None:
        return False, ["These are films of your own without a licence, so the ledger goes and no film; see --license."]
    notes = ["Films of your own go: patient_id, study_id and file names go with them and must be pseudonyms."]
    return True, notes if own else []


def _build_ledger_card(front: Mapping[str, Any], body: str, info: SourceInfo) -> tuple[dict[str, Any], str]:
    """Turn the card of films into the card of their ledger."""
    kept = {key: value for key, value in front.items() if key not in ("configs", "dataset_info", "task_categories")}
    config = {"config_name": "default", "data_files": [{"split": "ledger", "path": SPLIT_TABLE_NAME}]}
    sections = body[body.index(f"## {_SECTIONS[0]}") :]
    name = f"{info.title}: ledger of groups and splits, without films"
    text = (
        f"# {name}\n\nNo film is in this repository: {info.licence} does not let them be passed on, or their owner "
        f"keeps them. `{SPLIT_TABLE_NAME}` names every file by path and sha256, with its group (films that must not be "
        "split apart) and its split. Whoever has the files gets the same dataset from them:\n\n"
        f"```\nhf-fracture data prepare {info.name} --source FOLDER --out prepared/\n```\n\n"
        f"Hashes, groups and splits are {_LEDGER_LICENCE}; the films keep the licence below.\n\n{sections}"
    )
    return {**kept, "license": _LEDGER_LICENCE, "pretty_name": name, "configs": [config]}, text


_WHY_LICENCE: Final = "Name the licence of your films with --license, or publish hashes alone with --ledger-only."
