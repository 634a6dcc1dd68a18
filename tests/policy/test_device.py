"""Networks on another device: what plays and what learns meets nothing of the CPU, and comes to the same."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from pretend_device import DEVICE, PretendDevice
from safevla.constrain.learner import Learner
from safevla.constrain.settings import TrainConfig
from safevla.constrain.train import KEEP
from safevla.policy.device import device_of, find_device, place
from safevla.policy.futile import FutileConfig
from safevla.policy.memory import MemoryConfig
from safevla.policy.presets import PRESETS
from safevla.policy.vla import VisionLanguageActionPolicy
from safevla.pretrain.imitation import ImitationConfig, imitate
from safevla.pretrain.perception import Trainer
from safevla.pretrain.settings import PerceptionConfig
from safevla.rollout import play
from safevla.tasks.env import HomeVecEnv
from safevla.tasks.sampling import ScenarioSampler
from safevla.world.simulator import HousePool

POOL = HousePool(capacity=4)
SIZES = replace(
    PRESETS["tiny-64"],
    memory=MemoryConfig(),
    futile=FutileConfig(turns=30, sighted=0.5),
    span=20,
    precision="fp32",
)


def environment():
    return HomeVecEnv(("ObjNav",), 2, resolution=64, horizon=30, pool=POOL)


def make_policy():
    return VisionLanguageActionPolicy(replace(SIZES, constraints=environment().constraints), seed=1)


@pytest.fixture(scope="module")
def scenarios():
    sampler = ScenarioSampler(pool=POOL, horizon=30)
    return [sampler.sample("ObjNav", np.random.default_rng([7, number])) for number in range(3)]


@pytest.fixture
def pretend(monkeypatch):
    """Give a device that is there within the test; parameters are copied to where they were."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    mode, original = PretendDevice(), torch.nn.Parameter.__deepcopy__

    def deepcopy(parameter, memo):
        copied = original(parameter, memo)
        mode._put(copied, parameter in mode.there)
        return copied

    monkeypatch.setattr(torch.nn.Parameter, "__deepcopy__", deepcopy)
    with mode:
        yield mode


def weights(module):
    return {name: value.cpu() for name, value in module.state_dict().items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-5, atol=1e-6)


def test_the_pretended_device_is_as_strict_as_a_real_one(pretend):
    here = torch.ones(3)
    there = here.to(DEVICE)
    assert there.device == DEVICE and here.device.type == "cpu" and (2 * there + 1).device == DEVICE
    for mistake in (lambda: here + there, lambda: there[torch.zeros(1, dtype=int)], lambda: there.numpy()):
        with pytest.raises((RuntimeError, TypeError)):
            mistake()
    net = torch.nn.Linear(3, 2).to(DEVICE)
    assert copy.deepcopy(net).weight.device == DEVICE and net(there).cpu().device.type == "cpu"
    with pytest.raises(RuntimeError, match="same device"):
        net(here)


def test_a_device_is_found_or_the_error_says_what_to_do():
    assert find_device("cpu") == torch.device("cpu")
    assert find_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for wrong in ("gpu", "cuda:", "cuda:01", ""):
        with pytest.raises(ValueError, match=f"unknown device '{wrong}'; choose cpu"):
            find_device(wrong)
    with pytest.raises(ValueError, match=r"there is no device cuda:99.*choose cpu"):
        find_device("cuda:99")


def test_who_has_no_networks_stays_where_it_is(pretend):
    class Other:
        pass

    other = Other()
    assert place(other, "cuda") is other and device_of(other) == torch.device("cpu")


def test_episodes_are_those_of_the_cpu(pretend, scenarios):
    plays = []
    policy = make_policy()
    for device in ("cpu", "cuda"):
        place(policy, device)
        assert device_of(policy).type == device
        before = pretend.calls
        plays.append(play(environment(), policy, scenarios, seed=2, keep=KEEP))
        assert (pretend.calls > before) == (device == "cuda")
    for one, other in zip(*plays, strict=True):
        np.testing.assert_array_equal(one.actions, other.actions)
        np.testing.assert_array_equal(one.extras["features"], other.extras["features"])


def test_imitation_learns_there_what_it_learns_here(pretend, scenarios, tmp_path):
    config = ImitationConfig(
        rounds=2, demonstrations=3, corrections=2, first_epochs=2, epochs=1, minibatch_sequences=2,
        inverse_dynamics=0.1, target_distance=0.1, dropout=0.1, validation_episodes=0,
    )  # fmt: skip
    learned = []
    for device in ("cpu", "cuda"):
        policy = place(make_policy(), device)
        imitate(replace(config, rounds=1), policy, environment(), scenarios, tmp_path / device)
        # What was saved there is resumed from.
        policy = place(make_policy(), device)
        imitate(config, policy, environment(), scenarios, tmp_path / device)
        learned.append(weights(policy))
    assert_same(*learned)
    assert (learned[0]["action_head.weight"] - make_policy().action_head.weight).abs().max() > 1e-4


def test_constrained_learning_learns_there_what_it_learns_here(pretend, scenarios, tmp_path):
    constraints = environment().constraints
    config = TrainConfig(
        epochs=1, warmup_epochs=1, minibatch_sequences=2, critic_warmup=0, kl_to_imitation=0.1, gamma=0.9
    )
    learned = []
    for device in ("cpu", "cuda"):
        policy = place(make_policy(), device)
        episodes = play(environment(), policy, scenarios, seed=2, keep=KEEP)
        for episode in episodes:
            episode.rewards[-1] = episode.costs[3, 0] = 1.0
        learner = Learner(config, policy, constraints, tmp_path / device)
        for _ in range(2):
            learner.adapt_multipliers(episodes)
            metrics = learner.improve(episodes)
            learner.iteration += 1
            learner.save(metrics)
        again = Learner(config, place(make_policy(), device), constraints, tmp_path / device)
        assert_same(weights(again.policy), weights(policy))
        learned.append(weights(policy))
    assert_same(*learned)
    for name in ("action_head.weight", "value_head.weight"):
        assert (learned[0][name] - make_policy().state_dict()[name]).abs().max() > 1e-5


def test_perception_learns_there_what_it_learns_here(pretend, tmp_path):
    config = PerceptionConfig(pictures=64, batch=16, homes=1, workers=1, preset="tiny-64", precision="fp32")
    learned = []
    for device in ("cpu", "cuda"):
        trainer = Trainer(config, device=device)
        trainer.begin()
        losses = [trainer.step(progress) for progress in (0.0, 0.5)]
        assert all(np.isfinite(list(found.values())).all() for found in losses)
        trainer.save(tmp_path, 1.0)
        trainer.load(tmp_path)
        assert next(trainer.net.parameters()).device.type == device
        learned.append(weights(trainer.net))
    assert_same(*learned)
