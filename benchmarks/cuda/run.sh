#!/usr/bin/env bash
# Check and time Fervid on a CUDA GPU, then train for the rest of the time. One command, no network.
#
#   benchmarks/cuda/run.sh --out FOLDER [--seconds 570] [--phase a|b|both] [--device cuda|cpu] [--pack runs/cuda]
#                          [--frames N] [--images N] [--architectures "NAME …"] [--quick]
#
# Phase A (correctness and speed) takes half of the time, at most 150 s; phase B (training) takes the rest.
# FOLDER then holds log.txt, phase_a.json, phase_b.json and the models, split into files: cat models.tar.* | tar -xf -
# For a rehearsal on a CPU, --frames and --images limit the data, and --quick measures once and trains one step.
# PYTHON names another interpreter than python3.
set -u
out='' seconds=570 phase=both device=cuda pack='' frames=256 images=0 architectures='' quick=''
while [ $# -gt 0 ]; do
  case $1 in
    --quick) quick=--quick; shift; continue ;;
    --out) out=$2 ;; --seconds) seconds=$2 ;; --phase) phase=$2 ;; --device) device=$2 ;; --pack) pack=$2 ;;
    --frames) frames=$2 ;; --images) images=$2 ;; --architectures) architectures=$2 ;;
    *) echo "unknown option: $1" >&2; exit 2 ;;
  esac
  shift 2 || { echo "an option lacks its value" >&2; exit 2; }
done
[ -n "$out" ] || { echo "--out FOLDER is missing" >&2; exit 2; }
start=$(date +%s)
mkdir -p "$out"; out=$(realpath "$out")
cd "$(dirname "$0")/../.." || exit 2
pack=$(realpath "${pack:-runs/cuda}")
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
exec > >(tee "$out/log.txt") 2>&1

export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
if [ -f "$pack/site.tar.xz" ] && ! "$python" -c 'import av, retinaface' 2>/dev/null; then
  tar -xJf "$pack/site.tar.xz" -C "$work" || "$python" -m tarfile -e "$pack/site.tar.xz" "$work" || exit 2
  export PYTHONPATH="$PYTHONPATH:$work"
fi
[ "$device" = cpu ] || nvidia-smi

# run_phase NAME UNTIL OPTION…: a phase ends by itself at UNTIL (Unix time); what hangs is ended 10 s later.
run_phase() {
  local name=$1 until=$2; shift 2
  timeout -k 5 $((until + 10 - $(date +%s))) \
    "$python" -m "benchmarks.cuda.phase_$name" --pack "$pack" --until "$until" --device "$device" $quick "$@" && return
  echo "phase $name ended with exit code $?"
  return 1
}

status=0
if [ "$phase" != b ]; then
  share=$((seconds / 2))
  [ "$phase" = both ] || share=$seconds
  [ -n "$quick" ] || [ "$share" -le 150 ] || share=150
  run_phase a $((start + share - 10)) --out "$out" --frames "$frames" || status=1
fi
if [ "$phase" != a ]; then
  run_phase b $((start + seconds - 15)) --out "$work" --images "$images" \
    ${architectures:+--architectures $architectures} || status=1
  cp "$work/phase_b.json" "$out" || status=1
  rm -f "$out"/models.tar.*
  tar -C "$work/models" -cf - . | split -b 15M -d - "$out/models.tar."
fi
ls -l "$out"
echo "done in $(($(date +%s) - start)) s, exit code $status"
exit $status
