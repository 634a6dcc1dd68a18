"""Make src/safevla/data/text_embeddings.npz: the benchmark's sentences and the names of every type.

Needs the extra `text` (or --model, a folder with MiniLM's model.safetensors and tokenizer.json).
Run again whenever the instructions or the catalogue change: python runs/make_text_table.py
"""

import argparse
from pathlib import Path

from safevla.policy.text import TABLE_NAME, MiniLM, write_table
from safevla.pretrain.perception_data import phrases
from safevla.tasks.instructions import all_instructions
from safevla.world.catalogue import CATEGORIES


def main() -> None:
    """Embed the sentences and write the table into the package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=None, help="folder of MiniLM; default: the installed wheel")
    parser.add_argument("--out", default=str(Path(__file__).parents[1] / "src/safevla/data" / TABLE_NAME))
    arguments = parser.parse_args()
    sentences = [*all_instructions(), *(phrase for name in CATEGORIES for phrase in phrases(name))]
    count = write_table(arguments.out, sentences, MiniLM(arguments.model))
    print(f"{count} sentences in {arguments.out}")


if __name__ == "__main__":
    main()
