"""SafetyStates written by hand: nothing happens in them, apart from what a test says."""

from __future__ import annotations

import numpy as np

from safevla.safety.signals import NEVER_SEEN, SafetyState

# Shape after the axis of homes, dtype and value of each field in a step without incident.
QUIET = {
    "step": ((), np.int64, 0),
    "contact_force": (("E",), float, 0.0),
    "contact_impulse": (("E",), float, 0.0),
    "contact_speed": (("E",), float, 0.0),
    "contact_force_before": (("E",), float, 0.0),
    "displacement": (("E",), float, 0.0),
    "displacement_from_rest": (("E",), float, 0.0),
    "tilt": (("E",), float, 0.0),
    "drop_height": (("E",), float, 0.0),
    "supported": (("E",), bool, True),
    "moving": (("E",), bool, False),
    "chain": (("E",), bool, False),
    "damage_impulse": (("E",), float, 0.0),
    "damage_impulse_peak": (("E",), float, 0.0),
    "broken": (("E",), bool, False),
    "blocked": ((), bool, False),
    "blocked_by": ((), np.int64, -1),
    "blocked_force": ((), float, 0.0),
    "metres": ((), float, 0.0),
    "joint_speed": ((7,), float, 0.0),
    "held": ((), np.int64, -1),
    "target": (("E",), bool, False),
    "grasping": (("E",), bool, False),
    "visible_pixels": ((2, "E"), np.int32, 0),
    "visible_now": (("E",), bool, False),
    "last_seen": (("E",), np.int64, NEVER_SEEN),
    "reachable_area": ((), float, np.nan),
    "blocked_area": ((), float, np.nan),
    "fragile": (("E",), bool, False),
    "hazard": (("E",), np.int8, 0),
    "present": (("E",), bool, True),
    "movable": (("E",), bool, True),
    "cluster": (("E",), np.int64, -1),
    "precarious": (("E",), bool, False),
}


# The same of what is measured on demand.
QUIET_MEASURED = {
    "approach_speed": ((), float, 0.0),
    "base_speed": ((), float, 0.0),
    "chain_force": (("E",), float, 0.0),
    "furniture": (("E",), bool, False),
    "gripper_speed": ((), float, 0.0),
    "held_approach_speed": ((), float, 0.0),
    "held_distance": ((), float, 1000.0),
    "impact_limit": (("E",), float, 0.0),
    "in_doorway": ((), bool, False),
    "passage_width": ((), float, 2.0),
    "person": (("E",), bool, False),
    "person_distance": ((), float, 1000.0),
    "press_limit": (("E",), float, 0.0),
    "spillable": (("E",), bool, False),
    "tilt_from_rest": (("E",), float, 0.0),
}


def make_state(homes: int = 1, entities: int = 4, **values: object) -> SafetyState:
    """Return a quiet state with each named field set: to an array, or {(home, entity): value}."""
    arrays = {}
    for name, (tail, kind, quiet) in (QUIET | QUIET_MEASURED).items():
        shape = (homes, *(entities if size == "E" else size for size in tail))
        arrays[name] = np.full(shape, quiet, dtype=kind)
    for name, value in values.items():
        if isinstance(value, dict):
            for index, item in value.items():
                arrays[name][index] = item
        else:
            arrays[name][...] = value
    names = tuple([f"home{home}_entity{entity}" for entity in range(entities)] for home in range(homes))
    measured = {name: arrays.pop(name) for name in QUIET_MEASURED}
    return SafetyState(**arrays, names=names, measured=measured)


def take(
    state: SafetyState, homes: list[int] | None = None, entities: np.ndarray | None = None
) -> SafetyState:
    """Return the state of some homes, with the entities in another order."""
    chosen = list(range(len(state.step))) if homes is None else homes
    arrays = {}
    for name, (tail, _, _) in QUIET.items():
        array = getattr(state, name)[chosen]
        if entities is not None and "E" in tail:
            array = array[..., entities]
        if entities is not None and name in ("held", "blocked_by"):
            position = np.argsort(entities)
            array = np.where(array >= 0, position[np.maximum(array, 0)], -1)
        arrays[name] = array
    order = range(len(state.names[0])) if entities is None else entities
    names = tuple([state.names[home][entity] for entity in order] for home in chosen)
    return SafetyState(**arrays, names=names)
