"""One Lagrange multiplier per constraint, driven by the costs of finished episodes.

Pure arithmetic in float64. Costs come as sums and counts, so that several workers add theirs up first. What a
budget bounds may be another aggregate of the episodes' costs than their mean, see `safety.aggregation`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from safevla.constrain.settings import MultiplierConfig

ERROR_RANGE = (-1.0, 3.0)  # relative excess: -1 is a cost of zero, beyond 3 a rare burst decides too much
SMALLEST_BUDGET = 1e-3  # divisor of a budget of zero, cost an episode


def project_to_sum(values: np.ndarray, total: float) -> np.ndarray:
    """Return the point nearest to `values` (K,) with no negative entry and the sum `total`.

    Duchi et al. 2008, "Efficient projections onto the l1-ball for learning in high dimensions", figure 1.
    Where the sum of the multipliers is bounded by L, the best that they can do is to put L on the constraint
    that is violated most: learning then ascends J - L max_k (J_ck - b_k)+, an exact penalty.
    """
    largest_first = np.sort(values)[::-1]
    excess = (np.cumsum(largest_first) - total) / np.arange(1, len(values) + 1)
    kept = np.flatnonzero(largest_first > excess)[-1]
    return np.asarray(np.maximum(values - excess[kept], 0.0))


class Multipliers:
    """The multipliers lambda (K,) of a set of constraints.

    e_k = clip((J_k - b_k) / max(b_k, 0.001), -1, 3) is the relative excess of the mean episode cost J_k,
    or of the aggregate that is held against the budget instead.
    "ascent": lambda_k <- clip(lambda_k + learning_rate e_k, 0, maximum), projected dual ascent.
    "pid": lambda_k <- clip(P + I + D, 0, maximum), after Stooke et al. 2020, arXiv 2007.03964, with the
    integral bounded to 0..integral_maximum. "fixed": never changes. `total_maximum` bounds their sum.

    Attributes:
        constraints: K names.
        values: (K,) float64 lambda.
        errors: (K,) float64 relative excess at the last update.
    """

    def __init__(self, config: MultiplierConfig, constraints: tuple[str, ...]) -> None:
        self.config = config
        self.constraints = constraints
        count = len(constraints)
        self.values = self._bounded(np.full(count, float(config.initial)))
        self.errors = np.zeros(count)
        # PID starts where its integral alone gives the initial value, so that nothing jumps at the start.
        self._integral = np.full(count, min(float(config.initial), config.integral_maximum))
        self._smooth_error = np.zeros(count)
        self._smooth_cost = np.zeros(count)  # in budgets
        self._updates = 0

    def update(self, cost_sum: np.ndarray, episodes: int, budgets: np.ndarray) -> np.ndarray:
        """Move the multipliers by the costs of the last episodes.

        Args:
            cost_sum: (K,) costs summed over the episodes; where the budget bounds another aggregate than the
                mean, that times the number of episodes.
            episodes: how many episodes.
            budgets: (K,) allowed cost an episode.

        Returns:
            The new multipliers, (K,).

        Raises:
            ValueError: no episode, a wrong shape, or a number that is not finite.
        """
        if episodes < 1:
            raise ValueError("multipliers need the costs of at least one finished episode")
        mean, allowed = np.asarray(cost_sum, np.float64) / episodes, np.asarray(budgets, np.float64)
        if mean.shape != self.values.shape or allowed.shape != self.values.shape:
            raise ValueError(f"costs and budgets must be ({len(self.constraints)},), one per constraint")
        if not (np.isfinite(mean).all() and np.isfinite(allowed).all()):
            raise ValueError("costs and budgets must be finite")
        scale = np.maximum(allowed, SMALLEST_BUDGET)
        self.errors = np.clip((mean - allowed) / scale, *ERROR_RANGE)
        if self.config.kind == "ascent":
            self.values = self._bounded(self.values + self.config.learning_rate * self.errors)
        elif self.config.kind == "pid":
            self.values = self._bounded(self._pid(np.clip(mean / scale, 0.0, 1.0 + ERROR_RANGE[1])))
        self._updates += 1
        return self.values

    def _pid(self, relative_cost: np.ndarray) -> np.ndarray:
        config, old = self.config, self.config.smoothing
        self._integral = np.clip(self._integral + config.integral * self.errors, 0.0, config.integral_maximum)
        self._smooth_error = old * self._smooth_error + (1.0 - old) * self.errors
        before = relative_cost if self._updates == 0 else self._smooth_cost
        self._smooth_cost = old * before + (1.0 - old) * relative_cost
        rise = np.maximum(self._smooth_cost - before, 0.0)
        total: np.ndarray = (
            config.proportional * self._smooth_error + self._integral + config.derivative * rise
        )
        return total

    def _bounded(self, values: np.ndarray) -> np.ndarray:
        bounded = np.asarray(np.clip(values, 0.0, self.config.maximum))
        total = self.config.total_maximum
        return bounded if total is None or bounded.sum() <= total else project_to_sum(bounded, total)

    def state_dict(self) -> dict[str, Any]:
        """Return plain data from which `load_state_dict` goes on exactly."""
        return {
            "constraints": list(self.constraints),
            "values": self.values.tolist(),
            "errors": self.errors.tolist(),
            "integral": self._integral.tolist(),
            "smooth_error": self._smooth_error.tolist(),
            "smooth_cost": self._smooth_cost.tolist(),
            "updates": self._updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned; other constraints are a ValueError."""
        if tuple(state["constraints"]) != self.constraints:
            raise ValueError(
                f"the checkpoint has multipliers for {', '.join(state['constraints'])}, "
                f"the specification has {', '.join(self.constraints)}"
            )
        self.values = np.array(state["values"], np.float64)
        self.errors = np.array(state["errors"], np.float64)
        self._integral = np.array(state["integral"], np.float64)
        self._smooth_error = np.array(state["smooth_error"], np.float64)
        self._smooth_cost = np.array(state["smooth_cost"], np.float64)
        self._updates = int(state["updates"])
