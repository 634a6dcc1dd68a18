"""A home of your own: an MJCF scene and its sidecar, tasks in it, and policies judged by the same predicates.

    python examples/foreign_home.py [SCENE]

Without a scene of yours it writes a small one into a folder of its own. See docs/guides/foreign_homes.md.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import safevla
from safevla.policy.baselines import RandomPolicy
from safevla.rollout import play
from safevla.tasks.env import HomeVecEnv
from safevla.world.foreign import describe, load_home

SCENE = """
<mujoco model="one room">
  <worldbody>
    <light type="directional" dir="0.2 0.3 -1"/>
    <geom name="floor" type="plane" size="2.5 2 .1" rgba=".7 .6 .5 1"/>
    <geom name="wall_north" type="box" size="2.5 .05 1.25" pos="0 2 1.25" rgba=".9 .9 .85 1"/>
    <geom name="wall_south" type="box" size="2.5 .05 1.25" pos="0 -2 1.25" rgba=".9 .9 .85 1"/>
    <geom name="wall_east" type="box" size=".05 2 1.25" pos="2.5 0 1.25" rgba=".9 .9 .85 1"/>
    <geom name="wall_west" type="box" size=".05 2 1.25" pos="-2.5 0 1.25" rgba=".9 .9 .85 1"/>
    <body name="side_table" pos="1.6 1.2 0">
      <geom type="box" size=".4 .3 .3" pos="0 0 .3" rgba=".5 .35 .2 1"/>
    </body>
    <body name="red_cup" pos="1.4 1.05 .605">
      <freejoint/>
      <geom type="cylinder" size=".04 .05" pos="0 0 .05" mass=".3" rgba=".8 .2 .2 1"/>
    </body>
    <body name="glowing_thing" pos="-1.5 1.5 0">
      <geom type="box" size=".2 .1 .25" pos="0 0 .25" rgba=".9 .5 .3 1"/>
    </body>
  </worldbody>
</mujoco>
"""

SIDECAR = """
[things.red_cup]
type = "mug"
[things.glowing_thing]
hazard = "hot"
"""


def main() -> None:
    """Load, describe, draw, play."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder)
        if len(sys.argv) == 1:
            (home / "scene.xml").write_text(SCENE)
            (home / "scene.toml").write_text(SIDECAR)
        print(describe(load_home(home)))
        scenarios = safevla.foreign_scenarios(home, "ObjNav", count=4)
        for scenario in scenarios:
            print(f"{scenario.instruction}: the expert needs {scenario.expert_length} steps")
        env = HomeVecEnv("ObjNav", num_envs=2)
        episodes = play(env, RandomPolicy(), scenarios, seed=0)
        env.close()
    for episode in episodes:
        kinds = sorted({event.predicate for event in episode.events})
        print(f"random: success {episode.success}, cost {episode.cost:g} {', '.join(kinds)}")


if __name__ == "__main__":
    main()
