"""What is kept for the case that a state goes bad: the states before the latest actions, and the model.

    mujoco.MjModel.from_binary_path("model.mjb"), numpy.load("states.npz") and mujoco.mj_setState
bring each of them back.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import tempfile
from pathlib import Path

import mujoco
import numpy as np

from safevla.world.compiled import compiled_brief

KEPT = 32  # actions of which the state before is kept
MOST_DUMPS = 10  # of one process: a home that goes bad again and again must not fill the disk
# All that the future of a home depends on, but sleep: forces on bodies, mocap and such are not used here.
STATE = int(
    mujoco.mjtState.mjSTATE_TIME
    | mujoco.mjtState.mjSTATE_QPOS
    | mujoco.mjtState.mjSTATE_QVEL
    | mujoco.mjtState.mjSTATE_WARMSTART
    | mujoco.mjtState.mjSTATE_CTRL
    | mujoco.mjtState.mjSTATE_QFRC_APPLIED
    | mujoco.mjtState.mjSTATE_EQ_ACTIVE
)
_LOG = logging.getLogger(__name__)
_numbers = itertools.count()


def default_folder() -> Path:
    """Return the folder for bad states: SAFEVLA_BAD_STATES, else one among the temporary files."""
    return Path(os.environ.get("SAFEVLA_BAD_STATES") or Path(tempfile.gettempdir()) / "safevla-bad-states")


@compiled_brief
def _pack(
    state: np.ndarray,
    time: float,
    qpos: np.ndarray,
    qvel: np.ndarray,
    warmstart: np.ndarray,
    ctrl: np.ndarray,
    applied: np.ndarray,
    active: np.ndarray,
) -> None:
    """Do what mj_getState does for STATE, without giving up the interpreter lock."""
    state[0] = time
    at = 1
    for part in (qpos, qvel, warmstart, ctrl, applied):
        for k in range(len(part)):
            state[at + k] = part[k]
        at += len(part)
    for k in range(len(active)):
        state[at + k] = active[k]


class StateRing:
    """The states of one home before its latest actions, and these actions.

    Args:
        model: the home's model.
        data: its state.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._model, self._data = model, data
        self._states = np.zeros((KEPT, mujoco.mj_stateSize(model, STATE)))
        self._actions = np.full(KEPT, -1, np.int64)
        self._count = 0

    def clear(self) -> None:
        """Forget everything: an episode begins."""
        self._count = 0

    def keep(self, action: int) -> None:
        """Keep the state before an action."""
        slot, data = self._count % KEPT, self._data
        _pack(
            self._states[slot],
            data.time,
            data.qpos,
            data.qvel,
            data.qacc_warmstart,
            data.ctrl,
            data.qfrc_applied,
            data.eq_active,
        )
        self._actions[slot] = action
        self._count += 1

    def latest(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the kept states (A, S) and actions (A,), oldest first."""
        order = np.arange(max(0, self._count - KEPT), self._count) % KEPT
        return self._states[order], self._actions[order]

    def dump(self, what: str, folder: Path | None = None) -> Path | None:
        """Write the model and what is kept into a new folder, and say so in the log.

        Args:
            what: what happened in which home, for the log and the file.
            folder: in which the new folder is made; default `default_folder()`.

        Returns:
            The new folder; None when this process has written enough of them, or it cannot be written.
        """
        number = next(_numbers)
        states, actions = self.latest()
        if number >= MOST_DUMPS:
            _LOG.warning("%s; %d bad states have been written, this one is not", what, MOST_DUMPS)
            return None
        target = (folder or default_folder()) / f"{os.getpid()}-{number}"
        try:
            target.mkdir(parents=True)
            mujoco.mj_saveModel(self._model, str(target / "model.mjb"))
            np.savez(target / "states.npz", states=states, actions=actions, signature=STATE)
            about = {"what": what, "mujoco": mujoco.__version__, "actions": actions.tolist()}
            (target / "about.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            _LOG.warning("%s; the states before could not be written: %s", what, error)
            return None
        _LOG.warning("%s; the model and the states before are in %s", what, target)
        return target
