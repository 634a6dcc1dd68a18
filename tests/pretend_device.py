"""A device that computes on the CPU and is as strict as a GPU: what was put on it meets nothing that was not.

So code that moves tensors between devices can be tried where there is no GPU. Results are those of the CPU.
"""

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

DEVICE = torch.device("cuda")


def _tensors(values):
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


class PretendDevice(TorchFunctionMode):
    """Within, tensors can be moved to "cuda", and whoever mixes them with others is told as by a GPU."""

    def __init__(self):
        super().__init__()
        self.there = WeakTensorKeyDictionary()
        self.calls = 0  # of functions on what is there

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = getattr(function, "__name__", "")
        owner = getattr(getattr(function, "__self__", None), "__name__", "")
        if name == "__get__" and owner == "device":
            return DEVICE if args[0] in self.there else function(*args, **kwargs)
        given = list(_tensors([*args, *kwargs.values()]))
        there = [tensor in self.there for tensor in given]
        if any(there) and name in ("numpy", "__array__"):
            raise TypeError("cannot convert a tensor of the device to numpy; copy it to the CPU first")
        if name == "__set__" and owner == "data":  # as `Module.to` moves parameters
            function(*args, **kwargs)
            return self._put(args[0], args[1] in self.there)
        target = self._target(name, args, kwargs)
        mixed = any(there) and any(not t and tensor.ndim for t, tensor in zip(there, given, strict=True))
        if mixed and name not in ("copy_", "to", "_has_compatible_shallow_copy_type", "set_"):
            raise RuntimeError(f"{name}: expected all tensors to be on the same device")
        if target is None:
            result = function(*args, **kwargs)
            placed = args[0] in self.there if name == "copy_" else any(there)
        else:
            cpu = torch.device("cpu")
            args = tuple(cpu if isinstance(value, torch.device) else value for value in args)
            result = function(*args, **kwargs | ({"device": cpu} if "device" in kwargs else {}))
            placed = target.type == DEVICE.type
            if any(tensor is result for tensor in given) and placed != there[0]:
                result = result.clone()  # another device is another place
        self.calls += any(there)
        for tensor in _tensors([result]):
            self._put(tensor, placed)
        return result

    def _put(self, tensor, there):
        if there:
            self.there[tensor] = True
        else:
            self.there.pop(tensor, None)

    @staticmethod
    def _target(name, args, kwargs):
        """Return the device that a call names, None if it names none."""
        if name == "cpu":
            return torch.device("cpu")
        named = [kwargs.get("device"), *(args if name == "to" else ())]
        devices = [value for value in named if isinstance(value, torch.device)]
        return devices[0] if devices else None
