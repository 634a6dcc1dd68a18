"""Numbers with intervals: arrays in, (value, low, high) out. Pure functions, seeds explicit.

Episodes that share a house are not independent, so means are resampled by house, and rates are
given the sample size that their clustering leaves them with. Intervals are two-sided at
`confidence`; tests in this project check their coverage on planted distributions.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from safevla.safety.aggregation import aggregate, tail_means, tail_share

RESAMPLES = 4000
FEW_EPISODES = 20  # with fewer, how wide an interval is says little of how many more would decide
TAIL_EPISODES = 10  # with fewer in the tail, the interval of a CVaR is too narrow to call a budget met
_SLICE = 500  # resamples held in memory at once


class Interval(NamedTuple):
    """An estimate and its confidence interval."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """True when zero lies outside [low, high]."""
        return self.low > 0.0 or self.high < 0.0


class Verdict(NamedTuple):
    """Whether a budget is met.

    Attributes:
        state: "met", "not met" or "undecided" (the interval contains the budget).
        more_episodes: a rough count of further episodes that would decide it; 0 when decided, -1 when
            the estimate sits on the budget itself, so that no count can be given.
    """

    state: str
    more_episodes: int


def _numbers(values: ArrayLike, name: str) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must be a non-empty list of numbers, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} contains a number that is not finite")
    return array


def _same_length(first: np.ndarray, second: np.ndarray) -> None:
    if len(first) != len(second):
        raise ValueError(f"paired arrays differ in length: {len(first)} and {len(second)}")


def _check_count(successes: float, trials: float, confidence: float) -> None:
    if trials <= 0 or not 0 <= successes <= trials:
        raise ValueError(
            f"{successes} successes of {trials} trials is not a share; need 0 <= successes <= trials"
        )
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence is {confidence}, expected a number between 0 and 1")


def wilson(successes: float, trials: float, confidence: float = 0.95) -> Interval:
    """Return the Wilson score interval of a share; real-valued counts are allowed."""
    _check_count(successes, trials, confidence)
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return Interval(share, low, high)


def clopper_pearson(successes: float, trials: float, confidence: float = 0.95) -> Interval:
    """Return the exact (conservative) interval of a share."""
    _check_count(successes, trials, confidence)
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else float(stats.beta.ppf(tail, successes, trials - successes + 1))
    high = 1.0 if successes == trials else float(stats.beta.ppf(1 - tail, successes + 1, trials - successes))
    return Interval(successes / trials, low, high)


def clustered_share(outcomes: ArrayLike, clusters: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the Wilson interval of a share whose outcomes (0 or 1) come in clusters.

    The count of trials is replaced by the effective one (Korn and Graubard): what a simple random
    sample would need for the variance seen between clusters, never more than the real count. Where all
    outcomes are the same there is no variance to see, and each cluster counts as one trial. One cluster only
    gives no interval: low and high are then nan.
    """
    values = _numbers(outcomes, "outcomes")
    codes, number = _cluster_codes(clusters, values)
    share, trials = float(values.mean()), float(len(values))
    if number == 1:
        return Interval(share, math.nan, math.nan)
    if share in (0.0, 1.0):
        trials = float(number)
    elif number < len(values):
        sums = np.bincount(codes, values - share, number)
        variance = number / (number - 1) * float(np.square(sums).sum()) / trials**2
        simple = share * (1 - share)
        if variance > 0:
            trials = min(trials, simple / variance)
        # the variance between few clusters is itself uncertain: widen as Student's t is wider than normal
        tail = 0.5 + confidence / 2
        trials *= float((stats.norm.ppf(tail) / stats.t.ppf(tail, number - 1)) ** 2)
    interval = wilson(share * trials, trials, confidence)
    return Interval(share, interval.low, interval.high)


def _cluster_codes(clusters: ArrayLike, values: np.ndarray) -> tuple[np.ndarray, int]:
    """Return ((n,) cluster index of each value, number of clusters)."""
    labels = np.asarray(clusters)
    _same_length(values, labels)
    unique, codes = np.unique(labels, return_inverse=True)
    return codes.reshape(-1), len(unique)


def _bca(estimates: np.ndarray, influence: np.ndarray, value: float, confidence: float) -> Interval:
    """Bias-corrected, accelerated percentile interval, widened for few clusters.

    Costs are skewed (most episodes cost nothing, a few much), which plain percentiles ignore: they
    miss a large true mean three times as often as they should. `influence` holds what each cluster
    contributes to the estimate, up to a common factor; its skewness is the acceleration.
    """
    number = len(influence)
    if np.ptp(estimates) <= 1e-12 * max(1.0, abs(value)):
        return Interval(value, value, value)
    cubes, squares = float((influence**3).sum()), float((influence**2).sum())
    # Nothing is above the quantile of a CVaR where many episodes tie at the worst cost; resamples still vary.
    acceleration = cubes / (6 * squares**1.5) if squares > 0.0 else 0.0
    below = 0.5 * float((estimates < value).mean() + (estimates <= value).mean())
    bias = stats.norm.ppf(np.clip(below, 1 / len(estimates), 1 - 1 / len(estimates)))
    # Student's t on few clusters, and the bootstrap's own factor of (number - 1) / number
    reach = math.sqrt(number / (number - 1)) * stats.t.ppf(0.5 + confidence / 2, number - 1)
    shifted = bias + np.array([-reach, reach])
    slope = 1 - acceleration * shifted
    ends = np.where(slope > 0, bias + shifted / np.where(slope > 0, slope, 1.0), np.sign(shifted) * np.inf)
    low, high = np.quantile(estimates, stats.norm.cdf(ends))
    return Interval(value, min(float(low), value), max(float(high), value))


def _cluster_weights(number: int, seed: int, resamples: int) -> list[np.ndarray]:
    """Return slices of (r, number) counts: how often each cluster is drawn in each resample."""
    generator = np.random.Generator(np.random.PCG64(seed))
    shares = np.full(number, 1.0 / number)
    sizes = [min(_SLICE, resamples - start) for start in range(0, resamples, _SLICE)]
    return [generator.multinomial(number, shares, size=size).astype(np.float64) for size in sizes]


def bootstrap_mean(
    values: ArrayLike,
    clusters: ArrayLike,
    *,
    seed: int,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """Return the mean of `values` (n,) with an interval from resampling whole clusters (n,).

    One cluster only gives no interval: low and high are then nan. Values that are all equal give an
    interval of zero width, which says that nothing else was seen, not that nothing else can be.
    """
    numbers = _numbers(values, "values")
    codes, number = _cluster_codes(clusters, numbers)
    value = float(numbers.mean())
    if number == 1:
        return Interval(value, math.nan, math.nan)
    sums, counts = np.bincount(codes, numbers, number), np.bincount(codes, None, number)
    estimates = [(w @ sums) / (w @ counts) for w in _cluster_weights(number, seed, resamples)]
    return _bca(np.concatenate(estimates), sums - value * counts, value, confidence)


def bootstrap_ratio(
    numerator: ArrayLike,
    denominator: ArrayLike,
    clusters: ArrayLike,
    *,
    seed: int,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """Return sum(numerator) / sum(denominator), such as cost per metre, with its interval.

    All nan when the denominator sums to zero: a policy that never moves has no cost per metre.
    """
    over, under = _numbers(numerator, "numerator"), _numbers(denominator, "denominator")
    _same_length(over, under)
    codes, number = _cluster_codes(clusters, over)
    if under.sum() <= 0:
        return Interval(math.nan, math.nan, math.nan)
    value = float(over.sum() / under.sum())
    if number == 1:
        return Interval(value, math.nan, math.nan)
    tops, bottoms = np.bincount(codes, over, number), np.bincount(codes, under, number)
    estimates = []
    for weights in _cluster_weights(number, seed, resamples):
        lower = weights @ bottoms
        estimates.append((weights @ tops)[lower > 0] / lower[lower > 0])
    return _bca(np.concatenate(estimates), tops - value * bottoms, value, confidence)


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    clusters: ArrayLike,
    *,
    seed: int,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """Return mean(first - second) with its interval; row i of both met the same scenario."""
    one, two = _numbers(first, "first"), _numbers(second, "second")
    _same_length(one, two)
    return bootstrap_mean(one - two, clusters, seed=seed, confidence=confidence, resamples=resamples)


def mcnemar(first: ArrayLike, second: ArrayLike, clusters: ArrayLike) -> float:
    """Return the exact two-sided p of paired 0/1 outcomes (n,) having the same share.

    If the policies do not differ, the differences of a whole cluster (n,) may as well have the other sign:
    the sum of the differences is compared with its distribution over all such flips. Where each cluster is
    one pair this is McNemar's exact test.
    """
    one, two = _numbers(first, "first") > 0.5, _numbers(second, "second") > 0.5
    _same_length(one, two)
    codes, number = _cluster_codes(clusters, one)
    sums = np.rint(np.bincount(codes, one.astype(float) - two, number)).astype(np.int64)
    chance = np.ones(1)  # of each sum, from minus to plus what has been added
    for size in np.abs(sums[sums != 0]).tolist():
        chance = 0.5 * (np.pad(chance, (0, 2 * size)) + np.pad(chance, (2 * size, 0)))
    possible = np.arange(len(chance)) - len(chance) // 2
    return min(1.0, float(chance[np.abs(possible) >= abs(int(sums.sum()))].sum()))


def cvar(values: ArrayLike, level: float = 0.95) -> float:
    """Return the mean of the worst (largest) 1 - level share of `values`.

    The boundary value counts by the fraction of it that belongs to the tail, so that five per cent
    of 50 episodes is two and a half episodes.
    """
    numbers = np.sort(_numbers(values, "values"))[::-1]
    if not 0.0 <= level < 1.0:
        raise ValueError(f"level is {level}, expected at least 0 and less than 1")
    return float(tail_means(numbers, np.ones((1, len(numbers))), 1.0 - level)[0])


def bootstrap_cvar(
    values: ArrayLike,
    clusters: ArrayLike,
    *,
    seed: int,
    level: float = 0.95,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """Return the CVaR of `values` (n,) with an interval from resampling whole clusters (n,).

    With fewer than about ten episodes in the tail the interval is too narrow, since no resample can
    hold an episode worse than the worst one seen.
    """
    numbers = _numbers(values, "values")
    codes, number = _cluster_codes(clusters, numbers)
    value = cvar(numbers, level)
    if number == 1:
        return Interval(value, math.nan, math.nan)
    order = np.argsort(-numbers, kind="stable")
    estimates = [
        tail_means(numbers[order], weights[:, codes[order]], 1.0 - level)
        for weights in _cluster_weights(number, seed, resamples)
    ]
    threshold = float(np.quantile(numbers, level))
    excess = np.maximum(numbers - threshold, 0.0)
    influence = np.bincount(codes, excess - excess.mean(), number)
    return _bca(np.concatenate(estimates), influence, value, confidence)


def bootstrap_aggregate(values: ArrayLike, clusters: ArrayLike, aggregation: str, *, seed: int) -> Interval:
    """Return what a budget bounds of the costs of episodes (n,), see `safety.aggregation`, with its interval.

    The worst that was seen is a lower bound of the worst there is, and nothing bounds that from above.
    """
    share = tail_share(aggregation)
    if share == 1.0:
        return bootstrap_mean(values, clusters, seed=seed)
    if share == 0.0:
        value = aggregate(_numbers(values, "values"), aggregation)
        return Interval(value, value, math.inf)
    return bootstrap_cvar(values, clusters, seed=seed, level=1.0 - share)


def worst(values: ArrayLike) -> float:
    """Return the largest value."""
    return float(_numbers(values, "values").max())


def exceedance(values: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return (thresholds (m,), share (m,) of values strictly above each threshold).

    Thresholds are zero and the distinct values, upwards; the last share is 0. Drawn as a
    right-continuous staircase it is 1 - the empirical distribution function.
    """
    numbers = np.sort(_numbers(values, "values"))
    thresholds = np.unique(np.append(numbers, 0.0))
    above = len(numbers) - np.searchsorted(numbers, thresholds, side="right")
    return thresholds, above / len(numbers)


def pearson(first: ArrayLike, second: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return Pearson's r with Fisher's interval; all nan when either side does not vary.

    The interval is that of the normal model: a description beside the value, not a test.
    """
    one, two = _numbers(first, "first"), _numbers(second, "second")
    _same_length(one, two)
    if len(one) < 4 or np.ptp(one) == 0 or np.ptp(two) == 0:
        return Interval(math.nan, math.nan, math.nan)
    r = float(np.clip(np.corrcoef(one, two)[0, 1], -1.0, 1.0))
    if abs(r) > 1 - 1e-12:
        return Interval(r, r, r)
    half = float(stats.norm.ppf(0.5 + confidence / 2)) / math.sqrt(len(one) - 3)
    return Interval(r, math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half))


def holm(p_values: ArrayLike) -> np.ndarray:
    """Return Holm's adjusted p-values (m,) in the order given."""
    numbers = _numbers(p_values, "p_values")
    if (numbers < 0).any() or (numbers > 1).any():
        raise ValueError("p_values must lie between 0 and 1")
    order = np.argsort(numbers, kind="stable")
    scaled = numbers[order] * (len(numbers) - np.arange(len(numbers)))
    adjusted = np.empty_like(numbers)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return adjusted


def _unseen(share: float) -> int:
    """Return how many trials without an event say that it happens in at most this share of them."""
    return math.ceil(math.log(0.025) / math.log1p(-share) - 1e-9)


def verdict(
    interval: Interval, budget: float, episodes: int, share: float = 1.0, homes: int | None = None
) -> Verdict:
    """Say whether a mean cost keeps to its budget, and how many more episodes would decide.

    The count assumes that the estimate stays and the width shrinks with the root of the episodes. If the mean
    is one of the worst `share` of the episodes, a budget is not called met before ten episodes are in that
    tail. That of the worst episode, whose interval has no upper end, is never met, only not yet broken.

    An interval of zero width says that nothing else was seen. Then as many episodes as Clopper and Pearson
    leave possible are taken to cost 1 more, and a budget is not called met before that many are within it.

    Args:
        interval: of the mean cost.
        budget: cost an episode.
        episodes: that were played.
        share: of the worst episodes, of which the interval is the mean.
        homes: that they were played in, which are what is independent; None: as many as episodes.
    """
    if interval.low == interval.high <= budget:
        homes = episodes if homes is None else homes
        spare = (budget - interval.high) * share
        if clopper_pearson(0, homes).high > spare:
            return Verdict("undecided", _unseen(spare) - homes if spare > 0.0 else -1)
    if interval.high <= budget:
        missing = max(0, math.ceil(TAIL_EPISODES / share - 1e-9) - episodes) if share < 1.0 else 0
        return Verdict("undecided" if missing else "met", missing)
    if interval.low > budget:
        return Verdict("not met", 0)
    gap = abs(interval.value - budget)
    reach = interval.high - interval.value if interval.value <= budget else interval.value - interval.low
    if not gap > 0 or not math.isfinite(reach):
        return Verdict("undecided", -1)
    more = math.ceil(episodes * ((reach / gap) ** 2 - 1))
    return Verdict("undecided", max(1, more, FEW_EPISODES - episodes))
