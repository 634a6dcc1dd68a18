"""A policy behind a websocket: the example server for real, and servers that misbehave."""

import os
import re
import runpy
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from safevla.policy.checkpoint import load_policy
from safevla.policy.protocol import IncompatiblePolicyError, Policy, check_compatible
from safevla.policy.remote import RemotePolicy, RemotePolicyError, pack, unpack
from safevla.rollout import play
from safevla.types import ACTIONS, NO_ACTION, Observation
from toy import ToyEnv, scenario

pytest.importorskip("msgpack")
server = pytest.importorskip("websockets.sync.server")
EXAMPLE = Path(__file__).parents[2] / "examples" / "remote_server.py"
GREETING = {"safevla": 1, "constraints": None, "resolution": None, "max_steps": None}


def observe(homes):
    pictures = np.random.default_rng(0).integers(0, 256, (homes, 8, 8, 3), dtype=np.uint8)
    zeros = np.zeros(homes, np.int64)
    return Observation(pictures, pictures, zeros, zeros + NO_ACTION, zeros, ["find a mug"] * homes)


@contextmanager
def serving(handler):
    with server.serve(handler, "localhost", 0, max_size=None, compression=None) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"ws://localhost:{running.socket.getsockname()[1]}"
        running.shutdown()
        thread.join()


def answering(greeting, answer):
    def handle(socket):
        socket.send(pack(greeting))
        for message in socket:
            socket.send(answer(unpack(message)))

    return handle


def test_messages_survive():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    sent = {"a": array, "b": None, "c": ["x"], "d": np.int64(3), "e": np.zeros((0, 4), bool), "f": {"g": 1}}
    back = unpack(pack(sent))
    np.testing.assert_array_equal(back["a"], array)
    assert back["a"].dtype == array.dtype and back["e"].shape == (0, 4) and back["e"].dtype == bool
    assert (back["b"], back["c"], back["d"], back["f"]) == (None, ["x"], 3, {"g": 1})
    for junk in (b"", b"\xc1", pack(sent)[:-3], b'{"array": 1}'):
        with pytest.raises(ValueError):
            unpack(junk)


class Counter:
    """Answers the number of its decisions since a home was reset, and the uniforms it was given."""

    def __init__(self):
        self.age = np.zeros(0, np.int64)

    def reset(self, mask):
        if len(mask) != len(self.age):
            self.age = np.zeros(len(mask), np.int64)
        self.age[mask] = 0

    def act(self, seen, uniforms):
        assert seen["nav"].dtype == np.uint8 and len(seen["instruction"]) == len(self.age)
        self.age += 1
        return self.age - 1


def test_what_is_played_remotely_is_what_is_played_here():
    """The example's loop around a policy with a memory plays like the same policy in this process."""

    class Local(Counter):
        constraints = None

        def act(self, observation, uniforms=None):
            return SimpleNamespace(action=super().act(vars(observation), uniforms))

    example = runpy.run_path(str(EXAMPLE))
    scenarios = [scenario(number) for number in range(7)]
    with serving(partial(example["play"], Counter)) as address:
        remote = load_policy(address)
        assert isinstance(remote, Policy) and remote.constraints is None
        for _ in range(2):  # a second run with other homes begins anew
            here, there = (
                play(ToyEnv(3), policy, scenarios, keep=()) for policy in (LocalValues(Local()), remote)
            )
            for one, other in zip(here, there, strict=True):
                np.testing.assert_array_equal(one.actions, other.actions)
        two = RemotePolicy(address)  # another player, with a memory of its own
        two.reset(np.ones(1, bool))
        assert two.act(observe(1)).action.tolist() == [0]
        two.close()
        remote.close()


class LocalValues:
    def __init__(self, policy):
        self.policy, self.reset = policy, policy.reset

    def act(self, observation, uniforms):
        decision = self.policy.act(observation, uniforms)
        decision.values = np.zeros((len(decision.action), 1), np.float32)
        return decision


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"constraints": ["b"]}, "constraints"),
        ({"resolution": [8, 16]}, "resolution"),
        ({"resolution": 16}, "resolution"),
        ({"max_steps": 49}, "horizon"),
        ({"actions": ["jump"]}, "actions"),
    ],
)
def test_the_greeting_says_whether_the_policy_fits(facts, code):
    env = SimpleNamespace(constraints=("a",), resolution=(8, 8), horizon=50)
    fits = {"constraints": ["a"], "resolution": 8, "max_steps": 50, "actions": list(ACTIONS)}
    answer = pack({"action": np.zeros(2, np.int64)})
    with serving(answering(GREETING | fits, lambda request: answer)) as address:
        check_compatible(RemotePolicy(address), env)
    with serving(answering(GREETING | fits | facts, None)) as address:
        with pytest.raises(IncompatiblePolicyError) as caught:
            check_compatible(RemotePolicy(address), env)
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("greeting", "code", "text"),
    [
        (GREETING | {"safevla": 2}, "version", "version 2 .* this safevla version 1; update the safevla"),
        (GREETING | {"safevla": 0}, "version", "version 0 .* copy examples/remote_server.py anew"),
        ({"hello": 1}, "answer", "does not greet"),
    ],
)
def test_another_version_is_refused(greeting, code, text):
    with (
        serving(answering(greeting, None)) as address,
        pytest.raises(RemotePolicyError, match=text) as caught,
    ):
        RemotePolicy(address)
    assert caught.value.code == code and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "code", "text"),
    [
        ({"error": "KeyError:\n 'mug'"}, "failed", "failed: KeyError: 'mug'"),
        ({"action": np.zeros(1, np.int64)}, "decision", r"actions of shape \(1,\) .* expected \(2,\)"),
        ({"action": np.zeros(2, np.float32)}, "decision", "type float32"),
        ({"action": np.array([0, 20])}, "decision", "answers action 20, expected 0 to 19"),
        (
            {"action": np.zeros(2, np.int64), "values": np.zeros((2, 3))},
            "decision",
            r"values of shape \(2, 3\)",
        ),
        ({}, "answer", "without an action"),
    ],
)
def test_wrong_answers(answer, code, text):
    with serving(answering(GREETING, lambda request: pack(answer))) as address:
        policy = RemotePolicy(address)
        policy.reset(np.ones(2, bool))
        with pytest.raises(ValueError, match=text) as caught:
            policy.act(observe(2), np.zeros(2))
        assert caught.value.code == code and "\n" not in str(caught.value)


def test_junk_and_silence():
    with serving(answering(GREETING, lambda request: b"\xc1")) as address:
        with pytest.raises(RemotePolicyError, match="no message of the protocol") as caught:
            RemotePolicy(address).act(observe(1))
        assert caught.value.code == "answer"
    stop = threading.Event()
    with serving(answering(GREETING, lambda request: stop.wait(5) and pack({}))) as address:
        with pytest.raises(RemotePolicyError, match=r"no answer in 0.1 s"):
            RemotePolicy(address, patience=0.1).act(observe(1))
        stop.set()


def test_nobody_there():
    for address, code, text in (
        (
            "ws://localhost:9",
            "unreachable",
            "no policy server answers at ws://localhost:9 .* start the server",
        ),
        ("ws://", "unreachable", "is no address"),
        ("ws://nowhere.invalid:80", "unreachable", "no policy server answers"),
    ):
        with pytest.raises(RemotePolicyError, match=text) as caught:
            load_policy(address)
        assert caught.value.code == code and "\n" not in str(caught.value)


def test_the_example_runs_alone_and_its_death_is_told(tmp_path):
    """The file as a user copies it: no package of ours on its path; killed in the middle of an episode."""
    copy = tmp_path / "remote_server.py"
    copy.write_text(EXAMPLE.read_text())
    assert len(EXAMPLE.read_text().splitlines()) < 70 and "import safevla" not in copy.read_text()
    process = subprocess.Popen(
        [sys.executable, str(copy), "0"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": ""},
    )
    try:
        port = re.search(r":(\d+)$", process.stdout.readline().strip())[1]
        policy = load_policy(f"ws://localhost:{port}")
        policy.reset(np.ones(2, bool))
        seen = observe(2)
        assert policy.act(seen).action.tolist() == [0, 0]
        seen.step[:] = (3, 4)
        assert policy.act(seen, np.zeros(2)).action.tolist() == [2, 0]
        process.send_signal(signal.SIGKILL)
        process.wait()
        with pytest.raises(RemotePolicyError, match=r"went away .* --resume") as caught:
            policy.act(seen)
        assert caught.value.code == "lost"
    finally:
        process.kill()
        process.wait()
