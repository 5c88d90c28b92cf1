import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.figure import Figure
from PIL import Image

from hf_fracture.config import FractureRecord, OperatingPoint, Triage
from hf_fracture.evaluation.figures import Resampling
from hf_fracture.evaluation.page import render_page
from hf_fracture.evaluation.plots import (
    PLOTS,
    draw_confusion,
    draw_reliability,
    draw_roc,
    render_figure,
    write_plots,
)
from hf_fracture.evaluation.predictions import Predictions, build_predictions
from hf_fracture.evaluation.report import EvaluationReport, Provenance, evaluate_predictions

DrawStudy = Callable[..., Predictions]
RECORD = FractureRecord(
    operating_points={
        "screening": OperatingPoint(threshold=0.1, sensitivity=0.96, specificity=0.5),
        "balanced": OperatingPoint(threshold=0.3, sensitivity=0.8, specificity=0.8),
        "rule_in": OperatingPoint(threshold=0.7, sensitivity=0.5, specificity=0.96),
    },
    temperature=1.4,
    triage=Triage(screening=0.1, rule_in=0.7),
    trained_on=["fracatlas"],
)


def evaluate_study(study: Predictions, *, name: str = "model") -> EvaluationReport:
    return evaluate_predictions(
        None,
        study,
        record=RECORD,
        provenance=Provenance(model={"name": name, "sha256": "0"}, dataset={"name": "films", "split": "test"}),
        resampling=Resampling(num_resamples=60),
    )


@pytest.fixture(scope="module")
def report(draw_study: DrawStudy) -> EvaluationReport:
    return evaluate_study(draw_study(0))


@pytest.fixture(scope="module")
def plot_paths(report: EvaluationReport, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_plots(report, tmp_path_factory.mktemp("plots"))


@pytest.fixture(scope="module")
def page(report: EvaluationReport) -> str:
    return render_page(report)


def collect_texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_every_picture_is_written_twice_and_nothing_else(plot_paths: list[Path]) -> None:
    assert sorted(plot_paths[0].parent.iterdir()) == sorted(plot_paths)
    assert sorted(path.stem for path in plot_paths) == sorted([*PLOTS, *PLOTS])
    for path in plot_paths:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert min(image.size) > 400
        else:
            assert path.read_text().lstrip().startswith("<?xml")


def test_pictures_use_grey_only(plot_paths: list[Path]) -> None:
    for path in plot_paths:
        if path.suffix == ".png":
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB")).astype(int)
            assert np.ptp(pixels, axis=2).max() == 0, path.name


def test_drawing_leaves_the_settings_of_matplotlib_alone(report: EvaluationReport) -> None:
    before = dict(rcParams)
    render_figure(draw_roc(report), "svg")
    assert dict(rcParams) == before


def test_equal_reports_give_equal_files(draw_study: DrawStudy) -> None:
    first, second = (render_figure(draw_roc(evaluate_study(draw_study(1))), "svg") for _ in range(2))
    assert first == second


def test_the_roc_passes_through_its_operating_points(report: EvaluationReport) -> None:
    axes = draw_roc(report).axes[0]
    lines = {str(line.get_label()): np.asarray(line.get_xydata()) for line in axes.lines}
    curve = next(points for label, points in lines.items() if label.startswith("AUROC"))
    marks = [points[0] for label, points in lines.items() if "threshold" in label]
    assert len(marks) == 3
    for mark in marks:
        assert np.abs(curve - mark).max(axis=1).min() < 1e-12


def test_the_confusion_picture_states_the_counts_of_the_file(report: EvaluationReport) -> None:
    texts = collect_texts(draw_confusion(report))
    stated = [int(text.split("\n")[0]) for text in texts]
    points = report.to_dict()["operating_points"]["points"].values()
    expected = [
        point["confusion"][name]
        for point in points
        for name in ("true_negatives", "false_positives", "false_negatives", "true_positives")
    ]
    assert stated == expected


def test_the_reliability_diagram_shows_the_bins_of_the_file(report: EvaluationReport) -> None:
    axes = draw_reliability(report).axes[0]
    drawn = next(line for line in axes.lines if str(line.get_label()).startswith("After"))
    bins = report.to_dict()["calibration"]["after"]["bins"]
    expected = [[part["mean_probability"], part["fractured_fraction"]] for part in bins]
    assert np.allclose(np.asarray(drawn.get_xydata()), expected)


def test_a_perfect_model_can_be_drawn() -> None:
    perfect = build_predictions(
        ids=[f"film {k}" for k in range(40)],
        group_ids=[f"group {k}" for k in range(40)],
        y_true=[0] * 20 + [1] * 20,
        logit_difference=np.concatenate([np.linspace(-6, -4, 20), np.linspace(4, 6, 20)]),
    )
    text = "".join(read_page(render_page(evaluate_study(perfect))).text)
    assert "not defined" in text  # the calibration slope of separated films
    assert "1.000 (0.832 to 1.000)" in text  # Clopper and Pearson for 20 of 20


class TagCollector(HTMLParser):
    """Collect tags, what they load, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        self.tags.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read_page(page: str) -> TagCollector:
    collector = TagCollector()
    collector.feed(page)
    return collector


def test_the_page_needs_nothing_from_elsewhere(page: str) -> None:
    content = read_page(page)
    assert not {"script", "link", "iframe"} & set(content.tags)
    assert len(content.loads) == len(PLOTS)
    assert all(address.startswith("data:image/svg+xml;base64,") for address in content.loads)


def test_the_page_states_the_figures_of_the_file(report: EvaluationReport, page: str) -> None:
    text = "".join(read_page(page).text)
    content = report.to_dict()
    estimates = [content["metrics"]["auroc"], content["operating_points"]["points"]["rule_in"]["metrics"]["npv"]]
    for figure in estimates:
        assert f"{figure['value']:.3f} ({figure['lower']:.3f} to {figure['upper']:.3f})" in text
    assert f"{content['cohort']['num_films']} films in {content['cohort']['num_groups']} independent groups" in text


def test_names_from_outside_cannot_write_html(draw_study: DrawStudy) -> None:
    page = render_page(evaluate_study(draw_study(2), name="<script>alert(1)</script>"))
    assert not re.search(r"<script", page)
    assert "&lt;script&gt;" in page
