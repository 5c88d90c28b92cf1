"""Copies of one film among many: turned by any angle, mirrored, rescaled, re-encoded, cropped a little, brightened.

Candidates are confirmed on pixels, because hashes and descriptors alone confuse different films of the same kind of
bone. May depend on `fingerprints`, `alignment`, `matching` and `splits`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hf_fracture.data.alignment import Alignment, join_alignments
from hf_fracture.data.fingerprints import Fingerprint, fingerprint_image, perceptual_hash
from hf_fracture.data.matching import Matcher
from hf_fracture.data.splits import Components

__all__ = ["DuplicatePair", "Fingerprint", "find_duplicate_pairs", "fingerprint_image", "perceptual_hash"]

Pairs = NDArray[np.intp]
Floats = NDArray[np.float32]

CERTAIN_AGREEMENT: Final = 0.95
MIN_AGREEMENT: Final = 0.85
MIN_LEAD: Final = 0.3
MIN_OVERLAP: Final = 0.7
MAX_STRETCH: Final = 1.5
_CLOSE: Final = 0.99  # candidates whose descriptors are closer are nearly all copies
_NUM_ROUNDS: Final = 8
_BATCH_PAIRS: Final = 16_384
_NUM_RIVALS: Final = 3
_MIN_DEVIATION: Final = 1.0  # grey levels; below it a film is blank and resembles every other blank film


@dataclass(frozen=True, kw_only=True)
class DuplicatePair:
    """Two films that show the same exposure.

    Attributes:
        first: Index of one film; always below `second`.
        second: Index of the other.
        agreement: Normalised cross-correlation of the fine structure after alignment, at most 1 (equal thumbnails).
        mirrored: Whether one is a mirror image of the other.
        rotation_degrees: Angle in (-180, 180] that turns the first into the second, in the square frame.
    """

    first: int
    second: int
    agreement: float
    mirrored: bool = False
    rotation_degrees: float = 0.0


def find_duplicate_pairs(
    fingerprints: Sequence[Fingerprint], *, report_progress: Callable[[int, int], None] | None = None
) -> list[DuplicatePair]:
    """Find copies among films, each confirmed on pixels.

    Candidates are tried from the most to the least similar, and a pair whose films are linked already is not tried
    again: the pairs returned link every group of copies, but need not name each pair inside a large group.

    A pair is a copy beyond doubt at an agreement of 0.95. Between 0.85 and 0.95 it is one if it agrees much better than
    other films of its kind do (`measure_lead`): such pairs are copies that were cropped, windowed or compressed hard,
    and a few repeated exposures of one patient.

    Args:
        fingerprints: One per film.
        report_progress: Called with (candidates done, candidates in all).

    Returns:
        Pairs sorted by (first, second).

    >>> import numpy as np
    >>> pixels = np.random.default_rng(0).integers(0, 255, (128, 128)).astype("uint8")
    >>> film = Fingerprint(thumbnail=pixels, width=128, height=128)
    >>> find_duplicate_pairs([film, film])
    [DuplicatePair(first=0, second=1, agreement=1.0, mirrored=False, rotation_degrees=0.0)]
    """
    if len(fingerprints) < 2:
        return []
    thumbnails = np.stack([fingerprint.thumbnail for fingerprint in fingerprints])
    sizes = np.array([(fingerprint.width, fingerprint.height) for fingerprint in fingerprints], dtype=np.float32)
    representatives, copies = _collapse_equal(thumbnails)
    found = [DuplicatePair(first=first, second=second, agreement=1.0) for first, second in copies]
    kept = representatives[[thumbnails[index, ::2, ::2].std() >= _MIN_DEVIATION for index in representatives]]
    num_rows = np.array([fingerprints[index].num_rows_shown for index in kept], dtype=np.intp)
    if len(kept) < 2:
        return found
    confirmed = _Search(Matcher(thumbnails[kept], sizes[kept], num_rows), len(kept)).run(report_progress)
    found += [replace(pair, first=int(kept[pair.first]), second=int(kept[pair.second])) for pair in confirmed]
    return sorted(found, key=lambda pair: (pair.first, pair.second))


class _Search:
    """The candidates of one search; remembers which films are linked and which pairs were aligned."""

    def __init__(self, matcher: Matcher, num_films: int) -> None:
        self._matcher = matcher
        self._linked = Components(num_films)
        self._pairs: list[Pairs] = [np.empty((0, 2), dtype=np.intp)]
        self._alignments: list[Alignment] = []

    def run(self, report_progress: Callable[[int, int], None] | None) -> list[DuplicatePair]:
        """Align the candidates, leaving out pairs that were linked before, and judge them.

        Large groups of copies are taken first: of their pairs, only so many are aligned in one round as would link
        them all.
        """
        candidates, similarity = self._matcher.find_candidates()
        num_close = int((similarity >= _CLOSE).sum())
        close, others = candidates[:num_close], candidates[num_close:]
        for _ in range(_NUM_ROUNDS):
            close = self._drop_linked(close)
            if len(close) == 0:
                break
            chosen = self._choose_forest(close)
            self._align(close[chosen])
            close = close[~chosen]
            if report_progress is not None:
                report_progress(num_close - len(close), len(candidates))
        others = np.concatenate([close, others])
        for start in range(0, len(others), _BATCH_PAIRS):
            self._align(self._drop_linked(others[start : start + _BATCH_PAIRS]))
            if report_progress is not None:
                report_progress(len(candidates) - max(len(others) - start - _BATCH_PAIRS, 0), len(candidates))
        return _name_copies(np.concatenate(self._pairs), join_alignments(self._alignments))

    def _drop_linked(self, pairs: Pairs) -> Pairs:
        linked = [self._linked.find(first) == self._linked.find(second) for first, second in pairs.tolist()]
        return pairs[~np.array(linked, dtype=np.bool_)]

    def _choose_forest(self, pairs: Pairs) -> NDArray[np.bool_]:
        """Tell which pairs (P,) would link all that these pairs can link, if every one of them were a copy."""
        forest = Components(len(pairs) * 2)
        _, inverse = np.unique([self._linked.find(film) for film in pairs.ravel().tolist()], return_inverse=True)
        chosen = np.zeros(len(pairs), dtype=np.bool_)
        for index, (first, second) in enumerate(inverse.reshape(-1, 2).tolist()):
            if forest.find(first) != forest.find(second):
                forest.join(first, second)
                chosen[index] = True
        return chosen

    def _align(self, pairs: Pairs) -> None:
        if len(pairs) == 0:
            return
        alignment = self._matcher.align(pairs)
        for first, second in pairs[is_certain(alignment)].tolist():
            self._linked.join(first, second)
        self._pairs.append(pairs)
        self._alignments.append(alignment)


def _name_copies(pairs: Pairs, alignment: Alignment) -> list[DuplicatePair]:
    """Return the pairs that are copies: the certain ones, and the likely ones that stand out."""
    accepted = is_certain(alignment)
    likely = is_plausible(alignment) & (alignment.agreement >= MIN_AGREEMENT) & ~accepted
    accepted[likely] = measure_lead(pairs, np.where(accepted, 0.0, alignment.agreement), likely) >= MIN_LEAD
    return [
        DuplicatePair(
            first=int(pairs[index, 0]),
            second=int(pairs[index, 1]),
            agreement=min(round(float(alignment.agreement[index]), 4), 1.0),
            mirrored=bool(np.linalg.det(alignment.maps[index, :, :2]) < 0),
            rotation_degrees=_rotation_degrees(alignment.maps[index]),
        )
        for index in np.flatnonzero(accepted)
    ]


def measure_lead(pairs: Pairs, agreement: Floats, chosen: NDArray[np.bool_]) -> Floats:
    """Measure by how much pairs agree better than other films of their kind do.

    Some kinds of film (a shaft and nothing else, a drawing) agree well with all others of their kind. A copy agrees
    much better with its original than with the third best of the rest.

    Args:
        pairs: (P, 2) indices of films.
        agreement: (P,) in [-1, 1]; 0 for pairs that are copies beyond doubt and say nothing of the kind.
        chosen: (P,) which pairs to measure.

    Returns:
        Difference of Fisher's z for each chosen pair; below 0 if three other pairs agree better.
    """
    score = np.arctanh(np.clip(agreement, -0.999, 0.999))
    members: dict[int, list[int]] = {}
    for position in np.flatnonzero(np.isin(pairs, pairs[chosen]).any(axis=1)).tolist():
        for film in pairs[position].tolist():
            members.setdefault(film, []).append(position)
    leads = []
    for index in np.flatnonzero(chosen):
        rivals = [score[other] for film in pairs[index] for other in members[int(film)] if other != index]
        leads.append(score[index] - (sorted(rivals)[-_NUM_RIVALS] if len(rivals) >= _NUM_RIVALS else 0.0))
    return np.array(leads, dtype=np.float32)


def is_certain(alignment: Alignment) -> NDArray[np.bool_]:
    """Tell which of the aligned pairs (P,) agree so well that nothing else need be known."""
    return is_plausible(alignment) & (alignment.agreement >= CERTAIN_AGREEMENT)


def is_plausible(alignment: Alignment) -> NDArray[np.bool_]:
    """Tell which maps (P,) can come from turning, rescaling and a mild crop."""
    stretch = np.linalg.svd(alignment.maps[:, :, :2], compute_uv=False)  # (P, 2), larger first
    plausible = (stretch[:, 0] < MAX_STRETCH) & (stretch[:, 1] > 1 / MAX_STRETCH)
    return np.asarray(plausible & (alignment.overlap >= MIN_OVERLAP))


def _collapse_equal(thumbnails: NDArray[np.uint8]) -> tuple[Pairs, list[tuple[int, int]]]:
    """Return the first film of each distinct thumbnail, and (first, copy) of each film that repeats one."""
    seen: dict[bytes, int] = {}
    copies = []
    for index, thumbnail in enumerate(thumbnails):
        first = seen.setdefault(thumbnail.tobytes(), index)
        if first != index:
            copies.append((first, index))
    return np.array(list(seen.values()), dtype=np.intp), copies


def _rotation_degrees(affine: Floats) -> float:
    """Return the angle of an affine map (2, 3), a mirror image taken out first."""
    linear = affine[:, :2] @ np.diag([1.0, np.sign(np.linalg.det(affine[:, :2]))])
    return round(float(np.degrees(np.arctan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1]))), 1)
