"""`hf-fracture export`: a model folder as ONNX files that answer without torch.

Writes `onnx/model.onnx`, with `--int8` also `onnx/model_int8.onnx`, and `export.json` with what both were measured to
give. Into another folder than the model's own it also copies what an answer needs beside them.
"""

import argparse
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from hf_fracture.errors import ModelFolderError, OutputExistsError, UsageError
from hf_fracture.export.layout import INT8_FILE, ONNX_DIR, ONNX_FILE, REPORT_FILE
from hf_fracture.outputs import holding, remove

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image
    from transformers import PreTrainedModel

    from hf_fracture.export.metadata import OnnxMetadata

Shown = TypeVar("Shown")
Runtime = Literal["torch", "onnx", "int8"]

COPIED: Final = ("config.json", "preprocessor_config.json", "gate.safetensors", "gate.json", "attribution.json")
FLOAT_NODES: Final = (1, 3, 5, 7, 9)  # so many of the last layers stay in float32; tried until parity is met
NUM_CALIBRATION_FILMS: Final = 200
NUM_PHANTOMS: Final = 48
STAGE_DIR: Final = ".export"  # where everything is made and measured before it takes its place
_WRITTEN: Final = (f"{ONNX_DIR}/{ONNX_FILE}", f"{ONNX_DIR}/{INT8_FILE}", REPORT_FILE)


@dataclass(frozen=True, kw_only=True)
class Films:
    """What parity is measured on.

    Attributes:
        name: In words.
        images: Grey films.
        labels: The class of each; None where an AUROC would mean nothing.
        source_paths: Of the dataset's own files, relative to its folder; None for phantoms.
    """

    name: str
    images: "list[Image.Image]"
    labels: list[int] | None
    source_paths: list[str] | None = None


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "export",
        help="Write a model as ONNX files that answer without torch",
        description="Write onnx/model.onnx and export.json, which says how far its answers lie from torch's.",
    )
    parser.add_argument("model", metavar="MODEL", help="model folder or Hub id")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to; MODEL itself adds to it")
    parser.add_argument("--int8", action="store_true", help="also write onnx/model_int8.onnx; needs --dataset")
    parser.add_argument(
        "--dataset",
        metavar="DATASET",
        help="prepared dataset: its validation films calibrate int8 and measure parity (default: drawn phantoms)",
    )
    parser.add_argument(
        "--originals",
        type=Path,
        metavar="DIR",
        help="the dataset as downloaded: also measure how far --fast lies off on the validation films' own files",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files of an earlier export")


def run(args: argparse.Namespace) -> int:
    """Export, measure and write everything, or nothing.

    Raises:
        UsageError: If int8 is asked for without a dataset.
        OutputExistsError: If an earlier export is there and `--overwrite` was not given.
        ModelFolderError: If the model cannot be exported, or its export does not give the same answers.
    """
    from hf_fracture.models.checkpoint import resolve_model_dir

    if args.originals and not (args.int8 and args.originals.is_dir()):
        raise UsageError(f"Expected a folder for --originals together with --int8, got '{args.originals}'.")
    if args.int8 and not args.dataset:
        raise UsageError("Expected --dataset with --int8: films to calibrate on. Name a prepared dataset.")
    model_dir = resolve_model_dir(args.model)
    with holding(args.out / ONNX_DIR) as was_interrupted:
        _check_outputs(args, was_interrupted=was_interrupted)
        report = _make(model_dir, args)
    sys.stderr.write(_summarise(report, args.out) + "\n")
    return 0


def _check_outputs(args: argparse.Namespace, *, was_interrupted: bool) -> None:
    """Refuse to replace an export, except one that was cut short, which lacks its report."""
    is_unfinished = was_interrupted and not (args.out / REPORT_FILE).exists()
    for name in _WRITTEN:
        if (args.out / name).exists() and not args.overwrite and not is_unfinished:
            raise OutputExistsError(f"'{args.out / name}' exists. Pass --overwrite to replace the export.")


def _make(model_dir: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Export, measure and write; return the report."""
    from hf_fracture.models.checkpoint import load_model, write_json

    staged = args.out / STAGE_DIR
    remove(staged)  # what a killed process left
    try:
        model = load_model(model_dir)
        metadata = _describe_model(model, model_dir)
        if args.originals and metadata.fractured_index is None:
            raise UsageError(
                "Expected no --originals with a model of fracture types, since --fast does not answer for it. Leave it "
                "out."
            )
        staged.mkdir()
        _copy_what_travels(model_dir, staged)
        films = _load_films(args.dataset, metadata)
        report = _export(model_dir, model, metadata, staged, films=films, int8=args.int8)
        if args.originals:
            report["fast"] = _measure_fast(staged, films, args.originals)
            write_json(staged / REPORT_FILE, report)
        _publish(staged, model_dir, args.out)
    finally:
        remove(staged)
    return report


def _export(
    model_dir: Path, model: "PreTrainedModel", metadata: "OnnxMetadata", staged: Path, *, films: Films, int8: bool
) -> dict[str, Any]:
    """Write both files into `staged`, measure them there, and return what `export.json` holds."""
    from hf_fracture.export.onnx_file import export_onnx
    from hf_fracture.inference.parity import MAX_EXACT_DIFFERENCE, compare_probabilities
    from hf_fracture.models.checkpoint import write_json

    (staged / ONNX_DIR).mkdir()
    path = staged / ONNX_DIR / ONNX_FILE
    export_onnx(model, path, size_px=metadata.preprocessing.size_px, metadata=metadata.to_properties())
    torch_answers = _answer(model_dir, metadata, films, "torch")
    answers = _answer(staged, metadata, films, "onnx")
    fp32 = {"bytes": path.stat().st_size, **compare_probabilities(torch_answers, answers, films.labels)}
    if not fp32["max_difference"] <= MAX_EXACT_DIFFERENCE:
        raise ModelFolderError(
            f"Expected the export to answer as torch does to {MAX_EXACT_DIFFERENCE}, got a difference of "
            f"{fp32['max_difference']:.2g}. Nothing was written; report the model's architecture."
        )
    report: dict[str, Any] = {
        "model_sha256": metadata.model_sha256,
        "films": films.name,
        "reference": "torch, float32",
        "versions": _read_versions(),
        "files": {f"{ONNX_DIR}/{ONNX_FILE}": fp32},
    }
    if int8:
        report["files"][f"{ONNX_DIR}/{INT8_FILE}"] = _quantize(staged, metadata, films, torch_answers)
    write_json(staged / REPORT_FILE, report)
    return report


def _answer(
    folder: Path, metadata: "OnnxMetadata", films: Films, runtime: Runtime, note: str = ""
) -> "NDArray[np.float64]":
    """Return what a runtime answers: (N,) probabilities of a fracture, or (N, C) of types."""
    from hf_fracture.inference.classifier import FractureClassifier
    from hf_fracture.inference.parity import compute_probabilities, compute_type_probabilities

    shown = _show(films.images, note or runtime)
    if metadata.fractured_index is not None:
        backend: Literal["torch", "onnx"] = "torch" if runtime == "torch" else "onnx"
        classifier = FractureClassifier(folder, model=folder.name, backend=backend, fast=runtime == "int8")
        return compute_probabilities(classifier, shown)
    return compute_type_probabilities(_load_network(folder, runtime), shown, metadata.preprocessing)


def _load_network(folder: Path, runtime: Runtime) -> "Callable[[NDArray[np.float32]], NDArray[np.float32]]":
    """Return what gives a model's logits."""
    if runtime == "torch":
        import torch

        from hf_fracture.models.checkpoint import load_model

        model = load_model(folder)

        def run_torch(pixel_values: "NDArray[np.float32]") -> "NDArray[np.float32]":
            with torch.inference_mode():
                logits: NDArray[np.float32] = model(pixel_values=torch.from_numpy(pixel_values)).logits.numpy()
            return logits

        return run_torch
    from hf_fracture.export.metadata import INPUT_NAME, LOGITS_NAME
    from hf_fracture.inference.onnx_engine import MAX_THREADS, count_cores, open_session

    session = open_session(
        folder / ONNX_DIR / (INT8_FILE if runtime == "int8" else ONNX_FILE), min(count_cores(), MAX_THREADS)
    )
    return lambda pixel_values: session.run([LOGITS_NAME], {INPUT_NAME: pixel_values})[0]


def _quantize(
    staged: Path, metadata: "OnnxMetadata", films: Films, torch_answers: "NDArray[np.float64]"
) -> dict[str, Any]:
    """Write the int8 file with as few layers in float32 as parity needs, and return its figures."""
    from hf_fracture.export.quantization import quantize_onnx
    from hf_fracture.inference.parity import MAX_AUROC_DIFFERENCE, compare_probabilities

    path = staged / ONNX_DIR / INT8_FILE
    properties = replace(metadata, arithmetic="int8").to_properties()
    figures: dict[str, Any] = {}
    for num_float_nodes in FLOAT_NODES:
        quantize_onnx(
            staged / ONNX_DIR / ONNX_FILE,
            path,
            pixel_values=_read_pixels(films, metadata),
            num_float_nodes=num_float_nodes,
            metadata=properties,
        )
        answers = _answer(staged, metadata, films, "int8", f"int8, {num_float_nodes} in float32")
        figures = {
            "bytes": path.stat().st_size,
            "layers_in_float32": num_float_nodes,
            "num_calibration_films": min(NUM_CALIBRATION_FILMS, len(films.images)),
            **compare_probabilities(torch_answers, answers, films.labels),
        }
        if abs(figures["auroc_difference"]) <= MAX_AUROC_DIFFERENCE:
            return figures
    raise ModelFolderError(
        f"Expected the AUROC of int8 within {MAX_AUROC_DIFFERENCE} of float32, got {figures['auroc_difference']:+.4f} "
        f"with the last {FLOAT_NODES[-1]} layers in float32. Nothing was written; export it without --int8."
    )


def _measure_fast(staged: Path, films: Films, originals: Path) -> dict[str, Any]:
    """Compare `fast` (draft decoding and int8) with the exact way on the films' own files."""
    from hf_fracture.errors import MissingInputError, UnreadableRadiograph
    from hf_fracture.inference.classifier import FractureClassifier
    from hf_fracture.inference.parity import compare_probabilities

    paths = [originals / name for name in films.source_paths or []]
    if not paths[0].is_file():
        raise MissingInputError(f"Expected the dataset's own files in '{originals}', found no '{paths[0]}'.")
    exact_way = FractureClassifier(staged, model=staged.name, backend="onnx")
    fast_way = FractureClassifier(staged, model=staged.name, fast=True)
    exact, fast, labels = [], [], []
    for path, label in zip(_show(paths, "fast"), films.labels or [], strict=True):
        try:
            pair = [way.compute(way.read(path)).probabilities[0] for way in (exact_way, fast_way)]
        except UnreadableRadiograph:
            continue  # truncated beyond reading; both ways refuse it
        exact.append(pair[0])
        fast.append(pair[1])
        labels.append(label)
    return {"films": f"files of the {films.name}", **compare_probabilities(exact, fast, labels)}


def _describe_model(model: "PreTrainedModel", model_dir: Path) -> "OnnxMetadata":
    from hf_fracture.explain.closed_form import read_pooled_head
    from hf_fracture.export.metadata import OnnxMetadata
    from hf_fracture.inference.decision import find_fractured_index
    from hf_fracture.models.checkpoint import hash_weights, read_json, read_preprocessing, read_record

    config, record = read_json(model_dir / "config.json"), read_record(model_dir)
    labels = {int(index): str(name) for index, name in config.get("id2label", {}).items()}
    fractured_index = head = None
    if record is None or record.label_kind == "fracture":
        fractured_index = find_fractured_index(labels)  # type: ignore[arg-type]
        head = read_pooled_head(model, fractured_index=fractured_index)
    norm = head.layer_norm if head else None
    return OnnxMetadata(
        preprocessing=read_preprocessing(model_dir),
        labels=[labels[index] for index in sorted(labels)],
        fractured_index=fractured_index,
        cam_weights=head.weight.astype(float).tolist() if head else None,
        cam_layer_norm={"scale": norm.scale.astype(float).tolist(), "epsilon": norm.epsilon} if norm else None,
        record=config.get("fracture"),
        model_sha256=hash_weights(model_dir),
    )


def _load_films(dataset: str | None, metadata: "OnnxMetadata") -> Films:
    """Load the validation films of a dataset, or draw phantoms.

    Raises:
        UsageError: If the films are not of at least two classes of the model.
    """
    if dataset is None:
        from hf_fracture.data.phantoms import draw_phantom

        phantoms = [draw_phantom(seed, fractured=seed % 2 == 1) for seed in range(NUM_PHANTOMS)]
        return Films(name="phantoms", images=[phantom.image for phantom in phantoms], labels=None)
    from hf_fracture.evaluation.films import load_splits, select_split

    rows = select_split(load_splits(dataset), "validation")
    if metadata.fractured_index is None:
        types = rows["fracture_type"][:] if "fracture_type" in rows.column_names else [None] * len(rows)
        rows = rows.select([index for index, kind in enumerate(types) if kind in metadata.labels])
        labels = [metadata.labels.index(kind) for kind in types if kind in metadata.labels]
    else:
        labels = [int(y) for y in rows["label"]]
    if len(set(labels)) < 2:
        raise UsageError(
            f"Expected films of at least two classes of the model ({', '.join(metadata.labels)}), got "
            f"{len(set(labels))} among the validation films of '{dataset}'. Name a dataset that has them."
        )
    return Films(
        name=f"validation split of {Path(dataset).name}",
        images=[row["image"].convert("L") for row in rows],
        labels=labels,
        source_paths=[str(path) for path in rows["source_path"]],
    )


def _read_pixels(films: Films, metadata: "OnnxMetadata") -> "Iterator[NDArray[np.float32]]":
    """Yield every n-th film as the network sees it, `NUM_CALIBRATION_FILMS` at most."""
    from hf_fracture.data.transforms import letterbox_pixels

    chosen = metadata.preprocessing
    step = max(1, len(films.images) // NUM_CALIBRATION_FILMS)
    for image in _show(films.images[::step][:NUM_CALIBRATION_FILMS], "calibration"):
        yield letterbox_pixels(image, chosen.size_px, chosen.mean, chosen.std)


def _show(films: "list[Shown]", what: str) -> "Iterator[Shown]":
    from tqdm import tqdm

    yield from tqdm(films, desc=what, unit="film", disable=not sys.stderr.isatty())


def _read_versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers", "onnx", "onnxscript", "onnxruntime")}


def _copy_what_travels(model_dir: Path, folder: Path) -> None:
    for name in COPIED:
        if (model_dir / name).is_file():
            shutil.copy2(model_dir / name, folder / name)


def _publish(staged: Path, model_dir: Path, out_dir: Path) -> None:
    """Move what was made into its place, the report last; files of the model's own folder stay as they are."""
    names = [name for name in (*COPIED, *_WRITTEN) if (staged / name).is_file()]
    is_same = model_dir.resolve() == out_dir.resolve()
    (out_dir / ONNX_DIR).mkdir(exist_ok=True)
    (out_dir / REPORT_FILE).unlink(missing_ok=True)
    for name in _WRITTEN:
        if name not in names:
            (out_dir / name).unlink(missing_ok=True)  # an int8 file of earlier weights must not outlive them
    for name in names:
        if name in _WRITTEN or not is_same:
            (staged / name).replace(out_dir / name)


def _summarise(report: dict[str, Any], out_dir: Path) -> str:
    lines = []
    for name, figures in report["files"].items():
        quality = f", AUROC {figures['auroc_difference']:+.4f}" if "auroc_difference" in figures else ""
        lines.append(
            f"{out_dir / name}: {figures['bytes'] / 1e6:.1f} MB, probabilities within {figures['max_difference']:.1e} "
            f"of torch on {figures['num_films']} films ({report['films']}){quality}."
        )
    return "\n".join(lines)
