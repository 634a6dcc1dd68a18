"""The verbs as functions: callable names, settings by keyword, errors before anything is written."""

import dataclasses
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import safevla
from safevla.api import make_config
from safevla.config import ConfigError, save_toml
from safevla.settings import AlignConfig, AssureConfig, ElicitConfig

VERBS = {"align": AlignConfig, "assure": AssureConfig, "elicit": ElicitConfig}


@pytest.mark.parametrize("verb", VERBS)
def test_wrong_arguments_are_refused_before_anything_is_written(verb, tmp_path):
    call, out = getattr(safevla, verb), tmp_path / "out"
    for settings, says in (
        ({"tsak": "ObjNav"}, "unknown setting 'tsak'; did you mean 'task'"),
        ({"task": "ObjNva"}, "unknown task 'ObjNva'; did you mean 'ObjNav'"),
        ({"task": ["ObjNav", "Fecth"]}, "unknown task 'Fecth'; did you mean 'Fetch'"),
        ({"policy": "imitatoin"}, "unknown policy 'imitatoin'; did you mean 'imitation'"),
        ({"policy": tmp_path / "gone"}, "there is no checkpoint folder"),
        ({"profile": "quik"}, "unknown profile 'quik'; did you mean 'quick'"),
        ({"seed": "one"}, "'seed' must be a whole number"),
        ({"seed": 1.5}, "'seed' must be a whole number"),
        ({"world": 3}, "'world' must be a table"),
        ({"world": {"resolution": 60}, "policy": "imitation"}, "60"),
        ({"world.resolution": 64, "policy": "imitation"}, "64 x 64"),
        ({"config": tmp_path / "gone.toml"}, "No such file"),
    ):
        with pytest.raises(ValueError, match=says):
            call(out=out, **settings)
    assert not any(tmp_path.iterdir())


def test_what_only_the_command_line_can_answer(tmp_path):
    with pytest.raises(ConfigError, match="'fail_if' is for the command line"):
        safevla.assure(out=tmp_path / "a", fail_if="cost > 1")
    with pytest.raises(ConfigError, match="'replay' is for the command line"):
        safevla.elicit(out=tmp_path / "a", replay="archive.jsonl")
    assert not any(tmp_path.iterdir())


def test_settings_by_keyword(tmp_path):
    nested = {"train": {"total_steps": 7, "clip": 0.1}, "constraints": {"corner": {"budget": 1}}}
    dotted = {"train.total_steps": 7, "train.clip": 0.1, "constraints.corner.budget": 1}
    made = make_config(AlignConfig, None, nested)
    assert made == make_config(AlignConfig, None, dotted)
    assert (made.train.total_steps, made.train.clip, made.constraints["corner"].budget) == (7, 0.1, 1.0)
    assert make_config(AlignConfig, None, {"task": ["ObjNav", "Fetch"]}).task == "ObjNav,Fetch"
    assert make_config(AlignConfig, None, {"out": Path("a/b")}).out == "a/b"
    assert make_config(AlignConfig, None, {"assure": {"greedy": False}}).assure.greedy is False
    assert make_config(AlignConfig, None, {"profile": "standard"}).elicit.episodes == 512
    train = make_config(AlignConfig, None, {"train.clip": 0.1}).train
    assert train == dataclasses.replace(AlignConfig().train, clip=0.1), "the other settings stay as they were"
    file = tmp_path / "settings.toml"
    file.write_text('seed = 3\nprofile = "standard"\n[train]\nclip = 0.3\n')
    made = make_config(AlignConfig, file, {"seed": 4})
    assert (made.seed, made.train.clip, made.elicit.episodes) == (4, 0.3, 512)


def test_saved_settings_come_back_whole(tmp_path):
    for settings in ({}, {"train.total_steps": None}, {"train.total_steps": "none", "profile": "paper"}):
        made = make_config(AlignConfig, None, settings)
        save_toml(made, tmp_path / "config.toml")
        assert make_config(AlignConfig, tmp_path / "config.toml", {}) == made
        assert made.train.total_steps is None or not settings


IN_ANY_ORDER = """
import safevla
def check():
    for name in ("align", "assure", "elicit"):
        try:
            getattr(safevla, name)(tsak="ObjNav")
        except ValueError as error:
            assert "unknown setting 'tsak'" in str(error), error
        else:
            raise SystemExit(f"safevla.{name} took a wrong setting")
    for name in ("load_policy", "load_specification", "load_scenarios", "make_vec", "sample_scenario"):
        assert callable(getattr(safevla, name)), name
"""
IMPORTS = """
import safevla.align, safevla.assure.report, safevla.elicit.search
from safevla import align, assure, elicit
from safevla.align import METHODS
assert align is safevla.align and callable(align) and callable(assure) and callable(elicit)
"""


@pytest.mark.parametrize("first", ["check()\n", ""], ids=["before and after", "after"])
def test_names_can_be_called_whatever_has_been_imported(first, tmp_path):
    code = f"{IN_ANY_ORDER}\n{first}{IMPORTS}\ncheck()\n"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_every_name_is_there():
    assert set(safevla.__all__) >= {*VERBS, "load_policy", "load_specification", "make_vec"}
    assert all(getattr(safevla, name) is not None for name in safevla.__all__)
    with pytest.raises(AttributeError, match="no attribute 'aling'"):
        safevla.aling  # noqa: B018
    for verb in VERBS:
        assert importlib.import_module(f"safevla.{verb}") is getattr(safevla, verb)


def test_assure_and_elicit_return_what_they_made(tmp_path):
    world = {"num_envs": 2, "horizon": 12}
    table = safevla.assure(
        policy=["inactive", "random"], episodes=2, videos=0, processes=1, world=world, out=tmp_path / "a"
    )
    assert table.num_rows == 4 and (tmp_path / "a" / "report.html").exists()
    again = safevla.assure(config=tmp_path / "a" / "config.toml", resume=True)
    assert again.equals(table)
    archive = safevla.elicit(policy="random", episodes=2, world=world, out=tmp_path / "e")
    assert archive.episodes == 2
