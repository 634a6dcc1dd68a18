"""The policy: acting step by step is reading the whole episode; homes do not touch each other."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from safevla.policy.presets import make_policy
from safevla.policy.trunk import SequenceBatch
from safevla.policy.vla import VisionLanguageActionPolicy
from safevla.types import ACTIONS, NO_ACTION, Observation

CONSTRAINTS = ("corner", "blind_spot")
SENTENCES = [
    "find a mug",
    "pick up an apple",
    "go to a sofa and take it".replace("sofa", "bowl"),
    "locate a bed",
]


@pytest.fixture(scope="module")
def policy():
    made = make_policy("tiny-64", CONSTRAINTS, seed=3)
    with torch.no_grad():  # heads start near zero: make the outputs depend on everything
        made.action_head.weight.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
        made.value_head.weight.normal_(std=0.5, generator=torch.Generator().manual_seed(1))
    return made


def observe(rng, homes, step=0, last=None, size=64):
    return Observation(
        nav=rng.integers(0, 256, (homes, size, size, 3), dtype=np.uint8),
        manip=rng.integers(0, 256, (homes, size, size, 3), dtype=np.uint8),
        holding=rng.integers(0, 2, homes),
        last_action=np.full(homes, NO_ACTION) if last is None else last,
        step=np.full(homes, step),
        instruction=[SENTENCES[home % len(SENTENCES)] for home in range(homes)],
        joints=rng.random((homes, 3), np.float32),
        motion=rng.normal(size=(homes, 6)).astype(np.float32),
    )


def play(policy, observations, uniforms):
    policy.reset(np.ones(len(observations[0].step), bool))
    return [policy.act(seen, draw) for seen, draw in zip(observations, uniforms, strict=True)]


def episode(policy, observations, decisions, home, steps):
    """Return the batch of one episode."""
    return SequenceBatch(
        features=torch.from_numpy(np.stack([d.features[home] for d in decisions[:steps]]))[None],
        holding=torch.tensor([[seen.holding[home] for seen in observations[:steps]]]),
        last_action=torch.tensor([[seen.last_action[home] for seen in observations[:steps]]]),
        text=policy.embed_text([observations[0].instruction[home]]),
        actions=torch.tensor([[d.action[home] for d in decisions[:steps]]]),
        mask=torch.ones(1, steps, dtype=torch.bool),
    )


@pytest.fixture(scope="module")
def played(policy):
    rng = np.random.default_rng(0)
    steps, homes = 70, 3  # longer than one block of the cache
    observations, decisions = [], []
    policy.reset(np.ones(homes, bool))
    last = None
    for step in range(steps):
        observations.append(observe(rng, homes, step, last))
        decisions.append(policy.act(observations[-1], rng.random(homes)))
        last = decisions[-1].action
    return observations, decisions


def test_acting_step_by_step_equals_reading_the_episode(policy, played):
    observations, decisions = played
    for home in range(3):
        batch = episode(policy, observations, decisions, home, len(decisions))
        with torch.no_grad():
            logits, values = policy.evaluate_sequences(batch)
        log_prob = torch.log_softmax(logits, -1).gather(-1, batch.actions[..., None])[0, :, 0]
        np.testing.assert_allclose(log_prob, [d.log_prob[home] for d in decisions], atol=1e-4)
        np.testing.assert_allclose(values[0], np.stack([d.values[home] for d in decisions]), atol=1e-4)
        assert log_prob.std() > 0.1  # it is not a constant that agrees with itself


def test_a_policy_looks_back_and_counts_as_far_as_its_span(policy, played):
    observations, decisions = played
    counting = VisionLanguageActionPolicy(dataclasses.replace(policy.config, span=20))
    counting.load_state_dict(policy.state_dict())
    batch = episode(policy, observations, decisions, 0, len(decisions))
    with torch.no_grad():
        told, known = counting.action_logits(batch)[0], policy.action_logits(batch)[0]
    torch.testing.assert_close(told[:20], known[:20], atol=1e-5, rtol=1e-5)
    assert (told[20:] - known[20:]).abs().amax(1).min() > 1e-3
    acted = play(counting, observations, np.zeros((len(observations), 3)))  # the features are the same
    rest = [torch.from_numpy(part) for part in (acted[-1].features, observations[-1].holding)]
    rest += [torch.from_numpy(observations[-1].last_action), counting.embed_text(SENTENCES[:3])]
    with torch.no_grad():
        early, last, *late = [
            counting.actor.tokens(*rest, torch.full((3,), step)) for step in (19, 20, 21, 599)
        ]
    assert all(torch.equal(last, other) for other in late) and not torch.equal(early, last)
    chosen = torch.log_softmax(told, -1)[np.arange(len(acted)), [d.action[0] for d in acted]]
    np.testing.assert_allclose(chosen, [d.log_prob[0] for d in acted], atol=1e-4)


def test_shapes_and_padding(policy, played):
    observations, decisions = played
    long, short = (episode(policy, observations, decisions, home, steps) for home, steps in ((0, 20), (1, 7)))
    fill = {"features": torch.nan, "holding": 0, "last_action": 0, "actions": 0, "mask": False}
    together = {"text": torch.cat([long.text, short.text])}
    for name, value in fill.items():
        ours, other = getattr(long, name), getattr(short, name)
        padded = torch.full_like(ours, value)
        padded[:, :7] = other
        together[name] = torch.cat([ours, padded])
    with torch.no_grad():
        logits, values = policy.evaluate_sequences(SequenceBatch(**together))
        alone = policy.evaluate_sequences(short)
    assert logits.shape == (2, 20, len(ACTIONS)) and values.shape == (2, 20, 3)
    torch.testing.assert_close(logits[1:, :7], alone[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(values[1:, :7], alone[1], atol=1e-4, rtol=1e-4)


def test_a_home_that_starts_later_plays_as_if_alone(policy):
    rng = np.random.default_rng(1)
    seen = [observe(rng, 2, step) for step in range(6)]
    draws = rng.random((6, 2))
    policy.reset(np.ones(2, bool))
    for step in range(3):
        policy.act(seen[step], draws[step])
    policy.reset(np.array([False, True]))
    later = [policy.act(seen[step], draws[step]) for step in range(3, 6)]
    policy.reset(np.ones(2, bool))
    alone = [policy.act(seen[step], draws[step]) for step in range(3, 6)]
    for ours, theirs in zip(later, alone, strict=True):
        np.testing.assert_allclose(ours.values[1], theirs.values[1], atol=1e-5)
        assert ours.action[1] == theirs.action[1]
    assert abs(later[0].values[0] - alone[0].values[0]).max() > 1e-4  # home 0 kept its history


@pytest.mark.parametrize("wanted", [[4], [1, 5], [0, 2, 3, 6, 8]])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_homes_whose_answer_is_not_wanted_change_nothing_for_the_others(policy, precision, wanted):
    weights = policy.state_dict()
    policy = VisionLanguageActionPolicy(dataclasses.replace(policy.config, precision=precision))
    policy.load_state_dict(weights)
    seen, draws = observe(np.random.default_rng(5), 9), np.full(9, 0.4)
    (whole,) = play(policy, [seen], [draws])
    seen.active = np.isin(np.arange(9), wanted)
    (part,) = play(policy, [seen], [draws])
    np.testing.assert_array_equal(part.features[seen.active], whole.features[seen.active])
    np.testing.assert_array_equal(part.values[seen.active], whole.values[seen.active])
    np.testing.assert_array_equal(part.action[seen.active], whole.action[seen.active])
    assert not part.features[~seen.active][:, :-9].any()  # joints and motion cost nothing


def test_homes_that_are_done_are_dropped_and_can_begin_anew(policy):
    """Whoever is done or begins meanwhile, a home decides as it does among homes that are always there."""
    rng = np.random.default_rng(8)
    seen, draws = [observe(rng, 12, step) for step in range(9)], rng.random((9, 12))
    for step, now in enumerate(seen):  # homes are done one after another; at step 6 two begin anew
        now.active = np.arange(12) < 12 - 2 * step if step < 6 else np.isin(np.arange(12), [0, 1, 7, 11])
    begun = np.isin(np.arange(12), [7, 11])

    def decisions(active):
        policy.reset(np.ones(12, bool))
        for step, now in enumerate(seen):
            if step == 6:
                policy.reset(begun)
            mask = now.active
            now = dataclasses.replace(now, active=mask if active else None)
            yield mask, policy.act(now, draws[step])

    for (mask, some), (_, every) in zip(list(decisions(True)), list(decisions(False)), strict=True):
        np.testing.assert_array_equal(some.features[mask], every.features[mask])
        np.testing.assert_array_equal(some.action[mask], every.action[mask])
        np.testing.assert_allclose(some.log_prob[mask], every.log_prob[mask], atol=1e-5)
        np.testing.assert_allclose(some.values[mask], every.values[mask], atol=1e-5)
    list(decisions(True))
    assert len(policy._attended) == 4  # it does think about fewer
    with pytest.raises(ValueError, match="home 5 was not active"):
        policy.act(dataclasses.replace(seen[0], active=np.arange(12) == 5), draws[0])


def test_values_can_be_left_out(policy):
    rng = np.random.default_rng(9)
    seen, draws = [observe(rng, 3, step) for step in range(3)], rng.random((3, 3))
    whole = play(policy, seen, draws)
    without = play(policy, [dataclasses.replace(now, wants_values=False) for now in seen], draws)
    for ours, theirs in zip(without, whole, strict=True):
        np.testing.assert_array_equal(ours.action, theirs.action)
        np.testing.assert_array_equal(ours.log_prob, theirs.log_prob)
        assert np.isnan(ours.values).all() and ours.values.shape == theirs.values.shape
        assert np.isfinite(theirs.values).all()
    with pytest.raises(ValueError, match="values were left out"):
        policy.act(seen[2], draws[2])
    np.testing.assert_array_equal(play(policy, seen, draws)[2].values, whole[2].values)


def test_a_home_that_nothing_is_played_in_needs_no_instruction(policy):
    seen, draw = observe(np.random.default_rng(2), 2), np.array([0.3, 0.6])
    (whole,) = play(policy, [seen], [draw])
    seen.instruction[1] = ""
    (part,) = play(policy, [seen], [draw])
    np.testing.assert_allclose(part.values[0], whole.values[0], atol=1e-6)
    assert part.action[0] == whole.action[0]
    seen.instruction[0] = ""
    with pytest.raises(ValueError, match="an instruction is empty"):
        play(policy, [seen], [draw])


def test_actions_follow_the_uniforms(policy):
    seen = observe(np.random.default_rng(2), 2)
    drawn = []
    for number in np.linspace(0, 0.999, 60):
        policy.reset(np.ones(2, bool))
        drawn.append(policy.act(seen, np.array([number, 0.5])).action)
    drawn = np.array(drawn)
    assert (np.diff(drawn[:, 0]) >= 0).all() and len(set(drawn[:, 0])) > 3
    assert len(set(drawn[:, 1])) == 1
    policy.reset(np.ones(2, bool))
    greedy = policy.act(seen)
    shares = np.bincount(drawn[:, 0], minlength=len(ACTIONS))
    assert shares[greedy.action[0]] >= shares.max() - 2


def test_language_matters(policy):
    seen = observe(np.random.default_rng(3), 1)
    policy.reset(np.ones(1, bool))
    mug = policy.act(seen)
    seen.instruction = ["find a television"]
    policy.reset(np.ones(1, bool))
    assert abs(policy.act(seen).values - mug.values).max() > 1e-3


def test_encoder_is_frozen_and_the_parts_learn_apart(policy):
    learned = {id(p) for p in policy.policy_parameters()} | {id(p) for p in policy.critic_parameters()}
    frozen = {id(p) for p in policy.encoder.parameters()}
    assert not learned & frozen
    assert learned | frozen == {id(p) for p in policy.parameters()}
    assert not {id(p) for p in policy.policy_parameters()} & {id(p) for p in policy.critic_parameters()}
    assert not any(p.requires_grad for p in policy.encoder.parameters())


def test_seed_decides_the_weights_and_leaves_torch_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, two, other = (make_policy("tiny-64", CONSTRAINTS, seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(one.action_head.weight, two.action_head.weight)
    assert not torch.equal(one.action_head.weight, other.action_head.weight)


def test_bad_use_is_one_clear_line(policy):
    rng = np.random.default_rng(4)
    policy.reset(np.ones(2, bool))
    with pytest.raises(ValueError, match="call reset"):
        policy.act(observe(rng, 3))
    with pytest.raises(ValueError, match="64 x 64, it was given 72 x 72"):
        policy.act(observe(rng, 2, size=72))
    with pytest.raises(ValueError, match="reset all"):
        policy.reset(np.array([True, False, True]))
    with pytest.raises(ValueError, match="did you mean 'tiny'"):
        make_policy("tinny")
    with pytest.raises(ValueError, match="span is 0, expected 1 or more"):
        dataclasses.replace(policy.config, span=0)
    assert isinstance(policy, VisionLanguageActionPolicy)


def test_a_sharper_policy_prefers_the_same_actions_more(policy, played):
    observations, decisions = played
    sharp = copy.deepcopy(policy)
    sharp.sharpen(2.0)
    batch = episode(policy, observations, decisions, 0, 20)
    with torch.no_grad():
        assert torch.allclose(sharp.action_logits(batch), 2.0 * policy.action_logits(batch), atol=1e-5)
