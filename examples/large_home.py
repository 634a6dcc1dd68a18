"""A home of up to eight rooms: draw it, look at it from above, let the expert fetch something in it.

python examples/large_home.py [SEED]
"""

import sys

import numpy as np
from PIL import Image

import safevla
from safevla.tasks.expert import Expert
from safevla.world.render import render_top

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
scenario = safevla.sample_scenario("Fetch", seed, size_class="L")
env = safevla.make_vec("Fetch", num_envs=1, scenarios=[scenario])
env.reset()
home = env.homes[0]
print(f"{scenario.instruction}: {len(home.scene.spec.rooms)} rooms, {len(home.scene.spec.objects)} things")
Image.fromarray(render_top(home.scene, home.data, 600, 800)).save("home.png")

expert = Expert(home, scenario)
for step in range(env.horizons[0]):
    result = env.step(np.array([expert.act(env.visible_pixels[0])]))
    if result.terminated[0] or result.truncated[0]:
        print(f"success {bool(result.success[0])} after {step + 1} steps; picture in home.png")
        break
