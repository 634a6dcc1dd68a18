"""The image encoder of the `tiny` preset: a picture and a sentence in, a few maps of the scene out.

It is an open-vocabulary detector with geometry. A small convolutional net turns the picture into one vector
per patch of 8 x 8 pixels, 16 x 16 of larger pictures; heads read depth, free floor, fragile, dangerous and
movable things and the gripper from it; the similarity of finer vectors (four a patch) with a projection of
the sentence says where the thing is that the sentence speaks of. It is trained on rendered pictures
(`pretrain/perception.py`) and then frozen.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as functional
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from safevla.policy.depthwise import DepthwiseConvolution
from safevla.policy.text import EMBEDDING_SIZE
from safevla.types import CAMERAS, CELLS, DEPTH_SCALE, HEADS, PATCH


def use_half(precision: str, device: torch.device | None = None) -> bool:
    """Return whether to compute in bfloat16.

    Args:
        precision: "fp32", "bf16", or "auto": bf16 where the processor has instructions for it.
        device: that computes; None: the CPU.

    Raises:
        ValueError: it is none of these.
    """
    if precision not in ("auto", "fp32", "bf16"):
        raise ValueError(f"precision {precision!r} is unknown, choose auto, fp32 or bf16")
    if precision == "auto" and device is not None and device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)  # older ones imitate it, slowly
    if precision == "auto":
        capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return precision == "bf16"


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of a PerceptionEncoder."""

    # Channels at a half and at a quarter of the picture's size; (0, C): cells of 4 x 4 pixels at once.
    stem: tuple[int, int] = (24, 48)
    width: int = 96  # channels per patch
    fine_blocks: int = 0  # residual blocks at a quarter of the picture's size, always separable
    blocks: int = 1  # residual blocks at patch resolution
    separable: bool = False  # blocks of a depthwise and two pointwise convolutions instead of two full ones
    scale: int = 1  # a patch is 8 * scale pixels wide: the first convolution is as much coarser
    match: int = 32  # size of the space in which cells and sentences are compared
    grid: int = 14  # patches along a side of the picture that positions are learned for


class Maps(NamedTuple):
    """What the net says about B pictures of P x P patches."""

    cells: torch.Tensor  # (B, match, 2P, 2P) vectors to be compared with sentences
    heads: torch.Tensor  # (B, len(HEADS), P, P) log-depth, then logits


def _norm(width: int, used: bool) -> nn.Module:
    # Slow statistics: a batch of training pictures shows only a few homes.
    return nn.BatchNorm2d(width, momentum=0.01) if used else nn.Identity()


def _grown(name: str, old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """Return weights as large as `new` that begin as `old`, which ignore what is new before them."""
    if name == "stem_half.weight" and old.ndim == new.ndim:
        finer = max(1, new.shape[2] // old.shape[2])
        old = old.repeat_interleave(finer, 2).repeat_interleave(finer, 3) / finer**2
    if old.ndim != new.ndim or old.shape[2:] != new.shape[2:] or old.numel() > new.numel():
        raise ValueError("it is of an encoder of other sizes")
    grown = new.clone()
    if name.startswith(("coarse.", "fine.")):
        grown.zero_()  # what is compared with more of a sentence
    elif new.ndim > 1:
        grown[: len(old)] = 0.0
    grown[tuple(slice(size) for size in old.shape)] = old
    return grown


def _undo_itself(norm: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    """Take a batch normalisation's statistics from its input, and let its scale and shift undo them."""
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    variance, mean = torch.var_mean(inputs[0], (0, 2, 3), correction=0)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_((variance + norm.eps).sqrt())
    norm.bias.copy_(mean)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(self, width: int, norm: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.first_norm = _norm(width, norm)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(cast(torch.Tensor, self.second.bias))

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Map (B, width, P, P) to the same shape."""
        inner = self.first_norm(self.first(functional.relu(patches)))
        return cast(torch.Tensor, patches + self.second(functional.relu(inner)))


class SeparableBlock(nn.Module):
    """A depthwise 5 x 5 convolution and a net for each patch beside a shortcut: a third of the arithmetic."""

    def __init__(self, width: int, norm: bool) -> None:
        super().__init__()
        self.first = DepthwiseConvolution(width, 5)
        self.first_norm = _norm(width, norm)
        self.expand = nn.Conv2d(width, 2 * width, 1)
        self.second = nn.Conv2d(2 * width, width, 1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(cast(torch.Tensor, self.second.bias))

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Map (B, width, P, P) to the same shape."""
        inner = self.first_norm(self.first(functional.relu(patches)))
        return cast(torch.Tensor, patches + self.second(functional.relu_(self.expand(inner))))


class PerceptionEncoder(nn.Module):
    """Pictures (B, H, W, 3) uint8, sides multiples of 8 * scale, with the camera that took each; sentences.

    Args:
        config: sizes.
        norm: with batch normalisation, for training; `folded` gives the same net without.
    """

    def __init__(self, config: EncoderConfig = EncoderConfig(), norm: bool = False) -> None:
        super().__init__()
        self.config = config
        half, quarter = config.stem
        scale = config.scale
        self.stem_half = (
            nn.Conv2d(3, half, 4 * scale, stride=2 * scale, padding=scale) if half else nn.Identity()
        )
        self.half_norm = _norm(half, norm and half > 0)
        self.stem_quarter = (
            nn.Conv2d(half, quarter, 3, stride=2, padding=1)
            if half
            else nn.Conv2d(3, quarter, 4 * scale, stride=4 * scale)
        )
        self.quarter_norm = _norm(quarter, norm)
        self.fine_blocks = nn.Sequential(*(SeparableBlock(quarter, norm) for _ in range(config.fine_blocks)))
        self.stem_patch = nn.Conv2d(quarter, config.width, 3, stride=2, padding=1)
        self.patch_norm = _norm(config.width, norm)
        self.position = nn.Parameter(torch.zeros(CAMERAS, config.width, config.grid, config.grid))
        block = SeparableBlock if config.separable else ResidualBlock
        self.blocks = nn.Sequential(*(block(config.width, norm) for _ in range(config.blocks)))
        self.heads = nn.Conv2d(config.width, len(HEADS), 1)
        self.coarse = nn.Conv2d(config.width, config.match * CELLS * CELLS, 1)
        self.fine = nn.Conv2d(quarter, config.match, 1)
        self.sentence = nn.Sequential(nn.Linear(EMBEDDING_SIZE, 128), nn.ReLU(), nn.Linear(128, config.match))
        self.match_bias = nn.Parameter(torch.tensor(-5.0))  # almost all cells are not the thing asked for

    def forward(self, pictures: torch.Tensor, camera: torch.Tensor) -> Maps:
        """Look at pictures.

        Args:
            pictures: (B, H, W, 3) uint8, or float already scaled to -0.5..0.5.
            camera: (B,) int64, 0 navigation, 1 manipulation.

        Raises:
            ValueError: a side of the pictures is not a multiple of 8 * scale.
        """
        quarter, patches = self._read(pictures, camera)
        coarse = functional.pixel_shuffle(self.coarse(patches), CELLS)
        return Maps(cells=coarse + self.fine(quarter), heads=self.heads(patches))

    def _read(self, pictures: torch.Tensor, camera: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what is known of cells, (B, C, 2P, 2P), and of patches, (B, width, P, P)."""
        patch, (height, width) = PATCH * self.config.scale, pictures.shape[1:3]
        if height % patch or width % patch:
            raise ValueError(f"pictures of {height} x {width}: the encoder needs multiples of {patch} pixels")
        # A permuted (B, H, W, 3) tensor is in channels-last layout, the fast one on CPUs.
        image = pictures.permute(0, 3, 1, 2)
        if image.dtype == torch.uint8:
            image = image.to(self.match_bias.dtype).div_(255).sub_(0.5)
        half = functional.relu_(self.half_norm(self.stem_half(image))) if self.config.stem[0] else image
        quarter = functional.relu_(self.quarter_norm(self.stem_quarter(half)))
        if self.config.fine_blocks:
            quarter = functional.relu(self.fine_blocks(quarter))
        patches = (
            self.patch_norm(self.stem_patch(quarter))
            + self._positions(height // patch, width // patch)[camera]
        )
        return quarter, functional.relu(self.blocks(patches))

    def _positions(self, rows: int, columns: int) -> torch.Tensor:
        if (rows, columns) == tuple(self.position.shape[2:]):
            return self.position
        return functional.interpolate(self.position, (rows, columns), mode="bilinear", align_corners=False)

    def folded(self) -> PerceptionEncoder:
        """Return a copy for use: normalisation by the running statistics goes into the convolutions."""
        net = PerceptionEncoder(self.config)
        merged = copy.deepcopy(self).eval()
        pairs = [
            (merged, "stem_half", "half_norm"),
            (merged, "stem_quarter", "quarter_norm"),
            (merged, "stem_patch", "patch_norm"),
            *((block, "first", "first_norm") for block in [*merged.fine_blocks, *merged.blocks]),
        ]
        for module, convolution, norm in pairs:
            if isinstance(getattr(module, norm), nn.BatchNorm2d):
                fused = fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm))
                setattr(module, convolution, fused)
                setattr(module, norm, nn.Identity())
        net.load_state_dict(merged.state_dict())
        return net

    @torch.no_grad()
    def grow_from(self, weights: dict[str, torch.Tensor]) -> None:
        """Take over the weights of an encoder that may be smaller, and see as it did to begin with.

        It may look at pictures that are a whole number of times coarser: this one then begins with the means
        of its own. It may have fewer channels, fewer blocks and a smaller `match`: what is new here stays as
        it was made, but what follows makes nothing of it at first.

        Args:
            weights: its `state_dict`, with or without normalisation.

        Raises:
            ValueError: it is larger somewhere, or of another kind.
        """
        mine = self.state_dict()
        missing = set(mine) - set(weights)
        if set(weights) - set(mine) or any("blocks." not in name and "norm." not in name for name in missing):
            raise ValueError("it is of an encoder of other sizes")
        grown = {name: _grown(name, old, mine[name]) for name, old in weights.items()}
        # Similarities are divided by the root of `match`.
        larger = (self.config.match / len(weights["sentence.2.bias"])) ** 0.5
        for name in ("sentence.2.weight", "sentence.2.bias"):
            grown[name] = larger * grown[name]
        self.load_state_dict(mine | grown)

    @torch.no_grad()
    def normalise_as(self, pictures: torch.Tensor, camera: torch.Tensor) -> None:
        """Set the normalisations so that they change nothing in these pictures: the opposite of `folded`.

        Statistics become those of the pictures, scale and shift undo them. So weights that were folded can be
        trained further with normalisation.

        Args:
            pictures: (B, H, W, 3) uint8, a few hundred of many homes.
            camera: (B,) int64.
        """
        norms = [module for module in self.modules() if isinstance(module, nn.BatchNorm2d)]
        hooks = [norm.register_forward_pre_hook(_undo_itself) for norm in norms]
        training = self.training
        self.eval()(pictures, camera)
        self.train(training)
        for hook in hooks:
            hook.remove()

    def match(self, cells: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """Return logits that cells show what sentences speak of.

        Args:
            cells: (B, match, R, C) from `forward`.
            text: (B, S, 384) embeddings of S sentences per picture.

        Returns:
            (B, S, R, C) logits.
        """
        # Embeddings have unit length; the net wants numbers of about 1.
        query = self.sentence(text.to(self.match_bias.dtype) * EMBEDDING_SIZE**0.5).to(cells.dtype)
        logits = torch.bmm(query, cells.flatten(2)) / self.config.match**0.5 + self.match_bias.to(cells.dtype)
        return cast(torch.Tensor, logits.reshape(*logits.shape[:2], *cells.shape[2:]))

    def _ask(self, quarter: torch.Tensor, patches: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """Return what `match` says of the cells, to rounding, without their vectors.

        The sentence meets the weights first: then cells are one map for each place in a patch, not `match`.

        Returns:
            (B, CELLS * CELLS, P, P) float32 logits, the cells of a patch as channels.
        """
        query = self.sentence(text.to(self.match_bias.dtype) * EMBEDDING_SIZE**0.5) / self.config.match**0.5
        count, (rows, columns) = len(query), patches.shape[2:]
        coarse = (query @ self.coarse.weight.view(self.config.match, -1)).view(count, CELLS * CELLS, -1)
        fine = query @ self.fine.weight.view(self.config.match, -1)
        coarse_bias, fine_bias = cast(torch.Tensor, self.coarse.bias), cast(torch.Tensor, self.fine.bias)
        bias = query @ (coarse_bias.view(self.config.match, -1) + fine_bias[:, None]) + self.match_bias
        of_patches = torch.bmm(coarse, patches.flatten(2)).view(count, -1, rows, columns)
        of_cells = torch.bmm(fine[:, None], quarter.flatten(2)).view(count, 1, CELLS * rows, CELLS * columns)
        logits = of_patches.float() + functional.pixel_unshuffle(of_cells, CELLS).float()
        return cast(torch.Tensor, logits + bias[..., None, None])

    @torch.inference_mode()
    def features(self, pictures: torch.Tensor, camera: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """Return the maps that a policy reads, computed in the precision of the weights.

        Args:
            pictures: (B, H, W, 3) uint8.
            camera: (B,) int64.
            text: (B, 384) embedding of each picture's instruction.

        Returns:
            (B, CHANNELS, H / (8 * scale), W / (8 * scale)) float16: probabilities, depth as log(metres) /
            DEPTH_SCALE, see `types`.
        """
        if self.config.separable:
            quarter, patches = self._read(pictures, camera)
            logits, heads = self._ask(quarter, patches, text), self.heads(patches)
        else:  # bit for bit what the policies with such an encoder were trained and judged on
            maps = self(pictures, camera)
            logits = functional.pixel_unshuffle(self.match(maps.cells, text[:, None]).float(), CELLS)
            heads = maps.heads
        target, heads = torch.sigmoid(logits), heads.float()
        parts = (target, heads[:, :1] / DEPTH_SCALE, torch.sigmoid(heads[:, 1:]))
        return torch.cat(parts, 1).clamp(-4.0, 4.0).half()
