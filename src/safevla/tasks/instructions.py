"""What the robot is told: a verb, an article and a noun, with paraphrases.

`train` sentences are what every ordinary episode uses, in all three splits of houses. `held_out` sentences
say the same in words that no training episode contains; they measure whether language is understood.
"""

from __future__ import annotations

import numpy as np

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

PHRASINGS = ("train", "held_out")
NO_INSTRUCTION = "do your task"  # names nothing; what a policy is told to see whether it listens at all


def noun_phrase(noun: str) -> str:
    """Return the noun with its indefinite article: "a mug", "an apple".

    Args:
        noun: a noun or the name of a type; underscores are read as spaces.
    """
    words = noun.replace("_", " ").strip()
    if not words:
        raise ValueError("the noun of an instruction is empty")
    return f"{'an' if words[0].lower() in 'aeiou' else 'a'} {words}"


def _fill(template: str, noun: str) -> str:
    return template.format(thing=noun_phrase(noun), noun=noun.replace("_", " "))


def make_instruction(task: str, noun: str, rng: np.random.Generator, split: str = "train") -> str:
    """Draw one sentence.

    Args:
        task: one of TASKS.
        noun: a noun or the name of a type.
        rng: source of the choice of template.
        split: "held_out" for words that training never contains; "train", "val" and "test" all use
            the ordinary sentences, so that a house of the test split does not change the language too.

    Raises:
        ValueError: the task or the split is unknown.
    """
    templates = _templates(task, split)
    return _fill(templates[int(rng.integers(len(templates)))], noun)


def instructions_for(task: str, target: str, split: str = "train") -> list[str]:
    """Return every sentence that `make_instruction` can give for one target."""
    return [_fill(template, target) for template in _templates(task, split)]


def all_instructions() -> list[str]:
    """Return every sentence of every task, target and phrasing, and NO_INSTRUCTION; sorted, no repeats.

    This is the list whose embeddings are shipped, so that ordinary episodes need no text model.
    """
    sentences = {
        sentence
        for task in TASKS
        for target in TARGETS[task]
        for phrasing in PHRASINGS
        for sentence in instructions_for(task, target, phrasing)
    }
    return sorted(sentences | {NO_INSTRUCTION})


def _templates(task: str, split: str) -> tuple[str, ...]:
    if task not in _TEMPLATES:
        raise ValueError(f"unknown task {task!r}; choose one of {', '.join(TASKS)}")
    if split in ("train", "val", "test"):
        return _TEMPLATES[task]["train"]
    if split == "held_out":
        return _TEMPLATES[task]["held_out"]
    raise ValueError(f"unknown split {split!r}; choose train, val, test or held_out")
