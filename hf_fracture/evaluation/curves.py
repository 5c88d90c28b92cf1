"""Ranking curves of weighted films: ROC, precision-recall, and the figures that are read off them.

Films are sorted once; a resample is then two running sums, which is what makes 2,000 resamples of 100,000 films take
seconds. May depend on `inputs` and `metrics`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from hf_fracture.evaluation.inputs import Floats, check_binary
from hf_fracture.evaluation.metrics import ConfusionCounts, share

GRID: Final[Floats] = np.linspace(0.0, 1.0, 101)
"""Where the bands of the curves are computed: false positive rates of the ROC, recalls of precision-recall."""


@dataclass(frozen=True, kw_only=True)
class CallCounts:
    """How many films are called fractured at each distinct probability, for each resample.

    Attributes:
        thresholds: (T,) distinct probabilities, falling.
        true_positives: (B, T) fractured films with a probability of at least the threshold; rises along the row.
        false_positives: (B, T) the same for other films.
    """

    thresholds: Floats
    true_positives: Floats
    false_positives: Floats

    def auroc(self) -> Floats:
        """Return the area under the ROC curve, (B,); NaN for a resample without one of the classes."""
        tp, fp = self.true_positives, self.false_positives
        steps = np.diff(fp, axis=1, prepend=0.0)
        heights = tp - np.diff(tp, axis=1, prepend=0.0) / 2  # a tie counts half
        return share((steps * heights).sum(axis=1), tp[:, -1] * fp[:, -1])

    def average_precision(self) -> Floats:
        """Return the precision averaged over the steps in recall, (B,); NaN without fractured films."""
        tp = self.true_positives
        return share((np.diff(tp, axis=1, prepend=0.0) * self._precision()).sum(axis=1), tp[:, -1])

    def confusion(self, threshold: float) -> ConfusionCounts:
        """Count calls by truth at one threshold, each count (B,)."""
        num_called = int(np.count_nonzero(self.thresholds >= threshold))
        if num_called:
            tp, fp = self.true_positives[:, num_called - 1], self.false_positives[:, num_called - 1]
        else:
            tp = fp = np.zeros(len(self.true_positives))
        return ConfusionCounts(
            true_positives=tp,
            false_positives=fp,
            false_negatives=self.true_positives[:, -1] - tp,
            true_negatives=self.false_positives[:, -1] - fp,
        )

    def roc(self) -> tuple[Floats, Floats]:
        """Return false and true positive rates from (0, 0) to (1, 1), both (B, T + 1)."""
        origin = np.zeros((len(self.true_positives), 1))
        fp, tp = np.hstack([origin, self.false_positives]), np.hstack([origin, self.true_positives])
        return share(fp, fp[:, -1:]), share(tp, tp[:, -1:])

    def precision_recall(self) -> tuple[Floats, Floats]:
        """Return recall (rising) and precision at each threshold, both (B, T)."""
        return share(self.true_positives, self.true_positives[:, -1:]), self._precision()

    def roc_on_grid(self) -> Floats:
        """Return the true positive rate at the false positive rates of `GRID`, (B, 101)."""
        return np.stack([np.interp(GRID, fpr, tpr) for fpr, tpr in zip(*self.roc(), strict=True)])

    def precision_on_grid(self) -> Floats:
        """Return the precision at the first threshold that reaches the recalls of `GRID`, (B, 101)."""
        recalls, precisions = self.precision_recall()
        last = recalls.shape[1] - 1
        return np.stack(
            [
                precision[np.minimum(np.searchsorted(recall, GRID - 1e-12), last)]
                for recall, precision in zip(recalls, precisions, strict=True)
            ]
        )

    def _precision(self) -> Floats:
        called = self.true_positives + self.false_positives
        # A weight of 0 for every film above the threshold leaves 0/0; no recall is gained there either.
        return np.divide(self.true_positives, called, out=np.zeros_like(called), where=called > 0)


class RankedFilms:
    """Films in the order of falling probability, equal probabilities kept together.

    Attributes:
        num_films: N.
        thresholds: (T,) distinct probabilities, falling.
    """

    def __init__(self, y_true: ArrayLike, y_prob: ArrayLike) -> None:
        """Sort the films.

        Args:
            y_true: (N,) of {0, 1}, both present.
            y_prob: (N,) in [0, 1].

        Raises:
            EvaluationError: If a value leaves its range or one class is missing.
        """
        true, prob = check_binary(y_true, y_prob)
        self._order = np.argsort(-prob, kind="stable")
        ranked = prob[self._order]
        self._ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # last film of each tie
        self._fractured = (true[self._order] == 1).astype(np.float64)
        self.num_films = len(true)
        self.thresholds = ranked[self._ends]

    def count_calls(self, weights: Floats | None = None) -> CallCounts:
        """Count calls at each threshold.

        Args:
            weights: (B, N) how often each film occurs in each resample, in the order in which the films were given.
                None counts every film once (B = 1).
        """
        ranked = np.ones((1, self.num_films)) if weights is None else weights[:, self._order]
        tp = np.cumsum(ranked * self._fractured, axis=1)
        called = np.cumsum(ranked, axis=1)
        if len(self._ends) < self.num_films:
            tp, called = tp[:, self._ends], called[:, self._ends]
        return CallCounts(thresholds=self.thresholds, true_positives=tp, false_positives=called - tp)
