"""Make src/safevla/data/text_embeddings.npz: the benchmark's sentences and the names of every type.

Needs the extra `text` (or --model, a folder with MiniLM's model.safetensors and tokenizer.json).
Run again whenever the instructions or the catalogue change: python runs/make_text_table.py
Sentences that the shipped table has already keep their embeddings bit for bit, unless --anew is given.
"""

import argparse
from pathlib import Path

from safevla.policy.text import TABLE_NAME, MiniLM, read_table, write_table
from safevla.pretrain.perception_data import colour_descriptions, described_phrases, phrases
from safevla.tasks.instructions import all_instructions
from safevla.world.catalogue import CATEGORIES


def main() -> None:
    """Embed the sentences and write the table into the package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=None, help="folder of MiniLM; default: the installed wheel")
    parser.add_argument("--out", default=str(Path(__file__).parents[1] / "src/safevla/data" / TABLE_NAME))
    parser.add_argument("--anew", action="store_true", help="embed every sentence again")
    arguments = parser.parse_args()
    sentences = [*all_instructions(), *(phrase for name in CATEGORIES for phrase in phrases(name))]
    for name in CATEGORIES:
        for which in colour_descriptions(name):
            sentences += described_phrases(name, which)
    known = {} if arguments.anew else read_table()
    count = write_table(arguments.out, sentences, MiniLM(arguments.model), known)
    print(f"{count} sentences in {arguments.out}")


if __name__ == "__main__":
    main()
