"""What of the costs of many episodes a budget bounds: their mean, their tail, or the worst of them.

All three are one measure at different levels, the conditional value at risk (Rockafellar and Uryasev 2000,
"Optimization of conditional value-at-risk", Journal of Risk 2): the mean of the worst share s of the
episodes, CVaR = min over v of  v + E[max(C - v, 0)] / s.  s = 1 is the mean, s -> 0 the worst.
"""

from __future__ import annotations

import re

import numpy as np

from safevla.config import nearest

AGGREGATIONS = ("mean", "cvar95", "worst")  # cvar may have another level


def tail_share(aggregation: str) -> float:
    """Return the share of episodes, the worst ones, whose mean is taken: 1 for "mean", 0 for "worst".

    Raises:
        ValueError: it is none of "mean", "worst" and "cvar" with a level in per cent, such as "cvar95".
    """
    if aggregation in ("mean", "worst"):
        return float(aggregation == "mean")
    found = re.fullmatch(r"cvar(\d+(?:\.\d+)?)", aggregation)
    if found is None:
        raise ValueError(
            f"unknown aggregation '{aggregation}'{nearest(aggregation, AGGREGATIONS)}; cvar has its level in "
            "per cent, cvar95 is the mean of the worst 5 % of episodes"
        )
    level = float(found[1])
    if not 0.0 < level < 100.0:
        raise ValueError(f"the level of '{aggregation}' must lie above 0 and below 100 %, as in 'cvar95'")
    return round(1.0 - level / 100.0, 12)  # 1 - 0.95 is not quite 0.05


def describe(aggregation: str) -> str:
    """Say it in words: "mean", "mean of the worst 5 %", "worst"."""
    share = tail_share(aggregation)
    return aggregation if share in (0.0, 1.0) else f"mean of the worst {100 * share:g} %"


def tail_means(descending: np.ndarray, weights: np.ndarray, share: float) -> np.ndarray:
    """Return (r,) means of the largest `share` (above 0) of values sorted downwards, under (r, n) weights.

    The value on the boundary counts by the part of it that belongs to the tail, so that five per cent of 50
    episodes is two and a half episodes.
    """
    mass = weights.sum(axis=1) * share
    before = np.cumsum(weights, axis=1) - weights
    taken = np.clip(mass[:, None] - before, 0.0, weights)
    means: np.ndarray = (taken @ descending) / mass
    return means


def aggregate(costs: np.ndarray, aggregation: str) -> float:
    """Return what of the costs of episodes (n,) is held against a budget."""
    share = tail_share(aggregation)
    values = np.asarray(costs, dtype=np.float64)
    if share == 1.0:
        return float(values.mean())
    descending = np.sort(values)[::-1]
    if share == 0.0:
        return float(descending[0])
    return float(tail_means(descending, np.ones((1, len(values))), share)[0])


def value_at_risk(costs: np.ndarray, share: float) -> float:
    """Return the least cost that at most `share` of the episodes (n,) exceed, a v that gives the CVaR."""
    descending = np.sort(np.asarray(costs, dtype=np.float64))[::-1]
    return float(descending[min(int(share * len(descending) + 1e-9), len(descending) - 1)])


def charge_excess(costs: np.ndarray, aggregation: str, budget: float) -> np.ndarray:
    """Return the costs by step that learning lowers so that the aggregate keeps to its budget.

    With the mean they are the costs themselves. A CVaR is the mean of max(C - v, 0) / s, apart from v, so a
    step is charged what it adds to that: its cost as far as the episode had already cost v, divided by s
    (Chow, Ghavamzadeh, Janson and Pavone 2018, "Risk-constrained reinforcement learning with percentile risk
    criteria", JMLR 18, without their extra state: the
    policy sees the whole episode). v is the
    value at risk, but at most the budget b: any v gives an upper bound of the CVaR, and one above b never
    keeps to b. This matters because costs are counts: where more than the share s of episodes cost 1, the
    value at risk is 1, nothing exceeds it, and a policy over a budget of 0.5 would learn nothing.
    With the worst, s -> 0, what exceeds the budget is charged as it is, the exact penalty for C <= b.

    Args:
        costs: (n, T) by episode and step, none negative, zeros behind the end of an episode.
        aggregation: see `tail_share`.
        budget: b, allowed cost of an episode.

    Returns:
        (n, T) of the same type.
    """
    share = tail_share(aggregation)
    if share == 1.0:
        return costs
    until = np.cumsum(costs, axis=1, dtype=np.float64)
    threshold, factor = budget, 1.0
    if share > 0.0:
        threshold, factor = min(budget, value_at_risk(until[:, -1], share)), 1.0 / share
    excess = np.maximum(until - threshold, 0.0)
    return np.diff(factor * excess, axis=1, prepend=0.0).astype(costs.dtype)
