"""What a policy is to the rest of safevla, and whether it fits an environment."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from safevla.tasks.instructions import TARGETS, instructions_for
from safevla.types import ACTIONS, CAMERAS, CHANNELS, NO_ACTION, PATCH, Observation


@dataclass
class Decision:
    """What a policy answers for N homes with K constraints."""

    action: np.ndarray  # (N,) int64
    log_prob: np.ndarray  # (N,) float32, of the action
    # (N, 1 + K) float32: expected return, then expected cost of each constraint; anything where not wanted
    values: np.ndarray
    features: np.ndarray | None = None  # (N, F) float16, what a trainable policy wants to be stored


@runtime_checkable
class Policy(Protocol):
    """Anything that plays.

    Attributes:
        constraints: names of the costs that `values` speaks of; None fits every environment.
    """

    constraints: tuple[str, ...] | None

    def reset(self, mask: np.ndarray) -> None:
        """Forget the history of the homes where mask (N,) is True; N may change when all are True."""

    def act(self, observation: Observation, uniforms: np.ndarray | None = None) -> Decision:
        """Decide for N homes.

        Args:
            observation: of all N homes; answers for homes that are not `active` are ignored, and values if
                it does not say `wants_values`.
            uniforms: (N,) float64 in [0, 1): the action is where the cumulated probabilities pass it.
                None takes the most likely action. So what a home does depends on its own number alone.
        """


class CodedError(ValueError):
    """An error with a short `code` beside its text; it survives the way from a worker process."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, str(self))


class IncompatiblePolicyError(CodedError):
    """A policy does not fit; `code` is one of CODES and says why."""


class FailedPolicyError(CodedError):
    """A policy raised an error of its own while it played; `code` is "failed"."""


CODES = {
    "interface": "it lacks something that a policy has, or its methods take other arguments",
    "constraints": "its critics speak of other costs than those of the environment",
    "actions": "it answers in other actions than the 20 of the robot",
    "inputs": "it wants other inputs than the homes give",
    "resolution": "it sees pictures of another size",
    "horizon": "it remembers fewer steps than an episode may have",
    "trial": "it fails when it is asked what to do in two blank homes",
    "decision": "what it answers there has the wrong shape, type or range",
}
_TRIAL_HOMES = 2


def check_compatible(policy: Any, env: Any) -> None:
    """Check in a moment what would otherwise fail after minutes; ends with a decision about blank pictures.

    The policy may say of itself, beside what `Policy` names: `resolution` (pixels, a number or (H, W)),
    `max_steps` (longest history), `actions` (names of its actions) and `wants_labels` (it reads
    `Observation.maps` of this scale); what it does not say is not checked.

    Args:
        policy: what is to play. It is reset, so it must not be in the middle of an episode.
        env: a HomeVecEnv or what looks like one; attributes it lacks are not checked.

    Raises:
        IncompatiblePolicyError: the policy does not fit.
    """
    _check_interface(policy)
    _check_facts(policy, env)
    resolution = getattr(env, "resolution", None)
    if resolution is not None:
        task, labels = getattr(env, "tasks", ("ObjNav",))[0], int(getattr(env, "labels", 0))
        _check_trial(policy, _blank(resolution, task, labels))


def wants_labels(policy: Any) -> int:
    """Return what HomeVecEnv's `labels` must be: not 0 for a policy that is told what its pictures show."""
    return int(getattr(policy, "wants_labels", 0))


def _check_interface(policy: Any) -> None:
    kind = policy.__name__ if isinstance(policy, type) else type(policy).__name__
    if isinstance(policy, type):
        raise IncompatiblePolicyError("interface", f"{kind} is a class, make a policy of it: {kind}()")
    missing = [name for name in ("constraints", "reset", "act") if not hasattr(policy, name)]
    if missing:
        raise IncompatiblePolicyError("interface", f"{kind} is not a policy: it has no {', '.join(missing)}")
    for name, arguments in (("reset", ("mask",)), ("act", ("observation", "uniforms"))):
        try:
            inspect.signature(getattr(policy, name)).bind(*arguments)
        except (TypeError, ValueError):
            wanted = f"{name}({', '.join(arguments)})"
            raise IncompatiblePolicyError("interface", f"{kind} cannot be called as {wanted}") from None


def _check_facts(policy: Any, env: Any) -> None:
    constraints, actions = policy.constraints, getattr(policy, "actions", None)
    if constraints is not None and (
        isinstance(constraints, str) or tuple(constraints) != tuple(env.constraints)
    ):
        own = constraints if isinstance(constraints, str) else ", ".join(constraints)
        raise IncompatiblePolicyError(
            "constraints",
            f"the policy has cost critics for {own or 'nothing'}, "
            f"the environment has {', '.join(env.constraints) or 'no constraints'}",
        )
    if actions is not None and tuple(actions) != ACTIONS:
        other = next((a for a, b in zip_longest(actions, ACTIONS) if a != b), None) or "fewer"
        raise IncompatiblePolicyError(
            "actions", f"the policy has {len(actions)} actions ({other}), the robot has {', '.join(ACTIONS)}"
        )
    wanted = wants_labels(policy)
    if wanted and int(getattr(env, "labels", 0)) != wanted:
        raise IncompatiblePolicyError(
            "inputs",
            "the policy is an oracle: it is told what its pictures show (Observation.maps), which this "
            f"environment does not, or of another scale; make it with labels={wanted}",
        )
    resolution, given = getattr(policy, "resolution", None), getattr(env, "resolution", None)
    if resolution is not None and given is not None:
        height, width = (resolution, resolution) if isinstance(resolution, int) else resolution
        if (height, width) != tuple(given):
            raise IncompatiblePolicyError(
                "resolution",
                f"the policy sees pictures of {height} x {width}, the environment gives "
                f"{given[0]} x {given[1]}: set its resolution to {height if height == width else resolution}",
            )
    longest, horizon = getattr(policy, "max_steps", None), getattr(env, "horizon", None)
    if longest is not None and horizon is not None and horizon > longest:
        raise IncompatiblePolicyError(
            "horizon", f"the policy remembers {longest} steps, episodes have up to {horizon}"
        )


def _blank(resolution: tuple[int, int], task: str, labels: int) -> Observation:
    """Return what two homes see at their start if all is black."""
    patch = PATCH * max(labels, 1)
    maps = (_TRIAL_HOMES, CAMERAS, CHANNELS, resolution[0] // patch, resolution[1] // patch)
    pictures = np.zeros((_TRIAL_HOMES, *resolution, 3), np.uint8)
    zeros = np.zeros(_TRIAL_HOMES, np.int64)
    instruction = instructions_for(task, TARGETS[task][0])[0]
    active = np.ones(_TRIAL_HOMES, bool)
    return Observation(
        nav=pictures,
        manip=pictures,
        holding=zeros,
        last_action=zeros + NO_ACTION,
        step=zeros,
        instruction=[instruction] * _TRIAL_HOMES,
        active=active,
        joints=np.zeros((_TRIAL_HOMES, 3), np.float32),
        motion=np.zeros((_TRIAL_HOMES, 6), np.float32),
        maps=np.zeros(maps, np.float16) if labels else None,
    )


def _check_trial(policy: Any, blank: Observation) -> None:
    try:
        policy.reset(np.ones(_TRIAL_HOMES, bool))
        decision = policy.act(blank, np.full(_TRIAL_HOMES, 0.5))
    except IncompatiblePolicyError:
        raise
    except Exception as error:
        text = f"{type(policy).__name__} fails on a blank picture: {_what_and_where(policy, error)}"
        raise IncompatiblePolicyError("trial", text) from error
    costs = 1 + len(policy.constraints or ())
    problem = decision_problem(decision, _TRIAL_HOMES, None if policy.constraints is None else costs)
    if problem:
        raise IncompatiblePolicyError("decision", f"{type(policy).__name__} {problem}")


@contextmanager
def named_failures(policy: Any, doing: str) -> Iterator[None]:
    """Turn an error that a policy raises within into one that says whose it is and where it arose.

    What has a code already says so itself and passes.

    Args:
        policy: whose methods are called within.
        doing: what it is asked for, for instance "at step 3".

    Raises:
        FailedPolicyError: from the policy's own error.
    """
    try:
        yield
    except CodedError:
        raise
    except Exception as error:
        text = f"{type(policy).__name__} fails {doing}: {_what_and_where(policy, error)}"
        raise FailedPolicyError("failed", text) from error


def _what_and_where(policy: Any, error: Exception) -> str:
    """Return an error in one line with the place where it arose: no traceback outlives a process."""
    own = getattr(sys.modules.get(type(policy).__module__), "__file__", None)
    frames = traceback.extract_tb(error.__traceback__)
    frame = next((frame for frame in reversed(frames) if frame.filename == own), frames[-1])
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text} ({Path(frame.filename).name}, line {frame.lineno})"


def decision_problem(decision: Any, count: int, values: int | None = None) -> str:
    """Return what is wrong with a decision for `count` homes, "" if nothing is.

    Args:
        decision: what a policy answered.
        count: N.
        values: 1 + K that it should have; None for any.
    """
    missing = [name for name in ("action", "log_prob", "values") if not hasattr(decision, name)]
    if missing:
        return f"answers a {type(decision).__name__} without {', '.join(missing)}; it must be a Decision"
    action = np.asarray(decision.action)
    if action.shape != (count,) or not np.issubdtype(action.dtype, np.integer):
        return (
            f"answers actions of shape {action.shape} and type {action.dtype}, expected ({count},) integers"
        )
    if ((action < 0) | (action >= len(ACTIONS))).any():
        return f"answers action {int(action[(action < 0) | (action >= len(ACTIONS))][0])}, expected 0 to 19"
    for name, shape in (("log_prob", (count,)), ("values", (count, values))):
        found = np.asarray(getattr(decision, name)).shape
        if len(found) != len(shape) or any(
            b is not None and a != b for a, b in zip(found, shape, strict=True)
        ):
            wanted = ", ".join("1 + K" if size is None else str(size) for size in shape)
            return f"answers {name} of shape {found}, expected ({wanted})"
    return ""


def choose(probabilities: np.ndarray, uniforms: np.ndarray | None) -> np.ndarray:
    """Return (N,) int64 actions from (N, A) probabilities: inverse of the cumulated ones, or the largest."""
    probabilities = np.asarray(probabilities, np.float64)
    if uniforms is None:
        return np.asarray(probabilities.argmax(1), np.int64)
    cumulated = probabilities.cumsum(1)
    passed = np.asarray(uniforms, np.float64)[:, None] * cumulated[:, -1:] >= cumulated
    return np.asarray(np.minimum(passed.sum(1), probabilities.shape[1] - 1), np.int64)


def uniform_log_prob(count: int) -> np.ndarray:
    """Return (count,) float32 log-probabilities of a uniform choice among all actions."""
    return np.full(count, -np.log(len(ACTIONS)), np.float32)
