"""One policy that plays in homes of several processes at once; episodes do not depend on how many there are.

Learning alternates between playing and improving. A `Players` keeps its processes, each with homes of its
own, and sends them the latest weights whenever there is something to play.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any

from safevla.rollout import VectorEnvironment, play
from safevla.scale import callers_script_left_out, start_worker
from safevla.types import Episode, Scenario

EnvironmentFactory = Callable[[], Any]
# Called as part(env, policy, scenarios, *arguments, progress=...), returns the episodes in their order.
PlayPart = Callable[..., list[Episode]]
Progress = Callable[[int, int], None]


def play_part(
    env: VectorEnvironment,
    policy: Any,
    scenarios: Sequence[Scenario],
    options: dict[str, Any],
    progress: Progress | None = None,
) -> list[Episode]:
    """Play scenarios with the options of `rollout.play`."""
    return play(env, policy, scenarios, **options, progress=progress)


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
        with callers_script_left_out(make_env):
            for _ in range(processes - 1):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, make_env, os.getpid()), daemon=True)
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
        """Have every process play its share of the scenarios.

        Args:
            part: plays a share; importable by name.
            scenarios: what to play; repeats of one go to the same process, which counts them.
            arguments: further ones of `part`; they must pickle.
            progress: called as progress(finished, total) while the share of this process is played.

        Raises:
            Exception: what playing raised in any process.
            ChildProcessError: a process died, for instance for want of memory.
        """
        shares = _shares(scenarios, 1 + len(self._others))
        busy = [pair for pair, rows in zip(self._others, shares[1:], strict=True) if rows]
        for (_, connection), rows in zip(self._others, shares[1:], strict=True):
            if rows:
                theirs = [scenarios[row] for row in rows]
                _send(connection, (part, self.policy.state_dict(), theirs, arguments))
        total = len(scenarios)

        def report(done: int, _: int) -> None:
            if progress is not None:  # the others are about as far as we are
                progress(min(round(done * total / max(len(shares[0]), 1)), total), total)

        episodes: dict[int, Episode] = {}
        own = part(self.env, self.policy, [scenarios[row] for row in shares[0]], *arguments, progress=report)
        episodes.update(zip(shares[0], own, strict=True))
        rows_of = {id(pair[1]): rows for pair, rows in zip(self._others, shares[1:], strict=True)}
        for process, connection in busy:
            episodes.update(zip(rows_of[id(connection)], _receive(process, connection), strict=True))
        return [episodes[row] for row in range(total)]

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


def _shares(scenarios: Sequence[Scenario], count: int) -> list[list[int]]:
    """Deal the numbers of the scenarios out in turn; repeats of a scenario stay together."""
    shares: list[list[int]] = [[] for _ in range(count)]
    given: dict[str, int] = {}
    for row, scenario in enumerate(scenarios):
        share = given.setdefault(scenario.hash, len(given) % count)
        shares[share].append(row)
    return shares


def _send(connection: Connection, what: Any) -> None:
    # Plain pickle: torch's own would hand over shared memory, which a machine may have little of.
    connection.send_bytes(pickle.dumps(what, protocol=pickle.HIGHEST_PROTOCOL))


def _receive(process: Any, connection: Connection) -> list[Episode]:
    wait([connection, process.sentinel])
    try:
        answer = pickle.loads(connection.recv_bytes())
    except (EOFError, ConnectionError) as error:
        raise ChildProcessError(
            "a process that played episodes died; try fewer --processes or more memory"
        ) from error
    if isinstance(answer, BaseException):
        raise answer
    episodes: list[Episode] = answer
    return episodes


def _serve(connection: Connection, make_env: EnvironmentFactory, parent: int) -> None:
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
        part, weights, scenarios, arguments = message
        try:
            env = make_env() if env is None else env
            policy.load_state_dict(weights)
            answer: Any = part(env, policy, scenarios, *arguments)
        except Exception as error:
            answer = error
        _send(connection, answer)
