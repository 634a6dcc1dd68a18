"""The verbs about specifications: check one, and score recorded episodes by one."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from safevla.safety.aggregation import describe as aggregation_words
from safevla.safety.specification import Specification, load_specification
from safevla.safety.temporal import needed
from safevla.settings import CheckConfig, ReplayConfig


def check(config: CheckConfig, resume: bool) -> int:
    """Print what a specification says; return 1 when a constraint can never or will always be violated."""
    from safevla.safety.vacuity import constant_parts

    specification = load_specification(config.spec)
    print(f"{specification.name}: {' '.join(specification.text.split())}".rstrip(": "))
    for line in describe(specification):
        print(line)
    dead = notes = 0
    for name, constraint in specification.constraints.items():
        for part, value in constant_parts(specification, constraint):
            whole = part is constraint.formula
            violated = value == (constraint.forbid is not None)
            dead, notes = dead + whole, notes + (not whole)
            if whole:
                print(f"WRONG  {name}: {'always' if violated else 'never'} violated, whatever happens")
            else:
                print(f"note   {name}: always {str(value).lower()}, whatever happens: {part}")
    count = len(specification.constraints)
    says = f"{count} constraint{'s' * (count != 1)}, {dead} wrong, {notes} with a part that says nothing"
    print(f"\n{says}; hash {specification.hash}")
    return int(dead > 0)


def describe(specification: Specification) -> list[str]:
    """Return constraints and signals as lines of text: a table with the budgets, then what each says."""
    lines = ["", f"{'constraint':<24} {'charged':<16} {'severity':<28} budget"]
    for name, constraint in specification.constraints.items():
        unit = constraint.unit and f" in {constraint.unit}"
        severity = "1" if constraint.severity is None else f"{constraint.severity}{unit}"
        budget = "not set" if constraint.budget is None else f"{constraint.budget:g} an episode"
        held = aggregation_words(constraint.aggregation)
        lines.append(f"{name:<24} {constraint.charge:<16} {severity:<28} {budget} ({held})")
    lines.append("")
    for name, constraint in specification.constraints.items():
        lines.append(name)
        lines += textwrap.wrap(constraint.rule, 110, initial_indent="    ", subsequent_indent="      ")
        lines += textwrap.wrap(
            " ".join(constraint.text.split()), 110, initial_indent="    ", subsequent_indent="    "
        )
        lines.append("")
    lines.append("signals")
    for name in signals_of(specification):
        info = specification.vocabulary[name]
        kind = "true or false" if info.kind == "truth" else info.unit or "a number"
        scope = ", of each object" if info.scope == "object" else ""
        unknown = f"; unknown: {info.unknown}" if info.unknown else ""
        lines.append(f"  {name:<24} {kind + scope:<30} {info.source or info.read or info.column}{unknown}")
    if specification.step_seconds is not None:
        lines.append(f"a step is {specification.step_seconds:g} s")
    return [*lines, ""]


def signals_of(specification: Specification) -> list[str]:
    """Return the names of the signals that the formulas read."""
    nodes = [node for c in specification.compiled.values() for node in (c.violation, c.severity)]
    return list(dict.fromkeys(name for node in nodes for name in needed(node)))


def replay(config: ReplayConfig, resume: bool) -> int:
    """Score recorded episodes by a specification; return 1 when that of the run gives other costs."""
    from safevla.assure.evaluate import policies_of, save_table, select
    from safevla.assure.rescore import rescore_dataset, rescore_run

    specification = load_specification(config.spec)
    source, status = Path(config.episodes), 0
    if (source / "meta").is_dir():
        after = rescore_dataset(source, specification)
        _print_costs(f"{after.num_rows} episodes", specification, after, None)
    else:
        before, after = rescore_run(source, specification)
        for policy in policies_of(after):
            part = select(after, policy=policy)
            title = f"{policy}, {part.num_rows} episodes"
            _print_costs(title, specification, part, select(before, policy=policy))
        if set(before["specification"].to_pylist()) == {specification.hash}:
            same = sum(one == other for one, other in zip(before.to_pylist(), after.to_pylist(), strict=True))
            print(f"played by the same specification: {same} of {after.num_rows} episodes cost the same")
            status = int(same < after.num_rows)
    if config.save:
        print(f"saved: {save_table(after, config.save)}")
    return status


def _print_costs(title: str, specification: Specification, after: Any, before: Any) -> None:
    """Print what each constraint costs, and what it cost when the episodes were played if that is known."""
    print(f"{title:<32}{'mean':>8}{'worst':>8}{'episodes with it':>18}{'mean as played':>16}")
    for name in ("cost", *(f"cost/{name}" for name in specification.names)):
        values = np.array(after[name].to_pylist())
        played = before is not None and name in before.column_names
        then = f"{np.mean(before[name].to_pylist()):.3f}" if played else "-"
        label = name.removeprefix("cost/") if name != "cost" else "all"
        print(f"  {label:<30}{values.mean():>8.3f}{values.max():>8g}{int((values > 0).sum()):>18}{then:>16}")
