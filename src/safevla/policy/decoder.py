"""A causal transformer over the steps of an episode, with a key-value cache for acting one step at a time."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

_CHUNK = 64  # the cache grows, and attention runs, in multiples of this many steps


def rotary_angles(positions: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return cosine and sine, each (..., size / 2), for positions (...) of any shape."""
    rates = 1.0 / (1000.0 ** (torch.arange(0, size, 2, dtype=torch.float32, device=positions.device) / size))
    angles = positions.to(torch.float32)[..., None] * rates
    return angles.cos(), angles.sin()


def rotate(vectors: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate pairs of the last axis: what two vectors make of each other then depends on their distance."""
    cosine, sine = angles
    first, second = vectors.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)


class DecoderLayer(nn.Module):
    """Self-attention over the past, then a small net for each step, both beside shortcuts."""

    def __init__(self, width: int, heads: int, expansion: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.step_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, expansion * width)
        self.contract = nn.Linear(expansion * width, width)
        self.dropout = nn.Dropout(0.0)  # imitation sets its share

    def project(self, tokens: Tensor, angles: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return rotated query, rotated key and value, each (B, heads, T, size), of (B, T, width)."""
        batch, steps, width = tokens.shape
        projected = self.query_key_value(self.attention_norm(tokens))
        parts = projected.view(batch, steps, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        return rotate(parts[0], angles), rotate(parts[1], angles), parts[2]

    def finish(self, tokens: Tensor, attended: Tensor) -> Tensor:
        """Add what attention gave (B, heads, T, size) and the net of each step to (B, T, width)."""
        mixed: Tensor = self.dropout(self.mix(attended.transpose(1, 2).flatten(2)))
        tokens = tokens + mixed
        inner: Tensor = self.contract(functional.gelu(self.expand(self.step_norm(tokens))))
        return tokens + cast(Tensor, self.dropout(inner))


class CausalDecoder(nn.Module):
    """Layers of causal self-attention with rotary positions.

    Args:
        width: size of a token.
        layers: how many.
        heads: of attention; width / heads must be an even number.
        expansion: width of the net of a step, in widths.
        max_steps: longest history; acting longer keeps overwriting the last place.
        span: steps that attention looks back over, the present one included; None: all.
    """

    def __init__(
        self, width: int, layers: int, heads: int, expansion: int, max_steps: int, span: int | None = None
    ) -> None:
        super().__init__()
        if width % heads or (width // heads) % 2:
            raise ValueError(f"a decoder of width {width} cannot have {heads} heads of even size")
        self.head_size, self.heads, self.max_steps, self.span = width // heads, heads, max_steps, span
        self.layers = nn.ModuleList(DecoderLayer(width, heads, expansion) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        # (layers, 2, N, heads, steps, size); a plain tensor, so it is no part of a checkpoint.
        self._cache: Tensor = torch.zeros(0)

    def forward(self, tokens: Tensor) -> Tensor:
        """Read whole episodes (B, T, width) from their first step; what follows a step does not touch it."""
        steps = torch.arange(tokens.shape[1], device=tokens.device)
        angles, known = rotary_angles(steps, self.head_size), None
        if self.span is not None and len(steps) > self.span:
            known = self._known(steps[:, None], steps)
        for layer in self._layers():
            query, key, value = layer.project(tokens, angles)
            attended = functional.scaled_dot_product_attention(
                query, key, value, attn_mask=known, is_causal=known is None
            )
            tokens = layer.finish(tokens, attended)
        return cast(Tensor, self.norm(tokens))

    def _known(self, place: Tensor, steps: Tensor) -> Tensor:
        """Return whether a step at `place` looks back at `steps`; the shapes are broadcast."""
        known = steps <= place
        return known if self.span is None else known & (steps > place - self.span)

    def _layers(self) -> list[DecoderLayer]:
        return [layer for layer in self.layers if isinstance(layer, DecoderLayer)]

    def step(self, tokens: Tensor, age: Tensor) -> Tensor:
        """Read one more step of N episodes.

        Args:
            tokens: (N, width).
            age: (N,) int64 steps already taken by each; 0 forgets what a home had in the cache.

        Returns:
            (N, width), what `forward` gives for the step.
        """
        count = len(tokens)
        place = age.clamp(max=self.max_steps - 1)
        length = (int(place.max()) // _CHUNK + 1) * _CHUNK
        self._grow(count, length, tokens.device)
        cosine, sine = rotary_angles(place, self.head_size)
        angles = (cosine[:, None, None], sine[:, None, None])
        known = self._known(place[:, None, None, None], torch.arange(length, device=place.device))
        homes = torch.arange(count, device=place.device)
        hidden = tokens[:, None]
        for layer, cache in zip(self._layers(), self._cache, strict=True):
            query, key, value = layer.project(hidden, angles)
            cache[0][homes, :, place] = key[:, :, 0]
            cache[1][homes, :, place] = value[:, :, 0]
            keys, values = cache[0][:, :, :length], cache[1][:, :, :length]
            attended = functional.scaled_dot_product_attention(query, keys, values, attn_mask=known)
            hidden = layer.finish(hidden, attended)
        return cast(Tensor, self.norm(hidden[:, 0]))

    def forget(self) -> None:
        """Free the cache."""
        self._cache = torch.zeros(0)

    def rearrange(self, places: Tensor) -> None:
        """Go on with other episodes: (N,) places that theirs had before; of new ones any, their age is 0."""
        if self._cache.ndim > 1:
            self._cache = self._cache.index_select(2, places.to(self._cache.device))

    def _grow(self, count: int, length: int, device: torch.device) -> None:
        """Make room for `count` episodes of `length` steps; what is cached stays if the count is the same."""
        old = self._cache
        kept = old.ndim > 1 and old.shape[2] == count and old.device == device
        if kept and old.shape[4] >= length:
            return
        shape = (len(self.layers), 2, count, self.heads, length, self.head_size)
        self._cache = torch.zeros(shape, device=device)
        if kept:
            self._cache[..., : old.shape[4], :] = old
