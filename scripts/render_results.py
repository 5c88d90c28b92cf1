"""Render docs/results.md and docs/benchmark.md from the measurements in scripts/results/ and the shipped model.

    python scripts/render_results.py

One section per JSON file, in the order below, then whatever else lies there; a file that does not exist yet says which
script writes it. Tables with one row per entry are made of lists and of mappings whose values have the same keys.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from hf_fracture.evaluation.artifacts import write_text
from hf_fracture.hub import results
from hf_fracture.hub.markdown import flatten, format_value, is_estimate, render_table
from hf_fracture.models.checkpoint import DEFAULT_MODEL_DIR, read_json

ROOT: Final = Path(__file__).resolve().parent.parent
RESULTS_DIR: Final = ROOT / "scripts" / "results"
MAX_COLUMNS: Final = 9
MAX_ROWS: Final = 70
ONLY_DATASET: Final = {"ablation": "FracAtlas", "crossval": "Fracture Multi-Region X-ray Data (Kaggle)"}

_STATISTICS: Final = (
    "Share of simulated studies whose 95 % interval contains the known truth; 0.95 is right. In the usual study that "
    "of every figure does in 93 to 97 %. With few groups some are cautious. Where an AUROC is 0.99, percentiles do so "
    "too rarely; shares of films keep to it. Promises of the three-way rule may be broken in 5 % of studies."
)

_EXPLANATIONS: Final = (
    "Every family on phantoms after a short training from random weights, and trained networks on films, scored as "
    "the shipped one. A network that did not learn (AUROC near 0.5) points nowhere, whatever the method. One that did "
    "points at the break on phantoms, where nothing else tells the classes apart; on films, an ordinary one does not."
)

# File, title, what it says, and how it is made.
RESULTS: Final = (
    (
        "family",
        "The family",
        "Each trained on FracAtlas under the shipped recipe but for what its script names, and measured alike; the "
        "test split is read once for each. The validation figure of each seed is that of the epoch it chose.",
        "scripts/family.py",
    ),
    (
        "campaign",
        "Ideas, one at a time",
        "Each changes one thing of another and is measured on the same group-disjoint folds of training and validation "
        "films; the test split is not read. The difference is the mean of those within the folds, whose networks "
        "differ in scale; a verdict follows from its interval, which resamples groups of films, and from the "
        "largest difference that another seed alone makes.",
        "scripts/campaign.py",
    ),
    (
        "answer_variants",
        "Asked differently",
        "A shipped model, with other ways to obtain its answer. None is used: the interval of a difference must "
        "exclude 0, and it must pay for its cost.",
        "scripts/answer_variants.py",
    ),
    (
        "label_ceiling",
        "How far the labels carry",
        "FracAtlas holds near-copies of films, each with a label of its own, and some disagree (all of it counts "
        "as error here, though two exposures may differ). What a reader who is always right would reach against "
        "such labels depends on which of the two is wrong, which nobody knows: hence three readings, and the "
        "truth is some mixture. A model that errs where labels err can exceed it.",
        "scripts/label_ceiling.py",
    ),
    ("recipes", "Recipes", "Published recipes, trained and measured the same way.", "scripts/run_recipes.py"),
    (
        "crossval",
        "The CNN behind 98 %, cross-validated",
        "The Global Health recipe on the clean Kaggle set, a few of its epochs; each film measured once, unrotated, by "
        "a network that saw no copy of it. Intervals: 95 %, bootstrap over groups.",
        "hf-fracture crossval KAGGLE_CLEAN --config global-health --folds 5 --image_size 96 --num_train_epochs 2",
    ),
    ("ablation", "What each technique adds", "One technique changed at a time.", "scripts/run_recipes.py"),
    ("cross_dataset", "Other datasets", "Models on films of sources that they never saw.", "scripts/cross_dataset.py"),
    (
        "fracture_types",
        "Types of fracture",
        "Ten types on bone_break. The way to train is chosen on validation, by the mean over seeds; only the first "
        "seed of the chosen one is asked for the test split.",
        "scripts/fracture_types.py",
    ),
    ("inflation", "How much leaks flatter", "One recipe, split in different ways.", "scripts/measure_inflation.py"),
    ("duplicates", "Copies in public datasets", "What the ledgers hold.", "scripts/measure_duplicates.py"),
    ("explanations", "Heatmaps of other networks", _EXPLANATIONS, "scripts/explain_backbones.py"),
    ("statistics", "Statistics", _STATISTICS, "scripts/measure_statistics.py"),
    (
        "candidates",
        "Trainings that were candidates to be shipped",
        "On validation, which also chose the epoch that each kept. What each tried stands in its name; differences are "
        "those from the model beside it, film by film, of the peak on all marked films. How often the peak of the map "
        "lies in the marked region of the fractures that it calls (two other ways of drawing the map are in the file), "
        "and what worse copies of the same films cost.",
        "scripts/compare_candidates.py",
    ),
    (
        "rejected",
        "A candidate that is not shipped",
        "The candidate above with frozen layers. On validation alone it would have been shipped: its map finds more "
        "fractures, at no loss of ranking that could be shown. Its reading of the test split then showed what "
        "validation had not been asked: its answers change more often on worse copies of a film, another "
        "collection is ranked worse, and more films of bone_break are refused (by a gate that was fitted on drawn "
        "films as well, since without them it refused some drawn films too). It was rejected for that, so the "
        "choice has seen these figures. Asked since, worse copies of validation films say the same: see above.",
        "scripts/describe_rejected.py",
    ),
    (
        "reproduction",
        "The shipped model, trained again",
        "Other seeds of the same recipe, each measured once on the test split. The first seed is shipped, whatever "
        "others reach: where it is the best of these, that is luck. From two others Student's t makes an interval that "
        "is mostly so wide that a figure within it says little, and where the two happen to agree so narrow that one "
        "outside it says as little.",
        "scripts/reproduce_release.sh",
    ),
)
BENCHMARKS: Final = (
    ("bench", "Speed", "Ratios, side by side in one run.", "make bench"),
    (
        "parity",
        "One answer everywhere",
        "The same films through every runtime, against torch.",
        "scripts/check_parity.py",
    ),
    (
        "scale",
        "Statistics at scale",
        "Every figure of a report, with intervals over groups.",
        "scripts/measure_statistics.py",
    ),
    ("audit_benchmark", "Audit", "What an audit costs at several sizes.", "scripts/benchmark_audit.py"),
    ("load", "The page under load", "Films and bad files of many clients for ten minutes.", "scripts/load_test.py"),
    ("overload", "The page at twice its capacity", "A short run of the same script.", "scripts/load_test.py"),
    (
        "page_start",
        "Start of the page",
        "Until page and configuration are served, beside an empty Gradio application.",
        "scripts/measure_page_start.py",
    ),
    ("browser", "The page without a server", "Against the classifier.", "scripts/check_browser.py"),
    (
        "hostile_corpus",
        "Hostile and odd files",
        "Each through the shipped model, with the processor time and memory that it took.",
        "scripts/hostile_corpus.py",
    ),
    ("soak", "The page abused, then soaked", "Bad requests, files of others, half an hour.", "scripts/soak.py"),
    ("kill_rounds", "Killed and started again", "SIGKILL at random moments.", "scripts/kill_rounds.py"),
    ("numerical_trust", "One question asked in many ways", "Against torch.", "scripts/numerical_trust.py"),
    ("fuzz", "Bad input", "What was thrown at readers, sources and loaders.", "scripts/fuzz.py"),
    ("space", "The Space in a fresh environment", "From its own requirements.", "scripts/check_space.py"),
    ("install", "Fresh installs", "Pinned and lowest declared versions.", "scripts/check_install.sh"),
)
_ATTRIBUTION: Final = DEFAULT_MODEL_DIR / "attribution.json"
_EVALUATION: Final = DEFAULT_MODEL_DIR / "evaluation.json"
_CROSS_DATASET: Final = DEFAULT_MODEL_DIR / "cross_dataset.json"
_FRACATLAS: Final = "fracatlas"
_KAGGLE: Final = "kaggle_multi_region"

# The targets of this work: figure, bound, what it must be, how the measured value is read.
TARGETS: Final[tuple[tuple[str, str, float, Callable[[], Any]], ...]] = (
    ("AUROC on FracAtlas", "at least", 0.95, lambda: _follow(_EVALUATION, "metrics", "auroc")),
    ("average precision on FracAtlas", "at least", 0.85, lambda: _follow(_EVALUATION, "metrics", "average_precision")),
    (
        "specificity at the threshold for sensitivity 0.95",
        "at least",
        0.70,
        lambda: _follow(_EVALUATION, "operating_points", "points", "screening", "metrics", "specificity"),
    ),
    (
        "expected calibration error",
        "at most",
        0.05,
        lambda: _follow(_EVALUATION, "calibration", "after", "expected_calibration_error"),
    ),
    (
        "map's peak in the marked region, of detected fractures",
        "at least",
        0.75,
        lambda: _follow(_ATTRIBUTION, "methods", "grad_cam", "peak_in_region_if_detected"),
    ),
    (
        "AUROC on clean Kaggle, never seen",
        "at least",
        0.80,
        lambda: _find_transfer(_follow(_CROSS_DATASET, "model_rows"), _FRACATLAS),
    ),
    (
        "AUROC on clean Kaggle, cross-validated there (a small training, see Other datasets)",
        "at least",
        0.93,
        lambda: _find_transfer(_follow(RESULTS_DIR / "cross_dataset.json", "rows"), _KAGGLE),
    ),
    (
        "macro AUROC of fracture types",
        "at least",
        0.75,
        lambda: _follow(RESULTS_DIR / "fracture_types.json", "released", "macro_auroc"),
    ),
    ("AUROC of the ConvNeXt behind that of the default", "at most", 0.03, lambda: _find_loss("convnext")),
    ("AUROC of the small model behind that of the default", "at most", 0.02, lambda: _find_loss("small")),
)
_GENERATED: Final = "Rendered by `python scripts/render_results.py` from `scripts/results/`; no figure is typed."


def main() -> None:
    """Render both pages, and say so."""
    for name, text in render_pages().items():
        write_text(ROOT / "docs" / name, text)
        print(f"rendered docs/{name}")


def render_pages() -> dict[str, str]:
    """Return the pages by file name."""
    named = {name for name, *_ in (*RESULTS, *BENCHMARKS)}
    others = tuple(
        (path.stem, path.stem.replace("_", " ").capitalize(), "", "")
        for path in sorted(RESULTS_DIR.glob("*.json"))
        if path.stem not in named
    )
    shipped = f"## The shipped model\n\n{_render_shipped()}"
    aims = f"## What was aimed at\n\n{_render_targets()}"
    return {
        "results.md": "\n\n".join(["# Results", _GENERATED, shipped, aims, *map(_render_file, (*RESULTS, *others))])
        + "\n",
        "benchmark.md": "\n\n".join(["# Benchmark", _GENERATED, *map(_render_file, BENCHMARKS)]) + "\n",
    }


def _render_shipped() -> str:
    path = DEFAULT_MODEL_DIR / "evaluation.json"
    if not path.is_file():
        return "Not measured yet; `scripts/reproduce_release.sh` trains and measures it."
    attribution = DEFAULT_MODEL_DIR / "attribution.json"
    summary = results.render_summary(read_json(path), read_json(attribution) if attribution.is_file() else None)
    return f"{summary}\n\n`scripts/reproduce_release.sh` trains it again from the raw download."


def _render_targets() -> str:
    """Render every target beside what was reached."""
    rows = []
    for figure, bound, value, measure in TARGETS:
        reached = measure()
        rows.append([figure, f"{bound} {value:.2f}", format_value(reached), judge_target(reached, bound, value)])
    words = (
        "The targets that this work set itself; they stay where they were set. Judged by the figure, not by its "
        "interval. Where one is missed, sections below say how far the labels carry, and the learning curve among the "
        "ideas what more films give at a small budget."
    )
    frames = _describe_frames("targets", {})
    return "\n\n".join(
        part for part in (words, render_table(["figure", "target", "reached", "verdict"], rows), frames) if part
    )


def judge_target(reached: Any, bound: str, value: float) -> str:
    """Put a measured figure, an estimate or a number, beside its target.

    >>> judge_target({"value": 0.96, "lower": 0.9, "upper": 0.99}, "at least", 0.95)
    'reached'
    >>> judge_target(0.06, "at most", 0.05), judge_target(0.04, "at most", 0.05), judge_target("", "at least", 0.9)
    ('missed', 'reached', 'not measured')
    """
    found = reached["value"] if isinstance(reached, Mapping) else reached
    if found == "":
        return "not measured"
    return "reached" if (found >= value if bound == "at least" else found <= value) else "missed"


def _follow(path: Path, *way: str) -> Any:
    """Return what lies at a way of keys in a file; "" where it was not measured."""
    content: Any = read_json(path) if path.is_file() else {}
    for key in way:
        content = content.get(key, {})
    return content if content != {} else ""


def _find_transfer(rows: Any, trained_on: str) -> Any:
    """Return the AUROC on Kaggle of what was trained on one dataset."""
    found = (row["auroc"] for row in rows or () if (row["trained_on"], row["tested_on"]) == ([trained_on], _KAGGLE))
    return next(found, "")


def _find_loss(member: str) -> Any:
    """Return by how much the AUROC of a member of the family lies below that of the default."""
    default, other = (_follow(RESULTS_DIR / "family.json", "members", name, "AUROC") for name in ("default", member))
    return round(default["value"] - other["value"], 4) if default and other else ""


def _render_file(described: Sequence[str]) -> str:
    name, title, words, how = described
    path = RESULTS_DIR / f"{name}.json"
    if not path.is_file():
        return f"## {title}\n\n" + f"{words} Not measured yet; `{how}` writes it.".strip()
    content = json.loads(path.read_text(encoding="utf-8"))
    made = f" Made by `{how}`." if how else ""
    if isinstance(content, Mapping) and "table" in content:  # what a script prints, with its goals
        made += f" {content.get('note', '')}".rstrip()
        content = content["table"]
    if name == "campaign":
        content = {**content["protocol"], "experiments": _reduce_experiments(content["experiments"])}
    if name == "explanations":
        content = {**content, "films": _reduce_films(content.get("films", {}))}
    if name == "crossval":
        content = {key: content[key] for key in ("pooled", "summary", "folds")}
        content["folds"] = [{**row, "thresholds": ""} for row in content["folds"]]
    table = _render_family(content) if name == "family" else render_content(content)
    picture = f"![{title}](results/{name}.svg)" if (ROOT / "docs" / "results" / f"{name}.svg").is_file() else ""
    parts = [f"## {title}", f"{words}{made}", _describe_frames(name, content), table, picture]
    return "\n\n".join(part for part in parts if part)


def _render_family(content: Mapping[str, Any]) -> str:
    """Render the members, what the mean of their seeds reaches, and what was tried in their place."""
    parts = [results.render_family(content), _describe_timing(content["members"])]
    averaged = [(name, row["seeds averaged"]) for name, row in content["members"].items() if row.get("seeds averaged")]
    if averaged:
        words = (
            "**The seeds asked together**: the mean of their answers, on validation, where each chose its epoch. Not "
            "shipped, since it costs as many passes; it says what there would be to learn for a student of all of them."
        )
        parts += [words, _render_rows(averaged, named=True)]
    if content.get("tried"):
        words = (
            "**What was tried in their place**: one seed of each beside the same seed of the member that was kept, on "
            "the validation films that chose; the weights of that one are named, since it may have been another than "
            "the member above. The interval is that of films; what another seed may change is not in it. Where one was "
            "thought of as a member before, its test split has been read, and that figure is kept."
        )
        parts += [words, _render_rows(list(content["tried"].items()), named=True)]
    return "\n\n".join(part for part in parts if part)


def _describe_timing(members: Mapping[str, Any]) -> str:
    """Say which members were timed in turn: only their speeds stand side by side.

    >>> first, second = {"timed in turn": ["a", "b"]}, {"timed in turn": ["b", "c"]}
    >>> _describe_timing({"a": first, "b": first, "c": second})
    'Timed in turn, so that their speeds compare: a and b; c.'
    >>> _describe_timing({"a": {}})
    ''
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, row in members.items():
        if "timed in turn" in row:  # of a later run where it lists others than they do
            groups.setdefault(tuple(row["timed in turn"]), []).append(name)
    told = "; ".join(
        " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part) for names in groups.values()
    )
    return f"Timed in turn, so that their speeds compare: {told}." if told else ""


def _reduce_experiments(experiments: Mapping[str, Any]) -> dict[str, Any]:
    """Choose of every experiment what a reader needs to judge it: all say what they change of the base."""
    shown = (
        "AUROC",
        "mean AUROC of the folds",
        "difference",
        "verdict",
        "peak in region, of detected",
    )
    rows, asked = {}, any(row["its difference"] for row in experiments.values())
    for name, row in experiments.items():
        before = "" if row["against"] in ("", "base") else f"{row['against']}, with "
        rows[name] = {
            "hypothesis": row["hypothesis"],
            "change": before + row["change"],
            **{key: row[key] for key in shown},
            **({"difference on JPEG of quality 30": row["its difference"]} if asked else {}),
            "minutes": row["minutes"],
        }
    return rows


def _reduce_films(films: Mapping[str, Any]) -> dict[str, Any]:
    """Put the peaks of the shipped model's map and those of other networks into rows."""
    shipped = DEFAULT_MODEL_DIR / "attribution.json"
    measured = {**({"shipped": read_json(shipped)} if shipped.is_file() else {}), **films}
    return {
        name: {
            "side in pixels": found.get("image_size", ""),
            "detected of marked": f"{found['num_detected']} of {found['num_films']}",
            "peak in region if detected": found["methods"]["grad_cam"]["peak_in_region_if_detected"],
            **{key: value["peak_in_region_if_detected"] for key, value in found["baselines"].items()},
        }
        for name, found in measured.items()
    }


def _describe_frames(name: str, content: Any) -> str:
    """Say above a table of classifiers what the frames of the same films tell."""
    if name == "inflation":
        return results.describe_inflation_frames(content)
    path = RESULTS_DIR / "cross_dataset.json"
    if name not in ("targets", "recipes", "crossval", "ablation", "cross_dataset") or not path.is_file():
        return ""
    frames = results.collect_frames(read_json(path))
    return results.describe_frames(
        {title: row for title, row in frames.items() if title == ONLY_DATASET.get(name, title)}
    )


def render_content(content: Any) -> str:
    """Render any JSON: rows of like entries as one table, everything else as a table of leaves.

    >>> print(render_content({"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 4}}))
    | name | x | y |
    | --- | --- | --- |
    | a | 1 | 2 |
    | b | 3 | 4 |
    """
    if isinstance(content, list):
        return _render_rows([(str(number), row) for number, row in enumerate(content, 1)], named=False)
    if not isinstance(content, Mapping):
        return format_value(content)
    if _are_rows(list(content.values())):
        return _render_rows([(str(name).replace("_", " "), row) for name, row in content.items()], named=True)
    plain = {key: value for key, value in content.items() if not _is_table(value)}
    parts = [render_table(["what", "value"], flatten(plain))] if plain else []
    parts += [
        f"**{str(key).replace('_', ' ').capitalize()}**\n\n{render_content(value)}"
        for key, value in content.items()
        if _is_table(value)
    ]
    return "\n\n".join(parts)


def _is_table(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(row, Mapping) for row in value)
    return isinstance(value, Mapping) and not is_estimate(value) and any(isinstance(v, Mapping) for v in value.values())


def _are_rows(values: Sequence[Any]) -> bool:
    """Tell whether values are rows of one table: mappings that share most of their keys."""
    rows = [value for value in values if isinstance(value, Mapping) and not is_estimate(value)]
    if len(rows) < 2 or len(rows) != len(values):
        return False
    return len(set.intersection(*(set(row) for row in rows))) > 0


def _render_rows(rows: Sequence[tuple[str, Any]], *, named: bool) -> str:
    if not all(isinstance(row, Mapping) for _, row in rows):
        return ", ".join(format_value(row) for _, row in rows) or "none"
    leaves = [(name, dict(flatten(row))) for name, row in rows]
    columns = list(dict.fromkeys(column for _, row in leaves for column in row))
    shown = columns[:MAX_COLUMNS]
    header = [*(["name"] if named else []), *shown]
    cells = [[*([name] if named else []), *(row.get(column, "") for column in shown)] for name, row in leaves]
    more = []
    if len(columns) > len(shown):
        more.append(f"{len(columns) - len(shown)} further column{'s' * (len(columns) > len(shown) + 1)}")
    if len(cells) > MAX_ROWS:
        more.append(f"{len(cells) - MAX_ROWS} further row{'s' * (len(cells) > MAX_ROWS + 1)}")
    note = f"\n\nThe file has {' and '.join(more)}." if more else ""
    return render_table(header, cells[:MAX_ROWS]) + note


if __name__ == "__main__":
    main()
