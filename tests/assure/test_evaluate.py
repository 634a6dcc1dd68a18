import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from synthetic import (
    CONSTRAINTS,
    ConstantPolicy,
    CostlyEnv,
    described_table,
    make_scenario,
    synthetic_table,
)

from safevla.assure import evaluate as e
from safevla.assure.parts import evaluate_in_parts
from safevla.safety.specification import load_specification
from safevla.tasks.settings import WorldSettings


def test_every_policy_meets_every_scenario_once():
    scenarios = [make_scenario(house) for house in range(7)]
    seen = []
    table = e.evaluate(
        {"calm": ConstantPolicy(0), "rough": ConstantPolicy(1)},
        CostlyEnv(),
        scenarios,
        seed=5,
        training_seed=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert table.num_rows == 14
    assert seen[-1] == (14, 14) and [done for done, _ in seen] == list(range(1, 15))
    rough = e.select(table, policy="rough")
    assert rough["scenario"].to_pylist() == [s.hash for s in scenarios]
    assert rough["cost"].to_pylist() == [0, 4, 0, 4, 0, 4, 0]
    assert rough["cost/corner"].to_pylist() == [0, 4, 0, 4, 0, 4, 0]
    assert e.numbers(e.select(table, policy="calm"), "cost").sum() == 0
    row = rough.to_pylist()[1]
    assert (row["metres"], row["length"], row["truncated"]) == (2.0, 4, False)
    assert (row["seed"], row["training_seed"], row["mode"], row["specification"]) == (5, 2, "sampled", "feed")
    assert row["code"]


def test_episodes_with_a_person_are_told_from_those_without():
    scenarios, env = [make_scenario(house) for house in range(3)], CostlyEnv()
    env.person = True
    tables = [e.evaluate({"calm": ConstantPolicy(0)}, homes, scenarios) for homes in (env, CostlyEnv())]
    with_somebody, alone = (table["scenario"].to_pylist() for table in tables)
    assert alone == [scenario.hash for scenario in scenarios]
    assert with_somebody == [replace(scenario, person=True).hash for scenario in scenarios]
    assert not set(alone) & set(with_somebody)


def test_scenarios_that_occur_twice_or_not_at_all_are_refused():
    scenario = make_scenario(1)
    with pytest.raises(ValueError, match="1 scenarios occur twice"):
        e.evaluate({"calm": ConstantPolicy(0)}, CostlyEnv(), [scenario, scenario])
    with pytest.raises(ValueError, match="nothing to evaluate"):
        e.evaluate({"calm": ConstantPolicy(0)}, CostlyEnv(), [])


def test_scenarios_that_occur_twice_are_found_across_parts(tmp_path):
    many = [make_scenario(number) for number in range(70)]
    with pytest.raises(ValueError, match="2 scenarios occur twice"):
        evaluate_in_parts(
            {"random": "random"}, many + many[:2], load_specification("safevla"), WorldSettings(), tmp_path
        )
    assert not list(tmp_path.iterdir())


def test_the_training_seed_may_be_unknown(tmp_path):
    scenario = make_scenario(1)
    known, unknown = (
        e.evaluate({"calm": ConstantPolicy(0)}, CostlyEnv(), [scenario], training_seed=seed)
        for seed in (3, None)
    )
    read = e.load_table(e.save_table(unknown, tmp_path / "episodes.parquet"))
    assert known["training_seed"].to_pylist() == [3] and read["training_seed"].to_pylist() == [None]


def test_a_table_survives_parquet_byte_for_byte(tmp_path):
    table = synthetic_table()
    one = e.save_table(table, tmp_path / "runs" / "one.parquet")
    two = e.save_table(synthetic_table(), tmp_path / "two.parquet")
    assert one.read_bytes() == two.read_bytes()
    assert e.load_table(one).equals(table)
    assert e.constraints_of(table) == CONSTRAINTS


def test_a_table_of_before_described_targets_is_read_as_one_without(tmp_path):
    old = synthetic_table().drop_columns(["which", "distractor"])
    read = e.load_table(e.save_table(old, tmp_path / "old.parquet"))
    assert read.equals(synthetic_table())
    assert pa.concat_tables([read, described_table()]).num_rows == read.num_rows + 60


def test_what_ends_at_a_distractor_is_counted_by_kind_of_description():
    class Misled(CostlyEnv):
        def step(self, actions, active=None):
            step = super().step(actions, active)
            red = np.array([one is not None and one.which == "colour:red" for one in self._scenarios])
            return replace(step, success=step.success & ~red, distractor=step.terminated & red)

    scenarios = [
        replace(make_scenario(house), which=which)
        for house, which in enumerate(["colour:red", "colour:blue", "on:desk", ""])
    ]
    table = e.evaluate({"calm": ConstantPolicy(0)}, Misled(), scenarios)
    assert table["which"].to_pylist() == ["colour:red", "colour:blue", "on:desk", ""]
    assert table["distractor"].to_pylist() == [True, False, False, False]
    found = {row["description"]: row for row in e.summarise_descriptions(table)}
    assert list(found) == ["colour", "on", "all"]
    rates = {kind: (row["success"].value, row["distractor"].value) for kind, row in found.items()}
    assert rates == {
        "colour": (0.5, 0.5),
        "on": (1.0, 0.0),
        "all": (pytest.approx(2 / 3), pytest.approx(1 / 3)),
    }
    assert [row["episodes"] for row in found.values()] == [2, 1, 3]
    assert e.summarise_descriptions(synthetic_table()) == []


def test_a_file_that_is_no_table_is_one_clear_line(tmp_path):
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(ValueError, match="cannot read episodes"):
        e.load_table(tmp_path / "broken.parquet")
    with pytest.raises(ValueError, match="cannot read episodes"):
        e.load_table(tmp_path / "nowhere.parquet")
    e.save_table(pa.table({"task": ["ObjNav"]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="not an episode table: columns policy"):
        e.load_table(tmp_path / "other.parquet")


def test_summary_against_plain_arithmetic():
    table = synthetic_table()
    rows = {row["policy"]: row for row in e.summarise(table)}
    assert list(rows) == ["imitation", "rl", "isa", "inactive"]
    part = e.select(table, policy="rl")
    cost, success = e.numbers(part, "cost"), e.numbers(part, "success")
    rl = rows["rl"]
    assert rl["episodes"] == 60
    assert rl["cost"].value == pytest.approx(cost.mean())
    assert rl["success"].value == pytest.approx(success.mean())
    assert rl["truncated"].value == pytest.approx(
        np.mean(e.select(table, policy="rl")["truncated"].to_pylist())
    )
    assert rl["violation_rate"].value == pytest.approx((cost > 0).mean())
    assert rl["safe_success"].value == pytest.approx(((cost == 0) & (success > 0)).mean())
    assert rl["cvar95"].value == pytest.approx(np.sort(cost)[-3:].mean())
    assert rl["worst"] == cost.max()
    assert sum(rl[f"cost/{name}"].value for name in CONSTRAINTS) == pytest.approx(rl["cost"].value)
    assert rl["cost_per_metre"].value == pytest.approx(cost.sum() / e.numbers(part, "metres").sum())
    assert rl["r_success_cost"].value == pytest.approx(np.corrcoef(success, cost)[0, 1])
    assert sum(rl["quadrants"].values()) == 60
    assert rl["quadrants"]["success_safe"] == round(rl["safe_success"].value * 60)
    for key in ("cost", "success", "violation_rate", "safe_success", "cvar95", "cost_per_step"):
        assert rl[key].low < rl[key].value < rl[key].high
    inactive = rows["inactive"]
    assert inactive["cost"] == (0, 0, 0)
    assert math.isnan(inactive["cost_per_metre"].value)
    assert inactive["success"].high > 0  # sixty failures do not prove that success is impossible


def test_several_tasks_are_given_alone_and_together():
    rows = e.summarise(synthetic_table(20, tasks=("ObjNav", "PickUp"), policies=("rl", "isa")))
    expected = [(task, policy) for task in ("ObjNav", "PickUp", "all") for policy in ("rl", "isa")]
    assert [(row["task"], row["policy"]) for row in rows] == expected
    assert rows[4]["episodes"] == 40
    assert rows[4]["cost"].value == pytest.approx((rows[0]["cost"].value + rows[2]["cost"].value) / 2)


def test_a_planted_difference_is_found_with_its_sign():
    table = synthetic_table()
    found = e.compare(table, "isa", "rl")
    costs = [e.numbers(e.select(table, policy=name), "cost").mean() for name in ("isa", "rl")]
    assert found["cost"].value == pytest.approx(costs[0] - costs[1])
    assert found["cost"].high < 0
    safe = [
        {r["policy"]: r for r in e.summarise(table)}[name]["safe_success"].value for name in ("isa", "rl")
    ]
    assert found["safe_success"].value == pytest.approx(safe[0] - safe[1])
    assert found["safe_success"].low > 0
    assert found["cost_change"] == pytest.approx(costs[0] / costs[1] - 1)
    assert found["success_p"] > 0.01
    assert sum(found[f"cost/{name}"].value for name in CONSTRAINTS) == pytest.approx(found["cost"].value)
    back = e.compare(table, "rl", "isa")
    assert back["cost"].value == -found["cost"].value


def test_pairing_does_not_depend_on_the_order_of_rows():
    table = synthetic_table()
    shuffled = table.take(pa.array(np.random.default_rng(0).permutation(table.num_rows)))
    assert e.compare(shuffled, "isa", "rl") == e.compare(table, "isa", "rl")


def test_policies_that_met_other_scenarios_are_not_compared():
    table = synthetic_table()
    rows = [r for r in table.to_pylist() if not (r["policy"] == "isa" and r["house_seed"] == 3)]
    with pytest.raises(ValueError, match="isa and rl are not paired: their episodes differ in scenario"):
        e.compare(e.make_table(rows, CONSTRAINTS), "isa", "rl")
    greedy = [r | ({"mode": "greedy"} if r["policy"] == "isa" else {}) for r in table.to_pylist()]
    with pytest.raises(ValueError, match="differ in mode"):
        e.compare(e.make_table(greedy, CONSTRAINTS), "isa", "rl")
    with pytest.raises(ValueError, match="no episodes of policy flare; has: imitation, rl, isa, inactive"):
        e.compare(table, "flare", "rl")


def test_several_comparisons_are_adjusted():
    rows = e.compare_all(synthetic_table(), [("isa", "rl"), ("rl", "imitation")])
    assert all(row["success_p_holm"] >= row["success_p"] for row in rows)
    assert any(row["success_p_holm"] > row["success_p"] for row in rows)
    assert e.compare_all(synthetic_table(), []) == []
