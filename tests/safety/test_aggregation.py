"""Aggregates of episode costs against numpy, scipy and exact enumeration."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from safevla.safety.aggregation import aggregate, charge_excess, describe, tail_share, value_at_risk

COSTS = st.lists(st.integers(0, 6), min_size=1, max_size=40).map(lambda items: np.array(items, float))


@given(COSTS)
def test_mean_and_worst_are_those_of_numpy(costs):
    assert aggregate(costs, "mean") == costs.mean()
    assert aggregate(costs, "worst") == costs.max()


@pytest.mark.parametrize(
    ("aggregation", "worst"), [("cvar95", 5), ("cvar90", 10), ("cvar99", 1), ("cvar50", 50)]
)
def test_cvar_is_the_mean_of_the_last_of_the_sorted_samples(aggregation, worst):
    costs = np.random.default_rng(worst).poisson(2.0, 100)
    assert aggregate(costs, aggregation) == pytest.approx(np.sort(costs)[-worst:].mean(), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(COSTS, st.integers(1, 99))
def test_cvar_is_the_minimum_of_rockafellar_and_uryasev(costs, level):
    share = 1 - level / 100

    def bound(v):
        return v + np.maximum(costs - v, 0).mean() / share

    found = aggregate(costs, f"cvar{level}")
    least = min(bound(v) for v in costs)  # piecewise linear and convex: least at one of its corners
    assert found == pytest.approx(least, abs=1e-9)
    assert found <= minimize_scalar(bound, bounds=(-1, 7), method="bounded").fun + 1e-6
    assert bound(value_at_risk(costs, share)) == pytest.approx(found, abs=1e-9)
    assert (costs > value_at_risk(costs, share)).mean() <= share + 1e-12


def test_names_and_what_is_wrong_with_others():
    assert [tail_share(name) for name in ("mean", "cvar95", "cvar97.5", "worst")] == [1.0, 0.05, 0.025, 0.0]
    assert [describe(name) for name in ("mean", "cvar97.5", "worst")] == [
        "mean",
        "mean of the worst 2.5 %",
        "worst",
    ]
    with pytest.raises(
        ValueError, match=r"unknown aggregation 'wurst'; did you mean 'worst'\?; cvar has its level"
    ):
        tail_share("wurst")
    with pytest.raises(ValueError, match=r"'cvar100' must lie above 0 and below 100 %, as in 'cvar95'"):
        tail_share("cvar100")
    with pytest.raises(ValueError, match="did you mean 'cvar95'"):
        tail_share("cvar 0.95")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 9999), st.sampled_from(["cvar80", "cvar95", "worst"]), st.floats(0.0, 8.0))
def test_what_is_charged_adds_up_to_the_excess_and_bounds_the_aggregate(seed, aggregation, budget):
    costs = np.random.default_rng(seed).integers(0, 3, (20, 6)).astype(np.float32)
    charged = charge_excess(costs, aggregation, budget)
    totals, sums, share = costs.sum(axis=1), charged.sum(axis=1, dtype=float), tail_share(aggregation)
    assert charged.dtype == np.float32 and charged.min() >= 0.0 and not charged[costs == 0].any()
    if aggregation == "worst":
        np.testing.assert_allclose(sums, np.maximum(totals - budget, 0), atol=1e-5)
        return
    v = min(budget, value_at_risk(totals, share))
    np.testing.assert_allclose(sums, np.maximum(totals - v, 0) / share, rtol=1e-5, atol=1e-5)
    found = aggregate(totals, aggregation)
    assert v + sums.mean() >= found - 1e-4  # an upper bound of the CVaR
    if found <= budget:  # and exact where the budget is kept
        assert v + sums.mean() == pytest.approx(found, abs=1e-4)


def test_the_mean_charges_the_costs_themselves():
    costs = np.ones((2, 3), np.float32)
    assert charge_excess(costs, "mean", 0.1) is costs


@pytest.mark.parametrize("aggregation", ["cvar80", "cvar95", "cvar60"])
def test_the_policy_gradient_of_what_is_charged_is_that_of_the_cvar(aggregation):
    """Five coin tosses with probability q of heads, each with its cost: 32 episodes, enumerated exactly."""
    tosses = np.array(list(itertools.product([0, 1], repeat=5)), float)
    costs = tosses * np.array([1.0, 2.3, 0.7, 3.1, 1.9]) + (1 - tosses) * np.array([0.2, 0.1, 1.1, 0.4, 0.3])
    totals, share = costs.sum(axis=1), tail_share(aggregation)

    def cvar(theta):
        q = 1 / (1 + np.exp(-theta))
        chance = np.where(tosses == 1, q, 1 - q).prod(axis=1)
        return min(v + chance @ np.maximum(totals - v, 0) / share for v in totals)

    slope = (cvar(1e-5) - cvar(-1e-5)) / 2e-5
    score = tosses - 0.5  # d log pi / d theta at theta = 0, where all episodes are equally likely
    charged = charge_excess(costs, aggregation, budget=np.inf)
    to_come = np.cumsum(charged[:, ::-1], axis=1)[:, ::-1]  # causality, as the advantages have it
    assert (score * to_come).sum(axis=1).mean() == pytest.approx(slope, rel=1e-6)


def test_a_violation_that_the_value_at_risk_hides_is_charged():
    """Half of the episodes cost 1: their CVaR95 is 1 and nothing exceeds the value at risk of 1."""
    costs = np.zeros((10, 2))
    costs[::2, 1] = 1
    assert value_at_risk(costs.sum(axis=1), 0.05) == 1.0
    np.testing.assert_allclose(charge_excess(costs, "cvar95", 0.5)[:2], [[0.0, 0.5 / 0.05], [0.0, 0.0]])
