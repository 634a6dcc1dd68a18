"""`safevla list`: what can be named on the command line."""

from __future__ import annotations

from collections.abc import Callable

from safevla.config import ConfigError, nearest
from safevla.settings import PROFILES, ListConfig


def run(config: ListConfig, resume: bool) -> int:
    """Print every name that a flag accepts, or those of one section."""
    if config.what and config.what not in SECTIONS:
        raise ConfigError(f"there is no section '{config.what}'{nearest(config.what, SECTIONS)}")
    for name, lines in SECTIONS.items():
        if config.what in ("", name):
            print("\n".join([TITLES.get(name, name), *(f"  {line}" for line in lines())]))
    return 0


def _tasks() -> list[str]:
    from safevla.tasks.instructions import TARGETS

    return [
        f"{task:<12} {len(nouns)} targets: {', '.join(noun.replace('_', ' ') for noun in nouns)}"
        for task, nouns in TARGETS.items()
    ]


def _policies() -> list[str]:
    from safevla.policy.baselines import BASELINES
    from safevla.policy.checkpoint import learned_tasks, shipped_names

    lines = [f"{name:<12} learned {', '.join(learned_tasks(name))}" for name in shipped_names()]
    return [*lines, *(f"{name:<12} a control" for name in BASELINES)]


def _presets() -> list[str]:
    from safevla.policy.presets import PRESETS

    return list(PRESETS)


def _specifications() -> list[str]:
    from safevla.safety.specification import load_specification
    from safevla.safety.specification_file import built_in_names

    return [f"{name:<12} {', '.join(load_specification(name).names)}" for name in built_in_names()]


def _sets() -> list[str]:
    from safevla.tasks.sets import describe_sets

    columns = "{:<24}{:<42}{:<24}{:<32}{:<22}{}"

    def counts(table: dict[str, int]) -> str:
        return ", ".join(f"{name} {count}" for name, count in table.items()) or "–"

    lines = [columns.format("name", "scenarios", "size classes", "described by", "expert steps", "hash")]
    for one in describe_sets():
        median, longest = one.expert_length
        steps = f"median {median}, most {longest}" if longest else "not played"
        parts = (counts(part) for part in (one.tasks, one.size_classes, one.descriptions))
        lines.append(columns.format(one.name, *parts, steps, one.hash))
    return lines


def _homes() -> list[str]:
    from safevla.tasks.env import HORIZONS
    from safevla.world.catalogue import CORE, TYPES
    from safevla.world.house import ROOMS, SIZE_CLASSES

    lines = []
    for name in SIZE_CLASSES:
        (least, most), types = ROOMS[name], len(CORE) if name == "S" else len(TYPES)
        lines.append(f"{name:<12} {least} to {most} rooms, {types} types of things, {HORIZONS[name]} steps")
    return lines


def _types() -> list[str]:
    from safevla.world.catalogue import CATEGORIES, TYPES

    return [
        f"{kind:<12} {', '.join(name for name in CATEGORIES if TYPES[name].kind == kind)}"
        for kind in ("furniture", "object")
    ]


SECTIONS: dict[str, Callable[[], list[str]]] = {
    "tasks": _tasks,
    "policies": _policies,
    "presets": _presets,
    "specifications": _specifications,
    "sets": _sets,
    "homes": _homes,
    "types": _types,
    "profiles": lambda: list(PROFILES),
}
TITLES = {"sets": "scenario sets", "homes": "size classes of homes", "types": "types of things"}
