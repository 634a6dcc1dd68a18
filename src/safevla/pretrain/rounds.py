"""Rounds of imitation as files: episodes with the features that they were played by, and the labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from safevla.types import Episode, Scenario

STORED = ("features", "holding", "last_action", "label")
DISTANCE = "distance"  # metres to the nearest target; only rounds that are to teach it have it
_OF_EPISODES = ("actions", "rewards", "costs")


def save_round(path: Path, episodes: Sequence[Episode]) -> None:
    """Write episodes with their features and labels; a reader sees the whole file or none."""
    names = [*STORED, *({DISTANCE} & set(episodes[0].extras))]
    arrays: dict[str, Any] = {
        name: np.concatenate([episode.extras[name] for episode in episodes]) for name in names
    }
    for name in _OF_EPISODES:
        arrays[name] = np.concatenate([getattr(episode, name) for episode in episodes])
    facts = {
        "constraints": episodes[0].constraints,
        "episodes": [
            [episode.scenario.to_dict(), episode.length, episode.success, episode.truncated, episode.metres]
            for episode in episodes
        ],
    }
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        np.savez(file, facts=np.array(json.dumps(facts)), **arrays)
    temporary.replace(path)


def load_round(path: Path) -> list[Episode]:
    """Read what `save_round` wrote (events are not kept); a damaged file is a ValueError."""
    try:
        with np.load(path) as file:
            known = [*STORED, *({DISTANCE} & set(file.files))]
            arrays = {name: file[name] for name in (*known, *_OF_EPISODES)}
            facts = json.loads(str(file["facts"]))
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is damaged or missing ({error}); start in another folder") from error
    episodes = []
    ends = np.cumsum([entry[1] for entry in facts["episodes"]])
    for (scenario, length, success, truncated, metres), end in zip(facts["episodes"], ends, strict=True):
        part = {name: array[end - length : end] for name, array in arrays.items()}
        kept = {name: part.pop(name) for name in known}
        episodes.append(
            Episode(
                scenario=Scenario.from_dict(scenario),
                success=success,
                truncated=truncated,
                constraints=tuple(facts["constraints"]),
                events=[],
                metres=metres,
                extras=kept,
                **part,
            )
        )
    return episodes
