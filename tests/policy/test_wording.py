import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from safevla.policy.baselines import InactivePolicy
from safevla.policy.checkpoint import load_policy
from safevla.policy.text import TextEncoder
from safevla.policy.wording import WORDINGS, Reworded, reword
from safevla.tasks.descriptions import descriptions
from safevla.tasks.instructions import NO_INSTRUCTION, TARGETS, instructions_for
from safevla.types import TASKS, Observation

DESCRIBED = [
    (task, target, which, sentence)
    for task in TASKS
    for target in TARGETS[task]
    for which in descriptions(target)
    for sentence in instructions_for(task, target, which=which)
]
ORDINARY = [
    (task, target, sentence)
    for task in TASKS
    for target in TARGETS[task]
    for sentence in instructions_for(task, target)
]


@pytest.mark.parametrize("wording", WORDINGS)
def test_every_sentence_is_reworded_into_one_that_is_in_the_table(wording):
    text = TextEncoder()
    assert all(reword(sentence, wording) in text for *_, sentence in (*ORDINARY, *DESCRIBED))


def test_a_wrong_instruction_asks_for_another_thing_in_the_same_words():
    seen = set()
    for task, target, sentence in ORDINARY:
        wrong = reword(sentence, "wrong")
        (noun,) = [noun for noun in TARGETS[task] if wrong in instructions_for(task, noun)]
        assert noun != target
        assert instructions_for(task, noun).index(wrong) == instructions_for(task, target).index(sentence)
        seen.add(noun)
    assert seen == set(TARGETS["ObjNav"]) | set(TARGETS["PickUp"])


def test_held_out_words_ask_for_the_same_thing():
    for task, target, sentence in ORDINARY:
        assert reword(sentence, "held_out") in instructions_for(task, target, "held_out")


def test_a_wrong_description_asks_for_another_of_the_same_type_where_there_can_be_one():
    assert reword("find a red mug", "wrong") in {
        f"find a {colour} mug" for colour in ("yellow", "green", "blue", "purple", "white")
    }
    assert reword("find an orange basketball", "wrong") in {
        sentence for target in TARGETS["ObjNav"] for sentence in instructions_for("ObjNav", target)
    }
    for task, target, which, sentence in DESCRIBED:
        wrong = reword(sentence, "wrong")
        kind = which.partition(":")[0]
        alike = [other for other in descriptions(target) if other.startswith(f"{kind}:") and other != which]
        others = {other for one in alike for other in instructions_for(task, target, which=one)}
        assert wrong != sentence
        assert wrong in others if alike else wrong not in instructions_for(task, target)


def test_held_out_words_keep_the_description_and_plain_ones_drop_it():
    for task, target, which, sentence in DESCRIBED:
        assert reword(sentence, "held_out") in instructions_for(task, target, "held_out", which)
        assert reword(sentence, "plain") in instructions_for(task, target)
    assert reword("grab a mug in the kitchen", "plain") == "grab a mug"
    assert all(reword(sentence, "plain") == sentence for _, _, sentence in ORDINARY)


def test_what_is_no_ordinary_instruction_is_refused():
    with pytest.raises(ValueError, match="not an ordinary instruction"):
        reword("make me a sandwich", "wrong")
    with pytest.raises(ValueError, match="choose one of held_out, wrong, plain, none"):
        reword("find a mug", "louder")
    with pytest.raises(ValueError, match="choose one of"):
        Reworded(InactivePolicy(), "louder")


def test_the_policy_is_told_it_and_nothing_else_changes():
    told = []
    policy = SimpleNamespace(
        constraints=("corner",),
        resolution=112,
        reset=lambda mask: told.append(mask.tolist()),
        act=lambda seen, uniforms: told.append((seen.instruction, seen.step.tolist(), uniforms)),
    )
    other = Reworded(policy, "none")
    empty = np.zeros(0)
    observation = Observation(
        nav=empty, manip=empty, instruction=["find a mug", ""], holding=empty, last_action=empty,
        step=np.array([3, 0]),
    )  # fmt: skip
    other.reset(np.ones(2, bool))
    other.act(observation, None)
    assert told == [[True, True], ([NO_INSTRUCTION, ""], [3, 0], None)]
    assert observation.instruction == ["find a mug", ""]
    assert other.constraints == ("corner",) and other.resolution == 112
    with pytest.raises(AttributeError):
        _ = other.max_steps


def test_a_suffix_of_the_name_asks_for_it():
    policy = load_policy("inactive+wrong")
    assert isinstance(policy, Reworded) and isinstance(policy.policy, InactivePolicy)
    assert isinstance(pickle.loads(pickle.dumps(policy)), Reworded)
    assert not hasattr(load_policy("imitation+none"), "policy_parameters"), "align refuses it by this"
    with pytest.raises(ValueError, match="unknown policy 'inactive\\+loud'"):
        load_policy("inactive+loud")
