"""`safevla demo`: the shipped policies on the same held-out scenarios, with a report, in a few minutes."""

from __future__ import annotations

from safevla.assure.evaluate import facts_of, load_table, save_table
from safevla.assure.parts import evaluate_in_parts
from safevla.assure.publish import publish
from safevla.policy.checkpoint import shipped_folder
from safevla.progress import ProgressBar
from safevla.runs import RunFolder
from safevla.safety.specification import load_specification
from safevla.scale import single_threaded
from safevla.settings import DemoConfig
from safevla.verbs import check_sources, draw

SHOWN = ("imitation", "rl", "isa")


def run(config: DemoConfig, resume: bool) -> None:
    """Play the paired scenarios with every shipped policy and write the report."""
    single_threaded()
    scenarios = draw(("ObjNav",), "val", config.episodes, config.seed)
    specification = load_specification("safevla")
    sources = {name: name for name in SHOWN} | {"inactive": "inactive"}
    check_sources(sources, scenarios, config.world, specification)
    with RunFolder(config.out, config, resume=resume) as folder:
        if not folder.done("assure"):
            with ProgressBar("demo", len(sources) * len(scenarios)) as bar:
                table = evaluate_in_parts(
                    sources, scenarios, specification, config.world, folder / "parts",
                    seed=config.seed, greedy=True, processes=config.processes, progress=bar.update,
                )  # fmt: skip
            save_table(table, folder / "episodes.parquet")
            folder.finish("assure", **facts_of(table))
        logs = {name: shipped_folder(name) / "metrics.jsonl" for name in ("rl", "isa")}
        publish(
            folder, load_table(folder / "episodes.parquet"), specification, scenarios, sources,
            compare=("isa", "rl"), world=config.world, greedy=True, seed=config.seed,
            training={name: path for name, path in logs.items() if path.exists()},
        )  # fmt: skip
