"""Tables of measured figures, from the content of `evaluation.json` and its siblings and from nothing else.

The schema of the first is in `evaluation.report`. The second holds `dataset` and `rows`, each with `protocol` (in
words), `num_films`, `num_copied` (test films of which a copy is among the training films), `auroc` and `accuracy` (each
a figure with its interval). May depend on `markdown`, `evaluation` and `data`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from hf_fracture.data.sources import SOURCES
from hf_fracture.evaluation.guarantees import describe_guarantee
from hf_fracture.evaluation.thresholds import MIN_SENSITIVITY, MIN_SPECIFICITY
from hf_fracture.hub.markdown import flatten, format_estimate, format_number, format_value, is_estimate, render_table

_POINT_TITLES: Final[dict[str, str]] = {
    "screening": f"screening (sensitivity >= {MIN_SENSITIVITY} on validation)",
    "balanced": "balanced (largest sum of both on validation)",
    "rule_in": f"rule-in (specificity >= {MIN_SPECIFICITY} on validation)",
}
_HEADLINE: Final[tuple[tuple[str, str], ...]] = (
    ("auroc", "AUROC"),
    ("average_precision", "average precision"),
    ("brier_score", "Brier score"),
    ("log_loss", "log loss"),
)
MAP_FIGURE: Final = "peak_in_region"  # by which a map is compared with the baselines
_SELECTIVE: Final[tuple[tuple[str, str], ...]] = (
    ("coverage", "decided, share of all films"),
    ("error_among_decided", "wrong, share of the decided"),
    ("missed_among_cleared", "fractured, share of those called no fracture"),
    ("false_alarms_among_called", "not fractured, share of those called fracture"),
    ("missed_fraction", "called no fracture, share of the fractured"),
    ("false_alarm_fraction", "called fracture, share of those without"),
)


def render_summary(evaluation: Mapping[str, Any], attribution: Mapping[str, Any] | None = None) -> str:
    """Render what the README shows: on what it was measured, ranking, operating points, and where the maps point."""
    points = evaluation["operating_points"]["points"]
    paragraphs = [
        describe_cohort(evaluation),
        render_table(
            ["figure", _title_interval(evaluation)],
            [[title, format_estimate(evaluation["metrics"][name])] for name, title in _HEADLINE[:2]],
        ),
        render_table(
            ["operating point", "sensitivity", "specificity"],
            [
                [_POINT_TITLES.get(name, name), *_format_metrics(point, "sensitivity", "specificity")]
                for name, point in points.items()
            ],
        ),
    ]
    if attribution:
        paragraphs.append(_render_maps(attribution))
    return "\n\n".join(paragraph for paragraph in [*paragraphs, describe_shortcut(evaluation)] if paragraph)


def describe_cohort(evaluation: Mapping[str, Any]) -> str:
    """Say what was measured on, whether it leaks, and how intervals were obtained."""
    cohort, dataset, bootstrap = evaluation["cohort"], evaluation["dataset"], evaluation["bootstrap"]
    num_leaked = dataset["num_leaked_films"]
    leaks = (
        f"**{num_leaked} of these films have a copy in another split, so the figures are inflated.**"
        if num_leaked
        else "No copy of a film crosses a split."
    )
    return (
        f"Measured on the {dataset['split']} split of {dataset['name']}: {cohort['num_films']} films in "
        f"{cohort['num_groups']} groups, {cohort['num_fractured']} of them fractured (prevalence "
        f"{format_number(cohort['prevalence'])}). {leaks} Intervals: {bootstrap['num_resamples']:,} resamples of "
        "groups; Wilson's for shares of films, expanded percentiles for the rest."
    )


def render_headline(evaluation: Mapping[str, Any]) -> str:
    """Render ranking and probability error."""
    rows = [[title, format_estimate(evaluation["metrics"][name])] for name, title in _HEADLINE]
    return render_table(["figure", _title_interval(evaluation)], rows)


def render_operating_points(evaluation: Mapping[str, Any]) -> str:
    """Render every figure of every operating point, its counts, and predictive values at other prevalences."""
    section = evaluation["operating_points"]
    points = section["points"]
    figures = list(next(iter(points.values()))["metrics"])
    table = render_table(
        ["", *(name.replace("_", "-") for name in points)],
        [
            ["threshold", *(format_number(point["threshold"], decimals=4) for point in points.values())],
            *(
                [_name_figure(name), *(_format_metrics(point, name)[0] for point in points.values())]
                for name in figures
            ),
            *(
                [name.replace("_", " "), *(str(point["confusion"][name]) for point in points.values())]
                for name in next(iter(points.values()))["confusion"]
            ),
        ],
    )
    values = render_table(
        ["prevalence", *(f"{name.replace('_', '-')} {figure}" for name in points for figure in ("PPV", "NPV"))],
        [
            [
                format_number(row["prevalence"], decimals=2),
                *(
                    format_estimate(point["predictive_values"][index][figure])
                    for point in points.values()
                    for figure in ("ppv", "npv")
                ),
            ]
            for index, row in enumerate(next(iter(points.values()))["predictive_values"])
        ],
    )
    return (
        f"Thresholds were chosen on {section['chosen_on']}; all figures of a column are at its one threshold.\n\n"
        f"{table}\n\nPredictive values, restated for other shares of fractured films:\n\n{values}"
    )


def render_calibration(evaluation: Mapping[str, Any]) -> str:
    """Render calibration as the network was trained, and as it answers."""
    section = evaluation["calibration"]
    before, after = section["before"], section["after"]
    if after is None:
        return "Nothing calibrates this network on its validation films; do not read its probabilities as such."
    rows = [
        [title, format_number(before[name]), format_number(after[name])]
        for name, title in (
            ("brier_score", "Brier score"),
            ("log_loss", "log loss"),
            ("expected_calibration_error", f"expected calibration error ({section['num_bins']} bins of equal mass)"),
        )
    ]
    rows += [
        [title, format_estimate(before[name]), format_estimate(after[name])]
        for name, title in (("slope", "slope (1 is right)"), ("intercept", "intercept (0 is right)"))
    ]
    place = "is part of the weights" if section["in_model"] else "is not part of the weights"
    shift = format_number(section.get("shift", 0.0))
    return (
        f"Fitted on validation: the logit difference plus {shift}, divided by {format_number(section['temperature'])}; "
        f"it {place}.\n\n" + render_table(["figure", "before calibration", "after calibration"], rows)
    )


def render_selective(evaluation: Mapping[str, Any]) -> str:
    """Render the three-way rule and what it achieves."""
    section = evaluation["selective"]
    low, high = (format_number(section[name], decimals=4) for name in ("screening", "rule_in"))
    rows = [
        [title, format_estimate(section["metrics"][name])] for name, title in _SELECTIVE if name in section["metrics"]
    ]
    table = render_table(["figure", _title_interval(evaluation)], rows)
    promise = "\n".join(f"- {sentence}" for sentence in describe_guarantee(section.get("guarantee")))
    return "\n\n".join(
        part
        for part in (
            f"Below a probability of {low} the answer is `no fracture`, at or above {high} it is `fracture`, between "
            "them `uncertain`.",
            table,
            f"What these limits promise:\n\n{promise}" if promise else "",
        )
        if part
    )


def render_subgroups(evaluation: Mapping[str, Any]) -> str:
    """Render the figures of parts of the films; parts with too few films say so."""
    section = evaluation["subgroups"]
    if not section["rows"]:
        return "The films carry nothing by which they could be divided."
    rows = [
        [
            f"{row['column'].replace('_', ' ')}: {row['value']}",
            str(row["num_films"]),
            str(row["num_fractured"]),
            *(
                "too few" if row["too_few"] else format_estimate(row[name])
                for name in ("auroc", "sensitivity", "specificity")
            ),
        ]
        for row in section["rows"]
    ]
    return (
        f"Sensitivity and specificity at the operating point `{section['operating_point']}`; parts with fewer than "
        f"{section['min_films_per_class']} films of either class get no figures.\n\n"
        + render_table(["part", "films", "fractured", "AUROC", "sensitivity", "specificity"], rows)
    )


def render_attribution(attribution: Mapping[str, Any] | None) -> str:
    """Render how often each map meets the marked fracture, beside the baselines, and what else the file holds.

    The schema is at the top of `cli/explain_eval.py`; parts that an older file lacks are left out.
    """
    explanation = "A heatmap shows what moved the answer; how often that is the fracture has to be measured."
    if not attribution:
        return f"{explanation} Not measured yet for this model."
    hidden = ("methods", "baselines", "model_sha256", "groups", "checks")
    facts = {key: value for key, value in attribution.items() if key not in hidden}
    described = "; ".join(f"{name} {value}" for name, value in flatten(facts))
    sentences = [f"- `{name}`: {row['sentence']}" for name, row in attribution["methods"].items() if "sentence" in row]
    parts = [
        explanation,
        f"Measured: {described}.",
        _render_maps(attribution),
        "\n".join(sentences),
        _render_map_groups(attribution.get("groups") or []),
        _render_map_checks(attribution.get("checks") or {}),
    ]
    return "\n\n".join(part for part in parts if part)


def _render_maps(attribution: Mapping[str, Any]) -> str:
    """Render one row per map and whether it beats the baselines.

    The file says so itself; in one that does not, a method beats them if its interval lies above both of their values.
    """
    rows = {**attribution["methods"], **attribution["baselines"]}
    figures = list(dict.fromkeys(key for row in rows.values() for key, value in row.items() if is_estimate(value)))
    bar = max(row[MAP_FIGURE]["value"] for row in attribution["baselines"].values())
    cells = []
    for name, row in rows.items():
        lower = row[MAP_FIGURE]["lower"]
        beats = row.get("beats_baselines", lower is not None and lower > bar)
        verdict = "baseline" if name in attribution["baselines"] else format_value(beats)
        cells.append([name, *(format_value(row[key]) if key in row else "" for key in figures), verdict])
    return render_table(["map", *(name.replace("_", " ") for name in figures), "beats both baselines"], cells)


def _render_map_groups(groups: Sequence[Mapping[str, Any]]) -> str:
    """Render the peak's hits by part of the films; parts with too few films say so."""
    rows = []
    for group in groups:
        where = f"{group['column'].replace('_', ' ')}: {group['value']}"
        for name, row in (group["methods"] or {"": None}).items():
            hits = "too few" if row is None else format_value(row[MAP_FIGURE])
            rows.append([where, str(group["num_films"]), name, hits])
    return render_table(["part", "fractured films", "map", MAP_FIGURE.replace("_", " ")], rows) if rows else ""


def _render_map_checks(checks: Mapping[str, Any]) -> str:
    """Render whether a map depends on what the network learned, and the answer on what the map marks."""
    tables = []
    for name, check in checks.items():
        rows = [
            (f"similarity after randomising the {step['layers']}", format_value(step["similarity"]))
            for step in check.get("randomisation", [])
        ]
        scalars = {key: value for key, value in check.items() if key != "randomisation"}
        rows += [leaf for leaf in flatten(scalars) if "curve" not in leaf[0]]
        tables.append(f"Checks of `{name}`:\n\n{render_table(['check', 'value'], rows)}")
    return "\n\n".join(tables)


def render_cross_dataset(content: Mapping[str, Any] | None) -> str:
    """Render `cross_dataset.json`: this model on another dataset where it was measured, and the matrix of trainings."""
    if not content:
        return "Not measured yet; `scripts/cross_dataset.py` measures it."
    parts = []
    if "model_rows" in content:
        table = render_table(
            ["tested on", *_TRANSFER_HEADER], [_describe_transfer(row)[1:] for row in content["model_rows"]]
        )
        parts.append(f"The model itself, without the films that both datasets hold:\n\n{table}")
    if "rows" in content:
        recipe = content["recipe"]
        shared = "; ".join(
            f"{_title_source(name)}: {row['protocol']}, {row['num_shared']} of {row['num_films']} films left out "
            "because the other dataset holds them too"
            for name, row in content["datasets"].items()
        )
        table = render_table(
            ["trained on", "tested on", *_TRANSFER_HEADER], [_describe_transfer(row) for row in content["rows"]]
        )
        parts.append(
            f"The same small training on each dataset and on both ({recipe['backbone']}, {recipe['image_size']} px, "
            f"{recipe['num_steps']} steps of {recipe['batch_size']} films, seed {recipe['seed']}; not the released "
            f"recipe). {shared}.\n\n{table}"
        )
    if warning := describe_frames(collect_frames(content)):
        parts.append(warning)
    return "\n\n".join(parts)


def collect_frames(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return from `cross_dataset.json` what a forest makes of the frames, by title of the dataset."""
    datasets = content.get("datasets", {})
    return {_title_source(name): row["frames"] for name, row in datasets.items() if "frames" in row}


_TRANSFER_HEADER: Final = ("films", "fractured", "AUROC", "average precision")


def _describe_transfer(row: Mapping[str, Any]) -> list[str]:
    return [
        " and ".join(map(_title_source, row["trained_on"])),
        _title_source(row["tested_on"]),
        str(row["num_films"]),
        str(row["num_fractured"]),
        *(format_estimate(row[name]) for name in ("auroc", "average_precision")),
    ]


def _title_source(name: str) -> str:
    return SOURCES[name].title if name in SOURCES else name


def render_types(evaluation: Mapping[str, Any]) -> str:
    """Render the figures of a classifier of fracture types; the schema is in `evaluation.type_report`."""
    cohort, dataset, metrics = evaluation["cohort"], evaluation["dataset"], evaluation["metrics"]
    labels = evaluation["labels"]
    headline = render_table(
        ["figure", _title_interval(evaluation)],
        [
            [title, format_estimate(metrics[name])]
            for name, title in (
                ("macro_auroc", "macro AUROC, each type against the rest"),
                ("macro_f1", "macro F1"),
                ("accuracy", "accuracy"),
                ("top_2_accuracy", "true type among the two most probable"),
            )
        ],
    )
    per_type = render_table(
        ["type", "films", "AUROC", "sensitivity", "PPV", "F1"],
        [
            [name, str(row["num_films"]), *(format_estimate(row[key]) for key in ("auroc", "sensitivity", "ppv", "f1"))]
            for name, row in metrics["per_class"].items()
        ],
    )
    confusion = render_table(
        ["true type, called as", *labels],
        [[label, *map(str, row)] for label, row in zip(labels, metrics["confusion"], strict=True)],
    )
    return (
        f"Measured on the {dataset['split']} split of {dataset['name']}: {cohort['num_films']} films of known type in "
        f"{cohort['num_groups']} groups.\n\n{headline}\n\n{per_type}\n\n{confusion}"
    )


def describe_shortcut(evaluation: Mapping[str, Any]) -> str:
    """Warn, beside the headline, where films can be told apart without a look at the bone; empty where they cannot."""
    frame = (evaluation["shortcuts"] or {}).get("frame")
    return describe_frames({"": frame}) if frame else ""


def describe_frames(frames: Mapping[str, Mapping[str, Any]]) -> str:
    """Say what a forest makes of the frames of films, where it is above the limit; empty where it nowhere is.

    Args:
        frames: By name of the films, with `auroc` and `above_limit`.
    """
    reached = [
        format_estimate(frame["auroc"]) + (f" on {name}" if name else "")
        for name, frame in frames.items()
        if frame["above_limit"]
    ]
    if not reached:
        return ""
    return (
        "**A forest that sees only size, borders and compression of the films reaches an AUROC of "
        f"{' and '.join(reached)}**: part of the figures may be due to how films were made."
    )


def describe_inflation_frames(inflation: Mapping[str, Any]) -> str:
    """Say what a forest makes of the frames, and where it only knows them again: copies share their film's frame."""
    rows = [row for row in inflation["rows"] if "frames" in row]
    warning = describe_frames({row["protocol"]: row["frames"] for row in rows})
    leaking = [f"'{row['protocol']}'" for row in rows if row["num_copied"] and row["frames"]["above_limit"]]
    if not leaking:
        return warning
    return (
        f"{warning} On {' and '.join(leaking)} it was taught with copies of the test films, which share their frames."
    )


def render_shortcuts(evaluation: Mapping[str, Any]) -> str:
    """Render what can be told without a look at the bone."""
    section = evaluation["shortcuts"]
    if section is None:
        return "Not measured yet; `hf-fracture evaluate --shortcuts` measures it."
    parts = []
    if section["frame"]:
        largest = sorted(section["frame"]["importances"].items(), key=lambda item: -item[1])[:3]
        named = ", ".join(f"{name.replace('_', ' ')} {format_number(share, decimals=2)}" for name, share in largest)
        parts.append(
            "A forest that sees only size, borders and compression, taught on "
            f"{section['frame']['num_training_films']} training films, reaches an AUROC of "
            f"{format_estimate(section['frame']['auroc'])}. What it goes by most: {named}."
        )
    rows = [section[name] for name in ("blanked_body", "masked_marks") if section[name]]
    if rows:
        parts.append(_render_alterations(rows))
    return "\n\n".join(parts)


def render_robustness(evaluation: Mapping[str, Any]) -> str:
    """Render what worse copies of the films do to the answers."""
    rows = evaluation["robustness"]
    if rows is None:
        return "Not measured yet; `hf-fracture evaluate --robustness` measures it."
    return _render_alterations(rows)


def _render_alterations(rows: list[Mapping[str, Any]]) -> str:
    cells = [
        [
            row["name"].replace("_", " "),
            *(format_estimate(row[key]) for key in ("auroc", "auroc_change", "flipped_fraction")),
        ]
        for row in rows
    ]
    table = render_table(["films", "AUROC", "change of AUROC", "calls that change at the balanced point"], cells)
    plain = any(row["auroc"]["method"] == "percentile" for row in rows)
    return f"{table}\n\nIntervals of these rows: percentiles, not widened." if plain else table


def render_inflation(inflation: Mapping[str, Any]) -> str:
    """Render what the same recipe seems to reach on a split that leaks, beside a split that does not."""
    rows = [
        [
            row["protocol"],
            str(row["num_films"]),
            str(row["num_copied"]),
            format_estimate(row["auroc"]),
            format_estimate(row["accuracy"]),
        ]
        for row in inflation["rows"]
    ]
    header = ["split", "test films", "with a copy in training", "AUROC", "accuracy"]
    table = f"The same recipe on {inflation['dataset']}, split in different ways:\n\n{render_table(header, rows)}"
    warning = describe_inflation_frames(inflation)
    return f"{table}\n\n{warning}" if warning else table


def render_family(content: Mapping[str, Any] | None) -> str:
    """Render `family.json`: one row for each model that was measured alike."""
    if not content:
        return "Not measured yet; `scripts/family.py` measures it."
    rows = [
        [name, *(format_value(row[column]) for column in _FAMILY_HEADER.values())]
        for name, row in content["members"].items()
    ]
    return render_table(["model", *_FAMILY_HEADER], rows)


def render_seeds(content: Mapping[str, Any] | None) -> str:
    """Render `reproduction.json` as a sentence: what other seeds of the shipped recipe reach, and their spread."""
    if not content:
        return "The recipe was trained with one seed; what another would reach is not known."
    seeds = [name for name in content["runs"] if name.startswith("seed ")]
    reached = [
        f"{row['figure']} {', '.join(format_number(row[name]['value']) for name in ('shipped', *seeds))} (standard "
        f"deviation {format_number(row['standard deviation of all'])})"
        for row in content["figures"]
        if row["figure"] in _SEED_FIGURES
    ]
    return f"The shipped model, then {', '.join(seeds)} of the same recipe on the same films: {'; '.join(reached)}."


_SEED_FIGURES: Final = ("AUROC", "average precision", "map: peak in region")


_FAMILY_HEADER: Final = {
    "what it is": "what",
    "AUROC": "AUROC",
    "average precision": "average precision",
    "AUROC, clean Kaggle": "AUROC, clean Kaggle",
    "map's peak in the marked region, of detected": "peak in region, of detected",
    "validation AUROC, seed by seed": "validation AUROC by seed",
    "MB": "MB",
    "ms per film": "ms per film",
    "training minutes": "training minutes",
    "on": "trained on",
}


def _title_interval(evaluation: Mapping[str, Any]) -> str:
    return f"value ({100 * evaluation['bootstrap']['confidence_level']:g} % interval)"


def _format_metrics(point: Mapping[str, Any], *names: str) -> list[str]:
    return [format_estimate(point["metrics"][name]) for name in names]


def _name_figure(name: str) -> str:
    short = {"ppv": "PPV", "npv": "NPV", "f1": "F1", "mcc": "MCC", "kappa": "Cohen's kappa"}
    return short.get(name, name.replace("_", " "))
