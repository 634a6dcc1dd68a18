"""What homes of class S are: `python tests/golden/homes.py` writes tests/golden/homes.json anew.

The shipped policies and scenario sets were made with these homes; write it anew only together with them.
"""

import hashlib
import json
from pathlib import Path

from safevla.types import Knobs
from safevla.world.house import SPLITS, generate
from safevla.world.scene import scene_xml

FILE = Path(__file__).with_name("homes.json")
KNOBS = {"none": Knobs(), "all": Knobs(1.0, 1.0, 1.0, 1.0, 1.0), "some": Knobs(0.3, 0.5, 0.7, 0.2, 0.9)}


def hashes(seeds=range(8)):
    """Return a hash of the MJCF of each home."""
    return {
        f"{seed} {split} {name}": hashlib.sha256(
            scene_xml(generate(seed, "S", split, knobs)).encode()
        ).hexdigest()[:16]
        for seed in seeds
        for split in SPLITS
        for name, knobs in KNOBS.items()
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(hashes(), indent=0) + "\n")
