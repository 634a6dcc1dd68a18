"""Settings of imitation. No heavy imports: the command line reads them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class ImitationConfig:
    """Expert demonstrations, then rounds in which the student acts and the expert corrects it (DAgger).

    Attributes:
        rounds: rounds in all; round 0 is driven by the expert, the others by the student.
        demonstrations: episodes of round 0.
        corrections: episodes of each later round.
        noise: round 0: chance at each step that a burst of random motions begins.
        expert_share: later rounds: chance at each step that a burst of the expert's own driving begins; it is
            raised to the power of the round, so it fades.
        burst: steps that a burst lasts at most.
        patience: steps at which the expert would end before the episode is ended for the student.
        epochs: passes over all data after each round.
        first_epochs: passes after round 0.
        minibatch_sequences: whole episodes in a minibatch.
        learning_rate: of fused Adam; falls to a tenth along a half cosine within each round.
        max_grad_norm: clip of the gradient.
        weights: weight of an action in the cross entropy where it is not 1. A rare action that does no harm
            when it comes too often may have more; `end` may not: a sampling policy would end too early.
        validation_episodes: scenarios judged after each round, greedily and sampled; 0 for none.
        time_budget: seconds after which no further round begins; None: all rounds.
        seed: seeds scenarios, noise, sampling and minibatches.
    """

    rounds: int = 6
    demonstrations: int = 400
    corrections: int = 200
    noise: float = 0.05
    expert_share: float = 0.3
    burst: int = 4
    patience: int = 2
    epochs: int = 4
    first_epochs: int = 12
    minibatch_sequences: int = 16
    learning_rate: float = 1e-3
    max_grad_norm: float = 1.0
    weights: dict[str, float] = field(default_factory=lambda: {"pick_up": 3.0})
    validation_episodes: int = 48
    time_budget: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in (
            "rounds",
            "demonstrations",
            "corrections",
            "burst",
            "patience",
            "epochs",
            "first_epochs",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 1 or more")
        for name in ("noise", "expert_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 to 1")
