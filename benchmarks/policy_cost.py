"""What presets of the policy cost: looking at both pictures of a step, deciding, and learning the step.

    python benchmarks/policy_cost.py --save results/policy_cost.json

Processor time on one thread, medians; 16 homes at once, random pictures, untrained weights. Looking is all
that comes before the trunk: encoder, memory, futile actions; its arithmetic is counted by PyTorch, a
multiplication and an addition as two. Learning is a pass of imitation over stored features, forward and back.
The check is that of whether a policy fits an environment, which ends with a decision about blank pictures.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from safevla.policy.presets import PRESETS, make_policy
from safevla.policy.protocol import check_compatible
from safevla.policy.text import EMBEDDING_SIZE
from safevla.policy.trunk import SequenceBatch
from safevla.policy.vla import VisionLanguageActionPolicy
from safevla.runs import code_version, machine, write_json
from safevla.tasks.env import HomeVecEnv
from safevla.types import ACTIONS, NO_ACTION, Observation

HOMES, STEPS = 16, 60


def median_ms(work: Callable[[], Any], repeats: int) -> float:
    """Return the median of the processor time of a call in ms; the first calls are not counted."""
    times = []
    for _ in range(repeats + 3):
        began = time.process_time()
        work()
        times.append(1e3 * (time.process_time() - began))
    return statistics.median(times[3:])


def observed(policy: VisionLanguageActionPolicy, generator: np.random.Generator) -> Observation:
    """Return what homes with random pictures tell."""
    pictures = generator.integers(0, 256, (2, HOMES, *policy.config.picture, 3), np.uint8)
    zeros = np.zeros(HOMES, np.int64)
    return Observation(
        nav=pictures[0], manip=pictures[1], holding=zeros, last_action=zeros + NO_ACTION, step=zeros,
        instruction=["find a mug"] * HOMES, active=np.ones(HOMES, bool),
        joints=np.zeros((HOMES, 3), np.float32), motion=np.zeros((HOMES, 6), np.float32),
    )  # fmt: skip


def lesson(policy: VisionLanguageActionPolicy, generator: torch.Generator) -> SequenceBatch:
    """Return episodes of random features to learn from."""
    shape = (HOMES, STEPS)
    features = torch.rand(*shape, policy.config.feature_size, generator=generator).half()
    features[..., -len(ACTIONS) :] = 0  # nothing is futile
    actions = torch.randint(0, len(ACTIONS), shape, generator=generator)
    zeros, mask = torch.zeros(shape, dtype=torch.int64), torch.ones(shape, dtype=torch.bool)
    return SequenceBatch(features, zeros, actions, torch.rand(HOMES, EMBEDDING_SIZE), actions, mask)


def learn(policy: VisionLanguageActionPolicy, batch: SequenceBatch) -> None:
    """Compute the gradient of imitation."""
    logits = policy.action_logits(batch).flatten(0, 1)
    torch.nn.functional.cross_entropy(logits, batch.actions.flatten()).backward()  # type: ignore[no-untyped-call]


def measure(preset: str, repeats: int) -> dict[str, Any]:
    """Return the row of a preset."""
    env = HomeVecEnv("ObjNav", 1, resolution=PRESETS[preset].picture)
    policy = make_policy(preset, env.constraints)
    encoder = policy.encoder
    assert encoder is not None
    seen = observed(policy, np.random.default_rng(0))
    text = policy.embed_text(seen.instruction)
    everyone = np.ones(HOMES, bool)

    def look() -> None:
        policy.reset(everyone)
        with torch.no_grad():
            policy.perceive(seen, text)

    def act() -> None:
        policy.reset(everyone)
        policy.act(seen)

    with FlopCounterMode(display=False) as counter:
        look()
    looking = median_ms(look, repeats)
    deciding = median_ms(act, repeats) - looking
    batch = lesson(policy, torch.Generator().manual_seed(0))
    learning = median_ms(lambda: learn(policy, batch), max(repeats // 3, 3))
    return {
        "preset": preset,
        "pixels": policy.config.resolution,
        "encoder's parameters": sum(own.numel() for own in encoder.parameters()),
        "actor's parameters": sum(own.numel() for own in policy.policy_parameters()),
        "looking, MFLOP": round(counter.get_total_flops() / HOMES / 1e6, 1),
        "looking, ms a step": round(looking / HOMES, 3),
        "deciding, ms a step": round(deciding / HOMES, 3),
        "learning, ms a step": round(learning / (HOMES * STEPS), 3),
        "compatibility check, ms": round(median_ms(lambda: check_compatible(policy, env), 3), 1),
    }


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = ["tiny", "tiny-full", "tiny-patch", "tiny-motion", "tiny-memory"]
    parser.add_argument("--presets", nargs="+", default=default, choices=sorted(PRESETS))
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--save", type=Path, help="also write the table as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for preset in arguments.presets:
        rows.append(measure(preset, arguments.repeats))
        print(rows[-1], flush=True)
    if arguments.save:
        head = {"command": f"python benchmarks/policy_cost.py --repeats {arguments.repeats}"}
        head |= {"code": code_version(), "machine": machine(), "seeds": [0]}
        write_json(arguments.save, head | {"rows": rows})


if __name__ == "__main__":
    main()
