"""Train a policy by imitation: proven scenarios, demonstrations of the expert, DAgger rounds.

Example (two cores):
    python runs/imitate.py --encoder out/perception/encoder.pt --tasks ObjNav PickUp Fetch --out out/imitation
The same command goes on after an interruption: the scenarios and the finished rounds are kept in the folder.
"""

import argparse
import dataclasses
from pathlib import Path

import torch

from safevla.policy.checkpoint import load_policy, save_policy
from safevla.policy.presets import make_policy
from safevla.policy.protocol import check_compatible
from safevla.pretrain.imitation import imitate
from safevla.pretrain.perception import load_encoder
from safevla.pretrain.settings import ImitationConfig
from safevla.progress import ProgressBar
from safevla.scale import run_jobs
from safevla.tasks.env import HomeVecEnv
from safevla.tasks.sampling import ScenarioSampler, load_scenarios, save_scenarios
from safevla.types import TASKS, Scenario
from safevla.world.simulator import HousePool

CHUNK = 10  # scenarios sampled by one job


def sample_chunk(task: str, split: str, seed: int, first: int, count: int) -> list[Scenario]:
    """Draw scenarios first..first + count - 1 of an endless, reproducible list."""
    import numpy as np

    sampler = ScenarioSampler()
    place = (TASKS.index(task), ("train", "val", "test").index(split))
    return [
        sampler.sample(task, np.random.default_rng([seed, *place, index]), split)
        for index in range(first, first + count)
    ]


def scenarios_of(task: str, split: str, count: int, seed: int, processes: int, out: Path) -> list[Scenario]:
    """Return proven scenarios, from the folder where they are there already."""
    path = out / f"{task}-{split}-{count}.jsonl"
    if not path.exists():
        jobs = [(task, split, seed, first, min(CHUNK, count - first)) for first in range(0, count, CHUNK)]
        chunks = run_jobs(sample_chunk, jobs, processes)
        save_scenarios(path, [scenario for chunk in chunks for scenario in chunk])
    return load_scenarios(path)


def print_round(number: int, metrics: dict[str, float]) -> None:
    """Print one line per round."""
    print(
        f"round {number}  " + "  ".join(f"{name} {value:.4g}" for name, value in metrics.items()), flush=True
    )


def main() -> None:
    """Read the arguments and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    start = parser.add_mutually_exclusive_group(required=True)
    start.add_argument("--encoder", help="what runs/pretrain_perception.py made; the rest starts anew")
    start.add_argument("--policy", help="policy to go on from: a shipped name or a checkpoint folder")
    parser.add_argument("--tasks", nargs="+", default=["ObjNav"], choices=TASKS)
    parser.add_argument("--scenarios", type=int, default=400, help="training scenarios a task")
    parser.add_argument("--validation", type=int, default=48, help="validation scenarios a task")
    parser.add_argument("--homes", type=int, default=16, help="homes played side by side")
    parser.add_argument("--threads", type=int, default=2, help="threads of simulation and of learning")
    parser.add_argument("--resolution", type=int, default=112)
    parser.add_argument("--horizon", type=int, default=200)
    parser.add_argument("--out", type=Path, required=True)
    for item in dataclasses.fields(ImitationConfig):
        if isinstance(item.default, int | float) and item.name != "validation_episodes":
            flag = "--" + item.name.replace("_", "-")
            parser.add_argument(flag, type=type(item.default), default=item.default)
    parser.add_argument(
        "--time-budget", type=float, default=None, help="seconds; no further round after that"
    )
    arguments = parser.parse_args()
    names = {item.name for item in dataclasses.fields(ImitationConfig)} & set(vars(arguments))
    settings = {name: getattr(arguments, name) for name in names}
    try:
        config = ImitationConfig(**settings, validation_episodes=arguments.validation * len(arguments.tasks))
        run(arguments, config)
    except ValueError as error:
        parser.exit(1, f"{error}\n")


def run(arguments: argparse.Namespace, config: ImitationConfig) -> None:
    """Sample scenarios, imitate, save the checkpoint."""
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    counts = {"train": arguments.scenarios, "val": arguments.validation}
    train, validation = (
        [
            scenario
            for task in arguments.tasks
            for scenario in scenarios_of(task, split, count, config.seed, arguments.threads, arguments.out)
        ]
        for split, count in counts.items()
    )
    print(f"{len(train)} training and {len(validation)} validation scenarios", flush=True)
    env = HomeVecEnv(
        tuple(arguments.tasks),
        arguments.homes,
        arguments.threads,
        arguments.resolution,
        horizon=arguments.horizon,
        pool=HousePool(capacity=2 * arguments.homes),
    )
    if arguments.policy:
        policy = load_policy(arguments.policy)
    else:
        policy = make_policy("tiny", env.constraints, config.seed)
        policy.set_encoder(load_encoder(arguments.encoder))
    check_compatible(policy, env)
    with ProgressBar("imitate", config.demonstrations) as bar:
        imitate(
            config,
            policy,
            env,
            train,
            arguments.out,
            validation_scenarios=validation,
            on_round=print_round,
            progress=lambda done, total: bar.update(done, f"of {total} episodes of this round"),
        )
    env.close()
    save_policy(policy, arguments.out / "checkpoint", {"method": "imitation", "seed": config.seed})
    print(arguments.out / "checkpoint")


if __name__ == "__main__":
    main()
