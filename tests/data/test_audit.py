"""An audit finds what was planted in a folder, and nothing else; its page loads nothing and shows no film."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from sklearn.metrics import roc_auc_score

from hf_fracture.data.audit import (
    ACCOUNT_NAME,
    LEDGER_NAME,
    PAGE_NAME,
    PRIVATE_PAGE_NAME,
    audit_folder,
    check_against,
    detect_source,
)
from hf_fracture.data.films import Film
from hf_fracture.data.inspection import Inspection, inspect_file, measure_appearance
from hf_fracture.data.ledger import read_ledger
from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.data.schema import RawRow
from hf_fracture.data.sharing import find_in_films, find_in_ledger
from hf_fracture.data.shortcuts import encode_features, measure_shortcuts, rank_auroc
from hf_fracture.errors import DatasetError, MissingInputError, OutputExistsError, UsageError


def draw_film(seed: int) -> Image.Image:
    """Draw a phantom with a texture of its own, as real bone and soft tissue have."""
    film = draw_phantom(seed, fractured=False, size_px=(240, 300)).image
    grain = np.random.default_rng(seed).integers(0, 256, (38, 30), dtype=np.uint8)
    texture = Image.fromarray(grain).resize(film.size, Image.Resampling.BICUBIC)
    return Image.blend(film, texture, 0.25)


def save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=92)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in class folders with a published split, into which every defect is planted."""
    root = tmp_path_factory.mktemp("films") / "planted"
    for seed in range(8):
        save(draw_film(seed), root / "train" / ("fractured" if seed % 2 else "not fractured") / f"{seed}.jpg")
    for seed in range(20, 23):
        save(draw_film(seed), root / "test" / ("fractured" if seed % 2 else "not fractured") / f"{seed}.jpg")
    (root / "test/not fractured/same file.jpg").write_bytes((root / "train/not fractured/0.jpg").read_bytes())
    turned = draw_film(1).rotate(13, Image.Resampling.BICUBIC)
    save(turned, root / "test/fractured/turned.png")
    save(ImageOps.mirror(draw_film(2)), root / "train/fractured/mirrored and mislabelled.jpg")
    (root / "train/fractured/words.png").write_text("not an image")
    whole = (root / "train/fractured/3.jpg").read_bytes()
    (root / "train/fractured/3.jpg").write_bytes(whole[: len(whole) * 9 // 10])
    save(Image.new("L", (240, 300), 30), root / "train/not fractured/blank.png")
    save(draw_film(40).point([100 + grey // 8 for grey in range(256)]), root / "train/not fractured/flat.png")
    photo = np.random.default_rng(0).integers(0, 255, (75, 60, 3), dtype=np.uint8)
    save(Image.fromarray(photo).resize((240, 300)), root / "train/not fractured/photo.png")
    return root


@pytest.fixture(scope="module")
def audited(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, object], Path]:
    """The audit of that folder, against another one that holds one of its films."""
    other = tmp_path_factory.mktemp("other") / "others"
    save(draw_film(4).rotate(-20, Image.Resampling.BICUBIC), other / "x" / "somewhere else.png")
    save(draw_film(90), other / "x" / "new.png")
    out = tmp_path_factory.mktemp("out") / "audit"
    return audit_folder(folder, out, against=[str(other)], num_workers=1), out


def test_issues_are_named_and_nothing_else_is(audited: tuple[dict[str, object], Path]) -> None:
    issues = audited[0]["issues"]
    assert isinstance(issues, dict)
    found = {kind: {entry["source_path"].split("/")[-1] for entry in entries} for kind, entries in issues.items()}
    assert found == {
        "unreadable": {"words.png"},
        "truncated": {"3.jpg"},
        "blank": {"blank.png"},
        "low_contrast": {"flat.png"},
        "not_a_radiograph": {"photo.png"},
    }


def test_leaks_are_counted_each_way_and_by_kind(audited: tuple[dict[str, object], Path]) -> None:
    leaks = audited[0]["published_split_leaks"]
    assert isinstance(leaks, list)
    counts = {
        (leak["of"], leak["into"]): (leak["films"], leak["byte_identical"], leak["look_the_same"]) for leak in leaks
    }
    assert counts == {("train", "test"): (12, 1, 2), ("test", "train"): (5, 1, 2)}
    assert leaks[1]["look_the_same_by_label"] == {"fractured": 1, "not fractured": 1}
    assert [leak["contradicted"] for leak in leaks] == [0, 0]


def test_a_copy_in_another_split_that_says_something_else_is_counted(tmp_path: Path) -> None:
    film = draw_film(0)
    save(film, tmp_path / "Spiral Fracture/Train/a.png")
    save(film.rotate(9, Image.Resampling.BICUBIC), tmp_path / "Hairline Fracture/Test/a turned.png")
    save(draw_film(1), tmp_path / "Oblique fracture/Test/b.png")
    account = audit_folder(tmp_path, tmp_path / "out", num_workers=1)
    counts = {(leak["of"], leak["into"]): leak["contradicted"] for leak in account["published_split_leaks"]}
    assert counts == {("train", "test"): 1, ("test", "train"): 1}
    assert [conflict["kind"] for conflict in account["conflicts"]] == ["fracture type"]


def test_the_conflict_is_found_and_no_other(audited: tuple[dict[str, object], Path]) -> None:
    assert audited[0]["conflicts"] == [
        {
            "kind": "label",
            "films": {
                "train/fractured/mirrored and mislabelled.jpg": "fractured",
                "train/not fractured/2.jpg": "not fractured",
            },
        }
    ]


def test_the_shared_film_is_found_although_it_is_turned(audited: tuple[dict[str, object], Path]) -> None:
    shared = audited[0]["shared"]
    assert isinstance(shared, dict)
    (found,) = shared.values()
    assert found == [
        {"source_path": "train/not fractured/4.jpg", "other_path": "x/somewhere else.png", "how": "looks the same"}
    ]


def test_the_account_is_what_was_returned_and_the_ledger_splits_no_group(
    audited: tuple[dict[str, object], Path],
) -> None:
    account, out = audited
    assert json.loads((out / ACCOUNT_NAME).read_text()) == json.loads(json.dumps(account))
    groups: dict[str, set[str]] = {}
    for entry in read_ledger(out / LEDGER_NAME):
        groups.setdefault(entry.group_id, set()).add(entry.split)
    assert all(len(splits - {"left out"}) <= 1 for splits in groups.values())
    entries = {entry.source_path: entry for entry in read_ledger(out / LEDGER_NAME)}
    copies = ("train/not fractured/0.jpg", "test/not fractured/same file.jpg")
    assert entries[copies[0]].group_id == entries[copies[1]].group_id
    assert {entries[path].relation for path in copies} == {"", "byte identical"}


def test_the_page_loads_nothing_and_only_the_private_one_shows_films(audited: tuple[dict[str, object], Path]) -> None:
    page, private = ((audited[1] / name).read_text() for name in (PAGE_NAME, PRIVATE_PAGE_NAME))
    for text in (page, private):
        assert not re.search(r"(?:src|href)=\"(?!data:)|<script|@import|url\(", text)
        assert "mirrored and mislabelled.jpg" in text
    assert "<img" not in page
    assert private.count("<img") > 10
    assert "your own machine" in private


def test_an_audit_is_replaced_only_on_request_and_other_folders_never(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / LEDGER_NAME).write_text("")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        audit_folder(folder, out)
    (out / LEDGER_NAME).rename(out / "thesis.tex")
    with pytest.raises(OutputExistsError, match="no audit"):
        audit_folder(folder, out, overwrite=True)
    assert (out / "thesis.tex").exists()


def test_bad_folders_get_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="found nothing there"):
        audit_folder(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="found none"):
        audit_folder(tmp_path / "empty", tmp_path / "out")
    (tmp_path / "empty" / "a.png").write_text("words")
    with pytest.raises(DatasetError, match="Expected readable films"):
        audit_folder(tmp_path / "empty", tmp_path / "out", num_workers=1)
    with pytest.raises(UsageError, match=r"one of the ledgers .*kaggle_multi_region"):
        check_against(["kagle"])
    assert not (tmp_path / "out").exists()


def test_films_without_labels_are_audited_too(tmp_path: Path) -> None:
    for seed in range(3):
        save(draw_film(seed), tmp_path / "in" / f"{seed}.png")
    account = audit_folder(tmp_path / "in", tmp_path / "out", num_workers=1)
    assert account["files"]["unlabelled"] == 3
    assert account["shortcuts"] is None
    assert account["conflicts"] == []
    assert "without a label" in (tmp_path / "out" / PAGE_NAME).read_text()


@pytest.mark.parametrize(
    ("names", "source"),
    [
        (["train/fractured/36-rotated1.jpg"], "kaggle_multi_region"),
        (["Spiral Fracture/Train/a.jpg"], "bone_break"),
        (["train/fractured/a.jpg"], "image_folder"),
    ],
)
def test_layouts_are_told_apart_by_names(tmp_path: Path, names: list[str], source: str) -> None:
    for name in names:
        save(Image.new("L", (9, 9)), tmp_path / name)
    assert detect_source(tmp_path) == source


@pytest.mark.parametrize(
    ("header", "source"), [("﻿filestem,ao", "grazpedwri_dx"), ("image_id,hand,fractured", "fracatlas")]
)
def test_layouts_are_told_apart_by_tables(tmp_path: Path, header: str, source: str) -> None:
    (tmp_path / "dataset.csv").write_text(f"{header}\n", encoding="utf-8")
    assert detect_source(tmp_path) == source


def inspect_image(image: Image.Image, path: Path) -> Film:
    save(image, path)
    return inspect_file(path, path.name).film


def test_a_ledger_finds_copies_in_eight_orientations_without_pixels(
    folder: Path, audited: object, tmp_path: Path
) -> None:
    assert isinstance(audited, tuple)
    entries = read_ledger(audited[1] / LEDGER_NAME)
    copy = draw_film(5).transpose(Image.Transpose.ROTATE_270).resize((150, 120))
    films = [
        inspect_image(copy, tmp_path / "turned copy.jpg"),
        inspect_image(draw_film(77), tmp_path / "new.png"),
        inspect_image(Image.new("L", (80, 80), 30), tmp_path / "other blank.png"),
        inspect_file(folder / "train/not fractured/6.jpg", "same.jpg").film,
    ]
    found = [(film.source_path, film.other_path, film.how) for film in find_in_ledger(films, entries)]
    assert found == [
        ("same.jpg", "train/not fractured/6.jpg", "byte identical"),
        ("turned copy.jpg", "train/fractured/5.jpg", "looks the same"),
    ]
    assert find_in_ledger(films, []) == []


def test_sharing_between_folders_names_the_copy_there(tmp_path: Path) -> None:
    here = [inspect_image(draw_film(seed), tmp_path / f"here {seed}.png") for seed in range(4)]
    there = [
        inspect_image(draw_film(2).rotate(30, Image.Resampling.BICUBIC), tmp_path / "there.png"),
        inspect_image(draw_film(3), tmp_path / "same.png"),
    ]
    found = [(film.source_path, film.other_path, film.how) for film in find_in_films(here, there)]
    assert found == [
        ("here 2.png", "there.png", "looks the same"),
        ("here 3.png", "same.png", "byte identical"),
    ]


def make_row(index: int, label: int | None, *, hardware: bool | None = None) -> RawRow:
    return RawRow(path=Path(f"{index:04d}"), source_path=f"{index:04d}", label=label, hardware=hardware)


def make_inspection(index: int, *, width: int = 100, mode: str = "L") -> Inspection:
    film = Film(source_path=f"{index:04d}", file_width=width, file_height=100, file_mode=mode, num_bytes=1000)
    return Inspection(film=film, appearance=measure_appearance(np.zeros((128, 128), np.uint8)))


def test_a_planted_shortcut_is_found_and_chance_is_chance() -> None:
    noise = np.random.default_rng(0)
    labels = noise.integers(0, 2, 200)
    rows = [make_row(index, int(label)) for index, label in enumerate(labels)]
    inspections = [
        make_inspection(index, width=int(noise.integers(90, 110)), mode="RGB" if label else "L")
        for index, label in enumerate(labels)
    ]
    report = measure_shortcuts(rows, inspections, [row.source_path for row in rows])
    found = {shortcut.clue: shortcut for shortcut in report.shortcuts}
    assert found["colour mode"].auroc == 1.0
    assert report.shortcuts[0].auroc == 1.0
    chance = found["size of the film"]
    assert chance.auroc_low < 0.5 < chance.auroc_high
    assert all(item.auroc_low <= item.auroc <= item.auroc_high for item in report.shortcuts)
    assert "border" not in found  # the same for all films: nothing to learn


def test_copies_do_not_make_a_shortcut() -> None:
    """One film in a hundred copies must count once, and a group of both labels not at all."""
    rows = [make_row(index, index % 2) for index in range(100)]
    report = measure_shortcuts(rows, [make_inspection(index) for index in range(100)], ["one"] * 98 + ["a", "b"])
    assert (report.num_films, report.too_few) == (2, True)


def test_auroc_is_that_of_scikit_learn() -> None:
    noise = np.random.default_rng(3)
    labels, scores = noise.integers(0, 2, 300), noise.integers(0, 20, 300) / 20
    assert rank_auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))


def test_words_become_columns_and_constants_none() -> None:
    features = [{"mode": "L", "same": 1, "hardware": None}, {"mode": "RGB", "same": 1, "hardware": True}]
    assert encode_features(features, ["mode", "same", "hardware"]).tolist() == [[1.0, 0.0, -1.0], [0.0, 1.0, 1.0]]
    assert encode_features(features, ["same"]).shape == (2, 0)


def test_highlights_are_found_where_they_are() -> None:
    film = np.full((128, 128), 60, np.uint8)
    film[6:9, 6:14] = 250
    outside = measure_appearance(film)
    assert outside.outer_highlight_fraction > 0
    assert outside.inner_highlight_fraction == 0
    assert measure_appearance(film.T[::-1, ::-1]).outer_highlight_fraction == outside.outer_highlight_fraction


@pytest.mark.real_data
def test_byte_identity_alone_gives_the_lower_bounds_on_kaggle() -> None:
    """An independent count on the real files: 491 of the 506 test films are byte for byte in train."""
    import hashlib

    root = Path(os.environ["HF_FRACTURE_DATA"], "kaggle_multi_region")
    digests = {
        path.relative_to(root).as_posix(): hashlib.md5(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
    train = {digest for path, digest in digests.items() if path.startswith("train/")}
    test = [path for path in digests if path.startswith("test/")]
    leaked = {path for path in test if digests[path] in train}
    assert (len(digests), len(set(digests.values())), len(test), len(leaked)) == (10501, 3814, 506, 491)
    ledger = Path(__file__).parents[2] / "hf_fracture/data/ledgers/kaggle_multi_region.csv.gz"
    entries = {entry.source_path: entry for entry in read_ledger(ledger)}
    groups = {entry.group_id for path, entry in entries.items() if path.startswith("train/")}
    related = {path for path in test if entries[path].group_id in groups}
    assert leaked <= related
    assert len(related) >= 499
