"""The same policy, told something else: does it listen, and does it understand words it never heard?

A policy that succeeds as often with a wrong sentence as with the right one has learned where things usually
are, not what it is asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from safevla.policy.protocol import Decision, wants_labels
from safevla.tasks.descriptions import described, descriptions, noun_phrase
from safevla.tasks.instructions import NO_INSTRUCTION, TARGETS, instructions_for
from safevla.types import TASKS, Observation

# What is said instead: the same thing in words that training never contains, another thing in the same
# words, the same thing without its description, or nothing about any thing.
WORDINGS = ("held_out", "wrong", "plain", "none")


@cache
def _spoken() -> dict[str, tuple[str, str, str]]:
    """Return task, target and description of every ordinary sentence."""
    return {
        sentence: (task, target, which)
        for task in TASKS
        for target in TARGETS[task]
        for which in ("", *descriptions(target))
        for sentence in instructions_for(task, target, which=which)
    }


def reword(sentence: str, wording: str) -> str:
    """Return what is said instead of an ordinary sentence; the same for the same sentence.

    "wrong" asks for another colour, size, room or piece of furniture where a thing is described by it, else
    for another type. "plain" leaves the description out.

    Raises:
        ValueError: the wording is unknown, or the sentence is not one of the benchmark's.
    """
    if wording not in WORDINGS:
        raise ValueError(f"unknown wording {wording!r}; choose one of {', '.join(WORDINGS)}")
    if wording == "none":
        return NO_INSTRUCTION
    if sentence not in _spoken():
        raise ValueError(f"{sentence!r} is not an ordinary instruction, so it cannot be reworded")
    task, target, which = _spoken()[sentence]
    draw = int.from_bytes(hashlib.sha256(sentence.encode()).digest()[:4], "big")
    if wording == "held_out":
        others = instructions_for(task, target, "held_out", which)
        return others[draw % len(others)]
    asked = noun_phrase(described(target, which))
    if wording == "plain":
        return sentence.replace(asked, noun_phrase(target))
    kind = which.partition(":")[0]
    alike = [other for other in descriptions(target) if other.partition(":")[0] == kind]
    if len(alike) > 1:
        return sentence.replace(asked, noun_phrase(described(target, _another(alike, which, draw))))
    return sentence.replace(asked, noun_phrase(_another(TARGETS[task], target, draw)))


def _another(names: Sequence[str], name: str, draw: int) -> str:
    """Return one of the names that is not this one, the draw-th after it."""
    return names[(names.index(name) + 1 + draw % (len(names) - 1)) % len(names)]


class Reworded:
    """A policy that is told `reword` of each instruction; everything else is the policy's own.

    Args:
        policy: any policy.
        wording: one of WORDINGS.

    Raises:
        ValueError: there is no such wording, or the policy is an oracle, whose maps stay those of the task.
    """

    def __init__(self, policy: Any, wording: str) -> None:
        if wording not in WORDINGS:
            raise ValueError(f"unknown wording {wording!r}; choose one of {', '.join(WORDINGS)}")
        if wants_labels(policy):
            raise ValueError("an oracle is told where its target is, so it cannot be told something else")
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
