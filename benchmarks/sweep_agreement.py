"""Whether motions that are swept without dynamics give the events that full dynamics gives.

    python benchmarks/sweep_agreement.py --actions 2000

Every action is taken twice from the same state: as homes do it, swept first and simulated only when the sweep
touches something, and simulated throughout. Half of the homes are played by the expert, half get random
actions. Actions that the first home simulates too are the same by construction; what is compared are the
swept ones: costs and events of the step, contacts above 1 N, chains of contacts, what broke, what was
blocked, and where the robot ends.

One difference is expected. A sweep tests the places along the way, not the one where it begins: when the
robot drives off from something that it was pressed against, dynamics reads the last of that contact in one
more step. The contact itself was simulated, and charged, in the step before.

The last line is `different_steps X`: swept actions with other costs or events.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from safevla.types import ACTION_ID, Scenario

CONTACT = 1.0  # N: the smallest force that any constraint asks for


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--actions", type=int, default=2000)
    parser.add_argument("--homes", type=int, default=10)
    parser.add_argument("--size-class", default="S", metavar="CLASS")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", metavar="FILE", help="also write the figures as JSON")
    return parser.parse_args()


class Pair:
    """Two environments that play the same scenarios, one of them with full dynamics only."""

    def __init__(self, scenarios: list[Scenario], pool: Any) -> None:
        from safevla.tasks.env import HomeVecEnv

        tasks = sorted({scenario.task for scenario in scenarios})
        self.swept, self.dynamic = (
            HomeVecEnv(tasks, len(scenarios), horizon=10**6, pool=pool) for _ in range(2)
        )
        self.scenarios = scenarios
        self.pressed: list[set[int]] = [set() for _ in scenarios]  # by the robot, before the latest step
        for home in self.dynamic.homes:
            home.kinematic = False
        for env in (self.swept, self.dynamic):
            env.reset(None, scenarios)

    def step(self, actions: np.ndarray) -> tuple[Any, Any]:
        """Take the actions in both, from the states of the first."""
        for number, (first, second) in enumerate(zip(self.swept.homes, self.dynamic.homes, strict=True)):
            second.set_state(first.state())
            self.pressed[number] = pressed(first)
        return self.swept.step(actions), self.dynamic.step(actions)

    def restart(self, mask: np.ndarray) -> None:
        """Begin the episodes of some homes again."""
        chosen = [scenario for scenario, again in zip(self.scenarios, mask, strict=True) if again]
        for env in (self.swept, self.dynamic):
            env.reset(mask, chosen)


def pressed(home: Any) -> set[int]:
    """Return the entities that the robot, or what it holds, overlaps where it is."""
    import mujoco

    from safevla.world.contacts import ROBOT

    probe = home.state().data
    mujoco.mj_kinematics(home.model, probe)
    mujoco.mj_collision(home.model, probe)
    owners = home.scene.geom_entity[probe.contact.geom[probe.contact.dist < 0.0]]
    ours = (owners == ROBOT) | ((owners == home.held) & (home.held >= 0))
    return set(owners[ours.any(axis=1)].ravel().tolist()) - {ROBOT}


def compare(pair: Pair, number: int, steps: tuple[Any, Any]) -> dict[str, Any]:
    """Return how the step of one home differs; empty lists and zeros where it does not."""
    a, b = pair.swept.state, pair.dynamic.state
    first, second = steps
    homes = (pair.swept.homes[number], pair.dynamic.homes[number])
    names = homes[0].scene.names
    events = [sorted((event.predicate, event.bodies) for event in step.events[number]) for step in steps]
    touched = np.flatnonzero(b.contact_force[number] > CONTACT)
    return {
        "costs differ": bool((first.costs[number] != second.costs[number]).any()),
        "events": events if events[0] != events[1] else [],
        "touched": [(names[k], round(float(b.contact_force[number, k]), 2)) for k in touched],
        "pressed before": all(int(k) in pair.pressed[number] for k in touched),
        "just grasped": bool(steps[0].observation.last_action[number] == ACTION_ID["pick_up"])
        and homes[0].held >= 0,
        "chain": bool((a.chain[number] != b.chain[number]).any()),
        "broken": bool((a.broken[number] != b.broken[number]).any()),
        "blocked": bool(a.blocked[number] != b.blocked[number]),
        "metres apart": float(np.linalg.norm(np.subtract(homes[0].pose[:2], homes[1].pose[:2]))),
        "moved otherwise": float(np.abs(a.displacement[number] - b.displacement[number]).max()),
    }


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the figures, and the steps that differ."""
    from safevla.tasks.expert import Expert
    from safevla.tasks.sampling import sample_scenario
    from safevla.world.simulator import HousePool

    pool, homes = HousePool(arguments.homes), arguments.homes
    tasks = ("ObjNav", "PickUp", "Fetch")
    scenarios = [
        sample_scenario(tasks[k % 3], arguments.seed + k, pool=pool, size_class=arguments.size_class)
        for k in range(homes)
    ]
    pair, generator = Pair(scenarios, pool), np.random.default_rng(arguments.seed)
    experts = {k: Expert(pair.swept.homes[k], scenarios[k]) for k in range(0, homes, 2)}
    ahead = ACTION_ID["move_ahead"]
    compared, simulated, different = [], 0, []
    while simulated + len(compared) < arguments.actions:
        actions = generator.integers(0, ACTION_ID["end"], homes)
        actions[generator.random(homes) < 0.4] = ahead
        for k, expert in experts.items():
            actions[k] = expert.act(pair.swept.visible_pixels[k])
        steps = pair.step(actions)
        for k in range(homes):
            if pair.swept.simulated[k]:
                simulated += 1
                continue
            found = compare(pair, k, steps)
            compared.append(found)
            if found["costs differ"] or found["events"] or found["chain"] or found["broken"]:
                different.append({"action": int(actions[k])} | found)
        over = steps[0].terminated
        if over.any():
            pair.restart(over)
            for k in np.flatnonzero(over):
                if k in experts:
                    experts[k] = Expert(pair.swept.homes[k], scenarios[k])
    return figures(compared, simulated) | {"different": different[:20]}


def figures(compared: list[dict[str, Any]], simulated: int) -> dict[str, Any]:
    apart = np.array([found["metres apart"] for found in compared])
    moved = np.array([found["moved otherwise"] for found in compared])
    touched = [force for found in compared for _, force in found["touched"]]
    return {
        "actions": len(compared) + simulated,
        "swept": len(compared),
        "steps with other costs": sum(found["costs differ"] for found in compared),
        "steps with other events": sum(bool(found["events"]) for found in compared),
        "steps in which only dynamics touched something with more than 1 N": sum(
            bool(found["touched"]) for found in compared
        ),
        "of these, steps that began with the robot pressed against it": sum(
            bool(found["touched"]) and found["pressed before"] for found in compared
        ),
        "of these, steps that only grasped what stands on it": sum(
            bool(found["touched"]) and found["just grasped"] for found in compared
        ),
        "the hardest of these, N": max(touched, default=0.0),
        "steps with another chain of contacts": sum(found["chain"] for found in compared),
        "steps in which something else broke": sum(found["broken"] for found in compared),
        "steps blocked in one only": sum(found["blocked"] for found in compared),
        "robot apart, median mm": round(1e3 * float(np.median(apart)), 2),
        "robot apart, largest mm": round(1e3 * float(apart.max()), 2),
        "things apart, largest mm": round(1e3 * float(moved.max()), 2),
    }


def main() -> None:
    arguments = parse_arguments()
    result = run(arguments)
    for name, value in result.items():
        print(f"{name}: {value}")
    if arguments.save:
        from safevla.runs import code_version, machine, write_json

        command = f"python benchmarks/sweep_agreement.py --actions {arguments.actions}"
        rows = [{"figure": name, "value": value} for name, value in result.items() if name != "different"]
        head = {"command": command, "code": code_version(), "machine": machine()}
        data = head | {"seeds": [arguments.seed], "rows": rows, "different": result["different"]}
        write_json(Path(arguments.save), data)
    print(f"different_steps {max(result['steps with other costs'], result['steps with other events'])}")


if __name__ == "__main__":
    main()
