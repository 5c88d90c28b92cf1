"""The account of a prepared dataset: what became of every file, in `audit.json` and `splits.csv`.

May depend on `films`, `grouping`, `inspection`, `schema`, `shortcuts` and `errors`.
"""

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from io import StringIO
from typing import Any, Final

from hf_fracture.data.films import Film
from hf_fracture.data.grouping import Assignment, Grouping
from hf_fracture.data.inspection import Inspection, measure_appearance, read_thumbnail
from hf_fracture.data.schema import HELD_OUT, SPLITS, RawRow
from hf_fracture.data.shortcuts import measure_shortcuts
from hf_fracture.data.spreadsheets import neutralise_formula
from hf_fracture.errors import MissingPackageError

LEFT_OUT: Final = "left out"
SPLIT_COLUMNS: Final = (
    *("source_path", "sha256", "group_id", "split", "reason"),
    *("file_width_px", "file_height_px", "file_mode", "file_num_bytes"),
)


@dataclass(frozen=True, kw_only=True)
class LostFile:
    """A file that gives no row: `absent`, `no label` or `unreadable`, with the sentence."""

    source_path: str
    kind: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Everything known once films are read, linked and assigned; the sequences run over the same N films."""

    rows: Sequence[RawRow]
    films: Sequence[Film]
    grouping: Grouping
    assignments: Sequence[Assignment]
    lost: Sequence[LostFile]


def build_account(prepared: Prepared) -> dict[str, Any]:
    """Return the content of `audit.json`: counts, links, contradictions, and every file that is left out."""
    rows, films, lost = prepared.rows, prepared.films, prepared.lost
    notes = Counter(note.split(",")[0] for film in films for note in (film.read_note or "").split("; ") if note)
    return {
        "files": {
            "listed": len(rows) + len(lost),
            "kept": len(rows),
            "fractured": sum(row.label == 1 for row in rows),
            "not_fractured": sum(row.label == 0 for row in rows),
            **{kind.replace(" ", "_"): sum(entry.kind == kind for entry in lost) for kind in ("absent", "no label")},
            "unreadable": sum(entry.kind == "unreadable" for entry in lost),
            "read_with_a_note": dict(sorted(notes.items())),
        },
        "copies": _count_copies(prepared),
        "splits": {split: _count_split(prepared, split) for split in (*SPLITS, HELD_OUT)},
        "published_split": _count_leaks(rows, prepared.grouping),
        "doubtful_labels": _list_doubts(prepared),
        "opposite_labels": list(_list_opposites(prepared)),
        "shortcuts": _measure_shortcuts(prepared),
        "left_out": _list_left_out(prepared),
        "links": [_describe_link(prepared, index) for index in range(len(prepared.grouping.links))],
    }


def _count_copies(prepared: Prepared) -> dict[str, Any]:
    grouping = prepared.grouping
    relations = Counter(link.relation for link in grouping.links)
    sizes = Counter(Counter(grouping.copies).values())
    return {
        "groups": len(set(grouping.group_ids)),
        "distinct_films": len(set(grouping.copies)),
        "distinct_files": len({film.sha256 for film in prepared.films}),
        "links": dict(sorted(relations.items())),
        "films_by_number_of_copies": {str(size): size * count for size, count in sorted(sizes.items())},
        "films_contradicted_by_a_copy": sum(grouping.contradicted),
    }


def _count_split(prepared: Prepared, split: str) -> dict[str, Any]:
    chosen = [index for index, assignment in enumerate(prepared.assignments) if assignment.split == split]
    rows = [prepared.rows[index] for index in chosen]
    body_parts = Counter(row.body_part or "unknown" for row in rows)
    return {
        "films": len(chosen),
        "groups": len({prepared.grouping.group_ids[index] for index in chosen}),
        "fractured": sum(row.label == 1 for row in rows),
        "not_fractured": sum(row.label == 0 for row in rows),
        "body_parts": dict(sorted(body_parts.items())),
    }


def _count_leaks(rows: Sequence[RawRow], grouping: Grouping) -> dict[str, Any] | None:
    """Count the films of each published split of which a group member is in published train; None without a split."""
    if not any(row.source_split for row in rows):
        return None
    train = {group for row, group in zip(rows, grouping.group_ids, strict=True) if row.source_split == "train"}
    counts: dict[str, Any] = {}
    for split in SPLITS:
        groups = [group for row, group in zip(rows, grouping.group_ids, strict=True) if row.source_split == split]
        counts[split] = {"films": len(groups)}
        if split != "train":
            counts[split]["films_with_a_relative_in_train"] = sum(group in train for group in groups)
    return counts


def _list_doubts(prepared: Prepared) -> list[dict[str, str]]:
    return [
        {"source_path": row.source_path, "doubt": doubt}
        for row, doubt in zip(prepared.rows, prepared.grouping.doubts, strict=True)
        if doubt
    ]


def _list_opposites(prepared: Prepared) -> Iterator[dict[str, Any]]:
    """Yield each set of copies that carries both labels, with its films and their labels."""
    members: dict[int, list[int]] = defaultdict(list)
    for index, copy in enumerate(prepared.grouping.copies):
        if prepared.grouping.contradicted[index]:
            members[copy].append(index)
    for indices in members.values():
        yield {
            "group_id": prepared.grouping.group_ids[indices[0]],
            "labels": {prepared.rows[index].source_path: prepared.rows[index].label for index in sorted(indices)},
        }


def _measure_shortcuts(prepared: Prepared) -> dict[str, Any] | None:
    """Measure what predicts the label without looking at bone; None where scikit-learn is missing."""
    inspections = [
        Inspection(film=film, appearance=measure_appearance(read_thumbnail(film))) for film in prepared.films
    ]
    try:
        return asdict(measure_shortcuts(prepared.rows, inspections, prepared.grouping.group_ids))
    except MissingPackageError:
        return None


def _list_left_out(prepared: Prepared) -> list[dict[str, str]]:
    held = [
        {"source_path": row.source_path, "reason": assignment.reason or ""}
        for row, assignment in zip(prepared.rows, prepared.assignments, strict=True)
        if assignment.split == HELD_OUT
    ]
    lost = [{"source_path": entry.source_path, "reason": f"{entry.kind}: {entry.reason}"} for entry in prepared.lost]
    return sorted(held + lost, key=lambda entry: entry["source_path"])


def _describe_link(prepared: Prepared, index: int) -> dict[str, Any]:
    link = prepared.grouping.links[index]
    first, second = prepared.rows[link.first], prepared.rows[link.second]
    described: dict[str, Any] = {
        "first": first.source_path,
        "second": second.source_path,
        "relation": link.relation,
        "opposite_labels": first.label != second.label,
    }
    return described if link.agreement is None else described | {"agreement": link.agreement}


def render_split_table(prepared: Prepared) -> str:
    """Render `splits.csv`, one line per file, sorted by path; files without a row are `left out` too."""
    stream = StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(SPLIT_COLUMNS)
    lines = sorted([*_split_lines(prepared), *_lost_lines(prepared.lost)])
    writer.writerows([neutralise_formula(cell) for cell in line] for line in lines)
    return stream.getvalue()


def _split_lines(prepared: Prepared) -> Iterator[tuple[str, ...]]:
    for index, (row, film) in enumerate(zip(prepared.rows, prepared.films, strict=True)):
        assignment = prepared.assignments[index]
        yield (
            row.source_path,
            film.sha256,
            prepared.grouping.group_ids[index],
            LEFT_OUT if assignment.split == HELD_OUT else assignment.split,
            assignment.reason or "",
            *(str(fact) for fact in (film.file_width, film.file_height, film.file_mode, film.num_bytes)),
        )


def _lost_lines(lost: Iterable[LostFile]) -> Iterator[tuple[str, ...]]:
    for entry in lost:
        yield (entry.source_path, "", "", LEFT_OUT, f"{entry.kind}: {entry.reason}", "", "", "", "")
