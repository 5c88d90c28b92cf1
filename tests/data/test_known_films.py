"""A ledger's groups and splits hold for everyone: re-encoded films, unknown copies, and copies of two groups."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from hf_fracture.data import grouping as grouping_module
from hf_fracture.data import known_films
from hf_fracture.data.known_films import KnownFilms, list_ledger_links, reconcile_links
from hf_fracture.data.ledger import LedgerEntry
from hf_fracture.data.prepare import PrepareOptions, prepare_dataset

ONE_PROCESS = PrepareOptions(num_workers=1)
Table = dict[str, dict[str, str]]
WriteLedger = Callable[[Table], None]


def build_entry(group: str, split: str = "train", relation: str = "") -> LedgerEntry:
    return LedgerEntry(
        source_path="", sha256="", perceptual_hash="0" * 16, detail_hash="", group_id=group, split=split,
        relation=relation, reason="",
    )  # fmt: skip


def build_known(*groups: str | None) -> KnownFilms:
    return KnownFilms(entries=[None if group is None else build_entry(group) for group in groups])


def test_link_between_two_groups_of_the_ledger_is_dropped() -> None:
    assert reconcile_links([(0, 1), (1, 2)], build_known("a", "a", "b")).kept == [0]


def test_unknown_film_joins_the_group_that_it_is_linked_to() -> None:
    reconciled = reconcile_links([(0, 1)], build_known("a", None, "b"))
    assert reconciled.kept == [0]
    assert reconciled.bridges == set()


def test_chain_of_unknown_films_between_two_groups_is_cut_and_its_films_are_bridges() -> None:
    links = [(0, 1), (1, 2), (2, 3)]
    reconciled = reconcile_links(links, build_known("b", None, None, "a"))
    assert [links[position] for position in reconciled.kept] == [(1, 2), (2, 3)]
    assert reconciled.bridges == {1, 2}


def test_without_a_ledger_every_link_stays() -> None:
    reconciled = reconcile_links([(0, 1), (1, 2)], build_known(None, None, None))
    assert reconciled.kept == [0, 1]
    assert reconciled.bridges == set()


def test_ledger_ties_what_no_link_ties() -> None:
    known = build_known("a", "b", "a", "a")
    assert list_ledger_links([(2, 3)], known) == [(0, 2)]
    assert list_ledger_links([(0, 2), (2, 3)], known) == []


def read_table(prepared_dir: Path) -> Table:
    with (prepared_dir / "splits.csv").open(newline="") as stream:
        return {line["source_path"]: line for line in csv.DictReader(stream)}


@pytest.fixture
def films(tmp_path: Path, draw_film: Callable[..., Image.Image], save_film: Callable[..., Path]) -> Path:
    """Twenty films in two classes."""
    for index in range(20):
        save_film(draw_film(index), tmp_path / "films" / ("fractured" if index % 2 else "normal") / f"{index:02d}.png")
    return tmp_path / "films"


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> WriteLedger:
    """Make a split table the ledger of the source `wrist`."""

    def write(table: Table) -> None:
        entries = tuple(
            LedgerEntry(
                source_path=path,
                sha256=line["sha256"],
                perceptual_hash=line["perceptual_hash"],
                detail_hash="",
                group_id=line["group_id"],
                split=line["split"],
                relation="",
                reason=line["reason"],
            )
            for path, line in table.items()
        )
        monkeypatch.setattr(known_films, "list_ledgers", lambda: ("wrist",))
        monkeypatch.setattr(known_films, "load_ledger", lambda _: entries)

    return write


def prepare_and_hash(films: Path, out_dir: Path) -> Table:
    """Prepare films and return their split table, with the perceptual hashes of the rows."""
    from datasets import load_dataset

    prepare_dataset("wrist", films, out_dir, options=ONE_PROCESS)
    table = read_table(out_dir)
    dataset = load_dataset(str(out_dir), cache_dir=str(out_dir.parent / "cache"))
    for split in dataset.values():
        for path, value in zip(split["source_path"], split["perceptual_hash"], strict=True):
            table[path]["perceptual_hash"] = value
    return table


def test_films_that_the_ledger_knows_follow_it_and_are_not_compared(
    films: Path, tmp_path: Path, publish: WriteLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = prepare_and_hash(films, tmp_path / "first")
    for line in table.values():
        line["split"] = {"train": "test", "test": "train"}.get(line["split"], line["split"])
        line["group_id"] = f"ledger-{line['group_id']}"
    publish(table)
    for film in films.rglob("*.png"):
        Image.open(film).resize((80, 100)).save(film)  # another content under the same name
    monkeypatch.setattr(grouping_module, "find_duplicate_pairs", lambda *_, **__: pytest.fail("films were compared"))
    prepare_dataset("wrist", films, tmp_path / "second", options=ONE_PROCESS)
    followed = read_table(tmp_path / "second")
    for path, line in table.items():
        assert (followed[path]["split"], followed[path]["group_id"]) == (line["split"], line["group_id"])
        assert followed[path]["sha256"] != line["sha256"]


def test_unknown_copy_trains_only_with_a_film_that_trains(films: Path, tmp_path: Path, publish: WriteLedger) -> None:
    table = prepare_and_hash(films, tmp_path / "first")
    publish(table)
    train_path = next(path for path, line in table.items() if line["split"] == "train")
    test_path = next(path for path, line in table.items() if line["split"] == "test")
    for path in (train_path, test_path):
        original = films / path
        Image.open(original).save(original.with_name(f"copy of {original.stem}.jpg"), quality=90)
    prepare_dataset("wrist", films, tmp_path / "second", options=ONE_PROCESS)
    followed = read_table(tmp_path / "second")
    train_copy, test_copy = (
        followed[(Path(path).parent / f"copy of {Path(path).stem}.jpg").as_posix()] for path in (train_path, test_path)
    )
    assert (train_copy["split"], train_copy["group_id"]) == ("train", table[train_path]["group_id"])
    assert (test_copy["split"], test_copy["group_id"]) == ("left out", table[test_path]["group_id"])
    assert test_copy["reason"] == "another film of its group in the ledger stands for it"
    assert all(followed[path]["split"] == line["split"] for path, line in table.items())


def test_another_seed_deals_the_ledgers_groups_anew(films: Path, tmp_path: Path, publish: WriteLedger) -> None:
    table = prepare_and_hash(films, tmp_path / "first")
    publish(table)
    prepare_dataset("wrist", films, tmp_path / "other", options=PrepareOptions(seed=3, num_workers=1))
    other = read_table(tmp_path / "other")
    assert {path: line["group_id"] for path, line in other.items()} == {
        path: line["group_id"] for path, line in table.items()
    }
    assert any(other[path]["split"] != line["split"] for path, line in table.items())
