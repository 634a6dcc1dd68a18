"""Actions as vectors: what the robot does with an action is what its vector says, and back."""

import numpy as np
import pytest

from safevla.policy.continuous import LARGEST, VECTORS, nearest_actions, state_vectors, to_vectors
from safevla.types import ACTION_ID, ACTIONS, Observation
from safevla.world.robot import commanded_target, joint_values


def test_there_and_back():
    every = np.arange(len(ACTIONS))
    assert to_vectors(every).dtype == np.float32 and to_vectors(every).shape == (20, 7)
    np.testing.assert_array_equal(nearest_actions(to_vectors(every)), every)
    noisy = to_vectors(every) + np.random.default_rng(0).uniform(-0.04, 0.04, (20, 7)) * LARGEST
    np.testing.assert_array_equal(nearest_actions(noisy), every)


def test_vectors_are_what_the_robot_does():
    """Oracle: the controller's targets from the middle of every range, facing +x."""
    start = joint_values(0, 0, 0, 0.5, 0.25, 1.0)
    for action, vector in enumerate(VECTORS):
        change = commanded_target(start, action) - start
        done = [change[0], change[2], change[3], change[4] + change[5], change[6]]
        np.testing.assert_allclose(vector[:5], done, atol=1e-12)


@pytest.mark.parametrize(
    ("vector", "name"),
    [
        ([0, 0, 0, 0, 0, 0, 0], "sub_task_done"),
        ([0.09, 0, 0, 0, 0, 0, 0], "sub_task_done"),
        ([0.11, 0, 0, 0, 0, 0, 0], "move_ahead"),
        ([9.0, 0, 0, 0, 0, 0, 0], "move_ahead"),
        ([0.2, -0.5, 0, 0, 0, 0, 0], "move_ahead"),
        ([0.1, -0.5, 0, 0, 0, 0, 0], "turn_right_30"),
        ([0, 0.3, 0, 0, 0, 0, 0], "turn_left_6"),
        ([0, 0, 0, 0.07, 0, 0, 0], "arm_out_10"),
        ([0, 0, 0, 0, 0, 0.6, 0.4], "pick_up"),
        ([0, 0, 0, 0, 0, -0.9, 0], "drop"),
        ([0.05, 0, 0, 0, 0, 0.2, 0.8], "end"),
    ],
)
def test_the_nearest_action(vector, name):
    assert nearest_actions(np.array([vector]))[0] == ACTION_ID[name]


def test_state():
    empty = np.zeros((2, 8, 8, 3), np.uint8)
    zeros = np.zeros(2, np.int64)
    joints = np.array([[0.5, 0.1, 1.5], [1, 0, 0]], np.float32)
    seen = Observation(empty, empty, np.array([1, 0]), zeros, zeros, ["x", "y"], None, joints)
    np.testing.assert_array_equal(state_vectors(seen), np.float32([[0.5, 0.1, 1.5, 1], [1, 0, 0, 0]]))
    with pytest.raises(ValueError, match="joints"):
        state_vectors(Observation(empty, empty, zeros, zeros, zeros, ["x", "y"]))
