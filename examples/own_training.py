"""Train a policy of your own on demonstrations, in plain PyTorch, and have it judged.

    safevla export --parquet --task PickUp --episodes 200 --only_successful --out safevla-runs/demonstrations
    python examples/own_training.py safevla-runs/demonstrations
    safevla assure --policy cloned=examples/own_training.py:Cloned,random --task PickUp --episodes 20

It clones what the expert did from the latest pictures alone and does not read the instruction, so it learns
little; it shows the way from a folder of episodes to a verdict. The network is kept in cloned.pt.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import safevla
from safevla.policy.protocol import Decision
from safevla.types import ACTIONS, NO_ACTION, Observation

WEIGHTS = "cloned.pt"


class Network(nn.Module):
    """Both pictures, joints, what is held and the last action -> logits of the actions."""

    def __init__(self) -> None:
        super().__init__()
        self.see = nn.Sequential(
            nn.Conv2d(3, 16, 8, 4), nn.ReLU(), nn.Conv2d(16, 32, 4, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(4),
            nn.Flatten(), nn.Linear(512, 64), nn.ReLU(),
        )  # fmt: skip
        self.decide = nn.Linear(2 * 64 + 3 + 1 + NO_ACTION + 1, len(ACTIONS))

    def forward(
        self, nav: Tensor, manip: Tensor, joints: Tensor, holding: Tensor, last_action: Tensor
    ) -> Tensor:
        """Return (B, actions); pictures are (B, H, W, 3) uint8, the others (B, 3), (B,) and (B,)."""
        seen = [self.see(picture.permute(0, 3, 1, 2) / 255 - 0.5) for picture in (nav, manip)]
        before = nn.functional.one_hot(last_action, NO_ACTION + 1)
        return self.decide(torch.cat([*seen, joints, holding[:, None], before], dim=1))


def inputs(source: dict[str, np.ndarray]) -> list[Tensor]:
    """Return what the network reads, from the extras of an episode or the fields of an observation."""
    return [torch.from_numpy(source[name]) for name in ("nav", "manip", "joints", "holding", "last_action")]


def train(folder: str, epochs: int = 10) -> None:
    """Clone the actions of a data set, an episode a batch, and save the network."""
    data = safevla.load_demonstrations(folder)
    # With num_workers=2 two processes decode the pictures; they need `if __name__ == "__main__":`.
    loader = DataLoader(data, batch_size=None, shuffle=True, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    network = Network()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for epoch in range(epochs):
        losses, right, steps = 0.0, 0, 0
        for episode in loader:
            actions = torch.from_numpy(episode.actions)
            logits = network(*inputs(episode.extras))
            loss = nn.functional.cross_entropy(logits, actions)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses += float(loss.detach()) * len(actions)
            right += int((logits.argmax(dim=1) == actions).sum())
            steps += len(actions)
        print(f"epoch {epoch}: loss {losses / steps:.2f}, {right / steps:.0%} of {steps} actions right")
    torch.save(network.state_dict(), WEIGHTS)


class Cloned:
    """The policy that `assure` judges: the network, asked about N homes at once."""

    constraints = None

    def __init__(self) -> None:
        self.network = Network()
        self.network.load_state_dict(torch.load(WEIGHTS, weights_only=True))

    def reset(self, mask: np.ndarray) -> None:
        """Nothing is remembered."""

    def act(self, observation: Observation, uniforms: np.ndarray | None = None) -> Decision:
        """Take the most probable action."""
        with torch.no_grad():
            logits = self.network(*inputs(vars(observation)))
        count = len(logits)
        return Decision(
            logits.argmax(dim=1).numpy(), np.zeros(count, np.float32), np.zeros((count, 1), np.float32)
        )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/own_training.py FOLDER   (a data set of `safevla export --parquet`)")
    train(sys.argv[1])
