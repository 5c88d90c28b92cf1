"""Films that a published ledger knows keep its groups and splits, so that everyone's clean split is the same one.

May depend on `films`, `ledger`, `schema` and `splits`.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hf_fracture.data.films import Film
from hf_fracture.data.ledger import LedgerEntry, LedgerIndex, list_ledgers, load_ledger
from hf_fracture.data.schema import RawRow
from hf_fracture.data.splits import Components


@dataclass(frozen=True, kw_only=True)
class KnownFilms:
    """What a ledger says of the films of a dataset.

    Attributes:
        entries: One per film; None for a film that the ledger does not know.
    """

    entries: Sequence[LedgerEntry | None]

    def are_all(self) -> bool:
        """Tell whether every film is known, so that none has to be compared."""
        return all(entry is not None for entry in self.entries)

    def group_of(self, film: int) -> str | None:
        """Return the ledger's group of a film, or None if the film is unknown."""
        entry = self.entries[film]
        return None if entry is None else entry.group_id

    def list_train_groups(self) -> set[str]:
        """Return the groups that train."""
        return {entry.group_id for entry in self.entries if entry is not None and entry.split == "train"}


def match_ledger(name: str, rows: Sequence[RawRow], films: Sequence[Film]) -> KnownFilms:
    """Look every film up in the ledger of its dataset, if one comes with the package."""
    if name not in list_ledgers():
        return KnownFilms(entries=[None] * len(rows))
    index = LedgerIndex(load_ledger(name))
    pairs = zip(rows, films, strict=True)
    return KnownFilms(entries=[index.find(row.source_path, film.sha256, film.perceptual_hash) for row, film in pairs])


@dataclass(frozen=True, kw_only=True)
class Reconciliation:
    """Links after the ledger has had its say.

    Attributes:
        kept: Positions of the links that stay: no chain of them leads from one group of the ledger to another.
        bridges: Unknown films that are linked to several groups of the ledger; they stay with the first.
    """

    kept: list[int]
    bridges: set[int]


def reconcile_links(links: Sequence[tuple[int, int]], known: KnownFilms) -> Reconciliation:
    """Choose the links that agree with the ledger's groups.

    Args:
        links: Pairs of films that must not be split apart, as found without the ledger.
        known: What the ledger says.
    """
    unknown = Components(len(known.entries))
    touched: dict[int, set[str]] = defaultdict(set)
    for first, second in links:
        if known.group_of(first) is None and known.group_of(second) is None:
            unknown.join(first, second)
    for pair in links:
        for film, other in (pair, pair[::-1]):
            group = known.group_of(other)
            if known.group_of(film) is None and group is not None:
                touched[unknown.find(film)].add(group)

    def find_group(film: int) -> str | None:
        return known.group_of(film) or min(touched.get(unknown.find(film), ()), default=None)

    kept = [position for position, (first, second) in enumerate(links) if find_group(first) == find_group(second)]
    bridges = {
        film
        for film in range(len(known.entries))
        if known.group_of(film) is None and len(touched.get(unknown.find(film), ())) > 1
    }
    return Reconciliation(kept=kept, bridges=bridges)


def list_ledger_links(links: Iterable[tuple[int, int]], known: KnownFilms) -> list[tuple[int, int]]:
    """Return the pairs that tie each group of the ledger together, where `links` do not do so already."""
    linked = Components(len(known.entries))
    for first, second in links:
        linked.join(first, second)
    first_of: dict[str, int] = {}
    missing = []
    for film in range(len(known.entries)):
        group = known.group_of(film)
        if group is not None and linked.find(first_of.setdefault(group, film)) != linked.find(film):
            missing.append((first_of[group], film))
            linked.join(first_of[group], film)
    return missing
