"""Containers are paused, renamed, limited anew, tidied up; and all of it is told."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from newroot.container.change import Changes
from newroot.container.events import Event
from newroot.engine import Engine
from newroot.errors import AlreadyExists, NotFound, UnsupportedError, UsageError, WrongStatus
from newroot.isolation.cgroups.cgroup import Cgroup
from newroot.isolation.cgroups.detect import detect
from newroot.testing import needs

pytestmark = [needs("root", "overlay", "busybox"), pytest.mark.timeout(60)]

Run = Callable[..., str]


@pytest.fixture
def run(engine: Engine) -> Iterator[Run]:
    """Starts a detached container, which is gone with the test."""
    made: list[str] = []

    def run(*command: str, **words: object) -> str:
        made.append(engine.create("busybox", list(command), **words))
        engine.start(made[-1])
        return made[-1]

    yield run
    for container_id in made:
        try:
            engine.remove_container(container_id, force=True)
        except NotFound:
            continue


def what_happened(engine: Engine, container_id: str) -> list[str]:
    events = engine.events(since=0, follow=False, filters=[f"container={container_id}"])
    return [event.action for event in events]


# ---- paused -------------------------------------------------------------------------------------


def test_what_is_paused_stands_still_until_it_is_let_go(engine: Engine, run: Run) -> None:
    made = run("sh", "-c", "while read x; do echo $x; done", interactive=True)
    with closing(engine.attach(made)) as visit:
        engine.pause(made)
        visit.send(b"ihello\n")
        assert engine.container(made).status == "paused"
        assert engine.inspect(made)["State"]["Paused"] is True
        visit.settimeout(0.2)
        with pytest.raises(TimeoutError):
            visit.recv(100)
        visit.settimeout(None)
        engine.unpause(made)
        assert visit.recv(100) == b"ohello\n"
    assert engine.container(made).status == "running"


def test_pause_wants_what_runs_and_unpause_what_is_paused(engine: Engine, run: Run) -> None:
    made = run("sleep", "100")
    with pytest.raises(WrongStatus, match="it is not paused"):
        engine.unpause(made)
    engine.pause(made)
    with pytest.raises(WrongStatus, match="paused already"):
        engine.pause(made)
    engine.remove_container(made, force=True)  # a frozen process is killed all the same
    made = engine.create("busybox", ["sh"])
    with pytest.raises(WrongStatus, match="it is not running"):
        engine.pause(made)


def test_one_in_the_foreground_is_paused_if_it_has_a_cgroup(engine: Engine) -> None:
    with engine.popen("busybox", ["sleep", "100"], name="limited", pids_limit=10) as process:
        engine.pause("limited")
        assert engine.container("limited").status == "paused"
        engine.unpause("limited")
        process.kill()
    with engine.popen("busybox", ["sleep", "100"], name="free") as process:
        with pytest.raises(UnsupportedError, match="it has no cgroup to freeze it by"):
            engine.pause("free")
        process.kill()


# ---- changed ------------------------------------------------------------------------------------


def limit_of(engine: Engine, container_id: str, name: str) -> str:
    """What the container's own cgroup says, on v1 or v2."""
    path = engine.storage.state(container_id)["cgroup"]
    controller = name.partition(".")[0]
    directory = Cgroup.find(path, host=detect()).directory_of(controller)
    return Path(f"{directory}/{name}").read_text().strip()


def test_limits_hold_at_once_and_at_the_next_start(engine: Engine, run: Run) -> None:
    made = run("sh", "-c", "echo up; exec sleep 100", pids_limit=100)
    engine.update(made, Changes(pids_limit=7, memory_bytes=64 << 20))
    assert limit_of(engine, made, "pids.max") == "7"
    assert engine.stats(made).memory_limit_bytes == 64 << 20

    engine.stop(made, timeout=0)
    engine.update(made, Changes(pids_limit=9))
    engine.start(made)
    assert limit_of(engine, made, "pids.max") == "9"
    assert engine.inspect(made)["HostConfig"]["Memory"] == 64 << 20
    engine.update(made, Changes(pids_limit=0, memory_bytes=0))
    assert limit_of(engine, made, "pids.max") == "max"


def test_another_policy_is_the_monitor_s_at_once(engine: Engine, run: Run) -> None:
    made = run("sh", "-c", "read x; exit 3", interactive=True)
    engine.update(made, Changes(restart="on-failure", restart_most=2))
    with closing(engine.attach(made)) as visit:
        visit.send(b"ix\n")
    engine.update(made, Changes(restart="no"))
    engine.stop(made, timeout=0)

    assert engine.inspect(made)["HostConfig"]["RestartPolicy"]["Name"] == "no"
    assert engine.container(made).restarts <= 1
    assert "start" in what_happened(engine, made)


def test_a_policy_that_is_taken_away_ends_the_restarts(engine: Engine, run: Run) -> None:
    made = run("false", restart="always")
    engine.update(made, Changes(restart="no"))

    assert engine.wait(made) == 1


def test_a_new_name_is_found_and_the_old_one_is_free(engine: Engine, run: Run) -> None:
    made = run("sleep", "100", name="old")
    other = engine.create("busybox", ["sh"], name="other")
    with pytest.raises(AlreadyExists, match="the name other is in use"):
        engine.rename("old", "other")
    with pytest.raises(UsageError, match="invalid container name"):
        engine.rename("old", "no/name")
    engine.rename("old", "new")

    assert engine.container("new").id == made
    with pytest.raises(NotFound):
        engine.container("old")
    assert engine.create("busybox", ["sh"], name="old") != made
    engine.remove_container("new", force=True)
    assert engine.create("busybox", ["sh"], name="new") not in (made, other)


def test_a_name_that_leads_nowhere_is_free(engine: Engine) -> None:
    made = engine.create("busybox", ["sh"], name="one")
    engine.remove_container(made)
    os.symlink("0" * 64, f"{engine.root}/names/one")

    assert engine.container(engine.create("busybox", ["sh"], name="one")).name == "one"


# ---- its end ------------------------------------------------------------------------------------


def test_one_that_goes_at_its_end_needs_no_other_command(engine: Engine, run: Run) -> None:
    made = run("sh", "-c", "read x; exit 3", interactive=True, rm=True, volumes=["/v"])
    (volume,) = engine.volumes.list()
    directory = engine.storage.directory(made)
    waiter = threading.Thread(target=engine.wait, args=(made, "removed"))
    waiter.start()
    with closing(engine.attach(made)) as visit:
        visit.send(b"ix\n")
    waiter.join()

    assert not os.path.exists(directory)
    assert volume.name not in [found.name for found in engine.volumes.list()]
    assert what_happened(engine, made)[-2:] == ["die", "destroy"]


def test_wait_tells_the_exit_code_of_one_that_is_gone(engine: Engine, run: Run) -> None:
    made = run("sh", "-c", "read x; exit 3", interactive=True, rm=True)
    codes: list[int | None] = []
    waiter = threading.Thread(target=lambda: codes.append(engine.wait(made)))
    waiter.start()
    with closing(engine.attach(made)) as visit:
        visit.send(b"ix\n")
    waiter.join()

    assert codes == [3]


def test_next_exit_is_waited_for_by_who_does_not_run_yet(engine: Engine, run: Run) -> None:
    made = run("sh", "-c", "exit $(wc -l < /n 2>/dev/null || echo 0)")
    engine.wait(made)
    codes: list[int | None] = []
    waiter = threading.Thread(target=lambda: codes.append(engine.wait(made, "next-exit")))
    waiter.start()
    while not codes:
        engine.start(made)
        engine.wait(made)
        waiter.join(0.1)

    assert codes == [0]


def test_a_policy_and_a_user_namespace_go_together(engine: Engine, run: Run) -> None:
    made = run("sh", "-c", "id -u; exit 3", userns="private", restart="on-failure:2")

    assert engine.wait(made) == 3
    assert [entry.data for entry in engine.logs(made)] == [b"0\n"] * 3
    assert engine.container(made).restarts == 2
    assert what_happened(engine, made) == ["create", *["start", "die"] * 3]


def test_one_with_a_user_namespace_that_waits_to_begin_anew_is_stopped(
    engine: Engine, run: Run
) -> None:
    made = run("sh", "-c", "echo up; exit 3", userns="private", restart="always")
    entries = engine.logs(made, follow=True)
    for _ in range(3):
        next(entries)
    engine.stop(made, timeout=0)

    assert engine.container(made).status == "exited"


def test_a_monitor_whose_directory_has_vanished_ends(engine: Engine, run: Run) -> None:
    made = run("sh", "-c", "read x; exit 3", interactive=True, restart="always")
    pid = engine.container(made).pid
    status = Path(f"/proc/{pid}/status").read_text()
    monitor = int(status.split("PPid:")[1].split()[0])
    watched = os.pidfd_open(monitor)
    with closing(engine.attach(made)) as visit:
        shutil.rmtree(engine.storage.directory(made))
        shutil.rmtree(engine.storage.run_directory(made))
        visit.send(b"ix\n")

    assert select.select([watched], [], [], 20)[0]
    os.close(watched)


def test_init_reaps_and_forwards_for_one_that_nobody_waits_for(engine: Engine, run: Run) -> None:
    made = run(
        "sh", "-c", "trap 'exit 5' TERM; (true &); echo up; while :; do sleep 0.1; done", init=True
    )
    next(iter(engine.logs(made, follow=True)))
    lines = engine.top(made, ["-eo", "pid,stat,args"])
    engine.stop(made)

    assert not [line for line in lines[1:] if " Z" in line]
    assert engine.container(made).exit_code == 5


# ---- tidied up ----------------------------------------------------------------------------------


def test_prune_takes_what_does_not_run_and_what_the_filters_say(engine: Engine, run: Run) -> None:
    runs = run("sleep", "100")
    kept = engine.create("busybox", ["sh"], label=["keep=yes"])
    gone = engine.create("busybox", ["sh"])

    assert engine.prune_containers(["until=1h"]).ids == ()
    assert engine.prune_containers(["label!=keep"]).ids == (gone,)
    with pytest.raises(UsageError, match="invalid filter 'status=exited'"):
        engine.prune_containers(["status=exited"])
    assert {c.id for c in engine.containers()} == {runs, kept}
    engine.remove_container(kept)


def test_system_df_counts_and_system_prune_removes(
    root: Path, engine: Engine, newroot_command: str, run: Run
) -> None:
    made = run("sh", "-c", "echo x > /file", volumes=["/anonymous", "named:/named"])
    engine.wait(made)
    usage = engine.disk_usage()
    assert [use.container.id for use in usage.containers] == [made]
    assert [use.containers for use in usage.images] == [1]
    assert {use.links for use in usage.volumes} == {1}
    assert usage.images_reclaimable == 0

    def newroot(*words: str) -> str:
        command = [newroot_command, "--root", root, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    rows = [json.loads(row) for row in newroot("system", "df", "--format", "json").splitlines()]
    assert [(r["Type"], r["TotalCount"]) for r in rows] == [
        ("Images", "1"),
        ("Containers", "1"),
        ("Local Volumes", "2"),
    ]
    assert made[:12] in newroot("system", "df", "-v")
    said = newroot("container", "prune", "-f")
    assert f"Deleted Containers:\n{made}\n" in said
    assert "Total reclaimed space" in newroot("system", "prune", "-f", "--volumes")
    assert [volume.name for volume in engine.volumes.list()] == ["named"]


# ---- told of ------------------------------------------------------------------------------------


def test_a_life_in_events(engine: Engine, run: Run) -> None:
    made = run("sh", "-c", "exit 3", name="one", label=["a=b"])
    engine.wait(made)
    engine.rename(made, "two")
    engine.remove_container(made)
    events = list(engine.events(since=0, follow=False, filters=["type=container"]))

    assert [e.action for e in events] == ["create", "start", "die", "rename", "destroy"]
    assert [e.attributes["name"] for e in events] == ["one", "one", "one", "two", "two"]
    assert events[2].attributes["exitCode"] == "3"
    document = events[2].document()
    assert (document["Type"], document["Action"], document["from"]) == (
        "container",
        "die",
        "busybox",
    )
    times = [e.time_ns for e in events]
    assert times == sorted(times)
    assert [e.action for e in engine.events(since=times[2], until=times[3])] == ["die", "rename"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["event=die"], ["die"]),
        (["event=die", "event=start"], ["start", "die"]),
        (["container=one", "event=create"], ["create"]),
        (["container=nope"], []),
        (["label=a=b", "event=die"], ["die"]),
        (["label=a=c"], []),
        (["image=busybox", "event=die"], ["die"]),
        (["type=image"], []),
    ],
)
def test_filters_choose_events(
    engine: Engine, run: Run, filters: list[str], expected: list[str]
) -> None:
    engine.wait(run("true", name="one", label=["a=b"]))

    found = engine.events(since=0, follow=False, filters=filters)
    assert [event.action for event in found] == expected


def test_events_are_told_as_they_happen(engine: Engine, run: Run) -> None:
    engine.create("busybox", ["sh"], name="before")
    told: list[Event] = []
    ready = threading.Event()

    def listen() -> None:
        from time import time_ns

        for event in engine.events(since=time_ns()):
            if event.attributes.get("name") == "ready":
                ready.set()
            told.append(event)
            if event.action == "destroy" and event.attributes.get("name") == "last":
                return

    listener = threading.Thread(target=listen)
    listener.start()
    while not ready.wait(0.02):
        engine.remove_container(engine.create("busybox", ["sh"], name="ready"))
    engine.remove_container(engine.create("busybox", ["sh"], name="last"))
    listener.join()

    assert [e.action for e in told[-2:]] == ["create", "destroy"]
    assert "before" not in [e.attributes.get("name") for e in told]


def test_another_command_is_told_with_its_end(engine: Engine, run: Run) -> None:
    made = run("sleep", "100")
    engine.exec(made, ["sh", "-c", "exit 3"])
    start, end = list(engine.events(since=0, follow=False, filters=[f"container={made}"]))[-2:]

    assert (start.action, start.attributes["execCommand"]) == ("exec_start", "sh -c exit 3")
    assert (end.action, end.attributes["exitCode"]) == ("exec_die", "3")
