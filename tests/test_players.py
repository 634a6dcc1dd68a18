"""Players: the same episodes whatever the number of processes, errors and deaths told, none left behind."""

import functools
import os

import numpy as np
import pytest
import torch

from safevla.players import players
from safevla.rollout import play
from toy import ToyEnv, ToyPolicy, scenario

# Some scenarios come several times: each time is played differently.
SCENARIOS = [scenario(number % 7) for number in range(18)]


def _fail(env, policy, scenarios, progress=None):
    raise LookupError(f"{len(scenarios)} scenarios")


def _fail_elsewhere(env, policy, scenarios, parent, progress=None):
    return play(env, policy, scenarios) if os.getpid() == parent else _fail(env, policy, scenarios)


def _die_elsewhere(env, policy, scenarios, parent, progress=None):
    return play(env, policy, scenarios) if os.getpid() == parent else os._exit(3)


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_episodes_do_not_depend_on_the_number_of_processes(processes):
    policy = ToyPolicy()
    alone = play(ToyEnv(4), policy, SCENARIOS, seed=3, keep=("features",))
    seen = []
    with players(ToyEnv(4), policy, functools.partial(ToyEnv, 4), processes) as group:
        shared = group.play(SCENARIOS, seed=3, keep=("features",), progress=lambda *at: seen.append(at))
    assert [episode.scenario for episode in shared] == SCENARIOS
    for one, other in zip(alone, shared, strict=True):
        np.testing.assert_array_equal(one.actions, other.actions)
        np.testing.assert_array_equal(one.costs, other.costs)
        np.testing.assert_array_equal(one.extras["features"], other.extras["features"])
    assert seen[-1] == (18, 18)


def test_the_others_play_with_the_weights_of_now():
    policy = ToyPolicy()
    with players(ToyEnv(4), policy, functools.partial(ToyEnv, 4), 2) as group:
        before = group.play(SCENARIOS, greedy=True)
        with torch.no_grad():
            policy.actor.weight.mul_(-1.0)
            policy.actor.bias.mul_(-1.0)
        after = group.play(SCENARIOS, greedy=True)
    assert any(len(a.actions) != len(b.actions) or (a.actions != b.actions).any()
               for a, b in zip(before[1::2], after[1::2], strict=True))  # fmt: skip
    for one, other in zip(after, play(ToyEnv(4), policy, SCENARIOS, greedy=True), strict=True):
        np.testing.assert_array_equal(one.actions, other.actions)


def test_errors_and_deaths_reach_the_caller():
    with players(ToyEnv(4), ToyPolicy(), functools.partial(ToyEnv, 4), 2) as group:
        with pytest.raises(LookupError, match="scenarios"):
            group.run(_fail_elsewhere, SCENARIOS, (os.getpid(),))
        with pytest.raises(ChildProcessError, match="fewer --processes"):
            group.run(_die_elsewhere, SCENARIOS, (os.getpid(),))


def test_what_is_needed():
    with pytest.raises(ValueError, match="0 processes"):
        players(ToyEnv(4), ToyPolicy(), None, 0).__enter__()
    with pytest.raises(ValueError, match="a factory of homes"):
        players(ToyEnv(4), ToyPolicy(), None, 2).__enter__()
