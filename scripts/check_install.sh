#!/usr/bin/env bash
# Install what would be released into fresh virtual environments, and use it there.
#
#     scripts/check_install.sh [WORK_DIR]
#
# plain    the wheel alone, pinned: no torch, judges a drawing with ONNX Runtime
# pinned   with the extras of EXTRAS, pinned: prepares drawings, evaluates the shipped model on them, exports it, builds the page
# lowest   the same, every direct dependency at the lowest version that pyproject.toml declares (torch excepted)
#
# Without timm, whose torchvision must match torch's build.
# MODEL names another model than the shipped one; it needs onnx/ for the plain install.
#
# torch itself is taken from the interpreter that runs this (TORCH_FROM, by default the python on PATH): it is 800 MB and
# not what is checked. Writes scripts/results/install.json. Compute: ten minutes on two cores, 3 GB on disk.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=${1:-$(mktemp -d)}
python=${TORCH_FROM:-python}
readonly EXTRAS=train,export,dicom,mcp
mkdir -p "$work"
cd "$work"

say() { printf '%s\n' "$*" >&2; }

say "Building"
rm -rf dist && (cd "$root" && "$python" -m hatchling build -t sdist -t wheel -d "$work/dist" >/dev/null)
wheel=$(ls dist/*.whl)
[ -x tools/bin/twine ] || {
  "$python" -m venv tools
  tools/bin/pip --quiet install --constraint "$root/constraints.txt" twine 2>/dev/null
}
tools/bin/twine check --strict dist/* >&2

"$python" - "$root/pyproject.toml" "$EXTRAS" >lowest-constraints.txt <<'PY'
import re
import sys
import tomllib

project = tomllib.load(open(sys.argv[1], "rb"))["project"]
waiting, lines = [*project["dependencies"], f"hf-fracture[{sys.argv[2]}]"], set()
while waiting:
    line = waiting.pop()
    if own := re.fullmatch(r"hf-fracture\[(.*)\]", line):
        waiting += [line for extra in own[1].split(",") for line in project["optional-dependencies"][extra]]
    elif (found := re.match(r"([A-Za-z0-9._-]+)>=([0-9.]+)", line)) and found[1] != "torch":
        lines.add(f"{found[1]}=={found[2]}")
print(*sorted(lines), sep="\n")
PY

# Name, extras, constraints: a fresh environment with the wheel in it.
install() {
  local name=$1 extras=$2 constraints=$3
  say "Installing $name"
  rm -rf "$name" && "$python" -m venv "$name"
  if [ -n "$extras" ]; then
    link_torch "$name"
  fi
  "$name/bin/pip" --quiet install --constraint "$constraints" "$wheel$extras" 2>/dev/null \
    || { "$name/bin/pip" install --constraint "$constraints" "$wheel$extras" 2>&1 | tail -5 >&2; return 1; }
  "$name/bin/pip" check >&2
}

# Make torch importable, and known to pip, without copying it.
link_torch() {
  local from to
  from=$("$python" -c 'import pathlib, torch; print(pathlib.Path(torch.__file__).parent.parent)')
  to=$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
  for item in "$from"/torch "$from"/torchgen "$from"/functorch "$from"/torch-*.dist-info; do
    [ -e "$item" ] && ln -s "$item" "$to/"
  done
}

cat >judge.py <<'PY'
import importlib.util
import os
import sys

from hf_fracture import FractureClassifier
from hf_fracture.data.phantoms import draw_phantom

film = draw_phantom(1, fractured=True).image
film.save("film.png")
finding = FractureClassifier.from_pretrained(os.environ.get("MODEL") or None).predict("film.png")
assert finding.probability is not None
has_torch = importlib.util.find_spec("torch") is not None
assert has_torch == (sys.argv[1] != "plain"), "the plain install must bring no torch"
print(finding.probability)
PY

cat >measure.py <<'PY'
import os
import shutil
from pathlib import Path

from hf_fracture.cli.main import main
from hf_fracture.data.phantoms import draw_phantom

for name in ("films", "prepared", "measured"):
    shutil.rmtree(name, ignore_errors=True)
for seed in range(48):
    path = Path("films", "fractured" if seed % 2 else "not fractured", f"{seed}.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_phantom(seed, fractured=seed % 2 == 1, size_px=(160, 160)).image.save(path)
from hf_fracture.models.checkpoint import DEFAULT_MODEL_DIR

model = os.environ.get("MODEL") or str(DEFAULT_MODEL_DIR)
for line in (
    ["data", "prepare", "image_folder", "--source", "films", "--out", "prepared", "--workers", "1"],
    ["evaluate", model, "prepared", "--out", "measured", "--resamples", "50"],
    ["predict", "films", "--model", model, "--csv", "measured/findings.csv", "--explain", "measured/maps"],
    ["export", model, "--out", "exported", "--overwrite"],
):
    assert main(line) == 0, line

from hf_fracture import FractureClassifier
from hf_fracture.cli.demo import import_page

import_page().build_page({"this model": FractureClassifier.from_pretrained(model)})
PY

install plain "" "$root/constraints.txt"
plain=$(plain/bin/python judge.py plain)
plain/bin/hf-fracture --version >&2
for name in pinned lowest; do
  constraints=$([ "$name" = pinned ] && echo "$root/constraints.txt" || echo lowest-constraints.txt)
  install "$name" "[$EXTRAS]" "$constraints"
  declare "$name=$("$name/bin/python" judge.py "$name")"
  "$name/bin/python" measure.py >/dev/null 2>"$name.log" || { tail -5 "$name.log" >&2; exit 1; }
  "$name/bin/pip" freeze >"$name.txt"
done

"$python" - "$plain" "$pinned" "$lowest" "$root/scripts/results/install.json" "$EXTRAS" <<'PY'
import json
import os
import platform
import sys
from pathlib import Path

def count(name):
    return len(list(Path(name, "lib").glob("python*/site-packages/*.dist-info")))

def measure(name):
    files = (path for path in Path(name).rglob("*") if path.is_file() and not path.is_symlink())
    return round(sum(path.stat().st_size for path in files) / 1e6)

probabilities = dict(zip(("plain", "pinned", "lowest"), map(float, sys.argv[1:4])))
largest = max(abs(value - probabilities["pinned"]) for value in probabilities.values())
assert largest < 1e-4, f"answers differ between environments by {largest}"
rows = {
    name: {
        "extras": "" if name == "plain" else sys.argv[5],
        "packages": count(name),
        "megabytes_without_torch": measure(name),
        "brings_torch": name != "plain",
        "difference_of_probability": abs(value - probabilities["pinned"]),
    }
    for name, value in probabilities.items()
}
archives = {path.name: path.stat().st_size for path in sorted(Path("dist").iterdir())}
result = {
    "python": platform.python_version(),
    "twine_check": "passed",  # or this line is not reached
    "archive_bytes": archives,
    "environments": rows,
}
Path(sys.argv[4]).write_text(json.dumps(result, indent=1) + "\n")
print(json.dumps(result, indent=1))
PY
