"""`safevla export`: episodes of the expert, of a policy and of runs become data sets, interrupted or not."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import safevla
from safevla import exporting
from safevla.assure.evaluate import load_table
from safevla.assure.parts import make_env
from safevla.cli import main
from safevla.policy.baselines import RandomPolicy
from safevla.pretrain.rounds import load_round, save_round
from safevla.rollout import play
from safevla.runs import RunFolder
from safevla.safety.specification import load_specification
from safevla.settings import ImitateConfig
from safevla.tasks.sampling import load_scenarios
from safevla.tasks.settings import WorldSettings
from safevla.verbs import draw

SMALL = ["--world.num_envs", "2", "--world.horizon", "25"]


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def export(*words):
    return main(["export", "--lerobot", *words])


def column(folder, name):
    files = sorted(Path(folder, "data").glob("*/*.parquet"))
    return np.concatenate([np.array(pq.read_table(path, columns=[name])[name].to_pylist()) for path in files])


def test_the_expert_interrupted_or_not(monkeypatch, capsys):
    words = ["--episodes", "3", "--images", *SMALL]
    assert export(*words, "--out", "whole") == 0
    assert "3 episodes by expert" in capsys.readouterr().out
    write, written = exporting.write_part, []

    def ends(folder, part, *rest):
        if part == 1 and not written:
            written.append(part)
            raise KeyboardInterrupt
        write(folder, part, *rest)

    monkeypatch.setattr(exporting, "write_part", ends)
    assert export(*words, "--out", "broken") == 130
    assert not Path("broken/meta/info.json").exists()
    assert export(*words, "--out", "broken", "--resume") == 0
    assert Path("whole/SHA256SUMS").read_text() == Path("broken/SHA256SUMS").read_text()


def test_a_run_of_assure_is_played_again(capsys):
    words = ["assure", "--policy", "random,inactive", "--episodes", "3", "--videos", "0", "--processes", "1"]
    assert main([*words, *SMALL, "--out", "run"]) == 0
    rows = load_table("run/episodes.parquet").to_pylist()
    assert export("run", "--out", "refused") == 2
    assert "no policy 'expert'" in capsys.readouterr().err and not Path("refused").exists()
    assert export("run", "--policy", "random", "--out", "data") == 0
    recorded = [row for row in rows if row["policy"] == "random"]
    assert len(column("data", "index")) == sum(row["length"] for row in recorded)
    assert column("data", "next.cost").sum() == sum(row["cost"] for row in recorded)


def recorded_round(path, world, spec="safevla"):
    """Write a round as imitation does, played at random."""
    chosen = load_scenarios("ObjNav-train")[:2]
    env = make_env(chosen, load_specification(spec), world)
    episodes = play(env, RandomPolicy(), chosen, seed=3, keep=("holding", "last_action"))
    for episode in episodes:
        episode.extras |= {"features": np.zeros((episode.length, 1), np.float16), "label": episode.actions}
    episodes.append(episodes[0])
    save_round(path, episodes)
    return load_round(path)


def test_rounds_of_imitation_are_taken_again(capsys):
    """Recorded actions, of a scenario that occurs twice too, lead to the recorded costs; others are told."""
    config = ImitateConfig(out="run", world=WorldSettings(num_envs=2, horizon=25))
    RunFolder("run", config).close()
    path = Path("run/round_00.npz")
    episodes = recorded_round(path, config.world)
    assert export("run", "--out", "data") == 0
    actions = np.concatenate([episode.actions for episode in episodes])
    np.testing.assert_array_equal(column("data", "discrete_action"), actions)
    assert column("data", "next.cost").sum() == sum(episode.cost for episode in episodes)
    rewards = np.concatenate([episode.rewards for episode in episodes])
    np.testing.assert_array_equal(column("data", "next.reward"), rewards)
    sentences = [episode.scenario.instruction for episode in episodes]
    assert [json.loads(row)["instruction"] for row in scenarios("data")] == sentences
    episodes[1].costs[0, 0] += 1
    save_round(path, episodes)
    assert export("run", "--images", "--out", "other") == 1
    assert "1 episodes cost something else" in capsys.readouterr().out


@pytest.mark.parametrize("spec", ["safevla", "strict"])
def test_rounds_cost_what_they_cost_by_their_own_specification(spec):
    config = ImitateConfig(out="run", spec=spec, world=WorldSettings(num_envs=2, horizon=25))
    RunFolder("run", config).close()
    episodes = recorded_round(Path("run/round_00.npz"), config.world, spec)
    assert export("run", "--out", "data") == 0
    assert column("data", "next.cost").sum() == sum(episode.cost for episode in episodes)


def parquet(*words):
    return main(["export", "--parquet", *SMALL, *words])


def contents(folder):
    """Every file of a data set by name; of the manifest, all but the command."""
    files = [*Path(folder, "steps").glob("*"), Path(folder, "episodes.parquet")]
    manifest = json.loads(Path(folder, "manifest.json").read_text())
    del manifest["command"]
    return {path.name: path.read_bytes() for path in files} | {"manifest": manifest}


def test_parquet_interrupted_or_by_two_processes_is_the_same(monkeypatch, capsys):
    words = ["--task", "PickUp", "--episodes", "3"]
    assert parquet(*words, "--processes", "1", "--out", "whole") == 0
    assert "3 episodes by expert" in capsys.readouterr().out
    whole = contents("whole")
    assert set(whole) == {"00000.parquet", "00001.parquet", "episodes.parquet", "manifest"}

    play, played = exporting.play_shard, []

    def ends(*job):
        if played:
            raise KeyboardInterrupt
        played.append(job)
        return play(*job)

    with monkeypatch.context() as patch:
        patch.setattr(exporting, "play_shard", ends)
        assert parquet(*words, "--processes", "1", "--out", "broken") == 130
    assert [path.name for path in Path("broken/steps").iterdir()] == ["00000.parquet"]
    assert not Path("broken/manifest.json").exists()
    kept = Path("broken/steps/00000.parquet").stat().st_mtime_ns
    assert parquet(*words, "--processes", "1", "--out", "broken", "--resume") == 0
    assert contents("broken") == whole
    assert Path("broken/steps/00000.parquet").stat().st_mtime_ns == kept

    assert parquet(*words, "--processes", "2", "--out", "shared") == 0
    assert contents("shared") == whole


def test_demonstrations_are_what_was_played_and_can_be_played_again(capsys):
    """In homes with a person."""
    words = ["--episodes", "2", "--spec", "strict", "--world.person", "true", "--processes", "1"]
    assert parquet(*words, "--out", "data") == 0
    data = safevla.load_demonstrations("data")
    strict = load_specification("strict")
    assert data.constraints == strict.names and data.manifest["specification"]["hash"] == strict.hash
    taken = [episode.actions for episode in data]
    scenarios = [episode.scenario for episode in data]
    env = make_env(scenarios, strict, WorldSettings(num_envs=2, horizon=25, person=True))
    again = play(env, exporting.Replayed(env, scenarios, taken), scenarios, keep=("manip", "joints"))
    for one, other in zip(data, again, strict=True):
        np.testing.assert_array_equal(one.costs, other.costs)
        np.testing.assert_array_equal(one.extras["manip"], other.extras["manip"])
        np.testing.assert_array_equal(one.extras["joints"], other.extras["joints"])
        assert (one.success, one.events, one.metres) == (other.success, other.events, other.metres)
    capsys.readouterr()
    assert export("data", "--images", "--out", "lerobot") == 0
    assert "2 episodes by expert" in capsys.readouterr().out
    np.testing.assert_array_equal(column("lerobot", "discrete_action"), np.concatenate(taken))
    np.testing.assert_array_equal(
        column("lerobot", "next.cost.corner"), np.concatenate([e.costs[:, 0] for e in data])
    )


def test_parquet_of_a_run_keeps_successes_alone_with_their_numbers():
    words = ["assure", "--policy", "random,inactive", "--episodes", "2", "--videos", "0", "--processes", "1"]
    assert main([*words, *SMALL, "--out", "run"]) == 0
    assert (
        main(["export", "--parquet", "run", "--policy", "random", "--processes", "1", "--out", "data"]) == 0
    )
    rows = load_table("run/episodes.parquet").to_pylist()
    recorded = [row["cost"] for row in rows if row["policy"] == "random"]
    assert safevla.load_demonstrations("data").table["cost"].to_pylist() == recorded
    chosen = ["--task", "PickUp", "--episodes", "3", "--seed", "2", "--only_successful", "--processes", "1"]
    assert main(["export", "--parquet", *chosen, "--world.horizon", "30", "--out", "some"]) == 0
    proven = [scenario.expert_length for scenario in draw(("PickUp",), "train", 3, 2)]
    assert proven[0] > 30 > max(proven[1:])
    some = safevla.load_demonstrations("some", pictures=False).table
    assert some["episode"].to_pylist() == [1, 2] and some["length"].to_pylist() == proven[1:]


def scenarios(folder):
    files = sorted(Path(folder, "meta/episodes").glob("*/*.parquet"))
    return [row for path in files for row in pq.read_table(path)["scenario"].to_pylist()]


@pytest.mark.skipif(
    importlib.util.find_spec("lerobot") is None, reason="lerobot is not installed: make test-lerobot"
)
def test_lerobot_trains_on_it_and_its_policy_is_judged_here():
    """The whole way: demonstrations, LeRobot's own training for two steps, a verdict on its checkpoint."""
    assert export("--episodes", "2", "--world.num_envs", "2", "--out", "data") == 0
    settings = {
        "dataset.repo_id": "safevla/test", "dataset.root": "data", "dataset.video_backend": "pyav",
        "policy.type": "act", "policy.push_to_hub": "false", "policy.device": "cpu",
        "policy.pretrained_backbone_weights": "null", "policy.chunk_size": 8, "policy.n_action_steps": 4,
        "policy.dim_model": 32, "policy.n_heads": 2, "policy.dim_feedforward": 32, "steps": 2, "save_freq": 2,
        "batch_size": 2, "num_workers": 0, "wandb.enable": "false", "output_dir": "trained",
    }  # fmt: skip
    words = [f"--{name}={value}" for name, value in settings.items()]
    subprocess.run([sys.executable, "-m", "lerobot.scripts.lerobot_train", *words], check=True)
    policy = "act=lerobot:trained/checkpoints/last/pretrained_model"
    words = ["assure", "--policy", policy, "--episodes", "2", "--videos", "0", "--processes", "1", *SMALL]
    assert main([*words, "--out", "judged"]) == 0
    assert load_table("judged/episodes.parquet").num_rows == 2


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["export"], "say in which format: --lerobot or --parquet"),
        (["export", "--lerobot", "--parquet"], "say in which format: --lerobot or --parquet"),
        (["export", "--parquet", "--images"], "--images is for --lerobot"),
        (["export", "--parquet", "--processes", "0"], "'processes' is 0"),
        (["export", "--lerobot", "--world.resolution", "111"], "even sides"),
        (["export", "--lerobot", "--policy", "random,inactive"], "one policy plays"),
        (["export", "--lerobot", "nowhere"], "cannot read nowhere/config.toml"),
        (["export", "--lerobot", "--policy", "randm"], "did you mean 'random'"),
    ],
)
def test_bad_input(words, text, capsys):
    assert main([*words, "--out", "out"]) == 2
    assert text in capsys.readouterr().err and not Path("out").exists()


def test_nothing_to_write(capsys):
    words = ["--policy", "inactive", "--only_successful", "--episodes", "2", *SMALL]
    assert export(*words, "--out", "out") == 2
    assert "no episode was written" in capsys.readouterr().err
