"""Specifications as TOML files, and those that come with the package."""

from __future__ import annotations

import dataclasses
import importlib.resources
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from safevla.config import build, nearest, read_toml
from safevla.safety.specification import Constraint, Specification
from safevla.safety.vocabulary import SignalInfo


@dataclass(frozen=True)
class _Constraint:
    """A constraint as it stands in a file: its name is the name of the table."""

    forbid: str | None = None
    require: str | None = None
    charge: str = ""
    severity: str | None = None
    unit: str = ""
    budget: float | None = None
    aggregation: str = "mean"
    text: str = ""


@dataclass(frozen=True)
class _Signal:
    """A signal as it stands in a file."""

    unit: str = ""
    kind: str = "number"
    scope: str = "home"
    source: str = ""
    low: float = -math.inf
    high: float = math.inf
    unknown: str = ""
    column: str = ""
    read: str = ""


@dataclass(frozen=True)
class _File:
    """A specification as it stands in a file."""

    name: str = ""
    text: str = ""
    extends: str = ""
    step_seconds: float | None = None
    signals: dict[str, _Signal] = field(default_factory=dict)
    constraints: dict[str, _Constraint] = field(default_factory=dict)


def built_in_names() -> tuple[str, ...]:
    """Return the names of the specifications that come with the package."""
    folder = importlib.resources.files("safevla") / "data" / "specifications"
    names = (item.name for item in folder.iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def load(name: str | Path) -> Specification:
    """Load a built-in specification by name, or one from a file; see `load_specification`."""
    if Path(name).suffix == ".toml":
        return from_dict(read_toml(name), source=str(name), default_name=Path(name).stem)
    names = built_in_names()
    if str(name) not in names:
        raise ValueError(
            f"unknown specification '{name}'{nearest(str(name), names)} (a file must end in .toml)"
        )
    resource = importlib.resources.files("safevla") / "data" / "specifications" / f"{name}.toml"
    with importlib.resources.as_file(resource) as path:
        return from_dict(read_toml(path), source=str(name), default_name=str(name))


def from_dict(data: Mapping[str, Any], *, source: str, default_name: str = "custom") -> Specification:
    """Build a specification from plain data as `tomllib` reads it.

    Args:
        data: keys name, text, extends, step_seconds, signals and constraints.
        source: where it comes from, for error messages.
        default_name: name to take if the data has none.

    Raises:
        ValueError: an unknown key, or a value that is wrong.
    """
    try:
        _refuse_old_form(data)
        content = build(_File, data)
        signals = {name: SignalInfo(name, **vars(table)) for name, table in content.signals.items()}
        constraints = {name: Constraint(name, **vars(table)) for name, table in content.constraints.items()}
        if content.extends:
            if content.extends not in built_in_names():
                raise ValueError(
                    f"'extends' must be one of {', '.join(built_in_names())}, got '{content.extends}'"
                )
            base = load(content.extends)
            signals, constraints = base.signals | signals, base.constraints | constraints
        return Specification(
            content.name or default_name, constraints, content.text, signals, content.step_seconds
        )
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def _refuse_old_form(data: Mapping[str, Any]) -> None:
    """Say what replaces the keys of specifications as they were before they had formulas."""
    tables = data.get("constraints")
    for name, table in tables.items() if isinstance(tables, Mapping) else ():
        for key in ("predicate", "thresholds"):
            if isinstance(table, Mapping) and key in table:
                raise ValueError(
                    f"'constraints.{name}.{key}' has been replaced by a formula with its numbers, 'forbid = "
                    "\"...\"'; copy those of the specification 'safevla' (safevla check safevla)"
                )


def to_toml(specification: Specification) -> str:
    """Return the text of a file that gives an equal specification."""
    data: dict[str, Any] = {"name": specification.name, "text": specification.text}
    if specification.step_seconds is not None:
        data["step_seconds"] = specification.step_seconds
    if specification.signals:
        data["signals"] = {
            name: _differences(info, SignalInfo(name), "name") for name, info in specification.signals.items()
        }
    data["constraints"] = {
        name: _differences(item, None, "name", "_sources") for name, item in specification.constraints.items()
    }
    return str(tomli_w.dumps(data, multiline_strings=False))


def _differences(item: Any, default: Any, *left_out: str) -> dict[str, Any]:
    """Return the fields of a dataclass that are not None or their default; formulas as text."""
    values = {
        part.name: getattr(item, part.name) for part in dataclasses.fields(item) if part.name not in left_out
    }
    plain = {
        key: value if isinstance(value, str | float | bool | int) else str(value)
        for key, value in values.items()
        if value is not None
    }
    if default is None:
        return plain
    return {key: value for key, value in plain.items() if value != getattr(default, key)}
