"""A progress bar with time left on a terminal, and a plain line now and then in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_SECONDS_BETWEEN_LINES = 15.0


class ProgressBar:
    """Shows how far a piece of work is; used as a context manager, advanced by the work.

    Args:
        description: what is being done.
        total: units of work.
    """

    def __init__(self, description: str, total: int) -> None:
        self.description, self.total, self.completed = description, max(total, 1), 0
        self._start = self._last = time.monotonic()
        # Units and time of the first report: a resumed run has units then that it took no time for.
        self._first: tuple[int, float] | None = None
        self._bar = None
        if sys.stderr.isatty():
            columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn())
            self._bar = Progress(
                *columns,
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(description, total=self.total, note="")

    def __enter__(self) -> ProgressBar:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        elif kind is None:
            self._line("")

    def advance(self, count: int = 1, note: str = "") -> None:
        """Report `count` more units as done, with a short note on the state of the work."""
        self.update(self.completed + count, note)

    def update(self, completed: int, note: str = "") -> None:
        """Report that `completed` units are done in all."""
        self.completed = completed
        if self._first is None:
            self._first = (completed, time.monotonic())
        if self._bar:
            self._bar.update(self._task, completed=completed, note=note)
        elif time.monotonic() - self._last > _SECONDS_BETWEEN_LINES:
            self._line(note)

    def _line(self, note: str) -> None:
        self._last = time.monotonic()
        elapsed = self._last - self._start
        text = f"{self.description}: {self.completed}/{self.total}, {elapsed:.0f} s"
        count, since = self._first or (self.completed, self._last)
        if self.completed > count:
            each = (self._last - since) / (self.completed - count)
            text += f", about {max(each * (self.total - self.completed), 0):.0f} s left"
        print(text, note, file=sys.stderr, flush=True)
