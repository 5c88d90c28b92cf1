from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, DatasetDict

from hf_fracture.errors import DatasetError, MissingInputError
from hf_fracture.evaluation.films import (
    count_leaked_films,
    describe_film,
    hash_assignment,
    hash_films,
    load_splits,
    name_size,
    select_split,
    was_developed_on,
)


def test_a_prepared_folder_is_read_with_its_splits(dataset_dir: Path) -> None:
    splits = load_splits(dataset_dir)
    assert {name: len(films) for name, films in splits.items()} == {"train": 6, "validation": 24, "test": 30}


def test_hashes_ignore_the_order_of_the_films(dataset_dir: Path) -> None:
    splits = load_splits(dataset_dir)
    shuffled = DatasetDict({name: splits[name].shuffle(seed=1) for name in ("validation", "test", "train")})
    assert hash_films(shuffled) == hash_films(splits)
    assert hash_assignment(shuffled) == hash_assignment(splits)


def test_moving_one_film_changes_the_split_hash_only(dataset_dir: Path) -> None:
    splits = load_splits(dataset_dir)
    moved = DatasetDict(
        {
            "train": Dataset.from_list([*splits["train"], splits["test"][0]], features=splits["train"].features),
            "validation": splits["validation"],
            "test": splits["test"].select(range(1, 30)),
        }
    )
    assert hash_films(moved) == hash_films(splits)
    assert hash_assignment(moved) != hash_assignment(splits)


@pytest.mark.parametrize("change", [{"label": 1}, {"group_id": "other"}])
def test_changing_one_label_or_group_changes_the_content_hash(dataset_dir: Path, change: dict[str, object]) -> None:
    films = load_splits(dataset_dir)["train"].select(range(1, 5))
    altered = Dataset.from_list([{**films[0], **change}, *films.select(range(1, 4))], features=films.features)
    assert hash_films({"train": altered}) != hash_films({"train": films})


def test_a_missing_split_is_answered_with_those_that_exist(dataset_dir: Path) -> None:
    with pytest.raises(MissingInputError, match=r"found '[a-z]+', '[a-z]+', '[a-z]+'"):
        select_split(load_splits(dataset_dir), "tset")


def test_an_empty_split_is_refused(dataset_dir: Path) -> None:
    films = load_splits(dataset_dir)["train"]
    with pytest.raises(DatasetError, match="holds no film"):
        select_split(DatasetDict({"test": films.select([])}), "test")


def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no films here")
    with pytest.raises((MissingInputError, DatasetError), match="data prepare"):
        load_splits(tmp_path)


def test_a_dataset_without_groups_is_refused(dataset_dir: Path, tmp_path: Path) -> None:
    films = load_splits(dataset_dir)["train"].remove_columns("group_id")
    (tmp_path / "data").mkdir()
    films.to_parquet(tmp_path / "data" / "test-00000-of-00001.parquet")
    with pytest.raises(DatasetError, match="found no group_id"):
        load_splits(tmp_path)


def test_labels_of_other_names_are_refused(dataset_dir: Path, tmp_path: Path) -> None:
    films = load_splits(dataset_dir)["train"].cast_column("label", ClassLabel(names=["fractured", "not fractured"]))
    (tmp_path / "data").mkdir()
    films.to_parquet(tmp_path / "data" / "test-00000-of-00001.parquet")
    with pytest.raises(DatasetError, match="found 'fractured', 'not fractured'"):
        load_splits(tmp_path)


def test_unknown_is_none_and_absent_is_no() -> None:
    known = describe_film({"hardware": False, "cast": None, "age_years": None}, size=(100, 512))
    assert known == {
        "body_part": None,
        "view": None,
        "hardware": "no",
        "cast": None,
        "source": None,
        "image_size": "512 px and over",
        "age": None,
        "sex": None,
    }


@pytest.mark.parametrize(
    ("side", "name"), [(255, "under 256 px"), (256, "256 to 511 px"), (511, "256 to 511 px"), (512, "512 px and over")]
)
def test_size_classes_begin_at_their_limits(side: int, name: str) -> None:
    assert name_size(side) == name


def test_a_film_leaks_when_its_group_occurs_in_another_split_that_is_used(dataset_dir: Path) -> None:
    splits = load_splits(dataset_dir)
    assert count_leaked_films(splits, "test") == 0
    borrowed = Dataset.from_list([splits["test"][0]], features=splits["test"].features)
    assert count_leaked_films({**splits, "train": borrowed}, "test") == 2  # the film and its relative
    assert count_leaked_films({**splits, "held_out": borrowed}, "test") == 0


@pytest.mark.parametrize(
    ("split", "trained_on", "expected"),
    [
        ("validation", ["phantoms"], True),
        ("train", ["fracatlas", "phantoms"], True),
        ("test", ["phantoms"], False),
        ("validation", ["fracatlas"], False),
        ("validation", [], False),
    ],
)
def test_a_split_that_trains_or_chooses_was_developed_on(
    dataset_dir: Path, split: str, trained_on: list[str], expected: bool
) -> None:
    assert was_developed_on(load_splits(dataset_dir)[split], split, trained_on) is expected
