"""Settings of pretraining and imitation. No heavy imports: the command line reads them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from safevla.config import check_positive, check_range, nearest
from safevla.types import ACTIONS


@dataclass(frozen=True)
class ImitationConfig:
    """Expert demonstrations, then rounds in which the student acts and the expert corrects it (DAgger).

    Attributes:
        rounds: rounds in all; round 0 is driven by the expert, the others by the student. 0: nothing is
            learned, the policy is `--start`'s with another encoder.
        demonstrations: episodes of round 0.
        corrections: episodes of each later round.
        noise: round 0: chance at each step that a burst of random motions begins.
        expert_share: later rounds: chance at each step that a burst of the expert's own driving begins; it is
            raised to the power of the round, so it fades.
        burst: steps that a burst lasts at most.
        patience: steps at which the expert would end before the episode is ended for the student.
        rescue_after: later rounds: steps against the expert's answer, since it last drove, after which it
            takes over, so that a student that circles does not fill the data; 0: never.
        rescue_steps: steps that it then drives.
        greedy_rounds: every other later round the student takes its most likely action, as it is judged.
        epochs: passes after each later round.
        first_epochs: passes after round 0.
        final_epochs: passes after the last round, over every round whatever `replay` says, so that nothing
            early is forgotten; 0: the last round is like any other.
        replay: episodes of earlier rounds, drawn anew for each pass, for each episode of the last round;
            0: all of them.
        minibatch_sequences: whole episodes in a minibatch.
        learning_rate: of fused AdamW; falls to a tenth along a half cosine within each round.
        weight_decay: of AdamW.
        dropout: share of a token, and of what each layer of the decoder adds to it, that is left out while
            learning. The expert knows the map: without dropout its ways through a home are learned by heart.
        max_grad_norm: clip of the gradient.
        inverse_dynamics: weight, beside the cross entropy of the actions, of telling which action was done
            from the maps before and after it.
        target_distance: weight of telling how far the nearest target is. Both losses are of learning alone.
        weights: weight of an action in the cross entropy where it is not 1. A rare action that does no harm
            when it comes too often may have more; `end` may not: a sampling policy would end too early.
        validation_episodes: scenarios judged greedily and sampled; 0 for none.
        validation_every: rounds between judging; the last round is always judged.
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
    rescue_after: int = 12
    rescue_steps: int = 20
    greedy_rounds: bool = True
    epochs: int = 4
    first_epochs: int = 12
    final_epochs: int = 0
    replay: float = 0.0
    minibatch_sequences: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    dropout: float = 0.0
    max_grad_norm: float = 1.0
    inverse_dynamics: float = 0.0
    target_distance: float = 0.0
    weights: dict[str, float] = field(default_factory=lambda: {"pick_up": 3.0})
    validation_episodes: int = 48
    validation_every: int = 1
    time_budget: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in (
            "demonstrations",
            "corrections",
            "burst",
            "patience",
            "rescue_steps",
            "epochs",
            "first_epochs",
            "validation_every",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 1 or more")
        check_range(self, 0.0, 1.0, "noise", "expert_share", "dropout")
        check_range(self, 0.0, math.inf, "rounds", "final_epochs", "rescue_after", "replay", "weight_decay")
        check_range(self, 0.0, math.inf, "inverse_dynamics", "target_distance")
        check_positive(self, "learning_rate", "max_grad_norm")
        for name, weight in self.weights.items():
            if name not in ACTIONS:
                raise ValueError(f"a weight is given for '{name}', no action{nearest(name, ACTIONS)}")
            if not (math.isfinite(weight) and weight >= 0.0):
                raise ValueError(f"the weight of {name} is {weight}, expected 0 or more")


@dataclass(frozen=True)
class PerceptionConfig:
    """How the image encoder is pretrained on rendered pictures.

    Attributes:
        preset: of the policy that the encoder is for; it tells the sizes of net and pictures.
        minutes: budget of wall-clock time, over all resumed parts together; ignored when pictures > 0.
        pictures: budget in pictures; makes a run with one worker reproducible. 0 uses `minutes`.
        workers: processes, each with one thread.
        batch: pictures per worker and step, even; many small steps learn most per picture.
        learning_rate: at its peak; it falls to 1 % along a cosine.
        homes: settled homes that each worker keeps.
        size_class: of the homes: "S", "M", "L", or "all" in the shares of the benchmark.
        focus: share of the places from which a small thing is looked at that a robot may be sent for, from
            up to 2 m away.
        held: share of the places at which something small is in the gripper; as often as `focus` says it is
            what a robot may be sent for.
        repaint: share of the pictures that show their home in drawn colours and materials, so that things are
            known by their form and not by the few colours that training homes have.
        start: folder of an earlier pretraining, or a policy, whose weights this one begins with; blocks that
            it had not change nothing at first. "" begins with random weights.
        precision: "fp32", "bf16", or "auto" (bf16 where the processor has instructions for it).
        save_minutes: time between checkpoints, each with a quick look at validation pictures.
        validation_pictures: pictures of validation homes for the final table; a quarter for the quick looks.
        seed: of everything random.
    """

    preset: str = "tiny"
    minutes: float = 30.0
    pictures: int = 0
    workers: int = 2
    batch: int = 16
    learning_rate: float = 2e-3
    homes: int = 64
    size_class: str = "S"
    focus: float = 0.0
    held: float = 0.1
    repaint: float = 0.0
    start: str = ""
    precision: str = "auto"
    save_minutes: float = 3.0
    validation_pictures: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.precision not in ("auto", "fp32", "bf16"):
            raise ValueError(f"precision {self.precision!r} is unknown, choose auto, fp32 or bf16")
        if self.size_class not in ("S", "M", "L", "all"):
            raise ValueError(f"size_class {self.size_class!r} is unknown, choose S, M, L or all")
        check_range(self, 0.0, 1.0, "focus", "held", "repaint")
        check_positive(self, "learning_rate")
        if self.batch < 2 or self.batch % 2 or self.workers < 1:
            raise ValueError("batch must be an even number of pictures and workers at least 1")
        if self.pictures <= 0 and self.minutes <= 0:
            raise ValueError("give a budget: minutes or pictures above 0")
