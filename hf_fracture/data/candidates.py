"""Which films could be copies of each other: two independent routes that are fast, exhaustive and allowed to be wrong.

`join_hashes` finds every pair of hashes less than eight bits apart; `find_neighbours` finds the films whose ring
descriptors are nearest, whatever angle they are turned by: exactly among some ten thousand films, in the nearest lists
of an inverted index among more. May depend on numpy only.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Pairs = NDArray[np.intp]

NUM_BANDS: Final = 4
BAND_BITS: Final = 16
MAX_DISTANCE: Final = 2 * NUM_BANDS - 1  # 7 differing bits leave one of four bands with at most one of them
EXACT_FILMS: Final = 20_000  # above it neighbours are looked for in the nearest lists only
_CHUNK_PAIRS: Final = 2**16  # keeps what is compared in the processor's cache
_CHUNK_ROWS: Final = 512
_NUM_BLOCKS: Final = 256
_LISTS_PER_ROOT: Final = 2  # lists for each square root of the number of films
_NUM_PROBES: Final = 8


def join_hashes(queries: NDArray[np.uint64], table: NDArray[np.uint64]) -> Iterator[tuple[Pairs, NDArray[np.uint8]]]:
    """Find all pairs of hashes that differ in at most seven bits, in pieces of bounded size.

    Pigeonhole: four bands of 16 interleaved bits share at most seven differing bits, so one band differs in at most
    one. Each band is joined on equality after flipping none or one of its bits, and what meets is compared in full. A
    pair that meets in several bands is reported once, at the first of them.

    Args:
        queries: (M,) hashes.
        table: (N,) hashes.

    Yields:
        Pairs (P, 2) of indices into `queries` and `table`, and their Hamming distances (P,).
    """
    flips = np.concatenate([[0], 1 << np.arange(BAND_BITS)])
    for band in range(NUM_BANDS):
        left, right = _sort_by_band(queries, band), _sort_by_band(table, band)
        start = np.searchsorted(right.keys, np.arange(2**BAND_BITS + 1))
        for flip in flips:
            for first, second in _meet(left, start, int(flip)):
                difference = left.hashes[first] ^ right.hashes[second]
                distance = np.bitwise_count(difference)
                keep = np.flatnonzero(distance <= MAX_DISTANCE)
                keep = keep[_first_meeting_band(difference[keep]) == band]
                if len(keep):
                    pairs = np.stack([left.order[first[keep]], right.order[second[keep]]], axis=1)
                    yield pairs, distance[keep]


def find_neighbours(descriptors: NDArray[np.float32], *, num_neighbours: int) -> tuple[Pairs, NDArray[np.float32]]:
    """Pair each film with those of the most similar descriptors.

    Args:
        descriptors: (N, D) of unit norm; a zero row (blank film) is paired with nothing.
        num_neighbours: How many neighbours each film gets.

    Returns:
        Pairs (P, 2), first index below second, each once; and their cosine similarity (P,).
    """
    num = len(descriptors)
    num_neighbours = min(num_neighbours, num - 1)
    if num_neighbours < 1:
        return np.empty((0, 2), dtype=np.intp), np.empty(0, dtype=np.float32)
    find = _search_all if num <= EXACT_FILMS else _search_lists
    codes = np.concatenate([_code_pairs(*found, num) for found in find(descriptors, num_neighbours)])
    pairs = np.stack(np.divmod(np.unique(codes), num), axis=1)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    chunks = [pairs[start : start + _CHUNK_PAIRS] for start in range(0, len(pairs), _CHUNK_PAIRS)]
    similarity = [np.einsum("pd,pd->p", descriptors[chunk[:, 0]], descriptors[chunk[:, 1]]) for chunk in chunks]
    return pairs, np.concatenate(similarity)


def _code_pairs(films: NDArray[np.intp], nearest: NDArray[np.intp], num: int) -> NDArray[np.intp]:
    """Return one number for each pair of a film (R,) and one near it (R, k), whichever of the two comes first."""
    first = np.repeat(films, nearest.shape[1])
    second = nearest.ravel()
    return np.minimum(first, second) * num + np.maximum(first, second)


def _search_all(descriptors: NDArray[np.float32], num_neighbours: int) -> Iterator[tuple[Pairs, Pairs]]:
    """Yield some films (R,) and those nearest each among all (R, k)."""
    num = len(descriptors)
    for start in range(0, num, _CHUNK_ROWS):
        films = np.arange(start, min(start + _CHUNK_ROWS, num))
        similarity = descriptors[films] @ descriptors.T
        similarity[np.arange(len(films)), films] = -2.0
        yield films, _take_largest(similarity, num_neighbours)


def _take_largest(values: NDArray[np.float32], num_taken: int) -> Pairs:
    """Return the columns (R, k) of the largest values (R, N) of each row, in no order.

    Columns are dealt to blocks; the k largest values lie in the k blocks of the largest maxima, so that only those
    blocks have to be searched.
    """
    num_rows, num = values.shape
    depth = num // _NUM_BLOCKS
    if depth < 4 or num_taken >= _NUM_BLOCKS:
        return np.argpartition(-values, num_taken - 1, axis=1)[:, :num_taken]
    dealt = depth * _NUM_BLOCKS
    largest = values[:, :dealt].reshape(num_rows, depth, _NUM_BLOCKS).max(axis=1)
    blocks = np.argpartition(-largest, num_taken - 1, axis=1)[:, :num_taken]
    columns = (blocks[:, :, None] + np.arange(depth) * _NUM_BLOCKS).reshape(num_rows, -1)
    rest = np.broadcast_to(np.arange(dealt, num), (num_rows, num - dealt))
    columns = np.concatenate([columns, rest], axis=1)
    found = np.take_along_axis(values, columns, axis=1)
    best = np.argpartition(-found, num_taken - 1, axis=1)[:, :num_taken]
    return np.take_along_axis(columns, best, axis=1)


def _search_lists(descriptors: NDArray[np.float32], num_neighbours: int) -> Iterator[tuple[Pairs, Pairs]]:
    """Yield some films (R,) and those nearest each (R, k) among the films of the lists nearest them.

    A list holds the films nearest one of some thousand films drawn at random. The cost grows as N to the power 1.5 in
    place of N squared; a neighbour whose list is not among the nearest eight is missed.
    """
    num = len(descriptors)
    num_lists = int(_LISTS_PER_ROOT * np.sqrt(num))
    centres = descriptors[np.random.default_rng(0).choice(num, num_lists, replace=False)]
    probes = np.empty((num, _NUM_PROBES), dtype=np.int32)
    for start in range(0, num, _CHUNK_ROWS):
        similarity = descriptors[start : start + _CHUNK_ROWS] @ centres.T
        found = np.argpartition(-similarity, _NUM_PROBES - 1, axis=1)[:, :_NUM_PROBES]
        order = np.argsort(-np.take_along_axis(similarity, found, axis=1), axis=1)
        probes[start : start + _CHUNK_ROWS] = np.take_along_axis(found, order, axis=1)
    members = np.argsort(probes[:, 0], kind="stable")
    limits = np.searchsorted(probes[members, 0], np.arange(num_lists + 1))
    lists = [members[limits[index] : limits[index + 1]] for index in range(num_lists)]
    for films in lists:
        for start in range(0, len(films), _CHUNK_ROWS):
            yield from _search_near(descriptors, films[start : start + _CHUNK_ROWS], probes, lists, num_neighbours)


def _search_near(
    descriptors: NDArray[np.float32],
    films: Pairs,
    probes: NDArray[np.int32],
    lists: Sequence[Pairs],
    num_neighbours: int,
) -> Iterator[tuple[Pairs, Pairs]]:
    """Search films (R,) of one list in the lists that any of them is near."""
    near = np.concatenate([lists[index] for index in np.unique(probes[films])])
    similarity = descriptors[films] @ descriptors[near].T
    similarity[films[:, None] == near] = -2.0
    if len(near) > 1:
        yield films, near[_take_largest(similarity, min(num_neighbours, len(near) - 1))]


@dataclass(frozen=True)
class _Sorted:
    """Hashes sorted by the bits of one band: keys (N,), hashes (N,) and where each stood before (N,)."""

    keys: NDArray[np.intp]
    hashes: NDArray[np.uint64]
    order: Pairs


def _sort_by_band(hashes: NDArray[np.uint64], band: int) -> _Sorted:
    keys = _band(hashes, band)
    order = np.argsort(keys, kind="stable")
    return _Sorted(keys[order], hashes[order], order)


def _band(hashes: NDArray[np.uint64], band: int) -> NDArray[np.intp]:
    """Return the 16 bits band, band + 4, ... of each hash; neighbouring bits, which are correlated, are spread."""
    key = np.zeros(len(hashes), dtype=np.intp)
    for bit in range(BAND_BITS):
        key |= ((hashes >> np.uint64(NUM_BANDS * bit + band)) & np.uint64(1)).astype(np.intp) << bit
    return key


def _first_meeting_band(difference: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return the lowest band in which two hashes differ in at most one bit, given their exclusive or."""
    first = np.full(len(difference), NUM_BANDS, dtype=np.uint8)
    for band in reversed(range(NUM_BANDS)):
        mask = sum(1 << (NUM_BANDS * bit + band) for bit in range(BAND_BITS))
        first[np.bitwise_count(difference & np.uint64(mask)) <= 1] = band
    return first


def _meet(left: _Sorted, start: Pairs, flip: int) -> Iterator[tuple[Pairs, Pairs]]:
    """Yield places in two sorted tables of all pairs whose keys are equal after a flip, some `_CHUNK_PAIRS` at a time.

    `start` (2**16 + 1,) says where each key begins in the second. What meets lies close together in memory.
    """
    low = start[left.keys ^ flip]
    count = start[(left.keys ^ flip) + 1] - low
    total = np.concatenate([[0], np.cumsum(count)])
    shift = low - total[:-1]
    begin = 0
    while begin < len(count):
        end = max(begin + 1, int(np.searchsorted(total, total[begin] + _CHUNK_PAIRS, side="right")) - 1)
        first = np.repeat(np.arange(begin, end), count[begin:end])
        yield first, np.arange(total[begin], total[end]) + shift[first]
        begin = end
