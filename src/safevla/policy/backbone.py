"""A frozen image encoder that others have trained, DINOv2 or SigLIP, through the library transformers.

It takes the place of the `PerceptionEncoder` in a `VisionLanguageActionPolicy`: pictures in, a grid of
vectors out. The grid is pooled, as SPOC does it, since the features of every step are stored. The sentence
does not reach it; the policy reads that beside the features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as functional
from torch import nn

# Mean and standard deviation of the colours that each kind was trained on.
COLOURS = {
    "dinov2": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "siglip": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


@dataclass(frozen=True)
class BackboneConfig:
    """Sizes of a vision transformer; the defaults are those of DINOv2-S.

    Attributes:
        kind: "dinov2" or "siglip".
        weights: where its weights are on the hub.
        width: numbers per patch.
        layers: how many.
        heads: of attention.
        expansion: inner width of a layer.
        patch: pixels along a side of a patch.
        image: pixels along a side of the pictures that its positions were learned for.
        rows, columns: of the grid that its patches are pooled to.
    """

    kind: str = "dinov2"
    weights: str = "facebook/dinov2-small"
    width: int = 384
    layers: int = 12
    heads: int = 6
    expansion: int = 1536
    patch: int = 14
    image: int = 518
    rows: int = 7
    columns: int = 12

    def __post_init__(self) -> None:
        if self.kind not in COLOURS:
            raise ValueError(f"unknown kind of backbone '{self.kind}'; choose one of {', '.join(COLOURS)}")


class Backbone(nn.Module):
    """The encoder of the preset `base`; its weights are random until they are loaded.

    Args:
        config: sizes.

    Raises:
        ValueError: transformers is not installed.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.model = _make(config)
        mean, deviation = COLOURS[config.kind]
        self.register_buffer("mean", 255 * torch.tensor(mean), persistent=False)
        self.register_buffer("deviation", 255 * torch.tensor(deviation), persistent=False)

    def load_weights(self, source: str) -> None:
        """Take over the weights of a model on the hub ("owner/name") or in a folder.

        Raises:
            ValueError: it cannot be fetched, or has other sizes.
        """
        try:
            loaded = type(self.model).from_pretrained(source)
        except Exception as error:  # transformers and the hub's client have dozens of kinds
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ValueError(
                f"cannot load the backbone {source}: {reason}; where no hub is reached, name a folder with it"
            ) from error
        # SigLIP's vision tower is published with a head that pools; it is not used here.
        weights = {key: value for key, value in loaded.state_dict().items() if "head" not in key.split(".")}
        found, expected = _shapes(weights), _shapes(self.model.state_dict())
        if found != expected:
            name = next(key for key in sorted({*found, *expected}) if found.get(key) != expected.get(key))
            raise ValueError(
                f"the backbone {source} has other sizes: {name} is {found.get(name, 'missing')}, "
                f"expected {expected.get(name, 'nothing')}"
            )
        self.model.load_state_dict(weights)

    @torch.inference_mode()
    def features(self, pictures: torch.Tensor, camera: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """Return what a policy reads; arguments as of `PerceptionEncoder.features`.

        Args:
            pictures: (B, H, W, 3) uint8; scaled to the nearest multiples of a patch below.
            camera: not used: the policy tells the cameras apart by their place.
            text: not used.

        Returns:
            (B, width, rows, columns) float16.
        """
        patch = self.config.patch
        rows, columns = (side // patch for side in pictures.shape[1:3])
        scaled = (pictures.float() - self.mean.float()) / self.deviation.float()
        image = functional.interpolate(
            scaled.permute(0, 3, 1, 2), (rows * patch, columns * patch), mode="bilinear", antialias=True
        )
        image = image.to(self.mean.dtype)
        hidden = self.model(pixel_values=image, interpolate_pos_encoding=True).last_hidden_state.float()
        grid = hidden[:, -rows * columns :].transpose(1, 2).unflatten(2, (rows, columns))
        return functional.adaptive_avg_pool2d(grid, (self.config.rows, self.config.columns)).half()


def _shapes(weights: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in weights.items()}


def _make(config: BackboneConfig) -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ValueError("the preset `base` needs transformers: pip install 'safevla[base]'") from error
    common = {
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "patch_size": config.patch,
        "image_size": config.image,
    }
    if config.kind == "dinov2":
        ratio = config.expansion // config.width
        return transformers.Dinov2Model(transformers.Dinov2Config(**common, mlp_ratio=ratio))
    sizes = transformers.SiglipVisionConfig(
        **common, intermediate_size=config.expansion, vision_use_head=False
    )
    return transformers.SiglipVisionModel(sizes)
