import numpy as np
import pytest

from safevla.tasks.instructions import (
    TARGETS,
    all_instructions,
    instructions_for,
    make_instruction,
    noun_phrase,
)
from safevla.types import TASKS


def test_articles():
    assert noun_phrase("apple") == "an apple"
    assert noun_phrase("alarm_clock") == "an alarm clock"
    assert noun_phrase("mug") == "a mug"


@pytest.mark.parametrize("task", TASKS)
def test_drawn_sentences_are_listed_and_name_the_target(task):
    known = set(all_instructions())
    rng = np.random.default_rng(0)
    for target in TARGETS[task]:
        for split in ("train", "val", "held_out"):
            sentence = make_instruction(task, target, rng, split)
            assert sentence in known
            assert target.replace("_", " ") in sentence


@pytest.mark.parametrize("task", TASKS)
def test_held_out_sentences_never_train(task):
    for target in TARGETS[task]:
        assert not set(instructions_for(task, target)) & set(instructions_for(task, target, "held_out"))


def test_a_described_target_is_asked_for_in_words_of_ordinary_sentences():
    known, rng = set(all_instructions()), np.random.default_rng(0)
    sentence = make_instruction("ObjNav", "mug", rng, which="in:living_room")
    assert sentence in known and sentence.endswith("a mug in the living room")
    assert "find an orange basketball" in instructions_for("ObjNav", "basketball", which="colour:orange")
    for task in TASKS:
        for which in ("colour:red", "on:desk"):
            plain = [
                one.replace("red apple", "apple").replace("a apple", "an apple").replace(" on a desk", "")
                for one in instructions_for(task, "apple", which=which)
            ]
            assert set(plain) <= set(instructions_for(task, "apple"))
            held_out = set(instructions_for(task, "apple", "held_out", which))
            assert held_out <= known and not held_out & set(instructions_for(task, "apple", which=which))


def test_targets_match_the_benchmark():
    assert [len(TARGETS[task]) for task in TASKS] == [15, 10, 10]
    assert "find an apple and grab it" in instructions_for("Fetch", "apple")


def test_wrong_names_are_one_clear_error():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="unknown task 'Nav'"):
        make_instruction("Nav", "mug", rng)
    with pytest.raises(ValueError, match="unknown split"):
        make_instruction("ObjNav", "mug", rng, "other")
