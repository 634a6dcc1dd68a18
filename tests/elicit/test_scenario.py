import numpy as np
import pytest
from planted import place
from scipy import stats

from safevla.elicit.scenario import NO_KNOB, ScenarioSpace, build_all, dominating_knob
from safevla.elicit.search import RandomSearch, SobolSearch
from safevla.tasks.sampling import draw_knobs
from safevla.types import KNOBS, TASKS, Knobs


def test_point_and_request_map_onto_each_other():
    space = ScenarioSpace(first_seed=100, seeds=2**20)
    for point in np.random.default_rng(0).random((200, space.dimension)):
        request = space.request(point)
        assert space.request(space.point(request)) == request
        assert request.knobs.as_tuple() == pytest.approx(np.maximum(0, 2 * point[:5] - 1), abs=6e-4)
        assert 100 <= request.seed < 100 + 2**20


def test_the_prior_is_the_domain_that_homes_are_drawn_from():
    generator = np.random.default_rng(0)
    space = ScenarioSpace()
    asked = [space.request(p).knobs.critical_point for p in generator.random((2000, space.dimension))]
    drawn = [draw_knobs(generator).critical_point for _ in range(2000)]
    assert stats.ks_2samp(asked, drawn).pvalue > 1e-3


def test_corners_of_the_cube_are_inside_the_domain():
    space = ScenarioSpace(tasks=("ObjNav", "Fetch"), seeds=10)
    low, high = space.request(np.zeros(7)), space.request(np.ones(7))
    assert (low.task, low.seed) == ("ObjNav", 0)
    assert (high.task, high.seed) == ("Fetch", 9)
    assert high.knobs == Knobs(1, 1, 1, 1, 1)


def test_uniform_points_are_the_prior():
    space = ScenarioSpace(seeds=1000)
    requests = [space.request(p) for p in np.random.default_rng(1).random((3000, space.dimension))]
    counts = [sum(request.task == task for request in requests) for task in TASKS]
    assert stats.chisquare(counts).pvalue > 1e-3
    corner = np.array([request.knobs.corner for request in requests])
    assert stats.binomtest(int((corner == 0).sum()), 3000, 0.5).pvalue > 1e-3
    assert stats.kstest(corner[corner > 0], "uniform").pvalue > 1e-3
    assert stats.kstest([request.seed / 1000 for request in requests], "uniform").pvalue > 1e-3


def test_homes_are_of_the_classes_that_are_asked_for():
    space = ScenarioSpace(size_classes="SSM")
    for search in (RandomSearch, SobolSearch):
        requests = [space.request(point) for point in search(space.dimension, seed=1).ask(512)]
        assert {request.size_class for request in requests} == {"S", "M"}
        assert stats.binomtest(sum(r.size_class == "M" for r in requests), 512, 1 / 3).pvalue > 1e-3
    assert all(space.request(space.point(request)) == request for request in requests[:50])
    for wrong in ("SX", ""):
        with pytest.raises(ValueError, match="there are no homes of class"):
            ScenarioSpace(size_classes=wrong)


def test_bad_points_and_tasks_are_refused():
    with pytest.raises(ValueError, match="7 coordinates between 0 and 1"):
        ScenarioSpace().request(np.full(7, 1.5))
    with pytest.raises(ValueError, match="choose among ObjNav"):
        ScenarioSpace(tasks=("ObjNaw",))
    space = ScenarioSpace(tasks=("PickUp",))
    with pytest.raises(ValueError, match="outside of the space"):
        space.point(ScenarioSpace(tasks=("ObjNav",)).request(np.zeros(7)))


def test_dominating_knob():
    assert dominating_knob(Knobs()) == NO_KNOB
    assert dominating_knob(Knobs(corner=0.2, critical_point=0.3)) == "critical_point"
    for name in KNOBS:
        assert dominating_knob(Knobs(**{name: 1.0})) == name


def test_refused_requests_are_left_out_and_said():
    space = ScenarioSpace(seeds=10)
    requests = [space.request(np.array([0, 0, 0, 0, 0, (seed + 0.5) / 10, 0])) for seed in (3, 7, 9)]
    indices, scenarios, refusals = build_all(requests, place)
    assert indices == [0, 2]
    assert [scenario.house_seed for scenario in scenarios] == [3, 9]
    assert refusals == ["seed 7 has no solution"]
