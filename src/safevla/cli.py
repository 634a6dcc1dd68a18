"""The `safevla` command: a verb loads its settings and calls one function.

Heavy libraries are imported by that function's module, so that help and errors in flags come at once.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import MISSING, dataclass
from typing import Any

from safevla import __version__
from safevla.config import ConfigError, build, descriptions, leaves, nearest, nest, read_toml
from safevla.settings import (
    PROFILES,
    AlignConfig,
    AssureConfig,
    BenchConfig,
    DemoConfig,
    DoctorConfig,
    ElicitConfig,
    ImitateConfig,
    ListConfig,
    PretrainConfig,
)


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
    "list": Verb("name the tasks, policies, presets, specifications and profiles", ListConfig, "listing:run"),
    "doctor": Verb("check this machine and installation", DoctorConfig, "doctor:run"),
    "bench": Verb("measure speed on this machine", BenchConfig, "bench:run"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (2 for bad input, 130 when interrupted)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _main(words)
    except (ConfigError, ValueError) as error:
        print(f"safevla: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("safevla: interrupted; the same command with --resume goes on", file=sys.stderr)
        return 130


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
    resume = overrides.pop("resume", "false") in ("", "true")
    config = resolve(verb.config, overrides)
    module, function = verb.function.split(":")
    result = getattr(importlib.import_module(f"safevla.{module}"), function)(config, resume)
    return int(result or 0)


def parse_flags(words: Sequence[str], config: type) -> dict[str, str]:
    """Read `--key value`, `--key=value` and bare `--flag` into text by dotted key."""
    known = leaves(config)
    valid = [*known, "config", "resume"]
    overrides: dict[str, str] = {}
    index = 0
    while index < len(words):
        word = words[index]
        if not word.startswith("--"):
            raise ConfigError(f"unexpected '{word}'; settings are given as --name value")
        key, equals, value = word[2:].partition("=")
        key = key.replace("-", "_")
        if key not in valid and not key.startswith("constraints."):
            raise ConfigError(f"unknown flag '--{key}'{nearest(key, valid)}")
        index += 1
        is_switch = key == "resume" or (key in known and known[key].type == "bool")
        if not equals and not is_switch:
            if index >= len(words):
                raise ConfigError(f"flag '--{key}' needs a value")
            value = words[index]
            index += 1
        overrides[key] = value or ("true" if is_switch else "")
    return overrides


def resolve(config: type, overrides: dict[str, str]) -> Any:
    """Build the settings from the profile, the TOML file and the flags, later ones winning."""
    overrides = dict(overrides)
    path = overrides.pop("config", None)
    file = read_toml(path) if path else {}
    profile = overrides.get("profile", file.get("profile", "quick"))
    layers: list[Any] = [file, nest(overrides)]
    if "profile" in leaves(config):
        if profile not in PROFILES:
            raise ConfigError(f"unknown profile '{profile}'{nearest(str(profile), PROFILES)}")
        layers.insert(0, PROFILES[profile].get(config.__name__, {}))
    return build(config, *layers)


def overview() -> str:
    """Return the text of `safevla --help`."""
    lines = [f"safevla {__version__}: make vision-language-action policies safe, and prove it.", ""]
    lines += ["usage: safevla VERB [--config FILE.toml] [--setting value ...]", ""]
    lines += [f"  {name:<10}{verb.summary}" for name, verb in VERBS.items()]
    return "\n".join([*lines, "", "safevla VERB --help lists its settings."])


def help_text(name: str) -> str:
    """Return the text of `safevla VERB --help`: every setting with its default and meaning."""
    verb = VERBS[name]
    lines = [f"safevla {name}: {verb.summary}.", ""]
    described = descriptions(verb.config)
    for key, item in leaves(verb.config).items():
        default = item.default if item.default is not MISSING else ""
        if isinstance(default, tuple):
            default = ",".join(str(part) for part in default)
        shown = "" if default in ("", None) else f" [{default}]"
        flag = "--constraints.NAME.budget" if key == "constraints" else f"--{key}"
        lines.append(f"  {flag:<30} {item.metadata.get('help') or described.get(key, '')}{shown}")
    lines.append(f"  {'--config':<30} a TOML file with these settings; flags win over it")
    lines.append(f"  {'--resume':<30} go on with an interrupted run in --out")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
