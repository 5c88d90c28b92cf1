#!/usr/bin/env bash
# From bone_break as downloaded to a classifier of its ten fracture types, measured once on the clean test split.
#
#     scripts/train_fracture_types.sh BONE_BREAK_DIR BACKBONE WORK_DIR
#
# BONE_BREAK_DIR: the unpacked release (hf-fracture data download bone_break).
# BACKBONE: a folder with ResNet-18's stem and stages 1 to 3, ImageNet-1k weights of torchvision (BSD-3-Clause).
# WORK_DIR: everything is written there; WORK_DIR/types/model is the result. Its weights stay there: the dataset states
# no licence. Writes scripts/results/fracture_types.json.
# Compute: about 5 minutes on two CPU cores with bf16. An interrupted run goes on where it was.
set -euo pipefail
bone_break=$1 backbone=$2 work=$3 here=$(dirname "$0")
export OMP_WAIT_POLICY=PASSIVE MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=4294967296 MALLOC_TOP_PAD_=67108864
mkdir -p "$work"
[ -d "$work/bone_break" ] || hf-fracture data prepare bone_break --source "$bone_break" --out "$work/bone_break"
[ -d "$work/types/model" ] || hf-fracture train "$work/bone_break" --backbone "$backbone" --out "$work/types" \
    --config "$here/fracture_types.yaml"
hf-fracture evaluate "$work/types/model" "$work/bone_break" --target fracture_type --split test \
    --out "$work/types/evaluation" --overwrite
python "$here/record_fracture_types.py" "$work/types"
