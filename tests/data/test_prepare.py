"""Preparing: every film accounted for, no group divided, nothing half-written, nothing read twice."""

import csv
import errno
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hf_fracture.data import films as films_module
from hf_fracture.data import prepare as prepare_module
from hf_fracture.data import shards as shards_module
from hf_fracture.data.dataset_card import _render_shortcuts
from hf_fracture.data.films import Film
from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.data.prepare import PrepareOptions, load_fracture_dataset, prepare_dataset
from hf_fracture.data.schema import HELD_OUT, ROW_COLUMNS
from hf_fracture.data.splits import check_disjoint
from hf_fracture.errors import DatasetError, OutputExistsError, UsageError
from hf_fracture.evaluation.films import load_splits

WriteLayout = Callable[..., Path]
DrawFilm = Callable[..., Image.Image]
SaveFilm = Callable[..., Path]
ONE_PROCESS = PrepareOptions(num_workers=1)


@pytest.fixture
def fracatlas(write_layout: WriteLayout) -> Path:
    return write_layout("fracatlas")


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read four films a chunk, so that a dozen films make several chunks."""
    monkeypatch.setattr(films_module, "CHUNK_FILMS", 4)


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def read_account(prepared_dir: Path) -> dict[str, Any]:
    account: dict[str, Any] = json.loads((prepared_dir / "audit.json").read_text(encoding="utf-8"))
    return account


def load(prepared_dir: Path, cache_dir: Path) -> Any:
    from datasets import load_dataset

    return load_dataset(str(prepared_dir), cache_dir=str(cache_dir))


def hidden_leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_prepared_dataset_loads_with_plain_datasets_and_accounts_for_every_film(
    fracatlas: Path, tmp_path: Path
) -> None:
    out_dir = prepare_dataset("fracatlas", fracatlas, tmp_path / "out", options=ONE_PROCESS)
    dataset = load(out_dir, tmp_path / "cache")
    rows = [row for split in dataset.values() for row in split]
    assert tuple(rows[0]) == ROW_COLUMNS
    assert sorted(row["source_path"] for row in rows) == sorted(
        path.relative_to(fracatlas).as_posix() for path in (fracatlas / "images").rglob("*.jpg")
    )
    assert all(row["image"].mode == "L" for row in rows)
    assert dataset["train"].features["label"].names == ["not fractured", "fractured"]
    by_name = {Path(row["source_path"]).name: row for row in rows}
    assert by_name["IMG0000000.jpg"]["read_note"] == "rotated by EXIF"
    assert by_name["IMG0000000.jpg"]["image"].size == (96, 120)
    assert by_name["IMG0000006.jpg"]["read_note"].startswith("truncated")
    assert read_account(out_dir)["files"]["read_with_a_note"] == {"rotated by EXIF": 1, "truncated": 1}
    assert hidden_leftovers(tmp_path) == []


def test_split_table_agrees_with_the_parquet_splits(fracatlas: Path, tmp_path: Path) -> None:
    out_dir = prepare_dataset("fracatlas", fracatlas, tmp_path / "out", options=ONE_PROCESS)
    table = read_table(out_dir / "splits.csv")
    dataset = load(out_dir, tmp_path / "cache")
    in_parquet = {
        row["source_path"]: (split, row["sha256"], row["group_id"]) for split, rows in dataset.items() for row in rows
    }
    in_table = {
        line["source_path"]: (
            HELD_OUT if line["split"] == "left out" else line["split"],
            line["sha256"],
            line["group_id"],
        )
        for line in table
    }
    assert in_table == in_parquet
    assert all(line["reason"] for line in table if line["split"] == "left out")


def test_dataset_streams_and_its_shards_are_dealt_to_ranks(
    fracatlas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets import load_dataset
    from datasets.distributed import split_dataset_by_node

    monkeypatch.setattr(shards_module, "SMALLEST_SHARD", 2)
    out_dir = prepare_dataset("fracatlas", fracatlas, tmp_path / "out", options=ONE_PROCESS)
    stream = load_dataset(str(out_dir), split="train", streaming=True)
    assert stream.num_shards >= 2
    ranks = [
        {row["source_path"] for row in split_dataset_by_node(stream, rank=rank, world_size=2)} for rank in range(2)
    ]
    assert ranks[0].isdisjoint(ranks[1])
    assert len(ranks[0] | ranks[1]) == read_account(out_dir)["splits"]["train"]["films"]


@pytest.mark.parametrize("read", [load, lambda folder, _: load_splits(folder)], ids=["load_dataset", "load_splits"])
def test_second_folder_of_the_same_name_is_not_answered_from_the_cache_with_the_first(
    read: Callable[[Path, Path], Any], tmp_path: Path, save_film: SaveFilm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    found = {}
    for place, fractured_seeds in {"one": (0, 2, 4), "two": (1, 3, 5)}.items():
        for seed in range(6):
            part = "fractured" if seed in fractured_seeds else "not fractured"
            film = draw_phantom(seed, fractured=False, size_px=(96, 96)).image
            save_film(film, tmp_path / place / "films" / part / f"{seed}.png")
        prepared = prepare_dataset("image_folder", tmp_path / place / "films", tmp_path / place / "prepared")
        found[place] = {
            row["source_path"]: row["label"] for split in read(prepared, tmp_path / "cache").values() for row in split
        }
        paths = (path.relative_to(tmp_path / place / "films") for path in (tmp_path / place / "films").rglob("*.png"))
        assert found[place] == {path.as_posix(): int(path.parent.name == "fractured") for path in paths}


def test_large_films_are_reduced_and_their_marks_with_them(tmp_path: Path, save_film: SaveFilm) -> None:
    phantom = draw_phantom(3, fractured=True, size_px=(800, 1000))
    save_film(phantom.image, tmp_path / "films" / "large.png")
    save_film(draw_phantom(4, fractured=False, size_px=(300, 400)).image, tmp_path / "films" / "small.png")
    boxes = json.dumps(phantom.boxes).replace('"', '""')
    (tmp_path / "films" / "metadata.csv").write_text(
        f'file_name,label,boxes\nlarge.png,fractured,"{boxes}"\nsmall.png,not fractured,\n'
    )
    out_dir = prepare_dataset("image_folder", tmp_path / "films", tmp_path / "out", options=ONE_PROCESS)
    rows = {row["source_path"]: row for split in load(out_dir, tmp_path / "cache").values() for row in split}
    assert rows["large.png"]["image"].size == (410, 512)
    assert rows["small.png"]["image"].size == (300, 400), "small films are not enlarged"
    x, y, width, height = rows["large.png"]["boxes"][0]
    expected = [value * 410 / 800 for value in phantom.boxes[0]]
    assert [x, y, width, height] == pytest.approx(expected, abs=0.01)


def test_same_input_gives_the_same_bytes_whatever_the_number_of_processes(fracatlas: Path, tmp_path: Path) -> None:
    first = prepare_dataset("fracatlas", fracatlas, tmp_path / "first", options=ONE_PROCESS)
    second = prepare_dataset("fracatlas", fracatlas, tmp_path / "second", options=PrepareOptions(num_workers=2))
    names = [path.relative_to(first) for path in first.rglob("*") if path.is_file()]
    assert names
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


def test_split_depends_on_the_seed_alone(fracatlas: Path, tmp_path: Path, write_layout: WriteLayout) -> None:
    tables = [
        prepare_dataset(
            "fracatlas", fracatlas, tmp_path / f"seed{seed}", options=PrepareOptions(seed=seed, num_workers=1)
        )
        for seed in (0, 1)
    ]
    assert (tables[0] / "splits.csv").read_text() != (tables[1] / "splits.csv").read_text()


def test_copies_share_a_group_and_validation_and_test_hold_one_of_each(
    write_layout: WriteLayout, tmp_path: Path
) -> None:
    source = write_layout("kaggle_multi_region")
    out_dir = prepare_dataset("kaggle_multi_region", source, tmp_path / "out", options=ONE_PROCESS)
    dataset = load(out_dir, tmp_path / "cache")
    check_disjoint({split: dataset[split]["group_id"] for split in dataset if split != HELD_OUT})
    rows = [row for split in dataset.values() for row in split]
    for label in (0, 1):
        for number in range(3):
            family = [
                row for row in rows if Path(row["source_path"]).name.startswith(f"{number}-") and row["label"] == label
            ]
            assert len(family) == 4
            assert len({row["group_id"] for row in family}) == 1
    for split in set(dataset) - {"train", HELD_OUT}:
        assert max(Counter(dataset[split]["group_id"]).values()) == 1
    leaks = read_account(out_dir)["published_split"]
    assert leaks["test"] == {"films": 6, "films_with_a_relative_in_train": 6}


def test_stand_in_of_a_group_is_its_least_altered_film(
    tmp_path: Path, draw_film: DrawFilm, save_film: SaveFilm
) -> None:
    for index in range(12):
        film = draw_film(index)
        folder = tmp_path / "films" / ("fractured" if index % 2 else "normal")
        save_film(film, folder / f"{index:02d} whole.jpg", quality=95)
        save_film(film.resize((60, 75)), folder / f"{index:02d} a small copy.jpg", quality=95)
    out_dir = prepare_dataset("wrist", tmp_path / "films", tmp_path / "out", options=ONE_PROCESS)
    measured = [line for line in read_table(out_dir / "splits.csv") if line["split"] in ("validation", "test")]
    assert measured
    assert all("whole" in line["source_path"] for line in measured)


def test_copies_with_opposite_labels_are_flagged_and_kept_from_validation_and_test(
    tmp_path: Path, draw_film: DrawFilm, save_film: SaveFilm
) -> None:
    for index in range(12):
        save_film(draw_film(index), tmp_path / "films" / ("fractured" if index % 2 else "normal") / f"{index}.png")
        save_film(
            draw_film(index), tmp_path / "films" / ("normal" if index % 2 else "fractured") / f"{index}.jpg", quality=95
        )
    out_dir = prepare_dataset("wrist", tmp_path / "films", tmp_path / "out", options=ONE_PROCESS)
    account = read_account(out_dir)
    assert len(account["opposite_labels"]) == 12
    assert account["splits"]["validation"]["films"] == account["splits"]["test"]["films"] == 0
    doubts = {entry["source_path"]: entry["doubt"] for entry in account["doubtful_labels"]}
    assert doubts["normal/0.png"] == "looks the same as fractured/0.jpg, which is fractured"
    assert doubts["fractured/0.jpg"] == "looks the same as normal/0.png, which is not fractured"


def test_patient_with_films_of_both_labels_is_whole_and_in_no_doubt(write_layout: WriteLayout, tmp_path: Path) -> None:
    source = write_layout("grazpedwri_dx", num_patients=12)
    out_dir = prepare_dataset("grazpedwri_dx", source, tmp_path / "out", options=ONE_PROCESS)
    dataset = load(out_dir, tmp_path / "cache")
    check_disjoint({split: dataset[split]["patient_id"] for split in dataset if split != HELD_OUT})
    rows = [row for split in dataset.values() for row in split]
    groups: dict[str, set[str]] = {row["patient_id"]: set() for row in rows}
    for row in rows:
        groups[row["patient_id"]].add(row["group_id"])
    assert all(len(ids) == 1 for ids in groups.values())
    for split in ("validation", "test"):
        assert all(doubt is None for doubt in dataset[split]["label_doubt"])
        assert max(Counter(dataset[split]["patient_id"]).values()) == 2, "both views of a patient measure"


def test_doubtful_films_are_held_out_with_the_doubt_as_reason(write_layout: WriteLayout, tmp_path: Path) -> None:
    source = write_layout("grazpedwri_dx", num_patients=12)
    table = source / "dataset.csv"
    text = table.read_text(encoding="utf-8-sig").splitlines()
    uncertain = [line.split(",") for line in text[1:]]
    for line in uncertain:
        line[11] = "1"
    table.write_text("\n".join([text[0], *(",".join(line) for line in uncertain)]) + "\n", encoding="utf-8-sig")
    out_dir = prepare_dataset("grazpedwri_dx", source, tmp_path / "out", options=ONE_PROCESS)
    left_out = [line for line in read_table(out_dir / "splits.csv") if line["split"] == "left out"]
    assert left_out
    assert all(line["reason"].startswith("doubtful label: the diagnosis is marked uncertain") for line in left_out)
    assert read_account(out_dir)["splits"]["test"]["films"] == 0


def test_published_split_is_taken_as_it_is(write_layout: WriteLayout, tmp_path: Path) -> None:
    options = PrepareOptions(split_rule="published", num_workers=1)
    out_dir = prepare_dataset(
        "kaggle_multi_region", write_layout("kaggle_multi_region"), tmp_path / "out", options=options
    )
    counts = {split: counts["films"] for split, counts in read_account(out_dir)["splits"].items()}
    assert counts == {"train": 18, "validation": 6, "test": 6, HELD_OUT: 0}
    assert "published splits, leaks included" in (out_dir / "README.md").read_text()


def test_film_that_the_published_split_does_not_name_is_held_out(fracatlas: Path, tmp_path: Path) -> None:
    options = PrepareOptions(split_rule="published", num_workers=1)
    out_dir = prepare_dataset("fracatlas", fracatlas, tmp_path / "out", options=options)
    reasons = Counter(line["reason"] for line in read_table(out_dir / "splits.csv"))
    assert reasons == {"": 3, "the published split does not name it": 9}


def test_card_states_the_counts_and_its_front_matter_names_the_splits(fracatlas: Path, tmp_path: Path) -> None:
    import yaml

    out_dir = prepare_dataset("fracatlas", fracatlas, tmp_path / "out", options=ONE_PROCESS)
    card = (out_dir / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["license"] == "cc-by-4.0"
    assert {entry["split"] for entry in front["configs"][0]["data_files"]} >= {"train", "validation", "test"}
    account = read_account(out_dir)
    train = account["splits"]["train"]
    assert f"| train | {train['films']} | {train['groups']} | {train['fractured']} | {train['not_fractured']} |" in card
    assert "12 files: 12 kept, 0 unreadable" in card
    assert "10.1038/s41597-023-02432-4" in card


def test_unreadable_film_is_named_and_the_rest_is_prepared(fracatlas: Path, tmp_path: Path) -> None:
    (fracatlas / "images" / "Fractured" / "IMG0000004.jpg").write_text("not a film")
    out_dir = prepare_dataset("fracatlas", fracatlas, tmp_path / "out", options=ONE_PROCESS)
    account = read_account(out_dir)
    assert (account["files"]["kept"], account["files"]["unreadable"]) == (11, 1)
    line = next(line for line in read_table(out_dir / "splits.csv") if "IMG0000004" in line["source_path"])
    assert line["split"] == "left out"
    assert "got a text that begins with 'not'" in line["reason"]


@pytest.mark.parametrize("kind", ["absent", "no label"])
def test_incomplete_download_is_refused_unless_allowed(fracatlas: Path, tmp_path: Path, kind: str) -> None:
    film = fracatlas / "images" / "Fractured" / "IMG0000004.jpg"
    if kind == "absent":
        film.unlink()
    else:
        shutil.copy(film, film.with_name("stray.jpg"))
    with pytest.raises(DatasetError, match="--allow-incomplete"):
        prepare_dataset("fracatlas", fracatlas, tmp_path / "out", options=ONE_PROCESS)
    assert not (tmp_path / "out").exists()
    options = PrepareOptions(allow_incomplete=True, num_workers=1)
    account = read_account(prepare_dataset("fracatlas", fracatlas, tmp_path / "out", options=options))
    assert account["files"][kind.replace(" ", "_")] == 1
    assert any(entry["reason"].startswith(kind) for entry in account["left_out"])


def test_download_of_which_no_image_is_there_is_refused_even_so(fracatlas: Path, tmp_path: Path) -> None:
    for path in (fracatlas / "images").rglob("*.jpg"):
        path.unlink()
    options = PrepareOptions(allow_incomplete=True, num_workers=1)
    with pytest.raises(DatasetError, match=r"12 of 12 absent, .* Unpack the images"):
        prepare_dataset("fracatlas", fracatlas, tmp_path / "out", options=options)


def test_dataset_of_one_class_is_refused_except_where_its_nature_is(
    tmp_path: Path, draw_film: DrawFilm, save_film: SaveFilm, write_layout: WriteLayout
) -> None:
    save_film(draw_film(0), tmp_path / "films" / "fractured" / "0.png")
    with pytest.raises(DatasetError, match="1 films of one class"):
        prepare_dataset("wrist", tmp_path / "films", tmp_path / "out", options=ONE_PROCESS)
    out_dir = prepare_dataset("bone_break", write_layout("bone_break"), tmp_path / "out", options=ONE_PROCESS)
    assert read_account(out_dir)["files"]["not_fractured"] == 0


def test_folder_of_unreadable_files_is_refused(tmp_path: Path) -> None:
    for name in ("fractured/a.png", "normal/b.png"):
        path = tmp_path / "films" / name
        path.parent.mkdir(parents=True)
        path.write_text("no film")
    with pytest.raises(DatasetError, match="readable images, found none among 2"):
        prepare_dataset("wrist", tmp_path / "films", tmp_path / "out", options=ONE_PROCESS)
    assert not (tmp_path / "out").exists()


def test_existing_dataset_is_replaced_only_on_request(fracatlas: Path, tmp_path: Path) -> None:
    out_dir = prepare_dataset("fracatlas", fracatlas, tmp_path / "out", options=ONE_PROCESS)
    with pytest.raises(OutputExistsError, match="--overwrite"):
        prepare_dataset("fracatlas", fracatlas, out_dir, options=ONE_PROCESS)
    before = read_account(out_dir)
    prepare_dataset("fracatlas", fracatlas, out_dir, options=PrepareOptions(seed=5, num_workers=1), overwrite=True)
    assert (before["seed"], read_account(out_dir)["seed"]) == (0, 5)
    assert hidden_leftovers(tmp_path) == []


def test_folder_that_is_no_prepared_dataset_is_never_replaced(fracatlas: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputExistsError, match="no prepared dataset"):
        prepare_dataset("fracatlas", fracatlas, tmp_path / "out", options=ONE_PROCESS, overwrite=True)
    assert (tmp_path / "out" / "thesis.txt").exists()


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_interrupted_work_leaves_nothing_and_goes_on_without_reading_again(
    fracatlas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruption: BaseException
) -> None:
    whole = films_module.read_chunk
    chunks_read: list[list[str]] = []

    def read_two_chunks(files: Sequence[tuple[Path, str]], long_side_px: int) -> list[Film]:
        if len(chunks_read) == 2:
            raise interruption
        chunks_read.append([name for _, name in files])
        return whole(files, long_side_px)

    monkeypatch.setattr(films_module, "read_chunk", read_two_chunks)
    with pytest.raises(type(interruption)):
        prepare_dataset("fracatlas", fracatlas, tmp_path / "out", options=ONE_PROCESS)
    assert not (tmp_path / "out").exists()

    def read_the_rest(files: Sequence[tuple[Path, str]], long_side_px: int) -> list[Film]:
        chunks_read.append([name for _, name in files])
        return whole(files, long_side_px)

    monkeypatch.setattr(films_module, "read_chunk", read_the_rest)
    resumed = prepare_dataset("fracatlas", fracatlas, tmp_path / "out", options=ONE_PROCESS)
    read = [name for chunk in chunks_read for name in chunk]
    assert len(read) == len(set(read)) == 12, "a film was read twice"
    monkeypatch.setattr(films_module, "read_chunk", whole)
    fresh = prepare_dataset("fracatlas", fracatlas, tmp_path / "fresh", options=ONE_PROCESS)
    assert (resumed / "splits.csv").read_bytes() == (fresh / "splits.csv").read_bytes()
    assert hidden_leftovers(tmp_path) == []


@pytest.mark.usefixtures("small_chunks")
def test_unfinished_work_of_other_settings_or_files_is_not_taken_up(
    fracatlas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare_module, "_link_and_assign", fail)
    with pytest.raises(KeyboardInterrupt):
        prepare_dataset("fracatlas", fracatlas, tmp_path / "out", options=ONE_PROCESS)
    monkeypatch.undo()
    small = PrepareOptions(long_side_px=64, num_workers=1)
    out_dir = prepare_dataset("fracatlas", fracatlas, tmp_path / "out", options=small)
    sizes = {row["image"].size for split in load(out_dir, tmp_path / "cache").values() for row in split}
    assert sizes == {(51, 64)}


def test_full_disk_while_writing_shards_leaves_the_earlier_dataset(
    fracatlas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out_dir = prepare_dataset("fracatlas", fracatlas, tmp_path / "out", options=ONE_PROCESS)
    before = (out_dir / "splits.csv").read_bytes()

    def fill_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(prepare_module, "write_shards", fill_disk)
    with pytest.raises(OSError, match="No space left"):
        prepare_dataset("fracatlas", fracatlas, out_dir, options=PrepareOptions(seed=9, num_workers=1), overwrite=True)
    assert (out_dir / "splits.csv").read_bytes() == before
    assert [path.name for path in out_dir.glob("data/*.parquet")]


def test_load_fracture_dataset_prepares_once(fracatlas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    first = load_fracture_dataset("fracatlas", data_dir=fracatlas)
    assert sum(len(rows) for rows in first.values()) == 12
    monkeypatch.setattr(prepare_module, "prepare_dataset", lambda *_, **__: pytest.fail("prepared a second time"))
    assert load_fracture_dataset("fracatlas", data_dir=str(fracatlas)).num_rows == first.num_rows


def test_folder_of_ct_and_mr_slices_keeps_each_patient_whole_and_unnamed(
    tmp_path: Path, draw_film: DrawFilm, save_dicom_film: Callable[..., Path]
) -> None:
    for patient in range(12):
        for piece in range(2):
            stored = np.asarray(draw_film(10 * patient + piece)).astype(np.uint16) * 8
            folder = tmp_path / "slices" / ("fractured" if piece else "normal")
            save_dicom_film(
                stored,
                folder / f"IM{patient:02d}{piece}",
                Modality="MR" if patient % 2 else "CT",
                PatientID=f"MRN-{patient}",
                StudyInstanceUID=f"1.2.{patient}",
                PatientAge="030Y",
                PatientSex="F",
                BodyPartExamined="WRIST",
            )
    out_dir = prepare_dataset("image_folder", tmp_path / "slices", tmp_path / "out", options=ONE_PROCESS)
    dataset = load(out_dir, tmp_path / "cache")
    rows = [row for split in dataset.values() for row in split]
    assert Counter(row["modality"] for row in rows) == {"CT": 12, "MR": 12}
    assert {row["body_part"] for row in rows} == {"wrist"}
    assert {(row["age_years"], row["sex"]) for row in rows} == {(30.0, "F")}
    assert Counter(Counter(row["patient_id"] for row in rows).values()) == {2: 12}
    check_disjoint({split: dataset[split]["patient_id"] for split in dataset if split != HELD_OUT})
    written = b"".join(path.read_bytes() for path in out_dir.rglob("*") if path.is_file())
    assert b"MRN-" not in written


def test_killed_process_is_a_sentence_and_the_work_is_kept(
    fracatlas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(films_module, "CHUNK_FILMS", 6)
    monkeypatch.setattr(films_module, "read_chunk", kill_own_process)
    with pytest.raises(DatasetError, match=r"stopped from outside, .* --workers 1"):
        prepare_dataset("fracatlas", fracatlas, tmp_path / "out", options=PrepareOptions(num_workers=2))
    assert not (tmp_path / "out").exists()


def kill_own_process(files: Sequence[tuple[Path, str]], long_side_px: int) -> list[Film]:
    """Stand in for a worker that the system kills."""
    os._exit(9)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"long_side_px": 31}, "long_side_px must be at least 32, got 31"),
        ({"num_workers": 0}, "num_workers must be at least 1, got 0"),
        ({"split_rule": "random"}, "split_rule must be 'clean' or 'published', got 'random'"),
        ({"doubtful_labels": "drop"}, "doubtful_labels must be 'keep' or 'leave_out', got 'drop'"),
    ],
)
def test_option_just_outside_its_range_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        PrepareOptions(**options)


def test_doubtful_labels_never_measure_anything_and_train_only_if_kept(
    write_layout: WriteLayout, tmp_path: Path
) -> None:
    source = write_layout("grazpedwri_dx", num_patients=12)
    splits: dict[str, Counter[str]] = {}
    for rule in ("keep", "leave_out"):
        options = PrepareOptions(doubtful_labels=rule, num_workers=1)
        out_dir = prepare_dataset("grazpedwri_dx", source, tmp_path / rule, options=options)
        doubtful = {entry["source_path"] for entry in read_account(out_dir)["doubtful_labels"]}
        assert len(doubtful) == 2
        splits[rule] = Counter(
            line["split"] for line in read_table(out_dir / "splits.csv") if line["source_path"] in doubtful
        )
        assert not splits[rule].keys() & {"validation", "test"}
    assert splits["leave_out"] == {"left out": 2}


def test_loading_a_prepared_folder_warns_of_nothing(fracatlas: Path, tmp_path: Path) -> None:
    out_dir = prepare_dataset("fracatlas", fracatlas, tmp_path / "out", options=PrepareOptions(num_workers=1))
    program = (
        "from datasets import disable_progress_bars, load_dataset\n"
        "disable_progress_bars()\n"
        f"dataset = load_dataset({str(out_dir)!r}, cache_dir={str(tmp_path / 'cache')!r})\n"
        f"streamed = load_dataset({str(out_dir)!r}, streaming=True)\n"
        "assert set(dataset) == set(streamed)\n"
        "print(dataset['train'].features['label'].names)\n"
    )
    done = subprocess.run([sys.executable, "-W", "always", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['not fractured', 'fractured']"
    assert "dataset_info" not in done.stderr
    assert [line for line in done.stderr.splitlines() if "datasets" in line or "malformed" in line] == []


def test_card_says_what_gives_the_label_away() -> None:
    clue = {"clue": "file size", "auroc": 0.9101, "auroc_low": 0.88, "auroc_high": 0.94}
    report = {"num_films": 555, "num_fractured": 401, "shortcuts": [clue], "too_few": False}
    assert "| file size | 0.910 (0.880 to 0.940) |" in _render_shortcuts({"shortcuts": report})
    assert "too few films" in _render_shortcuts({"shortcuts": {**report, "shortcuts": []}})
    assert "scikit-learn was not installed" in _render_shortcuts({"shortcuts": None})


@pytest.mark.real_data
def test_real_films_keep_their_truncated_and_turned_ones(real_data_dir: Path, tmp_path: Path) -> None:
    source = tmp_path / "subset"
    for folder in ("Fractured", "Non_fractured"):
        (source / "images" / folder).mkdir(parents=True)
        for path in sorted((real_data_dir / "fracatlas" / "images" / folder).glob("*[05]0.jpg")):
            (source / "images" / folder / path.name).symlink_to(path)
    for name in ("dataset.csv", "Annotations", "Utilities"):
        (source / name).symlink_to(real_data_dir / "fracatlas" / name)
    options = PrepareOptions(allow_incomplete=True, num_workers=1)
    account = read_account(prepare_dataset("fracatlas", source, tmp_path / "out", options=options))
    num_films = len(list(source.glob("images/*/*.jpg")))
    assert account["files"]["kept"] == num_films > 50
    assert account["files"]["unreadable"] == 0


@pytest.mark.slow
@pytest.mark.real_data
def test_real_fracatlas_keeps_all_films_and_divides_no_group(real_data_dir: Path, tmp_path: Path) -> None:
    out_dir = prepare_dataset("fracatlas", real_data_dir / "fracatlas", tmp_path / "out")
    account, table = read_account(out_dir), read_table(out_dir / "splits.csv")
    assert account["files"]["kept"] == account["files"]["listed"] == len(table) == 3447
    assert account["files"]["read_with_a_note"] == {"rotated by EXIF": 23, "truncated": 49}
    flagged = {frozenset(Path(name).stem for name in entry["labels"]) for entry in account["opposite_labels"]}
    assert frozenset({"IMG0002886", "IMG0004243"}) in flagged
    assert len(flagged) >= 7
    members = {
        split: [line["group_id"] for line in table if line["split"] == split]
        for split in ("train", "validation", "test")
    }
    check_disjoint(members)
    for split in ("validation", "test"):
        assert len(set(members[split])) == len(members[split])
        assert len(members[split]) / 3447 == pytest.approx(0.145, abs=0.01)
