"""The gate by features: distances against an independent computation, the limit, and its file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hf_fracture.errors import ModelFolderError, UsageError
from hf_fracture.inference.appearance import MAX_SCORE, Verdict
from hf_fracture.inference.finding import Reason
from hf_fracture.inference.gate import (
    GATE_FILE,
    FeatureStatistics,
    fit_gate,
    judge_features,
    load_gate,
    merge_verdicts,
    pool_features,
    save_gate,
    transform_features,
)


@pytest.fixture
def features() -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(6, 6))
    return ((rng.normal(size=(400, 6)) @ mixing) ** 2).astype(np.float32)


def test_distance_of_a_hand_computed_case() -> None:
    statistics = FeatureStatistics(
        mean=np.array([1.0, 0.0], np.float32),
        components=np.array([[1.0, 0.0]], np.float32),
        variances=np.array([4.0], np.float32),
        residual_variance=0.25,
        limit=1.0,
    )
    film = np.array([[0.01 * np.expm1(3.0), 0.01 * np.expm1(1.0)]])
    # logarithms (3, 1); deviations (2, 1); (2^2 / 4 + 1^2 / 0.25) / 2 = 2.5
    assert statistics.distances(film)[0] == pytest.approx(np.sqrt(2.5))


def test_distance_equals_mahalanobis_with_the_full_covariance(features: NDArray[np.float32]) -> None:
    statistics = fit_gate(features, features)  # 6 channels: 5 components and a residual of one direction
    logarithms = transform_features(features)
    precision = np.linalg.inv(np.cov(logarithms, rowvar=False))
    deviations = logarithms - logarithms.mean(axis=0)
    expected = np.sqrt(np.einsum("nc,cd,nd->n", deviations, precision, deviations) / 6)
    np.testing.assert_allclose(statistics.distances(features), expected, rtol=1e-4)


def test_training_films_lie_at_about_one(features: NDArray[np.float32]) -> None:
    distances = fit_gate(features, features).distances(features)
    assert np.sqrt((distances**2).mean()) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(("fraction", "refused"), [(0.0, 0), (0.01, 4), (0.1, 40)])
def test_limit_refuses_at_most_the_given_share_of_validation(
    features: NDArray[np.float32], fraction: float, refused: int
) -> None:
    statistics = fit_gate(features, features, max_refused_fraction=fraction, tolerance=1.0)
    verdicts = judge_features(statistics, features)
    assert sum(verdict.is_refused for verdict in verdicts) == refused
    assert all(verdict.is_refused == (verdict.score > 1.0) for verdict in verdicts)


def test_tolerance_moves_the_limit_out_in_proportion(features: NDArray[np.float32]) -> None:
    near, far = (fit_gate(features, features, tolerance=tolerance) for tolerance in (1.0, 3.0))
    assert far.limit == pytest.approx(3.0 * near.limit)
    with pytest.raises(UsageError, match="tolerance"):
        fit_gate(features, features, tolerance=0.99)


def test_order_of_the_films_does_not_matter(features: NDArray[np.float32]) -> None:
    shuffled = np.random.default_rng(1).permutation(features)
    first, second = fit_gate(features, features), fit_gate(shuffled, shuffled)
    np.testing.assert_allclose(first.distances(features), second.distances(features), rtol=1e-4)
    assert first.limit == pytest.approx(second.limit, rel=1e-4)


def test_far_film_is_refused_with_a_reason_and_a_bounded_score(features: NDArray[np.float32]) -> None:
    statistics = fit_gate(features, features)
    verdict = judge_features(statistics, features[:1] - 1e9)[0]
    assert verdict.score > 2.0
    assert [reason.code for reason in verdict.reasons] == ["not_a_radiograph"]
    assert judge_features(replace(statistics, limit=1e-6), features[:1])[0].score == MAX_SCORE


def test_channels_that_never_move_do_not_break_the_distance() -> None:
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.uniform(1, 2, size=(50, 2)), np.zeros((50, 3))], axis=1)
    statistics = fit_gate(features, features)
    assert np.isfinite(statistics.distances(features)).all()
    assert judge_features(statistics, np.array([[1.5, 1.5, 5.0, 0.0, 0.0]], np.float32))[0].is_refused


def test_fewer_films_than_channels_are_enough() -> None:
    rng = np.random.default_rng(0)
    train, validation = rng.uniform(size=(20, 64)), rng.uniform(size=(20, 64))
    statistics = fit_gate(train, validation)
    assert len(statistics.components) == 19
    assert not judge_features(statistics, validation.astype(np.float32))[0].is_refused


def test_file_gives_the_same_distances_back(features: NDArray[np.float32], tmp_path: Path) -> None:
    statistics = fit_gate(features, features)
    path = save_gate(statistics, tmp_path)
    assert path.name == GATE_FILE
    assert [entry.name for entry in tmp_path.iterdir()] == [GATE_FILE]
    loaded = load_gate(tmp_path)
    assert loaded is not None
    np.testing.assert_allclose(loaded.distances(features), statistics.distances(features), rtol=1e-6)
    assert loaded.limit == pytest.approx(statistics.limit)


def test_folder_without_statistics_has_no_gate(tmp_path: Path) -> None:
    assert load_gate(tmp_path) is None


@pytest.mark.parametrize("damage", ["cut", "foreign", "empty"])
def test_damaged_file_is_named(features: NDArray[np.float32], tmp_path: Path, damage: str) -> None:
    from safetensors.numpy import save_file

    path = save_gate(fit_gate(features, features), tmp_path)
    if damage == "foreign":
        save_file({"weight": np.zeros(3, np.float32)}, path)
    else:
        path.write_bytes(path.read_bytes()[: 100 if damage == "cut" else 0])
    with pytest.raises(ModelFolderError, match="Fit the gate again"):
        load_gate(tmp_path)


@pytest.mark.parametrize("fraction", [-0.01, 1.0])
def test_fraction_just_outside_its_range_is_refused(features: NDArray[np.float32], fraction: float) -> None:
    with pytest.raises(UsageError, match="max_refused_fraction"):
        fit_gate(features, features, max_refused_fraction=fraction)


@pytest.mark.parametrize(
    ("train", "validation"),
    [
        (np.zeros((1, 4)), np.zeros((5, 4))),
        (np.zeros((5, 4)), np.zeros((0, 4))),
        (np.zeros((5, 4)), np.zeros((5, 3))),
        (np.zeros(5), np.zeros(5)),
        (np.full((5, 4), np.nan), np.zeros((5, 4))),
    ],
)
def test_features_that_cannot_be_fitted_are_refused(
    train: NDArray[np.float64], validation: NDArray[np.float64]
) -> None:
    with pytest.raises(UsageError):
        fit_gate(train, validation)


def test_features_of_another_network_are_refused(features: NDArray[np.float32]) -> None:
    with pytest.raises(UsageError, match="own model"):
        fit_gate(features, features).distances(features[:, :5])


def test_pooling_is_the_mean_over_positions() -> None:
    maps = np.arange(16, dtype=np.float32).reshape(1, 2, 2, 4)
    np.testing.assert_allclose(pool_features(maps), [[3.5, 11.5]])


def test_merged_verdict_keeps_the_worse_score_and_all_reasons() -> None:
    reason = Reason(code="blank", sentence="Blank.")
    assert merge_verdicts(Verdict(0.4), Verdict(1.5, (reason,))) == Verdict(1.5, (reason,))
