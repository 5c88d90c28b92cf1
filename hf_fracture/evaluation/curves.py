"""Ranking curves of weighted films: ROC, precision-recall, and the figures that are read off them.

Films are sorted once; a resample is then two running sums, which is what makes 2,000 resamples of 100,000 films take
seconds. May depend on `inputs` and `metrics`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from hf_fracture.evaluation.inputs import Floats, Indices, check_binary
from hf_fracture.evaluation.metrics import ConfusionCounts, share

GRID: Final[Floats] = np.linspace(0.0, 1.0, 101)
"""Where the bands of the curves are computed: false positive rates of the ROC, recalls of precision-recall."""


@dataclass(frozen=True, kw_only=True)
class CallCounts:
    """How many films are called fractured at each distinct probability, for each resample.

    Only probabilities at which a fractured film lies ("steps") move the curves up, so true positives are kept for these
    alone; on radiographs they are few, and that is what makes resampling cheap.

    Attributes:
        thresholds: (T,) distinct probabilities, falling.
        called: (B, T) films with a probability of at least the threshold; rises along the row.
        steps: (S,) positions in `thresholds` of the probabilities that fractured films have, rising.
        found: (B, S) fractured films with a probability of at least that of the step; rises along the row.
    """

    thresholds: Floats
    called: Floats
    steps: Indices
    found: Floats

    @property
    def num_fractured(self) -> Floats:
        """Fractured films in each resample, (B,)."""
        return self.found[:, -1]

    @property
    def num_intact(self) -> Floats:
        """Films without fracture in each resample, (B,)."""
        return self.called[:, -1] - self.found[:, -1]

    @property
    def true_positives(self) -> Floats:
        """Fractured films with a probability of at least each threshold, (B, T)."""
        num_steps = np.searchsorted(self.steps, np.arange(len(self.thresholds)), side="right")
        return _prepend_zero(self.found)[:, num_steps]

    @property
    def false_positives(self) -> Floats:
        """Other films with a probability of at least each threshold, (B, T)."""
        return self.called - self.true_positives

    def auroc(self) -> Floats:
        """Return the area under the ROC curve, (B,); NaN for a resample without one of the classes."""
        gained = np.diff(self.found, axis=1, prepend=0.0)
        before, after = self._alarms_around_steps()
        beaten = self.num_intact[:, None] - (before + after) / 2  # a tie counts half
        return share((gained * beaten).sum(axis=1), self.num_fractured * self.num_intact)

    def average_precision(self) -> Floats:
        """Return the precision averaged over the steps in recall, (B,); NaN without fractured films."""
        gained = np.diff(self.found, axis=1, prepend=0.0)
        return share((gained * self._precision_at_steps()).sum(axis=1), self.num_fractured)

    def confusion(self, threshold: float) -> ConfusionCounts:
        """Count calls by truth at one threshold, each count (B,)."""
        num_called = int(np.count_nonzero(self.thresholds >= threshold))
        num_steps = int(np.count_nonzero(self.steps < num_called))
        none = np.zeros(len(self.called))
        called = self.called[:, num_called - 1] if num_called else none
        found = self.found[:, num_steps - 1] if num_steps else none
        return ConfusionCounts(
            true_positives=found,
            false_positives=called - found,
            false_negatives=self.num_fractured - found,
            true_negatives=self.num_intact - (called - found),
        )

    def roc(self) -> tuple[Floats, Floats]:
        """Return false and true positive rates from (0, 0) to (1, 1), both (B, T + 1)."""
        fp, tp = _prepend_zero(self.false_positives), _prepend_zero(self.true_positives)
        return share(fp, fp[:, -1:]), share(tp, tp[:, -1:])

    def precision_recall(self) -> tuple[Floats, Floats]:
        """Return recall (rising) and precision at each threshold, both (B, T)."""
        return share(self.true_positives, self.num_fractured[:, None]), _divide_calls(self.true_positives, self.called)

    def roc_on_grid(self) -> Floats:
        """Return the true positive rate at the false positive rates of `GRID`, (B, 101)."""
        corners = self._alarms_around_steps()
        alarms = np.stack([*corners], axis=2).reshape(len(self.found), -1)  # (B, 2 S): before and after each step
        found = np.repeat(_prepend_zero(self.found), 2, axis=1)[:, 1:-1]
        wanted = self.num_intact[:, None] * GRID
        rates = [np.interp(x, xs, ys) for x, xs, ys in zip(wanted, alarms, found, strict=True)]
        return share(np.stack(rates), self.num_fractured[:, None])

    def precision_on_grid(self) -> Floats:
        """Return the precision at the first threshold that reaches the recalls of `GRID`, (B, 101)."""
        wanted = self.num_fractured[:, None] * GRID - 1e-9
        last = len(self.steps) - 1
        first = np.stack(
            [np.minimum(np.searchsorted(row, values), last) for row, values in zip(self.found, wanted, strict=True)]
        )
        called = np.take_along_axis(self.called, self.steps[first], axis=1)
        return _divide_calls(np.take_along_axis(self.found, first, axis=1), called)

    def _alarms_around_steps(self) -> tuple[Floats, Floats]:
        """Return the false positives just before and at each step, both (B, S)."""
        after = self.called[:, self.steps] - self.found
        earlier = self.called[:, np.maximum(self.steps - 1, 0)] * (self.steps > 0)
        return earlier - _prepend_zero(self.found)[:, :-1], after

    def _precision_at_steps(self) -> Floats:
        return _divide_calls(self.found, self.called[:, self.steps])


class RankedFilms:
    """Films in the order of falling probability, equal probabilities kept together.

    Attributes:
        num_films: N.
        thresholds: (T,) distinct probabilities, falling.
    """

    def __init__(self, y_true: ArrayLike, y_prob: ArrayLike, *, positions: Indices | None = None) -> None:
        """Sort the films.

        Args:
            y_true: (N,) of {0, 1}, both present.
            y_prob: (N,) in [0, 1].
            positions: (N,) where these films stand among those that are weighted; None if they are all of them.

        Raises:
            EvaluationError: If a value leaves its range or one class is missing.
        """
        true, prob = check_binary(y_true, y_prob)
        order = np.argsort(-prob, kind="stable")
        ranked = prob[order]
        ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # last film of each tie
        fractured = np.flatnonzero(true[order] == 1)
        steps, last_of_step = np.unique(np.searchsorted(ends, fractured)[::-1], return_index=True)
        self.num_films = len(true)
        self.thresholds = ranked[ends]
        self._order = order if positions is None else positions[order]
        self._fractured = self._order[fractured]
        self._ends = ends
        self._steps = steps
        self._last_of_step = len(fractured) - 1 - last_of_step

    def count_calls(self, weights: Floats | None = None) -> CallCounts:
        """Count calls at each threshold.

        Args:
            weights: (B, M) how often each film occurs in each resample, in the order in which the films were given, or
                in that of `positions`. None counts every film once (B = 1).
        """
        if weights is None:
            weights = np.ones((1, int(self._order.max()) + 1))
        called = np.cumsum(weights[:, self._order], axis=1)
        found = np.cumsum(weights[:, self._fractured], axis=1)
        return CallCounts(
            thresholds=self.thresholds,
            called=called if len(self._ends) == self.num_films else called[:, self._ends],
            steps=self._steps,
            found=found if len(self._steps) == found.shape[1] else found[:, self._last_of_step],
        )


def _prepend_zero(counts: Floats) -> Floats:
    return np.hstack([np.zeros((len(counts), 1)), counts])


def _divide_calls(found: Floats, called: Floats) -> Floats:
    """Return precision; 0 where a resample calls nothing, because no recall is gained there either."""
    return np.divide(found, called, out=np.zeros_like(called), where=called > 0)
