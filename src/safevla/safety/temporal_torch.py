"""The array library of `temporal.Evaluator` for torch: exact or smooth, with gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from safevla.safety.lowering import ARITHMETIC
from safevla.safety.temporal import Numpy

# Stands for infinity where values are smooth: log-sum-exp has no gradient at infinity.
_FAR = 1e9


class Torch(Numpy):
    """Torch tensors; axis 1 is time.

    Args:
        truth: values are true or false; else they are robustness.
        smooth: temperature of the log-sum-exp that stands for the maximum; 0: the maximum itself.
        like: a signal; robustness has its type, or the default one if it is not of floating point.
    """

    def __init__(self, truth: bool, smooth: float, like: Tensor) -> None:
        super().__init__(truth)
        self.device = like.device
        self.dtype = like.dtype if like.is_floating_point() else torch.get_default_dtype()
        self.smooth = smooth
        self.negative = torch.logical_not if truth else torch.neg
        if smooth:
            self.bottom, self.top = -_FAR, _FAR

    def maximum(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the greater values; "or" of truth values."""
        if self.smooth:
            return self.smooth * torch.logaddexp(first / self.smooth, second / self.smooth)
        return torch.logical_or(first, second) if self.truth else torch.maximum(first, second)

    def minimum(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the lesser values; "and" of truth values."""
        if self.smooth:
            return -self.maximum(-first, -second)
        return torch.logical_and(first, second) if self.truth else torch.minimum(first, second)

    def full(self, shape: Sequence[int], value: Any) -> Tensor:
        """Return a tensor of a value."""
        return torch.full(
            tuple(shape), value, dtype=torch.bool if self.truth else self.dtype, device=self.device
        )

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Join along time."""
        return torch.cat(list(parts), dim=1)

    def stack(self, columns: Sequence[Tensor]) -> Tensor:
        """Stack columns of one step along time."""
        return torch.stack(list(columns), dim=1)

    def flip(self, values: Tensor) -> Tensor:
        """Reverse time."""
        return torch.flip(values, (1,))

    def greatest(self, values: Tensor, axis: int) -> Tensor:
        """Return the greatest value along an axis, bottom of none."""
        if values.shape[axis] == 0:
            return self.full([size for i, size in enumerate(values.shape) if i != axis], self.bottom)
        if self.smooth:
            return self.smooth * torch.logsumexp(values / self.smooth, dim=axis)
        return torch.any(values, dim=axis) if self.truth else torch.amax(values, dim=axis)

    def least(self, values: Tensor, axis: int) -> Tensor:
        """Return the least value along an axis, top of none."""
        least: Tensor = self.negative(self.greatest(self.negative(values), axis))
        return least

    def running(self, values: Tensor) -> Tensor:
        """Return the greatest value so far at each step."""
        if self.smooth:
            return self.smooth * torch.logcumsumexp(values / self.smooth, dim=1)
        if self.truth:
            return torch.cumsum(values, dim=1) > 0
        return torch.cummax(values, dim=1).values

    def sliding(self, values: Tensor, size: int) -> Tensor:
        """Return the greatest of each `size` neighbours; time becomes shorter by size - 1."""
        if self.smooth:  # halves that overlap would count neighbours twice
            return self.smooth * torch.logsumexp(values.unfold(1, size, 1) / self.smooth, dim=-1)
        reach = 1
        while 2 * reach <= size:
            values = self.maximum(values[:, :-reach], values[:, reach:])
            reach *= 2
        rest = size - reach
        return self.maximum(values[:, : values.shape[1] - rest], values[:, rest:]) if rest else values

    def least_sliding(self, values: Tensor, size: int) -> Tensor:
        """Return the least of each `size` neighbours."""
        least: Tensor = self.negative(self.sliding(self.negative(values), size))
        return least

    def where(self, condition: Tensor, first: Any, second: Any) -> Tensor:
        """Choose by a condition."""
        kind = torch.bool if self.truth else self.dtype
        one, other = (torch.as_tensor(side, dtype=kind, device=self.device) for side in (first, second))
        return torch.where(condition, one, other)

    def is_unknown(self, values: Tensor) -> Tensor:
        """Return where values are NaN."""
        return torch.isnan(values)

    def function(self, kind: str, arguments: Sequence[Any]) -> Any:
        """Apply an arithmetic sign or function."""
        if kind in _TORCH:
            tensors = [torch.as_tensor(argument, dtype=self.dtype) for argument in arguments]
            return _TORCH[kind](*tensors)
        return ARITHMETIC[kind](*arguments)


_TORCH: dict[str, Callable[..., Tensor]] = {
    "abs": torch.abs, "sqrt": torch.sqrt, "exp": torch.exp, "pow": torch.pow,
    "min": torch.minimum, "max": torch.maximum,
}  # fmt: skip
