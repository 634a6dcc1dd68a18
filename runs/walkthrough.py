"""Write results/gentle.json, the curve and the row of the walk-through in docs/specification.md.

Usage: safevla align --spec examples/gentle.toml ... --out FOLDER; python runs/walkthrough.py FOLDER;
python docs/update_tables.py
"""

import argparse
import json
import re
from pathlib import Path

from safevla.assure.evaluate import load_table, summarise
from safevla.runs import write_json

RESULTS = Path(__file__).parents[1] / "results"


def main() -> None:
    """Read the folder of the run and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    run = json.loads((folder / "run.json").read_text())
    logs = {}
    for method in ("rl", "isa"):
        lines = (folder / method / "metrics.jsonl").read_text().splitlines()
        logs[method] = [json.loads(line) for line in lines]
    curve = [
        {
            "group": "curve",
            "iteration": rl["iteration"],
            "rl: pushes an episode": rl["rollout/cost/push"],
            "isa: pushes an episode": isa["rollout/cost/push"],
            "isa: multiplier": isa["multiplier/push"],
            "budget": isa["budget/push"],
        }
        for rl, isa in zip(logs["rl"], logs["isa"], strict=True)
    ]
    table = load_table(folder / "episodes.parquet")
    report = [
        {"group": "report", "policy": row["policy"], "push": list(row["cost/push"]),
         "SR": list(row["success"]), "episodes": row["episodes"]}
        for row in summarise(table)
    ]  # fmt: skip
    command = re.sub(r"\S*/gentle\.toml", "examples/gentle.toml", run["command"])
    head = {"command": re.sub(r" --out[= ]\S+| --resume", "", command), "code": run["code"]}
    seeds = sorted(set(table["seed"].to_pylist()))
    write_json(
        RESULTS / "gentle.json", head | {"machine": run["machine"], "seeds": seeds, "rows": curve + report}
    )


if __name__ == "__main__":
    main()
