"""One policy that plays in homes of several processes at once; episodes do not depend on how many there are.

Learning alternates between playing and improving. A `Players` keeps its processes, each with homes of its
own, and sends them the latest weights whenever there is something to play.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Any

from safevla.rollout import Turns, VectorEnvironment, play
from safevla.scale import callers_script_left_out, start_worker
from safevla.types import Episode, Scenario

EnvironmentFactory = Callable[[], Any]
# Called as part(env, policy, scenarios, *arguments, progress=..., turns=...), see `rollout.play`.
PlayPart = Callable[..., list[Episode]]
Progress = Callable[[int, int], None]
_DIED = "a process that played episodes died; try fewer --processes or more memory"


def play_part(
    env: VectorEnvironment,
    policy: Any,
    scenarios: Sequence[Scenario],
    options: dict[str, Any],
    progress: Progress | None = None,
    turns: Turns | None = None,
) -> list[Episode]:
    """Play scenarios with the options of `rollout.play`."""
    return play(env, policy, scenarios, **options, progress=progress, turns=turns)


class SharedTurns:
    """Deals scenarios to several processes: to each in turn to begin with, then to whose homes fall free.

    So none is done long before another, and each begins with as many of the first ones, which take longest.

    Args:
        counter: how many have been dealt, shared by the processes.
        order: numbers of the scenarios, what is expected to take longest first.
        begin: places in this order that this process begins with.

    Attributes:
        taken: numbers of the scenarios that this process has taken.
    """

    def __init__(self, counter: Any, order: Sequence[int], begin: Iterable[int]) -> None:
        self.taken: list[int] = []
        self._counter, self._order, self._begin = counter, order, iter(begin)

    @property
    def dealt(self) -> int:
        """How many were dealt to all processes."""
        return int(self._counter.value)

    def take(self, wanted: int) -> list[int]:
        """Return the numbers of what is next."""
        places = list(islice(self._begin, wanted))
        with self._counter.get_lock():
            first = self._counter.value
            self._counter.value = min(first + wanted - len(places), len(self._order))
            places += range(first, self._counter.value)
        numbers = [self._order[place] for place in places]
        self.taken += numbers
        return numbers

    def stop(self) -> None:
        """Deal no more to any process: what they play is not wanted."""
        self._counter.value = len(self._order)


class Players:
    """A policy with homes in this process, and in others beside it.

    Args:
        env: homes of this process.
        policy: it is given to the others as it is at each call of `run`.
        make_env: makes homes like `env` in another process; must pickle. None: there are no others.
        processes: in all, this one included.
    """

    def __init__(
        self,
        env: VectorEnvironment,
        policy: Any,
        make_env: EnvironmentFactory | None = None,
        processes: int = 1,
    ) -> None:
        if processes < 1 or (processes > 1 and make_env is None):
            raise ValueError(f"{processes} processes: at least 1, and a factory of homes for the others")
        self.env, self.policy = env, policy
        self._others: list[tuple[Any, Connection]] = []
        context = multiprocessing.get_context("spawn")
        self._counter = context.Value("q", 0)
        self._lengths: dict[str, int] = {}  # of each scenario by its hash, when it was last played
        with callers_script_left_out(make_env):
            for _ in range(processes - 1):
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=_serve, args=(theirs, make_env, self._counter, os.getpid()), daemon=True
                )
                process.start()
                theirs.close()
                self._others.append((process, ours))
        for _, connection in self._others:
            _send(connection, policy)

    def play(
        self, scenarios: Sequence[Scenario], *, progress: Progress | None = None, **options: Any
    ) -> list[Episode]:
        """Play every scenario once, as `rollout.play` with these options does; episodes in their order."""
        return self.run(play_part, scenarios, (options,), progress)

    def run(
        self,
        part: PlayPart,
        scenarios: Sequence[Scenario],
        arguments: tuple[Any, ...] = (),
        progress: Progress | None = None,
    ) -> list[Episode]:
        """Have every process play some of the scenarios.

        Args:
            part: plays the scenarios that its `turns` deal to it; importable by name.
            scenarios: what to play, what takes longest first. How long it took the last time counts more.
            arguments: further ones of `part`; they must pickle.
            progress: called as progress(finished, total), about, when an episode ends in this process.

        Returns:
            The episodes in the order of the scenarios.

        Raises:
            Exception: what playing raised in any process.
            ChildProcessError: a process died, for instance for want of memory.
        """
        total = len(scenarios)
        busy = self._others[: max(total - 1, 0)]
        count = 1 + len(busy)
        at_once = min(count * self.env.num_envs, total)
        order = self._order(scenarios)
        self._counter.value = at_once
        weights = {name: value.cpu() for name, value in self.policy.state_dict().items()} if busy else {}
        for number, (_, connection) in enumerate(busy, 1):
            begin = range(number, at_once, count)
            _send(connection, (part, weights, scenarios, arguments, order, begin))
        turns = SharedTurns(self._counter, order, range(0, at_once, count))

        def report(done: int, _: int) -> None:
            if progress is not None:  # the others are about as far as we are
                progress(done * turns.dealt // len(turns.taken), total)

        try:
            own = part(self.env, self.policy, scenarios, *arguments, progress=report, turns=turns)
        except BaseException:
            turns.stop()
            raise
        episodes = dict(zip(sorted(turns.taken), own, strict=True))
        for process, connection in busy:
            episodes.update(_receive(process, connection))
        for row, episode in episodes.items():
            self._lengths[scenarios[row].hash] = episode.length
        return [episodes[row] for row in range(total)]

    def _order(self, scenarios: Sequence[Scenario]) -> list[int]:
        """Return the numbers of the scenarios, those first that took longest; new ones count as the mean."""
        mean = sum(self._lengths.values()) / max(len(self._lengths), 1)
        expected = [self._lengths.get(scenario.hash, mean) for scenario in scenarios]
        return sorted(range(len(scenarios)), key=lambda row: -expected[row])

    def close(self) -> None:
        """End the other processes."""
        for process, connection in self._others:
            connection.close()
            process.join(timeout=5.0)
            if process.is_alive():
                process.terminate()
        self._others = []


@contextmanager
def players(
    env: VectorEnvironment, policy: Any, make_env: EnvironmentFactory | None, processes: int
) -> Iterator[Players]:
    """Give Players that end with the block, however it ends."""
    group = Players(env, policy, make_env, processes)
    try:
        yield group
    finally:
        group.close()


def _send(connection: Connection, what: Any) -> None:
    # Plain pickle: torch's own would hand over shared memory, which a machine may have little of.
    try:
        connection.send_bytes(pickle.dumps(what, protocol=pickle.HIGHEST_PROTOCOL))
    except ConnectionError as error:
        raise ChildProcessError(_DIED) from error


def _receive(process: Any, connection: Connection) -> dict[int, Episode]:
    """Return the episodes that another process has played, by the numbers of their scenarios."""
    wait([connection, process.sentinel])
    try:
        answer = pickle.loads(connection.recv_bytes())
    except (EOFError, ConnectionError) as error:
        raise ChildProcessError(_DIED) from error
    if isinstance(answer, BaseException):
        raise answer
    episodes: dict[int, Episode] = answer
    return episodes


def _serve(connection: Connection, make_env: EnvironmentFactory, counter: Any, parent: int) -> None:
    """Play what is asked for until the connection is closed; runs in a process of its own."""
    start_worker(parent)
    env, policy = None, None
    while True:
        try:
            message = pickle.loads(connection.recv_bytes())
        except (EOFError, ConnectionError):
            return
        if policy is None:
            policy = message
            continue
        part, weights, scenarios, arguments, order, begin = message
        turns = SharedTurns(counter, order, begin)
        try:
            env = make_env() if env is None else env
            policy.load_state_dict(weights)
            own = part(env, policy, scenarios, *arguments, turns=turns)
            answer: Any = dict(zip(sorted(turns.taken), own, strict=True))
        except Exception as error:
            turns.stop()
            answer = error
        _send(connection, answer)
