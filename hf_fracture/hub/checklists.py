"""CLAIM 2024 and TRIPOD+AI, item by item: where the card answers it, or that it is open and why.

An answer that rests on a measurement counts only where the measurement is there. The topics are named in our own words;
the numbers are those of the checklists. May depend on `markdown`.

Source: Tejani et al., CLAIM 2024 Update, Radiology: Artificial Intelligence 2024; Collins et al., TRIPOD+AI statement,
BMJ 2024.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from hf_fracture.hub.markdown import render_table

OPEN: Final = "Open"


@dataclass(frozen=True, kw_only=True)
class Item:
    """One item of a checklist.

    Attributes:
        number: As in the checklist.
        topic: What it asks for.
        answer: A sentence, or one that begins with `Open`.
        needs: Measurement file without which the answer is open; empty where it needs none.
    """

    number: str
    topic: str
    answer: str
    needs: str = ""


def render_checklist(items: Sequence[Item], measured: Collection[str], *, names_types: bool = False) -> str:
    """Render a checklist as a table.

    Args:
        items: Of one checklist.
        measured: Names of the measurement files that the model folder holds.
        names_types: Whether the model names types of fracture, for which some items have another answer.
    """
    others = _OF_TYPES if names_types else {}
    items = [replace(item, answer=others.get(item.topic, item.answer)) for item in items]
    rows = [[item.number, item.topic, _answer(item, measured)] for item in items]
    num_open = sum(row[2].startswith(OPEN) for row in rows)
    return (
        f"{len(rows) - num_open} of {len(rows)} items are answered (some in part, as they say), {num_open} are "
        "open.\n\n" + render_table(["item", "asks for", "answer"], rows)
    )


def _answer(item: Item, measured: Collection[str]) -> str:
    if item.needs and item.needs not in measured and not item.answer.startswith(OPEN):
        return f"{OPEN}: not measured for these weights ({item.needs})."
    return item.answer


def _items(rows: Sequence[tuple[str, ...]]) -> tuple[Item, ...]:
    return tuple(Item(number=row[0], topic=row[1], answer=row[2], needs=row[3] if len(row) > 3 else "") for row in rows)


_EVALUATION, _RUN = "evaluation.json", "run.json"
_OF_TYPES: Final = {
    "aims and hypotheses": "Name the type of a fracture that is known to be there; no hypothesis test.",
    "metrics": "Results.",
    "robustness": "Open: not measured for types.",
    "explainability": "Open: the source marks no fracture on which a map could be scored.",
    "external evaluation": "Open: no other collection at hand names these types.",
    "characteristics by partition": "Open: the source states nothing but the type.",
    "performance with uncertainty": "Results.",
    "diagnostic accuracy with precision": "Results, type by type.",
    "analysis of failures": "Results: which type is called as which; open film by film.",
    "outcome": "The type, by the source's label of the film; assessors were not ours.",
    "analytical methods": "Training, Provenance of the figures.",
    "class imbalance": "Training: class weights or sampling.",
    "fairness": "Open: the source knows nothing of whose films they are.",
    "model output": "A probability of each type.",
    "training against evaluation": "One source, split by group.",
    "participants in numbers": "Results.",
    "model development in numbers": "Training: films of each split.",
    "performance": "Results, with intervals.",
    "usability": "How to use it. Nothing is refused. Open: expertise of users was not studied.",
}
"""Answers of a model of fracture types, by topic, where they differ."""

CLAIM: Final = _items(
    (
        ("1", "AI method named in the title", "Name and introduction: an image classifier with its architecture."),
        ("2", "structured summary", "Introduction and Results."),
        ("3", "background and intended use", "Intended use and limits."),
        (
            "4",
            "aims and hypotheses",
            "Rank and flag single films by the probability of a fracture; no hypothesis test.",
        ),
        ("5", "prospective or retrospective", "Retrospective, on public films."),
        ("6", "goal of the study", "A model and its internal evaluation."),
        ("7", "data sources", "Data."),
        ("8", "inclusion and exclusion", "Data: films left out, with the reason. Selection by the source is its own."),
        ("9", "preprocessing", "Introduction (letterbox), Training, preprocessor_config.json."),
        ("10", "selection of subsets", "Data: groups of copies stay together; one film of each measures."),
        ("11", "de-identification", "By the source; films carry no patient id."),
        ("12", "missing data", "Unknown body part, view or hardware is left unknown and not imputed."),
        ("13", "acquisition protocol", "Open: the source does not publish it for each film."),
        (
            "14",
            "definition of the reference standard",
            "Open here: labels are the source's; see its paper under Citation.",
        ),
        ("15", "reason for this standard", "Open: no other exists for these films; no CT or follow-up."),
        ("16", "who annotated", "Open here: stated by the source's paper under Citation."),
        ("17", "annotation of the test set", "The same labels of the source; films of doubtful label do not measure."),
        ("18", "variability of annotators", "Open: the source gives one label per film."),
        ("19", "assignment to partitions", "Data; by group and seed, stratified by label and body part."),
        ("20", "level at which partitions are disjoint", "Groups of copies. Open for patients: the source has no ids."),
        ("21", "intended sample size", "Open: all films that the source offers; precision is shown by intervals."),
        ("22", "detailed model description", "config.json and Training."),
        ("23", "software", "Training and Provenance of the figures.", _RUN),
        ("24", "initialisation", "Training: backbone and its weights.", _RUN),
        ("25", "details of training", "Training.", _RUN),
        ("26", "choice of the final model", "Training: on the validation split.", _RUN),
        ("27", "ensembles", "None."),
        ("28", "metrics", "Results and Operating points.", _EVALUATION),
        ("29", "uncertainty", "Intervals from resampled groups with every figure.", _EVALUATION),
        ("30", "robustness", "Worse copies of the films; Told without a look at the bone.", _EVALUATION),
        ("31", "explainability", "Heatmaps, scored against marked fractures.", "attribution.json"),
        ("32", "internal evaluation", "Results.", _EVALUATION),
        ("33", "external evaluation", "Films of another dataset.", "cross_dataset.json"),
        ("34", "trial registration", "Open: no trial."),
        ("35", "numbers in and out", "Data and Results.", _EVALUATION),
        (
            "36",
            "characteristics by partition",
            "Parts of the films, where the source knows them; age and sex it does not.",
        ),
        ("37", "performance with uncertainty", "Results, Operating points, Calibration.", _EVALUATION),
        ("38", "diagnostic accuracy with precision", "Operating points.", _EVALUATION),
        ("39", "analysis of failures", "Parts of the films and counts; open film by film.", _EVALUATION),
        ("40", "limitations", "Intended use and limits."),
        ("41", "implications for practice", "None: research and teaching only."),
        ("42", "protocol", "Open: none was registered; run.json and the scripts repeat the work."),
        ("43", "availability", "Weights and code are here; the films at their source."),
        ("44", "funding", "Open: not stated."),
    )
)

TRIPOD_AI: Final = _items(
    (
        ("1", "title", "Name and introduction."),
        ("2", "abstract", "Introduction and Results."),
        ("3", "background, intended use, inequalities", "Intended use and limits. Open for health inequalities."),
        ("4", "objectives", "Development and internal evaluation of a diagnostic classifier."),
        ("5", "data sources and dates", "Data. Open for dates: the source gives none for each film."),
        ("6", "participants", "Open here: setting and eligibility are the source's, under Citation."),
        ("7", "data preparation", "Data; letterbox in preprocessor_config.json."),
        ("8", "outcome", "Fractured or not, by the source's label of the film; assessors were not ours."),
        ("9", "predictors", "The film's pixels and nothing else."),
        ("10", "sample size", "Open: no calculation; all films that the source offers."),
        ("11", "missing data", "Nothing is imputed; unreadable films are refused by name."),
        ("12", "analytical methods", "Training, Calibration, Provenance of the figures.", _RUN),
        (
            "13",
            "class imbalance",
            "Training: class weights or sampling; the shift of the logit that either makes is taken out again.",
            _RUN,
        ),
        (
            "14",
            "fairness",
            "Parts of the films. Open for age, sex and origin, which the source does not know.",
            _EVALUATION,
        ),
        ("15", "model output", "A calibrated probability; thresholds under Operating points.", _EVALUATION),
        (
            "16",
            "training against evaluation",
            "One source, split by group; see also Films of another dataset.",
            _EVALUATION,
        ),
        ("17", "ethical approval", "Open here: the source's, under Citation."),
        (
            "18",
            "open science",
            "Code, weights, configuration and figures are public. Open: funding, protocol, registration.",
        ),
        ("19", "patients and public", "Open: not involved."),
        ("20", "participants in numbers", "Results and Parts of the films.", _EVALUATION),
        ("21", "model development in numbers", "Training: films and fractures of each split.", _RUN),
        ("22", "model specification", "config.json, model.safetensors and the code under How to use it."),
        ("23", "performance", "Results, Calibration, Parts of the films, with intervals.", _EVALUATION),
        ("24", "updating", "None."),
        ("25", "interpretation", "Intended use and limits. Open: comparison with earlier studies on the same films."),
        ("26", "limitations", "Intended use and limits."),
        ("27", "usability", "How to use it; Input gate: what is refused. Open: expertise of users was not studied."),
    )
)
