"""The evaluation of a classifier of fracture types on one split, its `evaluation.json`, picture and page.

Only films whose type is known are measured. May depend on every other module of this room except `comparison`.

Schema of `evaluation.json` with `kind` `fracture_type`: `schema_version`, `model`, `dataset`, `software`, `bootstrap`
as in `report`; `cohort`: `num_films`, `num_groups`, `num_without_type` (left out), `films_by_type`; `labels`: the types
in the order of the confusion matrix; `metrics`: what `multiclass_metrics` returns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hf_fracture.errors import EvaluationError, UsageError
from hf_fracture.evaluation.artifacts import replacing, write_text
from hf_fracture.evaluation.bootstrap import Estimate
from hf_fracture.evaluation.figures import Resampling
from hf_fracture.evaluation.films import name_film
from hf_fracture.evaluation.inputs import Floats
from hf_fracture.evaluation.multiclass import ClassIndices, multiclass_metrics
from hf_fracture.evaluation.page import render_document, render_picture, render_table
from hf_fracture.evaluation.plots import FORMATS, describe, draw_counts, render_figure
from hf_fracture.evaluation.report import SCHEMA_VERSION, Provenance, read_versions, warn_of_optimism
from hf_fracture.models.checkpoint import write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KIND: Final = "fracture_type"
HEADLINE: Final[dict[str, str]] = {
    "macro_auroc": "Macro AUROC, each type against the rest",
    "macro_f1": "Macro F1",
    "accuracy": "Accuracy",
    "top_2_accuracy": "True type among the two most probable",
}


@dataclass(frozen=True, kw_only=True)
class TypePredictions:
    """The answers of a classifier of types, one entry per film whose type is known.

    Attributes:
        ids: N unique names of the films.
        group_ids: N group ids.
        y_true: (N,) index of the film's type in `labels`.
        probabilities: (N, C), rows summing to 1.
        labels: C types.
        num_without_type: Films of the split that were left out.
    """

    ids: list[str]
    group_ids: list[str]
    y_true: ClassIndices
    probabilities: Floats
    labels: list[str]
    num_without_type: int


def parse_type_map(text: str) -> dict[str, str]:
    """Read `--label-map` for types: pairs of a model's class and the dataset's type.

    Raises:
        UsageError: If a pair is not of that form or a class occurs twice.

    >>> parse_type_map("Spiral Fracture=spiral, Hairline=hairline")
    {'Spiral Fracture': 'spiral', 'Hairline': 'hairline'}
    """
    mapping: dict[str, str] = {}
    for pair in text.split(","):
        name, equals, kind = (part.strip() for part in pair.rpartition("="))
        if not equals or not name or not kind or name in mapping:
            raise UsageError(
                f"--label-map expects pairs 'class=type' separated by commas, each class once, got '{pair.strip()}'."
            )
        mapping[name] = kind
    return mapping


def map_types(
    class_names: Mapping[Any, Any] | None, types: Sequence[str], label_map: Mapping[str, str] | None = None
) -> list[str]:
    """State for each class of a model which type it means.

    Args:
        class_names: The model's `config.id2label`, ids 0..C-1.
        types: Types that occur in the measured films.
        label_map: Type by class name; None takes the class names themselves.

    Returns:
        C distinct types, in the order of the classes; every one of `types` is among them.

    Raises:
        EvaluationError: If a class has no stated type, two classes mean one type, or a type has no class.

    >>> map_types({0: "Spiral", 1: "hairline"}, ["spiral"], {"Spiral": "spiral", "hairline": "hairline"})
    ['spiral', 'hairline']
    """
    names = [str(name) for _, name in sorted((class_names or {}).items(), key=lambda item: int(item[0]))]
    known = {name: name for name in names} if label_map is None else dict(label_map)
    unmapped, unknown = [n for n in names if n not in known], [n for n in known if n not in names]
    means = [known.get(name, name) for name in names]
    without_class = [kind for kind in types if kind not in means]
    if unmapped or unknown or without_class or len(set(means)) < len(means):
        raise EvaluationError(
            f"Every class of the model must mean one fracture type, and every type of the films must have a class. The "
            f"model has {_quote(names)}; without a meaning: {_quote(unmapped)}; not a class: {_quote(unknown)}; types "
            f"without a class: {_quote(without_class)}. Pass all of them, such as --label-map "
            f"'{','.join(f'{name}={kind}' for name, kind in zip(names[:2], types, strict=False))}'."
        )
    return means


def collect_type_predictions(answers: list[dict[str, Any]], labels: Sequence[str]) -> TypePredictions:
    """Put the answers of `predictions.answer_films` into a table; films without a type are left out.

    Args:
        answers: One per film of the split, with `logits` (C numbers) and `fracture_type`.
        labels: The type of each class.

    Raises:
        EvaluationError: If no film has a type, or an answer is not finite.
    """
    from scipy.special import softmax

    known = [(name_film(answer, position), answer) for position, answer in enumerate(answers)]
    kept = [(name, answer) for name, answer in known if answer.get("fracture_type")]
    if not kept:
        raise EvaluationError(
            f"Expected films whose fracture type is known, got none among {len(answers)}. Measure on a dataset with "
            "types, or without --target fracture_type."
        )
    logits = np.asarray([answer["logits"] for _, answer in kept], dtype=np.float64)
    if not np.isfinite(logits).all():
        raise EvaluationError("The model's logits must be finite, got NaN or infinity. Find the films it diverges on.")
    return TypePredictions(
        ids=[name for name, _ in kept],
        group_ids=[str(answer["group_id"]) for _, answer in kept],
        y_true=np.array([list(labels).index(answer["fracture_type"]) for _, answer in kept], dtype=np.intp),
        probabilities=np.asarray(softmax(logits, axis=1), dtype=np.float64),
        labels=list(labels),
        num_without_type=len(answers) - len(kept),
    )


def measure_types(
    predictions: TypePredictions, *, provenance: Provenance, resampling: Resampling | None = None
) -> dict[str, Any]:
    """Return the content of `evaluation.json`.

    Args:
        predictions: The films that are measured.
        provenance: What is measured on what.
        resampling: How intervals are obtained; None takes the defaults.

    Raises:
        EvaluationError: If fewer than two types occur.
    """
    resampling = resampling or Resampling()
    metrics = multiclass_metrics(
        predictions.y_true,
        predictions.probabilities,
        predictions.labels,
        predictions.group_ids,
        resampling=resampling,
    )
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "model": dict(provenance.model),
        "dataset": dict(provenance.dataset),
        "software": read_versions(),
        "bootstrap": {**asdict(resampling), "unit": "group_id"},
        "cohort": {
            "num_films": len(predictions.ids),
            "num_groups": len(set(predictions.group_ids)),
            "num_without_type": predictions.num_without_type,
            "films_by_type": {name: row["num_films"] for name, row in metrics["per_class"].items()},
        },
        "labels": predictions.labels,
        "metrics": metrics,
    }


def write_type_report(content: Mapping[str, Any], predictions: TypePredictions, out_dir: Path) -> None:
    """Write `predictions.parquet`, `confusion.png` and `.svg`, `report.html` and `evaluation.json`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / "evaluation.json").unlink(missing_ok=True)  # written last: where it lies, everything is of one run
    columns = {
        "id": predictions.ids,
        "group_id": predictions.group_ids,
        "fracture_type": [predictions.labels[index] for index in predictions.y_true],
        **{f"probability_{name}": predictions.probabilities[:, i] for i, name in enumerate(predictions.labels)},
    }
    with replacing(out_dir / "predictions.parquet") as partial_path:
        pq.write_table(pa.table(columns), partial_path)
    figure = draw_type_confusion(content)
    for file_format in FORMATS:
        with replacing(out_dir / f"confusion.{file_format}") as partial_path:
            partial_path.write_bytes(render_figure(figure, file_format))
    write_text(out_dir / "report.html", render_type_page(content))
    write_json(out_dir / "evaluation.json", dict(content))


def draw_type_confusion(content: Mapping[str, Any]) -> "Figure":
    """Draw the confusion matrix, shaded by the share of the true type."""
    return draw_counts(content["metrics"]["confusion"], content["labels"])


def render_type_page(content: Mapping[str, Any]) -> str:
    """Render the report as a self-contained HTML document."""
    model, dataset, metrics = content["model"], content["dataset"], content["metrics"]
    cohort = content["cohort"]
    title = f"{model['name']} on {dataset['name']}, split {dataset['split']}: fracture types"
    level, number = content["bootstrap"]["confidence_level"], content["bootstrap"]["num_resamples"]
    sentences = [
        f"{cohort['num_films']} films of known type in {cohort['num_groups']} independent groups; "
        f"{cohort['num_without_type']} films without a type are left out. Numbers in brackets are {level:.0%} "
        f"intervals from {number} resamples of whole groups: Wilson's for shares of films, expanded percentiles for "
        "the rest.",
        *warn_of_optimism(dataset),
    ]
    per_type = [
        (
            name,
            str(row["num_films"]),
            *(_describe(row[figure]) for figure in ("auroc", "sensitivity", "ppv", "f1")),
        )
        for name, row in metrics["per_class"].items()
    ]
    caption = "Rows: true type; columns: the type called. Percentages are of the true type."
    body = [
        f"<h1>{escape(title)}</h1>",
        *(f"<p>{escape(sentence)}</p>" for sentence in sentences),
        render_table(
            ("Figure", "Value"), [(text, _describe(metrics[name])) for name, text in HEADLINE.items()], "All types."
        ),
        "<h2>Which types are taken for which</h2>",
        f'<div class="plots">{render_picture(draw_type_confusion(content), caption, wide=True)}</div>',
        "<h2>Each type against the rest</h2>",
        render_table(
            ("Type", "Films", "AUROC", "Sensitivity", "Positive predictive value", "F1"),
            per_type,
            "The type with the largest probability is called.",
        ),
    ]
    return render_document(title, body, content)


def render_type_summary(content: Mapping[str, Any]) -> str:
    """Render the figures that a reader wants first, as plain text."""
    model, dataset, cohort = content["model"], content["dataset"], content["cohort"]
    lines = [
        f"{model['name']} on {dataset['name']}, split {dataset['split']}: {cohort['num_films']} films of known type in "
        f"{cohort['num_groups']} groups, {len(content['labels'])} types",
        *(f"{text:<42}{_describe(content['metrics'][name])}" for name, text in HEADLINE.items()),
    ]
    return "\n".join(lines) + "\n"


def _describe(figure: Mapping[str, Any]) -> str:
    return describe(Estimate(**figure))


def _quote(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
