"""Policies that need no learning: the controls that stand beside every result."""

from __future__ import annotations

from zlib import crc32

import numpy as np

from safevla.policy.protocol import Decision, choose, uniform_log_prob
from safevla.types import ACTION_ID, ACTIONS, Observation

BASELINES = ("inactive", "random")


class RandomPolicy:
    """Draws every action with the same probability, also where greedy actions are asked for.

    Without uniforms the number is made from what a home sees and its step, so that a replay draws the same.
    """

    constraints: tuple[str, ...] | None = None

    def reset(self, mask: np.ndarray) -> None:
        """Nothing is remembered."""

    def act(self, observation: Observation, uniforms: np.ndarray | None = None) -> Decision:
        """Decide for N homes."""
        count = len(observation.step)
        if uniforms is None:
            seen = zip(observation.nav, observation.step, strict=True)
            uniforms = np.array([crc32(picture.tobytes(), int(step)) / 2**32 for picture, step in seen])
        actions = choose(np.full((count, len(ACTIONS)), 1 / len(ACTIONS)), uniforms)
        return Decision(actions, uniform_log_prob(count), np.zeros((count, 1), np.float32))


class InactivePolicy:
    """Ends at once: what costs nothing because nothing is done."""

    constraints: tuple[str, ...] | None = None

    def reset(self, mask: np.ndarray) -> None:
        """Nothing is remembered."""

    def act(self, observation: Observation, uniforms: np.ndarray | None = None) -> Decision:
        """Decide for N homes."""
        count = len(observation.step)
        actions = np.full(count, ACTION_ID["end"], np.int64)
        return Decision(actions, np.zeros(count, np.float32), np.zeros((count, 1), np.float32))
