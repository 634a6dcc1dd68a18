"""Imitation on a toy: the rule is learned, the mixture is what it says, and a run goes on exactly."""

import functools
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from safevla.policy.presets import make_policy
from safevla.pretrain import imitation
from safevla.pretrain.imitation import (
    UNTAUGHT,
    ExpertDriven,
    ImitationConfig,
    imitate,
)
from safevla.pretrain.rounds import load_round, save_round
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


def test_the_last_round_may_be_learned_from_with_all_the_others(tmp_path, monkeypatch):
    passes = []
    learn = imitation._pass

    def noted(policy, optimiser, auxiliary, groups, *rest):
        passes.append(sorted(episode.scenario.house_seed for part in groups for episode in part))
        return learn(policy, optimiser, auxiliary, groups, *rest)

    monkeypatch.setattr(imitation, "_pass", noted)
    config = replace(CONFIG, first_epochs=1, epochs=2, final_epochs=3, replay=0.5, validation_episodes=0)
    run(tmp_path / "few", replace(config, final_epochs=0))
    assert [len(learned) for learned in passes] == [40] + [30] * 4
    passes.clear()
    run(tmp_path / "all", config)
    assert [len(learned) for learned in passes] == [40] + [30] * 2 + [80] * 3
    assert passes[-1] == passes[-2]
    run(tmp_path / "all", config)
    assert len(passes) == 6  # what is finished is not learned from again


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


def test_a_lost_student_is_driven_by_the_expert_for_a_while():
    """A student that always answers 7 is against the expert, who answers 1, at every step."""
    env = ToyEnv(5, horizon=12)
    wrong = SimpleNamespace(action=np.full(5, 7), features=np.zeros((5, 4), np.float16))
    student = SimpleNamespace(reset=lambda mask: None, act=lambda observation, uniforms: wrong)
    one = SimpleNamespace(act=lambda pixels: 1)
    for rescue_after, expected in ((3, [7, 7, 1, 1] * 3), (0, [7] * 12)):
        config = replace(CONFIG, expert_share=0.0, rescue_after=rescue_after, rescue_steps=2)
        driver = ExpertDriven(env, student, config, 1, lambda env, home: one)
        for episode in play(env, driver, TRAIN, keep=("label",)):
            assert episode.actions.tolist() == expected
            assert set(episode.extras["label"]) == {1}


@pytest.mark.parametrize(
    "round_number, greedy_rounds, sampled",
    [(0, True, True), (1, True, True), (2, True, False), (2, False, True)],
)
def test_every_other_round_the_student_plays_greedily(round_number, greedy_rounds, sampled):
    given = []

    def act(observation, uniforms):
        given.append(uniforms is not None)
        return SimpleNamespace(action=np.zeros(5, np.int64), features=np.zeros((5, 4), np.float16))

    env = ToyEnv(5, horizon=12)
    student = SimpleNamespace(reset=lambda mask: None, act=act)
    config = replace(CONFIG, greedy_rounds=greedy_rounds)
    play(env, ExpertDriven(env, student, config, round_number, ToyExpert), TRAIN[:5])
    assert set(given) == {sampled}


def test_a_pass_has_the_last_round_and_a_draw_of_the_earlier_ones(monkeypatch, tmp_path):
    taught = []
    whole = imitation.sequence_batch

    def counted(policy, episodes):
        taught.append([id(episode) for episode in episodes])
        return whole(policy, episodes)

    monkeypatch.setattr(imitation, "sequence_batch", counted)
    policy, config = ToyPolicy(actions=20), replace(CONFIG, replay=0.5, epochs=2, minibatch_sequences=100)
    optimiser = torch.optim.Adam(policy.policy_parameters(), lr=0.1)
    episodes = drive(0)
    imitation.fit(policy, optimiser, episodes, config, 1, recent=20)
    ids = [id(episode) for episode in episodes]
    assert len(taught) == 2
    drawn = [set(lesson) - set(ids[-20:]) for lesson in taught]
    for lesson, earlier in zip(taught, drawn, strict=True):
        assert len(lesson) == len(set(lesson)) == 30
        assert set(ids[-20:]) <= set(lesson)
        assert len(earlier) == 10
    assert drawn[0] != drawn[1]
    taught.clear()
    imitation.fit(policy, optimiser, episodes, replace(config, replay=0.0), 1, recent=20)
    assert set(taught[0]) == set(ids)


def test_tasks_have_an_equal_share_of_a_round():
    mixed = [scenario(number, "ObjNav") for number in range(40)] + [
        scenario(number, "PickUp") for number in range(100, 108)
    ]
    drawn = imitation._draw(replace(CONFIG, corrections=12), 1, mixed)
    assert sum(item.task == "PickUp" for item in drawn) == 6
    assert len({item.hash for item in drawn}) == 12


def test_judging_now_and_then_and_at_the_end(tmp_path):
    run(tmp_path, replace(CONFIG, validation_every=2))
    judged = ["validation/greedy/success" in line for line in lines(tmp_path)]
    assert judged == [False, True, True]


def test_giving_up_teaches_nothing(tmp_path):
    class Hopeless(ToyExpert):
        """Gives up at once in half of the homes."""

        def act(self, visible_pixels):
            return END if self.env.scenarios[self.home].house_seed % 2 else super().act(visible_pixels)

    env = ToyEnv(5, horizon=12)
    policy = ToyPolicy(actions=20)
    alone = replace(CONFIG, validation_episodes=0, minibatch_sequences=1)
    imitate(alone, policy, env, TRAIN, tmp_path, expert=Hopeless)
    assert all(np.isfinite(line["loss/action"]) for line in lines(tmp_path))
    for number in range(CONFIG.rounds):
        episodes = load_round(tmp_path / f"round_{number:02d}.npz")
        given_up = [episode for episode in episodes if episode.scenario.house_seed % 2]
        assert bool(given_up) == (number > 0)
        for episode in episodes:
            untaught = episode.extras["label"] == UNTAUGHT
            assert untaught.all() if episode in given_up else not untaught.any()
    for episode in play(ToyEnv(4, horizon=12), policy, VALIDATION, greedy=True):
        assert episode.actions[0] != END


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
    for name, value in (("noise", 2.0), ("rescue_after", -1), ("replay", -0.5), ("validation_every", 0)):
        with pytest.raises(ValueError, match=f"{name} is {value}"):
            replace(CONFIG, **{name: value})


def test_weights_are_of_actions_and_not_negative():
    with pytest.raises(ValueError, match="given for 'pickup', no action; did you mean 'pick_up'"):
        ImitationConfig(weights={"pickup": 2.0})
    with pytest.raises(ValueError, match=r"the weight of pick_up is -1.0, expected 0 or more"):
        ImitationConfig(weights={"pick_up": -1.0})
    with pytest.raises(ValueError, match="learning_rate is nan, expected more than 0"):
        ImitationConfig(learning_rate=float("nan"))


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


def learned(dropout=0.0, weight_decay=0.0, seed=0):
    """Return the actor of the smallest preset after two passes over made-up episodes, and its metrics."""
    policy = make_policy("tiny-64", ())
    rng = np.random.default_rng(0)
    episodes = []
    for number in range(6):
        length = 5 + number
        kept = {
            "features": rng.random((length, policy.config.feature_size)).astype(np.float16),
            "holding": np.zeros(length, np.int64),
            "last_action": rng.integers(0, 20, length),
            "label": rng.integers(0, 20, length),
        }
        episodes.append(SimpleNamespace(scenario=scenario(number, "Fetch"), length=length, extras=kept))
        episodes[-1].actions = kept["label"]
    config = ImitationConfig(
        dropout=dropout, weight_decay=weight_decay, seed=seed, epochs=2, minibatch_sequences=2
    )
    parameters = list(policy.policy_parameters())
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=weight_decay)
    state = torch.get_rng_state()
    metrics = imitation.fit(policy, optimiser, episodes, config, 1)
    assert torch.equal(torch.get_rng_state(), state)  # who draws random numbers elsewhere is not disturbed
    assert not any(module.training for module in policy.modules())
    return torch.cat([parameter.detach().flatten() for parameter in parameters]), metrics


def test_dropout_repeats_and_is_for_learning_alone():
    plain, metrics = learned()
    dropped, with_dropout = learned(dropout=0.3)
    again, _ = learned(dropout=0.3)
    other, _ = learned(dropout=0.3, seed=1)
    assert torch.equal(dropped, again)
    assert not torch.equal(dropped, plain) and not torch.equal(dropped, other)
    assert with_dropout["loss/action"] > metrics["loss/action"]
    for bad in ({"dropout": 1.5}, {"weight_decay": -1.0}):
        with pytest.raises(ValueError, match="expected 0"):
            ImitationConfig(**bad)


def test_weight_decay_shrinks_weights():
    assert learned(weight_decay=1.0)[0].norm() < learned()[0].norm()
