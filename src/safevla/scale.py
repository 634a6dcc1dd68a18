"""Run independent jobs inline or on several processes; the results do not depend on how many."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from types import ModuleType
from typing import Any


def single_threaded() -> None:
    """Keep numeric libraries of this process to one thread: there is one process per core."""
    import torch

    torch.set_num_threads(1)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let PyTorch use this many threads in the block, and as many as before after it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def start_worker(parent: int) -> None:
    """Prepare a worker process: one thread for mathematics, and an end when its parent is gone.

    A parent that is killed cannot tell its workers; without this they would go on training for nobody.
    An interruption from the keyboard reaches all of them; the parent alone answers it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    single_threaded()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run_jobs(
    function: Callable[..., Any],
    jobs: Sequence[tuple[Any, ...]],
    processes: int,
    watch: Callable[[], None] | None = None,
) -> list[Any]:
    """Call `function(*job)` for every job and return the results in the order of the jobs.

    Args:
        function: importable by name, so that another process can call it.
        jobs: arguments of each call; they must pickle.
        processes: calls under way at once; 1 runs them one after another in this process.
        watch: called about every second while jobs run, and after each inline job.

    Raises:
        Exception: what a job raised; the other jobs are ended.
        ChildProcessError: a process died, for instance for want of memory.
    """
    if processes <= 1 or len(jobs) <= 1:
        results = []
        for job in jobs:
            results.append(function(*job))
            if watch:
                watch()
        return results
    context = multiprocessing.get_context("spawn")
    workers = min(processes, len(jobs))
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=start_worker, initargs=(os.getpid(),)
    ) as pool:
        with callers_script_left_out(function):
            futures: list[Future[Any]] = [pool.submit(function, *job) for job in jobs]
        running = list(pool._processes.values())
        pending = set(futures)
        try:
            while pending:
                finished, pending = wait(pending, timeout=1.0, return_when=FIRST_COMPLETED)
                for future in finished:
                    future.result()
                if watch:
                    watch()
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in running:
                process.terminate()
            if isinstance(error, BrokenProcessPool):
                reason = "a worker process died; try fewer --processes or more memory"
                raise ChildProcessError(reason) from error
            raise
    return [future.result() for future in futures]


@contextmanager
def callers_script_left_out(function: object) -> Iterator[None]:
    """Keep new processes from running the caller's script again, unless the function is in it.

    So a script or notebook may call safevla without `if __name__ == "__main__":`.
    """
    script = sys.modules["__main__"]
    called = getattr(function, "func", function)  # of a functools.partial
    if getattr(called, "__module__", "") != "__main__":
        sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script
