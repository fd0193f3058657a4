"""``newroot ps``, ``rm`` and ``rmi`` on containers that run and that have ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from newroot.container.records import Container
from newroot.engine import Engine
from newroot.errors import NotFound, StateError, WrongStatus
from newroot.images.bootstrap import bootstrap_busybox
from newroot.linux.processes import start_ticks
from newroot.testing import needs
from newroot.testing.roots import find_busybox

pytestmark = needs("root", "busybox", "overlay")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(tmp_path / "root", run_root=str(tmp_path / "run")) as engine:
        bootstrap_busybox(engine.images, busybox=find_busybox())
        yield engine


def _newroot(engine: Engine, *words: str) -> list[str]:
    program = [sys.executable, "-m", "newroot.cli.main"]
    return [*program, "--root", engine.root, "--run-root", engine.run_root, *words]


def _call(engine: Engine, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_newroot(engine, *words), capture_output=True, text=True)


@contextmanager
def _running(engine: Engine, *words: str) -> Iterator[subprocess.Popen[str]]:
    """``newroot run`` in a process of its own, until its container is there."""
    command = ["sh", "-c", "echo ready; exec sleep 1000"]
    process = subprocess.Popen(
        _newroot(engine, "run", *words, "busybox", *command), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _only(engine: Engine) -> Container:
    (found,) = engine.containers()
    return found


def test_a_container_that_ended_is_listed_with_its_code(engine: Engine) -> None:
    engine.run("busybox", ["sh", "-c", "exit 3"], name="three", rm=False)
    found = _only(engine)

    assert (found.name, found.status, found.exit_code) == ("three", "exited", 3)
    assert found.source == "busybox"
    assert found.command == ("sh", "-c", "exit 3")
    assert found.finished is not None
    assert found.finished >= found.created


def test_a_signal_s_exit_code_is_128_more(engine: Engine) -> None:
    engine.run("busybox", ["sleep", "1000"], rm=False, timeout=0.2)

    assert _only(engine).exit_code == 128 + signal.SIGKILL


def test_a_running_container_s_pid_is_its_first_process_on_the_host(engine: Engine) -> None:
    with engine.popen("busybox", ["sleep", "1000"], rm=False) as process:
        found = _only(engine)
        state = engine.storage.state(found.id)
        process.kill()

        assert (found.status, found.pid) == ("running", process.pid)
        assert state["startTicks"] is not None


def test_pid_and_start_time_are_those_of_proc(engine: Engine) -> None:
    with engine.popen("busybox", ["sleep", "1000"], name="one") as process:
        state = engine.storage.state(_only(engine).id)
        expected = start_ticks(process.pid)
        process.kill()

    assert state["startTicks"] == expected


def test_a_throw_away_container_of_the_library_leaves_nothing_to_list(engine: Engine) -> None:
    engine.run("busybox", ["true"])

    assert engine.containers() == ()
    assert os.listdir(engine.run_root) == []


def test_a_container_that_is_removed_at_its_end_is_listed_while_it_runs(engine: Engine) -> None:
    with _running(engine, "--rm") as process:
        row = json.loads(_call(engine, "ps", "--format", "json").stdout)
        process.terminate()
        engine.remove_container(row["ID"], force=True)

    assert (row["Image"], row["State"]) == ("busybox", "running")
    assert row["Command"].startswith('"sh -c ')
    assert engine.containers() == ()


def test_ps_has_docker_s_columns(engine: Engine) -> None:
    engine.run("busybox", ["sh", "-c", "exit 3"], name="three", rm=False)
    heading, row = _call(engine, "ps", "-a").stdout.splitlines()

    assert "   ".join(heading.split("   ")).split() == (
        "CONTAINER ID IMAGE COMMAND CREATED STATUS PORTS NAMES".split()
    )
    assert row.startswith(f"{_only(engine).id[:12]}   busybox   \"sh -c 'exit 3'\"   Less than ")
    assert "Exited (3) Less than a second ago" in row
    assert row.endswith(" three")


def test_ps_without_all_shows_what_runs(engine: Engine) -> None:
    engine.run("busybox", ["true"], rm=False)

    assert _call(engine, "ps", "-q").stdout == ""
    assert _call(engine, "ps", "-aq").stdout == f"{_only(engine).id[:12]}\n"
    assert _call(engine, "ps", "-aq", "--no-trunc").stdout == f"{_only(engine).id}\n"


def test_the_newest_comes_first(engine: Engine) -> None:
    for name in ("first", "second", "third"):
        engine.run("busybox", ["true"], name=name, rm=False)

    assert [c.name for c in engine.containers()] == ["third", "second", "first"]


@pytest.mark.parametrize("how", ["name", "id", "prefix"])
def test_rm_takes_a_name_an_id_or_the_beginning_of_one(engine: Engine, how: str) -> None:
    engine.run("busybox", ["true"], name="one", rm=False)
    found = _only(engine)
    word = {"name": "one", "id": found.id, "prefix": found.id[:5]}[how]
    done = _call(engine, "rm", word)

    assert (done.stdout, done.stderr, done.returncode) == (f"{word}\n", "", 0)
    assert engine.containers() == ()


def test_what_was_removed_leaves_no_file_and_its_name_is_free(engine: Engine) -> None:
    engine.run("busybox", ["touch", "/x"], name="one", rm=False)
    engine.remove_container("one")
    left = [os.listdir(f"{engine.root}/{place}") for place in ("containers", "names")]

    assert left == [[], []]
    assert os.listdir(engine.run_root) == []
    engine.run("busybox", ["true"], name="one")


def test_a_running_container_is_not_removed_without_force(engine: Engine) -> None:
    with _running(engine, "--name", "one"):
        with pytest.raises(WrongStatus, match="it is running") as caught:
            engine.remove_container("one")

        assert caught.value.hint is not None
        assert "rm -f" in caught.value.hint
        assert _only(engine).status == "running"
        engine.remove_container("one", force=True)


def test_force_kills_a_container_of_another_process(engine: Engine) -> None:
    with _running(engine, "--name", "one") as process:
        done = _call(engine, "rm", "-f", "one")

        assert (done.stdout, done.stderr) == ("one\n", "")
        assert process.wait() == 128 + signal.SIGKILL
        assert engine.containers() == ()


def test_a_pid_that_means_another_process_by_now_is_not_killed(engine: Engine) -> None:
    from newroot.linux.processes import send_signal

    ours = os.getpid()
    began = start_ticks(ours)
    assert began is not None

    assert send_signal(ours, began + 1, signal.SIGKILL) is False


def test_rm_of_what_is_not_there_fails_and_goes_on(engine: Engine) -> None:
    engine.run("busybox", ["true"], name="one", rm=False)
    done = _call(engine, "rm", "none", "one")

    assert done.stdout == "one\n"
    assert done.stderr.startswith("newroot: no container none\n")
    assert done.returncode == 125
    assert _call(engine, "rm", "-f", "none").returncode == 0
    with pytest.raises(NotFound):
        engine.remove_container("none")


def test_anonymous_volumes_go_with_rm_v_and_named_ones_stay(engine: Engine) -> None:
    engine.run("busybox", ["true"], name="one", rm=False, volumes=["/anonymous", "named:/named"])
    engine.run("busybox", ["true"], name="two", rm=False, volumes=["/anonymous"])
    assert len(engine.volumes.list()) == 3
    engine.remove_container("one", with_volumes=True)
    engine.remove_container("two")
    left = [volume.name for volume in engine.volumes.list()]

    assert len(left) == 2
    assert "named" in left


def test_a_removal_that_was_killed_half_way_is_finished_by_the_next_command(engine: Engine) -> None:
    engine.run("busybox", ["true"], name="one", rm=False)
    claim = engine.storage.hold(_only(engine).id)
    assert claim is not None
    claim.write_state(name="one", remove=True)
    os.close(claim.fd)  # as the kernel does for whoever is killed
    with pytest.raises(NotFound):
        engine.remove_container("one")

    assert engine.containers() == ()
    assert os.listdir(f"{engine.root}/names") == []


def test_an_image_that_a_container_stands_on_is_not_removed(engine: Engine) -> None:
    engine.run("busybox", ["true"], name="one", rm=False)
    with pytest.raises(StateError, match=r"container one stands on it \(exited\)"):
        engine.remove_image("busybox")
    done = _call(engine, "rmi", "busybox")

    assert done.returncode == 125
    assert "hint: newroot rm one first" in done.stderr
    assert engine.run("busybox", ["true"]).returncode == 0


def test_a_running_throw_away_container_holds_its_image_too(engine: Engine) -> None:
    with _running(engine, "--rm", "--name", "one"):
        assert engine.layers_in_use() == frozenset(engine.images.get("busybox").layers)
        with pytest.raises(StateError, match=r"stands on it \(running\)"):
            engine.remove_image("busybox")
        engine.remove_container("one", force=True)
    engine.remove_image("busybox")

    assert engine.images.list() == ()


def test_one_of_two_names_may_go_though_a_container_stands_on_the_image(engine: Engine) -> None:
    engine.images.tag("busybox", "other")
    engine.run("busybox", ["true"], name="one", rm=False)

    assert engine.remove_image("busybox").deleted == ()


def test_with_force_the_image_goes_and_the_container_s_layers_stay(engine: Engine) -> None:
    engine.run("busybox", ["true"], name="one", rm=False)
    layers = engine.images.get("busybox").layers
    engine.remove_image("busybox", force=True)

    assert engine.images.list() == ()
    assert all(map(os.path.isdir, layers))
