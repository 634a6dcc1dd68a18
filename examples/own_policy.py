"""A policy of your own in 20 lines, judged like the shipped ones.

    safevla assure --policy own=examples/own_policy.py:Careful,random,inactive --episodes 20
    python examples/own_policy.py              # the same from Python

A policy is whatever has `constraints`, `reset(mask)` and `act(observation, uniforms)`; see
`safevla.policy.protocol`. This one learns nothing: it drives where the floor ahead is bright, else it turns.
"""

from __future__ import annotations

import numpy as np

from safevla.policy.protocol import Decision
from safevla.types import ACTION_ID, Observation

STEPS = 60  # then it believes that it is done


class Careful:
    """Drives ahead while the picture is bright in front of the wheels, and ends after a while."""

    constraints = None  # it expects nothing of any cost

    def reset(self, mask: np.ndarray) -> None:
        """Nothing is remembered."""

    def act(self, observation: Observation, uniforms: np.ndarray | None = None) -> Decision:
        """Decide for N homes."""
        count, height, width = observation.nav.shape[:3]
        ahead = observation.nav[:, height // 2 :, width // 3 : -width // 3]
        bright = ahead.reshape(count, -1).mean(axis=1) > 110
        action = np.where(bright, ACTION_ID["move_ahead"], ACTION_ID["turn_left_30"])
        action[observation.step >= STEPS] = ACTION_ID["end"]
        return Decision(action, np.zeros(count, np.float32), np.zeros((count, 1), np.float32))


def main() -> None:
    """Judge it beside the controls on a few scenarios."""
    import safevla
    from safevla.assure.evaluate import evaluate, summarise

    scenarios = safevla.load_scenarios("ObjNav-val")[:8]
    env = safevla.make_vec("ObjNav", num_envs=8, scenarios=scenarios)
    policies = {"own": Careful(), **{name: safevla.load_policy(name) for name in ("random", "inactive")}}
    for row in summarise(evaluate(policies, env, scenarios)):
        print(f"{row['policy']:<10} SR {row['success'][0]:.2f}  CC {row['cost'][0]:.2f}")


if __name__ == "__main__":
    main()
