from io import BytesIO
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image

from hf_fracture.data.schema import FEATURES
from hf_fracture.errors import EvaluationError
from hf_fracture.evaluation.cross_dataset import measure_frames
from hf_fracture.evaluation.figures import Resampling
from hf_fracture.evaluation.shortcuts import FRAME_FEATURES, describe_frame, probe_frames

FEW = Resampling(num_resamples=100)


def build_films(*, num: int, seed: int, width_tells: bool) -> Dataset:
    """Build noise films; where the width tells, fractured ones are 20 px wider."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for index in range(num):
        label = index % 2
        width = int(rng.integers(40, 50)) + (20 * label if width_tells else 0)
        image = Image.fromarray(rng.integers(0, 256, (50, width), dtype=np.uint8))
        name = f"{seed}-{index}"
        known = {"image": image, "label": label, "group_id": name, "source_path": name, "boxes": [], "polygons": []}
        rows.append({column: known.get(column) for column in FEATURES()})
    return Dataset.from_list(rows, features=FEATURES())


def test_a_probe_finds_a_width_that_tells_the_label() -> None:
    train, measured = (build_films(num=60, seed=seed, width_tells=True) for seed in (0, 1))
    probe = probe_frames(train, measured, resampling=FEW)
    assert probe.auroc.value == 1.0
    assert probe.to_dict()["above_limit"] is True
    assert probe.trained_on == 60
    telling = sum(probe.importances[name] for name in ("width_px", "aspect_ratio", "stored_bytes"))
    assert telling > 0.6
    assert sum(probe.importances.values()) == pytest.approx(1)


def test_a_probe_of_films_without_a_shortcut_is_at_chance() -> None:
    train, measured = (build_films(num=120, seed=seed, width_tells=False) for seed in (2, 3))
    probe = probe_frames(train, measured, resampling=FEW)
    assert probe.auroc.lower is not None
    assert probe.auroc.upper is not None
    assert probe.auroc.lower < 0.5 < probe.auroc.upper


def test_the_frames_of_a_test_are_measured_out_of_fold_without_the_shared_films() -> None:
    folds = [build_films(num=40, seed=seed, width_tells=True) for seed in (4, 5)]
    measured = measure_frames([(folds[0], folds[1]), (folds[1], folds[0])], {"4-0", "4-1", "5-2"})
    assert (measured["num_training_films"], measured["num_films"], measured["num_fractured"]) == (40, 77, 39)
    assert measured["above_limit"] is True
    assert measured["auroc"]["value"] > 0.95  # where forests of several folds are pooled, each keeps its ranks
    one = build_films(num=60, seed=6, width_tells=True)
    assert measure_frames([(folds[0], one)], set())["auroc"] == probe_frames(folds[0], one).auroc.to_dict()


def test_a_frame_by_hand() -> None:
    levels = np.full((100, 50), 51, dtype=np.uint8)  # a fifth of white
    levels[:2] = 255
    levels[50:60] = 0
    stream = BytesIO()
    Image.fromarray(levels).save(stream, format="PNG")
    frame = dict(zip(FRAME_FEATURES, describe_frame(stream.getvalue()).tolist(), strict=True))
    assert (frame["width_px"], frame["height_px"], frame["aspect_ratio"]) == (50, 100, 0.5)
    assert frame["stored_bytes"] == len(stream.getvalue())
    assert frame["bytes_per_pixel"] == pytest.approx(len(stream.getvalue()) / 5000)
    assert (frame["top_mean"], frame["bottom_mean"]) == pytest.approx((1.0, 0.2))
    assert frame["left_mean"] == pytest.approx((2 * 1.0 + 88 * 0.2) / 100)
    assert (frame["black_fraction"], frame["white_fraction"]) == (0.1, 0.02)


def test_films_of_one_class_cannot_be_probed() -> None:
    films = build_films(num=20, seed=4, width_tells=False)
    with pytest.raises(EvaluationError, match="both classes"):
        probe_frames(films.filter(lambda label: label == 0, input_columns="label"), films, resampling=FEW)
