"""FracAtlas: masks in the frame they were drawn in, labels with their doubts, no film forgotten."""

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hf_fracture.data.orientation import read_orientation
from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.data.schema import RawRow
from hf_fracture.data.sources.fracatlas import read_rows
from hf_fracture.errors import DatasetError, MissingInputError

WriteLayout = Callable[..., Path]


def rows_by_name(root: Path) -> dict[str, RawRow]:
    return {row.path.name: row for row in read_rows(root)}


def edit_table(root: Path, edit: Callable[[list[dict[str, str]]], None]) -> None:
    path = root / "dataset.csv"
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    edit(rows)
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def edit_masks(root: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    path = root / "Annotations" / "COCO JSON" / "COCO_fracture_masks.json"
    masks = json.loads(path.read_text())
    edit(masks)
    path.write_text(json.dumps(masks))


def test_every_film_becomes_a_row_with_what_the_table_says(write_layout: WriteLayout) -> None:
    rows = rows_by_name(write_layout("fracatlas"))
    assert Counter(row.label for row in rows.values()) == {1: 6, 0: 6}
    first, second = rows["IMG0000000.jpg"], rows["IMG0000001.jpg"]
    assert (first.body_part, first.view, first.hardware, first.source_split) == ("hand", "frontal", False, "train")
    assert (second.body_part, second.view, second.hardware) == ("mixed", "mixed", True)
    assert rows["IMG0000006.jpg"].source_split is None
    assert first.source_path == "images/Fractured/IMG0000000.jpg"
    assert all(row.label_doubt is None for row in rows.values())
    assert all(row.modality == "XR" for row in rows.values())


def test_marks_of_a_film_that_exif_turns_stay_where_they_were_drawn(write_layout: WriteLayout) -> None:
    row = rows_by_name(write_layout("fracatlas"))["IMG0000000.jpg"]
    with Image.open(row.path) as stored:
        assert read_orientation(stored) == 6
        assert stored.size == (120, 96)
    x, y, width, height = draw_phantom(0, fractured=True, size_px=(96, 120)).boxes[0]
    assert row.boxes == [[x, y, width, height]]
    assert row.polygons == [[x, y, x + width, y, x + width, y + height, x, y + height]]


def test_marks_are_scaled_with_films_that_were_reduced_after_marking(write_layout: WriteLayout) -> None:
    root = write_layout("fracatlas")
    before = rows_by_name(root)["IMG0000001.jpg"].boxes[0]
    path = root / "images" / "Fractured" / "IMG0000001.jpg"
    Image.open(path).resize((48, 60)).save(path)
    assert rows_by_name(root)["IMG0000001.jpg"].boxes[0] == pytest.approx([value / 2 for value in before])


def test_marks_drawn_on_another_image_are_refused(write_layout: WriteLayout) -> None:
    root = write_layout("fracatlas")
    edit_masks(root, lambda masks: masks["images"][1].update(width=300, height=100))
    with pytest.raises(DatasetError, match=r"96 x 120 px of IMG0000001.jpg, got marks for 300 x 100 px"):
        list(read_rows(root))


def test_label_that_table_or_masks_contradict_is_in_doubt(write_layout: WriteLayout) -> None:
    root = write_layout("fracatlas")
    edit_table(root, lambda rows: (rows[2].update(fractured="0"), rows[8].update(fractured="1"))[0])
    edit_masks(root, lambda masks: masks["annotations"].pop(3))
    rows = rows_by_name(root)
    assert rows["IMG0000002.jpg"].label == 1
    assert rows["IMG0000002.jpg"].label_doubt == "filed under Fractured, but dataset.csv says not fractured"
    assert rows["IMG0000008.jpg"].label_doubt == "filed under Non_fractured, but dataset.csv says fractured"
    assert rows["IMG0000003.jpg"].label_doubt == "filed under Fractured, but no fracture is marked on it"


def test_listed_film_that_is_absent_and_film_that_is_not_listed_are_both_yielded(write_layout: WriteLayout) -> None:
    root = write_layout("fracatlas")
    (root / "images" / "Fractured" / "IMG0000003.jpg").rename(root / "images" / "Fractured" / "IMG0009999.jpg")
    rows = rows_by_name(root)
    assert not rows["IMG0000003.jpg"].path.exists()
    assert rows["IMG0009999.jpg"].label is None


@pytest.mark.parametrize("missing", ["dataset.csv", "Annotations/COCO JSON/COCO_fracture_masks.json"])
def test_missing_table_is_named(write_layout: WriteLayout, missing: str) -> None:
    root = write_layout("fracatlas")
    (root / missing).unlink()
    with pytest.raises(MissingInputError, match=Path(missing).name):
        list(read_rows(root))


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="found nothing there"):
        list(read_rows(tmp_path / "nowhere"))


def test_column_of_another_name_is_named(write_layout: WriteLayout) -> None:
    root = write_layout("fracatlas")
    text = (root / "dataset.csv").read_text()
    (root / "dataset.csv").write_text(text.replace("hardware", "metalwork", 1))
    with pytest.raises(DatasetError, match=r"hardware is missing among .*metalwork"):
        list(read_rows(root))


def test_value_that_is_no_flag_is_named(write_layout: WriteLayout) -> None:
    root = write_layout("fracatlas")
    edit_table(root, lambda rows: rows[1].update(hip="maybe"))
    with pytest.raises(DatasetError, match=r"hip of IMG0000001.jpg must be 0, 1 or blank, got 'maybe'"):
        list(read_rows(root))


def test_film_filed_in_both_classes_is_refused(write_layout: WriteLayout) -> None:
    root = write_layout("fracatlas")
    source = root / "images" / "Fractured" / "IMG0000001.jpg"
    (root / "images" / "Non_fractured" / source.name).write_bytes(source.read_bytes())
    with pytest.raises(DatasetError, match=r"each file name once, got IMG0000001.jpg"):
        list(read_rows(root))


def test_masks_that_are_no_coco_file_are_refused(write_layout: WriteLayout) -> None:
    root = write_layout("fracatlas")
    edit_masks(root, lambda masks: masks.pop("annotations"))
    with pytest.raises(DatasetError, match="must be a COCO file"):
        list(read_rows(root))


@pytest.mark.real_data
def test_real_fracatlas_agrees_with_its_documented_counts(real_data_dir: Path) -> None:
    rows = list(read_rows(real_data_dir / "fracatlas"))
    assert Counter(row.label for row in rows) == {0: 2836, 1: 611}
    assert sum(len(row.boxes) for row in rows) == sum(len(row.polygons) for row in rows) == 782
    assert [row.path.stem for row in rows if row.label_doubt] == ["IMG0003298"]
    assert all(row.path.is_file() for row in rows)


@pytest.mark.real_data
def test_real_marks_lie_inside_their_upright_films(real_data_dir: Path) -> None:
    from hf_fracture.data.radiographs import read_radiograph

    marked = [row for row in read_rows(real_data_dir / "fracatlas") if row.boxes]
    turned = {"IMG0002588.jpg", "IMG0002628.jpg"}
    for row in [row for row in marked if row.path.name in turned] + marked[::40]:
        width, height = read_radiograph(row.path).image.size
        for x, y, box_width, box_height in row.boxes:
            assert -1 <= x < x + box_width <= width + 1
            assert -1 <= y < y + box_height <= height + 1


def test_dataset_is_found_below_the_archives_own_folder(write_layout: WriteLayout, tmp_path: Path) -> None:
    plain = [row.source_path for row in read_rows(write_layout("fracatlas"))]
    (tmp_path / "download").mkdir()
    (tmp_path / "fracatlas").rename(tmp_path / "download" / "FracAtlas")
    assert [row.source_path for row in read_rows(tmp_path / "download")] == plain
