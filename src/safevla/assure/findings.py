"""What a report says, worked out once for both of its forms: the headline and the cells of its tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from safevla.assure import statistics
from safevla.assure.evaluate import ALL_TASKS, COST_PREFIX, constraints_of, houses, select, tasks_of
from safevla.assure.statistics import Interval
from safevla.assure.video import Video
from safevla.elicit.archive import RiskArchive
from safevla.safety.aggregation import describe, tail_share

MEANINGS = (
    "SR: share of episodes that succeed. CC: cumulative cost of an episode, the number of violations summed "
    "over constraints and steps. Safe success: succeeded and cost nothing. CVaR95: mean cost of the worst "
    "5 % of episodes. Brackets are 95 % intervals: rates by Wilson's method, means by a bootstrap, both "
    "clustered by house."
)
# Columns of the main table: heading, key in a row of `summarise`.
COLUMNS = (
    ("SR", "success"),
    ("CC", "cost"),
    ("safe success", "safe_success"),
    ("violating", "violation_rate"),
    ("CVaR95", "cvar95"),
)


@dataclass
class Findings:
    """All that a page says, worked out once for both of its forms."""

    table: pa.Table
    rows: list[dict[str, Any]]
    classes: list[dict[str, Any]]
    descriptions: list[dict[str, Any]]
    comparisons: list[dict[str, Any]]
    training: dict[str, list[dict[str, Any]]]
    budgets: dict[str, float]
    videos: Sequence[Video]
    archive: RiskArchive | None
    specification: Any
    provenance: dict[str, Any]

    @property
    def constraints(self) -> tuple[str, ...]:
        """Names of the constraints."""
        return constraints_of(self.table)

    @property
    def aggregations(self) -> dict[str, str]:
        """What of the costs of many episodes each budget bounds, by constraint."""
        return dict.fromkeys(self.constraints, "mean") | getattr(self.specification, "aggregations", {})

    def main_rows(self) -> list[dict[str, Any]]:
        """Return the rows that the headline is about: all tasks together."""
        task = ALL_TASKS if len(tasks_of(self.table)) > 1 else tasks_of(self.table)[0]
        return [row for row in self.rows if row["task"] == task]


def number(value: float, digits: int = 2, *, signed: bool = False) -> str:
    """Format a number for reading; nan becomes a dash."""
    if not math.isfinite(value):
        return "–"
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    if float(text) == 0.0:
        text = f"{0:.{digits}f}"
    return text.replace("-", "−")


def interval(found: Interval, digits: int = 2, *, signed: bool = False) -> str:
    """Format the bounds of an interval, or nothing where there are none."""
    if not (math.isfinite(found.low) and math.isfinite(found.high)):
        return ""
    return f"[{number(found.low, digits, signed=signed)}, {number(found.high, digits, signed=signed)}]"


def headline(findings: Findings) -> tuple[str, str]:
    """Return the sentence that says what was found, and the one that says how sure it is."""
    main = {row["policy"]: row for row in findings.main_rows()}
    found = next(
        (row for row in findings.comparisons if (row["first"], row["second"]) == ("isa", "rl")), None
    )
    if found is None:
        parts = [
            f"{name}: success {number(r['success'].value)}, cost {number(r['cost'].value)}"
            for name, r in main.items()
        ]
        return "; ".join(parts), f"{findings.main_rows()[0]['episodes']} episodes for each policy."
    isa, rl, cost, success = main["isa"], main["rl"], found["cost"], found["success"]
    values = f"{number(isa['cost'].value)} against {number(rl['cost'].value)} per episode"
    if cost.high < 0:
        share = abs(100 * found["cost_change"])
        title = f"Constrained learning cuts the cumulative cost by {share:.0f} %: {values}"
    elif cost.low > 0:
        title = f"Constrained learning raised the cumulative cost: {values}"
    else:
        title = f"These episodes do not decide which policy costs less: {values}"
    detail = (
        f"The paired difference in cost between isa and rl is {number(cost.value, signed=True)}, 95 % "
        f"interval {number(cost.low, signed=True)} to {number(cost.high, signed=True)}, over "
        f"{found['episodes']} scenarios that both policies met. Success is {number(isa['success'].value)} "
        f"against {number(rl['success'].value)} (difference {number(success.value, signed=True)}, "
        f"{number(success.low, signed=True)} to {number(success.high, signed=True)}; McNemar p = "
        f"{found['success_p']:.2g})."
    )
    return title, detail


def verdict_words(found: statistics.Verdict) -> str:
    """Say a verdict in words, with a forecast of the episodes that would decide an open one."""
    if found.state != "undecided" or found.more_episodes < 0:
        return found.state
    return f"undecided, about {_rounded(found.more_episodes)} more episodes"


def _rounded(count: int) -> str:
    """Two leading digits are as much as a forecast can be trusted."""
    size = 10 ** max(0, len(str(count)) - 2)
    return f"{round(count / size) * size:,}"


def constraint_cells(findings: Findings) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of mean cost by constraint and policy, with verdicts where budgets are known.

    A constraint whose budget bounds another aggregate than the mean has a second row, of that.
    """
    head = ["constraint", *(row["policy"] for row in findings.main_rows())]
    if findings.budgets:
        head += ["budget", "isa within it?"]
    body = []
    for name in findings.constraints:
        held = findings.aggregations[name]
        for aggregation in dict.fromkeys(("mean", held)):
            found = [row[_key(name, aggregation)] for row in findings.main_rows()]
            label = name.replace("_", " ") + ("" if aggregation == "mean" else f", {describe(aggregation)}")
            cells = [label, *(f"{number(value.value)} {interval(value)}".strip() for value in found)]
            if findings.budgets:
                cells += _budget_cells(findings, name, held) if aggregation == held else ["–", "–"]
            body.append(cells)
    return head, body


def _key(name: str, aggregation: str) -> str:
    """Return where a row of `summarise` has the aggregate of a constraint."""
    return f"{COST_PREFIX if aggregation == 'mean' else f'{aggregation}/'}{name}"


def _budget_cells(findings: Findings, name: str, aggregation: str) -> list[str]:
    if name not in findings.budgets:
        return ["–", "–"]
    row = next((row for row in findings.main_rows() if row["policy"] == "isa"), None)
    budget = findings.budgets[name]
    if row is None:
        return [number(budget), "–"]
    # Homes, not episodes, are independent.
    homes = len(set(houses(select(findings.table, policy="isa"))))
    cost, share = row[_key(name, aggregation)], tail_share(aggregation)
    found = statistics.verdict(cost, budget, row["episodes"], share, homes)
    if aggregation == "worst" and found.state == "undecided":
        bound = 100 * statistics.clopper_pearson(0, homes).high
        return [
            number(budget),
            f"undecided, none of {row['episodes']} exceeds it, so at most {bound:.2g} % do",
        ]
    return [number(budget), verdict_words(found)]


def comparison_cells(comparisons: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the paired differences."""
    head = ["difference", "CC", "SR", "safe success", "p of SR (McNemar, Holm)"]
    body = [
        [
            f"{row['first']} − {row['second']}",
            *(
                f"{number(row[key].value, signed=True)} {interval(row[key], signed=True)}".strip()
                for key in ("cost", "success", "safe_success")
            ),
            f"{row['success_p_holm']:.2g}",
        ]
        for row in comparisons
    ]
    return head, body


def class_cells(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the policies in homes of each size class."""
    head = ["homes", "policy", *(name for name, _ in COLUMNS), "worst", "episodes"]
    body = [
        [
            row["size_class"],
            row["policy"],
            *(f"{number(row[key].value)} {interval(row[key])}".strip() for _, key in COLUMNS),
            f"{row['worst']:g}",
            str(row["episodes"]),
        ]
        for row in rows
    ]
    return head, body


def description_cells(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the policies where instructions describe their targets."""
    head = ["described by", "policy", "SR", "at another of its type", "episodes"]
    body = [
        [
            row["description"],
            row["policy"],
            *(f"{number(row[key].value)} {interval(row[key])}".strip() for key in ("success", "distractor")),
            str(row["episodes"]),
        ]
        for row in rows
    ]
    return head, body


def archive_sentence(archive: RiskArchive) -> str:
    """Say what the search did and what its findings may not be used for."""
    found = archive.summary()
    share = 100 * found["violating"] / max(found["episodes"], 1)
    return (
        f"The search played {found['episodes']} scenarios; {found['violating']} ({share:.0f} %) violated "
        f"something. It kept the worst of {found['cells']} distinct cells (constraint, severity, task, "
        f"dominating component), {100 * found['coverage']:.0f} % of those conceivable. These scenarios were "
        "chosen to be bad: they say what can happen, not how often; none of them enters the numbers above."
    )


def archive_cells(archive: RiskArchive) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of what the archive holds for each constraint."""
    head = ["constraint", "cells", "held out", "worst severity", "dominating component", "scenario"]
    body = []
    for name, row in archive.summary()["constraints"].items():
        worst = "–" if row["worst"] is None else f"{row['worst']:.3g} {row['unit']}"
        words = [name.replace("_", " "), str(row["cells"]), str(row["held_out"]), worst]
        body.append([*words, row["knob"].replace("_", " "), row["worst_scenario"] or "–"])
    return head, body


def plain(value: Any) -> str:
    """Return provenance, nested or not, as one line of text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(item) for item in value)
    return str(value)
