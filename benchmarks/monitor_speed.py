"""Speed of judging formulas: traces a second offline, nanoseconds online, beside rtamt and sentil.

The formula is `always(tip -> eventually[0,5s] always[0,2s] retract)` with a step of 0.1 s, over 1,000 traces
of 500 steps (offline) and for 256 homes (online). Everything runs on one core and is measured in process
time; the others are measured in the same run where they are installed, and their values are compared with
ours.

    make .venv-rtamt/installed && .venv-rtamt/bin/python benchmarks/monitor_speed.py --save
    results/monitor_speed.json

The last line is `ratio_rtamt X`: how many times as many traces a second as rtamt, offline.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from safevla.runs import code_version, machine, write_json
from safevla.safety.grammar import parse
from safevla.safety.lowering import delayed, lower
from safevla.safety.monitor import Monitor
from safevla.safety.online import Program
from safevla.safety.specification import Constraint, Specification
from safevla.safety.temporal import robustness
from safevla.safety.vocabulary import SignalInfo

STEP_SECONDS = 0.1
INNER = "tip > 0 implies eventually[0, 5 s] always[0, 2 s] retract > 0"
SIGNALS = {name: SignalInfo(name) for name in ("tip", "retract")}
RTAMT = "always((tip > 0) implies (eventually[0:50](always[0:20](retract > 0))))"
SENTIL = "always ((tip > 0) -> (eventually[0,5] (always[0,2] (retract > 0))))"


def seconds(work: Callable[[], Any], repeat: int) -> float:
    """Return the least process time of a piece of work."""
    best = float("inf")
    for _ in range(repeat):
        begin = time.process_time()
        work()
        best = min(best, time.process_time() - begin)
    return best


def installed(name: str) -> bool:
    """Return whether a package can be imported."""
    return importlib.util.find_spec(name) is not None


def offline(traces: dict[str, np.ndarray]) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Return rows of our batched evaluators, and the robustness of each trace."""
    count = len(traces["tip"])
    node = lower(parse(f"always ({INNER})"), SIGNALS, STEP_SECONDS)
    values = robustness(node, traces, start=True)
    tensors = {name: torch.from_numpy(array) for name, array in traces.items()}
    learned = {name: array.clone().requires_grad_() for name, array in tensors.items()}
    works: dict[str, Callable[[], Any]] = {
        "numpy": lambda: robustness(node, traces, start=True),
        "torch": lambda: robustness(node, tensors, start=True),
        "torch, with gradients": lambda: robustness(node, learned, start=True).sum().backward(),
    }
    rows = []
    for name, work in works.items():
        speed = count / seconds(work, 7)
        rows.append({"group": "offline", "what": f"safevla, {name}", "traces_per_s": round(speed)})
    return rows, values


def offline_rtamt(traces: dict[str, np.ndarray], count: int, ours: np.ndarray) -> dict[str, Any]:
    """Return the row of rtamt, over the first traces; its values must be ours."""
    import rtamt

    specification = rtamt.StlDiscreteTimeOfflineSpecification()
    for name in SIGNALS:
        specification.declare_var(name, "float")
    specification.spec = RTAMT
    specification.parse()
    steps = list(range(traces["tip"].shape[1]))
    data = [{"time": steps, **{k: v[i].tolist() for k, v in traces.items()}} for i in range(count)]
    values: list[float] = []
    spent = seconds(lambda: values.extend(specification.evaluate(item)[0][1] for item in data), 1)
    difference = float(np.abs(np.array(values) - ours[:count]).max())
    assert difference <= 1e-9, difference
    return {"group": "offline", "what": f"rtamt {version('rtamt')}", "traces_per_s": round(count / spent)}


def offline_sentil(traces: dict[str, np.ndarray], count: int, ours: np.ndarray) -> dict[str, Any]:
    """Return the row of sentil, over the first traces, built beforehand, and how often it agrees with us."""
    import sentil

    formula = sentil.Formula.parse(SENTIL)
    clock = (np.arange(traces["tip"].shape[1]) * STEP_SECONDS).round(9).tolist()
    built = [sentil.Trace(clock, {k: v[i].tolist() for k, v in traces.items()}) for i in range(count)]
    spent = seconds(lambda: [formula.robustness(trace) for trace in built], 3)
    values = np.array([formula.robustness(trace) for trace in built])
    agree = float(np.mean(np.abs(values - ours[:count]) <= 1e-9))
    return {
        "group": "offline", "what": f"sentil {version('sentil')}", "traces_per_s": round(count / spent),
        "agrees": round(agree, 3),
    }  # fmt: skip


def online(traces: dict[str, np.ndarray], homes: int) -> list[dict[str, Any]]:
    """Return rows of what runs along: our program over all homes, our monitor and rtamt's over one stream."""
    node = lower(parse(INNER), SIGNALS, STEP_SECONDS)
    steps = traces["tip"].shape[1]
    columns = [{k: np.ascontiguousarray(v[:homes, t]) for k, v in traces.items()} for t in range(steps)]
    scalars = [{k: float(v[0, t]) for k, v in traces.items()} for t in range(steps)]
    rows = []
    for name, truth in (("robustness", False), ("truth", True)):
        program = Program([delayed(node)], homes, 0, truth=truth)
        spent = seconds(lambda program=program: [program.update(c.__getitem__) for c in columns], 5)
        what = f"safevla, {name}, {homes} homes"
        rows.append(
            {"group": "online", "what": what, "ns_per_step_and_home": round(1e9 * spent / steps / homes)}
        )
    rule = Constraint("rule", require=INNER)
    watching = Monitor(Specification("one", {"rule": rule}, "", SIGNALS, STEP_SECONDS))
    spent = seconds(lambda: [watching.update(step) for step in scalars], 3)
    what = "safevla, runtime monitor, one stream"
    rows.append({"group": "online", "what": what, "ns_per_step_and_home": round(1e9 * spent / steps)})
    if installed("rtamt"):
        import rtamt

        specification = rtamt.StlDiscreteTimeOnlineSpecification()
        for name in SIGNALS:
            specification.declare_var(name, "float")
        specification.spec = RTAMT.removeprefix("always")
        specification.parse()
        specification.pastify()
        spent = seconds(
            lambda: [specification.update(t, list(step.items())) for t, step in enumerate(scalars)], 1
        )
        what = f"rtamt {version('rtamt')}, one stream"
        rows.append({"group": "online", "what": what, "ns_per_step_and_home": round(1e9 * spent / steps)})
    return rows


def version(package: str) -> str:
    """Return the version of an installed package."""
    return importlib.metadata.version(package)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--traces", type=int, default=1000, help="traces of our batch")
    parser.add_argument("--steps", type=int, default=500, help="steps of a trace")
    parser.add_argument("--homes", type=int, default=256, help="homes of the online evaluator")
    parser.add_argument("--others", type=int, default=60, help="traces that rtamt and sentil are given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, help="also write the figures as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(arguments.seed)
    traces = {name: rng.normal(size=(arguments.traces, arguments.steps)) for name in SIGNALS}
    rows, values = offline(traces)
    if installed("rtamt"):
        rows.append(offline_rtamt(traces, min(arguments.others, arguments.traces), values))
    if installed("sentil"):
        rows.append(offline_sentil(traces, min(arguments.others, arguments.traces), values))
    rows += online(traces, min(arguments.homes, arguments.traces))
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items() if key != "group"), flush=True)
    if arguments.save:
        head = {"command": "python benchmarks/monitor_speed.py", "code": code_version()}
        write_json(arguments.save, head | {"machine": machine(), "seeds": [arguments.seed], "rows": rows})
    others = {row["what"].split()[0]: row["traces_per_s"] for row in rows if row["group"] == "offline"}
    for other in ("sentil", "rtamt"):
        measured = (
            f"{rows[0]['traces_per_s'] / others[other]:.1f}" if other in others else "nan (not installed)"
        )
        print(f"ratio_{other} {measured}")


if __name__ == "__main__":
    main()
