"""Settings of every verb: frozen dataclasses, TOML in, resolved TOML out, dotted overrides.

Order of precedence, lowest first: the dataclass defaults, the profile, the TOML file, the command line.
An unknown key or a wrong type is one clear error that names the place and the nearest valid key.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import tomli_w

Config = TypeVar("Config")


class ConfigError(ValueError):
    """A setting is unknown, missing or of the wrong type."""


def nearest(name: str, valid: typing.Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the closest valid name, else a list of the valid ones."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else f"; valid: {', '.join(names)}"


def check_range(settings: Any, low: float, high: float, *names: str) -> None:
    """Raise ValueError if a setting is not a finite number from low to high."""
    for name in names:
        value = getattr(settings, name)
        if not (math.isfinite(value) and low <= value <= high):
            bounds = f"{low:g} or more" if math.isinf(high) else f"{low:g} to {high:g}"
            raise ValueError(f"{name} is {value}, expected {bounds}")


def check_positive(settings: Any, *names: str) -> None:
    """Raise ValueError if a setting is not a finite number above 0."""
    for name in names:
        value = getattr(settings, name)
        if not (math.isfinite(value) and value > 0.0):
            raise ValueError(f"{name} is {value}, expected more than 0")


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file; a missing or malformed one is a ConfigError that names the file and place."""
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def build(cls: type[Config], *layers: Mapping[str, Any]) -> Config:
    """Build the dataclass `cls` from nested mappings, later ones winning; checks every key and type."""
    merged: dict[str, Any] = {}
    for layer in layers:
        if not isinstance(layer, Mapping):
            raise ConfigError(f"settings must be a table, got {layer!r}")
        _merge(merged, layer)
    return typing.cast(Config, _build(cls, merged, ""))


def to_dict(config: Any) -> dict[str, Any]:
    """Return the resolved settings as plain data; None is left out, or "none" where it is not the default."""
    return typing.cast(dict[str, Any], _plain(config))


def save_toml(config: Any, path: str | Path) -> None:
    """Write the resolved settings; `build(type(config), read_toml(path))` gives `config` again."""
    Path(path).write_text(tomli_w.dumps(to_dict(config)))


def nest(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Turn {"train.seed": "3"} into {"train": {"seed": "3"}}; text is parsed by type in `build`."""
    nested: dict[str, Any] = {}
    for key, value in overrides.items():
        *parents, leaf = key.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ConfigError(f"'{parent}' is a table of settings, it cannot be {str(place)!r}")
        if isinstance(value, Mapping):
            value = nest(value)
        elif isinstance(value, str) and not isinstance(value, _Text):
            value = _Text(value)
        _merge(place, {leaf: value})
    return nested


def leaves(cls: type, prefix: str = "") -> dict[str, dataclasses.Field]:
    """Return every setting of `cls` by dotted key, in order of declaration, without those that it HIDES."""
    found: dict[str, dataclasses.Field] = {}
    hidden = [prefix + key for key in getattr(cls, "HIDES", ())]
    hints = typing.get_type_hints(cls)
    for item in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[item.name]):
            found |= leaves(typing.cast(type, hints[item.name]), f"{prefix}{item.name}.")
        else:
            found[prefix + item.name] = item
    return {key: item for key, item in found.items() if key not in hidden}


def reach(config: Any, key: str) -> Any:
    """Return the setting with a dotted key."""
    for part in key.split("."):
        config = getattr(config, part)
    return config


def to_boolean(text: str) -> bool | None:
    """Return what text such as "yes" or "0" stands for, None if it is neither true nor false."""
    return _BOOLEANS.get(text.lower())


def descriptions(cls: type, prefix: str = "") -> dict[str, str]:
    """Return what the "Attributes" of the docstrings say of each setting, by dotted key."""
    found: dict[str, str] = {}
    hints = typing.get_type_hints(cls)
    for name, text in re.findall(r"^ {8}(\w+): (.+(?:\n {12}.+)*)", cls.__doc__ or "", re.MULTILINE):
        found[prefix + name] = " ".join(text.split()).rstrip(".")
    for item in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[item.name]):
            found |= descriptions(typing.cast(type, hints[item.name]), f"{prefix}{item.name}.")
    return found


class _Text(str):
    """A value from the command line, to be parsed by the type of its setting."""


def _merge(target: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, Mapping) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = _copy(value)


def _copy(value: Any) -> Any:
    return {key: _copy(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def _plain(value: Any, default: Any = None) -> Any:
    if dataclasses.is_dataclass(value):
        base = default if type(default) is type(value) else None
        pairs = {
            item.name: (getattr(value, item.name), getattr(base, item.name, item.default))
            for item in dataclasses.fields(value)
        }
        return {
            name: "none" if part is None else _plain(part, usual)
            for name, (part, usual) in pairs.items()
            if part is not None or usual is not None
        }
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _build(cls: type, data: Mapping[str, Any], place: str, base: Any = None) -> Any:
    """Build `cls`; what `data` leaves out is taken from `base`, else from the defaults of the class."""
    hints = typing.get_type_hints(cls)
    defaults = {item.name: getattr(base, item.name, item.default) for item in dataclasses.fields(cls)}
    for key in data:
        if key not in defaults:
            raise ConfigError(f"unknown setting '{place}{key}'{nearest(key, defaults)}")
    values = {key: _convert(hints[key], value, f"{place}{key}", defaults[key]) for key, value in data.items()}
    try:
        return cls(**values) if base is None else dataclasses.replace(base, **values)
    except TypeError as error:
        raise ConfigError(f"{place or cls.__name__}: {error}") from error


def _convert(kind: Any, value: Any, place: str, default: Any = None) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        absent = value is None or (isinstance(value, str) and value.lower() == "none")
        if absent and type(None) in arguments:
            return None
        return _convert(next(part for part in arguments if part is not type(None)), value, place, default)
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise ConfigError(f"'{place}' must be a table of settings, got {value!r}")
        base = default if type(default) is kind else None
        return _build(typing.cast(type, kind), value, place + ".", base)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"'{place}' must be a table, got {value!r}")
        return {key: _convert(arguments[1], item, f"{place}.{key}") for key, item in value.items()}
    if origin is tuple:
        items = value.split(",") if isinstance(value, _Text) else value
        if not isinstance(items, list | tuple):
            raise ConfigError(f"'{place}' must be a list, got {value!r}")
        wrap = _Text if isinstance(value, _Text) else (lambda item: item)
        return tuple(_convert(arguments[0], wrap(item), f"{place}[{i}]") for i, item in enumerate(items))
    return _scalar(kind, value, place)


def _scalar(kind: type, value: Any, place: str) -> Any:
    error = ConfigError(f"'{place}' must be {_KIND_NAMES.get(kind, kind.__name__)}, got {str(value)!r}")
    if isinstance(value, _Text):
        if kind is bool:
            truth = to_boolean(value)
            if truth is None:
                raise error
            return truth
        try:
            return kind(str(value))
        except ValueError:
            raise error from None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise error
    return value


_KIND_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_BOOLEANS = {"true": True, "yes": True, "1": True, "": True, "false": False, "no": False, "0": False}
