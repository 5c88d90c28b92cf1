from collections.abc import Callable

import numpy as np
import pytest

from hf_fracture.errors import EvaluationError
from hf_fracture.evaluation.figures import Resampling
from hf_fracture.evaluation.metrics import auroc
from hf_fracture.evaluation.predictions import Predictions, build_predictions
from hf_fracture.evaluation.robustness import measure_alterations

DrawStudy = Callable[..., Predictions]
FEW = Resampling(num_resamples=200)


def answer_again(
    study: Predictions, logit_difference: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
) -> Predictions:
    return build_predictions(
        ids=study.ids.tolist(),
        group_ids=study.group_ids.tolist(),
        y_true=study.y_true,
        logit_difference=logit_difference,
    )


def test_unchanged_answers_have_no_effect(draw_study: DrawStudy) -> None:
    study = draw_study(0)
    effect = measure_alterations(study, {"nothing": study}, threshold=0.4, resampling=FEW)[0]
    assert effect.auroc_change.value == 0.0
    assert effect.flipped_fraction.value == 0.0
    assert effect.mean_probability_shift == 0.0


def test_an_effect_is_altered_minus_original(draw_study: DrawStudy) -> None:
    study = draw_study(1)
    noisy = answer_again(study, study.logit_difference + np.random.default_rng(0).normal(scale=3, size=len(study)))
    effect = measure_alterations(study, {"noise": noisy}, threshold=0.4, resampling=FEW)[0]
    before, after = auroc(study.y_true, study.y_prob), auroc(study.y_true, noisy.y_prob)
    assert effect.auroc.value == pytest.approx(after)
    assert effect.auroc_change.value == pytest.approx(after - before)
    assert after < before
    expected = np.mean((study.y_prob >= 0.4) != (noisy.y_prob >= 0.4))
    assert effect.flipped_fraction.value == pytest.approx(expected)
    assert effect.mean_probability_shift == pytest.approx(np.abs(study.y_prob - noisy.y_prob).mean())


def test_a_shift_of_all_logits_flips_calls_and_leaves_the_ranking(draw_study: DrawStudy) -> None:
    study = draw_study(2)
    shifted = answer_again(study, study.logit_difference + 1.0)
    effect = measure_alterations(study, {"shift": shifted}, threshold=0.4, resampling=FEW)[0]
    assert effect.auroc_change.value == 0.0
    assert effect.flipped_fraction.value is not None
    assert effect.flipped_fraction.value > 0


def test_pairing_makes_the_change_surer_than_the_areas(draw_study: DrawStudy) -> None:
    study = draw_study(3)
    noisy = answer_again(study, study.logit_difference + np.random.default_rng(1).normal(scale=0.3, size=len(study)))
    effect = measure_alterations(study, {"noise": noisy}, threshold=0.4, resampling=FEW)[0]
    widths = []
    for figure in (effect.auroc, effect.auroc_change):
        assert figure.lower is not None
        assert figure.upper is not None
        widths.append(figure.upper - figure.lower)
    assert widths[1] < 0.5 * widths[0]


def test_answers_on_other_films_are_refused(draw_study: DrawStudy) -> None:
    with pytest.raises(EvaluationError, match="same films"):
        measure_alterations(draw_study(4), {"other": draw_study(5, prefix="other")}, threshold=0.4, resampling=FEW)
