#!/usr/bin/env bash
# The example study from videos to a table, a figure and a sentence: examples/study/run.sh FOLDER
set -euo pipefail
here=$(dirname "$0")
study=${1:?usage: examples/study/run.sh FOLDER}

python "$here/make_study.py" "$study"
fervid analyze "$study/clips" --out "$study/results" --fps 10

# Do the labels agree with the human coder? Only then do the comparisons below mean anything.
fervid agreement "$study/results" --codes "$study/coder.csv" --map "$study/codes.csv"

# Do participants smile more in one condition? The same participants are in both: the comparison is paired.
fervid summary "$study/results" compare --groups "$study/groups.csv"
fervid summary "$study/results" compare --groups "$study/groups.csv" --out "$study/compare.csv" --overwrite

# What did they show during the film?
fervid summary "$study/results" events --events "$study/stimuli.csv" --out "$study/events.csv" --overwrite

# The figure and the sentence for the paper.
fervid plot "$study/results" --out "$study/figures"
python "$here/report_study.py" "$study"
