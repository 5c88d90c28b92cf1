"""The rule against pictures that are no films: by hand, on data that a line divides, and its file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hf_fracture.errors import ModelFolderError, UsageError
from hf_fracture.inference.discriminant import (
    ALTERED_PASSED_FRACTION,
    Discriminant,
    fit_discriminant,
    summarise_maps,
)
from hf_fracture.inference.gate import FeatureStatistics, fit_gate, judge_features, judge_maps, load_gate, save_gate

RULE = Discriminant(
    centre=np.zeros(2, np.float32),
    scale=np.ones(2, np.float32),
    supports=np.asarray([[0, 0], [48, 32]], np.int8),  # (0, 0) and (3, 2) standard deviations
    weights=np.asarray([-1.0, 2.0], np.float32),
    width=0.1,
    offset=0.25,
    ordinary=0.0,
    limit=2.0,
)


def draw(rng: np.random.Generator, num: int, centre: float) -> NDArray[np.float32]:
    return np.abs(rng.normal(centre, 0.2, (num, 6))).astype(np.float32)


@pytest.fixture
def fitted() -> tuple[Discriminant, NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    films, pictures = draw(rng, 300, 1.0), draw(rng, 60, 3.0)
    validation, altered = draw(rng, 200, 1.0), draw(rng, 200, 1.2)
    return fit_discriminant(films, pictures, validation=validation, altered_validation=altered), altered, pictures


def test_value_of_a_hand_computed_case() -> None:
    features = 0.01 * np.expm1(np.asarray([[3.0, 1.0]]))  # logarithms (3, 1): squared distances 10 and 1
    expected = -np.exp(-1.0) + 2 * np.exp(-0.1) + 0.25
    assert RULE.values(features)[0] == pytest.approx(expected)
    assert RULE.scores(features)[0] == pytest.approx(expected / 2)
    assert replace(RULE, ordinary=1.0).scores(features)[0] == pytest.approx(expected - 1)


def test_score_is_never_negative_and_a_far_feature_counts_no_more_than_its_bound() -> None:
    assert RULE.scores(np.asarray([[0.0, 0.0]]))[0] == 0.0
    far, farther = (RULE.values(0.01 * np.expm1(np.asarray([[x, 0.0]])))[0] for x in (9.0, 20.0))
    assert far == farther != RULE.values(0.01 * np.expm1(np.asarray([[7.9, 0.0]])))[0]


def test_rule_is_the_support_vector_machine_that_was_fitted() -> None:
    from sklearn.svm import SVC

    rng = np.random.default_rng(4)
    films, pictures = draw(rng, 120, 1.0), draw(rng, 40, 2.0)
    rule = fit_discriminant(films, pictures, validation=films, altered_validation=films)
    logarithms = np.log1p(np.concatenate([films, pictures]) / 0.01)
    rows = (logarithms - logarithms[:120].mean(axis=0)) / logarithms[:120].std(axis=0)
    is_picture = np.arange(160) >= 120
    model = SVC(C=3.0, class_weight="balanced").fit(np.rint(rows.clip(-7.9375, 7.9375) * 16) / 16, is_picture)
    np.testing.assert_allclose(
        rule.values(np.concatenate([films, pictures])), model.decision_function(rows.clip(-7.9375, 7.9375)), atol=1e-4
    )


def test_fitted_rule_tells_pictures_from_films_it_has_not_seen(
    fitted: tuple[Discriminant, NDArray[np.float32], NDArray[np.float32]],
) -> None:
    rule, altered, _ = fitted
    rng = np.random.default_rng(1)
    assert (rule.scores(draw(rng, 100, 3.0)) > 1).all()
    assert (rule.scores(draw(rng, 200, 1.0)) > 1).mean() <= 0.02
    assert (rule.scores(altered) > 1).mean() <= 1 - ALTERED_PASSED_FRACTION


def test_widths_that_differ_and_empty_sets_are_refused() -> None:
    films = np.ones((4, 6), np.float32)
    with pytest.raises(UsageError, match="one width"):
        fit_discriminant(films, films[:, :4], validation=films, altered_validation=films)
    with pytest.raises(UsageError, match="2 or more"):
        fit_discriminant(films, films[:1], validation=films, altered_validation=films)
    with pytest.raises(UsageError, match="gate's own model"):
        RULE.values(films)


def test_summary_is_mean_and_largest_value() -> None:
    maps = np.asarray([[[[1.0, 3.0]], [[0.0, 8.0]]]], np.float32)
    assert summarise_maps(maps).tolist() == [[2.0, 4.0, 3.0, 8.0]]


def test_gate_takes_the_worse_of_distance_and_rule_and_survives_its_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    maps = rng.uniform(0.5, 1.5, (40, 3, 2, 2)).astype(np.float32)
    statistics: FeatureStatistics = fit_gate(maps.mean(axis=(2, 3)), maps.mean(axis=(2, 3)))
    stern = Discriminant(
        centre=np.zeros(6, np.float32),
        scale=np.ones(6, np.float32),
        supports=np.zeros((1, 6), np.int8),
        weights=np.zeros(1, np.float32),
        width=1.0,
        offset=3.0,
        ordinary=0.0,
        limit=1.0,
    )
    guarded = replace(statistics, discriminant=stern)
    save_gate(guarded, tmp_path)
    loaded = load_gate(tmp_path)
    assert loaded is not None
    for verdict, plain in zip(
        judge_maps(loaded, maps), judge_features(statistics, maps.mean(axis=(2, 3))), strict=True
    ):
        assert verdict.score == pytest.approx(max(3.0, plain.score))
        assert [reason.code for reason in verdict.reasons] == ["not_a_radiograph"]
    assert [verdict.score for verdict in judge_maps(statistics, maps)] == [
        verdict.score for verdict in judge_features(statistics, maps.mean(axis=(2, 3)))
    ]


def test_gate_file_with_half_a_rule_is_damaged(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    maps = np.random.default_rng(3).uniform(0.5, 1.5, (40, 3)).astype(np.float32)
    path = save_gate(replace(fit_gate(maps, maps), discriminant=RULE), tmp_path)
    tensors = load_file(path)
    del tensors["discriminant.limit"]
    save_file(tensors, path)
    with pytest.raises(ModelFolderError, match="Fit the gate again"):
        load_gate(tmp_path)


def test_gate_file_whose_rule_does_not_fit_together_is_damaged(tmp_path: Path) -> None:
    maps = np.random.default_rng(3).uniform(0.5, 1.5, (40, 3)).astype(np.float32)
    odd = replace(RULE, supports=np.zeros((2, 3), np.int8))
    save_gate(replace(fit_gate(maps, maps), discriminant=odd), tmp_path)
    with pytest.raises(ModelFolderError, match="do not fit together"):
        load_gate(tmp_path)
