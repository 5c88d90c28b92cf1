"""The model card, rendered from the files that a model's own measurements wrote; no figure in it is typed.

Reads `config.json`, `preprocessor_config.json` and, where they exist, `run.json`, `evaluation.json`,
`attribution.json`, `gate.json`, `export.json` and `cross_dataset.json`; a file that does not exist makes its section
say so. What it says of the training data comes from the ledgers of the package. May depend on every room below `hub`.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from hf_fracture.config import FractureRecord
from hf_fracture.data.sources import SOURCES
from hf_fracture.errors import MissingInputError, ModelFolderError, OutputExistsError
from hf_fracture.evaluation.artifacts import write_text
from hf_fracture.evaluation.cross_dataset import FILE_NAME as CROSS_DATASET_NAME
from hf_fracture.evaluation.measured_model import hash_weights
from hf_fracture.evaluation.report import FILE_NAME as EVALUATION_NAME
from hf_fracture.evaluation.schema import check_evaluation
from hf_fracture.hub import checklists, origins, results
from hf_fracture.hub.markdown import flatten, format_number, render_table, replace_section
from hf_fracture.models.backbones import BACKBONES
from hf_fracture.models.checkpoint import read_json, read_preprocessing, read_record

CARD_NAME: Final = "README.md"
EVAL_RESULTS_PATH: Final = ".eval_results/hf_fracture.yaml"
REQUIRED_SECTIONS: Final[tuple[str, ...]] = (
    *("Intended use and limits", "Body parts and views", "How to use it"),
    *("Results", "Operating points", "Calibration", "Three-way answer", "Parts of the films"),
    *("Told without a look at the bone", "Worse copies of the films", "Films of another dataset", "Heatmaps"),
    *("Input gate", "Exports", "Data", "Training", "Environmental cost", "Reporting checklists", "Citation"),
    "Provenance of the figures",
)
"""Titles of every section that a card has, in their order."""
_TAGS: Final = ("fracture", "radiograph", "x-ray", "medical-imaging", "hf-fracture")
_METRIC_TYPES: Final[dict[str, str]] = {"auroc": "roc_auc", "average_precision": "average_precision"}
_TYPE_METRICS: Final[dict[str, str]] = {"macro_auroc": "roc_auc", "macro_f1": "f1", "accuracy": "accuracy"}
_MEASUREMENTS: Final = ("attribution.json", "gate.json", "export.json", CROSS_DATASET_NAME)
_FIGURES: Final[dict[str, tuple[Callable[[Mapping[str, Any]], str], ...]]] = {
    "Results": (results.describe_cohort, results.render_headline, results.describe_shortcut),
    "Operating points": (results.render_operating_points,),
    "Calibration": (results.render_calibration,),
    "Three-way answer": (results.render_selective,),
    "Parts of the films": (results.render_subgroups,),
    "Told without a look at the bone": (results.render_shortcuts,),
    "Worse copies of the films": (results.render_robustness,),
}


def render_card(model_dir: Path) -> str:
    """Render the card of a model folder.

    Args:
        model_dir: A folder written by `hf-fracture train`, with whatever was measured since.

    Returns:
        Markdown with YAML front matter, ending in a line break.

    Raises:
        MissingInputError: If `config.json` or `preprocessor_config.json` does not exist.
        ModelFolderError: If the model carries no record, or a measurement belongs to other weights, other thresholds or
            another schema.
    """
    record = read_record(model_dir)
    if record is None:
        raise ModelFolderError(
            f"Expected config.json of '{model_dir}' to hold the key 'fracture', found none. Cards are rendered for "
            "models of hf-fracture train."
        )
    evaluation = _read_evaluation(model_dir, record)
    run = _read_optional(model_dir, "run.json")
    other = {name: _read_measurement(model_dir, name) for name in _MEASUREMENTS}
    measured = {name for name, content in {**other, EVALUATION_NAME: evaluation, "run.json": run}.items() if content}
    names_types = record.label_kind == "fracture_type"
    sections = {
        "Intended use and limits": _render_limits(record),
        "Body parts and views": origins.render_coverage(record, evaluation),
        "How to use it": _USE,
        "Films of another dataset": _render_other(other, CROSS_DATASET_NAME, results.render_cross_dataset),
        "Heatmaps": _render_other(other, "attribution.json", results.render_attribution),
        "Input gate": _render_gate(other["gate.json"]),
        **_render_figures(record, evaluation),
        "Exports": _render_leaves(other["export.json"]),
        "Data": origins.render_data(record),
        "Training": _render_training(run),
        "Environmental cost": origins.render_cost(run),
        "Reporting checklists": "\n\n".join(
            f"### {title}\n\n{checklists.render_checklist(items, measured, names_types=names_types)}"
            for title, items in (("CLAIM 2024", checklists.CLAIM), ("TRIPOD+AI", checklists.TRIPOD_AI))
        ),
        "Citation": origins.render_citation(record),
        "Provenance of the figures": _render_provenance(evaluation),
    }
    body = "\n\n".join(f"## {title}\n\n{sections[title]}" for title in REQUIRED_SECTIONS)
    introduction = _render_introduction(model_dir, record)
    return f"---\n{_render_front_matter(model_dir, record, evaluation, run)}---\n\n{introduction}\n\n{body}\n"


def render_eval_results(model_dir: Path) -> str | None:
    """Render `.eval_results/hf_fracture.yaml`, which the Hub reads in place of `model-index`.

    Args:
        model_dir: A folder written by `hf-fracture train`.

    Returns:
        YAML, or None where nothing was measured.

    Raises:
        ModelFolderError: As `render_card`.
    """
    import yaml
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    record = read_record(model_dir)
    evaluation = None if record is None else _read_evaluation(model_dir, record)
    if evaluation is None:
        return None
    dataset, cohort = evaluation["dataset"], evaluation["cohort"]
    entries = [
        EvalResultEntry(
            dataset_id=str(dataset["name"]),
            task_id=result.metric_name.replace(" ", "_"),
            value=result.metric_value,
            dataset_revision=dataset["revision"],
            notes=f"split {dataset['split']}, {cohort['num_films']} films; {_describe_interval(result.metric_args)}",
        )
        for result in _list_eval_results(evaluation)
    ]
    return str(yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False))


def write_card(model_dir: Path, *, overwrite: bool = False) -> Path:
    """Write the card as `README.md` of the model folder, and the results as `.eval_results/hf_fracture.yaml`.

    Raises:
        OutputExistsError: If another card is there and `overwrite` is false.
    """
    card, path = render_card(model_dir), model_dir / CARD_NAME
    if path.is_file() and not overwrite and path.read_text(encoding="utf-8") != card:
        raise OutputExistsError(f"'{path}' exists and reads differently. Pass --overwrite to replace it.")
    write_text(path, card)
    eval_results = render_eval_results(model_dir)
    if eval_results is not None:
        (model_dir / EVAL_RESULTS_PATH).parent.mkdir(exist_ok=True)
        write_text(model_dir / EVAL_RESULTS_PATH, eval_results)
    return path


def check_card(model_dir: Path) -> None:
    """Refuse a model folder whose card or `.eval_results` does not say what its measurements say.

    Raises:
        MissingInputError: If there is no card.
        ModelFolderError: Naming the first line that differs.
    """
    wanted = {CARD_NAME: render_card(model_dir), EVAL_RESULTS_PATH: render_eval_results(model_dir)}
    for name, text in wanted.items():
        path = model_dir / name
        if text is None:
            continue
        if not path.is_file():
            raise MissingInputError(f"Expected {name} in '{model_dir}', found none. Run hf-fracture card.")
        compare_card(text, path.read_text(encoding="utf-8"), where=f"{name} of '{model_dir}'")


def compare_card(rendered: str, found: str, *, where: str) -> None:
    """Refuse a document that reads differently from what the measurements render.

    Args:
        rendered: From the measurements.
        found: The document.
        where: Which document, in words.

    Raises:
        ModelFolderError: Naming the first line that differs.
    """
    if found == rendered:
        return
    pairs = zip_longest(rendered.splitlines(), found.splitlines(), fillvalue="(nothing)")
    line, (right, wrong) = next(
        ((number, pair) for number, pair in enumerate(pairs, start=1) if pair[0] != pair[1]), (0, ("", "line ends"))
    )
    raise ModelFolderError(
        f"Expected {where} to say what its measurements say, but line {line} is {wrong[:80]!r} in place of "
        f"{right[:80]!r}. Run hf-fracture card --overwrite."
    )


def render_readme(
    readme: str,
    model_dir: Path,
    inflation: Mapping[str, Any] | None,
    cross_dataset: Mapping[str, Any] | None = None,
    family: Mapping[str, Any] | None = None,
    reproduction: Mapping[str, Any] | None = None,
) -> str:
    """Render the generated sections of a README again.

    Args:
        readme: Document with the sections `results` and `inflation` between markers, and `cross_dataset`, `family`
            and `seeds` if it likes.
        model_dir: Folder of the shipped model.
        inflation: Content of `scripts/results/inflation.json`; None if it was not measured.
        cross_dataset: Content of `scripts/results/cross_dataset.json`; None if it was not measured.
        family: Content of `scripts/results/family.json`; None if it was not measured.
        reproduction: Content of `scripts/results/reproduction.json`; None if it was not measured.

    Raises:
        UsageError: If a pair of markers is missing.
        ModelFolderError: If a measurement belongs to other weights.
    """
    evaluation = _read_measurement(model_dir, EVALUATION_NAME)
    attribution = _read_measurement(model_dir, "attribution.json")
    summary = results.render_summary(evaluation, attribution) if evaluation else "Not measured yet."
    table = results.render_inflation(inflation) if inflation else "Not measured yet."
    readme = replace_section(replace_section(readme, "results", summary), "inflation", table)
    if "<!-- cross_dataset:begin -->" in readme:
        own = _read_measurement(model_dir, CROSS_DATASET_NAME)
        rows = {"model_rows": own["model_rows"]} if own else {}
        readme = replace_section(
            readme, "cross_dataset", results.render_cross_dataset({**rows, **(cross_dataset or {})})
        )
    if "<!-- family:begin -->" in readme:
        default = (family or {"members": {}})["members"].get("default", {})
        _check_shipped(default.get("weights"), model_dir, "family.json")
        readme = replace_section(readme, "family", results.render_family(family))
    if "<!-- seeds:begin -->" in readme:
        _check_shipped(reproduction and reproduction["runs"]["shipped"]["weights"], model_dir, "reproduction.json")
        readme = replace_section(readme, "seeds", results.render_seeds(reproduction))
    return readme


def _check_shipped(measured: Any, model_dir: Path, name: str) -> None:
    """Refuse figures of a model that is no longer the shipped one; `measured` begins the sha256 of its weights."""
    if measured and not hash_weights(model_dir).startswith(measured):
        raise ModelFolderError(
            f"Expected scripts/results/{name} to hold the shipped weights, but it measured others ({measured}). "
            "Measure again, or remove the file."
        )


def _read_optional(model_dir: Path, name: str) -> dict[str, Any] | None:
    path = model_dir / name
    return read_json(path) if path.is_file() else None


def _read_measurement(model_dir: Path, name: str) -> dict[str, Any] | None:
    """Read a measurement, and refuse one of other weights; None if there is no such file."""
    content = _read_optional(model_dir, name)
    if content is None:
        return None
    measured, present = content.get("model_sha256") or content.get("model", {}).get("sha256"), hash_weights(model_dir)
    if measured != present:
        raise ModelFolderError(
            f"Expected {name} to measure the weights in '{model_dir}' (sha256 {present[:12]}), but it measured others "
            f"({str(measured)[:12]}). Measure these weights again, or remove the file."
        )
    return content


def _read_evaluation(model_dir: Path, record: FractureRecord) -> dict[str, Any] | None:
    """Read `evaluation.json`, and refuse it where it does not describe this folder."""
    evaluation = _read_measurement(model_dir, EVALUATION_NAME)
    if evaluation is None:
        return None
    if evaluation.get("kind") == "fracture_type":
        return evaluation
    check_evaluation(evaluation)
    thresholds = {name: point["threshold"] for name, point in evaluation["operating_points"]["points"].items()}
    if thresholds != {name: point.threshold for name, point in record.operating_points.items()}:
        raise ModelFolderError(
            f"Expected {EVALUATION_NAME} to be measured at the operating points of config.json, got {thresholds}. "
            "Run hf-fracture evaluate again."
        )
    return evaluation


def _render_front_matter(
    model_dir: Path, record: FractureRecord, evaluation: Mapping[str, Any] | None, run: Mapping[str, Any] | None
) -> str:
    """Render the YAML that the Hub reads, with `model-index` where there is an evaluation."""
    from huggingface_hub import ModelCardData

    backbone = _find_backbone(run)
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="image-classification",
        license=_find_licence(record),
        base_model=backbone if backbone and backbone.count("/") == 1 else None,
        datasets=record.trained_on or None,
        metrics=list((_METRIC_TYPES if record.label_kind == "fracture" else _TYPE_METRICS).values())
        if evaluation
        else None,
        model_name=_name_model(model_dir),
        tags=list(_TAGS),
        eval_results=_list_eval_results(evaluation) if evaluation else None,
    )
    return str(data.to_yaml()).rstrip("\n") + "\n"


def _describe_interval(settings: Mapping[str, Any]) -> str:
    lower, upper = (format_number(settings[name]) for name in ("lower", "upper"))
    at = f"threshold {format_number(settings['threshold'], decimals=4)}, " if "threshold" in settings else ""
    return f"{at}{100 * settings['confidence_level']:g} % interval {lower} to {upper}"


def _list_eval_results(evaluation: Mapping[str, Any]) -> list[Any]:
    """Return the published figures as `huggingface_hub.EvalResult`, each with its interval."""
    from huggingface_hub import EvalResult

    dataset, confidence = evaluation["dataset"], evaluation["bootstrap"]["confidence_level"]

    def build(metric_type: str, name: str, figure: Mapping[str, Any], **settings: Any) -> Any:
        interval = {"lower": figure["lower"], "upper": figure["upper"], "confidence_level": confidence}
        return EvalResult(
            task_type="image-classification",
            dataset_type=str(dataset["name"]),
            dataset_name=_title_dataset(dataset["name"]),
            dataset_split=dataset["split"],
            dataset_revision=dataset["revision"],
            metric_type=metric_type,
            metric_name=name,
            metric_value=figure["value"],
            metric_args={**settings, **interval},
        )

    if evaluation.get("kind") == "fracture_type":
        return [
            build(metric_type, name.replace("_", " "), evaluation["metrics"][name])
            for name, metric_type in _TYPE_METRICS.items()
        ]
    figures = [
        build(metric_type, name.replace("_", " "), evaluation["metrics"][name])
        for name, metric_type in _METRIC_TYPES.items()
    ]
    for name, point in evaluation["operating_points"]["points"].items():
        for metric_type, figure in (("recall", "sensitivity"), ("specificity", "specificity")):
            title = f"{figure} at {name.replace('_', '-')}"
            figures.append(build(metric_type, title, point["metrics"][figure], threshold=point["threshold"]))
    return figures


def _render_introduction(model_dir: Path, record: FractureRecord) -> str:
    side = read_preprocessing(model_dir).size_px
    architecture = ", ".join(read_json(model_dir / "config.json").get("architectures", [])) or "An image classifier"
    sources = ", ".join(_title_dataset(name) for name in record.trained_on) or "films of a source that is not recorded"
    task = (
        f"says how probable a fracture is on a radiograph ({record.modality})"
        if record.label_kind == "fracture"
        else f"names the type of a fracture that a radiograph ({record.modality}) is known to show"
    )
    return (
        f"# {_name_model(model_dir)}\n\n"
        f"`{architecture}` that {task}, trained on {sources} with films letterboxed to {side} x {side} px. Its "
        "probabilities are calibrated.\n\n"
        "**For research and teaching. Not a medical device; no one may be diagnosed or treated on its answer.**"
    )


def _render_figures(record: FractureRecord, evaluation: Mapping[str, Any] | None) -> dict[str, str]:
    """Render the sections that come from `evaluation.json`, by title; of types also those that do not apply."""
    if record.label_kind == "fracture":
        return {title: _render_measured(evaluation, *renderers) for title, renderers in _FIGURES.items()}
    sentence = "Not for a classifier of fracture types: it does not decide whether there is a fracture."
    return dict.fromkeys(_FIGURES, sentence) | {
        "How to use it": _USE_OF_TYPES,
        "Results": _render_measured(evaluation, results.render_types),
        "Parts of the films": "Not measured for fracture types; each type is listed under Results.",
        "Films of another dataset": "Not measured: no other collection at hand names these types.",
        "Heatmaps": "Not measured: the training films mark no fracture on which a map could be scored.",
        "Input gate": "None: it answers every picture, also one that is no radiograph.",
    }


def _render_measured(evaluation: Mapping[str, Any] | None, *renderers: Callable[[Mapping[str, Any]], str]) -> str:
    """Render sections of `evaluation.json`, or say that there is none."""
    if evaluation is None:
        return f"Not measured yet; `hf-fracture evaluate` writes {EVALUATION_NAME}."
    with _expecting_schema(EVALUATION_NAME):
        return "\n\n".join(text for render in renderers if (text := render(evaluation)))


def _render_other(measured: Mapping[str, Any], name: str, render: Callable[[Mapping[str, Any] | None], str]) -> str:
    """Render a section from another measurement, by its file name."""
    with _expecting_schema(name):
        return render(measured[name])


@contextmanager
def _expecting_schema(name: str) -> Iterator[None]:
    """Say which file does not hold what its section is rendered from."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, IndexError, ValueError) as error:
        raise ModelFolderError(
            f"Expected {name} to follow its schema, but {error!r}. Measure again, or remove the file."
        ) from error


def _render_gate(gate: Mapping[str, Any] | None) -> str:
    """Render whom the gate refused, with what keeps the figures from being held out."""
    caveat = (
        "The limits of its cheap image tests were set by looking at all films of FracAtlas, those of the test split "
        "among them; its other limits come from validation films. So refusals of FracAtlas films are no held-out "
        "figures, and say little about films of other clinics; the rows of other collections say more."
    )
    table = _render_leaves(gate)
    return table if gate is None else f"{caveat}\n\n{table}"


def _render_leaves(content: Mapping[str, Any] | None) -> str:
    return "Not measured yet for this model." if not content else render_table(["what", "value"], flatten(content))


def _render_training(run: Mapping[str, Any] | None) -> str:
    """Render what `run.json` says, without the log of the epochs."""
    if run is None:
        return "Not recorded."
    facts = {key: value for key, value in run.items() if key != "epochs"}
    backbone = _find_backbone(run)
    if backbone is not None:
        facts["recipe"] = {**run["recipe"], "backbone": backbone}
    return render_table(["setting", "value"], flatten(facts))


def _render_limits(record: FractureRecord) -> str:
    if record.label_kind == "fracture":
        screening, rule_in = (
            format_number(value, decimals=4) for value in (record.triage.screening, record.triage.rule_in)
        )
        answer = (
            f"The answer depends on the thresholds {screening} and {rule_in}, chosen on validation films of the "
            "training data; at another prevalence or another clinic they have to be chosen again."
        )
        where = "how often that is, Results and Operating points say; on which films, Parts of the films."
    else:
        where = "how often that is, and for which types, Results say."
        answer = "It names a type for every film, also for one without a fracture: ask another model for that first."
    lines = [
        f"For research on fracture classifiers and for teaching, on single films of modality {record.modality}. Not "
        "for diagnosis, triage or treatment of anybody: it is no medical device and was not studied in a clinic.",
        answer,
        "It knows nothing but its classes: no other finding, no history, no second view.",
        f"Who uses it should know radiographs well enough to see where it is wrong: {where}",
        "A high figure on one public dataset is no evidence of clinical benefit.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _render_provenance(evaluation: Mapping[str, Any] | None) -> str:
    if evaluation is None:
        return f"Not measured yet; `hf-fracture evaluate` writes {EVALUATION_NAME}."
    parts = [name for name in ("model", "dataset", "software", "bootstrap") if name in evaluation]
    return render_table(["what", "value"], [leaf for part in parts for leaf in flatten(evaluation[part], f"{part}: ")])


def _find_licence(record: FractureRecord) -> str | None:
    """Return the licence of the weights, or None where a source does not allow passing films on.

    Weights that were trained on nothing but redistributable sources carry the package's own licence.
    """
    sources = [SOURCES.get(name) for name in record.trained_on]
    is_open = bool(sources) and all(source is not None and source.redistributable for source in sources)
    return "apache-2.0" if is_open else None


def _find_backbone(run: Mapping[str, Any] | None) -> str | None:
    """Return the Hub id, or the name of the folder, that training started from."""
    backbone = str((run or {}).get("recipe", {}).get("backbone") or "")
    if backbone in BACKBONES:
        return BACKBONES[backbone].hub_id
    is_hub_id = backbone.count("/") == 1 and not backbone.startswith((".", "/", "~"))
    return (backbone if is_hub_id else Path(backbone).name) or None


def _name_model(model_dir: Path) -> str:
    model_type = read_json(model_dir / "config.json").get("model_type", "model")
    return f"hf-fracture-{model_type}-{read_preprocessing(model_dir).size_px}px"


def _title_dataset(name: str) -> str:
    return SOURCES[name].title if name in SOURCES else str(name)


_USE_OF_TYPES: Final = """\
`MODEL` is this repository's id or a folder. With transformers, for a film that is known to show a fracture:

```python
from transformers import pipeline

answers = pipeline("image-classification", model=MODEL)("wrist.png")  # the most probable types first
```

Without torch, `onnx/model.onnx` gives the logits of the classes of `config.json` for `pixel_values` (N, 3, S, S): a
film letterboxed as the file's metadata say (see Exports). `hf-fracture evaluate MODEL DATASET --target
fracture_type --out DIR` measures it on films of your own."""
_USE: Final = """\
`MODEL` is this repository's id or a folder.

With transformers alone, and no code of ours:

```python
from transformers import pipeline

answers = pipeline("image-classification", model=MODEL)("wrist.png")  # calibrated probabilities
```

With this package, which also decides, refuses what is no radiograph, reads DICOM and 16-bit files, and explains:

```python
from hf_fracture import FractureClassifier

classifier = FractureClassifier.from_pretrained(MODEL)
finding = classifier.predict("wrist.png")
attribution = classifier.explain("wrist.png", method="grad_cam")
```

From a shell: `hf-fracture predict films/ --model MODEL --csv findings.csv`; as a page on your own machine: `hf-fracture
demo --model MODEL`. In the browser, with no server that sees the film: the Space of this project carries a static page
that runs `onnx/model.onnx` of this repository (see Exports)."""
