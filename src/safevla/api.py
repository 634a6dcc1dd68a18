"""The verbs for Python: `safevla.align(...)`, `safevla.elicit(...)`, `safevla.assure(...)`.

Settings are the ones of the command line, by keyword. Those with a dot in their name are given as a mapping
or with the dot, whichever is handier; both lines mean the same:

    safevla.align(out="runs/a", elicit={"episodes": 8}, constraints={"corner": {"budget": 0.1}})
    safevla.align(out="runs/a", **{"elicit.episodes": 8, "constraints.corner.budget": 0.1})

Where several tasks or policies are allowed, a list may be given. A wrong setting is a `ConfigError`, which is
a ValueError, with the line that the command line would print. `resume=True` goes on with a run in `out`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from safevla.config import ConfigError, nest, read_toml
from safevla.settings import AlignConfig, AssureConfig, ElicitConfig, resolve

if TYPE_CHECKING:
    import pyarrow as pa

    from safevla.elicit.archive import RiskArchive

Config = TypeVar("Config")


def align(config: str | Path | None = None, *, resume: bool = False, **settings: Any) -> Path:
    """Make a policy safe: model, elicit, constrain, assure, report.

    Args:
        config: a TOML file with settings; keywords win over it.
        resume: go on with an interrupted run in `out`.
        settings: what `safevla align --help` lists.

    Returns:
        The path of the report.

    Raises:
        ConfigError: a setting is wrong or `out` is in use; nothing has been written.
        ValueError: the policy or the specification is not usable; nothing has been written.
    """
    from safevla.align import align as run

    return run(make_config(AlignConfig, config, settings), resume=resume)


def elicit(config: str | Path | None = None, *, resume: bool = False, **settings: Any) -> RiskArchive:
    """Search for scenarios in which a policy is unsafe; arguments and errors as in `align`.

    Returns:
        The archive of the worst distinct scenarios; `out` has it as archive.jsonl.
    """
    from safevla.elicit.archive import RiskArchive
    from safevla.verbs import elicit as run

    made = make_config(ElicitConfig, config, settings)
    _refuse(made, "replay")
    run(made, resume)
    return RiskArchive.load(Path(made.out) / "archive.jsonl")


def assure(config: str | Path | None = None, *, resume: bool = False, **settings: Any) -> pa.Table:
    """Evaluate policies on the same held-out scenarios, with a report; arguments and errors as in `align`.

    Returns:
        The table of episodes, as `safevla.assure.evaluate.summarise` and `compare` take it; `out` has it as
        episodes.parquet, beside report.html.
    """
    from safevla.assure.evaluate import load_table
    from safevla.verbs import assure as run

    made = make_config(AssureConfig, config, settings)
    _refuse(made, "fail_if")
    run(made, resume)
    return load_table(Path(made.out) / "episodes.parquet")


def make_config(cls: type[Config], config: str | Path | None, settings: Mapping[str, Any]) -> Config:
    """Build the settings of a verb from a TOML file and keywords, keywords winning.

    Raises:
        ConfigError: the file cannot be read, or a setting is unknown or of the wrong type.
    """
    file = read_toml(config) if config is not None else {}
    return resolve(cls, file, nest({key: _plain(value) for key, value in settings.items()}))


def _plain(value: Any) -> Any:
    """Return a setting as a TOML file would have it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple) and all(isinstance(item, str | Path) for item in value):
        return ",".join(str(item) for item in value)
    return str(value) if isinstance(value, Path) else value


def _refuse(config: Any, name: str) -> None:
    if getattr(config, name):
        raise ConfigError(f"'{name}' is for the command line: its answer is the exit status")
