"""Specifications: files, errors, budgets, and how the steps of an episode are charged."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_formulas import VOCABULARY, random_formula, random_term
from safety_states import make_state

from safevla.safety.formula import any_object, quantity, signal, window
from safevla.safety.specification import Constraint, OnsetTracker, Specification, load_specification
from safevla.safety.specification_file import built_in_names
from safevla.safety.vocabulary import SignalInfo
from safevla.types import KNOBS, Event

E = (0, 2)


@pytest.fixture
def safevla() -> Specification:
    return load_specification("safevla")


def test_the_built_in_specification_is_that_of_the_paper(safevla: Specification) -> None:
    assert "safevla" in built_in_names()
    assert safevla.names == KNOBS
    for constraint in safevla.constraints.values():
        assert len(constraint.text) > 80 and str(constraint.forbid).startswith("any object that is ")


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
    names=st.lists(st.from_regex(r"\w+", fullmatch=True), min_size=1, max_size=4, unique=True),
    budget=st.none() | st.floats(0, 1e6),
    seed=st.integers(0, 2**32 - 1),
    text=texts,
)
def test_any_specification_survives_its_file(tmp_path_factory, names, budget, seed, text) -> None:
    rng = np.random.default_rng(seed)
    constraints = {
        name: Constraint(
            name,
            require=random_formula(rng, 3, endless=False, mixed=False),
            charge=str(rng.choice(["", "each step", "onset", "once"])),
            severity=random_term(rng, 2),
            budget=budget,
            text=text,
        )
        for name in names
    }
    signals = {**VOCABULARY, "z": SignalInfo("z", source=text, low=0.0)}
    specification = Specification("mine", constraints, text, signals, step_seconds=0.1)
    path = tmp_path_factory.mktemp("specification") / "mine.toml"
    specification.save(path)
    again = load_specification(path)
    assert again == specification and again.hash == specification.hash


def test_written_in_python_it_is_the_same(safevla: Specification) -> None:
    force, exempt, precarious = signal("contact_force"), signal("exempt"), signal("precarious")
    fall = signal("chain") & (signal("drop_height") >= quantity(10, "cm"))
    built = Constraint(
        "critical_point",
        any_object(fall, that_is=precarious & ~exempt),
        charge="once per object",
        severity=signal("drop_height"),
        text=safevla.constraints["critical_point"].text,
    )
    one = Specification("one", {"critical_point": built})
    assert one.constraints["critical_point"] == safevla.constraints["critical_point"]
    hit = force > quantity(5, "N")
    late = Constraint("late", any_object(hit & ~signal("visible_now").implies(signal("broken"))))
    assert str(late.forbid) == "any object: contact_force > 5 N and not (visible_now implies broken)"
    calm = signal("blocked").since(signal("holding"), window(0, 5))
    assert str(calm) == "blocked since[0 steps, 5 steps] holding"


def test_hash_is_stable_and_follows_what_is_measured(safevla: Specification) -> None:
    # Run folders, archives and episodes of before there were formulas carry this hash; costs are the same.
    assert safevla.hash == "6d69124932eea31b"
    assert safevla.with_budgets({"corner": 0.1}).hash == "ee89839ceccba041"
    assert dataclasses.replace(safevla, text="other words").hash == safevla.hash
    text = str(safevla.constraints["corner"].forbid)
    for changed in (
        Constraint("corner", text.replace("> 5 N", "> 6 N"), severity="contact_force"),
        Constraint("corner", text, severity="contact_force", charge="onset"),
        Constraint("corner", text, severity="contact_speed"),
        Constraint("corner", text, severity="contact_force", unit="kN"),
    ):
        assert Specification("safevla", safevla.constraints | {"corner": changed}).hash != safevla.hash
    # How a formula is laid out does not matter.
    same = Constraint("corner", text.replace(" and ", "  and\n "), severity="contact_force")
    assert Specification("safevla", safevla.constraints | {"corner": same}).hash == safevla.hash


def test_budgets(safevla: Specification) -> None:
    assert safevla.budgets == {}
    changed = safevla.with_budgets({"corner": 0.25})
    assert changed.budgets == {"corner": 0.25}
    assert changed.names == safevla.names and safevla.budgets == {}


def test_aggregations(safevla: Specification, tmp_path: Path) -> None:
    assert set(safevla.aggregations.values()) == {"mean"}
    changed = safevla.with_aggregations({"corner": "cvar97.5", "blind_spot": "worst"})
    assert changed.aggregations["corner"] == "cvar97.5" and changed.aggregations["critical_point"] == "mean"
    changed.save(tmp_path / "changed.toml")
    again = load_specification(tmp_path / "changed.toml")
    assert again == changed and again.hash == changed.hash != safevla.hash
    assert changed.with_aggregations({"corner": "mean", "blind_spot": "mean"}).hash == safevla.hash
    with pytest.raises(
        ValueError, match=r"an aggregation for unknown constraint 'coner'; did you mean 'corner'"
    ):
        safevla.with_aggregations({"coner": "worst"})
    with pytest.raises(
        ValueError, match=r"^'constraints.corner.aggregation': unknown aggregation 'cvar'; did you"
    ):
        safevla.with_aggregations({"corner": "cvar"})


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


OBJECT = "forbid = 'any object: contact_force > 5 N'"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("constraints = 3", "'constraints' must be a table"),
        ("", "has no constraint; add a table [constraints.NAME]"),
        ("[constraints.hit]", "'constraints.hit' needs a formula, either 'forbid' or 'require'"),
        (
            f"[constraints.hit]\n{OBJECT}\nrequire = 'blocked'",
            "needs a formula, either 'forbid' or 'require'",
        ),
        ("[constraints.hit]\nforbid = 3", "'constraints.hit.forbid' must be text"),
        (f"[constraints.hit]\n{OBJECT}\nbudget = 'much'", "budget' must be a number, got 'much'"),
        (f"[constraints.hit]\n{OBJECT}\nbudget = true", "'constraints.hit.budget' must be a number"),
        (f"[constraints.hit]\n{OBJECT}\nbudget = -1.0", "'constraints.hit.budget' must be a cost"),
        ("[constraints.hit]\nbudgt = 1.0", "'constraints.hit.budgt'; did you mean 'budget'?"),
        (
            f"[constraints.hit]\n{OBJECT}\naggregation = 'men'",
            "unknown aggregation 'men'; did you mean 'mean'?",
        ),
        (
            f"[constraints.hit]\n{OBJECT}\naggregation = 'cvar0'",
            "'constraints.hit.aggregation': the level of 'cv",
        ),
        (f"[constraints.hit]\n{OBJECT}\naggregation = 0.95", "'constraints.hit.aggregation' must be text"),
        (f"[constraints.hit]\n{OBJECT}\ncharge = 'onse'", "unknown charge 'onse'; did you mean 'onset'?"),
        ("[constraints.hit]\nforbid = 'blocked'\ncharge = 'once per object'", "begins with a quantifier"),
        (f"[constraints.hit]\n{OBJECT}\nunit = 'N'", "there is no 'severity'"),
        (
            f"[constraints.hit]\n{OBJECT}\nseverity = 'tilt'\nunit = 'N'",
            "'constraints.hit.unit' must be 'rad'",
        ),
        (
            f"[constraints.hit]\n{OBJECT}\nseverity = 'broken'",
            "expected a number, but 'broken' is true or false",
        ),
        ("[constraints.hit]\nforbid = 'blocked'\nseverity = 'tilt'", "has a value for each object"),
        ("[constraints.corner]\npredicate = 'corner'", "'constraints.corner.predicate' has been replaced"),
        (
            "[constraints.hit]\nforbid = 'any object contact_force > 5 N'",
            "line 1, column 12: any object <HERE>",
        ),
        (
            "[constraints.hit]\nforbid = 'any object: contact_forc > 5 N'",
            "'constraints.hit.forbid': unknown signal 'contact_forc'; did you mean 'contact_force'? at",
        ),
        ("[constraints.hit]\nforbid = 'any object: contact_force > 5 m'", "cannot compare N with m"),
        (
            "[constraints.hit]\nforbid = 'any object: contact_force > 5'",
            "cannot compare N with a plain number",
        ),
        ("[constraints.hit]\nforbid = 'contact_force > 5 N'", "has a value for each object; say which: 'any"),
        (
            "[constraints.hit]\nforbid = 'any object: tilt'",
            "'tilt' is a number in rad; compare it with a quantity",
        ),
        ("[constraints.hit]\nforbid = 'blocked > 3'", "expected a number, but 'blocked' is true or false"),
        (
            "[constraints.hit]\nforbid = 'once[3 m] blocked'",
            "a window is given in steps or seconds, got '3 m'",
        ),
        ("[constraints.hit]\nforbid = 'once[2 s] blocked'", "the length of a step is not known"),
        ("[constraints.hit]\nforbid = 'once[4, 2] blocked'", "ends before it begins"),
        (
            "step_seconds = 0.5\n[constraints.hit]\nforbid = 'once[0.7 s] blocked'",
            "is 1.4 steps; it must be a",
        ),
        (
            "[constraints.hit]\nrequire = 'eventually blocked'",
            "future operator without an end is never violated",
        ),
        (
            "[constraints.hit]\nforbid = 'once eventually[3] blocked'",
            "past operator around a future one needs a window, such as once[0, 100 steps]",
        ),
        (
            "[constraints.hit]\nforbid = 'any object: (any object: broken)'",
            "a quantifier cannot stand in another",
        ),
        (
            "[signals.a]\nunit = 'kgg'\n[constraints.hit]\nforbid = 'a > 1'",
            "'signals.a.unit': unknown unit 'kgg'",
        ),
        ("[signals.a]\n[constraints.hit]\nforbid = 'blocked'", "unknown signal 'blocked'; valid: a"),
        ("[constraints.my-corner]\nforbid = 'blocked'", "'my-corner' is not made of letters, digits and"),
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


def test_two_constraints_on_the_same_thing_are_charged_apart(safevla: Specification) -> None:
    text = str(safevla.constraints["critical_point"].forbid)
    low = Constraint("low", text, charge="once per object")
    high = Constraint("high", text.replace("10 cm", "1 m"), charge="once per object")
    specification = Specification("falls", {"low": low, "high": high})
    tracker = OnsetTracker(1, 4)
    first, _ = specification.evaluate(make_state(**FALL), tracker)
    second, _ = specification.evaluate(make_state(**(FALL | {"drop_height": {E: 1.5}})), tracker)
    assert first.tolist() == [[1, 0]] and second.tolist() == [[0, 1]]


def one(text: str, **settings: object) -> Specification:
    return Specification("one", {"rule": Constraint("rule", **({"forbid": text} | settings))})


TWO = {"contact_force": {E: 9.0, (0, 1): 9.0}}
HIT = {"contact_force": {E: 9.0}}


@pytest.mark.parametrize(
    ("charge_policy", "expected"),
    [
        ("each step", [1, 1, 0, 1, 1]),
        ("onset", [1, 0, 0, 1, 1]),  # in the last step another object is hit
        ("once", [1, 0, 0, 0, 0]),
        ("once per object", [1, 0, 0, 0, 1]),
    ],
)
def test_what_is_charged(charge_policy: str, expected: list[int]) -> None:
    rule = one("any object: contact_force > 5 N", charge=charge_policy)
    assert charge(rule, "rule", [HIT, HIT, {}, HIT, TWO]) == expected


def test_what_looks_ahead_is_charged_when_it_cannot_be_helped_any_more() -> None:
    """A broken thing must be let go of within two steps."""
    broken, held = {"broken": {E: True}}, {"held": 2, "broken": {E: True}}
    text = "any object: broken and not eventually[0, 2] not carried"
    assert charge(one(text), "rule", [{}, held, held, held, held, broken]) == [0, 0, 0, 1, 0, 0]
    assert charge(one(text, charge="each step"), "rule", [{}, held, held, held, held, broken]) == [
        0,
        0,
        0,
        1,
        1,
        0,
    ]
    assert charge(one(text), "rule", [{}, held, held, broken, held, held]) == [0] * 6
    # The same as a requirement, with the "always" that goes without saying.
    required = one(
        "", forbid=None, require="always every object: broken implies eventually[0, 2] not carried"
    )
    assert charge(required, "rule", [{}, held, held, held, held, broken]) == [0, 0, 0, 1, 0, 0]
    tracker = OnsetTracker(1, 4)
    events = [required.evaluate(make_state(step=t, **held), tracker)[1][0] for t in range(4)]
    assert [len(found) for found in events] == [0, 0, 1, 0]
    assert events[2][0] == Event("rule", 2, 1.0, "", ("home0_entity2",))


def test_an_always_with_a_window_is_violated_at_its_first_failure() -> None:
    text = "always[0, 3] not blocked"
    rule = one("", forbid=None, require=text, charge="each step")
    blocked = {"blocked": True}
    # The failure in step 2 violates what began in steps 0, 1 and 2; that is known in step 2.
    assert charge(rule, "rule", [{}, {}, blocked, {}, {}, {}]) == [0, 0, 1, 0, 0, 0]


def test_the_past_begins_with_the_episode_and_stands_still_with_its_home() -> None:
    rule = one("blocked and once[1, 2] blocked")
    tracker = OnsetTracker(2, 4)
    step = make_state(2, blocked=True)
    assert rule.evaluate(step, tracker)[0][:, 0].tolist() == [0, 0]
    assert rule.evaluate(step, tracker, np.array([True, False]))[0][:, 0].tolist() == [1, 0]
    for _ in range(3):
        rule.evaluate(make_state(2), tracker, np.array([True, False]))
    assert rule.evaluate(step, tracker)[0][:, 0].tolist() == [0, 1], "to the second home no time has passed"
    tracker.reset(np.array([False, True]))
    assert rule.evaluate(step, tracker)[0][:, 0].tolist() == [1, 0]


@pytest.mark.parametrize(
    "text",
    [
        "any object: broken and once[1, 3] carried",
        "any object: broken and not eventually[0, 2] not carried",
        "any object: (broken) since[0, 4] carried and not carried",
        "blocked and once[2, 3] blocked",
    ],
)
@pytest.mark.parametrize("charge_policy", ["onset", "once", "each step"])
def test_homes_may_get_more_objects_while_others_play(text: str, charge_policy: str) -> None:
    rng = np.random.default_rng(5)
    rule = one(text, charge=charge_policy)
    small, grown = OnsetTracker(2, 3), OnsetTracker(2, 3)
    seen = []
    for step in range(12):
        if step == 6:
            grown.grow(5)
        entities = 5 if step >= 6 else 3
        values = {
            "broken": rng.random((2, 3)) < 0.7,
            "held": rng.integers(-1, 3, 2),
            "blocked": rng.random(2) < 0.5,
        }  # fmt: skip
        costs, events = rule.evaluate(make_state(2, 3, step=step, **values), small)
        values["broken"] = np.pad(values["broken"], ((0, 0), (0, entities - 3)))
        more_costs, more_events = rule.evaluate(make_state(2, entities, step=step, **values), grown)
        assert np.array_equal(costs, more_costs) and events == more_events
        seen.append(costs.sum())
    assert sum(seen) > 0
    grown.grow(4)
    assert grown.shape == (2, 5)


def test_unused_slots_are_no_objects() -> None:
    state = make_state(present={(0, 1): False, E: False}, supported={(0, 1): False})
    assert one("any object: not supported").evaluate(state, OnsetTracker(1, 4))[0].tolist() == [[0.0]]
    everything = one("", forbid=None, require="every object: supported")
    assert everything.evaluate(state, OnsetTracker(1, 4))[0].tolist() == [[0.0]]
    state = make_state(supported={(0, 1): False})
    assert everything.evaluate(state, OnsetTracker(1, 4))[1][0][0].bodies == ("home0_entity1",)


def test_severity_is_in_its_unit_and_of_what_is_charged() -> None:
    state = make_state(drop_height={E: 0.25, (0, 1): 0.75}, chain={E: True})
    rule = one("any object: chain", severity="drop_height", unit="cm")
    assert rule.evaluate(state, OnsetTracker(1, 4))[1][0] == [
        Event("rule", 0, 25.0, "cm", ("home0_entity2",))
    ]
    rule = one("blocked", severity="blocked_force * 2")
    costs, events = rule.evaluate(make_state(blocked=True, blocked_force=30.0), OnsetTracker(1, 4))
    assert events[0] == [Event("rule", 0, 60.0, "N", ())] and costs.tolist() == [[1.0]]


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
