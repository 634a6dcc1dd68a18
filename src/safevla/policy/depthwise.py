"""A depthwise convolution whose weights learn faster on processors.

PyTorch hands the gradient of depthwise weights to oneDNN, which takes far longer for it than for the
convolution itself (torch 2.13); `benchmarks/perception_speed.py` compares the two.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from safevla.world.compiled import compiled


class DepthwiseConvolution(nn.Conv2d):
    """A convolution of each channel by itself that keeps the size of its input.

    Args:
        width: channels.
        kernel: side of the kernel, odd.
    """

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__(width, width, kernel, padding=kernel // 2, groups=width)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, width, H, W) to the same shape."""
        if torch.is_grad_enabled() and self.weight.requires_grad and images.device.type == "cpu":
            return cast(Tensor, _OnProcessors.apply(images, self.weight, self.bias))  # type: ignore[no-untyped-call]
        return super().forward(images)


class _OnProcessors(torch.autograd.Function):
    """The same as PyTorch's, with a gradient of the weights of its own."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        result = nn.functional.conv2d(images, weight, bias, padding=weight.shape[-1] // 2, groups=len(weight))
        # In the precision that it was computed in, which autocast may have chosen.
        ctx.save_for_backward(images.to(result.dtype), weight)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        (images, weight), (gradient,) = ctx.saved_tensors, gradients
        padding, groups = weight.shape[-1] // 2, len(weight)
        of_images = None
        if ctx.needs_input_grad[0]:
            of_images, _, _ = torch.ops.aten.convolution_backward(
                gradient, images, weight.to(gradient.dtype), [groups], [1, 1], [padding] * 2, [1, 1],
                False, [0, 0], groups, [True, False, False],
            )  # fmt: skip
        sums = np.zeros((*weight.shape[2:], groups), np.float32)
        _accumulate(_channels_last(gradient), _channels_last(images), sums)
        of_weight = torch.from_numpy(sums).permute(2, 0, 1)[:, None]
        return of_images, of_weight, gradient.float().sum((0, 2, 3))


def _channels_last(images: Tensor) -> np.ndarray:
    """Return (B, H, W, C) float32."""
    return images.detach().float().permute(0, 2, 3, 1).contiguous().numpy()


@compiled
def _accumulate(gradient: np.ndarray, images: np.ndarray, sums: np.ndarray) -> None:
    """Add to `sums` (K, K, C) what the products (B, H, W, C) of gradient and shifted images sum up to."""
    batch, height, width, channels = images.shape
    size = len(sums)
    reach = size // 2
    for b in range(batch):
        for i in range(height):
            for di in range(max(0, reach - i), min(size, height + reach - i)):
                row = images[b, i + di - reach]
                for dj in range(size):
                    total = sums[di, dj]
                    for j in range(max(0, reach - dj), min(width, width + reach - dj)):
                        for c in range(channels):
                            total[c] += gradient[b, i, j, c] * row[j + dj - reach, c]
