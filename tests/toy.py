"""A home of a few numbers and a policy of a few weights: the real interfaces, in microseconds.

Each step offers three actions: 0 earns 1 and costs 1, 1 earns 0.6 and costs nothing, 2 does nothing. An
episode ends after `3 + house_seed % 4` steps (terminated) or, when the scenario's task is "Fetch", at the
horizon (truncated). The policy may be given 20 actions, of which 19 ends the episode, well after 3 steps.
"""

from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from safevla.types import Event, Knobs, Observation, Scenario, Step

FEATURES = 4
END = 19


def scenario(number, task="ObjNav", seed=0):
    return Scenario(task, "S", "train", number, Knobs(), (0.0, 0.0, 0.0), "find a mug", "mug", seed)


class ToyEnv:
    def __init__(self, num_envs, horizon=6, constraints=("greedy", "never")):
        self.num_envs, self.horizon, self.constraints = num_envs, horizon, constraints
        self.horizons = np.full(num_envs, horizon)
        self.homes = [SimpleNamespace(pose=(0.0, 0.0, 0.0)) for _ in range(num_envs)]
        self.scenarios = [None] * num_envs
        self.steps = np.zeros(num_envs, np.int64)
        self.last_action = np.full(num_envs, 20)
        self.visible_pixels = np.zeros((num_envs, 2, 1), np.int32)
        self.pictures = np.zeros((num_envs, 1, 1, 3), np.uint8)
        self.total_reward = self.total_cost = 0.0

    def observe(self):
        return Observation(
            nav=self.pictures.copy(),
            manip=self.pictures.copy(),
            holding=np.zeros(self.num_envs, np.int64),
            last_action=self.last_action.copy(),
            step=self.steps.copy(),
            instruction=["find a mug"] * self.num_envs,
        )

    def reset(self, mask, scenarios):
        assert mask.sum() == len(scenarios)
        for home, chosen in zip(np.flatnonzero(mask), scenarios, strict=True):
            self.scenarios[home] = chosen
            self.steps[home] = 0
            self.last_action[home] = 20
            self.pictures[home] = chosen.house_seed % 251
            self.homes[home].pose = (0.0, 0.0, 0.0)
        return self.observe()

    def step(self, actions, active=None):
        active = np.ones(self.num_envs, bool) if active is None else active
        reward, success = np.zeros(self.num_envs, np.float32), np.zeros(self.num_envs, bool)
        terminated, truncated = success.copy(), success.copy()
        costs = np.zeros((self.num_envs, len(self.constraints)), np.float32)
        events = [[] for _ in range(self.num_envs)]
        for home in np.flatnonzero(active):
            played, action = self.scenarios[home], actions[home]
            reward[home] = (1.0, 0.6)[action] if action < 2 else 0.0
            if action == 0:
                costs[home, 0] = 1
                events[home].append(Event("greedy", int(self.steps[home]), 1.0, "1", ("coin",)))
            finished = action == END and self.steps[home] >= 3
            self.steps[home] += 1
            self.last_action[home] = action
            x, y, yaw = self.homes[home].pose
            self.homes[home].pose = (x + 0.1, y, yaw)
            ended = played.task != "Fetch" and self.steps[home] == 3 + played.house_seed % 4
            terminated[home], success[home] = ended or action == END, ended or finished
            truncated[home] = not terminated[home] and self.steps[home] == self.horizon
        self.total_reward += reward.sum()
        self.total_cost += costs.sum()
        return Step(self.observe(), reward, terminated, truncated, costs, success, events)


class ToyPolicy(nn.Module):
    """Features: one, step / 10, picture / 255, actions since reset (shows that the history was cleared)."""

    def __init__(self, constraints=("greedy", "never"), seed=0, actions=3):
        super().__init__()
        self.constraints = constraints
        self.actor = nn.Linear(FEATURES, actions)
        self.critic = nn.Linear(FEATURES, 1 + len(constraints))
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.01, generator=generator)
        self.since_reset = None

    def policy_parameters(self):
        return self.actor.parameters()

    def critic_parameters(self):
        return self.critic.parameters()

    def sharpen(self, factor):
        with torch.no_grad():
            for parameter in self.actor.parameters():
                parameter.mul_(factor)

    def embed_text(self, sentences):
        return torch.zeros(len(sentences), 2)

    def reset(self, mask):
        if self.since_reset is None or len(self.since_reset) != len(mask):
            self.since_reset = np.zeros(len(mask))
        self.since_reset[mask] = 0

    @torch.no_grad()
    def act(self, observation, uniforms=None):
        rows = len(observation.step)
        features = np.stack(
            [
                np.ones(rows),
                observation.step / 10,
                observation.nav[:, 0, 0, 0] / 255,
                self.since_reset / 10,
            ],
            axis=1,
        ).astype(np.float16)
        self.since_reset += 1
        inputs = torch.from_numpy(features).float()
        logits = self.actor(inputs)
        if uniforms is None:
            action = logits.argmax(-1).numpy()
        else:
            action = (np.asarray(uniforms)[:, None] > logits.softmax(-1).cumsum(-1).numpy()).sum(1)
            action = np.minimum(action, logits.shape[1] - 1)
        log_prob = logits.log_softmax(-1).gather(1, torch.from_numpy(action)[:, None])[:, 0].numpy()
        return SimpleNamespace(
            action=action, log_prob=log_prob, values=self.critic(inputs).numpy(), features=features
        )

    def action_logits(self, batch):
        return self.actor(batch.features.float())

    def state_values(self, batch):
        return self.critic(batch.features.float())

    def evaluate_sequences(self, batch):
        return self.action_logits(batch), self.state_values(batch)
