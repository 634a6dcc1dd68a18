"""The multipliers on planted problems."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from safevla.constrain.multiplier import Multipliers, project_to_sum
from safevla.constrain.settings import MultiplierConfig

NAMES = ("corner", "blind_spot")


def play(multipliers, budget, iterations=60, episodes=20):
    """A planted policy: constraint 0 costs 10 / (1 + lambda), constraint 1 never anything."""
    cost = np.zeros(2)
    for _ in range(iterations):
        cost = np.array([10 / (1 + multipliers.values[0]), 0.0])
        multipliers.update(cost * episodes, episodes, np.array([budget, 1.0]))
    return cost


@pytest.mark.parametrize("kind", ["ascent", "pid"])
def test_settles_on_the_budget_and_lets_go_of_what_is_not_violated(kind):
    multipliers = Multipliers(MultiplierConfig(kind=kind, initial=0.5), NAMES)
    cost = play(multipliers, budget=2.0)
    assert cost[0] == pytest.approx(2.0, rel=0.1)
    assert multipliers.values[0] == pytest.approx(4.0, rel=0.2)  # 10 / (1 + 4) = 2
    assert multipliers.values[1] == 0.0


@pytest.mark.parametrize("kind", ["ascent", "pid"])
def test_bounds(kind):
    config = MultiplierConfig(kind=kind, learning_rate=10.0, integral=10.0, maximum=50.0)
    multipliers = Multipliers(config, NAMES)
    for _ in range(50):
        multipliers.update(np.array([1e9, 0.0]), 1, np.array([1.0, 1.0]))
    assert multipliers.values[0] == pytest.approx(50.0 if kind == "ascent" else 20.0 + 3.0)
    assert multipliers.values[1] == 0.0
    assert multipliers.errors.tolist() == [3.0, -1.0]


def test_ascent_step_by_hand_and_fixed_stays():
    multipliers = Multipliers(MultiplierConfig(initial=0.5, learning_rate=0.1), NAMES)
    multipliers.update(np.array([12.0, 4.0]), 4, np.array([2.0, 2.0]))  # means 3 and 1: errors 0.5 and -0.5
    np.testing.assert_allclose(multipliers.values, [0.55, 0.45])
    fixed = Multipliers(MultiplierConfig(kind="fixed", initial=2.0), NAMES)
    fixed.update(np.array([12.0, 4.0]), 4, np.array([2.0, 2.0]))
    assert fixed.values.tolist() == [2.0, 2.0]


@given(arrays(np.float64, 5, elements=st.floats(0, 20)), st.floats(0.01, 30))
def test_projection_is_the_nearest_point_of_that_sum(values, total):
    projected = project_to_sum(values, total)
    assert projected.sum() == pytest.approx(total) and (projected >= 0).all()
    others = np.random.default_rng(0).dirichlet(np.full(5, 0.3), 200) * total
    assert np.linalg.norm(values - projected) <= np.linalg.norm(values - others, axis=1).min() + 1e-9


@pytest.mark.parametrize("kind", ["ascent", "pid"])
def test_the_sum_is_bounded_and_goes_to_what_is_violated(kind):
    config = MultiplierConfig(kind=kind, initial=1.0, learning_rate=0.3, total_maximum=1.5)
    multipliers = Multipliers(config, NAMES)
    assert multipliers.values.tolist() == [0.75, 0.75]
    for _ in range(20):
        multipliers.update(np.array([5.0, 0.5]), 1, np.ones(2))
        assert multipliers.values.sum() <= 1.5 + 1e-12
    assert multipliers.values == pytest.approx([1.5, 0.0])


def test_a_budget_of_zero_is_finite():
    multipliers = Multipliers(MultiplierConfig(), NAMES)
    multipliers.update(np.array([1.0, 0.0]), 1, np.zeros(2))
    assert multipliers.errors.tolist() == [3.0, 0.0]


@pytest.mark.parametrize("kind", ["ascent", "pid"])
def test_state_goes_on_exactly(kind):
    straight, first = (Multipliers(MultiplierConfig(kind=kind), NAMES) for _ in range(2))
    generator = np.random.default_rng(0)
    costs = generator.uniform(0, 9, (6, 2))
    for cost in costs:
        straight.update(cost, 3, np.ones(2))
    for cost in costs[:3]:
        first.update(cost, 3, np.ones(2))
    second = Multipliers(MultiplierConfig(kind=kind), NAMES)
    second.load_state_dict(first.state_dict())
    for cost in costs[3:]:
        second.update(cost, 3, np.ones(2))
    assert second.state_dict() == straight.state_dict()


def test_bad_input_is_one_clear_line():
    multipliers = Multipliers(MultiplierConfig(), NAMES)
    for arguments in (
        (np.ones(2), 0, np.ones(2)),
        (np.ones(3), 1, np.ones(2)),
        (np.full(2, np.nan), 1, np.ones(2)),
    ):
        with pytest.raises(ValueError):
            multipliers.update(*arguments)
    with pytest.raises(ValueError, match="the checkpoint has multipliers for corner"):
        Multipliers(MultiplierConfig(), ("other",)).load_state_dict(multipliers.state_dict())
    with pytest.raises(ValueError, match="valid: ascent"):
        MultiplierConfig(kind="magic")
    with pytest.raises(ValueError, match="learning_rate is nan, expected 0 or more"):
        MultiplierConfig(learning_rate=float("nan"))
