"""Ask one model the same question in many ways, and say how far the answers lie apart.

    python scripts/numerical_trust.py [--model DIR] [--films 12]

Threads, batch sizes, processes and runtimes must give the same probabilities to stated tolerances, and a film the same
pixels in whatever byte order its file is written. Films are drawn phantoms. Other versions of the libraries are in
results/install.json, trained weights in results/kill_rounds.json (each interrupted run ends with equal bytes).
Writes scripts/results/numerical_trust.json; the exit status is 1 if a tolerance is broken.
"""

import argparse
import io
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.data.radiographs import decode_radiograph
from hf_fracture.data.transforms import letterbox_pixels
from hf_fracture.inference.backends import load_onnx_engine
from hf_fracture.inference.classifier import FractureClassifier
from hf_fracture.inference.engine import TorchEngine
from hf_fracture.inference.onnx_engine import OnnxEngine
from hf_fracture.models.checkpoint import DEFAULT_MODEL_DIR, read_preprocessing

RESULT_PATH: Final = Path(__file__).resolve().parent / "results" / "numerical_trust.json"
SAME_ARITHMETIC: Final = 1e-6  # sums in another order, in float32
OTHER_RUNTIME: Final = 1e-5
SIZE_PX: Final = (300, 360)

Probabilities = NDArray[np.float64]


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Let torch compute with so many threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def ask_engine(engine: TorchEngine | OnnxEngine, pixels: NDArray[np.float32], batch_size: int) -> Probabilities:
    """Return the probabilities of films (N, 3, S, S), so many at once."""
    parts = [pixels[start : start + batch_size] for start in range(0, len(pixels), batch_size)]
    return np.concatenate([engine.compute(part).probabilities for part in parts])


def ask_processes(model_dir: Path, folder: Path, number: int) -> Probabilities:
    """Return the probabilities that so many processes give, each for its share of the films in a folder."""
    found: dict[str, float] = {}
    for shard in range(1, number + 1):
        command = [sys.executable, "-m", "hf_fracture", "predict", str(folder), "--model", str(model_dir)]
        answer = subprocess.run(
            [*command, "--json", "--shard", f"{shard}/{number}"], capture_output=True, text=True, check=True
        )
        rows = [json.loads(line) for line in answer.stdout.splitlines()]
        assert not found.keys() & {row["path"] for row in rows}, "a film was judged twice"
        found |= {row["path"]: row["probability"] for row in rows}
    return np.array([found[name] for name in sorted(found)])


def compare_ways(model_dir: Path, num_films: int, *, processes: bool = True) -> dict[str, dict[str, Any]]:
    """Return the largest difference of each way from torch on one thread, film by film, with its tolerance."""
    classifier = FractureClassifier.from_pretrained(model_dir, backend="torch")
    images = draw_answered(classifier, num_films)
    chosen = read_preprocessing(model_dir)
    pixels = np.stack([letterbox_pixels(image, chosen.size_px, chosen.mean, chosen.std) for image in images])
    torch_engine = TorchEngine(model_dir, fractured_index=1)
    with torch_threads(1):
        reference = ask_engine(torch_engine, pixels, 1)
    ways: dict[str, tuple[Callable[[], Probabilities], float]] = {}
    for number in (1, 2):
        for size in (1, 5, num_films):
            ways[f"torch, {number} threads, {size} films at once"] = (
                partial(ask_with_threads, torch_engine, pixels, number, size),
                SAME_ARITHMETIC,
            )
    ways["torch, read ahead by threads"] = (partial(read_probabilities, classifier, images), SAME_ARITHMETIC)
    exported = load_onnx_engine(model_dir, backend="auto")
    if exported is not None:
        for number in (1, 2):
            engine = OnnxEngine(exported.path, num_threads=number)
            for size in (1, 5):
                ways[f"onnxruntime, {number} threads, {size} films at once"] = (
                    partial(ask_engine, engine, pixels, size),
                    OTHER_RUNTIME,
                )
    with tempfile.TemporaryDirectory() as folder:
        for number, image in enumerate(images):
            image.save(Path(folder) / f"{number:03d}.png")
        if processes:
            for number in (1, 2):
                ways[f"{number} processes of predict"] = (
                    partial(ask_processes, model_dir, Path(folder), number),
                    OTHER_RUNTIME,
                )
        return {
            name: {"max_difference": float(np.max(np.abs(ask() - reference))), "tolerance": tolerance}
            for name, (ask, tolerance) in ways.items()
        }


def draw_answered(classifier: FractureClassifier, num_films: int) -> list[Image.Image]:
    """Draw films that the classifier's gate lets pass."""
    drawn = (draw_phantom(seed, fractured=seed % 2 == 1, size_px=SIZE_PX).image for seed in range(50 * num_films))
    return list(itertools.islice((film for film in drawn if classifier.predict(film).is_answer), num_films))


def ask_with_threads(engine: TorchEngine, pixels: NDArray[np.float32], threads: int, size: int) -> Probabilities:
    """Ask torch with so many threads."""
    with torch_threads(threads):
        return ask_engine(engine, pixels, size)


def read_probabilities(classifier: FractureClassifier, images: Sequence[Image.Image]) -> Probabilities:
    """Return the probabilities of films that threads read ahead."""
    return np.array([finding.probability for finding in classifier.predict_many(images)], dtype=np.float64)


def write_forms() -> dict[str, bytes]:
    """Write one film of 16 bits in every byte order and form that hold it without loss."""
    grey = np.asarray(draw_phantom(3, fractured=True, size_px=SIZE_PX).image).astype(np.uint16) * 16
    forms = {"PNG": _save(Image.fromarray(grey), "PNG")}
    for name, prefix in (("TIFF, little-endian", b"II"), ("TIFF, big-endian", b"MM")):
        forms[name] = _save_tiff(grey, prefix)
    for name, syntax in (
        ("DICOM, little-endian", "1.2.840.10008.1.2.1"),
        ("DICOM, implicit", "1.2.840.10008.1.2"),
        ("DICOM, big-endian", "1.2.840.10008.1.2.2"),
    ):
        forms[name] = _save_dicom(grey, syntax)
    return forms


def compare_forms() -> dict[str, dict[str, Any]]:
    """Return by how many grey levels a film differs between byte orders of one format; the tolerance is 0."""
    films = {name: decode_radiograph(data, name).image for name, data in write_forms().items()}
    differences = {}
    for name, film in films.items():
        first = next(other for other in films if other.split(",")[0] == name.split(",")[0])
        gap = np.abs(np.asarray(film, dtype=np.int16) - np.asarray(films[first], dtype=np.int16))
        differences[name] = {"max_difference": float(gap.max()), "tolerance": 0.0}
    return differences


def _save(image: Image.Image, file_format: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=file_format)
    return buffer.getvalue()


def _save_tiff(grey: NDArray[np.uint16], prefix: bytes) -> bytes:
    """Write an uncompressed TIFF of one strip, in either byte order."""
    order = "<" if prefix == b"II" else ">"
    pixels = grey.astype(f"{order}u2").tobytes()
    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=prefix)
    height, width = grey.shape
    for tag, value in ((256, width), (257, height), (258, 16), (259, 1), (262, 1), (277, 1), (278, height)):
        directory[tag] = value
    directory[273], directory[279] = 0, len(pixels)  # Pillow adds to the offset what stands before the strip
    header = prefix + (42).to_bytes(2, "little" if order == "<" else "big")
    header += (8).to_bytes(4, "little" if order == "<" else "big")
    return header + directory.tobytes(8) + pixels


def _save_dicom(grey: NDArray[np.uint16], syntax: str) -> bytes:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID

    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2.3.4"
    header.Modality, header.PhotometricInterpretation, header.SamplesPerPixel = "DX", "MONOCHROME2", 1
    header.Rows, header.Columns = grey.shape
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
    is_big = syntax == "1.2.840.10008.1.2.2"
    header.PixelData = grey.astype(">u2" if is_big else "<u2").tobytes()
    header["PixelData"].VR = "OW"
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = UID(syntax)
    buffer = io.BytesIO()
    header.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def main() -> int:
    """Compare, print and write; 1 if a tolerance is broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL_DIR)
    parser.add_argument("--films", type=int, default=12)
    args = parser.parse_args()
    ways, forms = compare_ways(args.model, args.films), compare_forms()
    report = {
        "command": f"python scripts/numerical_trust.py --films {args.films}",
        "model": args.model.name,
        "films": args.films,
        "probabilities": ways,
        "grey_levels": forms,
    }
    RESULT_PATH.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))
    return int(any(row["max_difference"] > row["tolerance"] for row in (*ways.values(), *forms.values())))


if __name__ == "__main__":
    raise SystemExit(main())
