"""From a grouping to the lines of a ledger, and from one version of a ledger to the next.

A ledger that people have used must not move a film from train to test: `keep_splits` lets a later look, which may find
more copies, only take films out. May depend on `films`, `fingerprints`, `grouping`, `ledger` and `schema`.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from hf_fracture.data.films import Film
from hf_fracture.data.fingerprints import THUMBNAIL_PX, hash_detail
from hf_fracture.data.grouping import ANOTHER_STANDS, OPPOSITE_LABELS, Assignment, Grouping
from hf_fracture.data.ledger import LEFT_OUT, LedgerEntry
from hf_fracture.data.schema import HELD_OUT, SPLITS, RawRow

_RELATIONS: Final = ("byte identical", "near duplicate", "file name", "patient")
_MIN_DEVIATION: Final = 1.0


@dataclass(frozen=True)
class EarlierSplit:
    """Where an earlier version put a film, and why if it left it out."""

    split: str
    reason: str


def build_entries(
    rows: Sequence[RawRow], films: Sequence[Film], grouping: Grouping, assignments: Sequence[Assignment]
) -> list[LedgerEntry]:
    """Write down what is known of each film without its pixels.

    Args:
        rows: N rows.
        films: What reading gave, all readable.
        grouping: How the films hang together.
        assignments: Where each goes.
    """
    relations = name_relations(rows, films, grouping)
    return [
        LedgerEntry(
            source_path=row.source_path,
            sha256=film.sha256,
            perceptual_hash=film.perceptual_hash,
            detail_hash=render_detail_hash(film),
            group_id=grouping.group_ids[index],
            split=LEFT_OUT if assignments[index].split == HELD_OUT else assignments[index].split,
            relation=relations[index],
            reason=assignments[index].reason or "",
        )
        for index, (row, film) in enumerate(zip(rows, films, strict=True))
    ]


def render_detail_hash(film: Film) -> str:
    """Return the detail hash of a film as 64 hexadecimal digits; of a blank film, which resembles others, zeros."""
    thumbnail = np.frombuffer(film.thumbnail, dtype=np.uint8).reshape(1, THUMBNAIL_PX, THUMBNAIL_PX)
    if thumbnail.std() < _MIN_DEVIATION:
        return "0" * 64
    digits: str = hash_detail(thumbnail)[0, 0].tobytes().hex()
    return digits


def name_relations(rows: Sequence[RawRow], films: Sequence[Film], grouping: Grouping) -> list[str]:
    """Say of each film how it is tied to its group; the first path of a group is what the others are tied to."""
    found: dict[int, set[str]] = defaultdict(set)
    for link in grouping.links:
        for linked in (link.first, link.second):
            found[linked].add(link.relation)
    first: dict[str, int] = {}
    first_of_content: dict[str, int] = {}
    for index in sorted(range(len(rows)), key=lambda index: rows[index].source_path):
        first.setdefault(grouping.group_ids[index], index)
        first_of_content.setdefault(films[index].sha256, index)
    relations = []
    for index, film in enumerate(films):
        ties = found[index] - (set() if first_of_content[film.sha256] != index else {"byte identical"})
        relation = next((name for name in _RELATIONS if name in ties), "byte identical" if found[index] else "")
        relations.append("" if first[grouping.group_ids[index]] == index else relation)
    return relations


def keep_splits(entries: Sequence[LedgerEntry], earlier: Mapping[str, EarlierSplit]) -> list[LedgerEntry]:
    """Keep the splits of an earlier version, where copies found since then allow it.

    A group goes where its first film of train, else validation, else test was; its films of another split are left out,
    because a copy of them is elsewhere. Films that the earlier version does not know follow their group into train, and
    are left out otherwise. Train therefore keeps every film it had.

    Args:
        entries: The new version.
        earlier: By path; empty for a ledger that is new.
    """
    members: dict[str, list[LedgerEntry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: entry.source_path):
        members[entry.group_id].append(entry)
    kept: dict[str, LedgerEntry] = {}
    for group in members.values():
        kept |= {entry.source_path: entry for entry in _keep_group(group, earlier)}
    return [kept[entry.source_path] for entry in entries]


def _keep_group(group: Sequence[LedgerEntry], earlier: Mapping[str, EarlierSplit]) -> list[LedgerEntry]:
    known = [earlier[entry.source_path] for entry in group if entry.source_path in earlier]
    if not known:
        return list(group)
    split = next((name for name in SPLITS if any(before.split == name for before in known)), LEFT_OUT)
    contradicted = any(entry.reason.startswith(OPPOSITE_LABELS) for entry in group)
    result, stands = [], False
    for entry in group:
        before = earlier.get(entry.source_path)
        if split == "train":
            stays = before is None or before.split == "train"
        else:
            stays = before is not None and before.split == split != LEFT_OUT and not stands and not contradicted
            stands = stands or stays
        result.append(replace(entry, split=split, reason="") if stays else _leave_out(entry, before, split))
    return result


def _leave_out(entry: LedgerEntry, before: EarlierSplit | None, split: str) -> LedgerEntry:
    """Leave a film out, for its earlier reason if it has one."""
    if before is not None and before.split == LEFT_OUT:
        reason = before.reason
    elif entry.reason.startswith(OPPOSITE_LABELS):
        reason = entry.reason
    elif before is not None and before.split != split:
        reason = f"a copy of it is in {split} ({before.split})"
    else:
        reason = f"{ANOTHER_STANDS} ({split})"
    return replace(entry, split=LEFT_OUT, reason=reason)


def hash_splits(entries: Sequence[LedgerEntry]) -> str:
    """Return the SHA-256 of who is in which split, whatever the order of the entries."""
    lines = sorted(f"{entry.source_path}\0{entry.group_id}\0{entry.split}\n" for entry in entries)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
