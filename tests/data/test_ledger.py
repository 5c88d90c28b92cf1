"""A ledger keeps what it is given, knows a file again, and never moves a film from train to test."""

import csv
import gzip
import os
import re
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from hf_fracture.data.inspection import inspect_file
from hf_fracture.data.ledger import (
    COLUMNS,
    LedgerEntry,
    LedgerIndex,
    list_ledgers,
    load_ledger,
    read_ledger,
    write_ledger,
)
from hf_fracture.data.ledger_entries import EarlierSplit, hash_splits, keep_splits
from hf_fracture.errors import DatasetError, MissingInputError

DATASETS = ("bone_break", "fracatlas", "kaggle_multi_region")


def make_entry(path: str, *, group: str = "g", split: str = "train", sha: str | None = None) -> LedgerEntry:
    return LedgerEntry(
        source_path=path,
        sha256=sha or path.encode().hex().ljust(64, "0"),
        perceptual_hash=f"{0x0F0F:016x}",
        detail_hash="1" * 64,
        group_id=group,
        split=split,
        relation="",
        reason="",
    )


@pytest.mark.parametrize("name", ["ledger.csv", "ledger.csv.gz"])
def test_a_ledger_reads_as_it_was_written(tmp_path: Path, name: str) -> None:
    entries = [make_entry("b, with a comma.png"), make_entry('a "quoted".png', split="left out")]
    write_ledger(tmp_path / name, entries)
    assert read_ledger(tmp_path / name) == sorted(entries, key=lambda entry: entry.source_path)


def test_compressed_bytes_are_the_same_each_time(tmp_path: Path) -> None:
    first, second = tmp_path / "one.csv.gz", tmp_path / "two.csv.gz"
    write_ledger(first, [make_entry("a"), make_entry("b")])
    os.utime(first, (1, 1))
    write_ledger(second, [make_entry("b"), make_entry("a")])
    assert first.read_bytes() == second.read_bytes()


def test_a_file_is_known_by_content_whatever_its_name() -> None:
    entry = make_entry("a.png")
    index = LedgerIndex([entry, make_entry("copy of a.png", sha=entry.sha256)])
    assert index.find("renamed.png", entry.sha256, "f" * 16) == entry
    found = index.find("copy of a.png", entry.sha256, "f" * 16)
    assert found is not None
    assert found.source_path == "copy of a.png"


@pytest.mark.parametrize(("bits", "known"), [(0, True), (10, True), (11, False)])
def test_a_file_encoded_again_is_known_by_its_path_while_it_looks_the_same(bits: int, known: bool) -> None:
    entry = make_entry("a.png")
    look = f"{int(entry.perceptual_hash, 16) ^ ((1 << bits) - 1):016x}"
    assert (LedgerIndex([entry]).find("a.png", "e" * 64, look) == entry) == known
    assert LedgerIndex([entry]).find("other.png", "e" * 64, look) is None


def test_a_missing_ledger_and_a_missing_column_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="got 'nothing'"):
        load_ledger("nothing")
    with pytest.raises(MissingInputError, match="found none"):
        read_ledger(tmp_path / "no.csv")
    (tmp_path / "bad.csv").write_text("source_path,sha256\n")
    with pytest.raises(DatasetError, match="group_id, split, relation, reason is missing"):
        read_ledger(tmp_path / "bad.csv")
    (tmp_path / "bad.gz").write_bytes(gzip.compress(b"x" * 100)[:20])
    with pytest.raises(DatasetError, match="must be a ledger in UTF-8"):
        read_ledger(tmp_path / "bad.gz")


def test_a_new_ledger_keeps_its_own_splits() -> None:
    entries = [make_entry("a"), make_entry("b", group="h", split="test")]
    assert keep_splits(entries, {}) == entries


def test_copies_found_later_only_take_films_out() -> None:
    """Before: two groups, one in train and one in test. Now they are one group, and a new film belongs to it."""
    entries = [make_entry(path, split="test") for path in ("a", "b", "new")]
    earlier = {"a": EarlierSplit("train", ""), "b": EarlierSplit("test", "")}
    kept = {entry.source_path: (entry.split, entry.reason) for entry in keep_splits(entries, earlier)}
    assert kept == {
        "a": ("train", ""),
        "b": ("left out", "a copy of it is in train (test)"),
        "new": ("train", ""),
    }


def test_validation_and_test_still_hold_one_film_per_group() -> None:
    entries = [make_entry(path) for path in ("a", "b", "new")]
    earlier = {path: EarlierSplit("validation", "") for path in ("a", "b")}
    kept = [entry.split for entry in keep_splits(entries, earlier)]
    assert kept == ["validation", "left out", "left out"]


def test_a_group_with_opposite_labels_leaves_test() -> None:
    reason = "its group holds opposite labels (test)"
    entries = [replace(make_entry(path, split="left out"), reason=reason) for path in ("a", "b")]
    kept = keep_splits(entries, {"a": EarlierSplit("test", ""), "b": EarlierSplit("test", "")})
    assert [(entry.split, entry.reason) for entry in kept] == [("left out", reason)] * 2


def test_what_was_left_out_stays_out_for_its_reason() -> None:
    entries = [make_entry("a"), make_entry("b", group="h")]
    earlier = {"a": EarlierSplit("left out", "doubtful"), "b": EarlierSplit("test", "")}
    kept = keep_splits(entries, earlier)
    assert [(entry.split, entry.reason) for entry in kept] == [("left out", "doubtful"), ("test", "")]


def test_keeping_splits_twice_changes_nothing() -> None:
    entries = [make_entry(path, group=path[0], split="test") for path in ("a1", "a2", "b1", "c1", "c2")]
    earlier = {"a1": EarlierSplit("train", ""), "a2": EarlierSplit("test", ""), "c2": EarlierSplit("validation", "")}
    once = keep_splits(entries, earlier)
    again = keep_splits(entries, {entry.source_path: EarlierSplit(entry.split, entry.reason) for entry in once})
    assert once == again
    assert hash_splits(once) == hash_splits(list(reversed(again)))


@pytest.mark.parametrize("name", DATASETS)
def test_shipped_ledger_holds_names_and_hashes_and_splits_no_group(name: str) -> None:
    entries = load_ledger(name)
    assert name in list_ledgers()
    assert len({entry.source_path for entry in entries}) == len(entries)
    splits = defaultdict(set)
    for entry in entries:
        assert re.fullmatch("[0-9a-f]{64}", entry.sha256)
        assert re.fullmatch("[0-9a-f]{16}", entry.perceptual_hash)
        assert re.fullmatch("[0-9a-f]{64}", entry.detail_hash)
        assert (entry.split == "left out") == bool(entry.reason)
        splits[entry.group_id].add(entry.split)
    assert all(len(found - {"left out"}) <= 1 for found in splits.values())
    measured = [entry.group_id for entry in entries if entry.split in ("validation", "test")]
    assert len(measured) == len(set(measured))
    contents = defaultdict(set)
    for entry in entries:
        contents[entry.sha256].add(entry.group_id)
    assert all(len(groups) == 1 for groups in contents.values())


def test_fracatlas_split_is_the_one_the_shipped_model_was_trained_on() -> None:
    counts = Counter(entry.split for entry in load_ledger("fracatlas"))
    assert counts == {"train": 2409, "validation": 495, "test": 485, "left out": 58}
    assert hash_splits(load_ledger("fracatlas")).startswith("33f6eaa7e6af")


def test_no_rotation_family_crosses_the_kaggle_splits() -> None:
    """The file names prove 99 families; the ledger must keep each whole, whatever appearance said."""
    families = defaultdict(list)
    for entry in load_ledger("kaggle_multi_region"):
        _, label, name = entry.source_path.split("/")
        if match := re.match(r"(.+?)-rotated\d", name):
            families[label, match[1]].append(entry)
    assert len(families) == 99
    assert sum(len(members) for members in families.values()) == 9512
    assert all(len({entry.group_id for entry in members}) == 1 for members in families.values())


def test_the_columns_are_what_the_documentation_promises(tmp_path: Path) -> None:
    write_ledger(tmp_path / "ledger.csv", [make_entry("a")])
    with (tmp_path / "ledger.csv").open(newline="") as stream:
        assert tuple(next(csv.reader(stream))) == COLUMNS
    assert {"source_path", "sha256", "perceptual_hash", "group_id", "split", "relation"} <= set(COLUMNS)


@pytest.mark.real_data
@pytest.mark.parametrize("name", DATASETS)
def test_files_of_the_real_dataset_are_known(name: str) -> None:
    root = Path(os.environ["HF_FRACTURE_DATA"], name)
    index = LedgerIndex(load_ledger(name))
    for entry in load_ledger(name)[::97]:
        film = inspect_file(root / entry.source_path, entry.source_path).film
        assert index.find(entry.source_path, film.sha256, film.perceptual_hash) == entry
        assert index.find(entry.source_path, "e" * 64, film.perceptual_hash) == entry
