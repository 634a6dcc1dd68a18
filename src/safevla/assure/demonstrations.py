"""Played episodes as Parquet files with every picture exact to the bit, and the loader that gives them back.

    manifest.json          what the data set is, and the SHA-256 of every file; written last
    episodes.parquet       a row an episode
    steps/00000.parquet    a row a step, a row group an episode; a file is whole or not there

A row of `steps` holds what was seen, the action that was taken then, and what came of it. Nothing here needs
torch: the loader is for whoever trains with a framework of their own.
"""

from __future__ import annotations

import hashlib
import io
import json
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from safevla.runs import write_json
from safevla.types import Episode, Event, Observation, Scenario

SCHEMA = 1  # raised when files change so that an older loader would misread them
MANIFEST, EPISODES = "manifest.json", "episodes.parquet"
PICTURES = ("nav", "manip")
COST_PREFIX = "cost/"
_TOLD = {
    "joints": pa.list_(pa.float32(), 3),
    "motion": pa.list_(pa.float32(), 6),
    "holding": pa.int64(),
    "last_action": pa.int64(),
}
TOLD = tuple(name for name in _TOLD if name in Observation.__dataclass_fields__)
KEPT = (*PICTURES, *TOLD)  # what `rollout.play` has to keep of each step


def step_schema(constraints: Sequence[str]) -> pa.Schema:
    """Return the columns of a row of `steps`."""
    return pa.schema(
        [
            ("episode", pa.int64()),
            ("step", pa.int64()),
            *((name, pa.binary()) for name in PICTURES),
            *((name, _TOLD[name]) for name in TOLD),
            ("action", pa.int64()),
            ("reward", pa.float32()),
            *((f"{COST_PREFIX}{name}", pa.float32()) for name in constraints),
            ("terminated", pa.bool_()),
            ("truncated", pa.bool_()),
            ("success", pa.bool_()),
        ]
    )


# --- writing


def shard_path(folder: Path, shard: int) -> Path:
    """Return where a file of steps is."""
    return folder / "steps" / f"{shard:05d}.parquet"


def write_shard(path: Path, episodes: Mapping[int, Episode], constraints: Sequence[str]) -> None:
    """Write episodes, by their number in the data set, as one file of steps.

    Args:
        path: of the file; a reader sees the whole file or none, also after a loss of power.
        episodes: that kept KEPT; may be none.
        constraints: names of the cost columns.
    """
    schema = step_schema(constraints)
    rows = [episode_row(number, episode) for number, episode in episodes.items()]
    described = schema.with_metadata({"episodes": json.dumps(rows)})
    numeric = [name for name in schema.names if name not in PICTURES]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with open(temporary, "wb") as file:
        with pq.ParquetWriter(
            file, described, compression="zstd", use_dictionary=numeric, write_statistics=numeric
        ) as writer:
            for number, episode in episodes.items():
                writer.write_table(step_table(number, episode, schema), row_group_size=episode.length)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def episode_row(number: int, episode: Episode) -> dict[str, Any]:
    """Return the row of an episode in `episodes.parquet`, but for where its steps are."""
    totals = episode.costs.sum(axis=0, dtype=np.float64).tolist()
    return {
        "episode": number,
        "task": episode.scenario.task,
        "instruction": episode.scenario.instruction,
        "length": episode.length,
        "success": bool(episode.success),
        "truncated": bool(episode.truncated),
        "cost": episode.cost,
        **{f"{COST_PREFIX}{name}": total for name, total in zip(episode.constraints, totals, strict=True)},
        "metres": float(episode.metres),
        "scenario": json.dumps(episode.scenario.to_dict()),
        "events": json.dumps([event.to_dict() for event in episode.events]),
    }


def step_table(number: int, episode: Episode, schema: pa.Schema) -> pa.Table:
    """Return the steps of an episode."""
    last = np.arange(episode.length) == episode.length - 1
    columns: dict[str, Any] = {
        "episode": np.full(episode.length, number),
        "step": np.arange(episode.length),
        **{name: [png(picture) for picture in episode.extras[name]] for name in PICTURES},
        **{name: episode.extras[name] for name in TOLD},
        "action": episode.actions,
        "reward": episode.rewards,
        **{f"{COST_PREFIX}{name}": episode.costs[:, k] for k, name in enumerate(episode.constraints)},
        "terminated": last & (not episode.truncated),
        "truncated": last & episode.truncated,
        "success": last & episode.success,
    }
    return pa.table([_array(columns[field.name], field.type) for field in schema], schema=schema)


def _array(values: Any, kind: pa.DataType) -> pa.Array:
    if pa.types.is_fixed_size_list(kind):
        flat = np.asarray(values, np.float32)
        if flat.shape[1:] != (kind.list_size,):
            raise ValueError(f"expected {kind.list_size} numbers a step, got an array of {flat.shape}")
        return pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), type=kind)
    return pa.array(values, kind)


def png(picture: np.ndarray) -> bytes:
    """Return a picture (H, W, 3) uint8 as PNG, in the fastest mode: a seventh larger than the smallest."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def finish(folder: Path, shards: int, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Write the table of episodes and, last, the manifest with `facts`; return the rows of the table.

    Raises:
        ValueError: a file of steps is damaged, or there is no episode.
    """
    rows = []
    paths = [shard_path(folder, shard) for shard in range(shards)]
    for path in paths:
        try:
            own = json.loads(pq.read_schema(path).metadata[b"episodes"])
        except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is damaged; delete it and go on with --resume") from error
        where = str(path.relative_to(folder))
        rows += [row | {"file": where, "row_group": group} for group, row in enumerate(own)]
    if not rows:
        raise ValueError("no episode was written: there is nothing to make a data set of")
    temporary = folder / f"{EPISODES}.tmp"
    pq.write_table(pa.Table.from_pylist(rows), temporary, compression="zstd")
    temporary.replace(folder / EPISODES)
    manifest = {
        "schema": SCHEMA,
        **facts,
        "episodes": len(rows),
        "steps": sum(row["length"] for row in rows),
        "files": {str(path.relative_to(folder)): sha256(path) for path in [folder / EPISODES, *paths]},
    }
    write_json(folder / MANIFEST, manifest)
    return rows


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- reading


def load_demonstrations(folder: str | Path, *, pictures: bool = True, verify: bool = True) -> Demonstrations:
    """Open a data set that `safevla export --parquet` wrote.

    Args:
        folder: of the data set.
        pictures: give the pictures too; without them reading is many times faster.
        verify: compare the SHA-256 of every file with the manifest, which reads all of them once.

    Raises:
        ValueError: the folder is no finished data set, or a file of it is missing or damaged.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).exists():
        raise ValueError(
            f"{folder} has no {MANIFEST}: it is no data set of safevla export --parquet, or not finished; "
            "go on with its command and --resume"
        )
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        schema, files = manifest["schema"], dict(manifest["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / MANIFEST} is damaged ({error}); copy it anew") from error
    if schema != SCHEMA:
        raise ValueError(f"{folder} has schema {schema}, this version of safevla reads {SCHEMA}")
    for name, expected in files.items():
        path = folder / name
        if not path.exists():
            raise _broken(path, "missing", manifest)
        if verify and sha256(path) != expected:
            raise _broken(path, "damaged: its SHA-256 is not that of the manifest", manifest)
    return Demonstrations(folder, manifest, pictures)


class Demonstrations:
    """Episodes on disk, read one at a time: `len(data)`, `data[3]`, `for episode in data`.

    An item is an `Episode`; in its `extras` are (T, ...) arrays of what was seen before each action: `nav`
    and `manip` (T, H, W, 3) uint8, `joints` (T, 3) float32, `holding` and `last_action` (T,) int64. It can be
    pickled, so that the workers of a data loader read for themselves.

    Attributes:
        folder: where it is.
        manifest: content of manifest.json.
        table: content of episodes.parquet, a row an episode.
        constraints: names of the columns of `Episode.costs`.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any], pictures: bool) -> None:
        self.folder, self.manifest = folder, dict(manifest)
        self.constraints = tuple(self.manifest["constraints"])
        self.table: pa.Table = self._read(EPISODES).read()
        self._pictures = pictures

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[Episode]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Episode:
        index = operator.index(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"episode {index} of {len(self)}")
        row = self.table.slice(index % len(self), 1).to_pylist()[0]
        file = self._read(row["file"])
        wanted = [name for name in file.schema_arrow.names if self._pictures or name not in PICTURES]
        try:
            steps = file.read_row_group(row["row_group"], columns=wanted)
            columns = {name: _numpy(steps[name]) for name in wanted}
        except (OSError, pa.ArrowInvalid) as error:
            raise _broken(self.folder / row["file"], "damaged", self.manifest) from error
        events = [Event(**event | {"bodies": tuple(event["bodies"])}) for event in json.loads(row["events"])]
        return Episode(
            scenario=Scenario.from_dict(json.loads(row["scenario"])),
            success=row["success"],
            truncated=row["truncated"],
            actions=columns["action"],
            rewards=columns["reward"],
            costs=np.stack([columns[f"{COST_PREFIX}{name}"] for name in self.constraints], axis=1),
            constraints=self.constraints,
            events=events,
            metres=row["metres"],
            extras={name: columns[name] for name in (*PICTURES, *_TOLD) if name in columns},
        )

    def _read(self, name: str) -> pq.ParquetFile:
        path = self.folder / name
        try:
            return pq.ParquetFile(path)
        except FileNotFoundError:
            raise _broken(path, "missing", self.manifest) from None
        except (OSError, pa.ArrowInvalid) as error:
            raise _broken(path, "damaged", self.manifest) from error


def _broken(path: Path, how: str, manifest: Mapping[str, Any]) -> ValueError:
    return ValueError(
        f"{path} is {how}; copy it anew, or delete it and repeat '{manifest.get('command')}' with --resume"
    )


def _numpy(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column as (T,), (T, size) or, of pictures, (T, H, W, 3)."""
    kind = column.type
    if pa.types.is_binary(kind):
        return np.stack([np.asarray(Image.open(io.BytesIO(cell))) for cell in column.to_pylist()])
    values = column.combine_chunks()
    if pa.types.is_fixed_size_list(kind):
        return np.array(values.flatten()).reshape(-1, kind.list_size)
    return np.array(values)  # a copy that may be written to, as PyTorch wants it
