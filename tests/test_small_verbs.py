"""The verbs that need no settings: demo, doctor and list; and what imitation may start from."""

import json

import pytest
import torch

from safevla import doctor
from safevla.assure.evaluate import load_table, policies_of
from safevla.cli import main
from safevla.config import ConfigError
from safevla.policy.checkpoint import load_policy, save_policy, shipped_names
from safevla.policy.presets import make_policy
from safevla.pretrain.perception import save_encoder
from safevla.tasks.sampling import load_scenarios, scenario_sets
from safevla.types import TASKS
from safevla.verbs import doubts, set_trunks


@pytest.mark.slow
@pytest.mark.skipif(
    not {"rl", "isa"} <= set(shipped_names()),
    reason="src/safevla/data/checkpoints/rl and isa are not shipped yet",
)
def test_demo_needs_nothing_but_a_folder(tmp_path, capsys):
    out, threads = tmp_path / "demo", torch.get_num_threads()
    words = ["demo", "--episodes=2", f"--out={out}", "--processes=1", "--world.horizon=40"]
    try:
        assert main(words) == 0
        assert main(words) == 2  # the folder is in use
        assert main([*words, "--resume"]) == 0
    finally:
        torch.set_num_threads(threads)
    assert f"report: {out / 'report.html'}" in capsys.readouterr().out
    table = load_table(out / "episodes.parquet")
    assert policies_of(table) == ["imitation", "rl", "isa", "inactive"] and table.num_rows == 8
    assert list(json.loads((out / "run.json").read_text())["stages"]) == ["assure"]


def test_an_evaluation_goes_on_with_more_episodes(tmp_path, capsys):
    def assure(out, episodes, *more):
        words = [
            "--policy=random,inactive",
            "--scenarios=safety-chores-val",
            "--task=ObjNav,PickUp",
            "--videos=0",
        ]
        return main(
            [
                "assure",
                *words,
                "--world.horizon=8",
                "--processes=1",
                f"--episodes={episodes}",
                f"--out={out}",
                *more,
            ]
        )

    grown, straight = tmp_path / "grown", tmp_path / "straight"
    assert assure(grown, 1) == 0
    kept = {path: path.stat().st_mtime_ns for path in (grown / "parts").iterdir()}
    assert assure(grown, 2) == 2 and "--resume" in capsys.readouterr().err
    assert assure(grown, 2, "--resume") == 0 and assure(straight, 2) == 0
    assert load_table(grown / "episodes.parquet").equals(load_table(straight / "episodes.parquet"))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # what was played was not played again
    assert assure(grown, 1, "--resume") == 2  # fewer than there are
    facts = [json.loads((out / "run.json").read_text())["stages"] for out in (grown, straight)]
    assert facts[0] == facts[1]


def test_doctor_finds_this_installation_sound(capsys):
    status = main(["doctor"])
    text = capsys.readouterr().out
    assert status == 0, text
    states = {line.split()[1]: line.split()[0] for line in text.splitlines()}
    assert len(states) == len(doctor.CHECKS) and set(states.values()) <= {"ok", "note"}
    assert states["home"] == states["pictures"] == states["policies"] == "ok"


def test_doctor_reports_what_fails_and_goes_on(capsys, monkeypatch):
    def broken():
        raise OSError("no\nspace")

    good = doctor.Finding("good", "ok", "fine")
    monkeypatch.setattr(doctor, "CHECKS", (doctor._guarded("disk", broken), lambda: good))
    assert main(["doctor"]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.split() == ["fail", "disk", "OSError:", "no", "space"] and second.startswith("ok")


def test_list_names_everything_that_a_flag_accepts(capsys):
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    known = (*TASKS, *shipped_names(), *scenario_sets(), "inactive", "random", "tiny", "safevla", "paper")
    for name in known:
        assert name in text.split(), name


def test_what_makes_an_evaluation_say_less_is_told(tmp_path):
    save_policy(make_policy("tiny-64"), tmp_path, {"task": "ObjNav,Fetch"})
    sources = {"mine": str(tmp_path), "told": "imitation+wrong", "control": "random", "file": "mine.py:Mine"}
    scenarios = {split: load_scenarios(f"PickUp-{split}")[:1] for split in ("train", "val")}
    assert doubts(sources, scenarios["val"]) == [
        "policy 'mine' learned ObjNav, Fetch and is judged in PickUp",
        "policy 'told' learned ObjNav and is judged in PickUp",
    ]
    assert "training split" in doubts({"chores": "chores"}, scenarios["train"])[0]
    assert doubts({"chores": "chores"}, scenarios["val"]) == []


def test_imitation_of_no_rounds_gives_a_policy_another_encoder(tmp_path):
    actor = save_policy(make_policy("tiny-64", seed=5), tmp_path / "actor", half=False)
    encoder = make_policy("tiny-64", seed=6).encoder
    save_encoder(encoder, tmp_path / "encoder.pt")
    flags = ["--preset", "tiny-64", "--start", str(actor), "--encoder", str(tmp_path / "encoder.pt")]
    flags += ["--imitation.rounds", "0", "--world.resolution", "64", "--out", str(tmp_path / "out")]
    assert main(["imitate", *flags]) == 0
    made, before = load_policy(tmp_path / "out" / "checkpoint").state_dict(), load_policy(actor).state_dict()
    for name, value in encoder.state_dict().items():
        torch.testing.assert_close(made[f"encoder.{name}"], value, atol=1e-3, rtol=1e-3)
    for name, value in before.items():
        if not name.startswith("encoder."):
            torch.testing.assert_close(made[name], value, atol=1e-3, rtol=1e-3)


def test_imitation_can_start_from_the_actor_of_another_policy(tmp_path):
    policy, other = make_policy("tiny"), load_policy("rl")
    eyes = {name: value.clone() for name, value in policy.state_dict().items() if name.startswith("encoder.")}
    set_trunks(policy, "rl")
    theirs = other.state_dict()
    for name, value in policy.state_dict().items():
        assert torch.equal(value, eyes[name] if name in eyes else theirs[name])
    without = make_policy("tiny-motion", seed=5)
    heir = make_policy("tiny-memory")
    set_trunks(heir, str(save_policy(without, tmp_path / "without", half=False)))
    theirs = without.state_dict()
    for name, value in heir.state_dict().items():
        if not name.startswith("encoder.") and not {"memory", "hand"} & set(name.split(".")):
            assert torch.equal(value, theirs[name])
    pairs = (("tiny", "random"), ("tiny", "chores"), ("tiny-motion", "chores"), ("tiny-motion", "rl"))
    for preset, source in pairs:
        with pytest.raises(ConfigError, match="has no actor of this preset's sizes"):
            set_trunks(make_policy(preset), source)
