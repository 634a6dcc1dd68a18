"""Metrics of training in TensorBoard, W&B or trackio, beside metrics.jsonl, which training always writes."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safevla.config import ConfigError, nearest, to_dict

TRACKERS = ("tensorboard", "wandb", "trackio")
Log = Callable[[int, Mapping[str, float]], None]


def check_tracker(name: str) -> None:
    """Raise ConfigError, with what to do, if there is no tracker of this name or its package is missing."""
    if name and name not in TRACKERS:
        raise ConfigError(f"unknown tracker '{name}'{nearest(name, TRACKERS)}")
    if name and importlib.util.find_spec(name) is None:
        raise ConfigError(f"--tracker {name} needs a package: pip install 'safevla[{name}]'")


@contextmanager
def tracking(name: str, folder: Path, config: Any) -> Iterator[Log]:
    """Give a function log(step, metrics) that the tracker shows; it is closed at the end.

    Args:
        name: one of TRACKERS, or "" for none.
        folder: of what is trained. TensorBoard's files go to its folder `tensorboard`; the others name the
            run by it, in the project `safevla`.
        config: settings, kept with the run.

    Raises:
        ConfigError: see `check_tracker`.
    """
    check_tracker(name)
    if not name:
        yield lambda step, metrics: None
    elif name == "tensorboard":
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(str(folder / name)) as writer:  # type: ignore[no-untyped-call]

            def show(step: int, metrics: Mapping[str, float]) -> None:
                for key, value in metrics.items():
                    writer.add_scalar(key, value, step)  # type: ignore[no-untyped-call]
                writer.flush()  # type: ignore[no-untyped-call]

            yield show
    else:  # the two have the same interface
        library = importlib.import_module(name)
        run_name = "-".join(folder.resolve().parts[-2:])
        try:
            run = library.init(project="safevla", name=run_name, config=to_dict(config))
        except Exception as error:  # no account, no network: each has kinds of its own
            raise ConfigError(f"--tracker {name} did not start: {' '.join(str(error).split())}") from error
        try:
            yield lambda step, metrics: run.log(dict(metrics), step=step)
        finally:
            run.finish()
