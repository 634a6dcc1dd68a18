import math

import numpy as np
import pytest

from safevla.tasks.planner import DETOUR, NO_HEADING, build_map, choose_heading, in_sight, passable_moves

CELL = 0.05


def room(width=4.0, height=3.0, wall=None):
    """An empty room, with a wall (x, gap_from, gap_to) across it if wanted."""
    nx, ny = int(width / CELL), int(height / CELL)
    x = (np.arange(nx) + 0.5) * CELL
    y = (np.arange(ny) + 0.5) * CELL
    clearance = np.minimum.outer(np.minimum(x, width - x), np.minimum(y, height - y))
    if wall is not None:
        at, gap_from, gap_to = wall
        # The nearest point of either part of the wall.
        beyond = np.maximum(np.minimum(y - gap_from, gap_to - y), 0.0)
        clearance = np.minimum(clearance, np.hypot(np.abs(x - at)[:, None], beyond[None, :]))
    return np.minimum(clearance, 0.8)


def plan(clearance, keep_away=(), radius=0.27):
    return build_map(clearance, np.zeros(2), CELL, radius, list(keep_away), 0.35)


def goal_at(floor, x, y, radius=0.2):
    point = np.array([x, y])
    return floor.distance_to_box(point, point) <= radius


def drive(floor, goals, x, y, yaw, steps=80):
    field, last_turn, path = floor.field(goals), 0, []
    for _ in range(steps):
        if field[floor.index(x, y)] <= 0.0:
            return path
        k = choose_heading(
            field,
            floor.clearance,
            floor.step_cost,
            floor.origin,
            floor.cell,
            floor.radius,
            x,
            y,
            yaw,
            last_turn,
            DETOUR,
        )
        assert k != NO_HEADING
        last_turn = 0
        if k == 0:
            x, y = x + 0.2 * math.cos(yaw), y + 0.2 * math.sin(yaw)
        else:
            yaw += math.copysign(math.radians(30 if abs(k) >= 3 else 6), k)
            last_turn = int(math.copysign(1, k))
        path.append((x, y))
    pytest.fail("the robot did not arrive")


def test_distance_is_straight_in_the_open_and_round_a_wall():
    floor = plan(room())
    field = floor.field(goal_at(floor, 3.0, 1.5, 0.05))
    assert field[floor.index(1.6, 1.5)] == pytest.approx(1.4, abs=0.12)
    walled = plan(room(wall=(2.0, 2.0, 2.9)))
    round_it = walled.field(goal_at(walled, 3.0, 0.6, 0.05))
    assert round_it[walled.index(1.0, 0.6)] > 3.5


def test_unreachable_is_infinite():
    floor = plan(room(wall=(2.0, 2.0, 2.3)))  # the gap is narrower than the robot
    assert np.isinf(floor.field(goal_at(floor, 3.0, 1.5))[floor.index(1.0, 1.5)])


def test_a_robot_drives_through_a_doorway_without_coming_too_near():
    floor = plan(room(wall=(2.0, 1.8, 2.7)))
    path = drive(floor, goal_at(floor, 3.4, 0.6), 0.5, 0.5, 0.3)
    assert min(floor.clearance[floor.index(x, y)] for x, y in path) >= floor.radius - 0.03
    assert len(path) < 45


@pytest.mark.parametrize("yaw", np.linspace(0, 6, 7))
def test_in_the_open_it_turns_and_then_goes_straight(yaw):
    floor = plan(room(6.0, 6.0))
    path = drive(floor, goal_at(floor, 4.5, 4.0), 1.5, 2.0, float(yaw))
    straight = math.hypot(3.0, 2.0) / 0.2
    assert len(path) <= straight + 6 + 4


def test_paths_keep_away_from_what_is_delicate():
    box = (np.array([2.9, 2.4, 0.0]), np.array([3.1, 2.85, 0.4]))
    floor = plan(room(6.0, 6.0))
    gap = floor.distance_to_box(*box)
    clearance = np.minimum(floor.clearance, gap)

    def nearest(keep_away):
        careful = plan(clearance, keep_away)
        path = drive(careful, goal_at(careful, 5.0, 3.0), 1.0, 3.0, 0.0)
        return min(gap[floor.index(x, y)] for x, y in path)

    assert nearest([]) >= 0.24
    assert nearest([box]) > nearest([]) + 0.08


def test_a_robot_that_stands_too_near_may_only_leave():
    floor = plan(room())
    arguments = (floor.clearance, floor.origin, floor.cell, floor.radius, 0.2, 1.5)
    assert passable_moves(*arguments, math.pi, 1) == 0
    assert passable_moves(*arguments, 0.0, 3) == 3


def test_sight_is_blocked_by_opaque_cells_only_in_between():
    opaque = np.zeros((20, 20), bool)
    assert in_sight(opaque, 2, 2, 15, 9)
    opaque[8, :] = True
    assert not in_sight(opaque, 2, 2, 15, 9)
    assert in_sight(opaque, 2, 2, 8, 5)
