"""Baselines, the choice of actions, and the check that a policy fits an environment."""

from types import SimpleNamespace

import numpy as np
import pytest

from safevla.policy.baselines import InactivePolicy, RandomPolicy
from safevla.policy.protocol import IncompatiblePolicyError, Policy, check_compatible, choose
from safevla.types import ACTION_ID, NO_ACTION, Observation


def observe(homes, seed=0):
    pictures = np.random.default_rng(seed).integers(0, 256, (homes, 8, 8, 3), dtype=np.uint8)
    zeros = np.zeros(homes, np.int64)
    return Observation(pictures, pictures, zeros, zeros + NO_ACTION, zeros, ["find a mug"] * homes)


def test_choose_inverts_the_cumulated_probabilities():
    probabilities = np.array([[0.25, 0.5, 0.25]] * 5)
    assert choose(probabilities, np.array([0.0, 0.2499, 0.25, 0.7499, 0.9999])).tolist() == [0, 0, 1, 1, 2]
    assert choose(probabilities, None).tolist() == [1] * 5
    # Rounding may leave a cumulated sum below 1, and impossible actions are never drawn.
    assert choose(np.array([[0.3, 0.3, 0.3999999]]), np.array([1 - 1e-12])).tolist() == [2]
    assert choose(np.array([[0.0, 1.0, 0.0]]), np.array([0.0])).tolist() == [1]


def test_choose_draws_in_proportion():
    probabilities = np.tile([0.1, 0.6, 0.3], (20_000, 1))
    shares = np.bincount(choose(probabilities, np.random.default_rng(0).random(20_000))) / 20_000
    np.testing.assert_allclose(shares, [0.1, 0.6, 0.3], atol=0.02)


def test_baselines():
    for policy in (RandomPolicy(), InactivePolicy()):
        assert isinstance(policy, Policy)
    seen = observe(400)
    assert (InactivePolicy().act(seen).action == ACTION_ID["end"]).all()
    drawn = RandomPolicy().act(seen, np.random.default_rng(0).random(400))
    assert len(set(drawn.action.tolist())) == 20
    np.testing.assert_allclose(drawn.log_prob, -np.log(20), rtol=1e-6)
    greedy = RandomPolicy().act(seen).action
    assert len(set(greedy.tolist())) > 15
    np.testing.assert_array_equal(greedy, RandomPolicy().act(seen).action)


def test_compatibility():
    env = SimpleNamespace(constraints=("a", "b"), resolution=(112, 112), horizon=200)
    fits = SimpleNamespace(
        constraints=("a", "b"), resolution=112, max_steps=600, reset=lambda mask: None, act=lambda seen: None
    )
    check_compatible(fits, env)
    check_compatible(RandomPolicy(), env)
    for changes, code in (
        ({"constraints": ("b", "a")}, "constraints"),
        ({"resolution": 64}, "resolution"),
        ({"max_steps": 100}, "horizon"),
    ):
        with pytest.raises(IncompatiblePolicyError) as caught:
            check_compatible(SimpleNamespace(**(vars(fits) | changes)), env)
        assert caught.value.code == code and "\n" not in str(caught.value)
    with pytest.raises(IncompatiblePolicyError, match="it has no constraints, reset, act"):
        check_compatible(object(), env)
