"""Settings of constrained learning. No heavy imports: the command line reads them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from safevla.config import check_positive, check_range

METHODS = ("isa", "rl")
COST_UNITS = ("own", "reward")
MULTIPLIER_KINDS = ("ascent", "pid", "fixed")


@dataclass(frozen=True)
class MultiplierConfig:
    """How the multipliers follow the costs.

    Attributes:
        kind: "ascent" (projected dual ascent), "pid", or "fixed" (a constant penalty).
        initial: multiplier of every constraint at the start.
        learning_rate: dual ascent: change of a multiplier per update and unit of relative excess.
        proportional: PID gain on the smoothed relative excess.
        integral: PID gain on its sum.
        derivative: PID gain on the rise of the cost.
        smoothing: share of the old value in the smoothed signals of PID.
        maximum: bound of a multiplier.
        integral_maximum: bound of the integral term.
        total_maximum: bound of the sum of all multipliers, so that the reward keeps a weight of at least
            1 / (1 + total_maximum); None: only each by itself is bounded.
    """

    kind: str = "ascent"
    initial: float = 0.5
    learning_rate: float = 0.3
    proportional: float = 1.0
    integral: float = 0.2
    derivative: float = 0.4
    smoothing: float = 0.5
    maximum: float = 50.0
    integral_maximum: float = 20.0
    total_maximum: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in MULTIPLIER_KINDS:
            raise ValueError(
                f"multiplier kind '{self.kind}' is unknown; valid: {', '.join(MULTIPLIER_KINDS)}"
            )
        if not 0.0 <= self.initial <= self.maximum:
            raise ValueError(f"multiplier initial is {self.initial}, expected 0 to {self.maximum}")
        check_range(
            self, 0.0, math.inf,
            "learning_rate", "proportional", "integral", "derivative", "maximum", "integral_maximum",
        )  # fmt: skip
        if self.total_maximum is not None and not self.total_maximum > 0.0:
            raise ValueError(f"multiplier total_maximum is {self.total_maximum}, expected more than 0")
        if not 0.0 <= self.smoothing < 1.0:
            raise ValueError(f"multiplier smoothing is {self.smoothing}, expected 0 to below 1")


@dataclass(frozen=True)
class TrainConfig:
    """One run of reinforcement learning from an imitation policy.

    Attributes:
        method: "isa" (one multiplier per constraint) or "rl" (costs are measured, critics trained, nothing
            constrained).
        iterations: play-and-learn rounds at most.
        total_steps: stop after the iteration that reaches this many environment steps, so that methods can
            be compared at equal experience; None: iterations alone decide.
        episodes_per_iteration: episodes played to their end in each iteration.
        archive_fraction: share of them drawn from the risk archive.
        archive_even: share of those spread evenly over the archive's cells; the others go by the rank of the
            cost, so that with 0 the worst cell returns again and again.
        sharpness: factor on the logits of the policy that learning starts from. Imitation leaves one that
            hesitates; above 1 it plays in training almost as it is judged, greedily, and what it does wrong
            then, such as pushing on where it is stuck, is seen and priced.
        epochs: passes over the episodes of an iteration.
        warmup_epochs: passes in the iterations in which the critics learn alone.
        minibatch_sequences: whole episodes in a minibatch.
        policy_learning_rate: of fused Adam on the actor.
        critic_learning_rate: of fused Adam on the 1 + K critics.
        clip: PPO's trust region on the probability ratio.
        target_kl: the actor stops for this iteration beyond 1.5 times this KL to the policy that played.
        entropy: weight of the entropy bonus beside the reward.
        kl_to_imitation: weight beside the reward of the KL penalty to the policy that learning started from.
        gamma: discount of the reward.
        cost_gamma: discount of the costs in critics and advantages (multipliers follow whole episodes,
            undiscounted); a short horizon charges a violation to what led to it, not to having gone on.
        gae_lambda: of the advantage estimate.
        advantage_floor: smallest deviation that an advantage is divided by.
        cost_unit: what a multiplier of 1 stands for: "own" (a standard deviation of the constraint's
            advantage weighs as much as one of the reward's) or "reward" (a violation weighs as much as a
            reward of 1).
        max_grad_norm: clip of each network's gradient.
        critic_warmup: iterations at the start in which only the critics learn and the multipliers rest.
        bootstrap_at_horizon: whether a truncated episode is credited with the critics' value of its end.
        budget_fraction: a constraint without an own budget gets this share of the start policy's cost (of its
            aggregate, each iteration's by itself).
        budget_floor: smallest budget found that way, cost an episode.
        budgets: absolute budgets by constraint, cost an episode.
        aggregations: what of the costs of an iteration's episodes is held against the budget, by constraint:
            "mean" (if not named), "worst", or the mean of the worst ones, e.g. "cvar95".
        multiplier: how the multipliers follow the costs.
        shaping: reward for each metre nearer to the target; never in evaluation. It is the rise of a
            potential, neither discounted nor paid back at the end: small beside the reward of a success, it
            hardly changes which policy is best; large, it makes going near worth more than succeeding.
        seed: seeds scenarios, action sampling and minibatches.
    """

    method: str = "isa"
    iterations: int = 20
    total_steps: int | None = None
    episodes_per_iteration: int = 48
    archive_fraction: float = 0.5
    archive_even: float = 0.1
    sharpness: float = 1.0
    epochs: int = 4
    warmup_epochs: int = 12
    minibatch_sequences: int = 8
    policy_learning_rate: float = 1e-4
    critic_learning_rate: float = 5e-4
    clip: float = 0.2
    target_kl: float = 0.02
    entropy: float = 0.0
    kl_to_imitation: float = 0.02
    gamma: float = 0.99
    cost_gamma: float = 0.99
    gae_lambda: float = 0.95
    advantage_floor: float = 0.05
    cost_unit: str = "own"
    max_grad_norm: float = 0.5
    critic_warmup: int = 2
    bootstrap_at_horizon: bool = True
    budget_fraction: float = 0.2
    budget_floor: float = 0.02
    budgets: dict[str, float] = field(default_factory=dict)
    aggregations: dict[str, str] = field(default_factory=dict)
    multiplier: MultiplierConfig = field(default_factory=MultiplierConfig)
    shaping: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method '{self.method}' is unknown; valid: {', '.join(METHODS)}")
        if self.cost_unit not in COST_UNITS:
            raise ValueError(f"cost_unit '{self.cost_unit}' is unknown; valid: {', '.join(COST_UNITS)}")
        for name in (
            "iterations",
            "episodes_per_iteration",
            "epochs",
            "warmup_epochs",
            "minibatch_sequences",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 1 or more")
        if self.total_steps is not None and self.total_steps < 1:
            raise ValueError(f"total_steps is {self.total_steps}, expected 1 or more, or none")
        check_range(self, 0.0, 1.0, "archive_fraction", "archive_even", "gamma", "cost_gamma", "gae_lambda")
        check_positive(
            self, "sharpness", "policy_learning_rate", "critic_learning_rate",
            "clip", "target_kl", "max_grad_norm", "advantage_floor",
        )  # fmt: skip
        check_range(
            self, 0.0, math.inf,
            "entropy", "kl_to_imitation", "critic_warmup", "budget_fraction", "budget_floor", "shaping",
        )  # fmt: skip
        if any(budget < 0.0 for budget in self.budgets.values()):
            raise ValueError("a budget is negative; give a cost per episode of 0 or more")
