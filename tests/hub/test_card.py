"""Cards and tables say what the measurement files say, and refuse files that do not belong together.

After a wanted change of the card, look at the one that `render_card` gives for `model_folder` and store it as
`model_folder_card.md`.
"""

import functools
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData, parse_eval_result_entries

from hf_fracture.config import FractureRecord
from hf_fracture.data.ledger import load_ledger
from hf_fracture.errors import MissingInputError, ModelFolderError, OutputExistsError, UsageError
from hf_fracture.evaluation.figures import Resampling
from hf_fracture.evaluation.measured_model import hash_weights
from hf_fracture.evaluation.predictions import build_predictions
from hf_fracture.evaluation.report import Provenance, evaluate_predictions, write_evaluation
from hf_fracture.hub import checklists, origins, results
from hf_fracture.hub.card import (
    EVAL_RESULTS_PATH,
    REQUIRED_SECTIONS,
    check_card,
    compare_card,
    render_card,
    render_readme,
    write_card,
)
from hf_fracture.hub.markdown import format_estimate, render_table, replace_section
from hf_fracture.models.checkpoint import DEFAULT_MODEL_DIR, read_json

GOLDEN_DIR = Path(__file__).resolve().parent / "model_folder"
WEIGHTS = b"the weights of the golden card"
EditJson = Callable[[str, Callable[[dict[str, Any]], object]], None]


def read_front_matter(card: str) -> ModelCardData:
    data = ModelCard(card).data
    assert isinstance(data, ModelCardData)
    return data


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    """Return a copy of the golden model folder, with weights of the hash that its evaluation names."""
    folder = shutil.copytree(GOLDEN_DIR, tmp_path / "model")
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    return folder


@pytest.fixture
def edit_json(model_dir: Path) -> EditJson:
    """Return a function that changes one file of the folder."""

    def edit(name: str, change: Callable[[dict[str, Any]], object]) -> None:
        content = read_json(model_dir / name)
        change(content)
        (model_dir / name).write_text(json.dumps(content), encoding="utf-8")

    return edit


def test_card_is_the_stored_one(model_dir: Path) -> None:
    golden = GOLDEN_DIR.with_name("model_folder_card.md").read_text(encoding="utf-8")
    assert render_card(model_dir) == golden


def test_front_matter_carries_the_measured_figures(model_dir: Path) -> None:
    evaluation = read_json(model_dir / "evaluation.json")
    data = read_front_matter(render_card(model_dir))
    assert (data.license, data.base_model, data.datasets) == ("apache-2.0", "microsoft/resnet-18", ["fracatlas"])
    published = {result.metric_name: result.metric_value for result in data.eval_results or []}
    points = evaluation["operating_points"]["points"]
    assert published["auroc"] == evaluation["metrics"]["auroc"]["value"]
    assert published["sensitivity at rule-in"] == points["rule_in"]["metrics"]["sensitivity"]["value"]
    assert len(published) == 2 + 2 * len(points)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("evaluation.json", "`hf-fracture evaluate` writes evaluation.json."),
        ("attribution.json", "has to be measured. Not measured yet for this model."),
        ("gate.json", "## Input gate\n\nNot measured yet for this model."),
        ("run.json", "## Training\n\nNot recorded."),
        ("run.json", "## Environmental cost\n\nNot recorded."),
        ("cross_dataset.json", "Not measured yet; `scripts/cross_dataset.py` measures it."),
        ("cross_dataset.json", "| Open: not measured for these weights (cross_dataset.json). |"),
        ("evaluation.json", "| hand |  |  | not measured |"),
    ],
)
def test_missing_measurement_is_said_to_be_missing(model_dir: Path, name: str, sentence: str) -> None:
    assert sentence not in render_card(model_dir)
    (model_dir / name).unlink()
    assert sentence in render_card(model_dir)


def test_exports_are_shown_as_measured(model_dir: Path) -> None:
    content = {"model_sha256": hashlib.sha256(WEIGHTS).hexdigest(), "int8": {"auroc_loss": 0.0012}}
    (model_dir / "export.json").write_text(json.dumps(content), encoding="utf-8")
    assert "| int8: auroc loss | 0.0012 |" in render_card(model_dir)


MEASURED = ["evaluation.json", "attribution.json", "gate.json", "cross_dataset.json"]


@pytest.mark.parametrize("name", MEASURED)
def test_measurement_of_other_weights_is_refused(model_dir: Path, name: str) -> None:
    for other in {*MEASURED} - {name}:
        (model_dir / other).unlink()
    (model_dir / "model.safetensors").write_bytes(WEIGHTS + b".")
    with pytest.raises(ModelFolderError, match=f"Expected {name} to measure .* it measured others"):
        render_card(model_dir)


def test_only_a_map_clearly_above_both_baselines_beats_them(model_dir: Path, edit_json: EditJson) -> None:
    def verdict() -> str:
        rows = render_card(model_dir).splitlines()
        return next(row for row in rows if row.startswith("| grad_cam |")).split(" | ")[-1]

    assert verdict() == "yes |"
    edit_json("attribution.json", lambda content: content["methods"]["grad_cam"].update(beats_baselines=False))
    assert verdict() == "no |"
    edit_json("attribution.json", lambda content: content["methods"]["grad_cam"].pop("beats_baselines"))
    assert verdict() == "yes |"
    edit_json("attribution.json", lambda content: content["methods"]["grad_cam"]["peak_in_region"].update(lower=0.094))
    assert verdict() == "no |"


def test_evaluation_at_other_thresholds_is_refused(model_dir: Path, edit_json: EditJson) -> None:
    edit_json("config.json", lambda config: config["fracture"]["operating_points"]["balanced"].update(threshold=0.36))
    with pytest.raises(ModelFolderError, match=r"operating points of config\.json"):
        render_card(model_dir)


def test_evaluation_of_another_schema_is_refused(model_dir: Path, edit_json: EditJson) -> None:
    edit_json("evaluation.json", lambda content: content.update(schema_version=3))
    with pytest.raises(ModelFolderError, match="of schema 2, got 3"):
        render_card(model_dir)


def test_evaluation_with_a_missing_figure_is_refused(model_dir: Path, edit_json: EditJson) -> None:
    edit_json("evaluation.json", lambda content: content["calibration"]["after"].pop("slope"))
    with pytest.raises(ModelFolderError, match="/calibration/after/slope is missing"):
        render_card(model_dir)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("attribution.json", lambda content: content.pop("methods")),
        ("attribution.json", lambda content: content.update(baselines={})),
        ("attribution.json", lambda content: content.update(methods=["grad_cam"])),
        ("attribution.json", lambda content: content["baselines"]["centre"].pop("peak_in_region")),
        ("cross_dataset.json", lambda content: content["model_rows"][0].pop("auroc")),
        ("cross_dataset.json", lambda content: content.update(model_rows=None)),
    ],
)
def test_another_measurement_that_is_not_whole_is_named(
    model_dir: Path, edit_json: EditJson, name: str, change: Callable[[dict[str, Any]], object]
) -> None:
    edit_json(name, change)
    with pytest.raises(ModelFolderError, match=f"Expected {name} to follow its schema, but .* Measure again"):
        render_card(model_dir)


def list_figures(content: Any, way: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the way to every figure of a measurement file that has a value or an interval."""
    if isinstance(content, dict):
        for key, part in content.items():
            if isinstance(part, dict) and "value" in part:
                yield (*way, key)
            yield from list_figures(part, (*way, key))
    elif isinstance(content, list):
        for index, part in enumerate(content):
            yield from list_figures(part, (*way, index))


FIGURES = list(list_figures(read_json(GOLDEN_DIR / "evaluation.json")))


@pytest.mark.parametrize("way", FIGURES, ids=lambda way: "/".join(map(str, way)))
def test_deleting_any_one_metric_is_noticed(model_dir: Path, edit_json: EditJson, way: tuple[str | int, ...]) -> None:
    def delete(content: Any) -> None:
        for step in way[:-1]:
            content = content[step]
        del content[way[-1]]

    edit_json("evaluation.json", delete)
    with pytest.raises(ModelFolderError, match="is missing"):
        check_card(model_dir)


def list_digits(text: str) -> list[int]:
    return [match.start() for match in re.finditer(r"\d", text)]


def change_digit(text: str, place: int) -> str:
    return f"{text[:place]}{(int(text[place]) + 1) % 10}{text[place + 1 :]}"


@pytest.mark.parametrize("part", range(20))
def test_changing_any_digit_of_the_card_is_noticed(part: int) -> None:
    # The comparison is that of the test beside it; here it is shown to see each of the card's digits.
    golden = GOLDEN_DIR.with_name("model_folder_card.md").read_text(encoding="utf-8")
    digits = list_digits(golden)
    assert len(digits) > 2000
    for place in digits[part::20]:
        with pytest.raises(ModelFolderError, match="to say what its measurements say, but line"):
            compare_card(golden, change_digit(golden, place), where="the golden card")


def test_a_written_card_says_what_was_measured_until_it_is_edited(model_dir: Path) -> None:
    path = write_card(model_dir)
    check_card(model_dir)
    card = path.read_text(encoding="utf-8")
    path.write_text(change_digit(card, card.index("0.9", card.index("| AUROC |"))), encoding="utf-8")
    with pytest.raises(ModelFolderError, match="Run hf-fracture card --overwrite"):
        check_card(model_dir)
    path.unlink()
    with pytest.raises(MissingInputError, match=r"Expected README\.md"):
        check_card(model_dir)


def test_eval_results_are_read_by_the_hubs_own_class_and_agree_with_model_index(model_dir: Path) -> None:
    card = write_card(model_dir).read_text(encoding="utf-8")
    published = {
        (result.metric_name or "").replace(" ", "_"): result.metric_value
        for result in read_front_matter(card).eval_results or []
    }
    stored = yaml.safe_load((model_dir / EVAL_RESULTS_PATH).read_text(encoding="utf-8"))
    entries = parse_eval_result_entries(stored)
    assert {entry.task_id: entry.value for entry in entries} == published
    assert len(published) == 8
    assert all(entry.dataset_id == "fracatlas" for entry in entries)
    (model_dir / EVAL_RESULTS_PATH).write_text("[]\n", encoding="utf-8")
    with pytest.raises(ModelFolderError, match="eval_results"):
        check_card(model_dir)


def test_card_has_every_section_once_and_in_order(model_dir: Path) -> None:
    titles = [line.removeprefix("## ") for line in render_card(model_dir).splitlines() if line.startswith("## ")]
    assert titles == list(REQUIRED_SECTIONS)


def test_bare_folder_still_gives_every_section(model_dir: Path) -> None:
    for name in (*MEASURED, "run.json"):
        (model_dir / name).unlink()
    card = render_card(model_dir)
    assert [line[3:] for line in card.splitlines() if line.startswith("## ")] == list(REQUIRED_SECTIONS)
    assert not (model_dir / EVAL_RESULTS_PATH).exists()
    assert read_front_matter(card).eval_results is None


def test_leak_figures_are_those_of_the_ledger(model_dir: Path) -> None:
    entries = load_ledger("fracatlas")
    card = render_card(model_dir)
    assert f"| files | {len(entries)} |" in card
    assert f"| different files | {len({entry.sha256 for entry in entries})} |" in card
    assert f"| films in test | {sum(entry.split == 'test' for entry in entries)} |" in card
    assert "| groups with films in more than one of train, validation and test | 0 |" in card


def test_cross_dataset_rows_are_shown_with_the_films_left_out(model_dir: Path) -> None:
    content = read_json(model_dir / "cross_dataset.json")
    card = render_card(model_dir)
    for row in (*content["rows"], *content["model_rows"]):
        assert f"| {row['num_films']} | {row['num_fractured']} | {format_estimate(row['auroc'])} |" in card
    for dataset in content["datasets"].values():
        assert f"{dataset['num_shared']} of {dataset['num_films']} films left out" in card


def test_frames_that_tell_are_named_beside_the_matrix_and_those_that_do_not_are_not() -> None:
    content = read_json(GOLDEN_DIR / "cross_dataset.json")
    rendered = results.render_cross_dataset(content)
    assert "**A forest that sees only size, borders and compression of the films reaches an AUROC of" in rendered
    assert "0.730 (0.660 to 0.800) on FracAtlas**" in rendered
    content["datasets"]["kaggle_multi_region"]["frames"]["above_limit"] = True
    assert "on FracAtlas and 0.580 (0.510 to 0.650) on Fracture Multi-Region" in results.render_cross_dataset(content)
    content["datasets"]["fracatlas"]["frames"]["above_limit"] = False
    content["datasets"]["kaggle_multi_region"]["frames"]["above_limit"] = False
    assert "forest" not in results.render_cross_dataset(content)


def test_checklists_number_every_item_once() -> None:
    assert [item.number for item in checklists.CLAIM] == [str(number) for number in range(1, 45)]
    assert [item.number for item in checklists.TRIPOD_AI] == [str(number) for number in range(1, 28)]


def test_answers_of_a_model_of_types_belong_to_items() -> None:
    topics = {item.topic for item in (*checklists.CLAIM, *checklists.TRIPOD_AI)}
    for items in (checklists.CLAIM, checklists.TRIPOD_AI):
        table = checklists.render_checklist(items, [], names_types=True)
        assert all(f"| {item.number} | {item.topic} | " in table for item in items)
        unmeasured = [line for line in table.splitlines() if "Results" in line and "| Open" not in line]
        assert [line.split(" | ")[1] for line in unmeasured] in (["structured summary"], ["abstract"])
    assert set(checklists._OF_TYPES) <= topics


def test_model_of_types_shows_its_types_and_no_decision(model_dir: Path, edit_json: EditJson) -> None:
    figure = {"value": 0.7, "lower": 0.6, "upper": 0.8, "method": "expanded_percentile"}
    row = {"num_films": 9, **dict.fromkeys(("auroc", "sensitivity", "ppv", "f1"), figure)}
    metrics = {
        **dict.fromkeys(("macro_auroc", "macro_f1", "accuracy", "top_2_accuracy"), figure),
        "per_class": {"spiral": row, "oblique": row},
        "confusion": [[7, 2], [3, 6]],
    }

    def make_types(content: dict[str, Any]) -> None:
        kept = {name: content[name] for name in ("schema_version", "model", "dataset", "software", "bootstrap")}
        cohort = {"num_films": 18, "num_groups": 18, "num_without_type": 0, "films_by_type": {"spiral": 9}}
        content.clear()
        content.update(
            {**kept, "kind": "fracture_type", "cohort": cohort, "labels": ["spiral", "oblique"], "metrics": metrics}
        )

    edit_json("evaluation.json", make_types)
    edit_json("config.json", lambda config: config["fracture"].update(label_kind="fracture_type"))
    card = render_card(model_dir)
    assert "| spiral | 9 | 0.700 (0.600 to 0.800) |" in card
    assert "| oblique | 3 | 6 |" in card
    assert "## Operating points\n\nNot for a classifier of fracture types" in card
    assert "names the type of a fracture that a radiograph (XR) is known to show" in card
    for promise in (
        "how probable a fracture is",
        "hf-fracture predict",
        "hf-fracture demo",
        "probability of a fracture",
    ):
        assert promise not in card
    numbers = [line.split(" | ")[0] for line in card.splitlines() if line.startswith("| 30 | robustness | Open")]
    assert numbers == ["| 30"]
    published = [result.metric_name for result in read_front_matter(card).eval_results or []]
    assert published == ["macro auroc", "macro f1", "accuracy"]


def test_model_of_somebody_else_gets_no_card(model_dir: Path, edit_json: EditJson) -> None:
    edit_json("config.json", lambda config: config.pop("fracture"))
    with pytest.raises(ModelFolderError, match="key 'fracture'"):
        render_card(model_dir)
    with pytest.raises(MissingInputError):
        render_card(model_dir / "nowhere")


@pytest.mark.parametrize("sources", [[], ["kaggle_multi_region"], ["fracatlas", "my films"]])
def test_weights_from_films_that_are_not_open_get_no_licence(
    model_dir: Path, edit_json: EditJson, sources: list[str]
) -> None:
    edit_json("config.json", lambda config: config["fracture"].update(trained_on=sources))
    assert read_front_matter(render_card(model_dir)).license is None


def test_folder_of_a_backbone_is_named_without_its_path(model_dir: Path, edit_json: EditJson) -> None:
    edit_json("run.json", lambda run: run["recipe"].update(backbone="/home/somebody/weights/resnet-18-c4"))
    card = render_card(model_dir)
    assert "| recipe: backbone | resnet-18-c4 |" in card
    assert "somebody" not in card
    assert read_front_matter(card).base_model is None


def test_card_is_overwritten_only_on_request(model_dir: Path, edit_json: EditJson) -> None:
    path = write_card(model_dir)
    assert write_card(model_dir) == path  # the same card again is no conflict
    edit_json("run.json", lambda run: run.update(seconds=1.0))
    with pytest.raises(OutputExistsError, match="--overwrite"):
        write_card(model_dir)
    write_card(model_dir, overwrite=True)
    assert path.read_text(encoding="utf-8") == render_card(model_dir)


def test_what_evaluate_writes_can_be_rendered(model_dir: Path) -> None:
    rng = np.random.default_rng(0)
    y_true = np.arange(80) % 2
    predictions = build_predictions(
        ids=[f"film {index}" for index in range(80)],
        group_ids=[f"group {index // 2}" for index in range(80)],
        y_true=y_true,
        logit_difference=rng.normal(size=80) + 2.0 * y_true - 1.0,
        subgroups={"body_part": [*["hand", "leg"] * 39, None, None]},
    )
    stored = read_json(model_dir / "evaluation.json")
    report = evaluate_predictions(
        None,
        predictions,
        record=FractureRecord.from_dict(read_json(model_dir / "config.json")["fracture"]),
        provenance=Provenance(model=stored["model"], dataset=stored["dataset"]),
        resampling=Resampling(num_resamples=20),
    )
    write_evaluation(report, model_dir / "evaluation.json")
    card = render_card(model_dir)
    assert f"| AUROC | {format_estimate(report.to_dict()['metrics']['auroc'])} |" in card
    assert "80 films in 40 groups, 40 of them fractured" in card


def test_summary_shows_the_headline_and_every_point() -> None:
    evaluation = read_json(GOLDEN_DIR / "evaluation.json")
    attribution = read_json(GOLDEN_DIR / "attribution.json")
    summary = results.render_summary(evaluation, attribution)
    assert format_estimate(evaluation["metrics"]["average_precision"]) in summary
    assert format_estimate(attribution["methods"]["grad_cam"]["peak_in_region"]) in summary
    for point in evaluation["operating_points"]["points"].values():
        assert format_estimate(point["metrics"]["specificity"]) in summary


def test_leak_is_said_beside_the_figures() -> None:
    evaluation = read_json(GOLDEN_DIR / "evaluation.json")
    assert "No copy of a film crosses a split." in results.render_summary(evaluation)
    evaluation["dataset"]["num_leaked_films"] = 7
    assert "7 of these films have a copy in another split, so the figures are inflated." in (
        results.render_summary(evaluation)
    )


def test_shortcut_is_named_beside_the_headline_only_above_the_limit() -> None:
    evaluation = read_json(GOLDEN_DIR / "evaluation.json")
    assert "reaches an AUROC of 0.612 (0.520 to 0.700)**" in results.render_summary(evaluation)
    evaluation["shortcuts"]["frame"]["above_limit"] = False
    assert "forest" not in results.render_summary(evaluation)
    assert "0.612 (0.520 to 0.700)" in results.render_shortcuts(evaluation)


def test_probes_that_were_not_asked_for_are_not_measured() -> None:
    evaluation = {"shortcuts": None, "robustness": None}
    assert results.describe_shortcut(evaluation) == ""
    assert results.render_shortcuts(evaluation).startswith("Not measured yet")
    assert results.render_robustness(evaluation).startswith("Not measured yet")


def test_rows_whose_intervals_were_not_widened_say_so() -> None:
    evaluation = read_json(GOLDEN_DIR / "evaluation.json")
    assert "not widened" not in results.render_robustness(evaluation)
    evaluation["robustness"][0]["auroc"]["method"] = "percentile"
    assert "Intervals of these rows: percentiles, not widened." in results.render_robustness(evaluation)


def test_inflation_table_shows_each_split() -> None:
    figure = {"value": 0.98, "lower": 0.96, "upper": 0.99}
    row = {"protocol": "as published", "num_films": 506, "num_copied": 499, "auroc": figure, "accuracy": figure}
    table = results.render_inflation({"dataset": "kaggle_multi_region", "rows": [row]})
    assert "| as published | 506 | 499 | 0.980 (0.960 to 0.990) | 0.980 (0.960 to 0.990) |" in table
    assert "forest" not in table
    told = row | {"frames": {"auroc": {"value": 0.91, "lower": 0.86, "upper": 0.95}, "above_limit": True}}
    table = results.render_inflation({"dataset": "kaggle_multi_region", "rows": [told, row]})
    assert table.count("0.910 (0.860 to 0.950) on as published**") == 1
    assert "On 'as published' it was taught with copies of the test films" in table
    clean = results.render_inflation({"dataset": "kaggle_multi_region", "rows": [told | {"num_copied": 0}]})
    assert "taught with copies" not in clean


def test_readme_shows_the_shipped_model_on_another_dataset_above_the_matrix(model_dir: Path) -> None:
    own = read_json(model_dir / "cross_dataset.json")
    matrix = {name: part for name, part in own.items() if not name.startswith("model_")}
    sections = [f"<!-- {name}:begin -->\n<!-- {name}:end -->\n" for name in ("results", "inflation", "cross_dataset")]
    readme = render_readme("".join(sections), model_dir, None, matrix)
    rows = [readme.index(format_estimate(row["auroc"])) for row in (*own["model_rows"], own["rows"][0])]
    assert rows == sorted(rows)
    (model_dir / "cross_dataset.json").unlink()
    assert "The model itself" not in render_readme(readme, model_dir, None, matrix)


def test_readme_shows_the_family_in_the_order_of_its_file(model_dir: Path) -> None:
    figure = {"value": 0.91, "lower": 0.86, "upper": 0.95, "method": "wilson"}
    row = {
        "what": "for the browser",
        **dict.fromkeys(("AUROC", "average precision", "peak in region, of detected"), figure),
        "AUROC, clean Kaggle": "",
        "validation AUROC by seed": "0.951, 0.953",
        "MB": 2.9,
        "ms per film": 41.5,
        "training minutes": 80,
        "trained on": "1 CPU thread",
    }
    sections = [f"<!-- {name}:begin -->\n<!-- {name}:end -->\n" for name in ("results", "inflation", "family")]
    shipped = {**row, "what": "shipped", "weights": hash_weights(model_dir)[:12]}
    family = {"members": {"default": shipped, "small": row, "convnext": {**row, "MB": 13}}}
    readme = render_readme("".join(sections), model_dir, None, None, family)
    lines = [line for line in readme.splitlines() if "for the browser" in line]
    assert [line.split(" | ")[0] for line in lines] == ["| small", "| convnext"]
    assert "0.910 (0.860 to 0.950) | 0.910 (0.860 to 0.950) |  | 0.910" in lines[0]
    assert lines[0].endswith("0.951, 0.953 | 2.9 | 41.5 | 80 | 1 CPU thread |")
    assert "scripts/family.py" in render_readme(readme, model_dir, None)
    shipped["weights"] = "0123456789ab"
    with pytest.raises(ModelFolderError, match=r"family.json to hold the shipped weights, but .* \(0123456789ab\)"):
        render_readme(readme, model_dir, None, None, family)


def test_readme_says_what_other_seeds_reach(model_dir: Path) -> None:
    row = {
        "figure": "AUROC",
        "shipped": {"value": 0.922},
        "seed 43": {"value": 0.9191},
        "standard deviation of all": 0.0122,
    }
    other = {**row, "figure": "specificity, rule-in"}
    shipped = {"weights": hash_weights(model_dir)[:12]}
    content = {"runs": {"shipped": shipped, "seed 43": {}}, "figures": [row, other]}
    sections = [f"<!-- {name}:begin -->\n<!-- {name}:end -->\n" for name in ("results", "inflation", "seeds")]
    readme = render_readme("".join(sections), model_dir, None, None, None, content)
    assert "then seed 43 of the same recipe on the same films: AUROC 0.922, 0.919 (standard deviation 0.012)." in readme
    assert "with one seed" in render_readme(readme, model_dir, None)
    shipped["weights"] = "0123456789ab"
    with pytest.raises(ModelFolderError, match=r"reproduction\.json to hold the shipped weights"):
        render_readme(readme, model_dir, None, None, None, content)


@pytest.mark.parametrize(
    ("recipe", "start"),
    [
        ({"backbone": "resnet-18"}, "from pretrained weights whose own training is not counted."),
        ({"backbone": "resnet-18", "pretrained": False}, "from random weights."),
        ({"backbone": "deepconvnet", "pretrained": True}, "from random weights."),
        ({"backbone": "x", "pretrained": False, "teacher": "t, weights 1"}, "beside a teacher (t, weights 1) whose"),
    ],
)
def test_cost_says_what_the_training_started_from(recipe: dict[str, Any], start: str) -> None:
    assert start in origins.render_cost({"seconds": 60, "recipe": recipe})


def test_markers_must_be_there_once() -> None:
    for document in ("", "<!-- x:end --><!-- x:begin -->", "<!-- x:begin --><!-- x:end -->" * 2):
        with pytest.raises(UsageError, match="exactly once"):
            replace_section(document, "x", "new")


def test_table_refuses_ragged_rows_and_keeps_cells_apart() -> None:
    assert render_table(["a"], [["x|y\nz"]]).endswith("| x\\|y z |")
    with pytest.raises(UsageError, match="Expected 2 cells"):
        render_table(["a", "b"], [["1"]])


def test_readme_tables_are_those_of_the_measurements(repository_dir: Path) -> None:
    folder = repository_dir / "scripts" / "results"
    readme = (repository_dir / "README.md").read_text(encoding="utf-8")
    files = [folder / f"{name}.json" for name in ("inflation", "cross_dataset", "family", "reproduction")]
    contents = [read_json(file) if file.is_file() else None for file in files]
    rendered = render_readme(readme, DEFAULT_MODEL_DIR, *contents)
    assert rendered == readme, "Run make style."


def test_model_card_is_that_of_the_shipped_model(repository_dir: Path) -> None:
    if not DEFAULT_MODEL_DIR.is_dir():
        pytest.skip("There is no hf_fracture/default_model yet, so there is nothing to compare model_card.md with.")
    card = render_card(DEFAULT_MODEL_DIR)
    assert (repository_dir / "model_card.md").read_text(encoding="utf-8") == card, "Run make style."
    check_card(DEFAULT_MODEL_DIR)


def list_ways(value: Any) -> Iterator[tuple[str | int, ...]]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield (key,)
        yield from ((key, *rest) for rest in list_ways(part))


@pytest.mark.slow
def test_deleting_any_one_entry_of_the_shipped_evaluation_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(DEFAULT_MODEL_DIR, tmp_path / "model"))
    sha256 = hash_weights(folder)
    monkeypatch.setattr("hf_fracture.hub.card.hash_weights", lambda _: sha256)
    check_card(folder)
    text = (folder / "evaluation.json").read_text(encoding="utf-8")
    ways = list(list_ways(json.loads(text)))
    assert len(ways) > 900
    for way in ways:
        broken = json.loads(text)
        parent = functools.reduce(lambda value, key: value[key], way[:-1], broken)
        del parent[way[-1]]
        (folder / "evaluation.json").write_text(json.dumps(broken), encoding="utf-8")
        with pytest.raises(ModelFolderError):
            check_card(folder)


def test_every_published_figure_of_the_shipped_model_is_that_of_its_evaluation(repository_dir: Path) -> None:
    evaluation = read_json(DEFAULT_MODEL_DIR / "evaluation.json")
    card = (repository_dir / "model_card.md").read_text(encoding="utf-8")
    readme = (repository_dir / "README.md").read_text(encoding="utf-8")
    published = {result.metric_name: result.metric_value for result in read_front_matter(card).eval_results or []}
    for name in ("auroc", "average_precision"):
        assert published[name.replace("_", " ")] == evaluation["metrics"][name]["value"]
        for document in (card, readme):
            assert format_estimate(evaluation["metrics"][name]) in document
    for name, point in evaluation["operating_points"]["points"].items():
        for figure in ("sensitivity", "specificity"):
            assert published[f"{figure} at {name.replace('_', '-')}"] == point["metrics"][figure]["value"]
            for document in (card, readme):
                assert format_estimate(point["metrics"][figure]) in document
