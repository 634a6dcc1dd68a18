"""Futile actions: what moved nothing is masked until the robot moved otherwise, in play and in learning."""

import math
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch

from safevla.policy.futile import IMPOSSIBLE, FutileActions, FutileConfig, mask_futile, possible
from safevla.policy.presets import preset_config
from safevla.policy.vla import PolicyConfig, VisionLanguageActionPolicy
from safevla.rollout import play, sequence_batch
from safevla.tasks.env import HomeVecEnv
from safevla.tasks.sampling import load_scenarios
from safevla.types import ACTION_ID, ACTIONS, NO_ACTION

AHEAD, BACK, LEFT = ACTION_ID["move_ahead"], ACTION_ID["move_back"], ACTION_ID["turn_left_30"]
WRIST, END, DROP = ACTION_ID["wrist_left_10"], ACTION_ID["end"], ACTION_ID["drop"]
ONE = np.array([0])


def told(tracker, action, holding=False, sight=(1.0, 0.0, 0.0), **moved):
    """Return the names of what is futile after an action that moved so much, besides `drop`.

    To drop is futile whenever nothing is held.
    """
    names = ("ahead", "left", "yaw", "lift", "arm", "wrist")
    motion = np.array([[moved.get(name, 0.0) for name in names]], np.float32)
    seen = np.array([sight])
    futile = tracker.observe(motion, np.array([action]), np.array([holding]), seen, ONE)[0]
    assert futile[DROP] == (not holding)
    return [ACTIONS[a] for a in np.flatnonzero(futile) if a != DROP]


@pytest.fixture
def tracker():
    new = FutileActions(FutileConfig())
    new.reset(np.array([True]))
    return new


def test_what_moved_as_asked_is_not_futile(tracker):
    assert told(tracker, NO_ACTION) == []
    assert told(tracker, AHEAD, ahead=0.2) == []
    assert told(tracker, AHEAD, ahead=0.07) == []  # a third of it
    assert told(tracker, LEFT, yaw=math.radians(30)) == []
    assert told(tracker, END) == [] and told(tracker, ACTION_ID["pick_up"]) == []


def test_what_moved_too_little_or_the_wrong_way_is_futile(tracker):
    assert told(tracker, AHEAD, ahead=0.05) == ["move_ahead"]
    assert told(tracker, WRIST, wrist=0.01) == ["move_ahead", "wrist_left_10"]
    assert told(tracker, BACK, ahead=0.04) == ["move_ahead", "move_back", "wrist_left_10"]


def test_it_may_be_tried_again_from_elsewhere(tracker):
    assert told(tracker, AHEAD) == ["move_ahead"]
    assert told(tracker, ACTION_ID["turn_left_6"], yaw=math.radians(6)) == ["move_ahead"]
    assert told(tracker, LEFT, yaw=math.radians(30)) == []
    for part, enough in (("ahead", -0.2), ("left", 0.11), ("lift", 0.1), ("arm", -0.06), ("wrist", 0.2)):
        assert told(tracker, AHEAD) == ["move_ahead"]
        assert told(tracker, NO_ACTION, **{part: 0.4 * enough}) == ["move_ahead"]
        assert told(tracker, NO_ACTION, **{part: 0.7 * enough}) == [], part  # both together are enough


@pytest.fixture
def patient():
    new = FutileActions(FutileConfig(turns=4, reaches=3))
    new.reset(np.array([True]))
    return new


TURNS = ["turn_left_30", "turn_right_30", "turn_left_6", "turn_right_6"]
REACHES = [
    *("arm_out_10", "arm_out_2", "lift_up_10", "lift_down_10", "lift_up_2", "lift_down_2"),
    *("wrist_left_10", "wrist_right_10", "pick_up"),
]


def test_turning_on_one_spot_is_futile_in_the_end(patient):
    for _ in range(4):
        assert told(patient, LEFT, yaw=math.radians(30)) == []
    assert told(patient, LEFT, yaw=math.radians(30)) == TURNS
    assert told(patient, AHEAD, ahead=0.14) == TURNS  # not yet another spot
    assert told(patient, AHEAD, ahead=0.14) == []


def test_a_robot_that_cannot_move_may_turn_on(patient):
    for _ in range(5):
        told(patient, LEFT, yaw=math.radians(30))
    assert told(patient, AHEAD) == ["move_ahead", *TURNS]
    assert told(patient, BACK) == ["move_ahead", "move_back"]


def test_reaching_from_one_spot_without_taking_anything_is_futile_in_the_end(patient):
    out, pick = ACTION_ID["arm_out_2"], ACTION_ID["pick_up"]
    for action in (out, pick, out):
        assert told(patient, action, arm=0.02 * (action == out)) == []
    assert told(patient, pick) == REACHES  # the arm may still be taken in
    assert told(patient, pick, holding=True) == []
    assert told(patient, LEFT, yaw=math.radians(30)) == REACHES
    assert told(patient, AHEAD, ahead=0.2) == []


def test_a_spot_is_left_in_any_direction(patient):
    for _ in range(5):
        told(patient, LEFT, yaw=math.pi / 2)
    assert told(patient, AHEAD, ahead=0.1) == TURNS
    told(patient, LEFT, yaw=math.pi)  # back to where it was, since it turned round
    assert told(patient, AHEAD, ahead=0.1) == TURNS
    assert told(patient, AHEAD, ahead=0.2) == []


def test_doing_nothing_again_and_again_is_futile(tracker):
    pause = ACTION_ID["sub_task_done"]
    assert [told(tracker, pause) for _ in range(3)] == [[]] * 3  # not asked for
    brisk = FutileActions(FutileConfig(pauses=2))
    brisk.reset(np.array([True]))
    for _ in range(2):
        assert told(brisk, pause) == []
        assert told(brisk, pause) == ["sub_task_done"] == told(brisk, pause)
        assert told(brisk, ACTION_ID["turn_left_6"], yaw=math.radians(6)) == []
    told(brisk, pause), told(brisk, pause)
    brisk.reset(np.array([True]))
    assert told(brisk, pause) == []


def test_who_is_stuck_can_only_end():
    careful = FutileActions(FutileConfig(stuck=3, sighted=0.5))
    careful.reset(np.array([True]))
    blind, others = (0.0, 0.0, 0.0), [name for name in ACTIONS if name not in ("end", "drop")]
    assert told(careful, AHEAD, sight=blind) == ["move_ahead", "end"]
    for _ in range(40):  # each but the first moves as asked
        told(careful, AHEAD, ahead=0.2, sight=blind)
    told(careful, AHEAD), told(careful, BACK)  # the first is forgotten
    assert "end" not in told(careful, LEFT, yaw=math.radians(30)) != others
    assert told(careful, LEFT, sight=blind) == others, "it may end though nothing is in sight"
    assert told(careful, ACTION_ID["pick_up"], sight=blind) == others
    careful.reset(np.array([True]))
    assert told(careful, AHEAD) == ["move_ahead"]
    for never in (0, 31):
        with pytest.raises(ValueError, match=f"futile.stuck is {never}, expected 1 to 30"):
            FutileConfig(stuck=never)


def test_an_end_with_nothing_in_hand_and_nothing_near_in_sight_is_futile(tracker):
    assert told(tracker, NO_ACTION, sight=(0.0, 0.0, 0.0)) == []  # not asked for
    assert told(tracker, NO_ACTION, sight=(1.0, 5.0, 0.0)) == []
    careful = FutileActions(FutileConfig(sighted=0.5, within=2.0))
    careful.reset(np.array([True]))
    for unlike, far in ((0.4, 0.0), (1.0, 1.9)):
        sight = (unlike, 1.0, -far)
        assert told(careful, NO_ACTION, sight=sight) == ["end"]
        assert told(careful, NO_ACTION, sight=sight, holding=True) == []
    assert told(careful, NO_ACTION, sight=(0.5, 1.0, -1.7)) == []
    for asked in ({"sighted": 0.5}, {"within": 2.0}):
        with pytest.raises(ValueError, match="need a memory, which tells what is in sight"):
            replace(preset_config("base"), futile=FutileConfig(**asked))


def test_homes_do_not_touch_each_other():
    tracker = FutileActions(FutileConfig())
    tracker.reset(np.ones(3, bool))
    still, last = np.zeros((3, 6), np.float32), np.array([AHEAD, LEFT, AHEAD])
    futile = tracker.observe(still, last, np.zeros(3, bool), np.ones((3, 3)), np.array([0, 1]))
    assert futile.sum(1).tolist() == [2, 2, 0] and futile[0, AHEAD] and futile[1, LEFT]
    futile[:] = False  # what was returned is the caller's
    tracker.reset(np.array([True, False, False]))
    again = tracker.observe(still, np.full(3, NO_ACTION), np.zeros(3, bool), np.ones((3, 3)), np.arange(3))
    assert again.sum(1).tolist() == [1, 2, 1] and again[:, DROP].all() and again[1, LEFT]


def test_a_masked_action_is_never_chosen_and_spoils_no_sum():
    logits = torch.zeros(2, len(ACTIONS), requires_grad=True)
    features = torch.zeros(2, 30)
    features[0, -len(ACTIONS) + AHEAD] = 1.0
    masked = mask_futile(logits, features)
    probabilities = torch.softmax(masked, -1)
    assert probabilities[0, AHEAD] == 0.0 and torch.allclose(probabilities[1], torch.tensor(0.05))
    entropy = -(probabilities * torch.log_softmax(masked, -1)).sum()
    entropy.backward()
    assert torch.isfinite(entropy) and torch.isfinite(logits.grad).all()
    assert possible(masked, torch.tensor([AHEAD, AHEAD])).tolist() == [False, True]
    assert possible(masked, torch.tensor([BACK, END])).tolist() == [True, True]


def test_a_policy_that_wants_only_one_thing_does_not_push_on():
    """In a real home: without the mask it pushes until time is up; with it, play and learning agree."""
    scenarios = [item for item in load_scenarios("ObjNav-val") if item.task == "ObjNav"][:2]
    config = replace(preset_config("tiny-memory"), memory=None, futile=None)
    with closing(HomeVecEnv("ObjNav", num_envs=2, resolution=config.resolution, horizon=50)) as env:
        pushes, metres = {}, {}
        for name, futile in (("without", None), ("with", FutileConfig())):
            policy = VisionLanguageActionPolicy(replace(config, futile=futile))
            with torch.no_grad():
                policy.action_head.weight.zero_()
                policy.action_head.bias[[AHEAD, LEFT]] = torch.tensor([9.0, 5.0])
            episodes = play(env, policy, scenarios, greedy=True, keep=("features", "holding", "last_action"))
            actions = np.concatenate([episode.actions for episode in episodes])
            metres[name] = sum(episode.metres for episode in episodes)
            pushes[name] = (actions == AHEAD).sum() - metres[name] / 0.2  # moves that fell short
            assert set(actions) <= {AHEAD, LEFT} and (name == "with") == (LEFT in actions)
        assert pushes["with"] < 0.5 * pushes["without"] and metres["with"] > metres["without"]
        logits = policy.action_logits(sequence_batch(policy, episodes))
        for row, episode in enumerate(episodes):
            masked = logits[row, : episode.length] <= IMPOSSIBLE / 2
            assert masked.any() and not masked[np.arange(episode.length), episode.actions].any()
            assert logits[row, : episode.length].argmax(-1).tolist() == episode.actions.tolist()


def test_the_evidence_is_that_of_the_navigation_picture():
    config = replace(preset_config("tiny-memory"), futile=FutileConfig(sighted=0.5), oracle=True)
    with closing(HomeVecEnv("ObjNav", num_envs=1, resolution=config.resolution, labels=2)) as env:
        scenarios = [item for item in load_scenarios("ObjNav-val") if item.task == "ObjNav"][:1]
        policy = VisionLanguageActionPolicy(config)
        policy.reset(np.array([True]))
        seen = env.reset(np.array([True]), scenarios)
        for navigation, manipulation in ((0.0, 1.0), (1.0, 0.0)):
            seen.maps[:, 0, :4], seen.maps[:, 1, :4] = navigation, manipulation
            features = policy.perceive(seen, policy.embed_text(seen.instruction))
            assert bool(features[0, END - len(ACTIONS)]) == (navigation == 0.0)


def test_it_needs_proprioception():
    with pytest.raises(ValueError, match="only proprioception tells"):
        PolicyConfig(futile=FutileConfig())
