"""The same seeds give the same bytes: on any threads, in any process, and as on the day they were kept."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fingerprint import fingerprint
from golden import renew
from safevla.types import Scenario

RENEW = "if this change is meant to alter it, run `python tests/golden/renew.py` and say so in the commit"


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return fingerprint(1, tmp_path_factory.mktemp("reference"))


def test_threads_change_nothing(reference, tmp_path):
    assert fingerprint(2, tmp_path) == reference


def test_another_process_gives_the_same_bytes(reference, tmp_path):
    script = Path(__file__).with_name("fingerprint.py")
    finished = subprocess.run(
        [sys.executable, str(script), "1", str(tmp_path)], capture_output=True, text=True, timeout=200
    )
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout.splitlines()[-1]) == reference


@pytest.fixture(scope="module")
def golden():
    kept = renew.load()
    return kept["outcome"], renew.play(Scenario.from_dict(kept["scenario"]), kept["actions"])


def test_the_golden_episode_is_worth_keeping(golden):
    kept, _ = golden
    assert np.sum(kept["costs"]) > 0 and any(event["unit"] == "N" for event in kept["events"])
    assert max(Scenario.from_dict(renew.load()["scenario"]).knobs.as_tuple()) > 0


@pytest.mark.parametrize("part", ["success", "constraints", "costs", "pictures"])
def test_the_golden_episode_has_not_changed(golden, part):
    kept, now = golden
    assert now[part] == kept[part], f"{part} of the golden episode changed; {RENEW}"


def test_the_golden_poses_have_not_changed(golden):
    kept, now = golden
    np.testing.assert_allclose(
        now["poses"],
        kept["poses"],
        rtol=0,
        atol=2e-6,
        err_msg=f"poses of the golden episode changed; {RENEW}",
    )


def test_the_golden_events_have_not_changed(golden):
    kept, now = ([event | {"severity": None} for event in side["events"]] for side in golden)
    assert now == kept, f"events of the golden episode changed; {RENEW}"
    kept, now = ([event["severity"] for event in side["events"]] for side in golden)
    np.testing.assert_allclose(now, kept, rtol=1e-4, atol=2e-6, err_msg=f"severities changed; {RENEW}")
