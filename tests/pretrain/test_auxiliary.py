"""Losses beside imitation: they reach what they should, learn what can be told, and a run goes on exactly."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from safevla.policy.presets import make_policy
from safevla.pretrain.auxiliary import AuxiliaryLosses
from safevla.pretrain.imitation import ImitationConfig, fit, imitate
from safevla.pretrain.rounds import load_round
from safevla.rollout import sequence_batch
from safevla.tasks.env import HomeVecEnv
from safevla.tasks.geometry import horizontal_distance
from safevla.tasks.sampling import ScenarioSampler
from safevla.types import Episode, Knobs, Scenario
from safevla.world.simulator import HousePool
from toy import ToyPolicy

BOTH = ImitationConfig(inverse_dynamics=0.5, target_distance=2.0)
STEPS = 12


def told(number, policy):
    """Return an episode in which the maps tell what was done and how far the target is."""
    rng = np.random.default_rng(number)
    actions = rng.integers(0, 2, STEPS)
    features = np.zeros((STEPS, policy.config.feature_size), np.float16)
    position = np.concatenate([[0], np.cumsum(2 * actions - 1)[:-1]])
    features[:, : policy.config.maps[1] * policy.config.maps[2]] = position[:, None] / 4  # the first map
    extras = {
        "features": features,
        "holding": np.zeros(STEPS, np.int64),
        "last_action": np.zeros(STEPS, np.int64),  # the same always: it does not give the action away
        "label": np.zeros(STEPS, np.int64),
        "distance": np.abs(position).astype(np.float32),
    }
    scenario = Scenario("ObjNav", "S", "train", number, Knobs(), (0.0, 0.0, 0.0), "find a mug", "mug", 0)
    zeros = np.zeros(STEPS, np.float32)
    return Episode(
        scenario, True, False, actions, zeros, np.zeros((STEPS, 0), np.float32), (), [], 0.0, extras
    )


def losses_of(policy, auxiliary, episodes):
    batch = sequence_batch(policy, episodes)
    with auxiliary.listening(policy):
        policy.action_logits(batch)
        return auxiliary(batch, episodes)


def reached(policy, loss):
    """Return which parts of the actor a loss moves."""
    policy.zero_grad(set_to_none=True)
    loss.backward(retain_graph=True)
    moved = {name for name, own in policy.named_parameters() if own.grad is not None and own.grad.any()}
    return {name.rsplit(".", 1)[0].removesuffix(".0").removesuffix(".2") for name in moved}


def test_each_loss_moves_what_it_is_about():
    policy = make_policy("tiny-64", ())
    auxiliary = AuxiliaryLosses(policy, BOTH)
    losses = losses_of(policy, auxiliary, [told(1, policy), told(2, policy)])
    assert losses["loss/inverse_dynamics"].item() == pytest.approx(
        0.5 * np.log(20), rel=0.1
    )  # a guess among all
    maps = reached(policy, losses["loss/inverse_dynamics"])
    assert maps and all(name.startswith("actor.maps") for name in maps)
    far = reached(policy, losses["loss/target_distance"])
    assert {"actor.text", "actor.holding"} <= far and any("decoder" in name for name in far)
    assert not any(name.startswith(("action_head", "critic", "value", "encoder")) for name in maps | far)
    none = AuxiliaryLosses(policy, replace(BOTH, inverse_dynamics=0.0, target_distance=0.0))
    assert losses_of(policy, none, [told(1, policy)]) == {}


def test_what_can_be_told_is_learned():
    policy = make_policy("tiny-64", ())
    config = replace(BOTH, first_epochs=20, minibatch_sequences=8, learning_rate=3e-3)
    auxiliary = AuxiliaryLosses(policy, config)
    optimiser = torch.optim.AdamW([*policy.policy_parameters(), *auxiliary.parameters()], fused=True)
    episodes = [told(number, policy) for number in range(32)]
    unseen = [told(number, policy) for number in range(100, 120)]
    before = {name: loss.item() for name, loss in losses_of(policy, auxiliary, unseen).items()}
    metrics = fit(policy, optimiser, episodes, config, 0, auxiliary=auxiliary)
    after = {name: loss.item() for name, loss in losses_of(policy, auxiliary, unseen).items()}
    assert set(before) == {"loss/inverse_dynamics", "loss/target_distance"} <= set(metrics)
    assert after["loss/inverse_dynamics"] < 0.5 * 0.5 * np.log(2)  # well below a coin between the two
    assert after["loss/target_distance"] < 0.2 * before["loss/target_distance"]


def test_real_homes_tell_distances_and_a_run_goes_on_exactly(tmp_path):
    pool = HousePool(capacity=4)
    sampler = ScenarioSampler(pool=pool, horizon=40)
    scenarios = [sampler.sample("ObjNav", np.random.default_rng([3, number])) for number in range(2)]
    config = replace(
        BOTH, rounds=2, demonstrations=2, corrections=2, first_epochs=1, epochs=1, noise=0.0,
        validation_episodes=0,
    )  # fmt: skip

    def run(out, rounds, seed=1):
        env = HomeVecEnv("ObjNav", 2, resolution=64, horizon=40, pool=pool)
        policy = make_policy("tiny-64", env.constraints, seed)
        return imitate(replace(config, rounds=rounds), policy, env, scenarios, tmp_path / out)

    straight = run("straight", 2)
    run("halves", 1)
    resumed = run("halves", 2, seed=5)
    for ours, theirs in zip(straight.policy_parameters(), resumed.policy_parameters(), strict=True):
        assert torch.equal(ours, theirs)
    last = json.loads((tmp_path / "straight" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["loss/inverse_dynamics"] > 0 and last["loss/target_distance"] > 0
    for episode in load_round(tmp_path / "straight" / "round_00.npz"):
        distance = episode.extras["distance"]
        assert distance.shape == (episode.length,) and distance[-1] <= 2.0 < distance[0] + 1.0
        env = HomeVecEnv("ObjNav", 1, resolution=64, horizon=40, pool=pool)
        env.reset(np.ones(1, bool), [episode.scenario])
        seat = env._seats[0]
        x, y, _ = seat.home.pose
        nearest = min(horizontal_distance(seat._boxes()[entity], x, y) for entity in seat.targets)
        assert distance[0] == pytest.approx(nearest, abs=1e-5)


def test_other_policies_are_refused():
    with pytest.raises(ValueError, match="need a policy of the presets' kind"):
        AuxiliaryLosses(ToyPolicy(actions=20), BOTH)
    with pytest.raises(ValueError, match="target_distance is -1"):
        replace(BOTH, target_distance=-1.0)
