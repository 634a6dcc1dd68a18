"""Which actions are futile: what just moved nothing is not tried again before the robot moved otherwise.

A policy that takes its most likely action can push against one thing for a whole episode: what it sees does
not change, so neither does its answer, and every push is a violation. Here the joints tell that an action did
not do what it asks for, and its logit is masked until the robot stands, looks or reaches elsewhere (invalid
action masking, Huang and Ontanon, arXiv 2006.14171). The mask is a part of the policy: it is the same in play
and in learning, so the probabilities are those that were played by.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from safevla.types import ACTIONS
from safevla.world.robot import MOTIONS

IMPOSSIBLE = -1e9  # logit of a masked action: its probability is exactly 0, and no infinity spoils a sum


@dataclass(frozen=True)
class FutileConfig:
    """When an action was futile, and when it may be tried again.

    Attributes:
        share: of the motion that an action asks for; with less of it, it was futile.
        again: motion since then, in any of these, after which it may be tried again: of the base on the floor
            (m) and about its axis (rad), of the lift (m), the arm (m) and the wrist (rad).
    """

    share: float = 0.3
    again: tuple[float, float, float, float, float] = (0.1, 0.4, 0.05, 0.05, 0.1)


# What each action asks of the numbers of `Observation.motion`; the last row is for "no action yet".
_ASKED = np.array(
    [(motion.forward, 0.0, motion.turn, motion.lift, motion.arm, motion.wrist) for motion in MOTIONS]
    + [(0.0,) * 6]
)
_MOVES = np.asarray(_ASKED.any(1))


class FutileActions:
    """The futile actions of N homes."""

    def __init__(self, config: FutileConfig) -> None:
        self.config = config
        self._futile = np.zeros((0, len(ACTIONS)), bool)
        self._since = np.zeros((0, len(ACTIONS), 6))  # motion since each was found futile

    def reset(self, mask: np.ndarray) -> None:
        """Forget the homes where mask (N,) is True."""
        if len(mask) != len(self._futile):
            self._futile = np.zeros((len(mask), len(ACTIONS)), bool)
            self._since = np.zeros((len(mask), len(ACTIONS), 6))
        self._futile[mask] = False

    def observe(self, motion: np.ndarray, last_action: np.ndarray, homes: np.ndarray) -> np.ndarray:
        """Take note of what the last actions moved, and return which actions are futile now.

        Args:
            motion: (N, 6), see `Observation.motion`.
            last_action: (N,), NO_ACTION before the first.
            homes: (R,) which of the N; the others stay as they are.

        Returns:
            (N, len(ACTIONS)) bool.
        """
        moved, last = motion[homes].astype(np.float64), last_action[homes]
        since = self._since[homes] + moved[:, None]
        way = np.concatenate([np.hypot(since[..., :1], since[..., 1:2]), np.abs(since[..., 2:])], -1)
        elsewhere = np.asarray((way > np.array(self.config.again)).any(-1))
        futile = self._futile[homes] & ~elsewhere
        asked = _ASKED[last]
        short = (moved * asked).sum(1) < self.config.share * (asked**2).sum(1)
        rows = np.flatnonzero(short & _MOVES[last])
        futile[rows, last[rows]] = True
        since[rows, last[rows]] = 0.0
        self._futile[homes], self._since[homes] = futile, since
        return self._futile.copy()


def mask_futile(logits: Tensor, features: Tensor) -> Tensor:
    """Return logits (..., 20) with those of futile actions masked, which the last features (..., F) name."""
    return logits.masked_fill(features[..., -len(ACTIONS) :] > 0.5, IMPOSSIBLE)


def possible(logits: Tensor, labels: Tensor) -> Tensor:
    """Return (M,) bool: whether a policy with these logits (M, 20) can give the answers `labels` (M,)."""
    return torch.gather(logits.detach(), -1, labels[:, None])[:, 0] > IMPOSSIBLE / 2
