"""GRAZPEDWRI-DX: blank means no, doubts are kept, boxes from both formats agree, patients stay whole."""

from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.data.radiographs import read_radiograph
from hf_fracture.data.sources.grazpedwri_dx import read_rows
from hf_fracture.data.splits import check_disjoint, split_groups
from hf_fracture.errors import DatasetError

WriteLayout = Callable[..., Path]


def test_rows_carry_what_the_table_says(write_layout: WriteLayout) -> None:
    rows = list(read_rows(write_layout("grazpedwri_dx")))
    assert Counter(row.label for row in rows) == {0: 6, 1: 6}
    first, second = rows[:2]
    assert (first.view, second.view) == ("frontal", "lateral")
    assert (first.laterality, first.sex, first.age_years, first.body_part) == ("L", "M", 9.5, "wrist")
    assert (first.cast, second.cast, first.hardware) == (False, True, False)
    assert (first.patient_id, first.study_id) == ("0", "0-1")
    assert len({row.patient_id for row in rows}) == 6


@pytest.mark.parametrize("boxes", ["yolo", "voc"])
def test_fracture_boxes_are_in_pixels_and_other_classes_are_left_out(write_layout: WriteLayout, boxes: str) -> None:
    rows = list(read_rows(write_layout("grazpedwri_dx", boxes=boxes)))
    expected = draw_phantom(11, fractured=True, size_px=(96, 120)).boxes
    assert len(rows[2].boxes) == len(expected)
    for found, drawn in zip(rows[2].boxes, expected, strict=True):
        assert found == pytest.approx(drawn, abs=1e-4)
    assert rows[4].boxes == []


def test_films_of_16_bit_are_read_at_their_true_levels(write_layout: WriteLayout) -> None:
    row = next(iter(read_rows(write_layout("grazpedwri_dx"))))
    drawn = draw_phantom(1, fractured=False, size_px=(96, 120)).image
    read = read_radiograph(row.path)
    assert read.original_mode == "I;16"
    assert read.image.tobytes() == drawn.tobytes()


def test_doubtful_rows_say_why(write_layout: WriteLayout) -> None:
    rows = list(read_rows(write_layout("grazpedwri_dx")))
    assert rows[0].label_doubt == "no visible fracture, but the AO code 23u-E/7"
    assert rows[2].label_doubt == "the diagnosis is marked uncertain"
    assert [row.label_doubt for row in rows[3:]] == [None] * 9


def test_boxes_that_contradict_the_table_raise_a_doubt(write_layout: WriteLayout) -> None:
    root = write_layout("grazpedwri_dx")
    rows = list(read_rows(root))
    (root / "labels" / f"{rows[3].path.stem}.txt").write_text("8 0.5 0.5 0.1 0.1\n")
    (root / "labels" / f"{rows[4].path.stem}.txt").write_text("3 0.5 0.5 0.1 0.1\n")
    rows = list(read_rows(root))
    assert rows[3].label_doubt == "a visible fracture, but no fracture box"
    assert rows[4].label_doubt == "no visible fracture, but a fracture box"


def test_films_in_the_folders_of_the_archives_are_found(write_layout: WriteLayout) -> None:
    root = write_layout("grazpedwri_dx")
    (root / "images").rename(root / "images_part1")
    assert all(row.path.is_file() for row in read_rows(root))


def test_film_that_the_table_does_not_name_has_no_label(write_layout: WriteLayout) -> None:
    root = write_layout("grazpedwri_dx")
    path = next((root / "images").iterdir())
    path.with_name("stray.png").write_bytes(path.read_bytes())
    assert [row.source_path for row in read_rows(root) if row.label is None] == ["images/stray.png"]


def test_film_that_is_there_twice_is_refused(write_layout: WriteLayout) -> None:
    root = write_layout("grazpedwri_dx")
    path = next((root / "images").iterdir())
    (root / "images_part1").mkdir()
    (root / "images_part1" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(DatasetError, match=f"each film once, got {path.name}"):
        list(read_rows(root))


@pytest.mark.parametrize("line", ["3 0.5 0.5 0.1", "fracture 0.5 0.5 0.1 0.1", "3 a b c d"])
def test_damaged_box_file_is_named(write_layout: WriteLayout, line: str) -> None:
    root = write_layout("grazpedwri_dx")
    path = next((root / "labels").iterdir())
    path.write_text(line + "\n")
    with pytest.raises(DatasetError, match=path.name):
        list(read_rows(root))


def test_age_that_is_no_number_is_named(write_layout: WriteLayout) -> None:
    root = write_layout("grazpedwri_dx")
    table = root / "dataset.csv"
    table.write_text(table.read_text(encoding="utf-8").replace(",9.5,", ",old,", 1), encoding="utf-8")
    with pytest.raises(DatasetError, match="must be a number from 0 to 130, got 'old'"):
        list(read_rows(root))


@pytest.mark.real_data
def test_real_table_splits_its_20327_rows_by_its_6091_patients(real_data_dir: Path) -> None:
    rows = list(read_rows(real_data_dir / "grazpedwri_dx"))
    assert len(rows) == 20_327
    assert sum(row.label == 0 for row in rows) == 6_777
    doubts = [row.label_doubt or "" for row in rows]
    assert sum("AO code" in doubt for doubt in doubts) == 773
    assert sum("uncertain" in doubt for doubt in doubts) == 537
    patients = [row.patient_id or "" for row in rows]
    splits = split_groups(patients, [row.label for row in rows], seed=0)
    members: dict[str, list[str]] = defaultdict(list)
    for split, patient in zip(splits, patients, strict=True):
        members[split].append(patient)
    check_disjoint(members)
    sizes = {split: len(set(ids)) for split, ids in members.items()}
    assert sum(sizes.values()) == 6_091
    assert sizes["train"] / 6_091 == pytest.approx(0.7, abs=0.01)
