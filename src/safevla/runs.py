"""The run folder: one folder holds all that a run needs and makes, and says whether it is finished.

config.toml       the resolved settings, accepted back by --config
run.json          command, version, machine, state of each stage
...               what the stages write: metrics.jsonl, episodes.parquet, checkpoints, report.html
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

from safevla import __version__
from safevla.config import ConfigError, read_toml, save_toml, to_dict

RUN_FILE, LOCK_FILE = "run.json", ".lock"
# Settings that change no result (device: its last digits alone): a run may go on with other values of them.
FREE_TO_CHANGE = (
    "out",
    "tracker",
    "processes",
    "device",
    "fail_if",
    "videos",
    "assure.videos",
    "world.num_threads",
)


def write_json(path: Path, data: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of it."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(data, indent=2) + "\n")
    os.replace(temporary, path)


def code_version() -> str:
    """Return the version with the git commit of the source tree where there is one."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return __version__
    commit = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "--short=10", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{__version__}+{commit.stdout.strip()}" if commit.returncode == 0 else __version__


def command() -> str:
    """Return what this process was started with, as it would be typed again."""
    program, *arguments = sys.argv or [""]
    is_ours = Path(program).name in ("safevla", "cli.py")
    return shlex.join(["safevla", *arguments] if is_ours else ["python", program, *arguments])


def machine() -> dict[str, Any]:
    """Describe the machine as results record it."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": platform.processor() or platform.machine(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }


class RunFolder:
    """A locked output folder with named stages; a finished stage is never run again.

    Args:
        path: of the folder.
        config: the settings of the run.
        resume: whether to go on with the run that it holds.
        growing: settings of which a run may go on with a larger value, since it then gives what it would have
            given with that value from the beginning.

    Raises:
        ConfigError: the folder holds something else, is being written by another process, or holds a run
            that `resume` was not asked for or that had other settings.
    """

    def __init__(
        self, path: str | Path, config: Any, *, resume: bool = False, growing: tuple[str, ...] = ()
    ) -> None:
        self.path = Path(path)
        run_file = self.path / RUN_FILE
        try:
            if self.path.exists() and not self.path.is_dir():
                raise ConfigError(f"{self.path} is a file; choose another --out")
            self.path.mkdir(parents=True, exist_ok=True)
            foreign = [item.name for item in self.path.iterdir() if item.name != LOCK_FILE]
            if foreign and not run_file.exists():
                raise ConfigError(
                    f"{self.path} is in use: it holds files that are no run; choose another --out"
                )
            self._lock = self._acquire()
        except OSError as error:
            raise ConfigError(
                f"cannot write to {self.path}: {error.strerror}; choose another --out"
            ) from error
        try:
            if run_file.exists():
                self._state = self._reopen(run_file, config, resume, growing)
            else:
                self._state = self._begin(config)
        except BaseException:
            self.close()
            raise

    def _begin(self, config: Any) -> dict[str, Any]:
        state = {
            "command": command(),
            "code": code_version(),
            "machine": machine(),
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "stages": {},
        }
        save_toml(config, self.path / "config.toml")
        write_json(self.path / RUN_FILE, state)
        return state

    def _acquire(self) -> IO[str]:
        lock = open(self.path / LOCK_FILE, "w")  # noqa: SIM115 - held until the process ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise ConfigError(f"{self.path} is in use by another process; choose another --out") from None
        return lock

    def _reopen(self, run_file: Path, config: Any, resume: bool, growing: tuple[str, ...]) -> dict[str, Any]:
        if not resume:
            raise ConfigError(
                f"{self.path} is in use: it holds an earlier run; add --resume to go on with it, or choose "
                "another --out"
            )
        before = _flatten(read_toml(self.path / "config.toml"))
        now = _flatten(json.loads(json.dumps(to_dict(config))))
        keys = {key for key, _ in before.items() ^ now.items()} - {*FREE_TO_CHANGE}
        grown = {key for key in keys & {*growing} if json.loads(now[key]) > json.loads(before[key])}
        if keys - grown:
            raise ConfigError(
                f"{self.path} was run with other settings ({', '.join(sorted(keys - grown))}); "
                "choose another --out"
            )
        try:
            state = json.loads(run_file.read_text())
            state = {key: state[key] for key in ("command", "code", "machine", "started", "stages")}
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{run_file} is damaged ({error}); choose another --out") from error
        if grown:
            state["command"] = command()
            save_toml(config, self.path / "config.toml")
            write_json(run_file, state)
        return state

    def __enter__(self) -> RunFolder:
        """Return itself; the folder is released at the end."""
        return self

    def __exit__(self, *error: object) -> None:
        """Release the folder, also after an error: whoever catches it may go on with the run."""
        self.close()

    def __truediv__(self, name: str) -> Path:
        """Return the path of a file in the folder."""
        return self.path / name

    @property
    def provenance(self) -> dict[str, Any]:
        """Return command, code version and machine, as every result carries them."""
        return {key: self._state[key] for key in ("command", "code", "machine", "started")}

    def done(self, stage: str) -> bool:
        """Tell whether a stage has finished."""
        return stage in self._state["stages"]

    def finish(self, stage: str, **facts: Any) -> None:
        """Mark a stage as finished and keep a few facts about it."""
        self._state["stages"][stage] = facts
        write_json(self.path / RUN_FILE, self._state)

    def facts(self, stage: str) -> dict[str, Any]:
        """Return what `finish` recorded."""
        return dict(self._state["stages"][stage])

    def close(self) -> None:
        """Release the folder."""
        self._lock.close()


def last_metrics(path: Path) -> dict[str, float]:
    """Return the last whole line of a metrics.jsonl, {} where there is none; it may be being written."""
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return dict(json.loads(lines[-1])) if lines else {}


def _flatten(data: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(data, dict):
        flat: dict[str, str] = {}
        for key, value in data.items():
            flat |= _flatten(value, f"{prefix}{key}.")
        return flat
    return {prefix.rstrip("."): json.dumps(data)}
