"""Where torch is not installed, every way in says so in one sentence, or needs none."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, shutil, sys
for name in ("torch", "transformers", "captum", "datasets"):
    sys.modules[name] = None  # as if it were not installed
from pathlib import Path
import hf_fracture
from hf_fracture import FractureClassifier
from hf_fracture.data.phantoms import draw_phantom

film = draw_phantom(0, fractured=True).image
shipped = FractureClassifier.from_pretrained()
bare = Path(sys.argv[2])
foreign = bare.with_name("foreign")
shutil.copytree(bare, foreign)
config = json.loads((foreign / "config.json").read_text())
del config["fracture"]
(foreign / "config.json").write_text(json.dumps(config))
(foreign / "preprocessor_config.json").write_text(json.dumps({"do_center_crop": True}))
ways = {
    "predict": lambda: shipped.predict(film).decision,
    "predict_many": lambda: [finding.decision for finding in shipped.predict_many([film])],
    "examine": lambda: shipped.examine(film).finding.decision,
    "explain": lambda: shipped.explain(film),
    "another method": lambda: shipped.examine(film, method="saliency"),
    "backend": lambda: FractureClassifier.from_pretrained(backend="torch"),
    "no export": lambda: FractureClassifier.from_pretrained(bare),
    "foreign": lambda: FractureClassifier.from_pretrained(foreign),
    "register": hf_fracture.register_models,
}
answers = {}
for name, way in ways.items():
    try:
        answers[name] = str(way())
    except Exception as error:
        answers[name] = f"{type(error).__name__}: {error}"
print(json.dumps(answers))
"""
ANSWERED = ("predict", "predict_many", "examine")


@pytest.mark.slow
def test_each_way_in_answers_or_names_what_is_missing(tiny_model_dir: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(tiny_model_dir, bare)
    shutil.rmtree(bare / "onnx", ignore_errors=True)
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), str(bare)], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    answers = json.loads(process.stdout)
    for way in ANSWERED:
        assert "Error" not in answers[way], answers[way]
    for way in set(answers) - set(ANSWERED):
        assert answers[way].startswith("MissingPackageError: This needs '"), answers[way]
        assert "pip install 'hf-fracture[" in answers[way]
        assert "\n" not in answers[way]
