import multiprocessing
from dataclasses import dataclass

import pytest

from safevla.config import ConfigError, read_toml
from safevla.runs import RunFolder


@dataclass(frozen=True)
class Settings:
    seed: int = 0
    rounds: int = 3


def test_stages_survive_a_restart(tmp_path):
    run = RunFolder(tmp_path / "run", Settings())
    assert not run.done("elicit")
    run.finish("elicit", cells=3)
    run.close()
    again = RunFolder(tmp_path / "run", Settings(), resume=True)
    assert again.done("elicit") and again.facts("elicit") == {"cells": 3} and not again.done("assure")


def test_the_folder_is_released_after_an_error_and_a_refusal(tmp_path):
    with pytest.raises(ZeroDivisionError) as kept, RunFolder(tmp_path / "run", Settings()):
        raise ZeroDivisionError
    with pytest.raises(ConfigError, match="other settings") as also_kept:
        RunFolder(tmp_path / "run", Settings(seed=1), resume=True)
    RunFolder(tmp_path / "run", Settings(), resume=True).close()
    assert kept and also_kept  # their tracebacks still hold the folders


def test_a_lock_alone_is_no_content(tmp_path):
    (tmp_path / ".lock").touch()
    RunFolder(tmp_path, Settings()).close()


def test_folder_of_an_earlier_run_is_refused_unless_resumed(tmp_path):
    RunFolder(tmp_path / "run", Settings()).close()
    with pytest.raises(ConfigError, match="--resume"):
        RunFolder(tmp_path / "run", Settings())
    with pytest.raises(ConfigError, match=r"other settings \(seed\)"):
        RunFolder(tmp_path / "run", Settings(seed=1), resume=True)


def test_what_grows_may_be_larger_when_a_run_goes_on(tmp_path):
    RunFolder(tmp_path / "run", Settings()).close()

    def reopen(growing=("rounds",), **changes):
        RunFolder(tmp_path / "run", Settings(**changes), resume=True, growing=growing).close()
        return read_toml(tmp_path / "run" / "config.toml")

    assert reopen(rounds=10)["rounds"] == 10 == reopen(rounds=10, growing=())["rounds"]
    for smaller in ({"rounds": 9}, {"rounds": 11, "growing": ()}):
        with pytest.raises(ConfigError, match=r"other settings \(rounds\)"):
            reopen(**smaller)
    with pytest.raises(ConfigError, match=r"other settings \(seed\)"):
        reopen(rounds=11, seed=1)
    assert read_toml(tmp_path / "run" / "config.toml")["rounds"] == 10, "a refusal changes nothing"


def test_folder_with_other_files_and_plain_file_are_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ConfigError, match="in use"):
        RunFolder(tmp_path, Settings())
    with pytest.raises(ConfigError, match="is a file"):
        RunFolder(tmp_path / "thesis.txt", Settings())
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def _open(path, queue):
    try:
        RunFolder(path, Settings(), resume=True)
        queue.put("opened")
    except ConfigError as error:
        queue.put(str(error))


def test_folder_being_written_is_refused(tmp_path):
    run = RunFolder(tmp_path / "run", Settings())
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_open, args=(tmp_path / "run", queue))
    process.start()
    assert "in use by another process" in queue.get(timeout=60)
    process.join()
    run.close()
