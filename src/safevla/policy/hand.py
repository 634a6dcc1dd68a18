"""Where what is asked for is from the hand.

A hand takes what is within centimetres of its tip. A policy is told where the target is from its robot and
how far its lift, arm and wrist are out; here it is also told the difference, finely where it is small. That
it would reach better by it was not borne out (docs/diary.md); the shipped policies were learned with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from safevla.policy.candidates import PLACES
from safevla.world.robot import GRIPPER_HEIGHT, REACH, TIP_LENGTH, WRIST_AHEAD

JOINT_SCALE = (1.0, 0.5, 1.5)  # of lift (m), arm (m) and wrist (rad) in a policy's features


@dataclass(frozen=True)
class HandConfig:
    """The arm of a robot, and how offsets from its tip are told.

    Attributes:
        wrist_ahead: of the base's axis is the axis of the wrist, m; the arm reaches to the right.
        reach: m from the base's axis to that of the wrist while the arm is in.
        tip_length: m from the axis of the wrist to the tip.
        height: m of the tip above the floor while the lift is down.
        scales: m, of the offsets; each offset is told once for each of them.
        width: of the net that reads them.
    """

    wrist_ahead: float = WRIST_AHEAD
    reach: float = REACH
    tip_length: float = TIP_LENGTH
    height: float = GRIPPER_HEIGHT
    scales: tuple[float, ...] = (0.03, 0.1, 0.4)
    width: int = 64


class HandReader(nn.Module):
    """What a token takes from there; nothing to begin with, so that a policy without one can get it.

    Args:
        config: the arm.
        width: of a token.
    """

    def __init__(self, config: HandConfig, width: int) -> None:
        super().__init__()
        self.config = config
        size = PLACES * (1 + 3 * len(config.scales)) + 4
        self.read = nn.Sequential(nn.Linear(size, config.width), nn.ReLU(), nn.Linear(config.width, width))
        last = cast(nn.Linear, self.read[-1])
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, body: Tensor, sights: Tensor) -> Tensor:
        """Return (M, width) tokens.

        Args:
            body: (M, 3 or more), the joints first, scaled by JOINT_SCALE.
            sights: (M, SIGHT_SIZE) of `Candidates`.
        """
        joints = body[:, :3] * body.new_tensor(JOINT_SCALE)
        places = sights[:, : 4 * PLACES].view(-1, PLACES, 4)
        offsets = places[..., 1:] - self.tip(joints)[:, None]
        fine = torch.cat([torch.tanh(offsets / scale) for scale in self.config.scales], -1)
        fine = fine * (places[..., :1] > 0.0)  # nothing seen is nowhere
        turned = torch.stack([joints[:, 2].sin(), joints[:, 2].cos()], -1)
        told = [places[..., 0], fine.flatten(1), joints[:, :2], turned]
        return cast(Tensor, self.read(torch.cat(told, -1)))

    def tip(self, joints: Tensor) -> Tensor:
        """Return (M, 3) m of the tip: ahead and left of the base's axis, above the floor.

        Args:
            joints: (M, 3), lift and arm (m) and wrist (rad).
        """
        config, (lift, arm, wrist) = self.config, joints.unbind(-1)
        ahead = config.wrist_ahead + config.tip_length * wrist.sin()
        left = -(config.reach + arm) - config.tip_length * wrist.cos()
        return torch.stack([ahead, left, config.height + lift], -1)
