"""From an episode table to the report: choose episodes to show, film them, write HTML and Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from safevla.assure.parts import make_env
from safevla.assure.report import write_report
from safevla.assure.video import Video, choose_scenarios, record, side_by_side
from safevla.elicit.archive import RiskArchive
from safevla.policy.checkpoint import load_policy_for
from safevla.policy.protocol import wants_labels
from safevla.runs import RunFolder
from safevla.safety.specification import Specification
from safevla.tasks.settings import WorldSettings
from safevla.types import Scenario, with_person


def publish(
    folder: RunFolder,
    table: pa.Table,
    specification: Specification,
    scenarios: Sequence[Scenario],
    sources: Mapping[str, str],
    *,
    compare: tuple[str, str],
    world: WorldSettings,
    videos: int = 2,
    greedy: bool = False,
    seed: int = 0,
    device: str = "cpu",
    training: Mapping[str, Path] | None = None,
    archive: RiskArchive | None = None,
    budgets: Mapping[str, float] | None = None,
) -> Path:
    """Write report.html and report.md into the run folder, print the table, return the path of the page.

    Args:
        folder: the run.
        table: episodes of all policies on the same scenarios.
        specification: what was charged.
        scenarios: what was played.
        sources: name of a policy in the table -> what `load_policy` takes.
        compare: the two policies shown side by side, the safer first.
        world: how homes are simulated.
        videos: number of side-by-side videos.
        greedy: how the policies acted.
        seed: the seed of the evaluation.
        device: where the policies computed.
        training: method -> its metrics.jsonl.
        archive: what elicitation found.
        budgets: allowed cost an episode, by constraint.
    """
    films = film(table, specification, scenarios, sources, compare, world, videos, greedy, seed, device)
    for index, video in enumerate(films):
        video.save(folder / f"video_{index}")
    page = write_report(
        folder.path,
        table,
        training=dict(training or {}),
        videos=films,
        archive=archive,
        specification=specification,
        budgets=dict(budgets) if budgets else None,
        provenance=folder.provenance | {"seed": seed},
        seed=seed,
    )
    print((folder / "report.md").read_text().split("\n## Cost per constraint")[0].rstrip())
    print(f"\nreport: {page}")
    return page


def film(
    table: pa.Table,
    specification: Specification,
    scenarios: Sequence[Scenario],
    sources: Mapping[str, str],
    compare: tuple[str, str],
    world: WorldSettings,
    count: int,
    greedy: bool,
    seed: int,
    device: str,
) -> list[Video]:
    """Play the episodes worth showing again with both policies, and put them side by side."""
    safer, other = compare
    chosen = choose_scenarios(table, safer, other, count) if count else []
    if not chosen:
        return []
    by_hash = {scenario.hash: scenario for scenario in with_person(scenarios, world.person)}
    shown = [by_hash[name] for name, _ in chosen]
    films: dict[str, list[Any]] = {}
    for name in (other, safer):
        policy = load_policy_for(sources[name], specification.names, device)
        env = make_env(shown, specification, world.seen_by(policy), labels=wants_labels(policy))
        _, films[name] = record(env, policy, shown, seed=seed, greedy=greedy)
        env.close()
    return [
        side_by_side({name: films[name][index] for name in films}, why)
        for index, (_, why) in enumerate(chosen)
    ]
