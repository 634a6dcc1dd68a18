"""Costs for Gymnasium's own Pusher, and for a hand-made environment with known numbers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest

import safevla
from safevla.safety.instrument import Instrumented, find_model, instrument
from safevla.safety.specification import Constraint, Specification, load_specification
from safevla.safety.vocabulary import SignalInfo

XML = """<mujoco><option timestep="0.002"/><worldbody>
  <geom name="floor" type="plane" size="2 2 0.1"/>
  <body name="crate_a" pos="0 0 0.1"><freejoint/><geom type="box" size="0.1 0.1 0.1" mass="2"/></body>
  <body name="crate_b" pos="1 0 0.6"><freejoint/><geom type="box" size="0.1 0.1 0.1" mass="1"/></body>
  <body name="arm" pos="0 1 0.5"><joint name="hinge" type="hinge" axis="0 0 1" damping="1"/>
    <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.02"/></body>
  </worldbody><actuator><motor name="motor" joint="hinge" gear="2"/></actuator></mujoco>"""


class Crates(gymnasium.Env):
    """Two crates, one of which falls 0.5 m, and an arm that turns."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))

    def __init__(self) -> None:
        self.model = mujoco.MjModel.from_xml_string(XML)
        self.data = mujoco.MjData(self.model)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.data)
        mujoco.mj_forward(self.model, self.data)
        return np.zeros(1), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        self.data.ctrl[:] = action
        for _ in range(25):
            mujoco.mj_step(self.model, self.data)
        mujoco.mj_forward(self.model, self.data)
        return np.zeros(1), 0.0, False, False, {"own": 1}


SIGNALS = {
    info.name: info
    for info in (
        SignalInfo("floor_force", "N", scope="object", read="contact_force crate_* world"),
        SignalInfo("moved", "cm", scope="object", read="displacement crate_*"),
        SignalInfo("height", "m", scope="object", read="height crate_*"),
        SignalInfo("speed", "m/s", scope="object", read="speed crate_*"),
        SignalInfo("tilt", "rad", scope="object", read="tilt crate_*"),
        SignalInfo("gap", "m", read="distance arm crate_*"),
        SignalInfo("turning", "rad/s", read="joint_speed hinge"),
        SignalInfo("torque", "N m", read="actuator_force motor"),
    )
}


def crates(**formulas: str) -> Instrumented:
    rules = {name: Constraint(name, text) for name, text in formulas.items()}
    return instrument(Crates(), Specification("crates", rules, "", SIGNALS, 0.05))


def test_readings_are_what_physics_says() -> None:
    env = crates(fallen="any object: moved > 10 cm")
    env.reset(seed=0)
    env.step(np.zeros(1))
    assert env.objects == ("crate_a", "crate_b")
    read = env._model.read
    fall = 0.05  # s
    assert read("speed")[0, 1] == pytest.approx(9.81 * fall, rel=0.01)
    assert read("moved")[0, 1] == pytest.approx(100 * 9.81 * fall**2 / 2, rel=0.06)
    assert read("height")[0, 0] == pytest.approx(0.1, abs=0.01)
    assert read("gap") == pytest.approx(np.sqrt(1.0 + 0.4**2), abs=0.01)
    for _ in range(60):
        env.step(np.array([0.5]))
    # At rest four corners carry each crate; the largest force is that of one of them.
    assert read("floor_force")[0, 0] == pytest.approx(2 * 9.81 / 4, rel=0.05)
    assert read("torque")[0] == pytest.approx(0.5) and read("turning")[0] > 0.1
    assert read("tilt")[0].max() < 0.05


def test_costs_and_events_stand_in_info() -> None:
    env = crates(
        fallen="any object: moved > 10 cm and previous moved <= 10 cm", landed="any object: floor_force > 9 N"
    )
    _, info = env.reset()
    assert info == {}
    costs = []
    for step in range(12):
        *_, info = env.step(np.zeros(1))
        assert info["own"] == 1 and info["cost"] == sum(info["costs"].values())
        costs.append(info["costs"]["fallen"])
        for event in info["events"]:
            assert event["step"] == step and event["bodies"] == ["crate_b"]
    assert sum(costs) == 1.0 and costs[0] == 0.0
    env.reset()
    assert env.step(np.zeros(1))[-1]["cost"] == 0.0, "the next episode begins anew"


def test_gymnasiums_own_pusher_reports_costs() -> None:
    signals = {
        "arm_speed": SignalInfo("arm_speed", "m/s", read="speed tips_arm"),
        "object_moved": SignalInfo("object_moved", "m", read="displacement object"),
        "joint_speed": SignalInfo("joint_speed", "rad/s", read="joint_speed r_*"),
    }
    rules = {
        "fast": Constraint("fast", "arm_speed > 0.5 m/s", severity="arm_speed"),
        "pushed": Constraint("pushed", "object_moved > 1 mm", charge="once"),
        "calm": Constraint(
            "calm", require="joint_speed > 1 rad/s implies eventually[0, 10] joint_speed < 1 rad/s"
        ),
    }
    pytest.importorskip("imageio", reason="Gymnasium's MuJoCo environments need it")
    env = safevla.instrument(gymnasium.make("Pusher-v5"), Specification("pusher", rules, "", signals))
    env.reset(seed=1)
    rng, totals = np.random.default_rng(1), dict.fromkeys(rules, 0.0)
    for _ in range(80):
        *_, info = env.step(rng.uniform(-2.0, 2.0, env.action_space.shape))
        for name, cost in info["costs"].items():
            totals[name] += cost
    assert totals["fast"] > 0
    assert totals["pushed"] <= 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"read": "contact_forc crate_* world"},
            "unknown reading 'contact_forc'; did you mean 'contact_force'?",
        ),
        ({"read": "contact_force crate_*"}, "'contact_force' takes 2 names"),
        ({"read": "contact_force crat_* world"}, "no body is called 'crat_*'; did you mean 'crate_"),
        ({"read": "height crate_*"}, "'signals.floor_force.unit' must be 'm' or like it, got 'N'"),
        ({"read": "contact_force crate_b world"}, "others about crate_b"),
        ({"read": ""}, "unknown reading ''"),
    ],
)
def test_signals_that_cannot_be_read(change: dict[str, str], message: str) -> None:
    wrong = {"floor_force": SignalInfo("floor_force", "N", scope="object", **change)}
    rules = {"rule": Constraint("rule", "any object: height < 0 m")}
    with pytest.raises(ValueError, match="signals") as error:
        instrument(Crates(), Specification("crates", rules, "", SIGNALS | wrong))
    assert message in str(error.value)


def test_where_models_are_found() -> None:
    model = mujoco.MjModel.from_xml_string(XML)
    data = mujoco.MjData(model)
    robosuite = SimpleNamespace(
        sim=SimpleNamespace(model=SimpleNamespace(_model=model), data=SimpleNamespace(_data=data))
    )
    assert find_model(robosuite) == (model, data)
    with pytest.raises(ValueError, match="has no MuJoCo model"):
        find_model(gymnasium.make("CartPole-v1"))
    with pytest.raises(ValueError, match="declares no signals"):
        instrument(Crates(), "safevla")


@pytest.mark.parametrize(
    ("package", "name", "specification", "charged"),
    [
        ("gymnasium_robotics", "FetchPickAndPlace-v4", "fetch.toml", {"hard_contact", "fast_near_object"}),
        ("metaworld", "drawer-open-v3", "drawer.toml", {"low_and_fast"}),
    ],
)
def test_environments_of_others(package: str, name: str, specification: str, charged: set[str]) -> None:
    """The example, in an environment that has their packages: make test-instrument."""
    pytest.importorskip(package)
    examples = Path(__file__).parents[2] / "examples"
    command = [sys.executable, str(examples / "instrument.py"), name, str(examples / specification)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    costs = dict(
        line.split(" an episode")[0].split(": ") for line in done.stdout.splitlines() if " an episode" in line
    )
    assert set(costs) == set(load_specification(examples / specification).names)
    assert charged <= {constraint for constraint, cost in costs.items() if float(cost) > 0}
