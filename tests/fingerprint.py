"""What has to be the same, byte for byte, on every run: `python tests/fingerprint.py THREADS FOLDER`."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import torch

from safevla.assure.evaluate import evaluate, save_table
from safevla.constrain.train import TrainConfig, train
from safevla.policy.checkpoint import load_policy
from safevla.policy.presets import make_policy
from safevla.tasks.env import HomeVecEnv
from safevla.tasks.sampling import load_scenarios
from safevla.types import ACTION_ID

HORIZON = 30


def fingerprint(threads, folder):
    """Return a hash of each thing that a run with this number of simulation threads leaves."""
    torch.set_num_threads(1)
    known = [scenario for scenario in load_scenarios("ObjNav-val") if max(scenario.knobs.as_tuple()) > 0.5]
    return _played(known[:3], threads) | {
        "episodes": _evaluated(known[:3], threads, Path(folder)),
        "weights": _trained(known[:3], threads, Path(folder)),
    }


def _played(scenarios, threads):
    env = HomeVecEnv("ObjNav", len(scenarios), threads, horizon=HORIZON)
    observation = env.reset(None, scenarios)
    pictures, costs = [observation.nav, observation.manip], []
    generator = np.random.default_rng(5)
    for _ in range(HORIZON):
        step = env.step(generator.integers(0, ACTION_ID["end"], len(scenarios)))
        pictures += [step.observation.nav, step.observation.manip]
        costs.append(step.costs)
    poses = np.array([home.pose for home in env.homes])
    env.close()
    return {"pictures": _sha(*pictures), "costs": _sha(*costs), "poses": _sha(poses)}


def _evaluated(scenarios, threads, folder):
    env = HomeVecEnv("ObjNav", 2, threads, horizon=HORIZON)
    table = evaluate({"imitation": load_policy("imitation")}, env, scenarios, seed=3)
    env.close()
    # The commit may change while the tests run.
    path = save_table(table.drop_columns(["code"]), folder / "episodes.parquet")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _trained(scenarios, threads, folder):
    config = TrainConfig(
        iterations=2, episodes_per_iteration=3, epochs=1, warmup_epochs=1, minibatch_sequences=2,
        critic_warmup=1, seed=4,
    )  # fmt: skip
    env = HomeVecEnv("ObjNav", 2, threads, resolution=64, horizon=20)
    policy = train(config, make_policy("tiny-64", seed=1), env, scenarios, [], folder / "isa")
    env.close()
    return _sha(*(parameter.detach().numpy() for parameter in policy.parameters()))


def _sha(*arrays):
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    print(json.dumps(fingerprint(int(sys.argv[1]), sys.argv[2])))
