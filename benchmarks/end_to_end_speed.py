"""Samples per second of whole PPO iterations: homes, pictures, costs, policy, and learning from them.

Example: python benchmarks/end_to_end_speed.py --policy imitation --processes 2
The first iteration compiles and settles homes and is not counted. The last line is `samples_per_s X`.
"""

import argparse
import functools
import itertools
import tempfile
from pathlib import Path

import torch

from safevla.constrain.train import TrainConfig, train
from safevla.policy.checkpoint import load_policy
from safevla.policy.presets import PRESETS, make_policy
from safevla.runs import code_version, machine, write_json
from safevla.tasks.env import HomeVecEnv
from safevla.tasks.sampling import scenario_stream
from safevla.types import TASKS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", default="imitation", help="shipped name, checkpoint folder or preset")
    parser.add_argument("--task", default="ObjNav", choices=TASKS)
    parser.add_argument("--homes", type=int, default=16, help="of each process")
    parser.add_argument("--processes", type=int, default=2, help="that play; learning has as many threads")
    parser.add_argument("--resolution", type=int, default=112)
    parser.add_argument("--save", type=Path, help="also write the figures as JSON")
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--episodes", type=int, default=48, help="episodes an iteration")
    parser.add_argument("--scenarios", type=int, default=96, help="distinct scenarios to draw from")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    # Not proven: the expert's time is no part of what is measured.
    stream = scenario_stream(arguments.task, seed=0, prove=False)
    scenarios = list(itertools.islice(stream, arguments.scenarios))
    make_env = functools.partial(HomeVecEnv, arguments.task, arguments.homes, resolution=arguments.resolution)
    env = make_env()
    config = TrainConfig(
        iterations=arguments.iterations + 1, episodes_per_iteration=arguments.episodes, critic_warmup=0
    )
    print("iteration  steps/episode  samples/s  collect  update")
    rows: list[tuple[float, float]] = []
    table: list[dict[str, float]] = []

    def report(number: int, metrics: dict[str, float]) -> None:
        speed, length = metrics["perf/steps_per_s"], metrics["rollout/length"]
        shares = f"{metrics['perf/collect_share']:7.0%}  {metrics['perf/update_share']:6.0%}"
        note = "  (warm-up, not counted)" if number == 0 else ""
        print(f"{number:9d}  {length:13.1f}  {speed:9.1f}  {shares}{note}", flush=True)
        if number > 0:
            rows.append((length, length / speed))
            shares_of_time = {name: metrics[f"perf/{name}_share"] for name in ("collect", "update")}
            table.append({"iteration": number, "samples_per_s": speed} | shares_of_time)

    if arguments.policy in PRESETS:
        policy = make_policy(arguments.policy, env.constraints)
    else:
        policy = load_policy(arguments.policy)
    with tempfile.TemporaryDirectory() as folder:
        train(
            config, policy, env, scenarios, [], folder, report,
            make_env=make_env, processes=arguments.processes,
        )  # fmt: skip
    env.close()
    if arguments.save:
        head = {"command": "python benchmarks/end_to_end_speed.py", "code": code_version()}
        write_json(arguments.save, head | {"machine": machine(), "seeds": [0], "rows": table})
    print(f"samples_per_s {sum(steps for steps, _ in rows) / sum(seconds for _, seconds in rows):.1f}")


if __name__ == "__main__":
    main()
