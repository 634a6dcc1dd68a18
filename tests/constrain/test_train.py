"""The loop on a planted problem: unconstrained it takes the costly action, constrained it does not."""

import functools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from safevla.constrain.train import MultiplierConfig, TrainConfig, draw_scenarios, train
from safevla.rollout import play
from safevla.safety.aggregation import aggregate
from toy import ToyEnv, ToyPolicy, scenario

DOMAIN = [scenario(number, "Fetch" if number % 3 == 0 else "ObjNav") for number in range(40)]
ARCHIVE = [scenario(number) for number in range(1000, 1004)]
SMALL = TrainConfig(
    iterations=4,
    episodes_per_iteration=16,
    minibatch_sequences=4,
    policy_learning_rate=0.02,
    critic_learning_rate=0.02,
    critic_warmup=1,
    target_kl=0.1,
    seed=5,
)


def learn(method, out, kind="ascent"):
    multiplier = MultiplierConfig(kind=kind, initial=0.0, learning_rate=0.3)
    config = replace(
        SMALL, method=method, iterations=40, episodes_per_iteration=24, kl_to_imitation=0.0, target_kl=0.2,
        budgets={"greedy": 0.5}, multiplier=multiplier,
    )  # fmt: skip
    policy = train(config, ToyPolicy(), ToyEnv(8), DOMAIN, [], out)
    episodes = play(ToyEnv(8), policy, DOMAIN, seed=99)
    return np.mean([e.cost for e in episodes]), np.mean([e.rewards.sum() for e in episodes])


def test_rl_takes_the_costly_action_and_isa_respects_the_budget(tmp_path):
    rl_cost, rl_return = learn("rl", tmp_path / "rl")
    isa_cost, isa_return = learn("isa", tmp_path / "isa")
    assert rl_cost > 3.5 and rl_return > 3.8  # of about 4.9 steps
    assert isa_cost < 1.0 and isa_return > 2.3


class SafeEnv(ToyEnv):
    """The same without costs."""

    def step(self, actions, active=None):
        step = super().step(actions, active)
        step.costs[:] = 0.0
        return step


def test_where_nothing_costs_prices_change_nothing(tmp_path):
    """The anchor to imitation weighs as much beside the reward, however high the prices are."""
    ends = {}
    for method in ("rl", "isa"):
        policy = ToyPolicy()
        torch.nn.init.zeros_(policy.critic.weight)
        torch.nn.init.zeros_(policy.critic.bias)
        config = replace(
            SMALL, method=method, kl_to_imitation=1.0, entropy=0.1, max_grad_norm=1e9,
            multiplier=MultiplierConfig(kind="fixed", initial=9.0),
        )  # fmt: skip
        train(config, policy, SafeEnv(8), DOMAIN, [], tmp_path / method)
        ends[method] = weights(policy)
    assert (ends["rl"] - weights(ToyPolicy())).abs().max() > 0.1
    assert torch.allclose(ends["rl"], ends["isa"], atol=1e-3)


def test_pid_respects_the_budget_too(tmp_path):
    cost, _ = learn("isa", tmp_path, "pid")
    assert cost < 1.0


def weights(policy):
    return torch.cat([parameter.detach().flatten() for parameter in policy.parameters()])


def metrics(path):
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if not key.startswith("perf/")} for line in lines]


@pytest.mark.parametrize("kind", ["ascent", "pid"])
def test_resume_is_exact_to_the_bit(tmp_path, kind):
    config = replace(SMALL, multiplier=MultiplierConfig(kind=kind))
    straight = train(config, ToyPolicy(), ToyEnv(4), DOMAIN, ARCHIVE, tmp_path / "straight")
    train(replace(config, iterations=2), ToyPolicy(), ToyEnv(4), DOMAIN, ARCHIVE, tmp_path / "halves")
    # The policy handed in on resume is another one: all that counts is in the folder.
    resumed = train(config, ToyPolicy(seed=77), ToyEnv(4), DOMAIN, ARCHIVE, tmp_path / "halves")
    assert torch.equal(weights(straight), weights(resumed))
    assert metrics(tmp_path / "straight") == metrics(tmp_path / "halves")
    assert not torch.equal(weights(straight), weights(ToyPolicy()))


def test_two_processes_play_what_one_plays(tmp_path):
    train(SMALL, ToyPolicy(), ToyEnv(4), DOMAIN, ARCHIVE, tmp_path / "one")
    other = functools.partial(ToyEnv, 4)
    train(SMALL, ToyPolicy(), ToyEnv(4), DOMAIN, ARCHIVE, tmp_path / "two", make_env=other, processes=2)
    assert metrics(tmp_path / "one") == metrics(tmp_path / "two")


def test_critics_alone_learn_in_the_warm_up_while_multipliers_rest(tmp_path):
    start = ToyPolicy()
    config = replace(SMALL, iterations=2, critic_warmup=2)
    policy = train(config, ToyPolicy(), ToyEnv(4), DOMAIN, ARCHIVE, tmp_path)
    assert torch.equal(policy.actor.weight, start.actor.weight)
    assert not torch.equal(policy.critic.weight, start.critic.weight)
    lines = metrics(tmp_path)
    assert all(line["multiplier/greedy"] == config.multiplier.initial for line in lines)
    mean = np.mean([line["rollout/cost/greedy"] for line in lines])
    assert lines[-1]["budget/greedy"] == pytest.approx(0.2 * mean)
    assert lines[-1]["budget/never"] == config.budget_floor


def test_critics_come_to_explain_the_returns(tmp_path):
    config = replace(SMALL, iterations=20, critic_warmup=20, critic_learning_rate=0.1, warmup_epochs=10)
    train(config, ToyPolicy(), ToyEnv(4), DOMAIN, [], tmp_path)
    lines = metrics(tmp_path)
    assert lines[-1]["explained_variance/greedy"] > 0.1 > lines[0]["explained_variance/greedy"]


def test_total_steps_ends_the_run_and_every_metric_is_there(tmp_path):
    seen = []
    config = replace(SMALL, iterations=1000, total_steps=200, method="rl")
    train(
        config, ToyPolicy(), ToyEnv(4), DOMAIN, [], tmp_path, lambda number, line: seen.append((number, line))
    )
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["steps"] >= 200 > lines[-2]["steps"]
    assert [number for number, _ in seen] == list(range(len(lines)))
    expected = {
        "rollout/return", "rollout/success", "rollout/cost/greedy", "multiplier/never", "budget/greedy",
        "loss/policy", "loss/value", "loss/cost_value", "loss/entropy", "loss/kl", "perf/steps_per_s",
        "perf/collect_share", "perf/update_share", "explained_variance/reward", "explained_variance/greedy",
    }  # fmt: skip
    assert expected <= set(lines[-1])
    assert all(line["multiplier/greedy"] == 0.0 for line in lines)


def test_several_tasks_are_told_apart(tmp_path):
    train(replace(SMALL, iterations=2), ToyPolicy(), ToyEnv(4), DOMAIN, [], tmp_path / "both")
    for number, line in enumerate((tmp_path / "both" / "metrics.jsonl").read_text().splitlines()):
        told = json.loads(line)
        played = draw_scenarios(SMALL, number, DOMAIN, [])
        total = sum(told[f"rollout/success/{item.task}"] for item in played)
        assert total / len(played) == pytest.approx(told["rollout/success"])
        assert told["rollout/success/ObjNav"] != told["rollout/success/Fetch"]
    one = [item for item in DOMAIN if item.task == "ObjNav"]
    train(replace(SMALL, iterations=1), ToyPolicy(), ToyEnv(4), one, [], tmp_path / "one")
    assert "rollout/success/" not in (tmp_path / "one" / "metrics.jsonl").read_text()


def test_draws_mix_domain_and_archive_by_weight_and_repeat():
    config = replace(SMALL, archive_fraction=0.25, episodes_per_iteration=40)
    drawn = draw_scenarios(config, 3, DOMAIN, ARCHIVE, [0.0, 0.0, 1.0, 0.0])
    assert drawn == draw_scenarios(config, 3, DOMAIN, ARCHIVE, [0.0, 0.0, 1.0, 0.0])
    assert drawn != draw_scenarios(config, 4, DOMAIN, ARCHIVE, [0.0, 0.0, 1.0, 0.0])
    assert [item for item in drawn if item.house_seed >= 1000] == [ARCHIVE[2]] * 10
    fresh = [item for item in drawn if item.house_seed < 1000]
    assert len(fresh) == len(set(fresh)) == 30
    longest_first = draw_scenarios(config, 0, [replace(s, expert_length=s.house_seed) for s in DOMAIN], [])
    assert [s.expert_length for s in longest_first] == sorted(range(40), reverse=True)


def test_bad_input_is_one_clear_line(tmp_path):
    with pytest.raises(ValueError, match=r"budget for 'gredy'.*valid: greedy, never"):
        train(replace(SMALL, budgets={"gredy": 1.0}), ToyPolicy(), ToyEnv(2), DOMAIN, [], tmp_path / "a")
    with pytest.raises(ValueError, match=r"aggregation for 'gredy'.*valid: greedy, never"):
        train(
            replace(SMALL, aggregations={"gredy": "worst"}),
            ToyPolicy(),
            ToyEnv(2),
            DOMAIN,
            [],
            tmp_path / "a",
        )
    with pytest.raises(ValueError, match="do not fit"):
        train(SMALL, ToyPolicy(constraints=("x",)), ToyEnv(2), DOMAIN, [], tmp_path / "b")
    with pytest.raises(ValueError, match="at least one domain"):
        train(SMALL, ToyPolicy(), ToyEnv(2), [], [], tmp_path / "c")
    one = replace(SMALL, iterations=1)
    train(one, ToyPolicy(), ToyEnv(2), DOMAIN, [], tmp_path / "d")
    with pytest.raises(ValueError, match="made by method 'isa'"):
        train(replace(one, method="rl"), ToyPolicy(), ToyEnv(2), DOMAIN, [], tmp_path / "d")
    (tmp_path / "d" / "checkpoint.pt").write_bytes(b"half")
    with pytest.raises(ValueError, match="cannot resume"):
        train(one, ToyPolicy(), ToyEnv(2), DOMAIN, [], tmp_path / "d")
    with pytest.raises(ValueError, match="method 'ppo' is unknown"):
        replace(SMALL, method="ppo")


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("total_steps", 0, "total_steps is 0, expected 1 or more, or none"),
        ("gamma", math.nan, "gamma is nan, expected 0 to 1"),
        ("gae_lambda", 1.5, "gae_lambda is 1.5, expected 0 to 1"),
        ("target_kl", math.nan, "target_kl is nan, expected more than 0"),
        ("policy_learning_rate", 0.0, "policy_learning_rate is 0.0, expected more than 0"),
        ("budget_floor", math.inf, "budget_floor is inf, expected 0 or more"),
        ("critic_warmup", -1, "critic_warmup is -1, expected 0 or more"),
        ("shaping", -1.0, "shaping is -1.0, expected 0 or more"),
    ],
)
def test_settings_that_cannot_be_learned_with_are_refused_at_once(name, value, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **{name: value})


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    policy = ToyPolicy()
    with torch.no_grad():
        next(iter(policy.critic_parameters())).fill_(math.nan)
    with pytest.raises(ValueError, match="value loss is not finite; lower the learning rates"):
        train(replace(SMALL, iterations=1), policy, ToyEnv(2), DOMAIN, [], tmp_path)
    assert not (tmp_path / "checkpoint.pt").exists()


class GambleEnv(ToyEnv):
    """Action 0 earns .6 and costs 1. Action 1 earns 1 and costs 4 in 3 scenarios of 20, else nothing."""

    def step(self, actions, active=None):
        step = super().step(actions, active)
        for home in np.flatnonzero(np.ones(self.num_envs, bool) if active is None else active):
            unlucky = self.scenarios[home].house_seed * 37 % 20 < 3
            step.costs[home, 0] = (1, 4 * unlucky, 0)[actions[home]]
            step.reward[home] = (0.6, 1.0, 0.0)[actions[home]]
        return step


@pytest.mark.parametrize(
    ("aggregation", "budget", "chosen"), [("mean", 3.5, 1), ("cvar90", 7.0, 0), ("worst", 7.0, 0)]
)
def test_what_a_budget_bounds_decides_which_risk_is_taken(tmp_path, aggregation, budget, chosen):
    domain = [scenario(number) for number in range(40)]
    config = replace(
        SMALL, iterations=30, episodes_per_iteration=40, minibatch_sequences=20, kl_to_imitation=0.0,
        target_kl=0.2, policy_learning_rate=0.1, critic_learning_rate=0.1, critic_warmup=3,
        budgets={"greedy": budget}, aggregations={"greedy": aggregation},
        multiplier=MultiplierConfig(initial=0.0, learning_rate=1.0),
    )  # fmt: skip
    policy = train(config, ToyPolicy(), GambleEnv(8), domain, [], tmp_path)
    episodes = play(GambleEnv(8), policy, domain, seed=99)
    actions = np.concatenate([episode.actions for episode in episodes])
    assert (actions == chosen).mean() > 0.6 and (actions == 1 - chosen).mean() < 0.2
    costs = np.array([episode.cost for episode in episodes])
    assert aggregate(costs, aggregation) <= 1.3 * budget


def test_multipliers_and_budgets_follow_the_aggregate(tmp_path):
    config = replace(
        SMALL, iterations=3, critic_warmup=2, aggregations={"greedy": "cvar75", "never": "worst"}
    )
    train(config, ToyPolicy(), ToyEnv(4), DOMAIN, [], tmp_path)
    lines = metrics(tmp_path)
    held = [line["rollout/cvar75/greedy"] for line in lines]
    assert all(line["rollout/worst/never"] == 0.0 for line in lines)
    assert all(tail > line["rollout/cost/greedy"] for tail, line in zip(held, lines, strict=True))
    assert lines[-1]["budget/greedy"] == pytest.approx(0.2 * np.mean(held[:2]))
    excess = np.clip(held[2] / lines[-1]["budget/greedy"] - 1, -1, 3)
    assert lines[-1]["multiplier/greedy"] == pytest.approx(0.5 + 0.3 * excess)


def test_the_mean_named_or_not_gives_the_same_weights(tmp_path):
    named = replace(SMALL, aggregations={"greedy": "mean", "never": "mean"})
    one = train(SMALL, ToyPolicy(), ToyEnv(4), DOMAIN, ARCHIVE, tmp_path / "one")
    other = train(named, ToyPolicy(), ToyEnv(4), DOMAIN, ARCHIVE, tmp_path / "other")
    assert torch.equal(weights(one), weights(other))
    assert metrics(tmp_path / "one") == metrics(tmp_path / "other")


def test_learning_from_a_sharper_start_resumes_exactly(tmp_path):
    sharp = replace(SMALL, sharpness=2.0)
    start = ToyPolicy(seed=1)
    start.sharpen(2.0)
    whole = train(sharp, ToyPolicy(seed=1), ToyEnv(4), DOMAIN, ARCHIVE, tmp_path / "whole")
    given = train(SMALL, start, ToyEnv(4), DOMAIN, ARCHIVE, tmp_path / "given")
    train(replace(sharp, iterations=2), ToyPolicy(seed=1), ToyEnv(4), DOMAIN, ARCHIVE, tmp_path / "parts")
    parts = train(sharp, ToyPolicy(seed=1), ToyEnv(4), DOMAIN, ARCHIVE, tmp_path / "parts")
    assert torch.equal(weights(whole), weights(given)) and torch.equal(weights(whole), weights(parts))
    with pytest.raises(ValueError, match="expected more than 0"):
        replace(SMALL, sharpness=0.0)
