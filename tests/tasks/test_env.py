import hashlib
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from safevla.safety.signals import VISIBLE_PIXELS
from safevla.safety.specification import Specification, load_specification
from safevla.tasks.env import HORIZONS, HomeVecEnv
from safevla.tasks.expert import Expert
from safevla.tasks.geometry import target_entities
from safevla.tasks.matching import matching_entities, true_descriptions
from safevla.tasks.sampling import ScenarioSampler, load_scenarios
from safevla.types import ACTION_ID, NO_ACTION
from safevla.world.appearance import Appearance
from safevla.world.simulator import HousePool

AHEAD, LEFT, END = ACTION_ID["move_ahead"], ACTION_ID["turn_left_30"], ACTION_ID["end"]
POOL = HousePool(8)


@pytest.fixture(scope="module")
def scenarios():
    sampler = ScenarioSampler(POOL)
    rng = np.random.default_rng(3)
    tasks = ("ObjNav", "PickUp", "Fetch")
    return [sampler.sample(task, rng, "val", prove=False) for task in tasks]


def make(scenarios, **settings):
    return HomeVecEnv(("ObjNav", "PickUp", "Fetch"), len(scenarios), pool=POOL, **settings)


def trace(scenarios, num_threads=1, steps=25, pool=POOL):
    """Return a hash of everything that an environment gave during a random run with two restarts."""
    count = len(scenarios)
    env = HomeVecEnv(("ObjNav", "PickUp", "Fetch"), count, num_threads, pool=pool)
    rng = np.random.default_rng(0)
    digest = hashlib.sha256()
    observation = env.reset(np.ones(count, bool), scenarios)
    for step_index in range(steps):
        if step_index in (9, 17):
            mask = np.arange(count) == step_index % count
            observation = env.reset(mask, [scenarios[step_index % count]])
        # Moving ahead half of the time, so that things are hit and the physics is run.
        actions = np.where(rng.random(count) < 0.5, AHEAD, rng.integers(0, 18, count))
        step = env.step(actions, rng.random(count) < 0.9)
        observation = step.observation
        for array in (observation.nav, observation.manip, observation.holding, step.costs, env.last_ids):
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(np.array([home.joints for home in env.homes]).tobytes())
        digest.update(repr(step.events).encode())
    env.close()
    return digest.hexdigest()


def test_the_same_bytes_for_one_and_two_threads(scenarios):
    assert trace(scenarios, 1) == trace(scenarios, 2)


def test_while_one_home_takes_long_the_others_act_before_pictures_are_drawn():
    """So that drawing is left to do for whoever is free, and the last home to act is not waited for."""
    env, log, drawn = HomeVecEnv(num_envs=4, num_threads=2), [], threading.Event()

    def act(index):
        log.append(("act", index))
        if index == 0:
            assert drawn.wait(30)

    def draw(index):
        log.append(("draw", index))
        if len([what for what, _ in log if what == "draw"]) == 3:
            drawn.set()

    env._for_each([0, 1, 2, 3], act, draw)
    env.close()
    assert [what for what, _ in log] == ["act"] * 4 + ["draw"] * 4 and log[-1] == ("draw", 0)
    assert {index for what, index in log if what == "draw"} == {0, 1, 2, 3}


def test_the_same_bytes_in_another_process(scenarios):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import numpy as np\n"
        "from test_env import trace\n"
        "from safevla.tasks.sampling import ScenarioSampler\n"
        "from safevla.world.simulator import HousePool\n"
        "sampler, rng = ScenarioSampler(), np.random.default_rng(3)\n"
        "scenarios = [sampler.sample(t, rng, 'val', prove=False) for t in ('ObjNav', 'PickUp', 'Fetch')]\n"
        "print(trace(scenarios, 2, pool=HousePool(4)))"
    )
    folder = __file__.rsplit("/", 1)[0]
    command = [sys.executable, "-c", code, folder]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == trace(scenarios)


def test_a_home_does_not_depend_on_its_neighbours(scenarios):
    together, alone = make(scenarios), make(scenarios[:1])
    together.reset(np.ones(3, bool), scenarios)
    alone.reset(np.ones(1, bool), scenarios[:1])
    for action in (AHEAD, LEFT, AHEAD, AHEAD, AHEAD, LEFT, AHEAD):
        first = together.step(np.array([action, LEFT, AHEAD]))
        second = alone.step(np.array([action]))
        assert np.array_equal(first.observation.nav[0], second.observation.nav[0])
        assert np.array_equal(first.costs[0], second.costs[0])


def test_observation_of_a_fresh_episode(scenarios):
    env = make(scenarios)
    observation = env.reset(np.ones(3, bool), scenarios)
    assert observation.nav.shape == (3, 112, 112, 3) and observation.nav.dtype == np.uint8
    assert observation.nav.std() > 5
    assert observation.instruction == [scenario.instruction for scenario in scenarios]
    assert (observation.last_action == NO_ACTION).all() and (observation.step == 0).all()
    assert env.visible_pixels.shape == (3, 2, len(env.homes[0].scene.names))


def test_joints_are_those_of_the_arm(scenarios):
    env = make(scenarios)
    joints = env.reset(np.array([True, False, False]), scenarios[:1]).joints
    assert joints.dtype == np.float32 and not joints[1:].any()
    np.testing.assert_allclose(joints[0], [0.5, 0, np.pi / 2], rtol=1e-6)
    for action, change in (("arm_out_2", [0, 0.02, 0]), ("lift_up_10", [0.1, 0, 0])):
        before, joints = joints, env.step(np.full(3, ACTION_ID[action])).observation.joints
        np.testing.assert_allclose(joints[0] - before[0], change, atol=2e-3)
    assert not np.shares_memory(joints, before)


def test_motion_is_what_the_last_action_changed(scenarios):
    """Oracle: joints before and after, turned into the frame of the base; nothing moves against a wall."""
    env = make(scenarios[:2])
    first = env.reset(np.array([True, False]), scenarios[:1]).motion
    assert first.dtype == np.float32 and first.shape == (2, 6) and not first.any()
    seen = set()
    for action in ("turn_left_30", "move_ahead", "move_back", "lift_up_10", "arm_out_10", "wrist_left_10"):
        before = env.homes[0].joints
        motion = env.step(np.full(2, ACTION_ID[action])).observation.motion[0]
        change = env.homes[0].joints - before
        turned = np.exp(-1j * before[2]) * complex(change[0], change[1])
        expected = [turned.real, turned.imag, change[2], change[3], change[4:6].sum(), change[6]]
        np.testing.assert_allclose(motion, expected, atol=1e-6)
        seen.add(int(np.abs(motion).argmax()))
    assert {2, 3} <= seen
    for _ in range(60):  # until a wall stops it
        motion = env.step(np.full(2, ACTION_ID["move_ahead"])).observation.motion[0]
    assert abs(motion[0]) < 0.02


def test_observations_that_were_handed_out_never_change(scenarios):
    env = make(scenarios)
    first = env.reset(np.ones(3, bool), scenarios)
    kept = first.nav.copy()
    env.step(np.array([LEFT, LEFT, LEFT]))
    assert np.array_equal(first.nav, kept)


def test_inactive_and_ended_homes_are_left_alone(scenarios):
    env = make(scenarios)
    env.reset(np.ones(3, bool), scenarios)
    step = env.step(np.array([END, LEFT, LEFT]), np.array([True, True, False]))
    assert step.terminated.tolist() == [True, False, False]
    assert step.observation.step.tolist() == [1, 1, 0]
    before = env.homes[0].joints
    again = env.step(np.array([AHEAD, LEFT, LEFT]))
    assert again.observation.step.tolist() == [1, 2, 1]
    assert not again.terminated.any() and not again.costs[0].any() and again.events[0] == []
    assert np.array_equal(env.homes[0].joints, before)


def test_the_terminal_step_carries_its_own_cost(scenarios, monkeypatch):
    def always(self, state, tracker, active=None):
        costs = np.repeat(np.asarray(active, np.float32)[:, None], len(self.constraints), axis=1)
        return costs, [[] for _ in range(len(costs))]

    monkeypatch.setattr(Specification, "evaluate", always)
    env = make(scenarios)
    env.reset(np.ones(3, bool), scenarios)
    ending = env.step(np.array([END, LEFT, LEFT]))
    assert ending.costs.all()
    after = env.step(np.array([END, LEFT, LEFT]))
    assert not after.costs[0].any() and after.costs[1:].all()


def test_what_happens_in_the_last_step_before_the_horizon_is_charged(scenarios):
    def play(horizon):
        env = make(scenarios[:1], horizon=horizon, specification="strict")
        env.reset(np.ones(1, bool), scenarios[:1])
        return [env.step(np.array([AHEAD])) for _ in range(horizon)]

    whole = play(30)
    charged = [index for index, step in enumerate(whole) if step.costs.any()]
    assert charged, "it drives into something"
    cut = play(charged[0] + 1)[-1]
    assert cut.truncated[0] and not whole[charged[0]].truncated[0]
    assert np.array_equal(cut.costs, whole[charged[0]].costs) and cut.events == whole[charged[0]].events != [
        []
    ]


def test_success_is_judged_only_at_end(scenarios):
    scenario = next(item for item in scenarios if item.task == "PickUp")
    env = make([scenario])
    env.reset(np.ones(1, bool), [scenario])
    expert = Expert(env.homes[0], scenario)
    rewards, successes = [], []
    for _ in range(env.horizons[0]):
        step = env.step(np.array([expert.act(env.visible_pixels[0])]))
        rewards.append(float(step.reward[0]))
        successes.append(bool(step.success[0]))
        if step.terminated[0]:
            break
    assert successes[-1] and rewards[-1] == 10.0
    assert not any(successes[:-1]) and not any(rewards[:-1])


def test_ending_at_once_is_a_failure(scenarios):
    env = make(scenarios)
    env.reset(np.ones(3, bool), scenarios)
    step = env.step(np.full(3, END))
    assert step.terminated.all() and not step.success.any() and not step.reward.any()


def test_the_horizon_truncates(scenarios):
    env = make(scenarios[:1], horizon=3)
    env.reset(np.ones(1, bool), scenarios[:1])
    flags = [env.step(np.array([LEFT])) for _ in range(4)]
    assert [bool(step.truncated[0]) for step in flags] == [False, False, True, False]
    assert not any(step.terminated[0] for step in flags)


def test_each_home_ends_with_the_horizon_of_its_size_class(scenarios, monkeypatch):
    """A large home cannot be judged with the 200 steps of a small one by accident."""
    assert HORIZONS == {"S": 200, "M": 600, "L": 600, "foreign": 600}
    monkeypatch.setitem(HORIZONS, "S", 2)
    monkeypatch.setitem(HORIZONS, "M", 4)
    small = scenarios[0]
    large = ScenarioSampler(POOL).sample(small.task, np.random.default_rng(0), size_class="M", prove=False)
    env = make([small, large])
    assert env.horizons.tolist() == [0, 0]
    env.reset(np.ones(2, bool), [small, large])
    assert env.horizons.tolist() == [2, 4]
    flags = [env.step(np.full(2, LEFT)).truncated.tolist() for _ in range(4)]
    assert flags == [[False, False], [True, False], [False, False], [False, True]]
    env.reset(np.array([True, False]), [large])
    assert env.horizons.tolist() == [4, 4]
    assert make([small, large], horizon=7).horizons.tolist() == [7, 7]


def test_a_planted_bad_state_ends_that_episode_and_the_run_goes_on(scenarios, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env, same = make(scenarios), make(scenarios)
    for each in (env, same):
        each.reset(np.ones(3, bool), scenarios)
        each.step(np.full(3, LEFT))
    env.homes[1].dump_folder = tmp_path / "bad"
    env.homes[1].data.qvel[0] = np.nan
    step, sound = (each.step(np.full(3, AHEAD)) for each in (env, same))
    assert step.truncated.tolist() == [False, True, False] and not step.terminated.any()
    assert (env.homes[1].dump / "states.npz").exists()
    others = [0, 2]
    assert np.array_equal(step.observation.nav[others], sound.observation.nav[others])
    assert np.array_equal(step.costs[others], sound.costs[others]) and np.isfinite(step.costs).all()
    env.reset(step.truncated, [scenarios[1]])
    same.reset(step.truncated, [scenarios[1]])
    step, sound = (each.step(np.full(3, LEFT)) for each in (env, same))
    assert not step.truncated.any()
    assert np.array_equal(step.observation.nav, sound.observation.nav)


def test_costs_do_not_depend_on_the_picture_size(scenarios):
    small, large = make(scenarios[:1], resolution=64), make(scenarios[:1])
    for env in (small, large):
        env.reset(np.ones(1, bool), scenarios[:1])
    for action in [AHEAD] * 12 + [LEFT] + [AHEAD] * 6:
        a, b = small.step(np.array([action])), large.step(np.array([action]))
        assert a.observation.nav.shape[1] == 64
        assert np.array_equal(a.costs, b.costs) and a.events == b.events
        assert np.array_equal(small.last_ids, large.last_ids)


def test_shaping_rewards_coming_nearer(scenarios):
    scenario = scenarios[0]
    env = make([scenario], shaping=1.0)
    env.reset(np.ones(1, bool), [scenario])
    expert = Expert(env.homes[0], scenario)
    total = 0.0
    for _ in range(env.horizons[0]):
        action = expert.act(env.visible_pixels[0])
        step = env.step(np.array([action]))
        if step.terminated[0]:
            break
        total += float(step.reward[0])
    assert step.success[0]
    assert total > 0.5


def test_wrong_use_is_one_clear_error(scenarios):
    with pytest.raises(ValueError, match="unknown task 'ObjNaw'"):
        HomeVecEnv("ObjNaw")
    with pytest.raises(ValueError, match="num_envs is 0"):
        HomeVecEnv("ObjNav", 0)
    env = HomeVecEnv("ObjNav", 2, pool=POOL, specification=load_specification("safevla"))
    with pytest.raises(ValueError, match="reset got 1 scenarios for 2 homes"):
        env.reset(np.ones(2, bool), scenarios[:1])
    with pytest.raises(ValueError, match="asks for PickUp"):
        env.reset(np.array([True, False]), [replace(scenarios[0], task="PickUp")])
    with pytest.raises(ValueError, match="reset needs scenarios"):
        env.reset()
    env.reset(np.array([True, False]), scenarios[:1])
    with pytest.raises(ValueError, match="action 20 of home 0"):
        env.step(np.array([20, 0]))
    with pytest.raises(ValueError, match="actions have shape"):
        env.step(np.array([1]))


def test_homes_of_different_classes_step_together_and_change_nothing_for_each_other(scenarios):
    """What a small home gives beside larger ones is what it gives alone, costs and events included."""
    sampler = ScenarioSampler(POOL)
    large = [
        sampler.sample("Fetch", np.random.default_rng(1), "val", prove=False, size_class=name)
        for name in "ML"
    ]
    together = [scenarios[1], *large, scenarios[2]]
    rng = np.random.default_rng(8)
    actions = np.where(rng.random((30, 4)) < 0.6, AHEAD, rng.integers(0, 18, (30, 4)))

    def play(played, rows):
        env = make(played)
        env.reset(None, played)
        kept = []
        for row in actions[:, rows]:
            step = env.step(row)
            kept.append((step.observation.nav, step.costs, step.events))
        assert env.visible_pixels.shape[2] == max(len(home.scene.names) for home in env.homes)
        return kept

    alone = play([scenarios[1], scenarios[2]], [0, 3])
    for (nav, costs, events), (nav_all, costs_all, events_all) in zip(
        alone, play(together, range(4)), strict=True
    ):
        np.testing.assert_array_equal(nav, nav_all[[0, 3]])
        np.testing.assert_array_equal(costs, costs_all[[0, 3]])
        assert events == [events_all[0], events_all[3]]


def test_a_larger_home_may_come_later(scenarios):
    """What was charged for in a running episode stays known when a larger home moves in beside it."""
    large = ScenarioSampler(POOL).sample(
        "Fetch", np.random.default_rng(2), "val", prove=False, size_class="M"
    )
    env = make([scenarios[0], scenarios[1]])
    env.reset(None, [scenarios[0], scenarios[1]])
    env.step(np.array([AHEAD, AHEAD]))
    env.reset(np.array([False, True]), [large])
    step = env.step(np.array([AHEAD, LEFT]))
    assert step.costs.shape == (2, len(env.constraints))
    assert env.state.contact_force.shape[1] == len(env.homes[1].scene.names)


def described(task, kind):
    """Return a scenario, the things that its description fits, and others of their type in the home."""
    sampler = ScenarioSampler(POOL, described=1.0)
    for seed in range(60):
        scenario = sampler.sample(task, np.random.default_rng(seed), prove=False)
        settled = POOL.of(scenario)
        meant = matching_entities(settled, scenario.target, scenario.which)
        others = np.setdiff1d(target_entities(settled.scene, scenario.target), meant)
        if scenario.which.startswith(kind) and len(others):
            return scenario, meant, others
    raise AssertionError("no such scenario")


def test_holding_one_of_another_colour_is_no_success(monkeypatch):
    scenario, meant, others = described("PickUp", "colour")
    env = HomeVecEnv("PickUp", 1, pool=POOL)
    env.reset(np.ones(1, bool), [scenario])
    env.step(np.array([LEFT]))
    assert env.state.target[0, meant].all() and not env.state.target[0, others].any()
    for held, success in ((meant[0], True), (others[0], False)):
        monkeypatch.setattr(type(env.homes[0]), "held", property(lambda home, held=held: int(held)))
        assert env._seats[0].succeeded() == success
        assert env._seats[0].distracted() != success
        env.reset(np.ones(1, bool), [scenario])
        step = env.step(np.array([END]))
        assert (step.success.tolist(), step.distractor.tolist()) == ([success], [not success])


def test_ending_before_one_in_another_place_is_a_failure():
    scenario, meant, others = described("ObjNav", "colour")
    env = HomeVecEnv("ObjNav", 1, pool=POOL)
    found = {}
    # The same home, start and actions: the expert looks for one of the others and ends there.
    opposite = next(
        which
        for which, entities in true_descriptions(POOL.of(scenario), scenario.target).items()
        if which.startswith("colour") and set(entities) <= set(others)
    )
    for which in (scenario.which, opposite):
        env.reset(np.ones(1, bool), [scenario])
        expert = Expert(env.homes[0], replace(scenario, which=which))
        for _ in range(200):
            step = env.step(np.array([expert.act(env.visible_pixels[0])]))
            if step.terminated[0]:
                break
        seen = env.visible_pixels[0, 0, meant].max() >= VISIBLE_PIXELS
        found[which] = bool(step.success[0]), seen
        assert step.distractor[0] != step.success[0]
    assert found[scenario.which] == (True, True)
    assert found[opposite][0] is False or found[opposite][1]  # unless one that is meant is in view there too


def test_without_a_description_nothing_of_the_type_is_a_distractor():
    scenario, _, _ = described("ObjNav", "colour")
    env = HomeVecEnv("ObjNav", 2, pool=POOL)
    env.reset(np.ones(2, bool), [scenario, replace(scenario, which="")])
    step = env.step(np.array([LEFT, LEFT]))
    assert not step.distractor.any() and not env._seats[1].distracted()


def test_a_home_that_is_painted_anew_cannot_ask_for_colours():
    scenario, _, _ = described("ObjNav", "colour")
    env = HomeVecEnv("ObjNav", 1, pool=POOL, appearance=Appearance(seed=1, colour=1.0))
    with pytest.raises(ValueError, match="this appearance repaints the home; change the light alone"):
        env.reset(np.ones(1, bool), [scenario])
    HomeVecEnv("ObjNav", 1, pool=POOL, appearance=Appearance(brightness=0.7)).reset(
        np.ones(1, bool), [scenario]
    )


def test_a_share_of_the_training_homes_is_painted_anew():
    named = replace(described("ObjNav", "colour")[0], split="train")
    scenarios = [*load_scenarios("ObjNav-train")[:12], *load_scenarios("ObjNav-val")[:2], named]

    def look(repaint):
        env = HomeVecEnv("ObjNav", 1, pool=POOL, repaint=repaint)
        seen = [(env.reset(np.ones(1, bool), [item]).nav.copy(), env.last_ids.copy()) for item in scenarios]
        return np.stack([nav for nav, _ in seen]), np.stack([ids for _, ids in seen])

    (plain, known), half, again, painted = look(0.0), look(0.5), look(0.5), look(1.0)
    for _, ids in (half, again, painted):
        np.testing.assert_array_equal(ids, known)
    np.testing.assert_array_equal(half[0], again[0])
    differs = [(pictures != plain).any((1, 2, 3, 4)) for pictures in (half[0], painted[0])]
    assert 2 <= differs[0].sum() <= 10
    assert differs[1][:12].all() and not differs[1][12:].any()
    with pytest.raises(ValueError, match=r"repaint is 1.5, expected a share"):
        HomeVecEnv("ObjNav", 1, pool=POOL, repaint=1.5)


def test_a_step_before_the_first_reset_is_refused():
    env = HomeVecEnv("ObjNav", 2, pool=POOL)
    with pytest.raises(ValueError, match="call reset before the first step"):
        env.step(np.zeros(2, np.int64))
