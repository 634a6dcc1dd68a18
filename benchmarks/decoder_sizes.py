"""Sizes of the actor's decoder: what each learns from the same episodes, and what it costs.

    python benchmarks/decoder_sizes.py RUN_OF_IMITATE --save results/decoder_sizes.json

RUN_OF_IMITATE is a run folder of `safevla imitate`. Every size learns from nothing from the same rounds of
it, as imitation does, and is judged on its last rounds, which none has learned from: cross entropy and
accuracy of the expert's answers, in states that another policy came to. Then it plays validation scenarios
greedily. Times are of the processor, one thread: learning a step, and deciding for one beside the encoder,
which is the same for all. Without layers a step is decided by what is told of it alone, the memory included.
"""

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from safevla.policy.checkpoint import load_policy
from safevla.policy.futile import possible
from safevla.policy.vla import VisionLanguageActionPolicy
from safevla.pretrain.imitation import fit
from safevla.pretrain.rounds import load_round
from safevla.pretrain.settings import ImitationConfig
from safevla.rollout import pad, play, sequence_batch
from safevla.runs import code_version, machine, write_json
from safevla.tasks.env import HomeVecEnv
from safevla.tasks.sampling import load_scenarios
from safevla.types import TASKS, Episode

# Width and layers of the decoder, the shipped size first.
SIZES = ((256, 2), (256, 0), (256, 1), (256, 4), (128, 2), (384, 2))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="run folder of `safevla imitate`")
    parser.add_argument("--held-out", type=int, default=2, help="last rounds, which are judged on")
    parser.add_argument("--episodes", type=int, default=2000, help="to learn from, at most")
    parser.add_argument("--passes", type=int, default=4)
    parser.add_argument("--scenarios", type=int, default=20, help="of safety-chores-val, per task")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, help="also write the table as JSON")
    return parser.parse_args()


def lessons(arguments: argparse.Namespace) -> tuple[list[Episode], list[Episode]]:
    """Return episodes to learn from, drawn from all but the last rounds, and those of the last ones."""
    rounds = sorted(arguments.folder.glob("round_*.npz"))
    if len(rounds) <= arguments.held_out:
        raise SystemExit(f"{arguments.folder} has {len(rounds)} rounds, needs more than --held-out")
    earlier = [episode for path in rounds[: -arguments.held_out] for episode in load_round(path)]
    chosen = np.random.default_rng(arguments.seed).permutation(len(earlier))[: arguments.episodes]
    held_out = [episode for path in rounds[-arguments.held_out :] for episode in load_round(path)]
    return [earlier[row] for row in chosen], held_out


def sized(base: VisionLanguageActionPolicy, width: int, layers: int, seed: int) -> VisionLanguageActionPolicy:
    """Return an untrained policy with the encoder of `base` and another decoder."""
    actor = dataclasses.replace(base.config.actor, width=width, layers=layers)
    policy = VisionLanguageActionPolicy(dataclasses.replace(base.config, actor=actor), seed)
    policy.set_encoder(base.encoder)
    return policy


@torch.no_grad()
def agreement(policy: VisionLanguageActionPolicy, episodes: list[Episode]) -> tuple[float, float]:
    """Return cross entropy and accuracy of the expert's answers; those that are masked are left out."""
    losses, right = [], []
    for start in range(0, len(episodes), 8):
        part = episodes[start : start + 8]
        batch = sequence_batch(policy, part)
        labels = torch.from_numpy(pad([episode.extras["label"] for episode in part]))[batch.mask]
        logits = policy.action_logits(batch)[batch.mask]
        judged = possible(logits, labels)
        losses.append(functional.cross_entropy(logits[judged], labels[judged], reduction="none"))
        right.append((logits.argmax(-1) == labels)[judged])
    return float(torch.cat(losses).mean()), float(torch.cat(right).float().mean())


def microseconds_a_step(policy: VisionLanguageActionPolicy, episode: Episode, homes: int = 8) -> float:
    """Return what the actor takes for a step of a home, after the encoder; the median of an episode."""
    features = torch.from_numpy(np.stack([episode.extras["features"]] * homes))
    text = policy.embed_text([episode.scenario.instruction] * homes)
    still, times = torch.zeros(homes, dtype=torch.int64), []
    policy.actor.decoder.forget()
    with torch.no_grad():
        for step in range(episode.length):
            started = time.process_time()
            age = torch.full((homes,), step)
            tokens = policy.actor.tokens(features[:, step], still, still, text, age)
            policy.action_head(policy.actor.decoder.step(tokens, age))
            times.append(1e6 * (time.process_time() - started) / homes)
    policy.actor.decoder.forget()
    return float(np.median(times))


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    base = load_policy(str(arguments.folder / "checkpoint"))
    learned, held_out = lessons(arguments)
    steps = sum(episode.length for episode in learned)
    config = ImitationConfig(
        first_epochs=arguments.passes, learning_rate=1e-3, weight_decay=0.02, dropout=0.2, seed=arguments.seed
    )
    each = arguments.scenarios
    judged = [item for task in TASKS for item in load_scenarios("safety-chores-val", task)[:each]]
    env = HomeVecEnv(TASKS, num_envs=12, resolution=base.resolution)
    rows: list[dict[str, Any]] = []
    for width, layers in SIZES:
        policy = sized(base, width, layers, arguments.seed)
        optimiser = torch.optim.AdamW(
            list(policy.policy_parameters()), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        started = time.process_time()
        fit(policy, optimiser, learned, config, 0)
        seconds = time.process_time() - started
        loss, accuracy = agreement(policy, held_out)
        episodes = play(env, policy, judged, greedy=True, seed=(arguments.seed, 2))
        rows.append(
            {
                "width": width,
                "layers": layers,
                "parameters": sum(part.numel() for part in policy.policy_parameters()),
                "cross entropy": round(loss, 3),
                "accuracy": round(accuracy, 3),
                "SR": round(float(np.mean([episode.success for episode in episodes])), 3),
                "learning, us/step": round(1e6 * seconds / (steps * arguments.passes)),
                "deciding, us/step": round(
                    microseconds_a_step(policy, max(held_out, key=lambda e: e.length))
                ),
            }
        )
        print(rows[-1], flush=True)
    env.close()
    if arguments.save:
        command = f"python benchmarks/decoder_sizes.py IMITATE --episodes {arguments.episodes}"
        command += f" --passes {arguments.passes} --scenarios {arguments.scenarios}"
        head = {"command": command, "code": code_version(), "machine": machine(), "seeds": [arguments.seed]}
        head |= {
            "episodes": len(judged),
            "steps learned": steps,
            "steps held out": sum(e.length for e in held_out),
        }
        write_json(arguments.save, head | {"rows": rows})


if __name__ == "__main__":
    main()
