import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hf_fracture.cli.explain_eval import marked_films, measure_maps, render_table
from hf_fracture.cli.main import main
from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.data.transforms import fit_letterbox
from hf_fracture.errors import EvaluationError
from hf_fracture.explain.attribution import build_attribution
from hf_fracture.inference.classifier import FractureClassifier

PLOTS = ("png", "svg")
WHERE = {"dataset": "phantoms", "split": "test"}


def films(num: int, first_seed: int) -> list[dict[str, Any]]:
    phantoms = [draw_phantom(seed, fractured=True, size_px=(96, 96)) for seed in range(first_seed, first_seed + num)]
    return [
        {"image": phantom.image, "boxes": phantom.boxes, "group_id": f"g{seed}"}
        for seed, phantom in enumerate(phantoms, start=first_seed)
    ]


def test_map_that_knows_the_answer_hits_and_the_table_says_so(
    tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = FractureClassifier.from_pretrained(tiny_model_dir)
    measured, scale = films(12, 0), films(3, 50)
    boxes = {row["image"].tobytes(): row["boxes"][0] for row in (*measured, *scale)}

    def explain_by_heart(film: Any, method: str = "grad_cam") -> Any:
        x, y, width, height = boxes[film.tobytes()]
        values = np.zeros((96, 96), dtype=np.float32)
        values[int(y + height / 2), int(x + width / 2)] = 2.5
        return build_attribution(values, fit_letterbox(96, 96, 96), method="grad_cam")

    monkeypatch.setattr(classifier, "explain", explain_by_heart)
    monkeypatch.setattr("hf_fracture.cli.explain_eval._detection_threshold", lambda _: 0.0)
    content = measure_maps(classifier, measured, scale_films=scale, methods=["grad_cam"], where=WHERE)
    row = content["methods"]["grad_cam"]
    assert content["num_films"] == content["num_detected"] == 12
    assert row["full_scale"] == 2.5
    assert row["peak_in_region"]["value"] == 1.0
    assert row["peak_in_region"]["lower"] == pytest.approx(0.025 ** (1 / 12), abs=1e-6), "Clopper-Pearson, 12 of 12"
    assert row["beats_baselines"] is row["candidate"]["is_supported"] is True
    assert row["candidate"]["centre_in_region"]["value"] == 1.0
    assert row["sentence"].startswith(
        "On 12 detected test fractures of phantoms the peak of this map lies in the marked"
    )
    assert "in 100 % (74 to 100 %)" in row["sentence"]
    assert row["mass_in_region_if_detected"]["value"] == pytest.approx(1.0)
    assert content["baselines"]["centre"]["mass_in_region"]["value"] < 0.5
    table = render_table({**WHERE, **content})
    assert "grad_cam               peak in region 1.000" in table


def test_command_writes_what_card_and_page_read(
    tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets import Dataset, Features, Image, List, Value

    features = Features(
        {
            "image": Image(),
            "label": Value("int64"),
            "boxes": List(List(Value("float32"))),
            "group_id": Value("string"),
        }
    )
    (tmp_path / "phantoms" / "data").mkdir(parents=True)
    for name, first in (("validation", 0), ("test", 20)):
        rows = [{**row, "label": 1} for row in films(3, first)]
        Dataset.from_list(rows, features=features).to_parquet(
            tmp_path / "phantoms" / "data" / f"{name}-00000-of-00001.parquet"
        )
    monkeypatch.setattr("hf_fracture.cli.explain_eval._detection_threshold", lambda _: 0.0)
    arguments = ["explain-eval", str(tiny_model_dir), str(tmp_path / "phantoms"), "--out", str(tmp_path / "out")]
    arguments += ["--num_films", "2"]
    assert main(arguments) == 0
    content = json.loads((tmp_path / "out" / "attribution.json").read_text())
    assert content["num_films"] == 3
    assert set(content["baselines"]) == {"centre", "edges"}
    assert content["methods"]["grad_cam"]["peak_in_region"].keys() == {"value", "lower", "upper", "method"}
    assert "3 marked fractures of phantoms test" in capsys.readouterr().out
    checks = content["checks"]["grad_cam"]
    assert checks["num_films"] == 2
    assert next(step["layers"] for step in checks["randomisation"]) == "head"
    assert len(checks["randomisation"]) == 5
    assert len(checks["deletion"]["curve"]) == len(checks["insertion"]["curve_random"]) == 17
    assert checks["deletion"]["curve"][0] == pytest.approx(checks["insertion"]["curve"][-1])
    assert checks["repeatability"]["similarity_over_seeds"]["value"] == 1.0
    assert 0 < checks["infidelity"]["value"]["value"] <= checks["infidelity"]["of_no_map"]["value"] * (1 + 1e-5)
    assert next((row["column"], row["num_films"]) for row in content["groups"]) == ("body_part", 3)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "attribution.json",
        *(f"{name}.{kind}" for name in ("peak_in_region", "randomisation", "deletion_insertion") for kind in PLOTS),
    }
    assert main(arguments) == 2, "an existing file is not overwritten"
    assert main([*arguments, "--overwrite", "--method", "nonsense"]) == 2
    assert "method must be one of" in capsys.readouterr().err


def test_split_without_marked_fractures_is_refused() -> None:
    from datasets import Dataset, Image

    rows = Dataset.from_list(
        [{"image": np.zeros((4, 4), dtype=np.uint8), "label": 1, "boxes": [], "group_id": "a"}]
    ).cast_column("image", Image())
    with pytest.raises(EvaluationError, match="fractured films with boxes"):
        marked_films(rows)
