"""The 20 actions as vectors of numbers, for data sets and policies that speak of continuous actions.

A vector says how far each part of the robot moves in a step (half a second). Dividing each number by the
largest step of its part makes the 20 actions comparable; a policy's vector stands for the nearest of them.
Motions of several parts at once become the one that is nearest, and the rest is lost; what is less than half
of the smallest step is standing still, which is `sub_task_done`.
"""

from __future__ import annotations

import math

import numpy as np

from safevla.types import ACTION_ID, Observation
from safevla.world.robot import MOTIONS

# Metres and radians of a step; gripper: 1 picks up, -1 lets go; end: 1 ends the episode.
VECTOR_NAMES = ("forward", "turn", "lift", "arm", "wrist", "gripper", "end")
LARGEST = np.array([0.2, math.radians(30), 0.1, 0.1, math.radians(10), 1.0, 1.0])
STATE_NAMES = ("lift", "arm", "wrist", "holding")  # m, m, rad, 0 or 1


def _vectors() -> np.ndarray:
    vectors = np.array([(m.forward, m.turn, m.lift, m.arm, m.wrist, 0.0, 0.0) for m in MOTIONS])
    vectors[ACTION_ID["pick_up"], 5], vectors[ACTION_ID["drop"], 5] = 1.0, -1.0
    vectors[ACTION_ID["end"], 6] = 1.0
    return vectors


VECTORS = _vectors()  # (20, 7)


def to_vectors(actions: np.ndarray) -> np.ndarray:
    """Return (T, 7) float32 of the ids of actions (T,)."""
    return np.asarray(VECTORS[actions], np.float32)


def nearest_actions(vectors: np.ndarray) -> np.ndarray:
    """Return (N,) int64 ids of the actions nearest to vectors (N, 7); of equally near ones the first."""
    difference = (np.asarray(vectors, np.float64)[:, None] - VECTORS) / LARGEST
    return np.asarray((difference**2).sum(axis=-1).argmin(axis=1), np.int64)


def state_vectors(observation: Observation) -> np.ndarray:
    """Return (N, 4) float32, see STATE_NAMES; ValueError if the environment does not tell the joints."""
    if observation.joints is None:
        raise ValueError("the policy wants the joints of the arm, which this environment does not tell")
    return np.concatenate([observation.joints, observation.holding[:, None]], axis=1).astype(np.float32)
