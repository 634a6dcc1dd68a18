"""The golden episode: a fixed scenario and fixed actions, and what they have to lead to.

`python tests/golden/renew.py` plays tests/golden/episode.json again and stores the outcome. Do that only
after a change that is meant to alter physics, pictures or costs, and say so in the commit.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from safevla.tasks.env import HomeVecEnv
from safevla.types import Scenario

FILE = Path(__file__).with_name("episode.json")
PICTURE_STEP = 20  # pictures are taken after this many actions


def load():
    return json.loads(FILE.read_text())


def play(scenario, actions):
    """Return the outcome of the actions as plain data."""
    env = HomeVecEnv(scenario.task, 1, horizon=len(actions))
    env.reset(None, [scenario])
    poses, costs, events, pictures, success = [], [], [], {}, False
    for number, action in enumerate(actions, start=1):
        step = env.step(np.array([action]))
        poses.append([round(value, 6) for value in env.homes[0].pose])
        costs.append(step.costs[0].astype(int).tolist())
        events += [event.to_dict() | {"severity": round(event.severity, 6)} for event in step.events[0]]
        success = bool(step.success[0])
        if number == PICTURE_STEP:
            pictures = {name: _sha(getattr(step.observation, name)[0]) for name in ("nav", "manip")}
    env.close()
    return {
        "success": success,
        "constraints": list(env.constraints),
        "costs": costs,
        "events": events,
        "poses": poses,
        "pictures": pictures,
    }


def _sha(picture):
    return hashlib.sha256(np.ascontiguousarray(picture).tobytes()).hexdigest()


def save(scenario, actions):
    data = {"scenario": scenario.to_dict(), "actions": actions, "outcome": play(scenario, actions)}
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in data.items())
    FILE.write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    golden = load()
    save(Scenario.from_dict(golden["scenario"]), golden["actions"])
    print(f"renewed {FILE}")
