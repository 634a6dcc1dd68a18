"""Write played episodes as a LeRobot data set, version 3, in parts that an interrupted run keeps.

    meta/info.json, stats.json, tasks.parquet         what the columns are; written last
    meta/episodes/chunk-000/file-000.parquet          a row an episode; it makes a part whole
    data/chunk-000/file-000.parquet                   a row a step
    videos/observation.images.nav/chunk-000/file-000.mp4
    SHA256SUMS                                        of every file above, for `sha256sum -c`

A row holds what was seen, the action that was taken then, and under `next.` what came of it. Costs are the
columns `next.cost.<constraint>`. The layout is that of LeRobot's own writer (`lerobot.datasets`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from safevla.assure.demonstrations import png
from safevla.policy.continuous import STATE_NAMES, VECTOR_NAMES, to_vectors
from safevla.policy.lerobot import CAMERAS
from safevla.types import Episode

FORMAT = "v3.0"
FRAMES_PER_SECOND = 2  # an action lasts half a second
KEPT = ("nav", "manip", "joints", "holding")  # what `rollout.play` has to keep of each step
_FILES_PER_CHUNK = 1000
_PATTERN = "chunk-{chunk_index:03d}/file-{file_index:03d}"
_QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
_EVERY = 4  # statistics of pictures look at every fourth pixel each way


@dataclass(frozen=True)
class Layout:
    """What all parts of a data set share.

    Attributes:
        constraints: names of the cost columns.
        instructions: every sentence; its place is its `task_index`.
        resolution: (H, W) of the pictures.
        videos: H.264 videos, or PNG pictures inside the Parquet files: larger, and exact to the bit.
    """

    constraints: tuple[str, ...]
    instructions: tuple[str, ...]
    resolution: tuple[int, int]
    videos: bool

    @property
    def features(self) -> dict[str, dict[str, Any]]:
        """Return the columns as meta/info.json describes them."""
        height, width = self.resolution
        picture: dict[str, Any] = {
            "dtype": "video" if self.videos else "image",
            "shape": [height, width, 3],
            "names": ["height", "width", "channels"],
        }
        if self.videos:
            picture["info"] = {
                "video.height": height,
                "video.width": width,
                "video.channels": 3,
                "video.codec": "h264",
                "video.pix_fmt": "yuv420p",
                "video.fps": FRAMES_PER_SECOND,
                "video.is_depth_map": False,
                "has_audio": False,
            }

        def column(dtype: str, names: Sequence[str] | None = None) -> dict[str, Any]:
            return {"dtype": dtype, "shape": [len(names or " ")], "names": list(names) if names else None}

        return {
            **{name: dict(picture) for name in CAMERAS},
            "observation.state": column("float32", STATE_NAMES),
            "action": column("float32", VECTOR_NAMES),
            "discrete_action": column("int64"),
            "next.reward": column("float32"),
            "next.done": column("bool"),
            "next.success": column("bool"),
            "next.cost": column("float32"),
            **{f"next.cost.{name}": column("float32") for name in self.constraints},
            "timestamp": column("float32"),
            **{n: column("int64") for n in ("frame_index", "episode_index", "index", "task_index")},
        }


def columns_of(episode: Episode, layout: Layout, number: int, first_frame: int) -> dict[str, np.ndarray]:
    """Return the columns of an episode but for its pictures: (T,) or (T, size)."""
    steps = np.arange(episode.length)
    joints, holding = episode.extras["joints"], episode.extras["holding"]
    last = steps == episode.length - 1
    costs = {f"next.cost.{name}": episode.costs[:, k] for k, name in enumerate(layout.constraints)}
    return {
        "observation.state": np.concatenate([joints, holding[:, None]], axis=1).astype(np.float32),
        "action": to_vectors(episode.actions),
        "discrete_action": episode.actions,
        "next.reward": episode.rewards,
        "next.done": last,
        "next.success": last & episode.success,
        "next.cost": episode.costs.sum(axis=1),
        **costs,
        "timestamp": (steps / FRAMES_PER_SECOND).astype(np.float32),
        "frame_index": steps,
        "episode_index": np.full(episode.length, number),
        "index": first_frame + steps,
        "task_index": np.full(episode.length, layout.instructions.index(episode.scenario.instruction)),
    }


def write_part(folder: Path, part: int, episodes: Sequence[Episode], layout: Layout, policy: str) -> None:
    """Write one part; the parts before it must be there.

    Args:
        folder: of the data set.
        part: its number, from 0.
        episodes: that kept KEPT; may be none.
        layout: the same for all parts.
        policy: name of who played.
    """
    before = episode_rows(folder, part)
    number = len(before)
    frame = before[-1]["dataset_to_index"] if before else 0
    place = {"chunk_index": part // _FILES_PER_CHUNK, "file_index": part % _FILES_PER_CHUNK}
    tables, rows, start = [], [], 0
    for episode in episodes:
        columns = columns_of(episode, layout, number, frame)
        tables.append(_frames(columns, episode, layout))
        row = {
            "episode_index": number,
            "tasks": [episode.scenario.instruction],
            "length": episode.length,
            "dataset_from_index": frame,
            "dataset_to_index": frame + episode.length,
            **{f"{what}/{key}": value for what in ("data", "meta/episodes") for key, value in place.items()},
        }
        for name in CAMERAS if layout.videos else ():
            row |= {f"videos/{name}/{key}": value for key, value in place.items()}
            row[f"videos/{name}/from_timestamp"] = start / FRAMES_PER_SECOND
            row[f"videos/{name}/to_timestamp"] = (start + episode.length) / FRAMES_PER_SECOND
        row |= {f"stats/{key}": value for key, value in _statistics(columns, episode).items()}
        row |= {"success": bool(episode.success), "cost": episode.cost, "policy": policy}
        rows.append(row | {"scenario": json.dumps(episode.scenario.to_dict())})
        number, frame, start = number + 1, frame + episode.length, start + episode.length
    if rows:
        _save(pa.concat_tables(tables), folder / "data" / f"{_PATTERN.format(**place)}.parquet")
        for name, camera in CAMERAS.items() if layout.videos else ():
            path = folder / "videos" / name / f"{_PATTERN.format(**place)}.mp4"
            _encode((picture for episode in episodes for picture in episode.extras[camera]), layout, path)
        _save(pa.Table.from_pylist(rows), _episodes_path(folder, part))
    else:
        done = _episodes_path(folder, part).with_suffix(".empty")
        done.parent.mkdir(parents=True, exist_ok=True)
        done.touch()


def has_part(folder: Path, part: int) -> bool:
    """Return whether a part is whole."""
    path = _episodes_path(folder, part)
    return path.exists() or path.with_suffix(".empty").exists()


def episode_rows(folder: Path, parts: int) -> list[dict[str, Any]]:
    """Return the rows of meta/episodes of the first `parts` parts."""
    paths = [_episodes_path(folder, part) for part in range(parts)]
    return [row for path in paths if path.exists() for row in pq.read_table(path).to_pylist()]


def finish(folder: Path, parts: int, layout: Layout) -> dict[str, Any]:
    """Write what describes the whole data set, and the checksums; return meta/info.json.

    Raises:
        ValueError: there is no episode.
    """
    rows = episode_rows(folder, parts)
    if not rows:
        raise ValueError("no episode was written: there is nothing to make a data set of")
    for path in (folder / "meta" / "episodes").glob("*/*.empty"):
        path.unlink()
    statistics = {
        name: _together([{key: row[f"stats/{name}/{key}"] for key in _STATISTICS} for row in rows])
        for name in layout.features
    }
    _write_json(statistics, folder / "meta" / "stats.json")
    _save(_task_table(layout.instructions), folder / "meta" / "tasks.parquet")
    info = {
        "codebase_version": FORMAT,
        "robot_type": "stretch (safevla)",
        "total_episodes": len(rows),
        "total_frames": rows[-1]["dataset_to_index"],
        "total_tasks": len(layout.instructions),
        "chunks_size": _FILES_PER_CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": FRAMES_PER_SECOND,
        "splits": {"train": f"0:{len(rows)}"},
        "data_path": f"data/{_PATTERN}.parquet",
        "video_path": f"videos/{{video_key}}/{_PATTERN}.mp4" if layout.videos else None,
        "features": layout.features,
    }
    _write_json(info, folder / "meta" / "info.json")
    files = sorted(p for d in ("meta", "data", "videos") for p in (folder / d).rglob("*") if p.is_file())
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder)}\n" for p in files]
    (folder / "SHA256SUMS").write_text("".join(lines))
    return info


def _episodes_path(folder: Path, part: int) -> Path:
    place = _PATTERN.format(chunk_index=part // _FILES_PER_CHUNK, file_index=part % _FILES_PER_CHUNK)
    return folder / "meta" / "episodes" / f"{place}.parquet"


def _frames(columns: Mapping[str, np.ndarray], episode: Episode, layout: Layout) -> pa.Table:
    """Return an episode as a table, with its pictures as PNG where there are no videos."""
    arrays: dict[str, pa.Array] = {}
    if not layout.videos:
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        for name, camera in CAMERAS.items():
            cells = [{"bytes": png(picture), "path": None} for picture in episode.extras[camera]]
            arrays[name] = pa.array(cells, kind)
    for name, values in columns.items():
        flat = pa.array(values.reshape(-1))
        arrays[name] = flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    return pa.table(arrays)


def _encode(pictures: Iterator[np.ndarray], layout: Layout, path: Path) -> None:
    import imageio_ffmpeg  # type: ignore[import-untyped]

    height, width = layout.resolution
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"part-{path.name}")
    writer = imageio_ffmpeg.write_frames(
        str(temporary), (width, height), fps=FRAMES_PER_SECOND, codec="libx264", quality=None,
        macro_block_size=2, ffmpeg_log_level="error",
        # Little loss, and a key frame every other frame: single frames are read in any order.
        output_params=["-crf", "18", "-g", "2", "-bf", "0", "-threads", "1", "-movflags", "+faststart"],
    )  # fmt: skip
    writer.send(None)
    for picture in pictures:
        writer.send(np.ascontiguousarray(picture))
    writer.close()
    temporary.replace(path)


# --- statistics: of each episode, then together, as LeRobot computes and joins them

_STATISTICS = ("min", "max", "mean", "std", "count", *_QUANTILES)


def _statistics(columns: Mapping[str, np.ndarray], episode: Episode) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, camera in CAMERAS.items():
        pixels = episode.extras[camera][:, ::_EVERY, ::_EVERY].reshape(-1, 3) / 255
        for key, value in _describe(pixels, episode.length).items():
            found[f"{name}/{key}"] = value if key == "count" else [[[number]] for number in value]
    for name, values in columns.items():
        rows = values.reshape(len(values), -1).astype(np.float64)
        found |= {f"{name}/{key}": value for key, value in _describe(rows, episode.length).items()}
    return found


def _describe(rows: np.ndarray, count: int) -> dict[str, list[Any]]:
    simple = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
    quantiles = dict(zip(_QUANTILES, np.quantile(rows, list(_QUANTILES.values()), axis=0), strict=True))
    return {key: value.tolist() for key, value in (simple | quantiles).items()} | {"count": [count]}


def _together(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the statistics of all episodes from those of each; quantiles are the weighted mean."""
    stacked = {key: np.array([part[key] for part in parts], np.float64) for key in _STATISTICS}
    weight = stacked["count"].reshape(-1, *[1] * (stacked["mean"].ndim - 1)) / stacked["count"].sum()
    mean = (stacked["mean"] * weight).sum(0)
    variance = ((stacked["std"] ** 2 + (stacked["mean"] - mean) ** 2) * weight).sum(0)
    joined = {
        "min": stacked["min"].min(0),
        "max": stacked["max"].max(0),
        "mean": mean,
        "std": np.sqrt(variance),
    }
    joined |= {key: (stacked[key] * weight).sum(0) for key in _QUANTILES}
    return {key: value.tolist() for key, value in joined.items()} | {"count": [int(stacked["count"].sum())]}


def _task_table(instructions: Sequence[str]) -> pa.Table:
    """Return the sentences as pandas stores a table whose index they are: LeRobot reads them with it."""
    table = pa.table({"task_index": np.arange(len(instructions)), "task": list(instructions)})

    def described(name: str, kind: str, numpy_kind: str) -> dict[str, Any]:
        return {
            "name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy_kind, "metadata": None
        }  # fmt: skip

    columns = [described("task_index", "int64", "int64"), described("task", "unicode", "object")]
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.2.0"}
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def _save(table: pa.Table, path: Path) -> None:
    """Write a table so that a reader sees the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    pq.write_table(table, temporary, compression="zstd")
    temporary.replace(path)


def _write_json(data: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1) + "\n")
