"""Does a model keep its rank on films of another dataset: which films both share, and what is measured without them.

Schema of `cross_dataset.json` (version 1). E is a figure with its interval, as in `report`.

- `schema_version`: 1. `recipe`: what every training got. `bootstrap`: as in `evaluation.json`.
- `datasets`: by name `content_sha256`, `split_sha256`, `protocol` (in words, how it is tested), `num_films` (before the
  shared ones are left out), `num_shared` (left out because another dataset of the matrix holds them too), `frames`
  (what a forest makes of the size, borders and compression of the same films, as `measure_frames`).
- `rows`: list of `trained_on` (list of names), `tested_on`, `num_train_films`, `num_films`, `num_groups`,
  `num_fractured`, `auroc` E, `average_precision` E.
- In a model folder also `model_sha256`, and `model_rows`: rows of that model itself, of the same keys less
  `num_train_films`.

May depend on `bootstrap`, `curves`, `figures`, `films`, `predictions`, `shortcuts` and `data`.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hf_fracture.data.films import Film
from hf_fracture.data.fingerprints import fingerprint_image, hash_orientations
from hf_fracture.data.ledger import LedgerEntry
from hf_fracture.data.ledger_entries import render_detail_hash
from hf_fracture.data.sharing import find_in_ledger
from hf_fracture.errors import EvaluationError
from hf_fracture.evaluation.bootstrap import bootstrap, count_rarer_groups, estimate
from hf_fracture.evaluation.curves import RankedFilms
from hf_fracture.evaluation.figures import Resampling
from hf_fracture.evaluation.inputs import Floats
from hf_fracture.evaluation.predictions import Predictions, build_predictions
from hf_fracture.evaluation.shortcuts import REPORTING_LIMIT, score_frames

if TYPE_CHECKING:
    from datasets import Dataset

SCHEMA_VERSION: Final = 1
FILE_NAME: Final = "cross_dataset.json"

_LOWEST_SCORE: Final = 1e-6  # a forest may be certain; a logit may not


def choose_stand_ins(films: "Dataset") -> list[int]:
    """Return the position of one film of each group: the one with the shortest file name, then the first by name.

    Datasets name copies after the original (`36-rotated1.jpg`), so this is the least altered film that they admit to.

    Args:
        films: Rows with the columns `group_id` and `source_path`.
    """
    names = [PurePosixPath(path or "").name for path in films["source_path"]]
    best: dict[str, int] = {}
    for index, group in enumerate(films["group_id"]):
        rival = best.setdefault(group, index)
        best[group] = min(rival, index, key=lambda film: (len(names[film]), names[film], film))
    return sorted(best.values())


def find_shared_groups(first: "Dataset", second: "Dataset") -> tuple[set[str], set[str]]:
    """Return the groups of which the other dataset holds a film too: byte for byte, or by its looks.

    Looks are compared by two hashes in eight orientations between one film of each group, because the films of a group
    are copies of one another.

    Args:
        first: Rows of a prepared dataset.
        second: Rows of another prepared dataset.

    Returns:
        Groups of the first dataset, and of the second.
    """
    contents = [set(films["sha256"]) for films in (first, second)]
    shared = [
        {group for group, sha256 in zip(films["group_id"], films["sha256"], strict=True) if sha256 in there}
        for films, there in ((first, contents[1]), (second, contents[0]))
    ]
    looks = [_read_looks(films.select(choose_stand_ins(films))) for films in (first, second)]
    group_of = [{entry.source_path: entry.group_id for entry in entries} for _, entries in looks]
    for here, there in ((0, 1), (1, 0)):
        for match in find_in_ledger(looks[here][0], looks[there][1]):
            shared[here].add(group_of[here][match.source_path])
            shared[there].add(group_of[there][match.other_path])
    return shared[0], shared[1]


def _read_looks(films: "Dataset") -> tuple[list[Film], list[LedgerEntry]]:
    """Return what `find_in_ledger` compares: each film with its thumbnail, and its entry with the hashes."""
    prints, entries = [], []
    for row in films.select_columns(["image", "source_path", "sha256", "group_id"]):
        thumbnail = fingerprint_image(row["image"]).thumbnail
        film = Film(source_path=row["source_path"], sha256=row["sha256"], thumbnail=thumbnail.tobytes())
        prints.append(film)
        entries.append(
            LedgerEntry(
                source_path=row["source_path"],
                sha256=row["sha256"],
                perceptual_hash=f"{int(hash_orientations(thumbnail[None])[0, 0]):016x}",
                detail_hash=render_detail_hash(film),
                group_id=row["group_id"],
                split="",
                relation="",
                reason="",
            )
        )
    return prints, entries


def leave_out(predictions: Predictions, groups: Collection[str]) -> Predictions:
    """Return the predictions of the films outside some groups.

    Raises:
        EvaluationError: If no film, or films of one class only, would be left.
    """
    kept = ~np.isin(predictions.group_ids, list(groups))
    if len(np.unique(predictions.y_true[kept])) < 2:
        raise EvaluationError(
            f"Without the {int((~kept).sum())} shared films of {len(kept)}, films of both classes must be left, got "
            f"{int(kept.sum())} film(s) of {len(np.unique(predictions.y_true[kept]))} class(es). The datasets are too "
            "much alike to be compared."
        )
    return predictions.take(kept)


def measure_ranking(predictions: Predictions, *, resampling: Resampling | None = None) -> dict[str, Any]:
    """Return counts, and AUROC and average precision with intervals over groups; the measured keys of a row.

    Args:
        predictions: Films of one dataset, without the shared ones.
        resampling: How intervals are obtained; None takes the defaults.
    """
    resampling = resampling or Resampling()
    ranked = RankedFilms(predictions.y_true, predictions.y_prob)

    def measure(weights: Floats | None) -> Mapping[str, Floats]:
        counts = ranked.count_calls(weights)
        return {"auroc": counts.auroc(), "average_precision": counts.average_precision()}

    resampled = bootstrap(measure, predictions.group_ids, num_resamples=resampling.num_resamples, seed=resampling.seed)
    num_groups = count_rarer_groups(predictions.group_ids, predictions.y_true)
    figures = {
        name: estimate(
            float(value[0]), resampled[name], num_groups=num_groups, confidence_level=resampling.confidence_level
        ).to_dict()
        for name, value in measure(None).items()
    }
    return {
        "num_films": len(predictions),
        "num_groups": len(np.unique(predictions.group_ids)),
        "num_fractured": int(predictions.y_true.sum()),
        **figures,
    }


def pool_predictions(parts: Sequence[Predictions], *, one_model: bool) -> Predictions:
    """Join the predictions on several parts of a dataset into one table.

    Models of several folds have logits on scales of their own, so the differences of each part are turned into normal
    scores of their ranks before they are pooled; within a part every rank stays as it is.

    Source: the bias of pooling raw scores is described by Parker, Gunter and Bedo, Stratification bias in low signal
    microarray studies, BMC Bioinformatics 2007.

    Args:
        parts: No film occurs twice.
        one_model: True where one model answered all parts; then its logits stay as they are.

    Raises:
        EvaluationError: If there is no part, or a film occurs in two.
    """
    from scipy.special import ndtri
    from scipy.stats import rankdata

    if not parts:
        raise EvaluationError("Expected the predictions of at least one fold, got none.")
    scores = [
        part.logit_difference if one_model else ndtri((rankdata(part.logit_difference) - 0.5) / len(part))
        for part in parts
    ]
    return build_predictions(
        ids=[name for part in parts for name in part.ids.tolist()],
        group_ids=[group for part in parts for group in part.group_ids.tolist()],
        y_true=np.concatenate([part.y_true for part in parts]),
        logit_difference=np.concatenate(scores),
    )


def measure_frames(pairs: Sequence[tuple["Dataset", "Dataset"]], groups: Collection[str]) -> dict[str, Any]:
    """Measure what a forest makes of the frames of the films that a model is tested on, as `shortcuts.probe_frames`.

    Args:
        pairs: Films to learn from and films to answer; one pair, or one for each fold.
        groups: Groups that are left out of the measured films.

    Returns:
        The counts and `auroc` of `measure_ranking`, `num_training_films` (of the first pair) and `above_limit`.
    """
    from scipy.special import logit

    answers = []
    for train, measured in pairs:
        scores, _ = score_frames(train, measured)
        answers.append(
            build_predictions(
                ids=measured["source_path"],
                group_ids=measured["group_id"],
                y_true=measured["label"],
                logit_difference=logit(np.clip(scores, _LOWEST_SCORE, 1 - _LOWEST_SCORE)),
            )
        )
    figures = measure_ranking(leave_out(pool_predictions(answers, one_model=len(answers) == 1), groups))
    return {
        "num_training_films": len(pairs[0][0]),
        **{name: value for name, value in figures.items() if name != "average_precision"},
        "above_limit": figures["auroc"]["value"] > REPORTING_LIMIT,
    }
