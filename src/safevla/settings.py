"""Settings of every verb of the command line. No heavy imports: help and errors must come at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from safevla.config import ConfigError, build, leaves, nearest
from safevla.constrain.settings import MultiplierConfig, TrainConfig
from safevla.pretrain.settings import ImitationConfig, PerceptionConfig
from safevla.tasks.settings import WorldSettings, check_share


def setting(default: Any, text: str) -> Any:
    """Declare a setting with its default and the text that --help shows."""
    return dataclasses.field(default=default, metadata={"help": text})


def at_least(config: Any, **smallest: int) -> None:
    """Raise ConfigError where a setting is below its smallest sensible value."""
    for name, limit in smallest.items():
        if getattr(config, name) is not None and getattr(config, name) < limit:
            raise ConfigError(f"'{name}' is {getattr(config, name)}, expected {limit} or more")


def check_homes(size_class: str) -> None:
    """Raise ConfigError if there are no such homes to search."""
    if size_class not in ("", "S", "M", "L", "all"):
        raise ConfigError(f"'size_class' is {size_class}, expected S, M, L or all")


@dataclass(frozen=True)
class ConstraintSettings:
    """What a run may say of one constraint."""

    budget: float | None = setting(
        None, "cost per episode that is allowed; default: train.budget_fraction of the start's"
    )
    aggregation: str | None = setting(
        None,
        "what of many episodes it bounds: mean, worst, or e.g. cvar95; default: that of the specification",
    )


# Found on 2 cores from the shipped imitation policy (docs/diary.md): critics that were trained before the
# actor moves, a hint of where the target is, and a price of a violation that stays far below what success is
# worth, so that ending at once does not become the cheapest way out.
QUICK_TRAINING = TrainConfig(
    iterations=100_000,
    total_steps=60_000,
    episodes_per_iteration=32,
    minibatch_sequences=4,
    archive_fraction=0.25,
    sharpness=2.0,
    warmup_epochs=16,
    critic_warmup=3,
    policy_learning_rate=1e-4,
    critic_learning_rate=1e-3,
    kl_to_imitation=0.01,
    shaping=1.0,
    cost_unit="reward",
    budget_fraction=0.05,
    budget_floor=0.1,
    multiplier=MultiplierConfig(initial=0.5, learning_rate=0.1, maximum=1.5),
)


DEVICE = "where networks compute: cpu, cuda, cuda:1, or auto, which is a GPU where there is one"
DESCRIBED = "share of the scenarios, 0 to 1, that describe their target, as in 'find a red mug'"
SEARCH_GREEDY = "search while the policy takes its most probable action, as it is judged; false samples"


@dataclass(frozen=True)
class ElicitSettings:
    """The search for unsafe scenarios inside `align`."""

    episodes: int = setting(128, "scenarios to try")
    described: float = setting(0.0, DESCRIBED)
    size_class: str = setting("", "homes to search: S, M, L or all; default: those of the training scenarios")
    greedy: bool = setting(False, SEARCH_GREEDY)

    def __post_init__(self) -> None:
        at_least(self, episodes=1)
        check_share("described", self.described)
        check_homes(self.size_class)


@dataclass(frozen=True)
class AssureSettings:
    """The evaluation inside `align`."""

    episodes: int | None = setting(
        None, "held-out scenarios that every policy meets, per task; default: all of the set"
    )
    scenarios: str = setting("", "judge on these instead of TASK-val: a set's name or a JSONL file")
    videos: int = setting(2, "side-by-side videos in the report")
    greedy: bool = setting(True, "take the most probable action; false samples")
    record_signals: bool = setting(False, "record the signals of every step, for `safevla replay`")

    def __post_init__(self) -> None:
        at_least(self, episodes=1, videos=0)


@dataclass(frozen=True)
class AlignConfig:
    """Settings of `safevla align`."""

    HIDES: ClassVar = ("train.seed", "train.method")  # the seed is the run's, the methods are both

    task: str = setting("ObjNav", "ObjNav, PickUp, Fetch, or several joined by commas")
    policy: str = setting("imitation", "policy to start from: a shipped name or a checkpoint folder")
    scenarios: str = setting("", "train on these, not TASK-train: sets or files, joined by commas")
    spec: str = setting("safevla", "safety specification: a built-in name or a TOML file")
    profile: str = setting("quick", "quick, standard or paper: how long everything runs")
    seed: int = setting(0, "seed of everything random")
    out: str = setting("safevla-runs/align", "run folder")
    tracker: str = setting("", "show the metrics of training also in tensorboard, wandb or trackio")
    processes: int = setting(
        2, "processes that share the work (results do not depend on it up to 2, the rounding beyond)"
    )
    device: str = setting("cpu", DEVICE)
    world: WorldSettings = WorldSettings()
    elicit: ElicitSettings = ElicitSettings()
    train: TrainConfig = QUICK_TRAINING
    assure: AssureSettings = AssureSettings()
    constraints: dict[str, ConstraintSettings] = dataclasses.field(
        default_factory=dict,
        metadata={
            "help": "budget of one constraint, cost per episode; --constraints.NAME.aggregation: of the "
            "mean of episodes, the worst, or e.g. cvar95"
        },
    )

    def __post_init__(self) -> None:
        at_least(self, seed=0, processes=1)
        object.__setattr__(self, "train", dataclasses.replace(self.train, seed=self.seed))
        for name, item in self.constraints.items():
            pairs = ((item.budget, self.train.budgets), (item.aggregation, self.train.aggregations))
            for own, others in pairs:
                if own is not None and others.get(name, own) != own:
                    raise ConfigError(
                        f"constraint '{name}' is given {own}, and {others[name]} in train; give one of them"
                    )


@dataclass(frozen=True)
class AssureConfig:
    """Settings of `safevla assure`."""

    task: str = setting("ObjNav", "ObjNav, PickUp, Fetch, or several joined by commas")
    policy: str = setting(
        "imitation,rl,isa,inactive", "policies to compare, joined by commas: a name, a folder, or NAME=FOLDER"
    )
    spec: str = setting("safevla", "safety specification: a built-in name or a TOML file")
    profile: str = setting("quick", "quick, standard or paper: how long everything runs")
    episodes: int = setting(100, "scenarios that every policy meets, per task")
    split: str = setting("val", "val or test: homes that no policy was trained in")
    scenarios: str = setting(
        "", "play these instead of TASK-SPLIT: a set's name, such as safety-chores-val, or a JSONL file"
    )
    greedy: bool = setting(True, "take the most probable action; false samples")
    videos: int = setting(
        2, "side-by-side videos: isa and rl where they are given, else the last policy and the first"
    )
    record_signals: bool = setting(False, "record the signals of every step, for `safevla replay`")
    fail_if: str = setting("", 'exit with 1 when this holds, e.g. "cost/corner.mean > 1"')
    seed: int = setting(0, "seed of everything random")
    out: str = setting("safevla-runs/assure", "run folder")
    processes: int = setting(2, "processes that share the work (results do not depend on it)")
    device: str = setting("cpu", DEVICE)
    world: WorldSettings = WorldSettings()

    def __post_init__(self) -> None:
        at_least(self, episodes=1, videos=0, seed=0, processes=1)


@dataclass(frozen=True)
class ElicitConfig:
    """Settings of `safevla elicit`."""

    task: str = setting("ObjNav", "ObjNav, PickUp, Fetch, or several joined by commas")
    policy: str = setting("imitation", "policy to search against")
    spec: str = setting("safevla", "safety specification: a built-in name or a TOML file")
    profile: str = setting("quick", "quick, standard or paper: how long everything runs")
    episodes: int = setting(128, "scenarios to try")
    described: float = setting(0.0, DESCRIBED)
    size_class: str = setting("S", "homes to search: S, M, L, or all in the shares of the benchmark")
    greedy: bool = setting(False, SEARCH_GREEDY)
    replay: str = setting("", "replay this archive (JSONL) instead of searching, and compare its costs")
    seed: int = setting(0, "seed of everything random")
    out: str = setting("safevla-runs/elicit", "run folder")
    processes: int = setting(2, "processes that play (what is found does not depend on it)")
    device: str = setting("cpu", DEVICE)
    world: WorldSettings = WorldSettings()

    def __post_init__(self) -> None:
        at_least(self, episodes=1, seed=0, processes=1)
        check_share("described", self.described)
        check_homes(self.size_class or "''")


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of `safevla pretrain`."""

    HIDES: ClassVar = ("perception.seed",)

    seed: int = setting(0, "seed of everything random")
    out: str = setting("safevla-runs/pretrain", "run folder")
    device: str = setting("cpu", DEVICE)
    perception: PerceptionConfig = PerceptionConfig()

    def __post_init__(self) -> None:
        at_least(self, seed=0)
        object.__setattr__(self, "perception", dataclasses.replace(self.perception, seed=self.seed))


@dataclass(frozen=True)
class ImitateConfig:
    """Settings of `safevla imitate`."""

    HIDES: ClassVar = ("imitation.seed",)

    task: str = setting("ObjNav,PickUp,Fetch", "ObjNav, PickUp, Fetch, or several joined by commas")
    preset: str = setting("tiny", "sizes of the policy")
    encoder: str = setting("imitation", "image encoder: of a shipped policy, of a folder, or an encoder.pt")
    start: str = setting("", "policy whose actor to start from; its encoder is not taken over")
    spec: str = setting(
        "safevla", "safety specification; by `strict`, the expert goes slowly in narrow places"
    )
    scenarios: str = setting("", "train on these, not TASK-train: sets or files, joined by commas")
    validation: str = setting("", "judge rounds on these, not TASK-val: sets or files, joined by commas")
    seed: int = setting(0, "seed of everything random")
    out: str = setting("safevla-runs/imitate", "run folder")
    processes: int = setting(2, "processes that share the work, each with its homes")
    tracker: str = setting("", "show the metrics of training also in tensorboard, wandb or trackio")
    device: str = setting("cpu", DEVICE)
    world: WorldSettings = WorldSettings()
    imitation: ImitationConfig = ImitationConfig()

    def __post_init__(self) -> None:
        at_least(self, seed=0, processes=1)
        object.__setattr__(self, "imitation", dataclasses.replace(self.imitation, seed=self.seed))


@dataclass(frozen=True)
class DemoConfig:
    """Settings of `safevla demo`."""

    episodes: int = setting(20, "paired scenarios")
    seed: int = setting(0, "seed of everything random")
    out: str = setting("safevla-runs/demo", "run folder")
    processes: int = setting(2, "processes that share the work (results do not depend on it)")
    world: WorldSettings = WorldSettings()

    def __post_init__(self) -> None:
        at_least(self, episodes=1, seed=0, processes=1)


@dataclass(frozen=True)
class CheckConfig:
    """Settings of `safevla check`."""

    POSITIONAL: ClassVar = "spec"

    spec: str = setting(
        "safevla", "safety specification: a built-in name or a TOML file; given without --spec"
    )


@dataclass(frozen=True)
class ReplayConfig:
    """Settings of `safevla replay`."""

    POSITIONAL: ClassVar = "episodes"

    episodes: str = setting(
        "safevla-runs/assure",
        "a run folder with recorded signals, or a LeRobot data set; given without --episodes",
    )
    spec: str = setting("safevla", "safety specification: a built-in name or a TOML file")
    save: str = setting("", "write the episodes with their new costs to this Parquet file")


@dataclass(frozen=True)
class ExportConfig:
    """Settings of `safevla export`."""

    POSITIONAL: ClassVar = "run"

    run: str = setting(
        "",
        "play the episodes of this run of assure or imitate, or of this data set of --parquet, again, as it "
        "did; given without --run",
    )
    lerobot: bool = setting(False, "write a LeRobot data set, version 3")
    parquet: bool = setting(
        False, "write Parquet files with PNG pictures, which safevla.load_demonstrations reads"
    )
    images: bool = setting(
        False, "of --lerobot: PNG pictures, exact to the bit and larger, instead of H.264 videos"
    )
    policy: str = setting("expert", "who plays: expert, or what assure takes; of a run, one of its policies")
    task: str = setting("ObjNav", "ObjNav, PickUp, Fetch, or several joined by commas")
    episodes: int = setting(100, "scenarios to play, per task")
    split: str = setting("train", "train, val or test: homes to play in")
    scenarios: str = setting(
        "", "play these instead of TASK-SPLIT: a set's name, such as safety-chores-val, or a JSONL file"
    )
    only_successful: bool = setting(False, "leave out episodes that failed")
    spec: str = setting("safevla", "safety specification: a built-in name or a TOML file")
    greedy: bool = setting(True, "take the most probable action; false samples")
    seed: int = setting(0, "seed of everything random")
    out: str = setting("safevla-runs/export", "folder of the data set")
    processes: int = setting(2, "processes that share the work of --parquet (results do not depend on it)")
    device: str = setting(
        "", "where a policy computes, as in assure; default: as in the run, cpu without one"
    )
    world: WorldSettings = WorldSettings()

    def __post_init__(self) -> None:
        at_least(self, episodes=1, seed=0, processes=1)


@dataclass(frozen=True)
class ListConfig:
    """Settings of `safevla list`."""

    POSITIONAL: ClassVar = "what"

    what: str = setting(
        "", "only one section: tasks, policies, presets, specifications, sets, homes, types or profiles"
    )


@dataclass(frozen=True)
class DoctorConfig:
    """`safevla doctor` has no settings."""


@dataclass(frozen=True)
class BenchConfig:
    """Settings of `safevla bench`."""

    task: str = setting("ObjNav", "task of the homes")
    seconds: float = setting(10.0, "time for each measurement")
    seed: int = setting(0, "seed of the homes and actions")
    world: WorldSettings = WorldSettings()

    def __post_init__(self) -> None:
        at_least(self, seed=0)
        if not self.seconds > 0:
            raise ConfigError(f"'seconds' is {self.seconds}, expected more than 0")


# What a profile changes of the defaults above, by name of the settings class.
PROFILES: dict[str, dict[str, dict[str, Any]]] = {
    "quick": {},
    "standard": {
        "AlignConfig": {
            "elicit": {"episodes": 512},
            "train": {"total_steps": 1_000_000},
            "assure": {"episodes": 200},
        },
        "AssureConfig": {"episodes": 200},
        "ElicitConfig": {"episodes": 512},
    },
    "paper": {
        "AlignConfig": {
            "elicit": {"episodes": 2048},
            "train": {"total_steps": 15_000_000},
            "assure": {"episodes": 200},
        },
        "AssureConfig": {"episodes": 200},
        "ElicitConfig": {"episodes": 2048},
    },
}

Config = TypeVar("Config")


def resolve(cls: type[Config], *layers: Mapping[str, Any]) -> Config:
    """Build settings from defaults, the profile that the layers name, and the layers, later ones winning."""
    below: list[Mapping[str, Any]] = []
    if "profile" in leaves(cls):
        profile = str(next((layer["profile"] for layer in reversed(layers) if "profile" in layer), "quick"))
        if profile not in PROFILES:
            raise ConfigError(f"unknown profile '{profile}'{nearest(profile, PROFILES)}")
        below = [PROFILES[profile].get(cls.__name__, {})]
    return build(cls, *below, *layers)
