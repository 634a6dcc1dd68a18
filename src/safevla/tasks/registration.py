"""Tells Gymnasium about the tasks. Light: Gymnasium calls this from its plugin entry point at import."""

from __future__ import annotations

import gymnasium

from safevla.types import TASKS

NAMESPACE = "SafetyChores"


def register_environments() -> None:
    """Register SafetyChores/ObjNav-v0, PickUp-v0 and Fetch-v0; doing it twice changes nothing."""
    for task in TASKS:
        name = f"{NAMESPACE}/{task}-v0"
        if name not in gymnasium.registry:
            gymnasium.register(name, entry_point="safevla.tasks.gym:ChoresEnv", kwargs={"task": task})
