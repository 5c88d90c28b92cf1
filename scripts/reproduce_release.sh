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
# --smoke trains one epoch at 128 px instead, to see that every link of the chain holds. It is not the release: the
# figures go to WORK_DIR/smoke.json and not to the results, and --publish makes the repository private.
#
# Compute: 5 minutes of preparing and 35 to 80 minutes of training and measuring on two CPU cores with bf16; 3 GB of memory,
# 2 GB on disk; with --smoke ten minutes. The figures of another seed, or of another machine, differ: the last step puts them
# beside the shipped ones in scripts/results/reproduction.json, with the spread over the seeds.
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
export HF_FRACTURE_TRAIN_ARGS=${flags# }
[ -z "$flags" ] || echo "# HF_FRACTURE_TRAIN_ARGS='$HF_FRACTURE_TRAIN_ARGS'"
step "$root/scripts/train_default_model.sh" "$data" "$backbone" "$work"
step python "$root/scripts/compare_release.py" "$work/run/model" ${smoke:+--smoke "$work/smoke.json"}
step hf-fracture publish model "$work/run/model" "${publish:-OWNER/NAME}" --dry-run
if [ -n "$publish" ]; then
  step hf-fracture publish model "$work/run/model" "$publish" ${smoke:+--private}
fi
[ -n "$run" ] || echo "Nothing was done; pass --run to do it."
