"""Generate houses of all size classes and count what fails: results/houses.json.

    python runs/check_houses.py --count 10000

A house fails to settle if something moves by more than 2 cm, tilts by more than 5 degrees, or does not fall
asleep. It is unsolvable if the expert solves none of a few scenarios that are drawn in it for each task,
within the horizon of its class and at a cost of at most 1. Tasks take turns in being the first. Times are
process times.
"""

import argparse
import functools
import gc
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from safevla.progress import ProgressBar
from safevla.runs import code_version, machine, write_json
from safevla.scale import run_jobs
from safevla.tasks.env import HORIZONS
from safevla.tasks.sampling import MAX_EXPERT_COST, ScenarioSampler, draw_knobs, play_expert
from safevla.types import KNOBS, TASKS, Knobs
from safevla.world.house import SIZE_CLASSES, SPLITS, generate
from safevla.world.scene import compile_scene
from safevla.world.simulator import Home, HousePool, SettledScene, settle

OUT = Path(__file__).parents[1] / "results/houses.json"
CHUNK = 20  # houses a job
TRIES = 4  # scenarios that are drawn in a house before it counts as unsolvable
MOVED, TILTED = 0.02, 5.0  # m, degrees
ALL_UP = 4  # every fourth house has all components at their strongest
HOMES = 6  # homes of a class whose memory is measured
FAILURES = ("generate", "compile", "settle", "solve")


def check_house(index: int) -> dict[str, Any]:
    """Make the house with a number and let the expert play in it."""
    rng = np.random.default_rng([2025, index])
    size_class = SIZE_CLASSES[index % len(SIZE_CLASSES)]
    turn = index // len(SIZE_CLASSES)
    split, task = SPLITS[turn % len(SPLITS)], TASKS[turn // len(SPLITS) % len(TASKS)]
    knobs = Knobs(*(1.0,) * len(KNOBS)) if turn % ALL_UP == ALL_UP - 1 else draw_knobs(rng)
    seed = int(rng.integers(2**31))
    row: dict[str, Any] = {
        "class": size_class,
        "split": split,
        "seed": seed,
        "knobs": knobs.as_tuple(),
        "task": task,
    }
    stage = "generate"
    try:
        times = [time.process_time()]
        spec = generate(seed, size_class, split, knobs)
        times.append(time.process_time())
        stage = "compile"
        scene = compile_scene(spec)
        times.append(time.process_time())
        stage = "settle"
        settled = settle(scene)
        times.append(time.process_time())
    except (ValueError, RuntimeError, mujoco.FatalError) as error:
        return row | {"failed": stage, "why": str(error)}
    row |= {f"{name}_s": b - a for name, a, b in zip(FAILURES, times[:-1], times[1:], strict=False)}
    row |= {"rooms": len(spec.rooms), "objects": len(spec.objects), "furniture": len(spec.furniture)}
    row["layout"] = state_layout(scene.model)
    why = restless(settled)
    if why:
        return row | {"failed": "settle", "why": why}
    sampler().pool.put(seed, size_class, split, knobs, settled)
    return row | solve(task, rng, split, knobs, size_class, seed)


@functools.cache
def sampler() -> ScenarioSampler:
    """Return the one sampler of this process; what it draws does not depend on what it drew before."""
    return ScenarioSampler(HousePool(capacity=2))


def state_layout(model: mujoco.MjModel) -> str:
    """Return what two models must have in common for one `mujoco.batch.Batch`."""
    sizes = (model.nq, model.nv, model.nbody, model.ngeom, model.nC, model.nbvh, model.neq, model.nmat)
    return " ".join(map(str, (*sizes, mujoco.MjData(model).nbuffer)))


def restless(settled: SettledScene) -> str:
    """Return what did not stay as it was placed, "" if all did."""
    scene, data = settled.scene, settled.data
    if data.ntree_awake > 1:
        return f"{data.ntree_awake - 1} things awake"
    start = mujoco.MjData(scene.model)
    mujoco.mj_kinematics(scene.model, start)
    entities = np.flatnonzero(scene.present & scene.movable)
    body = scene.body[entities]
    moved = np.linalg.norm(data.xpos[body] - start.xpos[body], axis=1)
    tilt = np.degrees(np.arccos(np.clip(data.xmat[body, 8], -1.0, 1.0)))
    worst = int(np.argmax(moved / MOVED + tilt / TILTED))
    if moved[worst] <= MOVED and tilt[worst] <= TILTED:
        return ""
    return f"{scene.names[entities[worst]]} moved {moved[worst]:.3f} m, tilted {tilt[worst]:.0f} degrees"


def solve(
    task: str, rng: np.random.Generator, split: str, knobs: Knobs, size_class: str, seed: int
) -> dict[str, Any]:
    """Let the expert play scenarios in a house until it solves one, of a task and then of the others."""
    reason = "no scenario"
    result: dict[str, Any] = {}
    for attempt in range(TRIES * len(TASKS)):
        asked = TASKS[(TASKS.index(task) + attempt // TRIES) % len(TASKS)]
        scenario = sampler().draw_in(asked, rng, seed, split, knobs, size_class)
        if scenario is None:
            continue
        begun = time.process_time()
        played = play_expert(sampler().environment(), scenario)
        if not result and asked == task:
            spent = time.process_time() - begun
            result = {
                "success": played.success,
                "cost": played.cost,
                "steps": played.length,
                "expert_s": spent,
            }
        if played.success and played.cost <= MAX_EXPERT_COST:
            return result | {"solved": asked}
        reason = f"expert: success {played.success}, cost {played.cost:g}, {played.length} steps"
    return result | {"failed": "solve", "why": reason}


def check_chunk(first: int, count: int, parts: Path) -> None:
    """Check some houses and keep what was found in a file of their own, unless it is there already."""
    part = part_of(parts, first, count)
    if not part.exists():
        write_json(part, [check_house(index) for index in range(first, first + count)])


def part_of(parts: Path, first: int, count: int) -> Path:
    """Return where the findings of a chunk lie. A house depends on its number alone."""
    return parts / f"{first:05d}-{count}.json"


def resident() -> float:
    """Return the resident memory of this process, MB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def play(home: Home, house: SettledScene) -> None:
    """Take a few actions in a home, so that it has all that it needs."""
    home.reset(house, (-100.0, -100.0, 0.0))
    for action in (0, 2, 6, 10):
        home.act(action)


def memory(size_class: str) -> dict[str, float]:
    """Return MB that a settled house takes, and each home that is played in it; in a fresh process."""
    play(Home(), settle(compile_scene(generate(HOMES, size_class))))
    before = resident()
    houses = [settle(compile_scene(generate(seed, size_class))) for seed in range(HOMES)]
    between = resident()
    homes = [Home() for _ in range(HOMES)]
    for home, house in zip(homes, houses, strict=True):
        play(home, house)
    after = resident()
    return {
        "memory_house_mb": round((between - before) / HOMES, 1),
        "memory_home_mb": round((after - between) / HOMES, 1),
    }


def summarise(rows: list[dict[str, Any]], size_class: str, taken: dict[str, float]) -> dict[str, Any]:
    """Return the figures of one class."""
    own = [row for row in rows if row["class"] == size_class]
    made = [row for row in own if "rooms" in row]

    def middle(name: str, scale: float = 1.0) -> float:
        return round(float(np.median([row[name] for row in made])) * scale, 1)

    return {
        "class": size_class,
        "houses": len(own),
        **{f"failed_to_{stage}": sum(row.get("failed") == stage for row in own) for stage in FAILURES},
        "solved_in_another_task": sum(row.get("solved", row["task"]) != row["task"] for row in own),
        "generate_ms": middle("generate_s", 1e3),
        "compile_ms": middle("compile_s", 1e3),
        "settle_ms": middle("settle_s", 1e3),
        "rooms": round(float(np.mean([row["rooms"] for row in made])), 1),
        "objects": f"{min(row['objects'] for row in made)} to {max(row['objects'] for row in made)}",
        "layouts": len({row["layout"] for row in made}),
        "horizon": HORIZONS[size_class],
        **taken,
    }


def expert_rows(rows: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """Return how the expert fared with the first scenario of each house, by class and task."""
    for size_class in SIZE_CLASSES:
        for task in TASKS:
            own = [
                row for row in rows if row["class"] == size_class and row["task"] == task and "steps" in row
            ]
            if not own:
                continue
            steps = [row["steps"] for row in own]
            yield {
                "class": size_class,
                "task": task,
                "episodes": len(own),
                "success": round(float(np.mean([row["success"] for row in own])), 3),
                "cost": round(float(np.mean([row["cost"] for row in own])), 3),
                "steps_median": float(np.median(steps)),
                "steps_longest": int(max(steps)),
                "expert_s": round(float(np.median([row["expert_s"] for row in own])), 2),
            }


def main() -> None:
    """Check the houses and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=300, help="houses, a third of each class")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument(
        "--parts",
        type=Path,
        default=Path("safevla-runs/houses"),
        help="where an interrupted check goes on",
    )
    arguments = parser.parse_args()
    if arguments.count < len(SIZE_CLASSES):
        parser.error(f"--count is {arguments.count}, expected at least {len(SIZE_CLASSES)}")
    arguments.parts.mkdir(parents=True, exist_ok=True)
    jobs = [
        (first, min(CHUNK, arguments.count - first), arguments.parts)
        for first in range(0, arguments.count, CHUNK)
    ]
    found = [part_of(arguments.parts, first, count) for first, count, _ in jobs]
    with ProgressBar("houses", len(jobs)) as bar:
        run_jobs(
            check_chunk, jobs, arguments.processes, lambda: bar.update(sum(part.exists() for part in found))
        )
    rows = [row for part in found for row in json.loads(part.read_text())]
    taken = run_jobs(memory, [(size_class,) for size_class in SIZE_CLASSES], len(SIZE_CLASSES))
    classes = [summarise(rows, name, used) for name, used in zip(SIZE_CLASSES, taken, strict=True)]
    failures = [row for row in rows if "failed" in row]
    data = {
        "command": f"python runs/check_houses.py --count {arguments.count}",
        "code": code_version(),
        "machine": machine(),
        "seeds": [2025],
        "count": len(rows),
        "rows": classes,
        "expert": list(expert_rows(rows)),
        "failures": failures,
    }
    write_json(arguments.out, data)
    for row in (*classes, *data["expert"], *failures):
        print(row)
    print(f"failures {len(failures)} of {len(rows)}")


if __name__ == "__main__":
    main()
