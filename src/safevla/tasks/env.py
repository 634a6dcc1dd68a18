"""HomeVecEnv: N homes stepped together. Observation, reward, termination and costs; no hidden autoreset.

    env = HomeVecEnv("ObjNav", num_envs=16, num_threads=2)
    observation = env.reset(np.ones(16, bool), scenarios)
    step = env.step(actions)            # arrays over N
    env.reset(step.terminated | step.truncated, more_scenarios)

What happens in one home depends on nothing but its scenario and its actions: each home owns its physics,
its renderer and its signals, and threads only decide which core does the work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np

from safevla.config import nearest
from safevla.safety.signals import SafetyState, stack
from safevla.safety.specification import OnsetTracker, Specification, load_specification
from safevla.tasks.seat import ID_RESOLUTION, Seat, Views
from safevla.tasks.settings import check_share
from safevla.types import (
    ACTION_ID,
    ACTIONS,
    CAMERAS,
    CHANNELS,
    NO_ACTION,
    PATCH,
    TASKS,
    Event,
    Observation,
    Scenario,
    Step,
    with_person,
)
from safevla.world.appearance import PLAIN, Appearance
from safevla.world.simulator import Home, HousePool

SUCCESS_REWARD = 10.0
# Steps in which an episode of each size class ends.
HORIZONS = {"S": 200, "M": 600, "L": 600, "foreign": 600}
END = ACTION_ID["end"]


def check_task(task: str | Sequence[str]) -> tuple[str, ...]:
    """Return the tasks as a tuple; an unknown one raises ValueError."""
    tasks = (task,) if isinstance(task, str) else tuple(task)
    for name in tasks:
        if name not in TASKS:
            raise ValueError(f"unknown task '{name}'{nearest(name, TASKS)}")
    if not tasks:
        raise ValueError(f"no task given; choose one of {', '.join(TASKS)}")
    return tasks


class HomeVecEnv:
    """N homes stepped together.

    Args:
        task: what scenarios may ask for, one of TASKS or several.
        num_envs: N.
        num_threads: threads that share the homes; the results do not depend on it.
        resolution: height and width of the pictures in pixels, one number or (H, W).
        specification: what is unsafe: a name, a path, or a Specification.
        horizon: steps after which an episode is truncated; None: those of the size class of what each home
            plays, see HORIZONS. An episode in which the state of the simulation goes bad is truncated at
            once; `Home.dump` says where what led to it was written.
        renderer: name of a renderer.
        pool: settled houses to share with other environments.
        shaping: reward for each metre come nearer to the target (a rise of potential, neither discounted nor
            paid back at the end); 0 in evaluation.
        depth: also render depth, into `self.depth`.
        appearance: colours and light of the pictures.
        repaint: share of the scenarios of the training split whose homes are shown in drawn colours and
            materials, so that a policy learns with what its encoder makes of homes that it does not know.
        person: a person walks through every home, whatever the scenario says.
        labels: tell in `Observation.maps` what a perfect image encoder of this scale would say of the
            pictures; 0 or False: do not; True: of scale 1.

    Attributes:
        constraints: names of the K constraints, the columns of `Step.costs`.
        specification: the Specification in force.
        homes: the N simulated homes.
        scenarios: what each home plays, None before its first reset.
        last_ids: (N, 2, 112, 112) int32, geom id or -1, of the latest pictures (nav, manip).
        visible_pixels: (N, 2, E) int32, pixels of each entity in them.
        depth: (N, 2, H, W) float32 m of the latest pictures, or None.
        labels: 0 if observations have no `maps`, else the scale of these.
        source: where `reset` takes scenarios from when it is given none.
        state: SafetyState of the latest step, None before it; rows of homes that did not act are stale.
    """

    def __init__(
        self,
        task: str | Sequence[str] = "ObjNav",
        num_envs: int = 1,
        num_threads: int = 1,
        resolution: int | tuple[int, int] = 112,
        specification: str | Specification = "safevla",
        horizon: int | None = None,
        renderer: str = "raster",
        pool: HousePool | None = None,
        shaping: float = 0.0,
        depth: bool = False,
        appearance: Appearance = PLAIN,
        person: bool = False,
        labels: int = 0,
        repaint: float = 0.0,
    ) -> None:
        for name, value in (("num_envs", num_envs), ("num_threads", num_threads), ("horizon", horizon)):
            if value is not None and int(value) < 1:
                raise ValueError(f"{name} is {value}, expected at least 1")
        self.tasks = check_task(task)
        self.num_envs, self.num_threads = int(num_envs), int(num_threads)
        self.horizon = None if horizon is None else int(horizon)
        height, width = (resolution, resolution) if isinstance(resolution, int) else resolution
        self.resolution = (int(height), int(width))
        self.labels = int(labels)
        patch = PATCH * max(self.labels, 1)
        if labels and (height % patch or width % patch):
            raise ValueError(f"labels need pictures of multiples of {patch} pixels, not {height} x {width}")
        self.specification = (
            specification if isinstance(specification, Specification) else load_specification(specification)
        )
        self.constraints: tuple[str, ...] = tuple(self.specification.names)
        self.pool = pool if pool is not None else HousePool()
        self.shaping, self.person = float(shaping), bool(person)
        self.depth = np.zeros((self.num_envs, 2, *self.resolution), np.float32) if depth else None
        self.last_ids = np.full((self.num_envs, 2, ID_RESOLUTION, ID_RESOLUTION), -1, np.int32)
        self.state: SafetyState | None = None
        self.source: Iterator[Scenario] | None = None
        self._seats = [
            Seat(
                self.pool,
                renderer,
                self.resolution,
                bool(shaping),
                appearance,
                self.specification.named,
                check_share("repaint", repaint),
            )
            for _ in range(self.num_envs)
        ]
        self._onsets: OnsetTracker | None = None
        self._threads = ThreadPoolExecutor(self.num_threads - 1) if self.num_threads > 1 else None
        self._ended = np.ones(self.num_envs, dtype=bool)
        picture = (self.num_envs, *self.resolution, 3)
        self._nav, self._manip = np.zeros(picture, np.uint8), np.zeros(picture, np.uint8)
        maps = (self.num_envs, CAMERAS, CHANNELS, height // patch, width // patch)
        self._maps = np.zeros(maps, np.float16) if labels else None
        self._last_action = np.full(self.num_envs, NO_ACTION, np.int64)
        self._step = np.zeros(self.num_envs, np.int64)
        self._horizons = np.full(self.num_envs, self.horizon or 0, np.int64)
        self._rows: dict[int, SafetyState] = {}  # each home's latest row of signals

    @property
    def homes(self) -> list[Home]:
        """The N simulated homes."""
        return [seat.home for seat in self._seats]

    @property
    def scenarios(self) -> list[Scenario | None]:
        """What each home plays, None before its first reset."""
        return [seat.scenario for seat in self._seats]

    @property
    def steps(self) -> np.ndarray:
        """(N,) int64, actions taken so far in each home's episode."""
        return self._step.copy()

    @property
    def horizons(self) -> np.ndarray:
        """(N,) int64, steps in which each home's episode ends; 0 where only a reset can tell."""
        return self._horizons.copy()

    def target_distances(self) -> np.ndarray:
        """Return (N,) float32, metres from the robot's axis to the box of the nearest target; 0 without."""
        return np.array([seat.target_distance() for seat in self._seats], np.float32)

    @property
    def simulated(self) -> np.ndarray:
        """(N,) bool, whether each home's latest action was simulated, or swept without dynamics."""
        return np.array([seat.simulated for seat in self._seats])

    @property
    def bad(self) -> np.ndarray:
        """(N,) bool, whether the state of each home went bad in its latest action."""
        return np.array([seat.bad for seat in self._seats])

    @property
    def visible_pixels(self) -> np.ndarray:
        """(N, 2, E) int32, pixels of each entity in the latest pictures at 112 x 112."""
        entities = max(seat.visible_pixels.shape[1] for seat in self._seats)
        pixels = np.zeros((self.num_envs, 2, entities), np.int32)
        for row, seat in zip(pixels, self._seats, strict=True):
            row[:, : seat.visible_pixels.shape[1]] = seat.visible_pixels
        return pixels

    def reset(
        self, mask: np.ndarray | None = None, scenarios: Sequence[Scenario] | None = None
    ) -> Observation:
        """Start new episodes in some homes.

        Args:
            mask: (N,) bool, which homes; default all.
            scenarios: one per True of the mask, in order; default: the next ones of `source`.

        Returns:
            The observation of all N homes; rows outside the mask are as they were.

        Raises:
            ValueError: the number of scenarios does not fit, or one asks for another task.
        """
        mask = np.ones(self.num_envs, dtype=bool) if mask is None else self._check_mask(mask, "mask")
        chosen = np.flatnonzero(mask)
        if scenarios is None:
            if self.source is None:
                raise ValueError("reset needs scenarios, or an environment made by safevla.make_vec")
            scenarios = [next(self.source) for _ in chosen]
        if len(chosen) != len(scenarios):
            raise ValueError(
                f"reset got {len(scenarios)} scenarios for {len(chosen)} homes, expected one each"
            )
        for scenario in scenarios:
            if scenario.task not in self.tasks:
                raise ValueError(f"a scenario asks for {scenario.task}, this environment plays {self.tasks}")
        given = dict(zip(chosen.tolist(), with_person(scenarios, self.person), strict=True))
        self._own_pictures(mask)

        def start(index: int) -> None:
            self._seats[index].reset(given[index], self._views(index))

        self._for_each(chosen.tolist(), start)
        self._ended[chosen] = False
        self._last_action[chosen] = NO_ACTION
        self._step[chosen] = 0
        if self.horizon is None:
            self._horizons[chosen] = [HORIZONS[scenario.size_class] for scenario in scenarios]
        if len(chosen):
            entities = max(seat.visible_pixels.shape[1] for seat in self._seats)
            if self._onsets is None:
                self._onsets = OnsetTracker(self.num_envs, entities)
            self._onsets.grow(entities)
            self._onsets.reset(mask)
        return self._observation()

    def step(self, actions: np.ndarray, active: np.ndarray | None = None) -> Step:
        """Take one action in every active home whose episode has not ended.

        Args:
            actions: (N,) ids of actions; those of other homes are ignored.
            active: (N,) bool, default all.

        Returns:
            What happened; rows of homes that did not act are zero, their pictures as they were.

        Raises:
            ValueError: nothing was reset yet, the shape of an argument is wrong or an action does not exist.
        """
        actions = np.asarray(actions)
        if actions.shape != (self.num_envs,):
            raise ValueError(f"actions have shape {actions.shape}, expected ({self.num_envs},)")
        if self._onsets is None:
            raise ValueError("nothing is played yet: call reset before the first step")
        playing = ~self._ended if active is None else ~self._ended & self._check_mask(active, "active")
        acting = np.flatnonzero(playing).tolist()
        for index in acting:
            if not 0 <= int(actions[index]) < len(ACTIONS):
                raise ValueError(f"action {actions[index]} of home {index} is not in 0..{len(ACTIONS) - 1}")
        self._own_pictures(playing)

        def act(index: int) -> None:
            self._seats[index].act(int(actions[index]))

        def look(index: int) -> None:
            self._rows[index] = self._seats[index].look(self._views(index))

        # What has just been simulated will likely be again, which takes longest: those homes go first.
        self._for_each(sorted(acting, key=lambda index: not self._seats[index].simulated), act, look)
        self._last_action[acting] = actions[acting]
        self._step[acting] += 1
        costs, events = self._charge(playing)
        return self._finish(playing, actions, costs, events)

    def close(self) -> None:
        """End the threads."""
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None

    def _finish(
        self, playing: np.ndarray, actions: np.ndarray, costs: np.ndarray, events: list[list[Event]]
    ) -> Step:
        """Judge the episodes that end now and put the step together."""
        terminated = playing & (actions == END)
        truncated = playing & ~terminated & ((self._step >= self._horizons) | self.bad)
        success, distractor = np.zeros(self.num_envs, dtype=bool), np.zeros(self.num_envs, dtype=bool)
        reward = np.zeros(self.num_envs, np.float32)
        for index in np.flatnonzero(playing):
            seat = self._seats[index]
            if terminated[index]:
                success[index] = seat.succeeded()
                distractor[index] = not success[index] and seat.distracted()
                reward[index] = SUCCESS_REWARD if success[index] else 0.0
            elif self.shaping:
                reward[index] = self.shaping * seat.progress()
        self._ended |= terminated | truncated
        return Step(self._observation(), reward, terminated, truncated, costs, success, events, distractor)

    def _charge(self, playing: np.ndarray) -> tuple[np.ndarray, list[list[Event]]]:
        """Return costs (N, K) and events of the step, zero and empty for homes that did not act."""
        acting = np.flatnonzero(playing)
        if self._onsets is None or len(acting) == 0:
            return np.zeros((self.num_envs, len(self.constraints)), np.float32), [
                [] for _ in range(self.num_envs)
            ]
        # Homes that have not acted yet have no row; any row will do, it is not judged.
        rows = [self._rows.get(index, self._rows[int(acting[0])]) for index in range(self.num_envs)]
        self.state = stack(rows, self._onsets.shape[1])
        return self.specification.evaluate(self.state, self._onsets, playing)

    def _own_pictures(self, drawn: np.ndarray) -> None:
        """Make new arrays for the pictures, so that observations that were handed out never change.

        Args:
            drawn: (N,) bool, homes whose pictures will be written; those of the others stay as they are.
        """
        new = np.empty_like if drawn.all() else np.copy
        self._nav, self._manip, self.last_ids = new(self._nav), new(self._manip), new(self.last_ids)
        if self.depth is not None:
            self.depth = new(self.depth)
        if self._maps is not None:
            self._maps = new(self._maps)

    def _views(self, index: int) -> Views:
        depth, maps = (None if part is None else part[index] for part in (self.depth, self._maps))
        return Views(self._nav[index], self._manip[index], self.last_ids[index], depth, maps)

    def _observation(self) -> Observation:
        return Observation(
            nav=self._nav,
            manip=self._manip,
            holding=np.array([int(seat.holding) for seat in self._seats], np.int64),
            last_action=self._last_action.copy(),
            step=self._step.copy(),
            instruction=[seat.scenario.instruction if seat.scenario else "" for seat in self._seats],
            joints=np.stack([seat.arm_joints() for seat in self._seats]),
            motion=np.stack([seat.motion() for seat in self._seats]),
            maps=self._maps,
        )

    def _check_mask(self, mask: np.ndarray, name: str) -> np.ndarray:
        mask = np.asarray(mask)
        if mask.shape != (self.num_envs,) or mask.dtype != bool:
            raise ValueError(f"{name} is {mask.shape} {mask.dtype}, expected ({self.num_envs},) bool")
        return mask

    def _for_each(
        self, indices: list[int], work: Callable[[int], None], then: Callable[[int], None] | None = None
    ) -> None:
        """Do the work of some homes, in this order as threads become free; errors are raised here.

        Each thread, this one included, takes the next home when it is done with one, its own homes first:
        they are in the cache of its core. Handing homes out as jobs one by one would cost as much as a step.
        What comes `then` for a home is left for the end. It takes about as long in each, while the work may
        take many times as long in one: so no thread has to wait for another's last home.
        """
        threads = min(self.num_threads, len(indices))
        queues = [deque(index for index in indices if index % threads == k) for k in range(threads)]
        done: list[deque[int]] = [deque() for _ in range(threads)]

        def take(number: int) -> None:
            own = [(number + k) % threads for k in range(threads)]
            for k in own:
                for index in emptied(queues[k]):
                    work(index)
                    done[number].append(index)
            if then is None:
                return
            for k in own:
                for index in emptied(done[k]):
                    then(index)

        helpers = range(1, threads) if self._threads is not None else ()
        jobs = [self._threads.submit(take, number) for number in helpers] if self._threads else []
        try:
            take(0)
        finally:
            wait(jobs)
        for job in jobs:
            job.result()


def emptied(queue: deque[int]) -> Iterator[int]:
    """Take from the front of a queue, which others may take from as well, until nothing is in it."""
    while True:
        try:
            index = queue.popleft()
        except IndexError:
            return
        yield index
