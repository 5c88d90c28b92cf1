"""Copies of one film among many: turned by any angle, mirrored, rescaled, re-encoded, cropped a little, brightened.

Candidates come from `candidates`; each is confirmed on pixels by `alignment`, because hashes and descriptors alone
confuse different films of the same kind of bone. May depend on `fingerprints`, `alignment`, `candidates` and `splits`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hf_fracture.data.alignment import LEVELS, Alignment, Detail, Level, align_level, join_alignments, prepare_detail
from hf_fracture.data.candidates import find_neighbours, join_hashes
from hf_fracture.data.fingerprints import (
    THUMBNAIL_PX,
    Fingerprint,
    describe_rings,
    fingerprint_image,
    hash_orientations,
    perceptual_hash,
    sample_polar,
    shrink,
    transform_rings,
)
from hf_fracture.data.splits import Components

__all__ = ["DuplicatePair", "Fingerprint", "find_duplicate_pairs", "fingerprint_image", "perceptual_hash"]

Pairs = NDArray[np.intp]
Floats = NDArray[np.float32]

CERTAIN_AGREEMENT: Final = 0.95
MIN_AGREEMENT: Final = 0.85
MIN_LEAD: Final = 0.3
MIN_OVERLAP: Final = 0.7
MAX_STRETCH: Final = 1.5
START_GATE: Final = 0.55  # coarse agreement of the first guess; copies start at 0.68 or more
EXACT_GUESS: Final = 0.9  # above it the guess may be exact (a plain copy, a flip) and is refined as it stands, too
NUM_NEIGHBOURS: Final = 10
_BATCH_PAIRS: Final = 256
_ALIGN_CHUNK: Final = 16  # keeps one step's arrays in the processor's cache
_PREPARE_CHUNK: Final = 256
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
    kept = representatives[thumbnails[representatives].std(axis=(1, 2)) >= _MIN_DEVIATION]
    num_rows = np.array([fingerprints[index].num_rows_shown for index in kept], dtype=np.intp)
    if len(kept) < 2:
        return found
    films = _Films(thumbnails[kept], sizes[kept], num_rows)
    confirmed = films.confirm_candidates(report_progress)
    found += [replace(pair, first=int(kept[pair.first]), second=int(kept[pair.second])) for pair in confirmed]
    return sorted(found, key=lambda pair: (pair.first, pair.second))


class _Films:
    """The distinct films of one search, with what candidates and first guesses need."""

    def __init__(self, thumbnails: NDArray[np.uint8], sizes: Floats, num_rows: NDArray[np.intp]) -> None:
        self.thumbnails = thumbnails
        self.bottom = (num_rows * (2.0 / THUMBNAIL_PX) - 1).astype(np.float32)
        self.bottom[num_rows == THUMBNAIL_PX] = np.inf
        self.coarse = _prepare_in_chunks(thumbnails, self.bottom)
        smooth = np.concatenate([shrink(chunk, 4) for chunk in _chunks(thumbnails)])
        round_radii = (sizes.min(axis=1, keepdims=True) / sizes).astype(np.float32)
        self.radii = (np.ones_like(round_radii), round_radii)
        self.spectra = tuple(transform_rings(sample_polar(smooth, radii)) for radii in self.radii)

    def find_candidates(self) -> Pairs:
        """Return candidate pairs (P, 2), the most similar first."""
        pairs = [_join_orientations(hash_orientations(self.thumbnails))]
        descriptors = [describe_rings(spectrum) for spectrum in self.spectra]
        pairs += [find_neighbours(descriptor, num_neighbours=NUM_NEIGHBOURS)[0] for descriptor in descriptors]
        unique = np.unique(np.concatenate(pairs), axis=0)
        similarity = np.max([compare_descriptors(descriptor, unique) for descriptor in descriptors], axis=0)
        return np.asarray(unique[np.argsort(-similarity, kind="stable")])

    def guess_maps(self, pairs: Pairs) -> list[Floats]:
        """Return first guesses (P, 2, 3) of the map between the films of each pair: two frames, plain and mirrored."""
        guesses = []
        for spectrum, radii in zip(self.spectra, self.radii, strict=True):
            first, second = spectrum[pairs[:, 0]], spectrum[pairs[:, 1]]
            for mirrored in (False, True):
                turn = _find_turn(np.conj(first) if mirrored else first, second)
                if mirrored:
                    turn = turn @ np.diag([1.0, -1.0]).astype(np.float32)
                linear = radii[pairs[:, 1]][:, :, None] * turn / radii[pairs[:, 0]][:, None, :]
                guesses.append(np.concatenate([linear, np.zeros((len(pairs), 2, 1), np.float32)], axis=2))
        return guesses

    def align(self, pairs: Pairs) -> Alignment:
        """Align each pair from the best of its first guesses, from coarse to fine, giving up hopeless pairs early."""
        guesses = np.stack(self.guess_maps(pairs))
        reached = np.stack([align_level(self.coarse, pairs, guess, num_steps=0).agreement for guess in guesses])
        start = guesses[reached.argmax(axis=0), np.arange(len(pairs))]
        result = Alignment(reached.max(axis=0), np.zeros(len(pairs), dtype=np.float32), start.copy())
        hopeful = np.flatnonzero(result.agreement > START_GATE)
        _store(result, hopeful, align_level(self.coarse, pairs[hopeful], start[hopeful], num_steps=LEVELS[0].num_steps))
        hopeful = hopeful[result.agreement[hopeful] > LEVELS[0].gate]
        exact = reached.max(axis=0) > EXACT_GUESS
        for level in LEVELS[1:]:
            for chunk in np.array_split(hopeful, max(1, len(hopeful) // _ALIGN_CHUNK)):
                _store(result, chunk, self._refine(level, pairs[chunk], result.maps[chunk]))
                plain = chunk[exact[chunk]]
                again = self._refine(level, pairs[plain], start[plain])
                better = np.flatnonzero(again.agreement > result.agreement[plain])
                _store(result, plain[better], again, better)
            hopeful = hopeful[result.agreement[hopeful] > level.gate]
        finished = np.isin(np.arange(len(pairs)), hopeful)
        result.agreement[~finished] = np.minimum(result.agreement[~finished], LEVELS[0].gate)
        return result

    def _refine(self, level: Level, pairs: Pairs, start: Floats) -> Alignment:
        """Align a few pairs at one level, from given maps."""
        films, inverse = np.unique(pairs, return_inverse=True)
        detail = prepare_detail(self.thumbnails[films], self.bottom[films], level)
        return align_level(detail, inverse.reshape(pairs.shape), start, num_steps=level.num_steps)

    def confirm_candidates(self, report_progress: Callable[[int, int], None] | None) -> list[DuplicatePair]:
        """Align the candidates batch by batch, leaving out pairs that earlier batches linked, and judge them."""
        candidates = self.find_candidates()
        linked = Components(len(self.thumbnails))
        pairs, alignments = [np.empty((0, 2), dtype=np.intp)], []
        for start in range(0, len(candidates), _BATCH_PAIRS):
            batch = candidates[start : start + _BATCH_PAIRS]
            batch = batch[[linked.find(int(first)) != linked.find(int(second)) for first, second in batch]]
            if len(batch):
                alignment = self.align(batch)
                for first, second in batch[is_certain(alignment)]:
                    linked.join(int(first), int(second))
                pairs.append(batch)
                alignments.append(alignment)
            if report_progress is not None:
                report_progress(min(start + _BATCH_PAIRS, len(candidates)), len(candidates))
        return _name_copies(np.concatenate(pairs), join_alignments(alignments))


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
    for position, pair in enumerate(pairs):
        for film in pair:
            members.setdefault(int(film), []).append(position)
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


def _store(result: Alignment, where: NDArray[np.intp], found: Alignment, rows: NDArray[np.intp] | None = None) -> None:
    """Put rows of an alignment of some pairs into the alignment of all."""
    rows = np.arange(len(where)) if rows is None else rows
    result.agreement[where] = found.agreement[rows]
    result.overlap[where] = found.overlap[rows]
    result.maps[where] = found.maps[rows]


def _chunks(thumbnails: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return [thumbnails[start : start + _PREPARE_CHUNK] for start in range(0, max(1, len(thumbnails)), _PREPARE_CHUNK)]


def _prepare_in_chunks(thumbnails: NDArray[np.uint8], bottom: Floats) -> Detail:
    """Prepare all films at the coarsest level (4 kB each), a few at a time."""
    values = np.concatenate([prepare_detail(chunk, bottom, LEVELS[0]).values for chunk in _chunks(thumbnails)])
    return Detail(values, bottom)


def _collapse_equal(thumbnails: NDArray[np.uint8]) -> tuple[Pairs, list[tuple[int, int]]]:
    """Return the first film of each distinct thumbnail, and (first, copy) of each film that repeats one."""
    seen: dict[bytes, int] = {}
    copies = []
    for index, thumbnail in enumerate(thumbnails):
        first = seen.setdefault(thumbnail.tobytes(), index)
        if first != index:
            copies.append((first, index))
    return np.array(list(seen.values()), dtype=np.intp), copies


def _join_orientations(hashes: NDArray[np.uint64]) -> Pairs:
    """Return pairs (P, 2) of films of which one's hash is near one of the other's eight."""
    pairs = [np.empty((0, 2), dtype=np.intp)]
    for orientation in range(hashes.shape[1]):
        for found, _ in join_hashes(hashes[:, 0], hashes[:, orientation]):
            pairs.append(found[found[:, 0] < found[:, 1]])
    return np.unique(np.concatenate(pairs), axis=0)


def compare_descriptors(descriptors: Floats, pairs: Pairs) -> Floats:
    """Return the cosine similarity (P,) of the descriptors (N, D) of each pair."""
    return np.asarray(np.einsum("pd,pd->p", descriptors[pairs[:, 0]], descriptors[pairs[:, 1]]), dtype=np.float32)


def _find_turn(first: NDArray[np.complex64], second: NDArray[np.complex64]) -> Floats:
    """Return the rotation matrices (P, 2, 2) that best turn ring spectra (P, 16, 17) onto others."""
    num_angles = 128
    correlation = np.zeros((len(first), num_angles // 2 + 1), dtype=np.complex64)
    correlation[:, : first.shape[2]] = (np.conj(first) * second).sum(axis=1)
    angle = np.fft.irfft(correlation, n=num_angles, axis=1).argmax(axis=1) * (2 * np.pi / num_angles)
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.stack([cosine, -sine, sine, cosine], axis=1).reshape(-1, 2, 2).astype(np.float32)


def _rotation_degrees(affine: Floats) -> float:
    """Return the angle of an affine map (2, 3), a mirror image taken out first."""
    linear = affine[:, :2] @ np.diag([1.0, np.sign(np.linalg.det(affine[:, :2]))])
    return round(float(np.degrees(np.arctan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1]))), 1)
