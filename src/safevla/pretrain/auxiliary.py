"""Losses beside imitation, by which an actor also learns what it has done and how far it is.

What they need beyond the actor is thrown away after learning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from safevla.policy.trunk import SequenceBatch
from safevla.pretrain.rounds import DISTANCE
from safevla.pretrain.settings import ImitationConfig
from safevla.rollout import pad
from safevla.types import ACTIONS, Episode


class AuxiliaryLosses(nn.Module):
    """Two heads on what the actor's trunk makes of episodes while its logits are computed.

    Inverse dynamics (Pathak et al. 2017, arXiv 1705.05363): which action was done between two steps, from
    what the trunk takes from their maps alone, since it is also told the last action. Target distance:
    log(1 + metres) to the nearest target, from what the decoder makes of the episode so far.

    Args:
        policy: whose actor is a `policy.trunk.Trunk`.
        config: weights of both beside the cross entropy of the actions, and the seed.

    Raises:
        ValueError: the policy has no such trunk.
    """

    def __init__(self, policy: Any, config: ImitationConfig) -> None:
        super().__init__()
        width = getattr(getattr(getattr(policy, "config", None), "actor", None), "width", None)
        if width is None:
            raise ValueError("inverse_dynamics and target_distance need a policy of the presets' kind")
        self.inverse_dynamics, self.target_distance = config.inverse_dynamics, config.target_distance
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.between = nn.Sequential(
                nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, len(ACTIONS))
            )
            self.far = nn.Linear(width, 1)
        self._heard: dict[str, Tensor] = {}

    @contextmanager
    def listening(self, policy: Any) -> Iterator[None]:
        """Within, note what the policy's trunk computes."""
        noted = {"maps": policy.actor.maps, "hidden": policy.actor}
        handles = [
            module.register_forward_hook(lambda _, __, output, name=name: self._heard.update({name: output}))
            for name, module in noted.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self._heard.clear()

    def forward(self, batch: SequenceBatch, episodes: Sequence[Episode]) -> dict[str, Tensor]:
        """Return the weighted losses, by their metrics' names, of the episodes whose logits came last."""
        losses = {}
        if self.inverse_dynamics > 0.0:
            rows, maps = batch.mask.nonzero(as_tuple=True)[0], self._heard["maps"]  # (M,), (M, width)
            followed = rows[1:] == rows[:-1]
            guesses = self.between(torch.cat([maps[:-1][followed], maps[1:][followed]], dim=1))
            done = batch.actions[batch.mask][:-1][followed]
            losses["loss/inverse_dynamics"] = self.inverse_dynamics * functional.cross_entropy(guesses, done)
        if self.target_distance > 0.0:
            told = torch.from_numpy(pad([episode.extras[DISTANCE] for episode in episodes]))
            metres = told.to(batch.mask.device)[batch.mask]
            guesses = self.far(self._heard["hidden"][batch.mask]).squeeze(1)
            error = functional.smooth_l1_loss(guesses, metres.log1p())
            losses["loss/target_distance"] = self.target_distance * error
        return losses
