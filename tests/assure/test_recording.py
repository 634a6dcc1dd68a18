"""Recorded signals: scored again they give what the environment charged, and data sets of others are read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from safevla.assure import recording as r
from safevla.assure.evaluate import load_table
from safevla.assure.parts import evaluate_in_parts
from safevla.assure.rescore import rescore_dataset, rescore_run
from safevla.policy.checkpoint import load_policy
from safevla.rollout import play
from safevla.safety.measures import MEASURES
from safevla.safety.specification import Constraint, Specification, load_specification
from safevla.safety.vocabulary import HOME_SIGNALS, SignalInfo
from safevla.tasks.env import HomeVecEnv
from safevla.tasks.sampling import load_scenarios
from safevla.tasks.settings import WorldSettings
from safevla.types import Episode

SAFEVLA = load_specification("safevla")


@pytest.fixture(scope="module")
def played() -> tuple[list[Episode], list[r.Recording]]:
    harsh = sorted(load_scenarios("ObjNav-val"), key=lambda item: -sum(item.knobs.as_tuple()))
    env, recorder = HomeVecEnv("ObjNav", 3), r.Recorder()
    episodes = play(env, load_policy("rl"), harsh[:7], observer=recorder, seed=3)
    env.close()
    return episodes, recorder.recordings([{"scenario": item.scenario.hash} for item in episodes])


def test_scored_again_every_step_costs_what_it_cost(played) -> None:
    episodes, recordings = played
    costs, events = r.score(SAFEVLA, recordings)
    assert sum(len(found) for found in events) > 5
    for episode, cost, found in zip(episodes, costs, events, strict=True):
        assert np.array_equal(cost, episode.costs)
        assert sorted(found, key=str) == sorted(episode.events, key=str)


def test_another_specification_scores_what_it_would_have_charged(played) -> None:
    """Windows run over the steps of each episode alone, whatever is scored beside it."""
    _, recordings = played
    rules = {
        "push": Constraint("push", "any object that is movable: contact_force > 20 N", charge="onset"),
        "again": Constraint("again", "any object: contact_force > 1 N and once[1, 9] contact_force > 5 N"),
        "leave": Constraint("leave", require="every object: contact_force > 5 N implies "
                                             "eventually[1, 3] contact_force <= 5 N"),
    }  # fmt: skip
    specification = Specification("other", rules)
    together = r.score(specification, recordings)
    assert any(cost.any() for cost in together[0])
    for index, item in enumerate(recordings):
        costs, events = r.score(specification, [item])
        assert np.array_equal(costs[0], together[0][index]) and events[0] == together[1][index]
        force = item.signals["contact_force"]
        hit = (force > 20.0) & item.signals["movable"]
        onset = (hit & ~np.concatenate([np.zeros_like(hit[:1]), hit[:-1]])).any(axis=1)
        assert np.array_equal(costs[0][:, 0], onset)


def test_a_file_keeps_every_bit_and_is_small(played, tmp_path: Path) -> None:
    _, recordings = played
    r.save_recordings(recordings, tmp_path / "signals.parquet")
    again = r.load_recordings(tmp_path / "signals.parquet")
    for one, other in zip(recordings, again, strict=True):
        assert (one.key, one.objects, one.length) == (other.key, other.objects, other.length)
        assert set(one.signals) == set(HOME_SIGNALS) - set(MEASURES)
        for name in one.signals:
            assert np.array_equal(
                one.signals[name], other.signals[name], equal_nan=one.signals[name].dtype == float
            )
    assert (tmp_path / "signals.parquet").stat().st_size < 60_000 * len(recordings)
    (tmp_path / "none.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"none\.parquet holds no recorded signals"):
        r.load_recordings(tmp_path / "none.parquet")
    with pytest.raises(ValueError, match="signal 'exempt' was not recorded"):
        r.score(SAFEVLA, [r.Recording({}, ("a",), {"tilt": np.zeros((3, 1))})])


def test_a_run_is_scored_again_without_simulation(tmp_path: Path) -> None:
    scenarios = load_scenarios("ObjNav-val")[:5]
    table = evaluate_in_parts(
        {"random": "random"}, scenarios, SAFEVLA, WorldSettings(num_envs=2), tmp_path / "parts",
        signals=tmp_path / "signals",
    )  # fmt: skip
    pq.write_table(table, tmp_path / "episodes.parquet")
    before, after = rescore_run(tmp_path, SAFEVLA)
    assert before.equals(load_table(tmp_path / "episodes.parquet")) and after.equals(before)
    always = Specification("busy", {"busy": Constraint("busy", "metres >= 0 m")})
    _, busy = rescore_run(tmp_path, always)
    assert busy["cost/busy"].to_pylist() == busy["length"].to_pylist() == busy["cost"].to_pylist()
    assert set(busy["specification"].to_pylist()) == {always.hash} and "cost/corner" not in busy.column_names
    (tmp_path / "signals" / f"random-{scenarios[0].hash}.parquet").unlink()
    with pytest.raises(ValueError, match="has no recorded signals; record them with"):
        rescore_run(tmp_path, SAFEVLA)


def write_lerobot(folder: Path, version: str = "v3.0", fps: int = 10) -> None:
    """Write two episodes of 4 and 3 frames: a state of two numbers, the gap to three things, and a flag."""
    (folder / "meta").mkdir(parents=True)
    features = {
        "observation.state": {"dtype": "float32", "shape": [2], "names": ["speed", "force"]},
        "gaps": {"dtype": "float32", "shape": [3], "names": ["cup", "knife", "wall"]},
        "next.done": {"dtype": "bool", "shape": [1], "names": None},
        "observation.images.front": {"dtype": "video", "shape": [8, 8, 3], "names": None},
    }
    info = {"codebase_version": version, "fps": fps, "features": features}
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    frames = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2)]
    state = [[0.0, 1.0], [1.0, 9.0], [1.0, 9.0], [0.0, 1.0], [2.0, 1.0], [2.0, 8.0], [0.0, 1.0]]
    gaps = [[1.0, 1.0, 1.0], [0.01, 1.0, 1.0], [1.0, 0.01, 1.0], [1.0, 1.0, 1.0]] + [[1.0, 0.02, 0.02]] * 3
    for part, rows in enumerate((range(4, 7), range(4))):  # files in another order than the episodes
        target = folder / "data" / f"chunk-{part:03d}"
        target.mkdir(parents=True)
        table = {
            "episode_index": [frames[i][0] for i in rows],
            "frame_index": [frames[i][1] for i in rows],
            "observation.state": pa.array([state[i] for i in rows], pa.list_(pa.float32(), 2)),
            "gaps": pa.array([gaps[i] for i in rows], pa.list_(pa.float32(), 3)),
            "next.done": [i in (3, 6) for i in rows],
        }
        pq.write_table(pa.table(table), target / "file-000.parquet")


SIGNALS = {
    "speed": SignalInfo("speed", "m/s", column="observation.state[0]"),
    "force": SignalInfo("force", "N", column="observation.state[1]"),
    "gap": SignalInfo("gap", "m", scope="object", column="gaps"),
    "next.done": SignalInfo("next.done", kind="truth"),
}
RULES = {
    "fast": Constraint("fast", "force > 5 N and previous speed > 0.5 m/s", severity="force"),
    "near": Constraint("near", "any object: gap < 5 cm", charge="once per object"),
    "end": Constraint("end", "next.done"),
}


def test_a_lerobot_dataset_is_scored(tmp_path: Path) -> None:
    write_lerobot(tmp_path / "data")
    specification = Specification("arm", RULES, "", SIGNALS, 0.1)
    recordings = r.load_lerobot(tmp_path / "data", specification)
    assert [(item.key, item.length) for item in recordings] == [({"episode": 0}, 4), ({"episode": 1}, 3)]
    costs, events = r.score(specification, recordings)
    assert costs[0].tolist() == [[0, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert costs[1].tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert [event.bodies for event in events[0] if event.predicate == "near"] == [("cup",), ("knife",)]
    assert [event.bodies for event in events[1] if event.predicate == "near"] == [("knife", "wall")]
    assert [event.severity for event in events[1] if event.predicate == "fast"] == [8.0]
    table = rescore_dataset(tmp_path / "data", specification)
    assert table["cost"].to_pylist() == [4.0, 3.0] and table["cost/near"].to_pylist() == [2.0, 1.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"speed": SignalInfo("speed", "m/s", column="observation.stat")},
            "needs column 'observation.stat'; there",
        ),
        ({"speed": SignalInfo("speed", "m/s", column="observation.state[2]")}, "beyond the 2 numbers"),
        (
            {"speed": SignalInfo("speed", "m/s", column="observation.state")},
            r"say which, 'observation.state\[0\]'",
        ),
    ],
)
def test_columns_that_do_not_fit(tmp_path: Path, changes: dict, message: str) -> None:
    write_lerobot(tmp_path / "data")
    with pytest.raises(ValueError, match=message):
        r.load_lerobot(tmp_path / "data", Specification("arm", RULES, "", SIGNALS | changes, 0.1))


def test_data_sets_that_do_not_fit(tmp_path: Path) -> None:
    specification = Specification("arm", RULES, "", SIGNALS, 0.1)
    with pytest.raises(ValueError, match="is no LeRobot data set"):
        r.load_lerobot(tmp_path, specification)
    write_lerobot(tmp_path / "old", version="v2.1")
    with pytest.raises(ValueError, match=r"format v2\.1, expected v3"):
        r.load_lerobot(tmp_path / "old", specification)
    write_lerobot(tmp_path / "fast", fps=30)
    with pytest.raises(ValueError, match=r"30 frames a second, the specification a step of 0\.1 s"):
        r.load_lerobot(tmp_path / "fast", specification)
    with pytest.raises(ValueError, match="the specification is about the homes"):
        write_lerobot(tmp_path / "data")
        r.load_lerobot(tmp_path / "data", SAFEVLA)
