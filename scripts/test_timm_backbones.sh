#!/usr/bin/env bash
# Train, save, load and explain the backbones that timm brings, in an environment of their own.
#
#     scripts/test_timm_backbones.sh [PYTHON]
#
# PYTHON: interpreter of an environment with this project's pinned packages; .venv/bin/python by default. Its packages
# are seen from a temporary environment that adds timm and torchvision alone. torchvision's published wheels are made
# for CUDA: beside a CPU torch they would break `from transformers import pipeline` for everything else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${1:-.venv/bin/python}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$python" -m venv --without-pip "$scratch/venv"
site() { "$1" -c "import sysconfig; print(sysconfig.get_path('purelib'))"; }
site "$python" > "$(site "$scratch/venv/bin/python")/project.pth"
"$python" -m pip --quiet --python "$scratch/venv/bin/python" install --no-deps -c constraints.txt timm torchvision
export OMP_WAIT_POLICY=PASSIVE
"$scratch/venv/bin/python" -m pytest -q tests/training/test_every_backbone.py \
    -k "saved_loaded and (vgg16 or inception or densenet)"
