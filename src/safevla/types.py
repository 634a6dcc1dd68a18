"""The data that travels between the parts of safevla: shapes, dtypes and units, stated once.

Letters used in shapes everywhere: N homes stepped together, K constraints, E entities of a home
(walls, furniture, objects), H x W picture size, T steps of an episode.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

TASKS = ("ObjNav", "PickUp", "Fetch")

# The 20 discrete actions of the Stretch, in the order of their ids (SafeVLA / SPOC action space).
ACTIONS = (
    "move_ahead",
    "move_back",
    "turn_left_30",
    "turn_right_30",
    "turn_left_6",
    "turn_right_6",
    "arm_out_10",
    "arm_in_10",
    "arm_out_2",
    "arm_in_2",
    "lift_up_10",
    "lift_down_10",
    "lift_up_2",
    "lift_down_2",
    "wrist_left_10",
    "wrist_right_10",
    "pick_up",
    "drop",
    "sub_task_done",
    "end",
)
ACTION_ID = {name: index for index, name in enumerate(ACTIONS)}
NO_ACTION = len(ACTIONS)  # `last_action` before the first step of an episode

# Maps of a picture, as the image encoder gives them and `Observation.maps` holds them: for each patch of
# 8 x 8 pixels whether its 2 x 2 cells show what the instruction asks for, then these, in this order.
CAMERAS = 2
PATCH = 8  # pixels along a side of a patch
CELLS = 2  # cells of the target map along a side of a patch
HEADS = ("depth", "floor", "fragile", "dangerous", "movable", "gripper")
CHANNELS = CELLS * CELLS + len(HEADS)
DEPTH_SCALE = 2.0  # depth is log(metres) divided by this, to be of the size of the others, which are 0 to 1

KNOBS = ("corner", "blind_spot", "fragile_collection", "critical_point", "dangerous_equipment")


@dataclass(frozen=True)
class Knobs:
    """How strongly each safety-critical component is present in a house, 0 (absent) to 1."""

    corner: float = 0.0
    blind_spot: float = 0.0
    fragile_collection: float = 0.0
    critical_point: float = 0.0
    dangerous_equipment: float = 0.0

    def __post_init__(self) -> None:
        for name in KNOBS:
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"knob {name} is {value}, expected a number from 0 to 1")

    def as_tuple(self) -> tuple[float, ...]:
        """Return the five values in the order of KNOBS."""
        return tuple(getattr(self, name) for name in KNOBS)


@dataclass(frozen=True)
class Scenario:
    """One episode to be played: everything that a replay needs, and nothing else.

    Attributes:
        task: one of TASKS.
        size_class: "S", "M" or "L", or "foreign" for a home that was not generated.
        split: "train", "val" or "test"; houses, instances and layouts differ between splits.
        house_seed: with size_class, split and knobs it determines the house.
        knobs: safety-critical components of the house.
        start: x (m), y (m), yaw (rad) of the robot's base.
        instruction: the sentence that the policy is given.
        target: name of the type that the instruction asks for.
        seed: seeds whatever is random while the episode runs (action sampling).
        expert_length: steps that the expert took to succeed; 0 when not tried.
        home: of a foreign home, where its scene is: a path, see `world.foreign`; "" for a generated home.
        home_hash: of a foreign home, what its files are, see `world.foreign.home_hash`.
        person: a person walks through the home, on ways that `seed` decides.
        which: what must be true of the target, such as "colour:red" or "in:kitchen", see
            `tasks.descriptions`; "": any of its type will do.
    """

    task: str
    size_class: str
    split: str
    house_seed: int
    knobs: Knobs
    start: tuple[float, float, float]
    instruction: str
    target: str
    seed: int = 0
    expert_length: int = 0
    home: str = ""
    home_hash: str = ""
    person: bool = False
    which: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; `home`, `home_hash`, `person` and `which` only where there are such."""
        data = asdict(self)
        if not self.home:
            del data["home"], data["home_hash"]
        if not self.person:
            del data["person"]
        if not self.which:
            del data["which"]
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Scenario:
        """Build a scenario from `to_dict` data; unknown or missing keys raise ValueError."""
        try:
            fields = dict(data)
            fields["knobs"] = Knobs(**fields["knobs"])
            fields["start"] = tuple(float(value) for value in fields["start"])
            return cls(**fields)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a scenario: {error}") from error

    @property
    def hash(self) -> str:
        """Sixteen hex digits that identify what is played (expert_length and the path of a home left out)."""
        data = self.to_dict()
        del data["expert_length"]
        data.pop("home", None)
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def with_person(scenarios: Sequence[Scenario], person: bool) -> list[Scenario]:
    """Return the scenarios as homes play them in which there is a person in any case, or not."""
    return [replace(scenario, person=True) if person else scenario for scenario in scenarios]


@dataclass
class Observation:
    """What N policies see. Pictures are RGB; `manip` looks toward the arm."""

    nav: np.ndarray  # (N, H, W, 3) uint8
    manip: np.ndarray  # (N, H, W, 3) uint8
    holding: np.ndarray  # (N,) int64, 1 while an object is held
    last_action: np.ndarray  # (N,) int64, NO_ACTION before the first
    step: np.ndarray  # (N,) int64, actions taken so far
    instruction: list[str]  # N sentences
    # (N,) bool, whose answer is wanted until its next reset; None: everybody's
    active: np.ndarray | None = None
    joints: np.ndarray | None = None  # (N, 3) float32: lift m, arm m, wrist rad; None: not told
    # (N, 6) float32, what the last action changed: base ahead m, base left m, base yaw rad, lift m, arm m,
    # wrist rad; None: not told. A real robot's encoders tell it; it shows when something is in the way.
    motion: np.ndarray | None = None
    # (N, CAMERAS, CHANNELS, rows, columns) float16: what a perfect image encoder would say of both pictures,
    # one row and column for PATCH * scale pixels; None: not told. For policies that show what perception
    # costs, no robot has it.
    maps: np.ndarray | None = None
    wants_values: bool = True  # whether somebody reads the values of what is decided


@dataclass(frozen=True)
class Event:
    """One violation of one predicate."""

    predicate: str
    step: int  # index of the action that it belongs to, from 0
    severity: float
    unit: str
    bodies: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for `info["events"]` and JSON."""
        return asdict(self) | {"bodies": list(self.bodies)}


@dataclass
class Step:
    """What one call of `HomeVecEnv.step` returns. Rows of homes that had already ended are zero."""

    observation: Observation
    reward: np.ndarray  # (N,) float32
    terminated: np.ndarray  # (N,) bool: `end` was called
    truncated: np.ndarray  # (N,) bool: the horizon was reached
    costs: np.ndarray  # (N, K) float32, 0 or 1 per constraint, of this very step
    success: np.ndarray  # (N,) bool, only ever true on the terminal step
    events: list[list[Event]]  # N lists
    distractor: np.ndarray | None = None  # (N,) bool, see `Episode.distractor`; None: not told


@dataclass
class Episode:
    """A finished episode as recorded while it was played. T steps, K constraints."""

    scenario: Scenario
    success: bool
    truncated: bool
    actions: np.ndarray  # (T,) int64
    rewards: np.ndarray  # (T,) float32
    costs: np.ndarray  # (T, K) float32
    constraints: tuple[str, ...]
    events: list[Event]
    metres: float  # length of the path of the base
    extras: dict[str, np.ndarray] = field(default_factory=dict)  # (T, ...) arrays a policy asked to keep
    # Failed, and would have succeeded had the instruction not described its target: it ended at something
    # else of the target's type, or with it in the gripper.
    distractor: bool = False

    @property
    def length(self) -> int:
        """Number of steps."""
        return len(self.actions)

    @property
    def cost(self) -> float:
        """Cumulative cost CC: the sum over constraints and steps."""
        return float(self.costs.sum())
