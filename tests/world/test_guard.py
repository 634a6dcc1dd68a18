"""A state that goes bad: what led to it is on disk, the home goes back, and the run goes on."""

import json
import logging

import mujoco
import numpy as np
import pytest
from room import BALL, assert_same, home_at, play, room

from safevla.types import ACTION_ID
from safevla.world import guard
from safevla.world.guard import KEPT, StateRing
from safevla.world.simulator import settle


@pytest.fixture(scope="module")
def settled():
    return settle(room())


@pytest.fixture(autouse=True)
def first_dump(monkeypatch, tmp_path):
    """Count from 0 in every test; MuJoCo writes its log where it is run."""
    monkeypatch.setattr(guard, "_numbers", iter(range(1000)))
    monkeypatch.chdir(tmp_path)


def home_with_folder(settled, tmp_path, kinematic=True):
    home = home_at(settled, 0, 0, kinematic=kinematic)
    home.dump_folder = tmp_path / "bad"
    return home


def plant(home, what: str) -> None:
    address = home.model.body_dofadr[home.scene.body[BALL]]
    if what == "speed":
        home.data.qvel[address] = np.nan
    elif what == "place":
        home.data.qpos[home.model.jnt_qposadr[home.model.body_jntadr[home.scene.body[BALL]]]] = np.nan
    elif what == "force":
        home.data.qfrc_applied[home.scene.robot.dof[0]] = np.nan
    else:
        home.data.qfrc_applied[home.scene.robot.dof[0]] = 1e8


@pytest.mark.parametrize("what", ["speed", "place", "force", "huge force"])
@pytest.mark.parametrize("by_bindings", [False, True])
def test_a_planted_bad_state(settled, tmp_path, caplog, what, by_bindings):
    home = home_with_folder(settled, tmp_path, kinematic=False)
    if by_bindings:
        home._motion.functions = None
    play(home, "move_ahead", "turn_left_30")
    before = home.data.qpos.copy()
    plant(home, what)
    with caplog.at_level(logging.WARNING):
        record = play(home, "turn_left_6")[0]
    assert record.nan and record.substeps == 0 and np.isfinite(record.displacement).all()
    assert np.isfinite(home.data.qpos).all() and np.isfinite(home.data.qvel).all()
    if "force" in what:
        np.testing.assert_array_equal(home.data.qpos, before)
        home.data.qfrc_applied[:] = 0.0
    else:  # the state before the action was bad as well
        assert home.pose == (0.0, 0.0, 0.0)
    (folder,) = (tmp_path / "bad").iterdir()
    assert home.dump == folder and str(folder) in caplog.text and "went bad" in caplog.text
    assert json.loads((folder / "about.json").read_text())["actions"] == [
        ACTION_ID[name] for name in ("move_ahead", "turn_left_30", "turn_left_6")
    ]
    assert not any(record.nan for record in play(home, "turn_right_30", "move_back"))


def test_what_is_written_brings_the_states_back(settled, tmp_path):
    home = home_with_folder(settled, tmp_path)
    places = []
    for name in ("move_ahead", "turn_left_30", "lift_up_10"):
        places.append(home.data.qpos.copy())
        play(home, name)
    plant(home, "speed")
    play(home, "move_ahead")
    model = mujoco.MjModel.from_binary_path(str(home.dump / "model.mjb"))
    kept = np.load(home.dump / "states.npz")
    data = mujoco.MjData(model)
    assert len(kept["states"]) == len(kept["actions"]) == 4
    for state, place in zip(kept["states"], places, strict=False):
        mujoco.mj_setState(model, data, state, int(kept["signature"]))
        np.testing.assert_array_equal(data.qpos, place)
    mujoco.mj_setState(model, data, kept["states"][-1], int(kept["signature"]))
    assert np.isnan(data.qvel).any()


def test_the_ring_keeps_the_latest_and_forgets_at_reset(settled):
    home = home_at(settled, 0, 0)
    ring = StateRing(home.model, home.data)
    for action in range(KEPT + 5):
        home.data.time = action
        ring.keep(action)
    states, actions = ring.latest()
    np.testing.assert_array_equal(actions, np.arange(5, KEPT + 5))
    np.testing.assert_array_equal(states[:, 0], actions)  # time comes first
    ring.clear()
    assert len(ring.latest()[1]) == 0


def test_what_is_kept_is_what_mujoco_calls_the_state(settled):
    home = home_at(settled, 0, 0.4, kinematic=False)
    play(home, "move_ahead")
    home.data.qfrc_applied[3], home.data.eq_active[0] = 0.5, 1
    ring = StateRing(home.model, home.data)
    ring.keep(0)
    expected = np.zeros(mujoco.mj_stateSize(home.model, guard.STATE))
    mujoco.mj_getState(home.model, home.data, expected, guard.STATE)
    np.testing.assert_array_equal(ring.latest()[0][0], expected)


def test_no_more_than_so_many_are_written(settled, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(guard, "MOST_DUMPS", 2)
    home = home_with_folder(settled, tmp_path)
    for _ in range(4):
        plant(home, "speed")
        assert play(home, "move_ahead")[0].nan
    assert len(list((tmp_path / "bad").iterdir())) == 2 and home.dump is None
    assert "this one is not" in caplog.text


def test_a_folder_that_cannot_be_written_does_not_end_the_run(settled, tmp_path, caplog):
    home = home_with_folder(settled, tmp_path)
    (tmp_path / "bad").write_text("a file")
    plant(home, "speed")
    assert play(home, "move_ahead")[0].nan and home.dump is None
    assert "could not be written" in caplog.text


def test_after_going_back_all_is_as_without_it(settled, tmp_path):
    bad, good = home_with_folder(settled, tmp_path, False), home_at(settled, 0, 0, kinematic=False)
    play(bad, "move_ahead")
    plant(bad, "force")
    play(bad, "move_ahead")
    bad.data.qfrc_applied[:] = 0.0
    play(good, "move_ahead")
    for first, second in zip(
        *(play(home, "turn_left_30", "move_ahead") for home in (bad, good)), strict=True
    ):
        assert_same(first, second)


def test_folder_by_environment_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("SAFEVLA_BAD_STATES", str(tmp_path / "here"))
    assert guard.default_folder() == tmp_path / "here"
    monkeypatch.delenv("SAFEVLA_BAD_STATES")
    assert guard.default_folder().name == "safevla-bad-states"
