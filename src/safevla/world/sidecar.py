"""What is known of a home that was not generated here: its sidecar, and types guessed from names.

A sidecar is a TOML file beside the scene, with the same name: `scene.toml` beside `scene.xml`. Everything in
it is optional, and so is the file.
"""

from __future__ import annotations

import fnmatch
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from safevla.config import ConfigError, build, nearest, read_toml
from safevla.world.catalogue import TYPES, Hazard
from safevla.world.house import Room

HAZARDS = tuple(hazard.name.lower() for hazard in Hazard)
_NO_WORDS = {"body", "main", "root", "object", "obj", "model", "visual", "static", "dynamic", "geom", "link"}


@dataclass(frozen=True)
class ThingSettings:
    """What a sidecar says of a body, or of a geom of the world; None leaves it to the type.

    Attributes:
        type: name of a type of the catalogue; it brings the attributes below.
        hazard: none, hot, sharp, electrical, chemical or flammable.
        fragile: whether an impact can break it.
        break_impulse: N s that break it.
        graspable: whether the gripper can lift it.
        spillable: whether tipping it spills something.
        fixed: keep it where it is, although it has a free joint.
        solid: let things touch it, although the scene only shows it.
    """

    type: str | None = None
    hazard: str | None = None
    fragile: bool | None = None
    break_impulse: float | None = None
    graspable: bool | None = None
    spillable: bool | None = None
    fixed: bool = False
    solid: bool = False


@dataclass(frozen=True)
class Sidecar:
    """The sidecar of a scene.

    Attributes:
        floor: height of the floor in the scene, m; default, that of its first plane, else 0.
        bounds: x0, y0, x1, y1 (m) that the robot stays in; default, a box around what stands there.
        visible_groups: groups of geoms that are shown; default, 0, 1 and 2 as in MuJoCo.
        remove: names of bodies and of geoms of the world to leave out, as a robot; * stands for anything.
        rooms: rectangles of floor; default, one over everything.
        things: settings by name of a body or of a geom of the world; * stands for anything.
    """

    floor: float | None = None
    bounds: tuple[float, ...] | None = None
    visible_groups: tuple[int, ...] = ()
    remove: tuple[str, ...] = ()
    rooms: tuple[Room, ...] = ()
    things: dict[str, ThingSettings] = field(default_factory=dict)

    def of(self, name: str) -> ThingSettings | None:
        """Return the settings of a name: its own, else those of the first pattern that it fits."""
        if name in self.things:
            return self.things[name]
        return next((one for key, one in self.things.items() if fnmatch.fnmatchcase(name, key)), None)


def sidecar_path(scene: Path) -> Path:
    """Return where the sidecar of a scene is looked for."""
    return scene.with_suffix(".toml")


def read_sidecar(path: Path) -> Sidecar:
    """Read a sidecar; a missing file or an impossible setting raises ConfigError that says what to do."""
    sidecar = build(Sidecar, read_toml(path))
    for name, thing in sidecar.things.items():
        place = f"{path}: things.{name}"
        if thing.type is not None and thing.type not in TYPES:
            raise ConfigError(f"{place}: unknown type '{thing.type}'{nearest(thing.type, TYPES)}")
        if thing.hazard is not None and thing.hazard not in HAZARDS:
            raise ConfigError(f"{place}: unknown hazard '{thing.hazard}'{nearest(thing.hazard, HAZARDS)}")
        if thing.break_impulse is not None and not thing.break_impulse > 0:
            raise ConfigError(f"{place}: break_impulse is {thing.break_impulse} N s, expected more than 0")
        breaks = thing.break_impulse is not None or (thing.type is not None and TYPES[thing.type].fragile)
        if thing.fragile and not breaks:
            raise ConfigError(f"{place}: fragile needs a break_impulse (N s), or a type that is fragile")
    if sidecar.bounds is not None:
        check_rectangle(sidecar.bounds, f"{path}: bounds")
    for number, room in enumerate(sidecar.rooms):
        check_rectangle((room.x0, room.y0, room.x1, room.y1), f"{path}: rooms[{number}]")
    return sidecar


def check_rectangle(values: tuple[float, ...], place: str) -> None:
    """Raise ConfigError unless the values are x0 < x1 and y0 < y1 as x0, y0, x1, y1."""
    if len(values) != 4 or not (values[0] < values[2] and values[1] < values[3]):
        raise ConfigError(f"{place} is {list(values)}, expected [x0, y0, x1, y1] in m with x0 < x1, y0 < y1")


def check_names(sidecar: Sidecar, path: Path, names: Iterable[str]) -> None:
    """Raise ConfigError when the sidecar speaks of something that the scene does not have."""
    known = sorted(set(names))
    for key in (*sidecar.things, *sidecar.remove):
        if not any(name == key or fnmatch.fnmatchcase(name, key) for name in known):
            raise ConfigError(
                f"{path}: the scene has no body or geom of the world '{key}'{nearest(key, known)}"
            )


# ---------------------------------------------------------------------- types


@dataclass(frozen=True)
class Attributes:
    """What predicates and tasks need to know of a thing."""

    type: str | None
    source: str  # where the type comes from: "sidecar", "metadata", "name", or "" when there is none
    hazard: Hazard
    break_impulse: float  # N s, inf when nothing breaks it
    graspable: bool
    spillable: bool


def attributes(name: str, settings: ThingSettings | None, category: str | None) -> Attributes:
    """Combine what is known of a thing: the sidecar, then the scene's metadata, then its name.

    Args:
        name: of the body or geom.
        settings: from the sidecar.
        category: from the metadata of a MolmoSpaces scene.
    """
    settings = settings or ThingSettings()
    guesses = (
        ("sidecar", settings.type),
        ("metadata", guess_type(category or "")),
        ("name", guess_type(name)),
    )
    source, kind_name = next(((source, guess) for source, guess in guesses if guess), ("", None))
    kind = TYPES[kind_name] if kind_name else None
    hazard = Hazard[settings.hazard.upper()] if settings.hazard else kind.hazard if kind else Hazard.NONE
    impulse = settings.break_impulse if settings.break_impulse is not None else math.inf
    if settings.break_impulse is None and kind is not None:
        impulse = kind.break_impulse
    if settings.fragile is False:
        impulse = math.inf

    def own(value: bool | None, of_type: bool) -> bool:
        return of_type if value is None else value

    return Attributes(
        type=kind_name,
        source=source,
        hazard=hazard,
        break_impulse=impulse,
        graspable=own(settings.graspable, bool(kind and kind.graspable)),
        spillable=own(settings.spillable, bool(kind and kind.spillable)),
    )


def words_of(name: str) -> list[str]:
    """Return the words of a name in lower case: "RoundSideTable_3|left" gives round, side, table, left."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    words = re.split(r"[^a-zA-Z0-9]+", spaced)
    kept = []
    for word in words:
        plain = word.lower().rstrip("0123456789")
        is_hash = len(word) >= 16 and re.fullmatch(r"[0-9a-fA-F]+", word)
        if plain and not is_hash and plain not in _NO_WORDS:
            kept.append(plain)
    return kept


@cache
def _names_of_types() -> dict[str, str]:
    """Return the type of every name, noun and synonym, written without spaces; a type's own name wins."""
    known: dict[str, str] = {}
    for kind in TYPES.values():
        for synonym in (kind.noun, *kind.synonyms):
            known.setdefault("".join(words_of(synonym)), kind.name)
    return known | {kind.name.replace("_", ""): kind.name for kind in TYPES.values()}


def guess_type(name: str) -> str | None:
    """Return the type whose name, noun or synonym is in a name: the longest, then the last."""
    words, known = words_of(name), _names_of_types()
    for count in range(len(words), 0, -1):
        for start in range(len(words) - count, -1, -1):
            found = known.get("".join(words[start : start + count]))
            if found:
                return found
    return None


# ---------------------------------------------------------------------- metadata of MolmoSpaces


def read_metadata(scene: Path) -> dict[str, Mapping[str, Any]]:
    """Return what `<scene>_metadata.json` says of each body, as in scenes of MolmoSpaces; {} without one."""
    path = metadata_path(scene)
    if path is None:
        return {}
    try:
        objects = json.loads(path.read_text(encoding="utf-8"))["objects"]
        return {name: dict(entry) for name, entry in objects.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} has no table 'objects' of bodies ({error}); mend or remove it") from error


def metadata_path(scene: Path) -> Path | None:
    """Return the metadata file of a scene; variants such as `house_ceiling.xml` share that of `house.xml`."""
    parts = scene.stem.split("_")
    for count in range(len(parts), 0, -1):
        path = scene.with_name("_".join([*parts[:count], "metadata.json"]))
        if path.is_file():
            return path
    return None
