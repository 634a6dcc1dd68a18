"""Checkpoint folders: `config.json` (sizes), `model.safetensors` (weights), `README.md` (the model card)."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

import safevla
from safevla.config import ConfigError, build, nearest
from safevla.policy.baselines import BASELINES, InactivePolicy, RandomPolicy
from safevla.policy.device import place
from safevla.policy.lerobot import PREFIX, load_lerobot_policy
from safevla.policy.remote import SCHEMES, RemotePolicy
from safevla.policy.vla import PolicyConfig, VisionLanguageActionPolicy
from safevla.policy.wording import WORDINGS, Reworded
from safevla.types import TASKS

FORMAT = 1
CONFIG_NAME, WEIGHTS_NAME, CARD_NAME = "config.json", "model.safetensors", "README.md"
_HUB_PREFIX = "hf:"
_TASK_FACT = "- task: "


def save_policy(
    policy: VisionLanguageActionPolicy,
    folder: str | Path,
    card_facts: Mapping[str, Any] | None = None,
    half: bool = True,
) -> Path:
    """Write a checkpoint folder; an existing one is overwritten.

    Args:
        policy: what to save.
        folder: made if it is missing.
        card_facts: how it was trained and what it scored, for the model card; a list of flat mappings becomes
            a table.
        half: store weights as float16, half the size; they are read back as float32.

    Returns:
        The folder.
    """
    from safetensors.torch import save

    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    weights = {
        name: (value.half() if half and value.is_floating_point() else value).contiguous()
        for name, value in policy.state_dict().items()
    }
    settings = {
        "format": FORMAT,
        "kind": type(policy).__name__,
        "safevla": safevla.__version__,
        "config": asdict(policy.config),
    }
    temporary = path / f"{WEIGHTS_NAME}.part"
    temporary.write_bytes(save(weights))  # `save_file` makes a file that only its owner can read
    temporary.replace(path / WEIGHTS_NAME)
    (path / CARD_NAME).write_text(model_card(policy, card_facts or {}))
    # Last and at once: a folder with this file is a whole checkpoint.
    temporary = path / f"{CONFIG_NAME}.part"
    temporary.write_text(json.dumps(settings, indent=1) + "\n")
    temporary.replace(path / CONFIG_NAME)
    return path


def model_card(policy: VisionLanguageActionPolicy, facts: Mapping[str, Any]) -> str:
    """Return the model card in Markdown."""
    count = sum(parameter.numel() for parameter in policy.parameters())
    lines = [
        "---",
        "library_name: safevla",
        "pipeline_tag: robotics",
        "license: apache-2.0",
        "---",
        "# A vision-language-action policy made with safevla",
        "",
        f"- {count / 1e6:.2f} million parameters, pictures of {policy.resolution} px, "
        f"safevla {safevla.__version__}",
        f"- cost critics: {', '.join(policy.constraints) or 'none'}",
    ]
    if policy.config.oracle:
        lines.append("- an oracle: the renderer tells it what its pictures show; no policy for a robot")
    tables = {}
    for name, value in facts.items():
        if isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value):
            tables[name] = value
        else:
            lines.append(f"- {name}: {value}")
    for name, rows in tables.items():
        columns = list(rows[0])
        lines += ["", f"## {name}", "", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        lines += ["| " + " | ".join(str(row.get(column, "")) for column in columns) + " |" for row in rows]
    use = "policy = safevla.load_policy(FOLDER)"
    return "\n".join([*lines, "", "```python", "import safevla", "", use, "```", ""])


def shipped_names() -> tuple[str, ...]:
    """Return the names of the checkpoints that come with the package."""
    folder = resources.files("safevla") / "data" / "checkpoints"
    if not folder.is_dir():
        return ()
    return tuple(sorted(item.name for item in folder.iterdir() if (item / CONFIG_NAME).is_file()))


def shipped_folder(name: str) -> Path:
    """Return the folder of a shipped checkpoint; ValueError if there is none of that name."""
    if name not in shipped_names():
        raise ValueError(f"unknown policy '{name}'{nearest(name, shipped_names())}")
    return Path(str(resources.files("safevla"))) / "data" / "checkpoints" / name


def learned_tasks(name_or_path: str | Path) -> tuple[str, ...]:
    """Return the tasks that a checkpoint learned, as its model card has them; () where none tells."""
    name = str(name_or_path).partition("+")[0]
    folder = shipped_folder(name) if name in shipped_names() else Path(name)
    card = folder / CARD_NAME
    text = card.read_text(errors="replace") if card.is_file() else ""
    facts = (line.removeprefix(_TASK_FACT) for line in text.splitlines() if line.startswith(_TASK_FACT))
    return tuple(task for task in next(facts, "").split(",") if task in TASKS)


def load_policy(name_or_path: str | Path) -> Any:
    """Return a policy, ready to play.

    Args:
        name_or_path: a shipped name, "random", "inactive", a checkpoint folder, "module:factory" or
            "file.py:factory" (called without arguments), "hf:owner/name" on the Hugging Face hub,
            "lerobot:owner/name" or "lerobot:FOLDER" of LeRobot, or "ws://host:port" of a policy server.
            "+held_out", "+wrong", "+plain" or "+none" behind any of them has the policy told something else
            than the instruction (`policy.wording`); "+labels" behind a checkpoint lets its actor see the
            renderer's own labels instead of pictures.

    Raises:
        ValueError: there is no such policy, or its files are damaged; one line that says which.
    """
    name = str(name_or_path)
    source, plus, wording = name.rpartition("+")
    if plus and wording in WORDINGS:
        return Reworded(load_policy(source), wording)
    if plus and wording == "labels":
        return _told_labels(source)
    if name == "random":
        return RandomPolicy()
    if name == "inactive":
        return InactivePolicy()
    if name in shipped_names():
        return load_folder(shipped_folder(name))
    if Path(name).is_dir():
        return load_folder(Path(name))
    if name.startswith(_HUB_PREFIX):
        return load_folder(_download(name.removeprefix(_HUB_PREFIX)))
    if name.startswith(SCHEMES):
        return RemotePolicy(name)
    if name.startswith(PREFIX):
        return load_lerobot_policy(name.removeprefix(PREFIX))
    if ":" in name:
        return _make(name)
    if "/" in name or name.startswith("."):
        raise ValueError(f"there is no checkpoint folder {name} (on the hub? then write {_HUB_PREFIX}{name})")
    raise ValueError(f"unknown policy '{name}'{nearest(name, (*BASELINES, *shipped_names()))}")


def _told_labels(name: str) -> VisionLanguageActionPolicy:
    """Return the actor of a checkpoint with the renderer's labels for eyes."""
    policy = load_policy(name)
    if not isinstance(policy, VisionLanguageActionPolicy):
        raise ValueError(
            f"{name!r} has no encoder that labels could stand in for; '+labels' needs a checkpoint"
        )
    return policy.with_labels()


def load_policy_for(name_or_path: str | Path, constraints: Sequence[str], device: str = "cpu") -> Any:
    """Return what `load_policy` returns, with critics of these costs, on a device.

    A policy that was made for other constraints can be aligned and judged by any specification: its critics
    of constraints that it does not know begin at 0.
    """
    policy = load_policy(name_or_path)
    if hasattr(policy, "set_constraints") and tuple(policy.constraints) != tuple(constraints):
        policy.set_constraints(constraints)
    return place(policy, device)


def load_folder(folder: Path) -> VisionLanguageActionPolicy:
    """Read a checkpoint folder; ValueError if a file is missing, damaged or does not fit the others."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = read_config(folder)
    path = folder / WEIGHTS_NAME
    try:
        weights = load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"cannot read {path}: {error}; it is missing or truncated, fetch it again"
        ) from error
    policy = VisionLanguageActionPolicy(config)
    expected = {name: tuple(value.shape) for name, value in policy.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise ValueError(
                f"{path} does not fit {CONFIG_NAME}: {name} is {found.get(name, 'missing')}, "
                f"expected {expected.get(name, 'nothing')}"
            )
    policy.load_state_dict({name: value.to(torch.float32) for name, value in weights.items()})
    return policy


def read_config(folder: Path) -> PolicyConfig:
    """Read the sizes from a checkpoint folder; ValueError if they are missing or malformed."""
    path = folder / CONFIG_NAME
    try:
        settings = json.loads(path.read_text())
        if settings["format"] != FORMAT:
            raise ValueError(f"it has format {settings['format']}, this version reads {FORMAT}")
        return build(PolicyConfig, settings["config"])
    except OSError as error:
        raise ValueError(f"{folder} is not a checkpoint folder: cannot read {path}") from error
    except (ConfigError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a checkpoint's configuration: {error}") from error


def _make(name: str) -> Any:
    """Call "module:factory" or "path/to/file.py:factory"."""
    module, _, factory = name.rpartition(":")
    try:
        loaded = _load_file(Path(module)) if module.endswith(".py") else importlib.import_module(module)
        return getattr(loaded, factory)()
    except Exception as error:  # whatever code of others may raise
        place = traceback.extract_tb(error.__traceback__)[-1]
        said = str(error).strip().splitlines()
        raise ValueError(
            f"cannot make the policy {name}: {type(error).__name__}{f': {said[0]}' if said else ''} "
            f"({place.filename}, line {place.lineno})"
        ) from error


def _load_file(path: Path) -> ModuleType:
    """Import a Python file by its path; the folder it lies in can be imported from, as if it were run."""
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    name = f"safevla_policy_{path.stem}"  # a file may be called like a library
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # its name ends with .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _download(repository: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ValueError("policies on the hub need huggingface_hub: pip install huggingface_hub") from error
    try:
        return Path(snapshot_download(repository, allow_patterns=[CONFIG_NAME, WEIGHTS_NAME, CARD_NAME]))
    except Exception as error:  # the hub's client has dozens of its own and of its libraries' errors
        raise ValueError(f"cannot fetch {repository} from the hub: {str(error).splitlines()[0]}") from error
