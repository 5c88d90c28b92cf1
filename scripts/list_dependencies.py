"""Account for every dependency: docs/dependencies.md (licence and reason of each) and a bill of materials.

    python scripts/list_dependencies.py                    # docs/dependencies.md
    python scripts/list_dependencies.py --sbom sbom.json   # CycloneDX of everything installed here

Licences and versions are read from the installed packages; a package that is not installed here gets none.
"""

import argparse
import json
import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "dependencies.md"
MAX_LICENCE_LENGTH: Final = 40  # longer ones are the whole text

REASONS: Final[dict[str, str]] = {
    "huggingface-hub": "Downloads and publishes; cards and their metadata.",
    "numpy": "Arrays between reading, network and measures.",
    "onnxruntime": "Answers without torch.",
    "pillow": "Reads and writes images.",
    "pydicom": "Reads DICOM.",
    "pyyaml": "Front matter and recipes.",
    "safetensors": "Weights without pickle.",
    "tqdm": "Progress on stderr.",
    "torch": "Trains, and explains by gradients.",
    "transformers": "Backbones, image processors, the Trainer, pipeline().",
    "captum": "Attribution methods with their own tests.",
    "accelerate": "The Trainer's device and process handling.",
    "datasets": "Prepared datasets: Parquet, streaming, the Hub.",
    "evaluate": "Metrics in the form that other tools load.",
    "filelock": "Keeps two processes out of one output.",
    "kagglehub": "Downloads from Kaggle with the account's token.",
    "matplotlib": "Curves of an evaluation.",
    "pandas": "Tables of predictions.",
    "pyarrow": "Parquet shards.",
    "scikit-learn": "The shortcut forest; reference metrics in tests.",
    "scipy": "Exact intervals, optimisation, image resampling.",
    "python-gdcm": "Decodes compressed DICOM; pylibjpeg's decoder is GPL.",
    "onnx": "Checks and annotates exported graphs.",
    "onnxscript": "What torch.onnx.export writes with.",
    "gradio": "The page.",
    "mcp": "Lets assistants call the page's endpoint.",
    "timm": "Hundreds of further backbones, on request.",
    "torchvision": "timm imports it; nothing else here does.",
    "hatchling": "Builds wheel and source archive, reproducibly.",
    "hypothesis": "Generates inputs for property tests.",
    "import-linter": "Holds the rows of the architecture.",
    "mypy": "Checks types.",
    "packaging": "Compares versions in tests.",
    "pandas-stubs": "Types of pandas.",
    "playwright": "Drives a browser in tests.",
    "pytest": "Runs tests.",
    "ruff": "Lints and formats.",
    "scipy-stubs": "Types of scipy.",
    "types-pyyaml": "Types of PyYAML.",
    "types-tqdm": "Types of tqdm.",
    "mkdocs-material": "Builds this site.",
    "mkdocstrings": "Turns docstrings into the API reference.",
}


def main() -> None:
    """Write what was asked for, and say where."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sbom", type=Path, metavar="FILE", help="write the bill of materials instead of the page")
    args = parser.parse_args()
    if args.sbom is not None:
        write_bill(args.sbom)
        print(f"wrote {args.sbom}")
        return
    PAGE.write_text(render_page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


def render_page() -> str:
    """Render the table of direct dependencies by the extra that brings them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {"always": project["dependencies"], **project["optional-dependencies"]}
    lines = []
    for extra, requirements in extras.items():
        for requirement in requirements:
            name = _canonical(re.split(r"[\[<>=!~ ]", requirement)[0])
            if name != "hf-fracture":
                bound = requirement[len(re.split(r"[<>=!~ ]", requirement)[0]) :]
                licence = read_licence(name) or "not installed where this was written"
                lines.append(f"| {name} | {bound} | {extra} | {licence} | {REASONS[name]} |")
    return _HEAD + "\n".join(lines) + "\n" + _TAIL


def write_bill(path: Path) -> None:
    """Write every installed package as CycloneDX 1.6."""
    components = {}
    for distribution in metadata.distributions():
        name = _canonical(distribution.metadata["Name"] or "")
        components[name] = _describe(name, distribution.version)
    version = metadata.version("hf-fracture")
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "library", "name": "hf-fracture", "version": version}},
        "components": [components[name] for name in sorted(components) if name and name != "hf-fracture"],
    }
    path.write_text(json.dumps(bill, indent=1) + "\n", encoding="utf-8")


def _describe(name: str, version: str) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "library",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name}@{version}",
    }
    licence = read_licence(name)
    return {**component, "licenses": [{"license": {"name": licence}}]} if licence else component


def read_licence(name: str) -> str | None:
    """Return the licence that an installed package states, or None."""
    try:
        data = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return None
    classifiers = [line.rpartition(" :: ")[2] for line in data.get_all("Classifier") or [] if "License ::" in line]
    stated = next((data[key] for key in ("License-Expression", "License") if key in data), "")
    if stated and len(stated) <= MAX_LICENCE_LENGTH and "\n" not in stated:
        return stated
    return ", ".join(classifiers) or next(iter(stated.strip().splitlines()), None)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


_HEAD: Final = """\
# Dependencies

Every direct dependency, what brings it, its licence as the package itself states it, and why it is here. Written by
`python scripts/list_dependencies.py`; a test compares the names with `pyproject.toml`.

| package | version | brought by | licence | why |
| --- | --- | --- | --- | --- |
"""
_TAIL: Final = """
`always` is `pip install hf-fracture`; the others are extras, `pip install "hf-fracture[torch]"` and so on. Versions
that work together, transitive ones included, stand in `constraints.txt`.

A bill of materials (CycloneDX) of an environment:

```shell
python scripts/list_dependencies.py --sbom sbom.json
```

Known vulnerabilities are looked up with `pip-audit --requirement constraints.txt --no-deps`, or, offline, by feeding
that bill to a scanner that has its database with it (for example `osv-scanner --offline --sbom sbom.json`).
"""

if __name__ == "__main__":
    main()
