"""Which films could be copies of each other: two independent routes that are fast, exhaustive and allowed to be wrong.

`join_hashes` finds every pair of hashes less than eight bits apart; `find_neighbours` finds the films whose ring
descriptors are nearest, whatever angle they are turned by. May depend on numpy only.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

Pairs = NDArray[np.intp]

NUM_BANDS: Final = 4
BAND_BITS: Final = 16
MAX_DISTANCE: Final = 2 * NUM_BANDS - 1  # 7 differing bits leave one of four bands with at most one of them
_CHUNK_PAIRS: Final = 2_000_000
_CHUNK_ROWS: Final = 2048


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
        query_key, table_key = _band(queries, band), _band(table, band)
        order = np.argsort(table_key, kind="stable")
        start = np.searchsorted(table_key[order], np.arange(2**BAND_BITS + 1))
        for flip in flips:
            for first, second in _expand(query_key ^ flip, order, start):
                difference = queries[first] ^ table[second]
                distance = np.bitwise_count(difference)
                keep = np.flatnonzero(distance <= MAX_DISTANCE)
                keep = keep[_first_meeting_band(difference[keep]) == band]
                if len(keep):
                    yield np.stack([first[keep], second[keep]], axis=1), distance[keep]


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
    found: list[Pairs] = []
    for start in range(0, num, _CHUNK_ROWS):
        similarity = descriptors[start : start + _CHUNK_ROWS] @ descriptors.T
        rows = np.arange(len(similarity))
        similarity[rows, start + rows] = -2.0
        nearest = np.argpartition(-similarity, num_neighbours - 1, axis=1)[:, :num_neighbours]
        pairs = np.stack([np.repeat(start + rows, num_neighbours), nearest.ravel()], axis=1)
        found.append(np.sort(pairs, axis=1))
    pairs = np.unique(np.concatenate(found), axis=0)
    similarity = np.einsum("pd,pd->p", descriptors[pairs[:, 0]], descriptors[pairs[:, 1]])
    return pairs, similarity


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


def _expand(keys: NDArray[np.intp], order: Pairs, start: NDArray[np.intp]) -> Iterator[tuple[Pairs, Pairs]]:
    """Yield (query, table) index arrays of all pairs with equal key, about `_CHUNK_PAIRS` at a time."""
    count = start[keys + 1] - start[keys]
    total = np.concatenate([[0], np.cumsum(count)])
    low = 0
    while low < len(keys):
        high = max(low + 1, int(np.searchsorted(total, total[low] + _CHUNK_PAIRS, side="right")) - 1)
        query = np.repeat(np.arange(low, high), count[low:high])
        offset = np.arange(len(query)) - (total[query] - total[low])
        yield query, order[start[keys[query]] + offset]
        low = high
