"""Policies of LeRobot in the homes: ACT, SmolVLA, pi0 and others that answer chunks of continuous actions.

    policy = load_lerobot_policy("owner/name")         # or a folder; `--policy lerobot:owner/name`

They speak of the columns that `safevla export --lerobot` writes: both cameras, `observation.state` and an
`action` of 7 numbers (`policy/continuous.py`), so a policy that LeRobot has trained on such a data set fits.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any
from zlib import crc32

import numpy as np
import torch

from safevla.policy.continuous import STATE_NAMES, VECTOR_NAMES, nearest_actions, state_vectors
from safevla.policy.protocol import Decision, IncompatiblePolicyError
from safevla.types import ACTION_ID, Observation

PREFIX = "lerobot:"
STATE = "observation.state"
CAMERAS = {"observation.images.nav": "nav", "observation.images.manip": "manip"}


def load_lerobot_policy(source: str) -> LeRobotPolicy:
    """Return a policy of LeRobot from a folder or, by "owner/name", from the hub.

    Raises:
        ValueError: lerobot is not installed, or there is no such policy, or it does not fit.
    """
    try:
        import lerobot.policies  # noqa: F401 - makes the types of policies known
        from lerobot.configs.policies import PreTrainedConfig
        from lerobot.policies.factory import get_policy_class, make_pre_post_processors
    except ImportError as error:
        raise ValueError(
            f"policies of LeRobot need lerobot ({error}): pip install 'safevla[lerobot]'"
        ) from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        config = PreTrainedConfig.from_pretrained(source)
        config.device = device
        policy = get_policy_class(config.type).from_pretrained(source, config=config)
        overrides = {"device_processor": {"device": device}}
        before, after = make_pre_post_processors(config, source, preprocessor_overrides=overrides)
    except Exception as error:  # lerobot, draccus and the hub's client have dozens of kinds
        text = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"cannot load the LeRobot policy {source}: {text[:300]}") from error
    return LeRobotPolicy(policy, before, after)


class LeRobotPolicy:
    """A `protocol.Policy` around a LeRobot policy; each home works off a chunk of actions of its own.

    Args:
        policy: with `config` and `predict_action_chunk(batch) -> (N, chunk, size)`.
        before: LeRobot's processor of a batch of observations.
        after: LeRobot's processor of actions.
        cameras: name of an input -> "nav" or "manip".
        decode: turns vectors (N, size) into ids of actions (N,); one of your own may read any vector.

    Attributes:
        resolution: (H, W) that the policy was made for.

    Raises:
        IncompatiblePolicyError: it wants other inputs, a history of them, or answers other actions.
    """

    constraints: tuple[str, ...] | None = None

    def __init__(
        self,
        policy: Any,
        before: Callable[[dict[str, Any]], dict[str, Any]],
        after: Callable[[torch.Tensor], torch.Tensor],
        cameras: Mapping[str, str] = CAMERAS,
        decode: Callable[[np.ndarray], np.ndarray] = nearest_actions,
    ) -> None:
        self._policy, self._before, self._after, self._decode = policy, before, after, decode
        config = policy.config
        shapes = {name: tuple(feature.shape) for name, feature in config.input_features.items()}
        self._cameras = {name: cameras[name] for name in shapes if name in cameras}
        self.resolution = _check_inputs(config, shapes, self._cameras)
        size = tuple(config.output_features["action"].shape)
        if decode is nearest_actions and size != (len(VECTOR_NAMES),):
            raise IncompatiblePolicyError(
                "actions",
                f"the policy answers vectors of {size}, the homes need {len(VECTOR_NAMES)} numbers: "
                f"{', '.join(VECTOR_NAMES)}; train it on `safevla export --lerobot`",
            )
        parameters = inspect.signature(policy.predict_action_chunk).parameters
        self._draws = hasattr(config, "max_action_dim") and {"noise", "kwargs"} & set(parameters)
        self._plans: list[deque[int]] = []

    def reset(self, mask: np.ndarray) -> None:
        """Forget the plans of the homes where mask (N,) is True."""
        if len(mask) != len(self._plans):
            self._plans = [deque() for _ in mask]
        for home in np.flatnonzero(mask):
            self._plans[home].clear()

    def act(self, observation: Observation, uniforms: np.ndarray | None = None) -> Decision:
        """Decide for N homes; those whose chunk is used up get a new one."""
        count = len(observation.step)
        active = range(count) if observation.active is None else np.flatnonzero(observation.active).tolist()
        empty = [home for home in active if not self._plans[home]]
        if empty:
            self._plan(observation, empty, uniforms)
        action = np.full(count, ACTION_ID["sub_task_done"], np.int64)
        for home in active:
            action[home] = self._plans[home].popleft()
        return Decision(action, np.zeros(count, np.float32), np.zeros((count, 1), np.float32))

    @torch.no_grad()
    def _plan(self, observation: Observation, homes: list[int], uniforms: np.ndarray | None) -> None:
        batch: dict[str, Any] = {"task": [observation.instruction[home] for home in homes]}
        for name, camera in self._cameras.items():
            pictures = torch.from_numpy(getattr(observation, camera)[homes])
            batch[name] = pictures.permute(0, 3, 1, 2).float() / 255
        if STATE in self._policy.config.input_features:
            batch[STATE] = torch.from_numpy(state_vectors(observation)[homes])
        noise = {"noise": self._noise(observation, homes, uniforms)} if self._draws else {}
        chunk = self._policy.predict_action_chunk(self._before(batch), **noise)
        chunk = chunk[:, : self._policy.config.n_action_steps]
        vectors = self._after(chunk.flatten(0, 1)).float().cpu().numpy()
        for home, plan in zip(homes, self._decode(vectors).reshape(len(homes), -1), strict=True):
            self._plans[home].extend(plan.tolist())

    def _noise(self, observation: Observation, homes: list[int], uniforms: np.ndarray | None) -> torch.Tensor:
        """Return what a flow starts from: drawn from what a home sees and its number, for replays."""
        config, rows = self._policy.config, []
        for home in homes:
            seen = crc32(observation.nav[home].tobytes(), int(observation.step[home]))
            drawn = 0 if uniforms is None else 1 + int(uniforms[home] * 2**53)
            shape = (config.chunk_size, config.max_action_dim)
            rows.append(np.random.default_rng([seen, drawn]).standard_normal(shape, np.float32))
        return torch.from_numpy(np.stack(rows)).to(config.device)


def _check_inputs(
    config: Any, shapes: Mapping[str, tuple[int, ...]], cameras: Mapping[str, str]
) -> tuple[int, int] | None:
    """Return (H, W) of the pictures, None if they differ; other inputs are an IncompatiblePolicyError."""
    if getattr(config, "n_obs_steps", 1) > 1:
        raise IncompatiblePolicyError(
            "inputs", f"the policy looks at {config.n_obs_steps} observations at once; one is supported"
        )
    # SmolVLA fills up cameras that do not exist by itself.
    unknown = [n for n in shapes if n not in cameras and n != STATE and "empty_camera" not in n]
    if unknown or shapes.get(STATE, (len(STATE_NAMES),)) != (len(STATE_NAMES),):
        wanted = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise IncompatiblePolicyError(
            "inputs",
            f"the policy wants {wanted}; the homes give {', '.join(CAMERAS)} and {STATE} "
            f"({', '.join(STATE_NAMES)}); train it on `safevla export --lerobot`",
        )
    sizes = {(shapes[name][1], shapes[name][2]) for name in cameras}
    return sizes.pop() if len(sizes) == 1 else None
