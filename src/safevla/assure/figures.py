"""Figures of the report: inline SVG in the page's own text colour, so that it reads in light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import matplotlib.ticker
import numpy as np
import pyarrow as pa

from safevla.assure import statistics
from safevla.assure.evaluate import numbers, paired, policies_of, select

matplotlib.use("Agg")  # no display is needed or looked for

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_INK = "#010203"  # stands for the page's own text colour until the SVG is done
_KNOWN = {
    "imitation": "#7c8aa5",
    "rl": "#d9603b",
    "isa": "#1d9a8a",
    "inactive": "#a08f7a",
    "random": "#b07cc6",
}
_OTHERS = ("#4f7fd6", "#c2518f", "#8a9a2b", "#d39b1f", "#6f6fd0")
CONSTRAINT_COLOURS = ("#d9603b", "#d39b1f", "#b0559b", "#4f7fd6", "#c23b4e", "#6a9a3b", "#7c8aa5", "#8f6f4f")

_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "safevla",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
}


def policy_colours(policies: Sequence[str]) -> dict[str, str]:
    """Return a colour for each policy; the usual ones look the same in every report."""
    others = iter(_OTHERS * (1 + len(policies) // len(_OTHERS)))
    return {name: _KNOWN.get(name) or next(others) for name in policies}


def _svg(name: str, size: tuple[float, float], draw: Callable[[Figure], None], text: str) -> str:
    """Draw into a figure of `size` inches and return it as SVG with ids of its own."""
    with matplotlib.rc_context(_SETTINGS):
        figure = pyplot.figure(figsize=size, layout="constrained")
        try:
            draw(figure)
            buffer = io.StringIO()
            figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        finally:
            pyplot.close(figure)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\1{name}-", svg)
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', r'<svg viewBox="\1" role="img">', svg, count=1)
    # matplotlib writes the family that it measured with; the page's own looks better and is as wide
    svg = re.sub(r"font: ([^;\"]*?)(['\"]?DejaVu Sans|sans-serif)[^;\"]*", r"font: \1var(--sans)", svg)
    label = text.replace('"', "'")
    return svg.replace('role="img">', f'role="img" aria-label="{label}">', 1)


def _grid(axes: Axes) -> None:
    axes.grid(color=_INK, alpha=0.12, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)


def exceedance_figure(table: pa.Table) -> str:
    """Draw for each policy the share of episodes that cost more than x, the tail on a log scale."""
    policies = policies_of(table)
    colours = policy_colours(policies)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        lowest = 1.0
        for name in policies:
            cost = numbers(select(table, policy=name), "cost")
            thresholds, share = statistics.exceedance(cost)
            lowest = min(lowest, 1 / len(cost))
            label = f"{name} (worst {statistics.worst(cost):g})"
            # a log scale has no zero: the staircase falls below the picture at the worst episode
            axes.step(thresholds, np.maximum(share, 1e-9), where="post", color=colours[name], label=label)
        axes.set_yscale("log")
        axes.set_ylim(lowest * 0.8, 1.15)
        axes.set_xlim(left=0)
        ticks = [tick for tick in (1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.001) if tick >= lowest * 0.8]
        axes.set_yticks(ticks, [f"{100 * tick:g} %" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("cumulative cost of an episode, x")
        axes.set_ylabel("share of episodes above x")
        axes.axhline(0.05, color=_INK, alpha=0.45, linewidth=0.8, linestyle=(0, (4, 3)))
        _grid(axes)
        axes.legend(loc="upper right")

    return _svg("exceedance", (5.6, 3.4), draw, "Share of episodes whose cost exceeds x, by policy")


def pairs_figure(table: pa.Table, first: str, second: str) -> str:
    """Draw each scenario as a dot: what `second` (x) and `first` (y) cost in it."""
    one, two = paired(table, first, second)
    colours = policy_colours(policies_of(table))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        y, x = numbers(one, "cost"), numbers(two, "cost")
        below, above = int((y < x).sum()), int((y > x).sum())
        top = max(2.0, float(max(x.max(), y.max()))) * 1.3
        # whole-numbered costs hide each other: move the dots a little, always in the same way
        shift = np.random.Generator(np.random.PCG64(0)).uniform(-0.12, 0.12, (2, len(x)))
        colour = np.where(y < x, colours[first], np.where(y > x, colours[second], "#8a949c"))
        axes.plot([0, top], [0, top], color=_INK, alpha=0.45, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.scatter(np.maximum(x + shift[0], -0.2), y + shift[1], s=15, c=colour, alpha=0.6, linewidths=0)
        axes.set_xscale("symlog", linthresh=2)
        axes.set_yscale("symlog", linthresh=2)
        for axis in (axes.xaxis, axes.yaxis):
            ticks = [tick for tick in (0, 1, 2, 5, 10, 20, 50, 100, 200, 500) if tick <= top]
            axis.set_ticks(ticks, [str(tick) for tick in ticks])
            axis.set_minor_locator(matplotlib.ticker.NullLocator())
        axes.set_xlim(-0.3, top)
        axes.set_ylim(-0.3, top)
        axes.set_xlabel(f"cost of {second}")
        axes.set_ylabel(f"cost of {first}")
        place: dict[str, Any] = {
            "xy": (0, 1),
            "xycoords": "axes fraction",
            "textcoords": "offset points",
            "fontsize": 8.5,
        }
        axes.annotate(f"{second} costs less in {above}", **place, xytext=(4, -12), color=colours[second])
        place["xy"] = (1, 0)
        axes.annotate(
            f"{first} costs less in {below}", **place, xytext=(0, 22), ha="right", color=colours[first]
        )
        _grid(axes)

    return _svg("pairs", (3.8, 3.4), draw, f"Cost of {first} against {second}, scenario by scenario")


def training_figure(training: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Draw success, total cost, cost against budget for each constraint, and multipliers over steps.

    Args:
        training: policy -> lines of its metrics.jsonl.
    """
    colours = policy_colours(list(training))
    names = [
        key.removeprefix("rollout/cost/")
        for key in next(iter(training.values()))[0]
        if key.startswith("rollout/cost/")
    ]
    panels = [("success rate", "rollout/success"), ("cost, all constraints", "rollout/cost")]
    panels += [
        (f"{key.split('/')[1]}: {name.replace('_', ' ')}", key)
        for name, key in ((name, _held(next(iter(training.values()))[0], name)) for name in names)
    ]
    columns = 4
    rows = -(-(len(panels) + 1) // columns)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, (title, key) in zip(grid, panels, strict=False):
            for policy, lines in training.items():
                steps, values = _series(lines, key)
                axes.plot(steps, values, color=colours[policy], alpha=0.3, linewidth=0.8)
                axes.plot(steps, smooth(values), color=colours[policy], label=policy)
            _draw_budget(axes, training, key)
            axes.set_title(title)
            axes.set_ylim(bottom=0)
            _finish_panel(axes)
        grid[0].set_ylim(0, 1)
        grid[0].legend(loc="lower right", fontsize=8)
        _draw_multipliers(grid[len(panels)], training, names)
        for axes in grid[len(panels) + 1 :]:
            axes.set_visible(False)

    return _svg(
        "training", (10.2, 2.1 * rows), draw, "Training curves: success, costs against budgets, multipliers"
    )


def _held(line: Mapping[str, Any], name: str) -> str:
    """Return the metric of a constraint that its budget bounds: the mean cost, or another aggregate."""
    others = (key for key in line if re.fullmatch(rf"rollout/(worst|cvar[\d.]+)/{re.escape(name)}", key))
    return next(others, f"rollout/cost/{name}")


def _series(lines: Sequence[Mapping[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    chosen = [(line.get("steps", index), line[key]) for index, line in enumerate(lines) if key in line]
    array = np.array(chosen, dtype=np.float64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def smooth(values: np.ndarray, reach: int = 2) -> np.ndarray:
    """Return the centred running mean over 2 * reach + 1 values, fewer at the ends."""
    if len(values) == 0:
        return values
    window = np.ones(2 * reach + 1)
    counts = np.convolve(np.ones(len(values)), window)[reach:-reach]
    means: np.ndarray = np.convolve(values, window)[reach:-reach] / counts
    return means


def _draw_budget(axes: Axes, training: Mapping[str, Sequence[Mapping[str, Any]]], key: str) -> None:
    name = key.rpartition("/")[2]
    for lines in reversed(list(training.values())):  # isa comes after rl, and is the one that is held to them
        steps, budgets = _series(lines, f"budget/{name}")
        limited = np.isfinite(budgets)
        if limited.any():
            axes.plot(steps[limited], budgets[limited], color=_INK, linewidth=1.0, linestyle=(0, (4, 3)))
            axes.annotate(
                "budget", (steps[limited][-1], budgets[limited][-1]), (0, 2), ha="right",
                textcoords="offset points", fontsize=7.5, color=_INK,
            )  # fmt: skip
            return


def _draw_multipliers(
    axes: Axes, training: Mapping[str, Sequence[Mapping[str, Any]]], names: Sequence[str]
) -> None:
    for lines in training.values():
        for name, colour in zip(names, CONSTRAINT_COLOURS * (1 + len(names) // 8), strict=False):
            steps, values = _series(lines, f"multiplier/{name}")
            if values.any():
                axes.plot(steps, values, color=colour, linewidth=1.4, label=name.replace("_", " "))
    axes.set_title("multipliers")
    axes.set_ylim(bottom=0)
    if axes.lines:
        axes.set_ylim(top=axes.get_ylim()[1] * (1 + 0.14 * len(axes.lines)))  # room for the legend above
        axes.legend(loc="upper left", fontsize=7, handlelength=1.2, labelspacing=0.2)
    _finish_panel(axes)


def _finish_panel(axes: Axes) -> None:
    _grid(axes)
    axes.tick_params(labelsize=7.5)
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4))
    axes.xaxis.set_major_formatter(matplotlib.ticker.EngFormatter(sep=""))
    axes.set_xlabel("environment steps", fontsize=7.5)
