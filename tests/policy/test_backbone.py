"""The preset `base` at a tiny size and with random weights: the same policy around an encoder of others."""

import importlib.util
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from safevla.cli import main
from safevla.policy.backbone import Backbone, BackboneConfig
from safevla.policy.checkpoint import load_policy, save_policy
from safevla.policy.presets import PRESETS
from safevla.policy.protocol import check_compatible
from safevla.policy.trunk import TrunkConfig
from safevla.policy.vla import PolicyConfig, VisionLanguageActionPolicy
from safevla.rollout import play, sequence_batch
from safevla.tasks.env import HomeVecEnv
from safevla.tasks.sampling import load_scenarios

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None,
    reason="transformers is not installed: make test",
)
SMALL = {
    "dinov2": BackboneConfig("dinov2", "", 24, 2, 2, 48, 14, 42, 2, 4),
    "siglip": BackboneConfig("siglip", "", 24, 2, 2, 48, 16, 32, 2, 4),
}
KINDS = pytest.mark.parametrize("kind", list(SMALL))


def small(kind, **changes):
    trunk = TrunkConfig((8, 8), 16, 1, 2)
    config = PolicyConfig(
        ("corner",), 56, 112, backbone=SMALL[kind], actor=trunk, critic=trunk, precision="fp32"
    )
    return replace(config, **changes)


@needs_transformers
@KINDS
def test_features_are_those_of_the_model(kind):
    """Oracle: the model of transformers on a picture that needs no scaling, its patches averaged by hand."""
    encoder = Backbone(SMALL[kind]).eval()
    patch = SMALL[kind].patch
    pictures = torch.randint(0, 256, (2, 4 * patch, 8 * patch, 3), dtype=torch.uint8)
    found = encoder.features(pictures, torch.zeros(2, dtype=torch.int64), torch.zeros(2, 384))
    assert found.shape == (2, 24, 2, 4) and found.dtype == torch.float16
    mean, deviation = {
        "dinov2": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        "siglip": ([0.5] * 3, [0.5] * 3),
    }[kind]
    pixels = (pictures / 255 - torch.tensor(mean)) / torch.tensor(deviation)
    with torch.no_grad():
        hidden = encoder.model(pixel_values=pixels.permute(0, 3, 1, 2), interpolate_pos_encoding=True)[0]
    assert hidden.shape[1] == 32 + (kind == "dinov2")  # the first is the class token
    grid = hidden[:, -32:].reshape(2, 2, 2, 4, 2, 24).mean((2, 4)).permute(0, 3, 1, 2)
    torch.testing.assert_close(found.float(), grid, atol=2e-3, rtol=2e-3)


@needs_transformers
@KINDS
def test_the_same_policy_plays_learns_and_is_kept(kind, tmp_path):
    policy = VisionLanguageActionPolicy(small(kind), seed=1)
    assert policy.resolution == (56, 112) and policy.config.feature_size == 2 * 24 * 2 * 4
    scenarios = load_scenarios("ObjNav-val")[:2]
    env = HomeVecEnv("ObjNav", 2, resolution=(56, 112), horizon=9)
    policy.set_constraints(env.constraints)
    check_compatible(policy, env)
    episodes = play(env, policy, scenarios, greedy=True, keep=("features", "holding", "last_action"))
    assert np.ptp(episodes[0].extras["features"]) > 0.1
    logits = policy.action_logits(sequence_batch(policy, episodes))
    for episode, row in zip(episodes, logits, strict=True):  # what was played is what is learned from
        np.testing.assert_array_equal(row[: episode.length].argmax(-1), episode.actions)
    logits.logsumexp(-1).sum().backward()
    assert all(parameter.grad is not None for parameter in policy.policy_parameters())
    assert all(parameter.grad is None for parameter in policy.encoder.parameters())
    loaded = load_policy(save_policy(policy, tmp_path / "kept", half=False))
    assert loaded.config == policy.config
    again = play(env, loaded, scenarios, greedy=True, keep=("features",))
    for one, other in zip(episodes, again, strict=True):
        np.testing.assert_array_equal(one.extras["features"], other.extras["features"])


@needs_transformers
@KINDS
def test_weights_come_from_a_folder_or_are_told(kind, tmp_path):
    torch.manual_seed(0)
    given, encoder = Backbone(SMALL[kind]), Backbone(SMALL[kind])
    published = given.model
    if kind == "siglip":
        published = type(given.model)(
            type(given.model.config)(**given.model.config.to_dict() | {"vision_use_head": True})
        )
        published.load_state_dict(given.model.state_dict(), strict=False)
    published.save_pretrained(tmp_path / "right")
    encoder.load_weights(str(tmp_path / "right"))  # SigLIP's has a head there that is not used here
    for ours, theirs in zip(encoder.state_dict().values(), given.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    Backbone(replace(SMALL[kind], width=32)).model.save_pretrained(tmp_path / "wrong")
    with pytest.raises(ValueError, match=r"has other sizes: .* expected"):
        encoder.load_weights(str(tmp_path / "wrong"))
    with pytest.raises(ValueError, match=r"cannot load the backbone .* name a folder") as caught:
        encoder.load_weights(str(tmp_path / "missing"))
    assert "\n" not in str(caught.value)


@needs_transformers
@pytest.mark.parametrize("preset", ["base", "base-siglip"])
def test_presets_have_the_sizes_of_the_published_models(preset):
    """A meta device holds no weights: only shapes are made."""
    config = PRESETS[preset].backbone
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in Backbone(config).model.parameters())
    published = {"base": 22.06e6, "base-siglip": 85.8e6}[
        preset
    ]  # vision towers, without SigLIP's pooling head
    assert abs(count - published) < 0.02 * published
    assert PRESETS[preset].picture == (224, 384) and PRESETS[preset].maps[1:] == (7, 12)


def test_an_unknown_kind():
    with pytest.raises(ValueError, match="unknown kind of backbone 'vgg'; choose one of dinov2, siglip"):
        BackboneConfig("vgg")


def test_without_transformers_it_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert main(["imitate", "--preset", "base", "--task", "ObjNav"]) == 2
    assert capsys.readouterr().err.endswith("needs transformers: pip install 'safevla[base]'\n")
    assert not list(tmp_path.iterdir())
