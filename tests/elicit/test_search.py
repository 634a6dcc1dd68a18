from types import SimpleNamespace

import numpy as np
import pytest
from planted import CONSTRAINTS, PlantedEnv, StillPolicy, WeighedPolicy, is_dangerous, place

from safevla.cli import main
from safevla.elicit.archive import RiskArchive
from safevla.elicit.scenario import ScenarioSpace
from safevla.elicit.search import RandomSearch, SobolSearch, elicit, home_sampler, make_search
from safevla.rollout import play
from safevla.tasks.descriptions import KINDS, parse
from safevla.tasks.env import HomeVecEnv
from safevla.tasks.instructions import instructions_for
from safevla.tasks.sets import BENCHMARK_CLASSES


def test_sobol_does_not_depend_on_how_it_is_asked():
    whole = SobolSearch(7, seed=3).ask(200)
    search = SobolSearch(7, seed=3)
    assert np.array_equal(whole, np.concatenate([search.ask(n) for n in (1, 63, 70, 66)]))
    assert not np.array_equal(whole, SobolSearch(7, seed=4).ask(200))
    assert whole.shape == (200, 7)
    assert (whole >= 0).all() and (whole < 1).all()


def test_sobol_fills_the_cube_more_evenly_than_random():
    def discrepancy(points):
        return max(abs(np.mean(points[:, i] < t) - t) for i in range(7) for t in np.linspace(0.05, 0.95, 19))

    assert discrepancy(SobolSearch(7, seed=0).ask(256)) < 0.02 < discrepancy(RandomSearch(7, seed=0).ask(256))


def test_unknown_search_names_the_known():
    with pytest.raises(ValueError, match="unknown search 'sobel'; choose among random, sobol"):
        make_search("sobel", 7, 0)


@pytest.mark.parametrize("search", ["sobol", "random"])
def test_the_archive_finds_the_planted_region(search):
    archive = elicit(StillPolicy(), PlantedEnv(), budget_episodes=256, seed=1, search=search, sampler=place)
    assert len(archive) >= 6
    assert {elite.cell.constraint for elite in archive} == {"corner"}
    assert all(is_dangerous(elite.scenario.knobs) for elite in archive)
    # the worst that can be is 3000 * 0.3 = 900 N; the search comes near it
    assert max(elite.raw_severity for elite in archive) > 750.0
    # a tenth of the domain is dangerous
    assert 0.06 < archive.violating / archive.episodes < 0.15
    assert archive.episodes + archive.refused == 256
    assert 10 < archive.refused < 45


def test_elicitation_is_reproducible_resumable_on_disk_and_tells_progress(tmp_path):
    seen = []
    one = elicit(
        StillPolicy(), PlantedEnv(), "ObjNav", 60, seed=2, out=tmp_path / "a.jsonl", sampler=place,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    elicit(StillPolicy(), PlantedEnv(3), "ObjNav", 60, seed=2, out=tmp_path / "b.jsonl", sampler=place)
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    elicit(
        WeighedPolicy(), PlantedEnv(), "ObjNav", 60, seed=2, out=tmp_path / "c.jsonl", sampler=place,
        make_env=PlantedEnv, processes=2,
    )  # fmt: skip
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "c.jsonl").read_bytes()
    assert seen[-1] == (60, 60) and len(seen) == 4
    assert list(RiskArchive.load(tmp_path / "a.jsonl")) == list(one)
    assert one.tasks == ("ObjNav",) and one.constraints == CONSTRAINTS


def test_a_stored_elite_replays_to_the_same_costs(tmp_path):
    elicit(StillPolicy(), PlantedEnv(), budget_episodes=128, out=tmp_path / "a.jsonl", sampler=place)
    for elite in RiskArchive.load(tmp_path / "a.jsonl"):
        (episode,) = play(PlantedEnv(1), StillPolicy(), [elite.scenario])
        totals = episode.costs.sum(axis=0)
        assert dict(zip(episode.constraints, totals.tolist(), strict=True)) == elite.costs
        assert max(event.severity for event in episode.events) == elite.raw_severity


class Careless:
    """Drives ahead blindly, turning now and then as its uniforms say."""

    def reset(self, mask):
        pass

    def act(self, observation, uniforms):
        action = np.select([uniforms < 0.75, uniforms < 0.88], [0, 2], 3)
        return SimpleNamespace(action=action, values=np.zeros((len(action), 6)))


def test_a_real_home_is_searched_and_its_elites_replay_exactly(tmp_path):
    env = HomeVecEnv("ObjNav", num_envs=3, resolution=32, horizon=25)
    elicit(Careless(), env, "ObjNav", 6, seed=4, out=tmp_path / "a.jsonl")
    archive = RiskArchive.load(tmp_path / "a.jsonl")
    assert len(archive) >= 1
    assert archive.constraints == env.constraints
    other = HomeVecEnv("ObjNav", num_envs=1, resolution=32, horizon=25)
    for elite in archive:
        (episode,) = play(other, Careless(), [elite.scenario], seed=4)
        totals = episode.costs.sum(axis=0).tolist()
        assert dict(zip(episode.constraints, totals, strict=True)) == elite.costs
        mine = [event.severity for event in episode.events if event.predicate == elite.cell.constraint]
        assert max(mine) == elite.raw_severity
    assert all(elite.scenario.expert_length > 0 for elite in archive)  # proven solvable


def test_targets_are_described_where_that_is_asked_for():
    env = HomeVecEnv("ObjNav", num_envs=1, resolution=32)
    request = ScenarioSpace(("ObjNav",)).request(np.full(7, 0.3))
    plain, described = (home_sampler(env, share)(request) for share in (0.0, 1.0))
    assert plain == home_sampler(env)(request) and not plain.which
    kind = parse(described.which)[0]
    assert kind in KINDS and described.instruction in instructions_for(
        "ObjNav", described.target, which=described.which
    )
    assert described.expert_length > 0


@pytest.mark.parametrize("verb", ["elicit", "align"])
def test_the_command_line_hands_on_what_is_searched(verb, tmp_path, monkeypatch):
    asked = []

    class Enough(Exception):
        pass

    def search(*arguments, **settings):
        asked.append({name: settings[name] for name in ("described", "size_classes", "greedy")})
        raise Enough

    monkeypatch.setattr("safevla.verbs.search", search)
    monkeypatch.setattr("safevla.align.elicit", search)
    prefix = "--" if verb == "elicit" else "--elicit."
    flags = {"described": "0.25", "size_class": "all", "greedy": "true"}
    with pytest.raises(Enough):
        main([verb, *(p for k, v in flags.items() for p in (prefix + k, v)), "--out", str(tmp_path / "run")])
    assert asked == [{"described": 0.25, "size_classes": BENCHMARK_CLASSES, "greedy": True}]
    assert main([verb, prefix + "size_class", "XL"]) == 2


@pytest.mark.parametrize(("source", "homes"), [("", "S"), ("safety-chores-train", BENCHMARK_CLASSES)])
def test_align_searches_the_homes_that_it_trains_in(source, homes, tmp_path, monkeypatch):
    asked = []

    def search(*arguments, **settings):
        asked.append(settings["size_classes"])
        raise ValueError("enough")

    monkeypatch.setattr("safevla.align.elicit", search)
    assert main(["align", "--scenarios", source, "--out", str(tmp_path / "run")]) != 0
    assert asked == [homes]


def test_a_domain_without_solvable_scenarios_is_an_error():
    def refuse(request):
        raise ValueError("the door is shut")

    with pytest.raises(ValueError, match="no scenario could be made of 20 requests: the door is shut"):
        elicit(StillPolicy(), PlantedEnv(), budget_episodes=20, sampler=refuse)
