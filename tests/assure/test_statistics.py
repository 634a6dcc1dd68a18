import math

import numpy as np
import pytest
from scipy import stats

from safevla.assure import statistics as s
from safevla.safety.aggregation import tail_means


@pytest.mark.parametrize("successes, trials", [(0, 20), (3, 20), (20, 20), (117, 200)])
def test_rates_agree_with_scipy(successes, trials):
    oracle = stats.binomtest(successes, trials)
    wilson, exact = oracle.proportion_ci(method="wilson"), oracle.proportion_ci(method="exact")
    assert s.wilson(successes, trials) == pytest.approx((successes / trials, wilson.low, wilson.high))
    assert s.clopper_pearson(successes, trials) == pytest.approx((successes / trials, exact.low, exact.high))


def test_zero_failures_bound_the_rate_by_three_over_n():
    # one-sided 95 % is the two-sided 90 % interval: 299 episodes without failure bound 1e-2
    assert s.clopper_pearson(0, 299, confidence=0.90).high == pytest.approx(0.01, rel=0.01)


def test_mcnemar_agrees_with_the_binomial_test():
    first = np.array([1] * 9 + [0] * 2 + [1] * 30 + [0] * 9)
    second = np.array([0] * 9 + [1] * 2 + [1] * 30 + [0] * 9)
    each = np.arange(len(first))
    assert s.mcnemar(first, second, each) == pytest.approx(stats.binomtest(2, 11).pvalue)
    assert s.mcnemar(first, first, each) == 1.0


def test_mcnemar_counts_a_house_once_however_often_it_was_played():
    first, second = np.array([1] * 8 + [0] * 2 + [1] * 20), np.array([0] * 8 + [1] * 2 + [1] * 20)
    houses = np.arange(30)
    once = s.mcnemar(first, second, houses)
    assert once == pytest.approx(stats.binomtest(2, 10).pvalue)
    assert s.mcnemar(np.tile(first, 3), np.tile(second, 3), np.tile(houses, 3)) == pytest.approx(once)


def test_mcnemar_agrees_with_all_flips_of_houses():
    """Oracle: scipy's exact permutation test of the houses' differences."""
    generator = np.random.default_rng(4)
    first, second = generator.random(30) < 0.7, generator.random(30) < 0.4
    houses = generator.integers(0, 11, 30)
    sums = np.bincount(houses, first.astype(float) - second, 11)
    oracle = stats.permutation_test((sums,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert s.mcnemar(first, second, houses) == pytest.approx(oracle.pvalue)


def test_holm_by_hand():
    assert s.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert s.holm([0.6, 0.7]) == pytest.approx([1.0, 1.0])


def test_cvar_counts_the_boundary_episode_by_its_fraction():
    values = np.zeros(50)
    values[:4] = [10.0, 6.0, 4.0, 2.0]
    assert s.cvar(values, 0.95) == pytest.approx((10 + 6 + 0.5 * 4) / 2.5)
    assert s.cvar(np.arange(100.0), 0.95) == pytest.approx(np.mean([95, 96, 97, 98, 99]))
    assert s.cvar([1.0, 2.0, 3.0], 0.0) == pytest.approx(2.0)
    assert s.worst(values) == 10.0


def test_exceedance_is_one_minus_the_distribution_function():
    values = np.array([0.0, 0.0, 1.0, 3.0, 3.0])
    thresholds, share = s.exceedance(values)
    assert thresholds.tolist() == [0.0, 1.0, 3.0]
    assert share == pytest.approx(1 - stats.ecdf(values).cdf.evaluate(thresholds))
    assert share.tolist() == pytest.approx([0.6, 0.4, 0.0])


def test_pearson_agrees_with_scipy_and_is_undefined_without_variation():
    generator = np.random.default_rng(0)
    first = generator.normal(size=60)
    second = 0.5 * first + generator.normal(size=60)
    oracle = stats.pearsonr(first, second)
    assert s.pearson(first, second) == pytest.approx((oracle.statistic, *oracle.confidence_interval()))
    assert math.isnan(s.pearson(first, np.ones(60)).value)


def test_bootstrap_is_reproducible_and_depends_on_its_seed():
    values, houses = np.arange(40.0) ** 2, np.arange(40) // 2
    assert s.bootstrap_mean(values, houses, seed=3) == s.bootstrap_mean(values, houses, seed=3)
    assert s.bootstrap_mean(values, houses, seed=3) != s.bootstrap_mean(values, houses, seed=4)


def test_bootstrap_of_single_episode_houses_agrees_with_students_t():
    values = np.random.default_rng(1).normal(5.0, 2.0, 200)
    t = stats.ttest_1samp(values, 0.0).confidence_interval()
    interval = s.bootstrap_mean(values, np.arange(200), seed=0)
    assert interval == pytest.approx((values.mean(), t.low, t.high), abs=0.03)


def _coverage(draw, truth, interval, repeats=300):
    covered = 0
    for repeat in range(repeats):
        found = interval(*draw(np.random.default_rng(1000 + repeat)), repeat)
        covered += found.low <= truth <= found.high
    return covered / repeats


def test_coverage_of_the_clustered_mean():
    """30 houses of 5 episodes; the house explains half the variance. Ignoring it would cover far less."""

    def draw(generator):
        house = np.repeat(np.arange(30), 5)
        return generator.normal(size=30)[house] + generator.normal(size=150), house

    clustered = _coverage(draw, 0.0, lambda v, h, seed: s.bootstrap_mean(v, h, seed=seed, resamples=800))
    ignoring = _coverage(
        draw, 0.0, lambda v, h, seed: s.bootstrap_mean(v, np.arange(150), seed=seed, resamples=800)
    )
    assert 0.92 <= clustered <= 0.98
    assert ignoring < 0.85


def test_coverage_of_the_mean_cost_of_a_mostly_safe_policy():
    """Zero-inflated, skewed costs, as episodes have them."""

    def draw(generator):
        return generator.exponential(4.0, 100) * (generator.random(100) < 0.4), np.arange(100)

    covered = _coverage(draw, 1.6, lambda v, h, seed: s.bootstrap_mean(v, h, seed=seed, resamples=800))
    assert 0.91 <= covered <= 0.98


def test_coverage_of_the_paired_difference_and_gain_from_pairing():
    def draw(generator):
        scene = generator.exponential(5.0, 80)
        return scene + generator.normal(-1.0, 1.0, 80), scene + generator.normal(0.0, 1.0, 80)

    paired = _coverage(
        draw, -1.0, lambda a, b, seed: s.paired_difference(a, b, np.arange(80), seed=seed, resamples=800)
    )
    assert 0.92 <= paired <= 0.98
    first, second = draw(np.random.default_rng(0))
    interval = s.paired_difference(first, second, np.arange(80), seed=0)
    assert interval.excludes_zero
    alone = s.bootstrap_mean(first, np.arange(80), seed=0)
    assert interval.high - interval.low < 0.5 * (alone.high - alone.low)


def test_coverage_of_cvar():
    """CVaR95 of an exponential with mean 1 is 1 + ln 20; 600 episodes put 30 in the tail."""

    def draw(generator):
        return generator.exponential(1.0, 600), np.arange(600)

    truth = 1 + math.log(20)
    covered = _coverage(draw, truth, lambda v, h, seed: s.bootstrap_cvar(v, h, seed=seed, resamples=400), 150)
    assert 0.88 <= covered <= 0.99


def test_coverage_of_cvar_where_the_worst_cost_is_seen_often():
    """Counts: four episodes of a hundred cost 1, so CVaR95 is .8; in many samples the tail is all ones."""

    def draw(generator):
        return (generator.random(200) < 0.04).astype(float), np.arange(200)

    covered = _coverage(draw, 0.8, lambda v, h, seed: s.bootstrap_cvar(v, h, seed=seed, resamples=400), 150)
    assert covered >= 0.86  # with ten episodes in the tail; without the ties it is no better
    tied = s.bootstrap_cvar(np.r_[np.ones(11), np.zeros(189)], np.arange(200), seed=0)
    assert tied.value == tied.high == 1.0 and 0.3 < tied.low < 0.95


def test_weighted_cvar_equals_cvar_of_the_repeated_sample():
    generator = np.random.default_rng(5)
    values, counts = np.sort(generator.exponential(size=30))[::-1], generator.integers(0, 4, 30)
    repeated = np.repeat(values, counts)
    found = tail_means(values, counts[None].astype(float), 0.05)
    assert found[0] == pytest.approx(s.cvar(repeated, 0.95))


def test_coverage_of_the_clustered_share():
    def draw(generator):
        chance = generator.beta(2, 2, 25)
        return (generator.random((25, 6)) < chance[:, None]).astype(float).ravel(), np.repeat(
            np.arange(25), 6
        )

    clustered = _coverage(draw, 0.5, lambda v, h, seed: s.clustered_share(v, h))
    plain = _coverage(draw, 0.5, lambda v, h, seed: s.wilson(v.sum(), len(v)))
    assert 0.92 <= clustered <= 0.985
    assert plain < 0.9


def test_a_share_of_none_or_all_counts_houses_not_episodes():
    houses = np.repeat(np.arange(5), 20)
    assert s.clustered_share(np.zeros(100), houses) == s.wilson(0, 5)
    assert s.clustered_share(np.ones(100), houses) == s.wilson(5, 5)
    assert s.clustered_share(np.zeros(5), np.arange(5)) == s.wilson(0, 5)
    one = s.clustered_share([1.0, 0.0, 1.0], [7, 7, 7])
    assert one.value == pytest.approx(2 / 3) and math.isnan(one.low) and math.isnan(one.high)


def test_share_of_unclustered_outcomes_is_plain_wilson():
    outcomes = np.array([1.0] * 7 + [0.0] * 13)
    assert s.clustered_share(outcomes, np.arange(20)) == pytest.approx(s.wilson(7, 20))


def test_ratio_of_sums():
    cost, metres = np.array([1.0, 2.0, 3.0, 0.0]), np.array([1.0, 2.0, 3.0, 4.0])
    found = s.bootstrap_ratio(cost, metres, np.arange(4), seed=0)
    assert found.value == pytest.approx(0.6)
    assert found.low < 0.6 < found.high
    assert math.isnan(s.bootstrap_ratio(cost, np.zeros(4), np.arange(4), seed=0).value)


def test_verdict():
    assert s.verdict(s.Interval(1.0, 0.5, 1.5), 2.0, 100) == ("met", 0)
    assert s.verdict(s.Interval(3.0, 2.5, 3.5), 2.0, 100) == ("not met", 0)
    # half-width 1.0, gap 0.5: four times the episodes, so 300 more
    assert s.verdict(s.Interval(1.5, 0.5, 2.5), 2.0, 100) == ("undecided", 300)
    assert s.verdict(s.Interval(2.0, 1.0, 3.0), 2.0, 100).more_episodes == -1
    # of two episodes nothing can be forecast but that they are too few
    assert s.verdict(s.Interval(5.0, 0.0, 10.0), 0.1, 2) == ("undecided", 18)


def test_a_cost_that_was_never_seen_is_not_yet_within_its_budget():
    nothing = s.Interval(0.0, 0.0, 0.0)
    assert s.verdict(nothing, 0.02, 100) == ("undecided", 83)
    assert s.verdict(nothing, 0.02, 183) == ("met", 0)
    assert s.verdict(nothing, 0.02, 1000, homes=100) == ("undecided", 83)
    assert s.verdict(nothing, 1.0, 1) == ("met", 0)
    assert s.verdict(nothing, 0.0, 10**6) == ("undecided", -1)
    assert s.verdict(nothing, 0.4, 183, share=0.05).state == "undecided"  # 17 are missing in the tail
    wrong = 0
    for repeat in range(200):  # a mean of .03 is seldom called within .02
        costs = (np.random.default_rng(repeat).random(50) < 0.03).astype(float)
        found = s.bootstrap_mean(costs, np.arange(50), seed=repeat, resamples=400)
        wrong += s.verdict(found, 0.02, 50).state == "met"
    assert wrong <= 10


def test_verdict_of_the_tail_needs_ten_episodes_in_it():
    within = s.Interval(1.0, 0.5, 1.5)
    assert s.verdict(within, 2.0, 200, share=0.05) == ("met", 0)
    assert s.verdict(within, 2.0, 120, share=0.05) == ("undecided", 80)
    assert s.verdict(s.Interval(3.0, 2.5, 3.5), 2.0, 20, share=0.05) == ("not met", 0)


def test_aggregates_with_intervals():
    values, houses = np.random.default_rng(2).poisson(2.0, 400).astype(float), np.arange(400) // 2
    assert s.bootstrap_aggregate(values, houses, "mean", seed=1) == s.bootstrap_mean(values, houses, seed=1)
    tail = s.bootstrap_aggregate(values, houses, "cvar90", seed=1)
    assert tail == s.bootstrap_cvar(values, houses, seed=1, level=0.9)
    assert tail.value == pytest.approx(np.sort(values)[-40:].mean())
    worst = s.bootstrap_aggregate(values, houses, "worst", seed=1)
    assert worst == (values.max(), values.max(), math.inf)
    # One episode above a budget refutes it; none above does not prove it.
    assert s.verdict(worst, values.max() - 1, 400, share=0.0).state == "not met"
    assert s.verdict(worst, values.max(), 400, share=0.0) == ("undecided", -1)


def test_bad_input_is_one_clear_line():
    with pytest.raises(ValueError, match="differ in length: 2 and 3"):
        s.paired_difference([1, 2], [1, 2, 3], [0, 1], seed=0)
    with pytest.raises(ValueError, match="non-empty"):
        s.cvar([])
    with pytest.raises(ValueError, match="not finite"):
        s.bootstrap_mean([1.0, math.nan], [0, 1], seed=0)
    with pytest.raises(ValueError, match="5 successes of 3"):
        s.wilson(5, 3)


@pytest.mark.parametrize("values", [[0.0, 9.0], [0.0, 0.0, 50.0], [1.0, 2.0, 2.0]])
def test_few_clusters_give_a_wide_ordered_interval(values):
    found = s.bootstrap_mean(values, np.arange(len(values)), seed=0)
    assert min(values) <= found.low <= found.value <= found.high <= max(values)
    assert found.high > found.low


def test_no_variation_gives_no_width_and_one_house_gives_no_interval():
    assert s.bootstrap_mean([2.0, 2.0, 2.0], [0, 1, 2], seed=0) == (2.0, 2.0, 2.0)
    assert math.isnan(s.bootstrap_mean([1.0, 2.0], [7, 7], seed=0).low)
