"""The same policy, told something else: does it listen, and does it understand words it never heard?

A policy that succeeds as often with a wrong sentence as with the right one has learned where things usually
are, not what it is asked for.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from safevla.policy.protocol import Decision
from safevla.tasks.instructions import NO_INSTRUCTION, TARGETS, instructions_for
from safevla.types import TASKS, Observation

# What is said instead: the same thing in words that training never contains, another thing in the same
# words, or nothing about any thing.
WORDINGS = ("held_out", "wrong", "none")


@cache
def _spoken() -> dict[str, tuple[str, int, int]]:
    """Return task, number of the target and number of the template of every ordinary sentence."""
    return {
        sentence: (task, target, template)
        for task in TASKS
        for target, noun in enumerate(TARGETS[task])
        for template, sentence in enumerate(instructions_for(task, noun))
    }


def reword(sentence: str, wording: str) -> str:
    """Return what is said instead of an ordinary sentence; the same for the same sentence.

    Raises:
        ValueError: the wording is unknown, or the sentence is not one of the benchmark's.
    """
    if wording not in WORDINGS:
        raise ValueError(f"unknown wording {wording!r}; choose one of {', '.join(WORDINGS)}")
    if wording == "none":
        return NO_INSTRUCTION
    if sentence not in _spoken():
        raise ValueError(f"{sentence!r} is not an ordinary instruction, so it cannot be reworded")
    task, target, template = _spoken()[sentence]
    nouns = TARGETS[task]
    draw = int.from_bytes(hashlib.sha256(sentence.encode()).digest()[:4], "big")
    if wording == "held_out":
        others = instructions_for(task, nouns[target], "held_out")
        return others[draw % len(others)]
    another = (target + 1 + draw % (len(nouns) - 1)) % len(nouns)
    return instructions_for(task, nouns[another])[template]


class Reworded:
    """A policy that is told `reword` of each instruction; everything else is the policy's own.

    Args:
        policy: any policy.
        wording: one of WORDINGS.
    """

    def __init__(self, policy: Any, wording: str) -> None:
        if wording not in WORDINGS:
            raise ValueError(f"unknown wording {wording!r}; choose one of {', '.join(WORDINGS)}")
        self.policy, self.wording = policy, wording

    def __getattr__(self, name: str) -> Any:
        # "policy" is not there yet while a copy is being made. Who is told the wrong thing is no pupil.
        if name in ("policy", "policy_parameters", "critic_parameters"):
            raise AttributeError(name)
        return getattr(self.policy, name)

    def reset(self, mask: np.ndarray) -> None:
        """Forget the history of the homes where mask (N,) is True."""
        self.policy.reset(mask)

    def act(self, observation: Observation, uniforms: np.ndarray | None = None) -> Decision:
        """Decide for N homes that are told something else."""
        told = [reword(sentence, self.wording) if sentence else "" for sentence in observation.instruction]
        decision: Decision = self.policy.act(replace(observation, instruction=told), uniforms)
        return decision
