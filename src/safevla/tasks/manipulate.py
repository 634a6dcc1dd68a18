"""The expert's arm: stow it for driving, and the fixed sequence that takes an object."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from safevla.tasks.reach import GraspPlan
from safevla.types import ACTION_ID
from safevla.world.grasp import GRASP_DISTANCE, nearest_graspable
from safevla.world.robot import ARM_RANGE, FOLDED

if TYPE_CHECKING:
    from safevla.world.simulator import Home

LEFT_30, RIGHT_30 = ACTION_ID["turn_left_30"], ACTION_ID["turn_right_30"]
LEFT_6, RIGHT_6 = ACTION_ID["turn_left_6"], ACTION_ID["turn_right_6"]
OUT_10, OUT_2 = ACTION_ID["arm_out_10"], ACTION_ID["arm_out_2"]
IN_10 = ACTION_ID["arm_in_10"]
UP_10, UP_2 = ACTION_ID["lift_up_10"], ACTION_ID["lift_up_2"]
DOWN_10, DOWN_2 = ACTION_ID["lift_down_10"], ACTION_ID["lift_down_2"]
WRIST_LEFT, WRIST_RIGHT = ACTION_ID["wrist_left_10"], ACTION_ID["wrist_right_10"]
PICK_UP = ACTION_ID["pick_up"]

COARSE_TURN = math.radians(16)
FINE_TURN = math.radians(3.05)
ARM_IN = 0.015  # m: not farther out than this is in
WRIST_READY = math.radians(16)  # the wrist is straight enough within this angle
WRIST_FOLDED = math.radians(15)
ATTEMPTS = 3  # times that pick_up is tried in one place


def wrap(angle: float) -> float:
    """Return the angle (rad) in -pi..pi."""
    return (angle + math.pi) % (2 * math.pi) - math.pi


def turn_towards(error: float, coarse: float, fine: float) -> int | None:
    """Return the turn that reduces an angle error (rad, positive to the left), None below `fine`."""
    if abs(error) > coarse:
        return LEFT_30 if error > 0 else RIGHT_30
    if abs(error) > fine:
        return LEFT_6 if error > 0 else RIGHT_6
    return None


class Manipulator:
    """Chooses the actions of arm, lift, wrist and gripper in one home."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._attempts = 0
        self._expected_extension = 0.0  # m that the arm is out if the last step went well
        self._time = 0.0  # simulated time (s) before that step

    @property
    def engaged(self) -> bool:
        """Whether the arm is out or the wrist unfolded."""
        return self.home.arm > ARM_IN or abs(self.home.wrist - FOLDED[2]) > WRIST_FOLDED

    def stow(self) -> int | None:
        """Return the next action of taking the arm in and folding the wrist, None when that is done."""
        self._attempts, self._expected_extension = 0, 0.0
        if self.home.arm > ARM_IN:
            return IN_10
        fold = FOLDED[2] - self.home.wrist
        if abs(fold) > WRIST_FOLDED:
            return WRIST_LEFT if fold > 0 else WRIST_RIGHT
        return None

    def take(self, plan: GraspPlan) -> int | None:
        """Return the next action of taking an object from where the base is, None if that failed."""
        home = self.home
        nearest, distance = nearest_graspable(home.scene, home.data, home.gripper_tip)
        if nearest == plan.entity and distance <= GRASP_DISTANCE - 0.005:
            self._attempts += 1
            return PICK_UP if self._attempts <= ATTEMPTS else None
        x, y, yaw = home.pose
        error = wrap(plan.heading(x, y) - yaw)
        turn = turn_towards(error, COARSE_TURN, FINE_TURN if home.arm <= ARM_IN else math.radians(6))
        if turn is not None:
            if home.arm > ARM_IN or (turn in (LEFT_30, RIGHT_30) and self.engaged):
                return self.stow()
            return turn
        lift = self._lift(plan.tip_heights, 0.02 if home.arm > ARM_IN else 0.0)
        if lift is not None:
            return IN_10 if home.arm > ARM_IN else lift
        if abs(home.wrist) > WRIST_READY and home.arm <= ARM_IN:
            return WRIST_RIGHT if home.wrist > 0 else WRIST_LEFT
        return self._reach_out(plan.extension(x, y))

    def _lift(self, heights: tuple[float, float], slack: float) -> int | None:
        """Return the action that brings the tip between two heights (m), None when it is there.

        Steps of 0.1 m are enough for most objects; steps of 0.02 m are for flat ones.
        """
        tip = float(self.home.gripper_tip[2])
        low, high = heights[0] - 0.004 - slack, heights[1] + 0.004 + slack
        if low <= tip <= high:
            return None
        up = tip < low
        # How far to the nearest height that will do.
        gap = low - tip if up else tip - high
        steps = math.ceil(gap / 0.1)
        coarse = gap >= 0.1 or 0.1 * steps - gap <= high - low
        if coarse:
            return UP_10 if up else DOWN_10
        return UP_2 if up else DOWN_2

    def _reach_out(self, extension: float) -> int | None:
        """Return the action that brings the tip nearer, None when the arm is stuck or out as planned."""
        arm = self.home.arm
        # Simulated time passes only when something was touched; without that another action was taken.
        touched = float(self.home.data.time) > self._time
        stuck = touched and arm < self._expected_extension - 0.012
        left = extension - arm
        if stuck or left < -0.08 or arm >= ARM_RANGE[1] - 0.005:
            return None
        step = 0.1 if left >= 0.09 else 0.02
        self._expected_extension = min(arm + step, ARM_RANGE[1])
        self._time = float(self.home.data.time)
        return OUT_10 if step == 0.1 else OUT_2
