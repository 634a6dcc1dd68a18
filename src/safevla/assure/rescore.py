"""New costs for recorded episodes: an episode table as another specification would have made it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from safevla.assure.evaluate import COST_PREFIX, load_table, make_table
from safevla.assure.recording import load_lerobot, load_recordings, score
from safevla.safety.specification import Specification


def rescore_run(folder: str | Path, specification: Specification) -> tuple[pa.Table, pa.Table]:
    """Score the episodes of a run folder whose signals were recorded.

    Returns:
        The episode table as it was, and the same rows with the costs of the specification.

    Raises:
        ValueError: signals were not recorded, or not those of every episode.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"there is no run folder {folder}")
    files = sorted((folder / "signals").glob("*.parquet"))
    if not files:
        raise ValueError(
            f"{folder} has no recorded signals; record them with `safevla assure --record_signals`, or name "
            "the folder of a LeRobot data set"
        )
    table = load_table(folder / "episodes.parquet")
    totals: dict[tuple[str, str], np.ndarray] = {}
    for path in files:
        recordings = load_recordings(path)
        for item, cost in zip(recordings, score(specification, recordings)[0], strict=True):
            totals[item.key["policy"], item.key["scenario"]] = cost.sum(axis=0, dtype=np.float64)
    rows = table.to_pylist()
    lost = sum((row["policy"], row["scenario"]) not in totals for row in rows)
    if lost:
        raise ValueError(f"{folder}: the signals of {lost} of {len(rows)} episodes were not recorded")
    for row in rows:
        new = totals[row["policy"], row["scenario"]]
        row |= {f"{COST_PREFIX}{name}": float(v) for name, v in zip(specification.names, new, strict=True)}
        row |= {"cost": float(new.sum()), "specification": specification.hash}
    return table, make_table(rows, specification.names)


def rescore_dataset(folder: str | Path, specification: Specification) -> pa.Table:
    """Score the episodes of a LeRobot data set.

    Returns:
        A row an episode: episode, length, cost, a column cost/NAME for each constraint, specification.
    """
    recordings = load_lerobot(folder, specification)
    rows = []
    for item, costs in zip(recordings, score(specification, recordings)[0], strict=True):
        totals = costs.sum(axis=0, dtype=np.float64)
        own = {f"{COST_PREFIX}{name}": float(v) for name, v in zip(specification.names, totals, strict=True)}
        rows.append(
            {
                **item.key, "length": item.length, "cost": float(totals.sum()), **own,
                "specification": specification.hash,
            }
        )  # fmt: skip
    return pa.Table.from_pylist(rows)
