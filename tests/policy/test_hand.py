"""The hand: its tip against that of the robot, and what a policy is told of the way from it to the target."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from safevla.policy.candidates import PLACES, SIGHT_SIZE
from safevla.policy.hand import JOINT_SCALE, HandConfig, HandReader
from safevla.policy.presets import preset_config
from safevla.policy.vla import PolicyConfig, VisionLanguageActionPolicy
from safevla.world.robot import ARM_RANGE, LIFT_RANGE, WRIST_RANGE, tip_position

SIZES = preset_config("tiny-memory")


@pytest.fixture
def reader():
    """A reader that tells something."""
    torch.manual_seed(0)
    new = HandReader(HandConfig(), 16)
    torch.nn.init.normal_(new.read[-1].weight)
    return new


def sights(place, evidence=0.9):
    """Return (1, SIGHT_SIZE) that tells the same place three times."""
    told = torch.zeros(1, SIGHT_SIZE)
    told[0, : 4 * PLACES] = torch.tensor([evidence, *place] * PLACES)
    return told


def body(*joints):
    return torch.tensor([joints]) / torch.tensor(JOINT_SCALE)


@given(st.floats(*LIFT_RANGE), st.floats(*ARM_RANGE), st.floats(*WRIST_RANGE))
def test_the_tip_is_where_the_robot_has_it(lift, arm, wrist):
    told = HandReader(HandConfig(), 4).tip(torch.tensor([[lift, arm, wrist]], dtype=torch.float64))
    true = tip_position(np.array([0.0, 0.0, 0.0, lift, 0.5 * arm, 0.5 * arm, wrist]))
    np.testing.assert_allclose(told[0].numpy(), true, atol=1e-9)


def test_only_the_way_from_the_tip_counts_besides_the_joints(reader):
    """With the lift up by as much as the target is, all that changes is what is told of the lift itself."""
    reader.read[0].weight.data[:, PLACES * (1 + 3 * 3)] = 0.0  # what is told of the lift
    low, high = (reader(body(lift, 0.2, 0.5), sights((0.0, -0.6, 0.3 + lift))) for lift in (0.1, 0.6))
    torch.testing.assert_close(low, high, atol=1e-5, rtol=1e-4)
    other = reader(body(0.6, 0.2, 0.5), sights((0.0, -0.6, 0.7)))
    assert (other - high).abs().max() > 0.1


def test_centimetres_matter_near_the_tip_and_hardly_far_from_it(reader):
    joints = (0.5, 0.2, 0.0)
    tip = reader.tip(torch.tensor([joints]))[0].tolist()

    def change(away):
        near, next_to_it = (
            reader(body(*joints), sights((tip[0] + away + more, *tip[1:]))) for more in (0.0, 0.03)
        )
        return float((near - next_to_it).detach().norm())

    assert change(0.0) > 10.0 * change(1.0)


def test_where_nothing_is_seen_the_place_says_nothing(reader):
    here, there = (reader(body(0.5, 0.2, 0.0), sights(place, 0.0)) for place in ((0, 0, 0), (0.1, -0.6, 0.5)))
    assert torch.equal(here, there)


def test_it_begins_as_nothing_so_that_a_policy_can_get_one():
    """With the weights of a policy without a hand it answers as that one does, until it has learned."""
    without = VisionLanguageActionPolicy(replace(SIZES, hand=None))
    policy = VisionLanguageActionPolicy(SIZES, seed=1)
    missing = policy.load_state_dict(without.state_dict(), strict=False).missing_keys
    assert {name.split(".")[1] for name in missing} == {"hand"}
    torch.manual_seed(0)
    told = (
        torch.rand(5, SIZES.feature_size).half(),
        torch.zeros(5, dtype=torch.int64),
        torch.zeros(5, dtype=torch.int64),
        torch.rand(5, 384),
        torch.arange(5),
    )
    tokens = [one.actor.tokens(*told) for one in (without, policy)]
    assert torch.equal(*tokens)
    tokens[1].sum().backward()
    assert policy.actor.hand.read[-1].weight.grad.abs().sum() > 0


def test_it_needs_a_memory():
    with pytest.raises(ValueError, match="only a memory tells where the target is"):
        PolicyConfig(proprioception=True, hand=HandConfig())
