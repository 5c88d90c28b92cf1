"""Keep what the classifier of fracture types reached, beside the commands and the recipe that made it.

    python scripts/record_fracture_types.py RUN_DIR

RUN_DIR holds `model/run.json` of `hf-fracture train` and `evaluation/evaluation.json` of `hf-fracture evaluate`. Writes
scripts/results/fracture_types.json.
"""

import sys
from pathlib import Path

from hf_fracture.models.checkpoint import read_json, write_json

RESULT_PATH = Path(__file__).resolve().parent / "results" / "fracture_types.json"


def main(run_dir: Path) -> None:
    """Join the figures and the facts of the run."""
    evaluation = read_json(run_dir / "evaluation" / "evaluation.json")
    facts = read_json(run_dir / "model" / "run.json")
    best = max((entry for entry in facts["epochs"] if "eval_auroc" in entry), key=lambda entry: entry["eval_auroc"])
    content = {
        "command": "scripts/train_fracture_types.sh BONE_BREAK_DIR BACKBONE WORK_DIR",
        "recipe": facts["recipe"],
        "training_arguments": facts["training_arguments"],
        "training_films": facts["data"]["films"],
        "training_seconds": facts["seconds"],
        "validation": {"macro_auroc": best["eval_auroc"], "epoch": best["epoch"]},
        **{name: evaluation[name] for name in ("model", "dataset", "bootstrap", "cohort", "labels", "metrics")},
    }
    RESULT_PATH.parent.mkdir(exist_ok=True)
    write_json(RESULT_PATH, content)
    figure = evaluation["metrics"]["macro_auroc"]
    print(f"macro AUROC {figure['value']:.3f} ({figure['lower']:.3f} to {figure['upper']:.3f}); see {RESULT_PATH}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
