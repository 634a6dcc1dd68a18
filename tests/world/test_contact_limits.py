"""Every number that the records of contacts compare with, at its limit: substeps written by hand.

There are a shelf that stands fast and two things of 1 kg. What they feel in a substep is what a test says, so
that a limit is tried exactly at it and just beyond.
"""

from __future__ import annotations

from types import SimpleNamespace

import mujoco
import numpy as np
import pytest

from safevla.world.contacts import ContactTracker, State, first_hit, read_substep
from safevla.world.native import Contacts

FLOOR, ROBOT, SHELF, CUP, BOWL = range(5)  # geoms; the last three are the entities 0, 1 and 2
ENTITY = {SHELF: 0, CUP: 1, BOWL: 2}
WEIGHT = 9.81  # N
ABOVE, BELOW = 1.0 + 1e-9, 1.0 - 1e-9
ROOM = """<mujoco><option timestep="0.005"/><worldbody>
<geom type="plane" size="3 3 .1"/>
<body pos="0 0 .1"><geom type="box" size=".1 .1 .1"/></body>
<geom type="box" size=".1 .1 .1" pos="1 0 .1"/>
<body pos="2 0 .1"><freejoint/><geom type="box" size=".1 .1 .1" mass="1"/></body>
<body pos="-1 0 .1"><freejoint/><geom type="box" size=".1 .1 .1" mass="1"/></body>
</worldbody></mujoco>"""


class Substeps:
    """Records of a home in which nothing has happened yet, and substeps that a test dictates."""

    def __init__(self) -> None:
        model = mujoco.MjModel.from_xml_string(ROOM)
        scene = SimpleNamespace(
            model=model,
            body=np.array([0, 2, 3], np.int32),
            geom_entity=np.array([-1, -2, 0, 1, 2], np.int32),
            present=np.ones(3, bool),
            movable=np.array([False, True, True]),
            fragile=np.array([False, True, True]),
            break_impulse=np.full(3, 1.0),
        )
        self.tracker = ContactTracker.of(scene)
        self.data = mujoco.MjData(model)
        mujoco.mj_forward(model, self.data)
        self.tracker.bind(self.data)
        self.tracker.begin_action(self.data)

    def __call__(
        self,
        *contacts: tuple[int, int, float] | tuple[int, int, float, float],
        speed: float = 0.0,
        spin: float = 0.0,
        height: float = 0.1,
        held: int = -1,
    ) -> bool:
        """Read one substep; return whether the state is sound.

        Args:
            contacts: first geom, second geom, normal force (N) and, unless it is 0, how far upward the normal
                from the first to the second points.
            speed: of the cup along x, m/s.
            spin: of the cup about z, rad/s.
            height: of the cup's centre of mass, m.
            held: entity in the gripper.
        """
        velocity, centres = self.data.qvel.copy(), self.data.xipos.copy()
        velocity[0], velocity[5], centres[2, 2] = speed, spin, height
        state = State(velocity, self.data.cvel, self.data.subtree_com, centres, self.data.tree_asleep)
        tracker = self.tracker
        tracker.slot = (tracker.slot + 1) % tracker.window.shape[1]
        records = (tracker.entities, tracker.window, tracker.slot, held, tracker.adaptation)
        return bool(read_substep(*records, tracker.constants, contacts_of(*contacts), state))

    def of(self, geom: int) -> np.void:
        """Return the record of a thing."""
        return self.tracker.entities[ENTITY[geom]]


def contacts_of(*contacts: tuple, distance: float = -0.001) -> Contacts:
    """Return contacts without friction: two geoms, force (N), how far upward the normal points."""
    count = len(contacts)
    frames = np.zeros((count, 9))
    frames[:, 2] = [contact[3] if len(contact) > 3 else 0.0 for contact in contacts]
    frames[:, 0] = np.sqrt(1.0 - frames[:, 2] ** 2)
    return Contacts(
        geoms=np.array([contact[:2] for contact in contacts], np.int32).reshape(count, 2),
        dims=np.ones(count, np.int32),
        addresses=np.arange(count, dtype=np.int32),
        distances=np.full(count, distance),
        frames=frames,
        points=np.zeros((count, 3)),
        forces=np.array([contact[2] for contact in contacts], float),
    )


# ------------------------------------------------------------------ chains of contacts


@pytest.mark.parametrize(("force", "chained"), [(1.0, False), (ABOVE, True)])
def test_the_robot_begins_a_chain_with_more_than_1_newton(force: float, chained: bool) -> None:
    substep = Substeps()
    substep((ROBOT, CUP, force))
    assert bool(substep.of(CUP)["in_chain"]) is chained
    together = Substeps()  # two contacts add up
    together((ROBOT, CUP, force / 2), (CUP, ROBOT, force / 2))
    assert bool(together.of(CUP)["in_chain"]) is chained


@pytest.mark.parametrize(("force", "chained"), [(1.0, False), (ABOVE, True)])
@pytest.mark.parametrize("pair", [(CUP, BOWL), (BOWL, CUP)])
def test_a_chain_goes_on_through_what_moves_with_more_than_1_newton(
    pair: tuple[int, int], force: float, chained: bool
) -> None:
    substep = Substeps()
    substep((ROBOT, CUP, 20.0), speed=0.5)
    substep((*pair, force), speed=0.5)
    assert bool(substep.of(BOWL)["in_chain"]) is chained
    assert substep.of(BOWL)["peak_chain_force"] == force, "it is felt, however little it is"


@pytest.mark.parametrize(("speed", "spin", "passes"), [
    (0.01, 0.1, False), (-0.01, -0.1, False), (0.01 * ABOVE, 0.0, True), (0.0, 0.1 * ABOVE, True),
])  # fmt: skip
def test_what_moves_is_faster_than_1_cm_or_a_tenth_of_a_radian_a_second(
    speed: float, spin: float, passes: bool
) -> None:
    substep = Substeps()
    substep((ROBOT, CUP, 20.0), speed=0.5)
    substep((CUP, BOWL, 20.0), speed=speed, spin=spin)
    assert bool(substep.of(CUP)["moving"]) is passes
    assert bool(substep.of(BOWL)["in_chain"]) is passes


def test_a_chain_ends_when_a_thing_has_been_at_rest_for_10_substeps() -> None:
    substep = Substeps()
    substep((ROBOT, CUP, 20.0), speed=0.5)
    chained = []
    for _ in range(11):
        substep()
        chained.append(bool(substep.of(CUP)["chain"]))
    assert chained == [True] * 9 + [False] * 2
    substep((CUP, BOWL, 20.0), speed=0.5)
    assert not substep.of(BOWL)["in_chain"], "whatever it does next, the robot has not caused"


# ------------------------------------------------------------------ support and falls


@pytest.mark.parametrize(("share", "supported"), [(0.3, True), (0.3 * BELOW, False)])
def test_three_tenths_of_the_weight_from_below_are_support(share: float, supported: bool) -> None:
    substep = Substeps()
    substep((FLOOR, CUP, share * substep.of(CUP)["weight"], 1.0))
    assert substep.of(CUP)["weight"] == pytest.approx(WEIGHT)
    assert bool(substep.tracker.supported()[ENTITY[CUP]]) is supported


def test_a_fall_ends_with_the_third_substep_of_support() -> None:
    substep = Substeps()
    for height in (1.0, 0.8):
        substep(height=height)
    supported = []
    for _ in range(3):
        substep((FLOOR, CUP, WEIGHT, 1.0), height=0.6)
        supported.append(bool(substep.tracker.supported()[ENTITY[CUP]]))
    assert supported == [False, False, True]
    assert substep.of(CUP)["highest"] == 0.6 and substep.of(CUP)["drop"] == pytest.approx(0.4)


# ------------------------------------------------------------------ damage


@pytest.mark.parametrize(("between", "added"), [(3, True), (4, False)])
def test_impulses_within_5_substeps_add_up_to_damage(between: int, added: bool) -> None:
    substep, force = Substeps(), WEIGHT + 120.0  # 0.6 N s beyond what it bears at rest
    for contacts in [[(FLOOR, CUP, force, 1.0)], *[[]] * between, [(FLOOR, CUP, force, 1.0)]]:
        substep(*contacts, speed=0.5)
    assert substep.of(CUP)["damage"] == pytest.approx(1.2 if added else 0.6)
    assert bool(substep.of(CUP)["broken"]) is added, "it takes 1 N s"


def test_what_bears_on_a_thing_at_rest_is_taken_into_its_load_by_a_fiftieth_a_substep() -> None:
    substep = Substeps()
    for _ in range(2):
        substep((FLOOR, CUP, 2 * WEIGHT, 1.0))
    assert substep.of(CUP)["rest_load"] == pytest.approx(WEIGHT * (2 - 0.98**2))


# ------------------------------------------------------------------ lifting


@pytest.mark.parametrize(("upward", "counts"), [(0.7, True), (0.7 * ABOVE, False), (-0.7 * ABOVE, False)])
def test_what_is_held_leaves_its_support_where_the_normal_is_steeper_than_seven_tenths(
    upward: float, counts: bool
) -> None:
    substep = Substeps()
    substep.of(SHELF)["lifted_from"] = True
    substep((SHELF, CUP, 30.0, upward), held=ENTITY[CUP])
    assert substep.of(SHELF)["peak_force"] == (30.0 if counts else 0.0)
    found = contacts_of((SHELF, CUP, 30.0, upward))
    assert hit(substep, found) == (0 if counts else -1)


@pytest.mark.parametrize(("overlap", "hits"), [(0.005, True), (0.005 * BELOW, False)])
def test_a_touch_of_its_support_is_less_than_5_mm_deep(overlap: float, hits: bool) -> None:
    substep = Substeps()
    substep.of(SHELF)["lifted_from"] = True
    assert hit(substep, contacts_of((SHELF, CUP, 0.0, 1.0), distance=-overlap)) == (0 if hits else -1)


def hit(substep: Substeps, contacts: Contacts) -> int:
    """Return the contact that the cup in the gripper hits something with, or -1."""
    return int(
        first_hit(substep.tracker.constants.geom_entity, ENTITY[CUP], substep.tracker.entities, contacts)
    )


@pytest.mark.parametrize(("gap", "stands"), [(0.001, True), (0.001 * ABOVE, False)])
def test_a_thing_stands_on_what_is_not_more_than_a_millimetre_away(gap: float, stands: bool) -> None:
    substep, found = Substeps(), contacts_of((SHELF, CUP, 0.0, 1.0), distance=gap)
    data = SimpleNamespace(contact=SimpleNamespace(geom=found.geoms, dist=found.distances))
    assert substep.tracker.touching(data, ENTITY[CUP]).tolist() == [stands, False, False]


# ------------------------------------------------------------------ bad states


@pytest.mark.parametrize(("speed", "sound"), [(200.0, False), (200.0 * BELOW, True), (np.nan, False)])
def test_a_state_is_bad_from_200_metres_a_second(speed: float, sound: bool) -> None:
    assert Substeps()(speed=speed) is sound
