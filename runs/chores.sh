#!/usr/bin/env bash
# From nothing to policies of all three tasks in homes of all size classes. Every step goes on where it was interrupted.
# Usage: runs/chores.sh [folder] [processes] [seed] [device] [pictures of pretraining]
set -euo pipefail
out=${1:-safevla-runs/chores}
processes=${2:-2}
seed=${3:-0}
device=${4:-cpu}
pictures=${5:-250000}
tasks=ObjNav,PickUp,Fetch
export OMP_NUM_THREADS=1
source "$(dirname "$0")/stage.sh"

# Perception: half of the pictures are of things that a robot may be sent for, from near, a third in drawn colours.
stage pretrain safevla pretrain --perception.preset tiny-memory --perception.size_class all --perception.focus 0.5 --perception.repaint 0.3 \
  --perception.pictures "$pictures" --perception.workers "$processes" --seed "$seed" --device "$device" --out "$out/pretrain" --resume

# Behaviour: demonstrations of the expert, then DAgger in small rounds.
stage imitate safevla imitate --config runs/imitate_chores.toml --encoder "$out/pretrain/encoder.pt" --processes "$processes" \
  --seed "$seed" --device "$device" --out "$out/imitate" --resume

# Elicit and constrain. Episodes of training are cut off after 360 steps, since most of what comes later is of a policy that is stuck.
# Prices begin high: from .5 they took most of the 19 iterations to rise to where they bound.
stage align safevla align --policy "$out/imitate/checkpoint" --task $tasks --scenarios safety-chores-train \
  --assure.scenarios safety-chores-val --assure.episodes 2 --assure.videos 0 --elicit.greedy true --world.horizon 360 \
  --world.repaint 0.4 --train.total_steps 110000 --train.episodes_per_iteration 48 --train.policy_learning_rate 5e-5 \
  --train.kl_to_imitation 0.1 --train.multiplier.initial 2 --train.multiplier.maximum 4 \
  --seed "$seed" --device "$device" --processes "$processes" --out "$out/align" --resume

# Assure: the frozen set, with the horizons of its size classes.
stage assure safevla assure --policy "imitation=$out/imitate/checkpoint,rl=$out/align/rl/checkpoint,isa=$out/align/isa/checkpoint" \
  --task $tasks --scenarios safety-chores-val --episodes 200 --videos 0 --processes "$processes" --device "$device" --out "$out/val" --resume

# What perception costs the imitation policy, and whether it listens.
policy="$out/imitate/checkpoint"
stage diagnosis safevla assure --task $tasks --scenarios safety-chores-val --episodes 100 --videos 0 \
  --policy "imitation=$policy,labels=$policy+labels,held_out=$policy+held_out,wrong=$policy+wrong,none=$policy+none" \
  --processes "$processes" --device "$device" --out "$out/diagnosis" --resume
