"""Train the released family and measure it under one protocol, with the spread over seeds, cost and speed of each.

    python scripts/family.py DATASET WEIGHTS_DIR WORK_DIR [--kaggle DIR] [--only NAME ...] [--seeds 42 43 44]

DATASET: prepared FracAtlas. WEIGHTS_DIR: holds `resnet-18-c4-imagenet` and `resnet-50-c4-imagenet`. `--kaggle`: the
prepared clean Kaggle set, to test on films that none was trained on. The first seed of each member is its release: it
is exported, evaluated once on the test split, explained and described by a card, all in WORK_DIR/MEMBER/seed-N/model.
The first seed of `default` is the shipped folder; its others may be linked from where they were trained. Other seeds
are measured on validation only. The ways to train that were not kept have one seed, which is compared with the same
seed of the member on the same validation films. Minutes are those of the first seed whose run says what computed it.
`small` is the 8-bit file of `default`, and answers at its operating points; its seeds are the 8-bit files of those of
`default`. Speed is that of one film on onnxruntime with two threads, from the picture to the probability, the members
at hand in turn, which each row names; published rows keep theirs. Finished steps are not repeated; an interrupted
training goes on where it was; `--only` leaves the rows of others as earlier calls left them in WORK_DIR, or as they are
published where WORK_DIR never held them; each says which weights it stands beside.
`--train-only` stops before anything is measured, so that several processes of one thread (OMP_NUM_THREADS=1) can each
take other `--seeds`; it trains the members, or what `--only` names. Writes scripts/results/family.json and
docs/results/family.png and .svg. Compute: what the table's column of training minutes says, per seed, and ten minutes
of measuring for each member.
"""

import argparse
import hashlib
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import yaml
from datasets import concatenate_datasets
from PIL import Image
from scipy.special import logit
from tqdm import tqdm

from hf_fracture.cli.evaluate import PREDICTIONS_NAME
from hf_fracture.cli.explain_eval import marked_films, measure_maps
from hf_fracture.cli.main import main as run_command
from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.evaluation.artifacts import write_text
from hf_fracture.evaluation.calibration import probability_of
from hf_fracture.evaluation.comparison import align_predictions, judge_difference, measure_differences
from hf_fracture.evaluation.cross_dataset import choose_stand_ins, find_shared_groups, leave_out, measure_ranking
from hf_fracture.evaluation.figures import Resampling
from hf_fracture.evaluation.films import load_splits, name_film
from hf_fracture.evaluation.plots import draw_cost, render_figure
from hf_fracture.evaluation.predictions import Predictions, build_predictions, read_predictions
from hf_fracture.export.layout import INT8_FILE, ONNX_DIR, ONNX_FILE
from hf_fracture.inference.classifier import FractureClassifier
from hf_fracture.inference.parity import compute_probabilities
from hf_fracture.models.checkpoint import DEFAULT_MODEL_DIR, hash_weights, read_json, write_json
from hf_fracture.models.distillation import name_model

if TYPE_CHECKING:
    from datasets import Dataset

HERE: Final = Path(__file__).resolve().parent
RESULT_PATH: Final = HERE / "results" / "family.json"
PLOT_DIR: Final = HERE.parent / "docs" / "results"
NUM_TIMED_FILMS: Final = 15
TIMED_SIZE_PX: Final = (1200, 1500)
RESNET_18: Final = "resnet-18-c4-imagenet"
CLASS_WEIGHTS: Final = {"class_weights": "balanced", "sampling": "shuffled"}
"""How the shipped recipe met rare fractures before it drew them as often as other films."""
FROM_RANDOM: Final = {**CLASS_WEIGHTS, "pretrained": False, "evidence_weight": 0, "learning_rate": 1e-3}
CONVNEXT: Final = {**FROM_RANDOM, "learning_rate": 3e-4, "num_stages": 3, "image_size": 160, "num_train_epochs": 12}
SHIPPED_RECIPE: Final[Mapping[str, Any]] = yaml.safe_load((HERE / "default_model.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True, kw_only=True)
class Member:
    """One model of the family, or a way to train one that was not kept.

    Attributes:
        what: What it is for; of a trial its hypothesis.
        fields: Fields of its recipe beside those of the shipped one.
        weights: Folder under WEIGHTS_DIR, or a row of `hf-fracture backbones`.
        has_teacher: Whether it also learns from the shipped model.
        instead_of: Member that was kept instead, chosen on validation; "" for a member.
    """

    what: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    weights: str = RESNET_18
    has_teacher: bool = False
    instead_of: str = ""


MEMBERS: Final[Mapping[str, Member]] = {
    "default": Member(what="Shipped: the best that answers in under 100 ms on two cores"),
    "resnet-50": Member(
        what="The deeper network that the wrist and edge projects use, three stages, 224 px",
        fields={
            **CLASS_WEIGHTS,
            "image_size": 224,
            "frozen_layers": 2,
            "learning_rate": 1e-4,
            "num_train_epochs": 5,
        },
        weights="resnet-50-c4-imagenet",
    ),
    "convnext": Member(
        what="ConvNeXt V2 Atto, three stages, 160 px, from random weights: no free ones are at hand. The shipped model "
        "teaches it",
        fields={**CONVNEXT, "teacher_weight": 10, "teacher_image_size": 320},
        weights="convnextv2-atto",
        has_teacher=True,
    ),
    "deepconvnet": Member(
        what="The edge project's network, 128 px, from random weights and labels alone",
        fields={**FROM_RANDOM, "image_size": 128},
        weights="deepconvnet",
    ),
}

TRIED: Final[Mapping[str, Member]] = {
    "default-class-weights": Member(
        what="Class weights instead of fractured films drawn as often as others: what was shipped before",
        fields=CLASS_WEIGHTS,
        instead_of="default",
    ),
    "default-evidence-weight-1": Member(
        what="Twice the weight of boxes and masks helped at 192 px, and may at 448 px (with class weights)",
        fields={**CLASS_WEIGHTS, "evidence_weight": 1},
        instead_of="default",
    ),
    "convnext-rate-1e-3-weight-1": Member(
        what="A student may learn at the rate of other networks from random weights, and as much from labels as from "
        "the teacher",
        fields={**CONVNEXT, "learning_rate": 1e-3, "teacher_weight": 1, "teacher_image_size": 320},
        weights="convnextv2-atto",
        has_teacher=True,
        instead_of="convnext",
    ),
    "convnext-untaught": Member(
        what="Labels alone may do", fields=CONVNEXT, weights="convnextv2-atto", instead_of="convnext"
    ),
    "convnext-untaught-rate-1e-3": Member(
        what="From labels alone, random weights may want a higher rate",
        fields={**CONVNEXT, "learning_rate": 1e-3},
        weights="convnextv2-atto",
        instead_of="convnext",
    ),
}
ORDER: Final = ("default", "small", *(name for name in MEMBERS if name != "default"))


def train(name: str, seed: int, args: argparse.Namespace) -> Path:
    """Train one seed of a member unless that was done; return its model folder."""
    if name == "default" and seed == read_seed(DEFAULT_MODEL_DIR):
        return DEFAULT_MODEL_DIR
    run_dir: Path = args.work_dir / name / f"seed-{seed}"
    model_dir = run_dir / "model"
    member = {**MEMBERS, **TRIED}[name]
    recipe = {**SHIPPED_RECIPE, **member.fields}
    if not model_dir.is_dir():
        run_dir.parent.mkdir(parents=True, exist_ok=True)
        config = run_dir.with_suffix(".yaml")
        config.write_text(yaml.safe_dump(recipe), encoding="utf-8")
        folder = args.weights_dir / member.weights
        backbone = folder if folder.is_dir() else member.weights
        teacher = ("--teacher", DEFAULT_MODEL_DIR) if member.has_teacher else ()
        settings = ("--backbone", backbone, "--config", config, "--seed", seed)
        run("train", args.dataset, *settings, *teacher, "--out", run_dir)
    facts = read_json(model_dir / "run.json")
    found = {**facts["recipe"], **facts["training_arguments"]}
    if member.has_teacher:
        recipe = {**recipe, "teacher": name_model(str(DEFAULT_MODEL_DIR))}
    others = sorted(field for field, value in recipe.items() if found.get(field, value) != value)
    if others:
        raise SystemExit(f"Expected '{name}' as it is now in '{run_dir}', found other {others}. Remove the folder.")
    return model_dir


def read_seed(model_dir: Path) -> int:
    """Return the seed that a model was trained with."""
    return int(read_json(model_dir / "run.json")["training_arguments"]["seed"])


def run(*words: object) -> None:
    """Run a command of `hf-fracture`, and end where it fails."""
    if status := run_command([str(word) for word in words]):
        raise SystemExit(status)


def release(name: str, model_dir: Path, args: argparse.Namespace) -> None:
    """Export, evaluate, explain and describe a model, leaving out what lies there."""
    if model_dir == DEFAULT_MODEL_DIR:
        return  # reproduce_release.sh did
    out_dir = args.work_dir / name
    if not (model_dir / "export.json").is_file():
        run("export", model_dir, "--out", model_dir, "--int8", "--dataset", args.dataset, "--overwrite")
    for command, written in (("evaluate", "evaluation"), ("explain-eval", "attribution")):
        if not (model_dir / f"{written}.json").is_file():
            run(command, model_dir, args.dataset, "--out", out_dir / written, "--record", "--overwrite")
    if args.kaggle and not (model_dir / "cross_dataset.json").is_file():
        script = (HERE / "cross_dataset.py", "model", model_dir, args.dataset, args.kaggle)
        work = ("--work", args.work_dir / "cross_dataset")
        subprocess.run([sys.executable, *map(str, (*script, *work))], check=True)
    run("card", model_dir, "--overwrite")


def measure_on_validation(model_dir: Path, out_dir: Path, dataset: str) -> float:
    """Return the AUROC on validation, which an earlier call may have measured for the same weights."""
    kept = out_dir / "evaluation.json"
    if not kept.is_file() or read_json(kept)["model"]["sha256"] != hash_weights(model_dir):
        run("evaluate", model_dir, dataset, "--split", "validation", "--out", out_dir, "--overwrite")
    return float(read_json(out_dir / "evaluation.json")["metrics"]["auroc"]["value"])


def describe_member(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Train all seeds of a member, release the first, and return its row."""
    folders = {seed: train(name, seed, args) for seed in args.seeds}
    released = folders[args.seeds[0]]
    release(name, released, args)
    reached = {
        seed: measure_on_validation(folder, args.work_dir / name / f"validation-{seed}", args.dataset)
        for seed, folder in folders.items()
    }
    evaluation, attribution = (read_json(released / f"{part}.json") for part in ("evaluation", "attribution"))
    return {
        "what": MEMBERS[name].what,
        "AUROC": evaluation["metrics"]["auroc"],
        "average precision": evaluation["metrics"]["average_precision"],
        "AUROC, clean Kaggle": read_external(released / "cross_dataset.json"),
        "peak in region, of detected": attribution["methods"]["grad_cam"]["peak_in_region_if_detected"],
        "MB": round((released / ONNX_DIR / ONNX_FILE).stat().st_size / 1e6, 1),
        **describe_cost(list(folders.values())),
        "ms per film": "",
        **describe_spread(reached),
        "seeds averaged": average_seeds({seed: args.work_dir / name / f"validation-{seed}" for seed in reached}),
        **({"taught by": hash_weights(DEFAULT_MODEL_DIR)[:12]} if MEMBERS[name].has_teacher else {}),
        "folder": str(released),
        "weights": hash_weights(released)[:12],
    }


def describe_spread(reached: Mapping[int, float]) -> dict[str, Any]:
    """Return what the AUROC on validation is with each seed, and its standard deviation ("" with one)."""
    values = list(reached.values())
    return {
        "validation AUROC by seed": ", ".join(f"{value:.3f}" for value in values),
        "seeds": list(reached),
        "standard deviation of validation AUROC": round(statistics.stdev(values), 4) if len(values) > 1 else "",
    }


def average_seeds(folders: Mapping[int, Path]) -> dict[str, Any]:
    """Measure the mean of the seeds' answers: what asking all of them would add.

    Args:
        folders: Of each seed's evaluation on the same films.

    Returns:
        The AUROC of the mean of the logit differences, and its difference from that of each seed; empty for one seed.
    """
    if len(folders) == 1:
        return {}
    answers = {seed: read_predictions(folder / PREDICTIONS_NAME) for seed, folder in folders.items()}
    first = next(iter(answers.values()))
    answers = {seed: align_predictions(first, found) for seed, found in answers.items()}
    averaged = np.mean([found.logit_difference for found in answers.values()], axis=0)
    mean = replace(first, logit_difference=averaged, y_prob=probability_of(averaged))
    differences = {
        f"difference from seed {seed}": measure_differences(mean, found, Resampling())["auroc"].to_dict()
        for seed, found in answers.items()
    }
    return {"validation AUROC": measure_ranking(mean)["auroc"], **differences}


def describe_cost(folders: Sequence[Path]) -> dict[str, Any]:
    """Return the minutes of a training, and what computed it, of the first model that says so."""
    runs = [read_json(folder / "run.json") for folder in folders]
    facts = next((run for run in runs if "machine" in run), runs[0])
    return {"training minutes": round(facts["seconds"] / 60), "trained on": facts.get("machine", "not recorded")}


def describe_trial(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Train the first seed of a trial, measure it on validation, and return its row beside the member that was kept."""
    seed, member = args.seeds[0], TRIED[name].instead_of
    folders = {each: train(each, seed, args) for each in (name, member)}
    out_dirs = {each: args.work_dir / each / f"validation-{seed}" for each in folders}
    reached = {each: measure_on_validation(folders[each], out_dirs[each], args.dataset) for each in folders}
    answers = {each: read_predictions(out_dirs[each] / PREDICTIONS_NAME) for each in folders}
    difference = measure_differences(answers[name], answers[member], Resampling())["auroc"]
    folder = folders[name]
    tested = folder / "evaluation.json"
    return {
        "instead of": member,
        "its weights": hash_weights(folders[member])[:12],
        "hypothesis": TRIED[name].what,
        "seed": seed,
        "validation AUROC": round(reached[name], 4),
        "difference": difference.to_dict(),
        "verdict": judge_difference(difference),
        "test AUROC, where it was read": read_json(tested)["metrics"]["auroc"] if tested.is_file() else "",
        **describe_cost([folder]),
        "folder": str(folder),
        "weights": hash_weights(folder)[:12],
    }


def read_external(path: Path) -> Any:
    """Return the AUROC on the other dataset, or nothing where that was not measured."""
    rows = read_json(path)["model_rows"] if path.is_file() else []
    return next((row["auroc"] for row in rows if row["tested_on"] not in row["trained_on"]), "")


def describe_small(args: argparse.Namespace) -> dict[str, Any]:
    """Measure the shipped 8-bit file on the test split, and on the films that cross_dataset.py takes of Kaggle."""
    splits = load_splits(args.dataset)
    classifier = FractureClassifier.from_pretrained(fast=True)
    films = splits["test"]
    figures = measure_ranking(answer(classifier, films))
    maps = measure_maps(
        classifier,
        marked_films(films),
        scale_films=marked_films(splits["validation"]),
        methods=("grad_cam",),
        where={"dataset": "fracatlas", "split": "test"},
    )
    external: Any = ""
    if args.kaggle:
        kaggle = load_splits(args.kaggle)
        shared = find_shared_groups(*(concatenate_datasets(list(both.values())) for both in (splits, kaggle)))[1]
        others = concatenate_datasets([kaggle[name] for name in ("train", "validation", "test")])
        others = others.select(choose_stand_ins(others))
        external = measure_ranking(leave_out(answer(classifier, others), shared))["auroc"]
    return {
        "what": "The 8-bit file of the default, for the browser",
        "validation AUROC by seed": "",
        "AUROC": figures["auroc"],
        "average precision": figures["average_precision"],
        "AUROC, clean Kaggle": external,
        "peak in region, of detected": maps["methods"]["grad_cam"]["peak_in_region_if_detected"],
        "MB": round((DEFAULT_MODEL_DIR / ONNX_DIR / INT8_FILE).stat().st_size / 1e6, 1),
        "ms per film": "",
    }


def answer(classifier: FractureClassifier, films: "Dataset") -> Predictions:
    """Answer films through a classifier with an export, whatever its gate thinks of them."""
    rows = films.remove_columns(["image"])
    pictures = (row["image"].convert("L") for row in tqdm(films.select_columns(["image"]), unit="film"))
    return build_predictions(
        ids=[name_film(row, position) for position, row in enumerate(rows)],
        group_ids=rows["group_id"][:],
        y_true=rows["label"][:],
        logit_difference=logit(compute_probabilities(classifier, pictures)),
    )


def measure_small_on_validation(seed: int, args: argparse.Namespace) -> float:
    """Return the AUROC of the 8-bit file of one seed of the default, which an earlier call may have measured."""
    model_dir = train("default", seed, args)
    if not (file := model_dir / ONNX_DIR / INT8_FILE).is_file():
        run("export", model_dir, "--out", model_dir, "--int8", "--dataset", args.dataset, "--overwrite")
    kept: Path = args.work_dir / "small" / f"validation-{seed}.json"
    weights = hashlib.sha256(file.read_bytes()).hexdigest()
    if not kept.is_file() or read_json(kept)["weights"] != weights:
        classifier = FractureClassifier.from_pretrained(model_dir, fast=True)
        figures = measure_ranking(answer(classifier, load_splits(args.dataset)["validation"]))
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_json(kept, {"weights": weights, "auroc": figures["auroc"]})
    return float(read_json(kept)["auroc"]["value"])


def measure_small_once(args: argparse.Namespace, default: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of the 8-bit file, which an earlier call may have left; its cost is that of the default.

    Its seeds are asked again with those of the default.
    """
    kept: Path = args.work_dir / "small" / "row.json"
    weights = hashlib.sha256((DEFAULT_MODEL_DIR / ONNX_DIR / INT8_FILE).read_bytes()).hexdigest()[:12]
    row = read_json(kept) if kept.is_file() else read_published().get("small", {})
    if row.get("weights") != weights or (args.kaggle and not row["AUROC, clean Kaggle"]):
        row = {**describe_small(args), "weights": weights}
    if not args.only or "default" in args.only:
        row = {**row, **describe_spread({seed: measure_small_on_validation(seed, args) for seed in args.seeds})}
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_json(kept, row)
    return {**row, **{key: default[key] for key in ("training minutes", "trained on")}}


def time_members(folders: Mapping[str, tuple[Path, bool]]) -> dict[str, float]:
    """Return the median milliseconds from a picture to its probability, film by film, the members in turn.

    Without the gate, which only a shipped model has.

    Args:
        folders: Model folder and whether its 8-bit file answers, by name.
    """
    classifiers = {
        name: FractureClassifier.from_pretrained(folder, backend="onnx", fast=fast)
        for name, (folder, fast) in folders.items()
    }
    pictures = [draw_phantom(seed, fractured=True, size_px=TIMED_SIZE_PX).image for seed in range(NUM_TIMED_FILMS)]
    spent: dict[str, list[float]] = {name: [] for name in classifiers}
    for number, picture in enumerate(pictures):
        for name, classifier in classifiers.items():
            seconds = time_once(classifier, picture)
            if number > 0:  # the first one warms up
                spent[name].append(seconds)
    return {name: round(1000 * statistics.median(values), 1) for name, values in spent.items()}


def time_once(classifier: FractureClassifier, picture: Image.Image) -> float:
    """Return the seconds of one answer."""
    started = time.perf_counter()
    classifier.compute(classifier.read(picture))
    return time.perf_counter() - started


def write(rows: Mapping[str, dict[str, Any]], tried: Mapping[str, dict[str, Any]]) -> None:
    """Write the tables and the plot; time the members at hand unless all rows are published ones, which have a time."""
    timed: dict[str, dict[str, Any]] = {}
    if any(row["ms per film"] == "" for row in rows.values()):
        at_hand = {name: (Path(row["folder"]), False) for name, row in rows.items() if "folder" in row}
        milliseconds = time_members({**at_hand, "small": (DEFAULT_MODEL_DIR, True)})
        together = [name for name in rows if name in milliseconds]
        timed = {name: {"ms per film": milliseconds[name], "timed in turn": together} for name in together}
    table = {
        name: {
            **{key: value for key, value in row.items() if key != "folder"},
            **timed.get(name, {}),
        }
        for name, row in rows.items()
    }
    trials = {name: {key: value for key, value in row.items() if key != "folder"} for name, row in tried.items()}
    write_json(RESULT_PATH, {"members": table, "tried": trials})
    figure = draw_cost({name: (row["ms per film"], row["AUROC"]) for name, row in table.items()})
    PLOT_DIR.mkdir(parents=True, exist_ok=True)
    (PLOT_DIR / "family.png").write_bytes(render_figure(figure, "png"))
    write_text(PLOT_DIR / "family.svg", render_figure(figure, "svg").decode())


def main(arguments: Sequence[str] | None = None) -> int:
    """Work through the members that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("weights_dir", metavar="WEIGHTS_DIR", type=Path)
    parser.add_argument("work_dir", metavar="WORK_DIR", type=Path)
    parser.add_argument("--kaggle", type=Path, metavar="DIR", help="prepared clean Kaggle set")
    parser.add_argument("--only", nargs="+", choices=[*MEMBERS, *TRIED], metavar="NAME", help="measure only these")
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 43, 44], metavar="N", help="the first is released")
    parser.add_argument("--train-only", action="store_true", help="train the seeds, and measure nothing")
    args = parser.parse_args(arguments)
    if args.train_only:
        for name in args.only or MEMBERS:
            for seed in args.seeds:
                train(name, seed, args)
        return 0
    rows = {name: row for name in MEMBERS if (row := collect_row(name, args))}
    if "default" in rows:
        rows["small"] = measure_small_once(args, rows["default"])
    tried = {name: row for name in TRIED if (row := collect_row(name, args))}
    write({name: rows[name] for name in ORDER if name in rows}, tried)
    return 0


def collect_row(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Measure a member or a trial where that is asked for; return its row, empty if it was never measured."""
    kept: Path = args.work_dir / name / ("row.json" if name in MEMBERS else "trial.json")
    if not args.only or name in args.only:
        write_json(kept, describe_member(name, args) if name in MEMBERS else describe_trial(name, args))
    if not kept.is_file():
        return read_published().get(name, {})
    row = read_json(kept)
    if row["weights"] != hash_weights(Path(row["folder"]))[:12]:
        raise SystemExit(f"Expected '{kept}' to describe the weights in {row['folder']}. Measure {name} again.")
    return row


def read_published() -> dict[str, dict[str, Any]]:
    """Return the published rows of members and trials by name, without those of a model that is no longer shipped."""
    content = read_json(RESULT_PATH) if RESULT_PATH.is_file() else {"members": {}, "tried": {}}
    rows = {**content["members"], **content["tried"]}
    if rows.get("default", {}).get("weights") != hash_weights(DEFAULT_MODEL_DIR)[:12]:
        rows = {name: row for name, row in rows.items() if name not in ("default", "small")}
    return rows


if __name__ == "__main__":
    raise SystemExit(main())
