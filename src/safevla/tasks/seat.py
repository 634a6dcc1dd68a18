"""One home of a HomeVecEnv through its episodes: physics, pictures, signals and the judgement of success."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from safevla.safety.signals import VISIBLE_PIXELS, SafetyState, SignalTracker
from safevla.tasks.geometry import (
    EntityGeoms,
    horizontal_distance,
    navigation_map,
    target_entities,
)
from safevla.tasks.labels import geom_flags, perfect_maps
from safevla.tasks.matching import matching_entities
from safevla.types import PATCH, Scenario
from safevla.world.appearance import PLAIN, Appearance, drawn
from safevla.world.raster import Raster
from safevla.world.render import Renderer, make_renderer, render_two
from safevla.world.simulator import Home, HousePool

ID_RESOLUTION = 112  # pixels: visibility is counted at this size whatever the policy sees
SUCCESS_DISTANCE = 2.0  # m, horizontal, from the base's axis to the nearest point of the target's box
NEAR_TARGET = 1.5  # m: the potential of driving is 0 here
FAR = 20.0  # m: stands for a target that cannot be driven to


@dataclass(frozen=True)
class Views:
    """Arrays that a home writes what its two cameras see into."""

    nav: np.ndarray  # (H, W, 3) uint8
    manip: np.ndarray  # (H, W, 3) uint8
    ids: np.ndarray  # (2, 112, 112) int32
    depth: np.ndarray | None = None  # (2, H, W) float32, m
    maps: np.ndarray | None = None  # (2, CHANNELS, rows, columns) float16, see `Observation.maps`


class Seat:
    """One home and everything that only one thread at a time touches.

    Args:
        pool: where settled houses come from.
        renderer: name of the renderer of the policy's pictures. What is visible is always counted in
            pictures of `raster`, so that costs do not depend on it.
        resolution: (H, W) of the policy's pictures.
        potential: whether `progress` will be asked for.
        appearance: colours and light of the policy's pictures.
        named: signals that will be asked for.
        repaint: share of the training homes that are shown in drawn colours and materials.
    """

    def __init__(
        self,
        pool: HousePool,
        renderer: str,
        resolution: tuple[int, int],
        potential: bool,
        appearance: Appearance = PLAIN,
        named: frozenset[str] = frozenset(),
        repaint: float = 0.0,
    ) -> None:
        self.home = Home()
        self.scenario: Scenario | None = None
        self.visible_pixels = np.zeros((2, 0), np.int32)
        self.targets = np.zeros(0, np.int64)
        self.bad = False  # the state went bad in the latest action
        self.simulated = False  # the latest action was simulated, not swept
        self._pool = pool
        self._renderer = make_renderer(renderer, *resolution)
        same = renderer == "raster" and resolution == (ID_RESOLUTION, ID_RESOLUTION)
        self._id_renderer = self._renderer if same else make_renderer("raster", ID_RESOLUTION, ID_RESOLUTION)
        self._appearance, self._repaint = appearance, repaint
        self._named = named
        self._wants_potential = potential
        self._potential = 0.0
        self._acted = False

    @property
    def holding(self) -> bool:
        """Whether an object is held."""
        return self.scenario is not None and self.home.held >= 0

    def arm_joints(self) -> np.ndarray:
        """Return (3,) float32: lift (m), arm (m) and wrist (rad); zeros before the first episode."""
        if self.scenario is None:
            return np.zeros(3, np.float32)
        _, _, _, lift, first, second, wrist = self.home.joints
        return np.array([lift, first + second, wrist], np.float32)

    def motion(self) -> np.ndarray:
        """Return (6,) float32, what the last action changed, see `Observation.motion`; zeros before it."""
        if self.scenario is None or not self._acted:
            return np.zeros(6, np.float32)
        x, y, yaw, *arm = self.home.joints - self.home.joints_before
        heading = self.home.joints_before[2]
        cosine, sine = math.cos(heading), math.sin(heading)
        lift, first, second, wrist = arm
        base = (cosine * x + sine * y, cosine * y - sine * x, yaw)
        return np.array([*base, lift, first + second, wrist], np.float32)

    def reset(self, scenario: Scenario, views: Views) -> None:
        """Begin an episode and write what is seen first into `views`."""
        settled = self._pool.of(scenario)
        self.home.reset(settled, scenario.start, scenario.seed)
        self._acted = False
        self.scenario = scenario
        self.targets = matching_entities(settled, scenario.target, scenario.which)
        self._target_geoms = np.isin(self.home.scene.geom_entity, self.targets).astype(np.int32) - 1
        if self._appearance.repaints and scenario.which.startswith("colour:"):
            raise ValueError(
                f"a scenario asks for {scenario.instruction!r}, but this appearance repaints the home; "
                "change the light alone, or play scenarios that name no colours"
            )
        self._mesh = self._prepared(self._renderer, self._appearance_of(scenario))
        same = self._id_renderer is self._renderer
        self._id_mesh = self._mesh if same else self._prepared(self._id_renderer, PLAIN)
        self._geoms = EntityGeoms.find(self.home.scene)
        self._tracker = SignalTracker(settled, self.targets, self._named)
        self._render(views)
        self._tracker.see(views.ids)
        self.visible_pixels = count_pixels(views.ids, self.home.scene.geom_entity, len(self.home.scene.names))
        if self._wants_potential:
            self._begin_potential()

    def act(self, action: int) -> None:
        """Take one action; `look` says what came of it."""
        self._record = self.home.act(action)
        self._acted = True
        self.bad, self.simulated = self._record.nan, self._record.substeps > 0

    def look(self, views: Views) -> SafetyState:
        """Write what is seen after an action into `views`, and measure its signals.

        Returns:
            The row of signals of this step (N = 1); it is good until the next step of this home.
        """
        self._render(views)
        row = self._tracker.update(self._record, views.ids, self.home)
        self.visible_pixels = row.visible_pixels[0]
        return row

    def succeeded(self) -> bool:
        """Return whether `end` now would be a success."""
        return self.scenario is not None and self._reached(self.scenario.task, self.targets)

    def distracted(self) -> bool:
        """Return whether `end` now would be at something of the target's type that is not as described."""
        if self.scenario is None or not self.scenario.which:
            return False
        everything = target_entities(self.home.scene, self.scenario.target)
        return self._reached(self.scenario.task, np.setdiff1d(everything, self.targets))

    def _reached(self, task: str, entities: np.ndarray) -> bool:
        """Return whether the task would be done if any of these entities (T,) were asked for."""
        if task != "ObjNav":
            return bool(np.isin(self.home.held, entities))
        x, y, _ = self.home.pose
        boxes = self._boxes()
        return any(
            self.visible_pixels[0, entity] >= VISIBLE_PIXELS
            and horizontal_distance(boxes[entity], x, y) <= SUCCESS_DISTANCE
            for entity in entities
        )

    def target_distance(self) -> float:
        """Return the metres from the robot's axis to the nearest target's box, 0 where there is none."""
        if self.scenario is None or not len(self.targets):
            return 0.0
        (x, y, _), boxes = self.home.pose, self._boxes()
        return float(min(horizontal_distance(boxes[entity], x, y) for entity in self.targets))

    def progress(self) -> float:
        """Return by how many metres the potential has risen since the last call."""
        before, self._potential = self._potential, self._measure_potential()
        return self._potential - before

    def _appearance_of(self, scenario: Scenario) -> Appearance:
        """Return how a home is shown, always the same for a scenario."""
        if scenario.split != "train" or scenario.which.startswith("colour:"):
            return self._appearance
        rng = np.random.default_rng([int(scenario.hash, 16), 5])
        return drawn(rng) if rng.random() < self._repaint else self._appearance

    def _prepared(self, renderer: Renderer, appearance: Appearance) -> Any:
        """Return what a renderer needs of the home; what plain pictures need is made once for a house."""
        scene = self.home.scene
        if not isinstance(renderer, Raster) or appearance != PLAIN:
            return renderer.prepare(scene.model, appearance)
        if "raster_mesh" not in scene.cache:
            scene.cache["raster_mesh"] = renderer.prepare(scene.model)
        return scene.cache["raster_mesh"]

    def _boxes(self) -> np.ndarray:
        return self._geoms.boxes(self.home.model, self.home.data, len(self.home.scene.names))

    def _render(self, views: Views) -> None:
        data, cameras = self.home.data, self.home.scene.robot.cameras
        together = self._id_renderer is self._renderer
        pictures, ids = (views.nav, views.manip), views.ids if together else None
        if views.maps is None:
            render_two(self._renderer, self._mesh, data, cameras, pictures, views.depth, ids)
        else:  # labels are of the policy's own pictures, whatever their size
            size = (2, *views.nav.shape[:2])
            depth = np.empty(size, np.float32) if views.depth is None else views.depth
            ids = np.empty(size, np.int32) if ids is None else ids
            render_two(self._renderer, self._mesh, data, cameras, pictures, depth, ids)
            self._label(ids, depth, views.maps)
        if not together:
            render_two(self._id_renderer, self._id_mesh, data, cameras, ids=views.ids)

    def _label(self, ids: np.ndarray, depth: np.ndarray, maps: np.ndarray) -> None:
        """Write what a perfect image encoder would say of both pictures, given the instruction."""
        scene = self.home.scene
        if "geom_flags" not in scene.cache:
            scene.cache["geom_flags"] = geom_flags(scene)
        flags, scale = scene.cache["geom_flags"], ids.shape[1] // (PATCH * maps.shape[2])
        for view in range(2):
            maps[view] = perfect_maps(ids[view], depth[view], self._target_geoms, flags, scale)

    def _begin_potential(self) -> None:
        """Plan the way to the nearest target once; the field stays valid while the furniture stays."""
        floor = navigation_map(self.home, self._boxes(), self.targets)
        goals = np.zeros(floor.clearance.shape, dtype=bool)
        boxes = self._boxes()
        for entity in self.targets:
            goals |= floor.distance_to_box(boxes[entity, 0], boxes[entity, 1]) <= NEAR_TARGET
        self._floor, self._field = floor, floor.field(goals)
        self._potential = self._measure_potential()

    def _measure_potential(self) -> float:
        """Return minus the metres that are left: driving, and for a grasp from the tip to the target."""
        x, y, _ = self.home.pose
        left = min(float(self._field[self._floor.index(x, y)]), FAR)
        if self.scenario is not None and self.scenario.task != "ObjNav" and not self.holding:
            boxes, tip = self._boxes()[self.targets], self.home.gripper_tip
            gaps = np.maximum(np.maximum(boxes[:, 0] - tip, tip - boxes[:, 1]), 0.0)
            left += min(float(np.linalg.norm(gaps, axis=1).min(initial=FAR)), FAR)
        return -left


def count_pixels(ids: np.ndarray, geom_entity: np.ndarray, entities: int) -> np.ndarray:
    """Return (2, E) int32: pixels of each entity in two pictures of geom ids (2, H, W), -1 for nothing."""
    counts = np.zeros((2, entities), np.int32)
    for view in range(2):
        per_geom = np.bincount(ids[view].ravel() + 1, minlength=len(geom_entity) + 1)[1:]
        known = geom_entity >= 0
        counts[view] = np.bincount(geom_entity[known], weights=per_geom[known], minlength=entities)
    return counts
