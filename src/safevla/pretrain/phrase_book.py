"""What pictures are asked for in pretraining: the embedded phrases of every category and of its colours."""

from __future__ import annotations

import numpy as np
import torch

from safevla.policy.text import TextEncoder
from safevla.pretrain.perception_data import colour_descriptions, described_phrases, phrases
from safevla.tasks.colours import COLOURS
from safevla.tasks.descriptions import described, parse
from safevla.world.catalogue import CATEGORIES, TYPES


class PhraseBook:
    """Embeddings of the phrases of every category, padded: drawn at random in training."""

    def __init__(self, text: TextEncoder) -> None:
        sentences = [phrases(category) for category in CATEGORIES]
        self.counts = np.array([len(group) for group in sentences])
        self.embeddings = torch.zeros(len(CATEGORIES), int(self.counts.max()), 384)
        for index, group in enumerate(sentences):
            self.embeddings[index, : len(group)] = text.embed(group)
        self.nouns = torch.stack([text.embed([category.replace("_", " ")])[0] for category in CATEGORIES])
        self._embed_described(text)

    def _embed_described(self, text: TextEncoder) -> None:
        """Embed what is said of the colours that things of each category have."""
        asked = [(category, which) for category in CATEGORIES for which in colour_descriptions(category)]
        sentences = [described_phrases(category, which) for category, which in asked]
        self.described_counts = np.array([len(group) for group in sentences])
        self.described = torch.zeros(len(asked), int(self.described_counts.max()), 384)
        self.row = np.zeros((len(CATEGORIES), len(COLOURS)), np.int64)  # of `described`
        for index, (category, which) in enumerate(asked):
            self.row[CATEGORIES.index(category), COLOURS.index(parse(which)[1])] = index
            self.described[index, : len(sentences[index])] = text.embed(sentences[index])
        nouns = [described(TYPES[category].noun, which) for category, which in asked]
        self.described_nouns = text.embed(nouns)

    def draw(self, categories: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """Return (..., 384) embeddings, a random phrase for each category id in `categories`."""
        phrase = (rng.random(categories.shape) * self.counts[categories]).astype(np.int64)
        return self.embeddings[torch.from_numpy(categories), torch.from_numpy(phrase)]

    def draw_described(self, asked: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """Return (Q, 384) embeddings, a random phrase for each category and colour of `asked` (Q, 2)."""
        row = self.row[asked[:, 0], asked[:, 1]]
        phrase = (rng.random(row.shape) * self.described_counts[row]).astype(np.int64)
        return self.described[torch.from_numpy(row), torch.from_numpy(phrase)]
