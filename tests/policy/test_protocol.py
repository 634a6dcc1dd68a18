"""Baselines, the choice of actions, and the check that a policy fits an environment."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from safevla.policy.baselines import InactivePolicy, RandomPolicy
from safevla.policy.protocol import (
    CODES,
    Decision,
    IncompatiblePolicyError,
    Policy,
    check_compatible,
    choose,
)
from safevla.policy.remote import RemotePolicyError
from safevla.types import ACTION_ID, ACTIONS, NO_ACTION, Observation


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


class Fits:
    constraints, resolution, max_steps, actions = ("a", "b"), 112, 600, ACTIONS

    def reset(self, mask):
        pass

    def act(self, observation, uniforms=None):
        count = len(observation.step)
        return Decision(np.zeros(count, np.int64), np.zeros(count), np.zeros((count, 3)))


ENV = SimpleNamespace(constraints=("a", "b"), resolution=(112, 112), horizon=200, tasks=("PickUp",))


def broken(**changes):
    return type("Broken", (Fits,), changes)()


def answers(action, log_prob=(2,), values=(2, 3)):
    decision = Decision(np.asarray(action), np.zeros(log_prob), np.zeros(values))
    return broken(act=lambda self, observation, uniforms=None: decision)


def fails(self, observation, uniforms=None):
    raise KeyError(observation.instruction[0])


@pytest.mark.parametrize(
    ("policy", "code", "text"),
    [
        (object(), "interface", "it has no constraints, reset, act"),
        (Fits, "interface", r"is a class, make a policy of it: Fits\(\)"),
        (broken(reset=lambda self: None), "interface", r"cannot be called as reset\(mask\)"),
        (broken(act=lambda self, seen: None), "interface", r"called as act\(observation, uniforms\)"),
        (broken(constraints=("b", "a")), "constraints", "cost critics for b, a, the environment has a, b"),
        (broken(constraints="ab"), "constraints", "cost critics for ab"),
        (broken(actions=("jump", *ACTIONS[1:])), "actions", r"20 actions \(jump\)"),
        (broken(actions=ACTIONS[:5]), "actions", r"5 actions \(fewer\)"),
        (broken(resolution=64), "resolution", "64 x 64, .* 112 x 112: set its resolution to 64"),
        (broken(resolution=(112, 200)), "resolution", "112 x 200"),
        (broken(max_steps=100), "horizon", "remembers 100 steps, episodes have up to 200"),
        (broken(act=fails), "trial", r"a blank picture: KeyError: 'pick up a mug' \(test_protocol"),
        (broken(act=lambda self, observation, uniforms: 3), "decision", "answers a int without action"),
        (answers([0]), "decision", r"shape \(1,\) and type int64, expected \(2,\) integers"),
        (answers([0.0, 1.0]), "decision", "type float64"),
        (answers([0, 20]), "decision", "action 20, expected 0 to 19"),
        (answers([0, -1]), "decision", "action -1"),
        (answers([0, 1], log_prob=(2, 1)), "decision", r"log_prob of shape \(2, 1\), expected \(2\)"),
        (answers([0, 1], values=(2, 1)), "decision", r"values of shape \(2, 1\), expected \(2, 3\)"),
    ],
)
def test_what_does_not_fit(policy, code, text):
    check_compatible(Fits(), ENV)
    with pytest.raises(IncompatiblePolicyError, match=text) as caught:
        check_compatible(policy, ENV)
    assert caught.value.code == code and code in CODES and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [IncompatiblePolicyError, RemotePolicyError])
def test_errors_come_back_from_worker_processes(kind):
    error = pickle.loads(pickle.dumps(kind("lost", "it went away")))
    assert type(error) is kind and error.code == "lost" and str(error) == "it went away"


def test_what_is_not_said_is_not_checked():
    env = SimpleNamespace(constraints=("a",), resolution=(8, 12))
    check_compatible(RandomPolicy(), env)
    check_compatible(InactivePolicy(), env)
    # Without a resolution there are no pictures to try it on.
    check_compatible(broken(constraints=("a",), act=fails), SimpleNamespace(constraints=("a",)))
