"""Copies of one film among many: turned by any angle, mirrored, rescaled, re-encoded, cropped a little, brightened.

Candidates come from `candidates`; each is confirmed on pixels by `alignment`, because hashes and descriptors alone confuse
different films of the same kind of bone. May depend on `fingerprints`, `alignment`, `candidates` and `splits`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hf_fracture.data.alignment import Alignment, align_pairs, measure_agreement, prepare_level, prepare_levels
from hf_fracture.data.candidates import find_neighbours, join_hashes
from hf_fracture.data.fingerprints import (
    Fingerprint,
    describe_rings,
    fingerprint_image,
    hash_orientations,
    perceptual_hash,
    sample_polar,
    transform_rings,
)
from hf_fracture.data.splits import Components

__all__ = ["DuplicatePair", "Fingerprint", "find_duplicate_pairs", "fingerprint_image", "perceptual_hash"]

Pairs = NDArray[np.intp]
Floats = NDArray[np.float32]

MIN_AGREEMENT: Final = 0.93
MIN_OVERLAP: Final = 0.7
MAX_STRETCH: Final = 1.5
NUM_NEIGHBOURS: Final = 10
_BATCH_PAIRS: Final = 256
_MIN_DEVIATION: Final = 1.0  # grey levels; below it a film is blank and resembles every other blank film


@dataclass(frozen=True, kw_only=True)
class DuplicatePair:
    """Two films that show the same exposure.

    Attributes:
        first: Index of one film; always below `second`.
        second: Index of the other.
        agreement: Normalised cross-correlation of the fine structure after alignment, in [-1, 1]; 1 for equal thumbnails.
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

    Candidates are tried from the most to the least similar, and a pair whose films are linked already is not tried again:
    the pairs returned link every group of copies, but need not name each pair inside a large group.

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
    films = _Films(thumbnails[kept], sizes[kept])
    for pair in films.confirm_candidates(report_progress):
        found.append(
            DuplicatePair(
                first=int(kept[pair.first]),
                second=int(kept[pair.second]),
                agreement=pair.agreement,
                mirrored=pair.mirrored,
                rotation_degrees=pair.rotation_degrees,
            )
        )
    return sorted(found, key=lambda pair: (pair.first, pair.second))


class _Films:
    """The distinct films of one search, with what candidates and first guesses need."""

    def __init__(self, thumbnails: NDArray[np.uint8], sizes: Floats) -> None:
        self.thumbnails = thumbnails
        smooth = prepare_smooth(thumbnails)
        round_radii = (sizes.min(axis=1, keepdims=True) / sizes).astype(np.float32)
        self.radii = (np.ones_like(round_radii), round_radii)
        self.spectra = tuple(transform_rings(sample_polar(smooth, radii)) for radii in self.radii)

    def find_candidates(self) -> Pairs:
        """Return candidate pairs (P, 2), the most similar first."""
        pairs = [_join_orientations(hash_orientations(self.thumbnails))]
        for spectrum in self.spectra:
            pairs.append(find_neighbours(describe_rings(spectrum), num_neighbours=NUM_NEIGHBOURS)[0])
        unique = np.unique(np.concatenate(pairs), axis=0)
        similarity = np.max([_compare(describe_rings(spectrum), unique) for spectrum in self.spectra], axis=0)
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
        """Align each pair from the best of its first guesses."""
        films, inverse = np.unique(pairs, return_inverse=True)
        local = inverse.reshape(pairs.shape)
        coarse = prepare_level(self.thumbnails[films], 0)
        guesses = np.stack(self.guess_maps(pairs))
        agreement = np.stack([measure_agreement(coarse, local, guess)[0] for guess in guesses])
        best = guesses[agreement.argmax(axis=0), np.arange(len(pairs))]
        return align_pairs(prepare_levels(self.thumbnails[films]), local, best)

    def confirm_candidates(self, report_progress: Callable[[int, int], None] | None) -> list[DuplicatePair]:
        """Align the candidates batch by batch, leaving out pairs that earlier batches linked."""
        candidates = self.find_candidates()
        linked = Components(len(self.thumbnails))
        found = []
        for start in range(0, len(candidates), _BATCH_PAIRS):
            batch = candidates[start : start + _BATCH_PAIRS]
            batch = batch[[linked.find(int(first)) != linked.find(int(second)) for first, second in batch]]
            for pair in self._confirm(batch) if len(batch) else []:
                linked.join(pair.first, pair.second)
                found.append(pair)
            if report_progress is not None:
                report_progress(min(start + _BATCH_PAIRS, len(candidates)), len(candidates))
        return found

    def _confirm(self, pairs: Pairs) -> list[DuplicatePair]:
        alignment = self.align(pairs)
        accepted = np.flatnonzero(is_confirmed(alignment))
        return [
            DuplicatePair(
                first=int(pairs[index, 0]),
                second=int(pairs[index, 1]),
                agreement=round(float(alignment.agreement[index]), 4),
                mirrored=bool(np.linalg.det(alignment.maps[index, :, :2]) < 0),
                rotation_degrees=_rotation_degrees(alignment.maps[index]),
            )
            for index in accepted
        ]


def is_confirmed(alignment: Alignment) -> NDArray[np.bool_]:
    """Tell which of the aligned pairs (P,) are copies of one film."""
    stretch = np.linalg.svd(alignment.maps[:, :, :2], compute_uv=False)  # (P, 2), larger first
    plausible = (stretch[:, 0] < MAX_STRETCH) & (stretch[:, 1] > 1 / MAX_STRETCH)
    return plausible & (alignment.agreement >= MIN_AGREEMENT) & (alignment.overlap >= MIN_OVERLAP)


def prepare_smooth(thumbnails: NDArray[np.uint8]) -> Floats:
    """Average thumbnails (N, 128, 128) over 4 x 4 pixels, which small shifts and crops do not change much."""
    return np.asarray(
        thumbnails.reshape(len(thumbnails), thumbnails.shape[1] // 4, 4, thumbnails.shape[2] // 4, 4).mean(
            axis=(2, 4), dtype=np.float32
        )
    )


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


def _compare(descriptors: Floats, pairs: Pairs) -> Floats:
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
