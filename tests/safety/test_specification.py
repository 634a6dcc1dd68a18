"""Specifications: files, errors, budgets, and how the steps of an episode are charged."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safety_states import make_state

from safevla.safety.predicates import PREDICATES
from safevla.safety.specification import (
    Constraint,
    OnsetTracker,
    Specification,
    built_in_names,
    load_specification,
)
from safevla.types import KNOBS, Event

E = (0, 2)


@pytest.fixture
def safevla() -> Specification:
    return load_specification("safevla")


def test_the_built_in_specification_is_that_of_the_paper(safevla: Specification) -> None:
    assert "safevla" in built_in_names()
    assert safevla.names == KNOBS
    for constraint in safevla.constraints.values():
        assert constraint.thresholds == pytest.approx(PREDICATES[constraint.predicate].thresholds, rel=1e-12)
        assert constraint.unit == PREDICATES[constraint.predicate].unit
        assert len(constraint.text) > 80


def test_saving_and_loading_gives_the_same(safevla: Specification, tmp_path: Path) -> None:
    changed = safevla.with_budgets({"corner": 0.1, "critical_point": 1.0 / 3.0})
    for specification in (safevla, changed):
        specification.save(tmp_path / "own.toml")
        again = load_specification(tmp_path / "own.toml")
        assert again == specification and again.names == specification.names
        assert again.hash == specification.hash
        assert again.to_toml() == specification.to_toml()


texts = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=40)


@settings(max_examples=40, deadline=None)
@given(
    names=st.lists(texts.filter(bool), min_size=1, max_size=4, unique=True),
    budget=st.none() | st.floats(0, 1e6),
    force=st.floats(-1e6, 1e6),
    text=texts,
)
def test_any_specification_survives_its_file(tmp_path_factory, names, budget, force, text) -> None:
    constraints = {
        name: Constraint(name, "corner", budget, text=text, thresholds={"force": force}) for name in names
    }
    specification = Specification("mine", constraints, text)
    path = tmp_path_factory.mktemp("specification") / "mine.toml"
    specification.save(path)
    assert load_specification(path) == specification


def test_hash_is_stable_and_follows_what_is_measured(safevla: Specification) -> None:
    assert safevla.hash == load_specification("safevla").hash
    assert len(safevla.hash) == 16 and int(safevla.hash, 16) >= 0
    assert dataclasses.replace(safevla, text="other words").hash == safevla.hash
    assert safevla.with_budgets({"corner": 0.1}).hash != safevla.hash
    corner = dataclasses.replace(safevla.constraints["corner"], thresholds={"force": 6.0})
    assert Specification("safevla", safevla.constraints | {"corner": corner}).hash != safevla.hash
    # Leaving a threshold to its default is the same as writing the default out.
    default = dataclasses.replace(safevla.constraints["corner"], thresholds={})
    assert Specification("safevla", safevla.constraints | {"corner": default}).hash == safevla.hash


def test_budgets(safevla: Specification) -> None:
    assert safevla.budgets == {}
    changed = safevla.with_budgets({"corner": 0.25})
    assert changed.budgets == {"corner": 0.25}
    assert changed.names == safevla.names and safevla.budgets == {}


@pytest.mark.parametrize(
    ("budgets", "message"),
    [
        ({"critical_pont": 1.0}, "unknown constraint 'critical_pont'; did you mean 'critical_point'?"),
        ({"corner": -1.0}, "'constraints.corner.budget' must be a cost per episode of 0 or more, got -1.0"),
        ({"corner": float("nan")}, "'constraints.corner.budget' must be"),
        ({"corner": float("inf")}, "'constraints.corner.budget' must be"),
    ],
)
def test_wrong_budgets(safevla: Specification, budgets: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=r"^.+$") as error:
        safevla.with_budgets(budgets)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("constraints = 3", "'constraints' must be a table"),
        ("", "has no constraint; add a table [constraints.NAME]"),
        ("[constraints.corner]\nbudget = 'much'", "'constraints.corner.budget' must be a number, got 'much'"),
        ("[constraints.corner]\nbudget = true", "'constraints.corner.budget' must be a number"),
        ("[constraints.corner]\nbudgt = 1.0", "'constraints.corner.budgt'; did you mean 'budget'?"),
        ("[constraints.corner]\nname = 'x'", "unknown setting 'constraints.corner.name'"),
        ("[constraints.kitchen]\npredicate = 'cornr'", "unknown predicate 'cornr'; did you mean 'corner'?"),
        ("[constraints.blindspot]", "unknown predicate 'blindspot'; did you mean 'blind_spot'?"),
        ("[constraints.corner]\nunit = 'kN'", "'constraints.corner.unit' must be 'N'"),
        ("[constraints.corner]\naggregation = 'men'", "unknown aggregation 'men'; did you mean 'mean'?"),
        ("[constraints.corner.thresholds]\nforc = 1", "unknown threshold 'forc'; did you mean 'force'?"),
        (
            "[constraints.corner.thresholds]\nforce = 'a'",
            "'constraints.corner.thresholds.force' must be a number",
        ),
        ("[constraints.corner.thresholds]\nforce = nan", "thresholds.force' must be finite"),
        ("[constraints.corner", "not valid TOML"),
    ],
)
def test_wrong_files_give_one_clear_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"wrong\.toml") as error:
        load_specification(path)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_unknown_names_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown specification .safevl.; did you mean .safevla.\?"):
        load_specification("safevl")
    with pytest.raises(ValueError, match=r"cannot read .*absent\.toml"):
        load_specification(tmp_path / "absent.toml")


def test_predicate_of_a_constraint_is_its_name_unless_given(tmp_path: Path) -> None:
    path = tmp_path / "two.toml"
    path.write_text(
        "[constraints.corner]\n[constraints.hard_corner]\npredicate='corner'\nthresholds.force=50.0"
    )
    specification = load_specification(path)
    assert specification.name == "two" and specification.names == ("corner", "hard_corner")
    hit = make_state(contact_force={E: 20.0}, reachable_area=0.1, blocked_area=2.0)
    costs, _ = specification.evaluate(hit, OnsetTracker(1, 4))
    assert costs.tolist() == [[1.0, 0.0]]


FALL = {"precarious": {E: True}, "drop_height": {E: 0.5}, "chain": {E: True}}
VASE = {"cluster": {E: 0}, "displacement_from_rest": {E: 0.2}, "chain": {E: True}}
HEATER = {"contact_force": {E: 20.0}, "hazard": {E: 1}, "reachable_area": 3.0, "blocked_area": 0.1}
NOOK = {"contact_force": {E: 20.0}, "reachable_area": 0.1, "blocked_area": 2.0}


def charge(specification: Specification, name: str, steps: list[dict]) -> list[float]:
    """Return what constraint `name` costs in each step of an episode."""
    tracker = OnsetTracker(1, 4)
    column = specification.names.index(name)
    states = [make_state(step=index, **step) for index, step in enumerate(steps)]
    return [float(specification.evaluate(state, tracker)[0][0, column]) for state in states]


def test_falls_and_damage_are_charged_once_and_contacts_each_step(safevla: Specification) -> None:
    assert charge(safevla, "critical_point", [FALL, FALL, {}, FALL]) == [1, 0, 0, 0]
    assert charge(safevla, "fragile_collection", [VASE, VASE, {}, VASE]) == [1, 0, 0, 0]
    assert charge(safevla, "dangerous_equipment", [HEATER, HEATER, {}, HEATER]) == [1, 1, 0, 1]
    assert charge(safevla, "corner", [NOOK, NOOK, {}, NOOK]) == [1, 1, 0, 1]


def test_the_cost_is_in_the_step_of_the_incident_also_in_the_first_and_the_last(
    safevla: Specification,
) -> None:
    for name, incident in (
        ("critical_point", FALL),
        ("fragile_collection", VASE),
        ("dangerous_equipment", HEATER),
        ("corner", NOOK),
    ):
        assert charge(safevla, name, [incident, {}, {}]) == [1, 0, 0]
        assert charge(safevla, name, [{}, {}, incident]) == [0, 0, 1]


def test_a_second_item_is_charged_although_the_first_was(safevla: Specification) -> None:
    second = {
        "cluster": {E: 0, (0, 1): 0},
        "displacement_from_rest": {E: 0.2, (0, 1): 0.2},
        "chain": {E: True, (0, 1): True},
    }
    assert charge(safevla, "fragile_collection", [VASE, second, second]) == [1, 1, 0]


def test_what_happens_while_exempt_is_not_charged_and_does_not_use_up_the_charge(
    safevla: Specification,
) -> None:
    exempt = FALL | {"grasping": {E: True}}
    assert charge(safevla, "critical_point", [exempt, FALL, FALL]) == [0, 1, 0]


def test_two_constraints_on_one_predicate_are_charged_apart() -> None:
    low = Constraint("low", "critical_point", thresholds={"drop": 0.1})
    high = Constraint("high", "critical_point", thresholds={"drop": 1.0})
    specification = Specification("falls", {"low": low, "high": high})
    tracker = OnsetTracker(1, 4)
    first, _ = specification.evaluate(make_state(**FALL), tracker)
    second, _ = specification.evaluate(make_state(**(FALL | {"drop_height": {E: 1.5}})), tracker)
    assert first.tolist() == [[1, 0]] and second.tolist() == [[0, 1]]


def test_events_name_step_bodies_severity_and_unit(safevla: Specification) -> None:
    state = make_state(
        homes=2, step=[7, 0], contact_force={(0, 1): 9.0, (0, 3): 12.5}, hazard={(0, 1): 1, (0, 3): 2}
    )
    state = dataclasses.replace(state, reachable_area=np.ones(2), blocked_area=np.ones(2))
    costs, events = safevla.evaluate(state, OnsetTracker(2, 4))
    assert costs.dtype == np.float32 and costs.shape == (2, 5)
    expected = Event("dangerous_equipment", 7, 12.5, "N", ("home0_entity1", "home0_entity3"))
    assert events == [[expected], []]
    assert costs.sum() == 1.0


def test_ended_homes_cost_nothing_and_keep_their_latches(safevla: Specification) -> None:
    tracker = OnsetTracker(2, 4)
    both = make_state(2, precarious=True, drop_height=0.5, chain=True)
    costs, events = safevla.evaluate(both, tracker, active=np.array([True, False]))
    assert costs[:, 3].tolist() == [1, 0] and events[1] == []
    assert safevla.evaluate(both, tracker)[0][:, 3].tolist() == [0, 1]


def test_reset_forgets_only_the_homes_that_begin_anew(safevla: Specification) -> None:
    tracker = OnsetTracker(2, 4)
    both = make_state(2, precarious=True, drop_height=0.5, chain=True)
    safevla.evaluate(both, tracker)
    tracker.reset(np.array([False, True]))
    assert safevla.evaluate(both, tracker)[0][:, 3].tolist() == [0, 1]
    tracker.reset()
    assert safevla.evaluate(both, tracker)[0][:, 3].tolist() == [1, 1]


def test_evaluating_does_not_change_the_state(safevla: Specification) -> None:
    state = make_state(**FALL)
    safevla.evaluate(state, OnsetTracker(1, 4))
    assert not state.charged.any()


def test_a_tracker_of_another_shape_is_refused(safevla: Specification) -> None:
    with pytest.raises(ValueError, match=r"the tracker is for \(2, 4\)"):
        safevla.evaluate(make_state(), OnsetTracker(2, 4))


@settings(max_examples=30, deadline=None)
@given(forces=st.lists(st.floats(0, 50), min_size=1, max_size=8), seed=st.integers(0, 99))
def test_costs_are_zero_or_one_and_agree_with_events(forces: list[float], seed: int) -> None:
    specification = load_specification("safevla")
    rng = np.random.default_rng(seed)
    tracker = OnsetTracker(3, 4)
    for step, force in enumerate(forces):
        state = make_state(
            3,
            step=step,
            contact_force=force * rng.random((3, 4)),
            reachable_area=rng.random(3),
            blocked_area=rng.random(3),
            hazard=rng.integers(0, 3, (3, 4)),
            precarious=rng.random((3, 4)) < 0.5,
            drop_height=rng.random((3, 4)),
            chain=rng.random((3, 4)) < 0.5,
        )
        costs, events = specification.evaluate(state, tracker)
        assert set(np.unique(costs)) <= {0.0, 1.0}
        for home in range(3):
            charged = {specification.names[column] for column in np.flatnonzero(costs[home])}
            assert charged == {event.predicate for event in events[home]}
            assert all(event.bodies and event.severity > 0 for event in events[home])
