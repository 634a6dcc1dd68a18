"""The runtime monitor: the same verdicts as the batch, and closed when a signal fails."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_formulas import VOCABULARY, random_formula, random_traces

from safevla.safety.monitor import Monitor
from safevla.safety.specification import Constraint, Specification
from safevla.safety.temporal import holds
from safevla.safety.vocabulary import SignalInfo

SIGNALS = {
    "speed": SignalInfo("speed", "m/s"),
    "gap": SignalInfo("gap", "m", scope="object"),
    "sharp": SignalInfo("sharp", kind="truth", scope="object"),
    "stopped": SignalInfo("stopped", kind="truth"),
}


def monitor(text: str, objects: tuple[str, ...] = (), **settings: object) -> Monitor:
    age = {key: settings.pop(key) for key in ("max_age",) if key in settings}
    rule = Constraint("rule", **({"forbid": text} | settings))
    return Monitor(Specification("one", {"rule": rule}, "", SIGNALS, 0.1), objects, **age)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_stream_says_what_the_batch_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    formula = random_formula(rng, 3, endless=False)
    specification = Specification("one", {"rule": Constraint("rule", forbid=formula)}, "", VOCABULARY)
    signals, steps = random_traces(rng, 1, 60), 60
    watching = Monitor(specification)
    known: set[int] = set()
    compiled = specification.compiled["rule"].violation
    for t in range(steps):
        (finding,) = watching.update({name: values[0, t] for name, values in signals.items()})
        so_far = {name: values[:, : t + 1] for name, values in signals.items()}
        certain, possible = (holds(compiled, so_far, end=end)[0] for end in ("false", "true"))
        new = set(np.flatnonzero(certain)) - known
        known |= new
        expected = "violated" if new else "open" if (possible & ~certain).any() else "satisfied"
        assert (finding.status, finding.reason) == (expected, ""), (formula, t)


def test_objects_severity_and_charge() -> None:
    watching = monitor(
        "any object that is sharp: gap < 10 cm", ("knife", "fork", "cup"), severity="speed", charge="onset"
    )
    near = {"speed": 0.5, "gap": [0.05, 0.3, 0.01], "sharp": [True, True, False], "stopped": False}
    (first,), (second,) = watching.update(near), watching.update(near)
    assert (first.status, first.charged, first.severity, first.unit, first.objects) == (
        "violated", True, 0.5, "m/s", ("knife",),
    )  # fmt: skip
    assert second.status == "violated" and not second.charged
    watching.reset()
    assert watching.update(near)[0].charged


def test_an_obligation_is_open_until_it_is_met_or_missed() -> None:
    watching = monitor("", forbid=None, require="speed > 1 m/s implies eventually[0, 0.2 s] stopped")
    fast, slow, stop = ({"speed": v, "stopped": s} for v, s in ((2.0, False), (0.0, False), (0.0, True)))
    assert [watching.update(step)[0].status for step in (slow, fast, slow, stop, slow)] == [
        "satisfied", "open", "open", "satisfied", "satisfied",
    ]  # fmt: skip
    assert [watching.update(step)[0].status for step in (fast, slow, slow, slow)] == [
        "open", "open", "violated", "satisfied",
    ]  # fmt: skip


GOOD = {"speed": 0.2, "gap": [0.5], "sharp": [False], "stopped": True}


@pytest.mark.parametrize(
    "text",
    [
        "speed > 1 m/s",
        "not speed < 1 m/s",
        "not stopped",
        "any object: gap < 0.1 m",
        "any object that is sharp: gap < 9 m",
        "not every object: not sharp",
        "speed == 3 m/s",
        "once[0, 1] speed > 1 m/s",
        "stopped and not always[0, 0] stopped",
    ],
)
def test_it_fails_closed(text: str) -> None:
    """Whatever the polarity, a signal that cannot be trusted violates every constraint that hangs on it."""
    assert monitor(text, ("cup",)).update(GOOD)[0].status == "satisfied"
    broken = {
        "missing": {},
        "not finite": {"speed": math.nan, "gap": [math.nan], "sharp": [math.nan], "stopped": math.nan},
        "infinite": {"speed": math.inf, "gap": [-math.inf], "sharp": [math.inf], "stopped": math.inf},
        "a word": {"speed": "fast", "gap": ["near"], "sharp": ["very"], "stopped": "yes"},
        "none": {"speed": None, "gap": None, "sharp": None, "stopped": None},
        "shapes": {"speed": [0.2, 0.2], "gap": 0.5, "sharp": [False, False], "stopped": [True, True]},
    }
    for name, signals in broken.items():
        finding = monitor(text, ("cup",)).update(signals)[0]
        assert finding.status == "violated" and finding.charged and finding.reason, name


def test_what_does_not_hang_on_a_broken_signal_is_judged_without_it() -> None:
    watching = monitor("stopped and speed > 1 m/s")
    assert watching.update({"speed": math.nan, "stopped": False})[0].status == "satisfied"
    assert watching.update({"speed": math.nan, "stopped": True})[0].reason == "speed is not finite"
    assert watching.update({"speed": 3.0, "stopped": True})[0].reason == ""


def test_a_gap_in_the_stream_stays_suspicious_for_as_long_as_the_window_covers_it() -> None:
    watching = monitor("once[0, 2] speed > 1 m/s")
    stream = [0.0, math.nan, 0.0, 0.0, 0.0]
    findings = [watching.update({"speed": value})[0] for value in stream]
    assert [finding.status for finding in findings] == ["satisfied", *["violated"] * 3, "satisfied"]
    assert findings[2].reason == "a signal was unknown within the window"


def test_old_values_are_refused() -> None:
    watching = monitor("speed > 1 m/s", max_age=0.2)
    assert watching.update({"speed": 0.1}, {"speed": 0.1})[0].status == "satisfied"
    assert watching.update({"speed": 0.1}, {"speed": 0.3})[0].reason == "speed is 0.3 s old"
    assert watching.update({"speed": 0.1})[0].reason == "speed came without its age"
    assert watching.update({"speed": 0.1}, {"speed": math.nan})[0].status == "violated"
    with pytest.raises(ValueError, match="max_age is 0"):
        monitor("speed > 1 m/s", max_age=0.0)


def test_severity_that_cannot_be_told_is_infinite() -> None:
    watching = monitor("not stopped", severity="speed")
    finding = watching.update({"stopped": False})[0]
    assert finding.severity == math.inf and finding.reason == ""


def test_it_runs_without_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from safevla.safety.monitor import Monitor\n"
        "from safevla.safety.specification import load_specification\n"
        "specification = load_specification('safevla')\n"
        "findings = Monitor(specification, ['cup']).update({})\n"
        "print([finding.status for finding in findings])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(["violated"] * 5)
