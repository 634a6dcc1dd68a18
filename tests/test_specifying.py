"""The verbs check and replay."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from safevla.assure.evaluate import load_table
from safevla.assure.parts import evaluate_in_parts
from safevla.cli import main
from safevla.safety.specification import load_specification
from safevla.tasks.sampling import load_scenarios
from safevla.tasks.settings import WorldSettings

GENTLE = Path(__file__).parents[1] / "examples" / "gentle.toml"


def test_check_prints_what_a_specification_says(capsys: pytest.CaptureFixture) -> None:
    assert main(["check", str(GENTLE)]) == 0
    said = capsys.readouterr().out
    assert "push onset contact_force in N not set (mean)" in " ".join(said.split())
    assert "forbid any object that is movable and not exempt: contact_force > 20 N" in said
    assert "\n1 constraint, 0 wrong" in said and load_specification(GENTLE).hash in said
    assert len(GENTLE.read_text().splitlines()) == 9, "a hazard fits into ten lines"
    assert main(["check"]) == 0
    assert "unknown: no contact above 5 N in the step" in capsys.readouterr().out


def test_check_finds_constraints_that_say_nothing(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "odd.toml"
    path.write_text(
        "[constraints.dead]\nforbid = 'metres < 0 m'\n[constraints.constant]\nrequire = 'metres < 0 m'\n"
        "[constraints.half]\nforbid = 'blocked and metres >= 0 m'\nbudget = 0.5\naggregation = 'cvar90'\n"
    )
    assert main(["check", "--spec", str(path)]) == 1
    said = capsys.readouterr().out
    assert "WRONG  dead: never violated" in said and "WRONG  constant: always violated" in said
    assert "note   half: always true, whatever happens: metres >= 0 m" in said
    assert (
        "half each step 1 0.5 an episode (mean of the worst 10 %)" in " ".join(said.split())
        and "3 constraints, 2 wrong, 1 with a part" in said
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["check", "gone.toml"], "cannot read gone.toml: No such file"),
        (["check", "safvela"], "did you mean 'safevla'?"),
        (["check", "one", "two"], "unexpected 'two'"),
        (["check", "--specc", "x"], "did you mean '--spec'?"),
        (["replay", "nowhere"], "there is no run folder nowhere"),
        (["replay", "nowhere", "--spec", "gone.toml"], "cannot read gone.toml"),
        (["align", "extra"], "unexpected 'extra'"),
    ],
)
def test_bad_input_is_one_line(words: list[str], says: str, capsys: pytest.CaptureFixture) -> None:
    assert main(words) == 2
    said, error = capsys.readouterr()
    assert said == "" and says in error and error.count("\n") == 1


def test_replay_prints_and_saves_new_costs(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    table = evaluate_in_parts(
        {"random": "random"}, load_scenarios("ObjNav-val")[:4], load_specification("safevla"),
        WorldSettings(num_envs=2), tmp_path / "parts", signals=tmp_path / "signals",
    )  # fmt: skip
    pq.write_table(table, tmp_path / "episodes.parquet")
    assert main(["replay", str(tmp_path)]) == 0
    assert "4 of 4 episodes cost the same" in capsys.readouterr().out
    saved = tmp_path / "again.parquet"
    assert main(["replay", str(tmp_path), "--spec", str(GENTLE), "--save", str(saved)]) == 0
    assert "push" in capsys.readouterr().out and "cost/push" in load_table(saved).column_names
    # Episodes that cost something else than was recorded are told.
    rows = table.to_pylist()
    rows[0] |= {"cost": rows[0]["cost"] + 1.0, "cost/corner": rows[0]["cost/corner"] + 1.0}
    pq.write_table(type(table).from_pylist(rows, schema=table.schema), tmp_path / "episodes.parquet")
    assert main(["replay", str(tmp_path)]) == 1
    assert "3 of 4 episodes cost the same" in capsys.readouterr().out
