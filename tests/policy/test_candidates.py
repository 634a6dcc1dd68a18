"""Candidates for the target: their places, and how views from afar, from near and of nothing weigh."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safevla.policy.candidates import _KEPT, SIGHT_SIZE, SIGHTED, Candidates, rays
from safevla.policy.memory import MemoryConfig
from safevla.types import CELLS, CHANNELS, DEPTH_SCALE

GRID = (14, 14)
MOUNTS = (MemoryConfig.navigation, MemoryConfig.manipulation)
AHEAD = (14, 14)  # row and column of a cell in the middle of a picture


def pictures(*things, depth=6.0, around=6.0, camera=0):
    """Return maps (2, CHANNELS, 14, 14) of things (row, column, probability) at a depth, others beyond."""
    maps = np.zeros((2, CHANNELS, *GRID), np.float32)
    maps[:, CELLS * CELLS] = math.log(around) / DEPTH_SCALE
    for row, column, probability in things:
        maps[camera, CELLS * CELLS, row // CELLS, column // CELLS] = math.log(depth) / DEPTH_SCALE
        maps[camera, CELLS * (row % CELLS) + column % CELLS, row // CELLS, column // CELLS] = probability
    return maps


class Robot:
    """Candidates of one home, and a pose."""

    def __init__(self):
        self.candidates = Candidates(MOUNTS, MemoryConfig.field_of_view, GRID)
        self.candidates.reset(np.array([True]))
        self.pose = np.zeros(3)

    def look(self, maps):
        """Return what is told: both sightings (2, 4), and the best candidate (5,)."""
        told = np.zeros(SIGHT_SIZE)
        self.candidates.observe(0, maps, self.pose, told)
        return told[:8].reshape(2, 4), told[8:]


def place(cell, depth, camera=0):
    """Return where from the robot a cell's centre is."""
    directions = rays(MOUNTS[camera], MemoryConfig.field_of_view, (CELLS * GRID[0], CELLS * GRID[1]))
    return np.array(MOUNTS[camera][:3]) + depth * directions[cell]


@settings(max_examples=60, deadline=None)
@given(
    row=st.integers(1, 26),
    column=st.integers(1, 26),
    depth=st.floats(0.6, 5.0),
    probability=st.floats(0.2, 0.99),
    camera=st.integers(0, 1),
    pose=st.tuples(st.floats(-5, 5), st.floats(-5, 5), st.floats(-3, 3)),
)
def test_one_view_is_told_as_it_is(row, column, depth, probability, camera, pose):
    robot = Robot()
    robot.pose[:] = pose
    sightings, best = robot.look(pictures((row, column, probability), depth=depth, camera=camera))
    there = place((row, column), depth, camera)
    np.testing.assert_allclose(sightings[camera], [probability, *there], atol=1e-4)
    assert not sightings[1 - camera].any()
    if math.hypot(*there[:2]) < 8.0:
        # The other camera may see the place too, and nothing there: then less is left of it.
        assert best[0] <= probability + 1e-4
        np.testing.assert_allclose(best[1:], [*there, 0.0], atol=1e-4)


def test_a_near_view_of_nothing_outweighs_a_far_one():
    robot = Robot()
    for _ in range(5):
        _, far = robot.look(pictures((8, 14, 0.9), depth=4.0))
    assert far[0] == pytest.approx(0.9, abs=1e-4)
    robot.pose[0] = 2.0
    _, near = robot.look(pictures())
    assert near[0] < 0.1


def test_what_stands_before_a_candidate_does_not_count_against_it():
    robot = Robot()
    robot.look(pictures((*AHEAD, 0.9), depth=4.0))
    for _ in range(5):
        _, best = robot.look(pictures(around=2.0))
    assert best[0] == pytest.approx(0.9, abs=1e-4)
    assert best[4] == pytest.approx(5 / 50)  # its age


def test_what_is_out_of_view_is_remembered():
    robot = Robot()
    robot.look(pictures((*AHEAD, 0.9), depth=4.0))
    robot.pose[2] = math.pi  # turned around
    _, best = robot.look(pictures())
    ahead, left, height = place(AHEAD, 4.0)
    np.testing.assert_allclose(best[:4], [0.9, -ahead, -left, height], atol=1e-3)
    robot.candidates.reset(np.array([True]))
    assert not robot.look(pictures())[1].any()


def test_what_looks_like_it_in_every_view_is_preferred_to_what_did_once():
    robot = Robot()
    for right in (0.95, 0.3, 0.3, 0.3):
        _, best = robot.look(pictures((14, 4, 0.8), (14, 24, right), depth=2.0))
    assert best[0] == pytest.approx(0.8, abs=0.01)
    np.testing.assert_allclose(best[1:4], place((14, 4), 2.0), atol=1e-3)


def test_a_table_that_is_full_keeps_the_most_likely():
    robot = Robot()
    for turn in range(_KEPT + 4):
        robot.pose[2] = turn * 2 * math.pi / (_KEPT + 4)
        robot.look(pictures((*AHEAD, 0.9 if turn < 2 else 0.3 + 0.01 * turn), depth=5.0, around=0.3))
    logits = robot.candidates._known[0, :, 1]
    assert np.isclose(logits, math.log(9.0), atol=1e-3).sum() == 2
    assert (robot.candidates._known[0, :, 0] > 0).all()


def test_what_is_less_than_sighted_is_nothing():
    sightings, best = Robot().look(pictures((*AHEAD, SIGHTED - 0.01)))
    assert not sightings.any() and not best.any()
