"""``ps``, ``inspect``, ``top``, ``stats``, ``port``: what is told of containers is so."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from newroot.engine import Engine
from newroot.errors import NotFound, WrongStatus
from newroot.testing import needs

pytestmark = [needs("root", "overlay", "busybox"), pytest.mark.timeout(60)]

Newroot = Callable[..., str]


@pytest.fixture
def newroot(root: Path, newroot_command: str) -> Newroot:
    """The command on *root*: what it says, when it does as it is told."""

    def newroot(*words: str, code: int = 0) -> str:
        done = subprocess.run(
            [newroot_command, "--root", root, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    return newroot


@pytest.fixture
def running(engine: Engine) -> Callable[..., str]:
    """Starts a detached container, which ends with the test's engine root."""
    made: list[str] = []

    def run(*command: str, **words: object) -> str:
        made.append(engine.create("busybox", list(command), **words))
        engine.start(made[-1])
        return made[-1]

    yield run  # type: ignore[misc]
    for container_id in made:
        engine.remove_container(container_id, force=True)


def test_inspect_has_the_fields_that_scripts_ask_for(
    engine: Engine, running: Callable[..., str]
) -> None:
    made = running(
        "sleep",
        "100",
        name="one",
        label=["a=b"],
        env={"X": "y"},
        volumes=["data:/d:ro"],
        memory="64m",
        restart="on-failure:3",
    )
    facts = engine.inspect("one", size=True)

    assert (facts["Id"], facts["Name"], facts["Path"], facts["Args"]) == (
        made,
        "/one",
        "sleep",
        ["100"],
    )
    state = facts["State"]
    assert (state["Status"], state["Running"], state["Paused"]) == ("running", True, False)
    assert os.path.exists(f"/proc/{state['Pid']}")
    assert facts["Config"]["Cmd"] == ["sleep", "100"]
    assert facts["Config"]["Labels"] == {"a": "b"}
    assert "X=y" in facts["Config"]["Env"]
    assert facts["HostConfig"]["Memory"] == 64 << 20
    assert facts["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    (mount,) = facts["Mounts"]
    assert (mount["Type"], mount["Name"], mount["Destination"], mount["RW"]) == (
        "volume",
        "data",
        "/d",
        False,
    )
    assert os.path.isdir(mount["Source"])
    assert os.path.isdir(facts["GraphDriver"]["Data"]["UpperDir"])
    assert facts["SizeRootFs"] > facts["SizeRw"]
    assert os.path.exists(facts["LogPath"])


def test_what_has_ended_says_how_and_when(engine: Engine, running: Callable[..., str]) -> None:
    made = running("sh", "-c", "exit 3")
    engine.wait(made)
    state = engine.inspect(made)["State"]

    assert (state["Status"], state["ExitCode"], state["Pid"]) == ("exited", 3, 0)
    assert state["StartedAt"] <= state["FinishedAt"]


def test_what_was_never_started_is_created(engine: Engine) -> None:
    made = engine.create("busybox", ["sh"])
    state = engine.inspect(made)["State"]

    assert (state["Status"], state["StartedAt"][:4]) == ("created", "0001")
    assert engine.inspect(made)["Config"]["Cmd"] == ["sh"]
    engine.remove_container(made)


def test_inspect_finds_containers_images_and_volumes(newroot: Newroot) -> None:
    newroot("create", "--name", "one", "-v", "data:/d", "busybox", "sh")

    assert newroot("inspect", "-f", "{{.State.Status}}", "one") == "created\n"
    assert [each.get("Os", each.get("Driver")) for each in json.loads(
        newroot("inspect", "busybox", "one")
    )] == ["linux", "overlay"]  # fmt: skip
    newroot("volume", "create", "data")
    assert json.loads(newroot("inspect", "--type", "volume", "data"))[0]["Name"] == "data"
    assert "no container busybox" in newroot("inspect", "--type", "container", "busybox", code=125)
    assert "no container, image or volume x" in newroot("inspect", "x", code=125)


def test_ps_shows_what_runs_unless_asked(newroot: Newroot) -> None:
    newroot("create", "--name", "one", "busybox", "sh")
    newroot("run", "-d", "--name", "two", "--label", "a=b", "busybox", "sleep", "100")
    try:
        assert newroot("ps", "--format", "{{.Names}}") == "two\n"
        assert newroot("ps", "-a", "--format", "{Names} {State}") == "two running\none created\n"
        assert newroot("ps", "-f", "status=created", "--format", "{Names}") == "one\n"
        assert newroot("ps", "-n", "1", "--format", "{Names}") == "two\n"
        assert newroot("ps", "-l", "-q", "--no-trunc") == newroot("ps", "-q", "--no-trunc")
        assert newroot("ps", "-a", "--filter", "ancestor=busybox", "-q").count("\n") == 2
        assert "virtual" in newroot("ps", "-s")
        assert json.loads(newroot("ps", "--format", "json"))["Labels"] == "a=b"
    finally:
        newroot("rm", "-f", "one", "two")


def test_a_beginning_that_two_have_in_common_names_both(engine: Engine, root: Path) -> None:
    ids = [engine.create("busybox", ["sh"], name=f"c{n}") for n in range(17)]
    first = {i[0] for i in ids if sum(j[0] == i[0] for j in ids) > 1}.pop()
    same = sorted(i for i in ids if i[0] == first)

    with pytest.raises(NotFound, match=f"the beginning of {len(same)} container ids") as caught:
        engine.container(first)
    assert all(i[:12] in str(caught.value) for i in same[:8])
    assert f"({engine.container(same[0]).name})" in str(caught.value)
    for i in ids:
        engine.remove_container(i)


def test_top_shows_its_processes_and_no_others(engine: Engine, running: Callable[..., str]) -> None:
    made = running("sh", "-c", "sleep 99 & sleep 99")
    pid = engine.container(made).pid
    lines = engine.top(made, ["-eo", "pid,args"])

    assert lines[0].split() == ["PID", "COMMAND"]
    assert str(pid) in [line.split()[0] for line in lines]
    assert all("sleep 99" in line for line in lines[1:])
    engine.stop(made, timeout=0)
    with pytest.raises(WrongStatus, match="not running"):
        engine.top(made)


def test_stats_count_what_it_uses(engine: Engine, running: Callable[..., str]) -> None:
    made = running("sh", "-c", "echo up; while :; do :; done", memory="64m")
    next(iter(engine.logs(made, follow=True)))
    first = engine.stats(made)
    assert first.cpu_ns is not None
    while (usage := engine.stats(made)).cpu_ns == first.cpu_ns:
        pass

    assert usage.counted
    assert usage.pids == 1
    assert usage.memory_bytes is not None
    assert usage.memory_limit_bytes == 64 << 20
    assert usage.received_bytes == 0


def test_stats_of_one_without_a_cgroup_say_so(newroot: Newroot, engine: Engine) -> None:
    with engine.popen("busybox", ["sleep", "100"], name="fore", upper="disk") as process:
        assert engine.stats("fore").counted is False
        assert "fore" in newroot("stats", "--no-stream", "--format", "{Name} {CPUPerc}")
        process.kill()


def test_ports_are_those_that_its_state_has(engine: Engine, running: Callable[..., str]) -> None:
    from newroot.container.storage import Claim

    made = running("sleep", "100")
    state = engine.storage.state(made)
    claim = Claim(engine.storage, made, -1)
    claim.write_state(**state, ports=[{"container": 80, "host": 8080, "host_ip": "::"}])

    assert [(p.inside, p.outside) for p in engine.ports(made)] == [("80/tcp", "[::]:8080")]
    assert engine.container(made).ports == "[::]:8080->80/tcp"
    assert engine.inspect(made)["NetworkSettings"]["Ports"] == {
        "80/tcp": [{"HostIp": "::", "HostPort": "8080"}]
    }
