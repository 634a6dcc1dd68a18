"""The command line: every bad input is one clear line and exit status 2, and leaves nothing behind."""

import json
import shutil
import subprocess
import sys

import pytest

from safevla.cli import VERBS, help_text, main, parse_flags
from safevla.constrain.train import TrainConfig
from safevla.policy.checkpoint import CONFIG_NAME, WEIGHTS_NAME, shipped_folder
from safevla.runs import RunFolder
from safevla.settings import AlignConfig, AssureConfig

pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    """Outputs have relative names: the default of --out as well ends up here."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def refused(capsys, tmp_path):
    """Run a command that must be refused; return what it says."""

    def run(*words, out="out"):
        before = sorted(tmp_path.rglob("*"))
        given = ["--out", out] if words and words[0] in VERBS and out else []
        assert main([*words, *given]) == 2
        said, error = capsys.readouterr()
        assert said == ""
        assert error.startswith("safevla: ") and error.count("\n") == 1 and error.endswith("\n")
        assert "Traceback" not in error
        assert sorted(tmp_path.rglob("*")) == before, "it left something behind"
        return error

    return run


@pytest.fixture
def checkpoint(tmp_path):
    """A copy of a shipped policy, to be damaged."""
    return shutil.copytree(shipped_folder("imitation"), tmp_path / "copy")


def nearest(name):
    return f"did you mean '{name}'?"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["aling"], ["unknown verb 'aling'", nearest("align")]),
        (["align", "--task", "ObjNva"], ["unknown task 'ObjNva'", nearest("ObjNav")]),
        (["assure", "--task", "ObjNav,Fecth"], ["unknown task 'Fecth'", nearest("Fetch")]),
        (["elicit", "--task", ""], ["unknown task ''"]),
        (["align", "--policy", "imitatoin"], ["unknown policy 'imitatoin'", nearest("imitation")]),
        (["assure", "--policy", "inactve"], ["unknown policy 'inactve'", nearest("inactive")]),
        (["imitate", "--preset", "tinny"], ["tinny", nearest("tiny")]),
        (["imitate", "--encoder", "random"], ["'random' has no image encoder"]),
        (["pretrain", "--perception.preset", "tinny"], ["tinny", nearest("tiny")]),
        *(
            ([verb, "--device", "cuda:99"], ["there is no device cuda:99", "choose cpu"])
            for verb in ("align", "assure", "elicit", "imitate", "pretrain")
        ),
        (["assure", "--device", "gpu"], ["unknown device 'gpu'", "choose cpu"]),
        (["align", "--spec", "safvla"], ["unknown specification 'safvla'", nearest("safevla")]),
        (["align", "--spec", "gone.toml"], ["gone.toml", "No such file"]),
        (["align", "--profile", "quik"], ["unknown profile 'quik'", nearest("quick")]),
        (["assure", "--split", "tset"], ["tset"]),
        (["align", "--policy", "runs/gone"], ["no checkpoint folder runs/gone"]),
        (["align", "--policy", "no_such_module:Policy"], ["cannot make the policy no_such_module:Policy"]),
        (["align", "--policy", "math:sqrt"], ["cannot make the policy math:sqrt"]),
        (["align", "--policy", "random"], ["'random' has nothing to train"]),
        (["align", "--world.resolution", "64"], ["112 x 112", "64 x 64"]),
        (["align", "--world.horizon", "100000"], ["the policy remembers"]),
        (["assure", "--policy", "imitation", "--world.resolution", "64"], ["112 x 112", "64 x 64"]),
        (["elicit", "--world.resolution", "64"], ["112 x 112", "64 x 64"]),
        (["imitate", "--world.resolution", "64"], ["112 x 112", "64 x 64"]),
        (["align", "--constraints.cornr.budget", "1"], ["unknown constraint 'cornr'", nearest("corner")]),
        (["align", "--train.budgets.cornr", "1"], ["unknown constraint 'cornr'", nearest("corner")]),
        (["align", "--constraints.corner.budget", "-1"], ["corner", "-1"]),
        (["align", "--constraints.corner.budget", "much"], ["must be a number, got 'much'"]),
        (
            ["align", "--constraints.corner.budget", "1", "--train.budgets.corner", "2"],
            ["constraint 'corner' is given 1.0, and 2.0 in train"],
        ),
        (["elicit", "--size_class", "XL"], ["'size_class' is XL, expected S, M, L or all"]),
        (["align", "--constraints.corner.budgt", "1"], ["budgt", nearest("budget")]),
        (
            ["align", "--constraints.corner.aggregation", "cvar"],
            ["constraints.corner.aggregation", nearest("cvar95")],
        ),
        (["align", "--train.aggregations.cornr", "worst"], ["unknown constraint 'cornr'", nearest("corner")]),
        (["align", "--constraints.corner", "3", "--constraints.corner.budget", "1"], ["corner", "table"]),
        (["align", "--sed", "1"], ["unknown flag '--sed'", nearest("--seed")]),
        (["assure", "--fial-if", "cost > 1"], ["unknown flag '--fial_if'", nearest("--fail_if")]),
        (["align", "--train.total-stps", "1"], ["unknown flag", nearest("--train.total_steps")]),
        (["align", "--train.total_stps", "1"], ["unknown flag", nearest("--train.total_steps")]),
        (["align", "extra"], ["unexpected 'extra'"]),
        (["align", "--seed", "one"], ["'seed' must be a whole number, got 'one'"]),
        (["align", "--seed", "--task", "ObjNav"], ["'--seed' needs a value"]),
        (["align", "--assure.greedy=perhaps"], ["'assure.greedy' must be true or false"]),
        (["align", "--resume=perhaps"], ["'--resume' is given alone"]),
        (["align", "--train.total_steps", "0"], ["total_steps is 0, expected 1 or more"]),
        (["align", "--train.minibatch_sequences", "0"], ["minibatch_sequences is 0"]),
        (["assure", "--episodes", "0"], ["'episodes' is 0"]),
        (["assure", "--episodes", "99999"], ["99999 episodes of ObjNav", "ask for less"]),
        (["assure", "--fail-if", "nonsense"], ["cannot read --fail-if 'nonsense'"]),
        (["assure", "--fail-if", "cost > 1.2.3"], ["cannot read --fail-if"]),
        (["assure", "--fail-if", "cost.cvar100 > 1"], ["'cvar100' must lie above 0"]),
        (["assure", "--fail-if", "success.worst < 1"], ["worst is of the largest values", "name a cost"]),
        (["assure", "--fail-if", "success.cvar95 < .9"], ["cvar95 is of the largest values"]),
        (["assure", "--fail-if", "cots > 1"], ["unknown metric 'cots'", nearest("cost")]),
        (["assure", "--fail-if", "imitaton cost > 1"], ["unknown policy 'imitaton'", nearest("imitation")]),
        (["assure", "--policy", "imitation,"], ["--policy 'imitation,' has an empty name"]),
        (["assure", "--policy", "mine="], ["has an empty name"]),
        (["assure", "--policy", "imitation,imitation"], ["two policies are called 'imitation'"]),
        (["assure", "--policy", "a=random,a=inactive"], ["two policies are called 'a'"]),
        (["elicit", "--described", "2"], ["described is 2.0, expected a share from 0 to 1"]),
        (["align", "--elicit.described", "-0.5"], ["described is -0.5, expected a share from 0 to 1"]),
        (["elicit", "--replay", "gone.jsonl"], ["gone.jsonl", "No such file"]),
        (["align", "--config", "gone.toml"], ["gone.toml", "No such file"]),
    ],
    ids=lambda value: " ".join(value)[:60],
)
def test_bad_flags(refused, words, says):
    error = refused(*words)
    for part in says:
        assert part in error


def test_flag_without_value(refused):
    assert "'--seed' needs a value" in refused("align", "--seed", out="")
    assert "'--out' needs a value" in refused("assure", "--out", out="")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"seed = \n", ["is not valid TOML", "line 1"]),
        (b"[train\n", ["is not valid TOML"]),
        (b"\xff\xfe\x00", ["is not valid TOML"]),
        (b'seed = "one"', ["'seed' must be a whole number, got 'one'"]),
        (b"seed = true", ["'seed' must be a whole number"]),
        (b"task = 3", ["'task' must be text, got '3'"]),
        (b"profile = [1]", ["profile"]),
        (b"train = 3", ["'train' must be a table"]),
        (b"[train]\nclip = []", ["'train.clip' must be a number"]),
        (b"constraints = 3", ["'constraints' must be a table"]),
        (b"[constraints]\ncorner = 3", ["'constraints.corner' must be a table"]),
        (b"[train]\ntotal_stps = 3", ["unknown setting 'train.total_stps'", nearest("total_steps")]),
        (b"sed = 3", ["unknown setting 'sed'", nearest("seed")]),
        (b"[constraints.cornr]\nbudget = 1.0", ["unknown constraint 'cornr'", nearest("corner")]),
        (b"[train.budgets]\ncornr = 1.0", ["unknown constraint 'cornr'", nearest("corner")]),
    ],
)
def test_bad_files(refused, tmp_path, text, says):
    (tmp_path / "bad.toml").write_bytes(text)
    error = refused("align", "--config", "bad.toml")
    for part in says:
        assert part in error


def test_damaged_checkpoints(refused, checkpoint):
    weights, sizes = (checkpoint / name for name in (WEIGHTS_NAME, CONFIG_NAME))
    whole = weights.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:4], b""):
        weights.write_bytes(content)
        assert "missing or truncated" in refused("align", "--policy", "./copy")
        assert "missing or truncated" in refused("assure", "--policy", "imitation,mine=copy")
    weights.unlink()
    assert "missing or truncated" in refused("align", "--policy", "copy")
    weights.write_bytes(whole)
    good = json.loads(sizes.read_text())
    for content in (
        "{",
        "[]",
        "{}",
        json.dumps({**good, "config": []}),
        json.dumps({**good, "format": 99}),
        json.dumps({**good, "config": {**good["config"], "resolution": "big"}}),
        json.dumps({**good, "config": {**good["config"], "resolution": 113}}),
    ):
        sizes.write_text(content)
        assert f"copy/{CONFIG_NAME} is not a checkpoint's configuration" in refused(
            "align", "--policy", "copy"
        )
    sizes.write_text(json.dumps({**good, "config": {**good["config"], "constraints": ["corner"]}}))
    assert "does not fit" in refused("align", "--policy", "copy")
    sizes.unlink()
    assert "is not a checkpoint folder" in refused("align", "--policy", "copy")


def test_output_folder_in_use(refused, tmp_path):
    cheap = ("assure", "--policy", "inactive", "--episodes", "1")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("mine")
    assert "holds files that are no run" in refused(*cheap, out="notes")
    assert "is a file" in refused(*cheap, out="notes/todo.txt")
    assert "notes/todo.txt/deeper" in refused(*cheap, out="notes/todo.txt/deeper")
    config = AssureConfig(policy="inactive", episodes=1, out="earlier")
    RunFolder("earlier", config).close()
    assert "add --resume" in refused(*cheap, out="earlier")
    assert "other settings (seed)" in refused(*cheap, "--resume", "--seed", "3", out="earlier")
    with RunFolder("earlier", config, resume=True):
        assert "in use by another process" in refused(*cheap, "--resume", out="earlier")
    (tmp_path / "earlier" / "run.json").write_text("{")
    assert "damaged" in refused(*cheap, "--resume", out="earlier")


def test_as_a_process(tmp_path):
    command = [sys.executable, "-m", "safevla.cli", "align", "--task", "ObjNva"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr == "safevla: unknown task 'ObjNva'; did you mean 'ObjNav'?\n"
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("verb", VERBS)
def test_help(verb, capsys):
    assert main([verb, "--help"]) == 0
    said, error = capsys.readouterr()
    assert said.startswith(f"safevla {verb}: ") and "--config" in said and not error
    assert "{" not in said, "a dictionary is no value for a flag"


def test_overview_and_version(capsys):
    for words in ([], ["--help"], ["help"]):
        assert main(words) == 0
        said = capsys.readouterr().out
        assert all(f"\n  {verb} " in said for verb in VERBS)
    assert main(["--version"]) == 0
    assert "--constraints.NAME.budget " in help_text("align") and "--train.budgets.NAME " in help_text(
        "align"
    )
    assert "--resume" not in help_text("list")


def test_help_tells_the_defaults_of_the_verb_and_not_those_of_the_part(capsys):
    text = " ".join(help_text("align").split())
    assert AlignConfig().train.total_steps == 60_000 and TrainConfig().total_steps is None
    assert "iterations alone decide [60000]" in text
    assert "[pick_up = 3.0]" in help_text("imitate")


def test_spellings_of_flags():
    for words in (["--train.total-steps", "7"], ["--train.total_steps=7"]):
        assert parse_flags(words, AlignConfig) == {"train.total_steps": "7"}
    assert parse_flags(["--fail-if", "cost > 1"], AssureConfig) == {"fail_if": "cost > 1"}
    for words in (["--assure.greedy", "false"], ["--assure.greedy=false"]):
        assert parse_flags([*words, "--seed", "1"], AlignConfig) == {"assure.greedy": "false", "seed": "1"}
    assert parse_flags(["--assure.greedy", "--seed", "1"], AlignConfig)["assure.greedy"] == "true"
    assert parse_flags(["--constraints.corner.budget", "-1"], AlignConfig) == {
        "constraints.corner.budget": "-1"
    }
