import numpy as np
import pytest
from scipy.stats import norm

from hf_fracture.errors import EvaluationError
from hf_fracture.evaluation.bootstrap import bootstrap
from hf_fracture.evaluation.curves import RankedFilms
from hf_fracture.evaluation.delong import auroc_covariance, auroc_difference
from hf_fracture.evaluation.inputs import Floats, Labels


def draw_pair(seed: int, *, num: int = 120, decimals: int = 12) -> tuple[Labels, Floats, Floats]:
    """Return labels and the correlated probabilities of a better and a worse model."""
    rng = np.random.default_rng(seed)
    y_true = np.concatenate([rng.integers(0, 2, num - 4), [0, 0, 1, 1]])
    shared = rng.normal(size=num)
    first, second = (norm.cdf(gain * y_true + shared + rng.normal(size=num) - 1) for gain in (1.5, 1.0))
    return y_true, first.round(decimals), second.round(decimals)


def plain_covariance(y_true: Labels, probs: list[Floats]) -> Floats:
    """DeLong's formula over every pair of films, as printed."""
    kernels = []
    for prob in probs:
        fractured, intact = prob[y_true == 1][:, None], prob[y_true == 0][None, :]
        kernels.append((fractured > intact) + 0.5 * (fractured == intact))
    v10 = np.cov(np.stack([kernel.mean(axis=1) for kernel in kernels]))
    v01 = np.cov(np.stack([kernel.mean(axis=0) for kernel in kernels]))
    return np.asarray(v10 / (y_true == 1).sum() + v01 / (y_true == 0).sum(), dtype=np.float64)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("decimals", [1, 12])
def test_covariance_equals_the_formula_over_all_pairs(seed: int, decimals: int) -> None:
    y_true, first, second = draw_pair(seed, decimals=decimals)
    _, covariance = auroc_covariance(y_true, np.stack([first, second]))
    assert np.allclose(covariance, plain_covariance(y_true, [first, second]), rtol=1e-9)


def test_four_films_by_hand() -> None:
    # Placements: fractured 1 and 1/2, intact 1 and 1/2; AUROC 3/4; variances 1/8 each, divided by two films each.
    aurocs, covariance = auroc_covariance(np.array([1, 1, 0, 0]), np.array([[0.9, 0.4, 0.5, 0.1]]))
    assert aurocs.tolist() == [0.75]
    assert covariance[0, 0] == pytest.approx(1 / 8 / 2 + 1 / 8 / 2)


def test_the_paired_standard_error_agrees_with_the_bootstrap() -> None:
    y_true, first, second = draw_pair(3, num=400)
    ranked_a, ranked_b = RankedFilms(y_true, first), RankedFilms(y_true, second)
    resampled = bootstrap(
        lambda w: {"gap": ranked_a.count_calls(w).auroc() - ranked_b.count_calls(w).auroc()},
        [str(k) for k in range(400)],
    )["gap"]
    result = auroc_difference(y_true, first, second)
    assert result.standard_error == pytest.approx(float(resampled.std()), rel=0.1)


def test_the_clustered_standard_error_agrees_with_the_grouped_bootstrap() -> None:
    rng = np.random.default_rng(11)
    y_true, first, second = draw_pair(4, num=150)
    y_true, first, second = np.repeat(y_true, 3), np.repeat(first, 3), np.repeat(second, 3)
    flipped = rng.random(450) < 0.3  # a group may hold films of both classes
    y_true = np.where(flipped, 1 - y_true, y_true)
    ids = np.repeat(np.arange(150), 3).astype(str)
    ranked_a, ranked_b = RankedFilms(y_true, first), RankedFilms(y_true, second)
    resampled = bootstrap(lambda w: {"gap": ranked_a.count_calls(w).auroc() - ranked_b.count_calls(w).auroc()}, ids)[
        "gap"
    ]
    grouped = auroc_difference(y_true, first, second, group_ids=ids)
    assert grouped.standard_error == pytest.approx(float(resampled.std()), rel=0.1)


def test_copies_in_a_group_do_not_add_certainty() -> None:
    y_true, first, second = draw_pair(5)
    alone = auroc_difference(y_true, first, second)
    ids = np.tile(np.arange(len(y_true)).astype(str), 4)
    copied = auroc_difference(np.tile(y_true, 4), np.tile(first, 4), np.tile(second, 4), group_ids=ids)
    assert copied.standard_error == pytest.approx(alone.standard_error, rel=1e-9)
    naive = auroc_difference(np.tile(y_true, 4), np.tile(first, 4), np.tile(second, 4))
    assert naive.standard_error < 0.6 * alone.standard_error


def test_swapping_the_models_changes_the_sign_and_nothing_else() -> None:
    y_true, first, second = draw_pair(6)
    forth, back = auroc_difference(y_true, first, second), auroc_difference(y_true, second, first)
    assert forth.difference == pytest.approx(-back.difference)
    assert (forth.lower, forth.upper) == pytest.approx((-back.upper, -back.lower))
    assert forth.p_value == pytest.approx(back.p_value)


def test_the_order_of_the_films_does_not_matter() -> None:
    y_true, first, second = draw_pair(7)
    order = np.random.default_rng(0).permutation(len(y_true))
    shuffled = auroc_difference(y_true[order], first[order], second[order])
    assert shuffled.standard_error == pytest.approx(auroc_difference(y_true, first, second).standard_error)


def test_a_model_does_not_differ_from_itself() -> None:
    y_true, first, _ = draw_pair(8)
    result = auroc_difference(y_true, first, first)
    assert (result.difference, result.standard_error, result.p_value) == (0.0, 0.0, 1.0)


def test_one_group_of_a_class_has_no_variance() -> None:
    with pytest.raises(EvaluationError, match="at least two groups"):
        auroc_difference([0, 0, 1], [0.1, 0.2, 0.9], [0.1, 0.3, 0.8])


def test_models_of_different_films_are_refused() -> None:
    with pytest.raises(EvaluationError, match="y_true 3, y_prob 2"):
        auroc_difference([0, 0, 1], [0.1, 0.2, 0.9], [0.1, 0.3])
