"""How well can a perfect reader do on FracAtlas' labels? What films that were labelled twice say of it.

    python scripts/label_ceiling.py DATASET

DATASET: prepared FracAtlas. Its release holds near-copies of films, each with a label of its own: pairs of copies
with opposite labels show how often a label is wrong, though not which of the two is. Hence three readings: fractures
are only ever invented, labels err alike both ways, or fractures are only ever missed. For each: the rate of error,
and the AUROC that the film's true state would reach against labels with that error at the prevalence of the test
split. A model that errs where labels err can exceed it, and films with copies of opposite labels are in no validation
or test split. Intervals: 95 %, bootstrap over groups of copies. Writes scripts/results/label_ceiling.json; takes
seconds.
"""

import argparse
from math import sqrt
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hf_fracture.evaluation.bootstrap import bootstrap, estimate
from hf_fracture.evaluation.films import load_splits
from hf_fracture.labels import FRACTURED
from hf_fracture.models.checkpoint import read_json, write_json

RESULT_PATH: Final = Path(__file__).resolve().parent / "results" / "label_ceiling.json"
READINGS: Final = ("invented fractures only", "errors both ways", "missed fractures only")


def find_error_rates(both: float, one: float, none: float) -> tuple[float, float, float]:
    """Return the rate of error under each of `READINGS`.

    Args:
        both: Pairs labelled fractured twice.
        one: Pairs with opposite labels.
        none: Pairs labelled fractured never.

    Errors both ways at rate e make 2 e (1 - e) of all pairs opposite. Fractures missed at rate m leave the pairs of a
    fractured film labelled fractured twice and once in the ratio (1 - m) to 2 m; invented ones alike, on intact films.

    >>> [round(rate, 3) for rate in find_error_rates(both=81, one=18, none=1)]
    [0.9, 0.1, 0.1]
    """
    opposite = min(one / (both + one + none), 0.5)
    return one / (2 * none + one), (1 - sqrt(1 - 2 * opposite)) / 2, one / (2 * both + one)


def find_ceiling(prevalence: float, *, missed: float, invented: float) -> float:
    """Return the AUROC of the true state against labels with errors.

    Args:
        prevalence: Share of films labelled fractured.
        missed: Share of fractured films labelled intact.
        invented: Share of intact films labelled fractured.

    >>> find_ceiling(0.2, missed=0, invented=0)
    1.0
    >>> round(find_ceiling(0.2, missed=0.2, invented=0), 4)  # 1 in 16 films labelled intact is fractured
    0.9688
    """
    true = max(prevalence - invented, 0.0) / (1 - missed - invented)
    among_fractured, among_intact = true * (1 - missed) / prevalence, true * missed / (1 - prevalence)
    return (1 + among_fractured - among_intact) / 2


def measure(counts: NDArray[np.float64], prevalence: float) -> NDArray[np.float64]:
    """Return the rates and then the ceilings under each reading, (N, 6), for pair counts (both, one, none), (N, 3)."""
    rows = []
    for both, one, none in counts:
        invented, alike, missed = find_error_rates(both, one, none) if one else (0.0, 0.0, 0.0)
        errors = ((0.0, invented), (alike, alike), (missed, 0.0))
        ceilings = [find_ceiling(prevalence, missed=first, invented=second) for first, second in errors]
        rows.append([invented, alike, missed, *ceilings])
    return np.array(rows)


def main() -> None:
    """Count, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, metavar="DATASET")
    args = parser.parse_args()
    splits = load_splits(str(args.dataset))
    prevalence = float(np.mean(np.asarray(splits["test"]["label"][:]) == FRACTURED))
    group_of = {
        path: group
        for part in splits.values()
        for path, group in zip(part["source_path"], part["group_id"], strict=True)
    }
    label_of = {
        path: label for part in splits.values() for path, label in zip(part["source_path"], part["label"], strict=True)
    }
    links = [
        link
        for link in read_json(args.dataset / "audit.json")["links"]
        if link["first"] in label_of and link["second"] in label_of
    ]
    fractured = np.array([sum(label_of[link[end]] == FRACTURED for end in ("first", "second")) for link in links])
    kinds = np.stack([fractured == number for number in (2, 1, 0)], axis=1).astype(float)
    groups = [group_of[link["first"]] for link in links]

    def resample(weights: Any) -> dict[str, Any]:
        values = measure(weights @ kinds, prevalence)
        return {str(column): values[:, column] for column in range(values.shape[1])}

    resampled = bootstrap(resample, np.asarray(groups))
    values = measure(kinds.sum(axis=0)[None], prevalence)[0]
    # A reading rests on the pairs that can speak for it: with an intact label, with any, with a fractured one.
    num_groups = [len({groups[row] for row in np.flatnonzero(fractured != without)}) for without in (2, -1, 0)]
    figures = [
        estimate(float(value), resampled[str(column)], num_groups=num_groups[column % len(READINGS)]).to_dict()
        for column, value in enumerate(values)
    ]
    counts = dict(
        zip(("fractured twice", "opposite labels", "intact twice"), kinds.sum(axis=0).astype(int).tolist(), strict=True)
    )
    rows = {
        reading: {"rate of error": figures[number], "AUROC of a perfect reader": figures[number + len(READINGS)]}
        for number, reading in enumerate(READINGS)
    }
    write_json(RESULT_PATH, {"pairs of copies": counts, "prevalence": prevalence, "readings": rows})
    print(RESULT_PATH.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
