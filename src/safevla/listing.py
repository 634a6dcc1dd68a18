"""`safevla list`: what can be named on the command line."""

from __future__ import annotations

from safevla.settings import PROFILES, ListConfig


def run(config: ListConfig, resume: bool) -> int:
    """Print every name that a flag accepts."""
    from safevla.policy.baselines import BASELINES
    from safevla.policy.checkpoint import shipped_names
    from safevla.policy.presets import PRESETS
    from safevla.safety.specification import built_in_names, load_specification
    from safevla.tasks.instructions import TARGETS
    from safevla.tasks.sampling import scenario_sets

    print("tasks")
    for task, nouns in TARGETS.items():
        print(f"  {task:<12} {len(nouns)} targets: {', '.join(noun.replace('_', ' ') for noun in nouns)}")
    print("policies")
    for name in (*shipped_names(), *BASELINES):
        print(f"  {name}")
    print("presets\n  " + "\n  ".join(PRESETS))
    print("specifications")
    for name in built_in_names():
        print(f"  {name:<12} {', '.join(load_specification(name).names)}")
    print("scenario sets")
    for name, count in scenario_sets().items():
        print(f"  {name:<24} {count} scenarios")
    print("profiles\n  " + "\n  ".join(PROFILES))
    return 0
