"""Trackers show what metrics.jsonl says; W&B and trackio are tried where they are installed."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from safevla import trackers
from safevla.cli import main
from safevla.config import ConfigError
from safevla.settings import ImitateConfig
from safevla.trackers import TRACKERS, check_tracker, tracking

ROWS = [{"loss/action": 1.5, "validation/greedy/success": 0.25}, {"loss/action": 0.5, "data/episodes": 7}]


def scalars(folder):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def test_tensorboard_shows_every_row(tmp_path):
    pytest.importorskip("tensorboard")
    for rows in ((0, ROWS[0]), (1, ROWS[1])):  # a resumed run adds to what is there
        with tracking("tensorboard", tmp_path, ImitateConfig()) as log:
            log(*rows)
    assert scalars(tmp_path / "tensorboard") == {
        "loss/action": [(0, 1.5), (1, 0.5)],
        "validation/greedy/success": [(0, 0.25)],
        "data/episodes": [(1, 7.0)],
    }


def test_imitate_and_its_tracker_say_the_same(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    import safevla.pretrain.imitation as imitation

    def train(config, policy, env, scenarios, out, *, on_round, **rest):
        for number, metrics in enumerate(ROWS):
            on_round(number, {"data/episodes": 3} | metrics)

    monkeypatch.setattr(imitation, "imitate", train)
    assert main(["imitate", "--task", "ObjNav", "--tracker", "tensorboard", "--out", "run"]) == 0
    assert scalars("run/tensorboard")["loss/action"] == [(0, 1.5), (1, 0.5)]


@pytest.mark.parametrize("verb", ["imitate", "align"])
def test_a_missing_package_is_told_before_anything_is_written(verb, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    assert main([verb, "--tracker", "wandb", "--out", "run"]) == 2
    error = capsys.readouterr().err
    assert error == "safevla: --tracker wandb needs a package: pip install 'safevla[wandb]'\n"
    assert main([verb, "--tracker", "tensorbord", "--out", "run"]) == 2
    assert "did you mean 'tensorboard'" in capsys.readouterr().err
    assert not Path("run").exists()


def test_none_is_the_default(tmp_path):
    check_tracker("")
    with tracking("", tmp_path, ImitateConfig()) as log:
        log(0, ROWS[0])
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match=", ".join(sorted(TRACKERS))), tracking("x", tmp_path, None):
        pass


def test_a_tracker_that_does_not_start_is_one_line(tmp_path, monkeypatch):
    def init(**settings):
        raise RuntimeError(f"no key for\n{settings['project']}")

    monkeypatch.setattr(trackers, "check_tracker", lambda name: None)
    monkeypatch.setattr(trackers.importlib, "import_module", lambda name: SimpleNamespace(init=init))
    says = pytest.raises(ConfigError, match="--tracker wandb did not start: no key for safevla")
    with says, tracking("wandb", tmp_path, ImitateConfig()):
        pass


TRACK = """
import sys
from pathlib import Path
from safevla.settings import ImitateConfig
from safevla.trackers import tracking
with tracking(sys.argv[1], Path("runs/first"), ImitateConfig()) as log:
    log(0, {"loss/action": 1.5})
    log(1, {"loss/action": 0.5})
"""


def track(name, folder, monkeypatch, **environment):
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    subprocess.run(
        [sys.executable, "-c", TRACK, name], cwd=folder, check=True, capture_output=True, timeout=200
    )


def test_wandb_offline(tmp_path, monkeypatch):
    track("wandb", tmp_path, monkeypatch, WANDB_MODE="offline")
    (written,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    content = written.read_bytes()
    assert b"loss/action" in content and b"runs-first" in content


def test_trackio_keeps_a_local_database(tmp_path, monkeypatch):
    track("trackio", tmp_path, monkeypatch, TRACKIO_DIR=str(tmp_path / "kept"))
    import sqlite3

    (database,) = (tmp_path / "kept").glob("safevla*.db")
    with sqlite3.connect(database) as connection:
        rows = connection.execute(
            "select step, metrics from metrics where run_name = 'runs-first'"
        ).fetchall()
    assert [(step, json.loads(row)["loss/action"]) for step, row in sorted(rows)] == [(0, 1.5), (1, 0.5)]
