#!/usr/bin/env bash
# From nothing to the shipped policies and their tables on 2 cores without a GPU, in about an hour and a half.
# Every step goes on where it was interrupted. Usage: runs/quick_cpu.sh [folder]
set -euo pipefail
out=${1:-safevla-runs/quick}
export OMP_NUM_THREADS=1
source "$(dirname "$0")/stage.sh"

# The scenario sets in the package; only needed when homes, tasks or the expert changed.
# python runs/make_text_table.py
# python runs/make_scenarios.py

# Perception: the image encoder on rendered pictures, with the renderer's own labels.
stage pretrain safevla pretrain --out "$out/pretrain" --perception.pictures 450000 --perception.workers 2 --resume

# Behaviour: demonstrations of the expert, then DAgger (about 40 minutes).
stage imitate safevla imitate --config runs/imitate.toml --encoder "$out/pretrain/encoder.pt" --out "$out/imitate" --resume

# Elicit, constrain (rl and isa on the same steps), assure (about 16 minutes).
stage align safevla align --policy "$out/imitate/checkpoint" --out "$out/align" --resume

# Put the three policies into the package and the numbers into results/.
python runs/ship.py policies "$out/pretrain" "$out/imitate" "$out/align"
stage test safevla assure --policy imitation,rl,isa --split test --episodes 600 --videos 0 --out "$out/test" --resume
python runs/ship.py judged "$out/test" align_test
stage listening safevla assure --policy isa,isa+held_out,isa+wrong,isa+none --episodes 200 --videos 0 --out "$out/listening" --resume
python runs/ship.py judged "$out/listening" listening
python docs/update_tables.py
