"""Playing: nothing depends on who plays where, and every step's reward and cost is accounted for."""

import pickle

import numpy as np
import pytest

from safevla.policy.protocol import FailedPolicyError
from safevla.rollout import length_buckets, pad, play
from toy import ToyEnv, ToyPolicy, scenario

SCENARIOS = [scenario(number, "Fetch" if number % 5 == 4 else "ObjNav") for number in range(23)]
KEEP = ("features", "values", "last_action", "bootstrap")


@pytest.mark.parametrize("num_envs", [1, 3, 40])
def test_order_and_content_do_not_depend_on_the_number_of_homes(num_envs):
    reference = play(ToyEnv(4), ToyPolicy(), SCENARIOS, seed=3, keep=KEEP)
    episodes = play(ToyEnv(num_envs), ToyPolicy(), SCENARIOS, seed=3, keep=KEEP)
    assert [episode.scenario for episode in episodes] == SCENARIOS
    for ours, theirs in zip(episodes, reference, strict=True):
        np.testing.assert_array_equal(ours.actions, theirs.actions)
        np.testing.assert_array_equal(ours.extras["features"], theirs.extras["features"])
        np.testing.assert_allclose(ours.extras["bootstrap"], theirs.extras["bootstrap"], atol=1e-6)


def test_order_of_scenarios_does_not_change_an_episode():
    forward = play(ToyEnv(4), ToyPolicy(), SCENARIOS, seed=3)
    backward = play(ToyEnv(4), ToyPolicy(), SCENARIOS[::-1], seed=3)[::-1]
    for ours, theirs in zip(forward, backward, strict=True):
        np.testing.assert_array_equal(ours.actions, theirs.actions)


def test_what_is_dealt_is_played_as_if_all_were():
    class Every:
        """Deals every third scenario, one at a time."""

        def __init__(self):
            self.left = list(range(0, 46, 3))

        def take(self, wanted):
            return [self.left.pop(0)] if self.left and wanted else []

    repeated = SCENARIOS * 2
    reference = play(ToyEnv(4), ToyPolicy(), repeated, seed=3, keep=KEEP)[::3]
    episodes = play(ToyEnv(4), ToyPolicy(), repeated, seed=3, keep=KEEP, turns=Every())
    for ours, theirs in zip(episodes, reference, strict=True):
        assert ours.scenario == theirs.scenario
        np.testing.assert_array_equal(ours.actions, theirs.actions)
        np.testing.assert_array_equal(ours.extras["features"], theirs.extras["features"])


def test_every_step_is_accounted_for():
    env = ToyEnv(4)
    episodes = play(env, ToyPolicy(), SCENARIOS, seed=1)
    for episode in episodes:
        fetch = episode.scenario.task == "Fetch"
        assert episode.length == (6 if fetch else 3 + episode.scenario.house_seed % 4)
        assert (episode.truncated, episode.success) == (fetch, not fetch)
        assert episode.costs[:, 0].sum() == (episode.actions == 0).sum() == len(episode.events)
        assert episode.metres == pytest.approx(0.1 * episode.length)
    assert sum(episode.cost for episode in episodes) == env.total_cost > 0
    assert sum(episode.rewards.sum() for episode in episodes) == pytest.approx(env.total_reward)


def test_history_is_cleared_and_observation_precedes_the_action():
    for episode in play(ToyEnv(3), ToyPolicy(), SCENARIOS, keep=KEEP):
        steps = np.arange(episode.length)
        np.testing.assert_allclose(episode.extras["features"][:, 3], steps / 10, atol=1e-3)
        np.testing.assert_array_equal(episode.extras["last_action"][1:], episode.actions[:-1])
        assert episode.extras["last_action"][0] == 20


def test_bootstrap_is_the_value_after_a_truncation_and_zero_after_the_end():
    policy = ToyPolicy()
    for episode in play(ToyEnv(3), policy, SCENARIOS, keep=KEEP):
        assert episode.extras["bootstrap"].shape == (3,)
        if episode.truncated:
            weight, bias = policy.critic.weight.detach().numpy(), policy.critic.bias.detach().numpy()
            final = [1.0, 0.6, episode.scenario.house_seed % 251 / 255, 0.6]
            np.testing.assert_allclose(episode.extras["bootstrap"], weight @ final + bias, atol=1e-4)
        else:
            assert not episode.extras["bootstrap"].any()


@pytest.mark.parametrize(("keep", "wanted"), [((), False), (("values",), True), (("bootstrap",), True)])
def test_values_are_asked_for_where_they_are_read(keep, wanted):
    class Asked(ToyPolicy):
        def act(self, observation, uniforms=None):
            asked.add(observation.wants_values)
            return super().act(observation, uniforms)

    asked = set()
    play(ToyEnv(3), Asked(), SCENARIOS, keep=keep)
    assert asked == {wanted}


def test_greedy_repeated_and_differently_seeded_episodes():
    greedy = play(ToyEnv(2), ToyPolicy(), [SCENARIOS[0]] * 4, greedy=True)
    assert len({tuple(episode.actions) for episode in greedy}) == 1
    long = [scenario(3, "Fetch")] * 6
    sampled = play(ToyEnv(2, horizon=30), ToyPolicy(), long, seed=0)
    assert len({tuple(episode.actions) for episode in sampled}) == 6
    other = play(ToyEnv(2, horizon=30), ToyPolicy(), long, seed=1)
    assert all(not np.array_equal(a.actions, b.actions) for a, b in zip(sampled, other, strict=True))


def test_an_error_of_the_policy_says_whose_it_is_and_where():
    class Forgetful(ToyPolicy):
        def act(self, observation, uniforms):
            if observation.step.max() == 2:
                raise KeyError("mug")
            return super().act(observation, uniforms)

    place = r"\(test_rollout.py, line \d+\)"
    with pytest.raises(FailedPolicyError, match=f"Forgetful fails to act, up to 2 .*KeyError: 'mug' {place}"):
        play(ToyEnv(2), Forgetful(), SCENARIOS)
    again = pickle.loads(pickle.dumps(FailedPolicyError("failed", "why")))
    assert (again.code, str(again)) == ("failed", "why")


def test_observer_and_progress_see_everything_and_no_scenario_is_fine():
    seen, finished = [], []
    play(
        ToyEnv(4),
        ToyPolicy(),
        SCENARIOS,
        observer=lambda env, step, active, playing: seen.extend(playing[active]),
        progress=lambda done, total: finished.append((done, total)),
    )
    episodes = play(ToyEnv(4), ToyPolicy(), SCENARIOS)
    assert np.bincount(seen).tolist() == [episode.length for episode in episodes]
    assert finished == [(count, 23) for count in range(1, 24)]
    assert play(ToyEnv(2), ToyPolicy(), []) == []


def test_pad_and_buckets():
    padded = pad([np.ones((2, 3)), np.ones((4, 3))])
    assert padded.shape == (2, 4, 3) and padded.sum() == 18
    lengths = np.arange(1, 51)
    groups = length_buckets(lengths, 8, np.random.default_rng(0))
    assert sorted(np.concatenate(groups)) == list(range(50))
    assert max(np.ptp(lengths[group]) for group in groups) < 20
    again = length_buckets(lengths, 8, np.random.default_rng(1))
    assert any(not np.array_equal(a, b) for a, b in zip(groups, again, strict=False))
