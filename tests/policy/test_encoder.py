"""The encoder: folding changes nothing, maps lie where they belong, pictures of whole patches work."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from safevla.policy.encoder import EncoderConfig, Maps, PerceptionEncoder, use_half
from safevla.tasks.labels import MASKS, perfect_maps, read_labels
from safevla.types import CHANNELS


def pictures(count, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, size, size, 3), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("config", [EncoderConfig(), EncoderConfig(fine_blocks=1, separable=True)])
def test_folding_changes_nothing(config):
    torch.manual_seed(0)
    net = PerceptionEncoder(config, norm=True)
    camera = torch.arange(8) % 2
    for seed in range(4):  # statistics, and weights of the shortcut's end, that are not those of the start
        net(pictures(8, 112, seed), camera)
    for block in [*net.fine_blocks, *net.blocks]:
        torch.nn.init.normal_(block.second.weight, std=0.05)
    ours, folded = net.eval()(pictures(8, 112), camera), net.folded()(pictures(8, 112), camera)
    torch.testing.assert_close(ours.cells, folded.cells, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.heads, folded.heads, atol=1e-4, rtol=1e-4)
    assert sum(p.numel() for p in net.folded().parameters()) < sum(p.numel() for p in net.parameters())


SMALL = EncoderConfig(separable=True, fine_blocks=1)
LARGE = EncoderConfig(separable=True, scale=2, stem=(40, 64), width=128, match=64, fine_blocks=3, blocks=2)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(
    "large",
    [SMALL, LARGE, replace(SMALL, scale=2), replace(SMALL, stem=(24, 56)), replace(SMALL, match=48)],
)
def test_a_grown_encoder_sees_as_the_smaller_one(norm, large):
    torch.manual_seed(1)
    small = PerceptionEncoder(SMALL, norm)
    for name, weight in small.named_parameters():
        torch.nn.init.normal_(weight, std=0.3 if "bias" in name else 0.1)
    net = PerceptionEncoder(large, norm)
    net.grow_from(small.state_dict())
    images, camera = pictures(4, 112), torch.arange(4) % 2
    text = torch.nn.functional.normalize(torch.randn(4, 3, 384), dim=2)
    finer = images.repeat_interleave(large.scale, 1).repeat_interleave(large.scale, 2)
    ours, theirs = net.eval()(finer, camera), small.eval()(images, camera)
    torch.testing.assert_close(ours.heads, theirs.heads, atol=1e-3, rtol=1e-3)
    found, known = net.match(ours.cells, text), small.match(theirs.cells, text)
    assert known.std() > 0.1
    torch.testing.assert_close(found, known, atol=1e-3, rtol=1e-3)


def test_what_is_new_in_a_grown_encoder_can_be_learned():
    torch.manual_seed(1)
    net = PerceptionEncoder(LARGE, norm=True)
    net.grow_from(PerceptionEncoder(SMALL, norm=True).state_dict())
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    images, camera = pictures(4, 112).repeat_interleave(2, 1).repeat_interleave(2, 2), torch.arange(4) % 2
    before = {name: weight.detach().clone() for name, weight in net.named_parameters()}
    for _ in range(3):  # what follows has to make something of it first
        maps = net(images, camera)
        loss = net.match(maps.cells, torch.randn(4, 3, 384)).square().mean() + maps.heads.square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    still = [name for name, weight in net.named_parameters() if (weight == before[name]).all()]
    assert not still
    assert (net.stem_half.weight[24:] != before["stem_half.weight"][24:]).any()
    assert (net.coarse.weight[32 * 4 :] != 0).any() and (net.stem_patch.weight[96:] != 0).any()


def test_an_encoder_grows_from_no_larger_or_other_one():
    small, large = PerceptionEncoder(SMALL), PerceptionEncoder(LARGE)
    for net, other in (
        (small, large),
        (PerceptionEncoder(EncoderConfig(fine_blocks=1)), small),
        (PerceptionEncoder(replace(SMALL, grid=28)), small),
    ):
        with pytest.raises(ValueError, match="of other sizes"):
            net.grow_from(other.state_dict())


def test_a_finer_encoder_has_coarser_patches():
    net = PerceptionEncoder(EncoderConfig(scale=2, separable=True))
    maps = net(pictures(4, 64), torch.arange(4) % 2)
    assert maps.heads.shape[2:] == (4, 4) and maps.cells.shape[2:] == (8, 8)
    with pytest.raises(ValueError, match="multiples of 16 pixels"):
        net(pictures(4, 56), torch.arange(4) % 2)


@pytest.mark.parametrize("size", [64, 112])
def test_features(size):
    net = PerceptionEncoder()
    text = torch.nn.functional.normalize(
        torch.randn(3, 384, generator=torch.Generator().manual_seed(0)), dim=1
    )
    camera = torch.tensor([0, 1, 0])
    maps = net.features(pictures(3, size), camera, text)
    assert maps.shape == (3, CHANNELS, size // 8, size // 8) and maps.dtype == torch.float16
    assert maps.isfinite().all() and (maps[:, :4] >= 0).all() and (maps[:, :4] <= 1).all()
    alone = net.features(pictures(3, size)[1:2], camera[1:2], text[1:2])
    torch.testing.assert_close(maps[1:2], alone, atol=2e-3, rtol=2e-3)
    half = copy.deepcopy(net).to(torch.bfloat16).features(pictures(3, size), camera, text)
    torch.testing.assert_close(maps, half, atol=0.05, rtol=0.05)


def test_asking_with_the_weights_first_is_matching_cells():
    """What separable encoders compute for `features` is what `forward` and `match` say, which are trained."""
    torch.manual_seed(2)
    net = PerceptionEncoder(EncoderConfig(separable=True, blocks=2)).requires_grad_(False)
    for name, weight in net.named_parameters():  # biases too, and a shortcut's end that is not zero
        torch.nn.init.normal_(weight, std=0.3 if "bias" in name else 0.1)
    text = torch.nn.functional.normalize(torch.randn(4, 384), dim=1)
    camera = torch.tensor([0, 1, 0, 1])
    maps = net(pictures(4, 112), camera)
    logits = torch.nn.functional.pixel_unshuffle(net.match(maps.cells, text[:, None]), 2)
    assert logits.std() > 0.3  # so the target's maps are not all 0 or all 1
    features = net.features(pictures(4, 112), camera, text).float()
    torch.testing.assert_close(features[:, :4], torch.sigmoid(logits), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(features[:, 5:], torch.sigmoid(maps.heads[:, 1:]), atol=1e-3, rtol=1e-3)


def test_target_map_and_heads_follow_the_picture():
    """What changes in one corner of the picture changes the maps there and not in the opposite corner."""
    net = PerceptionEncoder()
    torch.nn.init.normal_(net.blocks[0].second.weight, std=0.02)
    before = pictures(1, 112)
    after = before.clone()
    after[:, :16, 96:] = 255 - after[:, :16, 96:]
    text = torch.randn(1, 384, generator=torch.Generator().manual_seed(1))
    camera = torch.zeros(1, dtype=torch.int64)
    moved = (net.features(after, camera, text) - net.features(before, camera, text)).float().abs()[0]
    assert (moved[:, :2, 12:].amax((1, 2)) > 1e-4).all()
    assert moved[:, 7:, :7].max() == 0


def test_bad_input():
    with pytest.raises(ValueError, match="multiples of 8"):
        PerceptionEncoder()(pictures(1, 100), torch.zeros(1, dtype=torch.int64))
    with pytest.raises(ValueError, match="choose auto, fp32 or bf16"):
        use_half("fp16")
    assert EncoderConfig().grid == 14


class Perfect(PerceptionEncoder):
    """Says of pictures what it was told about them: nothing but the layout of `features` is its own."""

    def forward(self, pictures, camera):
        return Maps(cells=self.told[0], heads=self.told[1])

    def match(self, cells, text):
        return cells


def test_perfect_maps_are_features_of_an_encoder_that_is_right():
    """A geom for each mask, and the target, scattered over a picture."""
    rng = np.random.default_rng(0)
    ids = rng.choice([-1, *range(7)], (64, 96), p=[0.05, *[0.15] * 5, 0.1, 0.1]).astype(np.int32)
    depth = rng.uniform(0.05, 15, (64, 96)).astype(np.float32)
    target = np.array([-1] * 6 + [0], np.int32)
    flags = np.array([1, 2, 4, 8, 16, 0, 2 + 8], np.int32)
    counts, masks = np.empty((1, 16, 24), np.uint8), np.empty((len(MASKS), 8, 12), np.uint8)
    log_depth = np.empty((8, 12), np.float32)
    read_labels(ids, depth, target, flags, counts, masks, log_depth, np.empty(1, np.float32))
    sure = [torch.from_numpy(np.where(mask >= 3, 30.0, -30.0)) for mask in masks[1:]]
    floor = torch.logit(torch.from_numpy(masks[0] / 64), eps=1e-9)
    encoder = Perfect()
    encoder.told = (
        torch.from_numpy(np.where(counts >= 2, 30.0, -30.0))[None],
        torch.stack([torch.from_numpy(log_depth), floor, *sure])[None],
    )
    features = encoder.features(None, None, torch.zeros(1, 384))[0]
    maps = perfect_maps(ids, depth, target, flags)
    assert maps.dtype == np.float16 and maps.any((1, 2)).all() and not maps[:4].all()
    np.testing.assert_allclose(maps, features.numpy(), atol=1e-3)
