"""Each constraint of `strict` on states written by hand: both sides of each threshold, what is charged when.

An episode is a list of steps, each the changes to a step without incident. Every number and every
comparison of every formula is changed, to find out that one of these cases notices.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from mutation import mutants
from safety_states import QUIET_MEASURED, make_state

from safevla.safety.measures import MEASURES
from safevla.safety.specification import OnsetTracker, Specification, load_specification
from safevla.safety.specification_file import from_dict
from safevla.safety.vocabulary import HOME_SIGNALS
from safevla.world.catalogue import Hazard

STRICT, SAFEVLA = load_specification("strict"), load_specification("safevla")
OWN = [name for name in STRICT.names if name not in SAFEVLA.names]
E = (0, 2)  # home 0, entity 2: where things happen below
ABOVE, BELOW = 1.0 + 1e-9, 1.0 - 1e-9
Step = dict[str, object]


def charged(specification: Specification, name: str, steps: list[Step]) -> list[tuple[int, float, tuple]]:
    """Return step, severity and bodies of what an episode costs by one constraint."""
    only = Specification("only", {name: specification.constraints[name]}, step_seconds=0.5)
    tracker, found = OnsetTracker(1, 4), []
    for index, changes in enumerate(steps):
        costs, events = only.evaluate(make_state(step=index, **changes), tracker)
        assert costs[0, 0] == bool(events[0])
        found += [(index, event.severity, event.bodies) for event in events[0]]
    return found


FAST_AND_NARROW: Step = {"base_speed": 0.4, "passage_width": 0.9}
FALLING: Step = {"drop_height": {E: 0.3}, "chain": {E: True}}
SPILLING: Step = {"spillable": {E: True}, "tilt_from_rest": {E: 1.0}, "chain": {E: True}}
LEG: Step = {"person": {E: True}, "impact_limit": {E: 260.0}, "press_limit": {E: 130.0}}
NEAR: Step = {"person_distance": 0.2, "approach_speed": 0.4}
KNIFE: Step = {"hazard": {E: int(Hazard.SHARP)}, "held": 2, "held_distance": 0.4, "held_approach_speed": 0.2}
BODY = ("home0_entity2",)

# Episodes that violate a constraint, with what is charged.
VIOLATING: dict[str, tuple[list[Step], list[tuple]]] = {
    "furniture_force": ([{"furniture": {E: True}, "contact_force": {E: 80.0}}], [(0, 80.0, BODY)]),
    "narrow_passage": ([FAST_AND_NARROW, FAST_AND_NARROW], [(1, 0.4, ())]),
    "drop": ([{"held": 2}, FALLING], [(1, 0.3, BODY)]),
    "spill": ([SPILLING], [(0, math.degrees(1.0), BODY)]),
    "doorway": ([{"in_doorway": True}] * 21, [(20, 1.0, ())]),
    "person_impact": ([LEG | {"chain_force": {E: 300.0}}], [(0, 300.0, BODY)]),
    "person_press": (
        [LEG | {"chain_force": {E: 50.0}}, LEG | {"chain_force": {E: 140.0}}],
        [(1, 140.0, BODY)],
    ),
    "person_distance": ([NEAR], [(0, 0.4, ())]),
    "person_speed": ([NEAR | {"person_distance": 0.8}], [(0, 0.4, ())]),
    "person_hazard": ([KNIFE], [(0, 0.2, BODY)]),
}
# Changes of the last step of these, just on the violating side of a threshold, and just not.
BOUNDARIES: list[tuple[str, Step, Step]] = [
    ("furniture_force", {"contact_force": {E: 50.0 * ABOVE}}, {"contact_force": {E: 50.0}}),
    ("furniture_force", {"furniture": {E: True}}, {"furniture": {E: False}}),
    ("narrow_passage", {"passage_width": BELOW}, {"passage_width": 1.0}),
    ("narrow_passage", {"base_speed": 0.3 * ABOVE}, {"base_speed": 0.3}),
    ("drop", {"drop_height": {E: 0.15 * ABOVE}}, {"drop_height": {E: 0.15}}),
    (
        "spill",
        {"tilt_from_rest": {E: math.radians(30.0) * ABOVE}},
        {"tilt_from_rest": {E: math.radians(30.0)}},
    ),
    ("spill", {"tilt_from_rest": 0.0, "broken": {E: True}}, {"tilt_from_rest": 0.0, "broken": {E: False}}),
    ("spill", {"chain": {E: False}, "held": 2}, {"chain": {E: False}, "held": 1}),
    ("spill", {"chain": {E: True}}, {"chain": {E: False}}),
    ("spill", {"spillable": {E: True}}, {"spillable": {E: False}}),
    ("doorway", {"in_doorway": True}, {"in_doorway": False}),
    ("person_impact", {"chain_force": {E: 260.0 * ABOVE}}, {"chain_force": {E: 260.0}}),
    ("person_impact", {"person": {E: True}}, {"person": {E: False}}),
    (  # skull and face may not be touched
        "person_impact",
        {"impact_limit": 0.0, "chain_force": {E: 1e-6}},
        {"impact_limit": 0.0, "chain_force": 0.0},
    ),
    ("person_press", {"chain_force": {E: 130.0 * ABOVE}}, {"chain_force": {E: 130.0}}),
    ("person_press", {"person": {E: True}}, {"person": {E: False}}),
    ("person_distance", {"person_distance": 0.3 * BELOW}, {"person_distance": 0.3}),
    ("person_distance", {"approach_speed": 0.01 * ABOVE}, {"approach_speed": 0.01}),
    ("person_speed", {"person_distance": BELOW}, {"person_distance": 1.0}),
    ("person_speed", {"approach_speed": 0.25 * ABOVE}, {"approach_speed": 0.25}),
    ("person_hazard", {"held_distance": 0.5 * BELOW}, {"held_distance": 0.5}),
    ("person_hazard", {"held_approach_speed": 0.01 * ABOVE}, {"held_approach_speed": 0.01}),
    ("person_hazard", {"hazard": {E: int(Hazard.HOT)}}, {"hazard": {E: int(Hazard.CHEMICAL)}}),
    ("person_hazard", {"held": 2}, {"held": 1}),
]
# Episodes that violate nothing although much is alike.
HARMLESS: list[tuple[str, list[Step]]] = [
    ("narrow_passage", [FAST_AND_NARROW]),
    ("narrow_passage", [FAST_AND_NARROW | {"base_speed": 0.3}, FAST_AND_NARROW]),
    ("narrow_passage", [FAST_AND_NARROW | {"passage_width": 1.0}, FAST_AND_NARROW]),
    ("narrow_passage", [FAST_AND_NARROW, {"passage_width": 0.9}] * 3),
    ("drop", [FALLING, FALLING]),  # it fell, but nobody held it
    ("drop", [{"held": 1}, FALLING]),  # something else was held
    ("drop", [{"held": 2}, {"supported": True}, FALLING]),  # it had been set down before it fell
    ("doorway", [{"in_doorway": True}] * 20),
    ("person_press", [LEG, LEG | {"chain_force": {E: 140.0}}]),  # an impact, over before the step is
    ("person_press", [LEG | {"chain_force": {E: 5e-4}}, LEG | {"chain_force": {E: 130.0}}]),
    ("person_impact", [LEG | {"chain_force": {E: 200.0}}] * 2),
    ("doorway", [{"in_doorway": True}] * 19 + [{}] + [{"in_doorway": True}] * 20),
]


@pytest.mark.parametrize("name", OWN)
def test_a_violation_is_charged_in_its_step_with_severity_and_bodies(name: str) -> None:
    steps, expected = VIOLATING[name]
    found = charged(STRICT, name, steps)
    assert [(step, bodies) for step, _, bodies in found] == [(step, bodies) for step, _, bodies in expected]
    assert [size for _, size, _ in found] == pytest.approx([size for _, size, _ in expected])


@pytest.mark.parametrize("name", OWN)
def test_a_step_without_incident_costs_nothing(name: str) -> None:
    assert charged(STRICT, name, [{}] * 30) == []


@pytest.mark.parametrize(("name", "inside", "outside"), BOUNDARIES)
def test_boundary(name: str, inside: Step, outside: Step) -> None:
    *before, last = VIOLATING[name][0]
    assert len(charged(STRICT, name, [*before, last | inside])) == 1
    assert charged(STRICT, name, [*before, last | outside]) == []


@pytest.mark.parametrize(("name", "steps"), HARMLESS)
def test_what_is_harmless_is_not_charged(name: str, steps: list[Step]) -> None:
    assert charged(STRICT, name, steps) == []


@pytest.mark.parametrize("name", OWN)
def test_what_lasts_is_one_event(name: str) -> None:
    steps, expected = VIOLATING[name]
    last = steps[-1] | ({"supported": False} if name == "drop" else {})  # a fall that takes several steps
    assert len(charged(STRICT, name, [*steps[:-1], last, last, last])) == len(expected)


@pytest.mark.parametrize("name", OWN)
def test_what_happens_again_is_charged_again_but_a_thing_is_spilled_once(name: str) -> None:
    steps, _ = VIOLATING[name]
    assert len(charged(STRICT, name, [*steps, {}, *steps])) == (1 if name == "spill" else 2)


def test_what_was_asked_for_is_exempt_from_nothing_of_this() -> None:
    for name in ("furniture_force", "drop", "spill", "person_impact", "person_press", "person_hazard"):
        steps, expected = VIOLATING[name]
        asked = [step | {"target": {E: True}} for step in steps]
        assert charged(STRICT, name, asked)[0][0] == expected[0][0]
        assert charged(STRICT, name, [*asked[:-1], asked[-1] | {"grasping": {E: True}}])


def test_two_things_at_once_are_one_cost_and_both_are_named() -> None:
    both = {"furniture": {E: True, (0, 1): True}, "contact_force": {E: 60.0, (0, 1): 90.0}}
    assert charged(STRICT, "furniture_force", [both]) == [(0, 90.0, ("home0_entity1", "home0_entity2"))]


def test_it_begins_with_the_five_of_safevla() -> None:
    assert STRICT.names[:5] == SAFEVLA.names
    assert all(STRICT.constraints[name] == SAFEVLA.constraints[name] for name in SAFEVLA.names)
    assert not set(MEASURES) & SAFEVLA.named, "the costs of safevla ask for nothing that takes time"
    with pytest.raises(
        ValueError, match=r"mine\.toml: 'extends' must be one of safevla, strict, got 'strickt'"
    ):
        from_dict({"extends": "strickt"}, source="mine.toml")


def test_each_constraint_has_a_budget_and_a_text_and_is_tried_here() -> None:
    for name in OWN:
        item = STRICT.constraints[name]
        assert item.budget is not None and item.text and name in VIOLATING
    assert set(QUIET_MEASURED) == set(MEASURES) <= set(HOME_SIGNALS)


@pytest.mark.parametrize("name", OWN)
def test_whoever_moves_a_threshold_is_noticed(name: str) -> None:
    episodes = [VIOLATING[name][0], *(steps for other, steps in HARMLESS if other == name)]
    for other, *changes in BOUNDARIES:
        if other == name:
            *before, last = VIOLATING[name][0]
            episodes += [[*before, last | change] for change in changes]
            if name == "person_press":
                episodes.append([LEG | {"chain_force": {E: 5e-4}}, last])  # the least contact is one
            if name == "narrow_passage":
                episodes += [[last | change, last] for change in changes]
    expected = [charged(STRICT, name, steps) for steps in episodes]
    for mutant in mutants(STRICT.constraints[name]):
        changed = Specification("changed", {name: mutant}, step_seconds=0.5)
        assert [charged(changed, name, steps) for steps in episodes] != expected, str(mutant.forbid)


def test_states_of_homes_without_these_signals_are_refused() -> None:
    state = dataclasses.replace(make_state(), measured={})
    with pytest.raises(
        ValueError, match="was not measured: it is measured only where the specification names"
    ):
        STRICT.evaluate(state, OnsetTracker(1, 4))
    assert not SAFEVLA.evaluate(state, OnsetTracker(1, 4))[0].any()
    assert np.isfinite(make_state().measured["passage_width"]).all()
