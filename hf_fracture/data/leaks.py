"""Leaks between published splits, label conflicts, and families that file names prove: figures from a grouping.

May depend on `films`, `grouping`, `schema`, `splits` and `labels`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final

from hf_fracture.data.films import Film
from hf_fracture.data.grouping import Grouping
from hf_fracture.data.schema import SPLITS, RawRow
from hf_fracture.data.splits import group_images
from hf_fracture.labels import LABEL_NAMES

APPEARANCE: Final = ("byte identical", "near duplicate")


def number_lookalikes(grouping: Grouping) -> list[int]:
    """Number the sets of films that look the same, names and patients left out of account."""
    links = [(link.first, link.second) for link in grouping.links if link.relation in APPEARANCE]
    return group_images(len(grouping.group_ids), links)


def count_leaks(rows: Sequence[RawRow], films: Sequence[Film], grouping: Grouping) -> list[dict[str, Any]]:
    """Count, for each ordered pair of published splits, the films of the first that have a relative in the second.

    Returns:
        One entry per pair: `byte_identical` counts films whose very file is in the other split, `look_the_same` adds
        altered copies found by appearance, `related` adds file-name families and patients; `contradicted` counts those
        that look the same and there carry another label or type of fracture. Empty without a split.
    """
    kinds: dict[str, list[Any]] = {
        "byte_identical": [film.sha256 for film in films],
        "look_the_same": list(number_lookalikes(grouping)),
        "related": list(grouping.group_ids),
    }
    present = [name for name in SPLITS if any(row.source_split == name for row in rows)]
    ways = [(first, second) for first in present for second in present if first != second]
    return [{"of": first, "into": second, **_count_pair(rows, kinds, first, second)} for first, second in ways]


def _count_pair(rows: Sequence[RawRow], kinds: dict[str, list[Any]], first: str, second: str) -> dict[str, Any]:
    members = [index for index, row in enumerate(rows) if row.source_split == first]
    counts: dict[str, Any] = {"films": len(members)}
    for kind, keys in kinds.items():
        there = {key for row, key in zip(rows, keys, strict=True) if row.source_split == second}
        leaked = [index for index in members if keys[index] in there]
        counts[kind] = len(leaked)
        counts[f"{kind}_by_label"] = _count_labels(rows[index] for index in leaked)
    counts["contradicted"] = _count_contradicted(rows, kinds["look_the_same"], first, second)
    counts["films_by_label"] = _count_labels(rows[index] for index in members)
    return counts


def _count_contradicted(rows: Sequence[RawRow], looks: Sequence[int], first: str, second: str) -> int:
    """Count the films of a split of which a copy in another one carries another label or type of fracture."""
    there: dict[int, set[tuple[int | None, str | None]]] = defaultdict(set)
    for row, look in zip(rows, looks, strict=True):
        if row.source_split == second and row.label is not None:
            there[look].add((row.label, row.fracture_type))
    return sum(
        bool(there[look] - {(row.label, row.fracture_type)})
        for row, look in zip(rows, looks, strict=True)
        if row.source_split == first and row.label is not None
    )


def _count_labels(rows: Iterator[RawRow]) -> dict[str, int]:
    counts = Counter("unlabelled" if row.label is None else LABEL_NAMES[row.label] for row in rows)
    return dict(sorted(counts.items()))


def list_conflicts(rows: Sequence[RawRow], grouping: Grouping) -> list[dict[str, Any]]:
    """List the sets of copies whose films disagree on the label, or, agreeing on it, on the type of fracture."""
    members: dict[int, list[RawRow]] = defaultdict(list)
    for row, copy in zip(rows, grouping.copies, strict=True):
        members[copy].append(row)
    conflicts = []
    for copies in members.values():
        labels = {row.label for row in copies if row.label is not None}
        types = {row.fracture_type for row in copies if row.fracture_type is not None}
        if len(labels) > 1:
            kind, named = "label", {row.source_path: LABEL_NAMES[row.label] for row in copies if row.label is not None}
        elif len(types) > 1:
            kind, named = "fracture type", {row.source_path: row.fracture_type or "" for row in copies}
        else:
            continue
        conflicts.append({"kind": kind, "films": dict(sorted(named.items()))})
    return sorted(conflicts, key=lambda conflict: (conflict["kind"] != "label", min(conflict["films"])))


def measure_families(rows: Sequence[RawRow], grouping: Grouping) -> dict[str, Any] | None:
    """Compare the families that file names prove with what appearance alone finds; None if no name proves any.

    Returns:
        `recall` is the share of their files that are in the largest set of their family that appearance finds.
    """
    families: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        if row.family:
            families[row.family].append(index)
    if not families:
        return None
    looks = number_lookalikes(grouping)
    parts = [Counter(looks[index] for index in members) for members in families.values()]
    files = sum(len(members) for members in families.values())
    return {
        "families": len(families),
        "files": files,
        "recall": sum(max(part.values()) for part in parts) / files,
        "found_whole": sum(len(part) == 1 for part in parts),
        "distinct_films": len({grouping.group_ids[members[0]] for members in families.values()}),
    }


def count_copies(films: Sequence[Film], grouping: Grouping) -> dict[str, Any]:
    """Count files, contents, looks and groups."""
    looks = number_lookalikes(grouping)
    relations = Counter(link.relation for link in grouping.links)
    contents = Counter(film.sha256 for film in films)
    sizes = Counter(Counter(grouping.group_ids).values())
    return {
        "files": len(films),
        "distinct_files": len(contents),
        "files_with_a_byte_identical_copy": sum(count for count in contents.values() if count > 1),
        "sets_that_look_the_same": len(set(looks)),
        "groups": len(set(grouping.group_ids)),
        "links": dict(sorted(relations.items())),
        "groups_by_size": {str(size): count for size, count in sorted(sizes.items())},
    }
