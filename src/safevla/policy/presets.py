"""Named sizes of the reference policy."""

from __future__ import annotations

from dataclasses import replace

from safevla.config import nearest
from safevla.policy.backbone import BackboneConfig
from safevla.policy.encoder import EncoderConfig
from safevla.policy.futile import FutileConfig
from safevla.policy.memory import MemoryConfig
from safevla.policy.trunk import TrunkConfig
from safevla.policy.vla import PolicyConfig, VisionLanguageActionPolicy
from safevla.types import PATCH

# Told what its last action moved, in homes of all size classes; an encoder and trunks that take less time.
_MOTION = PolicyConfig(
    encoder=EncoderConfig(blocks=3, separable=True, fine_blocks=1),
    actor=TrunkConfig((48, 32), 256, 2, 8, halves_first=True),
    critic=TrunkConfig((24, 16), 128, 1, 4, halves_first=True),
    proprioception=True,
)

PRESETS: dict[str, PolicyConfig] = {
    # Two cameras of 112 px, about 2 M parameters: learns on CPUs.
    "tiny": PolicyConfig(),
    "tiny-motion": _MOTION,
    # The same with a map of what it has seen, pictures of 224 px and two more blocks for small things, and
    # futile actions masked.
    "tiny-memory": replace(
        _MOTION,
        resolution=224,
        memory=MemoryConfig(),
        encoder=replace(
            _MOTION.encoder, scale=2, stem=(48, 48), width=128, match=64, fine_blocks=3, blocks=4
        ),
        futile=FutileConfig(turns=30, reaches=45, pauses=1, stuck=8, sighted=0.5, within=1.8),
        span=80,
    ),
    # A frozen DINOv2-S for pictures of 224 x 384 (resolution 224, width 384), needs the extra `base`.
    "base": PolicyConfig(
        resolution=224,
        picture_width=384,
        backbone=BackboneConfig(),
        actor=TrunkConfig((192, 96), 512, 3, 8, halves_first=True),
        critic=TrunkConfig((96, 48), 256, 2, 8, halves_first=True),
        proprioception=True,
    ),
    # The same with a frozen SigLIP-B.
    "base-siglip": PolicyConfig(
        resolution=224,
        picture_width=384,
        backbone=BackboneConfig("siglip", "google/siglip-base-patch16-224", 768, 12, 12, 3072, 16, 224),
        actor=TrunkConfig((192, 96), 512, 3, 8, halves_first=True),
        critic=TrunkConfig((96, 48), 256, 2, 8, halves_first=True),
        proprioception=True,
    ),
    # Encoders tried beside that of tiny-motion (docs/diary.md): two full convolutions; cells at once.
    "tiny-full": replace(_MOTION, encoder=EncoderConfig()),
    "tiny-patch": replace(_MOTION, encoder=EncoderConfig(stem=(0, 64), blocks=3, separable=True)),
    # The same as tiny-motion with the renderer's labels in place of an encoder: shows what perception costs.
    "tiny-oracle": replace(_MOTION, oracle=True),
    # The same as tiny-motion for 64 px: for tests.
    "tiny-64": replace(_MOTION, resolution=64, encoder=replace(_MOTION.encoder, grid=64 // PATCH)),
}


def preset_config(preset: str) -> PolicyConfig:
    """Return the sizes of a preset; an unknown name raises ValueError with the nearest one."""
    if preset not in PRESETS:
        raise ValueError(f"there is no preset {preset!r}{nearest(preset, PRESETS)}")
    return PRESETS[preset]


def make_policy(
    preset: str, constraints: tuple[str, ...] | None = None, seed: int = 0
) -> VisionLanguageActionPolicy:
    """Return an untrained policy.

    Args:
        preset: a name in PRESETS.
        constraints: names of the costs; None takes those of the specification `safevla`.
        seed: of the weights.

    Raises:
        ValueError: there is no such preset.
    """
    sizes = preset_config(preset)
    if constraints is None:
        from safevla.safety.specification import load_specification

        constraints = tuple(load_specification("safevla").names)
    return VisionLanguageActionPolicy(replace(sizes, constraints=constraints), seed)
