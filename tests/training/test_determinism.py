"""The same recipe on the same films ends with the same weights, the same model measured twice with the same file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hf_fracture.cli.main import main


def read_weights(result: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in result.model.state_dict().items()}


def test_seed_decides_every_weight(train: Callable[..., Any], tmp_path: Path) -> None:
    runs = [read_weights(train(tmp_path / str(n), seed=seed, data_seed=seed)) for n, seed in enumerate((3, 3, 4))]
    first, again, other = runs
    assert first.keys() == again.keys()
    assert [name for name, tensor in first.items() if not torch.equal(tensor, again[name])] == []
    assert [name for name, tensor in first.items() if not torch.equal(tensor, other[name])] != []


def test_random_state_that_other_code_left_changes_nothing(train: Callable[..., Any], tmp_path: Path) -> None:
    runs = []
    for state in (1, 2):
        torch.manual_seed(state)
        runs.append(read_weights(train(tmp_path / str(state))))
    assert all(torch.equal(tensor, runs[1][name]) for name, tensor in runs[0].items())


def test_evaluation_repeats_itself(tiny_model_dir: Path, tmp_path: Path) -> None:
    from hf_fracture.data.phantoms import draw_phantom
    from hf_fracture.data.prepare import PrepareOptions, prepare_dataset

    for seed in range(24):
        path = tmp_path / "films" / ("fractured" if seed % 2 else "not fractured") / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_phantom(seed, fractured=seed % 2 == 1, size_px=(80, 96)).image.save(path)
    prepared = prepare_dataset("image_folder", tmp_path / "films", tmp_path / "out", options=PrepareOptions())
    for name in ("first", "second"):
        command = ["evaluate", str(tiny_model_dir), str(prepared), "--split", "train", "--resamples", "100"]
        assert main([*command, "--out", str(tmp_path / name)]) == 0
    read = [json.loads((tmp_path / name / "evaluation.json").read_text()) for name in ("first", "second")]
    for content in read:
        content.pop("created", None)
    assert read[0] == read[1]
    assert (tmp_path / "first" / "predictions.parquet").read_bytes() == (
        tmp_path / "second" / "predictions.parquet"
    ).read_bytes()
