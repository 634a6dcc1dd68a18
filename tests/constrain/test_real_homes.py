"""Play, imitation and constrained learning, small, with the real policy in real homes: no stand-ins."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from safevla.constrain.train import TrainConfig, train
from safevla.policy.presets import PRESETS
from safevla.policy.vla import VisionLanguageActionPolicy
from safevla.pretrain.imitation import ImitationConfig, imitate
from safevla.rollout import evaluate_all, play, sequence_batch
from safevla.tasks.env import HomeVecEnv
from safevla.tasks.sampling import ScenarioSampler
from safevla.world.simulator import HousePool

POOL = HousePool(capacity=8)


def environment(homes=3, threads=1):
    return HomeVecEnv(("ObjNav", "PickUp"), homes, threads, resolution=64, horizon=60, pool=POOL)


def policy():
    constraints = environment(1).constraints
    return VisionLanguageActionPolicy(replace(PRESETS["tiny-64"], constraints=constraints), seed=1)


@pytest.fixture(scope="module")
def scenarios():
    sampler = ScenarioSampler(pool=POOL, horizon=60)
    tasks = ("ObjNav", "PickUp", "ObjNav", "PickUp", "ObjNav")
    return [sampler.sample(task, np.random.default_rng([7, i])) for i, task in enumerate(tasks)]


def test_replaying_whole_episodes_gives_what_was_decided_step_by_step(scenarios):
    keep = ("features", "holding", "last_action", "log_prob", "values", "bootstrap")
    agent = policy()
    episodes = play(environment(), agent, scenarios, seed=2, keep=keep)
    batch = sequence_batch(agent, episodes)
    log_prob = evaluate_all(agent.action_logits, batch, 2).log_softmax(-1)
    log_prob = log_prob.gather(-1, batch.actions[..., None])[..., 0].numpy()
    values = evaluate_all(agent.state_values, batch, 2).numpy()
    for row, episode in enumerate(episodes):
        assert episode.extras["features"].dtype == np.float16
        np.testing.assert_allclose(log_prob[row, : episode.length], episode.extras["log_prob"], atol=1e-4)
        np.testing.assert_allclose(values[row, : episode.length], episode.extras["values"], atol=1e-4)


def test_episodes_depend_neither_on_homes_nor_on_threads(scenarios):
    one, other = (
        play(environment(homes, threads), policy(), scenarios, seed=2) for homes, threads in ((2, 1), (4, 2))
    )
    for ours, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(ours.actions, theirs.actions)
        np.testing.assert_array_equal(ours.costs, theirs.costs)
        assert ours.metres == pytest.approx(theirs.metres)


def test_imitation_and_constrained_learning_run_and_repeat(scenarios, tmp_path):
    imitation = ImitationConfig(
        rounds=2, demonstrations=5, corrections=3, first_epochs=3, epochs=1, minibatch_sequences=2,
        validation_episodes=2,
    )  # fmt: skip
    learning = TrainConfig(
        iterations=2,
        episodes_per_iteration=4,
        epochs=1,
        warmup_epochs=1,
        minibatch_sequences=2,
        critic_warmup=1,
    )
    weights = []
    for name, threads in (("first", 1), ("second", 2)):
        agent, env = policy(), environment(3, threads)
        imitate(imitation, agent, env, scenarios, tmp_path / name, validation_scenarios=scenarios[:2])
        train(learning, agent, env, scenarios, scenarios[:1], tmp_path / name / "isa")
        env.close()
        weights.append(torch.cat([parameter.detach().flatten() for parameter in agent.parameters()]))
    assert torch.equal(*weights)
    assert not torch.equal(weights[0], torch.cat([p.detach().flatten() for p in policy().parameters()]))
    lines = [json.loads(line) for line in (tmp_path / "first" / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["collect/success"] >= 0.6  # the expert, with noise
    assert lines[0]["collect/cost"] < 3
