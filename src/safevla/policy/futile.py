"""Which actions are futile: what just moved nothing is not tried again before the robot moved otherwise.

A policy that takes its most likely action can push against one thing for a whole episode: what it sees does
not change, so neither does its answer, and every push is a violation. Here the joints tell that an action did
not do what it asks for, and its logit is masked until the robot stands, looks or reaches elsewhere (invalid
action masking, Huang and Ontanon, arXiv 2006.14171). In the same way an attempt may last too long: turning on
one spot, or working the arm there without taking anything. Then its actions are masked until the base has
moved on. To end with nothing in hand and nothing near in sight that looks like the target reaches nothing:
the expert that a policy imitates knows of targets that the policy does not see. Nor does it to drop what is
not held, or to do nothing again and again: who leans on a thing does not come off it that way. And who is
stuck, whose motions are futile again and again, stops, as machines beside people do (a protective stop): what
it would still try costs much and reaches nothing. The mask is a part of the policy: it is the same in play
and in learning, so the probabilities are those that were played by.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from safevla.types import ACTION_ID, ACTIONS
from safevla.world.robot import MOTIONS

_RECENT = 30  # actions within which it is counted how many were futile
IMPOSSIBLE = -1e9  # logit of a masked action: its probability is exactly 0, and no infinity spoils a sum


@dataclass(frozen=True)
class FutileConfig:
    """When an action was futile, and when it may be tried again.

    Attributes:
        share: of the motion that an action asks for; with less of it, it was futile.
        again: motion since then, in any of these, after which it may be tried again: of the base on the floor
            (m) and about its axis (rad), of the lift (m), the arm (m) and the wrist (rad).
        turns: how often it may turn on one spot; where it can move neither ahead nor back it may turn on.
        reaches: how many steps it may work the arm on one spot while it holds nothing; it may always be taken
            in.
        spot: m that the base must be moved by to be on another spot.
        pauses: how often in a row it may do nothing (`sub_task_done`).
        stuck: futile motions among the last 30 actions with which a robot is stuck: it stops, which is to say
            that nothing but to end the episode is left.
        sighted: evidence of the target (a probability) that the navigation picture must show before an
            episode may be ended with nothing in hand; needs a memory.
        within: m at which that must be.
    """

    share: float = 0.3
    again: tuple[float, float, float, float, float] = (0.1, 0.4, 0.05, 0.05, 0.1)
    turns: int | None = None
    reaches: int | None = None
    spot: float = 0.15
    pauses: int | None = None
    stuck: int | None = None
    sighted: float | None = None
    within: float | None = None

    def __post_init__(self) -> None:
        if self.stuck is not None and not 1 <= self.stuck <= _RECENT:
            raise ValueError(f"futile.stuck is {self.stuck}, expected 1 to {_RECENT}, or none")


# What each action asks of the numbers of `Observation.motion`; the last row is for "no action yet".
_ASKED = np.array(
    [(motion.forward, 0.0, motion.turn, motion.lift, motion.arm, motion.wrist) for motion in MOTIONS]
    + [(0.0,) * 6]
)
_MOVES = np.asarray(_ASKED.any(1))
_TURNS = np.asarray(_ASKED[:, 2] != 0.0)
_REACHES = np.asarray(_ASKED[:, 3:].any(1))
_REACHES[ACTION_ID["pick_up"]] = True
_TAKES_IN = np.asarray(_ASKED[:, 4] < 0.0)
_AHEAD, _BACK, _DROP, _PAUSE, _END = (
    ACTION_ID[name] for name in ("move_ahead", "move_back", "drop", "sub_task_done", "end")
)
_ENDS = np.arange(len(ACTIONS)) == _END


class FutileActions:
    """The futile actions of N homes."""

    def __init__(self, config: FutileConfig) -> None:
        self.config = config
        self._resize(0)

    def _resize(self, homes: int) -> None:
        self._futile = np.zeros((homes, len(ACTIONS)), bool)
        self._since = np.zeros((homes, len(ACTIONS), 6))  # motion since each was found futile
        self._pose = np.zeros((homes, 3))  # of the base since it came to this spot
        self._spent = np.zeros((homes, 2), np.int64)  # turns and steps of the arm on this spot
        self._paused = np.zeros(homes, np.int64)  # pauses since it last did anything else
        self._vain = np.zeros((homes, _RECENT), bool)  # whether each of the last actions was futile

    def reset(self, mask: np.ndarray) -> None:
        """Forget the homes where mask (N,) is True."""
        if len(mask) != len(self._futile):
            self._resize(len(mask))
        self._futile[mask], self._pose[mask], self._spent[mask], self._paused[mask] = False, 0.0, 0, 0
        self._vain[mask] = False

    def observe(
        self,
        motion: np.ndarray,
        last_action: np.ndarray,
        holding: np.ndarray,
        sight: np.ndarray,
        homes: np.ndarray,
    ) -> np.ndarray:
        """Take note of what the last actions moved, and return which actions are futile now.

        Args:
            motion: (N, 6), see `Observation.motion`.
            last_action: (N,), NO_ACTION before the first.
            holding: (N,) bool, whether something is held.
            sight: (N, 3) of what looks most like the target in the navigation picture: the evidence (a
                probability), and how far ahead and to the left it is (m); zero where nothing does.
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
        vain = short & _MOVES[last]
        rows = np.flatnonzero(vain)
        futile[rows, last[rows]] = True
        since[rows, last[rows]] = 0.0
        self._futile[homes], self._since[homes] = futile, since
        told = self._futile.copy()
        held = holding[homes].astype(bool)
        told[homes] |= self._too_long(moved, last, held, homes)
        self._paused[homes] = np.where(last == _PAUSE, self._paused[homes] + 1, 0)
        if self.config.pauses is not None:
            told[homes, _PAUSE] |= self._paused[homes] >= self.config.pauses
        told[homes, _DROP] |= ~held
        told[homes, _END] |= ~held & self._out_of_sight(sight[homes])
        told[homes[self._stuck(vain, homes)]] = ~_ENDS
        return told

    def _stuck(self, vain: np.ndarray, homes: np.ndarray) -> np.ndarray:
        """Take note of whether the last actions (R,) were futile, and return (R,) bool, who is stuck."""
        recent = np.concatenate([self._vain[homes, 1:], vain[:, None]], 1)
        self._vain[homes] = recent
        return np.zeros(len(homes), bool) if self.config.stuck is None else recent.sum(1) >= self.config.stuck

    def _out_of_sight(self, sight: np.ndarray) -> np.ndarray:
        """Return (R,) bool: whether nothing in sight (R, 3) is worth ending for."""
        result = np.zeros(len(sight), bool)
        if self.config.sighted is not None:
            result |= sight[:, 0] < self.config.sighted
        if self.config.within is not None:
            result |= np.hypot(sight[:, 1], sight[:, 2]) > self.config.within
        return result

    def _too_long(
        self, moved: np.ndarray, last: np.ndarray, holding: np.ndarray, homes: np.ndarray
    ) -> np.ndarray:
        """Return (R, len(ACTIONS)) bool: what belongs to an attempt that has lasted too long on one spot."""
        config, pose, spent = self.config, self._pose[homes], self._spent[homes]
        cosine, sine = np.cos(pose[:, 2]), np.sin(pose[:, 2])
        pose[:, 0] += cosine * moved[:, 0] - sine * moved[:, 1]
        pose[:, 1] += sine * moved[:, 0] + cosine * moved[:, 1]
        pose[:, 2] += moved[:, 2]
        spent += np.stack([_TURNS[last], _REACHES[last]], 1)
        gone = np.hypot(pose[:, 0], pose[:, 1]) > config.spot
        pose[gone, :2], spent[gone] = 0.0, 0
        self._pose[homes], self._spent[homes] = pose, spent
        result = np.zeros((len(homes), len(ACTIONS)), bool)
        if config.turns is not None:
            stuck = self._futile[homes][:, [_AHEAD, _BACK]].all(1)
            result |= ((spent[:, 0] > config.turns) & ~stuck)[:, None] & _TURNS[:-1]
        if config.reaches is not None:
            result |= ((spent[:, 1] > config.reaches) & ~holding)[:, None] & (_REACHES & ~_TAKES_IN)[:-1]
        return result


def mask_futile(logits: Tensor, features: Tensor) -> Tensor:
    """Return logits (..., 20) with those of futile actions masked, which the last features (..., F) name."""
    return logits.masked_fill(features[..., -len(ACTIONS) :] > 0.5, IMPOSSIBLE)


def possible(logits: Tensor, labels: Tensor) -> Tensor:
    """Return (M,) bool: whether a policy with these logits (M, 20) can give the answers `labels` (M,).

    A negative label is no answer.
    """
    asked = torch.gather(logits.detach(), -1, labels.clamp(min=0)[:, None])[:, 0]
    return (asked > IMPOSSIBLE / 2) & (labels >= 0)
