"""What a model comes from, in words and tables: body parts, data and its copies, cost of training, citation.

Figures come from the model's record, `evaluation.json`, `run.json` and the ledgers that the package carries. May depend
on every room below `hub`.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from hf_fracture.config import FractureRecord
from hf_fracture.data.ledger import LEFT_OUT, LedgerEntry, list_ledgers, load_ledger
from hf_fracture.data.sources import SOURCES
from hf_fracture.hub.markdown import format_number, render_table
from hf_fracture.models.backbone_table import find_row

_SPLITS: Final = ("train", "validation", "test", LEFT_OUT)
_SOFTWARE: Final = (
    "- This model and its code: see CITATION.cff of the project hf-fracture. The code is under Apache-2.0.\n"
    "- CLAIM 2024: Tejani, A.S. et al. Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update. "
    "Radiology: Artificial Intelligence 6(4) (2024). https://doi.org/10.1148/ryai.240300\n"
    "- TRIPOD+AI: Collins, G.S. et al. TRIPOD+AI statement. BMJ 385, e078378 (2024). "
    "https://doi.org/10.1136/bmj-2023-078378"
)


def render_coverage(record: FractureRecord, evaluation: Mapping[str, Any] | None) -> str:
    """Render which body parts and views were trained on, and on how many films each was measured."""
    rows: list[list[str]] = []
    measured = {
        (row["column"], row["value"]): row for row in ((evaluation or {}).get("subgroups") or {}).get("rows", [])
    }
    for column, values in (("body_part", record.body_parts), ("view", record.views)):
        for value in values:
            row = measured.get((column, value))
            known = evaluation is not None and "subgroups" in evaluation
            verdict = "not measured" if not known else "no film measured" if row is None else _judge(row)
            counts = ["0", "0"] if row is None else [str(row["num_films"]), str(row["num_fractured"])]
            rows.append([column.replace("_", " "), value, *(counts if known else ["", ""]), verdict])
    text = (
        f"Radiographs of modality {record.modality} whose long side the letterbox keeps whole. Supported are the body "
        "parts and views that were trained on; anything else is untested, children's growth plates among it where the "
        "source does not say the age."
    )
    if not rows:
        return f"{text} The record names no body part and no view."
    return f"{text}\n\n" + render_table(["what", "trained on", "films measured", "fractured", "evidence"], rows)


def _judge(row: Mapping[str, Any]) -> str:
    return "too few films for a figure" if row["too_few"] else "figures under Parts of the films"


def render_data(record: FractureRecord) -> str:
    """Render licence, and copies, splits and films left out, of each source, from the package's ledger."""
    parts = []
    for name in record.trained_on:
        if name not in SOURCES:
            parts.append(f"### {name}\n\nNo source of this package; nothing is known of its licence or its copies.")
            continue
        source = SOURCES[name]
        redistributable = "may be passed on" if source.redistributable else "may not be passed on"
        text = f"### {source.title}\n\nLicence {source.licence}; its films {redistributable}. {source.summary}"
        parts.append(f"{text}\n\n{describe_ledger(name)}")
    return "\n\n".join(parts) or "Not recorded."


def describe_ledger(name: str) -> str:
    """Render what the committed ledger of a dataset says of its copies and splits."""
    if name not in list_ledgers():
        return "The package carries no ledger of it, so its copies were not counted."
    entries = load_ledger(name)
    contents, groups = {entry.sha256 for entry in entries}, {entry.group_id for entry in entries}
    crossing = _count_crossing(entries)
    splits = Counter(entry.split for entry in entries)
    reasons = Counter(entry.reason for entry in entries if entry.split == LEFT_OUT)
    relations = Counter(entry.relation for entry in entries if entry.relation)
    rows = [
        ("files", str(len(entries))),
        ("different files", str(len(contents))),
        ("groups of copies, which no split divides", str(len(groups))),
        *((f"files tied to another as {relation}", str(count)) for relation, count in sorted(relations.items())),
        *((f"films {split}" if split == LEFT_OUT else f"films in {split}", str(splits[split])) for split in _SPLITS),
        *((f"left out: {reason or 'no reason given'}", str(count)) for reason, count in sorted(reasons.items())),
        ("groups with films in more than one of train, validation and test", str(crossing)),
    ]
    return "Copies and splits, from the ledger that the package carries (hashes, no image):\n\n" + render_table(
        ["what", "number"], rows
    )


def _count_crossing(entries: tuple[LedgerEntry, ...]) -> int:
    """Count the groups that lie in several splits; films left out neither train nor measure."""
    places = {(entry.group_id, entry.split) for entry in entries if entry.split != LEFT_OUT}
    return sum(count > 1 for count in Counter(group for group, _ in places).values())


def render_cost(run: Mapping[str, Any] | None) -> str:
    """Render how long the training took and on what; energy is not measured, and no figure is made up for it."""
    if not run or "seconds" not in run:
        return "Not recorded."
    torch = str(run.get("versions", {}).get("torch", ""))
    where = "on CPUs only" if torch.endswith("+cpu") else "on the hardware that `run.json` describes"
    machine = f" ({run['machine']})" if isinstance(run.get("machine"), str) else ""
    recipe = run.get("recipe", {})
    row = find_row(str(recipe.get("backbone")))
    is_fresh = recipe.get("pretrained") is False or (row is not None and row.hub_id is None)
    start = "random weights" if is_fresh else "pretrained weights whose own training is not counted"
    teacher = f" beside a teacher ({recipe['teacher']}) whose training is not counted" if recipe.get("teacher") else ""
    return (
        f"Training took {format_number(run['seconds'] / 60, decimals=0)} minutes of wall time {where}{machine}, from "
        f"{start}{teacher}. The trials before are not counted. Energy and emissions were not measured."
    )


def render_citation(record: FractureRecord) -> str:
    """Render what to cite: the films, this project, the checklists."""
    lines = [f"- {SOURCES[name].title}: {SOURCES[name].citation}" for name in record.trained_on if name in SOURCES]
    lines += [f"- {name}" for name in record.trained_on if name not in SOURCES]
    return "\n".join([*lines, _SOFTWARE])
