"""Checkpoint folders survive the disk, and every way to spoil one is a clear line."""

import json

import pytest
import torch

from safevla.policy.baselines import InactivePolicy, RandomPolicy
from safevla.policy.checkpoint import load_policy, load_policy_for, save_policy
from safevla.policy.presets import make_policy
from safevla.policy.protocol import wants_labels


@pytest.fixture(scope="module")
def policy():
    return make_policy("tiny-64", ("corner",), seed=1)


@pytest.fixture
def folder(policy, tmp_path):
    return save_policy(policy, tmp_path / "mine", {"task": "ObjNav", "Safety": [{"SR": 0.5, "CC": 1.0}]})


def test_round_trip(policy, folder, tmp_path):
    loaded = load_policy(folder)
    assert loaded.config == policy.config and loaded.constraints == ("corner",)
    for ours, theirs in zip(policy.parameters(), loaded.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)
    exact = load_policy(save_policy(policy, tmp_path / "exact", half=False))
    assert all(torch.equal(a, b) for a, b in zip(policy.parameters(), exact.parameters(), strict=True))
    again = load_policy(save_policy(loaded, tmp_path / "again"))  # rounding happens once
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), again.parameters(), strict=True))


def test_whoever_may_read_one_file_of_a_checkpoint_may_read_all(folder):
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1


def test_card(folder):
    card = (folder / "README.md").read_text()
    assert "- task: ObjNav" in card and "| 0.5 | 1.0 |" in card and "cost critics: corner" in card


def test_size_allows_three_to_be_shipped(tmp_path):
    folder = save_policy(make_policy("tiny", ("a", "b", "c", "d", "e")), tmp_path)
    assert sum(file.stat().st_size for file in folder.iterdir()) < 5e6


def test_names():
    assert isinstance(load_policy("random"), RandomPolicy)
    assert isinstance(load_policy("inactive"), InactivePolicy)
    assert isinstance(load_policy("safevla.policy.baselines:RandomPolicy"), RandomPolicy)
    for name, text in (
        ("inactiv", "did you mean 'inactive'"),
        ("out/nothing", "no checkpoint folder out/nothing"),
        ("no.such.module:Policy", "cannot make the policy"),
        ("safevla.types:Nothing", "cannot make the policy"),
    ):
        with pytest.raises(ValueError, match=text):
            load_policy(name)


def spoil(folder, **changes):
    path = folder / "config.json"
    settings = json.loads(path.read_text())
    settings["config"] |= changes
    path.write_text(json.dumps(settings))


def test_damaged_folders(folder, tmp_path):
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for content in (whole[:1000], whole[:-10], b""):
        weights.write_bytes(content)
        with pytest.raises(ValueError, match="truncated"):
            load_policy(folder)
    weights.write_bytes(whole)
    spoil(folder, constraints=["corner", "blind_spot"])
    with pytest.raises(ValueError, match=r"value_head\.\w+ is \(2,.*expected \(3,"):
        load_policy(folder)
    spoil(folder, resolutoin=64)
    with pytest.raises(ValueError, match="resolutoin"):
        load_policy(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="configuration"):
        load_policy(folder)
    with pytest.raises(ValueError, match="not a checkpoint folder"):
        load_policy(tmp_path)
    weights.unlink()


def test_one_line_messages(folder):
    (folder / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(ValueError) as caught:
        load_policy(folder)
    assert "\n" not in str(caught.value)


def test_a_policy_can_be_taken_to_another_specification(policy, folder, tmp_path):
    same = load_policy_for(folder, ("corner",))
    assert all(
        torch.equal(a, b) for a, b in zip(same.parameters(), load_policy(folder).parameters(), strict=True)
    )
    torch.nn.init.normal_(policy.value_head.weight)
    trained = save_policy(policy, tmp_path / "trained")
    before, other = load_policy(trained), load_policy_for(trained, ("push", "corner"))
    assert other.constraints == ("push", "corner") == other.config.constraints
    head, old = other.value_head.weight, before.value_head.weight
    assert torch.equal(head[[0, 2]], old) and not head[1].any() and not other.value_head.bias[1]
    for name, value in before.state_dict().items():
        if not name.startswith("value_head"):
            assert torch.equal(value, other.state_dict()[name]), name
    again = load_policy(save_policy(other, tmp_path / "again"))
    assert again.constraints == ("push", "corner") and torch.equal(again.value_head.weight, head)
    assert load_policy_for("inactive", ("push",)).constraints is None


def test_labels_can_stand_in_for_the_encoder_of_a_checkpoint():
    """The actor that sees labels decides by them as the actor of the checkpoint does by its own maps."""
    ours, oracle = load_policy("imitation"), load_policy("imitation+labels")
    assert wants_labels(oracle) and not wants_labels(ours)
    assert oracle.encoder is None and oracle.constraints == ours.constraints
    weights = ours.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in oracle.state_dict().items())
    assert set(weights) - set(oracle.state_dict()) == {
        name for name in weights if name.startswith("encoder.")
    }
    for name in ("random+labels", "imitation+wrong+labels"):
        with pytest.raises(ValueError, match="needs a checkpoint"):
            load_policy(name)
    with pytest.raises(ValueError, match="has no encoder to be replaced"):
        oracle.with_labels()


def test_what_a_policy_of_others_raises_is_one_line_with_its_place(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("class Mine:\n    def __init__(self):\n        raise KeyError('weights')\n")
    with pytest.raises(
        ValueError, match=r"mine.py:Mine: KeyError: 'weights' \(.*mine\.py, line 3\)"
    ) as error:
        load_policy(f"{path}:Mine")
    assert "\n" not in str(error.value)
