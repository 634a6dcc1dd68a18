"""The learner of constrained PPO: its optimisers, multipliers and budgets, one update, and its checkpoint."""

from __future__ import annotations

import copy
import json
import math
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from safevla.constrain import ppo
from safevla.constrain.multiplier import Multipliers
from safevla.constrain.settings import TrainConfig
from safevla.policy.device import device_of
from safevla.policy.trunk import SequenceBatch
from safevla.rollout import evaluate_all, length_buckets, pad, save_atomically, sequence_batch, take
from safevla.safety.aggregation import aggregate, charge_excess
from safevla.types import Episode

Metrics = dict[str, float]


@dataclass
class _Targets:
    """What the minibatches of an iteration learn towards."""

    old_logits: Tensor  # (B, T, A) of the policy that played
    reference_logits: Tensor  # (B, T, A) of the imitation policy
    advantage: Tensor  # (B, T) mixed
    returns: Tensor  # (B, T, 1 + K)

    def take(self, rows: np.ndarray, steps: int) -> _Targets:
        index = torch.from_numpy(rows)
        whole = (self.old_logits, self.reference_logits, self.advantage, self.returns)
        return _Targets(*(value[:, :steps].index_select(0, index) for value in whole))

    def to(self, device: torch.device) -> _Targets:
        return _Targets(*(getattr(self, item.name).to(device) for item in fields(self)))


class Learner:
    """What changes while learning, and how it is saved."""

    def __init__(self, config: TrainConfig, policy: Any, constraints: tuple[str, ...], out_dir: Path) -> None:
        for what, named in (("a budget", config.budgets), ("an aggregation", config.aggregations)):
            unknown = sorted(set(named) - set(constraints))
            if unknown:
                raise ValueError(
                    f"there is {what} for '{unknown[0]}', which is no constraint; "
                    f"valid: {', '.join(constraints)}"
                )
        if tuple(policy.constraints) != tuple(constraints):
            raise ValueError("the policy's cost critics do not fit the constraints of the environment")
        out_dir.mkdir(parents=True, exist_ok=True)
        free = replace(config.multiplier, kind="fixed", initial=0.0)
        self.config, self.policy, self.constraints, self.out_dir = config, policy, constraints, out_dir
        self.aggregations = [config.aggregations.get(name, "mean") for name in constraints]
        self.multipliers = Multipliers(config.multiplier if config.method == "isa" else free, constraints)
        self.actor = torch.optim.Adam(
            list(policy.policy_parameters()), lr=config.policy_learning_rate, fused=True
        )
        self.critics = torch.optim.Adam(
            list(policy.critic_parameters()), lr=config.critic_learning_rate, fused=True
        )
        self.discounts = torch.tensor([config.gamma] + [config.cost_gamma] * len(constraints))
        self.device = device_of(policy)
        self.iteration = 0
        self.steps = 0
        self.start_cost = np.zeros(len(constraints))
        self.start_episodes = 0
        self.reference = self._load()
        self.policy.eval()

    @property
    def finished(self) -> bool:
        """Whether enough was learnt: all iterations, or the steps that were asked for."""
        enough = self.config.total_steps is not None and self.steps >= self.config.total_steps
        return enough or self.iteration >= self.config.iterations

    @property
    def warming_up(self) -> bool:
        """Whether only the critics learn in this iteration."""
        return self.iteration < self.config.critic_warmup

    @property
    def budgets(self) -> np.ndarray:
        """Allowed cost an episode, (K,): of its mean, or of what else is held against it."""
        measured = self.config.budget_fraction * self.start_cost / max(self.start_episodes, 1)
        relative = np.maximum(measured, self.config.budget_floor)
        pairs = zip(self.constraints, relative, strict=True)
        return np.array([self.config.budgets.get(name, own) for name, own in pairs])

    def adapt_multipliers(self, episodes: Sequence[Episode]) -> Metrics:
        """Move lambda by the costs of the finished episodes; until the actor learns, measure its start."""
        costs = np.stack([episode.costs.sum(axis=0, dtype=np.float64) for episode in episodes])
        cost_sum, metrics = costs.sum(axis=0), Metrics()
        for index, aggregation in enumerate(self.aggregations):
            if aggregation != "mean":
                held = aggregate(costs[:, index], aggregation)
                cost_sum[index] = held * len(episodes)
                metrics[f"rollout/{aggregation}/{self.constraints[index]}"] = held
        if self.warming_up or self.iteration == 0:
            self.start_cost = self.start_cost + cost_sum
            self.start_episodes += len(episodes)
        if not self.warming_up:
            self.multipliers.update(cost_sum, len(episodes), self.budgets)
        for index, name in enumerate(self.constraints):
            metrics[f"multiplier/{name}"] = float(self.multipliers.values[index])
            metrics[f"budget/{name}"] = float(self.budgets[index])
        return metrics

    def improve(self, episodes: Sequence[Episode]) -> Metrics:
        """Learn from the episodes: critics always, the actor after the warm-up."""
        config = self.config
        batch = sequence_batch(self.policy, episodes)
        old_logits, old_values = self._evaluate(batch)
        reference_logits = old_logits
        if config.kl_to_imitation > 0 and not self.warming_up:
            reference_logits = evaluate_all(self._anchored, batch, config.minibatch_sequences)
        signals = torch.from_numpy(self._signals(episodes))
        bootstrap = torch.from_numpy(np.stack([episode.extras["bootstrap"] for episode in episodes]))
        if not config.bootstrap_at_horizon:
            bootstrap = torch.zeros_like(bootstrap)
        advantages, returns = ppo.gae(
            signals, old_values, bootstrap, batch.mask, self.discounts, config.gae_lambda
        )
        standardised = ppo.standardise(advantages, batch.mask, config.advantage_floor, config.cost_unit)
        multipliers = torch.from_numpy(self.multipliers.values).float()
        targets = _Targets(
            old_logits, reference_logits, ppo.mix_advantages(standardised, multipliers), returns
        )
        metrics = self._epochs(batch, targets)
        variance = ppo.explained_variance(old_values, returns, batch.mask).tolist()
        for name, value in zip(("reward", *self.constraints), variance, strict=True):
            if not np.isnan(value):  # undefined where nothing varied
                metrics[f"explained_variance/{name}"] = value
        return metrics

    def _evaluate(self, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        """Return logits (B, T, A) and values (B, T, 1 + K) of the policy as it is."""

        def joined(part: SequenceBatch) -> Tensor:
            return torch.cat(self.policy.evaluate_sequences(part.to(self.device)), dim=-1).cpu()

        both = evaluate_all(joined, batch, self.config.minibatch_sequences)
        heads = len(self.discounts)
        return both[..., :-heads], both[..., -heads:]

    def _anchored(self, part: SequenceBatch) -> Tensor:
        """Return logits (B, T, A) of the policy that learning began with."""
        logits: Tensor = self.reference.action_logits(part.to(self.device))
        return logits.cpu()

    def _signals(self, episodes: Sequence[Episode]) -> np.ndarray:
        """Return (B, T, 1 + K) float32, the reward and what each constraint charges."""
        signals = pad([np.concatenate([item.rewards[:, None], item.costs], axis=1) for item in episodes])
        for index, (aggregation, budget) in enumerate(zip(self.aggregations, self.budgets, strict=True)):
            signals[..., 1 + index] = charge_excess(signals[..., 1 + index], aggregation, float(budget))
        return signals

    def _epochs(self, batch: SequenceBatch, targets: _Targets) -> Metrics:
        config = self.config
        generator = np.random.default_rng([config.seed, self.iteration, 1])
        lengths = batch.mask.sum(dim=1).numpy()
        groups = -(-len(lengths) // config.minibatch_sequences)
        steps_per_minibatch = float(lengths.sum()) / groups
        actor_learns = not self.warming_up
        sums: dict[str, list[float]] = {}
        for _ in range(config.warmup_epochs if self.warming_up else config.epochs):
            for rows in length_buckets(lengths, config.minibatch_sequences, generator):
                part = take(batch, rows).to(self.device)
                target = targets.take(rows, part.mask.shape[1]).to(self.device)
                if actor_learns:
                    logits, values = self.policy.evaluate_sequences(part)
                else:
                    logits, values = None, self.policy.state_values(part)
                heads = ppo.value_loss(values, target.returns, part.mask, steps_per_minibatch)
                losses = {"value": heads[0], "cost_value": heads[1:].sum()}
                self._step(self.critics, losses["value"] + losses["cost_value"])
                if logits is not None:
                    objective, actor_losses = self._actor_losses(logits, part, target, steps_per_minibatch)
                    losses |= actor_losses
                    # Past the trusted distance the actor rests until new episodes come; the critics go on.
                    actor_learns = float(losses["kl"]) <= 1.5 * config.target_kl
                    if actor_learns:
                        self._step(self.actor, objective)
                losses["actor_learns"] = torch.tensor(float(actor_learns))
                for name, value in losses.items():
                    number = float(value.detach())
                    if not math.isfinite(number):
                        raise ValueError(f"the {name} loss is not finite; lower the learning rates")
                    sums.setdefault(f"loss/{name}", []).append(number)
        return {name: float(np.mean(values)) for name, values in sums.items()}

    def _actor_losses(
        self, logits: Tensor, part: SequenceBatch, target: _Targets, count: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what the actor minimises, and its parts by name; "kl" is to the policy that played."""
        config, mask = self.config, part.mask
        log_prob = ppo.action_log_prob(logits, part.actions)
        old_log_prob = ppo.action_log_prob(target.old_logits, part.actions)
        surrogate = ppo.clipped_surrogate(log_prob, old_log_prob, target.advantage, mask, config.clip, count)
        entropy = ppo.masked_mean(ppo.categorical_entropy(logits), mask, count)
        anchor = ppo.masked_mean(ppo.categorical_kl(logits, target.reference_logits), mask, count)
        with torch.no_grad():
            kl = ppo.masked_mean(ppo.categorical_kl(target.old_logits, logits), mask)
        multipliers = torch.from_numpy(self.multipliers.values).float().to(self.device)
        penalty = ppo.regularisation(entropy, anchor, config.entropy, config.kl_to_imitation, multipliers)
        losses = {"policy": surrogate, "entropy": entropy, "kl_to_imitation": anchor, "kl": kl}
        return surrogate + penalty, losses

    def _step(self, optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(optimiser.param_groups[0]["params"], self.config.max_grad_norm)
        optimiser.step()

    def save(self, metrics: Metrics) -> None:
        """Append the metrics, then replace the checkpoint; a crash between the two repeats the iteration."""
        line = {"iteration": self.iteration - 1, "steps": self.steps} | metrics
        path = self.out_dir / "metrics.jsonl"
        kept = _metric_lines(path, self.iteration - 1)
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text("".join([*kept, json.dumps(line) + "\n"]))
        temporary.replace(path)
        state = {
            "method": self.config.method,
            "policy": self.policy.state_dict(),
            "actor": self.actor.state_dict(),
            "critics": self.critics.state_dict(),
            "multipliers": self.multipliers.state_dict(),
            "iteration": self.iteration,
            "steps": self.steps,
            "start_cost": self.start_cost.tolist(),
            "start_episodes": self.start_episodes,
        }
        save_atomically(state, self.out_dir / "checkpoint.pt")

    def _load(self) -> Any:
        """Take over the checkpoint where there is one; return the frozen policy that learning began with."""
        start, checkpoint = self.out_dir / "start.pt", self.out_dir / "checkpoint.pt"
        if not checkpoint.exists():
            save_atomically(self.policy.state_dict(), start)
        reference = copy.deepcopy(self.policy)
        try:
            reference.load_state_dict(torch.load(start, map_location="cpu", weights_only=True))
            if checkpoint.exists():
                state = torch.load(checkpoint, map_location="cpu", weights_only=True)
                if state["method"] != self.config.method:
                    raise ValueError(f"it was made by method '{state['method']}'")
                self.policy.load_state_dict(state["policy"])
                self.actor.load_state_dict(state["actor"])
                self.critics.load_state_dict(state["critics"])
                self.multipliers.load_state_dict(state["multipliers"])
                self.iteration, self.steps = state["iteration"], state["steps"]
                self.start_cost = np.array(state["start_cost"])
                self.start_episodes = state["start_episodes"]
        except (RuntimeError, KeyError, ValueError, EOFError, OSError, pickle.UnpicklingError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"cannot resume from {self.out_dir}: {reason}; choose another folder") from error
        return reference.requires_grad_(False).eval()


def _metric_lines(path: Path, iterations: int) -> list[str]:
    """Return the complete lines of the iterations before `iterations`."""
    if not path.exists():
        return []
    return path.read_text().splitlines(keepends=True)[:iterations]
