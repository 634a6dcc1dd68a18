"""Samples per second of learning: whole PPO iterations, and rounds of imitation, with their shares.

    python benchmarks/end_to_end_speed.py --policy imitation --processes 2
    python benchmarks/end_to_end_speed.py --policy imitation,chores --against 7189a34 --repeats 3

A sample is a step of a home with its pictures, costs and the policy's answer, and what is learned from it.
The first iteration and round compile and settle homes and are not counted. `--against` also runs this
benchmark as another commit has it, with its own defaults (the policy `imitation` of then), in turn with ours,
and compares the medians of the last line, `samples_per_s X`, which is that of PPO.
"""

import argparse
import functools
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from safevla.constrain.train import TrainConfig, train
from safevla.policy.checkpoint import load_policy
from safevla.policy.device import place
from safevla.policy.presets import PRESETS, make_policy
from safevla.pretrain.imitation import ImitationConfig, imitate
from safevla.runs import code_version, machine, write_json
from safevla.tasks.env import HomeVecEnv
from safevla.tasks.sampling import scenario_stream
from safevla.types import TASKS, Scenario

ROOT = Path(__file__).parents[1]
Row = dict[str, Any]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--policy", default="imitation", help="name, folder or preset; with --against several"
    )
    parser.add_argument("--only", choices=("imitation", "ppo"), help="measure one kind of learning alone")
    parser.add_argument("--task", default="ObjNav", choices=TASKS)
    parser.add_argument("--homes", type=int, default=16, help="of each process")
    parser.add_argument(
        "--processes",
        type=int,
        nargs="+",
        default=[2],
        help="that play; learning has as many threads; several in turn",
    )
    parser.add_argument("--device", default="cpu", help="where networks compute: cpu, cuda or auto")
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--episodes", type=int, default=48, help="episodes an iteration")
    parser.add_argument("--scenarios", type=int, default=96, help="distinct scenarios to draw from")
    parser.add_argument("--against", metavar="COMMIT", help="also run the benchmark of another commit")
    parser.add_argument("--repeats", type=int, default=3, help="with --against: runs of each")
    parser.add_argument("--save", type=Path, help="also write the figures as JSON")
    return parser.parse_args()


def load(arguments: argparse.Namespace, constraints: tuple[str, ...]) -> Any:
    """Return the policy that was asked for."""
    named = arguments.policy
    policy = make_policy(named, constraints) if named in PRESETS else load_policy(named)
    return place(policy, arguments.device)


def measure_ppo(
    arguments: argparse.Namespace, env: HomeVecEnv, scenarios: list[Scenario], make: Any, processes: int
) -> list[Row]:
    """Return a row for each counted iteration of constrained PPO."""
    rows: list[Row] = []
    config = TrainConfig(
        iterations=arguments.iterations + 1, episodes_per_iteration=arguments.episodes, critic_warmup=0
    )

    def report(number: int, metrics: dict[str, float]) -> None:
        if number > 0:
            steps = metrics["rollout/length"] * arguments.episodes
            shares = {name: metrics[f"perf/{name}_share"] for name in ("collect", "update")}
            rows.append(row_of("ppo", number, steps, steps / metrics["perf/steps_per_s"], shares))

    with tempfile.TemporaryDirectory() as folder:
        train(
            config, load(arguments, env.constraints), env, scenarios, [], folder, report,
            make_env=make, processes=processes,
        )  # fmt: skip
    return rows


def measure_imitation(
    arguments: argparse.Namespace, env: HomeVecEnv, scenarios: list[Scenario], make: Any, processes: int
) -> list[Row]:
    """Return a row for each counted round of imitation: new samples by the time to play and to learn."""
    rows: list[Row] = []
    known = [0.0]
    config = ImitationConfig(
        rounds=arguments.iterations + 1, demonstrations=arguments.episodes, corrections=arguments.episodes,
        validation_episodes=0,
    )  # fmt: skip

    def report(number: int, metrics: dict[str, float]) -> None:
        steps, known[0] = metrics["data/steps"] - known[0], metrics["data/steps"]
        seconds = {name: metrics[f"perf/{name}_s"] for name in ("collect", "fit")}
        total = sum(seconds.values())
        if number > 0:
            shares = {"collect": seconds["collect"] / total, "update": seconds["fit"] / total}
            rows.append(row_of("imitation", number, steps, total, shares))

    with tempfile.TemporaryDirectory() as folder:
        imitate(
            config, load(arguments, env.constraints), env, scenarios, folder, on_round=report,
            make_env=make, processes=processes,
        )  # fmt: skip
    return rows


def row_of(kind: str, number: int, steps: float, seconds: float, shares: dict[str, float]) -> Row:
    """Print a row of the table and return it."""
    speed = steps / seconds
    print(f"{kind:<10}{number:>9}{speed:>11.1f}{shares['collect']:>9.0%}{shares['update']:>8.0%}", flush=True)
    return {"learning": kind, "number": number, "steps": steps, "samples_per_s": speed} | shares


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Run both kinds of learning here, with each number of processes."""
    torch.set_num_threads(1)
    # Not proven: the expert's time is no part of what is measured.
    stream = scenario_stream(arguments.task, seed=0, prove=False)
    scenarios = list(itertools.islice(stream, arguments.scenarios))
    resolution = load(arguments, ()).resolution
    make = functools.partial(HomeVecEnv, arguments.task, arguments.homes, resolution=resolution)
    env = make()
    print(f"{'learning':<10}{'iteration':>9}{'samples/s':>11}{'collect':>9}{'update':>8}")
    rows: list[Row] = []
    kinds = {"imitation": measure_imitation, "ppo": measure_ppo}
    for processes in arguments.processes:
        for kind, learn in kinds.items():
            if arguments.only in (None, kind):
                found = learn(arguments, env, scenarios, make, processes)
                rows += [row | {"processes": processes} for row in found]
    env.close()
    return rows


def compare(arguments: argparse.Namespace) -> list[Row]:
    """Run the benchmark as another commit has it and as it is here, in turn."""
    rows: list[Row] = []
    turns = [(policy, "here", ROOT) for policy in arguments.policy.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", str(there), arguments.against], check=True)
        try:
            for repeat in range(arguments.repeats):
                for policy, commit, root in [("imitation", arguments.against, there), *turns]:
                    flags = ["--policy", policy, "--only", "ppo"] if root == ROOT else []
                    speed = run_in(root, flags)
                    print(f"{commit:<10}{policy:<12} run {repeat}: {speed:.1f} samples/s", flush=True)
                    row = {"learning": "ppo", "commit": commit, "policy": policy, "number": repeat}
                    rows.append(row | {"samples_per_s": speed})
        finally:
            subprocess.run([*git, "remove", "--force", str(there)], check=True)
    return rows


def run_in(root: Path, flags: list[str]) -> float:
    """Return the last figure that the benchmark of a working tree prints."""
    environment = os.environ | {"PYTHONPATH": str(root / "src")}
    command = [sys.executable, str(root / "benchmarks/end_to_end_speed.py"), *flags]
    done = subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    arguments = parse_arguments()
    rows = compare(arguments) if arguments.against else measure(arguments)
    if arguments.save:
        command = " ".join(["python", "benchmarks/end_to_end_speed.py", *sys.argv[1:]])
        head = {"command": command, "code": code_version(), "machine": machine(), "seeds": [0]}
        write_json(arguments.save, head | {"rows": rows})
    if arguments.against:
        speeds: dict[tuple[str, str], list[float]] = {}
        for row in rows:
            speeds.setdefault((row["commit"], row["policy"]), []).append(row["samples_per_s"])
        there, *ours = map(statistics.median, speeds.values())
        for policy, speed in zip(arguments.policy.split(","), ours, strict=True):
            print(f"{policy}: ratio {speed / there:.2f}")
    elif arguments.only != "imitation":
        last = arguments.processes[-1]
        ppo = [row for row in rows if (row["learning"], row["processes"]) == ("ppo", last)]
        seconds = sum(row["steps"] / row["samples_per_s"] for row in ppo)
        print(f"samples_per_s {sum(row['steps'] for row in ppo) / seconds:.1f}")


if __name__ == "__main__":
    main()
