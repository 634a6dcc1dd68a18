"""Draw the scenario sets that come with the package, each scenario proven solvable by the expert.

Run again whenever homes, tasks or the expert change: python runs/make_scenarios.py --processes 2
Each scenario depends on its task, split and number alone, so a longer set begins with the shorter one.
"""

import argparse
from pathlib import Path

import numpy as np

from safevla.progress import ProgressBar
from safevla.scale import run_jobs
from safevla.tasks.sampling import ScenarioSampler, save_scenarios
from safevla.types import TASKS, Scenario

CHUNK = 10
SPLITS = ("train", "val", "test")
TRAIN = {"ObjNav": 3000, "PickUp": 600, "Fetch": 300}
FOLDER = Path(__file__).parents[1] / "src/safevla/data/scenarios"


def sample_chunk(task: str, split: str, first: int, count: int, out: Path) -> None:
    """Draw some scenarios of a set and keep them in a file of their own."""
    part = out / f"{task}-{split}-{first:05d}.part"
    if part.exists():
        return
    sampler = ScenarioSampler()
    place = (TASKS.index(task), SPLITS.index(split))
    drawn: list[Scenario] = [
        sampler.sample(task, np.random.default_rng([*place, index]), split)
        for index in range(first, first + count)
    ]
    save_scenarios(part, drawn)


def main() -> None:
    """Draw the sets that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--splits", nargs="+", default=list(SPLITS), choices=SPLITS)
    parser.add_argument("--train", type=int, help="training scenarios a task; left out: as shipped")
    parser.add_argument("--held-out", type=int, default=200, help="val and test scenarios a task")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for task in arguments.tasks:
        for split in arguments.splits:
            count = (arguments.train or TRAIN[task]) if split == "train" else arguments.held_out
            jobs = [
                (task, split, first, min(CHUNK, count - first), arguments.out)
                for first in range(0, count, CHUNK)
            ]
            parts = [arguments.out / f"{task}-{split}-{first:05d}.part" for _, _, first, _, _ in jobs]
            with ProgressBar(f"{task}-{split}", len(jobs)) as bar:
                run_jobs(
                    sample_chunk,
                    jobs,
                    arguments.processes,
                    lambda parts=parts, bar=bar: bar.update(sum(part.exists() for part in parts)),
                )
            text = "".join(part.read_text(encoding="utf-8") for part in parts)
            (arguments.out / f"{task}-{split}.jsonl").write_text(text, encoding="utf-8")
            for part in parts:
                part.unlink()


if __name__ == "__main__":
    main()
