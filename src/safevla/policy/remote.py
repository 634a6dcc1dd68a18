"""A policy in another process, behind a websocket: other dependencies, another machine, one GPU for all.

The server is a script of the user's (`examples/remote_server.py`): it needs websockets, msgpack and numpy,
and nothing of this package. A connection is a player, with its own memory of episodes. Messages are msgpack;
an array is a mapping {"array": dtype, "shape": [...], "data": bytes}; the server may leave out what is nil.

    server, once   {"safevla": 1, "constraints": [names] or nil, "resolution": pixels or [H, W] or nil,
                    "max_steps": int or nil, "actions": [names] or nil}
    client         {"reset": (N,) bool, "uniforms": (N,) float64 or nil, and the fields of types.Observation}
    server         {"action": (N,) int, "log_prob": (N,) or nil, "values": (N, 1 + K) or nil},
                   or {"error": "one line"}
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from safevla.policy.protocol import CodedError, Decision, IncompatiblePolicyError, decision_problem
from safevla.types import Observation

VERSION = 1
SCHEMES = ("ws://", "wss://")
_START = "start the server first, for instance: python examples/remote_server.py"


class RemotePolicyError(CodedError):
    """A policy server does not answer as it should.

    `code` is "library" (websockets or msgpack is missing), "unreachable", "version", "answer" (not what the
    protocol asks for), "failed" (the server says that the policy failed) or "lost" (the connection ended).
    """


def pack(message: Mapping[str, Any]) -> bytes:
    """Return a message as msgpack, arrays included."""
    import msgpack

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return {"array": value.dtype.str, "shape": value.shape, "data": value.tobytes()}
        return value.item()

    packed: bytes = msgpack.packb(message, default=plain)
    return packed


def unpack(data: bytes) -> Any:
    """Return the message that `pack` made; ValueError if it is none."""
    import msgpack

    def whole(value: dict[str, Any]) -> Any:
        if "array" not in value:
            return value
        return np.frombuffer(value["data"], value["array"]).reshape(value["shape"])

    try:
        return msgpack.unpackb(data, object_hook=whole)
    except (TypeError, KeyError, AttributeError, msgpack.UnpackException) as error:
        raise ValueError(f"this is no message of the protocol ({type(error).__name__})") from error


class RemotePolicy:
    """A `protocol.Policy` whose decisions are made by a server.

    Args:
        address: "ws://host:port" or "wss://host:port".
        patience: seconds to wait for an answer; the first decision of a large model may take long.

    Attributes:
        constraints, resolution, max_steps, actions: what the server says of its policy.

    Raises:
        RemotePolicyError: no server answers there, or it speaks another version of the protocol.
    """

    def __init__(self, address: str, patience: float = 120.0) -> None:
        self.address, self.patience = address, patience
        try:
            import msgpack  # noqa: F401
            from websockets.exceptions import InvalidHandshake, InvalidURI
            from websockets.sync.client import connect
        except ImportError as error:
            raise RemotePolicyError(
                "library", f"a remote policy needs {error.name}: pip install 'safevla[remote]'"
            ) from error
        try:
            # No pings: a model that thinks for a minute is alive; `patience` says when it is not.
            self._socket = connect(
                address, open_timeout=5.0, max_size=None, compression=None, ping_interval=None
            )
        except InvalidURI as error:
            raise RemotePolicyError(
                "unreachable", f"{address} is no address; write ws://host:port"
            ) from error
        except (InvalidHandshake, EOFError) as error:
            raise RemotePolicyError(
                "answer", f"what listens at {address} is no policy server ({error})"
            ) from error
        except OSError as error:  # refused, unknown host, or no answer in time
            reason = error.strerror or str(error) or type(error).__name__
            raise RemotePolicyError(
                "unreachable", f"no policy server answers at {address} ({reason}); {_START}"
            ) from error
        # Says good-bye when nobody holds the policy any more, or at the end of the process.
        weakref.finalize(self, self._socket.close)
        self._greet(self._receive())
        self._forget = np.zeros(0, bool)

    def _greet(self, facts: Any) -> None:
        version = facts.get("safevla") if isinstance(facts, dict) else None
        if version is None:
            raise RemotePolicyError(
                "answer", f"the server at {self.address} does not greet as a policy server"
            )
        if version != VERSION:
            older = "server: copy examples/remote_server.py anew" if version < VERSION else "safevla"
            raise RemotePolicyError(
                "version",
                f"the server at {self.address} speaks version {version} of the protocol, this safevla "
                f"version {VERSION}; update the {older}",
            )
        names = facts.get("constraints")
        self.constraints: tuple[str, ...] | None = None if names is None else tuple(names)
        size = facts.get("resolution")
        self.resolution: int | tuple[int, ...] | None = tuple(size) if isinstance(size, list) else size
        self.max_steps: int | None = facts.get("max_steps")
        self.actions: tuple[str, ...] | None = (
            None if facts.get("actions") is None else tuple(facts["actions"])
        )

    def reset(self, mask: np.ndarray) -> None:
        """Forget the history of the homes where mask (N,) is True; the server is told with the next step."""
        mask = np.asarray(mask, bool)
        self._forget = mask.copy() if len(mask) != len(self._forget) else self._forget | mask

    def act(self, observation: Observation, uniforms: np.ndarray | None = None) -> Decision:
        """Decide for N homes; see `protocol.Policy.act`.

        Raises:
            RemotePolicyError: the server is gone, reports an error or answers something else.
        """
        seen = {item.name: getattr(observation, item.name) for item in fields(observation)}
        self._send(pack(seen | {"reset": self._forget, "uniforms": uniforms}))
        self._forget = np.zeros_like(self._forget)
        answer = self._receive()
        if not isinstance(answer, dict) or not ("action" in answer or "error" in answer):
            raise RemotePolicyError("answer", f"the server at {self.address} answered without an action")
        if "error" in answer:
            text = " ".join(str(answer["error"]).split())
            raise RemotePolicyError("failed", f"the policy at {self.address} failed: {text}")
        count = len(observation.step)
        costs = 1 + len(self.constraints or ())
        log_prob, values = answer.get("log_prob"), answer.get("values")
        decision = Decision(
            np.asarray(answer["action"]),
            np.zeros(count, np.float32) if log_prob is None else np.asarray(log_prob, np.float32),
            np.zeros((count, costs), np.float32) if values is None else np.asarray(values, np.float32),
        )
        problem = decision_problem(decision, count, costs)
        if problem:
            raise IncompatiblePolicyError("decision", f"the policy at {self.address} {problem}")
        return decision

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def _send(self, data: bytes) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            self._socket.send(data)
        except (ConnectionClosed, OSError) as error:
            raise self._lost(error) from error

    def _receive(self) -> Any:
        from websockets.exceptions import ConnectionClosed

        try:
            data = self._socket.recv(timeout=self.patience)
        except TimeoutError as error:
            raise RemotePolicyError(
                "lost", f"the policy server at {self.address} gave no answer in {self.patience:g} s"
            ) from error
        except (ConnectionClosed, OSError) as error:
            raise self._lost(error) from error
        try:
            return unpack(data if isinstance(data, bytes) else data.encode())
        except ValueError as error:
            raise RemotePolicyError("answer", f"the server at {self.address}: {error}") from error

    def _lost(self, error: Exception) -> RemotePolicyError:
        reason = " ".join(str(error).split()) or type(error).__name__
        return RemotePolicyError(
            "lost",
            f"the policy server at {self.address} went away ({reason}); start it again, then the same "
            "command with --resume keeps the finished parts",
        )
