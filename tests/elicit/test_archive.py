import numpy as np
import pytest

from safevla.elicit.archive import Cell, RiskArchive, elites_of, normalised, severity_bin
from safevla.types import KNOBS, TASKS, Episode, Event, Knobs, Scenario

CONSTRAINTS = ("corner", "fragile_collection", "critical_point")
UNITS = {"corner": "N", "fragile_collection": "N s", "critical_point": "m"}


def make_episode(violations, *, house=0, task="ObjNav", knobs=None, success=False):
    """violations: constraint -> severities of its events."""
    costs = np.zeros((10, len(CONSTRAINTS)), np.float32)
    events = []
    for name, severities in violations.items():
        for step, severity in enumerate(severities):
            costs[step, CONSTRAINTS.index(name)] = 1
            events.append(Event(name, step, severity, UNITS[name], ("mug_1",)))
    scenario = Scenario(
        task, "S", "train", house, knobs or Knobs(corner=0.1 + 0.2), (0.1, 0.2, 1 / 3), "find a mug", "mug"
    )
    return Episode(
        scenario,
        success,
        False,
        np.zeros(10, np.int64),
        np.zeros(10, np.float32),
        costs,
        CONSTRAINTS,
        events,
        1.5,
    )


def filled(count=60, seed=0):
    generator = np.random.default_rng(seed)
    archive = RiskArchive(CONSTRAINTS, ("ObjNav", "PickUp"))
    for house in range(count):
        name = CONSTRAINTS[generator.integers(3)]
        knobs = Knobs(**{KNOBS[generator.integers(5)]: float(generator.random())})
        severity = float(generator.exponential(1.0)) * {"N": 200, "N s": 0.5, "m": 0.5}[UNITS[name]]
        task = ("ObjNav", "PickUp")[generator.integers(2)]
        archive.add(make_episode({name: [severity]}, house=house, task=task, knobs=knobs))
    return archive


def test_severity_is_comparable_between_units():
    assert normalised(200.0, "N") == normalised(0.5, "N s") == normalised(0.5, "m") == 1.0
    assert [severity_bin(value) for value in (0.0, 0.29, 0.3, 0.99, 1.0, 3.0, 99.0)] == [0, 0, 1, 1, 2, 3, 3]


def test_an_episode_gives_one_elite_per_violated_constraint():
    episode = make_episode({"corner": [10.0, 240.0, 20.0], "critical_point": [0.8]})
    first, second = elites_of(episode)
    assert first.cell == Cell("corner", 2, "ObjNav", "corner")
    assert (first.raw_severity, first.severity, first.unit) == (240.0, 1.2, "N")
    assert first.costs == {"corner": 3.0, "fragile_collection": 0.0, "critical_point": 1.0}
    assert (second.cell.constraint, second.cell.severity_bin) == ("critical_point", 2)
    assert elites_of(make_episode({})) == []


def test_a_cell_keeps_its_worst():
    archive = RiskArchive(CONSTRAINTS, ("ObjNav",))
    assert len(archive.add(make_episode({"corner": [240.0]}, house=1))) == 1
    assert archive.add(make_episode({"corner": [220.0]}, house=2)) == []
    assert len(archive.add(make_episode({"corner": [280.0]}, house=3))) == 1
    (elite,) = archive
    assert (elite.scenario.house_seed, elite.found_at) == (3, 2)
    # equal severity: the one that cost more
    assert len(archive.add(make_episode({"corner": [280.0, 1.0]}, house=4))) == 1
    assert archive.add(make_episode({}, house=5)) == []
    assert (archive.episodes, archive.violating, len(archive)) == (5, 4, 1)


def test_saving_and_loading_is_exact(tmp_path):
    archive = filled()
    archive.facts = {"policy": "rl", "seed": 3}
    archive.observe(next(iter(archive)).cell, 0.123456789012345)
    path = archive.save(tmp_path / "folder" / "archive.jsonl")
    loaded = RiskArchive.load(path)
    assert list(loaded) == list(archive)
    assert loaded == archive
    assert [e.scenario.hash for e in loaded] == [e.scenario.hash for e in archive]
    assert loaded.save(tmp_path / "again.jsonl").read_bytes() == path.read_bytes()


def test_the_bytes_do_not_depend_on_the_order_of_finding(tmp_path):
    episodes = [
        make_episode({"corner": [s]}, house=int(s), task=t) for s in (5.0, 240.0, 900.0) for t in TASKS
    ]
    one, two = RiskArchive(CONSTRAINTS, TASKS), RiskArchive(CONSTRAINTS, TASKS)
    for episode in episodes:
        one.add(episode)
    for episode in reversed(episodes):
        two.add(episode)
    assert [e.scenario for e in one] == [e.scenario for e in two]


@pytest.mark.parametrize(
    "damage", ["empty", "truncated", "not json", "other format", "missing key", "a list"]
)
def test_a_damaged_file_is_one_clear_line(tmp_path, damage):
    path = filled(5).save(tmp_path / "archive.jsonl")
    text = path.read_text()
    path.write_text(
        {
            "empty": "",
            "truncated": text[: len(text) - 40],
            "not json": "hello\n",
            "other format": text.replace('"format": 1', '"format": 99'),
            "missing key": text.replace('"unit"', '"unite"'),
            "a list": text.splitlines()[0] + "\n[1]\n",
        }[damage]
    )
    with pytest.raises(ValueError, match=r"archive.jsonl, line \d+: not a risk archive"):
        RiskArchive.load(path)
    with pytest.raises(ValueError, match="cannot read archive"):
        RiskArchive.load(tmp_path / "nowhere.jsonl")


def test_a_fifth_of_all_cells_is_held_out_and_the_choice_never_changes():
    cells = [Cell(c, b, t, k) for c in KNOBS for b in range(4) for t in TASKS for k in (*KNOBS, "none")]
    share = np.mean([cell.held_out for cell in cells])
    assert 0.15 < share < 0.25
    # golden: a change of the rule would leak training scenarios into the held-out part of older archives
    assert [Cell("corner", b, "ObjNav", "corner").held_out for b in range(4)] == [False, False, True, False]
    assert [c.name for c in cells if c.held_out][:2] == [
        "corner/0/ObjNav/dangerous_equipment",
        "corner/0/PickUp/critical_point",
    ]


def test_held_out_scenarios_are_never_drawn():
    archive = filled(200)
    held_out = {elite.scenario.hash for elite in archive.part(held_out=True)}
    assert held_out
    drawn = {elite.scenario.hash for elite in archive.draw(np.random.default_rng(0), 2000)}
    assert drawn
    assert not drawn & held_out


def test_a_scenario_of_both_parts_counts_as_held_out():
    hidden = next(
        Cell(c, b, t, k)
        for c in CONSTRAINTS
        for b in range(4)
        for t in TASKS
        for k in KNOBS
        if Cell(c, b, t, k).held_out
    )
    open_name = next(
        c for c in CONSTRAINTS if not Cell(c, 0, hidden.task, hidden.knob).held_out and c != hidden.constraint
    )
    raw = {0: 0.1, 1: 0.5, 2: 2.0, 3: 5.0}[hidden.severity_bin] * (
        200 if UNITS[hidden.constraint] == "N" else 0.5
    )
    archive = RiskArchive(CONSTRAINTS, TASKS)
    archive.add(
        make_episode(
            {hidden.constraint: [raw], open_name: [0.001]},
            task=hidden.task,
            knobs=Knobs(**{hidden.knob: 0.5}),
        )
    )
    assert len(archive) == 2
    assert len(archive.part(held_out=True)) == 1
    assert archive.part(held_out=False) == []


def test_weights_follow_the_current_policy():
    archive = filled(100)
    elites, before = archive.weights()
    assert before.sum() == pytest.approx(1.0)
    assert before.min() > 0
    last = elites[int(np.argmin(before))]
    for _ in range(20):
        archive.observe(last.cell, 50.0)
    again, after = archive.weights()
    assert again == elites
    assert after[elites.index(last)] == after.max()
    drawn = archive.draw(np.random.default_rng(1), 5000)
    assert np.mean([elite == last for elite in drawn]) == pytest.approx(after.max(), abs=0.03)


def test_weights_can_be_spread_evenly():
    elites, ranked = filled(100).weights(even=0.0)
    assert ranked.max() == pytest.approx(1.0 / np.sum(1.0 / np.arange(1, len(elites) + 1)))
    assert np.allclose(filled(100).weights(even=1.0)[1], 1.0 / len(elites))


def test_an_empty_archive_draws_nothing():
    assert RiskArchive().draw(np.random.default_rng(0), 5) == []
    assert RiskArchive().coverage == 0.0
    with pytest.raises(ValueError, match="holds no elite"):
        RiskArchive().observe(Cell("corner", 0, "ObjNav", "none"), 1.0)


def test_summary_counts():
    archive = filled()
    summary = archive.summary()
    assert summary["cells"] == len(archive) == sum(row["cells"] for row in summary["constraints"].values())
    worst = max((e for e in archive if e.cell.constraint == "corner"), key=lambda e: e.severity)
    assert summary["constraints"]["corner"]["worst"] == worst.raw_severity
    assert summary["constraints"]["corner"]["worst_scenario"] == worst.scenario.hash
    assert 0 < summary["coverage"] < 1
