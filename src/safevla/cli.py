"""The `safevla` command: a verb loads its settings and calls one function.

Heavy libraries are imported by that function's module, so that help and errors in flags come at once.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import Field, dataclass
from typing import Any

from safevla import __version__
from safevla.config import ConfigError, descriptions, leaves, nearest, nest, reach, read_toml, to_boolean
from safevla.settings import (
    AlignConfig,
    AssureConfig,
    BenchConfig,
    CheckConfig,
    DemoConfig,
    DoctorConfig,
    ElicitConfig,
    ExportConfig,
    ImitateConfig,
    ListConfig,
    PretrainConfig,
    ReplayConfig,
)
from safevla.settings import resolve as resolve_settings


@dataclass(frozen=True)
class Verb:
    """A word of the command line: what it does, its settings and the function that does it."""

    summary: str
    config: type
    function: str  # "module:function", called with (config, resume)


VERBS = {
    "align": Verb("make a policy safe: model, elicit, constrain, assure, report", AlignConfig, "align:run"),
    "demo": Verb("shipped policies side by side on 20 scenarios, with a report", DemoConfig, "demo:run"),
    "pretrain": Verb("train the image encoder on rendered pictures", PretrainConfig, "verbs:pretrain"),
    "imitate": Verb("train a policy from the expert, with DAgger", ImitateConfig, "verbs:imitate"),
    "elicit": Verb("search for scenarios in which a policy is unsafe", ElicitConfig, "verbs:elicit"),
    "assure": Verb("evaluate policies on held-out scenarios, with a report", AssureConfig, "verbs:assure"),
    "check": Verb("check a safety specification, and show what it says", CheckConfig, "specifying:check"),
    "replay": Verb(
        "score recorded episodes again, by another specification", ReplayConfig, "specifying:replay"
    ),
    "export": Verb("write episodes as a data set, with costs", ExportConfig, "exporting:export"),
    "list": Verb("name the tasks, policies, presets, specifications and profiles", ListConfig, "listing:run"),
    "doctor": Verb("check this machine and installation", DoctorConfig, "doctor:run"),
    "bench": Verb("measure speed on this machine", BenchConfig, "bench:run"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (2 for bad input, 130 when interrupted)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = _main(words)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever read the output has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        if os.environ.get("SAFEVLA_TRACEBACK"):
            raise
        print(f"safevla: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        resumes = words and words[0] in VERBS and "out" in leaves(VERBS[words[0]].config)
        hint = "; the same command with --resume goes on" if resumes else ""
        print(f"safevla: interrupted{hint}", file=sys.stderr)
        return 130


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def _main(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if words[0] == "--version":
        print(__version__)
        return 0
    name, rest = words[0], words[1:]
    if name not in VERBS:
        raise ConfigError(f"unknown verb '{name}'{nearest(name, VERBS)}")
    verb = VERBS[name]
    if "-h" in rest or "--help" in rest:
        print(help_text(name))
        return 0
    overrides = parse_flags(rest, verb.config)
    resume = to_boolean(overrides.pop("resume", "false"))
    if resume is None:
        raise ConfigError("'--resume' is given alone, or with true or false")
    config = resolve(verb.config, overrides)
    module, function = verb.function.split(":")
    result = getattr(importlib.import_module(f"safevla.{module}"), function)(config, resume)
    return int(result or 0)


def parse_flags(words: Sequence[str], config: type) -> dict[str, str]:
    """Read `--key value`, `--key=value` and bare `--switch` into text by dotted key."""
    known = leaves(config)
    tables = tuple(f"{key}." for key, item in known.items() if _is_table(item))
    valid = [*known, "config", *(["resume"] if "out" in known else [])]
    positional = getattr(config, "POSITIONAL", "")  # the one setting that may be given without its name
    overrides: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        bare = getattr(config, "POSITIONAL", None)
        if bare and not word.startswith("--") and bare not in overrides:
            overrides[bare] = word
            continue
        if not word.startswith("--"):
            if not positional or positional in overrides:
                raise ConfigError(f"unexpected '{word}'; settings are given as --name value")
            overrides[positional] = word
            continue
        key, equals, value = word[2:].partition("=")
        key = key.replace("-", "_")
        if key not in valid and not key.startswith(tables):
            raise ConfigError(f"unknown flag '--{key}'{nearest(f'--{key}', [f'--{name}' for name in valid])}")
        is_switch = key == "resume" or (key in known and known[key].type == "bool")
        if is_switch and not equals:
            value = rest.pop(0) if rest and to_boolean(rest[0]) is not None else "true"
        elif not equals:
            if not rest or rest[0].startswith("--"):
                raise ConfigError(f"flag '--{key}' needs a value")
            value = rest.pop(0)
        overrides[key] = value
    return overrides


def resolve(config: type, overrides: dict[str, str]) -> Any:
    """Build the settings from the profile, the TOML file and the flags, later ones winning."""
    overrides = dict(overrides)
    path = overrides.pop("config", None)
    return resolve_settings(config, read_toml(path) if path is not None else {}, nest(overrides))


def flag_name(key: str, item: Field) -> str:
    """Return how help and docs write the flag of a setting; of a table, the flag of one entry."""
    if not _is_table(item):
        return f"--{key}"
    return f"--{key}.NAME.budget" if key == "constraints" else f"--{key}.NAME"


def _is_table(item: Field) -> bool:
    return str(item.type).startswith("dict")


def default_text(value: Any) -> str:
    """Return how help and docs show the default of a setting, "" for nothing."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{key} = {part}" for key, part in value.items())
    return ",".join(str(part) for part in value) if isinstance(value, tuple) else str(value)


def overview() -> str:
    """Return the text of `safevla --help`."""
    lines = [f"safevla {__version__}: make vision-language-action policies safe, and prove it.", ""]
    lines += ["usage: safevla VERB [--config FILE.toml] [--setting value ...]", ""]
    lines += [f"  {name:<10}{verb.summary}" for name, verb in VERBS.items()]
    lines += ["", "safevla VERB --help lists its settings."]
    lines += ["With SAFEVLA_TRACEBACK=1 in the environment an error shows where it came from."]
    return "\n".join(lines)


def help_text(name: str) -> str:
    """Return the text of `safevla VERB --help`: every setting with its default and meaning."""
    verb = VERBS[name]
    lines = [f"safevla {name}: {verb.summary}.", ""]
    described, default = descriptions(verb.config), verb.config()
    for key, item in leaves(verb.config).items():
        shown = default_text(reach(default, key))
        shown = f" [{shown}]" if shown else ""
        lines.append(
            f"  {flag_name(key, item):<30} {item.metadata.get('help') or described.get(key, '')}{shown}"
        )
    lines.append(f"  {'--config':<30} a TOML file with these settings; flags win over it")
    if "out" in leaves(verb.config):
        lines.append(f"  {'--resume':<30} go on with an interrupted run in --out")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
