"""Your policy in a process of its own: copy this file into its environment and put your model in `MyPolicy`.

    pip install websockets msgpack numpy                     # nothing of safevla is needed here
    python remote_server.py 8765                             # where the policy lives
    safevla assure --policy mine=ws://localhost:8765         # where the homes are

`observation` is a dict: nav, manip (N, H, W, 3) uint8; holding, last_action, step (N,); instruction, N
sentences; active (N,) bool, whose answer is wanted; joints (N, 3): lift m, arm m, wrist rad.
"""

import sys
from functools import partial
from typing import Any

import msgpack
import numpy as np
from websockets.sync.server import serve

FACTS = {"safevla": 1, "constraints": None, "resolution": None, "max_steps": None}  # None: whatever comes


class MyPolicy:
    """Drives ahead and now and then turns; a connection has one of its own, so it may remember episodes."""

    def reset(self, mask: np.ndarray) -> None:
        """Forget the homes where mask (N,) is True."""

    def act(self, observation: dict, uniforms: np.ndarray | None) -> np.ndarray:
        """Return ids of actions (N,); uniforms (N,) in [0, 1) sample them, None asks for the best ones."""
        return np.where(observation["step"] % 4 < 3, 0, 2)  # move_ahead, turn_left_30


def plain(value: np.ndarray) -> dict:
    """Return an array as it travels."""
    return {"array": value.dtype.str, "shape": value.shape, "data": value.tobytes()}


def whole(value: dict) -> Any:
    """Return the array that a mapping stands for; other mappings are what they are."""
    if "array" not in value:
        return value
    return np.frombuffer(value["data"], value["array"]).reshape(value["shape"])


def play(make_policy: Any, socket: Any) -> None:
    """Answer one player until it leaves."""
    policy = make_policy()
    socket.send(msgpack.packb(FACTS))
    for message in socket:
        try:
            request = msgpack.unpackb(message, object_hook=whole)
            mask, uniforms = request.pop("reset"), request.pop("uniforms")
            if mask.any():
                policy.reset(mask)
            answer = {"action": np.asarray(policy.act(request, uniforms))}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        socket.send(msgpack.packb(answer, default=plain))


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8765
    with serve(partial(play, MyPolicy), "localhost", port, max_size=None, compression=None) as server:
        print(f"waiting at ws://localhost:{server.socket.getsockname()[1]}", flush=True)
        server.serve_forever()
