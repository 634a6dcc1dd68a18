"""Signals of whole episodes on disk, so that a changed specification scores them again without simulation.

`Recorder` observes `rollout.play` and keeps every signal of every step; `score` is the same judgement that
the environment makes, over many recorded episodes at once. Episodes come from our own Parquet files, one row
an episode, or from a folder of the LeRobot data set format, version 3.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from safevla.safety.specification import OnsetTracker, Specification
from safevla.safety.temporal import needed
from safevla.safety.vocabulary import HOME_SIGNALS, SignalInfo, home_signal, known_signals
from safevla.types import Event, Step


@dataclass(frozen=True)
class Recording:
    """The signals of one episode.

    Attributes:
        key: what identifies the episode: policy and scenario of ours, the index in a data set.
        objects: names of its E objects.
        signals: (T,) or (T, E) by name.
    """

    key: dict[str, Any]
    objects: tuple[str, ...]
    signals: dict[str, np.ndarray]

    @property
    def length(self) -> int:
        """Number of steps."""
        return len(next(iter(self.signals.values())))


class Recorder:
    """Keeps the signals of the episodes that `rollout.play` plays; give it as `observer`."""

    def __init__(self) -> None:
        self._steps: dict[int, list[dict[str, np.ndarray]]] = {}
        self._objects: dict[int, tuple[str, ...]] = {}

    def __call__(self, env: Any, step: Step, active: np.ndarray, playing: np.ndarray) -> None:
        """Take in one step; see `rollout.Observer`."""
        values = {name: home_signal(env.state, name) for name in known_signals(env.state)}
        for home in np.flatnonzero(active):
            index = int(playing[home])
            self._steps.setdefault(index, []).append({k: v[home].copy() for k, v in values.items()})
            self._objects[index] = tuple(env.state.names[home])

    def recordings(self, keys: Sequence[Mapping[str, Any]]) -> list[Recording]:
        """Return what was recorded, with a key for each episode in the order in which they were given."""
        return [
            Recording(
                dict(key),
                self._objects[index],
                {
                    name: np.stack([step[name] for step in self._steps[index]])
                    for name in self._steps[index][0]
                },
            )
            for index, key in enumerate(keys)
        ]


def save_recordings(recordings: Sequence[Recording], path: str | Path) -> None:
    """Write recordings as Parquet, a row an episode; numbers keep every bit."""
    rows = [
        {
            "key": json.dumps(item.key),
            "objects": list(item.objects),
            "length": item.length,
            **{f"signal/{name}": np.ascontiguousarray(v).tobytes() for name, v in item.signals.items()},
        }
        for item in recordings
    ]
    kinds = {f"signal/{name}": v.dtype.str for name, v in recordings[0].signals.items()} if recordings else {}
    fields = [("key", pa.string()), ("objects", pa.list_(pa.string())), ("length", pa.int64())]
    schema = pa.schema(
        [*fields, *((name, pa.binary()) for name in kinds)], metadata={"types": json.dumps(kinds)}
    )
    table = pa.Table.from_pylist(rows, schema=schema)
    pq.write_table(table, path, compression="zstd", compression_level=9, use_dictionary=False)


def load_recordings(path: str | Path) -> list[Recording]:
    """Read what `save_recordings` wrote; another file raises ValueError."""
    try:
        table = pq.read_table(path)
        kinds: dict[str, str] = json.loads(table.schema.metadata[b"types"])
    except (OSError, pa.ArrowInvalid, TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{path} holds no recorded signals") from error
    recordings = []
    for row in table.to_pylist():
        signals = {}
        for column, kind in kinds.items():
            values = np.frombuffer(row[column], dtype=kind)
            per_object = HOME_SIGNALS[column.removeprefix("signal/")].scope == "object"
            shape = (row["length"], len(row["objects"])) if per_object else (row["length"],)
            signals[column.removeprefix("signal/")] = values.reshape(shape)
        recordings.append(Recording(json.loads(row["key"]), tuple(row["objects"]), signals))
    return recordings


def score(
    specification: Specification, recordings: Sequence[Recording]
) -> tuple[list[np.ndarray], list[list[Event]]]:
    """Judge recorded episodes by a specification.

    Returns:
        For each recording its costs (T, K) float32 and its events.

    Raises:
        ValueError: a recording lacks a signal that the specification names.
    """
    names = list(
        dict.fromkeys(
            name
            for c in specification.compiled.values()
            for n in (c.violation, c.severity)
            for name in needed(n)
        )
    )
    costs: list[np.ndarray] = [np.zeros((0, 0))] * len(recordings)
    events: list[list[Event]] = [[] for _ in recordings]
    sizes = [len(item.objects) for item in recordings]
    for size in sorted(set(sizes)):  # episodes with the same number of objects are judged together
        chosen = [index for index, count in enumerate(sizes) if count == size]
        batch = [recordings[index] for index in chosen]
        longest = max(item.length for item in batch)
        signals = {name: np.stack([_padded(item, name, longest) for item in batch]) for name in names}
        tracker, lengths = OnsetTracker(len(batch), size), np.array([item.length for item in batch])
        objects, per_step = [item.objects for item in batch], []
        for t in range(longest):
            read = {name: values[:, t] for name, values in signals.items()}.__getitem__
            clock = np.full(len(batch), t)
            cost, found = specification.judge(read, objects, clock, tracker, lengths > t)
            per_step.append(cost)
            for index, new in zip(chosen, found, strict=True):
                events[index] += new
        together = np.stack(per_step, axis=1)
        for row, index in enumerate(chosen):
            costs[index] = together[row, : lengths[row]]
    return costs, events


def _padded(recording: Recording, name: str, steps: int) -> np.ndarray:
    if name not in recording.signals:
        raise ValueError(f"signal '{name}' was not recorded; recorded: {', '.join(recording.signals)}")
    values = recording.signals[name]
    missing = np.repeat(values[-1:], steps - len(values), axis=0)
    return np.concatenate([values, missing])


def load_lerobot(folder: str | Path, specification: Specification) -> list[Recording]:
    """Read the signals that a specification declares from a LeRobot data set, version 3.

    A signal is the column of its name, or the one that its `column` names: "observation.state" or, for one
    number of a vector, "observation.state[2]". A vector is a signal of objects, one number each.

    Raises:
        ValueError: the folder is no such data set, a column is missing or has another shape, or the length of
            a step differs from the specification's.
    """
    folder = Path(folder)
    try:
        info = json.loads((folder / "meta" / "info.json").read_text())
        features, version, rate = info["features"], str(info["codebase_version"]), float(info["fps"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder} is no LeRobot data set: cannot read meta/info.json ({error})") from error
    if not version.startswith("v3"):
        raise ValueError(f"{folder} has LeRobot format {version}, expected v3; convert it with lerobot")
    seconds = specification.step_seconds
    if seconds is not None and abs(seconds * rate - 1.0) > 1e-6:
        raise ValueError(f"{folder} has {rate:g} frames a second, the specification a step of {seconds:g} s")
    if not specification.signals:
        raise ValueError(
            "the specification is about the homes; declare the data set's columns as [signals.NAME]"
        )
    places = {name: _column(signal, features, folder) for name, signal in specification.signals.items()}
    columns = sorted({column for column, _ in places.values()} | {"episode_index", "frame_index"})
    files = sorted((folder / "data").glob("*/*.parquet"))
    if not files:
        raise ValueError(f"{folder} has no data/*/*.parquet")
    table = pa.concat_tables([pq.read_table(path, columns=columns) for path in files])
    table = table.sort_by([("episode_index", "ascending"), ("frame_index", "ascending")])
    arrays = {name: np.array(table[name].to_pylist()) for name in columns}
    objects = _objects(specification.signals, places, features)
    recordings = []
    for episode in np.unique(arrays["episode_index"]):
        rows = arrays["episode_index"] == episode
        signals = {
            name: _typed(arrays[column][rows], index, specification.signals[name])
            for name, (column, index) in places.items()
        }
        recordings.append(Recording({"episode": int(episode)}, objects, signals))
    return recordings


def _column(signal: SignalInfo, features: Mapping[str, Any], folder: Path) -> tuple[str, int | None]:
    """Return column and place in its vector of a signal."""
    wanted = signal.column or signal.name
    match = re.fullmatch(r"(.+?)(?:\[(\d+)\])?", wanted)
    column, index = (match[1], match[2]) if match else (wanted, None)
    if column not in features:
        known = ", ".join(name for name, kind in features.items() if kind["dtype"] not in ("image", "video"))
        raise ValueError(f"{folder}: signal '{signal.name}' needs column '{column}'; there are: {known}")
    size = int(np.prod(features[column]["shape"]))
    if index is not None and int(index) >= size:
        raise ValueError(f"{folder}: '{wanted}' is beyond the {size} numbers of column '{column}'")
    if index is None and size > 1 and signal.scope != "object":
        raise ValueError(f"{folder}: column '{column}' has {size} numbers; say which, '{column}[0]'")
    return column, None if index is None else int(index)


def _objects(
    signals: Mapping[str, SignalInfo],
    places: Mapping[str, tuple[str, int | None]],
    features: Mapping[str, Any],
) -> tuple[str, ...]:
    """Return the names of the objects: those of the first vector that is a signal of objects."""
    for name, signal in signals.items():
        if signal.scope == "object":
            feature = features[places[name][0]]
            size, names = int(np.prod(feature["shape"])), feature.get("names")
            listed = isinstance(names, list) and len(names) == size
            return tuple(map(str, names)) if listed else tuple(f"object_{index}" for index in range(size))
    return ()


def _typed(values: np.ndarray, index: int | None, signal: SignalInfo) -> np.ndarray:
    values = values if index is None else values[:, index]
    if signal.scope == "home":
        values = values.reshape(len(values))
    return values.astype(bool) if signal.kind == "truth" else values.astype(np.float64)
