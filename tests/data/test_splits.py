"""Groups stay whole, shares are met per stratum, and neither depends on the order of the films."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_fracture.data.splits import assign_folds, check_disjoint, group_images, split_groups
from hf_fracture.errors import GroupLeakageError, UsageError

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")  # a busy machine is no failure

Films = list[tuple[str, str]]

# Films as (group, stratum); a group has one stratum here unless a test says otherwise.
films_lists = st.lists(st.integers(0, 60), min_size=1, max_size=150).map(
    lambda numbers: [(f"g{number}", f"s{number % 3}") for number in numbers]
)


def split(films: Films, seed: int) -> list[str]:
    return split_groups([group for group, _ in films], [stratum for _, stratum in films], seed=seed)


@given(films=films_lists, seed=st.integers(0, 5))
def test_no_group_crosses_a_split(films: Films, seed: int) -> None:
    where: dict[str, set[str]] = {}
    for (group, _), name in zip(films, split(films, seed), strict=True):
        where.setdefault(name, set()).add(group)
    check_disjoint(where)


@given(films=films_lists, seed=st.integers(0, 5), shuffle=st.randoms(use_true_random=False))
def test_split_does_not_depend_on_the_order_of_films(films: Films, seed: int, shuffle: st.DataObject) -> None:
    order = list(range(len(films)))
    shuffle.shuffle(order)  # type: ignore[attr-defined]
    plain, shuffled = split(films, seed), split([films[index] for index in order], seed)
    assert shuffled == [plain[index] for index in order]
    assert plain == split(films, seed)


@given(films=films_lists, seed=st.integers(0, 5))
def test_every_stratum_is_divided_in_the_wanted_shares(films: Films, seed: int) -> None:
    groups = dict(films)
    dealt = dict(zip([group for group, _ in films], split(films, seed), strict=True))
    for stratum in set(groups.values()):
        members = [group for group in groups if groups[group] == stratum]
        counts = Counter(dealt[group] for group in members)
        for name, fraction in (("train", 0.7), ("validation", 0.15), ("test", 0.15)):
            assert abs(counts[name] - fraction * len(members)) <= 1


@given(films=films_lists, num_folds=st.integers(2, 5), seed=st.integers(0, 3))
def test_folds_are_even_and_keep_groups_whole(films: Films, num_folds: int, seed: int) -> None:
    groups = [group for group, _ in films]
    if len(set(groups)) < num_folds:
        with pytest.raises(UsageError, match="between 2 and the number of groups"):
            assign_folds(groups, groups, num_folds=num_folds, seed=seed)
        return
    folds = assign_folds(groups, [stratum for _, stratum in films], num_folds=num_folds, seed=seed)
    fold_of = dict(zip(groups, folds, strict=True))
    assert [fold_of[group] for group in groups] == folds
    sizes = Counter(fold_of.values())
    assert set(sizes) == set(range(num_folds))
    assert max(sizes.values()) - min(sizes.values()) <= 3  # one per stratum


def test_the_seed_decides_where_a_group_lands() -> None:
    films = [(f"g{number}", "s") for number in range(40)]
    assert len({tuple(split(films, seed)) for seed in range(5)}) == 5


def test_a_split_is_the_same_forever() -> None:
    """The released model is trained on such a split: a change here is a change of every published number."""
    films = [(f"group {number}", number % 2) for number in range(12)]
    names = split_groups([group for group, _ in films], [stratum for _, stratum in films], seed=0)
    assert "".join(name[1] for name in names) == "rrraaeerrrrr"


def test_a_group_of_two_strata_counts_in_the_more_frequent() -> None:
    groups = ["a", "a", "a", "b", "c", "d"]
    assert len(set(split_groups(groups, [1, 1, 0, 1, 1, 1], seed=0)[:3])) == 1
    assert split_groups(groups, [1, 1, 0, 1, 1, 1], seed=0) == split_groups(groups, [1] * 6, seed=0)


@given(num=st.integers(1, 30), links=st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=40))
def test_groups_are_the_components_of_the_links(num: int, links: list[tuple[int, int]]) -> None:
    links = [(first % num, second % num) for first, second in links]
    groups = group_images(num, links)
    reached = {index: {index} for index in range(num)}
    for _ in range(num):
        for first, second in links:
            union = reached[first] | reached[second]
            for member in union:
                reached[member] = union
    for first in range(num):
        for second in range(num):
            assert (groups[first] == groups[second]) == (second in reached[first])
    assert list(dict.fromkeys(groups)) == list(range(len(set(groups))))


def test_shared_group_raises_and_names_both_splits() -> None:
    with pytest.raises(GroupLeakageError, match=r"1 group\(s\) occur in both 'train' and 'test', e.g. 'g2'"):
        check_disjoint({"train": ["g1", "g2"], "validation": ["g3"], "test": ["g2", "g4"]})


@pytest.mark.parametrize(
    ("fractions", "message"),
    [((0.7, 0.2), "Expected 3 fractions"), ((0.7, 0.2, 0.2), "sum to 1"), ((1.0, 0.0, 0.0), "must be positive")],
)
def test_impossible_shares_are_refused(fractions: tuple[float, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        split_groups(["a", "b", "c"], [0, 0, 0], fractions=fractions, seed=0)


def test_lists_of_different_lengths_are_refused() -> None:
    with pytest.raises(UsageError, match="got 2 and 1"):
        split_groups(["a", "b"], [0], seed=0)


@pytest.mark.parametrize("link", [(0, 3), (-1, 0)])
def test_a_link_to_no_film_is_refused(link: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="films 0 to 2"):
        group_images(3, [link])
