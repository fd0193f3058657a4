"""Health checks: asked by the monitor again and again, noted, shown; Docker's rules."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from newroot.container.health import Answer, Health, health_of, note_answer, read_health
from newroot.container.python_words import settings_of
from newroot.engine import Engine
from newroot.errors import UsageError, WrongStatus
from newroot.linux.processes import process_status
from newroot.testing import needs

pytestmark = [needs("root", "overlay", "busybox"), pytest.mark.timeout(60)]


@pytest.fixture
def made(engine: Engine) -> Iterator[list[str]]:
    ids: list[str] = []
    yield ids
    for container_id in ids:
        engine.remove_container(container_id, force=True)


def begun(engine: Engine, made: list[str], *command: str, **words: object) -> str:
    made.append(engine.create("busybox", list(command or ("sleep", "1000")), **words))
    engine.start(made[-1])
    return made[-1]


def until(holds: Callable[[], object], timeout_s: float = 30) -> None:
    """Nobody is told when a check has been: so it is looked for."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline
        select.select([], [], [], 0.02)


def health(engine: Engine, box: str) -> str | None:
    return engine.container(box).health


def test_it_becomes_healthy_and_unhealthy_and_healthy_again(
    engine: Engine, made: list[str]
) -> None:
    box = begun(
        engine, made, health_cmd="echo looked; test -e /well", health_interval="50ms",
        health_retries=2,
    )  # fmt: skip
    assert health(engine, box) == "starting"
    until(lambda: health(engine, box) == "unhealthy")
    engine.exec(box, ["touch", "/well"])
    until(lambda: health(engine, box) == "healthy")
    engine.exec(box, ["rm", "/well"])
    until(lambda: health(engine, box) == "unhealthy")

    told = [
        event.action for event in engine.events(since=0, follow=False) if "health" in event.action
    ]
    assert told[:3] == [f"health_status: {word}" for word in ("unhealthy", "healthy", "unhealthy")]
    found = engine.inspect(box)["State"]["Health"]
    assert found["FailingStreak"] >= 2
    assert 1 <= len(found["Log"]) <= 5
    assert found["Log"][-1]["Output"] == "looked\n"
    assert found["Log"][-1]["ExitCode"] == 1
    assert found["Log"][-1]["Start"] < found["Log"][-1]["End"]


def test_one_that_takes_too_long_has_failed(engine: Engine, made: list[str]) -> None:
    box = begun(
        engine, made, health_cmd="sleep 555", health_interval="50ms", health_timeout="200ms",
        health_retries=1,
    )  # fmt: skip
    until(lambda: health(engine, box) == "unhealthy")
    (entry, *_) = engine.inspect(box)["State"]["Health"]["Log"]

    assert entry["ExitCode"] == -1
    assert entry["Output"].startswith("Health check exceeded timeout (0.2s)")
    engine.stop(box, timeout=0)
    done = subprocess.run(["pgrep", "-f", "sleep 555$"], stdout=subprocess.PIPE)
    assert done.stdout == b""


def test_the_images_check_is_asked_and_may_be_left_out(engine: Engine, root: Path) -> None:
    image = {"Healthcheck": {"Test": ["CMD", "true", "x"], "Interval": 10**9, "Retries": 7}}

    def of(**words: object) -> Health | None:
        return health_of(settings_of(dict(words)), image)

    assert of() == Health(command=("true", "x"), interval_ns=10**9, retries=7)
    assert of(no_healthcheck=True) is None
    assert of(health_cmd="none") is None
    assert of(health_interval="2s", health_start_period="3s") == Health(
        command=("true", "x"), interval_ns=2 * 10**9, retries=7, start_period_ns=3 * 10**9
    )
    shell = of(health_cmd="exit 3")
    assert shell is not None
    assert shell.command == ("/bin/sh", "-c", "exit 3")
    assert health_of(settings_of({}), {}) is None
    assert health_of(settings_of({}), {"Healthcheck": {"Test": ["NONE"]}}) is None


@pytest.mark.parametrize(
    "words",
    [{"health_interval": "fast"}, {"health_interval": "1us"}, {"health_retries": "many"},
     {"health_timeout": "-1s"}],
)  # fmt: skip
def test_words_that_make_no_sense_are_refused(words: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        settings_of({"health_cmd": "true", **words})


def test_a_failure_in_the_first_time_does_not_count(engine: Engine, made: list[str]) -> None:
    box = begun(engine, made, health_cmd="true", health_interval="1h")
    asked = Health(command=("true",), start_period_ns=10**9, retries=2)
    bad = Answer(started=1.0, ended=2.0, exit_code=1, output="x" * 10_000)
    good = Answer(started=1.0, ended=2.0, exit_code=0, output="")

    def note(answer: Answer, age_s: float) -> str:
        return note_answer(engine.storage, box, asked, answer, age_s)

    assert [note(bad, 0.5) for _ in range(4)] == ["starting"] * 4
    assert note(bad, 1.5) == "starting"
    assert note(bad, 1.5) == "unhealthy"
    assert note(good, 1.6) == "healthy"
    # Well once, it is no longer starting, and each failure counts.
    assert [note(bad, 0.5), note(bad, 0.5)] == ["healthy", "unhealthy"]
    ticks = engine.storage.state(box)["startTicks"]
    found = read_health(engine.storage, box, ticks)
    assert [len(found["Log"]), len(found["Log"][0]["Output"])] == [5, 4096]
    assert read_health(engine.storage, box, ticks + 1)["Status"] == "starting"


def test_a_restart_begins_with_starting(engine: Engine, made: list[str]) -> None:
    box = begun(engine, made, health_cmd="true", health_interval="100ms")
    until(lambda: health(engine, box) == "healthy")
    engine.stop(box, timeout=0)
    assert health(engine, box) is None
    engine.start(box)
    assert health(engine, box) == "starting"
    until(lambda: health(engine, box) == "healthy")


def test_one_that_begins_anew_by_itself_is_asked_anew(engine: Engine, made: list[str]) -> None:
    box = begun(
        engine, made, "sh", "-c", "test -e /twice && exec sleep 1000; touch /twice; sleep 0.5",
        restart="always", health_cmd="test -e /twice", health_interval="100ms",
    )  # fmt: skip
    until(lambda: engine.container(box).restarts == 1)
    until(lambda: health(engine, box) == "healthy")

    assert engine.container(box).restarts == 1


def test_no_check_outlives_its_container(engine: Engine, made: list[str]) -> None:
    box = begun(engine, made, health_cmd="sleep 556", health_interval="20ms")
    pid = engine.container(box).pid
    assert pid is not None
    parent = Path(f"/proc/{pid}/status").read_text().split("PPid:")[1].split()[0]

    def checks() -> list[int]:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return [int(child) for child in children if int(child) != pid]

    until(checks)
    (check,) = checks()
    engine.remove_container(box, force=True)
    made.remove(box)

    status = process_status(check)
    assert status is None or status.state in "ZX"
    assert not os.path.exists(engine.storage.directory(box))


def test_the_command_asks_now(
    engine: Engine, made: list[str], root: Path, newroot_command: str
) -> None:
    box = begun(engine, made, health_cmd="test -e /well", health_interval="1h")
    plain = begun(engine, made)

    def healthcheck(name: str) -> tuple[int, str]:
        command = [newroot_command, "--root", str(root), "healthcheck", "run", name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        return done.returncode, done.stdout + done.stderr

    assert healthcheck(box) == (1, "unhealthy\n")
    engine.exec(box, ["touch", "/well"])
    assert healthcheck(box) == (0, "")
    assert health(engine, box) == "healthy"
    code, words = healthcheck(plain)
    assert code == 125
    assert "has no health check" in words
    engine.stop(box, timeout=0)
    with pytest.raises(WrongStatus):
        engine.check_health(box)
    path = Path(engine.storage.directory(box), "health.json")
    assert json.loads(path.read_text())["Status"] == "healthy"
