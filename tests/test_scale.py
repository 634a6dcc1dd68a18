import operator
import os
import signal
import subprocess
import sys
import time

import pytest

from safevla.scale import run_jobs


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_the_order_of_the_jobs(processes):
    assert run_jobs(operator.sub, [(5, 1), (7, 2), (3, 3)], processes) == [4, 5, 0]


@pytest.mark.parametrize("processes", [1, 2])
def test_error_of_a_job_reaches_the_caller(processes):
    with pytest.raises(ZeroDivisionError):
        run_jobs(operator.truediv, [(1, 1), (1, 0)], processes)


def test_a_script_needs_no_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import operator\n"
        "from safevla.scale import run_jobs\n"
        "print('begun')\n"
        "print(run_jobs(operator.sub, [(5, 1), (7, 2)], 2))\n"
    )
    finished = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == "begun\n[4, 5]\n"


def test_a_process_that_dies_is_one_clear_error():
    with pytest.raises(ChildProcessError, match="a worker process died"):
        run_jobs(os._exit, [(1,), (1,)], 2)


def test_an_error_ends_the_other_jobs():
    started = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        run_jobs(_sleep_or_fail, [(300,), (0,)], 2)
    assert time.monotonic() - started < 100


def _sleep_or_fail(seconds):
    time.sleep(seconds / min(seconds, 1))


def test_an_interruption_ends_everything_at_once(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import signal, time\n"
        "from safevla.scale import run_jobs\n"
        # A job that a shell runs in the background starts with this signal ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "run_jobs(time.sleep, [(300,), (300,)], 2, lambda: print('running', flush=True))\n"
    )
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "running\n"
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=100)
    assert error.rstrip().endswith("KeyboardInterrupt") and error.count("Traceback") == 1, error


def test_workers_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, time\n"
        "from pathlib import Path\n"
        "from safevla.scale import run_jobs\n"
        "def work(name):\n"
        f"    Path({str(tmp_path)!r}, name).write_text(str(os.getpid()))\n"
        "    time.sleep(60)\n"
        "if __name__ == '__main__':\n"
        "    run_jobs(work, [('a',), ('b',)], 2)\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)])
    files = [tmp_path / "a", tmp_path / "b"]
    deadline = time.monotonic() + 60
    while not all(file.exists() and file.read_text() for file in files):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    pids = [int(file.read_text()) for file in files]
    while any(os.path.exists(f"/proc/{pid}") and _running(pid) for pid in pids):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.1)


def _running(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0] != "Z"
