"""The expert that demonstrates: plans with the map, acts on what could have been seen, answers anywhere.

Its rules are few and always the same, so that a policy can predict them from what it has seen:

1. Something held: the target is lifted and the episode ended, anything else is dropped.
2. Target not seen yet: turn left until all around has been looked at, then drive to where most is unseen.
3. Target seen: drive to the nearest place from which it can be seen well (ObjNav) or taken (PickUp, Fetch).
4. There: face it and end, or put the arm in line, raise the lift, unfold the wrist, reach out, pick up.

Driving uses turns of 30 degrees and moves of 0.2 m; turns of 6 degrees only align the arm or the last look.
The arm is always taken in and the wrist folded before the base drives. Where the specification limits the
speed in narrow places, it pauses after each move in one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from safevla.safety.measures import passage_width
from safevla.safety.signals import VISIBLE_PIXELS
from safevla.tasks.explore import WORTH_A_LOOK, Explorer
from safevla.tasks.geometry import (
    CLEARANCE,
    EntityGeoms,
    horizontal_distance,
    navigation_map,
    opaque_cells,
)
from safevla.tasks.manipulate import Manipulator, turn_towards, wrap
from safevla.tasks.matching import matching_entities
from safevla.tasks.planner import DETOUR, NO_HEADING, choose_heading, passable_moves
from safevla.tasks.reach import GraspPlan, plan_grasp
from safevla.tasks.sight import sight_goals
from safevla.types import ACTION_ID, Scenario
from safevla.world.robot import commanded_target, joint_values

if TYPE_CHECKING:
    from safevla.world.simulator import Home

AHEAD, BACK = ACTION_ID["move_ahead"], ACTION_ID["move_back"]
LEFT_30, RIGHT_30 = ACTION_ID["turn_left_30"], ACTION_ID["turn_right_30"]
LEFT_6, RIGHT_6 = ACTION_ID["turn_left_6"], ACTION_ID["turn_right_6"]
LIFT_UP, DROP, END = ACTION_ID["lift_up_10"], ACTION_ID["drop"], ACTION_ID["end"]
PAUSE = ACTION_ID["sub_task_done"]  # it moves nothing

NEAR_ENOUGH = 1.5  # m: a target that is visible and this near is found
GOAL_DISTANCE = 1.3  # m: drive to within this of the target's box
LAST_RESORT = 1.85  # m: at a goal that shows nothing better, this is near enough as well
CLEARLY_VISIBLE = 12  # pixels of the target that make it worth ending
BANNED_RADIUS = 0.15  # m around a place that proved useless
MOVED = 0.05  # m that something must move before paths are planned anew
FULL_TURN = 12  # turns of 30 degrees
FAST = 0.1  # m, moved by an action: half of a move
NARROW = 1.0  # m across the robot, as in `strict`: below that a slow expert pauses between two moves
SEARCHING = -1  # marks the key of a field that leads to a viewpoint, not to targets


class Expert:
    """Demonstrates one scenario in one home.

    Args:
        home: the home, already reset to the scenario's house and start.
        scenario: what is asked for.
        slow: pause between two moves in a narrow place, as `strict` asks for.

    Attributes:
        known: entities that the instruction may mean and that have been seen.
    """

    def __init__(self, home: Home, scenario: Scenario, slow: bool = False) -> None:
        self.home = home
        self.scenario = scenario
        self.slow = slow
        self.reset()

    def reset(self, scenario: Scenario | None = None) -> None:
        """Begin an episode in the home, which has been reset already.

        Args:
            scenario: what is asked for from now on; default: the same as before.
        """
        self.scenario = scenario or self.scenario
        scene = self.home.scene
        self.known: set[int] = set()
        self._grasps = self.scenario.task != "ObjNav"
        self._targets = matching_entities(self.home.settled, self.scenario.target, self.scenario.which)
        self._geoms = EntityGeoms.find(scene)
        self._movable = np.flatnonzero(np.asarray(scene.movable) & np.asarray(scene.present))
        self._out_of_reach: set[int] = set()  # targets that the arm cannot take from anywhere
        self._bumps: list[tuple[float, float]] = []  # where something is that the map does not show
        self._banned: list[tuple[float, float, float]] = []  # x, y, radius: no goals in there
        self._turns = 0  # made while looking around here
        self._last_turn = 0  # +1 left, -1 right, if the last action was a turn made while driving
        self._driving = False
        self._postponed: int | None = None  # a move that waits for a pause
        self._last_action = -1
        self._last_pose = self.home.pose
        self._last_time = float(self.home.data.time)
        self._viewpoint: tuple[float, float] | None = None
        self._goals = np.zeros((0, 0), dtype=bool)
        self._poses: dict[tuple[int, ...], int] = {}  # how often each has been met on the way to the goals
        self._circles = 0  # how often a pose has come back on the way to the goals
        self._followed = True  # whether the base did what the last answer asked for
        self._field: np.ndarray | None = None
        self._field_key: tuple[int, ...] | None = None
        self._grasp_plans: dict[int, GraspPlan] = {}
        self._looks = 0  # how often everything has been searched
        self._arm = Manipulator(self.home)
        self._survey()
        self._explorer = Explorer(self._floor, self._opaque, self._rooms(), self._recognition_distance())

    def act(self, visible_pixels: np.ndarray) -> int:
        """Return the id of the action to take now.

        Args:
            visible_pixels: (2, E) pixels of each entity in the nav and manip picture at 112 x 112.
        """
        moved = math.hypot(*np.subtract(self.home.pose, self._last_pose)[:2]) > FAST
        self._notice(visible_pixels)
        action, self._postponed = self._postponed, None
        if action is None or not self._followed:
            self._driving = False
            action = self._decide(visible_pixels)
            if self.slow and moved and action in (AHEAD, BACK) and self._narrow():
                action, self._postponed = PAUSE, action
        self._last_pose, self._last_time = self.home.pose, float(self.home.data.time)
        turn = {LEFT_30: 1, LEFT_6: 1, RIGHT_30: -1, RIGHT_6: -1}.get(action, 0)
        self._last_turn = turn if self._driving else 0
        self._last_action = action
        return action

    def _decide(self, visible_pixels: np.ndarray) -> int:
        x, y, _ = self.home.pose
        if self.home.held >= 0:
            return self._with_object()
        if self._grasps and self.known:
            plan = self._grasp_here(x, y)
            if plan is not None:
                action = self._arm.take(plan)
                if action is not None:
                    return action
                # The attempt failed: not from here again.
                self._ban(x, y)
        stow = self._arm.stow()
        if stow is not None:
            return stow
        if not self.known:
            return self._search()
        return self._approach() if self._grasps else self._find(visible_pixels)

    def _with_object(self) -> int:
        """Lift the target once and end; let go of anything else."""
        if not self._grasps or self.home.held not in self._targets:
            return DROP
        if self._last_action == LIFT_UP or self.home.lift > 1.05:
            return END
        return LIFT_UP

    def _search(self) -> int:
        """Look around, then drive to where most is unseen."""
        x, y, _ = self.home.pose
        if self._viewpoint is not None:
            near = math.hypot(self._viewpoint[0] - x, self._viewpoint[1] - y) < 0.25
            # Underway everything that was to be seen from there may have come into view.
            if near or self._explorer.unseen_around(*self._viewpoint) < 0.5 * WORTH_A_LOOK:
                self._viewpoint, self._turns = None, 0
        if self._viewpoint is None:
            if self._turns < FULL_TURN and self._explorer.unseen_around(x, y) >= WORTH_A_LOOK:
                self._turns += 1
                return LEFT_30
            self._viewpoint = self._choose_viewpoint(x, y)
            self._field = None
            if self._viewpoint is None:
                return LEFT_30
        goals = np.zeros(self._floor.clearance.shape, dtype=bool)
        if self._field is None:
            goals |= self._floor.distance_to_box(np.array(self._viewpoint), np.array(self._viewpoint)) < 0.2
        action = self._drive(goals, (SEARCHING, *self._floor.index(*self._viewpoint)))
        if action is None:
            self._viewpoint, self._turns = None, 0
            return LEFT_30
        return action

    def _choose_viewpoint(self, x: float, y: float) -> tuple[float, float] | None:
        """Return the next place to look from; look more closely when everything has been looked at."""
        viewpoint = self._explorer.next_viewpoint(self._floor, x, y)
        if viewpoint is None:
            self._looks += 1
            self._turns = 0
            if self._looks >= 2:
                # Twice in vain: from here on it goes where the target is.
                self.known.update(int(entity) for entity in self._targets)
            self._explorer.forget(self._explorer.reach * 0.6)
            viewpoint = self._explorer.next_viewpoint(self._floor, x, y)
        return viewpoint

    def _find(self, visible_pixels: np.ndarray) -> int:
        """Drive to where a known target can be seen well, face it, end."""
        x, y, _ = self.home.pose
        distances = {entity: horizontal_distance(self._boxes[entity], x, y) for entity in sorted(self.known)}
        for entity, distance in distances.items():
            if visible_pixels[0, entity] >= CLEARLY_VISIBLE and distance <= NEAR_ENOUGH:
                return END
        key = tuple(sorted(self.known))
        goals = self._sight_goals() if self._field_key != key or self._field is None else None
        action = self._drive(goals, key)
        if action is not None:
            return action
        return self._face_target(visible_pixels, distances)

    def _face_target(self, visible_pixels: np.ndarray, distances: dict[int, float]) -> int:
        """At a goal: turn to the nearest known target, end when it is visible."""
        x, y, yaw = self.home.pose
        entity = min(distances, key=lambda e: (distances[e], e))
        if visible_pixels[0, entity] >= VISIBLE_PIXELS and distances[entity] <= LAST_RESORT:
            return END
        centre = self._boxes[entity].mean(axis=0)
        error = wrap(math.atan2(centre[1] - y, centre[0] - x) - yaw)
        turn = turn_towards(error, coarse=math.radians(16), fine=math.radians(7))
        if turn is not None:
            return turn
        # Faced, and still not visible: look from elsewhere.
        self._ban(x, y)
        action = self._drive(self._sight_goals(), tuple(sorted(self.known)))
        return END if action is None else action

    def _sight_goals(self) -> np.ndarray:
        """Return the cells from which some known target can be seen well, without those found wanting."""
        goals = np.zeros(self._floor.clearance.shape, dtype=bool)
        for entity in sorted(self.known):
            goals |= sight_goals(self.home, self._floor, entity, self._boxes[entity], GOAL_DISTANCE)
        return self._without_banned(goals)

    def _grasp_here(self, x: float, y: float) -> GraspPlan | None:
        """Return the plan for a known target that the arm can take from here, or None."""
        slack = 0.04 if self._arm.engaged else 0.0
        if any(math.hypot(x - bx, y - by) < 0.8 * radius for bx, by, radius in self._banned):
            return None
        for entity in sorted(self.known):
            plan = self._grasp_plans.get(entity)
            if plan is None or not plan.fits(x, y, slack):
                continue
            if self._arm.engaged or plan.is_clear(self.home, x, y):
                return plan
        return None

    def _approach(self) -> int:
        """Drive to a place from which a known target can be taken."""
        key = tuple(sorted(self.known))
        goals = None
        if self._field is None or self._field_key != key:
            goals = np.zeros(self._floor.clearance.shape, dtype=bool)
            for entity in key:
                plan = self._grasp_plans.get(entity) or plan_grasp(self.home, entity, self._boxes[entity])
                if plan is not None:
                    self._grasp_plans[entity] = plan
                    goals |= plan.goals(self._floor)
            goals = self._without_banned(goals)
            if not (goals & self._floor.free).any():
                return self._search_on(key)
        action = self._drive(goals, key)
        if action is None:
            # At the goal by the map, but not by the exact check: this spot is no use.
            self._ban(*self.home.pose[:2])
            return AHEAD if self._can_move(0.0) else LEFT_30
        return action

    def _search_on(self, useless: tuple[int, ...]) -> int:
        """None of the targets seen so far can be taken: look for another one."""
        if len(useless) < len(self._targets):
            self.known.difference_update(useless)
            self._out_of_reach.update(useless)
            return self._search()
        return END

    def _drive(self, goals: np.ndarray | None, key: tuple[int, ...]) -> int | None:
        """Return the next action on the way to the nearest goal, None on arrival.

        Args:
            goals: (nx, ny) bool, needed when there is no field for `key` yet.
            key: what the goals are about.
        """
        if self._field is None or self._field_key != key:
            assert goals is not None
            self._goals = self._without_banned(goals)
            self._field, self._field_key = self._floor.field(self._goals), key
            self._poses, self._circles = {}, 0
        self._watch_for_circles()
        floor, (x, y, yaw) = self._floor, self.home.pose
        cost = self._field[floor.index(x, y)]
        if cost <= 0.0:
            return None
        if not np.isfinite(cost):
            # No way leads there: look from elsewhere, or give up.
            return None if key[0] == SEARCHING else END
        patience = -np.inf if self._circles else DETOUR
        fine_turns = choose_heading(
            self._field, floor.clearance, floor.step_cost, floor.origin, floor.cell, floor.radius, x, y, yaw,
            self._last_turn, patience,
        )  # fmt: skip
        if fine_turns == NO_HEADING:
            return BACK if self._can_move(math.pi) else LEFT_30
        self._driving = True
        if fine_turns == 0:
            return AHEAD
        # 3 to 7 turns of 6 degrees are nearest to one turn of 30, which comes first.
        if abs(fine_turns) >= 3:
            return LEFT_30 if fine_turns > 0 else RIGHT_30
        return LEFT_6 if fine_turns > 0 else RIGHT_6

    def _watch_for_circles(self) -> None:
        """Notice a pose that keeps coming back although every advice was followed.

        Moves of 0.2 m may step over a goal that is a single spot. The first time that a pose is met again,
        finer headings are allowed; when that does not help either, the nearest goal is given up.
        """
        x, y, yaw = self.home.pose
        if not self._followed:
            self._poses, self._circles = {}, 0
        pose = (*self._floor.index(x, y), round(yaw / math.radians(30)) % 12)
        self._poses[pose] = self._poses.get(pose, 0) + 1
        self._circles = max(self._circles, self._poses[pose] - 1)
        if self._circles < 2 or not self._goals.any():
            return
        points = self._floor.origin + (np.argwhere(self._goals) + 0.5) * self._floor.cell
        nearest = points[np.argmin(np.hypot(points[:, 0] - x, points[:, 1] - y))]
        self._banned.append((float(nearest[0]), float(nearest[1]), 2 * BANNED_RADIUS))
        self._goals = self._without_banned(self._goals)
        self._field = self._floor.field(self._goals)
        self._poses, self._circles = {}, 0

    def _narrow(self) -> bool:
        """Return whether there is little room across the robot."""
        return passage_width(self.home.scene, self.home, self.home.held) < NARROW

    def _can_move(self, direction: float) -> bool:
        """Return whether a move along yaw + direction (rad) is free."""
        floor, (x, y, yaw) = self._floor, self.home.pose
        return bool(
            passable_moves(floor.clearance, floor.origin, floor.cell, floor.radius, x, y, yaw + direction, 1)
        )

    def _notice(self, visible_pixels: np.ndarray) -> None:
        """Take in what is seen, what has moved and what was bumped into."""
        x, y, yaw = self.home.pose
        self._explorer.look(x, y, yaw)
        seen = visible_pixels.max(axis=0) >= VISIBLE_PIXELS
        for entity in self._targets:
            if seen[entity] and entity not in self._out_of_reach:
                self.known.add(int(entity))
        self._followed = self._was_followed()
        bumped = self._bumped()
        if bumped:
            ahead = 0.35 if self._last_action == AHEAD else -0.35
            self._bumps.append((x + ahead * math.cos(yaw), y + ahead * math.sin(yaw)))
        positions = self.home.data.xpos[self.home.scene.body[self._movable]]
        if bumped or (np.abs(positions - self._positions).max(initial=0.0) > MOVED and self.home.held < 0):
            self._survey()

    def _was_followed(self) -> bool:
        """Return whether the base is where the last answer would have brought it."""
        if self._last_action < 0:
            return True
        x, y, yaw = self._last_pose
        target = commanded_target(joint_values(x, y, yaw, 0.0, 0.0, 0.0), self._last_action)
        x, y, yaw = self.home.pose
        near = math.hypot(target[0] - x, target[1] - y) < 0.03
        return near and abs(wrap(float(target[2]) - yaw)) < 0.03

    def _bumped(self) -> bool:
        """Return whether the move that was wanted last ended short because something stood in the way."""
        if self._last_action not in (AHEAD, BACK) or float(self.home.data.time) <= self._last_time:
            return False  # nothing was touched: such moves take no simulated time
        (x, y, yaw), (x0, y0, yaw0) = self.home.pose, self._last_pose
        return abs(wrap(yaw - yaw0)) < 0.03 and math.hypot(x - x0, y - y0) < 0.15

    def _ban(self, x: float, y: float) -> None:
        """Remember that a place is no use as a goal."""
        self._banned.append((x, y, BANNED_RADIUS))
        self._field = None

    def _without_banned(self, goals: np.ndarray) -> np.ndarray:
        for x, y, radius in self._banned:
            place = np.array([x, y])
            goals = goals & (self._floor.distance_to_box(place, place) > radius)
        return goals

    def _rooms(self) -> np.ndarray:
        """Return (R, 4) m, x0, y0, x1, y1 of the rooms."""
        return np.array([(room.x0, room.y0, room.x1, room.y1) for room in self.home.scene.spec.rooms], float)

    def _recognition_distance(self) -> float:
        """Return from how far (m, on the floor) a thing of the target's size fills enough pixels."""
        size = np.asarray(self.home.scene.size)[self._targets]
        if len(size) == 0:
            return 2.0
        seen = math.sqrt(float((np.maximum(size[:, 0], size[:, 1]) * size[:, 2]).min()))
        return float(np.clip(28.0 * seen, 1.6, 4.0))

    def _survey(self) -> None:
        """Map the floor as it is now."""
        home = self.home
        self._positions = home.data.xpos[home.scene.body[self._movable]].copy()
        self._boxes = self._geoms.boxes(home.model, home.data, len(home.scene.names))
        self._floor = navigation_map(home, self._boxes, self._targets, CLEARANCE)
        for bx, by in self._bumps:
            bump = np.array([bx, by])
            gap = self._floor.distance_to_box(bump, bump)
            np.minimum(self._floor.clearance, gap, out=self._floor.clearance)
        self._opaque = opaque_cells(home, self._boxes, self._floor)
        self._field = None
        self._grasp_plans = {}
