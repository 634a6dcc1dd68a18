"""How far a policy looks back and counts: the same weights with several spans, on the same scenarios.

    python benchmarks/span.py chores+labels --spans 0 40 80 160 --episodes 100 --save results/span.json

A span of 0 is none: the policy looks back over the whole episode and is told the number of every step. With
`+labels` it sees perfectly, so what it fails at is behaviour. Scenarios are the first of each task of
safety-chores-train, played greedily. `turning` is the share of turns among the steps of the episodes in which
time was up.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from safevla.assure.statistics import clustered_share, paired_difference
from safevla.policy.checkpoint import load_policy
from safevla.policy.protocol import wants_labels
from safevla.policy.vla import VisionLanguageActionPolicy
from safevla.rollout import play
from safevla.runs import code_version, command, machine, write_json
from safevla.tasks.env import HomeVecEnv
from safevla.tasks.sampling import load_scenarios
from safevla.types import ACTIONS, TASKS, Episode

_TURNS = [index for index, name in enumerate(ACTIONS) if name.startswith("turn_")]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("policy", help="shipped name or checkpoint folder, '+labels' behind it or not")
    parser.add_argument("--spans", type=int, nargs="+", default=[0, 80], help="the first is compared with")
    parser.add_argument("--task", nargs="+", default=["ObjNav", "Fetch"], choices=TASKS)
    parser.add_argument("--episodes", type=int, default=100, help="of each task")
    parser.add_argument("--save", type=Path, help="also write the table as JSON")
    return parser.parse_args()


def with_span(policy: VisionLanguageActionPolicy, span: int | None) -> VisionLanguageActionPolicy:
    """Set how far a policy looks back and counts; the same object is returned."""
    for trunk in (policy.actor, policy.critic):
        trunk.decoder.span = span
    return policy


def row_of(task: str, span: int, episodes: list[Episode], first: list[Episode]) -> dict[str, Any]:
    """Return a row of the table; `first` are the episodes of the first span."""
    houses = [episode.scenario.house_seed for episode in episodes]
    success, before = ([float(episode.success) for episode in played] for played in (episodes, first))
    late = [episode for episode in episodes if episode.truncated]
    actions = np.concatenate([episode.actions for episode in late]) if late else np.zeros(0, np.int64)
    return {
        "task": task,
        "span": span or None,
        "episodes": len(episodes),
        "success": clustered_share(success, houses),
        "difference": paired_difference(success, before, houses, seed=0),
        "time was up": len(late) / len(episodes),
        "turning": float(np.isin(actions, _TURNS).mean()) if late else None,
        "cost": float(np.mean([episode.cost for episode in episodes])),
    }


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for task in arguments.task:
        scenarios = load_scenarios("safety-chores-train", task)[: arguments.episodes]
        first: list[Episode] = []
        for span in arguments.spans:
            policy = load_policy(arguments.policy)
            env = HomeVecEnv(task, 16, resolution=policy.resolution, labels=wants_labels(policy))
            episodes = play(env, with_span(policy, span or None), scenarios, greedy=True)
            env.close()
            first = first or episodes
            rows.append(row_of(task, span, episodes, first))
            print(*(f"{name} {value}" for name, value in rows[-1].items()), sep=", ", flush=True)
    if arguments.save:
        head = {"command": command(), "code": code_version(), "machine": machine(), "seeds": [0]}
        write_json(arguments.save, head | {"policy": arguments.policy, "rows": rows})


if __name__ == "__main__":
    main()
