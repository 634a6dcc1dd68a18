"""The formulas against slow loops and numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from safevla.constrain import ppo


def slow_gae(signal, value, bootstrap, gamma, lam):
    """One episode, one head, straight from the definition."""
    steps = len(signal)
    following = [*value[1:], bootstrap]
    delta = [signal[t] + gamma * following[t] - value[t] for t in range(steps)]
    return [sum((gamma * lam) ** (k - t) * delta[k] for k in range(t, steps)) for t in range(steps)]


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    gamma=st.floats(0.0, 1.0),
    lam=st.floats(0.0, 1.0),
    seed=st.integers(0, 999),
)
def test_gae_equals_its_definition_on_padded_episodes(lengths, gamma, lam, seed):
    generator = np.random.default_rng(seed)
    rows, steps, heads = len(lengths), max(lengths), 3
    # What lies behind the end is garbage on purpose: it must not be used.
    signals, values = generator.normal(size=(2, rows, steps, heads))
    bootstrap = generator.normal(size=(rows, heads))
    mask = np.arange(steps)[None] < np.array(lengths)[:, None]
    tensors = (torch.from_numpy(x) for x in (signals, values, bootstrap, mask))
    gammas = (gamma, 0.5 * gamma, 0.0)
    advantages, returns = ppo.gae(*tensors, torch.tensor(gammas, dtype=torch.float64), lam)
    for row, length in enumerate(lengths):
        for head in range(heads):
            slow = slow_gae(
                signals[row, :length, head],
                values[row, :length, head],
                bootstrap[row, head],
                gammas[head],
                lam,
            )
            np.testing.assert_allclose(advantages[row, :length, head], slow, atol=1e-9)
            expected = np.array(slow) + values[row, :length, head]
            np.testing.assert_allclose(returns[row, :length, head], expected, atol=1e-9)
        assert not advantages[row, length:].any() and not returns[row, length:].any()


def test_gae_with_lambda_one_is_the_discounted_return():
    signals = torch.tensor([[[1.0], [2.0], [4.0]]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    _, returns = ppo.gae(signals, torch.randn(1, 3, 1), torch.tensor([[8.0]]), mask, 0.5, 1.0)
    torch.testing.assert_close(returns[0, :, 0], torch.tensor([1 + 1 + 1 + 1.0, 2 + 2 + 2.0, 4 + 4.0]))


def test_standardise_scales_centres_and_guards():
    mask = torch.tensor([[True, True, False], [True, True, True]])
    heads = torch.zeros(2, 3, 3)
    heads[..., 0] = torch.tensor([[1.0, 2.0, 99.0], [3.0, 4.0, 5.0]])
    heads[..., 1] = 7.0  # constant: a constraint that is never violated
    heads[..., 2] = heads[..., 0] * 1e-4  # noise of a critic
    result = ppo.standardise(heads, mask, floor=0.05)
    picked = result[mask]
    assert picked[:, 0].mean().item() == pytest.approx(0, abs=1e-6)
    assert picked[:, 0].std(correction=0).item() == pytest.approx(1, abs=1e-5)
    assert not picked[:, 1].any()
    assert picked[:, 2].abs().max().item() == pytest.approx(2e-4 / 0.05, rel=1e-3)
    assert not result[~mask].any()


def test_in_units_of_reward_a_violation_keeps_its_price_however_rare_it_is():
    generator = torch.Generator().manual_seed(0)
    mask = torch.ones(4, 50, dtype=torch.bool)
    heads = torch.randn(4, 50, 3, generator=generator) * torch.tensor([5.0, 0.3, 40.0])
    result = ppo.standardise(heads, mask, unit="reward")
    centred = heads - heads.mean(dim=(0, 1))
    torch.testing.assert_close(result, centred / heads[..., 0].std(correction=0))
    # A multiplier of 2 makes 1 of cost weigh as much as 2 of reward.
    mixed = ppo.mix_advantages(result, torch.tensor([2.0, 0.0])) * 3.0
    expected = (centred[..., 0] - 2.0 * centred[..., 1]) / heads[..., 0].std(correction=0)
    torch.testing.assert_close(mixed, expected)


def test_mixing_by_hand():
    standardised = torch.tensor([[[1.0, 2.0, -1.0]]])
    mixed = ppo.mix_advantages(standardised, torch.tensor([0.5, 2.0]))
    assert mixed.item() == pytest.approx((1 - 0.5 * 2 + 2 * 1) / 3.5)
    assert ppo.mix_advantages(standardised, torch.zeros(2)).item() == 1.0


def test_prices_change_nothing_between_the_anchor_and_the_reward():
    entropy, anchor, prices = torch.tensor(2.0), torch.tensor(0.5), torch.tensor([0.5, 2.0])
    free = ppo.regularisation(entropy, anchor, 0.01, 0.1, torch.zeros(2))
    assert free.item() == pytest.approx(0.1 * 0.5 - 0.01 * 2.0)
    reward = torch.tensor([[[1.0, 0.0, 0.0]]])
    ratio = ppo.mix_advantages(reward, prices) / ppo.mix_advantages(reward, torch.zeros(2))
    priced = ppo.regularisation(entropy, anchor, 0.01, 0.1, prices)
    assert priced.item() == pytest.approx((free * ratio).item())


def test_clipping_by_hand():
    mask = torch.tensor([[True, True, True, True, False]])
    ratio = torch.tensor([[1.5, 0.5, 1.5, 0.5, 9.0]])
    advantage = torch.tensor([[1.0, 1.0, -1.0, -1.0, 9.0]])
    log_prob = ratio.log().requires_grad_()
    loss = ppo.clipped_surrogate(log_prob, torch.zeros(1, 5), advantage, mask, 0.2)
    assert loss.item() == pytest.approx(-(1.2 + 0.5 - 1.5 - 0.8) / 4)
    loss.backward()
    # No gradient where the ratio has already gone as far as it may in the advantage's direction.
    assert [bool(value) for value in log_prob.grad[0]] == [False, True, True, False, False]


def test_value_loss_and_explained_variance_by_hand():
    values = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [9.0, 9.0]]])
    returns = torch.tensor([[[2.0, 1.0], [3.0, 1.0], [0.0, 0.0]]])
    mask = torch.tensor([[True, True, False]])
    torch.testing.assert_close(ppo.value_loss(values, returns, mask), torch.tensor([0.25, 0.5]))
    variance = ppo.explained_variance(values, returns, mask)
    assert variance[0].item() == pytest.approx(1 - 0.25 / 0.25)
    assert math.isnan(variance[1].item())
    assert ppo.explained_variance(returns, returns, mask)[0].item() == pytest.approx(1.0)


def test_entropy_kl_and_log_prob_by_hand():
    p, q = torch.tensor([[[0.5, 0.5]]]).log(), torch.tensor([[[0.25, 0.75]]]).log() + 3.0
    assert ppo.categorical_entropy(p).item() == pytest.approx(math.log(2))
    assert ppo.categorical_kl(p, q).item() == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))
    assert ppo.categorical_kl(q, q).item() == pytest.approx(0, abs=1e-6)
    assert ppo.action_log_prob(q, torch.tensor([[1]])).item() == pytest.approx(math.log(0.75))
