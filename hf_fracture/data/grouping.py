"""Which films belong together, which of them contradict each other, and where each of them goes.

May depend on `films`, `known_films`, `schema`, `duplicates`, `splits` and `labels`.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from hf_fracture.data.duplicates import Fingerprint, find_duplicate_pairs
from hf_fracture.data.films import Film
from hf_fracture.data.known_films import KnownFilms, list_ledger_links, match_ledger, reconcile_links
from hf_fracture.data.ledger import LEFT_OUT
from hf_fracture.data.schema import HELD_OUT, RawRow
from hf_fracture.data.splits import check_disjoint, group_images, split_groups
from hf_fracture.labels import LABEL_NAMES

Relation = Literal["byte identical", "near duplicate", "file name", "patient"]
SplitRule = Literal["clean", "published"]
DoubtRule = Literal["keep", "leave_out"]

ANOTHER_STANDS: Final = "another film of its group stands for it"
OPPOSITE_LABELS: Final = "its group holds opposite labels"
STANDS_IN_LEDGER: Final = "another film of its group in the ledger stands for it"
BRIDGE: Final = "it looks like films of several groups of the ledger"
LEDGER_SEED: Final = 0
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
        known: What the dataset's ledger says of the films.
        bridges: Films that the ledger does not know and that are linked to several of its groups.
    """

    links: list[Link]
    group_ids: list[str]
    copies: list[int]
    doubts: list[str | None]
    contradicted: list[bool]
    known: KnownFilms
    bridges: set[int]


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
    known: KnownFilms | None = None,
    report_progress: Callable[[int, int], None] | None = None,
) -> Grouping:
    """Link films that are copies of one film, altered copies by their names, or of one patient.

    Films that the dataset's ledger knows keep its groups; if it knows them all, none is compared.

    Args:
        name: The dataset's name; it begins each group id.
        rows: What the source knows, N of them.
        films: What reading gave, N of them, all readable.
        known: What a ledger says of the films; None looks them up in the ledger that comes with the package.
        report_progress: Called while copies are confirmed, with how many candidates are done and how many there are.
    """
    known = match_ledger(name, rows, films) if known is None else known
    found = _link_equal([film.sha256 for film in films], "byte identical")
    found += [] if known.are_all() else _link_copies(films, report_progress)
    found += _link_equal([row.family for row in rows], "file name")
    num_appearance = len(found)
    found += _link_equal([find_patient(row, film) for row, film in zip(rows, films, strict=True)], "patient")
    reconciled = reconcile_links([(link.first, link.second) for link in found], known)
    by_ledger = _link_by_ledger([found[position] for position in reconciled.kept], known)
    copies_links = [found[position] for position in reconciled.kept if position < num_appearance]
    copies_links += [link for link in by_ledger if link.relation != "patient"]
    links = [found[position] for position in reconciled.kept] + by_ledger
    copies = group_images(len(rows), [(link.first, link.second) for link in copies_links])
    groups = group_images(len(rows), [(link.first, link.second) for link in links])
    contradicted = _find_contradicted(rows, copies)
    return Grouping(
        links=links,
        group_ids=_name_groups(name, rows, groups, known),
        copies=copies,
        doubts=_collect_doubts(rows, films, links, contradicted),
        contradicted=contradicted,
        known=known,
        bridges=reconciled.bridges,
    )


def _link_by_ledger(links: Sequence[Link], known: KnownFilms) -> list[Link]:
    """Return the links that only the ledger knows, each with the relation that it states."""
    pairs = list_ledger_links([(link.first, link.second) for link in links], known)
    return [Link(first=first, second=second, relation=_read_relation(known, first, second)) for first, second in pairs]


def _read_relation(known: KnownFilms, first: int, second: int) -> Relation:
    """Return how the ledger ties two films of one group; the film that the others are tied to states nothing."""
    stated = {entry.relation for entry in (known.entries[first], known.entries[second]) if entry is not None}
    relations: tuple[Relation, ...] = ("byte identical", "file name", "patient")
    return next((relation for relation in relations if relation in stated), "near duplicate")


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


def _name_groups(name: str, rows: Sequence[RawRow], groups: Sequence[int], known: KnownFilms) -> list[str]:
    """Name each group as the ledger does, else after the first path in it.

    Such a name is stable under the order of films and under encoding them again.
    """
    first: dict[int, str] = {}
    given: dict[int, str] = {}
    for film, (row, group) in enumerate(zip(rows, groups, strict=True)):
        first[group] = min(first.get(group, row.source_path), row.source_path)
        given[group] = known.group_of(film) or given.get(group, "")
    return [given[group] or f"{name}-{hashlib.sha256(first[group].encode()).hexdigest()[:12]}" for group in groups]


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
        seed: Seeds the clean split. At 0 films that the ledger knows go where it puts them; another seed deals its
            groups anew.

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
    assignments = _split_unknown(rows, films, grouping, seed=seed)
    if seed == LEDGER_SEED:
        for index, assignment in _follow_ledger(grouping):
            assignments[index] = assignment
    members: dict[str, list[str]] = defaultdict(list)
    for assignment, group in zip(assignments, grouping.group_ids, strict=True):
        if assignment.split != HELD_OUT:
            members[assignment.split].append(group)
    check_disjoint(members)
    return assignments


def _split_unknown(rows: Sequence[RawRow], films: Sequence[Film], grouping: Grouping, *, seed: int) -> list[Assignment]:
    """Deal every group out, and hold back the films that may not measure anything."""
    strata = [(row.label, row.body_part or film.body_part) for row, film in zip(rows, films, strict=True)]
    stand_ins = choose_stand_ins(rows, films, grouping)
    assignments = [Assignment(split=split) for split in split_groups(grouping.group_ids, strata, seed=seed)]
    for index, assignment in enumerate(assignments):
        reason = _find_reason(index, grouping, stand_ins) if assignment.split != "train" else None
        if reason is not None:
            assignments[index] = replace(assignment, split=HELD_OUT, reason=f"{reason} ({assignment.split})")
    return assignments


def _follow_ledger(grouping: Grouping) -> Iterator[tuple[int, Assignment]]:
    """Yield where the ledger puts the films it knows, and where that puts their unknown copies."""
    known = grouping.known
    train_groups = known.list_train_groups()
    ledger_groups = {entry.group_id for entry in known.entries if entry is not None}
    for index, (entry, group) in enumerate(zip(known.entries, grouping.group_ids, strict=True)):
        if entry is not None:
            is_out = entry.split == LEFT_OUT
            yield index, Assignment(split=HELD_OUT if is_out else entry.split, reason=entry.reason or None)
        elif index in grouping.bridges:
            yield index, Assignment(split=HELD_OUT, reason=BRIDGE)
        elif group in ledger_groups:
            is_train = group in train_groups
            yield index, Assignment(split="train") if is_train else Assignment(split=HELD_OUT, reason=STANDS_IN_LEDGER)


def leave_out_doubtful(assignments: Sequence[Assignment], grouping: Grouping) -> list[Assignment]:
    """Hold back the training films whose label is in doubt, too; validation and test never hold one."""
    return [
        replace(assignment, split=HELD_OUT, reason=f"doubtful label: {doubt} (train)")
        if doubt is not None and assignment.split == "train"
        else assignment
        for assignment, doubt in zip(assignments, grouping.doubts, strict=True)
    ]


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
