"""Rendered pictures with the renderer's own labels: what the encoder of the `tiny` preset learns from.

A `ViewSampler` keeps a few dozen settled homes, puts the robot at random free places in them (often before
a random object, with random arm poses, sometimes holding something), draws both cameras and reads the labels
off the instance ids and the depth. Homes are replaced as pictures are drawn: a long run sees thousands.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import mujoco
import numpy as np

from safevla.pretrain.described_queries import DESCRIBED, count_described, draw_described, geom_colours
from safevla.tasks.descriptions import described, descriptions, noun_phrase
from safevla.tasks.instructions import TARGETS, instructions_for
from safevla.tasks.labels import MASKS, geom_flags, read_labels, thinned
from safevla.tasks.sets import BENCHMARK_CLASSES
from safevla.types import CELLS, PATCH, Knobs
from safevla.world.appearance import drawn, painted
from safevla.world.catalogue import CATEGORIES, TYPES
from safevla.world.freespace import inflate, occupancy
from safevla.world.raster import Lighting, Raster, RasterMesh
from safevla.world.robot import ARM_RANGE, FOLDED, FOOTPRINT_RADIUS, LIFT_RANGE, joint_values
from safevla.world.scene import Scene
from safevla.world.simulator import HousePool, SettledScene

_PAINTED = 4  # other colours and materials of a home, while it is kept
TARGET_CATEGORIES = frozenset(name for targets in TARGETS.values() for name in targets)


def phrases(category: str) -> list[str]:
    """Return sentences that speak of a category: its nouns, and training instructions with them.

    The held-out wordings of the instructions are left out, so that they test the whole policy.
    """
    kind = TYPES[category]
    nouns = (kind.noun, *kind.synonyms)
    found = [form for noun in nouns for form in (noun, noun_phrase(noun), f"find {noun_phrase(noun)}")]
    for task, targets in TARGETS.items():
        if category in targets:
            found += instructions_for(task, category)
    return sorted(set(found))


def described_phrases(category: str, which: str) -> list[str]:
    """Return sentences that speak of those of a category that a description is true of, as "a red mug".

    Args:
        category: name of a type.
        which: a description, see `tasks.descriptions`.
    """
    noun = described(TYPES[category].noun, which)
    found = [noun, noun_phrase(noun), f"find {noun_phrase(noun)}"]
    for task, targets in TARGETS.items():
        if category in targets:
            found += instructions_for(task, category, which=which)
    return sorted(set(found))


def colour_descriptions(category: str) -> list[str]:
    """Return the colours that things of a category can have, as descriptions."""
    return [which for which in descriptions(category) if which.startswith("colour:")]


@dataclass
class Pictures:
    """B labelled pictures of P x P patches; K categories, M masks."""

    images: np.ndarray  # (B, H, W, 3) uint8
    camera: np.ndarray  # (B,) int64, 0 navigation, 1 manipulation
    counts: np.ndarray  # (B, K, 2P, 2P) uint8, pixels of the category in each 4 x 4 cell
    masks: np.ndarray  # (B, M, P, P) uint8, pixels of the kind in each 8 x 8 patch
    depth: np.ndarray  # (B, P, P) float32, mean of log(metres) over the patch
    distance: np.ndarray  # (B, K) float32, metres to the nearest pixel of the category, inf if not seen
    asked: np.ndarray  # (B, D, 2) int64, category and colour (of COLOURS) of queries by colour; -1 for none
    asked_counts: np.ndarray  # (B, D, 2P, 2P) uint8, pixels that each of them means in each 4 x 4 cell


class _Stage:
    """One settled home that the robot can be put anywhere in."""

    def __init__(self, settled: SettledScene) -> None:
        self.scene: Scene = settled.scene
        self.model = copy.copy(settled.scene.model)
        # Kinematics alone is run here, for every body, also those that sleep.
        self.model.opt.enableflags &= ~int(mujoco.mjtEnableBit.mjENBL_SLEEP)
        self.data = mujoco.MjData(self.model)
        self.data.qpos[:] = settled.data.qpos
        self.rest = self.data.qpos.copy()
        mujoco.mj_kinematics(self.model, self.data)
        self.mesh = RasterMesh.from_model(self.model)
        self.painted: list[RasterMesh] = []  # the same home in other colours and materials
        self.category, self.flags = _geom_category(self.scene), geom_flags(self.scene)
        self.colour = geom_colours(self.scene)
        grid = inflate(occupancy(self.scene, settled.data), FOOTPRINT_RADIUS)
        free = np.argwhere(~grid.blocked)
        self.places = np.asarray(grid.origin) + (free + 0.5) * grid.cell
        present = self.scene.present & (np.asarray(self.scene.category) >= 0)
        self.things = np.flatnonzero(present)
        self.small = np.flatnonzero(present & np.asarray(self.scene.graspable))
        wanted = [CATEGORIES[self.scene.category[entity]] in TARGET_CATEGORIES for entity in self.small]
        self.targets = self.small[np.array(wanted, bool)]

    def paint(self, rng: np.random.Generator) -> None:
        """Draw other colours and materials for everything but the robot, in `painted`."""
        for _ in range(_PAINTED):
            self.painted.append(RasterMesh.from_model(painted(self.model, drawn(rng))))

    def weights(self) -> np.ndarray:
        """Return how often each of `things` is looked at: targets and small things most."""
        names = [CATEGORIES[self.scene.category[entity]] for entity in self.things]
        weight = np.array([3.0 if name in TARGET_CATEGORIES else 1.0 for name in names])
        weight[np.asarray(self.scene.size)[self.things].max(1) < 0.5] *= 2.0
        return np.asarray(weight / weight.sum())

    def free_joint(self, entity: int) -> int:
        """Return the address in qpos of a free body, -1 for static things."""
        body = self.scene.body[entity]
        joint = self.model.body_jntadr[body]
        if body <= 0 or joint < 0 or self.model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_FREE:
            return -1
        return int(self.model.jnt_qposadr[joint])

    def shuffle(self, rng: np.random.Generator) -> None:
        """Put everything back to rest, then let some of the small objects change places and turn."""
        self.data.qpos[:] = self.rest
        addresses = [self.free_joint(int(entity)) for entity in self.small]
        addresses = [address for address in addresses if address >= 0]
        if len(addresses) < 2 or rng.random() < 0.4:
            return
        moved = [address for address in addresses if rng.random() < 0.6]
        for address, source in zip(moved, rng.permutation(moved), strict=True):
            self.data.qpos[address : address + 3] = self.rest[source : source + 3]
            _turn(self.data.qpos[address + 3 : address + 7], rng.uniform(-math.pi, math.pi))


def _turn(quaternion: np.ndarray, angle: float) -> None:
    """Rotate a (4,) quaternion about the world's z, in place."""
    turned = np.zeros(4)
    mujoco.mju_mulQuat(turned, np.array([math.cos(angle / 2), 0, 0, math.sin(angle / 2)]), quaternion)
    quaternion[:] = turned


def _geom_category(scene: Scene) -> np.ndarray:
    """Return (ngeom,) int32, the category of each geom, -1 for none."""
    entity = np.asarray(scene.geom_entity)
    category = np.full(len(entity), -1, np.int32)
    category[entity >= 0] = np.asarray(scene.category)[entity[entity >= 0]]
    return category


class ViewSampler:
    """Draws labelled pictures of random homes.

    Args:
        seed: of everything random here; the same seed gives the same pictures.
        split: houses to draw from, "train", "val" or "test".
        resolution: side of the pictures, a multiple of 8 * scale.
        homes: settled homes kept at a time.
        views_per_home: places drawn in a home before it is replaced by a new one.
        vary_light: draw a random light for every picture.
        size_class: of the homes: "S", "M", "L", or "all" in the shares of the benchmark.
        focus: share of the places that are near a small thing that a robot may be sent for.
        held: share of the places at which something small is in the gripper.
        repaint: share of the pictures that show their home in drawn colours and materials.
        scale: labels are read at every so many pixels, as an encoder of this scale gives its maps: they are
            those of a picture that is as much smaller.
    """

    def __init__(
        self,
        seed: int,
        split: str = "train",
        resolution: int = 112,
        homes: int = 64,
        views_per_home: int = 192,
        vary_light: bool = True,
        size_class: str = "S",
        focus: float = 0.0,
        held: float = 0.1,
        repaint: float = 0.0,
        scale: int = 1,
    ) -> None:
        if resolution % (PATCH * scale):
            raise ValueError(f"resolution {resolution} is not a multiple of {PATCH * scale}")
        self.rng = np.random.default_rng([seed, 20260])
        self.split, self.resolution, self.homes = split, resolution, homes
        self.size_classes = BENCHMARK_CLASSES if size_class == "all" else size_class
        self.views_per_home, self.vary_light, self.focus = views_per_home, vary_light, focus
        self.held, self.repaint, self.scale = held, repaint, scale
        self._pool = HousePool(capacity=1)
        self._raster = Raster(resolution, resolution)
        self._stages: list[_Stage] = []
        self._views = 0
        self._ids = np.empty((resolution, resolution), np.int32)
        self._depth = np.empty((resolution, resolution), np.float32)

    def draw(self, count: int) -> Pictures:
        """Draw `count` pictures, an even number: both cameras at count / 2 places."""
        if count < 2 or count % 2:
            raise ValueError(f"{count} pictures: give an even number, each place is seen by two cameras")
        patches, kinds = self.resolution // (PATCH * self.scale), len(CATEGORIES)
        batch = Pictures(
            images=np.empty((count, self.resolution, self.resolution, 3), np.uint8),
            camera=np.arange(count, dtype=np.int64) % 2,
            counts=np.empty((count, kinds, CELLS * patches, CELLS * patches), np.uint8),
            masks=np.empty((count, len(MASKS), patches, patches), np.uint8),
            depth=np.empty((count, patches, patches), np.float32),
            distance=np.empty((count, kinds), np.float32),
            asked=np.empty((count, DESCRIBED, 2), np.int64),
            asked_counts=np.empty((count, DESCRIBED, CELLS * patches, CELLS * patches), np.uint8),
        )
        for index in range(0, count, 2):
            stage = self._next_stage()
            self._pose(stage)
            self._picture(stage, 0, batch, index)
            self._picture(stage, 1, batch, index + 1)
        return batch

    def _next_stage(self) -> _Stage:
        self._views += 1
        if len(self._stages) < self.homes and (not self._stages or self._views % 2 == 0):
            self._stages.append(self._new_stage())  # homes are added while pictures are already drawn
            return self._stages[-1]
        if self._views % self.views_per_home == 0:
            self._stages[int(self.rng.integers(len(self._stages)))] = self._new_stage()
        return self._stages[int(self.rng.integers(len(self._stages)))]

    def _new_stage(self) -> _Stage:
        while True:
            seed = int(self.rng.integers(2**31))
            knobs = Knobs(*(float(self.rng.random() * (self.rng.random() < 0.6)) for _ in range(5)))
            several = len(self.size_classes) > 1
            size_class = self.size_classes[int(self.rng.integers(len(self.size_classes))) if several else 0]
            stage = _Stage(self._pool.get(seed, size_class, self.split, knobs))
            if len(stage.places):
                if self.repaint:
                    stage.paint(self.rng)
                return stage

    def _pose(self, stage: _Stage) -> None:
        """Put the robot somewhere, with some arm pose, in a home whose small objects were shuffled."""
        rng, data = self.rng, stage.data
        stage.shuffle(rng)
        x, y = stage.places[int(rng.integers(len(stage.places)))]
        yaw = rng.uniform(-math.pi, math.pi)
        if self.focus and len(stage.targets) and rng.random() < self.focus:
            x, y, yaw = self._before(stage, int(rng.choice(stage.targets)), rng.uniform(0.35, 2.0))
        elif rng.random() < 0.6 and len(stage.things):
            entity = int(rng.choice(stage.things, p=stage.weights()))
            x, y, yaw = self._before(stage, entity, rng.uniform(0.4, 4.0))
        lift, arm, wrist = FOLDED
        if rng.random() < 0.6:
            lift, wrist = rng.uniform(*LIFT_RANGE), rng.uniform(-0.6, 1.8)
            arm = rng.uniform(*ARM_RANGE) * (rng.random() < 0.8)
        data.qpos[stage.scene.robot.qpos] = joint_values(x, y, yaw, lift, arm, wrist)
        mujoco.mj_kinematics(stage.model, data)
        if rng.random() < self.held and len(stage.small):
            wanted = self.focus and len(stage.targets) and rng.random() < self.focus
            address = stage.free_joint(int(rng.choice(stage.targets if wanted else stage.small)))
            if address >= 0:
                tip = data.site_xpos[stage.scene.robot.tip_site]
                data.qpos[address : address + 3] = tip - (0, 0, rng.uniform(0.02, 0.12))
                mujoco.mj_kinematics(stage.model, data)
        mujoco.mj_camlight(stage.model, data)

    def _before(self, stage: _Stage, entity: int, wanted: float) -> tuple[float, float, float]:
        """Return x, y, yaw from which a camera looks toward a thing that is about `wanted` metres away."""
        rng = self.rng
        address = stage.free_joint(entity)
        if address >= 0:
            goal = stage.data.qpos[address : address + 2].copy()
        else:
            geoms = np.flatnonzero(np.asarray(stage.scene.geom_entity) == entity)
            goal = stage.data.geom_xpos[geoms, :2].mean(0)
        distance = np.hypot(*(stage.places - goal).T)
        near = np.flatnonzero(np.abs(distance - wanted) < 0.25)
        if not len(near):
            near = np.argsort(np.abs(distance - wanted))[:20]
        x, y = stage.places[int(rng.choice(near))]
        toward = math.atan2(goal[1] - y, goal[0] - x)
        # The manipulation camera looks to the right of the base.
        side = math.pi / 2 if rng.random() < 0.5 else 0.0
        return float(x), float(y), toward + side + rng.normal(0.0, math.radians(14))

    def _picture(self, stage: _Stage, camera: int, batch: Pictures, index: int) -> None:
        light = self._light(stage.mesh.lighting) if self.vary_light else None
        mesh, colour = stage.mesh, stage.colour
        if self.repaint and self.rng.random() < self.repaint:
            mesh = stage.painted[int(self.rng.integers(len(stage.painted)))]
            colour = np.full_like(colour, -1)  # what has a drawn colour is not asked for by one
        self._raster.render(
            mesh,
            stage.data,
            stage.scene.robot.cameras[camera],
            rgb=batch.images[index],
            depth=self._depth,
            ids=self._ids,
            lighting=light,
        )
        ids, depth = thinned(self._ids, self.scale), thinned(self._depth, self.scale)
        outputs = (batch.counts[index], batch.masks[index], batch.depth[index], batch.distance[index])
        read_labels(ids, depth, stage.category, stage.flags, *outputs)
        asked = draw_described(ids, stage.category, colour, self.rng)
        batch.asked[index] = asked
        count_described(ids, stage.category, colour, asked, batch.asked_counts[index])

    def _light(self, own: Lighting) -> Lighting | None:
        """Return the home's light changed at random, or None for its own, half the time each."""
        rng = self.rng
        if rng.random() < 0.5:
            return None
        return Lighting(
            direction=(rng.uniform(-0.7, 0.7), rng.uniform(-0.7, 0.7), rng.uniform(0.5, 1.0)),
            directional=own.directional * rng.uniform(0.5, 1.3),
            head=own.head * rng.uniform(0.5, 1.5),
            ambient=own.ambient * rng.uniform(0.6, 1.2),
            tint=(rng.uniform(0.88, 1.08), rng.uniform(0.92, 1.04), rng.uniform(0.85, 1.08)),
        )
