from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from hf_fracture.errors import EvaluationError
from hf_fracture.evaluation.cross_dataset import (
    choose_stand_ins,
    find_shared_groups,
    leave_out,
    measure_ranking,
    pool_predictions,
)
from hf_fracture.evaluation.figures import Resampling
from hf_fracture.evaluation.plots import draw_cost, draw_transfer
from hf_fracture.evaluation.predictions import Predictions, build_predictions

if TYPE_CHECKING:
    from datasets import Dataset

FEW = Resampling(num_resamples=100)
DrawStudy = Callable[..., Predictions]


def build_films(films: list[tuple[str, str, str, Image.Image]]) -> "Dataset":
    """Build rows of (group, path, sha256, image)."""
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageFeature

    features = Features(
        {
            **{name: Value("string") for name in ("group_id", "source_path", "sha256")},
            "image": ImageFeature(),
        }
    )
    rows = [dict(zip(features, film, strict=True)) for film in films]
    return Dataset.from_list(rows, features=features)


def draw(seed: int) -> Image.Image:
    """Draw a film that looks like no other."""
    levels = gaussian_filter(np.random.default_rng(seed).normal(size=(200, 160)), 6)
    return Image.fromarray((255 * (levels - levels.min()) / np.ptp(levels)).astype(np.uint8))


def test_original_stands_for_its_group() -> None:
    films = build_films(
        [
            ("a", "train/36-rotated1.jpg", "1", draw(0)),
            ("a", "train/36.jpg", "2", draw(0)),
            ("b", "val/7-rotated2 (1).jpg", "3", draw(1)),
            ("b", "val/7-rotated2.jpg", "4", draw(1)),
        ]
    )
    assert choose_stand_ins(films) == [1, 3]


def test_shared_groups_are_found_by_content_and_by_looks_on_both_sides() -> None:
    first = build_films(
        [("f0", "0.png", "s0", draw(0)), ("f1", "1.png", "s1", draw(1)), ("f2", "2.png", "s2", draw(2))]
    )
    second = build_films(
        [
            ("k0", "a.png", "t0", draw(0).resize((120, 150)).transpose(Image.Transpose.ROTATE_90)),  # looks like f0
            ("k1", "b.png", "t1", draw(11)),
            ("k1", "b-rotated1.png", "s1", draw(12)),  # a copy of f1, hidden behind the film that stands for its group
            ("k3", "c.png", "t3", draw(13)),
        ]
    )
    assert find_shared_groups(first, second) == ({"f0", "f1"}, {"k0", "k1"})
    assert find_shared_groups(second, first) == ({"k0", "k1"}, {"f0", "f1"})


def test_datasets_without_a_common_film_share_nothing() -> None:
    first = build_films([("f0", "0.png", "s0", draw(20))])
    second = build_films([("k0", "a.png", "t0", draw(21))])
    assert find_shared_groups(first, second) == (set(), set())


def test_shared_films_are_left_out_before_anything_is_measured(draw_study: DrawStudy) -> None:
    study = draw_study(0)
    dropped = set(study.group_ids[:20].tolist())
    kept = ~np.isin(study.group_ids, list(dropped))
    row = measure_ranking(leave_out(study, dropped), resampling=FEW)
    assert row["num_films"] == kept.sum()
    assert row["num_fractured"] == study.y_true[kept].sum()
    assert row["auroc"]["value"] == pytest.approx(roc_auc_score(study.y_true[kept], study.y_prob[kept]))
    assert row["auroc"]["lower"] < row["auroc"]["value"] < row["auroc"]["upper"]


def test_nothing_left_is_refused(draw_study: DrawStudy) -> None:
    study = draw_study(0)
    with pytest.raises(EvaluationError, match=r"Without the .* shared films"):
        leave_out(study, study.group_ids.tolist())
    with pytest.raises(EvaluationError, match="of 1 class"):
        leave_out(study, study.group_ids[study.y_true == 1].tolist())


def shift(study: Predictions, *, by: float, scale: float = 1.0) -> Predictions:
    return build_predictions(
        ids=study.ids.tolist(),
        group_ids=study.group_ids.tolist(),
        y_true=study.y_true,
        logit_difference=scale * study.logit_difference + by,
    )


def test_folds_on_other_scales_pool_alike(draw_study: DrawStudy) -> None:
    parts = [draw_study(seed, prefix=str(seed)) for seed in range(3)]
    moved = [shift(part, by=3.0 * index, scale=1.0 + index) for index, part in enumerate(parts)]
    pooled, same = pool_predictions(parts, one_model=False), pool_predictions(moved, one_model=False)
    assert same.logit_difference == pytest.approx(pooled.logit_difference)
    spoiled = pool_predictions(moved, one_model=True)
    assert measure_ranking(spoiled, resampling=FEW)["auroc"]["value"] < (
        measure_ranking(pooled, resampling=FEW)["auroc"]["value"] - 0.02
    )


def test_one_models_answers_pool_as_they_are(draw_study: DrawStudy) -> None:
    study = draw_study(1)
    half = len(study) // 2
    parts = [study.take(np.arange(half)), study.take(np.arange(half, len(study)))]
    assert pool_predictions(parts, one_model=True).logit_difference == pytest.approx(study.logit_difference)


def test_a_film_in_two_folds_or_no_fold_is_refused(draw_study: DrawStudy) -> None:
    with pytest.raises(EvaluationError, match="predicted once"):
        pool_predictions([draw_study(0), draw_study(0)], one_model=False)
    with pytest.raises(EvaluationError, match="at least one fold"):
        pool_predictions([], one_model=False)


def test_heat_map_names_every_training_and_test() -> None:
    figure = {"value": 0.71, "lower": 0.6, "upper": 0.8, "method": "expanded_percentile"}
    rows = [
        {"trained_on": trained, "tested_on": tested, "num_films": 7, "auroc": figure}
        for trained in (["a"], ["b"], ["a", "b"])
        for tested in ("a", "b")
    ]
    axes = draw_transfer({"rows": rows}).axes[0]
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["0.71\n(0.60 to 0.80)\n7 films"] * 6
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "a\nand b"]


def test_plot_of_cost_shows_every_model_with_its_interval_and_time() -> None:
    auroc = {"value": 0.9, "lower": 0.4, "upper": 0.95, "method": "expanded_percentile"}
    axes = draw_cost({"small": (31.4, auroc), "large": (170, auroc)}).axes[0]
    lines, labels = axes.get_legend_handles_labels()
    assert labels == ["small: 0.900, 31 ms", "large: 0.900, 170 ms"]
    points = [cast(Any, line)[0] for line in lines]
    assert [(*point.get_xdata(), *point.get_ydata()) for point in points] == [(31.4, 0.9), (170, 0.9)]
    assert len({point.get_marker() for point in points}) == 2, "told apart in black and white"
    assert axes.get_ylim()[0] < 0.4
    assert axes.get_xlim()[1] > 170
