"""The policy that is told what its pictures show: it acts on the maps alone, and only where they are told."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from safevla.policy.backbone import BackboneConfig
from safevla.policy.checkpoint import load_policy, save_policy
from safevla.policy.encoder import PerceptionEncoder
from safevla.policy.presets import PRESETS
from safevla.policy.protocol import IncompatiblePolicyError, check_compatible, wants_labels
from safevla.policy.vla import PolicyConfig, VisionLanguageActionPolicy
from safevla.policy.wording import Reworded
from safevla.tasks.env import HomeVecEnv
from safevla.types import CHANNELS, NO_ACTION, Observation

SMALL = replace(PRESETS["tiny-64"], oracle=True)


@pytest.fixture(scope="module")
def policy():
    made = VisionLanguageActionPolicy(replace(SMALL, constraints=("corner",)), seed=1)
    with torch.no_grad():  # the head starts near zero
        made.action_head.weight.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
    return made


def observe(seed=0, **changes):
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    zeros = np.zeros(2, np.int64)
    seen = Observation(pictures, pictures, zeros, zeros + NO_ACTION, zeros, ["find a mug"] * 2)
    seen.joints, seen.motion = np.ones((2, 3), np.float32), np.ones((2, 6), np.float32)
    seen.maps = rng.random((2, 2, CHANNELS, 8, 8)).astype(np.float16)
    return replace(seen, **changes)


def answer(policy, seen):
    policy.reset(np.ones(2, bool))
    return policy.act(seen)


def test_it_acts_on_the_maps_and_not_on_the_pictures(policy):
    seen, other = observe(0), observe(1)
    decision = answer(policy, seen)
    np.testing.assert_array_equal(decision.features[:, :-9], seen.maps.reshape(2, -1))
    blind = answer(policy, replace(seen, nav=other.nav, manip=other.manip))
    np.testing.assert_array_equal(blind.features, decision.features)
    assert (answer(policy, replace(seen, maps=other.maps)).log_prob != decision.log_prob).any()
    resting = answer(policy, replace(seen, active=np.array([True, False])))
    np.testing.assert_array_equal(resting.features[0], decision.features[0])
    assert not resting.features[1, :-9].any()


def test_it_has_no_encoder_and_survives_the_disk(policy, tmp_path):
    learned = {id(p) for p in (*policy.policy_parameters(), *policy.critic_parameters())}
    assert learned == {id(p) for p in policy.parameters()}
    folder = save_policy(policy, tmp_path, half=False)
    loaded = load_policy(folder)
    assert loaded.config == policy.config and wants_labels(loaded)
    np.testing.assert_array_equal(answer(loaded, observe()).values, answer(policy, observe()).values)
    assert "no policy for a robot" in (folder / "README.md").read_text()
    with pytest.raises(ValueError, match="an oracle has no encoder"):
        policy.set_encoder(PerceptionEncoder())


def test_checkpoints_of_before_are_no_oracles(tmp_path):
    folder = save_policy(VisionLanguageActionPolicy(replace(SMALL, oracle=False)), tmp_path)
    settings = json.loads((folder / "config.json").read_text())
    assert settings["config"].pop("oracle") is False
    (folder / "config.json").write_text(json.dumps(settings))
    assert not wants_labels(load_policy(folder))


def test_it_fits_only_where_maps_are_told(policy):
    told, plain = (HomeVecEnv("ObjNav", resolution=64, labels=labels) for labels in (True, False))
    fits = copy.deepcopy(policy)
    fits.set_constraints(told.constraints)
    check_compatible(fits, told)
    with pytest.raises(IncompatiblePolicyError, match="make it with labels=1") as caught:
        check_compatible(fits, plain)
    assert caught.value.code == "inputs" and "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="make it with labels=True"):
        answer(policy, observe(maps=None))


def test_what_makes_no_sense_is_refused(policy):
    with pytest.raises(ValueError, match="cannot be told something else"):
        Reworded(policy, "wrong")
    with pytest.raises(ValueError, match="a policy with a backbone cannot be an oracle"):
        PolicyConfig(backbone=BackboneConfig(), oracle=True)


def test_labels_of_another_scale_do_not_fit():
    finer = replace(SMALL, resolution=128, encoder=replace(SMALL.encoder, scale=2))
    policy = VisionLanguageActionPolicy(finer)
    assert wants_labels(policy) == 2
    for labels, fits in ((2, True), (1, False)):
        env = HomeVecEnv("ObjNav", resolution=128, labels=labels)
        policy.set_constraints(env.constraints)
        if fits:
            check_compatible(policy, env)
        else:
            with pytest.raises(IncompatiblePolicyError, match="make it with labels=2"):
                check_compatible(policy, env)
