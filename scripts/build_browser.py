"""Build the page that needs no server: the model, onnxruntime-web and the page in one static folder.

    python scripts/build_browser.py --model MODEL --out build/browser
    python -m http.server --directory build/browser 8000

MODEL is an exported model folder (`hf-fracture export`), the shipped one by default. onnxruntime-web comes from the npm
registry through `npm pack`, of one version whose hash is known, or from `--runtime FILE.tgz`. The folder may be copied
to any static host; nothing in it asks another server for anything.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

REPOSITORY_DIR = Path(__file__).resolve().parent.parent
SPACE_DIR = REPOSITORY_DIR / "space"
PAGE_DIR = SPACE_DIR / "browser"
RUNTIME = "onnxruntime-web@1.30.0"
RUNTIME_SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
WEIGHTS = "model.onnx"

sys.path.insert(0, str(SPACE_DIR))


def main() -> None:
    """Build the folder next to its place, then move it there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=REPOSITORY_DIR / "hf_fracture" / "default_model")
    parser.add_argument("--out", type=Path, default=REPOSITORY_DIR / "build" / "browser")
    parser.add_argument("--runtime", type=Path, help="onnxruntime-web as npm pack writes it (default: fetched)")
    args = parser.parse_args()
    build_page(args.model, args.out, runtime=args.runtime)
    num_bytes = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file())
    sys.stderr.write(f"{args.out}: {num_bytes / 1e6:.1f} MB\n")


def build_page(model_dir: Path, out_dir: Path, *, runtime: Path | None = None) -> None:
    """Write the static page of a model.

    Args:
        model_dir: Exported model folder.
        out_dir: Folder to write; what an earlier build left there is replaced.
        runtime: Archive of onnxruntime-web; None fetches it.
    """
    weights = model_dir / "onnx" / WEIGHTS
    if not weights.is_file():
        sys.exit(f"Expected an exported model in {model_dir}, found no {weights}. Run hf-fracture export first.")
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir.parent, prefix=f".{out_dir.name}.") as scratch:
        folder = Path(scratch, "page")
        shutil.copytree(PAGE_DIR, folder)
        for name in ("page.css", "icon.svg"):
            shutil.copy(SPACE_DIR / name, folder)
        shutil.copy(weights, folder)
        if (model_dir / "gate.safetensors").is_file():
            shutil.copy(model_dir / "gate.safetensors", folder)
        (folder / "model.json").write_text(json.dumps(describe_model(model_dir)), encoding="utf-8")
        unpack_runtime(runtime or fetch_runtime(Path(scratch)), folder / "vendor")
        list_files(folder)
        shutil.rmtree(out_dir, ignore_errors=True)
        folder.rename(out_dir)


def describe_model(model_dir: Path) -> dict[str, Any]:
    """Return what the page needs beside the weights: how to prepare a film, how to decide, and every word."""
    import evidence
    import panels
    import texts
    from hf_fracture.explain.attribution import MIN_EVIDENCE_LOGITS
    from hf_fracture.explain.overlay import colour_table
    from hf_fracture.inference.appearance import RULES
    from hf_fracture.inference.classifier import FractureClassifier

    metadata = read_metadata(model_dir / "onnx" / WEIGHTS)
    classifier = FractureClassifier.from_pretrained(model_dir)
    scores = classifier.attribution_scores
    worth = panels.describe_map_worth("grad_cam", scores)
    low, high = (panels.format_probability(limit) for limit in panels.read_limits(classifier))
    words = {
        "points": texts.BROWSER_POINTS.format(screening=low, rule_in=high),
        "map_worth": f"{texts.MAP_WORTH_TITLE} {worth}",
    }
    return {
        **metadata,
        "name": classifier.model,
        "revision": classifier.revision,
        "weights": WEIGHTS,
        "gate": "gate.safetensors" if (model_dir / "gate.safetensors").is_file() else None,
        "rules": [{name: value for name, value in asdict(rule).items() if name != "sentence"} for rule in RULES],
        "full_scale": float((scores or {}).get("methods", {}).get("grad_cam", {}).get("full_scale", 0.0)),
        "min_evidence_logits": MIN_EVIDENCE_LOGITS,
        "ramp": colour_table().tolist(),
        "texts": {**texts.BROWSER, **words},
        "words": texts.BROWSER_WORDS,
        "html": {"summary": evidence.render_summary(classifier), "use": evidence.render_use(classifier)},
    }


def read_metadata(weights: Path) -> dict[str, Any]:
    """Return what an exported file says of itself: each value is JSON."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(weights), providers=["CPUExecutionProvider"])
    properties: dict[str, str] = session.get_modelmeta().custom_metadata_map
    return {name: json.loads(value) for name, value in properties.items()}


def fetch_runtime(folder: Path) -> Path:
    """Fetch onnxruntime-web from the npm registry."""
    command = ["npm", "pack", RUNTIME, "--silent"]
    try:
        process = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        sys.exit(f"Expected npm and its registry for {RUNTIME}: {error}. Or name the archive: --runtime FILE.tgz.")
    if process.returncode != 0:
        sys.exit(f"npm pack {RUNTIME} failed: {process.stderr.strip()[-300:]} Or name the archive: --runtime FILE.tgz.")
    return folder / process.stdout.split()[-1]


def unpack_runtime(archive: Path, out_dir: Path) -> None:
    """Copy the three files that the page needs, if the archive is the one that was tested."""
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != RUNTIME_SHA256:
        sys.exit(f"Expected {RUNTIME} with SHA-256 {RUNTIME_SHA256}, got {found} in {archive}. Fetch it again.")
    out_dir.mkdir()
    with tarfile.open(archive) as package:
        for name in RUNTIME_FILES:
            member = package.extractfile(f"package/dist/{name}")
            if member is None:
                sys.exit(f"Expected {name} in {archive}, found none. Fetch {RUNTIME} again.")
            (out_dir / name).write_bytes(member.read())


def list_files(folder: Path) -> None:
    """Tell the service worker what to keep, under a name that changes with any byte of it."""
    worker = folder / "worker.js"
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != worker)
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    names = ["./", *(path.relative_to(folder).as_posix() for path in paths)]
    text = worker.read_text(encoding="utf-8")
    text = text.replace("{{version}}", digest.hexdigest()[:16]).replace("{{files}}", json.dumps(names))
    worker.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
