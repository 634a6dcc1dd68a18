"""Policies of LeRobot: chunks for each home, with a policy of three lines; and the real ACT and SmolVLA.

What needs lerobot is run by `make test-lerobot`.
"""

import importlib.util
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from safevla.policy.checkpoint import load_policy
from safevla.policy.continuous import to_vectors
from safevla.policy.lerobot import LeRobotPolicy
from safevla.policy.protocol import IncompatiblePolicyError, check_compatible
from safevla.types import ACTION_ID, NO_ACTION, Observation

NAV, MANIP, STATE = "observation.images.nav", "observation.images.manip", "observation.state"
SHAPES = {NAV: (3, 24, 32), MANIP: (3, 24, 32), STATE: (4,)}
needs_lerobot = pytest.mark.skipif(
    importlib.util.find_spec("lerobot") is None, reason="lerobot is not installed: make test-lerobot"
)


def observe(homes, seed=0, active=None):
    generator = np.random.default_rng(seed)
    nav, manip = generator.integers(0, 256, (2, homes, 24, 32, 3), dtype=np.uint8)
    zeros = np.zeros(homes, np.int64)
    joints = generator.random((homes, 3), np.float32)
    return Observation(nav, manip, zeros, zeros + NO_ACTION, zeros, ["find a mug"] * homes, active, joints)


class Fake:
    """Answers a chunk of four: the action in the red corner of the picture, then those after it."""

    def __init__(self, shapes=SHAPES, size=7, steps=3, observations=1):
        self.config = SimpleNamespace(
            input_features={name: SimpleNamespace(shape=shape) for name, shape in shapes.items()},
            output_features={"action": SimpleNamespace(shape=(size,))},
            n_obs_steps=observations,
            n_action_steps=steps,
        )
        self.asked = []

    def predict_action_chunk(self, batch):
        assert batch[NAV].shape[1:] == (3, 24, 32) and batch[STATE].shape[1:] == (4,)
        first = (batch[NAV][:, 0, 0, 0] * 255).round().long()
        self.asked.append(first.tolist())
        ids = (first[:, None] + torch.arange(4)) % 20
        return torch.from_numpy(to_vectors(ids.numpy()))


def wrap(policy):
    return LeRobotPolicy(policy, dict, lambda actions: actions)


def test_each_home_has_its_own_chunk():
    fake = Fake()
    policy = wrap(fake)
    policy.reset(np.ones(2, bool))
    seen = observe(2)
    seen.nav[:, 0, 0, 0] = (0, 10)
    assert [policy.act(seen).action.tolist() for _ in range(2)] == [[0, 10], [1, 11]]
    policy.reset(np.array([True, False]))  # the first begins anew, the other goes on
    seen.nav[:, 0, 0, 0] = (4, 15)
    assert [policy.act(seen).action.tolist() for _ in range(3)] == [[4, 12], [5, 15], [6, 16]]
    assert fake.asked == [[0, 10], [4], [15]]  # only the home whose chunk is used up is looked at
    seen.active = np.array([False, True])
    assert policy.act(seen).action.tolist() == [ACTION_ID["sub_task_done"], 17]
    policy.reset(np.ones(1, bool))
    one = observe(1)
    one.nav[0, 0, 0, 0] = 9
    assert policy.act(one, np.zeros(1)).action.tolist() == [9]


def test_it_fits_the_homes():
    check_compatible(wrap(Fake()), SimpleNamespace(constraints=("a",), resolution=(24, 32), horizon=200))
    with pytest.raises(IncompatiblePolicyError, match="24 x 32") as caught:
        check_compatible(wrap(Fake()), SimpleNamespace(constraints=("a",), resolution=(112, 112)))
    assert caught.value.code == "resolution"


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        (
            {"shapes": SHAPES | {"observation.images.top": (3, 24, 32)}},
            "inputs",
            r"wants .*images.top \(3, 24",
        ),
        (
            {"shapes": SHAPES | {STATE: (6,)}},
            "inputs",
            r"state \(6,\); the homes give .*lift, arm, wrist, hold",
        ),
        ({"size": 6}, "actions", r"vectors of \(6,\), the homes need 7 numbers: forward, turn"),
        ({"observations": 2}, "inputs", "looks at 2 observations at once"),
    ],
)
def test_what_does_not_fit(changes, code, text):
    with pytest.raises(IncompatiblePolicyError, match=text) as caught:
        wrap(Fake(**changes))
    assert caught.value.code == code


def test_other_cameras_and_actions_can_be_mapped():
    fake = Fake({"observation.images.top": (3, 24, 32)}, size=2)
    fake.predict_action_chunk = lambda batch: torch.stack(
        [batch["observation.images.top"][:, 0, 0, :2]] * 4, 1
    )

    def decode(vectors):
        return np.where(vectors[:, 0] > vectors[:, 1], 2, 3)

    policy = LeRobotPolicy(fake, dict, lambda a: a, {"observation.images.top": "manip"}, decode)
    seen = observe(2)
    seen.manip[0, 0, :2, 0], seen.manip[1, 0, :2, 0] = (9, 5), (5, 9)
    policy.reset(np.ones(2, bool))
    assert policy.act(seen).action.tolist() == [2, 3]


@pytest.mark.skipif(importlib.util.find_spec("lerobot") is not None, reason="lerobot is installed")
def test_without_lerobot_it_says_what_to_install():
    with pytest.raises(ValueError, match=r"need lerobot .* pip install 'safevla\[lerobot\]'"):
        load_policy("lerobot:owner/name")


# --- the real ones -----------------------------------------------------------------------------------------


def features():
    from lerobot.configs.types import FeatureType, PolicyFeature

    kinds = {STATE: FeatureType.STATE}
    inputs = {
        name: PolicyFeature(kinds.get(name, FeatureType.VISUAL), shape) for name, shape in SHAPES.items()
    }
    return {"input_features": inputs, "output_features": {"action": PolicyFeature(FeatureType.ACTION, (7,))}}


def statistics():
    generator = torch.Generator().manual_seed(0)
    shapes = {NAV: (3, 1, 1), MANIP: (3, 1, 1), STATE: (4,), "action": (7,)}
    return {
        name: {
            "mean": torch.rand(shape, generator=generator) * 0.1,
            "std": 0.1 + torch.rand(shape, generator=generator),
        }
        for name, shape in shapes.items()
    }


def save(policy, folder):
    from lerobot.policies.factory import make_pre_post_processors

    policy.save_pretrained(folder)
    for processor in make_pre_post_processors(policy.config, dataset_stats=statistics()):
        processor.save_pretrained(folder)
    return policy


def tiny_act(folder):
    from lerobot.policies.act.configuration_act import ACTConfig
    from lerobot.policies.act.modeling_act import ACTPolicy

    config = ACTConfig(
        **features(), chunk_size=6, n_action_steps=3, pretrained_backbone_weights=None, device="cpu",
        dim_model=32, n_heads=2, dim_feedforward=32, n_encoder_layers=1, n_decoder_layers=1, latent_dim=8,
        n_vae_encoder_layers=1,
    )  # fmt: skip
    torch.manual_seed(0)
    return save(ACTPolicy(config), folder)


def tiny_smolvla(folder, vlm):
    from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig
    from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy

    make_vlm(vlm)
    config = SmolVLAConfig(
        **features(), chunk_size=6, n_action_steps=3, vlm_model_name=str(vlm), num_vlm_layers=2, num_steps=3,
        device="cpu", resize_imgs_with_padding=(64, 64), max_state_dim=8, max_action_dim=8,
        expert_width_multiplier=0.5,
    )  # fmt: skip
    torch.manual_seed(0)
    return save(SmolVLAPolicy(config), folder)


def make_vlm(folder):
    """Write what SmolVLA reads of its backbone: sizes, a tokenizer of words and a processor."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, SmolVLMConfig

    words = ["<pad>", "<unk>", "<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]
    words += ["find", "a", "mug"]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    names = ("image_token", "fake_image_token", "global_image_token", "end_of_utterance_token")
    special = {"pad_token": "<pad>", "unk_token": "<unk>"}
    extra = dict(zip(names, words[2:6], strict=True))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, extra_special_tokens=extra, **special)
    fast.save_pretrained(folder)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_hidden_layers": 2}
    config = SmolVLMConfig(
        vision_config={**sizes, "image_size": 64, "patch_size": 16},
        text_config={
            **sizes, "model_type": "llama", "num_key_value_heads": 1, "head_dim": 16,
            "vocab_size": len(words), "pad_token_id": 0,
        },
        scale_factor=2,
        image_token_id=2,
        pad_token_id=0,
    )  # fmt: skip
    config.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "SmolVLMImageProcessor", "processor_class": "SmolVLMProcessor"})
    )
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": "SmolVLMProcessor"}))


@needs_lerobot
def test_act_plays_as_lerobot_itself_plays_it(tmp_path):
    from lerobot.policies.factory import make_pre_post_processors

    theirs = tiny_act(tmp_path)
    before, after = make_pre_post_processors(theirs.config, str(tmp_path))
    ours = load_policy(f"lerobot:{tmp_path}")
    check_compatible(ours, SimpleNamespace(constraints=("a",), resolution=(24, 32), horizon=200))
    ours.reset(np.ones(1, bool))
    theirs.eval()
    theirs.reset()
    raw, answers = [], []
    ours._decode = lambda vectors: raw.extend(vectors) or np.zeros(len(vectors), np.int64)
    for step in range(5):
        seen = observe(1, seed=step)
        ours.act(seen)
        batch = {
            NAV: torch.from_numpy(seen.nav).permute(0, 3, 1, 2).float() / 255,
            MANIP: torch.from_numpy(seen.manip).permute(0, 3, 1, 2).float() / 255,
            STATE: torch.from_numpy(np.concatenate([seen.joints, np.zeros((1, 1), np.float32)], 1)),
            "task": seen.instruction,
        }
        answers.append(after(theirs.select_action(before(batch)))[0].numpy())
    np.testing.assert_allclose(raw[:5], answers, atol=1e-5)
    assert np.ptp(answers, axis=0).max() > 1e-3


@needs_lerobot
def test_smolvla_plays_and_a_replay_is_alike(tmp_path):
    tiny_smolvla(tmp_path / "policy", tmp_path / "vlm")
    policy = load_policy(f"lerobot:{tmp_path / 'policy'}")
    check_compatible(policy, SimpleNamespace(constraints=("a",), resolution=(24, 32), horizon=200))

    def vectors(homes, uniforms):
        found = []
        policy._decode = lambda vectors: found.append(vectors) or np.zeros(len(vectors), np.int64)
        policy.reset(np.ones(homes, bool))
        policy.act(observe(homes), uniforms)
        return found[0]

    first = vectors(2, np.array([0.1, 0.2]))
    np.testing.assert_array_equal(first, vectors(2, np.array([0.1, 0.2])))
    assert np.abs(first - vectors(2, np.array([0.3, 0.4]))).max() > 1e-3
    np.testing.assert_array_equal(vectors(2, None), vectors(2, None))


@needs_lerobot
def test_what_cannot_be_loaded_is_one_line(tmp_path):
    tiny_act(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"x")
    for source in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(ValueError, match="cannot load the LeRobot policy") as caught:
            load_policy(f"lerobot:{source}")
        assert "\n" not in str(caught.value)
