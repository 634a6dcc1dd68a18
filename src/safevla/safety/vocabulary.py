"""The signals that formulas may name: unit, kind and source of each, and how the homes provide them.

A specification for another environment declares its own in tables [signals.NAME]; see `SignalInfo`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from safevla.safety.grammar import is_name
from safevla.safety.measures import MEASURES
from safevla.safety.signals import AREA_FORCE, SafetyState
from safevla.safety.units import SYMBOLS, parse_unit
from safevla.world.catalogue import Hazard

KINDS = ("number", "truth")
SCOPES = ("home", "object")


@dataclass(frozen=True)
class SignalInfo:
    """What is declared of a signal.

    Attributes:
        name: how formulas call it.
        unit: its unit; formulas compare it with quantities of the same kind only.
        kind: "number", or "truth" for something that holds or does not.
        scope: "home" for one value a step, "object" for one per object.
        source: where the value comes from, in words.
        low: least value that it can have, in its unit.
        high: greatest value that it can have.
        unknown: when its value may be unknown (NaN), in words; empty if never. A formula whose truth hangs
            on an unknown value is an error where costs are charged, and a violation in a runtime monitor.
        column: in a recorded data set, the column that holds it, such as "observation.state[2]"; empty: its
            name.
        read: in an instrumented environment, what of the model it is; see `safety.instrument`.

    Raises:
        ValueError: the name is that of a unit, the unit is unknown, or kind or scope is not one of those.
    """

    name: str
    unit: str = ""
    kind: str = "number"
    scope: str = "home"
    source: str = ""
    low: float = -math.inf
    high: float = math.inf
    unknown: str = ""
    column: str = ""
    read: str = ""

    def __post_init__(self) -> None:
        if self.name in SYMBOLS or not is_name(self.name):
            raise ValueError(
                f"a signal cannot be called '{self.name}'; take letters, digits, '_' and '.', and no unit or "
                "word of the language"
            )
        if self.kind not in KINDS:
            raise ValueError(f"'signals.{self.name}.kind' must be 'number' or 'truth', got '{self.kind}'")
        if self.scope not in SCOPES:
            raise ValueError(f"'signals.{self.name}.scope' must be 'home' or 'object', got '{self.scope}'")
        try:
            parse_unit(self.unit)
        except ValueError as error:
            raise ValueError(f"'signals.{self.name}.unit': {error}") from None


Vocabulary = Mapping[str, SignalInfo]
Getter = Callable[[SafetyState], np.ndarray]


def _number(
    name: str, unit: str, source: str, scope: str = "object", low: float = 0.0, **more: object
) -> None:
    _declare(SignalInfo(name, unit, "number", scope, source, low, **more))  # type: ignore[arg-type]


def _truth(name: str, source: str, getter: Getter | None = None, scope: str = "object") -> None:
    _declare(SignalInfo(name, "", "truth", scope, source), getter)


def _measured(
    name: str, unit: str, source: str, scope: str = "object", low: float = 0.0, high: float = math.inf
) -> None:
    """Declare a signal of `measures`; without a unit it is true or false."""
    bounds = (low, high) if unit else ()
    _declare(
        SignalInfo(name, unit, "number" if unit else "truth", scope, source, *bounds),
        functools.partial(_measurement, name),
    )


def _measurement(name: str, state: SafetyState) -> np.ndarray:
    if name not in state.measured:
        raise ValueError(
            f"signal '{name}' was not measured: it is measured only where the specification names it"
        )
    return state.measured[name]


def known_signals(state: SafetyState) -> list[str]:
    """Return the names of the signals that the state holds: of those on demand, what was asked for."""
    return [name for name in HOME_SIGNALS if name not in MEASURES or name in state.measured]


def _declare(info: SignalInfo, getter: Getter | None = None) -> None:
    HOME_SIGNALS[info.name] = info
    if getter is not None:
        _GETTERS[info.name] = getter


def home_signal(state: SafetyState, name: str) -> np.ndarray:
    """Return a signal of HOME_SIGNALS: (N,) or (N, E) by its scope."""
    getter = _GETTERS.get(name)
    value: np.ndarray = getattr(state, name) if getter is None else getter(state)
    return value


def _of_class(hazard: int, state: SafetyState) -> np.ndarray:
    return np.asarray(state.hazard == hazard)


HOME_SIGNALS: dict[str, SignalInfo] = {}
_GETTERS: dict[str, Getter] = {}

_declare(
    SignalInfo("step_index", "steps", source="index of the action in its episode, from 0", low=0.0),
    lambda state: state.step,
)
_number("contact_force", "N", "peak normal force of robot or held object on it, over the step")
_number("contact_impulse", "N s", "normal impulse of robot or held object on it, over the step")
_number("contact_speed", "m/s", "relative speed at first touch")
_number("contact_force_before", "N", "peak force of a contact that was still running when the step began")
_number("displacement", "m", "way moved in the step")
_number("displacement_from_rest", "m", "distance from where it rested, or last was exempt")
_number("tilt", "rad", "angle of its vertical axis against the same pose", high=math.pi)
_number("drop_height", "m", "fallen since it lost its support")
_truth("supported", "rests on something at the end of the step")
_truth("moving", "moves at the end of the step")
_truth("chain", "a chain of contacts leads from its motion to the robot")
_number("damage_impulse", "N s", "largest impulse on it in the step, from anything")
_number("damage_impulse_peak", "N s", "largest impulse on it in the episode so far")
_truth("broken", "an impact exceeded what breaks its type")
_truth("blocked", "the robot's motion ended short", scope="home")
_number("blocked_force", "N", "peak force of what blocked it", "home")
_number("metres", "m", "way of the base in the step", "home")
_truth("holding", "the gripper holds something", lambda state: state.held >= 0, "home")
_truth("carried", "in the gripper at the end of the step", lambda state: state.carried)
_truth("target", "of the kind that the instruction asks for, and as it describes it")
_truth("grasping", "the target that is being grasped: nearest, within 10 cm of the empty gripper's tip")
_truth("exempt", "carried, or being grasped", lambda state: state.exempt)
_truth("visible_now", "at least 8 pixels in a camera after the step")
_number("last_seen", "steps", "since it was last visible before the step; 1,000,000 if never")
_number(
    "reachable_area", "m2", "within 1 m, the robot's footprint can get to it", "home",
    unknown=f"no contact above {AREA_FORCE:g} N in the step",
)  # fmt: skip
_number(
    "blocked_area", "m2", "within 1 m, the robot's footprint cannot get to it", "home",
    unknown=f"no contact above {AREA_FORCE:g} N in the step",
)  # fmt: skip
_truth("fragile", "breaks")
_truth("dangerous", "of any hazard class", lambda state: state.hazard != 0)
for _hazard in Hazard:
    if _hazard:
        _truth(_hazard.name.lower(), "hazard class", functools.partial(_of_class, int(_hazard)))
_truth("present", "a thing of this home, not an unused slot")
_truth("movable", "can be moved")
_truth("in_collection", "an item of a fragile collection", lambda state: state.cluster >= 0)
_truth("precarious", "rests in a precarious place, and has not been carried away")

# Measured only where the specification names them (measures.py).
_measured("furniture", "", "of a type of furniture, chairs included")
_measured(
    "chain_force", "N", "peak force on it of robot, held object and things in motion by a chain of contacts"
)
_measured("spillable", "", "of a type that spills when it is tipped")
_measured(
    "tilt_from_rest", "rad", "angle of its vertical axis against that at rest, carried or not", high=math.pi
)
_measured("base_speed", "m/s", "mean speed of the base over the step", "home")
_measured(
    "gripper_speed", "m/s", "way of the gripper's tip in the step, as the crow flies, by its time", "home"
)
_measured(
    "passage_width",
    "m",
    "of the free space across the robot where it is narrowest, 1 m to either side at most",
    "home",
    high=2.0,
)
_measured("in_doorway", "", "the robot's footprint reaches into a doorway; false in foreign homes", "home")
_measured("person", "", "a part of a person: skull, face, neck, ..., lower leg")
_measured(
    "press_limit", "N", "force that ISO/TS 15066 permits on this part of a person in a contact that lasts"
)
_measured(
    "impact_limit", "N", "the same in the first half second; 0 where no contact is permissible, and on things"
)
_measured(
    "person_distance",
    "m",
    "from robot or held object to the person, before it walks on; 1,000 if nobody is there",
    "home",
)
_measured("approach_speed", "m/s", "at which the robot's motion alone has shortened that distance", "home")
_measured(
    "held_distance",
    "m",
    "from the held object to the person; 1,000 if nothing is held or nobody is there",
    "home",
)
_measured(
    "held_approach_speed", "m/s", "at which the robot's motion alone has shortened that distance", "home"
)
