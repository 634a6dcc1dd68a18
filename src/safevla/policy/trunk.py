"""The trunk of a policy: a token for each step from all that it is told, and a causal decoder over them."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import cast

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from safevla.policy.candidates import SIGHT_SIZE
from safevla.policy.decoder import CausalDecoder
from safevla.policy.memory import MemoryConfig
from safevla.policy.text import EMBEDDING_SIZE
from safevla.types import CAMERAS, NO_ACTION

_STEP_SCALE = 100.0  # steps are given to the net in hundreds


@dataclass(frozen=True)
class TrunkConfig:
    """Sizes of what reads the maps over time: the actor's or the critics'.

    Attributes:
        channels: of the two convolutions over the maps.
        width: of a token.
        layers: of the decoder.
        heads: of its attention.
        expansion: width of the net of a step, in widths.
        halves_first: the first convolution takes 2 x 2 patches at once, which is cheaper; if not, the second
            one leaves every other patch out.
    """

    channels: tuple[int, int]
    width: int
    layers: int
    heads: int
    expansion: int = 2
    halves_first: bool = False


@dataclass
class SequenceBatch:
    """B episodes of up to T steps, padded behind their ends, as a policy learns from them."""

    features: Tensor  # (B, T, F) float16
    holding: Tensor  # (B, T) int64
    last_action: Tensor  # (B, T) int64
    text: Tensor  # (B, 384) float32 embedding of the instruction
    actions: Tensor  # (B, T) int64, what was done
    mask: Tensor  # (B, T) bool, False on padding

    def to(self, device: torch.device) -> SequenceBatch:
        """Return the same episodes on a device; itself where they are there."""
        return SequenceBatch(*(getattr(self, item.name).to(device) for item in fields(self)))


class MemoryReader(nn.Module):
    """What a token takes from the memory; nothing to begin with, so that a policy without one can get it."""

    def __init__(self, memory: MemoryConfig, config: TrunkConfig) -> None:
        super().__init__()
        self.shape, self.size = memory.shape, memory.size
        layers, rows, columns = memory.shape
        first, second = (count // 2 for count in config.channels)
        self.maps = nn.Sequential(
            nn.Conv2d(layers, first, 2, 2),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, 1, 1),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.maps.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        read = second * (rows // 2) * (columns // 2)
        self.norm = nn.LayerNorm(read)  # without it the maps are too faint to be learned from
        self.join = nn.Linear(read + SIGHT_SIZE, config.width)
        nn.init.zeros_(self.join.weight)
        nn.init.zeros_(self.join.bias)

    def forward(self, known: Tensor) -> Tensor:
        """Return (M, width) from what a memory tells, (M, size)."""
        windows, sights = known[:, :-SIGHT_SIZE], known[:, -SIGHT_SIZE:]
        maps = windows.view(-1, *self.shape).contiguous(memory_format=torch.channels_last)
        return cast(Tensor, self.join(torch.cat([self.norm(self.maps(maps)), sights], dim=1)))


class Trunk(nn.Module):
    """Tokens of steps from maps and the rest of the observation, and a decoder over them."""

    def __init__(
        self,
        config: TrunkConfig,
        maps: tuple[int, int, int],
        body: int,
        memory: MemoryConfig | None,
        max_steps: int,
        span: int | None,
    ) -> None:
        super().__init__()
        first, second = config.channels
        channels, rows, columns = maps
        early = config.halves_first
        left = (rows // 2) * (columns // 2) if early else ((rows + 1) // 2) * ((columns + 1) // 2)
        self.shape = (CAMERAS * channels, rows, columns)
        self.maps = nn.Sequential(
            nn.Conv2d(CAMERAS * channels, first, *((2, 2) if early else (3, 1, 1))),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, 1 if early else 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(second * left, config.width),
        )
        # The first layout is the fast one on CPUs; policies of before keep the other, and so their very bits.
        self.layout = torch.channels_last if early else torch.contiguous_format
        self.maps.to(memory_format=self.layout)  # type: ignore[call-overload]
        self.body = nn.Linear(body, config.width) if body else None
        self.memory = MemoryReader(memory, config) if memory else None
        self.text = nn.Linear(EMBEDDING_SIZE, config.width)
        self.holding = nn.Embedding(2, config.width)
        self.last_action = nn.Embedding(NO_ACTION + 1, config.width)
        self.step_number = nn.Linear(1, config.width)
        self.norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(0.0)  # imitation sets its share
        sizes = (config.width, config.layers, config.heads, config.expansion)
        self.decoder = CausalDecoder(*sizes, max_steps, span)

    def tokens(
        self, features: Tensor, holding: Tensor, last_action: Tensor, text: Tensor, step: Tensor
    ) -> Tensor:
        """Return (M, width) tokens of M steps: features (M, F), text (M, 384), the others (M,)."""
        size = math.prod(self.shape)
        maps = features[:, :size].view(-1, *self.shape)
        parts = self.maps(maps.to(torch.float32, memory_format=self.layout))
        parts = parts + self.text(text) + self.holding(holding) + self.last_action(last_action)
        if self.body is not None:
            parts = parts + self.body(features[:, size : size + self.body.in_features].float())
            size += self.body.in_features
        if self.memory is not None:
            parts = parts + self.memory(features[:, size : size + self.memory.size].float())
        span = self.decoder.span
        counted = step if span is None else step.clamp(max=span)
        parts = parts + self.step_number(counted[:, None].float() / _STEP_SCALE)
        return cast(Tensor, self.dropout(self.norm(functional.relu(parts))))

    def forward(self, batch: SequenceBatch) -> Tensor:
        """Return (B, T, width) for whole episodes; padding costs nothing but the decoder's time."""
        rows, steps = batch.mask.nonzero(as_tuple=True)
        tokens = self.tokens(
            batch.features[rows, steps],
            batch.holding[rows, steps],
            batch.last_action[rows, steps],
            batch.text[rows],
            steps,
        )
        padded = tokens.new_zeros(*batch.mask.shape, tokens.shape[-1]).index_put((rows, steps), tokens)
        return cast(Tensor, self.decoder(padded))
