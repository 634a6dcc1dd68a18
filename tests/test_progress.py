"""Progress in a log: a line now and then, with the time left, also of a run that goes on."""

import pytest

from safevla import progress
from safevla.progress import ProgressBar


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until it is set."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_lines_come_now_and_then_and_at_the_end(capsys, clock):
    with ProgressBar("work", 10) as bar:
        for _ in range(10):
            clock[0] += 4.0
            bar.advance(note="fine")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["work: 4/10", "work: 8/10", "work: 10/10"]
    assert lines[0].endswith("about 24 s left fine") and "about 0 s left" in lines[-1]


def test_time_left_counts_only_what_was_done_since_the_start(capsys, clock):
    with ProgressBar("work", 1000) as bar:
        bar.update(900)  # by an earlier run
        clock[0] += 20.0
        bar.update(920)
    assert "920/1000, 20 s, about 80 s left" in capsys.readouterr().err


def test_nothing_done_tells_no_time(capsys, clock):
    with ProgressBar("work", 3) as bar:
        clock[0] += 20.0
        bar.update(0)
    assert capsys.readouterr().err.splitlines()[0] == "work: 0/3, 20 s "
