"""Draw how success grew while `chores` was learned, from the data that `runs/chores.sh` left in results/.

python docs/make_curves.py            # writes docs/pictures/chores_curves.svg
"""

import json
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter

from safevla.assure.figures import smooth
from safevla.assure.statistics import wilson
from safevla.types import TASKS

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs/pictures/chores_curves.svg"
COLOURS = {"ObjNav": "#4f7fd6", "PickUp": "#c2518f", "Fetch": "#8a9a2b", "rl": "#d9603b", "isa": "#1d9a8a"}
AIMS = {"imitation": (0.55, 0.80, 0.35), "rl": (0.82, 0.90, 0.60)}  # ObjNav, PickUp, Fetch
SETTINGS = {
    "svg.hashsalt": "safevla",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


def read(name: str) -> Any:
    """Return results/NAME.json."""
    return json.loads((ROOT / f"results/{name}.json").read_text())


def draw_imitation(axes: Axes, data: Any) -> None:
    """Draw success of the rounds that were judged, with intervals, over the steps learned from."""
    judged = [row for row in data["rows"] if "SR greedy" in row]
    episodes = data["validation_episodes"] // len(TASKS)
    for task, aim in zip(TASKS, AIMS["imitation"], strict=True):
        rates = [row[f"SR {task}"] for row in judged]
        intervals = [wilson(round(rate * episodes), episodes) for rate in rates]
        errors = [
            [rate - interval.low for rate, interval in zip(rates, intervals, strict=True)],
            [interval.high - rate for rate, interval in zip(rates, intervals, strict=True)],
        ]
        axes.errorbar(
            [row["steps"] for row in judged], rates, errors, color=COLOURS[task], marker="o", markersize=3,
            elinewidth=0.7, capsize=2, label=task,
        )  # fmt: skip
        axes.axhline(aim, color=COLOURS[task], linewidth=0.7, linestyle=(0, (4, 3)))
    axes.plot(
        [row["steps"] for row in judged], [row["SR greedy"] for row in judged], color="black", label="all"
    )
    axes.set_title(f"imitation, {episodes} validation scenarios a task")
    axes.set_xlabel("steps of demonstrations and corrections")
    axes.set_ylabel("success, greedy (dashed: aimed at)")


def draw_learning(axes: Axes, data: Any) -> None:
    """Draw success on the mixture that is learned from, over the steps of each method."""
    for method in ("rl", "isa"):
        rows = [row for row in data["curve"] if row["method"] == method]
        steps, rates = [row["steps"] for row in rows], np.array([row["SR, mixture"] for row in rows])
        axes.plot(steps, rates, color=COLOURS[method], alpha=0.3, linewidth=0.8)
        axes.plot(steps, smooth(rates), color=COLOURS[method], label=method)
    axes.set_title("then reinforcement learning, on its mixture")
    axes.set_xlabel("steps of each method")
    axes.set_ylabel("success, sampled")


def main() -> None:
    """Draw both panels."""
    with matplotlib.rc_context(SETTINGS):
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained", sharey=True)
        draw_imitation(left, read("imitation_chores_seed1"))
        draw_learning(right, read("chores_align_seed1"))
        for axes in (left, right):
            axes.set_ylim(0, 1)
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            axes.grid(alpha=0.2)
            axes.legend(loc="lower right")
        figure.savefig(TARGET, metadata={"Date": None})
    print(TARGET.relative_to(ROOT))


if __name__ == "__main__":
    main()
