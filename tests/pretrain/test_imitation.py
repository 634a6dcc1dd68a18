"""Imitation on a toy: the rule is learned, the mixture is what it says, and a run goes on exactly."""

import functools
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from safevla.pretrain.imitation import ExpertDriven, ImitationConfig, imitate, load_round, save_round
from safevla.rollout import play
from toy import END, ToyEnv, ToyPolicy, scenario

# "Fetch" never ends by itself; the expert's rule depends on the picture (the house) and the step.
TRAIN = [scenario(number, "Fetch") for number in [*range(30), *range(220, 250)]]
VALIDATION = [scenario(number, "Fetch") for number in [*range(30, 40), *range(210, 220)]]
CONFIG = ImitationConfig(
    rounds=3,
    demonstrations=40,
    corrections=20,
    noise=0.1,
    first_epochs=40,
    epochs=10,
    minibatch_sequences=4,
    learning_rate=0.1,
    validation_episodes=20,
)


class ToyExpert:
    def __init__(self, env, home):
        self.env, self.home = env, home

    def act(self, visible_pixels):
        assert visible_pixels.shape == (2, 1)
        if self.env.steps[self.home] >= 3:
            return END
        return 1 if self.env.scenarios[self.home].house_seed < 128 else 2


def run(out, config=CONFIG, seed=0, **processes):
    return imitate(
        config,
        ToyPolicy(actions=20, seed=seed),
        ToyEnv(5, horizon=12),
        TRAIN,
        out,
        validation_scenarios=VALIDATION,
        expert=ToyExpert,
        **processes,
    )


def lines(path):
    found = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if not key.startswith("perf/")} for line in found]


def test_the_rule_is_learned(tmp_path):
    policy = run(tmp_path)
    for episode in play(ToyEnv(4, horizon=12), policy, VALIDATION, greedy=True):
        assert episode.actions.tolist() == [1 if episode.scenario.house_seed < 128 else 2] * 3 + [END]
    metrics = lines(tmp_path)
    assert metrics[-1]["accuracy/action"] > 0.95
    assert metrics[-1]["validation/greedy/success"] == 1.0
    assert metrics[-1]["validation/sampled/success/Fetch"] > 0.5
    assert [line["data/episodes"] for line in metrics] == [40, 60, 80]


def test_resume_is_exact_to_the_bit(tmp_path):
    straight = run(tmp_path / "straight")
    run(tmp_path / "halves", replace(CONFIG, rounds=1))
    resumed = run(tmp_path / "halves", seed=9)
    for ours, theirs in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert lines(tmp_path / "straight") == lines(tmp_path / "halves")


def drive(round_number, **changes):
    config = replace(CONFIG, **changes)
    env = ToyEnv(5, horizon=12)
    driver = ExpertDriven(env, ToyPolicy(actions=20), config, round_number, ToyExpert)
    return play(env, driver, TRAIN, keep=("label", "features", "holding", "last_action"))


def test_without_noise_the_expert_drives_and_with_it_labels_stay_the_experts():
    for episode in drive(0, noise=0.0, patience=1):
        assert episode.success
        np.testing.assert_array_equal(episode.actions, episode.extras["label"])
    episodes = drive(0, noise=0.4, patience=1)
    executed = np.concatenate([episode.actions for episode in episodes])
    label = np.concatenate([episode.extras["label"] for episode in episodes])
    off_path = np.mean(executed != label)
    assert 0.2 < off_path < 0.8
    assert set(label) == {1, 2, END}
    assert not ((executed == END) & (label != END)).any()


def test_the_student_drives_later_but_never_ends_wrongly():
    episodes = drive(1, expert_share=0.0)
    executed = np.concatenate([episode.actions for episode in episodes])
    label = np.concatenate([episode.extras["label"] for episode in episodes])
    assert np.mean(executed == label) < 0.6  # an untrained student among 20 actions
    assert not ((executed == END) & (label != END)).any()
    # The expert answers `end` twice in a row, then the episode is over.
    assert max((episode.extras["label"] == END).sum() for episode in episodes) == 2
    expert_alone = drive(1, expert_share=1.0, patience=1)
    assert all(np.array_equal(episode.actions, episode.extras["label"]) for episode in expert_alone)


def test_rounds_survive_the_disk(tmp_path):
    episodes = drive(0)
    save_round(tmp_path / "round.npz", episodes)
    for ours, theirs in zip(load_round(tmp_path / "round.npz"), episodes, strict=True):
        assert (ours.scenario, ours.success, ours.truncated) == (
            theirs.scenario,
            theirs.success,
            theirs.truncated,
        )
        np.testing.assert_array_equal(ours.actions, theirs.actions)
        np.testing.assert_array_equal(ours.costs, theirs.costs)
        for name in ("features", "holding", "last_action", "label"):
            np.testing.assert_array_equal(ours.extras[name], theirs.extras[name])
    (tmp_path / "round.npz").write_bytes(b"half")
    with pytest.raises(ValueError, match="damaged or missing"):
        load_round(tmp_path / "round.npz")


def test_time_budget_and_bad_input(tmp_path):
    run(tmp_path / "a", replace(CONFIG, time_budget=0.0))
    assert not (tmp_path / "a" / "metrics.jsonl").exists()
    with pytest.raises(ValueError, match="no scenario"):
        imitate(CONFIG, ToyPolicy(actions=20), ToyEnv(2), [], tmp_path / "b", expert=ToyExpert)
    never = SimpleNamespace(act=lambda pixels: 0)
    with pytest.raises(ValueError, match="solved none"):
        imitate(
            replace(CONFIG, noise=0.0),
            ToyPolicy(actions=20),
            ToyEnv(2),
            TRAIN,
            tmp_path / "c",
            expert=lambda env, home: never,
        )
    with pytest.raises(ValueError, match="noise is 2"):
        replace(CONFIG, noise=2.0)


def test_two_processes_play_the_same_episodes(tmp_path):
    run(tmp_path / "one")
    run(tmp_path / "two", make_env=functools.partial(ToyEnv, 5, horizon=12), processes=2)
    for number in range(CONFIG.rounds):
        name = f"round_{number:02d}.npz"
        for ours, theirs in zip(
            load_round(tmp_path / "one" / name), load_round(tmp_path / "two" / name), strict=True
        ):
            np.testing.assert_array_equal(ours.actions, theirs.actions)
            np.testing.assert_array_equal(ours.extras["label"], theirs.extras["label"])
    assert lines(tmp_path / "one") == lines(tmp_path / "two")
