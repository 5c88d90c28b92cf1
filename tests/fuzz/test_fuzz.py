"""A short run of every fuzzing target, driven by hypothesis, and the cases that fuzzing found before."""

import random
import re
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_fracture.data.sources import read_rows
from hf_fracture.errors import DatasetError
from tests.fuzz.targets import MAX_SECONDS, MAX_SENTENCE, TARGETS, Files, mutate_bytes, run_reader


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_read_as_they_are(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    for kind, files in target.build_seeds().items():
        folder = tmp_path / kind
        folder.mkdir()
        assert "read" in target.run(files, folder), kind


@pytest.mark.parametrize("name", TARGETS)
@given(source=st.randoms(use_true_random=False), index=st.integers(0, 2**16))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_mutated_files_give_an_answer_or_a_sentence(name: str, source: random.Random, index: int) -> None:
    target = TARGETS[name]
    seeds = list(_seeds(name).values())
    files = target.mutate(seeds[index % len(seeds)], source)
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        target.run(files, Path(folder))
        assert time.process_time() - started < MAX_SECONDS


_SEEDS: dict[str, dict[str, Files]] = {}


def _seeds(name: str) -> dict[str, Files]:
    if name not in _SEEDS:
        _SEEDS[name] = TARGETS[name].build_seeds()
    return _SEEDS[name]


FOUND = {
    "an age of infinity": ("metadata.csv", "metadata.csv", b",9.5,", b",inf,", "age_years of a.png must be a number"),
    "a label of -1": ("metadata.csv", "metadata.csv", b"c.png,0,", b"c.png,-1,", "label of c.png must be 0, 1"),
    "an unknown split": ("metadata.csv", "metadata.csv", b",validation,", b",holdout,", "split of c.png must be train"),
    "deep JSON": ("metadata.csv", "metadata.csv", b",[],[]", b"," + b"[" * 20_000 + b",[]", "boxes of c.png must be"),
    "a box that is no number": ("metadata.csv", "metadata.csv", b"[[1, 2, 10", b"[[NaN, 2, 10", "four finite numbers"),
    "a box inside out": ("metadata.csv", "metadata.csv", b"[[1, 2, 10", b"[[1, 2, -10", "four finite numbers"),
    "a name with a zero byte": ("metadata.csv", "metadata.csv", b"c.png", b"c\0.png", "inside its folder"),
    "a name too long for any disk": ("metadata.csv", "metadata.csv", b"c.png", b"c" * 400 + b".png", "inside its fold"),
    "a row cut short": ("grazpedwri_dx", "dataset.csv", b",1,,0.144,Siemens", b"", "17 cells in every row, got 13"),
    "two columns of one name": ("grazpedwri_dx", "dataset.csv", b",metal,", b",cast,", "must have the columns"),
    "a path that leads out": ("grazpedwri_dx", "dataset.csv", b"\n0001_", b"\n../../0001_", "inside its folder"),
    "a share of the film beyond it": (
        "grazpedwri_dx",
        "labels/0001_1_01_WRI-L1_M014.txt",
        b"0.2",
        b"20",
        "outside 0 to 1",
    ),
    "a share that is no number": (
        "grazpedwri_dx",
        "labels/0001_1_01_WRI-L1_M014.txt",
        b"0.2",
        b"nan",
        "outside 0 to 1",
    ),
    "an image without extent": (
        "fracatlas",
        "Annotations/COCO JSON/COCO_fracture_masks.json",
        b": 64",
        b": 0",
        "0 x 80",
    ),
    "a width of infinity": ("fracatlas", "Annotations/COCO JSON/COCO_fracture_masks.json", b": 64", b": 1e999", "COCO"),
    "a cell of thousands of letters": ("fracatlas", "dataset.csv", b"jpg,1", b"jpg," + b"x" * 9999, "must be 0, 1 or"),
}


@pytest.mark.parametrize("case", FOUND)
def test_what_fuzzing_or_reading_the_code_found_is_a_sentence_now(case: str, tmp_path: Path) -> None:
    name, path, old, new, words = FOUND[case]
    files = next(iter(TARGETS[name].build_seeds().values()))
    assert old in files[path]
    for place, data in {**files, path: files[path].replace(old, new, 1)}.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(data)
    source = "image_folder" if name == "metadata.csv" else name
    with pytest.raises(DatasetError, match=re.escape(words)) as caught:
        list(read_rows(source, tmp_path))
    assert len(str(caught.value)) < MAX_SENTENCE


def test_folders_of_long_names_are_quoted_shortly(tmp_path: Path) -> None:
    for letter in "abcdef":
        (tmp_path / (letter * 200)).mkdir()
        (tmp_path / (letter * 200) / "film.png").write_bytes(b"")
    outcome = TARGETS["class folders"].run({}, tmp_path)
    assert [refusal.partition("@")[0] for refusal in outcome.split(", ")] == ["DatasetError"] * 4


def test_damaged_dicom_header_does_not_spill_the_patient_behind_it() -> None:
    """An element whose length runs on makes its text hold what follows, the patient's number among it."""
    whole = TARGETS["dicom"].build_seeds()["plain"]["film"]
    for keyword in (b"\x08\x00\x60\x00CS", b"\x18\x00\x15\x00CS", b"\x28\x00\x04\x00CS"):
        place = whole.index(keyword) + len(keyword)
        for length in (8, 40, 72, 200):
            damaged = whole[:place] + length.to_bytes(2, "little") + whole[place + 2 :]
            run_reader({"film": damaged}, Path())


def test_mutation_changes_bytes_and_repeats_with_its_seed() -> None:
    data = bytes(range(200))
    changed = [mutate_bytes(data, random.Random(seed)) for seed in range(50)]
    assert changed == [mutate_bytes(data, random.Random(seed)) for seed in range(50)]
    assert sum(one != data for one in changed) > 40
