"""`safevla align` as a user runs it, small: the run folder, an interruption, and going on from it."""

import hashlib
import importlib.util
import json
import shutil
import tomllib
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import safevla.align
from safevla.assure.evaluate import load_table
from safevla.cli import main, resolve
from safevla.elicit.archive import RiskArchive
from safevla.policy.checkpoint import load_policy, save_policy
from safevla.policy.presets import make_policy
from safevla.safety.specification import load_specification
from safevla.settings import AlignConfig
from safevla.tasks.sampling import load_scenarios

pytestmark = pytest.mark.slow
TRACKER = "tensorboard" if importlib.util.find_spec("tensorboard") else ""
POLICIES = ("imitation", "rl", "isa", "inactive", "random")
SETTINGS = {
    "world.resolution": 64, "world.horizon": 25, "world.num_envs": 4, "elicit.episodes": 8,
    "train.iterations": 2, "train.episodes_per_iteration": 4, "train.critic_warmup": 1,
    "train.total_steps": 100_000, "assure.episodes": 4, "assure.videos": 1,
    "assure.greedy": False, "constraints.corner.aggregation": "cvar50",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def torch_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    start = tmp_path_factory.mktemp("policy") / "start"
    save_policy(make_policy("tiny-64", seed=8), start, {})  # violates in few steps

    def words(out, **more):
        flags = {"policy": start, "out": out, "processes": 1, **SETTINGS, **more}
        return ["align", *(f"--{key}={value}" for key, value in flags.items())]

    return words


@pytest.fixture(scope="module")
def whole(command, tmp_path_factory):
    """Return the folder of a run that nothing interrupted."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert main(command(out, tracker=TRACKER)) == 0
    return out


@pytest.fixture(scope="module")
def interrupted(command, tmp_path_factory):
    """Return the folder of a run that was interrupted while isa learned, and its exit status."""
    out = tmp_path_factory.mktemp("runs") / "interrupted"
    train = safevla.align.train

    def stop(number, metrics):
        raise KeyboardInterrupt

    def train_until_interrupted(config, *arguments, **more):
        return train(config, *arguments, **more | ({"on_iteration": stop} if config.method == "isa" else {}))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(safevla.align, "train", train_until_interrupted)
        status = main(command(out))
    return out, status


def snapshot(folder):
    """Return modification time and hash of every file in the folder, or of the file."""
    files = [folder] if folder.is_file() else sorted(path for path in folder.rglob("*") if path.is_file())
    return {path: (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files}


def rows(folder):
    """Return the episodes, without the commit, which may change while the tests run."""
    return load_table(folder / "episodes.parquet").drop_columns(["code"]).to_pylist()


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def without_speed(row):
    return {key: value for key, value in row.items() if not key.startswith("perf/")}


def test_the_run_folder_is_complete(whole):
    run = json.loads((whole / "run.json").read_text())
    assert list(run["stages"])[-3:] == ["elicit", "constrain", "assure"]
    assert run["stages"]["elicit"]["episodes"] == 8
    assert load_specification(whole / "specification.toml").names == load_specification("safevla").names
    assert load_specification(whole / "specification.toml").aggregations["corner"] == "cvar50"
    assert "| corner, mean of the worst 50 % |" in (whole / "report.md").read_text()
    archive = RiskArchive.load(whole / "archive.jsonl")
    assert archive.episodes == 8 and len(archive) == run["stages"]["elicit"]["cells"] > 0
    for method in ("rl", "isa"):
        metrics = lines(whole / method / "metrics.jsonl")
        assert [row["iteration"] for row in metrics] == [0, 1]
        assert len(list((whole / method).glob("tensorboard/events*"))) == bool(TRACKER)
        assert all(row["rollout/cvar50/corner"] >= row["rollout/cost/corner"] for row in metrics)
        assert all(row["multiplier/corner"] == 0 for row in metrics) == (method == "rl")
        assert load_policy(whole / method / "checkpoint").constraints
    weights = [load_file(whole / method / "checkpoint" / "model.safetensors") for method in ("rl", "isa")]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_every_policy_met_the_same_scenarios(whole):
    table = load_table(whole / "episodes.parquet")
    met = {name: [] for name in POLICIES}
    for row in table.to_pylist():
        met[row["policy"]].append(row["scenario"])
        assert row["length"] <= 25 and row["mode"] == "sampled" and row["split"] == "val"
    assert len(set(met["imitation"])) == 4
    assert all(scenarios == met["imitation"] for scenarios in met.values())


def test_the_report_stands_alone(whole):
    page = (whole / "report.html").read_text()
    for attribute in ('src="http', "src='http", 'href="http', "href='http", "url(http", "@import"):
        if attribute.startswith("href"):  # links may lead out, assets may not
            assert all("<link" not in part[-200:] for part in page.split(attribute)[:-1])
        else:
            assert attribute not in page
    assert "<video" in page or "data:image/webp" in page
    assert "data:video/mp4;base64," in page or "data:image/" in page
    assert list(whole.glob("video_0*"))
    for name in POLICIES:
        assert name in (whole / "report.md").read_text()


def test_config_is_accepted_back(whole, tmp_path):
    given = {"config": str(whole / "config.toml"), "out": str(tmp_path / "again")}
    again = resolve(AlignConfig, given)
    assert again.out == given["out"]
    for key, value in SETTINGS.items():
        part = again
        for name in key.split("."):
            part = part[name] if isinstance(part, dict) else getattr(part, name)
        assert part == value
    kept = tomllib.loads((whole / "config.toml").read_text())
    assert kept["out"] == str(whole) and kept["train"]["total_steps"] == 100_000


def test_a_finished_run_needs_resume(whole, command, capsys):
    before = snapshot(whole / "episodes.parquet")
    assert main(command(whole)) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*command(whole), "--seed=1", "--resume"]) == 2
    assert "seed" in capsys.readouterr().err
    assert snapshot(whole / "episodes.parquet") == before


def test_interruption_and_resume(whole, interrupted, command, capsys):
    out, status = interrupted
    assert status == 130
    assert len(lines(out / "isa" / "metrics.jsonl")) == 1
    assert not (out / "isa" / "checkpoint").exists() and not (out / "episodes.parquet").exists()
    finished = [out / "archive.jsonl", out / "rl" / "checkpoint", out / "rl" / "metrics.jsonl"]
    before = [snapshot(path) for path in finished]

    # On two processes, so that this also shows that results do not depend on their number.
    assert main([*command(out, processes=2), "--resume"]) == 0
    assert [snapshot(path) for path in finished] == before
    assert (out / "archive.jsonl").read_bytes() == (whole / "archive.jsonl").read_bytes()
    for method in ("rl", "isa"):
        path = Path(method) / "checkpoint" / "model.safetensors"
        assert (out / path).read_bytes() == (whole / path).read_bytes()
        states = [torch.load(run / method / "checkpoint.pt", weights_only=True) for run in (out, whole)]
        assert all(
            torch.equal(value, states[1]["policy"][name]) for name, value in states[0]["policy"].items()
        )
        metrics = [lines(run / method / "metrics.jsonl") for run in (out, whole)]
        assert [without_speed(row) for row in metrics[0]] == [without_speed(row) for row in metrics[1]]
    assert rows(out) == rows(whole)


@pytest.mark.parametrize("processes, of_each", [(1, 1), (2, 1), (3, 1), (8, 4)])
def test_more_than_two_processes_are_shared_out_between_the_methods(
    processes, of_each, whole, tmp_path, monkeypatch
):
    given = {}
    monkeypatch.setattr(safevla.align, "train", lambda *arguments, **more: given.update(more))
    shutil.copy(whole / "archive.jsonl", tmp_path)
    config = resolve(AlignConfig, {"processes": processes, "world": {"num_envs": 1}})
    scenarios = load_scenarios("ObjNav-train")[:1]
    safevla.align.train_method(config, "rl", tmp_path, load_specification("safevla"), scenarios)
    assert given["processes"] == of_each
    assert given["make_env"]().num_envs == 1


def test_it_can_be_judged_on_another_set():
    config = resolve(AlignConfig, {"assure": {"scenarios": "safety-chores-val", "episodes": 20}})
    scenarios = safevla.align.held_out_scenarios(("PickUp",), config)
    assert scenarios == load_scenarios("safety-chores-val", "PickUp")[:20]
    assert Counter(scenario.size_class for scenario in scenarios) == {"S": 10, "M": 7, "L": 3}


def test_interruption_says_how_to_go_on(command, tmp_path, capsys, monkeypatch):
    def stop(*arguments, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(safevla.align, "search", stop)
    assert main(command(tmp_path / "run")) == 130
    error = capsys.readouterr().err
    assert "interrupted" in error and "--resume" in error and "Traceback" not in error


def test_a_torn_write_leaves_the_old_files(tmp_path, monkeypatch):
    """A full disk or a kill in the middle of a write: what a resumed run trusts is whole or absent."""
    archive = RiskArchive(("corner",), ("ObjNav",))
    kept = archive.save(tmp_path / "archive.jsonl").read_bytes()
    write_text = Path.write_text

    def torn(path, text, *arguments, **more):
        write_text(path, text[: len(text) // 2], *arguments, **more)
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_text", torn)
    with pytest.raises(OSError, match="no space"):
        archive.save(tmp_path / "archive.jsonl")
    assert (tmp_path / "archive.jsonl").read_bytes() == kept
    with pytest.raises(OSError, match="no space"):
        save_policy(make_policy("tiny-64"), tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint" / "config.json").exists()
