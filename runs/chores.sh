#!/usr/bin/env bash
# From nothing to policies of all three tasks in homes of all size classes. Every step goes on where it was interrupted.
# Usage: runs/chores.sh [folder] [processes]
set -euo pipefail
out=${1:-safevla-runs/chores}
processes=${2:-2}
tasks=ObjNav,PickUp,Fetch
export OMP_NUM_THREADS=1
started=$(date +%s)
stage() { echo "$1: $(( ($(date +%s) - started) / 60 )) minutes after the start"; }

# Perception: half of the pictures are of things that a robot may be sent for, from near.
safevla pretrain --perception.preset tiny-memory --perception.size_class all --perception.focus 0.5 \
  --perception.pictures 900000 --perception.workers "$processes" --out "$out/pretrain" --resume
stage "pretrain ends"

# Behaviour: demonstrations of the expert, then DAgger in small rounds.
safevla imitate --config runs/imitate_chores.toml --encoder "$out/pretrain/encoder.pt" --processes "$processes" \
  --out "$out/imitate" --resume
stage "imitate ends"

# Elicit, constrain, assure on the frozen set.
safevla align --policy "$out/imitate/checkpoint" --task $tasks --scenarios safety-chores-train \
  --assure.scenarios safety-chores-val --assure.episodes 200 --train.total_steps 200000 --train.iterations 1000 \
  --processes "$processes" --out "$out/align" --resume
stage "align ends"

# What perception costs the imitation policy, and whether it listens.
policy="$out/imitate/checkpoint"
safevla assure --task $tasks --scenarios safety-chores-val --episodes 100 --videos 0 \
  --policy "imitation=$policy,labels=$policy+labels,held_out=$policy+held_out,wrong=$policy+wrong,none=$policy+none" \
  --processes "$processes" --out "$out/diagnosis" --resume
stage "all ends"
