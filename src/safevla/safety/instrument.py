"""Costs for any Gymnasium environment that runs on MuJoCo, without a change to it.

    env = instrument(gymnasium.make("FetchPickAndPlace-v4"), "table.toml")
    observation, reward, terminated, truncated, info = env.step(action)
    info["cost"], info["costs"], info["events"]

The specification declares its signals, each with `read`, which says what of the model it is. Names of bodies
and
joints are patterns with * and ?:

    contact_force A B   largest normal force between a body of A and a body of B, N
    distance A B        least distance between the origins of a body of A and one of B, m
    speed A             speed of the origin, m/s
    height A            z of the origin, m
    displacement A      distance from where the origin was when the episode began, m
    tilt A              angle of the body's z axis against that of then, rad
    joint_speed J       greatest absolute speed of the joints, rad/s or m/s
    actuator_force U    greatest absolute force of the actuators, N or N m

A signal of objects has a value for each body that A matches; these are the objects, the same for all signals.
Of a signal of the home, several bodies give the value that is most dangerous: the least distance and height,
the greatest of the others. Values are those at the end of a step of the environment; contacts in between are
not seen.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np

from safevla.config import nearest
from safevla.safety.specification import OnsetTracker, Specification, load_specification
from safevla.safety.units import parse_unit
from safevla.safety.vocabulary import SignalInfo

Reader = Callable[[], np.ndarray]
# Of each reading: how many patterns it takes, its unit, and whether the least value is the dangerous one.
READINGS = {
    "contact_force": (2, "N", False),
    "distance": (2, "m", True),
    "speed": (1, "m/s", False),
    "height": (1, "m", True),
    "displacement": (1, "m", False),
    "tilt": (1, "rad", False),
    "joint_speed": (1, "", False),
    "actuator_force": (1, "", False),
}


def instrument(env: gymnasium.Env, specification: str | Path | Specification) -> Instrumented:
    """Wrap an environment so that it reports costs.

    `info` of every step then has "cost" (float), "costs" (by constraint) and "events" (list of dicts).

    Args:
        env: a Gymnasium environment that runs on MuJoCo.
        specification: a specification whose signals say with `read` what of the model they are, or its file.

    Raises:
        ValueError: the environment has no MuJoCo model, or a signal cannot be read from it.
    """
    loaded = specification if isinstance(specification, Specification) else load_specification(specification)
    return Instrumented(env, loaded)


class Instrumented(gymnasium.Wrapper):  # type: ignore[misc]
    """An environment with costs; see `instrument`.

    Attributes:
        specification: what is charged.
        objects: names of the bodies that signals of objects are about.
    """

    def __init__(self, env: gymnasium.Env, specification: Specification) -> None:
        super().__init__(env)
        self.specification = specification
        model, data = find_model(env)
        self._model = ModelReader(model, data, specification)
        self.objects = self._model.objects
        self._onsets = OnsetTracker(1, len(self.objects))
        self._step = 0

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        observation, info = self.env.reset(**options)
        self._model.begin(*find_model(self.env))
        self._onsets.reset()
        self._step = 0
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step and charge it."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._model.begin(*find_model(self.env), keep_start=True)
        costs, events = self.specification.judge(
            self._model.read, [self.objects], np.array([self._step]), self._onsets, np.ones(1, dtype=bool)
        )
        self._step += 1
        own = dict(zip(self.specification.names, map(float, costs[0]), strict=True))
        charged = {
            "cost": float(costs.sum()),
            "costs": own,
            "events": [event.to_dict() for event in events[0]],
        }
        return observation, reward, terminated, truncated, dict(info) | charged


def find_model(env: Any) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """Return MuJoCo's model and data of an environment, wherever the usual libraries keep them.

    Raises:
        ValueError: it has none.
    """
    inner = getattr(env, "unwrapped", env)
    simulation = getattr(inner, "sim", None)  # robosuite
    physics = getattr(inner, "physics", None)  # dm_control
    candidates = (
        (getattr(inner, "model", None), getattr(inner, "data", None)),
        (_of(simulation, "model", "_model"), _of(simulation, "data", "_data")),
        (_of(physics, "model", "ptr"), _of(physics, "data", "ptr")),
    )
    for model, data in candidates:
        if isinstance(model, mujoco.MjModel) and isinstance(data, mujoco.MjData):
            return model, data
    raise ValueError(
        f"{type(inner).__name__} has no MuJoCo model; instrument takes environments that run on it"
    )


def _of(owner: Any, *names: str) -> Any:
    for name in names:
        owner = getattr(owner, name, None)
    return owner


class ModelReader:
    """Reads the signals of a specification from a MuJoCo model.

    Attributes:
        objects: names of the bodies that signals of objects are about.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, specification: Specification) -> None:
        if not specification.signals:
            raise ValueError("the specification declares no signals; add [signals.NAME] with a 'read'")
        self.model, self.data = model, data
        self._bodies = [model.body(index).name for index in range(model.nbody)]
        self._signals = specification.signals
        self._wanted: dict[str, tuple[str, list[np.ndarray]]] = {}
        self.objects: tuple[str, ...] = ()
        for name, info in self._signals.items():
            self._wanted[name] = self._resolve(info)
        self.begin(model, data)

    def begin(self, model: mujoco.MjModel, data: mujoco.MjData, *, keep_start: bool = False) -> None:
        """Take the state of a new step; unless `keep_start`, it is the one that an episode begins with."""
        self.model, self.data = model, data
        if not keep_start:
            self._start, self._axes = data.xpos.copy(), data.xmat[:, [2, 5, 8]].copy()

    def read(self, name: str) -> np.ndarray:
        """Return a signal, (1,) or (1, E), in its declared unit."""
        info = self._signals[name]
        kind, chosen = self._wanted[name]
        values = getattr(self, f"_{kind}")(*chosen)
        scale = parse_unit(info.unit).to_base(1.0)
        if info.scope == "home":
            values = values.min(keepdims=True) if READINGS[kind][2] else values.max(keepdims=True)
        return (
            np.asarray(values / scale, dtype=np.float64)[None, ...]
            if info.scope == "object"
            else values / scale
        )

    def _resolve(self, info: SignalInfo) -> tuple[str, list[np.ndarray]]:
        """Return what to read for a signal, with the numbers of the bodies, joints or actuators."""
        place = f"'signals.{info.name}.read'"
        kind, *patterns = info.read.split() or [""]
        if kind not in READINGS:
            raise ValueError(f"{place}: unknown reading '{kind}'{nearest(kind, READINGS)}")
        count, unit, _ = READINGS[kind]
        if len(patterns) != count:
            raise ValueError(f"{place}: '{kind}' takes {count} names, got '{info.read}'")
        if unit and parse_unit(info.unit).dimension != parse_unit(unit).dimension:
            raise ValueError(f"'signals.{info.name}.unit' must be '{unit}' or like it, got '{info.unit}'")
        known = {"joint_speed": "joint", "actuator_force": "actuator"}.get(kind, "body")
        names = [getattr(self.model, known)(i).name for i in range(self._count(known))]
        chosen = []
        for pattern in patterns:
            found = [index for index, name in enumerate(names) if fnmatch.fnmatchcase(name, pattern)]
            if not found:
                raise ValueError(
                    f"{place}: no {known} is called '{pattern}'{nearest(pattern, filter(None, names))}"
                )
            chosen.append(np.array(found))
        if info.scope == "object":
            objects = tuple(names[index] for index in chosen[0])
            if self.objects and objects != self.objects:
                raise ValueError(
                    f"{place} is about {', '.join(objects)}, others about {', '.join(self.objects)}"
                )
            self.objects = objects
        return kind, chosen

    def _count(self, known: str) -> int:
        return int({"joint": self.model.njnt, "actuator": self.model.nu}.get(known, self.model.nbody))

    def _contact_force(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        result, force = np.zeros(len(first)), np.zeros(6)
        for index in range(self.data.ncon):
            contact = self.data.contact[index]
            if contact.efc_address < 0:
                continue
            pair = self.model.geom_bodyid[contact.geom1], self.model.geom_bodyid[contact.geom2]
            for one, other in (pair, pair[::-1]):
                if other in second and one in first:
                    mujoco.mj_contactForce(self.model, self.data, index, force)
                    row = int(np.flatnonzero(first == one)[0])
                    result[row] = max(result[row], force[0])
        return result

    def _distance(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        apart = self.data.xpos[first][:, None] - self.data.xpos[second][None]
        return np.asarray(np.linalg.norm(apart, axis=2).min(axis=1))

    def _speed(self, bodies: np.ndarray) -> np.ndarray:
        velocity, speeds = np.zeros(6), np.zeros(len(bodies))
        for row, body in enumerate(bodies):
            mujoco.mj_objectVelocity(self.model, self.data, mujoco.mjtObj.mjOBJ_XBODY, int(body), velocity, 0)
            speeds[row] = np.linalg.norm(velocity[3:])
        return speeds

    def _height(self, bodies: np.ndarray) -> np.ndarray:
        return np.asarray(self.data.xpos[bodies, 2])

    def _displacement(self, bodies: np.ndarray) -> np.ndarray:
        return np.asarray(np.linalg.norm(self.data.xpos[bodies] - self._start[bodies], axis=1))

    def _tilt(self, bodies: np.ndarray) -> np.ndarray:
        axes = self.data.xmat[bodies][:, [2, 5, 8]]
        return np.asarray(np.arccos(np.clip((axes * self._axes[bodies]).sum(axis=1), -1.0, 1.0)))

    def _joint_speed(self, joints: np.ndarray) -> np.ndarray:
        return np.asarray(np.abs(self.data.qvel[self.model.jnt_dofadr[joints]]))

    def _actuator_force(self, actuators: np.ndarray) -> np.ndarray:
        return np.asarray(np.abs(self.data.actuator_force[actuators]))
