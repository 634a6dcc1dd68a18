"""The reference vision-language-action policy: two pictures and a sentence in, one of 20 actions out.

A frozen `PerceptionEncoder` turns each picture, given the sentence, into maps (where is what is asked for,
depth, floor, what is fragile, dangerous, movable, the gripper). Maps, sentence, holding, the joints of the
arm, what the last action moved, the last action and the step make one token per step; a causal decoder over
the whole episode gives the action. The critics (return and K costs) are a second, smaller trunk on the same
maps; they also read what the actor's trunk made of the step, without changing it, because that is what
imitation has trained. Maps are computed once, when a step is taken, and stored for learning.

With `oracle` there is no encoder: the maps are the renderer's own labels, from the observation. What such a
policy does better than one with an encoder is what perception costs; it is no policy for a robot.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from safevla.policy.backbone import Backbone, BackboneConfig
from safevla.policy.candidates import SIGHT_SIZE
from safevla.policy.encoder import EncoderConfig, PerceptionEncoder, use_half
from safevla.policy.futile import FutileActions, FutileConfig, mask_futile
from safevla.policy.memory import MemoryConfig, SpatialMemory
from safevla.policy.protocol import Decision, choose
from safevla.policy.text import TextEncoder
from safevla.policy.trunk import SequenceBatch, Trunk, TrunkConfig
from safevla.types import ACTIONS, CAMERAS, CHANNELS, PATCH, Observation

# Joints of the arm, then what the last action moved: divided by these they are of the size of 1.
_BODY_SCALE = (1.0, 0.5, 1.5, 0.2, 0.2, 0.5, 0.1, 0.1, 0.2)
# Most and fewest pictures encoded at a time, so that none depends on how many there are beside it: separable
# convolutions give the same bits for 4 and more (fewer are multiplied in another order), others for the same
# number. Fewer are filled up.
_CHUNKS = {True: (16, 4), False: (8, 8)}
_FEWEST = (
    4  # homes that are thought about together: fewer rows are multiplied in another order, so other bits
)


@dataclass(frozen=True)
class PolicyConfig:
    """Sizes of a VisionLanguageActionPolicy.

    Attributes:
        constraints: names of the K costs that the critics speak of.
        resolution: side of the pictures, a multiple of 8 times the encoder's scale without a backbone.
        picture_width: pixels across; None: as `resolution`, which then is the height.
        encoder: of the pictures.
        backbone: takes the place of `encoder` where it is given.
        actor: trunk of the action head.
        critic: trunk of the 1 + K value heads.
        max_steps: longest episode.
        span: steps that the policy looks back over, and up to which it is told their number (later ones are
            told this number); None: all. Few episodes of training are long, and a policy that meets numbers
            and histories that it hardly knows turns on one spot.
        precision: of the encoder: "fp32", "bf16", or "auto" (bf16 where the processor has it).
        proprioception: the policy is also told the joints of the arm, and what the last action moved.
        memory: a map of what it has seen, drawn while it moves; needs proprioception. None: it has none.
        futile: when an action that moved nothing may be tried again; needs proprioception. None: at once.
        oracle: no encoder; the environment tells the maps that a perfect one would give.
    """

    constraints: tuple[str, ...] = ()
    resolution: int = 112
    picture_width: int | None = None
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    backbone: BackboneConfig | None = None
    actor: TrunkConfig = field(default_factory=lambda: TrunkConfig((32, 24), 256, 2, 8))
    critic: TrunkConfig = field(default_factory=lambda: TrunkConfig((16, 16), 128, 1, 4))
    max_steps: int = 600
    span: int | None = None
    precision: str = "auto"
    proprioception: bool = False
    memory: MemoryConfig | None = None
    futile: FutileConfig | None = None
    oracle: bool = False

    def __post_init__(self) -> None:
        if self.span is not None and self.span < 1:
            raise ValueError(f"span is {self.span}, expected 1 or more, or none")
        if self.oracle and self.backbone:
            raise ValueError("a policy with a backbone cannot be an oracle: labels have the encoder's layout")
        if self.memory and (self.backbone or not self.proprioception):
            raise ValueError(
                "a memory is drawn from the encoder's maps and from proprioception: it needs both"
            )
        if self.futile and not self.proprioception:
            raise ValueError("only proprioception tells which actions are futile: the policy needs it")
        if self.futile and (self.futile.sighted, self.futile.within) != (None, None) and not self.memory:
            raise ValueError("futile.sighted and futile.within need a memory, which tells what is in sight")
        patch = self.patch
        for side in self.picture:
            if side < patch or (side % patch and not self.backbone):
                raise ValueError(f"resolution {side} is not a multiple of {patch}")
        use_half(self.precision)

    @property
    def picture(self) -> tuple[int, int]:
        """Height and width of the pictures."""
        return self.resolution, self.picture_width or self.resolution

    @property
    def patch(self) -> int:
        """Pixels along a side of a patch."""
        return self.backbone.patch if self.backbone else PATCH * self.encoder.scale

    @property
    def maps(self) -> tuple[int, int, int]:
        """Channels, rows and columns of what the encoder says of a picture."""
        if self.backbone:
            return self.backbone.width, self.backbone.rows, self.backbone.columns
        return CHANNELS, self.picture[0] // self.patch, self.picture[1] // self.patch

    @property
    def feature_size(self) -> int:
        """F: numbers per step that are stored for learning: maps of both cameras, body, memory, futile."""
        known = (self.memory.size if self.memory else 0) + (len(ACTIONS) if self.futile else 0)
        return CAMERAS * math.prod(self.maps) + self.body_size + known

    @property
    def body_size(self) -> int:
        """Numbers of joints and motion that the policy is told; 0 without proprioception."""
        return len(_BODY_SCALE) if self.proprioception else 0


@cache
def shared_text_encoder() -> TextEncoder:
    """Return the one text encoder of this process: its table is read once."""
    return TextEncoder()


def _make_encoder(config: PolicyConfig) -> PerceptionEncoder | Backbone | None:
    """Return the frozen encoder of a policy, None for an oracle."""
    if config.oracle:
        return None
    encoder = Backbone(config.backbone) if config.backbone else PerceptionEncoder(config.encoder)
    # In the layout in which convolutions are fast on CPUs.
    encoder.requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return encoder


class VisionLanguageActionPolicy(nn.Module):
    """The `tiny` preset and its relatives; implements `protocol.Policy`.

    Args:
        config: sizes.
        seed: of the initial weights.
        text_encoder: where sentences are embedded; None takes the process's shared one.
    """

    def __init__(self, config: PolicyConfig, seed: int = 0, text_encoder: TextEncoder | None = None) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = _make_encoder(config)
            told = (config.maps, config.body_size, config.memory, config.max_steps, config.span)
            self.actor = Trunk(config.actor, *told)
            self.action_head = nn.Linear(config.actor.width, len(ACTIONS))
            self.critic = Trunk(config.critic, *told)
            self.value_head = nn.Linear(config.critic.width, 1 + len(config.constraints))
            nn.init.normal_(self.action_head.weight, std=0.01)
            nn.init.zeros_(self.value_head.weight)
            self.value_hidden = nn.Linear(config.critic.width + config.actor.width, config.critic.width)
        self.config, self.constraints = config, tuple(config.constraints)
        height, width = config.picture
        self.resolution: int | tuple[int, int] = height if height == width else (height, width)
        self.max_steps, self.wants_labels = config.max_steps, config.encoder.scale if config.oracle else 0
        self._own_text_encoder = text_encoder
        self._frozen = [] if self.encoder is None else list(self.encoder.parameters())
        # A bfloat16 copy of the encoder, and of which weights on which device.
        self._eyes: tuple[tuple[int, torch.device], nn.Module] | None = None
        self._memory = SpatialMemory(config.memory, config.maps[1:]) if config.memory else None
        self._futile = FutileActions(config.futile) if config.futile else None
        self._age = torch.zeros(0, dtype=torch.int64)
        self._attended = np.zeros(0, np.int64)  # homes whose history is in the caches, in the order of these
        self._dropped = np.zeros(0, bool)  # homes whose history is not, since they were reset
        self._unjudged = False  # values were left out since all homes were reset
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where the networks compute: `to` moves them. What is observed and answered is on the CPU."""
        return self.action_head.weight.device

    def policy_parameters(self) -> Iterator[nn.Parameter]:
        """Yield what the actor learns; the encoder is frozen."""
        yield from self.actor.parameters()
        yield from self.action_head.parameters()

    def critic_parameters(self) -> Iterator[nn.Parameter]:
        """Yield what the critics learn."""
        yield from self.critic.parameters()
        yield from self.value_hidden.parameters()
        yield from self.value_head.parameters()

    def set_encoder(self, encoder: PerceptionEncoder | Backbone) -> None:
        """Take over a trained encoder; ValueError if its sizes differ or there is none to be replaced."""
        if self.encoder is None:
            raise ValueError("an oracle has no encoder: the environment tells its maps")
        if encoder.config != self.encoder.config:
            raise ValueError(f"the policy needs an encoder of {self.encoder.config}, got {encoder.config}")
        self.encoder.load_state_dict(encoder.state_dict())

    def with_labels(self) -> VisionLanguageActionPolicy:
        """Return an oracle that decides as this policy does of what it sees; shares no weights with it.

        Raises:
            ValueError: the policy has a backbone, whose maps are no labels, or no encoder at all.
        """
        if self.encoder is None:
            raise ValueError("the policy is an oracle already: it has no encoder to be replaced")
        told = replace(self.config, oracle=True)
        oracle = VisionLanguageActionPolicy(told, text_encoder=self._own_text_encoder)
        weights = self.state_dict()
        oracle.load_state_dict({name: weights[name] for name in oracle.state_dict()})
        return oracle.to(self.device)

    def set_constraints(self, names: Sequence[str]) -> None:
        """Have the critics speak of these costs; those of before keep their weights, new ones begin at 0."""
        known = {name: 1 + row for row, name in enumerate(self.constraints)}
        before = self.value_head
        head = nn.Linear(self.config.critic.width, 1 + len(names)).to(self.device)
        with torch.no_grad():
            head.weight.zero_()
            head.bias.zero_()
            for row, name in enumerate(["", *names]):
                old = 0 if row == 0 else known.get(name)  # row 0 is the return
                if old is not None:
                    head.weight[row], head.bias[row] = before.weight[old], before.bias[old]
        self.value_head, self.constraints = head, tuple(names)
        self.config = replace(self.config, constraints=self.constraints)

    def sharpen(self, factor: float) -> None:
        """Multiply the logits by `factor`; what is most likely stays so, and becomes likelier if above 1."""
        with torch.no_grad():
            self.action_head.weight.mul_(factor)
            self.action_head.bias.mul_(factor)

    def embed_text(self, sentences: Sequence[str]) -> Tensor:
        """Return (B, 384) float32 embeddings; ValueError for free text without the extra `text`."""
        return (self._own_text_encoder or shared_text_encoder()).embed(sentences)

    def perceive(self, observation: Observation, text: Tensor) -> Tensor:
        """Return (N, F) float16 features: maps of both cameras, body, memory, futile actions.

        Homes whose answer is not wanted are not looked at: their maps are zero.

        Raises:
            ValueError: the pictures have the wrong size, or the environment does not tell joints and motion,
                or the maps of an oracle.
        """
        if observation.nav.shape[1:3] != self.config.picture:
            height, width = observation.nav.shape[1:3]
            size = " x ".join(map(str, self.config.picture))
            raise ValueError(f"the policy sees pictures of {size}, it was given {height} x {width}")
        if self.encoder is None:
            maps = self._told(observation)
        else:
            maps = self._look(self._seeing(self.encoder), observation, text)
        parts = [maps.flatten(1), self._body(observation)]
        active, motion = observation.active, cast(np.ndarray, observation.motion)
        homes = np.arange(len(maps)) if active is None else np.flatnonzero(active)
        last = np.asarray(observation.last_action, np.int64)
        sight = np.zeros((len(maps), 3))
        if self._memory is not None:
            known = self._memory.observe(maps.numpy(), motion, last, homes)
            sight = known[:, -SIGHT_SIZE:][:, :3]
            parts.append(torch.from_numpy(known).half())
        if self._futile is not None:
            holding = np.asarray(observation.holding)
            futile = self._futile.observe(motion, last, holding, sight, homes)
            parts.append(torch.from_numpy(futile).half())
        return torch.cat(parts, dim=1)

    def _body(self, observation: Observation) -> Tensor:
        """Return (N, body_size) float16: joints and motion, scaled; nothing without proprioception."""
        if not self.config.proprioception:
            return torch.zeros(len(observation.nav), 0, dtype=torch.float16)
        if observation.joints is None or observation.motion is None:
            raise ValueError(
                "the policy wants the joints of the arm and what the last action moved "
                "(Observation.joints and .motion), which this environment does not tell"
            )
        body = torch.from_numpy(np.concatenate([observation.joints, observation.motion], axis=1))
        return (body / torch.tensor(_BODY_SCALE)).half()

    def _told(self, observation: Observation) -> Tensor:
        """Return (N, CAMERAS, ...) maps that the environment tells, zero where no answer is wanted."""
        if observation.maps is None:
            raise ValueError(
                "an oracle is told what its pictures show (Observation.maps), which this environment does "
                "not: make it with labels=True"
            )
        maps = torch.from_numpy(observation.maps)
        if observation.active is None:
            return maps
        return maps * torch.from_numpy(observation.active)[:, None, None, None, None]

    def _look(self, eyes: Any, observation: Observation, text: Tensor) -> Tensor:
        """Return (N, CAMERAS, ...) maps that the encoder gives, zero where no answer is wanted."""
        count = len(observation.nav)
        wanted = np.arange(count) if observation.active is None else np.flatnonzero(observation.active)
        homes = torch.from_numpy(np.tile(wanted, CAMERAS))
        camera = torch.arange(CAMERAS).repeat_interleave(len(wanted))
        pictures = torch.from_numpy(np.concatenate([observation.nav[wanted], observation.manip[wanted]]))
        maps = torch.zeros(CAMERAS, count, *self.config.maps, dtype=torch.float16)
        separable = self.config.encoder.separable
        most, fewest = _CHUNKS[separable]
        device, half = self.device, self._half and not separable
        for start in range(0, len(homes), most):
            rows = torch.arange(start, min(start + most, len(homes)))
            filled = functional.pad(rows, (0, max(fewest - len(rows), 0)))
            seen = (part.to(device) for part in (pictures[filled], camera[filled], text[homes[filled]]))
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                encoded = eyes.features(*seen)
            maps[camera[rows], homes[rows]] = encoded[: len(rows)].cpu()
        return maps.transpose(0, 1)

    @property
    def _half(self) -> bool:
        return use_half(self.config.precision, self.device)

    def _seeing(self, encoder: PerceptionEncoder | Backbone) -> nn.Module:
        """Return the encoder, or a copy in bfloat16 where the processor is fast with that.

        Full convolutions are run in bfloat16 by autocast: so the shipped policies were trained and judged.
        """
        if not self._half or not self.config.encoder.separable:
            return encoder
        version = sum(parameter._version for parameter in self._frozen), self.device
        if self._eyes is None or self._eyes[0] != version:
            self._eyes = (version, copy.deepcopy(encoder).to(torch.bfloat16))
        return self._eyes[1]

    def reset(self, mask: np.ndarray) -> None:
        """Forget the history of the homes where mask (N,) is True.

        Raises:
            ValueError: the number of homes changed while some of them are to be remembered.
        """
        chosen = torch.from_numpy(np.asarray(mask, bool))
        if len(chosen) != len(self._age):
            if len(self._age) and not bool(chosen.all()):
                raise ValueError(
                    f"the policy remembers {len(self._age)} homes and was asked about {len(chosen)}: "
                    "reset all of them when their number changes"
                )
            self._age = torch.zeros(len(chosen), dtype=torch.int64)
            self._attended, self._dropped = np.arange(len(chosen)), np.zeros(len(chosen), bool)
            self.actor.decoder.forget()
            self.critic.decoder.forget()
        self._age[chosen] = 0
        if self._memory is not None:
            self._memory.reset(np.asarray(mask, bool))
        if self._futile is not None:
            self._futile.reset(np.asarray(mask, bool))
        self._dropped &= ~chosen.numpy()
        self._unjudged &= not bool(chosen.all())

    @torch.no_grad()
    def act(self, observation: Observation, uniforms: np.ndarray | None = None) -> Decision:
        """Decide for N homes; see `protocol.Policy.act`.

        Raises:
            ValueError: `reset` was not called for these homes, or pictures have the wrong size, or what was
                left out of an episode before (a home, all values) is wanted now.
        """
        count = len(observation.step)
        if count != len(self._age):
            raise ValueError(f"call reset for all {count} homes before the policy acts in them")
        if observation.wants_values and self._unjudged:
            raise ValueError("values were left out in these episodes: reset all homes before they are wanted")
        # Homes that nothing was played in yet have no instruction; what is answered for them is ignored.
        spare = next(filter(None, observation.instruction), "")
        text = self.embed_text([sentence or spare for sentence in observation.instruction])
        features = self.perceive(observation, text)
        holding = torch.from_numpy(np.asarray(observation.holding, np.int64))
        last = torch.from_numpy(np.asarray(observation.last_action, np.int64))
        homes = torch.from_numpy(self._attend(observation.active))
        rest = [part[homes].to(self.device) for part in (features, holding, last, text, self._age)]
        acting = self.actor.decoder.step(self.actor.tokens(*rest), rest[-1])
        logits = torch.zeros(count, len(ACTIONS)).index_copy_(0, homes, self._logits(acting, rest[0]).cpu())
        values = torch.full((count, 1 + len(self.constraints)), math.nan)
        if observation.wants_values:
            judging = self.critic.decoder.step(self.critic.tokens(*rest), rest[-1])
            values.index_copy_(0, homes, self._values(judging, acting).cpu())
        else:
            self._unjudged = True
            self.critic.decoder.forget()
        self._age += 1
        actions = choose(torch.softmax(logits.double(), -1).numpy(), uniforms)
        log_prob = torch.log_softmax(logits, -1).numpy()[np.arange(count), actions]
        return Decision(actions, log_prob, values.numpy(), features.numpy())

    def _attend(self, active: np.ndarray | None) -> np.ndarray:
        """Return the homes (R,) to think about, whose histories are in the caches: the active and few others.

        Homes that are done are dropped now and then, as at the end of a round more and more are.
        """
        count, before = len(self._age), self._attended
        wanted = np.arange(count) if active is None else np.flatnonzero(active)
        if self._dropped[wanted].any():
            home = wanted[self._dropped[wanted]][0]
            raise ValueError(
                f"home {home} was not active earlier in its episode: reset it before it is again"
            )
        if len(before) > max(4 * len(wanted) // 3, _FEWEST) or not np.isin(wanted, before).all():
            others = np.setdiff1d(np.arange(count), wanted)
            self._attended = np.concatenate([wanted, others[: max(_FEWEST - len(wanted), 0)]])
            places = {home: place for place, home in enumerate(before.tolist())}
            moved = torch.tensor([places.get(home, 0) for home in self._attended.tolist()])
            self.actor.decoder.rearrange(moved)
            self.critic.decoder.rearrange(moved)
        self._dropped |= ~np.isin(np.arange(count), self._attended)
        return self._attended

    def action_logits(self, batch: SequenceBatch) -> Tensor:
        """Return (B, T, 20) logits of whole episodes: what `act` computes step by step, to rounding."""
        return self._logits(self.actor(batch), batch.features)

    def _logits(self, acting: Tensor, features: Tensor) -> Tensor:
        """Return (..., 20) logits from the outputs of the actor's decoder, those of futile actions masked."""
        logits = cast(Tensor, self.action_head(acting))
        return mask_futile(logits, features) if self.config.futile else logits

    def state_values(self, batch: SequenceBatch) -> Tensor:
        """Return (B, T, 1 + K) values of whole episodes; no gradient reaches the actor."""
        with torch.no_grad():
            acting = self.actor(batch)
        return self._values(self.critic(batch), acting)

    def _values(self, judging: Tensor, acting: Tensor) -> Tensor:
        """Return (..., 1 + K) values from the outputs of the critics' and of the actor's decoder."""
        joined = torch.cat([judging, acting], dim=-1)
        return cast(Tensor, self.value_head(functional.relu(self.value_hidden(joined))))

    def evaluate_sequences(self, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        """Return what `action_logits` and `state_values` do, reading the episodes once."""
        acting = self.actor(batch)
        return self._logits(acting, batch.features), self._values(self.critic(batch), acting.detach())
