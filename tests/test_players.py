"""Players: the same episodes whatever the number of processes, errors and deaths told, none left behind."""

import functools
import multiprocessing
import os
import time

import numpy as np
import pytest
import torch

from safevla.players import SharedTurns, players
from safevla.rollout import play
from toy import ToyEnv, ToyPolicy, scenario

# Some scenarios come several times: each time is played differently.
SCENARIOS = [scenario(number % 7) for number in range(18)]


def _fail_elsewhere(env, policy, scenarios, parent, progress=None, turns=None):
    if os.getpid() != parent:
        raise LookupError(f"{len(scenarios)} scenarios")
    return play(env, policy, scenarios, turns=turns)


def _die_elsewhere(env, policy, scenarios, parent, progress=None, turns=None):
    return play(env, policy, scenarios, turns=turns) if os.getpid() == parent else os._exit(3)


def _begin_last(env, policy, scenarios, parent, progress=None, turns=None):
    """Play; the caller's process does not begin before others have taken all but what it begins with."""
    while os.getpid() == parent and turns.dealt < len(scenarios):
        time.sleep(0.01)
    return play(env, policy, scenarios, seed=3, turns=turns)


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


def test_scenarios_are_dealt_once_in_order_and_to_whom_is_free():
    counter = multiprocessing.get_context("spawn").Value("q", 4)
    one, other = SharedTurns(counter, range(10), (0, 2)), SharedTurns(counter, range(10), (1, 3))
    assert one.take(3) == [0, 2, 4]
    assert one.take(2) == [5, 6]
    assert other.take(1) == [1]  # it begins late, with what it was given
    assert other.take(2) == [3, 7]
    assert [one.take(1) for _ in range(3)] == [[8], [9], []]
    assert other.take(2) == []
    assert (one.taken, other.taken, one.dealt) == ([0, 2, 4, 5, 6, 8, 9], [1, 3, 7], 10)
    counter.value = 4
    other.stop()
    assert one.take(3) == []


def test_what_took_longest_is_played_first_the_next_time():
    orders = []

    def noted(env, policy, scenarios, progress=None, turns=None):
        episodes = play(env, policy, scenarios, turns=turns)
        orders.append(turns.taken)
        return episodes

    known, more = SCENARIOS[:7], [scenario(number) for number in range(7, 11)]
    with players(ToyEnv(2), ToyPolicy(), None, 1) as group:
        lengths = [episode.length for episode in group.run(noted, known)]
        again = group.run(noted, [*known, *more])
    assert orders[0] == list(range(7))
    assert [again[row].scenario for row in range(11)] == [*known, *more]
    mean = np.mean(lengths)
    expected = [*lengths, *[mean] * 4]
    assert len(set(lengths)) > 2
    assert orders[1] == sorted(range(11), key=lambda row: -expected[row])


def test_episodes_come_in_order_whoever_has_played_them():
    alone = play(ToyEnv(4), ToyPolicy(), SCENARIOS, seed=3)
    with players(ToyEnv(4), ToyPolicy(), functools.partial(ToyEnv, 4), 2) as group:
        shared = group.run(_begin_last, SCENARIOS, (os.getpid(),))
        few = group.run(_begin_last, SCENARIOS[:1], (os.getpid(),))
    np.testing.assert_array_equal(few[0].actions, alone[0].actions)
    for one, other in zip(alone, shared, strict=True):
        assert one.scenario == other.scenario
        np.testing.assert_array_equal(one.actions, other.actions)


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
