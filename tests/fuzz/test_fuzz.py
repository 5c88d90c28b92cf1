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


RECIPES_FOUND = {
    "text for true": ("horizontal_flip: ../..", "true or false"),
    "a number for text": ("backbone: .inf", "to be text"),
    "a part of an epoch": ("freeze_epochs: 0.5", "an integer"),
    "a number beyond all": ("noise_fraction: .nan", "a number"),
    "a list for an enhancement": ("enhancement: [clahe]", "to be text"),
    "an enhancement without end": (f"enhancement: {'x' * 5000}", "must be none, or of"),
    "bytes that are no text": ("seed: \udcff", "to be YAML"),
    "what sends data": ("push_to_hub: true", "as a flag"),
    "who is told": ("report_to: [wandb]", "as a flag"),
}


@pytest.mark.parametrize("case", RECIPES_FOUND)
def test_recipe_that_fuzzing_found_is_a_sentence_now(case: str, tmp_path: Path) -> None:
    import argparse

    from hf_fracture.cli.train import read_fields
    from hf_fracture.errors import UsageError

    line, words = RECIPES_FOUND[case]
    recipe = tmp_path / "recipe.yaml"
    recipe.write_bytes(f"evidence_weight: 0\n{line}\n".encode("utf-8", "surrogateescape"))
    given = argparse.Namespace(config=str(recipe), **({} if "backbone" in line else {"backbone": "resnet-18"}))
    with pytest.raises(UsageError, match=words) as caught:
        read_fields(given, output_dir=tmp_path / "out")
    assert len(str(caught.value)) < MAX_SENTENCE


def test_number_that_yaml_takes_for_text_is_a_number(tmp_path: Path) -> None:
    import argparse

    from hf_fracture.cli.train import read_fields

    (tmp_path / "recipe.yaml").write_text("learning_rate: 1e-4\nevidence_weight: 0\n")
    given = argparse.Namespace(config=str(tmp_path / "recipe.yaml"), backbone="resnet-18")
    assert read_fields(given, output_dir=tmp_path / "out")[1].learning_rate == 1e-4


def test_export_whose_metadata_are_no_text_is_a_sentence(tmp_path: Path) -> None:
    from hf_fracture.errors import ModelFolderError
    from hf_fracture.inference.onnx_engine import OnnxEngine

    export = _seeds("model folder")["export"]["onnx/model.onnx"]
    assert export.count(b'fractured"]') == 1
    (tmp_path / "model.onnx").write_bytes(export.replace(b'fractured"]', b'fractur\xffd"]'))
    with pytest.raises(ModelFolderError, match="to be UTF-8, got byte 0xff at"):
        OnnxEngine(tmp_path / "model.onnx")


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
