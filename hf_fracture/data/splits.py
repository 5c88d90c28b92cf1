"""Divide films into splits and folds without dividing a group.

A group is a set of films that must not be split apart: copies of one film, a file-name family, the films of a patient.
Where a group lands depends on its id and the seed, never on the order of the films. May depend on `errors` only.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Final

from hf_fracture.errors import GroupLeakageError, UsageError

SPLIT_NAMES: Final = ("train", "validation", "test")


class Components:
    """Connected components of 0..num-1, joined link by link."""

    def __init__(self, num: int) -> None:
        """Start with every element alone."""
        self._parent = list(range(num))

    def find(self, element: int) -> int:
        """Return the smallest element of the component that holds `element`."""
        root = element
        while self._parent[root] != root:
            root = self._parent[root]
        while self._parent[element] != root:
            self._parent[element], element = root, self._parent[element]
        return root

    def join(self, first: int, second: int) -> None:
        """Make one component of two."""
        low, high = sorted((self.find(first), self.find(second)))
        self._parent[high] = low


def group_images(num: int, links: Iterable[tuple[int, int]]) -> list[int]:
    """Number the connected components of films.

    Args:
        num: Number of films.
        links: Pairs of indices that belong together.

    Returns:
        One number per film, counted from 0 in the order in which groups first occur.

    Raises:
        UsageError: If a link names a film outside 0..num-1.

    >>> group_images(5, [(0, 3), (4, 3)])
    [0, 1, 2, 0, 0]
    """
    components = Components(num)
    for first, second in links:
        if not (0 <= first < num and 0 <= second < num):
            raise UsageError(f"Links must name films 0 to {num - 1}, got ({first}, {second}). Count films from 0.")
        components.join(first, second)
    numbers: dict[int, int] = {}
    return [numbers.setdefault(components.find(index), len(numbers)) for index in range(num)]


def split_groups(
    group_ids: Sequence[str],
    strata: Sequence[Hashable],
    *,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    seed: int,
) -> list[str]:
    """Assign whole groups to train, validation and test.

    Groups are dealt out stratum by stratum in an order that depends on their ids and the seed, each to the split that
    is furthest below its share of groups (an overall shortfall decides between equals). A share is therefore met to
    within one group per stratum.

    Args:
        group_ids: One id per film, length N.
        strata: One stratum per film, such as (label, body part); a group belongs to its most frequent one.
        fractions: Target share of the groups for train, validation and test; must sum to 1.
        seed: Seeds the order.

    Returns:
        "train", "validation" or "test" for each film.

    Raises:
        UsageError: If the arguments differ in length, or the shares are not positive numbers that sum to 1.

    >>> split_groups(["a", "a", "b", "c"], ["x"] * 4, fractions=(0.34, 0.33, 0.33), seed=0)
    ['train', 'train', 'test', 'validation']
    """
    if len(fractions) != len(SPLIT_NAMES):
        raise UsageError(f"Expected 3 fractions (train, validation, test), got {len(fractions)}: {list(fractions)}.")
    return [SPLIT_NAMES[share] for share in _deal_groups(group_ids, strata, fractions, seed)]


def assign_folds(group_ids: Sequence[str], strata: Sequence[Hashable], *, num_folds: int, seed: int) -> list[int]:
    """Assign whole groups to folds of nearly equal size, stratified as in `split_groups`.

    Args:
        group_ids: One id per film, length N.
        strata: One stratum per film.
        num_folds: Number of folds, at least 2 and at most the number of groups.
        seed: Seeds the order.

    Returns:
        A fold in 0..num_folds-1 for each film.

    Raises:
        UsageError: If there are fewer groups than folds, or fewer than two folds.

    >>> assign_folds(["a", "a", "b", "c"], [0, 0, 0, 0], num_folds=3, seed=0)
    [0, 0, 2, 1]
    """
    num_groups = len(set(group_ids))
    if not 2 <= num_folds <= num_groups:
        raise UsageError(f"num_folds must lie between 2 and the number of groups, {num_groups}; got {num_folds}.")
    return _deal_groups(group_ids, strata, [1 / num_folds] * num_folds, seed)


def choose_share(group_ids: Sequence[str], strata: Sequence[Hashable], *, share: float, seed: int) -> list[bool]:
    """Choose a share of the groups, stratified as in `split_groups`.

    Args:
        group_ids: One id per film, length N.
        strata: One stratum per film.
        share: Of the groups, in (0, 1]; 1 chooses all.
        seed: Seeds the order.

    Returns:
        For each film whether its group was chosen.

    Raises:
        UsageError: If the share is out of range.

    >>> choose_share(["a", "b", "b", "c", "d"], [0, 0, 0, 1, 1], share=0.5, seed=0)
    [True, False, False, False, True]
    """
    if not 0 < share <= 1:
        raise UsageError(f"A share of the groups lies above 0 and up to 1, got {share:g}.")
    if share == 1:
        return [True] * len(group_ids)
    return [dealt == 0 for dealt in _deal_groups(group_ids, strata, [share, 1 - share], seed)]


def check_disjoint(groups: Mapping[str, Iterable[str]]) -> None:
    """Refuse splits that share a group.

    Args:
        groups: Group id of every film, by split name.

    Raises:
        GroupLeakageError: Naming the two splits, how many groups they share, and one of them.
    """
    names, members = list(groups), {name: set(ids) for name, ids in groups.items()}
    for position, first in enumerate(names):
        for second in names[position + 1 :]:
            shared = members[first] & members[second]
            if shared:
                raise GroupLeakageError(
                    f"{len(shared)} group(s) occur in both '{first}' and '{second}', e.g. '{min(shared)}'. "
                    "Split with split_groups, or ask for the published split to keep its leaks knowingly."
                )


def _deal_groups(
    group_ids: Sequence[str], strata: Sequence[Hashable], fractions: Sequence[float], seed: int
) -> list[int]:
    """Return the index of the share that each film's group is dealt to."""
    if len(group_ids) != len(strata):
        raise UsageError(f"group_ids and strata must have one entry per film, got {len(group_ids)} and {len(strata)}.")
    if min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise UsageError(f"fractions must be positive and sum to 1, got {list(fractions)} (sum {sum(fractions):g}).")
    share_of: dict[str, int] = {}
    overall = [0] * len(fractions)
    for groups in _order_groups(group_ids, strata, seed):
        dealt = [0] * len(fractions)
        for group in groups:
            share = _most_wanting(dealt, overall, fractions)
            dealt[share] += 1
            overall[share] += 1
            share_of[group] = share
    return [share_of[group] for group in group_ids]


def _most_wanting(dealt: Sequence[int], overall: Sequence[int], fractions: Sequence[float]) -> int:
    """Return the share furthest below its target in this stratum; between equals, the one furthest below overall."""

    def shortfall(counts: Sequence[int], share: int) -> float:
        return round(fractions[share] * (sum(counts) + 1) - counts[share], 9)

    return max(range(len(fractions)), key=lambda share: (shortfall(dealt, share), shortfall(overall, share), -share))


def _order_groups(group_ids: Sequence[str], strata: Sequence[Hashable], seed: int) -> list[list[str]]:
    """Return the groups of each stratum in the order in which they are dealt out; larger strata come first."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for group, stratum in zip(group_ids, strata, strict=True):
        counts[group][repr(stratum)] += 1
    by_stratum: dict[str, list[str]] = defaultdict(list)
    for group, counter in counts.items():
        by_stratum[min(counter, key=lambda stratum: (-counter[stratum], stratum))].append(group)
    ordered = sorted(by_stratum.items(), key=lambda item: (-len(item[1]), item[0]))
    return [sorted(groups, key=lambda group: _rank(group, seed)) for _, groups in ordered]


def _rank(group: str, seed: int) -> bytes:
    """Return a position that only the group's id and the seed decide; unlike a random stream it never changes."""
    return hashlib.sha256(f"{seed}:{group}".encode()).digest()
