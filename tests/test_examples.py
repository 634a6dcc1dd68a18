"""The examples do what they say."""

import runpy
import threading
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from safevla.assure.evaluate import load_table
from safevla.cli import main

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_policies_of_others_are_judged_from_the_command_line(tmp_path, monkeypatch, capsys):
    """A class in a file, and the server of the other example."""
    server = pytest.importorskip("websockets.sync.server")
    pytest.importorskip("msgpack")
    remote = runpy.run_path(str(EXAMPLES / "remote_server.py"))
    handler = partial(remote["play"], remote["MyPolicy"])
    monkeypatch.chdir(tmp_path)
    with server.serve(handler, "localhost", 0, max_size=None, compression=None) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        policies = (
            f"own={EXAMPLES / 'own_policy.py'}:Careful,far=ws://localhost:{running.socket.getsockname()[1]}"
        )
        words = ["assure", "--policy", policies, "--episodes", "2", "--videos", "0", "--processes", "1"]
        assert main([*words, "--world.horizon", "12", "--out", "run"]) == 0
        running.shutdown()
    rows = load_table("run/episodes.parquet").to_pylist()
    assert {(row["policy"], row["length"]) for row in rows} == {("own", 12), ("far", 12)}
    assert all(row["metres"] > 0.5 for row in rows if row["policy"] == "far")
    assert main([*words, "--out", "again"]) == 2 and not Path("again").exists()
    assert "no policy server answers" in capsys.readouterr().err


def test_a_policy_is_trained_on_demonstrations_and_judged(tmp_path, monkeypatch, capsys):
    """The network learns its two episodes, and what it has learned is what is judged."""
    monkeypatch.chdir(tmp_path)
    small = ["--task", "PickUp", "--episodes", "2", "--processes", "1", "--world.horizon", "12"]
    assert main(["export", "--parquet", *small, "--out", "data"]) == 0
    training = runpy.run_path(str(EXAMPLES / "own_training.py"))
    training["train"]("data", epochs=8)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in lines]
    assert len(losses) == 8 and losses[-1] < 0.7 * losses[0]
    words = ["assure", "--policy", f"cloned={EXAMPLES / 'own_training.py'}:Cloned", "--videos", "0", *small]
    assert main([*words, "--out", "judged"]) == 0
    assert [row["length"] for row in load_table("judged/episodes.parquet").to_pylist()] == [12, 12]


def test_the_expert_fetches_something_in_a_large_home(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["large_home.py", "3"])
    runpy.run_path(str(EXAMPLES / "large_home.py"))
    said = capsys.readouterr().out
    assert "success True" in said and int(said.split(" rooms")[0].split()[-1]) >= 5
    assert Image.open("home.png").size == (800, 600)
