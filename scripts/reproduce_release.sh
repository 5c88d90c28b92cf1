#!/usr/bin/env bash
# From nothing to the published model: download, prepare, train, measure, compare with what is shipped, publish.
#
#     scripts/reproduce_release.sh WORK_DIR [--seed N] [--data DIR] [--backbone DIR] [--publish OWNER/NAME] [--smoke] [--run]
#
# Without --run it says what it would do, and does nothing. --data names FracAtlas as downloaded and unpacked (default:
# fetched from figshare, 340 MB); --backbone the folder that the shipped model started from: ResNet-18's stem and first three
# stages with torchvision's ImageNet-1k weights (default: the same stages of the row resnet-18 of hf-fracture backbones, whose
# weights come from another training on ImageNet-1k). --publish sends the result to the Hub, after everything else has
# succeeded. An interrupted run goes on where it was.
#
# KAGGLE_CLEAN, BONE_BREAK: prepared folders, if they are at hand; the model is tested on the first one's films, and the gate's
# refusals of both are counted.
#
# --smoke trains one epoch at 128 px instead, to see that every link of the chain holds. It is not the release: the
# figures go to WORK_DIR/smoke.json and not to the results, and --publish makes the repository private.
#
# Compute: 5 minutes of preparing, an hour and a half of training (run.json says how long each took) and up to an hour of
# measuring on one or two CPU cores with bf16; 3 GB of memory, 2 GB on disk; with --smoke ten minutes. The figures of another
# seed, or of another machine, differ: the last step puts them beside the shipped ones in scripts/results/reproduction.json,
# with the spread over the seeds.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work='' data='' backbone=resnet-18 publish='' run='' flags='' smoke=''
while [ $# -gt 0 ]; do
  case $1 in
    --data) data=$2; shift 2 ;;
    --backbone) backbone=$2; shift 2 ;;
    --publish) publish=$2; shift 2 ;;
    --seed) flags="$flags --seed $2"; shift 2 ;;
    --smoke) smoke=yes; flags="$flags --image_size 128 --num_train_epochs 1"; shift ;;
    --run) run=yes; shift ;;
    -*) echo "Expected --data, --backbone, --seed, --publish, --smoke or --run, got $1." >&2; exit 2 ;;
    *) work=$1; shift ;;
  esac
done
[ -n "$work" ] || { echo "Expected WORK_DIR, got none. See the top of $0." >&2; exit 2; }

step() {
  printf '%s\n' "+ $*"
  [ -z "$run" ] || "$@"
}

if [ -z "$data" ]; then
  data=$work/download
  [ -d "$data/images" ] || step hf-fracture data download fracatlas --out "$data"
fi
[ "$backbone" != resnet-18 ] || flags="$flags --num_stages 3"
export OMP_WAIT_POLICY=PASSIVE MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=4294967296 MALLOC_TOP_PAD_=67108864
films=$work/fracatlas model=$work/run/model
step mkdir -p "$work"
[ -d "$films" ] || step hf-fracture data prepare fracatlas --source "$data" --out "$films"
# shellcheck disable=SC2086 # the flags are several words
[ -d "$model" ] || step hf-fracture train "$films" --backbone "$backbone" --out "$work/run" \
    --config "$root/scripts/default_model.yaml" $flags
step hf-fracture export "$model" --out "$model" --int8 --dataset "$films" --originals "$data" --overwrite
step python "$root/scripts/fit_gate.py" "$model" "$films" ${KAGGLE_CLEAN:+kaggle_clean="$KAGGLE_CLEAN"} \
    ${BONE_BREAK:+bone_break="$BONE_BREAK"}
step hf-fracture evaluate "$model" "$films" --split test --out "$work/evaluation" --record --overwrite --shortcuts --robustness
step hf-fracture explain-eval "$model" "$films" --split test --out "$work/explanation" --record --overwrite
# Without films of another dataset the card says that there were none.
[ -z "${KAGGLE_CLEAN:-}" ] || step python "$root/scripts/cross_dataset.py" model "$model" "$films" "$KAGGLE_CLEAN"
step hf-fracture card "$model" --overwrite
step python "$root/scripts/compare_release.py" "$model" ${smoke:+--smoke "$work/smoke.json"}
step hf-fracture publish model "$model" "${publish:-OWNER/NAME}" --dry-run
if [ -n "$publish" ]; then
  step hf-fracture publish model "$model" "$publish" ${smoke:+--private}
fi
[ -n "$run" ] || echo "Nothing was done; pass --run to do it."
