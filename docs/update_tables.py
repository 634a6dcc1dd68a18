"""Rewrite the marked tables of README.md and docs/ from results/*.json and from the package itself.

    python docs/update_tables.py            # write
    python docs/update_tables.py --check    # write nothing; exit with 1 when a table is out of date

A marked table is what stands between `<!-- table:WHAT -->` and `<!-- /table -->`. WHAT is one of

    NAME             the rows of results/NAME.json and where they come from
    NAME/KEY         other rows or figures in that file, or its rows whose `group` is KEY; for align also
                     `costs` and `comparison`
    settings/VERB    every setting of a verb with its default
    profiles         what the profiles change
    predicates       formulas and units of the specification `safevla`
    signals          the signals that formulas may name
    hazards          which types are dangerous or fragile
    sizes            the size classes of homes
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MARKED = re.compile(r"(<!-- table:(\S+) -->\n).*?(<!-- /table -->)", re.DOTALL)

# Heading and key of the main table of `align`, in the words of the report.
ALIGN_COLUMNS = (
    ("policy", "policy"),
    ("SR", "success"),
    ("CC", "cost"),
    ("safe success", "safe_success"),
    ("CVaR95", "cvar95"),
    ("worst", "worst"),
    ("episodes", "episodes"),
)


def documents(root: Path = ROOT) -> list[Path]:
    """Return the files that may hold marked tables."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def rewrite(text: str, results: Path) -> str:
    """Return a document with every marked table made anew from the JSON files in `results`."""
    return MARKED.sub(lambda found: f"{found[1]}{content(found[2], results)}\n{found[3]}", text)


def content(what: str, results: Path) -> str:
    """Return what stands between the markers of a table; an unknown one raises ValueError."""
    if what in FROM_PACKAGE:
        return FROM_PACKAGE[what]()
    name, _, key = what.partition("/")
    if name == "settings":
        return settings_table(key)
    path = results / f"{name}.json"
    if not path.exists():
        return f"*Not measured yet: there is no `results/{name}.json`.*"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        table = result_table(name, key, data)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} does not give the table {what}: {error}") from error
    return f"{table}\n\n{source(data)}"


# --- results -----------------------------------------------------------------------------------------------


def result_table(name: str, key: str, data: Mapping[str, Any]) -> str:
    """Return the table `NAME/KEY` of a results file."""
    if name in (
        "align",
        "align_test",
        "listening",
        "described_val",
        "chores_val",
        "chores_masked_val",
        "chores_two_seeds_val",
        "chores_script_val",
        "chores_further_val",
        "seeing",
    ):
        if not key:
            return align_table(data["rows"])
        if key == "costs":
            return costs_table(data["rows"])
        if key == "comparison":
            return comparison_table(data["comparison"])
    chosen = data[key] if key in data else data["rows"]
    if key and key not in data:
        chosen = [without_group(row) for row in chosen if row.get("group") == key]
        if not chosen:
            return f"*Not recorded: `results/{name}.json` has no `{key}`.*"
    if isinstance(chosen, Mapping):
        return pipe(["figure", "value"], ([f"`{figure}`", cell(value)] for figure, value in chosen.items()))
    return rows_table(chosen)


def without_group(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row without the column that it was chosen by."""
    return {key: value for key, value in row.items() if key != "group"}


def align_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of policies; the task is a column where there are several."""
    several = len({row["task"] for row in rows}) > 1
    columns = [*([("task", "task")] if several else []), *ALIGN_COLUMNS]
    columns = [(head, key) for head, key in columns if any(key in row for row in rows)]
    return pipe([head for head, _ in columns], ([cell(row.get(key)) for _, key in columns] for row in rows))


def costs_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the mean cost of an episode by constraint and policy, all tasks together."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    main = [row for row in rows if row["task"] == ("all" if "all" in tasks else tasks[0])]
    names = [key for key in main[0] if key.startswith("cost/")]
    head = ["constraint", *(str(row["policy"]) for row in main)]
    body = [[name.removeprefix("cost/"), *(cell(row[name]) for row in main)] for name in names]
    return pipe(head, body)


def comparison_table(comparison: Mapping[str, Any]) -> str:
    """Return the paired differences, isa - rl unless the file names others."""
    first, second = comparison.get("first", "isa"), comparison.get("second", "rl")
    words = {"cost": "CC", "success": "SR", "safe_success": "safe success"}
    rows = [
        [words.get(key, key.removeprefix("cost/")), cell(value, signed=True)]
        for key, value in comparison.items()
        if is_interval(value)
    ]
    if "cost_change" in comparison:
        rows.append(["mean CC, relative", f"{number(100 * comparison['cost_change'], signed=True)} %"])
    if "success_p" in comparison:
        rows.append(["SR, exact p (McNemar)", f"{comparison['success_p']:.2g}"])
    return pipe(["difference in", f"{first} − {second}"], rows)


def rows_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return flat rows as a table; columns in the order in which they first occur."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    columns = [key for key in columns if not any(isinstance(row.get(key), Mapping) for row in rows)]
    head = [key.replace("_", " ") for key in columns]
    return pipe(head, ([cell(row.get(key, "")) for key in columns] for row in rows))


def source(data: Mapping[str, Any]) -> str:
    """Return the line under a table that says where it comes from."""
    parts = [f"`{data['command']}`"] if data.get("command") else []
    parts += [
        f"{key} {words(data[key])}" for key in ("code", "machine", "seeds") if data.get(key) is not None
    ]
    return f"*{'; '.join(parts)}*" if parts else "*No source recorded.*"


# --- the package -------------------------------------------------------------------------------------------


def settings_table(verb: str) -> str:
    """Return every setting of a verb."""
    from safevla.cli import VERBS, default_text, flag_name
    from safevla.config import descriptions, leaves, reach

    if verb not in VERBS:
        raise ValueError(f"there is no verb {verb}; valid: {', '.join(VERBS)}")
    config = VERBS[verb].config
    described, default, rows = descriptions(config), config(), []
    for key, item in leaves(config).items():
        shown = default_text(reach(default, key))
        meaning = str(item.metadata.get("help") or described.get(key, ""))
        rows.append([f"`{flag_name(key, item)}`", f"`{shown}`" if shown else "", meaning])
    rows.append(["`--config`", "", "a TOML file with these settings; flags win over it"])
    if "out" in leaves(config):
        rows.append(["`--resume`", "", "go on with an interrupted run in --out"])
    return pipe(["setting", "default", "meaning"], rows)


def profiles_table() -> str:
    """Return what differs between the profiles."""
    from safevla.cli import VERBS
    from safevla.config import build, leaves, reach
    from safevla.settings import PROFILES

    rows = []
    for verb, entry in VERBS.items():
        if "profile" not in leaves(entry.config):
            continue
        built = [build(entry.config, chosen.get(entry.config.__name__, {})) for chosen in PROFILES.values()]
        for key in leaves(entry.config):
            values = [reach(config, key) for config in built]
            if any(value != values[0] for value in values):
                shown = ["no limit" if value is None else f"{value:,}" for value in values]
                rows.append([verb, f"`--{key}`", *shown])
    return pipe(["verb", "setting", *PROFILES], rows)


def predicates_table() -> str:
    """Return formula, unit and counting of every constraint of the specification `safevla`."""
    from safevla.safety.specification import load_specification

    rows = []
    for name, constraint in load_specification("safevla").constraints.items():
        rows.append([f"`{name}`", f"`{constraint.formula}`", constraint.unit, constraint.charge])
    return pipe(["constraint", "forbidden", "severity in", "charged"], rows)


def strict_table() -> str:
    """Return formula, unit, counting and budget of what the specification `strict` adds to `safevla`."""
    from safevla.safety.specification import load_specification

    rows = []
    for name, constraint in load_specification("strict").constraints.items():
        if name not in load_specification("safevla").names:
            formula = " ".join(str(constraint.formula).split())
            counted = [constraint.unit or "–", constraint.charge, f"{constraint.budget:g}"]
            rows.append([f"`{name}`", f"`{formula}`", *counted])
    return pipe(["constraint", "forbidden", "severity in", "charged", "budget"], rows)


def hazards_table() -> str:
    """Return the dangerous types by class, and the fragile ones with what breaks them."""
    from safevla.world.catalogue import CORE, TYPES, Hazard

    called = {name: kind.noun + ("" if name in CORE else "*") for name, kind in TYPES.items()}
    rows = [
        [
            hazard.name.lower(),
            ", ".join(sorted(called[name] for name, kind in TYPES.items() if kind.hazard == hazard)),
        ]
        for hazard in Hazard
        if hazard
    ]
    fragile = sorted((called[name], kind.break_impulse) for name, kind in TYPES.items() if kind.fragile)
    rows.append(["fragile (breaks at N s)", ", ".join(f"{noun} {impulse:g}" for noun, impulse in fragile)])
    furniture = sum(kind.kind == "furniture" for kind in TYPES.values())
    core = sum(TYPES[name].kind == "furniture" for name in CORE)
    count = (
        f"{furniture} kinds of furniture and {len(TYPES) - furniture} kinds of objects ({core} and "
        f"{len(CORE) - core} in class S; the others, with a star, are in M and L alone). Of these:"
    )
    return f"{count}\n\n{pipe(['class', 'types'], rows)}"


def sizes_table() -> str:
    """Return what homes of each size class have room for."""
    from safevla.tasks.env import HORIZONS
    from safevla.world.house import ROOMS, SIZE_CLASSES, SLOTS

    rows = []
    for name in SIZE_CLASSES:
        slots, (least, most) = SLOTS[name], ROOMS[name]
        rows.append([name, f"{least} to {most}", slots.walls, slots.furniture, slots.objects, HORIZONS[name]])
    head = ["class", "rooms", "walls", "fixed furniture", "movable things", "steps of an episode"]
    return pipe(head, ([str(value) for value in row] for row in rows))


def signals_table() -> str:
    """Return every signal of the homes that formulas may name."""
    from safevla.safety.vocabulary import HOME_SIGNALS

    rows = []
    for name, info in HOME_SIGNALS.items():
        kind = "true / false" if info.kind == "truth" else info.unit or "number"
        unknown = f"; unknown: {info.unknown}" if info.unknown else ""
        rows.append(
            [f"`{name}`", kind, "each object" if info.scope == "object" else "home", info.source + unknown]
        )
    return pipe(["signal", "in", "of", "meaning"], rows)


def regions_table() -> str:
    """Return what ISO/TS 15066 permits on each body region of a person."""
    from safevla.world.person import REGIONS

    rows = [
        [
            region.name.replace("_", " "),
            f"{region.quasi_static:g}",
            f"{region.transient:g}" if region.transient else "not permissible",
            f"{region.stiffness:g}",
        ]
        for region in REGIONS
    ]
    return pipe(["body region", "quasi-static N", "transient N", "spring constant N/mm"], rows)


FROM_PACKAGE: dict[str, Callable[[], str]] = {
    "profiles": profiles_table,
    "predicates": predicates_table,
    "hazards": hazards_table,
    "sizes": sizes_table,
    "strict": strict_table,
    "regions": regions_table,
    "signals": signals_table,
}


# --- words -------------------------------------------------------------------------------------------------


def is_interval(value: Any) -> bool:
    """Return whether a value is (value, low, high)."""
    return (
        isinstance(value, list | tuple) and len(value) == 3 and all(isinstance(v, int | float) for v in value)
    )


def number(value: float, *, signed: bool = False) -> str:
    """Format a number for reading: two decimals, fewer for large ones, a dash for none."""
    if not math.isfinite(value):
        return "–"
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2
    text = f"{value:{'+' if signed else ''},.{digits}f}"
    return text.lstrip("+-") if float(text.replace(",", "")) == 0 else text.replace("-", "−")


def cell(value: Any, *, signed: bool = False) -> str:
    """Format a value of a results file for a table."""
    if value is None:
        return "–"
    if is_interval(value):
        middle, low, high = (number(float(part), signed=signed) for part in value)
        return middle if "–" in (low, high) else f"{middle} [{low}, {high}]"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() else number(value)
    return f"{value:,}" if isinstance(value, int) else words(value)


def words(value: Any) -> str:
    """Return provenance, nested or not, as one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {words(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(words(item) for item in value)
    return str(value)


def pipe(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    rows = [[text.replace("|", "\\|") for text in row] for row in (head, *body)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def main() -> int:
    """Write or check all documents; return the exit status."""
    check = "--check" in sys.argv[1:]
    changed = []
    for path in documents():
        text = path.read_text(encoding="utf-8")
        new = rewrite(text, ROOT / "results")
        if new != text:
            changed.append(path)
            if not check:
                path.write_text(new, encoding="utf-8")
    for path in changed:
        print(f"{'out of date' if check else 'written'}: {path.relative_to(ROOT)}")
    return int(check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
