"""Where networks compute: on the processor, or on a GPU that PyTorch knows."""

from __future__ import annotations

import re
from typing import Any

import torch


def find_device(name: str) -> torch.device:
    """Return the device of a name.

    Args:
        name: "cpu", "cuda", "cuda:N", or "auto": a GPU where there is one.

    Raises:
        ValueError: it is unknown, or PyTorch finds no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    parts = re.fullmatch(r"(cpu|cuda)(?::(0|[1-9]\d*))?", name)
    if not parts:
        raise ValueError(f"unknown device '{name}'; choose cpu, cuda, cuda:1 or auto")
    found = torch.cuda.device_count() if parts[1] == "cuda" else 1
    if int(parts[2] or 0) >= found:
        raise ValueError(
            f"there is no device {name}: PyTorch {torch.__version__} finds {found} of this kind; "
            "choose cpu, or install PyTorch for your GPU (https://pytorch.org)"
        )
    return torch.device(name)


def device_of(policy: Any) -> torch.device:
    """Return where a policy's networks compute; the CPU for one that does not say."""
    device = getattr(policy, "device", None)
    return device if isinstance(device, torch.device) else torch.device("cpu")


def place(policy: Any, name: str) -> Any:
    """Move the networks of a policy to the device of a name, and return it.

    A policy that is no PyTorch module stays where it is; on the CPU nothing is moved, since a policy of
    others may have chosen its own device.

    Raises:
        ValueError: see `find_device`.
    """
    device, move = find_device(name), getattr(policy, "to", None)
    if device.type != "cpu" and callable(move):
        move(device)
    return policy
