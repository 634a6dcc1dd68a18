"""The mathematics of constrained PPO: pure functions over tensors.

Shapes: B episodes, T steps, A actions, K constraints. `mask` (B, T) is True on real steps. Heads are ordered
reward first, then the K constraints: 1 + K.
"""

from __future__ import annotations

import torch
from torch import Tensor


def gae(
    signals: Tensor, values: Tensor, bootstrap: Tensor, mask: Tensor, gamma: float | Tensor, lam: float
) -> tuple[Tensor, Tensor]:
    """Estimate advantages of whole episodes, for the reward and each cost alike.

    delta_t = x_t + gamma V(s_{t+1}) - V(s_t);  A_t = sum_l (gamma lam)^l delta_{t+l}
    (generalised advantage estimation, Schulman et al. 2016, arXiv 1506.02438, equation 16).

    Args:
        signals: (B, T, 1 + K) reward and costs.
        values: (B, T, 1 + K) of the critics.
        bootstrap: (B, 1 + K) value of the state after the last step; zeros where the episode terminated.
        mask: (B, T).
        gamma: discount, one for all or (1 + K,).
        lam: trades bias (0) for variance (1).

    Returns:
        Advantages and returns (advantage + value), both (B, T, 1 + K), zero outside the mask.
    """
    steps = signals.shape[1]
    last = mask.sum(dim=1) - 1
    is_last = torch.arange(steps, device=mask.device)[None, :] == last[:, None]
    following = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    following = torch.where(is_last[..., None], bootstrap[:, None], following)
    delta = (signals + gamma * following - values) * mask[..., None]
    advantages = torch.zeros_like(delta)
    running = torch.zeros_like(bootstrap)
    for step in reversed(range(steps)):
        # Behind the end delta is zero, so nothing runs into the last real step.
        running = delta[:, step] + gamma * lam * running
        advantages[:, step] = running
    return advantages, (advantages + values) * mask[..., None]


def standardise(advantages: Tensor, mask: Tensor, floor: float = 0.05, unit: str = "own") -> Tensor:
    """Centre each head over the batch and divide it by a standard deviation.

    With the unit "own" each head is divided by its own: a multiplier then says how much a constraint weighs
    in the update, whatever its costs are like. With "reward" all are divided by the reward's: a multiplier
    then is the price of a violation in units of reward, the same whether violations are rare or frequent.

    A head that varies less than 1e-6 is constant: it becomes zero. A head that varies less than `floor` is
    divided by `floor`, so that the noise of a critic whose constraint is never violated stays small.

    Args:
        advantages: (B, T, heads).
        mask: (B, T).
        floor: smallest divisor, in the unit of the signal.
        unit: "own" or "reward".

    Returns:
        (B, T, heads), zero outside the mask.
    """
    weight = mask[..., None].to(advantages.dtype)
    count = weight.sum(dim=(0, 1)).clamp(min=1)
    centred = (advantages - (advantages * weight).sum(dim=(0, 1)) / count) * weight
    deviation = (centred.square().sum(dim=(0, 1)) / count).sqrt()
    divisor = deviation if unit == "own" else deviation[:1].expand_as(deviation)
    return torch.where(deviation < 1e-6, torch.zeros_like(centred), centred / divisor.clamp(min=floor))


def mix_advantages(standardised: Tensor, multipliers: Tensor) -> Tensor:
    """Weigh reward against costs: (Z_r - sum_k lambda_k Z_ck) / (1 + sum_k lambda_k).

    The gradient of the Lagrangian, scaled so that the step size does not grow with the multipliers
    (Ray et al. 2019, "Benchmarking safe exploration"; SafeVLA, arXiv 2503.03480, with one multiplier).

    Args:
        standardised: (B, T, 1 + K).
        multipliers: (K,), none negative.

    Returns:
        (B, T).
    """
    costs = (standardised[..., 1:] * multipliers).sum(dim=-1)
    return (standardised[..., 0] - costs) / (1.0 + multipliers.sum())


def regularisation(
    entropy: Tensor, anchor: Tensor, entropy_weight: float, anchor_weight: float, multipliers: Tensor
) -> Tensor:
    """Return what is added to the policy loss: (w_a KL - w_h H) / (1 + sum_k lambda_k).

    The weights say what a nat is worth beside the reward. `mix_advantages` divides the reward by the same
    sum: undivided, the anchor would hold a constrained policy the more firmly the higher the prices are.

    Args:
        entropy: H, mean entropy.
        anchor: KL, mean divergence from the policy that learning started from.
        entropy_weight: w_h.
        anchor_weight: w_a.
        multipliers: (K,), none negative.
    """
    return (anchor_weight * anchor - entropy_weight * entropy) / (1.0 + multipliers.sum())


def masked_mean(values: Tensor, mask: Tensor, count: float | None = None) -> Tensor:
    """Average (B, T) values over the mask, or divide their sum by `count`.

    A fixed `count` lets minibatches of unequal length weigh every step the same.
    """
    total = (values * mask).sum()
    return total / (mask.sum().clamp(min=1) if count is None else count)


def clipped_surrogate(
    log_prob: Tensor,
    old_log_prob: Tensor,
    advantage: Tensor,
    mask: Tensor,
    clip: float,
    count: float | None = None,
) -> Tensor:
    """Return PPO's policy loss, -mean min(r A, clip(r, 1 - clip, 1 + clip) A), r = pi / pi_old.

    Schulman et al. 2017, arXiv 1707.06347, equation 7. All tensors are (B, T).
    """
    ratio = (log_prob - old_log_prob).exp()
    clipped = ratio.clamp(1.0 - clip, 1.0 + clip)
    return -masked_mean(torch.minimum(ratio * advantage, clipped * advantage), mask, count)


def value_loss(values: Tensor, returns: Tensor, mask: Tensor, count: float | None = None) -> Tensor:
    """Return half the mean squared error of each head, (1 + K,), from (B, T, 1 + K) tensors."""
    error = 0.5 * (values - returns).square() * mask[..., None]
    return error.sum(dim=(0, 1)) / (mask.sum().clamp(min=1) if count is None else count)


def action_log_prob(logits: Tensor, actions: Tensor) -> Tensor:
    """Return log pi(a | s), (B, T), from logits (B, T, A) and actions (B, T)."""
    return logits.log_softmax(dim=-1).gather(-1, actions[..., None]).squeeze(-1)


def categorical_entropy(logits: Tensor) -> Tensor:
    """Return -sum_a p_a log p_a per step, (B, T), in nats."""
    log_prob = logits.log_softmax(dim=-1)
    return -(log_prob.exp() * log_prob).sum(dim=-1)


def categorical_kl(logits_p: Tensor, logits_q: Tensor) -> Tensor:
    """Return the exact KL(p || q) = sum_a p_a (log p_a - log q_a) per step, (B, T), in nats."""
    log_p = logits_p.log_softmax(dim=-1)
    return (log_p.exp() * (log_p - logits_q.log_softmax(dim=-1))).sum(dim=-1)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """Return 1 - Var(return - value) / Var(return) of each head, (1 + K,).

    1 is a perfect critic, 0 one that knows the mean alone; nan where the returns do not vary.
    """
    picked_values, picked_returns = values[mask], returns[mask]
    variance = picked_returns.var(dim=0, correction=0)
    residual = (picked_returns - picked_values).var(dim=0, correction=0)
    return torch.where(variance < 1e-12, torch.full_like(variance, float("nan")), 1.0 - residual / variance)
