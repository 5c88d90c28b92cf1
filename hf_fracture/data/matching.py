"""Candidate pairs among many films, and how the two films of a pair lie over each other.

A pair is looked at on a coarse level from several first guesses, then on a middle one, where nearly all pairs of
different films end, and on the fine level. May depend on `fingerprints`, `alignment` and `candidates`.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from hf_fracture.data.alignment import LEVELS, Alignment, Sketch, align_level, join_alignments, sketch_films
from hf_fracture.data.candidates import find_neighbours, join_hashes
from hf_fracture.data.fingerprints import (
    THUMBNAIL_PX,
    describe_rings,
    hash_orientations,
    sample_polar,
    shrink,
    transform_rings,
)

Pairs = NDArray[np.intp]
Floats = NDArray[np.float32]

START_GATE: Final = 0.45  # of the best first guess, on the coarse level
MIDDLE_GATE: Final = 0.8  # copies reach 0.88 and more, two films of one kind of bone 0.8 once in six times
GIVEN_UP: Final = 0.75  # what a pair that was given up counts for at most
NUM_NEIGHBOURS: Final = 10
_CHUNK_FILMS: Final = 256
_CHUNK_PAIRS: Final = 4096
_FINE_PAIRS: Final = 512
_FINE_FILMS: Final = 4096  # kept on the fine level at a time; 28 kB each


class Matcher:
    """Distinct films of one search, with what candidates and alignments need."""

    def __init__(self, thumbnails: NDArray[np.uint8], sizes: Floats, num_rows: NDArray[np.intp]) -> None:
        """Prepare films.

        Args:
            thumbnails: (N, 128, 128).
            sizes: (N, 2) width and height in px, of which the ratio matters.
            num_rows: (N,) rows of each thumbnail that show something.
        """
        bottom = (num_rows * (2.0 / THUMBNAIL_PX) - 1).astype(np.float32)
        bottom[num_rows == THUMBNAIL_PX] = np.inf
        round_radii = (sizes.min(axis=1, keepdims=True) / sizes).astype(np.float32)
        self._thumbnails = thumbnails
        self._radii = (np.ones_like(round_radii), round_radii)
        self._spectra = tuple(_transform(thumbnails, radii) for radii in self._radii)
        self._coarse = sketch_films(thumbnails, bottom, LEVELS[0])
        self._middle = sketch_films(thumbnails, bottom, LEVELS[1])
        self._fine = _FineSketches(thumbnails, bottom)

    def find_candidates(self) -> tuple[Pairs, Floats]:
        """Return candidate pairs (P, 2), the most similar first, and how similar their descriptors are (P,)."""
        pairs = [_join_orientations(hash_orientations(self._thumbnails))]
        descriptors = [describe_rings(spectrum) for spectrum in self._spectra]
        pairs += [find_neighbours(descriptor, num_neighbours=NUM_NEIGHBOURS)[0] for descriptor in descriptors]
        codes = np.unique(np.concatenate(pairs) @ np.array([len(self._thumbnails), 1]))
        unique = np.stack(np.divmod(codes, len(self._thumbnails)), axis=1)
        similarity = np.max([compare_descriptors(descriptor, unique) for descriptor in descriptors], axis=0)
        order = np.argsort(-similarity, kind="stable")
        return unique[order], similarity[order]

    def align(self, pairs: Pairs) -> Alignment:
        """Align pairs (P, 2), giving up early on those that cannot be copies."""
        chunks = range(0, len(pairs), _CHUNK_PAIRS)
        return join_alignments([self._align_chunk(pairs[start : start + _CHUNK_PAIRS]) for start in chunks])

    def _align_chunk(self, pairs: Pairs) -> Alignment:
        guesses = self._guess_maps(pairs)
        reached = np.stack([align_level(self._coarse, pairs, guess, num_steps=0).agreement for guess in guesses])
        agreement, overlap = reached.max(axis=0), np.zeros(len(pairs), dtype=np.float32)
        maps = guesses[reached.argmax(axis=0), np.arange(len(pairs))]
        hopeful = np.flatnonzero(agreement > START_GATE)
        for sketch in (self._coarse, self._middle):
            found = align_level(sketch, pairs[hopeful], maps[hopeful], num_steps=sketch.level.num_steps)
            agreement[hopeful], overlap[hopeful], maps[hopeful] = found.agreement, found.overlap, found.maps
        hopeful = hopeful[found.agreement > MIDDLE_GATE]
        agreement = np.minimum(agreement, GIVEN_UP)
        for start in range(0, len(hopeful), _FINE_PAIRS):
            some = hopeful[start : start + _FINE_PAIRS]
            found = self._fine.align(pairs[some], maps[some])
            agreement[some], overlap[some], maps[some] = found.agreement, found.overlap, found.maps
        return Alignment(agreement, overlap, maps)

    def _guess_maps(self, pairs: Pairs) -> Floats:
        """Return first guesses (G, P, 2, 3) of the maps: in the frame of the thumbnail and of the film; mirrored too.

        The two frames are one where films are square.
        """
        guesses: list[Floats] = []
        for spectrum, radii in zip(self._spectra, self._radii, strict=True):
            if guesses and (radii[pairs] == 1).all():
                break
            first, second = spectrum[pairs[:, 0]], spectrum[pairs[:, 1]]
            for mirrored in (False, True):
                turn = _find_turn(first if mirrored else np.conj(first), second)
                if mirrored:
                    turn = turn @ np.diag([1.0, -1.0]).astype(np.float32)
                linear = radii[pairs[:, 1]][:, :, None] * turn / radii[pairs[:, 0]][:, None, :]
                guesses.append(np.concatenate([linear, np.zeros((len(pairs), 2, 1), np.float32)], axis=2))
        return np.stack(guesses)


class _FineSketches:
    """Films on the fine level, made when they are needed; the memory that they take is bounded."""

    def __init__(self, thumbnails: NDArray[np.uint8], bottom: Floats) -> None:
        level, capacity = LEVELS[-1], min(_FINE_FILMS, len(thumbnails))
        self._thumbnails, self._bottom = thumbnails, bottom
        self._slots = np.full(len(thumbnails), -1, dtype=np.intp)
        self._num_used = 0
        self._sketch = Sketch(
            level,
            np.empty((capacity, THUMBNAIL_PX, THUMBNAIL_PX), dtype=np.int8),
            np.empty((capacity, 3, level.num_points), dtype=np.float16),
            np.empty(capacity, dtype=np.float32),
        )

    def align(self, pairs: Pairs, start: Floats) -> Alignment:
        """Align a few pairs (P, 2) from given maps; they must not hold more films than are kept."""
        films = np.unique(pairs)
        missing = films[self._slots[films] < 0]
        if self._num_used + len(missing) > len(self._sketch.bottom):
            self._slots[:], self._num_used, missing = -1, 0, films
        slots = np.arange(self._num_used, self._num_used + len(missing))
        made = sketch_films(self._thumbnails[missing], self._bottom[missing], self._sketch.level)
        self._sketch.values[slots], self._sketch.samples[slots] = made.values, made.samples
        self._sketch.bottom[slots], self._slots[missing] = made.bottom, slots
        self._num_used += len(missing)
        return align_level(self._sketch, self._slots[pairs], start, num_steps=self._sketch.level.num_steps)


def compare_descriptors(descriptors: Floats, pairs: Pairs) -> Floats:
    """Return the cosine similarity (P,) of the descriptors (N, D) of each pair."""
    parts = [pairs[start : start + _CHUNK_PAIRS] for start in range(0, len(pairs), _CHUNK_PAIRS)]
    products = [np.einsum("pd,pd->p", descriptors[part[:, 0]], descriptors[part[:, 1]]) for part in parts]
    return np.concatenate([np.empty(0, dtype=np.float32), *products])


def _transform(thumbnails: NDArray[np.uint8], radii: Floats) -> NDArray[np.complex64]:
    chunks = [slice(start, start + _CHUNK_FILMS) for start in range(0, len(thumbnails), _CHUNK_FILMS)]
    spectra = [transform_rings(sample_polar(shrink(thumbnails[chunk], 4), radii[chunk])) for chunk in chunks]
    return np.concatenate(spectra)


def _join_orientations(hashes: NDArray[np.uint64]) -> Pairs:
    """Return pairs (P, 2) of films of which one's hash is near one of the other's eight."""
    pairs = [np.empty((0, 2), dtype=np.intp)]
    for orientation in range(hashes.shape[1]):
        for found, _ in join_hashes(hashes[:, 0], hashes[:, orientation]):
            pairs.append(np.sort(found[found[:, 0] != found[:, 1]], axis=1))
    return np.unique(np.concatenate(pairs), axis=0)


def _find_turn(first: NDArray[np.complex64], second: NDArray[np.complex64]) -> Floats:
    """Return the rotation matrices (P, 2, 2) that best turn ring spectra (P, 16, 17), conjugated, onto others."""
    num_angles = 128
    correlation = np.zeros((len(first), num_angles // 2 + 1), dtype=np.complex64)
    correlation[:, : first.shape[2]] = np.einsum("prh,prh->ph", first, second)
    angle = np.fft.irfft(correlation, n=num_angles, axis=1).argmax(axis=1) * (2 * np.pi / num_angles)
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.stack([cosine, -sine, sine, cosine], axis=1).reshape(-1, 2, 2).astype(np.float32)
