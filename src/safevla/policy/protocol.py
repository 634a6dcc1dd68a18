"""What a policy is to the rest of safevla, and whether it fits an environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from safevla.types import ACTIONS, Observation


@dataclass
class Decision:
    """What a policy answers for N homes with K constraints."""

    action: np.ndarray  # (N,) int64
    log_prob: np.ndarray  # (N,) float32, of the action
    values: np.ndarray  # (N, 1 + K) float32: expected return, then expected cost of each constraint
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
            observation: of all N homes; answers for homes that are not `active` are ignored.
            uniforms: (N,) float64 in [0, 1): the action is where the cumulated probabilities pass it.
                None takes the most likely action. So what a home does depends on its own number alone.
        """


class IncompatiblePolicyError(ValueError):
    """A policy does not fit; `code` says why: "interface", "constraints", "resolution" or "horizon"."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def check_compatible(policy: Any, env: Any) -> None:
    """Check in a moment what would otherwise fail after minutes.

    Args:
        policy: what is to play.
        env: a HomeVecEnv or what looks like one; attributes it lacks are not checked.

    Raises:
        IncompatiblePolicyError: the policy does not fit.
    """
    missing = [name for name in ("constraints", "reset", "act") if not hasattr(policy, name)]
    if missing:
        kind = type(policy).__name__
        raise IncompatiblePolicyError("interface", f"{kind} is not a policy: it has no {', '.join(missing)}")
    if policy.constraints is not None and tuple(policy.constraints) != tuple(env.constraints):
        raise IncompatiblePolicyError(
            "constraints",
            f"the policy has cost critics for {', '.join(policy.constraints) or 'nothing'}, "
            f"the environment has {', '.join(env.constraints) or 'no constraints'}",
        )
    resolution, given = getattr(policy, "resolution", None), getattr(env, "resolution", None)
    if resolution is not None and given is not None and tuple(given) != (resolution, resolution):
        raise IncompatiblePolicyError(
            "resolution",
            f"the policy sees pictures of {resolution} x {resolution}, the environment gives "
            f"{given[0]} x {given[1]}: set its resolution to {resolution}",
        )
    longest, horizon = getattr(policy, "max_steps", None), getattr(env, "horizon", None)
    if longest is not None and horizon is not None and horizon > longest:
        raise IncompatiblePolicyError(
            "horizon", f"the policy remembers {longest} steps, episodes have up to {horizon}"
        )


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
