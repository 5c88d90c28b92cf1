#!/usr/bin/env bash
# From FracAtlas as downloaded to the shipped model folder with every figure beside it.
#
#     scripts/train_default_model.sh FRACATLAS_DIR BACKBONE WORK_DIR
#
# FRACATLAS_DIR: the unpacked release (hf-fracture data download fracatlas).
# BACKBONE: a folder with ResNet-18's stem and stages 1 to 3, ImageNet-1k weights of torchvision (BSD-3-Clause).
# WORK_DIR: everything is written there; WORK_DIR/run/model is the result.
# KAGGLE_CLEAN, BONE_BREAK: prepared folders, if they are at hand; the gate's refusals of their films are counted too.
# Compute: what the training took stands in run.json beside the weights. An interrupted run goes on where it was.
set -euo pipefail
fracatlas=$1 backbone=$2 work=$3
export OMP_WAIT_POLICY=PASSIVE MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=4294967296 MALLOC_TOP_PAD_=67108864
mkdir -p "$work"
[ -d "$work/fracatlas" ] || hf-fracture data prepare fracatlas --source "$fracatlas" --out "$work/fracatlas"
[ -d "$work/run/model" ] || hf-fracture train "$work/fracatlas" --backbone "$backbone" --out "$work/run" \
    --config "$(dirname "$0")/default_model.yaml" ${HF_FRACTURE_TRAIN_ARGS:-}
model=$work/run/model
hf-fracture export "$model" --out "$model" --int8 --dataset "$work/fracatlas" --originals "$fracatlas" --overwrite
python "$(dirname "$0")/fit_gate.py" "$model" "$work/fracatlas" ${KAGGLE_CLEAN:+kaggle_clean="$KAGGLE_CLEAN"} \
    ${BONE_BREAK:+bone_break="$BONE_BREAK"}
hf-fracture evaluate "$model" "$work/fracatlas" --split test --out "$work/evaluation" --record --overwrite \
    --shortcuts --robustness
hf-fracture explain-eval "$model" "$work/fracatlas" --split test --out "$work/explanation" --record --overwrite
# Films of another dataset, where KAGGLE_CLEAN names the prepared clean Kaggle set; without it the card says so.
[ -z "${KAGGLE_CLEAN:-}" ] || python "$(dirname "$0")/cross_dataset.py" model "$model" "$work/fracatlas" "$KAGGLE_CLEAN"
hf-fracture card "$model" --overwrite
