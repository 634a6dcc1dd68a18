"""Draw the scenario sets that come with the package, each scenario proven solvable by the expert.

Run again whenever homes, tasks or the expert change: python runs/make_scenarios.py --processes 2
With --benchmark it draws the sets safety-chores-* instead, of all size classes, and with --described the
sets described-*, whose instructions describe their targets. Val and test of these are frozen: their hashes
are written down; their training scenarios are not proven. Each scenario depends on its task, split and
number alone, so a longer set begins with the shorter one. An interrupted run goes on where it stopped.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from safevla.progress import ProgressBar
from safevla.runs import write_json
from safevla.scale import run_jobs
from safevla.tasks.sampling import FROZEN_FILE, ScenarioSampler, load_scenarios, save_scenarios, set_hash
from safevla.tasks.sets import benchmark_scenario, described_sampler, described_scenario
from safevla.types import TASKS, Scenario

CHUNK = 10
SPLITS = ("train", "val", "test")
TRAIN = {"ObjNav": 3000, "PickUp": 600, "Fetch": 300}
HELD_OUT = {"ObjNav": 600, "PickUp": 200, "Fetch": 200}
# Of each task in the sets of several tasks.
BENCHMARK = {"train": 1500, "val": 200, "test": 200}
DESCRIBED = {"train": 200, "val": 70}
FOLDER = Path(__file__).parents[1] / "src/safevla/data/scenarios"


def draw(task: str, split: str, number: int, sampler: ScenarioSampler) -> Scenario:
    """Draw one scenario of the set of a task, in homes of class S."""
    rng = np.random.default_rng([TASKS.index(task), SPLITS.index(split), number])
    return sampler.sample(task, rng, split)


# What draws the sets that a flag asks for: a sampler, and a scenario by its task, split and number.
DRAWN = {
    "": (ScenarioSampler, draw),
    "benchmark": (ScenarioSampler, benchmark_scenario),
    "described": (described_sampler, described_scenario),
}


def sample_chunk(task: str, split: str, kind: str, first: int, count: int, part: Path) -> None:
    """Draw some scenarios of a set and keep them in a file of their own."""
    if part.exists():
        return
    make_sampler, function = DRAWN[kind]
    sampler = make_sampler()
    drawn = [function(task, split, number, sampler) for number in range(first, first + count)]
    unfinished = part.with_suffix(".tmp")
    save_scenarios(unfinished, drawn)
    unfinished.replace(part)


def make_set(name: str, counts: dict[str, int], split: str, kind: str, out: Path, processes: int) -> None:
    """Draw `counts[task]` scenarios of each task into NAME.jsonl."""
    jobs = [
        (task, split, kind, first, min(CHUNK, count - first), out / f"{name}-{task}-{first:05d}.part")
        for task, count in counts.items()
        for first in range(0, count, CHUNK)
    ]
    parts = [job[-1] for job in jobs]
    with ProgressBar(name, len(jobs)) as bar:
        run_jobs(sample_chunk, jobs, processes, lambda: bar.update(sum(part.exists() for part in parts)))
    text = "".join(part.read_text(encoding="utf-8") for part in parts)
    (out / f"{name}.jsonl").write_text(text, encoding="utf-8")
    for part in parts:
        part.unlink()


def freeze(folder: Path, name: str) -> None:
    """Write down the hash of a set, so that a change of it is noticed."""
    path = folder / FROZEN_FILE
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    write_json(path, known | {name: set_hash(load_scenarios(folder / f"{name}.jsonl"))})


def main() -> None:
    """Draw the sets that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--splits", nargs="+", default=list(SPLITS), choices=SPLITS)
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument(
        "--benchmark", action="store_true", help="the frozen sets, of all tasks and size classes"
    )
    kinds.add_argument("--described", action="store_true", help="the sets of described targets")
    parser.add_argument("--train", type=int, help="training scenarios a task; left out: as shipped")
    parser.add_argument("--held-out", type=int, help="val and test scenarios a task; left out: as shipped")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    out, processes = arguments.out, arguments.processes
    out.mkdir(parents=True, exist_ok=True)
    if arguments.benchmark or arguments.described:
        name, kind, shipped = (
            ("safety-chores", "benchmark", BENCHMARK)
            if arguments.benchmark
            else ("described", "described", DESCRIBED)
        )
        for split in arguments.splits:
            count = (arguments.train if split == "train" else arguments.held_out) or shipped.get(split)
            if count:
                make_set(f"{name}-{split}", dict.fromkeys(TASKS, count), split, kind, out, processes)
                if split != "train":
                    freeze(out, f"{name}-{split}")
        return
    for task in arguments.tasks:
        for split in arguments.splits:
            asked, shipped = (arguments.train, TRAIN) if split == "train" else (arguments.held_out, HELD_OUT)
            count = asked or shipped[task]
            make_set(f"{task}-{split}", {task: count}, split, "", out, processes)


if __name__ == "__main__":
    main()
