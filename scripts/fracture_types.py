"""Train classifiers of the ten fracture types of bone_break, choose one on validation, and measure that one once.

    python scripts/fracture_types.py BONE_BREAK FRACATLAS WEIGHTS_DIR WORK_DIR [--only TRIAL ...] [--seeds 42 43 44]

BONE_BREAK, FRACATLAS: prepared folders (`hf-fracture data prepare`); of FracAtlas it is only counted which groups of
bone_break have a film in it, because one trial starts from the shipped model. WEIGHTS_DIR: holds
`resnet-18-c4-imagenet`. Every trial is trained with every seed; the one with the highest mean of validation macro AUROC
is released with its first seed: evaluated once on the test split, exported and described by a card, all in
WORK_DIR/TRIAL/seed-N/model. Its map is not scored, because bone_break marks no fractures; its weights stay there,
because bone_break states no licence. Finished steps are not repeated. `--only` trains and measures these trials, and
keeps the published rows of others, with what was released where one of those is still the best; each row names the
weights that it started from. `--train-only` stops before anything is chosen, so that processes of one thread
(OMP_NUM_THREADS=1) can each take other `--seeds`. Writes scripts/results/fracture_types.json. Compute: see the column
of minutes, per seed.
"""

import argparse
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from datasets import concatenate_datasets

from hf_fracture.cli.main import main as run_command
from hf_fracture.data.schema import HELD_OUT
from hf_fracture.evaluation.cross_dataset import find_shared_groups
from hf_fracture.evaluation.films import load_splits
from hf_fracture.models.checkpoint import DEFAULT_MODEL_DIR, read_json, write_json
from hf_fracture.models.distillation import name_model

RESULT_PATH: Final = Path(__file__).resolve().parent / "results" / "fracture_types.json"
RESNET_18: Final = "resnet-18-c4-imagenet"
BASE: Final[Mapping[str, Any]] = {
    "target": "fracture_type",
    "evidence_weight": 0,
    "image_size": 128,
    "num_train_epochs": 10,
    "learning_rate": 4e-4,
    "layer_decay": 0.6,
    "label_smoothing": 0.1,
    "early_stopping_epochs": 0,
}
FIGURES: Final = ("macro_auroc", "macro_f1", "accuracy", "top_2_accuracy")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One way to train.

    Attributes:
        hypothesis: What it should do, and why.
        fields: Fields of its recipe beside those of `BASE`.
        from_shipped: Whether it starts from the shipped model's layers, not from ImageNet's.
    """

    hypothesis: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    from_shipped: bool = False


TRIALS: Final[Mapping[str, Trial]] = {
    "128 px": Trial(hypothesis="Few films for ten classes: pretrained features change little, and films a lot"),
    "192 px": Trial(
        hypothesis="Types differ in the course of thin lines: finer input shows it", fields={"image_size": 192}
    ),
    "192 px, from the shipped model": Trial(
        hypothesis="Layers that learned to find fractures on FracAtlas tell their types better than ImageNet's",
        fields={"image_size": 192},
        from_shipped=True,
    ),
    "256 px, from the shipped model": Trial(
        hypothesis="Layers that learned at 448 px want bones that are closer to that size",
        fields={"image_size": 256},
        from_shipped=True,
    ),
}


def run(*words: object) -> None:
    """Run a command of `hf-fracture`, and end where it fails."""
    if status := run_command([str(word) for word in words]):
        raise SystemExit(status)


def train(name: str, seed: int, args: argparse.Namespace) -> Path:
    """Train one seed of a trial unless that was done; return its model folder."""
    trial = TRIALS[name]
    run_dir: Path = args.work_dir / "".join(letter if letter.isalnum() else "-" for letter in name) / f"seed-{seed}"
    recipe = {**BASE, **trial.fields}
    if not (run_dir / "model").is_dir():
        run_dir.parent.mkdir(parents=True, exist_ok=True)
        config = run_dir.with_suffix(".yaml")
        config.write_text(yaml.safe_dump(recipe), encoding="utf-8")
        backbone = DEFAULT_MODEL_DIR if trial.from_shipped else args.weights_dir / RESNET_18
        run("train", args.bone_break, "--backbone", backbone, "--config", config, "--seed", seed, "--out", run_dir)
    facts = read_json(run_dir / "model" / "run.json")
    found = {**facts["recipe"], **facts["training_arguments"]}
    if trial.from_shipped:
        recipe = {**recipe, "backbone": name_model(str(DEFAULT_MODEL_DIR))}
    others = sorted(key for key, value in recipe.items() if found.get(key, value) != value)
    if others:
        raise SystemExit(f"Expected '{name}' as it is now in '{run_dir}', found other {others}. Remove the folder.")
    return run_dir / "model"


def measure_on_validation(model_dir: Path, dataset: Path) -> float:
    """Return the macro AUROC of the saved model on validation, which an earlier call may have measured."""
    out_dir = model_dir.parent / "validation"
    if not (out_dir / "evaluation.json").is_file():
        settings = ("--target", "fracture_type", "--split", "validation", "--out", out_dir, "--overwrite")
        run("evaluate", model_dir, dataset, *settings)
    return float(read_json(out_dir / "evaluation.json")["metrics"]["macro_auroc"]["value"])


def describe(name: str, folders: Mapping[int, Path], dataset: Path) -> dict[str, Any]:
    """Return the row of a trial."""
    facts = {seed: read_json(folder / "run.json") for seed, folder in folders.items()}
    reached = {seed: measure_on_validation(folder, dataset) for seed, folder in folders.items()}
    spread = round(statistics.stdev(reached.values()), 4) if len(reached) > 1 else ""
    return {
        "hypothesis": TRIALS[name].hypothesis,
        "start": next(iter(facts.values()))["recipe"]["backbone"],
        "validation macro AUROC by seed": ", ".join(f"{value:.3f}" for value in reached.values()),
        "mean": round(statistics.mean(reached.values()), 4),
        "standard deviation": spread,
        "training minutes of a seed": round(statistics.mean(found["seconds"] for found in facts.values()) / 60, 1),
        "trained on": ", ".join(sorted({found["machine"] for found in facts.values()})),
    }


def count_shared(args: argparse.Namespace) -> dict[str, int]:
    """Return how many groups of bone_break have a film in FracAtlas, the shipped model's source."""
    kept: Path = args.work_dir / "shared.json"
    if not kept.is_file():
        ours, theirs = (load_splits(folder) for folder in (args.bone_break, args.fracatlas))
        everything = concatenate_datasets([films for name, films in theirs.items() if name != HELD_OUT])
        write_json(
            kept, {part: len(find_shared_groups(ours[part], everything)[0]) for part in ("train", "validation", "test")}
        )
    return dict(read_json(kept))


def release(model_dir: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Evaluate the chosen model once, export it, write its card, and return its `evaluation.json`."""
    out_dir = model_dir.parent / "evaluation"
    if not (model_dir / "evaluation.json").is_file():
        run(
            "evaluate",
            model_dir,
            args.bone_break,
            "--target",
            "fracture_type",
            "--out",
            out_dir,
            "--record",
            "--overwrite",
        )
    if not (model_dir / "export.json").is_file():
        run("export", model_dir, "--out", model_dir, "--int8", "--dataset", args.bone_break, "--overwrite")
    run("card", model_dir, "--overwrite")
    return read_json(model_dir / "evaluation.json")


def describe_release(name: str, model_dir: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Release a model; return what the result says of it and of the films that it was measured on."""
    measured = release(model_dir, args)
    return {
        "films": {
            **{f"{part} groups shared with FracAtlas": count for part, count in count_shared(args).items()},
            "measured": measured["cohort"]["num_films"],
            "without a type, left out": measured["cohort"]["num_without_type"],
        },
        "released": {
            "trial": name,
            "seed": read_json(model_dir / "run.json")["training_arguments"]["seed"],
            "weights": measured["model"]["sha256"][:12],
            **{figure: measured["metrics"][figure] for figure in FIGURES},
        },
        "types": measured["metrics"]["per_class"],
    }


def main() -> int:
    """Train what is not there, choose, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("bone_break", "fracatlas", "weights_dir", "work_dir"):
        parser.add_argument(name, metavar=name.upper(), type=Path)
    parser.add_argument("--only", nargs="+", choices=TRIALS, default=list(TRIALS), metavar="TRIAL")
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 43, 44], metavar="N", help="the first is released")
    parser.add_argument("--train-only", action="store_true", help="train the seeds, and choose nothing")
    args = parser.parse_args()
    folders = {name: {seed: train(name, seed, args) for seed in args.seeds} for name in args.only}
    if args.train_only:
        return 0
    measured = {name: describe(name, of_seeds, args.bone_break) for name, of_seeds in folders.items()}
    published = read_json(RESULT_PATH) if RESULT_PATH.is_file() else {"trials": {}}
    rows = {**published["trials"], **measured}
    chosen = max(rows, key=lambda name: rows[name]["mean"])
    if chosen in folders:
        published = describe_release(chosen, folders[chosen][args.seeds[0]], args)
    elif published["released"]["trial"] != chosen:
        raise SystemExit(f"Expected the best on validation, '{chosen}', to be at hand. Add it to --only.")
    parts = {**published, "trials": {name: rows[name] for name in TRIALS if name in rows}}
    write_json(RESULT_PATH, {part: parts[part] for part in ("films", "trials", "released", "types")})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
