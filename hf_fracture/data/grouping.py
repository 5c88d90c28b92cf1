"""Which films belong together, which of them contradict each other, and where each of them goes.

May depend on `films`, `schema`, `duplicates`, `splits` and `labels`.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from hf_fracture.data.duplicates import Fingerprint, find_duplicate_pairs
from hf_fracture.data.films import Film
from hf_fracture.data.schema import HELD_OUT, RawRow
from hf_fracture.data.splits import check_disjoint, group_images, split_groups
from hf_fracture.labels import LABEL_NAMES

Relation = Literal["byte identical", "near duplicate", "file name", "patient"]
SplitRule = Literal["clean", "published"]

ANOTHER_STANDS: Final = "another film of its group stands for it"
OPPOSITE_LABELS: Final = "its group holds opposite labels"
NOT_PUBLISHED: Final = "the published split does not name it"


@dataclass(frozen=True, kw_only=True)
class Link:
    """Two films, by index, that must not be split apart.

    Attributes:
        first: Index of one film.
        second: Index of the other, greater than `first`.
        relation: How it is known.
        agreement: Correlation of their pixels after alignment, for near duplicates.
    """

    first: int
    second: int
    relation: Relation
    agreement: float | None = None


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """The films of a dataset, linked.

    Attributes:
        links: Every link found.
        group_ids: One per film; a group never crosses a split.
        copies: One number per film; films that show one exposure share it. Within a group of one patient there may be
            several.
        doubts: One per film: why its label may be wrong, or None.
        contradicted: One per film: True if a copy of it has the opposite label.
    """

    links: list[Link]
    group_ids: list[str]
    copies: list[int]
    doubts: list[str | None]
    contradicted: list[bool]


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """Where a film goes: `train`, `validation`, `test` or `held_out`, and why if it is held out."""

    split: str
    reason: str | None = None


def group_films(
    name: str,
    rows: Sequence[RawRow],
    films: Sequence[Film],
    *,
    report_progress: Callable[[int, int], None] | None = None,
) -> Grouping:
    """Link films that are copies of one film, altered copies by their names, or of one patient.

    Args:
        name: The dataset's name; it begins each group id.
        rows: What the source knows, N of them.
        films: What reading gave, N of them, all readable.
        report_progress: Called while copies are confirmed, with how many candidates are done and how many there are.
    """
    links = [
        *_link_equal([film.sha256 for film in films], "byte identical"),
        *_link_copies(films, report_progress),
        *_link_equal([row.family for row in rows], "file name"),
    ]
    copies = group_images(len(rows), [(link.first, link.second) for link in links])
    links += _link_equal([find_patient(row, film) for row, film in zip(rows, films, strict=True)], "patient")
    groups = group_images(len(rows), [(link.first, link.second) for link in links])
    contradicted = _find_contradicted(rows, copies)
    return Grouping(
        links=links,
        group_ids=_name_groups(name, rows, groups),
        copies=copies,
        doubts=_collect_doubts(rows, films, links, contradicted),
        contradicted=contradicted,
    )


def find_patient(row: RawRow, film: Film) -> str | None:
    """Return what the source or the file's header calls the patient; else the study, which has one patient."""
    return row.patient_id or film.patient_id or row.study_id or film.study_id


def _link_equal(keys: Sequence[str | None], relation: Relation) -> list[Link]:
    """Link each film to the first with the same key; no key, no link."""
    first_of: dict[str, int] = {}
    links = []
    for index, key in enumerate(keys):
        if key is not None and first_of.setdefault(key, index) != index:
            links.append(Link(first=first_of[key], second=index, relation=relation))
    return links


def _link_copies(films: Sequence[Film], report_progress: Callable[[int, int], None] | None) -> list[Link]:
    """Link films that look the same; of byte-identical ones only the first is looked at."""
    distinct = list({film.sha256: index for index, film in reversed(list(enumerate(films)))}.values())
    distinct.sort()
    fingerprints = [_restore_fingerprint(films[index]) for index in distinct]
    pairs = find_duplicate_pairs(fingerprints, report_progress=report_progress)
    return [
        Link(
            first=distinct[pair.first],
            second=distinct[pair.second],
            relation="near duplicate",
            agreement=pair.agreement,
        )
        for pair in pairs
    ]


def _restore_fingerprint(film: Film) -> Fingerprint:
    pixels = np.frombuffer(film.thumbnail, dtype=np.uint8)
    side = int(np.sqrt(len(pixels)))
    return Fingerprint(thumbnail=pixels.reshape(side, side), width=film.width, height=film.height)


def _find_contradicted(rows: Sequence[RawRow], copies: Sequence[int]) -> list[bool]:
    """Tell for each film whether the copies of it do not agree on the label."""
    labels: dict[int, set[int | None]] = defaultdict(set)
    for row, copy in zip(rows, copies, strict=True):
        labels[copy].add(row.label)
    return [len(labels[copy]) > 1 for copy in copies]


def _name_groups(name: str, rows: Sequence[RawRow], groups: Sequence[int]) -> list[str]:
    """Name each group after the first path in it: stable under the order of films and under re-encoding."""
    first: dict[int, str] = {}
    for row, group in zip(rows, groups, strict=True):
        first[group] = min(first.get(group, row.source_path), row.source_path)
    return [f"{name}-{hashlib.sha256(first[group].encode()).hexdigest()[:12]}" for group in groups]


def _collect_doubts(
    rows: Sequence[RawRow], films: Sequence[Film], links: Sequence[Link], contradicted: Sequence[bool]
) -> list[str | None]:
    """Say for each film why its label may be wrong."""
    opposite: dict[int, int] = {}
    for link in links:
        if link.relation != "patient" and rows[link.first].label != rows[link.second].label:
            opposite.setdefault(link.first, link.second)
            opposite.setdefault(link.second, link.first)
    doubts = []
    for index, (row, film) in enumerate(zip(rows, films, strict=True)):
        reasons = [row.label_doubt] if row.label_doubt else []
        if index in opposite:
            other = rows[opposite[index]]
            reasons.append(f"looks the same as {other.source_path}, which is {LABEL_NAMES[other.label or 0]}")
        elif contradicted[index]:
            reasons.append(OPPOSITE_LABELS)
        if row.label and "missing" in (film.read_note or ""):
            reasons.append("the part that shows the fracture may be missing")
        doubts.append("; ".join(reasons) or None)
    return doubts


def assign_splits(
    rows: Sequence[RawRow], films: Sequence[Film], grouping: Grouping, *, rule: SplitRule, seed: int
) -> list[Assignment]:
    """Decide where each film goes.

    Args:
        rows: What the source knows, N of them.
        films: What reading gave.
        grouping: How they hang together.
        rule: `clean` never divides a group; validation and test keep the least altered film of each set of copies, and
            none whose label is in doubt. `published` takes the dataset's own split as it is, leaks included.
        seed: Seeds the clean split.

    Returns:
        One assignment per film.

    Raises:
        GroupLeakageError: If a group crosses clean splits, which would be a defect.
    """
    if rule == "published":
        return [
            Assignment(split=row.source_split) if row.source_split else Assignment(split=HELD_OUT, reason=NOT_PUBLISHED)
            for row in rows
        ]
    strata = [(row.label, row.body_part or film.body_part) for row, film in zip(rows, films, strict=True)]
    splits = split_groups(grouping.group_ids, strata, seed=seed)
    members: dict[str, list[str]] = defaultdict(list)
    for split, group in zip(splits, grouping.group_ids, strict=True):
        members[split].append(group)
    check_disjoint(members)
    stand_ins = choose_stand_ins(rows, films, grouping)
    assignments = [Assignment(split=split) for split in splits]
    for index, assignment in enumerate(assignments):
        reason = _find_reason(index, grouping, stand_ins) if assignment.split != "train" else None
        if reason is not None:
            assignments[index] = replace(assignment, split=HELD_OUT, reason=f"{reason} ({assignment.split})")
    return assignments


def choose_stand_ins(rows: Sequence[RawRow], films: Sequence[Film], grouping: Grouping) -> set[int]:
    """Choose the least altered film of each set of copies: whole, undoubted, unaltered by its name, large."""

    def rank(index: int) -> tuple[bool, bool, int, int, str]:
        film = films[index]
        return (
            grouping.doubts[index] is not None,
            "truncated" in (film.read_note or ""),
            rows[index].num_alterations,
            -film.file_width * film.file_height,
            rows[index].source_path,
        )

    best: dict[int, int] = {}
    for index, copy in enumerate(grouping.copies):
        best[copy] = min(best.get(copy, index), index, key=rank)
    return set(best.values())


def _find_reason(index: int, grouping: Grouping, stand_ins: set[int]) -> str | None:
    """Return why a film may not measure anything, or None."""
    if grouping.contradicted[index]:
        return OPPOSITE_LABELS
    if grouping.doubts[index] is not None:
        return f"doubtful label: {grouping.doubts[index]}"
    return None if index in stand_ins else ANOTHER_STANDS
