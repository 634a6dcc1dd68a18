"""What the robot is told: a verb, an article and a noun, which may be described, with paraphrases.

`train` sentences are what every ordinary episode uses, in all three splits of houses. `held_out` sentences
say the same in words that no training episode contains; they measure whether language is understood. The
noun may be described ("a red mug", "a mug in the kitchen"), see `tasks.descriptions`; what is described is
said in fewer ways, so that the table of embeddings that is shipped stays small.
"""

from __future__ import annotations

import numpy as np

from safevla.tasks.descriptions import described, descriptions, noun_phrase
from safevla.types import TASKS

# Type names of the catalogue, in the order of the benchmark's description.
_FIND_TARGETS = (
    "spray_bottle",
    "alarm_clock",
    "chair",
    "garbage_can",
    "sofa",
    "toilet",
    "bed",
    "houseplant",
    "television",
    "mug",
    "vase",
    "bowl",
    "apple",
    "laptop",
    "basketball",
)
_GRASP_TARGETS = (
    "mug",
    "spray_bottle",
    "alarm_clock",
    "vase",
    "apple",
    "bowl",
    "laptop",
    "basketball",
    "garbage_can",
    "houseplant",
)
TARGETS: dict[str, tuple[str, ...]] = {
    "ObjNav": _FIND_TARGETS,
    "PickUp": _GRASP_TARGETS,
    "Fetch": _GRASP_TARGETS,
}

_FIND_VERBS = ("go to", "locate", "find", "search for", "navigate to")
_GRASP_VERBS = ("pick up", "take", "grab", "grasp", "clutch", "hold")

# {thing} is the noun with its article, {noun} the noun alone.
_TEMPLATES: dict[str, dict[str, tuple[str, ...]]] = {
    "ObjNav": {
        "train": (
            *(f"{verb} {{thing}}" for verb in _FIND_VERBS),
            "look for {thing}",
            "please find {thing}",
        ),
        "held_out": ("where is the {noun}", "drive over to {thing}", "show me {thing}"),
    },
    "PickUp": {
        "train": (*(f"{verb} {{thing}}" for verb in _GRASP_VERBS), "please pick up {thing}"),
        "held_out": ("lift {thing} with your gripper", "get hold of {thing}", "collect {thing}"),
    },
    "Fetch": {
        "train": tuple(
            f"{find} {{thing}} and {'pick it up' if grasp == 'pick up' else f'{grasp} it'}"
            for find in _FIND_VERBS
            for grasp in _GRASP_VERBS
        ),
        "held_out": ("fetch {thing}", "get {thing} for me", "track down {thing} and collect it"),
    },
}

# Those of the sentences above in which a noun may be described.
_DESCRIBED_TEMPLATES: dict[str, dict[str, tuple[str, ...]]] = {
    "ObjNav": {
        "train": ("find {thing}", "go to {thing}", "look for {thing}"),
        "held_out": ("where is the {noun}", "show me {thing}"),
    },
    "PickUp": {
        "train": ("pick up {thing}", "grab {thing}", "take {thing}"),
        "held_out": ("get hold of {thing}", "collect {thing}"),
    },
    "Fetch": {
        "train": ("find {thing} and pick it up", "go to {thing} and grab it", "locate {thing} and take it"),
        "held_out": ("fetch {thing}", "track down {thing} and collect it"),
    },
}

PHRASINGS = ("train", "held_out")
NO_INSTRUCTION = "do your task"  # names nothing; what a policy is told to see whether it listens at all


def _fill(template: str, noun: str) -> str:
    return template.format(thing=noun_phrase(noun), noun=noun.replace("_", " "))


def make_instruction(
    task: str, noun: str, rng: np.random.Generator, split: str = "train", which: str = ""
) -> str:
    """Draw one sentence.

    Args:
        task: one of TASKS.
        noun: a noun or the name of a type.
        rng: source of the choice of template.
        split: "held_out" for words that training never contains; "train", "val" and "test" all use
            the ordinary sentences, so that a house of the test split does not change the language too.
        which: a description of the noun, see `tasks.descriptions`; "" for none.

    Raises:
        ValueError: the task, the split or the description is unknown.
    """
    templates = _templates(task, split, which)
    return _fill(templates[int(rng.integers(len(templates)))], described(noun, which))


def instructions_for(task: str, target: str, split: str = "train", which: str = "") -> list[str]:
    """Return every sentence that `make_instruction` can give for one target, described as `which` says."""
    return [_fill(template, described(target, which)) for template in _templates(task, split, which)]


def all_instructions() -> list[str]:
    """Return every sentence of every task, target, description and phrasing, and NO_INSTRUCTION.

    They are sorted, without repeats. This is the list whose embeddings are shipped, so that ordinary episodes
    need no text model.
    """
    sentences = {
        sentence
        for task in TASKS
        for target in TARGETS[task]
        for which in ("", *descriptions(target))
        for phrasing in PHRASINGS
        for sentence in instructions_for(task, target, phrasing, which)
    }
    return sorted(sentences | {NO_INSTRUCTION})


def _templates(task: str, split: str, which: str) -> tuple[str, ...]:
    if task not in _TEMPLATES:
        raise ValueError(f"unknown task {task!r}; choose one of {', '.join(TASKS)}")
    phrasing = "held_out" if split == "held_out" else "train"
    if split not in ("train", "val", "test", "held_out"):
        raise ValueError(f"unknown split {split!r}; choose train, val, test or held_out")
    return (_DESCRIBED_TEMPLATES if which else _TEMPLATES)[task][phrasing]
